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
//! [`Config::communication`] lets a team's agents exchange messages before they act (see [`crate::communication`]).
//!
//! IA2C and MAA2C (Mnih et al. 2016; Papoudakis et al. 2021) are the same loop with one pass over short rollouts: at
//! ρ = 1 the gradient of the surrogate is that of −mean log π(a|o) A, and λ = 1 makes the returns n-step ones. See
//! [`Config::ia2c`].
//!
//! Deviations from the authors' code: layer normalisation stands before the activation and not on the input; no
//! recurrence. For A2C: Adam in place of RMSprop.

mod loss;
mod policy;
mod value_norm;

pub use policy::Messages;
pub use value_norm::ValueNorm;

use crate::communication::{self, Ablation};
use crate::env::{ActionSpace, BatchActions, BatchStep, Layout};
use crate::rollout::{Rollout, choose};
use crate::sharing::{Set, Sharing};
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use candle_core::{DType, Device};
use loss::Sample;
use policy::Policy;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::{Activation, Tape, Workspace};
use rl_core::nn::{Init, Mlp, MlpConfig, Norm, Params, params};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig};
use rl_core::returns::gae;
use rl_core::{SeedStream, StreamRng};
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
    /// Bring advantages to mean 0 and variance 1.
    pub normalise_advantages: bool,
    /// Messages among the agents that share parameters.
    pub communication: Option<communication::Config>,
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
            normalise_advantages: true,
            communication: None,
        }
    }
}

impl Config {
    /// Independent advantage actor-critic: one pass over rollouts of five steps, n-step returns, squared value errors.
    pub fn ia2c() -> Self {
        Self {
            central: false,
            rate: 5e-4,
            lambda: 1.0,
            epochs: 1,
            horizon: 5,
            huber: 1e6,
            normalise_advantages: false,
            ..Self::default()
        }
    }

    /// The same with a central critic.
    pub fn maa2c() -> Self {
        Self { central: true, ..Self::ia2c() }
    }

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
    policy: Policy,
    /// ln σ of a Gaussian policy, `[A]`; unused entries for discrete ones.
    log_std: Params,
    critic: Mlp,
    policy_optimizer: Optimizer,
    critic_optimizer: Optimizer,
    norm: ValueNorm,
    tape: Tape<f32>,
}

