//! The stabiliser tableau (Aaronson & Gottesman 2004, arXiv:quant-ph/0406196): 2n Pauli rows in packed words.
//!
//! Row k < n is the destabiliser U X_k U†, row n + k the stabiliser U Z_k U†. Signs of products are counted mod 4 for
//! 64 columns at a time.

use crate::error::{Error, Result};
use crate::gate::Pauli;
use rand::{Rng, RngExt};

/// A Pauli string of any length with a sign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignedPauli {
    qubits: usize,
    /// X part, 64 qubits per word.
    pub(crate) x: Vec<u64>,
    /// Z part.
    pub(crate) z: Vec<u64>,
    /// Whether the sign is −.
    pub negative: bool,
}

impl SignedPauli {
    /// The identity.
    pub fn identity(qubits: usize) -> Self {
        let words = qubits.div_ceil(64);
        Self { qubits, x: vec![0; words], z: vec![0; words], negative: false }
    }

    /// A single operator.
    pub fn single(qubits: usize, pauli: Pauli, qubit: usize) -> Self {
        let mut p = Self::identity(qubits);
        p.set(qubit, Some(pauli));
        p
    }

    /// The number of qubits.
    pub fn qubits(&self) -> usize {
        self.qubits
    }

    /// The operator on a qubit.
    pub fn get(&self, qubit: usize) -> Option<Pauli> {
        let bit = |words: &[u64]| words.get(qubit / 64).is_some_and(|w| w >> (qubit % 64) & 1 == 1);
        match (bit(&self.x), bit(&self.z)) {
            (true, false) => Some(Pauli::X),
            (true, true) => Some(Pauli::Y),
            (false, true) => Some(Pauli::Z),
            _ => None,
        }
    }

    /// Sets the operator on a qubit; indices beyond the end are ignored.
    pub fn set(&mut self, qubit: usize, pauli: Option<Pauli>) {
        if qubit >= self.qubits {
            return;
        }
        let (word, bit) = (qubit / 64, 1u64 << (qubit % 64));
        self.x[word] &= !bit;
        self.z[word] &= !bit;
        if matches!(pauli, Some(Pauli::X | Pauli::Y)) {
            self.x[word] |= bit;
        }
        if matches!(pauli, Some(Pauli::Z | Pauli::Y)) {
            self.z[word] |= bit;
        }
    }

    /// Whether the two anticommute.
    pub fn anticommutes(&self, other: &Self) -> bool {
        let odd = |(((a, b), c), d): (((&u64, &u64), &u64), &u64)| (a & b ^ c & d).count_ones();
        let words = self.x.iter().zip(&other.z).zip(&self.z).zip(&other.x);
        words.map(odd).sum::<u32>() % 2 == 1
    }

    /// self ← self · other, which must commute up to the sign; returns whether a factor ±i was left over.
    pub(crate) fn multiply(&mut self, other: &Self) -> bool {
        let mut total = 0u32;
        for k in 0..self.x.len() {
            let (x1, z1, x2, z2) = (self.x[k], self.z[k], other.x[k], other.z[k]);
            // XY = iZ, YZ = iX, ZX = iY count +1, the reverse orders −1; all 64 columns at once.
            let anticommute = x1 & z2 ^ z1 & x2;
            let plus = x1 & !z1 & x2 & z2 | x1 & z1 & !x2 & z2 | !x1 & z1 & x2 & !z2;
            total = total.wrapping_add((anticommute & plus).count_ones());
            total = total.wrapping_add(3 * (anticommute & !plus).count_ones());
            (self.x[k], self.z[k]) = (x1 ^ x2, z1 ^ z2);
        }
        let power = total.wrapping_add(2 * (u32::from(self.negative) + u32::from(other.negative)));
        self.negative = power & 2 == 2;
        power & 1 == 1
    }
}

/// A stabiliser state with its destabilisers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tableau {
    qubits: usize,
    rows: Vec<SignedPauli>,
}

impl Tableau {
    /// |0…0⟩
    ///
    /// # Errors
    /// When `qubits` is 0 or above 65536.
    pub fn new(qubits: usize) -> Result<Self> {
        if qubits == 0 || qubits > 1 << 16 {
            return Err(Error::shape("tableau", "1 to 65536 qubits", qubits));
        }
        let row = |k: usize| {
            let pauli = if k < qubits { Pauli::X } else { Pauli::Z };
            SignedPauli::single(qubits, pauli, k % qubits)
        };
        Ok(Self { qubits, rows: (0..2 * qubits).map(row).collect() })
    }

    /// The number of qubits.
    pub fn qubits(&self) -> usize {
        self.qubits
    }

