//! CHSH, GHZ, the magic square and the rendezvous: game, team and theory.
//!
//! Clauser et al. 1969; Greenberger, Horne & Zeilinger 1989; Mermin 1990; Peres 1990. The rendezvous follows the idea of Mironowicz
//! (2023): agents on a network meet more often when they share entanglement; its closed forms are derived in
//! the book's page.

use super::game::Game;
use super::team::{Measurement, Team};
use crate::error::{Error, Result};
use quantum_sim::Circuit;
use quantum_sim::env::QuantumStrategy;
use std::f64::consts::PI;

/// What theory says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Theory {
    /// The best winning probability with shared randomness.
    pub classical: f64,
    /// The team's winning probability without noise, which is the best that any entanglement allows.
    pub quantum: f64,
    /// The visibility below which the advantage is gone.
    pub visibility: f64,
    /// The depolarising probability per qubit above which the advantage is gone.
    pub depolarizing: f64,
}

/// A game, the team that plays it best, and the theory.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it is called.
    pub name: String,
    /// The game.
    pub game: Game,
    /// The entangled team.
    pub team: Team,
    /// What theory says about both.
    pub theory: Theory,
}

/// p with (1 − 4p/3) = λ.
fn depolarizing(lambda: f64) -> f64 {
    0.75 * (1.0 - lambda)
}

/// One qubit per player, measured along directions.
fn team(strategy: &QuantumStrategy) -> Result<Team> {
    let qubits = strategy.state.qubits();
    let along = |p: usize, (theta, phi): (f64, f64)| -> Result<Measurement> {
        let mut rotation = Circuit::new(qubits)?;
        rotation.rz(p, -phi)?.ry(p, -theta)?;
        Ok(Measurement { rotation, qubits: vec![p] })
    };
    let player = |(p, d): (usize, &[(f64, f64); 2])| d.iter().map(|d| along(p, *d)).collect::<Result<_>>();
    let measurements = strategy.directions.iter().enumerate().map(player).collect::<Result<_>>()?;
    Ok(Team { state: strategy.state.clone(), measurements })
}

/// CHSH: win when a ⊕ b = x ∧ y. Classical ¾, quantum (2 + √2)/4; the advantage ends at visibility 1/√2.
///
/// # Errors
/// Never in practice: the game is fixed.
pub fn chsh() -> Result<Task> {
    let asked: Vec<Vec<usize>> = (0..4).map(|k| vec![k & 1, k >> 1]).collect();
    let game = Game::new(vec![2; 2], vec![2; 2], &asked, |q, a| a[0] ^ a[1] == q[0] & q[1])?;
    let visibility = 0.5f64.sqrt();
    let theory = Theory {
        classical: 0.75,
        quantum: (2.0 + 2.0f64.sqrt()) / 4.0,
        visibility,
        depolarizing: depolarizing(visibility.sqrt()),
    };
    Ok(Task { name: "CHSH".into(), game, team: team(&quantum_sim::env::chsh()?.1)?, theory })
}

/// GHZ: questions of even parity, win when a ⊕ b ⊕ c = x ∨ y ∨ z. Classical ¾, quantum 1; the advantage ends at visibility ½.
///
/// # Errors
/// Never in practice: the game is fixed.
pub fn ghz() -> Result<Task> {
    let asked = [vec![0, 0, 0], vec![1, 1, 0], vec![1, 0, 1], vec![0, 1, 1]];
    let game = Game::new(vec![2; 3], vec![2; 3], &asked, |q, a| a[0] ^ a[1] ^ a[2] == q[0] | q[1] | q[2])?;
    let theory =
        Theory { classical: 0.75, quantum: 1.0, visibility: 0.5, depolarizing: depolarizing(0.5f64.cbrt()) };
    Ok(Task { name: "GHZ".into(), game, team: team(&quantum_sim::env::ghz()?.1)?, theory })
}

