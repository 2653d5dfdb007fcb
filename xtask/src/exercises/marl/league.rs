//! `marl-league`: populations. Response oracles in Kuhn poker, and who should train against whom in a game that turns in
//! circles.

use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use marl::games::extensive::{GameTree, Policy};
use marl::games::poker::Kuhn;
use marl::games::{nash, nash_conv, payoffs};
use marl::population::league::{Config as LeagueConfig, League as Books, Role as Member};
use marl::population::learned_oracle::{Config as Learned, LearnedOracle};
use marl::population::nash_averaging::nash_average;
use marl::population::psro::{MetaSolver, Oracle, Psro, TreeOracle};
use marl::population::{diversity, elo};
use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct League;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Rounds of response oracles.
    rounds: u64,
    /// The learned oracle.
    learned: Learned,
    /// Actions of the circular game.
    actions: usize,
    /// Generations: every learner trains and leaves a frozen copy.
    generations: u64,
    /// Games per learner and generation.
    games: u64,
    /// Step size of the learners.
    rate: f64,
    /// Who meets whom in the league.
    league: LeagueConfig,
}

/// Of the equilibrium mixture of a population.
const NASH_CONV: Measure = Measure::error("NashConv of the mixture", "sum of both players' gains");
/// Of one strategy, played by both.
const LAST_GAP: Measure = Measure::error("NashConv of the newest main player", "sum of both players' gains");

impl Exercise for League {
    type Config = Config;

