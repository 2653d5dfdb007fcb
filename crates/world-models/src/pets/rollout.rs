//! Imagination in the ensemble, without a graph: particles that a planner advances, and how they meet the members.
//!
//! TS∞ keeps one member per particle for the whole rollout, so that particles differ by what is not known about the
//! dynamics; TS1 draws a member anew at every step (Chua et al. 2018, section 5). Rows of one member advance as one
//! matrix product per layer.

use super::ensemble::{Buffers, Ensemble, Network};
use crate::Result;
use crate::planning::Model;
use crate::rssm::encode_action;
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::StreamRng;
use rl_core::env::Actions;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::kernel::Real;
use rl_core::normalize::RunningMeanStd;
use serde::{Deserialize, Serialize};

/// Which member moves a particle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// TS∞: the same one throughout. Row i belongs to elite i mod n, so particles should be a multiple of the elites.
    Infinite,
    /// TS1: another one at every step.
    Each,
}

/// How particles move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutConfig {
    /// Members and particles (PETS: both are good, TS1 a little better on CartPole).
    pub propagation: Propagation,
    /// Draw from the predicted Gaussian (PETS) instead of moving by its mean.
    pub sample: bool,
    /// Weight of a bonus on the particles' disagreement (Sekar et al. 2020, Plan2Explore), in units of the reward per
    /// variance of the normalised observation; 0: none.
    pub disagreement: f32,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self { propagation: Propagation::Infinite, sample: true, disagreement: 0.0 }
    }
}

/// Mean and deviation per dimension, in single precision: y = (x − shift) / scale.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Units {
    pub(super) shift: Vec<f32>,
    pub(super) scale: Vec<f32>,
}

impl Units {
    pub(super) fn of(statistics: &RunningMeanStd) -> Self {
        let shift = statistics.mean().iter().map(|&m| m as f32).collect();
        let scale = statistics.variance().iter().map(|&v| (v + 1e-8).sqrt() as f32).collect();
        Self { shift, scale }
    }

    pub(super) fn normalise(&self, row: &mut [f32]) {
        for ((x, shift), scale) in row.iter_mut().zip(&self.shift).zip(&self.scale) {
            *x = (*x - shift) / scale;
        }
    }
}

/// A snapshot of the ensemble in a present observation: what planners take.
#[derive(Clone, Debug)]
pub struct EnsembleModel {
    network: Network,
    theta: Vec<f32>,
    elites: Vec<usize>,
    inputs: Units,
    targets: Units,
    config: RolloutConfig,
    /// Rows that belong to one candidate: those whose disagreement counts.
    particles: usize,
    /// Whether terminations are learned; if not, nothing ends.
    terminates: bool,
    /// Rewards stay within what was seen.
    rewards: [f32; 2],
    /// Where rollouts start, as observed.
    pub observation: Vec<f32>,
}

impl EnsembleModel {
    /// A snapshot. `inputs` are the statistics of (o, a), `targets` those of the observation's change and the reward;
    /// predicted rewards are kept within `rewards`, the range of those seen.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn new(
        ensemble: &Ensemble,
        elites: &[usize],
        (inputs, targets): (&RunningMeanStd, &RunningMeanStd),
        rewards: [f32; 2],
        config: &RolloutConfig,
        particles: usize,
    ) -> Result<Self> {
        let network = ensemble.network().clone();
        Ok(Self {
            observation: vec![0.0; network.predicted() - 1],
            theta: ensemble.params().to_vec()?,
            network,
            elites: elites.to_vec(),
            inputs: Units::of(inputs),
            targets: Units::of(targets),
            config: config.clone(),
            particles: particles.max(1),
            terminates: ensemble.config().termination_scale > 0.0,
            rewards,
        })
    }

    /// The members that plan.
    pub fn elites(&self) -> &[usize] {
        &self.elites
    }

    /// Whether particles are drawn from the predicted Gaussian, and do not follow its mean.
    pub fn set_sampling(&mut self, on: bool) {
        self.config.sample = on;
    }

    fn width(&self) -> usize {
        self.network.predicted() - 1
    }

    /// Rows in the order of their members, with where each member begins.
    fn arrange(&self, batch: &mut Particles) {
        batch.begins.clear();
        batch.begins.resize(self.network.members() + 1, 0);
        for &member in &batch.members {
            batch.begins[member + 1] += 1;
        }
        for member in 0..self.network.members() {
            batch.begins[member + 1] += batch.begins[member];
        }
        let mut next = batch.begins.clone();
        batch.order.resize(batch.rows, 0);
        for (row, &member) in batch.members.iter().enumerate() {
            batch.order[next[member]] = row;
            next[member] += 1;
        }
    }

    /// Moves the rows of one member.
    fn advance_member(
        &self,
        member: usize,
        batch: &mut Particles,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) {
        let (d, k, inputs) = (self.width(), self.network.predicted(), self.network.inputs());
        let Particles { order, begins, x, buffers, observations, std, .. } = batch;
        let rows = &order[begins[member]..begins[member + 1]];
        if rows.is_empty() {
            return;
        }
        let x = &x[begins[member] * inputs..][..rows.len() * inputs];
        let y = self.network.infer(&self.theta, member, rows.len(), x, buffers);
        std.resize(k, 0.0);
        for (&row, y) in rows.iter().zip(y.chunks_exact(2 * k + 1)) {
            if self.config.sample {
                self.network.deviations(&self.theta, &y[k..2 * k], std);
            }
            let mut draw = |j: usize| {
                let noise =
                    if self.config.sample { std[j] * rng.sample::<f32, _>(StandardNormal) } else { 0.0 };
                self.targets.shift[j] + self.targets.scale[j] * (y[j] + noise)
            };
            for (j, o) in observations[row * d..][..d].iter_mut().enumerate() {
                *o += draw(j);
            }
            rewards[row] = draw(d).clamp(self.rewards[0], self.rewards[1]);
            continues[row] = if self.terminates { 1.0 - y[2 * k].sigmoid() } else { 1.0 };
        }
    }

    /// Adds the variance of each candidate's particles to their rewards, averaged over normalised dimensions.
    fn add_disagreement(&self, observations: &[f32], rewards: &mut [f32]) {
        let (d, p) = (self.width(), self.particles);
        for (rows, rewards) in observations.chunks_exact(p * d).zip(rewards.chunks_exact_mut(p)) {
            let mut variance = 0.0;
            for j in 0..d {
                let column = || rows.iter().skip(j).step_by(d).map(|o| o / self.inputs.scale[j]);
                let mean = column().sum::<f32>() / p as f32;
                variance += column().map(|o| (o - mean) * (o - mean)).sum::<f32>() / p as f32;
            }
            let bonus = self.config.disagreement * variance / d as f32;
            rewards.iter_mut().for_each(|r| *r += bonus);
        }
    }
}

