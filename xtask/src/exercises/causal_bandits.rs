//! `causal-bandits`: what an agent loses that ignores its own intent, or pulls the wrong sets of levers.
//!
//! Bareinboim, Forney & Pearl (NIPS 2015): two casinos with unobserved confounders, T = 1000. Lee & Bareinboim (NeurIPS
//! 2018): the instrument model, T = 5000, and the model with four manipulable variables, T = 10,000; two index policies
//! on four sets of arms.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use causal::bandit::{ArmPolicy, ArmSet, ConfoundedAgent, StructuralBandit, UnobservedConfounders};
use causal::scm::{DiscreteScm, DiscreteVariable};
use rand::RngExt;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The exercise.
pub(crate) struct CausalBandits;

/// Repeats and horizons.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Runs of every agent in the casinos, averaged. 1000 in the paper.
    pub casino_repeats: u64,
    /// Rounds of a run. 1000.
    pub casino_steps: usize,
    /// Passively observed rounds before, for the causal agent. 200.
    pub passive: usize,
    /// Runs of every strategy in the structural bandits, averaged. 300 in the paper.
    pub structural_repeats: u64,
    /// Rounds in the instrument model. 5000.
    pub instrument_steps: usize,
    /// Rounds in the model of four variables. 10,000.
    pub markovian_steps: usize,
}

const REGRET: Measure = Measure::error("regret", "");
const OPTIMAL: Measure =
    Measure { metric: "optimal choices, last 100 rounds", unit: "share", higher_is_better: true };
/// Points of a curve.
const POINTS: usize = 100;

impl Exercise for CausalBandits {
    type Config = Config;

