//! The multi-particle environments: nine scenarios of the MPE family (Lowe et al. 2017, "Multi-Agent Actor-Critic
//! for Mixed Cooperative-Competitive Environments"), to the constant.
//!
//! Two flavours, because published numbers come in two units: [`Flavor::Mpe2`] does what the maintained Python
//! package does, [`Flavor::OpenAi2017`] what the original code did (other order of integration, opposite action
//! directions, shared sums of rewards, collisions with oneself). Returns of the two must not be compared.
//!
//! Discrete actions: 0 stays, then −x, +x, −y, +y (`OpenAi2017`: +x, −x, +y, −y); who moves and speaks uses
//! `move + 5·message`. Continuous actions: `[unused, −x, +x, −y, +y]` (`OpenAi2017`: `[unused, +x, −x, +y, −y]`)
//! in `[0, 1]`, then the message as it is.
//!
//! Deviation: where two bodies stand on exactly one point, the originals divide by zero; here no force acts.

mod adversary;
mod batch;
pub mod bound;
mod crypto;
mod push;
mod reference;
mod row;
pub mod script;
mod simple;
mod speaker_listener;
mod spread;
mod tag;
mod world;
mod world_comm;

pub use batch::ParticleBatch;
pub use world::{Body, DT};

use super::{Action, ActionSpace, AgentId, AgentSpec, Layout, MultiAgentEnv, Outcome};
use crate::{Error, Result};
use rand::{Rng, RngExt};
use rl_core::experiment::{Persist, TrainState};
use rl_core::returns::Scalar;
use row::Row;
use serde::{Deserialize, Serialize};
use world::{Cast, Lanes, World};
use world_comm::Counts;

/// Which code's arithmetic is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavor {
    /// The maintained package mpe2 (and PettingZoo before it).
    #[default]
    Mpe2,
    /// The original code of 2017: the unit of most published tables.
    OpenAi2017,
}

/// The nine worlds with their sizes; [`Scenario::default`] is spread with three agents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scenario {
    /// One agent goes to a landmark.
    Simple,
    /// N agents cover N landmarks.
    Spread {
        /// N, at least 1.
        agents: usize,
        /// ρ in `[0, 1]`: weight of the own collisions against the team's distances (`Mpe2` only).
        local_ratio: f64,
    },
    /// N good agents keep a goal secret from one adversary.
    Adversary {
        /// N, at least 1: good agents, and landmarks.
        good: usize,
    },
    /// Predators and prey.
    Tag {
        /// Prey.
        good: usize,
        /// Predators.
        adversaries: usize,
        /// Immovable discs.
        obstacles: usize,
    },
    /// One agent keeps another from its goal.
    Push,
    /// A speaker that sees and a listener that moves.
    SpeakerListener,
    /// Two agents that know each other's goal.
    Reference {
        /// ρ in `[0, 1]` (`Mpe2` only).
        local_ratio: f64,
    },
    /// Messages under a key, with an eavesdropper.
    Crypto,
    /// Tag with food, forests and a leader who speaks.
    WorldComm {
        /// Prey, at least 1.
        good: usize,
        /// Predators, the leader among them, at least 1.
        adversaries: usize,
        /// Immovable discs.
        obstacles: usize,
        /// Food.
        food: usize,
        /// Hiding places.
        forests: usize,
    },
}

impl Default for Scenario {
    fn default() -> Self {
        Self::Spread { agents: 3, local_ratio: 0.5 }
    }
}

