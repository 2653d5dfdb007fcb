//! Independent policy gradients (Williams 1992) that differ in what each agent is told of an episode.

use super::workshop::{Episode, Workshop};
use crate::error::Result;
use crate::multi_agent_causal::{Blueprint, Statistics};
use causal::data::Table;
use causal::discovery::PcConfig;
use causal::scm::Scm;
use quantum_sim::rl::Policy;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// What an agent learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credit {
    /// The common reward r.
    Shared,
    /// r − r(uᵢ := 0), the difference reward.
    Difference,
    /// r − Σ_b πᵢ(b) r(uᵢ := b), the counterfactual baseline.
    Baseline,
}

/// Settings of [`Learners`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreditConfig {
    /// What agents learn from.
    pub credit: Credit,
    /// Whether counterfactuals come from a model that is learned from play, not from the true one.
    pub learned: bool,
    /// Step size on the logits; credits are divided by their running root mean square.
    pub learning_rate: f64,
    /// Weight of the past in the running mean of the credit, which is subtracted, and in its mean square.
    pub momentum: f64,
    /// Episodes between two fits of a learned model; before the first, agents act and do not learn.
    pub refit: u64,
    /// Discovery of a learned model, the order being known.
    pub pc: PcConfig,
}

impl Default for CreditConfig {
    fn default() -> Self {
        let pc = PcConfig { alpha: 0.01, max_depth: Some(3), ..PcConfig::default() };
        Self {
            credit: Credit::Difference,
            learned: false,
            learning_rate: 0.05,
            momentum: 0.95,
            refit: 100,
            pc,
        }
    }
}

impl CreditConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field out of range.
    pub fn validate(&self) -> Result<()> {
        crate::error::within("learning_rate", self.learning_rate, (1e-9, 100.0), "positive, at most 100")?;
        crate::error::within("momentum", self.momentum, (0.0, 0.999_999), "in [0, 1)")?;
        crate::error::within("refit", self.refit as f64, (30.0, 1e12), "at least 30")?;
        Ok(self.pc.validate()?)
    }
}

/// Softmax policies of all agents over three actions.
pub struct Learners {
    config: CreditConfig,
    /// `[N][3]`
    logits: Vec<Vec<f64>>,
    /// Running mean and mean square of each agent's credit.
    moments: Vec<(f64, f64)>,
    truth: Scm,
    /// Where counterfactuals come from; nothing until a first fit.
    model: Option<Scm>,
    /// `[2N + 1]` columns of all episodes so far, where a model is learned.
    seen: Vec<Vec<f64>>,
    episodes: u64,
    rng: StreamRng,
}

impl Learners {
    /// Uniform policies.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(config: CreditConfig, workshop: &Workshop, seeds: SeedStream) -> Result<Self> {
        config.validate()?;
        let (n, truth) = (workshop.agents(), workshop.blueprint().scm()?);
        Ok(Self {
            model: (!config.learned).then(|| truth.clone()),
            logits: vec![vec![0.0; 3]; n],
            moments: vec![(0.0, 0.0); n],
            seen: vec![vec![]; 2 * n + 1],
            episodes: 0,
            rng: seeds.stream("play", 0),
            truth,
            config,
        })
    }

    /// The policies, `[N][3]`.
    pub fn policies(&self) -> Vec<Vec<f64>> {
        let softmax = |logits: &Vec<f64>| {
            let mut p = logits.clone();
            Policy::Softmax { beta: 1.0 }.probabilities(&mut p);
            p
        };
        self.logits.iter().map(softmax).collect()
    }

    /// Plays one episode and learns from it.
    ///
    /// # Errors
    /// From the models.
    pub fn episode(&mut self, workshop: &Workshop) -> Result<f64> {
        let policies = self.policies();
        let actions: Vec<usize> = policies.iter().map(|p| Policy::draw(p, &mut self.rng)).collect();
        let episode = workshop.play(&self.truth, &actions, &mut self.rng)?;
        self.episodes += 1;
        if self.config.learned && self.config.credit != Credit::Shared {
            self.seen.iter_mut().zip(&episode.values).for_each(|(column, v)| column.push(*v));
            if self.episodes.is_multiple_of(self.config.refit) {
                let statistics = Statistics::of(&Table::new(workshop.names(), self.seen.clone())?);
                self.model = Some(Blueprint::learn(&statistics, &self.config.pc)?.scm()?);
            }
        }
        for (i, policy) in policies.iter().enumerate() {
            if let Some(credit) = self.credit(workshop, &episode, i, policy)? {
                self.update(i, actions[i], policy, credit);
            }
        }
        Ok(episode.reward)
    }

    /// What agent `i` is told; nothing while there is no model to ask.
    fn credit(
        &self,
        workshop: &Workshop,
        episode: &Episode,
        i: usize,
        policy: &[f64],
    ) -> Result<Option<f64>> {
        let model = match (self.config.credit, &self.model) {
            (Credit::Shared, _) => return Ok(Some(episode.reward)),
            (_, None) => return Ok(None),
            (_, Some(model)) => model,
        };
        let instead = |a| workshop.instead(model, episode, i, a);
        let without = match self.config.credit {
            Credit::Baseline => {
                policy.iter().enumerate().map(|(a, p)| Ok(p * instead(a)?)).sum::<Result<f64>>()?
            }
            _ => instead(1)?,
        };
        Ok(Some(episode.reward - without))
    }

    /// θ ← θ + α (c − c̄)/rms · ∇ log π(a).
    fn update(&mut self, i: usize, action: usize, policy: &[f64], credit: f64) {
        let keep = self.config.momentum;
        let (mean, square) = &mut self.moments[i];
        let fresh = *square == 0.0;
        let centred = if fresh { 0.0 } else { credit - *mean };
        *mean = if fresh { credit } else { keep * *mean + (1.0 - keep) * credit };
        *square = if fresh { credit * credit } else { keep * *square + (1.0 - keep) * centred * centred };
        let step = self.config.learning_rate * centred / square.sqrt().max(1e-9);
        for (a, logit) in self.logits[i].iter_mut().enumerate() {
            *logit += step * (f64::from(u8::from(a == action)) - policy[a]);
        }
    }
}