    const NAME: &'static str = "marl-league";
    const DESCRIPTION: &'static str = "Response oracles, exact and learned, in Kuhn poker; self-play, past selves and a league in a circular game";
    const DURATION: [&'static str; 3] = ["5 s", "1 min", "10 min"];

    fn config(preset: Preset) -> Config {
        let (rounds, games, generations) = match preset {
            Preset::Smoke => (2, 200, 5),
            Preset::Quick => (10, 10_000, 40),
            Preset::Full => (20, 40_000, 200),
        };
        Config {
            rounds,
            learned: Learned { games, ..Learned::default() },
            actions: 5,
            generations,
            games: 200,
            rate: 0.1,
            // Every generation ends with a snapshot.
            league: LeagueConfig { timeout: 1, ..LeagueConfig::default() },
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.rounds > 0, "rounds = 0: must be at least 1");
        anyhow::ensure!(
            (3..=50).contains(&config.actions),
            "actions = {}: must be in 3..=50",
            config.actions
        );
        Ok(config.learned.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        oracles(config, ctx)?;
        circle(config, ctx)?;
        ctx.note(
            "In the circular game every pure strategy beats the next ones in turn: what beats the present opponent is beaten by a \
             past one, so the newest player is always exploitable, however it was trained; what approaches equilibrium is the mixture \
             of the population, which is the Nash equilibrium of its table.",
        );
        Ok(())
    }
}

/// NashConv of the population's mixture after every round, in the whole game.
fn oracles(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "kuhn-poker";
    let tree = GameTree::build(&Kuhn)?;
    let solvers = [
        ("exact, Nash", MetaSolver::Nash),
        ("exact, uniform (fictitious play)", MetaSolver::Uniform),
        ("exact, regret matching", MetaSolver::RegretMatching),
        ("exact, last only (self-play)", MetaSolver::Last),
    ];
    let mut lines = Vec::new();
    for (name, solver) in solvers {
        let y = psro(&tree, Psro::new(TreeOracle(&tree), solver)?, config.rounds)?;
        lines.push((name, if solver == MetaSolver::Last { Role::Reference } else { Role::Method }, y));
    }
    let seeds = ctx.seeds(task, "learned");
    let y = ctx.session.once(&format!("{task}/learned"), |_| -> Result<Vec<f64>> {
        let oracle = LearnedOracle::new(&tree, config.learned.clone(), seeds)?;
        psro(&tree, Psro::new(oracle, MetaSolver::Nash)?, config.rounds)
    })?;
    lines.push(("learned, Nash", Role::Method, y));
    for (name, role, y) in &lines {
        ctx.score(task, name, *role, NASH_CONV, config.rounds, y.last().copied().unwrap_or(f64::NAN))?;
    }
    ctx.score(task, "uniform policy", Role::Reference, NASH_CONV, 0, tree.nash_conv(&tree.uniform())?)?;
    let line = |(name, _, y): (&str, Role, Vec<f64>)| Line {
        name: name.into(),
        x: (0..y.len()).map(|r| r as f64).collect(),
        y,
    };
    ctx.figure(Figure {
        name: "psro".into(),
        title: "Kuhn poker: NashConv of the population's mixture".into(),
        x_label: "round".into(),
        y_label: "NashConv".into(),
        lines: lines.into_iter().map(line).collect(),
    });
    Ok(())
}

fn psro<O: Oracle<Policy = Policy>>(tree: &GameTree, mut run: Psro<O>, rounds: u64) -> Result<Vec<f64>> {
    let exact = TreeOracle(tree);
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        // The mixtures are over the policies there were before the round.
        let (rows, columns) = (run.policies().0.to_vec(), run.policies().1.to_vec());
        let round = run.round()?;
        let row = exact.blend(0, &rows, round.row.as_slice());
        let column = exact.blend(1, &columns, round.column.as_slice());
        gaps.push(tree.nash_conv(&exact.profile(&row, &column))?);
    }
    Ok(gaps)
}

/// How opponents are chosen.
#[derive(Clone, Copy, PartialEq)]
enum Matching {
    /// The present self.
    SelfPlay,
    /// Any past self.
    Past,
    /// A league of a main player and two exploiters.
    League,
}

fn circle(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "circle";
    let game = circular(config.actions)?;
    let mut lines = Vec::new();
    for (name, matching) in
        [("self-play", Matching::SelfPlay), ("past selves", Matching::Past), ("league", Matching::League)]
    {
        let mut rng = ctx.seeds(task, name).stream("play", 0);
        let population = Population::grow(&game, matching, config, &mut rng)?;
        let role = if matching == Matching::SelfPlay { Role::Reference } else { Role::Method };
        let step = config.generations * config.games;
        ctx.score(task, name, role, NASH_CONV, step, population.gaps.last().copied().unwrap_or(f64::NAN))?;
        ctx.score(task, name, role, LAST_GAP, step, population.last_gap(&game))?;
        let more = |metric, unit| Measure { metric, unit, higher_is_better: true };
        let spread = population.diversity()?;
        ctx.score(task, name, role, more("diversity", "mean Jensen-Shannon divergence, nats"), step, spread)?;
        let (rating, skill) = population.ratings(&game)?;
        ctx.score(
            task,
            name,
            role,
            more("Elo of the newest main player", "population mean 1200"),
            step,
            rating,
        )?;
        ctx.score(task, name, role, more("advantage over the Nash average", "payoff"), step, skill)?;
        lines.push(Line {
            name: name.into(),
            x: (1..=population.gaps.len()).map(|g| g as f64).collect(),
            y: population.gaps,
        });
    }
    ctx.figure(Figure {
        name: "circle".into(),
        title: "Circular game: NashConv of the population's mixture".into(),
        x_label: "generation".into(),
        y_label: "NashConv".into(),
        lines,
    });
    Ok(())
}

/// Action i beats the next ⌊n/2⌋ actions, by more the farther they are; payoffs in [−1, 1].
fn circular(n: usize) -> Result<DMatrix<f64>> {
    let half = n / 2;
    let pay = |i: usize, j: usize| {
        let ahead = (j + n - i) % n;
        match ahead {
            0 => 0.0,
            d if d <= half && 2 * d != n => d as f64 / half as f64,
            d if 2 * d == n => 0.0,
            d => -((n - d) as f64) / half as f64,
        }
    };
    let rows: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| pay(i, j)).collect()).collect();
    Ok(payoffs(&rows)?)
}

/// Mixed strategies: learners first, then frozen copies, as the league's books number them.
struct Population {
    strategies: Vec<DVector<f64>>,
    books: Books,
    /// After every generation, NashConv of the mixture.
    gaps: Vec<f64>,
}

