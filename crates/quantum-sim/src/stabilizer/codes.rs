//! Memory experiments of the repetition code and of the rotated surface code, laid out and scheduled as Stim generates
//! them, so that detector rates compare number by number.

use super::program::{Name, StimCircuit};
use crate::error::{Error, Result, within};
use std::collections::{BTreeMap, BTreeSet};

/// Bounds of a memory experiment. Its noise has one p: depolarising after every Clifford gate (but not after the data's
/// idling), flips before measurements and after resets.
fn check(distance: usize, rounds: usize, p: f64) -> Result<()> {
    if !(2..=51).contains(&distance) || rounds == 0 || rounds > 10_000 {
        return Err(Error::shape(
            "memory",
            "distance 2 to 51 and 1 to 10000 rounds",
            format!("{distance} and {rounds}"),
        ));
    }
    within("memory", "p", p, (0.0, 1.0), "in [0, 1]")
}

/// d data qubits at even and d − 1 ancillas at odd positions; measures Z Z of neighbours in every round.
///
/// # Errors
/// When distance, rounds or p are out of range.
pub fn repetition_memory(distance: usize, rounds: usize, p: f64) -> Result<StimCircuit> {
    check(distance, rounds, p)?;
    let mut c = StimCircuit::default();
    let all: Vec<usize> = (0..2 * distance - 1).collect();
    let data: Vec<usize> = (0..distance).map(|k| 2 * k).collect();
    let ancillas: Vec<usize> = (0..distance - 1).map(|k| 2 * k + 1).collect();
    let left: Vec<usize> = ancillas.iter().flat_map(|&a| [a - 1, a]).collect();
    let right: Vec<usize> = ancillas.iter().flat_map(|&a| [a + 1, a]).collect();
    c.push(Name::Reset, 0.0, &all)?;
    c.push(Name::XError, p, &all)?;
    let m = distance - 1;
    for round in 0..rounds {
        for pairs in [&left, &right] {
            c.push(Name::Cx, 0.0, pairs)?;
            c.push(Name::Depolarize2, p, pairs)?;
        }
        c.push(Name::XError, p, &ancillas)?;
        c.push(Name::MeasureReset, 0.0, &ancillas)?;
        c.push(Name::XError, p, &ancillas)?;
        let now = round * m;
        for k in 0..m {
            let before = (round > 0).then(|| now + k - m);
            let targets: Vec<usize> = std::iter::once(now + k).chain(before).collect();
            c.push(Name::Detector, 0.0, &targets)?;
        }
    }
    c.push(Name::XError, p, &data)?;
    c.push(Name::Measure, 0.0, &data)?;
    let (last, end) = ((rounds - 1) * m, rounds * m);
    for k in 0..m {
        c.push(Name::Detector, 0.0, &[end + k, end + k + 1, last + k])?;
    }
    c.push(Name::Observable, 0.0, &[end + distance - 1])?;
    Ok(c)
}

/// A point of the lattice (x, y), ordered by row.
type Point = (usize, usize);

