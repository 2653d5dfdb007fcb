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

use crate::env::{ActionSpace, BatchActions, BatchStep, Layout};
use crate::gumbel;
use crate::rollout::{Decision, Rollout, choose};
use crate::sharing::{Set, Sharing};
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use candle_core::{D, Device, Tensor};
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};
use rl_core::returns::gae;
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

    /// Logits ln π of the floored policies, per agent `[R, A]`, of what agents observe; unavailable actions keep nothing.
    fn log_policies<'a>(
        &mut self,
        observations: impl Fn(usize) -> &'a [f32],
        masks: impl Fn(usize) -> &'a [bool],
        floor: f64,
    ) -> Result<Vec<Vec<f32>>> {
        let mut all = vec![Vec::new(); self.sizes.len()];
        for team in &self.teams {
            let rows = team.set.stack(|i| (observations(i), self.sizes[i].0, self.sizes[i].0));
            let out = team.policy.predict(&rows, &mut self.workspace)?;
            let per_agent = out.len() / team.set.members.len();
            for (&i, out) in team.set.members.iter().zip(out.chunks(per_agent.max(1))) {
                let width = self.sizes[i].1;
                out.chunks(team.set.action).for_each(|row| all[i].extend_from_slice(&row[..width]));
                for (r, row) in all[i].chunks_mut(width).enumerate() {
                    lift(row, masks(i).get(r * width..(r + 1) * width).unwrap_or_default(), floor as f32);
                }
            }
        }
        Ok(all)
    }

    /// Critic inputs of a set's members `[members · R, joint + identity]`: all observations, and the actions of the others.
    fn critic_rows(&self, set: &Set, observations: &[f32], actions: &[Vec<f32>]) -> Vec<f32> {
        let width: usize = self.sizes.iter().map(|s| s.0).sum();
        let mut rows = Vec::new();
        for (k, &i) in set.members.iter().enumerate() {
            for (r, seen) in observations.chunks(width).enumerate() {
                rows.extend_from_slice(seen);
                for (j, &(_, n)) in self.sizes.iter().enumerate() {
                    let start = rows.len();
                    rows.resize(start + n, 0.0);
                    if j != i {
                        rows[start + actions[j][r] as usize] = 1.0;
                    }
                }
                rows.extend((0..set.identity()).map(|member| f32::from(u8::from(member == k))));
            }
        }
        rows
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

    /// One action of everybody per row.
    fn draw(&self, log_policies: &[Vec<f32>], rng: &mut StreamRng) -> Vec<Vec<f32>> {
        let pick = |(logs, &(_, n)): (&Vec<f32>, &(usize, usize))| {
            let mut decision = Decision::default();
            choose(&mut logs.clone(), (n, n), &[], Mode::Explore, rng, &mut decision);
            decision.actions
        };
        log_policies.iter().zip(&self.sizes).map(pick).collect()
    }

    /// λ-returns of a team's members, one member after another, from target values of all own actions.
    fn targets(&self, t: usize, q: &[f32], next_q: &[f32], next: &[Vec<f32>]) -> Result<Vec<f32>> {
        let set = &self.teams[t].set;
        let (count, stride) = (self.rollout.copies * self.rollout.steps, set.action);
        let mut targets = Vec::with_capacity(count * set.members.len());
        for (k, &i) in set.members.iter().enumerate() {
            let (own, n) = (&self.rollout.agents[i], self.sizes[i].1);
            let value = |r: usize| f64::from(q[(k * count + r) * stride + own.decided.actions[r] as usize]);
            let expected = |r: usize| {
                let (q, logs) = (&next_q[(k * count + r) * stride..][..n], &next[i][r * n..(r + 1) * n]);
                q.iter().zip(logs).map(|(&q, &log)| f64::from(q * log.exp())).sum::<f64>()
            };
            let values: Vec<f64> = (0..count).map(value).collect();
            let next_values: Vec<f64> = (0..count).map(expected).collect();
            let steps = own.steps(self.rollout.copies, &next_values);
            let advantages = gae(&steps, &values, self.config.gamma, self.config.lambda)?;
            targets.extend(advantages.iter().zip(values).map(|(a, v)| (a + v) as f32));
        }
        Ok(targets)
    }

    /// Fits a team's critic; returns its values of all own actions afterwards.
    fn fit(&mut self, t: usize, rows: Vec<f32>, taken: &[Vec<f32>], targets: &[f32]) -> Result<Vec<f32>> {
        let team = &mut self.teams[t];
        let n = targets.len();
        let stride = team.set.action;
        let mut chosen = vec![0f32; n * stride];
        let actions = team.set.members.iter().flat_map(|&i| &taken[i]);
        actions.enumerate().for_each(|(r, &a)| chosen[r * stride + a as usize] = 1.0);
        let acted: Vec<f32> =
            team.set.members.iter().flat_map(|&i| &self.rollout.agents[i].acted).copied().collect();
        let count = f64::from(acted.iter().sum::<f32>()).max(1.0);
        let input = Tensor::from_slice(&rows, (n, team.critic.inputs()), &Device::Cpu)?;
        let chosen = Tensor::from_vec(chosen, (n, stride), &Device::Cpu)?;
        let (y, acted) =
            (Tensor::from_slice(targets, n, &Device::Cpu)?, Tensor::from_vec(acted, n, &Device::Cpu)?);
        for _ in 0..self.config.critic_steps {
            let q = (team.critic.forward(&input)? * &chosen)?.sum(1)?;
            let loss = (((q - &y)?.sqr()? * &acted)?.sum_all()? / count)?;
            let (value, grads) = backward(&loss)?;
            team.critic_optimizer.step(&grads)?;
            polyak(team.target.params(), team.critic.params(), self.config.tau)?;
            self.metrics[0] = value;
        }
        Ok(team.critic.predict(&rows, &mut self.workspace)?.to_vec())
    }

    /// One step of a team's policy along the counterfactual advantages.
    fn improve(&mut self, t: usize, q: &[f32], taken: &[Vec<f32>], floor: f64) -> Result<()> {
        let team = &mut self.teams[t];
        let (rows, mut losses, mut entropies) =
            (self.rollout.copies * self.rollout.steps, Vec::new(), Vec::new());
        let agents = &self.rollout.agents;
        let input = team.set.stack(|i| (&agents[i].before, self.sizes[i].0, self.sizes[i].0));
        let input = Tensor::from_vec(input, (team.set.members.len() * rows, team.set.input()), &Device::Cpu)?;
        let out = team.policy.forward(&input)?;
        for (k, &i) in team.set.members.iter().enumerate() {
            let (own, n) = (&agents[i], self.sizes[i].1);
            let mut logits = out.narrow(0, k * rows, rows)?.narrow(1, 0, n)?;
            let available: Vec<f32> = match own.masks.is_empty() {
                true => vec![1.0; rows * n],
                false => own.masks.iter().map(|&m| f32::from(u8::from(m))).collect(),
            };
            let shares: Vec<f32> = available
                .chunks(n)
                .flat_map(|row| {
                    let count = row.iter().sum::<f32>().max(1.0);
                    row.iter().map(move |a| a * floor as f32 / count)
                })
                .collect();
            let available = Tensor::from_vec(available, (rows, n), &Device::Cpu)?;
            logits = (logits + available.affine(-1.0, 1.0)?.affine(f64::from(gumbel::UNAVAILABLE), 0.0)?)?;
            let soft = candle_nn::ops::softmax(&logits, D::Minus1)?;
            let policy = ((soft * (1.0 - floor))? + Tensor::from_vec(shares, (rows, n), &Device::Cpu)?)?; // [R, A]
            let probabilities = policy.detach().to_vec2::<f32>()?;
            let own_q = |r: usize| &q[(k * rows + r) * team.set.action..][..n];
            let mut weights = vec![0f32; rows * n];
            for (r, p) in probabilities.iter().enumerate() {
                let a = taken[i][r] as usize;
                weights[r * n + a] = own.acted[r] * counterfactual(p, own_q(r), a);
            }
            let count = f64::from(own.acted.iter().sum::<f32>()).max(1.0);
            let log = policy.clamp(1e-30, 1.0)?.log()?;
            let weights = Tensor::from_vec(weights, (rows, n), &Device::Cpu)?;
            losses.push(((&log * weights)?.sum_all()? / -count)?);
            entropies.push(((policy * log)?.sum(1)?.mean_all()? * -1.0)?);
        }
        let entropy = (Tensor::stack(&entropies, 0)?.sum_all()? / losses.len() as f64)?;
        let loss = (Tensor::stack(&losses, 0)?.sum_all()? / losses.len() as f64)?;
        let (value, grads) = backward(&(loss - (&entropy * self.config.entropy)?)?)?;
        team.policy_optimizer.step(&grads)?;
        (self.metrics[1], self.metrics[2]) = (value, f64::from(entropy.to_scalar::<f32>()?));
        Ok(())
    }
}

