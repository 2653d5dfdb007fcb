//! Stim's circuit text (Gidney 2021, arXiv:2103.02202): the Clifford gates, measurements, noise and detectors that memory
//! experiments use. `REPEAT` blocks are unrolled while reading.

use super::tableau::Tableau;
use crate::error::{Error, Result};
use crate::gate::Pauli;
use rand::Rng;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Name {
    I,
    X,
    Y,
    Z,
    H,
    S,
    SDag,
    SqrtX,
    SqrtXDag,
    Cx,
    Cy,
    Cz,
    Swap,
    Reset,
    Measure,
    MeasureReset,
    XError,
    YError,
    ZError,
    Depolarize1,
    Depolarize2,
    Detector,
    Observable,
}

/// One line: a name, a number in parentheses, targets. Detectors and observables target earlier measurements, counted
/// from the first one of the circuit.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it does.
    pub name: Name,
    /// Probability of an error, or index of an observable.
    pub argument: f64,
    /// Qubits, or measurements.
    pub targets: Vec<usize>,
}

/// A flat list of statements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StimCircuit {
    pub(crate) qubits: usize,
    pub(crate) measurements: usize,
    pub(crate) detectors: usize,
    pub(crate) observables: usize,
    pub(crate) statements: Vec<Statement>,
}

/// The largest unrolled circuit.
const MAX_STATEMENTS: usize = 1 << 20;

impl StimCircuit {
    /// The number of qubits.
    pub fn qubits(&self) -> usize {
        self.qubits
    }

    /// The number of detectors.
    pub fn detectors(&self) -> usize {
        self.detectors
    }

    /// The number of measurements.
    pub fn measurements(&self) -> usize {
        self.measurements
    }

    /// The statements in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Appends a statement.
    ///
    /// # Errors
    /// When the targets do not fit the name, a probability is outside [0, 1], or the circuit gets too large.
    pub fn push(&mut self, name: Name, argument: f64, targets: &[usize]) -> Result<()> {
        let wrong =
            |reason: &str| Err(Error::unsupported("stabiliser circuit", format!("{name:?}: {reason}")));
        if self.statements.len() >= MAX_STATEMENTS {
            return wrong("too many statements");
        }
        let noisy = matches!(
            name,
            Name::XError | Name::YError | Name::ZError | Name::Depolarize1 | Name::Depolarize2
        );
        if noisy && !(0.0..=1.0).contains(&argument) {
            return wrong("the probability is outside [0, 1]");
        }
        let readout = matches!(name, Name::Detector | Name::Observable);
        if readout {
            if targets.iter().any(|&m| m >= self.measurements) {
                return wrong("refers to a measurement that has not happened");
            }
        } else if targets.iter().any(|&q| q >= 1 << 16) {
            return wrong("qubit indices end at 65535");
        }
        if matches!(name, Name::Cx | Name::Cy | Name::Cz | Name::Swap | Name::Depolarize2) {
            let pairs = targets.chunks_exact(2);
            if !pairs.remainder().is_empty() || pairs.into_iter().any(|pair| pair[0] == pair[1]) {
                return wrong("takes pairs of distinct qubits");
            }
        }
        match name {
            Name::Measure | Name::MeasureReset => self.measurements += targets.len(),
            Name::Detector => self.detectors += 1,
            Name::Observable if (0.0..64.0).contains(&argument) => {
                self.observables = self.observables.max(argument as usize + 1);
            }
            Name::Observable => return wrong("observable indices end at 63"),
            _ => {}
        }
        if !readout {
            let width = targets.iter().max().map_or(0, |q| q + 1);
            self.qubits = self.qubits.max(width);
        }
        self.statements.push(Statement { name, argument, targets: targets.to_vec() });
        Ok(())
    }

