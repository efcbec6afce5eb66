//! 128 oblivious transfers of random keys over ristretto255.
//!
//! Endemic OT of Masny and Rindal (CCS 2019, eprint 2019/706) from Diffie-Hellman key agreement, with one
//! sender's share for all instances: secure against malicious parties in the random oracle model under CDH. Endemic
//! means that a cheating party may choose keys of its own; nothing here needs them uniform to the cheater.
//!
//! The receiver of instance i with choice c draws r_{1-c} as a point without known logarithm and sets
//! `r_c = a_i B - H(i, c, r_{1-c})`. It sends both. The sender's key for j is the hash of `y (r_j + H(i, j, r_{1-j}))`
//! and the receiver's that of `a_i Y`. The points say nothing of c, whatever the sender computes.
//!
//! 8 KiB one way and 32 bytes back. Choices go through selections and hashes of constant time only.

use super::prg::Coins;
use super::wire::Reader;
use crate::block::Block;
use crate::protocol::Fault;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rayon::prelude::*;
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// How many transfers there are: a bit of the sender's secret each.
pub(crate) const COUNT: usize = 128;
/// A compressed point.
pub(crate) const POINT_BYTES: usize = 32;
/// The receiver's message.
pub(crate) const OFFER_BYTES: usize = COUNT * 2 * POINT_BYTES;

/// Both keys of each instance.
type Keys = Zeroizing<Vec<[Block; 2]>>;

fn hash_to_point(instance: usize, side: u8, point: &CompressedRistretto) -> RistrettoPoint {
    let mut hasher = blake3::Hasher::new_derive_key("fondaco vole base transfer, point");
    hasher.update(&(instance as u64).to_le_bytes());
    hasher.update(&[side]);
    hasher.update(point.as_bytes());
    let mut wide = [0u8; 64];
    hasher.finalize_xof().fill(&mut wide);
    RistrettoPoint::from_uniform_bytes(&wide)
}

fn key(
    instance: usize,
    session: &[u8; 32],
    share: &[u8; POINT_BYTES],
    secret: &RistrettoPoint,
) -> Block {
    let mut hasher = blake3::Hasher::new_derive_key("fondaco vole base transfer, key");
    hasher.update(&(instance as u64).to_le_bytes());
    hasher.update(session);
    hasher.update(share);
    hasher.update(Zeroizing::new(secret.compress().to_bytes()).as_ref());
    let mut bytes = Zeroizing::new([0u8; 16]);
    hasher.finalize_xof().fill(&mut *bytes);
    hasher.zeroize();
    Block::from_bytes(*bytes)
}

fn scalar(coins: &mut Coins) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&coins.bytes::<64>())
}

/// The receiver between its message and the sender's.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Receiver {
    /// Bit i is the choice of instance i.
    pub(crate) choices: u128,
    scalars: Vec<Scalar>,
}

impl Receiver {
    /// Choose at random; the second result is the message.
    pub(crate) fn new(coins: &mut Coins) -> (Self, Vec<u8>) {
        let choices = coins.block().0;
        let scalars: Vec<Scalar> = (0..COUNT).map(|_| scalar(coins)).collect();
        let others: Vec<_> = (0..COUNT).map(|_| coins.bytes::<64>()).collect();
        let mut message = vec![0u8; OFFER_BYTES];
        message
            .par_chunks_mut(2 * POINT_BYTES)
            .zip(scalars.par_iter().zip(&others))
            .enumerate()
            .for_each(|(instance, (slot, (scalar, other)))| {
                let side = (choices >> instance & 1) as u8;
                let other = RistrettoPoint::from_uniform_bytes(other);
                let own = RistrettoPoint::mul_base(scalar)
                    - hash_to_point(instance, side, &other.compress());
                let choice = Choice::from(side);
                let first = RistrettoPoint::conditional_select(&own, &other, choice);
                let second = RistrettoPoint::conditional_select(&other, &own, choice);
                slot[..POINT_BYTES].copy_from_slice(first.compress().as_bytes());
                slot[POINT_BYTES..].copy_from_slice(second.compress().as_bytes());
            });
        (Self { choices, scalars }, message)
    }

