//! `scenario-traffic`: one learned vehicle among human drivers on a ring road, beside the expert that dissolves their waves.

use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use hybrid::scenarios::traffic::{Difficulty, Rule, Scripted, TrafficConfig, TrafficRing};
use rl_core::SeedStream;
use rl_core::baselines::{Sac, SacConfig, random_policy};
use rl_core::env::{Env, Episode, Simulator};
use rl_core::evaluate::{Evaluation, Turn, evaluate, one_by_one};
use rl_core::experiment::Role;
use rl_core::numpy_rng::NumpyRng;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct ScenarioTraffic;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// How dense the traffic is; each gives the ring its length.
    difficulties: Vec<Difficulty>,
    /// Episodes of an evaluation.
    starts: u64,
    /// The ring, but for its length.
    ring: TrafficConfig,
    /// The learner.
    sac: SacConfig,
}

/// The first seed of evaluation episodes; no training episode uses them.
const STARTS: u64 = 10_000;
/// FollowerStopper with the part of the uniform speed it drives towards.
const EXPERTS: [(&str, f64); 2] = [("expert at 0.9", 0.9), ("expert at 0.95", 0.95)];
const LENGTH: Measure = Measure { metric: "decisions before a collision", unit: "", higher_is_better: true };

impl Config {
    fn ring(&self, difficulty: Difficulty) -> Result<TrafficRing> {
        let circumference = TrafficConfig::of(difficulty).circumference;
        Ok(TrafficRing::new(TrafficConfig { circumference, ..self.ring.clone() })?)
    }
}

impl Exercise for ScenarioTraffic {
    type Config = Config;

    const NAME: &'static str = "scenario-traffic";
    const DESCRIPTION: &'static str = "One learned vehicle among 21 human drivers whose ring road falls into stop-and-go waves, beside the expert that dissolves them";
    const DURATION: [&'static str; 3] = ["2 s", "5 min", "20 min"];

    fn config(preset: Preset) -> Config {
        let sac = SacConfig { hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() };
        let all = vec![Difficulty::Easy, Difficulty::Medium, Difficulty::Hard];
        let ring = TrafficConfig::default();
        match preset {
            Preset::Smoke => Config {
                difficulties: vec![Difficulty::Medium],
                starts: 1,
                ring: TrafficConfig { warm_up: 5.0, decisions: 40, ..ring },
                sac: SacConfig { total_steps: 150, ..sac },
            },
            Preset::Quick => Config { difficulties: all, starts: 20, ring, sac },
            Preset::Full => {
                Config { difficulties: all, starts: 50, ring, sac: SacConfig { total_steps: 50_000, ..sac } }
            }
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        for difficulty in &config.difficulties {
            config.ring(*difficulty)?;
        }
        Ok(config.sac.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for difficulty in &config.difficulties {
            Ring { ring: config.ring(*difficulty)?, config }.run(ctx)?;
        }
        ctx.note(format!(
            "A return of {} would be uniform traffic for the whole episode; waves keep human drivers below it. The expert is FollowerStopper towards 0.9 or 0.95 of the uniform speed; the second is faster where it is stable, and in dense traffic it is not always.",
            config.ring.decisions
        ));
        ctx.note("Scores are mean returns of the last deterministic policy over fixed starts, the same for every method and seed. A collision ends the episode and loses what would have followed.");
        Ok(())
    }
}

/// One difficulty.
struct Ring<'a> {
    ring: TrafficRing,
    config: &'a Config,
}

impl Ring<'_> {
    fn run(&self, ctx: &mut Context) -> Result<()> {
        let spec = self.ring.spec();
        let seeds = |method: &str| SeedStream::new(ctx.streams.derive(&format!("{}/{method}", spec.id), 0));
        let (learner, random) = (seeds("sac"), seeds("random").stream("act", 0));
        self.score("random", Role::Reference, 0, random_policy(&spec.action, random), ctx)?;
        let mut human = Scripted::new(Rule::Human, self.ring.clone());
        self.score("human driver", Role::Reference, 0, one_by_one(&mut human), ctx)?;
        for (method, part) in EXPERTS {
            let mut expert = Scripted::new(Rule::FollowerStopper(part), self.ring.clone());
            self.score(method, Role::Reference, 0, one_by_one(&mut expert), ctx)?;
        }
        let mut sac = Sac::new(self.config.sac.clone(), self.copies(1), learner, &ctx.device)?;
        ctx.session.run(&format!("{}/sac", spec.id), &mut sac)?;
        self.score("sac", Role::Method, self.config.sac.total_steps, sac.policy(), ctx)
    }

    fn copies(&self, n: usize) -> Vec<Box<dyn Env>> {
        let copy = |k| Box::new(Episode::<TrafficRing, NumpyRng>::new(self.ring.clone(), k)) as Box<dyn Env>;
        (0..n as u64).map(copy).collect()
    }

    /// Plays the fixed starts and hands in return and length.
    fn score(
        &self,
        method: &str,
        role: Role,
        step: u64,
        policy: impl FnMut(&Turn<'_>, &mut [f32]) -> rl_core::Result<()>,
        ctx: &mut Context,
    ) -> Result<()> {
        let task = self.ring.spec().id;
        let (mean, length) =
            ctx.session.once(&format!("{task}/{method} evaluation"), |_| -> Result<(f64, f64)> {
                let starts: Vec<u64> = (STARTS..STARTS + self.config.starts).collect();
                let played: Evaluation = evaluate(&mut self.copies(starts.len()), &starts, policy)?;
                Ok((played.mean_return(), played.mean_length()))
            })?;
        ctx.score(&task, method, role, Measure::RETURN, step, mean)?;
        ctx.score(&task, method, role, LENGTH, step, length)
    }
}
