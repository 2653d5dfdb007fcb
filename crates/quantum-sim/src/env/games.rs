//! Nonlocal games: players who cannot talk answer questions, and shared entanglement helps them win.
//!
//! CHSH (Clauser et al. 1969): classical ¾, quantum cos²(π/8). GHZ (Greenberger, Horne & Zeilinger 1989; Mermin 1990): ¾
//! against 1. Magic square (Mermin 1990; Peres 1990): 8/9 against 1. These are exact gates for coordinated agents.

use crate::circuit::Circuit;
use crate::error::{Error, Result, same_length};
use crate::pauli::{PauliString, PauliSum};
use crate::{Plan, StateVector};
use rand::{Rng, RngExt};
use rl_core::env::{Action, EnvSpec, Simulator, Space};

/// A game of binary questions and answers; player p's bit is bit p. One step: the observation is the questions as 0 or 1,
/// the action the joint answers (an agent that plays fair lets each player see only its own bit), the reward 1 or 0.
#[derive(Clone, Debug, PartialEq)]
pub struct NonlocalGame {
    name: &'static str,
    players: usize,
    /// The question sets that are asked, equally often.
    questions: Vec<usize>,
    /// The parity of answers that wins, per question set.
    parity: Vec<bool>,
}

/// What players do with a shared state: for each player and question an angle pair; RZ(φ) RY(θ)… is applied as RY(−θ) RZ(−φ)
/// before measuring Z, so that (θ, φ) is the direction measured along.
#[derive(Clone, Debug)]
pub struct QuantumStrategy {
    /// Prepares the shared state, one qubit per player.
    pub state: Circuit,
    /// `[player][question] = (θ, φ)`
    pub directions: Vec<[(f64, f64); 2]>,
}

impl NonlocalGame {
    /// The number of players.
    pub fn players(&self) -> usize {
        self.players
    }

    fn wins(&self, which: usize, answers: usize) -> bool {
        (answers.count_ones() % 2 == 1) == self.parity[which]
    }

    /// The largest winning probability without entanglement, over all deterministic strategies (shared randomness only
    /// mixes them).
    pub fn classical_value(&self) -> f64 {
        let mut best = 0;
        // Two answer bits per player: for question 0 and for question 1.
        for strategy in 0..1usize << (2 * self.players) {
            let answer = |questions: usize| {
                (0..self.players).fold(0, |a, p| a | (strategy >> (2 * p + (questions >> p & 1)) & 1) << p)
            };
            let won = self.questions.iter().enumerate().filter(|(k, q)| self.wins(*k, answer(**q))).count();
            best = best.max(won);
        }
        best as f64 / self.questions.len() as f64
    }

    /// The winning probability of a quantum strategy, exactly.
    ///
    /// # Errors
    /// When the strategy has another number of players.
    pub fn quantum_value(&self, strategy: &QuantumStrategy) -> Result<f64> {
        let mut won = 0.0;
        for (which, &questions) in self.questions.iter().enumerate() {
            let p = self.measured(strategy, questions)?.probabilities();
            won += p.iter().enumerate().filter(|(a, _)| self.wins(which, *a)).map(|(_, p)| p).sum::<f64>();
        }
        Ok(won / self.questions.len() as f64)
    }

    /// One round of a quantum strategy: the answers that the measurement gives.
    ///
    /// # Errors
    /// As [`NonlocalGame::quantum_value`].
    pub fn play(&self, strategy: &QuantumStrategy, questions: usize, rng: &mut impl Rng) -> Result<usize> {
        let counts = self.measured(strategy, questions)?.sample(1, rng);
        Ok(counts.into_keys().next().unwrap_or(0))
    }

    fn measured(&self, strategy: &QuantumStrategy, questions: usize) -> Result<StateVector> {
        same_length("game", "players", self.players, strategy.directions.len())?;
        same_length("game", "qubits", self.players, strategy.state.qubits())?;
        let mut circuit = strategy.state.clone();
        for (p, directions) in strategy.directions.iter().enumerate() {
            let (theta, phi) = directions[questions >> p & 1];
            circuit.rz(p, -phi)?.ry(p, -theta)?;
        }
        let mut state = StateVector::zero(self.players)?;
        Plan::new(&circuit)?.run(&[], &[], &mut state)?;
        Ok(state)
    }
}

/// CHSH: win when a ⊕ b = x ∧ y; with the strategy that reaches cos²(π/8).
///
/// # Errors
/// Never in practice: the game is fixed.
pub fn chsh() -> Result<(NonlocalGame, QuantumStrategy)> {
    let game = NonlocalGame {
        name: "CHSH",
        players: 2,
        questions: vec![0, 1, 2, 3],
        parity: vec![false, false, false, true],
    };
    let mut state = Circuit::new(2)?;
    state.h(0)?.cx(0, 1)?;
    let pi = std::f64::consts::PI;
    let directions = vec![[(0.0, 0.0), (pi / 2.0, 0.0)], [(pi / 4.0, 0.0), (-pi / 4.0, 0.0)]];
    Ok((game, QuantumStrategy { state, directions }))
}

