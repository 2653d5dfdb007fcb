//! `marl-foraging`: Level-Based Foraging, 8×8 with two players and two items that need both.

use super::{Choice, Method, Recipe, random, reference, train_and_score};
use crate::exercises::Exercise;
use crate::run::{Context, Preset};
use anyhow::Result;
use marl::env::{Copies, foraging};
use marl::ppo;
use marl::sharing::Sharing;
use marl::value_decomposition::{Config as Values, Mixing};
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::exercises) struct Foraging;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Evaluations on the way, the last one at the end.
    evaluations: u64,
    /// Episodes of an evaluation.
    episodes: usize,
    /// The task.
    task: foraging::Config,
    /// By name.
    methods: BTreeMap<String, Method>,
}

const TASK: &str = "8x8-2p-2f-coop";

impl Exercise for Foraging {
    type Config = Config;

    const NAME: &'static str = "marl-foraging";
    const DESCRIPTION: &'static str =
        "MAPPO, IA2C, IQL, VDN and QMIX collect food that needs two, beside a heuristic";
    const DURATION: [&'static str; 3] = ["10 s", "6 min", "4 h"];

    fn config(preset: Preset) -> Config {
        let (off_policy, on_policy, evaluations, episodes) = match preset {
            Preset::Smoke => (500, 1_000, 1, 4),
            Preset::Quick => (200_000, 2_000_000, 5, 100),
            Preset::Full => (2_000_000, 20_000_000, 41, 100),
        };
        let smoke = preset == Preset::Smoke;
        let values = |mixing| {
            let config = Values {
                mixing,
                hidden: vec![128, 128],
                sharing: Sharing::All,
                batch: if smoke { 32 } else { 512 },
                warm_up: if smoke { 100 } else { 2_000 },
                update_every: 10,
                epsilon: Schedule::Linear { start: 1.0, end: 0.05, steps: off_policy / 4 },
                ..Values::default()
            };
            Method::of(Recipe::ValueDecomposition(config), 10, off_policy)
        };
        let on = |config| Method::of(Recipe::Ppo(config), if smoke { 8 } else { 64 }, on_policy);
        // Rewards are rare at first: curiosity must last until they are found, and many rollouts matter more than many passes.
        let mappo = ppo::Config {
            horizon: 50,
            sharing: Sharing::All,
            rate: 1e-3,
            epochs: 4,
            minibatches: 2,
            entropy: 0.02,
            ..ppo::Config::default()
        };
        let ia2c = ppo::Config { hidden: vec![128, 128], sharing: Sharing::All, ..ppo::Config::ia2c() };
        let methods = [
            ("mappo", on(mappo)),
            ("ia2c", on(ia2c)),
            ("iql", values(Mixing::Independent)),
            ("vdn", values(Mixing::Sum)),
            ("qmix", values(Mixing::Monotone)),
        ];
        let mut methods: BTreeMap<_, _> = methods.map(|(name, method)| (name.to_owned(), method)).into();
        if preset == Preset::Quick {
            methods.retain(|name, _| ["mappo", "vdn"].contains(&&name[..]));
        }
        Config { evaluations, episodes, task: foraging::Config::default(), methods }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.episodes > 0, "episodes = 0: must be at least 1");
        config.task.validate()?;
        config.methods.values().try_for_each(Method::validate)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let mut env = foraging::Foraging::new(config.task.clone())?;
        reference(ctx, (TASK, "random"), &mut env, config.episodes, random)?;
        reference(ctx, (TASK, "heuristic"), &mut env, config.episodes, |env, agent, rng, _| {
            Choice::Discrete(foraging::scripted(env, agent, rng))
        })?;
        for (name, method) in &config.methods {
            let plan = (config.evaluations, config.episodes);
            let world = |copies| Ok(Copies::new(foraging::Foraging::new(config.task.clone())?, copies));
            train_and_score(ctx, TASK, name, method, plan, world)?;
        }
        ctx.note("Returns are summed over both players; all food of an episode is worth 1.");
        Ok(())
    }
}