impl Scenario {
    /// The scenario of a Python module name such as `simple_spread`, with its default sizes.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "simple" => Self::Simple,
            "simple_spread" => Self::default(),
            "simple_adversary" => Self::Adversary { good: 2 },
            "simple_tag" => Self::Tag { good: 1, adversaries: 3, obstacles: 2 },
            "simple_push" => Self::Push,
            "simple_speaker_listener" => Self::SpeakerListener,
            "simple_reference" => Self::Reference { local_ratio: 0.5 },
            "simple_crypto" => Self::Crypto,
            "simple_world_comm" => {
                Self::WorldComm { good: 2, adversaries: 4, obstacles: 1, food: 2, forests: 2 }
            }
            _ => return None,
        })
    }

    /// The Python module's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Spread { .. } => "simple_spread",
            Self::Adversary { .. } => "simple_adversary",
            Self::Tag { .. } => "simple_tag",
            Self::Push => "simple_push",
            Self::SpeakerListener => "simple_speaker_listener",
            Self::Reference { .. } => "simple_reference",
            Self::Crypto => "simple_crypto",
            Self::WorldComm { .. } => "simple_world_comm",
        }
    }

    /// Per agent, the columns of the observation in which others' messages arrive; `None` where nobody speaks, or where
    /// what is said is only overheard.
    pub fn messages(&self) -> Option<Vec<std::ops::Range<usize>>> {
        match self {
            Self::SpeakerListener => Some(vec![0..0, 8..11]),
            Self::Reference { .. } => Some(vec![11..21, 11..21]),
            _ => None,
        }
    }

    fn cast(&self) -> Cast {
        match *self {
            Self::Simple => simple::cast(),
            Self::Spread { agents, .. } => spread::cast(agents),
            Self::Adversary { good } => adversary::cast(good),
            Self::Tag { good, adversaries, obstacles } => tag::cast(good, adversaries, obstacles),
            Self::Push => push::cast(),
            Self::SpeakerListener => speaker_listener::cast(),
            Self::Reference { .. } => reference::cast(),
            Self::Crypto => crypto::cast(),
            Self::WorldComm { .. } => world_comm::cast(self.counts()),
        }
    }

    /// Number of hidden indices, and how many landmarks each is drawn from.
    fn goals(&self) -> (usize, usize) {
        match *self {
            Self::Adversary { good } => (1, good),
            Self::Push => (1, 2),
            Self::SpeakerListener => (1, 3),
            Self::Reference { .. } => (2, 3),
            Self::Crypto => (2, 2),
            _ => (0, 1),
        }
    }

    fn counts(&self) -> Counts {
        match *self {
            Self::WorldComm { good, adversaries, obstacles, food, forests } => {
                Counts { good, adversaries, obstacles, food, forests }
            }
            _ => Counts { good: 0, adversaries: 0, obstacles: 0, food: 0, forests: 0 },
        }
    }

    /// Group names, and name and group of each agent.
    fn names(&self) -> (&'static [&'static str], Vec<(String, usize)>) {
        let numbered = |name: &str, n: usize, group: usize| -> Vec<(String, usize)> {
            (0..n).map(|i| (format!("{name}_{i}"), group)).collect()
        };
        let teams =
            |adversaries, good| [numbered("adversary", adversaries, 0), numbered("agent", good, 1)].concat();
        const TEAMS: &[&str] = &["adversary", "agent"];
        match *self {
            Self::Simple => (&["agent"], numbered("agent", 1, 0)),
            Self::Spread { agents, .. } => (&["agent"], numbered("agent", agents, 0)),
            Self::Adversary { good } => (TEAMS, teams(1, good)),
            Self::Tag { good, adversaries, .. } => (TEAMS, teams(adversaries, good)),
            Self::Push => (TEAMS, teams(1, 1)),
            Self::SpeakerListener => {
                (&["speaker", "listener"], vec![("speaker_0".into(), 0), ("listener_0".into(), 1)])
            }
            Self::Reference { .. } => (&["agent"], numbered("agent", 2, 0)),
            Self::Crypto => (
                &["eve", "bob", "alice"],
                ["eve_0", "bob_0", "alice_0"].iter().map(|s| s.to_string()).zip(0..).collect(),
            ),
            Self::WorldComm { good, adversaries, .. } => {
                let mut names = vec![("leadadversary_0".to_string(), 0)];
                names.extend(teams(adversaries.saturating_sub(1), good).into_iter().map(|(n, g)| (n, g + 1)));
                (&["leader", "adversary", "agent"], names)
            }
        }
    }
}