/// An IPPO, MAPPO, IA2C or MAA2C learner, with or without communication.
#[derive(Debug)]
pub struct Ppo {
    config: Config,
    layout: Layout,
    teams: Vec<Team>,
    spaces: Vec<ActionSpace>,
    observations: Vec<usize>,
    rollout: Rollout,
    workspace: Workspace<f32>,
    ablation: Option<Ablation>,
    metrics: [f64; 3],
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
            let policy = match &config.communication {
                None => {
                    Policy::Alone(Mlp::new(&network(set.input(), set.action, 0.01), &Device::Cpu, &mut rng)?)
                }
                Some(messages) => {
                    let sizes = (set.members.len(), set.input(), set.action);
                    let noise = communication::Network::noise(messages);
                    Policy::Team(Box::new(communication::Network::new(messages, sizes, &mut rng)?), noise)
                }
            };
            let seen = if config.central { joint + set.identity() } else { set.input() };
            let critic = Mlp::new(&network(seen, 1, 1.0), &Device::Cpu, &mut rng)?;
            let mut std = params::Layout::default();
            std.add("log_std", &[set.action], vec![-0.5; set.action]);
            let log_std = std.build(DType::F32, &Device::Cpu)?;
            let adam = OptimizerConfig::adam(config.rate, 1e-5, Clip::GlobalNorm(config.clip_norm));
            let policy_optimizer = Optimizer::new(adam, &[policy.params(), vec![&log_std]].concat())?;
            let critic_optimizer = Optimizer::new(adam, &[critic.params()])?;
            Ok(Team {
                set,
                policy,
                log_std,
                critic,
                policy_optimizer,
                critic_optimizer,
                norm: ValueNorm::default(),
                tape: Tape::default(),
            })
        };
        Ok(Self {
            teams: sets.into_iter().enumerate().map(make).collect::<Result<_>>()?,
            rollout: Rollout::new(layout),
            spaces,
            observations,
            workspace: Workspace::default(),
            ablation: None,
            metrics: [0.0; 3],
            layout: layout.clone(),
            config,
        })
    }

    /// Tampers with messages when acting without exploration, or no longer does.
    pub fn ablate(&mut self, ablation: Option<Ablation>) {
        self.ablation = ablation;
    }

    /// Critic inputs of a set's members, one member after another; `rows(i)` is what agent i observes, `[R, D]`.
    fn critic_rows<'a>(&self, set: &Set, rows: impl Fn(usize) -> &'a [f32]) -> Vec<f32> {
        if !self.config.central {
            return set.stack(|i| (rows(i), self.observations[i], self.observations[i]));
        }
        let width = self.observations.iter().sum::<usize>();
        let joint = Rollout::join(rows, &self.observations);
        let mut all = Vec::with_capacity(set.members.len() * (joint.len() + set.identity()));
        for k in 0..set.members.len() {
            for row in joint.chunks(width) {
                all.extend_from_slice(row);
                all.extend((0..set.identity()).map(|member| f32::from(u8::from(member == k))));
            }
        }
        all
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
            sample.normalise(self.config.normalise_advantages, self.config.value_norm.then_some(&team.norm));
            let mut parts = sample.parts(self.config.minibatches, rng);
            let mut ready = loss::Part::all(team, &sample, &parts);
            for epoch in 0..self.config.epochs {
                if epoch > 0 && self.config.minibatches > 1 {
                    parts = sample.parts(self.config.minibatches, rng);
                    ready = loss::Part::all(team, &sample, &parts);
                }
                for part in &ready {
                    let losses = loss::step(team, part, &self.config)?;
                    metrics.iter_mut().zip(losses).for_each(|(sum, l)| *sum += l);
                }
            }
        }
        let count = (self.teams.len() * self.config.epochs * self.config.minibatches) as f64;
        self.metrics = metrics.map(|m| m / count);
        self.rollout.clear();
        Ok(())
    }

    /// Everything the members of a team lived through, as rows, with advantages and returns.
    fn sample(&mut self, t: usize) -> Result<Sample> {
        let mut workspace = std::mem::take(&mut self.workspace);
        let team = &self.teams[t];
        let mut value = |rows: &[f32]| -> Result<Vec<f64>> {
            let out = team.critic.predict(rows, &mut workspace)?;
            let undo = |v: &f32| {
                if self.config.value_norm { team.norm.denormalise(f64::from(*v)) } else { f64::from(*v) }
            };
            Ok(out.iter().map(undo).collect())
        };
        let agents = &self.rollout.agents;
        let critic_rows = self.critic_rows(&team.set, |i| &agents[i].before);
        let values = value(&critic_rows)?;
        let next_values = value(&self.critic_rows(&team.set, |i| &agents[i].after))?;
        self.workspace = workspace;
        let (team, count) = (&self.teams[t], self.rollout.copies * self.rollout.steps);
        let mut sample = Sample {
            agents: team.set.members.len(),
            policy_rows: self.policy_rows(&team.set, team.policy.noise()),
            critic_rows,
            continuous: matches!(self.spaces[team.set.members[0]], ActionSpace::Continuous { .. }),
            ..Sample::default()
        };
        for (k, &i) in team.set.members.iter().enumerate() {
            let (own, part) = (&self.rollout.agents[i], k * count..(k + 1) * count);
            let steps = own.steps(self.rollout.copies, &next_values[part.clone()]);
            let advantages = gae(&steps, &values[part.clone()], self.config.gamma, self.config.lambda)?;
            sample.returns.extend(advantages.iter().zip(&values[part]).map(|(a, v)| a + v));
            sample.advantages.extend(&advantages);
            sample.actions.extend_from_slice(&own.decided.actions);
            sample.log_probs.extend_from_slice(&own.decided.log_probs);
            sample.acted.extend_from_slice(&own.acted);
            sample.hide(&own.masks, self.spaces[i].width(), team.set.action, count);
        }
        sample.values = values;
        Ok(sample)
    }

    /// Policy inputs `[members · R, input + noise]` of the rollout.
    fn policy_rows(&self, set: &Set, noise: usize) -> Vec<f32> {
        let agents = &self.rollout.agents;
        let rows = set.stack(|i| (&agents[i].before, self.observations[i], self.observations[i]));
        let draws = set.members.iter().map(|&i| &agents[i].decided.noise[..]).collect::<Vec<_>>().concat();
        policy::beside(rows, set.input(), &draws, noise)
    }
}

