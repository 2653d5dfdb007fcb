//! Pearson's χ² and the likelihood ratio G² for categories, summed over the strata of the conditioning set.
//!
//! Per stratum s with counts O, expected counts E = row total · column total / n_s; χ² = Σ (O − E)² / E,
//! G² = 2 Σ O ln(O / E); degrees of freedom Σ_s (r_x − 1 − empty rows)(r_y − 1 − empty columns) over the strata
//! that occur (Spirtes, Glymour & Scheines 2000, section 5.5; the convention of causal-learn). With no degree of
//! freedom left p = 1.
//!
//! Speed: small tables are population counts of bit vectors. Beyond them columns are bytes, the code of a row's stratum is built column by column in 16 bits and kept for the next
//! test, as is the code of the pair; strata that occur are renumbered before the table grows beyond the data; k ln k
//! is a table; and decisions compare with a cached critical value. More than 2¹⁶ strata are counted by sorting rows.

use super::bit_counts::{BitColumns, BitScratch};
use super::{IndependenceTest, TestResult, chi_square_survival};
use crate::data::Categories;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// How observed and expected counts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discrepancy {
    /// Pearson's χ².
    ChiSquare,
    /// Likelihood ratio G².
    GSquare,
}

/// The χ² or G² test on categories.
#[derive(Clone, Debug)]
pub struct Contingency {
    data: Categories,
    bits: BitColumns,
    discrepancy: Discrepancy,
    /// k ln k for k = 0..=n.
    k_ln_k: Vec<f64>,
}

impl Contingency {
    /// The test on the rows of `data`.
    ///
    /// # Errors
    /// [`Error::Data`] for a constant column or no row.
    pub fn new(data: Categories, discrepancy: Discrepancy) -> Result<Self> {
        data.check_for_discovery(1)?;
        if u32::try_from(data.rows()).is_err() {
            return Err(Error::data("data", "more than 2^32 rows"));
        }
        let k_ln_k = match discrepancy {
            Discrepancy::GSquare => {
                (0..=data.rows()).map(|k| if k == 0 { 0.0 } else { k as f64 * (k as f64).ln() }).collect()
            }
            Discrepancy::ChiSquare => Vec::new(),
        };
        Ok(Self { bits: BitColumns::new(&data), data, discrepancy, k_ln_k })
    }

    /// Statistic and degrees of freedom.
    fn statistic(&self, x: usize, y: usize, z: &[usize], s: &mut ContingencyScratch) -> (f64, usize) {
        let (rx, ry) = (self.data.cardinalities()[x], self.data.cardinalities()[y]);
        if self.bits.suits(x, y, z) {
            self.bits.count(x, y, z, &mut s.bits, &mut s.counts);
            return self.sum(&s.counts, rx, ry, &mut s.totals);
        }
        match s.strata.extend_to(&self.data, z) {
            Some(strata) => {
                self.count(x, y, strata, s);
                self.sum(&s.counts[..strata * rx * ry], rx, ry, &mut s.totals)
            }
            None => self.sum(&self.count_by_sorting(x, y, z), rx, ry, &mut s.totals),
        }
    }

    fn sum(&self, cells: &[u32], rx: usize, ry: usize, totals: &mut Vec<u32>) -> (f64, usize) {
        match self.discrepancy {
            Discrepancy::ChiSquare => sum_strata(cells, rx, ry, totals, pearson),
            Discrepancy::GSquare => sum_strata(cells, rx, ry, totals, |block, rows, columns, n| {
                self.likelihood_ratio(block, rows, columns, n)
            }),
        }
    }

