//! Protobuf's outer form, as Go's proto3 encoder writes it and no other: what `fondaco.ledger.cometbft.protobuf` reads.
//!
//! A message is taken apart into its fields; what they mean is the caller's. Varints are of the shortest form and fit in
//! 64 bits; wire types are those that proto3 writes. Every length is checked against what is there before it is used,
//! and nothing is allocated that the input does not pay for. Trusts nothing; everything here is public.
//!
//! Source: "Protocol Buffers, Encoding".

const MAX_VARINT: usize = 10;

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A varint has needless bytes or more than 64 bits.
    Shortest,
    /// A varint ends with the bytes, or does not end.
    Cut,
    /// A wire type that proto3 does not write.
    Wire,
    /// A field is longer than its message.
    Long,
    /// A frame is longer than allowed.
    Frame(u64),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shortest => f.write_str("a number is not in its shortest form"),
            Self::Cut => f.write_str("a number is cut off or too long"),
            Self::Wire => f.write_str("a wire type that proto3 does not write"),
            Self::Long => f.write_str("a field is longer than its message"),
            Self::Frame(size) => write!(f, "{size} bytes are more than are allowed here"),
        }
    }
}

impl std::error::Error for Malformed {}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1: eight bytes.
    Fixed64(&'a [u8]),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// A varint at the front of `data`, and how many bytes it takes.
///
/// # Errors
/// It is cut off, too long or not of the shortest form.
pub fn varint(data: &[u8]) -> Result<(u64, usize), Malformed> {
    let mut number = 0u64;
    for (place, byte) in data.iter().take(MAX_VARINT).enumerate() {
        let bits = u64::from(byte & 0x7F);
        if place == MAX_VARINT - 1 && bits > 1 {
            // The tenth byte has one bit of the 64; whether it goes on is told first.
            return Err(if *byte < 0x80 {
                Malformed::Shortest
            } else {
                Malformed::Cut
            });
        }
        number |= bits << (7 * place);
        if *byte < 0x80 {
            if *byte == 0 && place > 0 {
                return Err(Malformed::Shortest);
            }
            return Ok((number, place + 1));
        }
    }
    Err(Malformed::Cut)
}

/// The fields of a message, in the order in which they are there: number and what it holds.
///
/// # Errors
/// The first reason why it is none.
pub fn fields(data: &[u8]) -> Result<Vec<(u64, Held<'_>)>, Malformed> {
    let mut found = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (tag, used) = varint(rest)?;
        rest = &rest[used..];
        let size = match tag & 7 {
            0 => {
                let (number, used) = varint(rest)?;
                rest = &rest[used..];
                found.push((tag >> 3, Held::Varint(number)));
                continue;
            }
            1 => 8,
            2 => {
                let (size, used) = varint(rest)?;
                rest = &rest[used..];
                usize::try_from(size).map_err(|_| Malformed::Long)?
            }
            _ => return Err(Malformed::Wire),
        };
        if size > rest.len() {
            return Err(Malformed::Long);
        }
        let (value, after) = rest.split_at(size);
        rest = after;
        let held = if tag & 7 == 1 {
            Held::Fixed64(value)
        } else {
            Held::Bytes(value)
        };
        found.push((tag >> 3, held));
    }
    Ok(found)
}

/// The whole length-delimited messages at the front of `data`, each of at most `limit` bytes, and how many bytes they
/// and their lengths take.
///
/// # Errors
/// A length is over the limit or no length; one that is merely not all there yet is none.
pub fn frames(data: &[u8], limit: u64) -> Result<(Vec<&[u8]>, usize), Malformed> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let (size, used) = match varint(&data[at..]) {
            Err(Malformed::Cut) if data.len() - at < MAX_VARINT => break,
            other => other?,
        };
        if size > limit {
            return Err(Malformed::Frame(size));
        }
        let size = usize::try_from(size).map_err(|_| Malformed::Frame(size))?;
        let Some(frame) = data[at + used..].get(..size) else {
            break;
        };
        found.push(frame);
        at += used + size;
    }
    Ok((found, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_one_form() {
        assert_eq!(varint(&[0]), Ok((0, 1)));
        assert_eq!(varint(&[0xAC, 0x02, 9]), Ok((300, 2)));
        let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(varint(&most), Ok((u64::MAX, 10)));
        assert_eq!(varint(&[0x80, 0]), Err(Malformed::Shortest));
        assert_eq!(varint(&[0x80]), Err(Malformed::Cut));
        assert_eq!(varint(&[0xFF; 11]), Err(Malformed::Cut));
        let mut over = most;
        over[9] = 2;
        assert_eq!(varint(&over), Err(Malformed::Shortest));
    }

    #[test]
    fn a_message_is_taken_apart_or_refused() {
        assert_eq!(
            fields(&[0x08, 5, 0x12, 2, 7, 8, 0x19, 1, 2, 3, 4, 5, 6, 7, 8]),
            Ok(vec![
                (1, Held::Varint(5)),
                (2, Held::Bytes(&[7, 8])),
                (3, Held::Fixed64(&[1, 2, 3, 4, 5, 6, 7, 8])),
            ])
        );
        assert_eq!(fields(&[0x12, 3, 7, 8]), Err(Malformed::Long));
        assert_eq!(fields(&[0x19, 1]), Err(Malformed::Long));
        assert_eq!(fields(&[0x0B]), Err(Malformed::Wire));
        assert_eq!(fields(&[0x0D, 0, 0, 0, 0]), Err(Malformed::Wire));
        assert_eq!(fields(&[0x08]), Err(Malformed::Cut));
    }

    #[test]
    fn frames_wait_for_their_end() {
        assert_eq!(
            frames(&[2, 7, 8, 1, 9, 3, 1], 9),
            Ok((vec![&[7, 8][..], &[9]], 5))
        );
        assert_eq!(frames(&[0xFF], 9), Ok((vec![], 0)));
        assert_eq!(frames(&[10], 9), Err(Malformed::Frame(10)));
        assert_eq!(frames(&[0xFF; 20], 9), Err(Malformed::Cut));
    }
}
