//! COMA (Foerster et al. 2018, "Counterfactual Multi-Agent Policy Gradients"): a central critic that tells each agent what
//! its own action was worth, the others' being given.
//!
//! Q(s, u₋ᵢ, ·) gives the values of all actions of agent i in one pass from the joint observation, the others' actions
//! (one-hot, the own place empty) and the agent's identity. Policies are softmaxes with a floor,
//! π(a) = (1 − ε) softmax(a) + ε/|A|, ε falling.
//!
//! Aᵢ = Q(s, u) − Σ_b πᵢ(b) Q(s, (u₋ᵢ, b)), policy loss −mean [Aᵢ log πᵢ(uᵢ) + c_H · entropy],
//! y_t = r_t + γ [v_{t+1} + λ (y_{t+1} − Q̄(s_{t+1}, u_{t+1}))], critic loss mean (Q(s, u) − y)²,
//!
//! where v is Σ_b πᵢ(b) Q̄(s, (u₋ᵢ, b)) at the successor with others' actions drawn from their policies, and Q̄ the target
//! critic.
//!
//! Deviations: v in place of Q̄ at the drawn action (less variance, same mean); several passes over a rollout for the critic
//! in place of one step per moment; no recurrence; Adam. Published results of COMA on the particle worlds are poor, and so
//! may be these: what is learnt is reported as it is.

mod critic;
mod policy;

use crate::env::{ActionSpace, BatchActions, BatchStep, Layout};
use crate::rollout::{Rollout, choose};
use crate::sharing::{Set, Sharing};
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use candle_core::Device;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig};
use rl_core::schedule::Schedule;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Settings; after the paper and Papoudakis et al. 2021.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Hidden layers of policies and critic (128, 128).
    pub hidden: Vec<usize>,
    /// Adam's step size of the policies (5·10⁻⁴).
    pub actor_rate: f64,
    /// Adam's step size of the critic (5·10⁻⁴).
    pub critic_rate: f64,
    /// Largest gradient norm (10).
    pub clip: f64,
    /// Discount γ (0.99).
    pub gamma: f64,
    /// λ of the targets (0.8).
    pub lambda: f64,
    /// Weight of the entropy (0.001).
    pub entropy: f64,
    /// ε of the policies' floor by environment steps (0.5 to 0.02).
    pub floor: Schedule,
    /// Steps of each copy per rollout.
    pub horizon: usize,
    /// Steps of the critic per rollout.
    pub critic_steps: usize,
    /// Share of the new weights in the target critic per step.
    pub tau: f64,
    /// Who shares networks.
    pub sharing: Sharing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden: vec![128, 128],
            actor_rate: 5e-4,
            critic_rate: 5e-4,
            clip: 10.0,
            gamma: 0.99,
            lambda: 0.8,
            entropy: 1e-3,
            floor: Schedule::Linear { start: 0.5, end: 0.02, steps: 500_000 },
            horizon: 25,
            critic_steps: 8,
            tau: 0.01,
            sharing: Sharing::All,
        }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: String, allowed| Err(Error::config("coma", field, value, allowed));
        let unit = |x: f64| (0.0..=1.0).contains(&x);
        match self {
            c if c.hidden.contains(&0) => bad("hidden", format!("{:?}", c.hidden), "positive widths"),
            c if !unit(c.gamma) => bad("gamma", c.gamma.to_string(), "in [0, 1]"),
            c if !unit(c.lambda) => bad("lambda", c.lambda.to_string(), "in [0, 1]"),
            c if !(unit(c.tau) && c.tau > 0.0) => bad("tau", c.tau.to_string(), "in (0, 1]"),
            c if c.horizon == 0 || c.critic_steps == 0 => {
                bad("horizon, critic_steps", "0".into(), "at least 1")
            }
            _ => Ok(()),
        }
    }
}

/// Networks of a set.
#[derive(Debug)]
struct Team {
    set: Set,
    policy: Mlp,
    critic: Mlp,
    target: Mlp,
    policy_optimizer: Optimizer,
    critic_optimizer: Optimizer,
}

/// A COMA learner.
#[derive(Debug)]
pub struct Coma {
    config: Config,
    layout: Layout,
    teams: Vec<Team>,
    /// Observation length and number of actions of each agent.
    sizes: Vec<(usize, usize)>,
    rollout: Rollout,
    workspace: Workspace<f32>,
    steps: u64,
    /// Critic loss, policy loss, entropy.
    metrics: [f64; 3],
}