/// The rotated surface code in the Z basis: d² data qubits at odd coordinates, d² − 1 ancillas at even ones; four layers of
/// CNOTs per round in the order that keeps hook errors harmless.
///
/// # Errors
/// When distance, rounds or p are out of range.
pub fn surface_memory(distance: usize, rounds: usize, p: f64) -> Result<StimCircuit> {
    check(distance, rounds, p)?;
    let d = distance;
    let data: BTreeSet<Point> = (0..d).flat_map(|y| (0..d).map(move |x| (2 * y + 1, 2 * x + 1))).collect();
    // Points are (y, x) here, so that sets iterate row by row.
    let (mut x_checks, mut z_checks) = (BTreeSet::new(), BTreeSet::new());
    for row in 0..=d {
        for column in 0..=d {
            let (on_side, on_top) = (column == 0 || column == d, row == 0 || row == d);
            let parity = (column + row) % 2 == 1;
            // X checks close the top and bottom, Z checks the left and right edges.
            if (on_side && parity) || (on_top && !parity) {
                continue;
            }
            let point = (2 * row, 2 * column);
            if parity {
                x_checks.insert(point)
            } else {
                z_checks.insert(point)
            };
        }
    }
    // Qubit (x, y) has the number x + ⌊y/2⌋ (2d + 1).
    let number: BTreeMap<Point, usize> = data
        .iter()
        .chain(&x_checks)
        .chain(&z_checks)
        .map(|&(y, x)| ((y, x), x + y / 2 * (2 * d + 1)))
        .collect();
    let at = |point: &Point| number.get(point).copied().unwrap_or(0);
    let data_qubits: Vec<usize> = sorted(data.iter().map(at));
    let x_qubits: Vec<usize> = sorted(x_checks.iter().map(at));
    let ancillas: Vec<usize> = sorted(x_checks.iter().chain(&z_checks).map(at));
    let layers = layers(&data, &x_checks, &z_checks, &at);
    let mut c = StimCircuit::default();
    for group in [&data_qubits, &ancillas] {
        c.push(Name::Reset, 0.0, group)?;
        c.push(Name::XError, p, group)?;
    }
    let m = ancillas.len();
    let order: BTreeMap<usize, usize> = ancillas.iter().enumerate().map(|(k, &q)| (q, k)).collect();
    let place = |point: &Point| order.get(&at(point)).copied().unwrap_or(0);
    for round in 0..rounds {
        c.push(Name::H, 0.0, &x_qubits)?;
        c.push(Name::Depolarize1, p, &x_qubits)?;
        for layer in &layers {
            c.push(Name::Cx, 0.0, layer)?;
            c.push(Name::Depolarize2, p, layer)?;
        }
        c.push(Name::H, 0.0, &x_qubits)?;
        c.push(Name::Depolarize1, p, &x_qubits)?;
        c.push(Name::XError, p, &ancillas)?;
        c.push(Name::MeasureReset, 0.0, &ancillas)?;
        c.push(Name::XError, p, &ancillas)?;
        let now = round * m;
        if round == 0 {
            // The first X outcomes are random: only Z checks can be compared with the initial state.
            for check in &z_checks {
                c.push(Name::Detector, 0.0, &[now + place(check)])?;
            }
        } else {
            for k in 0..m {
                c.push(Name::Detector, 0.0, &[now + k, now + k - m])?;
            }
        }
    }
    c.push(Name::XError, p, &data_qubits)?;
    c.push(Name::Measure, 0.0, &data_qubits)?;
    let (last, end) = ((rounds - 1) * m, rounds * m);
    let data_order: BTreeMap<usize, usize> = data_qubits.iter().enumerate().map(|(k, &q)| (q, k)).collect();
    let outcome = |point: &Point| end + data_order.get(&at(point)).copied().unwrap_or(0);
    for check in &z_checks {
        let mut targets: Vec<usize> = neighbours(check)
            .into_iter()
            .flatten()
            .filter(|n| data.contains(n))
            .map(|n| outcome(&n))
            .collect();
        targets.push(last + place(check));
        c.push(Name::Detector, 0.0, &targets)?;
    }
    // Logical Z runs along the top row.
    let logical: Vec<usize> = (0..d).map(|x| outcome(&(1, 2 * x + 1))).collect();
    c.push(Name::Observable, 0.0, &logical)?;
    Ok(c)
}

fn sorted(qubits: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut list: Vec<usize> = qubits.collect();
    list.sort_unstable();
    list
}

/// The diagonal neighbours (+,+), (+,−), (−,+), (−,−) in (x, y).
fn neighbours(&(y, x): &Point) -> [Option<Point>; 4] {
    let down = |v: usize| v.checked_sub(1);
    [Some((y + 1, x + 1)), down(y).map(|y| (y, x + 1)), down(x).map(|x| (y + 1, x)), down(y).zip(down(x))]
}

/// Four layers of CNOTs: X checks control their neighbours in the order ++, −+, +−, −−, Z checks are targets in the order
/// ++, +−, −+, −−.
fn layers(
    data: &BTreeSet<Point>,
    x_checks: &BTreeSet<Point>,
    z_checks: &BTreeSet<Point>,
    at: &impl Fn(&Point) -> usize,
) -> [Vec<usize>; 4] {
    let mut layers: [Vec<usize>; 4] = Default::default();
    for (k, layer) in layers.iter_mut().enumerate() {
        let x_order = [0, 2, 1, 3][k];
        for check in x_checks {
            if let Some(qubit) = neighbours(check)[x_order].filter(|n| data.contains(n)) {
                layer.extend([at(check), at(&qubit)]);
            }
        }
        for check in z_checks {
            if let Some(qubit) = neighbours(check)[k].filter(|n| data.contains(n)) {
                layer.extend([at(&qubit), at(check)]);
            }
        }
    }
    layers
}

/// The probability that a majority of d independent flips with probability p is wrong: Σ_{k>d/2} C(d, k) pᵏ (1−p)^{d−k},
/// the failure rate of the repetition code with perfect measurements (d odd).
pub fn majority_vote_failure(distance: usize, p: f64) -> f64 {
    let mut binomial = 1.0;
    let mut total = 0.0;
    for k in 0..=distance {
        if 2 * k > distance {
            total += binomial * p.powi(k as i32) * (1.0 - p).powi((distance - k) as i32);
        }
        binomial *= (distance - k) as f64 / (k + 1) as f64;
    }
    total
}
