//! The latent model on plain slices: what the planner advances, and the value that it sees at the horizon.

use super::networks::{GROUP, Networks};
use crate::Result;
use crate::planning::Model;
use crate::rssm::encode_action;
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::env::Actions;
use rl_core::nn::Mlp;
use rl_core::nn::kernel::Real;
use rl_core::nn::mlp::Workspace;
use rl_core::{StreamRng, vectorised};

/// A network with a copy of its weights.
#[derive(Clone, Debug)]
struct Frozen(Mlp, Vec<f32>);

impl Frozen {
    fn new(mlp: &Mlp) -> Result<Self> {
        Ok(Self(mlp.clone(), mlp.params().to_vec()?))
    }

    fn run<'a>(&self, x: &[f32], workspace: &'a mut Workspace<f32>) -> &'a [f32] {
        let width = self.0.inputs();
        self.0.infer(&self.1, x.len() / width, x, width, workspace)
    }
}

/// A snapshot of the networks in a present latent.
#[derive(Clone, Debug)]
pub struct LatentModel {
    encoder: Frozen,
    dynamics: Frozen,
    reward: Frozen,
    q: Vec<Frozen>,
    policy: Frozen,
    /// Bins in symlog space.
    bins: Vec<f32>,
    /// Half-ranges and centres of the actions: plans are in the environment's units, networks in [−1, 1].
    centre: Vec<f32>,
    half: Vec<f32>,
    /// The two Q that value the horizon.
    pub pair: [usize; 2],
    /// The latent that plans start from.
    pub latent: Vec<f32>,
}

vectorised! {
    /// Softmax within groups, in place.
    fn simnorm(z: &mut [f32]) {
        for group in z.chunks_exact_mut(GROUP) {
            let max = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            group.iter_mut().for_each(|x| *x = (*x - max).fast_exp());
            let sum: f32 = group.iter().sum();
            group.iter_mut().for_each(|x| *x /= sum);
        }
    }
}

impl LatentModel {
    /// A snapshot for actions between the given bounds.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn new(networks: &Networks, low: &[f32], high: &[f32]) -> Result<Self> {
        Ok(Self {
            encoder: Frozen::new(&networks.encoder)?,
            dynamics: Frozen::new(&networks.dynamics)?,
            reward: Frozen::new(&networks.reward)?,
            q: networks.q.iter().map(Frozen::new).collect::<Result<_>>()?,
            policy: Frozen::new(&networks.policy)?,
            bins: networks.code.bins().iter().map(|&b| b as f32).collect(),
            centre: low.iter().zip(high).map(|(l, h)| 0.5 * (l + h)).collect(),
            half: low.iter().zip(high).map(|(l, h)| 0.5 * (h - l)).collect(),
            pair: [0, 1],
            latent: vec![0.0; networks.config.latent],
        })
    }

    /// Takes an observation as the present state.
    pub fn observe(&mut self, observation: &[f32]) {
        let mut workspace = Workspace::default();
        self.latent.copy_from_slice(self.encoder.run(observation, &mut workspace));
        simnorm(&mut self.latent);
    }

    fn units(&self, action: &mut [f32]) {
        for ((a, centre), half) in action.iter_mut().zip(&self.centre).zip(&self.half) {
            *a = (*a - centre) / half;
        }
    }

    /// The mean of every row of logits, out of symlog space.
    fn decode(&self, logits: &[f32], values: &mut [f32]) {
        for (row, value) in logits.chunks_exact(self.bins.len()).zip(values) {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (mut sum, mut mean) = (0.0, 0.0);
            for (l, bin) in row.iter().zip(&self.bins) {
                let w = (l - max).fast_exp();
                (sum, mean) = (sum + w, mean + w * bin);
            }
            mean /= sum;
            *value = mean.abs().exp_m1().copysign(mean);
        }
    }

    /// Actions of the policy in [−1, 1] at latents `[rows, L]`: its mode, or a sample.
    fn policy_actions(&self, z: &[f32], mut noise: Option<&mut StreamRng>) -> Vec<f32> {
        let a = self.half.len();
        let mut workspace = Workspace::default();
        let y = self.policy.run(z, &mut workspace);
        let mut actions = Vec::with_capacity(y.len() / 2);
        for row in y.chunks_exact(2 * a) {
            for (mean, raw) in row[..a].iter().zip(&row[a..]) {
                let std = (-10.0 + 6.0 * (raw.fast_tanh() + 1.0)).fast_exp();
                let z: f32 = noise.as_deref_mut().map_or(0.0, |rng| rng.sample(StandardNormal));
                actions.push((mean + std * z).fast_tanh());
            }
        }
        actions
    }

    /// Sequences that the policy would play from the present latent, `[count, horizon, A]`, in the environment's units.
    pub fn proposals(&self, count: usize, horizon: usize, rng: &mut StreamRng) -> Vec<f32> {
        let (a, l) = (self.half.len(), self.latent.len());
        let mut z = self.latent.repeat(count);
        let mut sequences = vec![0.0; count * horizon * a];
        let mut workspace = Workspace::default();
        for t in 0..horizon {
            let actions = self.policy_actions(&z, Some(&mut *rng));
            let mut x = Vec::with_capacity(count * (l + a));
            for (i, (z, action)) in z.chunks_exact(l).zip(actions.chunks_exact(a)).enumerate() {
                x.extend_from_slice(z);
                x.extend_from_slice(action);
                let planned = &mut sequences[(i * horizon + t) * a..][..a];
                for (j, p) in planned.iter_mut().enumerate() {
                    *p = self.centre[j] + self.half[j] * action[j];
                }
            }
            z = self.dynamics.run(&x, &mut workspace).to_vec();
            simnorm(&mut z);
        }
        sequences
    }
}

