//! The hot loops over `clients × parameters`: weighted sums, sorting of columns, pairwise distances.
//!
//! All of them walk the parameters in tiles that stay in the first-level cache, so that every update is read
//! from memory once. Sums are taken in f64 in a fixed order; tiles are spread over rayon's pool without any
//! effect on the result. Each kernel has a slow, obvious twin in the tests.

use rayon::prelude::*;
use rl_core::vectorised;

/// f32 or f64: what a parameter may be.
pub trait Real: Copy + Default + PartialOrd + Send + Sync + std::fmt::Debug + 'static {
    /// Positive infinity: where a NaN is sorted to.
    const INFINITY: Self;
    /// Exact widening.
    fn to_f64(self) -> f64;
    /// Rounding to nearest.
    fn from_f64(value: f64) -> Self;
}

impl Real for f32 {
    const INFINITY: Self = f32::INFINITY;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    const INFINITY: Self = f64::INFINITY;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// Parameters per tile of a sum: 8 KiB of f64 accumulators.
const TILE: usize = 1024;
/// Parameters per tile of the distances: one client against all others runs in the first two levels of the cache.
const NARROW: usize = 256;
/// Sums that do not wait for one another.
const SUMS: usize = 32;
/// Parameters per piece of work handed to the pool.
const PIECE: usize = 16 * TILE;
/// Columns sorted at once: one row of f32 fills four AVX registers.
const LANES: usize = 32;

/// `out_j = Σ_i w_i · x_ij`, accumulated in f64. `vectors: [N][D]`, `weights: [N]`, `out: [D]`; lengths agree.
pub(crate) fn weighted_sum<F: Real>(vectors: &[&[F]], weights: &[f64], out: &mut [F]) {
    out.par_chunks_mut(PIECE).enumerate().for_each(|(piece, out)| {
        let mut sum = [0.0f64; TILE];
        for (tile, out) in out.chunks_mut(TILE).enumerate() {
            let start = piece * PIECE + tile * TILE;
            let sum = &mut sum[..out.len()];
            sum_tile(vectors, weights, start, sum);
            out.iter_mut().zip(sum.iter()).for_each(|(o, s)| *o = F::from_f64(*s));
        }
    });
}

vectorised! {
    /// One tile of [`weighted_sum`], four clients per pass so that the accumulators are touched a quarter as often.
    fn sum_tile<F: Real>(vectors: &[&[F]], weights: &[f64], start: usize, sum: &mut [f64]) {
        let width = sum.len();
        sum.fill(0.0);
        let row = |i: usize| &vectors[i][start..start + width];
        let whole = vectors.len() / 4 * 4;
        for i in (0..whole).step_by(4) {
            let (a, b, c, d) = (row(i), row(i + 1), row(i + 2), row(i + 3));
            let [wa, wb, wc, wd] = [weights[i], weights[i + 1], weights[i + 2], weights[i + 3]];
            for j in 0..width {
                sum[j] += (wa * a[j].to_f64() + wb * b[j].to_f64()) + (wc * c[j].to_f64() + wd * d[j].to_f64());
            }
        }
        for (i, &w) in weights.iter().enumerate().skip(whole) {
            let x = row(i);
            for j in 0..width {
                sum[j] += w * x[j].to_f64();
            }
        }
    }
}

/// Sorts every column of `vectors: [N][D]` and hands `reduce` blocks of sorted rows `[N][LANES]` (row-major,
/// ascending down the rows) with the slice of `out` they belong to. A NaN counts as +∞, so that a client cannot
/// spoil the order.
pub(crate) fn reduce_sorted<F: Real>(
    vectors: &[&[F]],
    out: &mut [F],
    reduce: impl Fn(&[[F; LANES]], &mut [F]) + Sync,
) {
    let network = sorting_network(vectors.len());
    out.par_chunks_mut(PIECE).enumerate().for_each(|(piece, out)| {
        let mut rows = vec![[F::default(); LANES]; vectors.len()];
        for (block, out) in out.chunks_mut(LANES).enumerate() {
            let start = piece * PIECE + block * LANES;
            for (row, vector) in rows.iter_mut().zip(vectors) {
                for (slot, &value) in row.iter_mut().zip(&vector[start..start + out.len()]) {
                    *slot = if value.partial_cmp(&value).is_some() { value } else { F::INFINITY };
                }
            }
            sort_rows(&mut rows, &network);
            reduce(&rows, out);
        }
    });
}

vectorised! {
    /// Applies the comparators to whole rows: every lane is sorted independently, without branches.
    fn sort_rows<F: Real>(rows: &mut [[F; LANES]], network: &[(u32, u32)]) {
        for &(low, high) in network {
            let (a, b) = (rows[low as usize], rows[high as usize]);
            let (mut least, mut most) = (a, b);
            for lane in 0..LANES {
                least[lane] = if b[lane] < a[lane] { b[lane] } else { a[lane] };
                most[lane] = if b[lane] < a[lane] { a[lane] } else { b[lane] };
            }
            rows[low as usize] = least;
            rows[high as usize] = most;
        }
    }
}

/// Batcher's odd-even merge sort for any `n`: comparators `(low, high)`, about `n log²n / 4` of them.
fn sorting_network(n: usize) -> Vec<(u32, u32)> {
    let mut network = Vec::new();
    let mut p = 1;
    while p < n {
        let mut k = p;
        while k >= 1 {
            for j in (k % p..n.saturating_sub(k)).step_by(2 * k) {
                for i in j..(j + k).min(n - k) {
                    if i / (2 * p) == (i + k) / (2 * p) {
                        network.push((i as u32, (i + k) as u32));
                    }
                }
            }
            k /= 2;
        }
        p *= 2;
    }
    network
}

/// Squared Euclidean distances of all pairs, `[N · N]` row-major with a zero diagonal, in f64 throughout.
pub(crate) fn squared_distances<F: Real>(vectors: &[&[F]]) -> Vec<f64> {
    let n = vectors.len();
    let dimension = vectors.first().map_or(0, |v| v.len());
    // a fixed number of pieces, added in order: the same bits for every number of threads
    let pieces: Vec<Vec<f64>> = (0..dimension.div_ceil(PIECE))
        .into_par_iter()
        .map(|piece| {
            let (mut sums, mut wide) = (vec![0.0; n * n], vec![0.0; n * NARROW]);
            let end = dimension.min((piece + 1) * PIECE);
            for start in (piece * PIECE..end).step_by(NARROW) {
                distance_tile(vectors, start, end.min(start + NARROW), &mut wide, &mut sums);
            }
            sums
        })
        .collect();
    let mut distances = vec![0.0; n * n];
    for sums in pieces {
        distances.iter_mut().zip(sums).for_each(|(d, s)| *d += s);
    }
    for i in 0..n {
        for j in 0..i {
            distances[i * n + j] = distances[j * n + i];
        }
    }
    distances
}

vectorised! {
    /// Adds one tile's part to the upper triangle of `sums: [N · N]`. `wide: [N][NARROW]` takes the tile in f64, so that
    /// a number is widened once and not once for each pair.
    fn distance_tile<F: Real>(vectors: &[&[F]], start: usize, stop: usize, wide: &mut [f64], sums: &mut [f64]) {
        let n = vectors.len();
        let width = (stop - start).next_multiple_of(SUMS);
        for (row, vector) in wide.chunks_exact_mut(NARROW).zip(vectors) {
            row.fill(0.0);
            row.iter_mut().zip(&vector[start..stop]).for_each(|(w, x)| *w = x.to_f64());
        }
        let row = |i: usize| &wide[i * NARROW..][..width];
        // Two rows against two others, so that each number that is loaded serves twice.
        for i in (0..n - n % 2).step_by(2) {
            sums[i * n + i + 1] += squared_distance(row(i), row(i + 1));
            for j in (i + 2..n - n % 2).step_by(2) {
                let [a, b, c, d] = squared_distances_of_pairs([row(i), row(i + 1)], [row(j), row(j + 1)]);
                sums[i * n + j] += a;
                sums[i * n + j + 1] += b;
                sums[(i + 1) * n + j] += c;
                sums[(i + 1) * n + j + 1] += d;
            }
        }
        if n % 2 == 1 {
            for i in 0..n - 1 {
                sums[i * n + n - 1] += squared_distance(row(i), row(n - 1));
            }
        }
    }

    /// `‖a − b‖²`; lengths agree.
    fn squared_norm_of_difference<F: Real>(a: &[F], b: &[F]) -> f64 {
        squared_distance(a, b)
    }
}

/// [`squared_distance`] of each of two rows from each of two others; lengths are multiples of [`SUMS`].
#[inline(always)]
fn squared_distances_of_pairs(a: [&[f64]; 2], b: [&[f64]; 2]) -> [f64; 4] {
    const LANES: usize = SUMS / 2;
    let mut sums = [[0.0f64; LANES]; 4];
    let (a0, a1) = (a[0].as_chunks::<LANES>().0, a[1].as_chunks::<LANES>().0);
    let (b0, b1) = (b[0].as_chunks::<LANES>().0, b[1].as_chunks::<LANES>().0);
    for ((a0, a1), (b0, b1)) in a0.iter().zip(a1).zip(b0.iter().zip(b1)) {
        for lane in 0..LANES {
            let [e, f] = [a0[lane] - b0[lane], a0[lane] - b1[lane]];
            let [g, h] = [a1[lane] - b0[lane], a1[lane] - b1[lane]];
            sums[0][lane] = e.mul_add(e, sums[0][lane]);
            sums[1][lane] = f.mul_add(f, sums[1][lane]);
            sums[2][lane] = g.mul_add(g, sums[2][lane]);
            sums[3][lane] = h.mul_add(h, sums[3][lane]);
        }
    }
    sums.map(|sums| sums.iter().sum())
}

/// `Σ (a − b)²` in independent sums, which stay in registers.
#[inline(always)]
fn squared_distance<F: Real>(a: &[F], b: &[F]) -> f64 {
    let mut sums = [0.0f64; SUMS];
    let (a, b) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let rest: f64 =
        a.remainder().iter().zip(b.remainder()).map(|(x, y)| square(x.to_f64() - y.to_f64())).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..SUMS {
            let difference = x[lane].to_f64() - y[lane].to_f64();
            sums[lane] = difference.mul_add(difference, sums[lane]);
        }
    }
    // By halves, as vectors.
    let mut half = SUMS / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0] + rest
}