    /// Fills `s.counts` with the table `[strata, rx, ry]`.
    fn count(&self, x: usize, y: usize, strata: usize, s: &mut ContingencyScratch) {
        let (cx, cy) = (self.data.codes(x), self.data.codes(y));
        let (rx, ry) = (self.data.cardinalities()[x], self.data.cardinalities()[y]);
        let cells = strata * rx * ry;
        s.counts.clear();
        if cells > NARROW {
            s.counts.resize(cells, 0);
            let codes = s.strata.codes().into_iter().flatten();
            for (&z, (&a, &b)) in codes.zip(cx.iter().zip(cy)) {
                s.counts[(z as usize * rx + a as usize) * ry + b as usize] += 1;
            }
            return;
        }
        if s.pair != Some((x, y)) {
            s.pair = Some((x, y));
            s.pair_codes.clear();
            s.pair_codes.extend(
                cx.iter().zip(cy).map(|(&a, &b)| u16::from(a).wrapping_mul(ry as u16) + u16::from(b)),
            );
        }
        let cell = match s.strata.codes() {
            Some(codes) => {
                let block = (rx * ry) as u16;
                s.cell.clear();
                s.cell
                    .extend(codes.iter().zip(&s.pair_codes).map(|(&z, &pair)| z.wrapping_mul(block) + pair));
                &s.cell
            }
            None => &s.pair_codes,
        };
        // Neighbouring rows often fall into the same cell; four tables keep the increments independent.
        if cells > 1024 {
            s.counts.resize(cells, 0);
            cell.iter().for_each(|&c| s.counts[c as usize] += 1);
            return;
        }
        s.counts.resize(4 * cells, 0);
        let (t0, others) = s.counts.split_at_mut(cells);
        let (t1, others) = others.split_at_mut(cells);
        let (t2, t3) = others.split_at_mut(cells);
        let (fours, rest) = cell.as_chunks::<4>();
        for four in fours {
            t0[four[0] as usize] += 1;
            t1[four[1] as usize] += 1;
            t2[four[2] as usize] += 1;
            t3[four[3] as usize] += 1;
        }
        rest.iter().for_each(|&c| t0[c as usize] += 1);
        for (((a, b), c), d) in t0.iter_mut().zip(t1).zip(t2).zip(t3) {
            *a += *b + *c + *d;
        }
    }

    /// The table of the strata that occur, for more strata than 16 bits can number.
    fn count_by_sorting(&self, x: usize, y: usize, z: &[usize]) -> Vec<u32> {
        let (rx, ry) = (self.data.cardinalities()[x], self.data.cardinalities()[y]);
        let stratum = |row: usize| z.iter().map(move |&v| self.data.codes(v)[row]);
        let mut rows: Vec<usize> = (0..self.data.rows()).collect();
        rows.sort_unstable_by(|&a, &b| stratum(a).cmp(stratum(b)));
        let mut cells = Vec::new();
        let mut start = 0;
        for (i, &row) in rows.iter().enumerate() {
            if i == 0 || stratum(row).ne(stratum(rows[i - 1])) {
                start = cells.len();
                cells.resize(start + rx * ry, 0);
            }
            cells[start + self.data.codes(x)[row] as usize * ry + self.data.codes(y)[row] as usize] += 1;
        }
        cells
    }

    /// 2 Σ O ln(O n / (row · column)) = 2 (Σ O ln O − Σ row ln row − Σ column ln column + n ln n).
    fn likelihood_ratio(&self, block: &[u32], rows: &[u32], columns: &[u32], n: u32) -> f64 {
        let f = |counts: &[u32]| counts.iter().map(|&k| self.k_ln_k[k as usize]).sum::<f64>();
        2.0 * (f(block) - f(rows) - f(columns) + self.k_ln_k[n as usize])
    }
}

/// Σ (O − E)² / E = n (Σ O² / (row · column) − 1).
fn pearson(block: &[u32], rows: &[u32], columns: &[u32], n: u32) -> f64 {
    let mut sum = 0.0;
    for (cells, &row) in block.chunks_exact(columns.len()).zip(rows).filter(|(_, row)| **row > 0) {
        let line = cells.iter().zip(columns).filter(|(o, _)| **o > 0);
        sum += line.map(|(&o, &c)| f64::from(o) * f64::from(o) / f64::from(c)).sum::<f64>() / f64::from(row);
    }
    f64::from(n) * (sum - 1.0)
}

/// Sums `discrepancy(block, row totals, column totals, n)` and the degrees of freedom over the strata.
fn sum_strata(
    cells: &[u32],
    rx: usize,
    ry: usize,
    totals: &mut Vec<u32>,
    discrepancy: impl Fn(&[u32], &[u32], &[u32], u32) -> f64,
) -> (f64, usize) {
    let (mut statistic, mut freedom) = (0.0, 0);
    totals.resize(rx + ry, 0);
    for block in cells.chunks_exact(rx * ry) {
        totals.fill(0);
        let (rows, columns) = totals.split_at_mut(rx);
        for (line, row) in block.chunks_exact(ry).zip(rows.iter_mut()) {
            for (&o, column) in line.iter().zip(columns.iter_mut()) {
                *row += o;
                *column += o;
            }
        }
        let n: u32 = rows.iter().sum();
        if n == 0 {
            continue;
        }
        let (live_rows, live_columns) = (live(rows), live(columns));
        let block_freedom = (live_rows - 1) * (live_columns - 1);
        if block_freedom > 0 {
            statistic += discrepancy(block, rows, columns, n);
            freedom += block_freedom;
        }
    }
    (statistic, freedom)
}