/// A particle world.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The world and its sizes.
    pub scenario: Scenario,
    /// Whose arithmetic.
    pub flavor: Flavor,
    /// Continuous instead of discrete actions.
    pub continuous: bool,
    /// Steps until all agents are truncated; 25 in every paper.
    pub max_cycles: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { scenario: Scenario::default(), flavor: Flavor::Mpe2, continuous: false, max_cycles: 25 }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: String, allowed| Err(Error::config("particle", field, value, allowed));
        if self.max_cycles == 0 {
            return bad("max_cycles", "0".into(), "at least 1");
        }
        let s = &self.scenario;
        if let Scenario::Spread { local_ratio, .. } | Scenario::Reference { local_ratio } = *s
            && !(0.0..=1.0).contains(&local_ratio)
        {
            return bad("local_ratio", local_ratio.to_string(), "in [0, 1]");
        }
        let sized = match *s {
            Scenario::Spread { agents, .. } => agents >= 1,
            Scenario::Adversary { good } => good >= 1,
            Scenario::Tag { good, adversaries, .. } | Scenario::WorldComm { good, adversaries, .. } => {
                good >= 1 && adversaries >= 1
            }
            _ => true,
        };
        match sized && s.cast().bodies.len() <= 256 {
            true => Ok(()),
            false => bad("scenario", format!("{s:?}"), "at least one agent of each kind, at most 256 bodies"),
        }
    }
}

/// Everything that is fixed in a world.
#[derive(Clone, Debug)]
struct Rules {
    config: Config,
    cast: Cast,
    layout: Layout,
}

impl Rules {
    fn new(config: Config) -> Result<Self> {
        config.validate()?;
        let cast = config.scenario.cast();
        let (groups, names) = config.scenario.names();
        let layout = Layout::new(config.scenario.name(), groups, Vec::new());
        let mut rules = Self { config, cast, layout };
        let world = World::<1>::new(&rules.cast);
        let spec = |(i, (name, group)): (usize, (String, usize))| {
            let mut row = Row::<f32, 1>::new(&mut [], 0);
            rules.observe(&world, i, &mut row);
            AgentSpec { name, group, observation: row.len(), actions: rules.actions(i) }
        };
        let agents = names.into_iter().enumerate().map(spec).collect();
        rules.layout = Layout::new(config.scenario.name(), groups, agents);
        Ok(rules)
    }

    fn actions(&self, agent: usize) -> ActionSpace {
        let body = &self.cast.bodies[agent];
        let (moves, words) =
            (if body.movable { 5 } else { 0 }, if body.silent { 0 } else { self.cast.dim_c });
        match self.config.continuous {
            true => ActionSpace::Continuous { dim: moves + words, low: 0.0, high: 1.0 },
            false => ActionSpace::Discrete(moves.max(1) * words.max(1)),
        }
    }

    /// Draws one lane anew.
    fn reset<const L: usize>(&self, world: &mut World<L>, lane: usize, rng: &mut dyn Rng) {
        let (count, landmarks) = self.config.scenario.goals();
        world.goals[..count].iter_mut().for_each(|goal| goal[lane] = rng.random_range(0..landmarks));
        world.scatter(&self.cast, lane, rng);
    }

