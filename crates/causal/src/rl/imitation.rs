//! Causal confusion in imitation learning, and its repair by acting.
//!
//! De Haan, Jayaraman & Levine, *Causal confusion in imitation learning* (NeurIPS 2019). A clone that sees an effect of
//! the expert's actions (its previous action) predicts held-out actions better and acts worse. Their remedy: train
//! one policy for all graphs, π(a | m ⊙ s, m) with the mask m of the observed causes drawn at random; then find the right
//! mask with few episodes of acting, by a linear model of the return over masks (soft Q; policy execution mode).

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rl_core::dist::Categorical;
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Settings of [`MaskedClone`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloneConfig {
    /// Hidden widths. Three of 50 for the mask-conditioned policy in the authors' code.
    pub hidden: Vec<usize>,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Rows per step. 64.
    pub batch: usize,
}

impl Default for CloneConfig {
    fn default() -> Self {
        Self { hidden: vec![50, 50, 50], learning_rate: 1e-3, batch: 64 }
    }
}

/// A policy π(a | m ⊙ s, m) trained by maximum likelihood.
pub struct MaskedClone {
    network: Mlp,
    optimizer: Optimizer,
    batch: usize,
    features: usize,
    rng: StreamRng,
}

impl MaskedClone {
    /// For rows of `features` numbers and actions below `actions`.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty batch, and what the tensor library reports.
    pub fn new(features: usize, actions: usize, config: &CloneConfig, seeds: SeedStream) -> Result<Self> {
        if config.batch == 0 {
            return Err(Error::config("clone", "batch", 0, "at least 1"));
        }
        let mut rng = seeds.stream("clone", 0);
        let network =
            Mlp::new(&MlpConfig::relu(2 * features, &config.hidden, actions), &Device::Cpu, &mut rng)?;
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::None);
        let optimizer = Optimizer::new(adam, &[network.params()])?;
        Ok(Self { network, optimizer, batch: config.batch, features, rng })
    }

    /// Makes `updates` steps on observations `[n, features]` and expert actions `[n]`; with `mask` the policy of one graph,
    /// without it every row gets a mask of fair coins.
    ///
    /// # Errors
    /// [`Error::Shape`] for sizes that do not fit.
    pub fn train(
        &mut self,
        observations: &[f32],
        actions: &[u32],
        mask: Option<&[bool]>,
        updates: usize,
    ) -> Result<()> {
        let n = self.check(observations, mask)?;
        if actions.len() != n || n == 0 {
            return Err(Error::shape(
                "MaskedClone::train",
                format!("{n} actions, at least one"),
                actions.len(),
            ));
        }
        for _ in 0..updates {
            let (mut x, mut chosen) = (Vec::new(), Vec::new());
            for _ in 0..self.batch {
                let row = self.rng.random_range(0..n);
                let drawn: Vec<bool> = match mask {
                    Some(mask) => mask.to_vec(),
                    None => (0..self.features).map(|_| self.rng.random()).collect(),
                };
                encode(&observations[row * self.features..][..self.features], &drawn, &mut x);
                chosen.push(actions[row]);
            }
            let input = Tensor::from_vec(x, (self.batch, 2 * self.features), &Device::Cpu);
            let target = Tensor::from_vec(chosen, self.batch, &Device::Cpu).map_err(rl_core::Error::from)?;
            let policy = Categorical::new(&self.network.forward(&input.map_err(rl_core::Error::from)?)?)?;
            let likelihood = policy.log_prob(&target)?.mean_all().map_err(rl_core::Error::from)?;
            let (_, gradients) = backward(&likelihood.neg().map_err(rl_core::Error::from)?)?;
            self.optimizer.step(&gradients)?;
        }
        Ok(())
    }

    fn check(&self, observations: &[f32], mask: Option<&[bool]>) -> Result<usize> {
        if !observations.len().is_multiple_of(self.features) {
            let expected = format!("rows of {} numbers", self.features);
            return Err(Error::shape("MaskedClone", expected, observations.len()));
        }
        if let Some(odd) = mask.filter(|m| m.len() != self.features) {
            return Err(Error::shape("MaskedClone", format!("a mask of {}", self.features), odd.len()));
        }
        Ok(observations.len() / self.features)
    }

    /// The most likely action of every row under a mask.
    ///
    /// # Errors
    /// [`Error::Shape`] for sizes that do not fit.
    pub fn act(&self, observations: &[f32], mask: &[bool]) -> Result<Vec<usize>> {
        let rows = self.check(observations, Some(mask))?;
        let mut x = Vec::with_capacity(2 * observations.len());
        observations.chunks_exact(self.features).for_each(|row| encode(row, mask, &mut x));
        let mut workspace = Workspace::default();
        let infer =
            |p: &[f32]| Ok(self.network.infer(p, rows, &x, 2 * self.features, &mut workspace).to_vec());
        let logits = self.network.params().with::<f32, _>(infer)?;
        let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
        Ok(logits.chunks_exact(self.network.outputs()).map(best).collect())
    }

    /// Share of rows on which the clone does what the expert did.
    ///
    /// # Errors
    /// [`Error::Shape`] for sizes that do not fit.
    pub fn accuracy(&self, observations: &[f32], actions: &[u32], mask: &[bool]) -> Result<f64> {
        let own = self.act(observations, mask)?;
        let same = own.iter().zip(actions).filter(|(a, b)| **a == **b as usize).count();
        Ok(same as f64 / own.len().max(1) as f64)
    }
}

