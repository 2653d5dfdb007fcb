//! Independent and multi-agent PPO (Schulman et al. 2017; de Witt et al. 2020; Yu et al. 2022, "The Surprising
//! Effectiveness of PPO in Cooperative Multi-Agent Games").
//!
//! IPPO's critic sees the own observation, MAPPO's ([`Config::central`]) the concatenation of all. Advantages by GAE,
//! normalised over the entries of agents that acted; with ratio ρ = π(a|o) / π_old(a|o)
//!
//! policy loss −mean min(ρ A, clip(ρ, 1 ± ε) A) − c_H · entropy,
//! value loss mean max(h(V − R), h(V_old + clip(V − V_old, ±ε) − R)), h the Huber loss, in normalised units.
//!
//! Values are learnt in units normalised by running statistics of the returns ([`ValueNorm`]). Steps of dead agents
//! are masked out of every mean. The sampled policy is evaluated by its mode: the most likely action, the mean of a
//! Gaussian.
//!
//! Deviations from the authors' code: layer normalisation stands before the activation and not on the input; no
//! recurrence.

mod loss;
mod rollout;
mod value_norm;

pub use value_norm::ValueNorm;

use crate::env::{ActionSpace, BatchActions, BatchStep, Layout};
use crate::gumbel;
use crate::sharing::{Set, Sharing};
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use candle_core::{DType, Device};
use loss::Sample;
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::nn::mlp::{Activation, Workspace};
use rl_core::nn::{Init, Mlp, MlpConfig, Norm, Params, params};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig};
use rl_core::{SeedStream, StreamRng};
use rollout::Rollout;
use serde::{Deserialize, Serialize};

/// Settings; the defaults are those of Yu et al. 2022 for the particle worlds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The critic sees all observations: MAPPO; else IPPO.
    pub central: bool,
    /// Hidden layers of policies and critics (64, 64).
    pub hidden: Vec<usize>,
    /// Adam's step size (7·10⁻⁴), ε = 10⁻⁵.
    pub rate: f64,
    /// Largest gradient norm (10).
    pub clip_norm: f64,
    /// Discount γ (0.99).
    pub gamma: f64,
    /// λ of the advantages (0.95).
    pub lambda: f64,
    /// ε of policy and value clipping (0.2).
    pub clip: f64,
    /// Where the Huber loss becomes linear (10).
    pub huber: f64,
    /// Weight of the entropy (0.01).
    pub entropy: f64,
    /// Passes over a rollout (10).
    pub epochs: usize,
    /// Parts of a rollout per pass (1).
    pub minibatches: usize,
    /// Steps of each copy per rollout (25: whole episodes, with 128 copies).
    pub horizon: usize,
    /// Who shares networks.
    pub sharing: Sharing,
    /// Learn values in normalised units.
    pub value_norm: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            central: true,
            hidden: vec![64, 64],
            rate: 7e-4,
            clip_norm: 10.0,
            gamma: 0.99,
            lambda: 0.95,
            clip: 0.2,
            huber: 10.0,
            entropy: 0.01,
            epochs: 10,
            minibatches: 1,
            horizon: 25,
            sharing: Sharing::Group,
            value_norm: true,
        }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: String, allowed| Err(Error::config("ppo", field, value, allowed));
        match self {
            c if c.hidden.contains(&0) => bad("hidden", format!("{:?}", c.hidden), "positive widths"),
            c if !(c.rate > 0.0 && c.rate.is_finite()) => bad("rate", c.rate.to_string(), "above 0"),
            c if !(0.0..=1.0).contains(&c.gamma) => bad("gamma", c.gamma.to_string(), "in [0, 1]"),
            c if !(0.0..=1.0).contains(&c.lambda) => bad("lambda", c.lambda.to_string(), "in [0, 1]"),
            c if !(c.clip > 0.0 && c.clip < 1.0) => bad("clip", c.clip.to_string(), "in (0, 1)"),
            c if c.epochs == 0 || c.minibatches == 0 || c.horizon == 0 => {
                bad("epochs, minibatches, horizon", "0".into(), "at least 1")
            }
            _ => Ok(()),
        }
    }
}

/// A policy and a critic with those who use them.
#[derive(Debug)]
struct Team {
    set: Set,
    policy: Mlp,
    /// ln σ of a Gaussian policy, `[A]`; unused entries for discrete ones.
    log_std: Params,
    critic: Mlp,
    policy_optimizer: Optimizer,
    critic_optimizer: Optimizer,
    norm: ValueNorm,
}