    /// Turns a discrete action into force and message.
    fn choose<const L: usize>(&self, world: &mut World<L>, lane: usize, agent: usize, action: usize) {
        let body = &self.cast.bodies[agent];
        let (step, word) = match action {
            _ if !body.movable => (0, action),
            0..5 => (action, 0),
            _ => (action % 5, action / 5),
        };
        // Which way is which: mpe2 counts left first.
        const MOVES: [[[f64; 2]; 5]; 2] = [
            [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]],
            [[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]],
        ];
        let [ux, uy] = MOVES[usize::from(self.config.flavor == Flavor::Mpe2)][step];
        (world.force[agent][0][lane], world.force[agent][1][lane]) = (ux * body.accel, uy * body.accel);
        if !body.silent {
            let message = &mut world.comm[agent * self.cast.dim_c..(agent + 1) * self.cast.dim_c];
            message.iter_mut().enumerate().for_each(|(k, c)| c[lane] = f64::from(k == word));
        }
    }

    /// Turns a continuous action of the right length into force and message.
    fn steer<T: Scalar, const L: usize>(
        &self,
        world: &mut World<L>,
        lane: usize,
        agent: usize,
        action: &[T],
    ) {
        let body = &self.cast.bodies[agent];
        let mpe2 = self.config.flavor == Flavor::Mpe2;
        let value = |k: usize| {
            let x = action.get(k).map_or(0.0, |x| x.wide());
            if mpe2 { x.clamp(0.0, 1.0) } else { x }
        };
        if body.movable {
            for axis in 0..2 {
                let difference = value(1 + 2 * axis) - value(2 + 2 * axis);
                world.force[agent][axis][lane] = if mpe2 { -difference } else { difference } * body.accel;
            }
        }
        if !body.silent {
            let first = if body.movable { 5 } else { 0 };
            let message = &mut world.comm[agent * self.cast.dim_c..(agent + 1) * self.cast.dim_c];
            message.iter_mut().enumerate().for_each(|(k, c)| c[lane] = value(first + k));
        }
    }

    /// Physics, then rewards of the new state.
    fn advance<const L: usize>(&self, world: &mut World<L>) {
        world.advance(&self.cast, self.config.flavor);
        let (cast, flavor) = (&self.cast, self.config.flavor);
        match self.config.scenario {
            Scenario::Simple => simple::reward(world),
            Scenario::Spread { local_ratio, .. } => spread::reward(cast, world, local_ratio, flavor),
            Scenario::Adversary { .. } => adversary::reward(cast, world, flavor),
            Scenario::Tag { adversaries, .. } => tag::reward(cast, world, adversaries),
            Scenario::Push => push::reward(cast, world),
            Scenario::SpeakerListener => speaker_listener::reward(cast, world, flavor),
            Scenario::Reference { local_ratio } => reference::reward(cast, world, local_ratio, flavor),
            Scenario::Crypto => crypto::reward(world),
            Scenario::WorldComm { .. } => world_comm::reward(cast, world, self.config.scenario.counts()),
        }
    }

    fn observe<T: Scalar, const L: usize>(&self, world: &World<L>, agent: usize, row: &mut Row<'_, T, L>) {
        let cast = &self.cast;
        match self.config.scenario {
            Scenario::Simple => simple::observe(world, row),
            Scenario::Spread { .. } => spread::observe(cast, world, agent, row),
            Scenario::Adversary { .. } => adversary::observe(cast, world, agent, row),
            Scenario::Tag { adversaries, .. } => tag::observe(cast, world, agent, adversaries, row),
            Scenario::Push => push::observe(cast, world, agent, row),
            Scenario::SpeakerListener => speaker_listener::observe(cast, world, agent, row),
            Scenario::Reference { .. } => reference::observe(cast, world, agent, row),
            Scenario::Crypto => crypto::observe(world, agent, row),
            Scenario::WorldComm { .. } => {
                world_comm::observe(cast, world, agent, self.config.scenario.counts(), row);
            }
        }
    }
}

impl Persist for Particle {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.world.save(prefix, state)?;
        state.put(format!("{prefix}/clock"), &(&self.live, self.t))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.world.load(prefix, state)?;
        (self.live, self.t) = state.get(&format!("{prefix}/clock"))?;
        Ok(())
    }
}

/// Everyone gets the sum.
fn share<const L: usize>(rewards: &mut [Lanes<L>]) {
    let sum = rewards.iter().fold([0.0; L], |sum, r| std::array::from_fn(|l| sum[l] + r[l]));
    rewards.fill(sum);
}

/// A start to order: where everyone stands, at rest, and what is hidden.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Positions of the agents.
    pub agents: Vec<[f64; 2]>,
    /// Positions of the landmarks.
    pub landmarks: Vec<[f64; 2]>,
    /// Indices of landmarks: the goal (adversary, push, speaker-listener), each agent's known goal (reference), goal
    /// and key (crypto); empty elsewhere.
    pub goals: Vec<usize>,
}

/// One particle world.
#[derive(Clone, Debug)]
pub struct Particle {
    rules: Rules,
    world: World<1>,
    live: Vec<bool>,
    t: usize,
}