impl Learner for Ppo {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        check_act(&self.layout, now, actions)?;
        let ablation = self.ablation.filter(|_| mode == Mode::Exploit);
        for team in &self.teams {
            let width = team.set.action;
            let (mut out, draws) =
                team.act(now, &self.observations, mode, ablation, rng, &mut self.workspace)?;
            let per_agent = now.reset.len() * width;
            for (k, &i) in team.set.members.iter().enumerate() {
                let decision = &mut self.rollout.now[i];
                let draws_each = draws.len() / team.set.members.len();
                decision.noise.clear();
                decision.noise.extend_from_slice(&draws[k * draws_each..(k + 1) * draws_each]);
                let out = &mut out[k * per_agent..(k + 1) * per_agent];
                match self.spaces[i] {
                    ActionSpace::Discrete(n) => {
                        choose(out, (n, width), &now.masks[i], mode, rng, decision);
                        let chosen = decision.actions.iter().map(|&a| a as u32);
                        actions.discrete[i].iter_mut().zip(chosen).for_each(|(to, a)| *to = a);
                    }
                    ActionSpace::Continuous { low, high, .. } => {
                        policy::steer(out, &team.log_std.to_vec::<f32>()?, mode, rng, decision);
                        let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
                        let bounded = decision.actions.iter().map(|a| middle + half * a.clamp(-1.0, 1.0));
                        actions.continuous[i].iter_mut().zip(bounded).for_each(|(to, a)| *to = a);
                    }
                }
            }
        }
        Ok(())
    }

    fn learn(&mut self, before: &BatchStep, after: &BatchStep, rng: &mut StreamRng) -> Result<()> {
        self.rollout.push(before, after);
        match self.rollout.steps >= self.config.horizon {
            true => self.update(rng),
            false => Ok(()),
        }
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        ["losses/policy", "losses/value", "charts/entropy"].into_iter().zip(self.metrics).collect()
    }

    fn finish(&mut self) {
        self.rollout.clear();
    }
}

impl Persist for Ppo {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (k, team) in self.teams.iter().enumerate() {
            for (j, params) in team.params().into_iter().enumerate() {
                params.save(&format!("{prefix}/{k}/{j}"), state)?;
            }
            team.policy_optimizer.save(&format!("{prefix}/{k}/policy-optimizer"), state)?;
            team.critic_optimizer.save(&format!("{prefix}/{k}/critic-optimizer"), state)?;
            state.put(format!("{prefix}/{k}/norm"), &team.norm)?;
        }
        self.rollout.save(&format!("{prefix}/rollout"), state)?;
        state.put(format!("{prefix}/metrics"), &self.metrics)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (k, team) in self.teams.iter_mut().enumerate() {
            for (j, params) in team.params().into_iter().enumerate() {
                // Parameters are shared handles: loading into a clone loads the network.
                params.clone().load(&format!("{prefix}/{k}/{j}"), state)?;
            }
            team.policy_optimizer.load(&format!("{prefix}/{k}/policy-optimizer"), state)?;
            team.critic_optimizer.load(&format!("{prefix}/{k}/critic-optimizer"), state)?;
            team.norm = state.get(&format!("{prefix}/{k}/norm"))?;
        }
        self.rollout.load(&format!("{prefix}/rollout"), state)?;
        self.metrics = state.get(&format!("{prefix}/metrics"))?;
        Ok(())
    }
}

#[cfg(test)]
mod referential;
#[cfg(test)]
mod tests;
