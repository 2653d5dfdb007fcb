//! `scenario-treatment`: dosing a tumour day by day, by rules, by online learning, and by what a clinic's confounded records teach.

use super::task::Task;
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use hybrid::scenarios::treatment::log::{ClinicConfig, Effects, Reading, effects, record};
use hybrid::scenarios::treatment::plan::Plan;
use hybrid::scenarios::treatment::{Difficulty, FRACTION, Rule, Scripted, Treatment, TreatmentConfig};
use rl_core::baselines::{DqnConfig, PpoConfig};
use rl_core::env::Simulator;
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct ScenarioTreatment;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Which patients come.
    difficulties: Vec<Difficulty>,
    /// Patients of an evaluation.
    starts: u64,
    /// The disease, but for its difficulty.
    disease: TreatmentConfig,
    /// The clinic that kept records.
    clinic: ClinicConfig,
    /// PPO, and its environments side by side.
    ppo: PpoConfig,
    envs: usize,
    /// DQN.
    dqn: DqnConfig,
}

/// Days that patients live.
const LENGTH: Measure =
    Measure { metric: "days until death, recovery or the end", unit: "", higher_is_better: true };
/// How far the estimated kill of a dose is from the truth, on average over patients.
const BIAS: Measure = Measure::error("error of the effect of a dose of drug", "relative change per day");

pub(super) fn ppo(total_steps: u64) -> PpoConfig {
    PpoConfig {
        total_steps,
        rollout_steps: 120,
        epochs: 10,
        minibatch_size: 480,
        gamma: 0.99,
        gae_lambda: 0.95,
        learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: total_steps },
        clip: Schedule::Constant(0.2),
        normalize_observations: true,
        reward_scale: 0.1,
        ..PpoConfig::default()
    }
}

pub(super) fn dqn(total_steps: u64) -> DqnConfig {
    DqnConfig {
        total_steps,
        hidden: vec![64, 64],
        learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: total_steps },
        learning_starts: (total_steps / 50).max(64),
        train_every: 4,
        updates_per_training: 2,
        target_every: 200,
        exploration: Schedule::Linear { start: 1.0, end: 0.05, steps: total_steps / 5 },
        n_step: 3,
        normalize_observations: true,
        ..DqnConfig::default()
    }
}

impl Exercise for ScenarioTreatment {
    type Config = Config;

