//! `federated-private`: return against ε. A thousand clients, a tenth of them sampled per round; movements are clipped
//! and noised so that (ε, δ) holds for whole clients, and training stops when the budget is spent. A smaller federation
//! then trains through secure aggregation, with noise made by the clients, while clients drop out.

use super::{Course, Examiner, Pace, course, equal_clients, references};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use federated::privacy::clipping::{AdaptiveClip, DpFedAvgConfig};
use federated::privacy::distributed::{DistributedConfig, NoiseKind};
use federated::privacy::training::{PrivateTraining, SecureTraining, SecureTrainingConfig};
use federated::privacy::{Accountant, Budget, Mechanism, Sampling, noise_for};
use federated::rl::descent::DescentConfig;
use federated::rl::environment::Dynamics;
use federated::rl::policy::PolicyConfig;
use federated::rl::ppo::PpoConfig;
use federated::simulation::{Simulation, SimulationConfig};
use federated::strategy::FedAvg;
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The exercise.
pub(crate) struct FederatedPrivate;

/// The private federation, and the secure one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Clients of the private federation.
    clients: usize,
    /// q, the probability with which each joins a round.
    sampling_rate: f64,
    /// Rounds, for which the noise is sized.
    rounds: u64,
    /// Rounds between two examinations.
    examine_every: u64,
    /// δ; below one over the number of clients.
    delta: f64,
    /// ε of the trainings with noise.
    epsilons: Vec<f64>,
    /// S, the norm to which movements are clipped.
    clipping_norm: f64,
    /// The return up to which rounds are counted.
    threshold: f64,
    /// Every client.
    ppo: PpoConfig,
    /// Clients of the secure federation; all of them take part in every round.
    secure_clients: usize,
    /// Its rounds.
    secure_rounds: u64,
    /// Probability that a client falls silent in some round of a session.
    dropout: f64,
    /// z of the secure federation's sum at the fewest survivors.
    secure_noise: f64,
}

const TASK: &str = "CartPole-v1";
const SECURE: &str = "CartPole-v1 secure aggregation";

impl Exercise for FederatedPrivate {
    type Config = Config;

