//! `quantum-cartpole`: both agents of the TensorFlow Quantum tutorial on CartPole-v1 and Skolik's 62-parameter Q-learner on
//! CartPole-v0, beside classical networks with as many parameters and circuits without entanglement.

use super::{EPISODES, Entrant, copies, pqc, references, twin};
use crate::exercises::Exercise;
use crate::run::{Context, Preset};
use anyhow::Result;
use quantum_sim::Activation;
use quantum_sim::rl::{
    DescentConfig, Encoding, Entangler, Head, Loss, Model, Policy, QLearning, QLearningConfig, Rates,
    Reinforce, ReinforceConfig, Solved, ansatz,
};
use rand::Rng;
use rl_core::env::{Action, CartPole, EnvSpec, Simulator};
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct CartPoleAgents;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Episodes of an evaluation, from fixed starts.
    starts: u64,
    /// Layers of the circuits: 5.
    layers: usize,
    /// Episodes that REINFORCE plays side by side between two updates: 10.
    side_by_side: usize,
    /// REINFORCE with the softmax-PQC.
    reinforce: ReinforceConfig,
    /// Its classical twin.
    reinforce_network: ReinforceConfig,
    /// DQN with the tutorial's circuit; batches of 32 every second step and double targets, where the tutorial has batches of
    /// 16 every tenth step and single ones.
    dqn: QLearningConfig,
    /// DQN with the tutorial's own settings.
    dqn_tutorial: QLearningConfig,
    /// Its classical twin.
    dqn_network: QLearningConfig,
    /// Skolik's Q-learner (CartPole-v0).
    skolik: QLearningConfig,
    /// Its classical twin.
    skolik_network: QLearningConfig,
}

/// What the tutorial's notebook logged: one run each. (method, episodes until ten episodes averaged 500)
const LOGGED: [(&str, f64); 2] =
    [("reinforce-pqc, logged in the tutorial", 470.0), ("dqn-pqc, logged in the tutorial", 600.0)];

/// CartPole as it was: 200 steps, solved at a mean of 195.
#[derive(Clone, Copy, Debug)]
struct CartPoleV0;

impl Simulator for CartPoleV0 {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        let (limit, threshold) = (Some(200), Some(195.0));
        EnvSpec {
            id: "CartPole-v0".into(),
            max_episode_steps: limit,
            reward_threshold: threshold,
            ..CartPole.spec()
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        CartPole.initial_state(rng)
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        CartPole.transition(state, action, rng)
    }

    fn observe(&self, state: &[f64; 4], observation: &mut [f32]) {
        CartPole.observe(state, observation);
    }
}

/// Skolik et al. 2022, CartPole-v0: an update on 16 transitions and a copy of the target at every step.
fn skolik(episodes: u64) -> QLearningConfig {
    QLearningConfig {
        episodes,
        train_every: 1,
        target_every: 1,
        loss: Loss::Squared,
        solved: Some(Solved { window: 100, mean: 195.0 }),
        ..QLearningConfig::default()
    }
}

impl Exercise for CartPoleAgents {
    type Config = Config;

