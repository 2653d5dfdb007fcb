//! A policy, its critic and its environment embedding, as one flat vector that travels.
//!
//! Actor and critic are perceptrons with tanh between their layers. A learned embedding of the environment (Jin et al.
//! 2022, section 5) may be concatenated to every observation. The flat vector is `embedding | actor | log_std | critic`;
//! [`Policy::layout`] names its layers for [`Sharing`](crate::strategy::personal::Sharing).

use crate::error::{Error, Result, check};
use crate::strategy::personal::{Layer, Layout};
use candle_core::{DType, Device, Tensor};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::StreamRng;
use rl_core::env::{Env, EnvSpec, Space};
use rl_core::evaluate::{Turn, evaluate};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Activation, Init, Mlp, MlpConfig, Norm, Params, fused_loss, params};
use rl_core::optim::backward;
use serde::{Deserialize, Serialize};

/// Sizes of a [`Policy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Widths of the hidden layers of actor and critic each: 64, 64 (Schulman et al. 2017).
    pub hidden: Vec<usize>,
    /// Numbers in the environment embedding: none.
    pub embedding: usize,
    /// Whether there is a critic: yes.
    pub critic: bool,
    /// ln σ of a Gaussian policy at the start: 0.
    pub initial_log_std: f64,
    /// Weights of the hidden layers: orthogonal with gain √2.
    pub init: Init,
    /// Weights of the actor's last layer: orthogonal with gain 0.01, small first steps (Andrychowicz et al. 2021).
    pub output_init: Init,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            embedding: 0,
            critic: true,
            initial_log_std: 0.0,
            init: Init::Orthogonal { gain: 2f64.sqrt() },
            output_init: Init::Orthogonal { gain: 0.01 },
        }
    }
}

/// What the networks give for a batch, or the gradients of a loss with respect to it.
#[derive(Debug)]
pub struct Outputs<T> {
    /// Logits or means, `[B, K]`.
    pub actor: T,
    /// ln σ of a Gaussian policy, `[K]`; one unused number for a categorical one.
    pub log_std: T,
    /// V(s), `[B]`; one unused number without a critic.
    pub values: T,
}

/// Actor, critic and embedding of one agent.
pub struct Policy {
    embedding: Option<Params>,
    actor: Mlp,
    log_std: Option<Params>,
    critic: Option<Mlp>,
    /// Bounds of a box of actions; empty for discrete actions.
    low: Vec<f32>,
    high: Vec<f32>,
    scratch: Scratch,
}

/// Buffers reused between calls.
#[derive(Default)]
struct Scratch {
    actor: Workspace<f32>,
    critic: Workspace<f32>,
    inputs: Vec<f32>,
    log_p: Vec<f64>,
}

fn tanh_network(inputs: usize, outputs: usize, config: &PolicyConfig, output_init: Init) -> MlpConfig {
    MlpConfig {
        activation: Activation::Tanh,
        norm: Norm::None,
        init: config.init,
        output_init,
        ..MlpConfig::relu(inputs, &config.hidden, outputs)
    }
}

fn vector(name: &str, values: Vec<f64>) -> Result<Params> {
    let mut layout = params::Layout::default();
    layout.add(name, &[values.len()], values);
    Ok(layout.build(DType::F32, &Device::Cpu)?)
}

impl Policy {
    /// Draws the weights for an environment; the embedding starts at zero.
    ///
    /// # Errors
    /// A width of zero, or a standard deviation that is not finite.
    pub fn new(config: &PolicyConfig, spec: &EnvSpec, rng: &mut StreamRng) -> Result<Self> {
        let std = config.initial_log_std;
        check(std.is_finite(), "policy", "initial_log_std", std, "finite")?;
        let inputs = spec.observation.width() + config.embedding;
        let outputs = spec.action.width();
        let (low, high, log_std) = match &spec.action {
            Space::Discrete(_) => (vec![], vec![], None),
            Space::Box { low, high } => {
                (low.clone(), high.clone(), Some(vector("log_std", vec![std; outputs])?))
            }
        };
        let actor = tanh_network(inputs, outputs, config, config.output_init);
        let actor = Mlp::new(&actor, &Device::Cpu, rng)?;
        let critic = tanh_network(inputs, 1, config, Init::Orthogonal { gain: 1.0 });
        let critic = match config.critic {
            true => Some(Mlp::new(&critic, &Device::Cpu, rng)?),
            false => None,
        };
        let embedding = match config.embedding {
            0 => None,
            n => Some(vector("embedding", vec![0.0; n])?),
        };
        Ok(Self { embedding, actor, log_std, critic, low, high, scratch: Scratch::default() })
    }