impl Coma {
    /// Draws the networks.
    ///
    /// # Errors
    /// [`Error::Config`] from the settings, or when an action space is not discrete.
    pub fn new(layout: &Layout, config: Config, seeds: &SeedStream) -> Result<Self> {
        config.validate()?;
        if let Some(agent) = layout.agents.iter().find(|a| !matches!(a.actions, ActionSpace::Discrete(_))) {
            return Err(Error::config("coma", "actions", &agent.name, "discrete for every agent"));
        }
        let sizes: Vec<_> = layout.agents.iter().map(|a| (a.observation, a.actions.width())).collect();
        let joint: usize = sizes.iter().map(|s| s.0 + s.1).sum();
        let make = |(k, set): (usize, Set)| -> Result<Team> {
            let mut rng = seeds.stream("coma/networks", k as u64);
            let mut mlp = |inputs| {
                Mlp::new(&MlpConfig::relu(inputs, &config.hidden, set.action), &Device::Cpu, &mut rng)
            };
            let (policy, critic) = (mlp(set.input())?, mlp(joint + set.identity())?);
            let adam = |rate| OptimizerConfig::adam(rate, 1e-5, Clip::GlobalNorm(config.clip));
            Ok(Team {
                policy_optimizer: Optimizer::new(adam(config.actor_rate), &[policy.params()])?,
                critic_optimizer: Optimizer::new(adam(config.critic_rate), &[critic.params()])?,
                target: critic.duplicate()?,
                set,
                policy,
                critic,
            })
        };
        Ok(Self {
            teams: config.sharing.sets(layout).into_iter().enumerate().map(make).collect::<Result<_>>()?,
            rollout: Rollout::new(layout),
            workspace: Workspace::default(),
            steps: 0,
            metrics: [0.0; 3],
            layout: layout.clone(),
            sizes,
            config,
        })
    }

    fn update(&mut self, rng: &mut StreamRng) -> Result<()> {
        let floor = self.config.floor.at(self.steps);
        let agents = self.rollout.agents.clone();
        let widths: Vec<usize> = self.sizes.iter().map(|s| s.0).collect();
        let (now, then) =
            (Rollout::join(|i| &agents[i].before, &widths), Rollout::join(|i| &agents[i].after, &widths));
        let taken: Vec<Vec<f32>> = agents.iter().map(|own| own.decided.actions.clone()).collect();
        let next = self.log_policies(|i| &agents[i].after, |_| &[], floor)?;
        let drawn = self.draw(&next, rng);
        self.metrics = [0.0; 3];
        for t in 0..self.teams.len() {
            let (rows, next_rows) = (
                self.critic_rows(&self.teams[t].set, &now, &taken),
                self.critic_rows(&self.teams[t].set, &then, &drawn),
            );
            let q = self.teams[t].target.predict(&rows, &mut self.workspace)?.to_vec();
            let next_q = self.teams[t].target.predict(&next_rows, &mut self.workspace)?.to_vec();
            let targets = self.targets(t, &q, &next_q, &next)?;
            let q = self.fit(t, rows, &taken, &targets)?;
            self.improve(t, &q, &taken, floor)?;
        }
        self.rollout.clear();
        Ok(())
    }
}

impl Learner for Coma {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        check_act(&self.layout, now, actions)?;
        let floor = if mode == Mode::Explore { self.config.floor.at(self.steps) } else { 0.0 };
        let mut logs = self.log_policies(|i| &now.observations[i], |i| &now.masks[i], floor)?;
        for (i, logs) in logs.iter_mut().enumerate() {
            let n = self.sizes[i].1;
            let decision = &mut self.rollout.now[i];
            choose(logs, (n, n), &now.masks[i], mode, rng, decision);
            let chosen = decision.actions.iter().map(|&a| a as u32);
            actions.discrete[i].iter_mut().zip(chosen).for_each(|(to, a)| *to = a);
        }
        Ok(())
    }

    fn learn(&mut self, before: &BatchStep, after: &BatchStep, rng: &mut StreamRng) -> Result<()> {
        self.rollout.push(before, after);
        self.steps += after.reset.len() as u64;
        match self.rollout.steps >= self.config.horizon {
            true => self.update(rng),
            false => Ok(()),
        }
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        ["losses/critic", "losses/policy", "charts/entropy"].into_iter().zip(self.metrics).collect()
    }

    fn finish(&mut self) {
        self.rollout.clear();
    }
}

impl Persist for Coma {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (k, team) in self.teams.iter().enumerate() {
            let name = |part: &str| format!("{prefix}/{k}/{part}");
            team.policy.save(&name("policy"), state)?;
            team.critic.save(&name("critic"), state)?;
            team.target.save(&name("target"), state)?;
            team.policy_optimizer.save(&name("policy-optimizer"), state)?;
            team.critic_optimizer.save(&name("critic-optimizer"), state)?;
        }
        self.rollout.save(&format!("{prefix}/rollout"), state)?;
        state.put(format!("{prefix}/counters"), &(self.steps, self.metrics))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (k, team) in self.teams.iter_mut().enumerate() {
            let name = |part: &str| format!("{prefix}/{k}/{part}");
            team.policy.load(&name("policy"), state)?;
            team.critic.load(&name("critic"), state)?;
            team.target.load(&name("target"), state)?;
            team.policy_optimizer.load(&name("policy-optimizer"), state)?;
            team.critic_optimizer.load(&name("critic-optimizer"), state)?;
        }
        self.rollout.load(&format!("{prefix}/rollout"), state)?;
        (self.steps, self.metrics) = state.get(&format!("{prefix}/counters"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
