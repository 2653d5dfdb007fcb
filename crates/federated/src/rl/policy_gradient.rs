//! The policy gradient of whole episodes (Williams 1992, with rewards-to-go), for clients that send gradients and for
//! clients that take steps with it.
//!
//! Weights are those of FedPG-BR's published code: discounted rewards-to-go, standardised within each episode, and the
//! mean over time steps rather than the sum over each episode. Its filter's σ = 0.03 belongs to gradients of this size.

use super::descent::{Descent, DescentConfig};
use super::environment::{Dynamics, Poisoned};
use super::policy::{Outputs, Policy, PolicyConfig};
use crate::client::Client;
use crate::error::{Error, Result, check};
use crate::strategy::{Instruction, Reply};
use rand::{Rng, RngExt};
use rl_core::SeedStream;
use rl_core::env::Env;
use rl_core::evaluate::{action_width, to_action};
use rl_core::nn::Init;
use rl_core::seed::StreamRng;
use serde::{Deserialize, Serialize};

/// Whole episodes, one after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Episodes {
    /// `[S, obs]`
    pub observations: Vec<f32>,
    /// `[S, A]`, as sampled.
    pub actions: Vec<f32>,
    /// ln π(a|s) when they were played, `[S]`.
    pub log_probs: Vec<f32>,
    /// `[S]`
    pub rewards: Vec<f64>,
    /// Steps of each episode, `[B]`; they sum to S.
    pub lengths: Vec<usize>,
}

impl Episodes {
    /// Mean undiscounted return.
    pub fn mean_return(&self) -> f64 {
        self.rewards.iter().sum::<f64>() / self.lengths.len().max(1) as f64
    }

    /// The range of steps of each episode.
    fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.lengths.iter().scan(0, |start, length| {
            let range = *start..*start + length;
            *start = range.end;
            Some(range)
        })
    }

    /// Weight of every step, `[S]`: `G_t = Σ_{t'≥t} γ^{t'−t} r_{t'}`, standardised within its episode (n − 1).
    pub fn weights(&self, gamma: f64) -> Vec<f64> {
        let mut weights = self.rewards.clone();
        for range in self.ranges() {
            let episode = &mut weights[range];
            for t in (0..episode.len().saturating_sub(1)).rev() {
                episode[t] += gamma * episode[t + 1];
            }
            let n = episode.len() as f64;
            let mean = episode.iter().sum::<f64>() / n;
            let variance = episode.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
            episode.iter_mut().for_each(|g| *g = (*g - mean) / (variance.sqrt() + 1e-20));
        }
        weights
    }
}

/// Plays exactly `episodes` episodes, all side by side; `envs` holds at least so many copies.
///
/// # Errors
/// Too few copies, or an environment that fails.
pub fn play(
    policy: &mut Policy,
    envs: &mut [Box<dyn Env>],
    episodes: usize,
    rng: &mut StreamRng,
) -> Result<Episodes> {
    if envs.len() < episodes || episodes == 0 {
        return Err(Error::shape("play", format!("at least {episodes} copies, and 1"), envs.len()));
    }
    let envs = &mut envs[..episodes];
    let spec = envs[0].spec().clone();
    let (d, a) = (spec.observation.width(), action_width(&spec.action));
    let mut rows: Vec<Vec<f32>> = vec![vec![0.0; d]; episodes];
    for (env, row) in envs.iter_mut().zip(&mut rows) {
        env.reset(Some(rng.next_u64()), row)?;
    }
    let mut played: Vec<Episodes> = vec![Episodes::default(); episodes];
    let mut running: Vec<usize> = (0..episodes).collect();
    let (mut observations, mut actions, mut log_probs) = (vec![], vec![], vec![]);
    while !running.is_empty() {
        observations.clear();
        running.iter().for_each(|&i| observations.extend_from_slice(&rows[i]));
        actions.clear();
        log_probs.clear();
        policy.sample(&observations, rng, &mut actions, &mut log_probs)?;
        let sampled = actions.clone();
        policy.clip(&mut actions);
        let mut still = Vec::with_capacity(running.len());
        for (k, &i) in running.iter().enumerate() {
            let record = &mut played[i];
            record.observations.extend_from_slice(&rows[i]);
            record.actions.extend_from_slice(&sampled[k * a..(k + 1) * a]);
            record.log_probs.push(log_probs[k]);
            let step = envs[i].step(to_action(&spec.action, &actions[k * a..(k + 1) * a]), &mut rows[i])?;
            record.rewards.push(step.reward);
            if !step.done() {
                still.push(i);
            }
        }
        running = still;
    }
    let mut all = Episodes::default();
    for one in played {
        all.lengths.push(one.rewards.len());
        all.observations.extend(one.observations);
        all.actions.extend(one.actions);
        all.log_probs.extend(one.log_probs);
        all.rewards.extend(one.rewards);
    }
    Ok(all)
}

