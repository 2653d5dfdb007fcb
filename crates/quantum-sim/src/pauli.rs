//! Pauli strings and sums: observables without matrices.
//!
//! A string is two bit masks and a power of i: P = i^{|x∧z|} X^x Z^z, so that
//! P|k⟩ = i^{|x∧z|} (−1)^{|k∧z|} |k ⊕ x⟩.

use crate::error::{Error, Result};
use crate::gate::{C64, Pauli};
use std::fmt;
use std::str::FromStr;

/// A product of Pauli operators on different qubits (up to 64), such as `X0 Z2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PauliString {
    /// Bit q is set where the operator on qubit q is X or Y.
    pub x: u64,
    /// Bit q is set where the operator on qubit q is Z or Y.
    pub z: u64,
}

impl PauliString {
    /// The identity.
    pub const IDENTITY: Self = Self { x: 0, z: 0 };

    /// The product of single operators.
    ///
    /// # Errors
    /// When a qubit is 64 or more, or repeats.
    pub fn new(factors: &[(Pauli, usize)]) -> Result<Self> {
        let mut string = Self::IDENTITY;
        for &(pauli, qubit) in factors {
            if qubit >= 64 {
                return Err(Error::Index { operation: "Pauli string", index: qubit, count: 64 });
            }
            if (string.x | string.z) >> qubit & 1 == 1 {
                return Err(Error::Repeated { operation: "Pauli string", qubit });
            }
            let (x, z) = bits(pauli);
            string.x |= x << qubit;
            string.z |= z << qubit;
        }
        Ok(string)
    }

    /// Z on one qubit below 64.
    pub fn z(qubit: usize) -> Self {
        Self { x: 0, z: 1 << (qubit % 64) }
    }

    /// The operator on a qubit; `None` for the identity.
    pub fn get(&self, qubit: usize) -> Option<Pauli> {
        match (self.x >> qubit & 1, self.z >> qubit & 1) {
            (1, 0) => Some(Pauli::X),
            (1, 1) => Some(Pauli::Y),
            (0, 1) => Some(Pauli::Z),
            _ => None,
        }
    }

    /// The qubits it acts on, ascending, with their operators.
    pub fn factors(&self) -> impl Iterator<Item = (Pauli, usize)> + '_ {
        (0..64).filter_map(|q| self.get(q).map(|p| (p, q)))
    }

    /// How many qubits it acts on.
    pub fn weight(&self) -> u32 {
        (self.x | self.z).count_ones()
    }

    /// One more than the highest qubit it acts on.
    pub fn width(&self) -> usize {
        64 - (self.x | self.z).leading_zeros() as usize
    }

    /// The power of i in P = i^k X^x Z^z: the number of Y factors.
    pub(crate) fn i_power(&self) -> u32 {
        (self.x & self.z).count_ones() & 3
    }

    /// P Q = i^k R: the product and the power of i.
    pub fn multiply(&self, other: &Self) -> (Self, u32) {
        let product = Self { x: self.x ^ other.x, z: self.z ^ other.z };
        // X^a Z^b X^c Z^d = (−1)^{b·c} X^{a+c} Z^{b+d}
        let power = self.i_power() + other.i_power() + 2 * (self.z & other.x).count_ones() + 4;
        (product, (power - product.i_power()) & 3)
    }

    /// Whether P Q = Q P.
    pub fn commutes(&self, other: &Self) -> bool {
        ((self.x & other.z).count_ones() + (self.z & other.x).count_ones()).is_multiple_of(2)
    }

    /// Whether they commute on every single qubit, so that one basis change measures both.
    pub fn commutes_qubit_wise(&self, other: &Self) -> bool {
        let both = (self.x | self.z) & (other.x | other.z);
        ((self.x ^ other.x) | (self.z ^ other.z)) & both == 0
    }
}

fn bits(pauli: Pauli) -> (u64, u64) {
    match pauli {
        Pauli::X => (1, 0),
        Pauli::Y => (1, 1),
        Pauli::Z => (0, 1),
    }
}

impl fmt::Display for PauliString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factors: Vec<String> = self.factors().map(|(p, q)| format!("{p:?}{q}")).collect();
        f.write_str(&factors.join(" "))
    }
}

impl FromStr for PauliString {
    type Err = Error;

    /// Reads `X0 Z2`; the empty string and `I` are the identity.
    fn from_str(text: &str) -> Result<Self> {
        let mut factors = vec![];
        for word in text.split_whitespace().filter(|word| *word != "I") {
            let wrong = || Error::Parse {
                line: 1,
                column: 1,
                message: format!("`{word}` is not a Pauli factor; write for example `X0 Z2`"),
            };
            let mut letters = word.chars();
            let pauli = match letters.next() {
                Some('X') => Pauli::X,
                Some('Y') => Pauli::Y,
                Some('Z') => Pauli::Z,
                _ => return Err(wrong()),
            };
            factors.push((pauli, letters.as_str().parse().map_err(|_| wrong())?));
        }
        Self::new(&factors)
    }
}