/// An IPPO or MAPPO learner.
#[derive(Debug)]
pub struct Ppo {
    config: Config,
    layout: Layout,
    teams: Vec<Team>,
    spaces: Vec<ActionSpace>,
    observations: Vec<usize>,
    rollout: Rollout,
    workspace: Workspace<f32>,
    metrics: Vec<(&'static str, f64)>,
}

impl Ppo {
    /// Draws the networks.
    ///
    /// # Errors
    /// [`Error::Config`] from the settings, or when agents that share networks have different kinds of actions.
    pub fn new(layout: &Layout, config: Config, seeds: &SeedStream) -> Result<Self> {
        config.validate()?;
        let spaces: Vec<ActionSpace> = layout.agents.iter().map(|a| a.actions).collect();
        let observations: Vec<usize> = layout.agents.iter().map(|a| a.observation).collect();
        let joint: usize = observations.iter().sum();
        // Shared discrete policies mask what an agent does not have; shared Gaussians need one width.
        let kind = |i: usize| match spaces[i] {
            ActionSpace::Discrete(_) => 0,
            ActionSpace::Continuous { dim, .. } => dim,
        };
        let sets = config.sharing.sets(layout);
        if sets.iter().any(|s| s.members.iter().any(|&i| kind(i) != kind(s.members[0]))) {
            return Err(Error::config(
                "ppo",
                "sharing",
                "mixed action spaces",
                "one kind of actions per set",
            ));
        }
        let make = |(k, set): (usize, Set)| -> Result<Team> {
            let mut rng = seeds.stream("ppo/networks", k as u64);
            let network = |inputs, outputs, gain| MlpConfig {
                activation: Activation::Relu,
                norm: Norm::Layer { eps: 1e-5 },
                init: Init::Orthogonal { gain: 2f64.sqrt() },
                output_init: Init::Orthogonal { gain },
                ..MlpConfig::relu(inputs, &config.hidden, outputs)
            };
            let policy = Mlp::new(&network(set.input(), set.action, 0.01), &Device::Cpu, &mut rng)?;
            let seen = if config.central { joint + set.identity() } else { set.input() };
            let critic = Mlp::new(&network(seen, 1, 1.0), &Device::Cpu, &mut rng)?;
            let mut std = params::Layout::default();
            std.add("log_std", &[set.action], vec![-0.5; set.action]);
            let log_std = std.build(DType::F32, &Device::Cpu)?;
            let adam = OptimizerConfig::adam(config.rate, 1e-5, Clip::GlobalNorm(config.clip_norm));
            let policy_optimizer = Optimizer::new(adam, &[policy.params(), &log_std])?;
            let critic_optimizer = Optimizer::new(adam, &[critic.params()])?;
            Ok(Team {
                set,
                policy,
                log_std,
                critic,
                policy_optimizer,
                critic_optimizer,
                norm: ValueNorm::default(),
            })
        };
        Ok(Self {
            teams: sets.into_iter().enumerate().map(make).collect::<Result<_>>()?,
            rollout: Rollout::new(layout.n()),
            spaces,
            observations,
            workspace: Workspace::default(),
            metrics: Vec::new(),
            layout: layout.clone(),
            config,
        })
    }

    /// Critic inputs of the `k`-th member of a set from the observations of all agents, per agent `[R, D]`.
    fn critic_rows(&self, set: &Set, k: usize, observations: &[Vec<f32>]) -> Vec<f32> {
        let mut rows = Vec::new();
        let i = set.members[k];
        let count = observations[i].len() / self.observations[i];
        if !self.config.central {
            set.write(k, &observations[i], self.observations[i], self.observations[i], &mut rows);
            return rows;
        }
        for r in 0..count {
            for (o, &d) in observations.iter().zip(&self.observations) {
                rows.extend_from_slice(&o[r * d..(r + 1) * d]);
            }
            rows.extend((0..set.identity()).map(|member| f32::from(u8::from(member == k))));
        }
        rows
    }

    fn update(&mut self, rng: &mut StreamRng) -> Result<()> {
        let mut metrics = [0.0; 3];
        for t in 0..self.teams.len() {
            let mut sample = self.sample(t)?;
            let team = &mut self.teams[t];
            if self.config.value_norm {
                team.norm.update(
                    sample.returns.iter().zip(&sample.acted).filter(|(_, w)| **w > 0.0).map(|(r, _)| *r),
                );
            }
            sample.normalise(if self.config.value_norm { Some(&team.norm) } else { None });
            for _ in 0..self.config.epochs {
                for part in sample.parts(self.config.minibatches, rng) {
                    let losses = loss::step(team, &sample, &part, &self.config)?;
                    metrics.iter_mut().zip(losses).for_each(|(sum, l)| *sum += l);
                }
            }
        }
        let count = (self.teams.len() * self.config.epochs * self.config.minibatches) as f64;
        let names = ["losses/policy", "losses/value", "charts/entropy"];
        self.metrics = names.into_iter().zip(metrics.map(|m| m / count)).collect();
        self.rollout.clear();
        Ok(())
    }

