//! A team: one entangled state, and what each agent measures on its qubits when it is asked.
//!
//! The agents' answers follow p(a | q) = Tr(ρ ⊗ₚ M_{aₚ|qₚ}), the team's *behaviour*; no agent's marginal depends on what the others
//! are asked (no signalling). Noise acts on the shared state before the measurements.

use super::game::{Game, digits, joint};
use crate::error::{Error, Result, within};
use quantum_sim::{Channel, Circuit, DensityMatrix, StateVector};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// What happens to the shared state before it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// Nothing.
    None,
    /// ρ = v |ψ⟩⟨ψ| + (1 − v) 1/2ⁿ with visibility v in [0, 1] (Werner 1989).
    White(f64),
    /// (1−p)ρ + p/3 Σ PρP on every qubit, p in [0, ¾]: each correlator of w qubits shrinks by (1 − 4p/3)ʷ.
    Depolarizing(f64),
    /// (1−p)ρ + p ZρZ on every qubit, p in [0, ½]; ½ leaves the classical correlations of the state and no entanglement.
    Dephasing(f64),
}

/// A family of noise of which more is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Critical {
    /// The smallest useful visibility of [`Noise::White`].
    Visibility,
    /// The largest useful probability of [`Noise::Depolarizing`].
    Depolarizing,
}

/// What one agent measures for one question.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Turned before the computational basis is read; touches only the agent's own qubits.
    pub rotation: Circuit,
    /// The agent's qubits; the first is bit 0 of its answer.
    pub qubits: Vec<usize>,
}

/// A shared state and the agents' measurements.
#[derive(Clone, Debug)]
pub struct Team {
    /// Prepares the state.
    pub state: Circuit,
    /// `[player][question]`
    pub measurements: Vec<Vec<Measurement>>,
}

/// p(answers | questions), exactly: `[round][joint answer]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    joint: Vec<Vec<f64>>,
}

impl Noise {
    /// `Ok` when the number is in range.
    ///
    /// # Errors
    /// Naming it.
    pub fn validate(self) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::White(v) => within("visibility", v, (0.0, 1.0), "in [0, 1]"),
            Self::Depolarizing(p) => within("depolarizing probability", p, (0.0, 0.75), "in [0, 0.75]"),
            Self::Dephasing(p) => within("dephasing probability", p, (0.0, 0.5), "in [0, 0.5]"),
        }
    }

    fn channel(self) -> Option<Channel> {
        match self {
            Self::Depolarizing(p) => Some(Channel::Depolarizing(p)),
            Self::Dephasing(p) => Some(Channel::PhaseFlip(p)),
            Self::None | Self::White(_) => None,
        }
    }
}

impl Team {
    /// The behaviour in a game.
    ///
    /// # Errors
    /// When the numbers of players, questions or answers do not fit, agents share a qubit or turn one that is not theirs, or the noise
    /// is out of range.
    pub fn behaviour(&self, game: &Game, noise: Noise) -> Result<Behaviour> {
        noise.validate()?;
        self.check(game)?;
        let joint = game.rounds().iter().map(|round| {
            let asked: Vec<&Measurement> =
                self.measurements.iter().zip(&round.questions).map(|(m, q)| &m[*q]).collect();
            self.answers(game, &asked, noise)
        });
        Ok(Behaviour { joint: joint.collect::<Result<_>>()? })
    }

    /// The distribution of joint answers of one round.
    fn answers(&self, game: &Game, asked: &[&Measurement], noise: Noise) -> Result<Vec<f64>> {
        let mut circuit = self.state.clone();
        if let Some(channel) = noise.channel() {
            for qubit in 0..self.state.qubits() {
                circuit.noise(channel.clone(), &[qubit])?;
            }
        }
        for measurement in asked {
            circuit.append(&measurement.rotation)?;
        }
        let mut outcomes = match noise.channel() {
            Some(_) => DensityMatrix::from_circuit(&circuit, &[], &[])?.probabilities(),
            None => StateVector::from_circuit(&circuit, &[], &[])?.probabilities(),
        };
        if let Noise::White(v) = noise {
            // The maximally mixed state gives every outcome equally often in every basis.
            let uniform = 1.0 / outcomes.len() as f64;
            outcomes.iter_mut().for_each(|p| *p = v * *p + (1.0 - v) * uniform);
        }
        let mut answers = vec![0.0; game.answers().iter().product()];
        for (outcome, p) in outcomes.into_iter().enumerate() {
            let own = |m: &&Measurement| {
                m.qubits.iter().enumerate().fold(0, |a, (bit, q)| a | (outcome >> q & 1) << bit)
            };
            answers[joint(&asked.iter().map(own).collect::<Vec<_>>(), game.answers())] += p;
        }
        Ok(answers)
    }

