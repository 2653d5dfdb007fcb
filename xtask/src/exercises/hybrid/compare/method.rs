//! The methods: model-free and model-based learners for any task, a circuit, a federation.

use super::Config;
use super::score::{Anchors, Outcome, costed};
use crate::exercises::hybrid::task::Task;
use crate::exercises::hybrid::trading;
use crate::exercises::quantum::{Budget, pqc};
use crate::run::Context;
use anyhow::Result;
use federated::client::Client as _;
use federated::rl::environment::Dynamics;
use federated::rl::ppo::{PpoClient, PpoConfig as ClientConfig};
use federated::simulation::{Simulation, SimulationConfig};
use federated::strategy::FedAvg;
use quantum_sim::Activation;
use quantum_sim::rl::{Encoding, Entangler, Head, Reinforce, ReinforceConfig, ansatz, greedy};
use rl_core::baselines::{DqnConfig, PpoConfig, SacConfig};
use rl_core::env::{Simulator, Space};
use rl_core::evaluate::evaluate;
use rl_core::experiment::{Role, Trainer as _};
use rl_core::schedule::Schedule;
use world_models::pets::{DynamicsConfig, EnsembleConfig, PetsConfig};
use world_models::planning::PlannerConfig;

/// Model-free and model-based learners, which take any task.
pub(super) struct Learners {
    pub(super) ppo: fn(u64) -> PpoConfig,
    pub(super) envs: usize,
    pub(super) off_policy: OffPolicy,
    pub(super) pets: PetsConfig,
}

pub(super) enum OffPolicy {
    Dqn(fn(u64) -> DqnConfig),
    Sac(fn(u64) -> SacConfig),
}

impl Learners {
    pub(super) fn run<S: Simulator + Clone + 'static>(
        &self,
        task: &Task<S>,
        anchors: &Anchors,
        config: &Config,
        ctx: &mut Context,
    ) -> Result<()> {
        let id = task.id();
        for (method, steps) in [("ppo", config.steps), ("ppo at equal compute", config.ppo_compute_steps)] {
            // Rollouts of whole episodes, but at least four of them in the training.
            let ppo = (self.ppo)(steps);
            let most = (steps as usize / self.envs / 4).max(1);
            let ppo = PpoConfig { rollout_steps: ppo.rollout_steps.min(most), ..ppo };
            costed(&id, method, ctx, |ctx| {
                task.ppo((method, Role::Method), self.envs, &ppo, ctx)?;
                anchors.normalise(method, Role::Method, steps, ctx)
            })?;
        }
        let budgets =
            [("off-policy", config.steps), ("off-policy at equal compute", config.off_policy_compute_steps)];
        for (method, steps) in budgets {
            costed(&id, method, ctx, |ctx| {
                match self.off_policy {
                    OffPolicy::Dqn(of) => task.dqn((method, Role::Method), &of(steps), ctx)?,
                    OffPolicy::Sac(of) => task.sac((method, Role::Method), &of(steps), ctx)?,
                };
                anchors.normalise(method, Role::Method, steps, ctx)
            })?;
        }
        let few = Task {
            simulator: task.simulator.clone(),
            starts: config.planned_starts,
            length: None,
            shifted: task.shifted.clone(),
        };
        costed(&id, "world model", ctx, |ctx| {
            few.pets(("world model", Role::Method), &self.pets, ctx)?;
            anchors.normalise("world model", Role::Method, config.steps, ctx)
        })
    }
}

/// PETS with a plan that a quick comparison can afford; `can_end` where episodes end by themselves.
pub(super) fn pets(config: &Config, can_end: bool) -> PetsConfig {
    let base = trading::pets(config.steps);
    let mut dynamics = DynamicsConfig { updates_per_step: 1.0, train_every: 200, ..base.dynamics.clone() };
    if can_end {
        dynamics.ensemble.termination_scale = EnsembleConfig::default().termination_scale;
    }
    PetsConfig { dynamics, planner: PlannerConfig { horizon: 15, ..base.planner.clone() }, ..base }
}

pub(super) fn classic_ppo(total_steps: u64) -> PpoConfig {
    PpoConfig {
        total_steps,
        learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: total_steps },
        clip: Schedule::Constant(0.2),
        ..PpoConfig::default()
    }
}