fn live(totals: &[u32]) -> usize {
    totals.iter().filter(|&&t| t > 0).count()
}

impl IndependenceTest for Contingency {
    type Scratch = ContingencyScratch;

    fn variables(&self) -> usize {
        self.data.len()
    }

    fn scratch(&self) -> ContingencyScratch {
        ContingencyScratch::default()
    }

    fn test(&self, x: usize, y: usize, z: &[usize], s: &mut ContingencyScratch) -> Result<TestResult> {
        let (statistic, freedom) = self.statistic(x, y, z, s);
        let p_value = chi_square_survival(statistic, freedom as f64);
        Ok(TestResult { statistic, p_value, degrees_of_freedom: freedom as f64 })
    }

    fn independent(
        &self,
        x: usize,
        y: usize,
        z: &[usize],
        alpha: f64,
        s: &mut ContingencyScratch,
    ) -> Result<bool> {
        let (statistic, freedom) = self.statistic(x, y, z, s);
        if freedom == 0 {
            return Ok(1.0 > alpha);
        }
        let critical = s.critical(freedom, alpha)?;
        // The quantile is the result of a search; near it the p-value itself decides.
        if (statistic - critical).abs() <= 1e-6 * critical {
            return Ok(chi_square_survival(statistic, freedom as f64) > alpha);
        }
        Ok(statistic < critical)
    }
}

/// Buffers of [`Contingency`]: the strata of the last conditioning set, counts, and critical values.
#[derive(Clone, Debug, Default)]
pub struct ContingencyScratch {
    bits: BitScratch,
    strata: Strata,
    pair: Option<(usize, usize)>,
    pair_codes: Vec<u16>,
    cell: Vec<u16>,
    counts: Vec<u32>,
    totals: Vec<u32>,
    alpha: f64,
    critical: Vec<f64>,
}

impl ContingencyScratch {
    fn critical(&mut self, freedom: usize, alpha: f64) -> Result<f64> {
        if self.alpha != alpha {
            self.critical.clear();
            self.alpha = alpha;
        }
        if self.critical.len() <= freedom {
            self.critical.resize(freedom + 1, f64::NAN);
        }
        if self.critical[freedom].is_nan() {
            let chi = ChiSquared::new(freedom as f64).map_err(|e| Error::data("degrees of freedom", e))?;
            self.critical[freedom] = chi.inverse_cdf(1.0 - alpha);
        }
        Ok(self.critical[freedom])
    }
}

/// Codes that 16 bits can number.
const NARROW: usize = 1 << 16;

/// For each prefix of the conditioning set, the stratum of every row and the number of strata.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strata {
    set: Vec<usize>,
    levels: Vec<(Vec<u16>, usize)>,
    wide: Vec<u32>,
    renumber: Vec<u32>,
}

impl Strata {
    /// Makes the codes those of `z`; returns the number of strata, or `None` when there are more than 2¹⁶.
    pub(crate) fn extend_to(&mut self, data: &Categories, z: &[usize]) -> Option<usize> {
        let shared = self.set.iter().zip(z).take_while(|(a, b)| a == b).count();
        self.set.truncate(shared);
        for (depth, &v) in z.iter().enumerate().skip(shared) {
            if self.levels.len() <= depth {
                self.levels.push((Vec::with_capacity(data.rows()), 0));
            }
            let (before, rest) = self.levels.split_at_mut(depth);
            let (codes, count) = &mut rest[0];
            let radix = data.cardinalities()[v];
            codes.clear();
            match before.last() {
                None => {
                    codes.extend(data.codes(v).iter().map(|&c| u16::from(c)));
                    *count = radix;
                }
                Some((previous, number)) if number * radix <= data.rows().min(NARROW) => {
                    let radix = radix as u16;
                    codes.extend(
                        previous
                            .iter()
                            .zip(data.codes(v))
                            .map(|(&s, &c)| s.wrapping_mul(radix) + u16::from(c)),
                    );
                    *count = number * usize::from(radix);
                }
                Some((previous, number)) => {
                    self.wide.clear();
                    let wide = previous.iter().zip(data.codes(v));
                    self.wide.extend(wide.map(|(&s, &c)| u32::from(s) * radix as u32 + u32::from(c)));
                    *count = compact(&mut self.wide, number * radix, &mut self.renumber);
                    if *count > NARROW {
                        return None;
                    }
                    codes.extend(self.wide.iter().map(|&c| c as u16));
                }
            }
            self.set.push(v);
        }
        Some(self.set.len().checked_sub(1).map_or(1, |last| self.levels[last].1))
    }