#[inline(always)]
fn square(x: f64) -> f64 {
    x * x
}

/// `‖a‖₂`, summed in f64.
pub fn norm<F: Real>(a: &[F]) -> f64 {
    a.iter().map(|x| square(x.to_f64())).sum::<f64>().sqrt()
}

/// `‖a − b‖₂`; the shorter length counts.
pub(crate) fn distance<F: Real>(a: &[F], b: &[F]) -> f64 {
    let length = a.len().min(b.len());
    squared_norm_of_difference(&a[..length], &b[..length]).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::RngExt;

    fn draw(n: usize, d: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = rl_core::seed::SeedStream::new(seed).stream("kernel", 0);
        (0..n).map(|_| (0..d).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    }

    fn refs(v: &[Vec<f32>]) -> Vec<&[f32]> {
        v.iter().map(|x| x.as_slice()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_network_sorts_every_column(n in 1usize..70, d in 1usize..100, seed in any::<u64>()) {
            let v = draw(n, d, seed);
            for rank in [0, n / 2, n - 1] {
                let mut out = vec![0.0; d];
                reduce_sorted(&refs(&v), &mut out, |rows, out| {
                    out.iter_mut().zip(rows[rank]).for_each(|(o, r)| *o = r)
                });
                for j in 0..d {
                    let mut column: Vec<f32> = v.iter().map(|x| x[j]).collect();
                    column.sort_by(f32::total_cmp);
                    prop_assert_eq!(out[j], column[rank]);
                }
            }
        }

        #[test]
        fn sums_and_distances_equal_the_plain_loops(n in 1usize..9, d in 1usize..3000, seed in any::<u64>()) {
            let v = draw(n, d, seed);
            let weights: Vec<f64> = (0..n).map(|i| 0.3 + i as f64).collect();
            let mut out = vec![0.0f32; d];
            weighted_sum(&refs(&v), &weights, &mut out);
            for j in 0..d {
                let plain: f64 = (0..n).map(|i| weights[i] * f64::from(v[i][j])).sum();
                prop_assert!((f64::from(out[j]) - plain).abs() < 1e-5);
            }
            let distances = squared_distances(&refs(&v));
            for i in 0..n {
                for j in 0..n {
                    let plain: f64 = v[i].iter().zip(&v[j]).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
                    prop_assert!((distances[i * n + j] - plain).abs() <= 1e-9 * plain.max(1.0));
                }
            }
        }
    }

    #[test]
    fn pieces_and_tiles_meet_without_a_gap() {
        let d = 2 * PIECE + TILE + 5;
        let v = draw(3, d, 1);
        let mut out = vec![0.0f32; d];
        weighted_sum(&refs(&v), &[1.0, 0.0, 0.0], &mut out);
        assert_eq!(out, v[0]);
        reduce_sorted(&refs(&v[..1]), &mut out, |rows, out| {
            out.iter_mut().zip(rows[0]).for_each(|(o, r)| *o = r)
        });
        assert_eq!(out, v[0]);
    }
}
