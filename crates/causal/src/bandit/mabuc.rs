//! The bandit with unobserved confounders (MABUC): Bareinboim, Forney & Pearl, *Bandits with unobserved confounders:
//! a causal approach* (NIPS 2015).
//!
//! Two hidden fair bits B and D decide what the agent would naturally do, its intent Z = B xor D, and what each arm
//! pays. Averaged over the hidden bits both arms pay the same, so every agent that ignores its intent loses a fixed
//! amount per step; conditioning on the intent, E[y_a | z], separates the arms (the regret decision criterion).

use super::arms::sample_beta;
use crate::error::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// The environment: `payout[arm][B + 2 D]`, the probability that an arm pays in a hidden state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnobservedConfounders {
    /// Probabilities in [0, 1].
    pub payout: [[f64; 4]; 2],
}

/// The three samplers of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfoundedAgent {
    /// TS: Thompson sampling that does not look at the intent.
    Blind,
    /// TSᶻ: one posterior per intent and arm.
    Intent,
    /// TSᶜ: as TSᶻ, with the cells (intent x, arm x) seeded by passive data, and the sample of the arm that looks
    /// worse multiplied by 1 − |E[y_x′ | x] − P(y | x)|.
    Causal,
}

/// One run of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfoundedRun {
    /// Σ over the steps so far of (best arm's payout in the hidden state − realised reward); can fall below 0.
    pub regret: Vec<f64>,
    /// Whether the arm was the best of the hidden state, per step.
    pub optimal: Vec<bool>,
}

impl ConfoundedRun {
    /// Regret after the last step.
    pub fn total_regret(&self) -> f64 {
        self.regret.last().copied().unwrap_or(0.0)
    }

    /// Share of optimal choices over the last `steps`.
    pub fn optimal_share(&self, steps: usize) -> f64 {
        let tail = &self.optimal[self.optimal.len().saturating_sub(steps)..];
        tail.iter().filter(|&&o| o).count() as f64 / tail.len().max(1) as f64
    }
}

impl UnobservedConfounders {
    /// The greedy casino of the paper: both arms pay 0.15 when chosen naturally and 0.3 when forced.
    pub const GREEDY_CASINO: Self = Self { payout: [[0.1, 0.5, 0.4, 0.2], [0.5, 0.1, 0.2, 0.4]] };
    /// The paradoxical switching game of the authors' code.
    pub const PARADOXICAL_SWITCHING: Self = Self { payout: [[0.4, 0.3, 0.3, 0.4], [0.6, 0.1, 0.2, 0.6]] };

    /// P(y = 1 | x): the payout of an arm when it is chosen naturally.
    pub fn observational(&self, arm: usize) -> f64 {
        let states: Vec<usize> = (0..4).filter(|&s| intent(s) == arm).collect();
        states.iter().map(|&s| self.payout[arm % 2][s]).sum::<f64>() / states.len().max(1) as f64
    }

    /// P(y = 1 | do(x)): the payout of an arm when it is forced.
    pub fn interventional(&self, arm: usize) -> f64 {
        self.payout[arm % 2].iter().sum::<f64>() / 4.0
    }

    /// E[y_arm | intent]: what the intent-specific decision rule compares.
    pub fn counterfactual(&self, arm: usize, natural: usize) -> f64 {
        let states: Vec<usize> = (0..4).filter(|&s| intent(s) == natural).collect();
        states.iter().map(|&s| self.payout[arm % 2][s]).sum::<f64>() / states.len().max(1) as f64
    }

    /// The loss per step that no intent-blind agent avoids: E[max over arms] − max over arms of P(y | do(x)).
    pub fn blind_loss(&self) -> f64 {
        let best = (0..4).map(|s| self.payout[0][s].max(self.payout[1][s])).sum::<f64>() / 4.0;
        best - self.interventional(0).max(self.interventional(1))
    }

