//! `quantum-frozen-lake`: the variational deep Q-network of Chen et al. 2020 on the shortest-path FrozenLake.

use super::{Entrant, copies, pqc, references, twin};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use quantum_sim::env::FrozenLake;
use quantum_sim::rl::{
    DescentConfig, Encoding, Entangler, Exploration, Head, Loss, Model, QLearning, QLearningConfig, Rates,
    Solved, ansatz,
};
use rl_core::experiment::Role;
use rl_core::optim::Method;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct Lake;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Layers of the circuit: 2.
    layers: usize,
    /// Steps after which an episode is cut off: 2500.
    max_steps: u32,
    /// The published settings.
    q_learning: QLearningConfig,
}

impl Exercise for Lake {
    type Config = Config;

    const NAME: &'static str = "quantum-frozen-lake";
    const DESCRIPTION: &'static str =
        "Chen's variational deep Q-network finds the shortest path over the frozen lake";
    const DURATION: [&'static str; 3] = ["1 s", "5 s", "30 s"];

    fn config(preset: Preset) -> Config {
        let rms_prop = Method::RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false };
        let q_learning = QLearningConfig {
            episodes: if preset == Preset::Smoke { 20 } else { 500 },
            gamma: 0.999,
            batch_size: 5,
            capacity: 80,
            train_every: 1,
            target_every: 20,
            learning_starts: 5,
            exploration: Exploration::Hyperbolic { start: 1.0 },
            loss: Loss::Squared,
            descent: DescentConfig { method: rms_prop, rates: Rates::all(0.01) },
            solved: Some(Solved { window: 10, mean: 0.94 }),
            double: false,
        };
        Config { layers: 2, max_steps: 2500, q_learning }
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Full { 10 } else { 2 }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.layers > 0, "layers = 0: must be at least 1");
        anyhow::ensure!(config.max_steps > 0, "max_steps = 0: must be at least 1");
        Ok(config.q_learning.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let (task, lake) =
            ("FrozenLake", FrozenLake { max_steps: config.max_steps, ..FrozenLake::default() });
        references(task, copies(&lake, 1), 100, ctx)?;
        ctx.score(task, "shortest path", Role::Reference, Measure::RETURN, 0, FrozenLake::OPTIMUM)?;
        let bits = || Encoding::Basis { bits: 4 };
        let circuit = |entangler| -> Result<Box<dyn Model>> {
            let ansatz = ansatz::chen(4, config.layers, entangler)?;
            pqc(&ansatz, &["Z0", "Z1", "Z2", "Z3"], bits(), Head::plain(4, true))
        };
        let network = twin(circuit(Entangler::CnotChain)?.as_ref(), bits());
        let entrants = [
            ("vq-dqn", Role::Method, circuit(Entangler::CnotChain)?),
            ("vq-dqn not entangled", Role::Ablation, circuit(Entangler::None)?),
            ("network", Role::Reference, network),
        ];
        for (method, role, model) in entrants {
            let entrant = Entrant { task, method, role };
            let seeds = ctx.seeds(task, method);
            let mut agent = QLearning::new(config.q_learning.clone(), model, copies(&lake, 1), seeds)?;
            entrant.train(&mut agent, copies(&lake, 1), 1, ctx)?;
        }
        ctx.note("Solved: the last 10 training episodes returned 0.94 or more on average (the shortest path: 0.95), which also stops training. A seed that never gets there counts with all its episodes. The return is that of the greedy policy; the task has one start and no noise.");
        Ok(())
    }
}