/// Imagined latents of one block of candidates.
#[derive(Debug, Default)]
pub struct Imagined {
    rows: usize,
    z: Vec<f32>,
    x: Vec<f32>,
    workspace: Workspace<f32>,
}

impl Model for LatentModel {
    type Batch = Imagined;

    fn batch(&self) -> Imagined {
        Imagined::default()
    }

    fn start(&self, batch: &mut Imagined, rows: usize) {
        batch.rows = rows;
        batch.z = self.latent.repeat(rows);
    }

    fn step(
        &self,
        batch: &mut Imagined,
        actions: Actions<'_>,
        _: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        let (l, a) = (self.latent.len(), self.half.len());
        batch.x.resize(batch.rows * (l + a), 0.0);
        for (i, (x, z)) in batch.x.chunks_exact_mut(l + a).zip(batch.z.chunks_exact(l)).enumerate() {
            x[..l].copy_from_slice(z);
            encode_action(actions.row(i, batch.rows), &mut x[l..]);
            self.units(&mut x[l..]);
        }
        self.decode(self.reward.run(&batch.x, &mut batch.workspace), rewards);
        batch.z.copy_from_slice(self.dynamics.run(&batch.x, &mut batch.workspace));
        simnorm(&mut batch.z);
        continues.fill(1.0);
        Ok(())
    }

    /// Mean of the two Q at the policy's mode.
    fn terminal_values(&self, batch: &mut Imagined, values: &mut [f32]) -> Result<()> {
        let (l, a) = (self.latent.len(), self.half.len());
        let actions = self.policy_actions(&batch.z, None);
        let rows = batch.z.chunks_exact(l).zip(actions.chunks_exact(a));
        for (x, (z, action)) in batch.x.chunks_exact_mut(l + a).zip(rows) {
            x[..l].copy_from_slice(z);
            x[l..].copy_from_slice(action);
        }
        let mut other = vec![0.0; values.len()];
        self.decode(self.q[self.pair[0]].run(&batch.x, &mut batch.workspace), values);
        self.decode(self.q[self.pair[1]].run(&batch.x, &mut batch.workspace), &mut other);
        values.iter_mut().zip(other).for_each(|(v, o)| *v = 0.5 * (*v + o));
        Ok(())
    }
}