/// A(a) = q(a) − Σ_b π(b) q(b).
fn counterfactual(policy: &[f32], q: &[f32], a: usize) -> f32 {
    q[a] - policy.iter().zip(q).map(|(p, q)| p * q).sum::<f32>()
}

/// Turns logits into ln of the floored policy over the available actions.
fn lift(row: &mut [f32], mask: &[bool], floor: f32) {
    gumbel::hide(row, mask);
    let count = if mask.is_empty() { row.len() } else { mask.iter().filter(|m| **m).count() };
    gumbel::softmax_row(row);
    for (a, p) in row.iter_mut().enumerate() {
        let share = if mask.get(a).copied().unwrap_or(true) { floor / count.max(1) as f32 } else { 0.0 };
        *p = ((1.0 - floor) * *p + share).max(1e-30).ln();
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
mod tests {
    use super::*;
    use crate::env::particle::{Config as World, ParticleBatch, Scenario};
    use crate::env::{Batch, Copies, foraging, matrix};
    use crate::trainer::{TrainConfig, Training};

    fn run<E: Batch + Clone>(env: E, config: Config, steps: u64) -> (Coma, f64) {
        let seeds = SeedStream::new(6);
        let learner = Coma::new(env.layout(), config, &seeds).unwrap();
        let plan = TrainConfig { steps, evaluations: 1, episodes: 10 };
        let mut training = Training::new(learner, env.clone(), env, plan, &seeds).unwrap();
        training.run(|_, _| {}).unwrap();
        let mean = training.history()[0].mean_sum();
        (training.learner, mean)
    }

    #[test]
    fn it_runs_on_all_kinds_of_teams_and_repeats_bit_for_bit() {
        for name in ["simple_spread", "simple_speaker_listener"] {
            let world = World { scenario: Scenario::named(name).unwrap(), ..World::default() };
            let env = ParticleBatch::new(world, 4).unwrap();
            for sharing in [Sharing::All, Sharing::None] {
                let config = Config { sharing, hidden: vec![8], ..Config::default() };
                let weights = |c: &Coma| {
                    c.teams.iter().map(|t| t.policy.params().to_vec::<f32>().unwrap()).collect::<Vec<_>>()
                };
                let ((a, x), (b, y)) = (run(env.clone(), config.clone(), 300), run(env.clone(), config, 300));
                assert!(weights(&a) == weights(&b) && x == y && x.is_finite());
            }
        }
        let grid = foraging::Config { masked: true, max_episode_steps: 20, ..Default::default() };
        let config = Config { hidden: vec![8], ..Config::default() };
        run(Copies::new(foraging::Foraging::new(grid).unwrap(), 4), config, 300);
    }

    #[test]
    fn the_floor_and_the_advantage_by_hand() {
        let mut row = [0.0, 0.0, 5.0, 0.0];
        lift(&mut row, &[true, true, false, true], 0.3);
        let p = row.map(f32::exp);
        assert!((p[0] - 1.0 / 3.0).abs() < 1e-6 && p[2] < 1e-20);
        assert!((counterfactual(&[0.5, 0.25, 0.25], &[4.0, 0.0, 8.0], 2) - 4.0).abs() < 1e-6);
    }

    #[test]
    fn it_learns_to_coordinate() {
        // Sum over two agents of 25 steps: 50 is the best, chance gives 50/3.
        let env = Copies::new(matrix::Matrix::new(matrix::Config::coordination(3)).unwrap(), 8);
        let config = Config {
            hidden: vec![16],
            actor_rate: 5e-3,
            critic_rate: 5e-3,
            floor: Schedule::Linear { start: 0.5, end: 0.02, steps: 10_000 },
            ..Config::default()
        };
        let (_, mean) = run(env, config, 20_000);
        assert!(mean > 45.0, "{mean}");
    }
}
