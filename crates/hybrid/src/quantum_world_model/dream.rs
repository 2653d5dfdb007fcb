//! CartPole as a model imagines it, and rounds of acting, learning and dreaming.

use crate::change_model::{ChangeModel, Changes};
use crate::error::Result;
use quantum_sim::rl::{Model, Policy, Reinforce, ReinforceConfig};
use rand::Rng;
use rl_core::env::{Action, CartPole, Env, EnvSpec, Episode, Simulator};
use rl_core::experiment::{Metrics, Trainer};
use rl_core::nn::mlp::Workspace;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Usual changes of x, ẋ, θ, θ̇ in a step, inverted.
const SCALE: [f32; 4] = [25.0, 5.0, 25.0, 4.0];
const POSITION_LIMIT: f64 = 2.4;
/// 12 degrees.
const ANGLE_LIMIT: f64 = 12.0 * std::f64::consts::PI / 180.0;

/// CartPole-v1 with learned dynamics; start, reward and end are the task's, and known.
#[derive(Clone, Debug)]
pub struct ImaginedCartPole {
    model: ChangeModel,
    /// Steps after which an imagined episode is cut.
    steps: u32,
}

impl Simulator for ImaginedCartPole {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        EnvSpec { id: "ImaginedCartPole".into(), max_episode_steps: Some(self.steps), ..CartPole.spec() }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        CartPole.initial_state(rng)
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let mut next = state.map(|s| s as f32);
        let input = encode(&next, action.index());
        // The widths are fixed here, so nothing can go wrong; a state that is not finite ends the episode.
        let advanced = self.model.advance(&mut next, &input, &mut Workspace::default());
        *state = next.map(f64::from);
        let inside = state[0].abs() <= POSITION_LIMIT && state[2].abs() <= ANGLE_LIMIT;
        (1.0, advanced.is_err() || !inside)
    }

    fn observe(&self, state: &[f64; 4], observation: &mut [f32]) {
        CartPole.observe(state, observation);
    }
}

/// (s, a) with the action as ±1.
fn encode(state: &[f32; 4], action: usize) -> [f32; 5] {
    let [x, speed, angle, turn] = *state;
    [x, speed, angle, turn, if action == 1 { 1.0 } else { -1.0 }]
}

/// Settings of [`DreamTraining`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DreamConfig {
    /// Rounds.
    pub rounds: u64,
    /// Real steps of a round; those of the first are random.
    pub real_steps: u64,
    /// Members of the ensemble.
    pub members: usize,
    /// Their hidden widths.
    pub hidden: Vec<usize>,
    /// Gradient steps of every member in a round.
    pub updates: u64,
    /// Rows of each.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Imagined episodes of a round.
    pub episodes: u64,
    /// Imagined episodes between two updates of the policy.
    pub side_by_side: usize,
    /// Steps of an imagined episode at most.
    pub steps: u32,
}

impl Default for DreamConfig {
    fn default() -> Self {
        Self {
            rounds: 5,
            real_steps: 400,
            members: 5,
            hidden: vec![32, 32],
            updates: 1000,
            batch: 64,
            learning_rate: 3e-3,
            episodes: 150,
            side_by_side: 10,
            steps: 200,
        }
    }
}

impl DreamConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field out of range.
    pub fn validate(&self) -> Result<()> {
        let least_one = [
            ("rounds", self.rounds),
            ("real_steps", self.real_steps),
            ("members", self.members as u64),
            ("updates", self.updates),
            ("batch", self.batch as u64),
            ("episodes", self.episodes),
            ("side_by_side", self.side_by_side as u64),
            ("steps", u64::from(self.steps)),
        ];
        for (field, value) in least_one {
            crate::error::within(field, value as f64, (1.0, f64::MAX), "at least 1")?;
        }
        crate::error::within("learning_rate", self.learning_rate, (1e-9, 1.0), "in (0, 1]")
    }
}