    const NAME: &'static str = "scenario-treatment";
    const DESCRIPTION: &'static str = "Chemotherapy and radiation for a lung tumour: learned online, and from records in which a hidden flare decides the dose";
    const DURATION: [&'static str; 3] = ["2 s", "3 min", "20 min"];

    fn config(preset: Preset) -> Config {
        let all = vec![Difficulty::Easy, Difficulty::Medium, Difficulty::Hard];
        let (disease, clinic) = (TreatmentConfig::default(), ClinicConfig::default());
        match preset {
            Preset::Smoke => Config {
                difficulties: vec![Difficulty::Medium],
                starts: 5,
                disease,
                clinic: ClinicConfig { patients: 100, ..clinic },
                ppo: ppo(1_000),
                envs: 4,
                dqn: dqn(500),
            },
            Preset::Quick => Config {
                difficulties: all,
                starts: 500,
                disease,
                clinic,
                ppo: ppo(200_000),
                envs: 16,
                dqn: dqn(40_000),
            },
            Preset::Full => Config {
                difficulties: all,
                starts: 2000,
                disease,
                clinic: ClinicConfig { patients: 10_000, ..clinic },
                ppo: ppo(1_000_000),
                envs: 16,
                dqn: dqn(200_000),
            },
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        anyhow::ensure!(config.envs > 0, "envs = 0: must be at least 1");
        config.disease.validate()?;
        config.clinic.validate()?;
        config.ppo.validate()?;
        Ok(config.dqn.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for &difficulty in &config.difficulties {
            let treatment = Treatment::new(TreatmentConfig { difficulty, ..config.disease.clone() })?;
            let task = Task { length: Some(LENGTH), ..Task::new(treatment, config.starts) };
            references(&task, config, ctx)?;
            task.ppo(("ppo", Role::Method), config.envs, &config.ppo, ctx)?;
            task.dqn(("dqn", Role::Method), &config.dqn, ctx)?;
            from_records(&task, config, ctx)?;
        }
        ctx.note("Rewards: minus the diameter over 13 cm and 0.3 for each treatment, per day; a death costs 2 for each day lost. The weights are ours, the disease is the published one plus hidden flares.");
        ctx.note("From records: the same planner on effects read by least squares (naive: a flare raises both growth and dose) and by the physicians' leanings as instruments (causal). `told the effects` plans with the true mean effects: what records can teach at best. None of the three sees how the single patient responds, which the online agents and the expert do.");
        Ok(())
    }
}

/// Rules of thumb.
fn references(task: &Task<Treatment>, config: &Config, ctx: &mut Context) -> Result<()> {
    task.random(ctx)?;
    let rules = [
        ("nothing", Rule::Nothing),
        ("fixed protocol", Rule::Protocol),
        ("clinician by size", Rule::Threshold(EXPERT)),
        ("expert", Rule::Adaptive(EXPERT)),
    ];
    for (name, rule) in rules {
        let mut rule = Scripted::new(rule, config.disease.days);
        task.scripted((name, Role::Reference), ctx, &mut rule)?;
    }
    Ok(())
}

/// The diameter in cm above which the expert treats: the best of a grid on other seeds than those of an evaluation.
pub(super) const EXPERT: f64 = 1.0;

/// Plans from the clinic's records, naive and causal, and from the truth.
fn from_records(task: &Task<Treatment>, config: &Config, ctx: &mut Context) -> Result<()> {
    let id = task.id();
    let mut rng = task.seeds("records", ctx).stream("clinic", 0);
    let days = record(&task.simulator, &config.clinic, &mut rng);
    let truth = mean_effects(task, ctx);
    for (name, role, reading) in [
        ("naive from records", Role::Reference, Reading::Regression),
        ("causal from records", Role::Method, Reading::Instrument),
    ] {
        let estimate = effects(&days, reading)?.effects;
        let step = days.len() as u64;
        let mut plan = Plan::new(&task.simulator, estimate);
        task.score((name, role, step), ctx, |copies, starts| {
            Ok(rl_core::evaluate::evaluate(copies, starts, rl_core::evaluate::one_by_one(&mut plan))?)
        })?;
        let error = hybrid::scenarios::treatment::DRUG * (estimate.drug - truth.drug).abs();
        ctx.score(&id, name, role, BIAS, step, error)?;
    }
    let mut plan = Plan::new(&task.simulator, truth);
    task.scripted(("told the effects", Role::Reference), ctx, &mut plan)?;
    Ok(())
}

/// The mean of the effects over patients, flares included in the growth.
fn mean_effects(task: &Task<Treatment>, ctx: &Context) -> Effects {
    let mut rng = task.seeds("patients", ctx).stream("draw", 0);
    let n = 20_000;
    let (begins, ends) = task.simulator.config().flare;
    let flare = task.simulator.config().flare_growth() * begins / (begins + ends).max(f64::MIN_POSITIVE);
    let (mut growth, mut drug, mut radiation) = (0.0, 0.0, 0.0);
    for _ in 0..n {
        let patient = task.simulator.initial_state(&mut rng);
        growth += patient.growth + flare / hybrid::scenarios::treatment::room(patient.volume);
        drug += patient.drug_kill;
        radiation += patient.radiosensitivity * (FRACTION + FRACTION * FRACTION / 10.0);
    }
    let n = f64::from(n);
    Effects { growth: growth / n, drug: drug / n, radiation: radiation / n }
}
