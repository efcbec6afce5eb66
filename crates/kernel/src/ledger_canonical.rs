//! Whether bytes are the one canonical encoding of a value: DAG-CBOR without floats and tags, as fondaco.core.codec.
//!
//! One pass over bytes from outside, nothing is built, and depth is bounded by a list and no recursion. What it
//! accepts is what decoding and encoding again would give back, byte for byte: shortest heads, definite lengths,
//! integers in 64 signed bits, UTF-8, map keys of text in order (shorter first, then by bytes) and each once.

/// Why bytes are not canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncanonical {
    /// The bytes end in the middle of a value.
    Cut,
    /// There are bytes after the value.
    Trailing,
    /// A head is longer than it need be, or of an indefinite or reserved length.
    Head,
    /// A float, a tag or a simple value other than false, true and null.
    Kind,
    /// An integer does not fit in 64 signed bits.
    Range,
    /// Text is not UTF-8.
    Text,
    /// A map's key is not text, is out of order or there twice.
    Key,
    /// Nested deeper than allowed.
    Depth,
    /// More items are announced than bytes are left.
    Count,
    /// More items than allowed.
    Items,
}

impl std::fmt::Display for Uncanonical {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cut => "bytes end in the middle of a value",
            Self::Trailing => "there are bytes after the value",
            Self::Head => "a length or number is not in its shortest form",
            Self::Kind => "floats and tags have no place in the canonical form",
            Self::Range => "integer does not fit in 64 signed bits",
            Self::Text => "text is not UTF-8",
            Self::Key => "a map's keys are not text in canonical order, each once",
            Self::Depth => "value is nested too deep",
            Self::Count => "more items announced than bytes are left",
            Self::Items => "more items than are allowed here",
        })
    }
}

impl std::error::Error for Uncanonical {}

struct Level<'a> {
    left: u64,
    map: bool,
    key_next: bool,
    last: Option<&'a [u8]>,
}

/// A place in bytes from outside, from which heads and their contents are taken.
pub struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// `Cut`.
    pub fn take(&mut self, size: u64) -> Result<&'a [u8], Uncanonical> {
        let size = usize::try_from(size).map_err(|_| Uncanonical::Cut)?;
        let end = self.at.checked_add(size).ok_or(Uncanonical::Cut)?;
        let found = self.data.get(self.at..end).ok_or(Uncanonical::Cut)?;
        self.at = end;
        Ok(found)
    }

    /// A head in its shortest form: major type, the five bits beside it, argument.
    ///
    /// # Errors
    /// `Cut` or `Head`.
    pub fn head(&mut self) -> Result<(u8, u8, u64), Uncanonical> {
        let first = self.take(1)?[0];
        let (major, low) = (first >> 5, first & 31);
        if low < 24 {
            return Ok((major, low, u64::from(low)));
        }
        if low > 27 {
            return Err(Uncanonical::Head);
        }
        let width = 1u64 << (low - 24);
        let argument = self
            .take(width)?
            .iter()
            .fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        let least = match low {
            24 => 24,
            25 => 1 << 8,
            26 => 1 << 16,
            _ => 1 << 32,
        };
        if major < 7 && argument < least {
            return Err(Uncanonical::Head);
        }
        Ok((major, low, argument))
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        (self.data.len() - self.at) as u64
    }
}

/// Check that `data` is the canonical encoding of one value, nested no deeper than `depth` and of no more than `most`
/// items in lists and maps (a pair of a map is two): an item costs who builds it far more than its byte.
///
/// # Errors
/// The first reason why it is not.
pub fn check_canonical(data: &[u8], depth: usize, most: u64) -> Result<(), Uncanonical> {
    let mut most = most;
    let mut reader = Reader::new(data);
    let mut levels = vec![Level {
        left: 1,
        map: false,
        key_next: false,
        last: None,
    }];
    while let Some(level) = levels.last_mut() {
        if level.left == 0 {
            levels.pop();
            continue;
        }
        let key = level.map && level.key_next;
        level.left -= 1;
        level.key_next = !level.key_next;
        let (major, low, argument) = reader.head()?;
        if key && major != 3 {
            return Err(Uncanonical::Key);
        }
        match major {
            0 | 1 => {
                if argument > i64::MAX as u64 {
                    return Err(Uncanonical::Range);
                }
            }
            2 => {
                reader.take(argument)?;
            }
            3 => {
                let text = reader.take(argument)?;
                std::str::from_utf8(text).map_err(|_| Uncanonical::Text)?;
                if key {
                    if let Some(last) = level.last {
                        if (last.len(), last) >= (text.len(), text) {
                            return Err(Uncanonical::Key);
                        }
                    }
                    level.last = Some(text);
                }
            }
            4 | 5 => {
                let map = major == 5;
                let items = if map {
                    argument.checked_mul(2)
                } else {
                    Some(argument)
                };
                let items = items.ok_or(Uncanonical::Count)?;
                if items > reader.left() {
                    return Err(Uncanonical::Count);
                }
                most = most.checked_sub(items).ok_or(Uncanonical::Items)?;
                if levels.len() > depth {
                    return Err(Uncanonical::Depth);
                }
                levels.push(Level {
                    left: items,
                    map,
                    key_next: true,
                    last: None,
                });
            }
            _ => {
                if major != 7 || !(20..=22).contains(&low) {
                    return Err(Uncanonical::Kind);
                }
            }
        }
    }
    if reader.at == data.len() {
        Ok(())
    } else {
        Err(Uncanonical::Trailing)
    }
}