    /// The modules and their names, in the order of the flat vector.
    fn modules(&self) -> impl Iterator<Item = (&'static str, &Params)> {
        let embedding = self.embedding.as_ref().map(|p| ("", p));
        let log_std = self.log_std.as_ref().map(|p| ("", p));
        let critic = self.critic.as_ref().map(|c| ("critic/", c.params()));
        embedding.into_iter().chain([("actor/", self.actor.params())]).chain(log_std).chain(critic)
    }

    /// D, the length of the flat vector.
    pub fn dimension(&self) -> usize {
        self.modules().map(|(_, p)| p.len()).sum()
    }

    /// Name and shape of every layer: `embedding`, `actor/layer0/weight`, …, `log_std`, `critic/layer0/weight`, ….
    pub fn layout(&self) -> Layout {
        let layers = self.modules().flat_map(|(prefix, module)| {
            let named = move |part: &params::Part| Layer {
                name: format!("{prefix}{}", part.name),
                shape: part.shape.clone(),
            };
            module.parts().iter().map(named)
        });
        Layout(layers.collect())
    }

    /// The flat vector, `[D]`.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn parameters(&self) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(self.dimension());
        for (_, module) in self.modules() {
            module.with::<f32, _>(|values| {
                flat.extend_from_slice(values);
                Ok(())
            })?;
        }
        Ok(flat)
    }

    /// Overwrites all parameters.
    ///
    /// # Errors
    /// Another length than D.
    pub fn set(&self, flat: &[f32]) -> Result<()> {
        if flat.len() != self.dimension() {
            return Err(Error::shape("policy", format!("{} parameters", self.dimension()), flat.len()));
        }
        let mut rest = flat;
        for (_, module) in self.modules() {
            let (now, later) = rest.split_at(module.len());
            module.set(now)?;
            rest = later;
        }
        Ok(())
    }

    /// K, logits or means per observation.
    pub fn outputs(&self) -> usize {
        self.actor.outputs()
    }

    fn is_discrete(&self) -> bool {
        self.log_std.is_none()
    }

    /// Writes observations, each with the embedding behind it, into the scratch inputs.
    fn embed(&mut self, observations: &[f32]) -> Result<()> {
        let inputs = &mut self.scratch.inputs;
        inputs.clear();
        let Some(embedding) = &self.embedding else {
            inputs.extend_from_slice(observations);
            return Ok(());
        };
        let width = self.actor.inputs() - embedding.len();
        Ok(embedding.with::<f32, _>(|e| {
            for row in observations.chunks_exact(width) {
                inputs.extend_from_slice(row);
                inputs.extend_from_slice(e);
            }
            Ok(())
        })?)
    }

    /// Draws an action for every observation `[N, obs]`; appends actions (an index, or the numbers before clipping) and
    /// their log-probabilities.
    ///
    /// # Errors
    /// Observations that are no whole number of rows.
    pub fn sample(
        &mut self,
        observations: &[f32],
        rng: &mut impl Rng,
        actions: &mut Vec<f32>,
        log_probs: &mut Vec<f32>,
    ) -> Result<()> {
        self.embed(observations)?;
        let Scratch { actor, inputs, log_p, .. } = &mut self.scratch;
        let outputs = self.actor.predict(inputs, actor)?;
        let Some(log_std) = &self.log_std else {
            for row in outputs.chunks_exact(self.actor.outputs()) {
                log_softmax(row, log_p);
                let mut left: f64 = rng.random();
                let drawn = log_p.iter().position(|l| {
                    left -= l.exp();
                    left < 0.0
                });
                let action = drawn.unwrap_or(row.len() - 1);
                actions.push(action as f32);
                log_probs.push(log_p[action] as f32);
            }
            return Ok(());
        };
        Ok(log_std.with::<f32, _>(|log_std| {
            for mean in outputs.chunks_exact(log_std.len()) {
                let start = actions.len();
                let draw = |(m, l): (&f32, &f32)| m + l.exp() * rng.sample::<f32, _>(StandardNormal);
                actions.extend(mean.iter().zip(log_std).map(draw));
                log_probs.push(gaussian_log_prob(mean, log_std, &actions[start..]) as f32);
            }
            Ok(())
        })?)
    }

    /// What the environment is given for sampled actions: clipped to the bounds.
    pub fn clip(&self, actions: &mut [f32]) {
        if self.is_discrete() {
            return;
        }
        for row in actions.chunks_exact_mut(self.low.len()) {
            for ((a, &low), &high) in row.iter_mut().zip(&self.low).zip(&self.high) {
                *a = a.clamp(low, high);
            }
        }
    }

    /// V of every observation, `[N]`; zeros without a critic.
    ///
    /// # Errors
    /// Observations that are no whole number of rows.
    pub fn values(&mut self, observations: &[f32]) -> Result<Vec<f32>> {
        self.embed(observations)?;
        let Some(network) = &self.critic else {
            return Ok(vec![0.0; self.scratch.inputs.len() / self.actor.inputs()]);
        };
        Ok(network.predict(&self.scratch.inputs, &mut self.scratch.critic)?.to_vec())
    }

    /// Mean return of the deterministic policy (the most likely action) over episodes from `starts`.
    ///
    /// # Errors
    /// No environment, or one whose spaces differ.
    pub fn evaluate(&mut self, copies: &mut [Box<dyn Env>], starts: &[u64]) -> Result<f64> {
        let policy = |turn: &Turn<'_>, actions: &mut [f32]| self.act(turn.observations, actions);
        Ok(evaluate(copies, starts, policy)?.mean_return())
    }

    /// The most likely action for every observation.
    fn act(&mut self, observations: &[f32], actions: &mut [f32]) -> Result<()> {
        let discrete = self.is_discrete();
        self.embed(observations)?;
        let outputs = self.actor.predict(&self.scratch.inputs, &mut self.scratch.actor)?;
        if discrete {
            for (action, row) in actions.iter_mut().zip(outputs.chunks_exact(self.actor.outputs())) {
                let best = (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
                *action = best as f32;
            }
        } else {
            actions.copy_from_slice(outputs);
        }
        self.clip(actions);
        Ok(())
    }

    /// The gradient `[D]` of a loss of the networks' outputs. `loss` reads them, writes its derivatives (zero at first)
    /// and returns its value.
    ///
    /// # Errors
    /// Observations that are no whole number of rows.
    pub fn gradient(
        &self,
        observations: &[f32],
        loss: impl FnOnce(Outputs<&[f32]>, Outputs<&mut [f32]>) -> f64,
    ) -> Result<(f64, Vec<f32>)> {
        let embedded = self.embedding.as_ref().map_or(0, Params::len);
        let width = self.actor.inputs() - embedded;
        let rows = observations.len() / width;
        let mut inputs = Tensor::from_slice(observations, (rows, width), &Device::Cpu).map_err(tensor)?;
        if let Some(embedding) = &self.embedding {
            let rows = embedding.tensor().broadcast_left(rows).map_err(tensor)?; // [B, E]
            inputs = Tensor::cat(&[&inputs, &rows], 1).map_err(tensor)?; // [B, obs + E]
        }
        let unused = || Tensor::zeros(1, DType::F32, &Device::Cpu).map_err(tensor);
        let outputs = self.actor.forward(&inputs)?; // [B, K]
        let values = self.critic.as_ref().map_or_else(unused, |c| Ok(c.forward(&inputs)?))?; // [B, 1]
        let log_std = self.log_std.as_ref().map_or_else(unused, |p| Ok(p.tensor().clone()))?;
        let total = fused_loss([&outputs, &log_std, &values], |[a, l, v], [da, dl, dv]| {
            loss(Outputs { actor: a, log_std: l, values: v }, Outputs { actor: da, log_std: dl, values: dv })
        })?;
        let (value, grads) = backward(&total)?;
        let mut flat = Vec::with_capacity(self.dimension());
        for (_, module) in self.modules() {
            match grads.get(module.var()) {
                Some(gradient) => flat.extend(gradient.to_vec1::<f32>().map_err(tensor)?),
                None => flat.resize(flat.len() + module.len(), 0.0),
            }
        }
        Ok((value, flat))
    }

    /// ln π(a|s) of `actions` as sampled, and its derivative times `slope`, for one row of the actor's outputs.
    pub fn log_prob(
        &self,
        outputs: &Outputs<&[f32]>,
        row: usize,
        action: &[f32],
        log_p: &mut Vec<f64>,
    ) -> f64 {
        let k = self.outputs();
        let row = &outputs.actor[row * k..(row + 1) * k];
        if self.is_discrete() {
            log_softmax(row, log_p);
            return action.first().and_then(|&a| log_p.get(a as usize)).copied().unwrap_or(f64::NEG_INFINITY);
        }
        gaussian_log_prob(row, outputs.log_std, action)
    }

    /// Adds `slope · ∂ln π(a|s)` to the gradients of row `row`. After [`Policy::log_prob`] of the same row, which leaves
    /// the logarithms of the probabilities in `log_p`.
    pub fn add_score(
        &self,
        (outputs, gradients): (&Outputs<&[f32]>, &mut Outputs<&mut [f32]>),
        row: usize,
        action: &[f32],
        slope: f64,
        log_p: &[f64],
    ) {
        let k = self.outputs();
        let range = row * k..(row + 1) * k;
        let d = &mut gradients.actor[range.clone()];
        if self.is_discrete() {
            let chosen = action.first().map_or(0, |&a| a as usize);
            for (j, (d, l)) in d.iter_mut().zip(log_p).enumerate() {
                let hit = if j == chosen { 1.0 } else { 0.0 };
                *d += (slope * (hit - l.exp())) as f32;
            }
            return;
        }
        for (j, d) in d.iter_mut().enumerate() {
            let std = f64::from(outputs.log_std[j]).exp();
            let z = f64::from(action[j] - outputs.actor[range.start + j]) / std;
            *d += (slope * z / std) as f32;
            gradients.log_std[j] += (slope * (z * z - 1.0)) as f32;
        }
    }
}