    /// Reads circuit text.
    ///
    /// # Errors
    /// An [`Error::Parse`] with the line.
    pub fn parse(text: &str) -> Result<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let mut circuit = Self::default();
        let end = circuit.block(&lines, 0, 0)?;
        match end == lines.len() {
            true => Ok(circuit),
            false => Err(Error::Parse { line: end + 1, column: 1, message: "`}` without `REPEAT`".into() }),
        }
    }

    /// Reads lines until a closing brace; returns its index.
    fn block(&mut self, lines: &[&str], mut at: usize, depth: usize) -> Result<usize> {
        while at < lines.len() {
            let line = lines[at].split('#').next().unwrap_or("").trim();
            let fail = |message: &str| Error::Parse { line: at + 1, column: 1, message: message.into() };
            if line == "}" {
                return Ok(at);
            }
            if let Some(head) = line.strip_prefix("REPEAT") {
                let count: usize =
                    head.trim_end_matches('{').trim().parse().map_err(|_| fail("expected `REPEAT n {`"))?;
                if depth > 8 || count == 0 || count > 1 << 16 {
                    return Err(fail("repeat 1 to 65536 times, at most 8 deep"));
                }
                let start = at + 1;
                for _ in 0..count {
                    at = self.block(lines, start, depth + 1)?;
                }
                if at >= lines.len() {
                    return Err(Error::Parse {
                        line: start,
                        column: 1,
                        message: "`REPEAT` is never closed".into(),
                    });
                }
            } else if !line.is_empty() {
                self.line(line).map_err(|e| fail(&e.to_string()))?;
            }
            at += 1;
        }
        Ok(at)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let wrong = |reason: String| Error::unsupported("stabiliser circuit", reason);
        let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(line.len());
        let (word, mut rest) = line.split_at(name_end);
        let mut argument = 0.0;
        if let Some(inside) = rest.strip_prefix('(') {
            let (numbers, after) =
                inside.split_once(')').ok_or_else(|| wrong("`(` is never closed".into()))?;
            // Coordinates of detectors are read past.
            if word != "DETECTOR" && word != "QUBIT_COORDS" && word != "SHIFT_COORDS" {
                argument =
                    numbers.trim().parse().map_err(|_| wrong(format!("`{numbers}` is not a number")))?;
            }
            rest = after;
        }
        let name = match word {
            "TICK" | "SHIFT_COORDS" => return Ok(()),
            "QUBIT_COORDS" | "I" => Name::I,
            "X" => Name::X,
            "Y" => Name::Y,
            "Z" => Name::Z,
            "H" => Name::H,
            "S" | "SQRT_Z" => Name::S,
            "S_DAG" | "SQRT_Z_DAG" => Name::SDag,
            "SQRT_X" => Name::SqrtX,
            "SQRT_X_DAG" => Name::SqrtXDag,
            "CX" | "CNOT" | "ZCX" => Name::Cx,
            "CY" | "ZCY" => Name::Cy,
            "CZ" | "ZCZ" => Name::Cz,
            "SWAP" => Name::Swap,
            "R" | "RZ" => Name::Reset,
            "M" | "MZ" => Name::Measure,
            "MR" | "MRZ" => Name::MeasureReset,
            "X_ERROR" => Name::XError,
            "Y_ERROR" => Name::YError,
            "Z_ERROR" => Name::ZError,
            "DEPOLARIZE1" => Name::Depolarize1,
            "DEPOLARIZE2" => Name::Depolarize2,
            "DETECTOR" => Name::Detector,
            "OBSERVABLE_INCLUDE" => Name::Observable,
            _ => return Err(wrong(format!("`{word}` is not read"))),
        };
        let mut targets = vec![];
        for target in rest.split_whitespace() {
            let bad = || wrong(format!("`{target}` is not a target"));
            let back = target.strip_prefix("rec[-").and_then(|t| t.strip_suffix(']'));
            targets.push(match back {
                Some(back) => {
                    let back: usize = back.parse().map_err(|_| bad())?;
                    self.measurements.checked_sub(back).ok_or_else(bad)?
                }
                None => target.parse().map_err(|_| bad())?,
            });
        }
        self.push(name, argument, &targets)
    }

    /// Runs it without noise; returns the final tableau and the measurements.
    ///
    /// # Errors
    /// When the circuit is empty.
    pub fn run(&self, rng: &mut impl Rng) -> Result<(Tableau, Vec<bool>)> {
        let mut tableau = Tableau::new(self.qubits)?;
        let mut record = vec![];
        for Statement { name, targets, .. } in &self.statements {
            apply(&mut tableau, *name, targets, &mut record, rng)?;
        }
        Ok((tableau, record))
    }
}

fn apply(
    tableau: &mut Tableau,
    name: Name,
    targets: &[usize],
    record: &mut Vec<bool>,
    rng: &mut impl Rng,
) -> Result<()> {
    let t = tableau;
    match name {
        Name::Cx => targets.chunks_exact(2).for_each(|p| t.cx(p[0], p[1])),
        Name::Cz => targets.chunks_exact(2).for_each(|p| {
            t.h(p[1]);
            t.cx(p[0], p[1]);
            t.h(p[1]);
        }),
        Name::Cy => targets.chunks_exact(2).for_each(|p| {
            (0..3).for_each(|_| t.s(p[1]));
            t.cx(p[0], p[1]);
            t.s(p[1]);
        }),
        Name::Swap => targets.chunks_exact(2).for_each(|p| {
            t.cx(p[0], p[1]);
            t.cx(p[1], p[0]);
            t.cx(p[0], p[1]);
        }),
        _ => {
            for &q in targets {
                match name {
                    Name::X => t.pauli(Pauli::X, q),
                    Name::Y => t.pauli(Pauli::Y, q),
                    Name::Z => t.pauli(Pauli::Z, q),
                    Name::H => t.h(q),
                    Name::S => t.s(q),
                    Name::SDag => (0..3).for_each(|_| t.s(q)),
                    Name::SqrtX | Name::SqrtXDag => {
                        t.h(q);
                        (0..if name == Name::SqrtX { 1 } else { 3 }).for_each(|_| t.s(q));
                        t.h(q);
                    }
                    Name::Reset | Name::Measure | Name::MeasureReset => {
                        let one = t.measure_z(q, rng)?;
                        if name != Name::Reset {
                            record.push(one);
                        }
                        if one && name != Name::Measure {
                            t.pauli(Pauli::X, q);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
