//! The environment model of I2A (Weber et al. 2017, section 3.1 and appendix B): from a grid and an action to the next
//! grid, the reward and whether the episode goes on, all as classes.
//!
//! Grids are one-hot, `[cells, kinds]`; the model gives a softmax over the kinds of every cell and one over the rewards
//! that there are, trained by cross-entropy on what some policy met. In imagination the likeliest kinds are taken, so a
//! model sees in later steps what it saw in training.

use crate::Result;
use crate::checks::{at_least_one, positive_widths};
use candle_core::{Device, Tensor};
use rand::{Rng, RngExt};
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::ops::{bce_with_logits, log_softmax};
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// The shape of a grid world.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Cells.
    pub cells: usize,
    /// What can stand on a cell.
    pub kinds: usize,
    /// Actions.
    pub actions: usize,
    /// The rewards that there are.
    pub rewards: Vec<f32>,
}

impl Grid {
    /// Numbers of an observation.
    pub fn width(&self) -> usize {
        self.cells * self.kinds
    }
}

/// Transitions of a grid world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transitions {
    /// `[N, cells · kinds]`
    pub observations: Vec<f32>,
    /// `[N]`
    pub actions: Vec<usize>,
    /// `[N, cells · kinds]`
    pub next_observations: Vec<f32>,
    /// `[N]`
    pub rewards: Vec<f32>,
    /// `[N]`
    pub terminated: Vec<bool>,
}

/// How the model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GridModelConfig {
    /// Hidden layers, ReLU between them.
    pub hidden: Vec<usize>,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Transitions per update.
    pub batch: usize,
    /// Updates.
    pub updates: u64,
}

impl Default for GridModelConfig {
    fn default() -> Self {
        Self { hidden: vec![256, 256], learning_rate: 1e-3, batch: 128, updates: 4000 }
    }
}

impl GridModelConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("grid_model", [("batch", self.batch as u64)])?;
        positive_widths("grid_model", "hidden", &self.hidden)
    }
}

/// The model, trained on a fixed set of transitions.
pub struct GridModel {
    grid: Grid,
    config: GridModelConfig,
    network: Mlp,
    optimizer: Optimizer,
    data: Transitions,
    step: u64,
    rng: StreamRng,
}

