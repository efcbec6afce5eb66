//! The loops that cost, compiled for several instruction sets from one portable body each, chosen at run time.
//!
//! The only `unsafe` of this module is the call of a body compiled for an instruction set, made right after the
//! processor was asked whether it has it. The bodies themselves are safe Rust without intrinsics, and the portable
//! ones are the reference: tests compare all that this machine can run.
#![allow(unsafe_code)]

use super::{pack, ring, scan};
use ring::{Poly, DEGREE};

macro_rules! versions {
    ($(#[$doc:meta])* $name:ident = $body:path, ($($arg:ident: $kind:ty),*)) => {
        $(#[$doc])*
        pub fn $name($($arg: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,bmi2")]
                unsafe fn wide($($arg: $kind),*) {
                    $body($($arg),*);
                }
                #[target_feature(enable = "avx2,bmi2")]
                unsafe fn middle($($arg: $kind),*) {
                    $body($($arg),*);
                }
                match level() {
                    // SAFETY: `level` says 2 only where the processor has every feature that `wide` is compiled for.
                    2 => return unsafe { wide($($arg),*) },
                    // SAFETY: likewise for `middle`.
                    1 => return unsafe { middle($($arg),*) },
                    _ => {}
                }
            }
            $body($($arg),*);
        }
    };
}

/// 2 for AVX-512 with VNNI, 1 for AVX2, 0 for the portable path.
#[must_use]
pub fn level() -> u8 {
    #[cfg(target_arch = "x86_64")]
    {
        let middle = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni");
        if middle && wide {
            return 2;
        }
        if middle {
            return 1;
        }
    }
    0
}

versions! {
    /// See `ring::butterflies_body`.
    butterflies = ring::butterflies_body, (poly: &mut Poly, table: &[(u32, u32)], q: u32)
}
versions! {
    /// See `ring::inverse_butterflies_body`.
    inverse_butterflies = ring::inverse_butterflies_body,
    (poly: &mut Poly, table: &[(u32, u32)], scale: (u32, u32), q: u32)
}
/// See `scan::tile_body`.
pub fn tile(columns: &[u8], digits: &[scan::Digits], out: &mut [i64]) {
    let count = columns.len() / DEGREE;
    assert!(columns.len() == count * DEGREE && out.len() == count * digits.len());
    #[cfg(target_arch = "x86_64")]
    if count % 4 == 0 {
        match level() {
            // SAFETY: the processor has every feature that the function is compiled for; it checks lengths itself.
            2 => return unsafe { x86::tile_wide(columns, digits, out) },
            // SAFETY: likewise.
            1 => return unsafe { x86::tile_middle(columns, digits, out) },
            _ => {}
        }
    }
    scan::tile_body(columns, digits, out);
}

/// The scan by intrinsics: four columns at once against one query or two, sums kept in 32-bit lanes for 2048 rows.
///
/// A lane sums at most 2 * 2048 / 16 products of a byte and a digit, below 2^8 * 2^7 * 2^14 = 2^29.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::scan::Digits;
    use super::DEGREE;
    use std::arch::x86_64::*;

    type Four<'a> = [&'a [u8; DEGREE]; 4];

    fn four(columns: &[u8]) -> Four<'_> {
        std::array::from_fn(|c| {
            columns[c * DEGREE..][..DEGREE]
                .try_into()
                .expect("the length of a column")
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    pub unsafe fn tile_wide(columns: &[u8], digits: &[Digits], out: &mut [i64]) {
        let count = columns.len() / DEGREE;
        for (quad, columns) in columns.chunks_exact(4 * DEGREE).enumerate() {
            let columns = four(columns);
            for (pair, queries) in digits.chunks(2).enumerate() {
                let sums = match queries {
                    [one, two] => wide::<2>(columns, [one, two]),
                    [one] => wide::<1>(columns, [one]),
                    _ => unreachable!("chunks of one or two"),
                };
                for (query, sums) in sums.iter().enumerate().take(queries.len()) {
                    let at = (2 * pair + query) * count + 4 * quad;
                    for (to, sum) in out[at..at + 4].iter_mut().zip(sums) {
                        *to += sum;
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn wide<const N: usize>(columns: Four<'_>, queries: [&Digits; N]) -> [[i64; 4]; 2] {
        let mut sums = [[[_mm512_setzero_si512(); 2]; 4]; N];
        for row in (0..DEGREE).step_by(32) {
            for (query, sums) in queries.iter().zip(&mut sums) {
                // SAFETY: 32 values from `row` on lie inside the arrays of 2048, for each of these loads.
                let low = unsafe { _mm512_loadu_si512(query.low.as_ptr().add(row).cast()) };
                let high = unsafe { _mm512_loadu_si512(query.high.as_ptr().add(row).cast()) };
                for (column, sums) in columns.iter().zip(sums) {
                    let bytes = unsafe { _mm256_loadu_si256(column.as_ptr().add(row).cast()) };
                    let bytes = _mm512_cvtepi8_epi16(bytes);
                    sums[0] = _mm512_dpwssd_epi32(sums[0], bytes, low);
                    sums[1] = _mm512_dpwssd_epi32(sums[1], bytes, high);
                }
            }
        }
        let mut out = [[0; 4]; 2];
        for (out, sums) in out.iter_mut().zip(&sums) {
            for (out, [low, high]) in out.iter_mut().zip(sums) {
                let low = _mm512_add_epi64(
                    _mm512_cvtepi32_epi64(_mm512_castsi512_si256(*low)),
                    _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(*low)),
                );
                let high = _mm512_add_epi64(
                    _mm512_cvtepi32_epi64(_mm512_castsi512_si256(*high)),
                    _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(*high)),
                );
                *out =
                    _mm512_reduce_add_epi64(_mm512_add_epi64(low, _mm512_slli_epi64::<15>(high)));
            }
        }
        out
    }

    #[target_feature(enable = "avx2,bmi2")]
    pub unsafe fn tile_middle(columns: &[u8], digits: &[Digits], out: &mut [i64]) {
        let count = columns.len() / DEGREE;
        for (quad, columns) in columns.chunks_exact(4 * DEGREE).enumerate() {
            let columns = four(columns);
            for (query, digits) in digits.iter().enumerate() {
                let sums = middle(columns, digits);
                let at = query * count + 4 * quad;
                for (to, sum) in out[at..at + 4].iter_mut().zip(sums) {
                    *to += sum;
                }
            }
        }
    }

    #[target_feature(enable = "avx2,bmi2")]
    unsafe fn middle(columns: Four<'_>, query: &Digits) -> [i64; 4] {
        let mut sums = [[_mm256_setzero_si256(); 2]; 4];
        for row in (0..DEGREE).step_by(16) {
            // SAFETY: 16 values from `row` on lie inside the arrays of 2048, for each of these loads.
            let low = unsafe { _mm256_loadu_si256(query.low.as_ptr().add(row).cast()) };
            let high = unsafe { _mm256_loadu_si256(query.high.as_ptr().add(row).cast()) };
            for (column, sums) in columns.iter().zip(&mut sums) {
                let bytes = unsafe { _mm_loadu_si128(column.as_ptr().add(row).cast()) };
                let bytes = _mm256_cvtepi8_epi16(bytes);
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(bytes, low));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(bytes, high));
            }
        }
        let mut out = [0; 4];
        for (out, sums) in out.iter_mut().zip(sums) {
            let [low, high] = sums.map(|sum| {
                let mut lanes = [0i32; 8];
                // SAFETY: eight lanes are written to an array of eight.
                unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
                lanes.iter().map(|&lane| i64::from(lane)).sum::<i64>()
            });
            *out = low + (high << 15);
        }
        out
    }
}

versions! {
    /// See `pack::lanes_body`.
    lanes = pack::lanes_body, (tile: &[u32], key: &[u32], q: u32, out: &mut [u64; pack::LANES])
}
versions! {
    /// See `pack::gather_body`: acc += a * b over evaluations.
    gather = pack::gather_body, (a: &Poly, b: &Poly, out: &mut [u64; DEGREE])
}