/// GHZ: the questions have even parity; win when a ⊕ b ⊕ c = x ∨ y ∨ z. The strategy measures X for 0 and Y for 1 and
/// always wins.
///
/// # Errors
/// Never in practice: the game is fixed.
pub fn ghz() -> Result<(NonlocalGame, QuantumStrategy)> {
    let game = NonlocalGame {
        name: "GHZ",
        players: 3,
        questions: vec![0b000, 0b011, 0b101, 0b110],
        parity: vec![false, true, true, true],
    };
    let mut state = Circuit::new(3)?;
    state.h(0)?.cx(0, 1)?.cx(0, 2)?;
    let right = std::f64::consts::FRAC_PI_2;
    Ok((game, QuantumStrategy { state, directions: vec![[(right, 0.0), (right, right)]; 3] }))
}

/// (classical, quantum) values of the magic-square game: Alice fills a row with signs of product +1, Bob a column with
/// product −1, and they must agree where the two cross. Classical by trying all strategies; quantum by measuring
/// Mermin's square of two-qubit Paulis on two Bell pairs.
///
/// # Errors
/// Never in practice: the game is fixed.
pub fn magic_square_values() -> Result<(f64, f64)> {
    Ok((magic_square_classical(), magic_square_quantum()?))
}

fn magic_square_classical() -> f64 {
    // Three cells as bits (1 for −1) with the given parity of minus signs.
    let lines = |odd: bool| -> Vec<u32> { (0..8u32).filter(|l| (l.count_ones() % 2 == 1) == odd).collect() };
    let (rows, columns) = (lines(false), lines(true));
    let triple = |list: &[u32], k: usize| [list[k % 4], list[k / 4 % 4], list[k / 16]];
    let mut best = 0;
    for a in 0..64 {
        let alice = triple(&rows, a);
        for b in 0..64 {
            let bob = triple(&columns, b);
            let agree = |cell: usize| alice[cell / 3] >> (cell % 3) & 1 == bob[cell % 3] >> (cell / 3) & 1;
            best = best.max((0..9).filter(|&cell| agree(cell)).count());
        }
    }
    best as f64 / 9.0
}

fn magic_square_quantum() -> Result<f64> {
    // Rows multiply to +1, columns to −1 (as operators): X1 1X XX / 1Z Z1 ZZ / −XZ −ZX YY.
    let square = [["X0", "X1", "X0 X1"], ["Z1", "Z0", "Z0 Z1"], ["X0 Z1", "Z0 X1", "Y0 Y1"]];
    let sign = |r: usize, c: usize| if r == 2 && c < 2 { -1.0 } else { 1.0 };
    // The strategy is legal only if the measured signs always have the demanded products.
    let product = |cells: [(usize, usize); 3]| -> Result<(PauliString, f64)> {
        let (mut whole, mut power, mut factor) = (PauliString::IDENTITY, 0, 1.0);
        for (r, c) in cells {
            let (next, k) = whole.multiply(&square[r][c].parse()?);
            (whole, power, factor) = (next, power + k, factor * sign(r, c));
        }
        Ok((whole, factor * [1.0, 0.0, -1.0, 0.0][power as usize % 4]))
    };
    for k in 0..3 {
        let row = product([(k, 0), (k, 1), (k, 2)])?;
        let column = product([(0, k), (1, k), (2, k)])?;
        if row != (PauliString::IDENTITY, 1.0) || column != (PauliString::IDENTITY, -1.0) {
            return Err(Error::unsupported(
                "magic square",
                format!("line {k} has products {row:?}, {column:?}"),
            ));
        }
    }
    // Bell pairs (0, 2) and (1, 3): ⟨P ⊗ Q⟩ = 1 when Q is the transpose of P, Bob's conj(P) measured on his side.
    let mut circuit = Circuit::new(4)?;
    circuit.h(0)?.h(1)?.cx(0, 2)?.cx(1, 3)?;
    let state = StateVector::from_circuit(&circuit, &[], &[])?;
    let mut won = 0.0;
    for row in &square {
        for cell in row {
            let alice: PauliString = cell.parse()?;
            let both = PauliString { x: alice.x | alice.x << 2, z: alice.z | alice.z << 2 };
            // Y is antisymmetric: transposing gives a sign per Y.
            let transpose = if (alice.x & alice.z).count_ones() % 2 == 1 { -1.0 } else { 1.0 };
            won += (1.0 + transpose * state.expectation(&PauliSum::from(both))?) / 2.0;
        }
    }
    Ok(won / 9.0)
}

impl Simulator for NonlocalGame {
    /// Which question set is asked.
    type State = usize;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: self.name.into(),
            observation: Space::uniform_box(self.players, 0.0, 1.0),
            action: Space::Discrete(1 << self.players),
            max_episode_steps: Some(1),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> usize {
        rng.random_range(0..self.questions.len())
    }

    fn transition(&self, state: &mut usize, action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let won = match action {
            Action::Discrete(answers) if *state < self.questions.len() => self.wins(*state, answers),
            _ => false,
        };
        (f64::from(u8::from(won)), true)
    }

    fn observe(&self, state: &usize, observation: &mut [f32]) {
        let questions = self.questions.get(*state).copied().unwrap_or(0);
        for (p, o) in observation.iter_mut().enumerate() {
            *o = (questions >> p & 1) as f32;
        }
    }
}