/// Magic square: Alice fills row x with signs of product +1, Bob column y with product −1, and they must agree where the two cross. An
/// answer's bits are the minus signs of the first two cells; the third follows. Classical 8/9, quantum 1.
///
/// With correlators of weight one shrunk by λ² and of weight two by λ⁴ the team wins ½ + (4λ² + 5λ⁴)/18; white noise on
/// all four qubits gives ½ + v/2.
///
/// # Errors
/// Never in practice: the game is fixed.
pub fn magic_square() -> Result<Task> {
    let asked: Vec<Vec<usize>> = (0..9).map(|k| vec![k / 3, k % 3]).collect();
    let game = Game::new(vec![3; 2], vec![4; 2], &asked, |q, a| {
        let third = |bits: usize| (bits & 1) ^ (bits >> 1);
        let row = [a[0] & 1, a[0] >> 1, third(a[0])];
        let column = [a[1] & 1, a[1] >> 1, 1 ^ third(a[1])];
        row[q[1]] == column[q[0]]
    })?;
    let mut state = Circuit::new(4)?;
    state.h(0)?.h(1)?.cx(0, 2)?.cx(1, 3)?;
    let lines: [fn(usize, usize) -> Result<Measurement>; 6] =
        [row_x, row_z, row_y, column_0, column_1, column_2];
    let measure = |lines: &[fn(usize, usize) -> Result<Measurement>], a, b| {
        lines.iter().map(|line| line(a, b)).collect::<Result<Vec<_>>>()
    };
    let measurements = vec![measure(&lines[..3], 0, 1)?, measure(&lines[3..], 2, 3)?];
    let lambda_squared = (39.0f64.sqrt() - 2.0) / 5.0;
    let theory = Theory {
        classical: 8.0 / 9.0,
        quantum: 1.0,
        visibility: 7.0 / 9.0,
        depolarizing: depolarizing(lambda_squared.sqrt()),
    };
    Ok(Task { name: "magic square".into(), game, team: Team { state, measurements }, theory })
}

// Mermin's square: X1 1X XX / 1Z Z1 ZZ / −XZ −ZX YY (first factor on qubit a). All nine are symmetric matrices, so that on
// Bell pairs Bob measures the same operators as Alice.

fn row_x(a: usize, b: usize) -> Result<Measurement> {
    let mut rotation = Circuit::new(4)?;
    rotation.h(a)?.h(b)?;
    Ok(Measurement { rotation, qubits: vec![a, b] })
}

fn row_z(a: usize, b: usize) -> Result<Measurement> {
    Ok(Measurement { rotation: Circuit::new(4)?, qubits: vec![b, a] })
}

/// CZ takes X⊗Z to X⊗1; the X gates carry the minus signs.
fn row_y(a: usize, b: usize) -> Result<Measurement> {
    let mut rotation = Circuit::new(4)?;
    rotation.cz(a, b)?.h(a)?.h(b)?.x(a)?.x(b)?;
    Ok(Measurement { rotation, qubits: vec![a, b] })
}

fn column_0(a: usize, b: usize) -> Result<Measurement> {
    let mut rotation = Circuit::new(4)?;
    rotation.h(a)?;
    Ok(Measurement { rotation, qubits: vec![a, b] })
}

fn column_1(a: usize, b: usize) -> Result<Measurement> {
    let mut rotation = Circuit::new(4)?;
    rotation.h(b)?;
    Ok(Measurement { rotation, qubits: vec![b, a] })
}

/// The Bell basis: XX and ZZ.
fn column_2(a: usize, b: usize) -> Result<Measurement> {
    let mut rotation = Circuit::new(4)?;
    rotation.cx(a, b)?.h(a)?;
    Ok(Measurement { rotation, qubits: vec![a, b] })
}