    /// U X_k U†
    pub fn destabilizers(&self) -> &[SignedPauli] {
        &self.rows[..self.qubits]
    }

    /// U Z_k U†: the generators of the stabiliser group.
    pub fn stabilizers(&self) -> &[SignedPauli] {
        &self.rows[self.qubits..]
    }

    /// H: X ↔ Z, Y → −Y.
    pub fn h(&mut self, q: usize) {
        let (w, b) = place(q);
        for row in &mut self.rows {
            let (x, z) = (row.x[w] & b, row.z[w] & b);
            row.negative ^= x & z != 0;
            row.x[w] = row.x[w] & !b | z;
            row.z[w] = row.z[w] & !b | x;
        }
    }

    /// S: X → Y, Y → −X.
    pub fn s(&mut self, q: usize) {
        let (w, b) = place(q);
        for row in &mut self.rows {
            let (x, z) = (row.x[w] & b, row.z[w] & b);
            row.negative ^= x & z != 0;
            row.z[w] ^= x;
        }
    }

    /// A Pauli gate flips the signs of the rows it anticommutes with.
    pub fn pauli(&mut self, pauli: Pauli, q: usize) {
        let (w, b) = place(q);
        for row in &mut self.rows {
            let (x, z) = (row.x[w] & b != 0, row.z[w] & b != 0);
            row.negative ^= match pauli {
                Pauli::X => z,
                Pauli::Y => x ^ z,
                Pauli::Z => x,
            };
        }
    }

    /// CNOT
    pub fn cx(&mut self, control: usize, target: usize) {
        let ((wc, bc), (wt, bt)) = (place(control), place(target));
        for row in &mut self.rows {
            let (xc, zc) = (row.x[wc] & bc != 0, row.z[wc] & bc != 0);
            let (xt, zt) = (row.x[wt] & bt != 0, row.z[wt] & bt != 0);
            row.negative ^= xc && zt && xt == zc;
            if xc {
                row.x[wt] ^= bt;
            }
            if zt {
                row.z[wc] ^= bc;
            }
        }
    }

    /// Measures a Pauli operator; returns (outcome is −1, outcome was random).
    ///
    /// # Errors
    /// When the operator acts on another number of qubits.
    pub fn measure(&mut self, p: &SignedPauli, rng: &mut impl Rng) -> Result<(bool, bool)> {
        self.check(p)?;
        let n = self.qubits;
        let Some(pivot) = (n..2 * n).find(|&k| self.rows[k].anticommutes(p)) else {
            return Ok((self.deterministic(p), false));
        };
        let old = self.rows[pivot].clone();
        for k in 0..2 * n {
            if k != pivot && self.rows[k].anticommutes(p) {
                // A destabiliser may pick up a factor i; its sign has no meaning then.
                self.rows[k].multiply(&old);
            }
        }
        let outcome = rng.random::<bool>();
        self.rows[pivot - n] = old;
        self.rows[pivot] = SignedPauli { negative: outcome ^ p.negative, ..p.clone() };
        Ok((outcome, true))
    }

    /// Measures Z on a qubit: `true` for |1⟩.
    ///
    /// # Errors
    /// When the qubit does not exist.
    pub fn measure_z(&mut self, qubit: usize, rng: &mut impl Rng) -> Result<bool> {
        if qubit >= self.qubits {
            return Err(Error::Index { operation: "measure", index: qubit, count: self.qubits });
        }
        Ok(self.measure(&SignedPauli::single(self.qubits, Pauli::Z, qubit), rng)?.0)
    }

    /// ⟨P⟩, which is −1, 0 or 1, without disturbing the state.
    ///
    /// # Errors
    /// When the operator acts on another number of qubits.
    pub fn expectation(&self, p: &SignedPauli) -> Result<i8> {
        self.check(p)?;
        if self.stabilizers().iter().any(|s| s.anticommutes(p)) {
            return Ok(0);
        }
        Ok(if self.deterministic(p) { -1 } else { 1 })
    }

    /// The sign with which a commuting operator is in the stabiliser group: the product of the stabilisers whose
    /// destabilisers anticommute with it.
    fn deterministic(&self, p: &SignedPauli) -> bool {
        let mut product = SignedPauli::identity(self.qubits);
        for k in 0..self.qubits {
            if self.rows[k].anticommutes(p) {
                product.multiply(&self.rows[k + self.qubits]);
            }
        }
        product.negative ^ p.negative
    }

    fn check(&self, p: &SignedPauli) -> Result<()> {
        crate::error::same_length("tableau", "qubits", self.qubits, p.qubits)
    }
}

fn place(qubit: usize) -> (usize, u64) {
    (qubit / 64, 1 << (qubit % 64))
}
