//! Oblivious transfers of one message each: the giver has a message for every transfer, the taker gets those that it
//! wants, and the giver does not learn which.
//!
//! `SoftSpokenOT` (Roy: CRYPTO 2022, eprint 2022/192) as [`crate::vole::small_field`] has it: the taker ends with a
//! random bit `u_i` and `v_i`, the giver with `w_i = v_i + u_i Delta`, and hashes of `w_i` and `w_i + Delta` are pads of
//! which the taker knows one. One more bit a transfer turns the random bit into the wanted choice (Beaver, CRYPTO
//! 1995). The other message of a transfer is empty, so one sealed message goes.
//!
//! Adversary: semi-honest; the hash is BLAKE3, modelled as a random oracle. Bytes: 8 KiB, then 4 and one eighth for each
//! transfer, then the messages. Three messages beside those: giver, taker (columns), taker (bits).

use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::block::Block;
use crate::protocol::Fault;
use crate::vole::base_ot::{self, COUNT, OFFER_BYTES as BASE_BYTES, POINT_BYTES};
use crate::vole::prg::Coins;
use crate::vole::session::Session;
use crate::vole::small_field::{columns_bytes as small_field_bytes, meet, own};
use crate::vole::wire::Reader;

const LABEL: &[u8] = b"fondaco/transfer/1";
/// Bytes of the giver's first message.
pub(crate) const OFFER_BYTES: usize = BASE_BYTES;

/// Blocks of 128 transfers.
const fn height(count: usize) -> usize {
    if count == 0 {
        1
    } else {
        count.div_ceil(COUNT)
    }
}

/// Bytes of the taker's columns for so many transfers.
pub(crate) const fn columns_bytes(count: usize) -> usize {
    POINT_BYTES + small_field_bytes(height(count))
}

fn session(count: usize, offer: &[u8]) -> Session {
    Session::new(&[LABEL, &(count as u64).to_le_bytes(), offer].concat())
}

/// Add the pad that a row makes to a message, of any length.
fn pad(id: &[u8; 32], transfer: usize, row: Block, message: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_keyed(id);
    hasher.update(&(transfer as u64).to_le_bytes());
    hasher.update(&row.to_bytes());
    let mut stream = hasher.finalize_xof();
    let mut part = Zeroizing::new([0u8; 64]);
    for chunk in message.chunks_mut(part.len()) {
        stream.fill(&mut part[..chunk.len()]);
        chunk
            .iter_mut()
            .zip(&*part)
            .for_each(|(to, from)| *to ^= from);
    }
    stream.zeroize();
    hasher.zeroize();
}

/// The giver between its offer and the taker's columns.
pub(crate) struct Offered {
    count: usize,
    session: Session,
    receiver: base_ot::Receiver,
}

/// The giver's pads.
pub(crate) struct Giver {
    id: [u8; 32],
    delta: Zeroizing<Block>,
    rows: Zeroizing<Vec<Block>>,
}

/// Offer so many transfers; the second result is the message.
///
/// # Errors
/// `Fault::Input` without randomness.
pub(crate) fn offer(count: usize) -> Result<(Offered, Vec<u8>), Fault> {
    let (receiver, message) = base_ot::Receiver::new(&mut Coins::fresh()?);
    let session = session(count, &message);
    let offered = Offered {
        count,
        session,
        receiver,
    };
    Ok((offered, message))
}

impl Offered {
    /// The pads, from the taker's columns.
    ///
    /// # Errors
    /// `Fault::Malformed`, or `Fault::Cheated` where its trees are not what it commits to.
    pub(crate) fn take(&self, message: &[u8]) -> Result<Giver, Fault> {
        let mut reader = Reader::new(message, columns_bytes(self.count), "columns")?;
        let keys = self.receiver.keys(&self.session.id, &mut reader)?;
        let (delta, columns) = meet(
            &self.session.doubling,
            &keys,
            self.receiver.choices,
            height(self.count),
            &mut reader,
        )?;
        Ok(Giver {
            id: self.session.id,
            delta: Zeroizing::new(delta),
            rows: columns.rows(),
        })
    }
}