/// The gradient `[D]` of `−1/S Σ_t ω_t w_t ln π(a_t|s_t)` at the policy's present parameters; `weights` `w_t: [S]`.
///
/// `ω_t` is 1 or, with `importance`, the ratio of its whole episode `Π π(a|s) / π_played(a|s)`: the importance weight of
/// SVRPG (Papini et al. 2018, equation 8) when the policy is set to the snapshot θ₀ and the episodes were played by θ_n.
///
/// # Errors
/// Weights of another length.
pub fn gradient(policy: &Policy, episodes: &Episodes, weights: &[f64], importance: bool) -> Result<Vec<f32>> {
    let steps = episodes.rewards.len();
    if weights.len() != steps {
        return Err(Error::shape("policy gradient", format!("{steps} weights"), weights.len()));
    }
    let width = episodes.actions.len() / steps.max(1);
    let (_, gradient) = policy.gradient(&episodes.observations, |out, mut d| {
        let (mut loss, mut log_p) = (0.0, vec![]);
        let action = |t: usize| &episodes.actions[t * width..(t + 1) * width];
        for range in episodes.ranges() {
            let ratio = if importance {
                let log_ratio =
                    |t| policy.log_prob(&out, t, action(t), &mut log_p) - f64::from(episodes.log_probs[t]);
                range.clone().map(log_ratio).sum::<f64>().exp()
            } else {
                1.0
            };
            for t in range {
                let slope = -ratio * weights[t] / steps as f64;
                loss += slope * policy.log_prob(&out, t, action(t), &mut log_p);
                let gradients: (&Outputs<&[f32]>, &mut Outputs<&mut [f32]>) = (&out, &mut d);
                policy.add_score(gradients, t, action(t), slope, &log_p);
            }
        }
        loss
    })?;
    Ok(gradient)
}

/// Settings of a client; the defaults are those of FedPG-BR's experiments on CartPole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyGradientConfig {
    /// Networks: 16, 16, no critic, PyTorch's initialisation.
    pub policy: PolicyConfig,
    /// Optimiser of the clients that take local steps.
    pub descent: DescentConfig,
    /// B, episodes of one gradient: 16.
    pub episodes: usize,
    /// Gradient steps between two exchanges, where the client takes local steps: 4.
    pub local_steps: usize,
    /// Discount γ: 0.999.
    pub gamma: f64,
    /// Episodes of an evaluation: 10.
    pub evaluation_episodes: usize,
}

impl Default for PolicyGradientConfig {
    fn default() -> Self {
        let policy = PolicyConfig {
            hidden: vec![16, 16],
            critic: false,
            init: Init::FanInUniform,
            output_init: Init::FanInUniform,
            ..PolicyConfig::default()
        };
        Self {
            policy,
            descent: DescentConfig::default(),
            episodes: 16,
            local_steps: 4,
            gamma: 0.999,
            evaluation_episodes: 10,
        }
    }
}

impl PolicyGradientConfig {
    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("episodes", self.episodes),
            ("local_steps", self.local_steps),
            ("evaluation_episodes", self.evaluation_episodes),
        ];
        for (field, value) in counts {
            check(value > 0, "policy gradient", field, value, "at least 1")?;
        }
        check((0.0..=1.0).contains(&self.gamma), "policy gradient", "gamma", self.gamma, "in [0, 1]")?;
        self.descent.validate()
    }
}

/// A client that plays whole episodes: it takes local steps as a [`Client`], or only measures gradients.
pub struct PolicyGradientClient {
    id: u64,
    config: PolicyGradientConfig,
    policy: Policy,
    descent: Descent,
    envs: Vec<Box<dyn Env>>,
    examinations: Vec<Box<dyn Env>>,
}

/// A gradient and what it was measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// `[D]`
    pub gradient: Vec<f32>,
    /// Mean return of the episodes.
    pub mean_return: f64,
    /// Environment steps.
    pub steps: u64,
}

impl PolicyGradientClient {
    /// Client `id` in its environment, poisoned (rewards `−scale · r`) if `poison` says so. Clients of one `seeds` draw
    /// equal initial weights.
    ///
    /// # Errors
    /// If the configuration does not fit.
    pub fn new(
        id: u64,
        config: &PolicyGradientConfig,
        dynamics: &Dynamics,
        poison: Option<f64>,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let policy = Policy::new(&config.policy, &dynamics.spec(), &mut seeds.stream("init", 0))?;
        let wrap = |env| match poison {
            Some(scale) => Box::new(Poisoned::new(env, scale)) as Box<dyn Env>,
            None => env,
        };
        Ok(Self {
            id,
            descent: Descent::new(config.descent, policy.dimension())?,
            policy,
            envs: dynamics.copies(config.episodes).into_iter().map(wrap).collect(),
            examinations: dynamics.copies(config.evaluation_episodes.min(20)),
            config: config.clone(),
        })
    }

