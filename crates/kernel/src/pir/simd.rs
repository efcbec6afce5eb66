//! The loops that cost, compiled for several instruction sets from one portable body each, chosen at run time.
//!
//! The only `unsafe` of this module is the call of a body compiled for an instruction set, made right after the
//! processor was asked whether it has it. The bodies themselves are safe Rust without intrinsics, and the portable
//! ones are the reference: tests compare all that this machine can run.
#![allow(unsafe_code)]

use super::{ask, matrix, pack, ring, sample, scan};
use pack::LANES;
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
versions! {
    /// See `two::table::pass_body`.
    pass = super::two::table::pass_body, (rows: &[u8], bits: u64, sums: &mut [u64])
}
versions! {
    /// See `two::table::pass_many_body`.
    pass_many = super::two::table::pass_many_body,
    (rows: &[u8], bits: &[u64], made: &mut [u64], sums: &mut [u64])
}
/// See `scan::tile_body`.
///
/// # Panics
/// If the lengths do not belong together.
pub fn tile(columns: &[u8], digits: &[scan::Digits], out: &mut [i64]) {
    let count = columns.len() / DEGREE;
    assert!(columns.len() == count * DEGREE && out.len() == count * digits.len());
    #[cfg(target_arch = "x86_64")]
    if count.is_multiple_of(4) {
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
    use super::pack::{carry, FOLD};
    use super::sample::{CUMULATIVE, DRAWS};
    use super::scan::Digits;
    use super::{DEGREE, LANES};
    #[allow(clippy::wildcard_imports)]
    // intrinsics: their names begin alike and are told apart by the compiler
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

    /// The next four columns are asked for while these are read: a column is too short for the processor to foresee it.
    const AHEAD: usize = 4 * DEGREE;

    /// Bytes are taken as `byte ^ 0x80`, 128 more than they stand for, which unpacks without a sign; a lane sums at
    /// most 2048 / 8 products below 2^8 * 2^14.
    #[target_feature(enable = "avx2,bmi2")]
    pub unsafe fn tile_middle(columns: &[u8], digits: &[Digits], out: &mut [i64]) {
        let count = columns.len() / DEGREE;
        for (quad, columns) in columns.chunks_exact(4 * DEGREE).enumerate() {
            let columns = four(columns);
            for (query, digits) in digits.iter().enumerate() {
                let at = query * count + 4 * quad;
                for (to, sum) in out[at..at + 4].iter_mut().zip(middle(columns, digits)) {
                    *to += sum - 128 * digits.total;
                }
            }
        }
    }

    /// Eight digits from `row` on and eight from `row + 16` on, as unpacked bytes lie.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn apart(digits: &[i16; DEGREE], row: usize) -> __m256i {
        let [first, second] = [row, row + 16].map(|row| {
            let eight: &[i16; 8] = digits[row..row + 8].try_into().expect("eight digits");
            // SAFETY: an array of eight digits is as long as the vector.
            unsafe { _mm_loadu_si128(eight.as_ptr().cast()) }
        });
        _mm256_set_m128i(second, first)
    }

    #[target_feature(enable = "avx2,bmi2")]
    fn middle(columns: Four<'_>, query: &Digits) -> [i64; 4] {
        let flip = _mm256_set1_epi8(-128);
        let zero = _mm256_setzero_si256();
        let mut sums = [[zero; 2]; 4];
        for row in (0..DEGREE).step_by(32) {
            let low = [apart(&query.low, row), apart(&query.low, row + 8)];
            let high = [apart(&query.high, row), apart(&query.high, row + 8)];
            for (column, sums) in columns.iter().zip(&mut sums) {
                let line = column.as_ptr().wrapping_add(row);
                if row % 64 == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                }
                // SAFETY: 32 bytes from `row` on lie inside the column of 2048.
                let bytes = unsafe { _mm256_loadu_si256(line.cast()) };
                let bytes = _mm256_xor_si256(bytes, flip);
                for (half, bytes) in [
                    _mm256_unpacklo_epi8(bytes, zero),
                    _mm256_unpackhi_epi8(bytes, zero),
                ]
                .into_iter()
                .enumerate()
                {
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(bytes, low[half]));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(bytes, high[half]));
                }
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

    /// Sixteen draws are in registers while all limits pass. Words of 63 bits compare as signed ones do.
    #[target_feature(enable = "avx2,bmi2")]
    pub fn sizes_middle(uniform: &[u64; DRAWS], out: &mut [u64; DRAWS]) {
        let (words, outs) = (uniform.as_chunks::<16>().0, out.as_chunks_mut::<16>().0);
        for (words, out) in words.iter().zip(outs) {
            let mut sizes = [_mm256_setzero_si256(); 4];
            let mut draws = sizes;
            for (draw, words) in draws.iter_mut().zip(words.as_chunks::<4>().0) {
                // SAFETY: the array behind the reference is as long as the vector.
                let four = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
                *draw = _mm256_srli_epi64::<1>(four);
            }
            for &limit in &CUMULATIVE {
                let below = _mm256_set1_epi64x(limit as i64 - 1);
                for (size, draw) in sizes.iter_mut().zip(draws) {
                    *size = _mm256_sub_epi64(*size, _mm256_cmpgt_epi64(draw, below));
                }
            }
            for (out, size) in out.as_chunks_mut::<4>().0.iter_mut().zip(sizes) {
                // SAFETY: the array behind the reference is as long as the vector.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), size) };
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    pub unsafe fn lanes_wide(tile: &[u32], keys: &[&[u64]], q: u32, out: &mut [[u64; LANES]]) {
        for (keys, out) in keys.chunks(4).zip(out.chunks_mut(4)) {
            // SAFETY: `lanes` checked the lengths of tile and keys.
            unsafe {
                match keys {
                    [one, two, three, four] => wide_lanes(tile, [one, two, three, four], q, out),
                    [one, two, three] => wide_lanes(tile, [one, two, three], q, out),
                    [one, two] => wide_lanes(tile, [one, two], q, out),
                    [one] => wide_lanes(tile, [one], q, out),
                    _ => unreachable!("chunks of one to four"),
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn wide_lanes<const N: usize>(
        tile: &[u32],
        keys: [&[u64]; N],
        q: u32,
        out: &mut [[u64; LANES]],
    ) {
        let (carry, low) = (
            _mm512_set1_epi64(carry(q) as i64),
            _mm512_set1_epi64(0xffff_ffff),
        );
        let mut sums = [[_mm512_setzero_si512(); LANES / 8]; N];
        for (k, row) in tile.chunks_exact(LANES).enumerate() {
            for part in 0..LANES / 8 {
                // SAFETY: eight numbers of a row of 32; eight of a key of at least SWITCHES + LANES - 1.
                let digits = unsafe { _mm256_loadu_si256(row.as_ptr().add(8 * part).cast()) };
                let digits = _mm512_cvtepu32_epi64(digits);
                for (sums, key) in sums.iter_mut().zip(&keys) {
                    let key = unsafe { _mm512_loadu_si512(key.as_ptr().add(k + 8 * part).cast()) };
                    sums[part] = _mm512_add_epi64(sums[part], _mm512_mul_epu32(digits, key));
                }
            }
            if k % FOLD == FOLD - 1 {
                for sum in sums.iter_mut().flatten() {
                    let high = _mm512_mul_epu32(_mm512_srli_epi64::<32>(*sum), carry);
                    *sum = _mm512_add_epi64(high, _mm512_and_si512(*sum, low));
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(&sums) {
            for (part, &sum) in sums.iter().enumerate() {
                // SAFETY: eight numbers of 32.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(8 * part).cast(), sum) };
            }
        }
    }

    #[target_feature(enable = "avx2,bmi2")]
    pub unsafe fn lanes_middle(tile: &[u32], keys: &[&[u64]], q: u32, out: &mut [[u64; LANES]]) {
        let (carry, low) = (
            _mm256_set1_epi64x(carry(q) as i64),
            _mm256_set1_epi64x(0xffff_ffff),
        );
        for (key, out) in keys.iter().zip(out) {
            let mut sums = [_mm256_setzero_si256(); LANES / 4];
            for (k, row) in tile.chunks_exact(LANES).enumerate() {
                for (part, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: four numbers of a row of 32; four of a key of at least SWITCHES + LANES - 1.
                    let digits = unsafe { _mm_loadu_si128(row.as_ptr().add(4 * part).cast()) };
                    let key = unsafe { _mm256_loadu_si256(key.as_ptr().add(k + 4 * part).cast()) };
                    *sum = _mm256_add_epi64(
                        *sum,
                        _mm256_mul_epu32(_mm256_cvtepu32_epi64(digits), key),
                    );
                }
                if k % FOLD == FOLD - 1 {
                    for sum in &mut sums {
                        let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(*sum), carry);
                        *sum = _mm256_add_epi64(high, _mm256_and_si256(*sum, low));
                    }
                }
            }
            for (part, &sum) in sums.iter().enumerate() {
                // SAFETY: four numbers of 32.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(4 * part).cast(), sum) };
            }
        }
    }
}

/// See `pack::lanes_body`.
///
/// # Panics
/// If the lengths do not belong together.
pub fn lanes(tile: &[u32], keys: &[&[u64]], q: u32, out: &mut [[u64; LANES]]) {
    assert!(tile.len() == pack::SWITCHES * LANES && keys.len() == out.len());
    assert!(keys
        .iter()
        .all(|key| key.len() >= pack::SWITCHES + LANES - 1));
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: the processor has every feature that the function is compiled for; the lengths were just checked.
        2 => return unsafe { x86::lanes_wide(tile, keys, q, out) },
        // SAFETY: likewise.
        1 => return unsafe { x86::lanes_middle(tile, keys, q, out) },
        _ => {}
    }
    pack::lanes_body(tile, keys, q, out);
}

versions! {
    /// See `matrix::coefficients_body`.
    coefficients = matrix::coefficients_body, (bytes: &[u8], q: u32, poly: &mut Poly)
}
versions! {
    /// See `scan::digits_body`.
    digits = scan::digits_body, (residues: &[u8], out: &mut scan::Digits)
}
versions! {
    /// See `ring::products_body`.
    products = ring::products_body, (prime: &ring::Prime, a: &Poly, b: &Poly, out: &mut Poly)
}
versions! {
    /// See `ask::hidden_body`.
    hidden = ask::hidden_body,
    (product: &Poly, errors: &[i32; DEGREE], wish: ask::Wish, first_row: u32, out: &mut [u8])
}
versions! {
    /// See `matrix::largest_body`.
    largest = matrix::largest_body, (words: &[u8], out: &mut u32)
}
versions! {
    /// See `sample::sizes_body`.
    sizes_by_the_compiler = sample::sizes_body,
    (uniform: &[u64; sample::DRAWS], out: &mut [u64; sample::DRAWS])
}

/// See `sample::sizes_body`.
pub fn sizes(uniform: &[u64; sample::DRAWS], out: &mut [u64; sample::DRAWS]) {
    #[cfg(target_arch = "x86_64")]
    if level() == 1 {
        // SAFETY: the processor has every feature that the function is compiled for.
        return unsafe { x86::sizes_middle(uniform, out) };
    }
    sizes_by_the_compiler(uniform, out);
}
versions! {
    /// See `pack::gather_body`: acc += a * b over evaluations.
    gather = pack::gather_body, (a: &Poly, b: &Poly, out: &mut [u64; DEGREE])
}