/// A policy, the models it dreams in, and the real task.
pub struct DreamTraining {
    config: DreamConfig,
    policy: Policy,
    members: Vec<ChangeModel>,
    data: Vec<Changes>,
    agent: Reinforce,
    real: Episode<CartPole, StreamRng>,
    observation: [f32; 4],
    /// Whether the next real step begins an episode.
    over: bool,
    rounds: u64,
    steps: u64,
    rng: StreamRng,
}

impl DreamTraining {
    /// Untrained; `model` is the policy's function, a circuit or a network of four inputs and two outputs.
    ///
    /// # Errors
    /// Settings out of range, or a model that does not fit CartPole.
    pub fn new(
        config: DreamConfig,
        reinforce: ReinforceConfig,
        model: Box<dyn Model>,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let member = |k| ChangeModel::new(&SCALE, 1, &config.hidden, &mut seeds.stream("member", k));
        let members: Vec<ChangeModel> = (0..config.members as u64).map(member).collect::<Result<_>>()?;
        // Members share their parameters with the copies that imagine with them.
        let imagine = |k: usize| {
            let world = ImaginedCartPole { model: members[k % members.len()].clone(), steps: config.steps };
            Box::new(Episode::<_, StreamRng>::new(world, k as u64)) as Box<dyn Env>
        };
        let copies = (0..config.side_by_side).map(imagine).collect();
        let policy = reinforce.policy;
        let episodes = config.rounds * config.episodes;
        let reinforce = ReinforceConfig { episodes, solved: None, ..reinforce };
        let agent = Reinforce::new(reinforce, model, copies, seeds)?;
        Ok(Self {
            policy,
            data: vec![Changes::default(); members.len()],
            members,
            agent,
            real: Episode::new(CartPole, seeds.derive("real", 0)),
            observation: [0.0; 4],
            over: true,
            rounds: 0,
            steps: 0,
            rng: seeds.stream("rounds", 0),
            config,
        })
    }

    /// Real steps so far.
    pub fn real_steps(&self) -> u64 {
        self.steps
    }

    /// The policy's function and its parameters.
    pub fn policy(&mut self) -> (&mut dyn Model, &[f64]) {
        self.agent.policy()
    }

    /// Imagined returns so far.
    pub fn imagined_returns(&self) -> &[f64] {
        self.agent.record().returns()
    }

    /// Acts, learns and dreams once; returns the mean loss of the members.
    ///
    /// # Errors
    /// If a number is not finite.
    pub fn round(&mut self, metrics: &mut Metrics) -> Result<f64> {
        for _ in 0..self.config.real_steps {
            self.act()?;
        }
        let DreamConfig { updates, batch, learning_rate, .. } = self.config;
        let mut loss = 0.0;
        for (member, data) in self.members.iter().zip(&self.data) {
            loss += member.learn(data, (updates, batch, learning_rate), &mut self.rng)?;
        }
        self.rounds += 1;
        while self.agent.record().episodes() < self.rounds * self.config.episodes {
            self.agent.advance(metrics)?;
        }
        Ok(loss / self.members.len() as f64)
    }

    /// One real step; every member takes it with probability ½ or when it has none, so that they differ.
    fn act(&mut self) -> Result<()> {
        if self.over {
            self.real.reset(None, &mut self.observation)?;
        }
        let action = if self.rounds == 0 {
            (self.rng.next_u32() % 2) as usize
        } else {
            let (model, parameters) = self.agent.policy();
            let mut row = [0.0; 2];
            model.forward(parameters, &self.observation, &mut row)?;
            self.policy.probabilities(&mut row);
            Policy::draw(&row, &mut self.rng)
        };
        let before = self.observation;
        self.over = self.real.step(Action::Discrete(action), &mut self.observation)?.done();
        let input = encode(&before, action);
        for (member, data) in self.members.iter().zip(&mut self.data) {
            if data.targets.is_empty() || self.rng.next_u32().is_multiple_of(2) {
                member.note((&before, &input[4..]), &self.observation, data);
            }
        }
        self.steps += 1;
        Ok(())
    }
}
