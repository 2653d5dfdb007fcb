//! Contingency tables by bit vectors: a word holds one value's occurrence in 64 rows, a cell is the population count
//! of an intersection.
//!
//! For a table of c cells over n rows this takes about c n / 64 word operations, vectorised for whatever the processor
//! offers, where counting row by row takes n dependent increments: faster while the table is small, as it is for
//! conditioning sets of up to two or three variables. The slow twin is [`Contingency`](super::Contingency)'s other path.

use crate::data::Categories;
use pulp::Arch;

/// For each value of each column the rows that have it.
#[derive(Clone, Debug)]
pub(super) struct BitColumns {
    words: usize,
    /// `[column]` of `[value, words]`.
    rows: Vec<Vec<u64>>,
    cardinalities: Vec<usize>,
}

/// The strata of a conditioning set that occur, for each of its prefixes, and the last pair's values.
#[derive(Clone, Debug, Default)]
pub(super) struct BitScratch {
    set: Vec<usize>,
    /// `[prefix]` of `[stratum, words]`.
    levels: Vec<Vec<u64>>,
    pair: Option<(usize, usize)>,
    /// `[value of x, value of y, words]`.
    pair_rows: Vec<u64>,
}

impl BitColumns {
    pub(super) fn new(data: &Categories) -> Self {
        let words = data.rows().div_ceil(64);
        let column = |v: usize| {
            let mut rows = vec![0u64; data.cardinalities()[v] * words];
            for (row, &code) in data.codes(v).iter().enumerate() {
                rows[code as usize * words + row / 64] |= 1 << (row % 64);
            }
            rows
        };
        Self {
            words,
            rows: (0..data.len()).map(column).collect(),
            cardinalities: data.cardinalities().to_vec(),
        }
    }

    /// Whether the table of x, y and z is small enough for this way to be the faster one.
    pub(super) fn suits(&self, x: usize, y: usize, z: &[usize]) -> bool {
        let size = |v: &usize| self.cardinalities[*v];
        let strata: usize = z.iter().map(size).product();
        z.len() <= 4 && strata * size(&x) * size(&y) <= 160
    }

    /// Writes the table `[strata, r_x, r_y]` of the strata that occur.
    pub(super) fn count(&self, x: usize, y: usize, z: &[usize], s: &mut BitScratch, counts: &mut Vec<u32>) {
        self.extend_to(z, s);
        self.pair_rows(x, y, s);
        counts.clear();
        let words = self.words;
        match s.set.len().checked_sub(1) {
            None => Arch::new().dispatch(|| {
                counts.extend(s.pair_rows.chunks_exact(words).map(|cell| common(cell, cell)));
            }),
            Some(last) => Arch::new().dispatch(|| {
                for stratum in s.levels[last].chunks_exact(words) {
                    counts.extend(s.pair_rows.chunks_exact(words).map(|cell| common(stratum, cell)));
                }
            }),
        }
    }

    fn extend_to(&self, z: &[usize], s: &mut BitScratch) {
        let shared = s.set.iter().zip(z).take_while(|(a, b)| a == b).count();
        s.set.truncate(shared);
        for (depth, &v) in z.iter().enumerate().skip(shared) {
            if s.levels.len() <= depth {
                s.levels.push(Vec::new());
            }
            let (before, rest) = s.levels.split_at_mut(depth);
            let level = &mut rest[0];
            level.clear();
            match before.last() {
                None => level.extend_from_slice(&self.rows[v]),
                Some(strata) => {
                    for stratum in strata.chunks_exact(self.words) {
                        for value in self.rows[v].chunks_exact(self.words) {
                            let start = level.len();
                            level.extend(stratum.iter().zip(value).map(|(a, b)| a & b));
                            if level[start..].iter().all(|w| *w == 0) {
                                level.truncate(start);
                            }
                        }
                    }
                }
            }
            s.set.push(v);
        }
    }

    fn pair_rows(&self, x: usize, y: usize, s: &mut BitScratch) {
        if s.pair == Some((x, y)) {
            return;
        }
        s.pair = Some((x, y));
        s.pair_rows.clear();
        for a in self.rows[x].chunks_exact(self.words) {
            for b in self.rows[y].chunks_exact(self.words) {
                s.pair_rows.extend(a.iter().zip(b).map(|(a, b)| a & b));
            }
        }
    }
}

#[inline(always)]
fn common(a: &[u64], b: &[u64]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum()
}