fn encode(row: &[f32], mask: &[bool], x: &mut Vec<f32>) {
    x.extend(row.iter().zip(mask).map(|(v, m)| if *m { *v } else { 0.0 }));
    x.extend(mask.iter().map(|m| f32::from(u8::from(*m))));
}

/// Settings of [`MaskSearch`]; the defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskSearchConfig {
    /// Ridge penalty of the linear model. 1.
    pub ridge: f64,
    /// Temperature of the choice, in units of return. 10.
    pub temperature: f64,
}

impl Default for MaskSearchConfig {
    fn default() -> Self {
        Self { ridge: 1.0, temperature: 10.0 }
    }
}

/// Finds the mask of the causes by acting: return ≈ b + w·m, fitted by ridge regression; masks are tried with probability
/// ∝ exp(w·m / temperature).
#[derive(Clone, Debug)]
pub struct MaskSearch {
    config: MaskSearchConfig,
    features: usize,
    tried: Vec<(Vec<bool>, f64)>,
}

impl MaskSearch {
    /// Over the 2^`features` masks.
    ///
    /// # Errors
    /// [`Error::Config`] for a ridge or temperature that is not positive.
    pub fn new(features: usize, config: MaskSearchConfig) -> Result<Self> {
        for (field, value) in [("ridge", config.ridge), ("temperature", config.temperature)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config("mask_search", field, value, "positive"));
            }
        }
        Ok(Self { config, features, tried: Vec::new() })
    }

    /// The mask to act with next. In a linear model the bits of exp(w·m / T) are independent coins σ(wᵢ / T).
    ///
    /// # Errors
    /// None for a positive ridge.
    pub fn propose(&self, rng: &mut impl Rng) -> Result<Vec<bool>> {
        let coin = |w: f64| 1.0 / (1.0 + (-w / self.config.temperature).exp());
        Ok(self.weights()?.into_iter().map(|w| rng.random::<f64>() < coin(w)).collect())
    }

    /// Takes note of the return of an episode.
    pub fn record(&mut self, mask: Vec<bool>, value: f64) {
        self.tried.push((mask, value));
    }

    /// The mask of the largest predicted return: the features with a positive weight.
    ///
    /// # Errors
    /// None for a positive ridge.
    pub fn best(&self) -> Result<Vec<bool>> {
        Ok(self.weights()?.into_iter().map(|w| w > 0.0).collect())
    }

    /// w of the ridge regression with an intercept.
    ///
    /// # Errors
    /// None for a positive ridge.
    pub fn weights(&self) -> Result<Vec<f64>> {
        let (n, d) = (self.tried.len(), self.features);
        if n == 0 {
            return Ok(vec![0.0; d]);
        }
        let bit = |r: usize, c: usize| f64::from(u8::from(self.tried[r].0.get(c).copied().unwrap_or(false)));
        let mut x = DMatrix::from_fn(n, d, bit);
        for mut column in x.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        let mean = self.tried.iter().map(|t| t.1).sum::<f64>() / n as f64;
        let y = DVector::from_iterator(n, self.tried.iter().map(|t| t.1 - mean));
        let gram = x.transpose() * &x + DMatrix::identity(d, d) * self.config.ridge;
        let solved = gram.cholesky().map(|c| c.solve(&(x.transpose() * y)));
        let fail =
            || Error::NotConverged { operation: "mask_search", reason: "returns are not finite".into() };
        solved.map(|w| w.iter().copied().collect()).ok_or_else(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_feature_is_not_read_and_a_visible_one_is_learned() {
        let mut rng = SeedStream::new(1).stream("rows", 0);
        let (mut x, mut actions) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let cause: f32 = rng.random_range(-1.0..1.0);
            x.extend([cause, rng.random_range(-1.0..1.0)]);
            actions.push(u32::from(cause > 0.0));
        }
        let config = CloneConfig { hidden: vec![16], learning_rate: 1e-2, batch: 32 };
        let mut clone = MaskedClone::new(2, 2, &config, SeedStream::new(2)).unwrap();
        clone.train(&x, &actions, None, 400).unwrap();
        assert!(clone.accuracy(&x, &actions, &[true, true]).unwrap() > 0.93);
        assert!(clone.accuracy(&x, &actions, &[false, true]).unwrap() < 0.65);
        let blind = |v: f32| clone.act(&[v, 0.3], &[false, true]).unwrap();
        assert_eq!(blind(-1.0), blind(1.0));
        assert!(clone.act(&[0.0], &[true, true]).is_err());
    }

    #[test]
    fn acting_finds_the_mask() {
        let mut search = MaskSearch::new(3, MaskSearchConfig::default()).unwrap();
        let mut rng = SeedStream::new(1).stream("search", 0);
        for _ in 0..20 {
            let mask = search.propose(&mut rng).unwrap();
            let value = -200.0 + 60.0 * f64::from(u8::from(mask[1])) - 40.0 * f64::from(u8::from(mask[2]));
            search.record(mask, value);
        }
        let w = search.weights().unwrap();
        assert!(w[1] > 20.0 && w[2] < -10.0, "{w:?}");
        assert!(search.best().unwrap()[1] && !search.best().unwrap()[2]);
    }
}
