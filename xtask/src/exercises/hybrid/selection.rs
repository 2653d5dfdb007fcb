//! `hybrid-selection`: a bandit chooses among paradigms while they train; regret against the best in hindsight.

use crate::exercises::Exercise;
use crate::exercises::quantum::{copies, pqc, twin};
use crate::run::{Context, Measure, Preset, starts};
use crate::{Figure, Line};
use anyhow::Result;
use hybrid::quantum_world_model::{DreamConfig, DreamTraining};
use hybrid::selection::{Rule, replay};
use quantum_sim::Activation;
use quantum_sim::rl::{
    DescentConfig, Encoding, Entangler, Head, Model, Rates, Reinforce, ReinforceConfig, ansatz, greedy,
};
use rl_core::SeedStream;
use rl_core::baselines::{Dqn, DqnConfig, Ppo, PpoConfig, copies as registered};
use rl_core::env::CartPole;
use rl_core::evaluate::{Turn, evaluate};
use rl_core::experiment::{Role, Stage, Trainer};
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct HybridSelection;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Slices of the budget.
    slices: u64,
    /// Real steps of a slice.
    steps: u64,
    /// Episodes after a slice whose mean is its payoff.
    starts: u64,
    /// Plays of every rule, which differ where it draws.
    plays: u64,
    /// Rules.
    rules: Vec<Rule>,
    /// The world model's learner; rounds and real steps follow from the slices.
    dream: DreamConfig,
    /// The circuit's.
    reinforce: ReinforceConfig,
    /// DQN; its steps follow from the slices.
    dqn: DqnConfig,
    /// PPO, likewise.
    ppo: PpoConfig,
}

const TASK: &str = "CartPole-v1";
/// The largest return, which is a payoff of 1.
const LARGEST: f64 = 500.0;
const ARMS: [&str; 4] = ["dqn", "ppo", "world model", "circuit"];
const REGRET: Measure = Measure::error("regret against the best in hindsight", "return summed over slices");
const SUM: Measure = Measure { metric: "return, mean over slices", unit: "", higher_is_better: true };

impl Exercise for HybridSelection {
    type Config = Config;