    /// The weights it was born with, `[D]`: where the server starts.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn initial_parameters(&self) -> Result<Vec<f32>> {
        self.policy.parameters()
    }

    /// The gradient at `parameters: [D]` over B fresh episodes.
    ///
    /// # Errors
    /// Another length than D.
    pub fn measure(&mut self, parameters: &[f32], rng: &mut StreamRng) -> Result<Measured> {
        self.policy.set(parameters)?;
        let episodes = play(&mut self.policy, &mut self.envs, self.config.episodes, rng)?;
        let weights = episodes.weights(self.config.gamma);
        Ok(Measured {
            gradient: gradient(&self.policy, &episodes, &weights, false)?,
            mean_return: episodes.mean_return(),
            steps: episodes.rewards.len() as u64,
        })
    }

    /// Over `mini_batch` fresh episodes played at `current`: the gradient there, and the importance-weighted one at
    /// `snapshot` on the same episodes; with their steps.
    ///
    /// # Errors
    /// Other lengths than D, or more episodes than B.
    pub fn measure_both(
        &mut self,
        current: &[f32],
        snapshot: &[f32],
        mini_batch: usize,
        rng: &mut StreamRng,
    ) -> Result<(Vec<f32>, Vec<f32>, u64)> {
        self.policy.set(current)?;
        let episodes = play(&mut self.policy, &mut self.envs, mini_batch, rng)?;
        let weights = episodes.weights(self.config.gamma);
        let here = gradient(&self.policy, &episodes, &weights, false)?;
        self.policy.set(snapshot)?;
        let there = gradient(&self.policy, &episodes, &weights, true)?;
        Ok((here, there, episodes.rewards.len() as u64))
    }
}

impl Client for PolicyGradientClient {
    fn train(&mut self, global: &[f32], instruction: &Instruction, rng: &mut StreamRng) -> Result<Reply> {
        self.descent.begin(global, instruction)?;
        let (mut parameters, mut returns) = (global.to_vec(), 0.0);
        for _ in 0..self.config.local_steps {
            let mut measured = self.measure(&parameters, rng)?;
            returns += measured.mean_return / self.config.local_steps as f64;
            self.descent.step(&mut parameters, &mut measured.gradient)?;
        }
        let (local_steps, control_change) = self.descent.finish();
        Ok(Reply {
            client: self.id,
            parameters,
            weight: 1.0,
            local_steps,
            staleness: 0,
            control_change,
            mean_return: Some(returns),
        })
    }

    fn evaluate(&mut self, global: &[f32], rng: &mut StreamRng) -> Result<Option<f64>> {
        self.policy.set(global)?;
        let starts: Vec<u64> = (0..self.config.evaluation_episodes).map(|_| rng.random()).collect();
        self.policy.evaluate(&mut self.examinations, &starts).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(poison: Option<f64>) -> PolicyGradientClient {
        let config = PolicyGradientConfig { episodes: 8, ..PolicyGradientConfig::default() };
        PolicyGradientClient::new(0, &config, &Dynamics::cart_pole(), poison, SeedStream::new(2)).unwrap()
    }

    #[test]
    fn weights_by_hand() {
        let episodes =
            Episodes { rewards: vec![1.0, 1.0, 1.0, 5.0], lengths: vec![3, 1], ..Episodes::default() };
        // rewards-to-go at γ = 1: 3, 2, 1, with mean 2 and deviation 1; an episode of one step says nothing
        assert_eq!(episodes.weights(1.0), [1.0, 0.0, -1.0, 0.0]);
        assert_eq!(episodes.mean_return(), 4.0);
    }

    #[test]
    fn the_importance_weight_is_one_where_the_policy_is_the_one_that_played() {
        let mut c = client(None);
        let at = c.initial_parameters().unwrap();
        let rng = &mut SeedStream::new(5).stream("play", 0);
        let (here, there, steps) = c.measure_both(&at, &at, 4, rng).unwrap();
        assert!(steps > 20 && here.iter().zip(&there).all(|(a, b)| (a - b).abs() < 1e-4));
        // weighting by the ratio makes the mean over many episodes that of the other policy: here only that it differs
        let moved: Vec<f32> = at.iter().map(|x| x + 0.05).collect();
        let (here, there, _) = c.measure_both(&at, &moved, 4, rng).unwrap();
        assert!(here.iter().zip(&there).any(|(a, b)| (a - b).abs() > 1e-4));
    }

    #[test]
    fn local_steps_learn() {
        let mut c = client(None);
        let mut global = c.initial_parameters().unwrap();
        let rng = &mut SeedStream::new(5).stream("play", 0);
        let before = c.evaluate(&global, rng).unwrap().unwrap();
        for round in 0..40 {
            let instruction = Instruction { round, ..Instruction::default() };
            global = c.train(&global, &instruction, rng).unwrap().parameters;
        }
        let after = c.evaluate(&global, rng).unwrap().unwrap();
        assert!(after > before + 30.0, "{before} {after}");
    }
}