impl Population {
    fn grow(game: &DMatrix<f64>, matching: Matching, config: &Config, rng: &mut StreamRng) -> Result<Self> {
        let roles: &[Member] = match matching {
            Matching::League => &[Member::Main, Member::MainExploiter, Member::LeagueExploiter],
            _ => &[Member::Main],
        };
        let n = game.nrows();
        // All begin near the first action.
        let mut logits = vec![DVector::from_fn(n, |i, _| if i == 0 { 2.0 } else { 0.0 }); roles.len()];
        let mut population = Self {
            strategies: logits.iter().map(softmax).collect(),
            books: Books::new(config.league, roles)?,
            gaps: Vec::new(),
        };
        for _ in 0..config.generations {
            for (player, logits) in logits.iter_mut().enumerate() {
                for _ in 0..config.games {
                    let opponent = population.opponent(player, matching, rng)?;
                    let gains = game * &population.strategies[opponent];
                    let value = population.strategies[player].dot(&gains);
                    population.books.table.record(player, opponent, (1.0 + value) / 2.0)?;
                    // Policy gradient of the expected payoff in logits, natural: what gains grows.
                    *logits += gains * config.rate;
                    let top = logits.max();
                    logits.iter_mut().for_each(|l| *l = (*l - top).max(-8.0));
                    population.strategies[player] = softmax(logits);
                }
            }
            for player in 0..roles.len() {
                population.books.snapshot(player)?;
                let copy = population.strategies[player].clone();
                population.strategies.push(copy);
            }
            population.gaps.push(population.gap(game)?);
        }
        Ok(population)
    }

    fn opponent(&self, player: usize, matching: Matching, rng: &mut StreamRng) -> Result<usize> {
        let frozen = self.strategies.len() - self.learners();
        Ok(match matching {
            Matching::SelfPlay => player,
            Matching::Past if frozen == 0 => player,
            Matching::Past => self.learners() + rng.random_range(0..frozen),
            Matching::League => self.books.opponent(player, rng)?,
        })
    }

    fn learners(&self) -> usize {
        self.books.members().iter().filter(|m| m.parent.is_none()).count()
    }

    /// Payoffs among all members.
    fn table(&self, game: &DMatrix<f64>) -> DMatrix<f64> {
        let n = self.strategies.len();
        DMatrix::from_fn(n, n, |i, j| {
            if i == j { 0.0 } else { self.strategies[i].dot(&(game * &self.strategies[j])) }
        })
    }

    /// NashConv, in the game, of the equilibrium mixture of the population.
    fn gap(&self, game: &DMatrix<f64>) -> Result<f64> {
        let solution = nash::zero_sum(&self.table(game))?;
        let mix = |weights: &DVector<f64>| {
            let parts = self.strategies.iter().zip(weights.iter()).map(|(s, w)| s * *w);
            parts.fold(DVector::zeros(game.nrows()), |sum, part| sum + part)
        };
        Ok(nash_conv(game, &-game, &mix(&solution.row), &mix(&solution.column)))
    }

    /// NashConv of the first learner's present strategy against itself.
    fn last_gap(&self, game: &DMatrix<f64>) -> f64 {
        nash_conv(game, &-game, &self.strategies[0], &self.strategies[0])
    }

    fn diversity(&self) -> Result<f64> {
        let rows: Vec<DMatrix<f64>> =
            self.strategies.iter().map(|s| DMatrix::from_row_slice(1, s.len(), s.as_slice())).collect();
        match rows.len() {
            0 | 1 => Ok(0.0),
            _ => Ok(diversity::jensen_shannon(&rows)?),
        }
    }

    /// Elo of the newest frozen main player, and its advantage over the Nash average of the population.
    fn ratings(&self, game: &DMatrix<f64>) -> Result<(f64, f64)> {
        // The newest members only: a linear programme per member.
        let first = self.strategies.len().saturating_sub(30);
        let table = self.table(game);
        let part = table.view((first, first), (table.nrows() - first, table.nrows() - first)).clone_owned();
        let wins = part.map(|v| 50.0 * (1.0 + v));
        let main = |i: &usize| self.books.members()[first + i].role == Member::Main;
        let newest = (0..part.nrows()).rev().find(main).unwrap_or(0);
        Ok((elo::fit(&wins)?[newest], nash_average(&part)?.skill[newest]))
    }
}

fn softmax(logits: &DVector<f64>) -> DVector<f64> {
    let top = logits.max();
    let exp = logits.map(|l| (l - top).exp());
    let sum = exp.sum();
    exp / sum
}
