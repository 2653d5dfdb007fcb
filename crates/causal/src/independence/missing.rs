//! Fisher's z with missing cells: each test uses the rows that are complete in its own variables.
//!
//! Test-wise deletion keeps more rows than dropping every incomplete one. It is valid when the missingness does
//! not depend on the tested variables' common effects (Tu et al., *Causal discovery in the presence of missing
//! data*, AISTATS 2019, discuss when it is not).

use super::{FisherZ, IndependenceTest, TestResult};
use crate::data::Table;
use crate::error::{Error, Result};

/// Fisher's z on the complete rows of each test.
#[derive(Clone, Debug)]
pub struct MissingFisherZ {
    table: Table,
}

impl MissingFisherZ {
    /// The test on a table in which NaN stands for a missing value.
    ///
    /// # Errors
    /// [`Error::Data`] for a constant column or fewer than 4 rows.
    pub fn new(table: Table) -> Result<Self> {
        table.check_for_discovery(4)?;
        Ok(Self { table })
    }
}

impl IndependenceTest for MissingFisherZ {
    type Scratch = ();

    fn variables(&self) -> usize {
        self.table.len()
    }

    fn scratch(&self) {}

    fn test(&self, x: usize, y: usize, z: &[usize], (): &mut ()) -> Result<TestResult> {
        let all: Vec<usize> = [x, y].into_iter().chain(z.iter().copied()).collect();
        let columns = self.table.columns();
        let complete: Vec<usize> =
            (0..self.table.rows()).filter(|&r| all.iter().all(|&v| !columns[v][r].is_nan())).collect();
        let names: Vec<String> = all.iter().map(|&v| self.table.names()[v].clone()).collect();
        let kept = all.iter().map(|&v| complete.iter().map(|&r| columns[v][r]).collect()).collect();
        let context = format!("the {} rows that are complete in {}", complete.len(), names.join(", "));
        let test = FisherZ::new(&Table::new(names, kept)?).map_err(|e| Error::data(context, e))?;
        let given: Vec<usize> = (2..all.len()).collect();
        test.test(0, 1, &given, &mut test.scratch())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_data_give_the_plain_test_and_holes_use_the_other_rows() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11)).collect();
        let b: Vec<f64> = (0..40).map(|i| f64::from(i * 5 % 13)).collect();
        let mut c: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + 0.5 * b * b).collect();
        let table = Table::from_columns(vec![a.clone(), b.clone(), c.clone()]).unwrap();
        let plain = FisherZ::new(&table).unwrap().checked(0, 1, &[2]).unwrap();
        assert_eq!(MissingFisherZ::new(table).unwrap().checked(0, 1, &[2]).unwrap(), plain);
        c[3] = f64::NAN;
        let holes = MissingFisherZ::new(Table::from_columns(vec![a.clone(), b.clone(), c]).unwrap()).unwrap();
        let pair = FisherZ::new(&Table::from_columns(vec![a, b]).unwrap()).unwrap();
        assert_eq!(holes.checked(0, 1, &[]).unwrap(), pair.checked(0, 1, &[]).unwrap());
        assert_ne!(holes.checked(0, 1, &[2]).unwrap(), plain);
    }
}
