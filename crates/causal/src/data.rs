//! Data tables: named numeric columns, categorical codes, and reading both from CSV with messages that name the
//! row, the column and the mend.

use crate::error::{Error, Result};
use rayon::prelude::*;
use std::path::Path;

/// Named numeric columns of equal length. NaN stands for a missing value.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Vec<f64>>,
}

/// Named categorical columns of equal length, coded `0..cardinality` in ascending order of the original values.
#[derive(Clone, Debug, PartialEq)]
pub struct Categories {
    names: Vec<String>,
    codes: Vec<Vec<u8>>,
    cardinalities: Vec<usize>,
}

/// The text cells of a CSV file with a header line.
#[derive(Clone, Debug)]
pub struct Csv {
    source: String,
    names: Vec<String>,
    cells: Vec<Vec<String>>,
    /// The line of the file that each row stands on.
    lines: Vec<u64>,
}

/// What counts as a missing cell.
const MISSING: [&str; 6] = ["", "na", "nan", "null", "none", "?"];

impl Csv {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], and as [`Csv::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let source = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| Error::Io {
            operation: "read",
            path: source.clone(),
            source: e,
        })?;
        Self::parse(&source, &text)
    }

    /// Parses text; `source` names it in messages.
    ///
    /// # Errors
    /// [`Error::Data`] for a missing, numeric or repeated header, rows of another length, or no rows.
    pub fn parse(source: &str, text: &str) -> Result<Self> {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| Error::data(source, e))?.clone();
        let names: Vec<String> = header.iter().map(String::from).collect();
        if names.is_empty() || names.iter().all(|n| n.is_empty()) {
            return Err(Error::data(source, "the file is empty; expected a header line and rows of values"));
        }
        if names.iter().all(|n| n.parse::<f64>().is_ok()) {
            return Err(Error::data(source, "the first line holds numbers; put the column names there"));
        }
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(Error::data(source, format!("column {} has no name in the header", i + 1)));
            }
            if names[..i].contains(name) {
                return Err(Error::data(source, format!("two columns are called `{name}`; rename one")));
            }
        }
        let mut cells = vec![Vec::new(); names.len()];
        let mut lines = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| Error::data(source, e))?;
            // Blank lines are skipped, so a row's number is not its line's.
            let line = first_line_of(text, &record);
            lines.push(line);
            if record.len() != names.len() {
                let reason =
                    format!("line {line} has {} cells, the header has {}", record.len(), names.len());
                return Err(Error::data(source, reason));
            }
            cells.iter_mut().zip(record.iter()).for_each(|(column, cell)| column.push(cell.to_string()));
        }
        if cells[0].is_empty() {
            return Err(Error::data(source, "there is a header but no row"));
        }
        Ok(Self { source: source.into(), names, cells, lines })
    }

    /// The column names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The cells as numbers; missing cells become NaN when `allow_missing`, and are an error otherwise.
    ///
    /// # Errors
    /// [`Error::Data`] naming the first cell that is missing, infinite or not a number.
    pub fn to_table(&self, allow_missing: bool) -> Result<Table> {
        let mut columns = Vec::with_capacity(self.names.len());
        for (name, cells) in self.names.iter().zip(&self.cells) {
            let mut column = Vec::with_capacity(cells.len());
            for (row, cell) in cells.iter().enumerate() {
                column.push(self.number(name, row, cell, allow_missing)?);
            }
            columns.push(column);
        }
        Table::new(self.names.clone(), columns)
    }

    fn number(&self, name: &str, row: usize, cell: &str, allow_missing: bool) -> Result<f64> {
        let place = format!("{}: line {}, column `{name}`", self.source, self.lines[row]);
        if MISSING.contains(&cell.to_lowercase().as_str()) {
            return if allow_missing {
                Ok(f64::NAN)
            } else {
                Err(Error::data(
                    place,
                    "the cell is missing; remove the row, impute it, or choose a test that allows missing values",
                ))
            };
        }
        match cell.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) => Err(Error::data(place, format!("`{cell}` is not finite"))),
            Err(_) => Err(Error::data(
                place,
                format!(
                    "`{cell}` is not a number; choose chi-square or g-square for categories, or encode the column"
                ),
            )),
        }
    }

    /// The cells as categories, numbers in numeric order before text in alphabetical order.
    ///
    /// # Errors
    /// [`Error::Data`] for a missing cell or a column with more than 256 categories.
    pub fn to_categories(&self) -> Result<Categories> {
        let mut columns = Vec::with_capacity(self.names.len());
        for (name, cells) in self.names.iter().zip(&self.cells) {
            if let Some(row) = cells.iter().position(|c| MISSING.contains(&c.to_lowercase().as_str())) {
                let place = format!("{}: line {}, column `{name}`", self.source, self.lines[row]);
                return Err(Error::data(
                    place,
                    "the cell is missing; remove the row or give it a category of its own",
                ));
            }
            let numeric: Option<Vec<f64>> = cells.iter().map(|c| c.parse().ok()).collect();
            columns.push(match numeric {
                Some(numbers) => encode(name, &numbers, f64::total_cmp)?,
                None => encode(name, cells, |a, b| a.cmp(b))?,
            });
        }
        Ok(Categories::assemble(self.names.clone(), columns))
    }
}

/// The line, from 1, of a record's first cell. The reader's own position is that before any blank lines.
fn first_line_of(text: &str, record: &csv::StringRecord) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let rest = text.get(position.byte() as usize..).unwrap_or_default();
    let blank = rest.bytes().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| *b == b'\n').count();
    position.line() + blank as u64
}

impl Table {
    /// A table of the given columns.
    ///
    /// # Errors
    /// [`Error::Shape`] for columns of different length or a wrong number of names.
    pub fn new(names: Vec<String>, columns: Vec<Vec<f64>>) -> Result<Self> {
        if names.len() != columns.len() {
            return Err(Error::shape("Table::new", format!("{} names", columns.len()), names.len()));
        }
        let rows = columns.first().map_or(0, Vec::len);
        if let Some(odd) = columns.iter().position(|c| c.len() != rows) {
            let got = format!("{} in column `{}`", columns[odd].len(), names[odd]);
            return Err(Error::shape("Table::new", format!("{rows} rows"), got));
        }
        Ok(Self { names, columns })
    }

    /// A table with the names `X0, X1, …`.
    ///
    /// # Errors
    /// As [`Table::new`].
    pub fn from_columns(columns: Vec<Vec<f64>>) -> Result<Self> {
        Self::new(crate::graph::default_names(columns.len()), columns)
    }

    /// Reads a numeric CSV file without missing values.
    ///
    /// # Errors
    /// As [`Csv::read`] and [`Csv::to_table`].
    pub fn read_csv(path: &Path) -> Result<Self> {
        Csv::read(path)?.to_table(false)
    }

    /// The column names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns.
    pub fn columns(&self) -> &[Vec<f64>] {
        &self.columns
    }

    /// Number of rows n.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// Number of columns p.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Whether a value is missing.
    pub fn has_missing(&self) -> bool {
        self.columns.iter().flatten().any(|v| v.is_nan())
    }

    /// The column of this name.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|n| n == name).ok_or_else(|| Error::UnknownName {
            operation: "Table::index_of",
            name: name.into(),
            known: self.names.join(", "),
        })
    }

    /// Demands at least `minimum` rows, two columns and no constant column.
    ///
    /// # Errors
    /// [`Error::Data`] naming what is wrong.
    pub fn check_for_discovery(&self, minimum: usize) -> Result<()> {
        if self.len() < 2 {
            return Err(Error::data("data", format!("{} column; discovery needs at least 2", self.len())));
        }
        if self.rows() < minimum {
            let reason =
                format!("{} rows for {} columns; at least {minimum} are needed", self.rows(), self.len());
            return Err(Error::data("data", reason));
        }
        for (name, column) in self.names.iter().zip(&self.columns) {
            let mut seen = column.iter().filter(|v| !v.is_nan());
            let first = seen.next();
            if seen.all(|v| Some(v) == first) {
                return Err(Error::data(
                    format!("column `{name}`"),
                    "is constant; drop it, a constant has no causes",
                ));
            }
        }
        Ok(())
    }

    /// Every column shifted and scaled to mean 0 and variance 1 (denominator n). Constant columns become 0.
    pub fn standardized(&self) -> Self {
        let scale = |column: &Vec<f64>| {
            let mean = mean(column);
            let deviation = variance(column, mean).sqrt();
            column.iter().map(|v| if deviation > 0.0 { (v - mean) / deviation } else { 0.0 }).collect()
        };
        Self { names: self.names.clone(), columns: self.columns.iter().map(scale).collect() }
    }

    /// The columns as categories: each distinct number is one.
    ///
    /// # Errors
    /// [`Error::Data`] for a missing value or a column with more than 256 distinct values.
    pub fn to_categories(&self) -> Result<Categories> {
        let mut columns = Vec::with_capacity(self.len());
        for (name, column) in self.names.iter().zip(&self.columns) {
            if column.iter().any(|v| v.is_nan()) {
                return Err(Error::data(format!("column `{name}`"), "has missing values"));
            }
            columns.push(encode(name, column, f64::total_cmp)?);
        }
        Ok(Categories::assemble(self.names.clone(), columns))
    }
}

impl Categories {
    fn assemble(names: Vec<String>, columns: Vec<(Vec<u8>, usize)>) -> Self {
        let (codes, cardinalities) = columns.into_iter().unzip();
        Self { names, codes, cardinalities }
    }

    /// The column names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The codes of one column.
    ///
    /// # Panics
    /// Never for an index below [`Categories::len`].
    pub fn codes(&self, v: usize) -> &[u8] {
        &self.codes[v]
    }

    /// Number of categories of each column.
    pub fn cardinalities(&self) -> &[usize] {
        &self.cardinalities
    }

    /// Number of rows n.
    pub fn rows(&self) -> usize {
        self.codes.first().map_or(0, Vec::len)
    }

    /// Number of columns p.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Demands at least `minimum` rows, two columns and no constant column.
    ///
    /// # Errors
    /// [`Error::Data`] naming what is wrong.
    pub fn check_for_discovery(&self, minimum: usize) -> Result<()> {
        if self.len() < 2 {
            return Err(Error::data("data", format!("{} column; discovery needs at least 2", self.len())));
        }
        if self.rows() < minimum {
            return Err(Error::data("data", format!("{} rows; at least {minimum} are needed", self.rows())));
        }
        match self.cardinalities.iter().position(|&c| c < 2) {
            Some(v) => Err(Error::data(
                format!("column `{}`", self.names[v]),
                "is constant; drop it, a constant has no causes",
            )),
            None => Ok(()),
        }
    }
}

/// Ranks of the values among the distinct ones.
fn encode<T: PartialEq>(
    name: &str,
    values: &[T],
    compare: impl Fn(&T, &T) -> std::cmp::Ordering,
) -> Result<(Vec<u8>, usize)> {
    // Few distinct values: looking them up in turn, the last hit first, beats sorting all rows.
    let mut distinct: Vec<&T> = Vec::new();
    let mut found = Vec::with_capacity(values.len());
    let mut last = 0;
    for value in values {
        if distinct.get(last).is_none_or(|d| *d != value) {
            last = distinct.iter().position(|d| *d == value).unwrap_or(distinct.len());
            if last == distinct.len() {
                distinct.push(value);
            }
            if distinct.len() > 256 {
                let reason = "has more than 256 distinct values; bin it or choose a test for numbers";
                return Err(Error::data(format!("column `{name}`"), reason));
            }
        }
        found.push(last as u8);
    }
    let mut ranked: Vec<usize> = (0..distinct.len()).collect();
    ranked.sort_by(|&a, &b| compare(distinct[a], distinct[b]));
    let mut rank = vec![0u8; distinct.len()];
    ranked.iter().enumerate().for_each(|(code, &i)| rank[i] = code as u8);
    Ok((found.into_iter().map(|i| rank[i as usize]).collect(), distinct.len()))
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean squared deviation from `mean`.
pub(crate) fn variance(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64
}

/// The covariance matrix (denominator n) of the columns, row-major `[p, p]`.
pub(crate) fn covariance(columns: &[Vec<f64>]) -> Vec<f64> {
    let p = columns.len();
    let n = columns.first().map_or(0, Vec::len);
    let mut centred = Vec::with_capacity(p * n);
    for column in columns {
        let mean = mean(column);
        centred.extend(column.iter().map(|v| v - mean));
    }
    let row = |i: usize| &centred[i * n..(i + 1) * n];
    let mut matrix = vec![0.0; p * p];
    // Eight rows at a time stay in the cache while the others pass by; threads share the blocks.
    let block = |(b, rows): (usize, &mut [f64])| {
        pulp::Arch::new().dispatch(|| {
            for j in 8 * b..p {
                for (k, line) in rows.chunks_exact_mut(p).enumerate().take(j + 1 - 8 * b) {
                    line[j] = dot(row(8 * b + k), row(j)) / n as f64;
                }
            }
        });
    };
    if p * p * n > 1 << 22 {
        matrix.par_chunks_mut(8 * p).enumerate().for_each(block);
    } else {
        matrix.chunks_mut((8 * p).max(1)).enumerate().for_each(block);
    }
    for i in 0..p {
        for j in 0..i {
            matrix[i * p + j] = matrix[j * p + i];
        }
    }
    matrix
}

/// Σ aᵢ bᵢ in eight independent partial sums, which the compiler vectorises.
#[inline(always)]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut partial = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        for k in 0..8 {
            partial[k] += x[k] * y[k];
        }
    }
    partial.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        match Csv::parse("d.csv", text).and_then(|c| c.to_table(false)).and_then(|t| t.check_for_discovery(3))
        {
            Ok(()) => "fine".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn bad_files_are_told_what_where_and_the_mend() {
        assert_eq!(message("A,B\n1,2\n3,5\n2,2\n"), "fine");
        assert!(message("A,B\n1,2\n3,x\n").contains("line 3, column `B`: `x` is not a number"));
        assert!(message("A,B\n\n1,2\n\r\n\n3,x\n").contains("line 6, column `B`: `x` is not a number"));
        assert!(message("A,B\n1,2\n\n\n3\n").contains("line 5 has 1 cells"));
        assert!(message("A,B\n1,2\n3,\n").contains("line 3, column `B`: the cell is missing"));
        assert!(message("A,B\n1,2\n1,3\n1,4\n").contains("column `A`: is constant"));
        assert!(message("A,B\n1,2\n").contains("1 rows"));
        assert!(message("A,A\n1,2\n").contains("two columns are called `A`"));
        assert!(message("1,2\n1,2\n").contains("first line holds numbers"));
        assert!(message("A,B\n1,2,3\n").contains("line 2 has 3 cells"));
        assert!(message("A,B\n1,inf\n").contains("not finite"));
        assert!(message("").contains("empty"));
    }

    #[test]
    fn categories_keep_their_order_and_text_is_welcome() {
        let csv = Csv::parse("d.csv", "A,B\nyes,10\nno,2\nyes,2\n").unwrap();
        let categories = csv.to_categories().unwrap();
        assert_eq!(categories.codes(0), [1, 0, 1]);
        assert_eq!(categories.codes(1), [1, 0, 0]);
    }
}