    const NAME: &'static str = "quantum-cartpole";
    const DESCRIPTION: &'static str = "Circuits balance a pole: REINFORCE and DQN of the TensorFlow Quantum tutorial, Skolik's Q-learner, classical twins";
    const DURATION: [&'static str; 3] = ["2 s", "2 min", "10 min"];

    fn config(preset: Preset) -> Config {
        let (starts, [reinforce, dqn, skolik_episodes]) = match preset {
            Preset::Smoke => (3, [20, 20, 10]),
            Preset::Quick => (50, [1000, 2000, 2000]),
            Preset::Full => (100, [1000, 2000, 5000]),
        };
        let network = |config: QLearningConfig, rate: f64| {
            let descent = DescentConfig::amsgrad(Rates::all(rate));
            QLearningConfig { descent, ..config }
        };
        let reinforce = ReinforceConfig { episodes: reinforce, ..ReinforceConfig::default() };
        let dqn_tutorial = QLearningConfig { episodes: dqn, ..QLearningConfig::default() };
        let dqn = QLearningConfig { train_every: 2, batch_size: 32, double: true, ..dqn_tutorial.clone() };
        Config {
            starts,
            layers: 5,
            side_by_side: 10,
            reinforce_network: ReinforceConfig {
                descent: DescentConfig::amsgrad(Rates::all(0.02)),
                ..reinforce.clone()
            },
            reinforce,
            dqn_network: network(dqn.clone(), 0.01),
            dqn,
            dqn_tutorial,
            skolik_network: network(skolik(skolik_episodes), 0.005),
            skolik: skolik(skolik_episodes),
        }
    }

    fn seeds(preset: Preset) -> u64 {
        match preset {
            Preset::Smoke => 1,
            Preset::Quick => 2,
            Preset::Full => 10,
        }
    }

    fn validate(config: &Config) -> Result<()> {
        for (field, value) in [
            ("starts", config.starts),
            ("layers", config.layers as u64),
            ("side_by_side", config.side_by_side as u64),
        ] {
            anyhow::ensure!(value > 0, "{field} = {value}: must be at least 1");
        }
        config.reinforce.validate()?;
        config.reinforce_network.validate()?;
        for q in
            [&config.dqn, &config.dqn_tutorial, &config.dqn_network, &config.skolik, &config.skolik_network]
        {
            q.validate()?;
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        references("CartPole-v1", copies(&CartPole, 20), config.starts, ctx)?;
        reinforce(config, ctx)?;
        dqn(config, ctx)?;
        references("CartPole-v0", copies(&CartPoleV0, 20), config.starts, ctx)?;
        q_learner(config, ctx)?;
        for (method, episodes) in LOGGED {
            ctx.score("CartPole-v1", method, Role::Reference, EPISODES, 0, episodes)?;
        }
        ctx.note("Solved: the mean of the last 10 training episodes is 500 (CartPole-v1), of the last 100 at least 195 (CartPole-v0); training stops there. A seed that never gets there counts with all its episodes. Returns are those of the greedy policy at the end over fixed starts.");
        ctx.note("The circuits are simulated. The networks have as many parameters (93, 93, 65 beside 94, 94, 62) and learning rates of their own; circuits without entanglement are product states. Neither result says anything about an advantage.");
        Ok(())
    }
}

/// RX RY RZ, CZ ring, RX(λs/scale); logits ±w⟨Z0Z1Z2Z3⟩. The Born policy reads (1 ± Z0Z1Z2Z3)/2.
fn reinforce(config: &Config, ctx: &mut Context) -> Result<()> {
    let scaled = || Encoding::Angle { scale: vec![2.4, 2.5, 0.21, 2.5] };
    let circuit = |entangler| ansatz::reuploading(4, config.layers, Activation::Linear, entangler);
    let softmax = |entangler| pqc(&circuit(entangler)?, &["Z0 Z1 Z2 Z3"], scaled(), Head::opposed());
    let network = twin(softmax(Entangler::CzRing)?.as_ref(), scaled());
    let parity = |sign: f64| quantum_sim::PauliSum::parse(&[(0.5, ""), (0.5 * sign, "Z0 Z1 Z2 Z3")]);
    let born: Box<dyn Model> = Box::new(quantum_sim::rl::Pqc::new(
        &circuit(Entangler::CzAll)?,
        vec![parity(1.0)?, parity(-1.0)?],
        scaled(),
        Head::plain(2, false),
    )?);
    let entrants: [(&str, Role, Box<dyn Model>, ReinforceConfig); 4] = [
        ("reinforce-pqc", Role::Method, softmax(Entangler::CzRing)?, config.reinforce.clone()),
        (
            "reinforce-pqc, raw policy",
            Role::Ablation,
            born,
            ReinforceConfig { policy: Policy::Born, ..config.reinforce.clone() },
        ),
        ("reinforce-pqc, not entangled", Role::Ablation, softmax(Entangler::None)?, config.reinforce.clone()),
        ("reinforce-network", Role::Reference, network, config.reinforce_network.clone()),
    ];
    for (method, role, model, settings) in entrants {
        let entrant = Entrant { task: "CartPole-v1", method: &method.replace(',', ""), role };
        let envs = copies(&CartPole, config.side_by_side);
        let mut agent = Reinforce::new(settings, model, envs, ctx.seeds(entrant.task, entrant.method))?;
        entrant.train(&mut agent, copies(&CartPole, 20), config.starts, ctx)?;
    }
    Ok(())
}

/// The same circuit with RX(tanh λs) and Q = w (1 + ⟨Z0Z1⟩, ⟨Z2Z3⟩)/2.
fn dqn(config: &Config, ctx: &mut Context) -> Result<()> {
    let circuit = |entangler| -> Result<Box<dyn Model>> {
        let ansatz = ansatz::reuploading(4, config.layers, Activation::Tanh, entangler)?;
        pqc(&ansatz, &["Z0 Z1", "Z2 Z3"], Encoding::angles(4), Head::values(&[0, 1]))
    };
    let network = twin(circuit(Entangler::CzRing)?.as_ref(), Encoding::angles(4));
    let entrants = [
        ("dqn-pqc", Role::Method, circuit(Entangler::CzRing)?, &config.dqn),
        ("dqn-pqc tutorial settings", Role::Ablation, circuit(Entangler::CzRing)?, &config.dqn_tutorial),
        ("dqn-pqc not entangled", Role::Ablation, circuit(Entangler::None)?, &config.dqn),
        ("dqn-network", Role::Reference, network, &config.dqn_network),
    ];
    for (method, role, model, settings) in entrants {
        let entrant = Entrant { task: "CartPole-v1", method, role };
        let seeds = ctx.seeds(entrant.task, method);
        let mut agent = QLearning::new(settings.clone(), model, copies(&CartPole, 1), seeds)?;
        entrant.train(&mut agent, copies(&CartPole, 20), config.starts, ctx)?;
    }
    Ok(())
}

fn q_learner(config: &Config, ctx: &mut Context) -> Result<()> {
    let circuit = |entangler| -> Result<Box<dyn Model>> {
        let ansatz = ansatz::skolik(4, config.layers, entangler)?;
        pqc(&ansatz, &["Z0 Z1", "Z2 Z3"], Encoding::angles(4), Head::values(&[0, 1]))
    };
    let network = twin(circuit(Entangler::CzRing)?.as_ref(), Encoding::angles(4));
    let entrants = [
        ("skolik-pqc", Role::Method, circuit(Entangler::CzRing)?, &config.skolik),
        ("skolik-pqc not entangled", Role::Ablation, circuit(Entangler::None)?, &config.skolik),
        ("skolik-network", Role::Reference, network, &config.skolik_network),
    ];
    for (method, role, model, settings) in entrants {
        let entrant = Entrant { task: "CartPole-v0", method, role };
        let seeds = ctx.seeds(entrant.task, method);
        let mut agent = QLearning::new(settings.clone(), model, copies(&CartPoleV0, 1), seeds)?;
        entrant.train(&mut agent, copies(&CartPoleV0, 20), config.starts, ctx)?;
    }
    Ok(())
}