    /// Everything the members of a team lived through, as rows, with advantages and returns.
    fn sample(&mut self, t: usize) -> Result<Sample> {
        let team = &self.teams[t];
        let mut workspace = std::mem::take(&mut self.workspace);
        let mut value = |rows: &[f32]| -> Result<Vec<f64>> {
            let count = rows.len() / team.critic.inputs();
            let out = team.critic.params().with::<f32, _>(|p| {
                Ok(team.critic.infer(p, count, rows, team.critic.inputs(), &mut workspace).to_vec())
            })?;
            let undo = |v: f32| {
                if self.config.value_norm { team.norm.denormalise(f64::from(v)) } else { f64::from(v) }
            };
            Ok(out.into_iter().map(undo).collect())
        };
        let mut sample = Sample::default();
        for (k, &i) in team.set.members.iter().enumerate() {
            let own = &self.rollout.agents[i];
            let seen = self.critic_rows(&team.set, k, &self.rollout.before);
            let (values, next_values) =
                (value(&seen)?, value(&self.critic_rows(&team.set, k, &self.rollout.after))?);
            let d = self.observations[i];
            team.set.write(k, &self.rollout.before[i], d, d, &mut sample.policy_rows);
            sample.critic_rows.extend(seen);
            own.collect(self.rollout.copies, &values, &next_values, &self.config, &mut sample)?;
            let width = self.spaces[i].width();
            sample.widths.extend(std::iter::repeat_n(width, values.len()));
            if matches!(self.spaces[i], ActionSpace::Continuous { .. }) {
                sample.continuous = true;
            }
        }
        self.workspace = workspace;
        Ok(sample)
    }
}

impl Learner for Ppo {
    fn act(
        &mut self,
        observations: &[Vec<f32>],
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        check_act(&self.layout, observations, actions)?;
        let mut rows = Vec::new();
        for team in &self.teams {
            for (k, &i) in team.set.members.iter().enumerate() {
                rows.clear();
                team.set.write(k, &observations[i], self.observations[i], self.observations[i], &mut rows);
                let count = rows.len() / team.set.input();
                let workspace = &mut self.workspace;
                let mut out = team.policy.params().with::<f32, _>(|p| {
                    Ok(team.policy.infer(p, count, &rows, team.set.input(), workspace).to_vec())
                })?;
                let own = &mut self.rollout.agents[i];
                own.chosen.clear();
                own.log_probs_now.clear();
                let width = self.spaces[i].width();
                match self.spaces[i] {
                    ActionSpace::Discrete(_) => {
                        for (b, row) in out.chunks_mut(team.set.action).enumerate() {
                            let row = &mut row[..width];
                            let a = match mode {
                                Mode::Exploit => gumbel::argmax(row),
                                Mode::Explore => {
                                    let noise = gumbel::noise(width, rng);
                                    let noisy: Vec<f32> = row.iter().zip(noise).map(|(x, g)| x + g).collect();
                                    gumbel::argmax(&noisy)
                                }
                            };
                            gumbel::softmax_row(row);
                            actions.discrete[i][b] = a as u32;
                            own.chosen.push(a as f32);
                            own.log_probs_now.push(row[a].max(1e-30).ln());
                        }
                    }
                    ActionSpace::Continuous { low, high, .. } => {
                        let log_std = team.log_std.to_vec::<f32>()?;
                        let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
                        for (b, row) in out.chunks(team.set.action).enumerate() {
                            let mut log_prob = 0.0;
                            for (j, (&mean, &log_std)) in row[..width].iter().zip(&log_std).enumerate() {
                                let z: f32 = match mode {
                                    Mode::Exploit => 0.0,
                                    Mode::Explore => rng.sample(StandardNormal),
                                };
                                let a = mean + log_std.exp() * z;
                                log_prob += -0.5 * z * z - log_std - 0.5 * std::f32::consts::TAU.ln();
                                own.chosen.push(a);
                                actions.continuous[i][b * width + j] = middle + half * a.clamp(-1.0, 1.0);
                            }
                            own.log_probs_now.push(log_prob);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn learn(
        &mut self,
        before: &[Vec<f32>],
        live: &[Vec<bool>],
        step: &BatchStep,
        rng: &mut StreamRng,
    ) -> Result<()> {
        self.rollout.push(before, live, step);
        match self.rollout.steps >= self.config.horizon {
            true => self.update(rng),
            false => Ok(()),
        }
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        self.metrics.clone()
    }
}

#[cfg(test)]
mod tests;
