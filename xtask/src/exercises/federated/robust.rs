//! `federated-robust`: ten clients send policy gradients, three of them lie. FedPG-BR against the plain mean and the
//! rules that know nothing of policy gradients, under every attack of the suite (the setting of Fan et al. 2021).

use super::references;
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use federated::rl::environment::Dynamics;
use federated::rl::gradient_rounds::{GradientRounds, GradientRoundsConfig, GradientRule};
use federated::robust::RobustRule;
use federated::robust::attack::Attack;
use federated::robust::fed_pg_br::FedPgBrConfig;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

/// The exercise.
pub(crate) struct FederatedRobust;

/// The federation, and who is compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Episodes of one client, the server's included, after which training ends: 2,000 (Fan et al. 2021).
    episodes: u64,
    /// Rounds between two examinations.
    examine_every: u64,
    /// The federation without its rule and attack.
    federation: GradientRoundsConfig,
    /// Rules by name.
    rules: Vec<(String, GradientRule)>,
    /// Attacks by name; nobody attacks in the first task.
    attacks: Vec<(String, Attack)>,
}

/// What a training came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Course {
    episodes: Vec<f64>,
    returns: Vec<f64>,
    steps: u64,
    /// Share of attackers' gradients that were used.
    attackers_accepted: f64,
    /// Share of honest gradients that were used.
    honest_accepted: f64,
}

impl Course {
    /// Mean of the last quarter of the examinations: a single one depends too much on where training stopped.
    fn late(&self) -> f64 {
        let late = &self.returns[self.returns.len() - self.returns.len().div_ceil(4)..];
        late.iter().sum::<f64>() / late.len() as f64
    }
}

impl Exercise for FederatedRobust {
    type Config = Config;

    const NAME: &'static str = "federated-robust";
    const DESCRIPTION: &'static str =
        "Three of ten clients lie: FedPG-BR beside the mean and five robust rules";
    const DURATION: [&'static str; 3] = ["3 s", "1 min", "6 min"];

    fn config(preset: Preset) -> Config {
        let rules = [
            ("fedpg-br", GradientRule::FedPgBr(FedPgBrConfig::default())),
            ("mean", GradientRule::Mean),
            ("multi-krum", GradientRule::Robust(RobustRule::MultiKrum { malicious: 3, keep: 5 })),
            ("trimmed mean", GradientRule::Robust(RobustRule::TrimmedMean { proportion: 0.3 })),
            ("median", GradientRule::Robust(RobustRule::CoordinateMedian)),
            (
                "geometric median",
                GradientRule::Robust(RobustRule::GeometricMedian { nu: 1e-6, iterations: 10 }),
            ),
        ];
        let attacks = [
            ("sign flip", Attack::SignFlip { scale: 2.5 }),
            ("random noise", Attack::Random { scale: 0.2 }),
            ("variance", Attack::Variance { scale: 10.0 }),
            ("little is enough", Attack::LittleIsEnough { z: None }),
            ("reward poisoning", Attack::RewardPoisoning { scale: 1.0 }),
        ];
        let named = |(name, rule): (&str, GradientRule)| (name.to_string(), rule);
        let mut config = Config {
            episodes: 2000,
            examine_every: 4,
            federation: GradientRoundsConfig { attackers: 3, ..GradientRoundsConfig::default() },
            rules: rules.into_iter().map(named).collect(),
            attacks: attacks.into_iter().map(|(name, attack)| (name.to_string(), attack)).collect(),
        };
        match preset {
            Preset::Smoke => {
                config.episodes = 40;
                config.rules.truncate(2);
                config.attacks.truncate(1);
            }
            Preset::Quick => {
                config.rules.truncate(3);
                config.attacks.truncate(2);
            }
            Preset::Full => {}
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.episodes > 0, "episodes = 0: must be at least 1");
        anyhow::ensure!(config.examine_every > 0, "examine_every = 0: must be at least 1");
        config.federation.client.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let share = 100 * config.federation.attackers / config.federation.clients.max(1);
        references("CartPole-v1", &Dynamics::cart_pole(), "CartPole-v1", ctx)?;
        scenario("CartPole-v1", 0, config.federation.attack, config, ctx)?;
        for (name, attack) in &config.attacks {
            let task = format!("CartPole-v1 {name}");
            scenario(&task, config.federation.attackers, *attack, config, ctx)?;
        }
        ctx.note(format!(
            "{share} % of the clients attack. Every rule trains until one client has played {} episodes, FedPG-BR's own \
             on the server included; scores are means over the last quarter of the examinations, 10 episodes each.",
            config.episodes
        ));
        ctx.note("Bulyan is left out: it needs 4f + 3 clients, 15 for three attackers.");
        Ok(())
    }
}

fn scenario(task: &str, attackers: usize, attack: Attack, config: &Config, ctx: &mut Context) -> Result<()> {
    let mut lines = vec![];
    for (name, rule) in &config.rules {
        let federation = GradientRoundsConfig { attackers, attack, rule: *rule, ..config.federation.clone() };
        let seeds = ctx.streams;
        let done = ctx.session.once(&format!("{task}/{name}"), |stage| -> Result<Course> {
            let mut rounds = GradientRounds::new(federation, &Dynamics::cart_pole(), seeds)?;
            let (mut done, mut played, mut round) = (Course::default(), 0, 0u64);
            let (mut bad, mut good) = (0, 0);
            while played < config.episodes {
                let report = rounds.step()?;
                (played, round) = (report.episodes, round + 1);
                (bad, good) = (bad + report.attackers_accepted, good + report.honest_accepted);
                done.steps += report.steps;
                stage.metrics().record("charts/training_return", report.mean_return);
                stage.metrics().record("federated/attackers_accepted", report.attackers_accepted as f64);
                if round.is_multiple_of(config.examine_every) || played >= config.episodes {
                    let value = rounds.evaluate()?;
                    stage.metrics().record("charts/episodic_return", value);
                    stage.metrics().flush(done.steps)?;
                    done.episodes.push(played as f64);
                    done.returns.push(value);
                }
                stage.progress(played.min(config.episodes), config.episodes)?;
            }
            done.attackers_accepted = bad as f64 / (attackers.max(1) as u64 * round) as f64;
            done.honest_accepted =
                good as f64 / ((config.federation.clients - attackers) as u64 * round) as f64;
            Ok(done)
        })?;
        let role = match rule {
            GradientRule::FedPgBr(_) => Role::Method,
            GradientRule::Mean => Role::Reference,
            GradientRule::Robust(_) => Role::Ablation,
        };
        ctx.score(task, name, role, Measure::RETURN, done.steps, done.late())?;
        if matches!(rule, GradientRule::FedPgBr(_)) {
            let accepted =
                |metric| Measure { metric, unit: "", higher_is_better: metric.starts_with("honest") };
            ctx.score(task, name, role, accepted("honest accepted"), done.steps, done.honest_accepted)?;
            if attackers > 0 {
                ctx.score(
                    task,
                    name,
                    role,
                    accepted("attackers accepted"),
                    done.steps,
                    done.attackers_accepted,
                )?;
            }
        }
        lines.push(Line { name: name.clone(), x: done.episodes, y: done.returns });
    }
    ctx.figure(Figure {
        name: format!("{}-return-by-episodes", task.to_lowercase().replace(' ', "-")),
        title: format!("{task}: return by episodes of one client"),
        x_label: "episodes of one client".into(),
        y_label: "return".into(),
        lines,
    });
    Ok(())
}