    const NAME: &'static str = "federated-private";
    const DESCRIPTION: &'static str =
        "Return against ε for client-level privacy; secure aggregation with dropouts";
    const DURATION: [&'static str; 3] = ["3 s", "2 min", "8 min"];

    fn config(preset: Preset) -> Config {
        let ppo = PpoConfig {
            // few parameters, because every one gets noise
            policy: PolicyConfig { hidden: vec![16], ..PolicyConfig::default() },
            // clients come and go: nobody keeps moments
            descent: DescentConfig {
                learning_rate: Schedule::Constant(6e-3),
                keep_moments: false,
                ..DescentConfig::default()
            },
            // long enough that a client that is rarely chosen gets far from the start
            envs: 1,
            rollout_steps: 256,
            epochs: 10,
            minibatch_size: 128,
            gamma: 0.99,
            gae_lambda: 0.95,
            ..PpoConfig::default()
        };
        let mut config = Config {
            clients: 1000,
            sampling_rate: 0.1,
            rounds: 40,
            examine_every: 1,
            delta: 1e-4,
            epsilons: vec![8.0, 4.0, 2.0, 1.0],
            clipping_norm: 1.0,
            threshold: 450.0,
            ppo,
            secure_clients: 20,
            secure_rounds: 40,
            dropout: 0.1,
            secure_noise: 0.3,
        };
        match preset {
            Preset::Smoke => {
                (config.clients, config.rounds, config.secure_rounds, config.secure_clients) = (40, 3, 3, 6);
                config.epsilons.truncate(1);
            }
            Preset::Quick => config.epsilons = vec![8.0, 2.0],
            Preset::Full => {}
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(
            config.clients > 0 && config.secure_clients > 2,
            "clients: at least 1, secure ones 3"
        );
        anyhow::ensure!(config.rounds > 0 && config.secure_rounds > 0, "rounds: must be at least 1");
        anyhow::ensure!(config.examine_every > 0, "examine_every = 0: must be at least 1");
        anyhow::ensure!(config.clipping_norm > 0.0, "clipping_norm: must be positive");
        anyhow::ensure!((0.0..1.0).contains(&config.dropout), "dropout: must be in [0, 1)");
        config.ppo.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        references(TASK, &Dynamics::cart_pole(), TASK, ctx)?;
        private(config, ctx)?;
        secure(config, ctx)?;
        ctx.note(format!(
            "The unit of privacy is the client: everything one client does in all rounds. δ = {:e}, {} clients, each in a \
             round with probability {} (Poisson), exact accounting by privacy-loss distributions for {} rounds.",
            config.delta, config.clients, config.sampling_rate, config.rounds
        ));
        ctx.note("`no privacy` neither clips nor adds noise; `clipped` clips and adds none.");
        ctx.note(format!(
            "Under secure aggregation {} clients take part in every round, a tenth falling silent at random; noise is \
             Skellam, added by the clients and sized for the fewest survivors the protocol accepts. So few clients \
             cannot be hidden well: the ε in the table is what the accountant says, and it is large. A round with too \
             few survivors is skipped.",
            config.secure_clients
        ));
        Ok(())
    }
}

/// What a private training came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Private {
    course: Course,
    /// ε after each examination.
    epsilon: Vec<f64>,
    noise_multiplier: f64,
}

fn private(config: &Config, ctx: &mut Context) -> Result<()> {
    let mut trainings = vec![("no privacy".to_string(), None), ("clipped".to_string(), Some(f64::INFINITY))];
    trainings.extend(config.epsilons.iter().map(|e| (format!("epsilon={e}"), Some(*e))));
    let (mut by_round, mut by_epsilon) = (vec![], vec![]);
    let (mut final_epsilon, mut final_return) = (vec![], vec![]);
    for (name, epsilon) in &trainings {
        let seeds = ctx.streams;
        let done =
            ctx.session.once(&format!("{TASK}/{name}"), |stage| train(*epsilon, config, seeds, stage))?;
        let role = match epsilon {
            None => Role::Reference,
            Some(e) if e.is_infinite() => Role::Ablation,
            Some(_) => Role::Method,
        };
        let steps = config.rounds * config.ppo.steps_per_round();
        ctx.score(TASK, name, role, Measure::RETURN, steps, done.course.late())?;
        let rounds = done.course.reached(config.threshold, &done.course.rounds());
        ctx.score(TASK, name, role, Measure::error("rounds to threshold", "rounds"), steps, rounds)?;
        if let (Some(last), Some(e)) = (done.epsilon.last(), epsilon.filter(|e| e.is_finite())) {
            ctx.score(TASK, name, role, Measure::error("epsilon spent", ""), steps, *last)?;
            ctx.score(
                TASK,
                name,
                role,
                Measure::error("noise multiplier", ""),
                steps,
                done.noise_multiplier,
            )?;
            by_epsilon.push(Line { name: name.clone(), x: done.epsilon, y: done.course.returns.clone() });
            final_epsilon.push(e);
            final_return.push(done.course.late());
        }
        by_round.push(done.course.line(name));
    }
    let figure = |name: &str, title: &str, x_label: &str, lines| Figure {
        name: name.into(),
        title: format!("{TASK}: {title}"),
        x_label: x_label.into(),
        y_label: "return".into(),
        lines,
    };
    ctx.figure(figure("return-by-round", "return by round", "round", by_round));
    ctx.figure(figure("return-by-epsilon-spent", "return while ε is spent", "ε spent", by_epsilon));
    final_epsilon.reverse();
    final_return.reverse();
    let ends = Line { name: "dp-fedavg".into(), x: final_epsilon, y: final_return };
    ctx.figure(figure("return-by-epsilon", "final return against ε", "ε", vec![ends]));
    Ok(())
}

fn train(
    epsilon: Option<f64>,
    config: &Config,
    seeds: rl_core::SeedStream,
    stage: &mut rl_core::experiment::Stage<'_>,
) -> Result<Private> {
    let dynamics = Dynamics::cart_pole();
    let clients = equal_clients(config.clients, &config.ppo, &dynamics, seeds)?;
    let global = clients[0].initial_parameters()?;
    let mut examiner = Examiner::new(&config.ppo, &dynamics, seeds)?;
    let engine = SimulationConfig {
        seed: seeds.seed(),
        sampling_rate: config.sampling_rate,
        sampling: Sampling::Poisson,
        evaluate_every: 0,
        ..SimulationConfig::default()
    };
    let pace =
        Pace { rounds: config.rounds, every: config.examine_every, steps: config.ppo.steps_per_round() };
    let Some(epsilon) = epsilon else {
        let mut simulation = Simulation::new(engine, clients, FedAvg, global)?;
        let course = course(stage, &mut simulation, pace, |s| examiner.examine(s.global(), s.round()))?;
        return Ok(Private { course, ..Private::default() });
    };
    let mut mechanism = Mechanism {
        noise_multiplier: 1.0,
        sampling_rate: config.sampling_rate,
        steps: config.rounds,
        sampling: Sampling::Poisson,
    };
    let noise_multiplier = match epsilon.is_finite() {
        true => noise_for(&mechanism, epsilon, config.delta, Accountant::Pld)?,
        false => 0.0,
    };
    // without noise nothing is spent that could be counted: a budget that allows everything stands in
    mechanism.noise_multiplier = if epsilon.is_finite() { noise_multiplier } else { 1e3 };
    mechanism.steps = 0;
    let clip = AdaptiveClip { clipping_norm: config.clipping_norm, learning_rate: 0.0, target_quantile: 0.5 };
    let expected_clients = config.sampling_rate * config.clients as f64;
    let server = DpFedAvgConfig { noise_multiplier, clip, expected_clients };
    let mut done = Private { noise_multiplier, ..Private::default() };
    if epsilon.is_finite() {
        let budget = Budget::new(mechanism, epsilon * 1.0001, config.delta, Accountant::Pld)?;
        let strategy = PrivateTraining::new(server, budget, seeds)?;
        let mut simulation = Simulation::new(engine, clients, strategy, global)?;
        let spent = &mut done.epsilon;
        done.course = course(stage, &mut simulation, pace, |s| {
            spent.push(s.strategy().spent().last().map_or(0.0, |r| r.epsilon));
            examiner.examine(s.global(), s.round())
        })?;
    } else {
        let strategy = Clipped(federated::privacy::clipping::DpFedAvg::new(server)?);
        let mut simulation = Simulation::new(engine, clients, strategy, global)?;
        done.course = course(stage, &mut simulation, pace, |s| examiner.examine(s.global(), s.round()))?;
    }
    Ok(done)
}

/// DP-FedAvg without noise: what clipping alone costs.
struct Clipped(federated::privacy::clipping::DpFedAvg);

impl federated::strategy::Strategy for Clipped {
    fn aggregate(
        &mut self,
        global: &mut [f32],
        replies: &[federated::strategy::Reply],
    ) -> federated::Result<()> {
        let movement = |r: &federated::strategy::Reply| -> Vec<f32> {
            r.parameters.iter().zip(&*global).map(|(y, x)| y - x).collect()
        };
        let moved: Vec<Vec<f32>> = replies.iter().map(movement).collect();
        let moved: Vec<&[f32]> = moved.iter().map(Vec::as_slice).collect();
        // the generator is not used: noise of deviation zero
        self.0.aggregate(global, &moved, &mut rl_core::SeedStream::new(0).stream("unused", 0))
    }
}

/// What a training through secure aggregation came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Secure {
    course: Course,
    epsilon: f64,
    survivors: f64,
    megabytes: f64,
    sessions: f64,
}