    const NAME: &'static str = "hybrid-selection";
    const DESCRIPTION: &'static str = "A bandit gives slices of the budget to DQN, PPO, a world model or a circuit while they train; regret against the best in hindsight";
    const DURATION: [&'static str; 3] = ["2 s", "30 s", "2 min"];

    fn config(preset: Preset) -> Config {
        let exploration = Schedule::Linear { start: 1.0, end: 0.04, steps: 3000 };
        let mut config = Config {
            slices: 30,
            steps: 600,
            starts: 10,
            plays: 200,
            rules: vec![
                Rule::Rising { window: 2 },
                Rule::Halving,
                Rule::Ucb { exploration: 2.0 },
                Rule::Exp3 { gamma: 0.1 },
                Rule::Uniform,
            ],
            dream: DreamConfig { updates: 300, episodes: 60, ..DreamConfig::default() },
            reinforce: ReinforceConfig { solved: None, ..ReinforceConfig::default() },
            dqn: DqnConfig { learning_starts: 100, n_step: 3, exploration, ..DqnConfig::default() },
            ppo: PpoConfig { learning_rate: Schedule::Constant(1e-3), ..PpoConfig::default() },
        };
        match preset {
            Preset::Smoke => {
                (config.slices, config.steps, config.starts, config.plays) = (3, 40, 1, 3);
                let dream = DreamConfig {
                    members: 2,
                    hidden: vec![8],
                    updates: 5,
                    episodes: 10,
                    steps: 20,
                    ..config.dream
                };
                config.dream = dream;
            }
            Preset::Quick => {}
            Preset::Full => (config.slices, config.starts) = (60, 20),
        }
        config
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Smoke { 1 } else { 5 }
    }

    fn validate(config: &Config) -> Result<()> {
        config.dream.validate()?;
        config.reinforce.validate()?;
        config.dqn.validate()?;
        config.ppo.validate()?;
        let counts = [config.slices, config.steps, config.starts, config.plays];
        anyhow::ensure!(counts.iter().all(|n| *n > 0), "slices, steps, starts, plays: must be at least 1");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let curves = curves(config, ctx)?;
        let best = (0..ARMS.len()).fold(0, |b, k| if sum(&curves[k]) > sum(&curves[b]) { k } else { b });
        let budget = config.slices * config.steps;
        for (name, curve) in ARMS.iter().zip(&curves) {
            let name = format!("{name} alone");
            ctx.score(TASK, &name, Role::Reference, SUM, budget, LARGEST * sum(curve) / curve.len() as f64)?;
            let last = LARGEST * curve.last().copied().unwrap_or(0.0);
            ctx.score(TASK, &name, Role::Reference, Measure::RETURN, budget, last)?;
        }
        ctx.score(TASK, "best in hindsight", Role::Reference, REGRET, budget, 0.0)?;
        let mut regrets = vec![];
        for rule in &config.rules {
            let name = name(rule);
            let (mut regret, mut in_hand) = (0.0, 0.0);
            let mut line = vec![0.0; config.slices as usize];
            for play in 0..config.plays {
                let mut rng = ctx.streams.stream(&format!("select/{name}"), play);
                let played = replay(*rule, &curves, &mut rng)?;
                regret += LARGEST * played.regret(&curves) / config.plays as f64;
                in_hand += LARGEST * played.in_hand() / config.plays as f64;
                let mut lost = 0.0;
                for (t, payoff) in played.payoffs.iter().enumerate() {
                    lost += LARGEST * (curves[best][t] - payoff) / config.plays as f64;
                    line[t] += lost;
                }
            }
            let role = if *rule == Rule::Uniform { Role::Reference } else { Role::Method };
            ctx.score(TASK, &name, role, REGRET, budget, regret)?;
            ctx.score(TASK, &name, role, Measure::RETURN, budget, in_hand)?;
            regrets.push(Line { name, x: (1..=config.slices).map(|t| t as f64).collect(), y: line });
        }
        ctx.figure(Figure {
            name: "regret".into(),
            title: format!("{TASK}: regret against the best in hindsight"),
            x_label: "slices".into(),
            y_label: "return summed over slices".into(),
            lines: regrets,
        });
        ctx.note("Learners have generators of their own: what one returns after its n-th slice does not depend on who trains in between. So each is trained alone once, and what a rule would have got is computed from the curves, exactly.");
        ctx.note("The return of a rule is that of the best learner in its hand at the end; the regret also counts what was paid for trying the others. Episodes that measure payoffs are not counted as training.");
        Ok(())
    }
}

fn sum(curve: &[f64]) -> f64 {
    curve.iter().sum()
}

fn name(rule: &Rule) -> String {
    match rule {
        Rule::Uniform => "in turn".into(),
        Rule::Ucb { exploration } => format!("ucb, c = {exploration}"),
        Rule::Exp3 { gamma } => format!("exp3, gamma = {gamma}"),
        Rule::Halving => "successive halving".into(),
        Rule::Rising { window } => format!("rising, window {window}"),
    }
}

/// The payoff of every arm after each of its slices, trained alone.
fn curves(config: &Config, ctx: &mut Context) -> Result<Vec<Vec<f64>>> {
    let total_steps = config.slices * config.steps;
    let mut all = vec![];
    for arm in ARMS {
        let (seeds, device) = (ctx.seeds(TASK, arm), ctx.device.clone());
        let curve = ctx.session.once(&format!("{TASK}/{arm} alone"), |stage| match arm {
            "dqn" => {
                let dqn = DqnConfig { total_steps, ..config.dqn.clone() };
                let agent = Dqn::new(dqn, registered(TASK, 1)?, seeds, &device)?;
                train(config, agent, stage, |agent| play(config, agent.policy()))
            }
            "ppo" => {
                let ppo = PpoConfig { total_steps, ..config.ppo.clone() };
                let agent = Ppo::new(ppo, registered(TASK, 8)?, seeds, &device)?;
                train(config, agent, stage, |agent| play(config, agent.policy()))
            }
            "circuit" => {
                let agent =
                    Reinforce::new(config.reinforce.clone(), circuit()?, copies(&CartPole, 10), seeds)?;
                train(config, agent, stage, |agent| {
                    let (model, parameters) = agent.policy();
                    play(config, greedy(model, parameters))
                })
            }
            _ => dream(config, seeds, stage),
        })?;
        all.push(curve);
    }
    Ok(all)
}

fn circuit() -> Result<Box<dyn Model>> {
    let ansatz = ansatz::reuploading(4, 5, Activation::Linear, Entangler::CzRing)?;
    pqc(&ansatz, &["Z0 Z1 Z2 Z3"], Encoding::Angle { scale: vec![2.4, 2.5, 0.21, 2.5] }, Head::opposed())
}

fn train<T: Trainer>(
    config: &Config,
    mut agent: T,
    stage: &mut Stage<'_>,
    mut play: impl FnMut(&mut T) -> Result<f64>,
) -> Result<Vec<f64>>
where
    anyhow::Error: From<T::Error>,
{
    let mut curve = vec![];
    for slice in 1..=config.slices {
        while agent.step() < slice * config.steps && agent.step() < agent.total_steps() {
            agent.advance(stage.metrics())?;
        }
        stage.metrics().flush(slice * config.steps)?;
        curve.push(play(&mut agent)?);
        stage.progress(slice, config.slices)?;
    }
    Ok(curve)
}

fn dream(config: &Config, seeds: SeedStream, stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let settings = DreamConfig { rounds: config.slices, real_steps: config.steps, ..config.dream.clone() };
    let descent = DescentConfig::amsgrad(Rates::all(0.02));
    let reinforce = ReinforceConfig { descent, ..config.reinforce.clone() };
    let network = twin(circuit()?.as_ref(), Encoding::Angle { scale: vec![2.4, 2.5, 0.21, 2.5] });
    let mut training = DreamTraining::new(settings, reinforce, network, seeds)?;
    let mut curve = vec![];
    for slice in 1..=config.slices {
        training.round(stage.metrics())?;
        stage.metrics().flush(training.real_steps())?;
        let (model, parameters) = training.policy();
        curve.push(play(config, greedy(model, parameters))?);
        stage.progress(slice, config.slices)?;
    }
    Ok(curve)
}

/// Mean return over fixed starts, scaled to a payoff.
fn play<E>(config: &Config, policy: impl FnMut(&Turn<'_>, &mut [f32]) -> Result<(), E>) -> Result<f64>
where
    E: From<rl_core::Error> + Into<anyhow::Error>,
{
    let starts = starts(config.starts);
    let played = evaluate(&mut copies(&CartPole, 20), &starts, policy).map_err(Into::into)?;
    Ok((played.mean_return() / LARGEST).clamp(0.0, 1.0))
}