    const NAME: &'static str = "causal-bandits";
    const DESCRIPTION: &'static str =
        "Bandits with unobserved confounders, and where to intervene (MABUC, POMIS)";
    const DURATION: [&'static str; 3] = ["1 s", "20 s", "2 min"];

    fn config(preset: Preset) -> Config {
        let (casino_repeats, structural_repeats, share) = match preset {
            Preset::Smoke => (5, 2, 10),
            Preset::Quick => (200, 30, 1),
            Preset::Full => (1000, 100, 1),
        };
        Config {
            casino_repeats,
            casino_steps: 1000 / share,
            passive: 200,
            structural_repeats,
            instrument_steps: 5000 / share,
            markovian_steps: 10_000 / share,
        }
    }

    fn validate(config: &Config) -> Result<()> {
        for (field, value) in [
            ("casino_steps", config.casino_steps),
            ("instrument_steps", config.instrument_steps),
            ("markovian_steps", config.markovian_steps),
        ] {
            anyhow::ensure!(value >= POINTS, "{field} = {value}: must be at least {POINTS}");
        }
        for (field, value) in
            [("casino_repeats", config.casino_repeats), ("structural_repeats", config.structural_repeats)]
        {
            anyhow::ensure!(value > 0, "{field} = 0: must be at least 1");
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        casino("greedy casino", UnobservedConfounders::GREEDY_CASINO, config, ctx)?;
        casino("paradoxical switching", UnobservedConfounders::PARADOXICAL_SWITCHING, config, ctx)?;
        structural("instrument", &instrument_model()?, config.instrument_steps, config, ctx)?;
        structural("four variables", &markovian_model()?, config.markovian_steps, config, ctx)?;
        ctx.note(
            "Casino regret compares the realised reward with the best arm of the hidden state, so it is noisy and can \
             fall below zero; structural regret compares the mean of the arm played with the best mean of all \
             interventions.",
        );
        ctx.note(
            "In the instrument model, setting both variables at once has no arm better than 0.507 where 0.773 is \
             possible: regret grows by 0.266 per round for ever. Four arms are enough, if they are the right ones.",
        );
        Ok(())
    }
}

/// Mean regret per point of the curve, and the share of optimal choices: per point, and in the last rounds.
#[derive(Clone, Serialize, Deserialize)]
struct Curve {
    regret: Vec<f64>,
    optimal: Vec<f64>,
    last: f64,
}

impl Curve {
    /// The mean of runs that give regret and optimality per round.
    fn mean(
        steps: usize,
        repeats: u64,
        stage: &mut rl_core::experiment::Stage<'_>,
        mut run: impl FnMut(u64) -> Result<(Vec<f64>, Vec<bool>)>,
    ) -> Result<Self> {
        let mut curve = Self { regret: vec![0.0; POINTS], optimal: vec![0.0; POINTS], last: 0.0 };
        let (weight, width) = (1.0 / repeats as f64, steps / POINTS);
        for i in 0..repeats {
            stage.progress(i, repeats)?;
            let (regret, optimal) = run(i)?;
            let share = |o: &[bool]| o.iter().filter(|&&o| o).count() as f64 / o.len() as f64;
            for point in 0..POINTS {
                curve.regret[point] += weight * regret[(point + 1) * width - 1];
                curve.optimal[point] += weight * share(&optimal[point * width..(point + 1) * width]);
            }
            curve.last += weight * share(&optimal[steps - 100.min(steps)..]);
        }
        Ok(curve)
    }

    fn hand_in(&self, task: &str, method: &str, role: Role, steps: usize, ctx: &mut Context) -> Result<()> {
        let regret = self.regret.last().copied().unwrap_or(0.0);
        ctx.score(task, method, role, REGRET, steps as u64, regret)?;
        ctx.score(task, method, role, OPTIMAL, steps as u64, self.last)
    }
}

/// A pair of figures of a task: regret and optimal choices over rounds.
fn figures(task: &str, steps: usize, curves: &[(String, Curve)]) -> [Figure; 2] {
    let x: Vec<f64> = (1..=POINTS).map(|i| (i * (steps / POINTS)) as f64).collect();
    let figure = |what: &str, y_label: &str, of: fn(&Curve) -> &Vec<f64>| Figure {
        name: format!("{}-{what}", task.replace(' ', "-")),
        title: format!("{task}: {what}"),
        x_label: "round".into(),
        y_label: y_label.into(),
        lines: curves.iter().map(|(n, c)| Line { name: n.clone(), x: x.clone(), y: of(c).clone() }).collect(),
    };
    [
        figure("regret", "cumulative regret", |c| &c.regret),
        figure("optimal", "share of optimal choices", |c| &c.optimal),
    ]
}

fn casino(task: &str, game: UnobservedConfounders, config: &Config, ctx: &mut Context) -> Result<()> {
    let (steps, streams) = (config.casino_steps, ctx.streams);
    let mut curves = Vec::new();
    for (name, role, agent) in [
        ("TS-C intent and passive data", Role::Method, Some(ConfoundedAgent::Causal)),
        ("TS-Z intent", Role::Method, Some(ConfoundedAgent::Intent)),
        ("TS blind", Role::Reference, Some(ConfoundedAgent::Blind)),
        ("intent itself", Role::Reference, None),
    ] {
        let curve = ctx.session.once::<_, anyhow::Error>(&format!("{task}/{name}"), |stage| {
            Curve::mean(steps, config.casino_repeats, stage, |i| {
                let rng = &mut streams.stream(name, i);
                Ok(match agent {
                    Some(agent) => {
                        let run = game.play(agent, steps, config.passive, rng)?;
                        (run.regret, run.optimal)
                    }
                    None => follow_intent(&game, steps, rng),
                })
            })
        })?;
        curve.hand_in(task, name, role, steps, ctx)?;
        curves.push((name.to_string(), curve));
    }
    figures(task, steps, &curves).into_iter().for_each(|f| ctx.figure(f));
    Ok(())
}

/// The gambler who does what he feels like: arm B xor D of the hidden state B + 2 D.
fn follow_intent(
    game: &UnobservedConfounders,
    steps: usize,
    rng: &mut rl_core::StreamRng,
) -> (Vec<f64>, Vec<bool>) {
    let (mut regret, mut optimal, mut total) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..steps {
        let state = rng.random_range(0..4usize);
        let arm = (state & 1) ^ (state >> 1);
        let reward = f64::from(u8::from(rng.random::<f64>() < game.payout[arm][state]));
        total += game.payout[0][state].max(game.payout[1][state]) - reward;
        regret.push(total);
        optimal.push(arm == usize::from(game.payout[1][state] > game.payout[0][state]));
    }
    (regret, optimal)
}

fn structural(task: &str, scm: &DiscreteScm, steps: usize, config: &Config, ctx: &mut Context) -> Result<()> {
    let streams = ctx.streams;
    let reward = scm.cardinalities().len() - 1;
    let mut curves = Vec::new();
    for (set_name, role, set) in [
        ("POMIS", Role::Method, ArmSet::Pomis),
        ("MIS", Role::Reference, ArmSet::Mis),
        ("all subsets", Role::Reference, ArmSet::BruteForce),
        ("all at once", Role::Reference, ArmSet::AllAtOnce),
    ] {
        let bandit = StructuralBandit::new(scm.clone(), reward, set)?;
        let arms = Measure::error("arms", "");
        ctx.score(task, set_name, role, arms, steps as u64, bandit.arms().len() as f64)?;
        let best = Measure { metric: "mean of its best arm", unit: "", higher_is_better: true };
        ctx.score(task, set_name, role, best, steps as u64, bandit.best_arm_mean())?;
        for (policy_name, policy) in
            [("Thompson sampling", ArmPolicy::ThompsonSampling), ("KL-UCB", ArmPolicy::KlUcb)]
        {
            let name = format!("{set_name} {policy_name}");
            let curve = ctx.session.once::<_, anyhow::Error>(&format!("{task}/{name}"), |stage| {
                Curve::mean(steps, config.structural_repeats, stage, |i| {
                    let run = bandit.play(policy, steps, &mut streams.stream(&name, i))?;
                    Ok((run.regret, run.optimal))
                })
            })?;
            curve.hand_in(task, &name, role, steps, ctx)?;
            curves.push((name, curve));
        }
    }
    figures(task, steps, &curves).into_iter().for_each(|f| ctx.figure(f));
    Ok(())
}

/// A bit that is a function of its parents and of hidden bits.
fn bit(
    name: &str,
    parents: &[usize],
    exogenous: &[usize],
    function: fn(&[usize], &[usize]) -> usize,
) -> DiscreteVariable {
    DiscreteVariable {
        name: name.into(),
        cardinality: 2,
        parents: parents.to_vec(),
        exogenous: exogenous.to_vec(),
        function: Arc::new(function),
    }
}

/// Hidden bits with these probabilities of 1.
fn coins(p: &[f64]) -> Vec<Vec<f64>> {
    p.iter().map(|p| vec![1.0 - p, *p]).collect()
}

/// Z → X → Y, X ↔ Y: Z = U_Z, X = U_X ⊕ U_XY ⊕ Z, Y = 1 ⊕ U_Y ⊕ U_XY ⊕ X, with the published probabilities.
fn instrument_model() -> Result<DiscreteScm> {
    let variables = vec![
        bit("Z", &[], &[0], |_, u| u[0]),
        bit("X", &[0], &[1, 3], |pa, u| pa[0] ^ u[0] ^ u[1]),
        bit("Y", &[1], &[2, 3], |pa, u| 1 ^ pa[0] ^ u[0] ^ u[1]),
    ];
    Ok(DiscreteScm::new(variables, coins(&[0.6, 0.11, 0.15, 0.51]))?)
}

/// Z1, Z2 → X1, X2 → Y without confounders, with the published probabilities.
fn markovian_model() -> Result<DiscreteScm> {
    let variables = vec![
        bit("Z1", &[], &[0], |_, u| u[0]),
        bit("Z2", &[], &[1], |_, u| u[0]),
        bit("X1", &[0, 1], &[2], |pa, u| u[0] ^ pa[0] ^ pa[1]),
        bit("X2", &[0, 1], &[3], |pa, u| 1 ^ u[0] ^ pa[0] ^ pa[1]),
        bit("Y", &[2, 3], &[4], |pa, u| u[0] | (pa[0] & pa[1])),
    ];
    Ok(DiscreteScm::new(variables, coins(&[0.54, 0.44, 0.54, 0.67, 0.58]))?)
}
