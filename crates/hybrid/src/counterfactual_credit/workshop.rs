//! The workshop: agents who push stages of a line towards a target, seen through noise that hits all of them.
//!
//! Variables: the actions u₁ … u_N ∈ {−1, 0, 1}, the stages x₁ … x_N, the outcome y. xᵢ = uᵢ + Σ_{j<i} w_ji xⱼ + ε, y = Σ vᵢ xᵢ + ε,
//! reward = −(y − target)². How far to push depends on what the others do.

use crate::error::Result;
use crate::multi_agent_causal::Blueprint;
use causal::scm::{Intervention, Scm};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// The task.
#[derive(Clone, Debug, PartialEq)]
pub struct Workshop {
    agents: usize,
    noise: f64,
    target: f64,
    blueprint: Blueprint,
}

/// What everyone sees of a play: all variables, the actions first.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// `[2N + 1]`
    pub values: Vec<f64>,
    /// The common reward.
    pub reward: f64,
}

impl Workshop {
    /// Actions of every agent.
    pub const ACTIONS: [f64; 3] = [-1.0, 0.0, 1.0];

    /// A random workshop: stages feed later ones with probability `density`, weights ±U(0.3, 0.8); the outcome reads all stages.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range) for no agents, more than 12, or a density outside [0, 1].
    pub fn random(agents: usize, density: f64, noise: f64, target: f64, rng: &mut impl Rng) -> Result<Self> {
        crate::error::within("agents", agents as f64, (1.0, 12.0), "from 1 to 12")?;
        crate::error::within("density", density, (0.0, 1.0), "in [0, 1]")?;
        crate::error::within("noise", noise, (0.0, 1e6), "not negative")?;
        let mut weight = || rng.random_range(0.3..0.8) * if rng.random::<bool>() { 1.0 } else { -1.0 };
        let mut parents = vec![vec![]; agents];
        let own: Vec<f64> = (0..agents * agents + agents).map(|_| weight()).collect();
        for i in 0..agents {
            let mut all = vec![(i, 1.0)];
            for j in 0..i {
                if rng.random::<f64>() < density {
                    all.push((agents + j, own[i * agents + j]));
                }
            }
            parents.push(all);
        }
        parents.push((0..agents).map(|i| (agents + i, own[agents * agents + i])).collect());
        let intercepts = vec![0.0; 2 * agents + 1];
        Ok(Self { agents, noise, target, blueprint: Blueprint { parents, intercepts } })
    }

    /// N.
    pub fn agents(&self) -> usize {
        self.agents
    }

    /// The true line.
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// The names of the variables.
    pub fn names(&self) -> Vec<String> {
        let actions = (0..self.agents).map(|i| format!("u{i}"));
        let stages = (0..self.agents).map(|i| format!("x{i}"));
        actions.chain(stages).chain(["y".to_string()]).collect()
    }

    /// −(y − target)².
    pub fn reward(&self, values: &[f64]) -> f64 {
        values.last().map_or(0.0, |y| -(y - self.target).powi(2))
    }

    /// Plays one joint action; `scm` is the blueprint's model.
    ///
    /// # Errors
    /// From the model.
    pub fn play(&self, scm: &Scm, actions: &[usize], rng: &mut impl Rng) -> Result<Episode> {
        let mut noise: Vec<f64> =
            (0..=2 * self.agents).map(|_| self.noise * rng.sample::<f64, _>(StandardNormal)).collect();
        // Actions have no parents: their noise is their value.
        noise.iter_mut().zip(actions).for_each(|(n, &a)| *n = Self::ACTIONS[a]);
        let values = scm.evaluate(&noise)?;
        Ok(Episode { reward: self.reward(&values), values })
    }

    /// The reward of this very episode had `agent` taken `action`, according to `model`.
    ///
    /// # Errors
    /// From the model.
    pub fn instead(&self, model: &Scm, episode: &Episode, agent: usize, action: usize) -> Result<f64> {
        let act = Intervention::Hard { node: agent, value: Self::ACTIONS[action] };
        Ok(self.reward(&model.counterfactual(&episode.values, &[act])?))
    }

    /// d E[y] / d uᵢ by the weights along the line, `[N]`.
    fn effects(&self) -> Vec<f64> {
        (0..self.agents).map(|i| self.blueprint.outcome(&[(i, 1.0)])).collect()
    }

    /// Var(y) without the actions'.
    fn noise_variance(&self) -> f64 {
        let p = 2 * self.agents + 1;
        let unit = |v: usize| {
            let mut shifted = self.blueprint.clone();
            shifted.intercepts[v] = 1.0;
            shifted.outcome(&[])
        };
        (self.agents..p).map(|v| (self.noise * unit(v)).powi(2)).sum()
    }

    /// `E[reward]` of independent policies `[N][3]`, exactly: −(`E[y]` − target)² − Var(y).
    pub fn expected(&self, policies: &[Vec<f64>]) -> f64 {
        let (mut mean, mut variance) = (0.0, self.noise_variance());
        for (effect, policy) in self.effects().iter().zip(policies) {
            let m: f64 = policy.iter().zip(Self::ACTIONS).map(|(p, a)| p * a).sum();
            let square: f64 = policy.iter().zip(Self::ACTIONS).map(|(p, a)| p * a * a).sum();
            mean += effect * m;
            variance += effect * effect * (square - m * m);
        }
        -(mean - self.target).powi(2) - variance
    }

    /// The largest `E[reward]` over joint actions, by trying all.
    pub fn best(&self) -> f64 {
        let (effects, noise) = (self.effects(), self.noise_variance());
        let mut means = vec![0.0];
        for effect in effects {
            means = means.iter().flat_map(|m| Self::ACTIONS.map(|a| m + a * effect)).collect();
        }
        let gap = means.iter().map(|m| (m - self.target).powi(2)).fold(f64::INFINITY, f64::min);
        -gap - noise
    }
}
