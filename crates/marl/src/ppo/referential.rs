//! The smallest task that needs a language, to see that messages are learned: one agent sees one of four things, the other
//! has to name it, and both get 1 if it does. Without a channel the best is a quarter.

use super::*;
use crate::communication::{Config as Channel, Kind, Topology};
use crate::env::{Action, AgentId, AgentSpec, Batch, Copies, MultiAgentEnv, Outcome};
use crate::trainer::{TrainConfig, Training};
use rand::{Rng, RngExt};

const THINGS: usize = 4;

#[derive(Clone)]
struct Referential {
    layout: Layout,
    thing: usize,
    live: [bool; 2],
}

impl Referential {
    fn new() -> Self {
        let agent = |name: &str, group| AgentSpec {
            name: name.to_owned(),
            group,
            observation: THINGS,
            actions: ActionSpace::Discrete(THINGS),
        };
        let layout = Layout::new(
            "referential",
            &["speaker", "listener"],
            vec![agent("speaker", 0), agent("listener", 1)],
        );
        Self { layout, thing: 0, live: [false; 2] }
    }
}

impl MultiAgentEnv for Referential {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn reset(&mut self, rng: &mut dyn Rng) {
        (self.thing, self.live) = (rng.random_range(0..THINGS), [true; 2]);
    }

    fn step(&mut self, actions: &[Option<Action<'_>>], _: &mut dyn Rng, outcome: &mut Outcome) -> Result<()> {
        self.layout.check(&self.live, actions)?;
        outcome.restart(2);
        let right = matches!(actions[1], Some(Action::Discrete(a)) if a == self.thing);
        outcome.rewards.fill(f64::from(u8::from(right)));
        outcome.terminated.fill(true);
        self.live = [false; 2];
        Ok(())
    }

    fn live(&self) -> &[bool] {
        &self.live
    }

    fn observe(&self, agent: AgentId, into: &mut [f32]) {
        into.iter_mut()
            .enumerate()
            .for_each(|(k, x)| *x = f32::from(u8::from(agent.0 == 0 && k == self.thing)));
    }
}

/// How often the trained listener is right, and how often it is when what it hears was meant for another copy.
fn learn(kind: Kind, topology: Topology) -> (f64, f64) {
    let seeds = SeedStream::new(9);
    let env = Copies::new(Referential::new(), 64);
    let config = Config {
        sharing: Sharing::All,
        rate: 3e-3,
        horizon: 4,
        communication: Some(Channel { kind, topology, width: 32, ..Channel::default() }),
        ..Config::default()
    };
    let learner = Ppo::new(env.layout(), config, &seeds).unwrap();
    let plan = TrainConfig { steps: 15_000, evaluations: 1, episodes: 256 };
    let mut training = Training::new(learner, env.clone(), env.clone(), plan, &seeds).unwrap();
    training.run(|_, _| {}).unwrap();
    let right = training.history()[0].mean_sum() / 2.0;
    let mut learner = training.learner;
    learner.ablate(Some(Ablation::Shuffled));
    let returns = crate::trainer::evaluate(&mut learner, &mut env.clone(), 256, &seeds).unwrap();
    (right, returns.iter().flatten().sum::<f64>() / 512.0)
}

#[test]
fn every_kind_of_message_names_the_thing_and_without_content_names_nothing() {
    for kind in
        [Kind::Average, Kind::Gated, Kind::Attention { heads: 2 }, Kind::Words { vocabulary: 2 * THINGS }]
    {
        let (right, shuffled) = learn(kind, Topology::Broadcast);
        // Of words, two things may end up sharing one: an equilibrium that nobody leaves alone.
        let least = if matches!(kind, Kind::Words { .. }) { 0.7 } else { 0.95 };
        assert!(right > least && shuffled < 0.5, "{kind:?}: {right}, shuffled {shuffled}");
    }
    let (right, _) = learn(Kind::Average, Topology::Silent);
    assert!(right < 0.4, "silent: {right}");
}