/// Rendezvous on a ring of n cells (n odd, 3 to 21): two agents wake in independent uniform cells, each knows only its own, each steps
/// clockwise or anticlockwise, and they win when they stand in the same cell.
///
/// Classical (2n − 1)/n², quantum (3 + cos(π/n))/(2n); the advantage ends at visibility 2(n−1)/(n(1 + cos(π/n))).
///
/// # Errors
/// When n is even (there is no advantage) or out of range.
pub fn rendezvous_ring(n: usize) -> Result<Task> {
    odd("ring cells", n, 21)?;
    let cells: Vec<usize> = (0..n).collect();
    let step = |cell: usize, action: usize| (cell + [1, n - 1][action]) % n;
    // Cells two steps apart must differ as much as a closed ring allows, by π(n−1)/n; (n+1)/2 is the inverse of 2 modulo n.
    let angle = |cell: usize| PI * (n as f64 - 1.0) / n as f64 * (cell * n.div_ceil(2) % n) as f64;
    rendezvous(format!("rendezvous on a ring of {n}"), &cells, n, step, angle, 1.0)
}

/// Rendezvous on an m × m grid whose edges are joined (m odd, 3 at present): two agents wake in independent uniform cells, each knows
/// only its own, each steps right or down, and they win when they stand in the same cell.
///
/// Along the antidiagonals the grid is m rings of m cells: all winning probabilities are those of [`rendezvous_ring`] over m.
///
/// # Errors
/// When m is not 3: beyond, the classical strategies are too many to try.
pub fn rendezvous_grid(m: usize) -> Result<Task> {
    odd("grid side", m, 3)?;
    let cells: Vec<usize> = (0..m * m).collect();
    let step = |cell: usize, action: usize| {
        let (row, column) = (cell / m, cell % m);
        if action == 0 { row * m + (column + 1) % m } else { (row + 1) % m * m + column }
    };
    let angle = |cell: usize| PI * (m as f64 - 1.0) / m as f64 * (cell % m) as f64;
    rendezvous(format!("rendezvous on a {m} x {m} grid"), &cells, m, step, angle, 1.0 / m as f64)
}

fn odd(what: &'static str, n: usize, largest: usize) -> Result<()> {
    if n % 2 == 1 && (3..=largest).contains(&n) {
        return Ok(());
    }
    let allowed = if largest == 3 { "3" } else { "odd, from 3 to 21" };
    Err(Error::Range { what, value: n as f64, allowed })
}

/// Both agents measure along `angle(cell)` in the plane of Z and X on a Bell pair, so that ⟨AB⟩ = cos(θ_x − θ_y).
fn rendezvous(
    name: String,
    cells: &[usize],
    n: usize,
    step: impl Fn(usize, usize) -> usize,
    angle: impl Fn(usize) -> f64,
    scale: f64,
) -> Result<Task> {
    let asked: Vec<Vec<usize>> = cells.iter().flat_map(|x| cells.iter().map(|y| vec![*x, *y])).collect();
    let game =
        Game::new(vec![cells.len(); 2], vec![2; 2], &asked, |q, a| step(q[0], a[0]) == step(q[1], a[1]))?;
    let mut state = Circuit::new(2)?;
    state.h(0)?.cx(0, 1)?;
    let along = |p: usize, cell: usize| -> Result<Measurement> {
        let mut rotation = Circuit::new(2)?;
        rotation.ry(p, -angle(cell))?;
        Ok(Measurement { rotation, qubits: vec![p] })
    };
    let player = |p| cells.iter().map(|cell| along(p, *cell)).collect::<Result<Vec<_>>>();
    let team = Team { state, measurements: vec![player(0)?, player(1)?] };
    let (size, cosine) = (n as f64, (PI / n as f64).cos());
    let visibility = 2.0 * (size - 1.0) / (size * (1.0 + cosine));
    let theory = Theory {
        classical: scale * (2.0 * size - 1.0) / (size * size),
        quantum: scale * (3.0 + cosine) / (2.0 * size),
        visibility,
        depolarizing: depolarizing(visibility.sqrt()),
    };
    Ok(Task { name, game, team, theory })
}