    /// The chosen key of each instance, from the sender's share.
    ///
    /// # Errors
    /// `Fault::Malformed` where the share is no point, or the identity.
    pub(crate) fn keys(
        &self,
        session: &[u8; 32],
        reader: &mut Reader<'_>,
    ) -> Result<Zeroizing<Vec<Block>>, Fault> {
        let share = reader.array::<POINT_BYTES>()?;
        let point = CompressedRistretto(share).decompress();
        let point = point
            .filter(|point| !point.is_identity())
            .ok_or(reader.malformed())?;
        let keys = self.scalars.par_iter().enumerate();
        let keys = keys.map(|(instance, scalar)| key(instance, session, &share, &(scalar * point)));
        Ok(Zeroizing::new(keys.collect()))
    }
}

/// Answer a receiver's message: both keys of each instance, and the share that is the answer.
///
/// # Errors
/// `Fault::Malformed` where the message is not of points.
pub(crate) fn send(
    coins: &mut Coins,
    session: &[u8; 32],
    mut offer: Reader<'_>,
) -> Result<(Keys, [u8; POINT_BYTES]), Fault> {
    let secret = Zeroizing::new(scalar(coins));
    let share = RistrettoPoint::mul_base(&secret).compress().to_bytes();
    let mut points = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let two = [offer.array()?, offer.array()?].map(CompressedRistretto);
        points.push(two);
    }
    let keys: Option<Vec<[Block; 2]>> = points
        .par_iter()
        .enumerate()
        .map(|(instance, two)| {
            let [zero, one] = [two[0].decompress()?, two[1].decompress()?];
            let zero = zero + hash_to_point(instance, 0, &two[1]);
            let one = one + hash_to_point(instance, 1, &two[0]);
            Some([zero, one].map(|point| key(instance, session, &share, &(*secret * point))))
        })
        .collect();
    Ok((Zeroizing::new(keys.ok_or(offer.malformed())?), share))
}

#[cfg(test)]
mod tests {
    use super::{send, Coins, Reader, Receiver, COUNT, OFFER_BYTES, POINT_BYTES};
    use crate::protocol::Fault;

    #[test]
    fn the_receiver_gets_the_chosen_key_and_no_other() {
        let (receiver, offer) = Receiver::new(&mut Coins::of_test(1));
        let reader = Reader::new(&offer, OFFER_BYTES, "offer").unwrap();
        let (both, share) = send(&mut Coins::of_test(2), &[3; 32], reader).unwrap();
        let mut reader = Reader::new(&share, POINT_BYTES, "share").unwrap();
        let keys = receiver.keys(&[3; 32], &mut reader).unwrap();
        for (instance, two) in both.iter().enumerate() {
            let choice = (receiver.choices >> instance & 1) as usize;
            assert_eq!(keys[instance], two[choice]);
            assert_ne!(keys[instance], two[1 - choice]);
        }
        assert_eq!(keys.len(), COUNT);
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let mut offer = Receiver::new(&mut Coins::of_test(1)).1;
        offer[..32].fill(0xff);
        let reader = Reader::new(&offer, OFFER_BYTES, "offer").unwrap();
        let refused = Fault::Malformed { message: "offer" };
        assert_eq!(
            send(&mut Coins::of_test(2), &[3; 32], reader).err(),
            Some(refused)
        );
        for share in [[0u8; 32], [0xff; 32]] {
            let (receiver, _) = Receiver::new(&mut Coins::of_test(1));
            let mut reader = Reader::new(&share, POINT_BYTES, "offer").unwrap();
            assert_eq!(receiver.keys(&[3; 32], &mut reader).err(), Some(refused));
        }
    }
}
