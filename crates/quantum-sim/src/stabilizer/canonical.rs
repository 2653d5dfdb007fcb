//! The canonical generators of a stabiliser group: Gauss–Jordan elimination, X parts first, then Z parts.

use super::tableau::{SignedPauli, Tableau};
use crate::gate::Pauli;

/// Generators in reduced form, as Stim orders them: for each qubit in turn a row with an X part there, then one with a Z
/// part, and no other row has that part.
pub fn canonical_stabilizers(tableau: &Tableau) -> Vec<SignedPauli> {
    let mut rows = tableau.stabilizers().to_vec();
    let bit = |words: &[u64], q: usize| words[q / 64] >> (q % 64) & 1 == 1;
    let mut done = 0;
    for q in 0..tableau.qubits() {
        for x_part in [true, false] {
            let has = |row: &SignedPauli| {
                if x_part { bit(&row.x, q) } else { bit(&row.z, q) && !bit(&row.x, q) }
            };
            let Some(pivot) = (done..rows.len()).find(|&k| has(&rows[k])) else { continue };
            rows.swap(done, pivot);
            let pivot_row = rows[done].clone();
            for (k, row) in rows.iter_mut().enumerate() {
                let part = if x_part { bit(&row.x, q) } else { bit(&row.z, q) };
                if k != done && part {
                    row.multiply(&pivot_row);
                }
            }
            done += 1;
        }
    }
    rows
}

/// A sign and one letter per qubit from qubit 0, `_` for the identity: `-X_ZY`.
pub fn pauli_text(p: &SignedPauli) -> String {
    let letter = |q: usize| match p.get(q) {
        None => '_',
        Some(Pauli::X) => 'X',
        Some(Pauli::Y) => 'Y',
        Some(Pauli::Z) => 'Z',
    };
    let sign = if p.negative { '-' } else { '+' };
    std::iter::once(sign).chain((0..p.qubits()).map(letter)).collect()
}

impl std::str::FromStr for SignedPauli {
    type Err = crate::Error;

    /// Reads what [`pauli_text`] writes; the sign may be missing and `I` stands for `_`.
    fn from_str(text: &str) -> crate::Result<Self> {
        let negative = text.starts_with('-');
        let letters: Vec<char> = text.trim_start_matches(['+', '-']).chars().collect();
        let mut p = Self::identity(letters.len());
        p.negative = negative;
        for (q, letter) in letters.iter().enumerate() {
            let pauli = match letter {
                '_' | 'I' => None,
                'X' => Some(Pauli::X),
                'Y' => Some(Pauli::Y),
                'Z' => Some(Pauli::Z),
                other => {
                    let message = format!("`{other}` is not one of _ X Y Z");
                    return Err(crate::Error::Parse { line: 1, column: q + 1, message });
                }
            };
            p.set(q, pauli);
        }
        Ok(p)
    }
}