impl GridModel {
    /// An untrained model and the transitions that it will learn from.
    ///
    /// # Errors
    /// If there is no transition, or the transitions do not fit the grid.
    pub fn new(
        config: GridModelConfig,
        grid: Grid,
        data: Transitions,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let (n, width) = (data.actions.len(), grid.width());
        let fits = data.observations.len() == n * width
            && data.next_observations.len() == n * width
            && data.rewards.len() == n
            && data.terminated.len() == n
            && data.actions.iter().all(|&a| a < grid.actions);
        if !fits || n == 0 {
            let want = format!("transitions of {} cells × {} kinds", grid.cells, grid.kinds);
            return Err(Error::shape("GridModel::new", want, format!("{n} that do not fit")).into());
        }
        let sizes = MlpConfig::relu(width + grid.actions, &config.hidden, width + grid.rewards.len() + 1);
        let network = Mlp::new(&sizes, device, &mut seeds.stream("grid-model", 0))?;
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::GlobalNorm(10.0));
        let optimizer = Optimizer::new(adam, &[network.params()])?;
        Ok(Self { grid, config, network, optimizer, data, step: 0, rng: seeds.stream("grid-batch", 0) })
    }

    /// The shape of the world.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.network.params().len()
    }

    /// What a network reads: grids and one-hot actions, `[N, cells · kinds + A]`.
    fn inputs(&self, observations: &[f32], actions: &[usize]) -> Vec<f32> {
        let (width, a) = (self.grid.width(), self.grid.actions);
        let mut x = Vec::with_capacity(actions.len() * (width + a));
        for (o, &action) in observations.chunks_exact(width).zip(actions) {
            x.extend_from_slice(o);
            x.extend((0..a).map(|i| f32::from(u8::from(i == action))));
        }
        x
    }

    /// Mean cross-entropy of all cells (summed over them), of the reward and of the termination.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn loss(&self, rows: &[usize]) -> Result<Tensor> {
        let (width, kinds, classes) = (self.grid.width(), self.grid.kinds, self.grid.rewards.len());
        let n = rows.len();
        let device = self.network.params().var().device().clone();
        let gather = |all: &[f32]| -> Vec<f32> {
            rows.iter().flat_map(|&i| all[i * width..][..width].iter().copied()).collect()
        };
        let actions: Vec<usize> = rows.iter().map(|&i| self.data.actions[i]).collect();
        let x = self.inputs(&gather(&self.data.observations), &actions);
        let y = self.network.forward(&Tensor::from_vec(x, (n, width + self.grid.actions), &device)?)?;
        let next =
            Tensor::from_vec(gather(&self.data.next_observations), (n * self.grid.cells, kinds), &device)?;
        let cells = y.narrow(1, 0, width)?.contiguous()?.reshape((n * self.grid.cells, kinds))?;
        let mut class = vec![0f32; n * classes];
        for (row, &i) in class.chunks_exact_mut(classes).zip(rows) {
            row[nearest(&self.grid.rewards, self.data.rewards[i])] = 1.0;
        }
        let class = Tensor::from_vec(class, (n, classes), &device)?;
        let over: Vec<f32> = rows.iter().map(|&i| f32::from(u8::from(self.data.terminated[i]))).collect();
        let over = Tensor::from_vec(over, (n, 1), &device)?;
        let cross = |logits: &Tensor, target: &Tensor| -> Result<Tensor> {
            Ok(((log_softmax(logits)? * target)?.sum_all()? * (-1.0 / n as f64))?)
        };
        let cells = cross(&cells, &next)?;
        let reward = cross(&y.narrow(1, width, classes)?.contiguous()?, &class)?;
        let end = bce_with_logits(&y.narrow(1, width + classes, 1)?.contiguous()?, &over)?.mean_all()?;
        Ok(((cells + reward)? + end)?)
    }

    /// The likeliest next grids, rewards and terminations of `[N]` rows.
    ///
    /// # Errors
    /// If the rows do not fit.
    pub fn predict(
        &self,
        observations: &[f32],
        actions: &[usize],
        workspace: &mut Workspace<f32>,
    ) -> Result<Transitions> {
        let (width, kinds, classes) = (self.grid.width(), self.grid.kinds, self.grid.rewards.len());
        let y = self.network.predict(&self.inputs(observations, actions), workspace)?;
        let mut predicted = Transitions::default();
        for row in y.chunks_exact(width + classes + 1) {
            for cell in row[..width].chunks_exact(kinds) {
                let kind = largest(cell);
                predicted.next_observations.extend((0..kinds).map(|i| f32::from(u8::from(i == kind))));
            }
            predicted.rewards.push(self.grid.rewards[largest(&row[width..width + classes])]);
            predicted.terminated.push(row[width + classes] > 0.0);
        }
        Ok(predicted)
    }

    /// Share of transitions whose grid, reward and termination are all predicted rightly.
    ///
    /// # Errors
    /// If the transitions do not fit.
    pub fn accuracy(&self, data: &Transitions) -> Result<f64> {
        let width = self.grid.width();
        let p = self.predict(&data.observations, &data.actions, &mut Workspace::default())?;
        let right = |i: usize| {
            p.next_observations[i * width..][..width] == data.next_observations[i * width..][..width]
                && p.rewards[i] == data.rewards[i]
                && p.terminated[i] == data.terminated[i]
        };
        let n = data.actions.len();
        Ok((0..n).filter(|&i| right(i)).count() as f64 / n.max(1) as f64)
    }
}

fn largest(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |m, i| if row[i] > row[m] { i } else { m })
}

/// The class of a reward.
fn nearest(classes: &[f32], reward: f32) -> usize {
    let far = |i: usize| (classes[i] - reward).abs();
    (0..classes.len()).fold(0, |m, i| if far(i) < far(m) { i } else { m })
}

/// Replaces every predicted cell by a random kind with probability `noise`: a model that is often wrong.
pub(super) fn corrupt(observations: &mut [f32], kinds: usize, noise: f64, rng: &mut impl Rng) {
    for cell in observations.chunks_exact_mut(kinds) {
        if rng.random::<f64>() < noise {
            cell.fill(0.0);
            cell[rng.random_range(0..kinds)] = 1.0;
        }
    }
}

impl Trainer for GridModel {
    type Error = crate::Error;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.updates
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let n = self.data.actions.len();
        let rows: Vec<usize> = (0..self.config.batch).map(|_| self.rng.random_range(0..n)).collect();
        let (value, grads) = backward(&self.loss(&rows)?)?;
        self.optimizer.step(&grads)?;
        metrics.record("losses/grid_model", value);
        self.step += 1;
        Ok(())
    }
}

/// The transitions are the caller's, who makes them anew from the same seed.
impl Persist for GridModel {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.network.save(&format!("{prefix}/network"), state)?;
        self.optimizer.save(&format!("{prefix}/optimizer"), state)?;
        state.put(format!("{prefix}/step"), &self.step)?;
        state.put(format!("{prefix}/rng"), &self.rng)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.network.load(&format!("{prefix}/network"), state)?;
        self.optimizer.load(&format!("{prefix}/optimizer"), state)?;
        self.step = state.get(&format!("{prefix}/step"))?;
        self.rng = state.get(&format!("{prefix}/rng"))?;
        Ok(())
    }
}