/// Σ cᵢ Pᵢ with real coefficients: a Hermitian observable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PauliSum {
    terms: Vec<(f64, PauliString)>,
}

impl PauliSum {
    /// From coefficients and strings.
    pub fn new(terms: Vec<(f64, PauliString)>) -> Self {
        Self { terms }
    }

    /// From coefficients and texts: `PauliSum::parse(&[(0.5, "X0 Z1"), (1.0, "")])`.
    ///
    /// # Errors
    /// When a text is not a Pauli string.
    pub fn parse<S: AsRef<str>>(terms: &[(f64, S)]) -> Result<Self> {
        let terms = terms.iter().map(|(c, text)| Ok((*c, text.as_ref().parse()?)));
        Ok(Self { terms: terms.collect::<Result<_>>()? })
    }

    /// The terms.
    pub fn terms(&self) -> &[(f64, PauliString)] {
        &self.terms
    }

    /// One more than the highest qubit it acts on.
    pub fn width(&self) -> usize {
        self.terms.iter().map(|(_, p)| p.width()).max().unwrap_or(0)
    }

    /// The dense matrix, row-major: for tests and small exact diagonalisation.
    ///
    /// # Errors
    /// When `qubits` is above 12 or below the width.
    pub fn matrix(&self, qubits: usize) -> Result<Vec<Vec<C64>>> {
        if qubits > 12 || qubits < self.width() {
            return Err(Error::shape("matrix", format!("{} to 12 qubits", self.width()), qubits));
        }
        let dimension = 1usize << qubits;
        let mut matrix = vec![vec![C64::new(0.0, 0.0); dimension]; dimension];
        for (coefficient, p) in &self.terms {
            for k in 0..dimension as u64 {
                let sign = C64::new(0.0, 1.0).powu(p.i_power() + 2 * (k & p.z).count_ones());
                matrix[(k ^ p.x) as usize][k as usize] += *coefficient * sign;
            }
        }
        Ok(matrix)
    }

    /// Splits the terms into groups that one measurement basis serves (greedy, largest coefficients first).
    pub fn qubit_wise_commuting_groups(&self) -> Vec<Vec<(f64, PauliString)>> {
        let mut order = self.terms.clone();
        order.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
        let mut groups: Vec<Vec<(f64, PauliString)>> = vec![];
        for term in order {
            match groups.iter_mut().find(|g| g.iter().all(|(_, p)| p.commutes_qubit_wise(&term.1))) {
                Some(group) => group.push(term),
                None => groups.push(vec![term]),
            }
        }
        groups
    }
}

impl From<PauliString> for PauliSum {
    fn from(string: PauliString) -> Self {
        Self { terms: vec![(1.0, string)] }
    }
}

impl FromStr for PauliSum {
    type Err = Error;

    /// One Pauli string with coefficient 1.
    fn from_str(text: &str) -> Result<Self> {
        Ok(text.parse::<PauliString>()?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(p: PauliString) -> Vec<Vec<C64>> {
        PauliSum::from(p).matrix(3).unwrap()
    }

    #[test]
    fn texts_survive_a_round_trip_and_nonsense_is_refused() {
        for text in ["", "X0", "Y1 Z2", "X0 Y1 Z63"] {
            assert_eq!(text.parse::<PauliString>().unwrap().to_string(), text);
        }
        for text in ["Q0", "X", "X0 Y0", "Z64", "X-1", "X99999999999999999999"] {
            assert!(text.parse::<PauliString>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn products_and_commutators_match_the_matrices(a in 0u64..64, b in 0u64..64) {
            let (p, q) = (PauliString { x: a & 7, z: a >> 3 }, PauliString { x: b & 7, z: b >> 3 });
            let (r, power) = p.multiply(&q);
            let (mp, mq, mr) = (matrix(p), matrix(q), matrix(r));
            let phase = C64::new(0.0, 1.0).powu(power);
            let product = |m: &Vec<Vec<C64>>, n: &Vec<Vec<C64>>, i: usize, j: usize| -> C64 {
                (0..8).map(|k| m[i][k] * n[k][j]).sum()
            };
            let mut commute = true;
            for i in 0..8 {
                for j in 0..8 {
                    let pq = product(&mp, &mq, i, j);
                    prop_assert!((pq - phase * mr[i][j]).norm() < 1e-12);
                    commute &= (pq - product(&mq, &mp, i, j)).norm() < 1e-12;
                }
            }
            prop_assert_eq!(commute, p.commutes(&q));
        }
    }
}