    fn check(&self, game: &Game) -> Result<()> {
        let shape = |expected: String, got: String| Err(Error::shape("team", expected, got));
        if self.measurements.len() != game.players() {
            return shape(format!("{} players", game.players()), self.measurements.len().to_string());
        }
        let mut owner = vec![None; self.state.qubits()];
        for (p, measurements) in self.measurements.iter().enumerate() {
            if measurements.len() != game.questions()[p] {
                return shape(format!("{} questions", game.questions()[p]), measurements.len().to_string());
            }
            for m in measurements {
                if 1usize.checked_shl(m.qubits.len() as u32) != Some(game.answers()[p]) {
                    return shape(
                        format!("{} answers", game.answers()[p]),
                        format!("{} bits", m.qubits.len()),
                    );
                }
                let turned = m.rotation.operations()?;
                let turned = turned.iter().flat_map(|o| o.qubits());
                for q in m.qubits.iter().copied().chain(turned) {
                    match owner.get_mut(q) {
                        Some(owner) if owner.is_none_or(|o| o == p) => *owner = Some(p),
                        _ => return shape(format!("qubits of player {p} alone"), format!("qubit {q}")),
                    }
                }
            }
        }
        Ok(())
    }

    /// Where the noise makes the advantage over `classical` vanish, by bisection to 1e-12; `None` when there is no advantage even
    /// without noise.
    ///
    /// # Errors
    /// As [`Team::behaviour`].
    pub fn critical(&self, game: &Game, classical: f64, family: Critical) -> Result<Option<f64>> {
        let advantage = |noise| Ok::<f64, Error>(self.behaviour(game, noise)?.value(game) - classical);
        if advantage(Noise::None)? <= 0.0 {
            return Ok(None);
        }
        let (noise, mut good, mut bad): (fn(f64) -> Noise, _, _) = match family {
            Critical::Visibility => (Noise::White, 1.0, 0.0),
            Critical::Depolarizing => (Noise::Depolarizing, 0.0, 0.75),
        };
        while f64::abs(good - bad) > 1e-12 {
            let middle = 0.5 * (good + bad);
            if advantage(noise(middle))? > 0.0 { good = middle } else { bad = middle }
        }
        Ok(Some(0.5 * (good + bad)))
    }
}

impl Behaviour {
    /// The behaviour of deterministic answers `[player][question]`.
    pub fn deterministic(game: &Game, strategy: &[Vec<usize>]) -> Self {
        let size = game.answers().iter().product();
        let joint = game.rounds().iter().map(|round| {
            let mut p = vec![0.0; size];
            let answers: Vec<usize> =
                strategy.iter().zip(&round.questions).map(|(s, q)| s.get(*q).copied().unwrap_or(0)).collect();
            if let Some(p) = p.get_mut(joint(&answers, game.answers())) {
                *p = 1.0;
            }
            p
        });
        Self { joint: joint.collect() }
    }

    /// p(answers | round)
    pub fn answers(&self, round: usize) -> &[f64] {
        &self.joint[round]
    }

    /// Σ p(a | q) over winning answers, averaged over rounds.
    pub fn value(&self, game: &Game) -> f64 {
        let won = |(p, round): (&Vec<f64>, &super::Round)| {
            p.iter().zip(&round.wins).filter(|(_, wins)| **wins).map(|(p, _)| p).sum::<f64>()
        };
        self.joint.iter().zip(game.rounds()).map(won).sum::<f64>() / game.rounds().len() as f64
    }

    /// Plays: a round is drawn, the answers are drawn from the behaviour, the referee looks. Returns the number won.
    pub fn play(&self, game: &Game, plays: u64, rng: &mut impl Rng) -> u64 {
        let mut won = 0;
        for _ in 0..plays {
            let round = rng.random_range(0..self.joint.len());
            let answers = draw(&self.joint[round], rng.random());
            won += u64::from(game.rounds()[round].wins[answers]);
        }
        won
    }

    /// The largest change of one agent's marginal when only others' questions change: 0 when nothing is communicated.
    pub fn signalling(&self, game: &Game) -> f64 {
        let mut largest = 0.0f64;
        for player in 0..game.players() {
            let mut seen: Vec<Option<Vec<f64>>> = vec![None; game.questions()[player]];
            for (p, round) in self.joint.iter().zip(game.rounds()) {
                let mut marginal = vec![0.0; game.answers()[player]];
                p.iter().enumerate().for_each(|(a, p)| marginal[digits(a, game.answers())[player]] += p);
                let known = seen[round.questions[player]].get_or_insert_with(|| marginal.clone());
                let change = known.iter().zip(&marginal).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                largest = largest.max(change);
            }
        }
        largest
    }
}

/// The first outcome whose cumulative probability exceeds u.
fn draw(p: &[f64], u: f64) -> usize {
    let mut sum = 0.0;
    let found = p.iter().position(|p| {
        sum += p;
        u < sum
    });
    // Rounding may leave the sum below u: then the last outcome that can happen.
    found.or_else(|| p.iter().rposition(|p| *p > 0.0)).unwrap_or(0)
}