pub(super) fn classic_dqn(total_steps: u64) -> DqnConfig {
    DqnConfig {
        total_steps,
        learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: total_steps },
        learning_starts: (total_steps / 50).max(64),
        n_step: 3,
        exploration: Schedule::Linear { start: 1.0, end: 0.04, steps: total_steps * 16 / 100 },
        ..DqnConfig::default()
    }
}

/// REINFORCE with a circuit for a policy: a qubit for each observed number.
pub(super) fn circuit<S: Simulator + Clone + 'static>(
    task: &Task<S>,
    anchors: &Anchors,
    encoding: Encoding,
    config: &Config,
    ctx: &mut Context,
) -> Result<()> {
    let spec = task.simulator.spec();
    let (Space::Discrete(actions), qubits) = (spec.action, spec.observation.width()) else { return Ok(()) };
    let ansatz = ansatz::reuploading(qubits, config.layers, Activation::Linear, Entangler::CzRing)?;
    let method = "quantum";
    let model = match actions {
        2 => pqc(&ansatz, &["Z0 Z1 Z2 Z3"], encoding, Head::opposed())?,
        _ => {
            let observables: Vec<String> = (0..actions).map(|a| format!("Z{a} Z{}", a + 1)).collect();
            let observables: Vec<&str> = observables.iter().map(String::as_str).collect();
            let head = Head::Scaled {
                observable: (0..actions).collect(),
                shift: 0.0,
                factor: 1.0,
                weights: vec![1.0; actions],
                train_weights: true,
                biases: true,
            };
            pqc(&ansatz, &observables, encoding, head)?
        }
    };
    let settings = ReinforceConfig { episodes: u64::MAX / 10_000, ..ReinforceConfig::default() };
    costed(&task.id(), method, ctx, |ctx| {
        let seeds = task.seeds(method, ctx);
        let agent = Reinforce::new(settings, model, Task::copies(&task.simulator, 5), seeds)?;
        let mut trained = Budget { agent, steps: config.steps };
        ctx.session.run(&format!("{}/{method}", task.id()), &mut trained)?;
        let step = trained.agent.step();
        let (model, parameters) = trained.agent.policy();
        task.score((method, Role::Method, step), ctx, |copies, starts| {
            Ok(evaluate(copies, starts, greedy(&mut *model, parameters))?)
        })?;
        anchors.normalise(method, Role::Method, step, ctx)
    })
}

/// Federated averaging of clients with the same dynamics, which share the interactions.
pub(super) fn federation(
    dynamics: [Dynamics; 2],
    anchors: &Anchors,
    client: ClientConfig,
    config: &Config,
    ctx: &mut Context,
) -> Result<()> {
    let (id, n) = (anchors.task.clone(), config.clients);
    costed(&id, "federated", ctx, |ctx| {
        let seeds = ctx.seeds(&id, "federated");
        let rounds = (config.steps / (client.steps_per_round() * n as u64)).max(1);
        let outcome = ctx.session.once(&format!("{id}/federated"), |stage| -> Result<[f64; 2]> {
            let light = ClientConfig { evaluation_episodes: 1, ..client.clone() };
            let clients = (0..n as u64).map(|i| PpoClient::new(i, &light, &dynamics[0], seeds));
            let clients = clients.collect::<Result<Vec<_>, _>>()?;
            let global = clients[0].initial_parameters()?;
            let engine =
                SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
            let mut simulation = Simulation::new(engine, clients, FedAvg, global)?;
            for round in 1..=rounds {
                let report = simulation.step()?;
                if let Some(value) = report.training_return {
                    stage.metrics().record("charts/episodic_return", value);
                }
                stage.metrics().flush(round * client.steps_per_round() * n as u64)?;
                stage.progress(round, rounds)?;
            }
            let mut outcome = [0.0; 2];
            for (value, dynamics) in outcome.iter_mut().zip(&dynamics) {
                let examined = ClientConfig { evaluation_episodes: config.starts as usize, ..client.clone() };
                let mut examiner = PpoClient::new(u64::MAX, &examined, dynamics, seeds)?;
                let mean = examiner.evaluate(simulation.global(), &mut seeds.stream("examination", 0))?;
                *value = mean.unwrap_or(f64::NAN);
            }
            Ok(outcome)
        })?;
        let step = rounds * client.steps_per_round() * n as u64;
        anchors.hand_in("federated", &Outcome { value: outcome[0], shifted: outcome[1], step }, ctx)
    })
}