impl Giver {
    /// Seal messages of one width, in place, against the taker's bits: it can open those that it wants.
    pub(crate) fn seal(&self, bits: &[u8], width: usize, messages: &mut [u8]) {
        let slots = messages.par_chunks_mut(width).enumerate();
        slots.for_each(|(transfer, message)| {
            // The taker knows the pad of its random bit, which differs from the sent one where it wants the message.
            let sent = u128::from(bits[transfer / 8] >> (transfer % 8) & 1);
            let other = Block(self.delta.0 & (sent ^ 1).wrapping_neg());
            pad(&self.id, transfer, self.rows[transfer] ^ other, message);
        });
    }
}

/// The taker's pads.
pub(crate) struct Taker {
    id: [u8; 32],
    bits: Zeroizing<Vec<Block>>,
    rows: Zeroizing<Vec<Block>>,
}

/// Answer an offer of so many transfers; the second result is the message.
///
/// # Errors
/// `Fault::Malformed` for what is no offer, `Fault::Input` without randomness.
pub(crate) fn answer(count: usize, offer: &[u8]) -> Result<(Taker, Vec<u8>), Fault> {
    let mut coins = Coins::fresh()?;
    let reader = Reader::new(offer, OFFER_BYTES, "offer")?;
    let session = session(count, offer);
    let (keys, share) = base_ot::send(&mut coins, &session.id, reader)?;
    let mut message = Vec::with_capacity(columns_bytes(count));
    message.extend_from_slice(&share);
    let (bits, columns) = own(
        &mut coins,
        &session.doubling,
        &keys,
        height(count),
        &mut message,
    );
    let taker = Taker {
        id: session.id,
        bits,
        rows: columns.rows(),
    };
    Ok((taker, message))
}

impl Taker {
    /// The bits that say what is wanted, to whoever does not know the random ones nothing.
    pub(crate) fn choose(&self, wanted: &[bool]) -> Vec<u8> {
        let mut bits = vec![0u8; wanted.len().div_ceil(8)];
        for (transfer, wants) in wanted.iter().enumerate() {
            let random = self.bits[transfer / COUNT].0 >> (transfer % COUNT) & 1 == 1;
            bits[transfer / 8] |= u8::from(random ^ wants) << (transfer % 8);
        }
        bits
    }

    /// Open a wanted message in place.
    pub(crate) fn open(&self, transfer: usize, message: &mut [u8]) {
        pad(&self.id, transfer, self.rows[transfer], message);
    }
}

#[cfg(test)]
mod tests {
    use super::{answer, columns_bytes, offer, Fault, OFFER_BYTES};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn what_is_wanted_opens_and_nothing_else(wanted in prop::collection::vec(any::<bool>(), 1..300), width in 1usize..200) {
            let count = wanted.len();
            let plain: Vec<u8> = (0..=250).cycle().take(count * width).collect();
            let (offered, first) = offer(count).unwrap();
            prop_assert_eq!(first.len(), OFFER_BYTES);
            let (taker, second) = answer(count, &first).unwrap();
            prop_assert_eq!(second.len(), columns_bytes(count));
            let giver = offered.take(&second).unwrap();
            let mut sealed = plain.clone();
            giver.seal(&taker.choose(&wanted), width, &mut sealed);
            for (transfer, wants) in wanted.iter().enumerate() {
                let at = transfer * width..(transfer + 1) * width;
                let mut message = sealed[at.clone()].to_vec();
                taker.open(transfer, &mut message);
                // A message of one byte can come out by chance.
                prop_assert!(*wants == (message == plain[at]) || width < 5);
            }
        }

        #[test]
        fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(answer(5, &bytes).err(), Some(Fault::Malformed { message: "offer" }));
            let (offered, _first) = offer(5).unwrap();
            prop_assert_eq!(offered.take(&bytes).err(), Some(Fault::Malformed { message: "columns" }));
        }
    }

    #[test]
    fn an_answer_to_another_offer_opens_nothing() {
        let (offered, _first) = offer(3).unwrap();
        let (_other, second) = offer(3).unwrap();
        let (_taker, columns) = answer(3, &second).unwrap();
        // A replayed offer gives other keys, and the commitment to the trees does not hold.
        assert!(matches!(
            offered.take(&columns).err(),
            Some(Fault::Cheated { .. })
        ));
    }
}