    /// Lets an agent play `steps` rounds after `passive` observed ones (used by [`ConfoundedAgent::Causal`] only).
    ///
    /// # Errors
    /// [`Error::Config`] for payouts outside [0, 1].
    pub fn play(
        &self,
        agent: ConfoundedAgent,
        steps: usize,
        passive: usize,
        rng: &mut impl Rng,
    ) -> Result<ConfoundedRun> {
        if let Some(bad) = self.payout.iter().flatten().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(Error::config("mabuc", "payout", bad, "in [0, 1]"));
        }
        let mut posterior = Posterior::new(self, agent, passive);
        let mut run = ConfoundedRun { regret: Vec::with_capacity(steps), optimal: Vec::with_capacity(steps) };
        let mut total = 0.0;
        for _ in 0..steps {
            let state = rng.random_range(0..4usize);
            let natural = intent(state);
            let arm = posterior.choose(natural, rng);
            let reward = f64::from(u8::from(rng.random::<f64>() < self.payout[arm][state]));
            posterior.update(natural, arm, reward);
            total += self.payout[0][state].max(self.payout[1][state]) - reward;
            run.regret.push(total);
            // Ties go to the first arm, as in an argmax.
            let best = usize::from(self.payout[1][state] > self.payout[0][state]);
            run.optimal.push(arm == best);
        }
        Ok(run)
    }
}

/// Z = B xor D of the state B + 2 D.
fn intent(state: usize) -> usize {
    (state & 1) ^ (state >> 1)
}

/// Beta posteriors `[intent][arm]`.
struct Posterior {
    agent: ConfoundedAgent,
    wins: [[f64; 2]; 2],
    losses: [[f64; 2]; 2],
    observational: [f64; 2],
}

impl Posterior {
    fn new(game: &UnobservedConfounders, agent: ConfoundedAgent, passive: usize) -> Self {
        let observational = [game.observational(0), game.observational(1)];
        let mut posterior = Self { agent, wins: [[1.0; 2]; 2], losses: [[1.0; 2]; 2], observational };
        if agent == ConfoundedAgent::Causal && passive > 0 {
            // Half of the passive rounds have each intent; the expected counts seed its own arm.
            let seen = passive as f64 / 2.0;
            for (arm, p) in observational.into_iter().enumerate() {
                posterior.wins[arm][arm] = seen * p;
                posterior.losses[arm][arm] = seen * (1.0 - p);
            }
        }
        posterior
    }

    fn row(&self, natural: usize) -> usize {
        if self.agent == ConfoundedAgent::Blind { 0 } else { natural }
    }

    fn choose(&self, natural: usize, rng: &mut impl Rng) -> usize {
        let (wins, losses) = (self.wins[self.row(natural)], self.losses[self.row(natural)]);
        let mut sample = [sample_beta(wins[0], losses[0], rng), sample_beta(wins[1], losses[1], rng)];
        if self.agent == ConfoundedAgent::Causal {
            let other = 1 - natural;
            let switched = wins[other] / (wins[other] + losses[other]);
            let kept = self.observational[natural];
            let worse = if switched > kept { natural } else { other };
            sample[worse] *= 1.0 - (switched - kept).abs();
        }
        usize::from(sample[1] > sample[0])
    }

    fn update(&mut self, natural: usize, arm: usize, reward: f64) {
        let row = self.row(natural);
        self.wins[row][arm] += reward;
        self.losses[row][arm] += 1.0 - reward;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greedy_casino_hides_its_difference_from_blind_agents() {
        let game = UnobservedConfounders::GREEDY_CASINO;
        for arm in 0..2 {
            assert!((game.observational(arm) - 0.15).abs() < 1e-12);
            assert!((game.interventional(arm) - 0.3).abs() < 1e-12);
            assert!((game.counterfactual(arm, 1 - arm) - 0.45).abs() < 1e-12);
        }
        assert!((game.blind_loss() - 0.15).abs() < 1e-12);
    }

    #[test]
    fn listening_to_the_intent_pays() {
        let game = UnobservedConfounders::GREEDY_CASINO;
        let seeds = rl_core::SeedStream::new(4);
        let mean = |agent| -> (f64, f64) {
            let runs: Vec<_> = (0..60)
                .map(|i| game.play(agent, 1000, 200, &mut seeds.stream("mabuc", i)).unwrap())
                .collect();
            let n = runs.len() as f64;
            (
                runs.iter().map(ConfoundedRun::total_regret).sum::<f64>() / n,
                runs.iter().map(|r| r.optimal_share(100)).sum::<f64>() / n,
            )
        };
        let (blind, intent, causal) =
            (mean(ConfoundedAgent::Blind), mean(ConfoundedAgent::Intent), mean(ConfoundedAgent::Causal));
        assert!((140.0..160.0).contains(&blind.0), "{blind:?}");
        assert!(intent.0 < 20.0 && intent.1 > 0.97, "{intent:?}");
        assert!(causal.0 < 9.0 && causal.1 > 0.99, "{causal:?}");
    }
}