impl Particle {
    /// Builds a world; reset it before the first step.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: Config) -> Result<Self> {
        let rules = Rules::new(config)?;
        Ok(Self { world: World::new(&rules.cast), live: vec![false; rules.cast.agents], t: 0, rules })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.rules.config
    }

    /// Agents, then landmarks.
    pub fn bodies(&self) -> &[Body] {
        &self.rules.cast.bodies
    }

    /// Starts an episode from a given placement.
    ///
    /// # Errors
    /// [`Error::Shape`] when the counts do not fit the scenario.
    pub fn place(&mut self, placement: &Placement) -> Result<()> {
        let cast = &self.rules.cast;
        let (count, landmarks) = self.rules.config.scenario.goals();
        let want = (cast.agents, cast.bodies.len() - cast.agents, count);
        let got = (placement.agents.len(), placement.landmarks.len(), placement.goals.len());
        if want != got || placement.goals.iter().any(|&g| g >= landmarks) {
            return Err(Error::shape(
                "place",
                format!("(agents, landmarks, goals) {want:?}"),
                format!("{got:?}"),
            ));
        }
        let positions = placement.agents.iter().chain(&placement.landmarks);
        self.world.pos.iter_mut().zip(positions).for_each(|(p, &[x, y])| *p = [[x], [y]]);
        self.world.goals.iter_mut().zip(&placement.goals).for_each(|(g, &index)| *g = [index]);
        self.world.rest(0);
        self.live.fill(true);
        self.t = 0;
        Ok(())
    }

    /// Position of a body, agents first; `None` outside.
    pub fn position(&self, body: usize) -> Option<[f64; 2]> {
        self.world.pos.get(body).map(|[x, y]| [x[0], y[0]])
    }

    /// Velocity of an agent.
    pub fn velocity(&self, agent: AgentId) -> Option<[f64; 2]> {
        self.world.vel.get(agent.0).map(|[x, y]| [x[0], y[0]])
    }

    /// The hidden indices, as in [`Placement::goals`].
    pub fn goals(&self) -> Vec<usize> {
        let (count, _) = self.rules.config.scenario.goals();
        self.world.goals[..count].iter().map(|g| g[0]).collect()
    }

    /// The observation in the wanted precision.
    pub fn observation<T: Scalar>(&self, agent: AgentId, into: &mut [T]) {
        if agent.0 < self.rules.cast.agents {
            let stride = into.len();
            self.rules.observe(&self.world, agent.0, &mut Row::<T, 1>::new(into, stride));
        }
    }

    /// Steps with continuous actions in any precision, one slice per agent.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number or length of the actions is wrong or the actions are discrete, and
    /// [`Error::State`] when the episode is over.
    pub fn step_continuous<T: Scalar>(&mut self, actions: &[Vec<T>], outcome: &mut Outcome) -> Result<()> {
        let fits = |(spec, a): (&AgentSpec, &Vec<T>)| match spec.actions {
            ActionSpace::Continuous { dim, .. } => a.len() == dim,
            ActionSpace::Discrete(_) => false,
        };
        if actions.len() != self.rules.layout.n() || !self.rules.layout.agents.iter().zip(actions).all(fits) {
            return Err(Error::shape(
                "step_continuous",
                "one vector per agent of its width",
                "something else",
            ));
        }
        self.alive()?;
        for (i, action) in actions.iter().enumerate() {
            self.rules.steer(&mut self.world, 0, i, action);
        }
        self.finish(outcome);
        Ok(())
    }

    fn alive(&self) -> Result<()> {
        match self.live.first() {
            Some(true) => Ok(()),
            _ => Err(Error::State { operation: "step", reason: "the episode is over: call reset".into() }),
        }
    }

    fn finish(&mut self, outcome: &mut Outcome) {
        self.rules.advance(&mut self.world);
        self.t += 1;
        let over = self.t >= self.rules.config.max_cycles;
        outcome.restart(self.rules.cast.agents);
        outcome.rewards.iter_mut().zip(&self.world.rewards).for_each(|(out, r)| *out = r[0]);
        outcome.truncated.fill(over);
        self.live.fill(!over);
    }
}

impl MultiAgentEnv for Particle {
    fn layout(&self) -> &Layout {
        &self.rules.layout
    }

    fn reset(&mut self, rng: &mut dyn Rng) {
        self.rules.reset(&mut self.world, 0, rng);
        self.live.fill(true);
        self.t = 0;
    }

    fn step(
        &mut self,
        actions: &[Option<Action<'_>>],
        _rng: &mut dyn Rng,
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.alive()?;
        self.rules.layout.check(&self.live, actions)?;
        for (i, action) in actions.iter().enumerate() {
            match action {
                Some(Action::Discrete(a)) => self.rules.choose(&mut self.world, 0, i, *a),
                Some(Action::Continuous(a)) => self.rules.steer(&mut self.world, 0, i, a),
                None => {}
            }
        }
        self.finish(outcome);
        Ok(())
    }

    fn live(&self) -> &[bool] {
        &self.live
    }

    fn observe(&self, agent: AgentId, into: &mut [f32]) {
        self.observation(agent, into);
    }
}