fn secure(config: &Config, ctx: &mut Context) -> Result<()> {
    let dynamics = Dynamics::cart_pole();
    let steps = config.secure_rounds * config.ppo.steps_per_round();
    let pace = Pace {
        rounds: config.secure_rounds,
        every: config.examine_every,
        steps: config.ppo.steps_per_round(),
    };
    let mut lines = vec![];
    for (name, protected) in [("plain fedavg", false), ("secure aggregation", true)] {
        let seeds = ctx.streams;
        let done = ctx.session.once(&format!("{SECURE}/{name}"), |stage| -> Result<Secure> {
            let clients = equal_clients(config.secure_clients, &config.ppo, &dynamics, seeds)?;
            let global = clients[0].initial_parameters()?;
            let mut examiner = Examiner::new(&config.ppo, &dynamics, seeds)?;
            let engine =
                SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
            if !protected {
                let mut simulation = Simulation::new(engine, clients, FedAvg, global)?;
                let course =
                    course(stage, &mut simulation, pace, |s| examiner.examine(s.global(), s.round()))?;
                return Ok(Secure { course, ..Secure::default() });
            }
            let noise = DistributedConfig {
                clipping_norm: config.clipping_norm,
                noise_multiplier: config.secure_noise,
                noise: NoiseKind::Skellam,
                ..DistributedConfig::default()
            };
            let settings = SecureTrainingConfig {
                noise,
                clients: config.secure_clients,
                dropout: config.dropout,
                delta: config.delta,
            };
            let strategy = SecureTraining::new(settings, global.len(), seeds)?;
            let mut simulation = Simulation::new(engine, clients, strategy, global)?;
            let course = course(stage, &mut simulation, pace, |s| examiner.examine(s.global(), s.round()))?;
            let log = simulation.strategy().log();
            let count = log.len().max(1) as f64;
            Ok(Secure {
                course,
                epsilon: log.last().map_or(0.0, |r| r.epsilon),
                survivors: log.iter().map(|r| r.survivors as f64).sum::<f64>() / count,
                megabytes: log.iter().map(|r| r.bytes as f64).sum::<f64>() / count / 1e6,
                sessions: log.len() as f64,
            })
        })?;
        let role = if protected { Role::Method } else { Role::Reference };
        ctx.score(SECURE, name, role, Measure::RETURN, steps, done.course.late())?;
        if protected {
            let more = |metric, unit| Measure { metric, unit, higher_is_better: true };
            ctx.score(SECURE, name, role, more("survivors", "clients"), steps, done.survivors)?;
            ctx.score(SECURE, name, role, more("sessions that succeeded", ""), steps, done.sessions)?;
            ctx.score(SECURE, name, role, Measure::error("epsilon spent", ""), steps, done.epsilon)?;
            ctx.score(
                SECURE,
                name,
                role,
                Measure::error("traffic per session", "MB"),
                steps,
                done.megabytes,
            )?;
        }
        lines.push(done.course.line(name));
    }
    ctx.figure(Figure {
        name: "secure-return-by-round".into(),
        title: format!("{SECURE}: return by round"),
        x_label: "round".into(),
        y_label: "return".into(),
        lines,
    });
    Ok(())
}
