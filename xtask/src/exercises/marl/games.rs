//! `marl-games`: what equilibria are worth, how dynamics approach them, and what coordination needs.

use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use marl::env::matrix;
use marl::games::cfr::Cfr;
use marl::games::correlated::{Kind, Objective, correlated};
use marl::games::dynamics::FictitiousPlay;
use marl::games::extensive::{Game, GameTree};
use marl::games::poker::{Kuhn, Leduc};
use marl::games::regret::{RegretMatching, external_regret};
use marl::games::{nash, nash_conv, payoffs, stackelberg};
use marl::tabular::{self, Learners, Rule};
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct Games;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Iterations of CFR and CFR+ on Kuhn poker.
    kuhn_iterations: u64,
    /// On Leduc poker.
    leduc_iterations: u64,
    /// Rounds of fictitious play and regret matching.
    rounds: usize,
    /// Penalties of the penalty games.
    penalties: Vec<f64>,
    /// The coordination learners; `rule` is replaced.
    tabular: tabular::Config,
}

const NASH_CONV: Measure = Measure::error("NashConv", "sum of both players' gains");
const TEAM: Measure = Measure { metric: "return", unit: "per agent, 25 steps", higher_is_better: true };

impl Exercise for Games {
    type Config = Config;

    const NAME: &'static str = "marl-games";
    const DESCRIPTION: &'static str =
        "Coordination games, equilibria, regret, and counterfactual regret in Kuhn and Leduc poker";
    const DURATION: [&'static str; 3] = ["2 s", "10 s", "30 s"];

    fn config(preset: Preset) -> Config {
        let (kuhn_iterations, leduc_iterations, rounds) = match preset {
            Preset::Smoke => (100, 3, 200),
            Preset::Quick => (1_000, 30, 10_000),
            Preset::Full => (10_000, 300, 100_000),
        };
        let penalties = vec![0.0, -25.0, -50.0, -75.0, -100.0];
        Config { kuhn_iterations, leduc_iterations, rounds, penalties, tabular: tabular::Config::default() }
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Smoke { 1 } else { 5 }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.rounds > 0, "rounds = 0: must be at least 1");
        Ok(config.tabular.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        coordination(config, ctx)?;
        dynamics(config, ctx)?;
        welfare(ctx)?;
        poker("kuhn-poker", &Kuhn, config.kuhn_iterations, ctx)?;
        poker("leduc-poker", &Leduc, config.leduc_iterations, ctx)?;
        ctx.note("NashConv is the sum of both players' gains from deviating; exploitability is half of it.");
        ctx.note("Published methods (Papoudakis et al. 2021, Table 3) stop at 175 to 195 in climbing and at 50 in penalty games with k ≤ −25.");
        Ok(())
    }
}

fn coordination(config: &Config, ctx: &mut Context) -> Result<()> {
    let penalty = |k: &f64| (format!("penalty {k}"), matrix::Config::penalty(*k), 250.0);
    let mut games = vec![("climbing".to_owned(), matrix::Config::climbing(), 275.0)];
    games.extend(config.penalties.iter().map(penalty));
    let rules = [
        ("optimistic", Role::Method, Rule::Optimistic),
        ("joint-action", Role::Method, Rule::JointAction),
        ("hysteretic", Role::Reference, Rule::Hysteretic { beta: 0.01 }),
        ("independent", Role::Reference, Rule::Independent),
    ];
    for (task, game, optimum) in &games {
        for (name, role, rule) in rules {
            let seeds = ctx.seeds(task, name);
            let learning = tabular::Config { rule, ..config.tabular };
            let learners = Learners::train(game, learning, &mut seeds.stream("train", 0))?;
            let gain = learners.evaluate(game, &mut seeds.stream("evaluate", 0))?;
            ctx.score(task, name, role, TEAM, config.tabular.steps as u64, gain)?;
        }
        ctx.score(task, "optimum", Role::Reference, TEAM, 0, *optimum)?;
    }
    Ok(())
}

/// Averages of fictitious play and regret matching in biased rock, paper, scissors.
fn dynamics(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "biased-rock-paper-scissors";
    let a = payoffs(&[vec![0.0, -1.0, 2.0], vec![1.0, 0.0, -1.0], vec![-2.0, 1.0, 0.0]])?;
    let b = -&a;
    let mut fictitious = FictitiousPlay::new(&a, &b)?;
    let start = |plus| RegretMatching::new(&a, &b, plus, &[1.0, 0.0, 0.0], &[0.0, 0.0, 1.0]);
    let (mut matching, mut plus) = (start(false)?, start(true)?);
    let mut lines: Vec<Line> = ["fictitious play", "regret matching", "regret matching+", "external regret"]
        .map(|name| Line { name: name.into(), x: vec![], y: vec![] })
        .into();
    let (mut own, mut other) = (Vec::new(), Vec::new());
    let mut next = 1;
    for round in 1..=config.rounds {
        let (i, j) = fictitious.step();
        own.push(i);
        other.push(j);
        matching.step();
        plus.step();
        if round == next || round == config.rounds {
            next = (next * 5).div_ceil(4).max(next + 1);
            let (x, y) = fictitious.averages();
            let mut gaps = vec![nash_conv(&a, &b, &x, &y)];
            for learner in [&matching, &plus] {
                let [x, y] = learner.averages();
                gaps.push(nash_conv(&a, &b, &x, &y));
            }
            gaps.push(external_regret(&a, &own, &other)?.last().copied().unwrap_or(0.0));
            for (line, gap) in lines.iter_mut().zip(gaps) {
                line.x.push((round as f64).log10());
                line.y.push(gap.max(1e-9).log10());
            }
        }
    }
    for line in lines.iter().take(3) {
        let last = line.y.last().map_or(f64::NAN, |y| 10f64.powf(*y));
        ctx.score(task, &line.name, Role::Method, NASH_CONV, config.rounds as u64, last)?;
    }
    let solution = nash::zero_sum(&a)?;
    let exact = nash_conv(&a, &b, &solution.row, &solution.column);
    ctx.score(task, "linear programme", Role::Reference, NASH_CONV, 0, exact)?;
    ctx.figure(Figure {
        name: "dynamics".into(),
        title: "Averages approach equilibrium in biased rock, paper, scissors".into(),
        x_label: "log10 rounds".into(),
        y_label: "log10 NashConv".into(),
        lines,
    });
    Ok(())
}

/// What a team can reach in chicken, under four ideas of what is stable.
fn welfare(ctx: &mut Context) -> Result<()> {
    let task = "chicken";
    let measure = Measure { metric: "welfare", unit: "sum over players", higher_is_better: true };
    let a = payoffs(&[vec![6.0, 2.0], vec![7.0, 0.0]])?;
    let b = payoffs(&[vec![6.0, 7.0], vec![2.0, 0.0]])?;
    let equilibria = nash::support_enumeration(&a, &b)?;
    let sum = |x: &_, y: &_| {
        let (u, v) = marl::games::expected(&a, &b, x, y);
        u + v
    };
    let welfare: Vec<f64> = equilibria.iter().map(|e| sum(&e.row, &e.column)).collect();
    let best = welfare.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let worst = welfare.iter().copied().fold(f64::INFINITY, f64::min);
    ctx.score(task, "Nash, worst", Role::Reference, measure, 0, worst)?;
    ctx.score(task, "Nash, best", Role::Reference, measure, 0, best)?;
    for (name, kind) in [("correlated, best", Kind::Correlated), ("coarse correlated, best", Kind::Coarse)] {
        let plan = correlated(&a, &b, kind, Objective::Welfare)?;
        ctx.score(task, name, Role::Method, measure, 0, plan.payoffs.0 + plan.payoffs.1)?;
    }
    let commitment = stackelberg::mixed(&a, &b)?;
    let leader = Measure { metric: "leader's value", unit: "", higher_is_better: true };
    ctx.score(task, "commitment", Role::Method, leader, 0, commitment.leader)?;
    Ok(())
}

fn poker<G: Game>(task: &str, game: &G, iterations: u64, ctx: &mut Context) -> Result<()> {
    let tree = GameTree::build(game)?;
    let mut figure = Figure {
        name: format!("{task}-nashconv"),
        title: format!("{task}: distance of the average policy from equilibrium"),
        x_label: "log10 iterations".into(),
        y_label: "log10 NashConv".into(),
        lines: vec![],
    };
    for (name, plus) in [("CFR", false), ("CFR+", true)] {
        let line = ctx.session.once(&format!("{task}/{name}"), |stage| -> Result<(Vec<f64>, Vec<f64>)> {
            let mut cfr = Cfr::new(&tree, plus);
            let (mut x, mut y, mut next) = (vec![], vec![], 1);
            for t in 1..=iterations {
                cfr.iterate();
                if t == next || t == iterations {
                    next = (next * 3 / 2).max(next + 1);
                    x.push((t as f64).log10());
                    y.push(tree.nash_conv(&cfr.average())?.max(1e-12).log10());
                    stage.progress(t, iterations)?;
                }
            }
            Ok((x, y))
        })?;
        let last = line.1.last().map_or(f64::NAN, |y| 10f64.powf(*y));
        ctx.score(task, name, Role::Method, NASH_CONV, iterations, last)?;
        figure.lines.push(Line { name: name.into(), x: line.0, y: line.1 });
    }
    ctx.score(task, "uniform", Role::Reference, NASH_CONV, 0, tree.nash_conv(&tree.uniform())?)?;
    ctx.figure(figure);
    Ok(())
}