/// Imagined particles of one block of candidates.
#[derive(Debug, Default)]
pub struct Particles {
    rows: usize,
    /// `[rows, D]`
    observations: Vec<f32>,
    /// `[rows]`
    members: Vec<usize>,
    order: Vec<usize>,
    begins: Vec<usize>,
    /// `[rows, D + A]`, normalised, in the order of the members.
    x: Vec<f32>,
    std: Vec<f32>,
    buffers: Buffers<f32>,
}

impl Particles {
    /// The imagined observations, `[rows, D]`.
    pub fn observations(&self) -> &[f32] {
        &self.observations
    }

    /// Replaces the imagined observations: rollouts from many states at once.
    pub fn observations_mut(&mut self) -> &mut [f32] {
        &mut self.observations
    }
}

impl Model for EnsembleModel {
    type Batch = Particles;

    fn batch(&self) -> Particles {
        Particles::default()
    }

    fn start(&self, batch: &mut Particles, rows: usize) {
        batch.rows = rows;
        batch.observations.clear();
        (0..rows).for_each(|_| batch.observations.extend_from_slice(&self.observation));
        batch.members.clear();
        batch.members.extend((0..rows).map(|i| self.elites[i % self.elites.len()]));
        batch.x.resize(rows * self.network.inputs(), 0.0);
        self.arrange(batch);
    }

    fn step(
        &self,
        batch: &mut Particles,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        let (d, inputs, rows) = (self.width(), self.network.inputs(), batch.rows);
        if self.config.propagation == Propagation::Each {
            for member in &mut batch.members {
                *member = self.elites[rng.random_range(0..self.elites.len())];
            }
            self.arrange(batch);
        }
        for (x, &row) in batch.x.chunks_exact_mut(inputs).zip(&batch.order) {
            x[..d].copy_from_slice(&batch.observations[row * d..][..d]);
            encode_action(actions.row(row, rows), &mut x[d..]);
            self.inputs.normalise(x);
        }
        for member in 0..self.network.members() {
            self.advance_member(member, batch, rng, rewards, continues);
        }
        if self.config.disagreement > 0.0 {
            self.add_disagreement(&batch.observations, rewards);
        }
        Ok(())
    }
}

/// The units and bounds of the snapshot, which are older than the data's; weights and elites are the agent's.
impl Persist for EnsembleModel {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let Units { shift, scale } = &self.inputs;
        let arrays = [
            ("inputs/shift", shift),
            ("inputs/scale", scale),
            ("targets/shift", &self.targets.shift),
            ("targets/scale", &self.targets.scale),
            ("observation", &self.observation),
        ];
        for (name, values) in arrays {
            state.put_array(format!("{prefix}/{name}"), &[values.len()], values);
        }
        state.put_array(format!("{prefix}/rewards"), &[2], &self.rewards);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let arrays = [
            ("inputs/shift", &mut self.inputs.shift),
            ("inputs/scale", &mut self.inputs.scale),
            ("targets/shift", &mut self.targets.shift),
            ("targets/scale", &mut self.targets.scale),
            ("observation", &mut self.observation),
        ];
        for (name, values) in arrays {
            *values = state.array(&format!("{prefix}/{name}"), &[values.len()])?.to_vec();
        }
        self.rewards.copy_from_slice(state.array(&format!("{prefix}/rewards"), &[2])?);
        Ok(())
    }
}