    /// The stratum of every row; `None` for the empty set.
    pub(crate) fn codes(&self) -> Option<&[u16]> {
        self.set.len().checked_sub(1).map(|last| self.levels[last].0.as_slice())
    }
}

/// Renumbers the codes that occur as 0, 1, … in order of first occurrence; returns how many there are.
fn compact(codes: &mut [u32], range: usize, renumber: &mut Vec<u32>) -> usize {
    renumber.clear();
    renumber.resize(range, u32::MAX);
    let mut next = 0;
    for code in codes {
        let new = &mut renumber[*code as usize];
        if *new == u32::MAX {
            *new = next;
            next += 1;
        }
        *code = *new;
    }
    next as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Table;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn categories(columns: &[Vec<u8>]) -> Categories {
        let columns = columns.iter().map(|c| c.iter().map(|&v| f64::from(v)).collect()).collect();
        Table::from_columns(columns).unwrap().to_categories().unwrap()
    }

    /// Both statistics by the definition, with maps.
    fn by_definition(data: &Categories, x: usize, y: usize, z: &[usize]) -> (f64, f64, usize) {
        let mut strata: BTreeMap<Vec<u8>, BTreeMap<(u8, u8), f64>> = BTreeMap::new();
        for row in 0..data.rows() {
            let key = z.iter().map(|&v| data.codes(v)[row]).collect();
            *strata.entry(key).or_default().entry((data.codes(x)[row], data.codes(y)[row])).or_default() +=
                1.0;
        }
        let (mut chi, mut g, mut freedom) = (0.0, 0.0, 0);
        for table in strata.values() {
            let (mut rows, mut columns, mut n) = (BTreeMap::new(), BTreeMap::new(), 0.0);
            for (&(a, b), &o) in table {
                *rows.entry(a).or_insert(0.0) += o;
                *columns.entry(b).or_insert(0.0) += o;
                n += o;
            }
            freedom += (rows.len() - 1) * (columns.len() - 1);
            for (a, row) in &rows {
                for (b, column) in &columns {
                    let (o, e): (f64, f64) = (table.get(&(*a, *b)).copied().unwrap_or(0.0), row * column / n);
                    chi += (o - e).powi(2) / e;
                    g += if o > 0.0 { 2.0 * o * (o / e).ln() } else { 0.0 };
                }
            }
        }
        (chi, g, freedom)
    }

    proptest! {
        #[test]
        fn fast_counts_agree_with_the_definition(columns in proptest::collection::vec(proptest::collection::vec(0u8..4, 120), 6), order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(), k in 0usize..5) {
            let data = categories(&columns);
            let (x, y, z) = (order[0], order[1], &order[2..2 + k.min(4)]);
            let (chi, g, freedom) = by_definition(&data, x, y, z);
            for (discrepancy, want) in [(Discrepancy::ChiSquare, chi), (Discrepancy::GSquare, g)] {
                let test = Contingency::new(data.clone(), discrepancy).unwrap();
                let mut scratch = test.scratch();
                test.test(order[2], order[3], &[order[4]], &mut scratch).unwrap(); // leaves strata behind
                let result = test.test(x, y, z, &mut scratch).unwrap();
                prop_assert!((result.statistic - want).abs() < 1e-8, "{} {}", result.statistic, want);
                prop_assert_eq!(result.degrees_of_freedom, freedom as f64);
                prop_assert_eq!(test.independent(x, y, z, 0.05, &mut scratch).unwrap(), result.p_value > 0.05);
                let sorted = test.sum(&test.count_by_sorting(x, y, z), data.cardinalities()[x], data.cardinalities()[y], &mut Vec::new());
                prop_assert!((sorted.0 - want).abs() < 1e-8 && sorted.1 == freedom);
            }
        }
    }

    #[test]
    fn without_freedom_nothing_is_rejected() {
        let data = categories(&[vec![0, 1, 0, 1], vec![0, 1, 0, 1], vec![0, 1, 0, 1]]);
        let test = Contingency::new(data, Discrepancy::GSquare).unwrap();
        assert_eq!(test.checked(0, 1, &[2]).unwrap().p_value, 1.0);
    }
}
