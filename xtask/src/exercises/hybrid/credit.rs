//! `hybrid-credit`: a team that asks a causal model what each agent's action was worth, beside one that shares its reward.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use hybrid::counterfactual_credit::{Credit, CreditConfig, Learners, Workshop};
use rl_core::SeedStream;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct HybridCredit;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Random workshops per seed, over which everything is averaged.
    workshops: u64,
    /// Numbers of agents.
    agents: Vec<usize>,
    /// Probability that a stage feeds a later one.
    density: f64,
    /// Standard deviation of every stage's noise.
    noise: f64,
    /// Where the outcome should be.
    target: f64,
    /// Episodes of a training.
    episodes: u64,
    /// Step sizes that every kind of credit is tried with.
    learning_rates: Vec<f64>,
    /// The learners; credit and step size are set by the exercise.
    learners: CreditConfig,
}

const FINAL: Measure =
    Measure { metric: "share of the possible gain, at the end", unit: "", higher_is_better: true };
const MEAN: Measure =
    Measure { metric: "share of the possible gain, mean over training", unit: "", higher_is_better: true };
const NEEDED: Measure = Measure::error("episodes to 80 % of the possible gain", "");
const METHODS: [(&str, Role, Credit, bool); 5] = [
    ("difference learned model", Role::Method, Credit::Difference, true),
    ("baseline learned model", Role::Method, Credit::Baseline, true),
    ("difference true model", Role::Reference, Credit::Difference, false),
    ("baseline true model", Role::Reference, Credit::Baseline, false),
    ("shared reward", Role::Reference, Credit::Shared, false),
];
/// Points of a curve.
const POINTS: u64 = 50;

impl Exercise for HybridCredit {
    type Config = Config;

    const NAME: &'static str = "hybrid-credit";
    const DESCRIPTION: &'static str = "Difference rewards and counterfactual baselines from a causal model, true or learned from play, against one shared reward";
    const DURATION: [&'static str; 3] = ["1 s", "10 s", "5 min"];

    fn config(preset: Preset) -> Config {
        let config = Config {
            workshops: 5,
            agents: vec![2, 4, 8],
            density: 0.3,
            noise: 1.0,
            target: 2.0,
            episodes: 2000,
            learning_rates: vec![0.05, 0.1],
            learners: CreditConfig::default(),
        };
        match preset {
            Preset::Smoke => {
                Config { workshops: 1, agents: vec![2], episodes: 150, learning_rates: vec![0.05], ..config }
            }
            Preset::Quick => config,
            Preset::Full => {
                Config { workshops: 20, learning_rates: vec![0.02, 0.05, 0.1, 0.2, 0.4], ..config }
            }
        }
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Smoke { 1 } else { 5 }
    }

    fn validate(config: &Config) -> Result<()> {
        config.learners.validate()?;
        anyhow::ensure!(config.workshops > 0, "workshops = 0: must be at least 1");
        anyhow::ensure!(
            config.episodes >= POINTS,
            "episodes = {}: must be at least {POINTS}",
            config.episodes
        );
        anyhow::ensure!(config.agents.iter().all(|n| (1..=12).contains(n)), "agents: must be from 1 to 12");
        anyhow::ensure!(!config.learning_rates.is_empty(), "learning_rates: at least one");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for &agents in &config.agents {
            let task = format!("workshop of {agents}");
            let mut lines = vec![];
            for (method, role, credit, learned) in METHODS {
                for &learning_rate in &config.learning_rates {
                    let name = format!("{method} step {learning_rate}");
                    let learners = CreditConfig { credit, learned, learning_rate, ..config.learners.clone() };
                    let streams = ctx.streams;
                    let curve = ctx.session.once(&format!("{task}/{name}"), |stage| -> Result<Vec<f64>> {
                        let mut mean = vec![0.0; POINTS as usize + 1];
                        for k in 0..config.workshops {
                            let curve = train(config, agents, &learners, streams, k)?;
                            mean.iter_mut().zip(curve).for_each(|(m, c)| *m += c / config.workshops as f64);
                            stage.progress(k + 1, config.workshops)?;
                        }
                        Ok(mean)
                    })?;
                    hand_in(config, (&task, &name), role, &curve, ctx)?;
                    lines.push(line(config, &name, &curve));
                }
            }
            ctx.figure(Figure {
                name: format!("gain-{agents}"),
                title: format!("{task}: share of the possible gain"),
                x_label: "episodes".into(),
                y_label: "share of the possible gain".into(),
                lines,
            });
        }
        ctx.note("The possible gain is from uniform policies to the best joint action; expected rewards of policies are exact. Before its first fit a learned model says nothing and agents do not learn.");
        ctx.note("Every kind of credit is tried with the same step sizes; compare the best of each.");
        Ok(())
    }
}

/// The share of the possible gain, at the start and at every point.
fn train(
    config: &Config,
    agents: usize,
    learners: &CreditConfig,
    streams: SeedStream,
    k: u64,
) -> Result<Vec<f64>> {
    let seeds = SeedStream::new(streams.derive("workshop", k * 100 + agents as u64));
    let (noise, target) = (config.noise, config.target);
    let workshop = Workshop::random(agents, config.density, noise, target, &mut seeds.stream("workshop", 0))?;
    let mut team = Learners::new(learners.clone(), &workshop, seeds)?;
    let start = workshop.expected(&team.policies());
    let best = workshop.best();
    let (mut curve, each) = (vec![0.0], config.episodes / POINTS);
    for _ in 0..POINTS {
        for _ in 0..each {
            team.episode(&workshop)?;
        }
        curve.push((workshop.expected(&team.policies()) - start) / (best - start));
    }
    Ok(curve)
}

fn line(config: &Config, name: &str, curve: &[f64]) -> Line {
    let each = (config.episodes / POINTS) as f64;
    Line { name: name.into(), x: (0..curve.len()).map(|i| i as f64 * each).collect(), y: curve.to_vec() }
}

fn hand_in(
    config: &Config,
    (task, name): (&str, &str),
    role: Role,
    curve: &[f64],
    ctx: &mut Context,
) -> Result<()> {
    let last = curve.last().copied().unwrap_or(0.0);
    ctx.score(task, name, role, FINAL, config.episodes, last)?;
    ctx.score(task, name, role, MEAN, config.episodes, curve.iter().sum::<f64>() / curve.len() as f64)?;
    let reached = curve.iter().position(|&share| share >= 0.8);
    // Never: counted as twice the training.
    let needed = reached.map_or(2 * config.episodes, |i| i as u64 * (config.episodes / POINTS));
    ctx.score(task, name, role, NEEDED, config.episodes, needed as f64)
}