fn tensor(error: candle_core::Error) -> Error {
    Error::Learning(error.into())
}

/// Logarithms of softmax(logits).
fn log_softmax(logits: &[f32], out: &mut Vec<f64>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    out.clear();
    out.extend(logits.iter().map(|&l| f64::from(l - max) - sum.ln()));
}

/// ln N(a; μ, diag e^{2ℓ}), summed over dimensions.
fn gaussian_log_prob(mean: &[f32], log_std: &[f32], action: &[f32]) -> f64 {
    /// ½ ln 2π
    const HALF_LOG_2PI: f64 = 0.918_938_533_204_672_8;
    let term = |((&m, &l), &a): ((&f32, &f32), &f32)| {
        let z = f64::from(a - m) / f64::from(l).exp();
        -0.5 * z * z - f64::from(l) - HALF_LOG_2PI
    };
    mean.iter().zip(log_std).zip(action).map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rl::environment::Dynamics;
    use rl_core::SeedStream;

    fn policy(dynamics: Dynamics, embedding: usize) -> Policy {
        let output_init = Init::Orthogonal { gain: 1.0 };
        let config = PolicyConfig { hidden: vec![5], embedding, output_init, ..PolicyConfig::default() };
        Policy::new(&config, &dynamics.spec(), &mut SeedStream::new(3).stream("init", 0)).unwrap()
    }

    #[test]
    fn the_flat_vector_goes_in_and_comes_out() {
        let p = policy(Dynamics::point_control(), 3);
        let ranges = p.layout();
        let names: Vec<&str> = ranges.ranges().map(|(name, _)| name).collect();
        assert_eq!(names[..2], ["embedding", "actor/layer0/weight"]);
        assert!(names.contains(&"log_std") && names.contains(&"critic/layer1/bias"));
        assert_eq!(ranges.dimension(), p.dimension());
        let flat: Vec<f32> = (0..p.dimension()).map(|i| i as f32).collect();
        p.set(&flat).unwrap();
        assert_eq!(p.parameters().unwrap(), flat);
        assert!(p.set(&flat[1..]).is_err());
    }

    /// ln π + V² over a few rows: every parameter, the embedding included, against finite differences.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        for dynamics in [Dynamics::cart_pole(), Dynamics::point_control()] {
            let mut p = policy(dynamics, 2);
            let mut flat = p.parameters().unwrap();
            flat[..2].copy_from_slice(&[0.3, -0.4]);
            p.set(&flat).unwrap();
            let rng = &mut SeedStream::new(1).stream("observe", 0);
            let observations: Vec<f32> = (0..12).map(|_| rng.random_range(-1.0..1.0)).collect();
            let (mut actions, mut log_probs) = (vec![], vec![]);
            p.sample(&observations, rng, &mut actions, &mut log_probs).unwrap();
            let width = actions.len() / 3;
            let value = |p: &Policy| {
                p.gradient(&observations, |out, mut d| {
                    let (mut total, mut log_p) = (0.0, vec![]);
                    for row in 0..3 {
                        let action = &actions[row * width..(row + 1) * width];
                        total += p.log_prob(&out, row, action, &mut log_p);
                        p.add_score((&out, &mut d), row, action, 1.0, &log_p);
                        total += f64::from(out.values[row].powi(2));
                        d.values[row] = 2.0 * out.values[row];
                    }
                    total
                })
                .unwrap()
            };
            let (at, gradient) = value(&p);
            let from_sampling: f64 = log_probs.iter().map(|&l| f64::from(l)).sum();
            let values: f64 = p.values(&observations).unwrap().iter().map(|v| f64::from(v * v)).sum();
            assert!((at - from_sampling - values).abs() < 1e-4);
            for j in 0..flat.len() {
                let moved = |by: f32| {
                    let mut other = flat.clone();
                    other[j] += by;
                    p.set(&other).unwrap();
                    value(&p).0
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let tolerance = 2e-2 * (1.0 + slope.abs());
                assert!((slope - f64::from(gradient[j])).abs() < tolerance, "{j}: {slope} {}", gradient[j]);
                assert!(gradient[j] != 0.0, "parameter {j} has no gradient");
            }
        }
    }
}
