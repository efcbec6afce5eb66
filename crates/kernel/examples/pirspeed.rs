use fondaco_kernel::pir::{matrix::*, sample::Stream, scan, simd};
use std::time::Instant;
fn cpu() -> u64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<u64>().unwrap() + f[12].parse::<u64>().unwrap()) * 10
}
fn main() {
    let shape = Shape {
        tables: 2,
        blocks: 19,
        packs: 4,
    };
    println!("level {}", simd::level());
    let mut data = vec![0u8; shape.data_bytes()];
    let t = Instant::now();
    Stream::public(&[1; 32], "test", 0).fill(&mut data);
    println!("fill {:?} {} MB", t.elapsed(), data.len() >> 20);
    let t = Instant::now();
    let p = prepare(shape, &[2; 32], &data);
    println!("prepare {:?}", t.elapsed());
    for _ in 0..3 {
        let t = Instant::now();
        let s: u64 = data
            .chunks_exact(8)
            .map(|c| u64::from_le_bytes(c.try_into().unwrap()))
            .fold(0, |a, b| a.wrapping_add(b));
        println!("read 1t {:?} {}", t.elapsed(), s & 1);
    }
    let t = Instant::now();
    let public = Public::new(shape, &[2; 32], &p.random).unwrap();
    println!("public {:?}", t.elapsed());
    for n in [1usize, 1, 1, 10, 100] {
        let t = Instant::now();
        let (s, q): (Vec<_>, Vec<_>) = (0..n).map(|i| public.query(&[i * 7, i * 11])).unzip();
        let tq = t.elapsed();
        let sel: Vec<&[u32]> = q.iter().map(|q| q.selection.as_slice()).collect();
        let t = Instant::now();
        let c0 = cpu();
        let mut sums = 0;
        for (t, d) in data
            .chunks_exact(shape.rows() * shape.columns())
            .enumerate()
        {
            let sel: Vec<&[u32]> = sel
                .iter()
                .map(|s| &s[t * shape.rows()..][..shape.rows()])
                .collect();
            sums += scan::scan(d, shape.columns(), &sel).len();
        }
        let c1 = cpu() - c0;
        let ts = t.elapsed();
        let t = Instant::now();
        let c0 = cpu();
        let a = answer(shape, &data, &p.digits, &q);
        let ta = t.elapsed();
        let c2 = cpu() - c0;
        let t = Instant::now();
        for (s, a) in s.iter().zip(&a) {
            public.decode(s, a).unwrap();
        }
        println!("n {n} query {tq:?} scan {ts:?} ({:.1} GB/s) answer {ta:?} decode {:?} {} cpu scan {c1} answer {c2} ms", data.len() as f64 / ts.as_secs_f64() / 1e9, t.elapsed(), sums);
    }
}
