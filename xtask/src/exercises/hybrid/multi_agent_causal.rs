//! `hybrid-multi-agent-causal`: agents who learn one structure from statistics that are summed in secret, and act on it.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use causal::data::Table;
use causal::discovery::{Knowledge, PcConfig, pc};
use causal::graph::{Mark, MixedGraph, shd};
use causal::independence::FisherZ;
use hybrid::multi_agent_causal::{Blueprint, Statistics, SupplyLine, secure_sum};
use marl::tabular::{self, Learners, Rule};
use rl_core::SeedStream;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct HybridMultiAgentCausal;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Random structures per seed, over which everything is averaged.
    structures: u64,
    /// Variables of each.
    variables: usize,
    /// Probability of an edge.
    density: f64,
    /// Numbers of agents, ascending from 1.
    agents: Vec<usize>,
    /// Samples per agent, ascending.
    samples: Vec<usize>,
    /// The mean structural Hamming distance that counts as found: 4, about half of the edges of such a structure.
    found: f64,
    /// Discovery.
    pc: PcConfig,
    /// Price of an action in the supply line.
    price: f64,
    /// The learners who play; rule and steps are set by the exercise.
    tabular: tabular::Config,
}

const SHD: Measure = Measure::error("structural Hamming distance", "edges");
const DIFFER: Measure =
    Measure::error("edges that differ from those of the pooled raw data", "per structure");
const NEEDED: Measure = Measure::error("samples per agent until the structure is found", "");
const BYTES: Measure = Measure::error("bytes sent per agent", "");
const PAYOFF: Measure = Measure { metric: "payoff of the team", unit: "", higher_is_better: true };
/// Agents of the supply line; each owns one early and one late stage.
const TEAM: usize = 4;

impl Exercise for HybridMultiAgentCausal {
    type Config = Config;

    const NAME: &'static str = "hybrid-multi-agent-causal";
    const DESCRIPTION: &'static str = "Agents sum sufficient statistics in secret to learn one causal structure, and a team that needs it to know who should act";
    const DURATION: [&'static str; 3] = ["2 s", "1 min", "15 min"];

    fn config(preset: Preset) -> Config {
        let config = Config {
            structures: 20,
            variables: 8,
            density: 0.3,
            agents: vec![1, 2, 4, 8, 16],
            samples: vec![25, 50, 100, 200, 400],
            found: 4.0,
            pc: PcConfig { alpha: 0.01, ..PcConfig::default() },
            price: 0.4,
            tabular: tabular::Config { gamma: 0.0, ..tabular::Config::default() },
        };
        match preset {
            Preset::Smoke => Config { structures: 1, agents: vec![1, 2], samples: vec![25, 50], ..config },
            Preset::Quick => config,
            Preset::Full => Config {
                structures: 100,
                agents: vec![1, 2, 4, 8, 16, 32],
                samples: vec![25, 50, 100, 200, 400, 800],
                ..config
            },
        }
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Smoke { 1 } else { 5 }
    }

    fn validate(config: &Config) -> Result<()> {
        config.pc.validate()?;
        config.tabular.validate()?;
        let ascends = |v: &[usize]| !v.is_empty() && v.windows(2).all(|w| w[0] < w[1]);
        anyhow::ensure!(ascends(&config.agents) && config.agents[0] == 1, "agents: must ascend from 1");
        anyhow::ensure!(config.agents.iter().all(|&n| n <= 255), "agents: at most 255");
        anyhow::ensure!(ascends(&config.samples) && config.samples[0] > 15, "samples: must ascend from 16");
        anyhow::ensure!((3..=12).contains(&config.variables), "variables: must be from 3 to 12");
        anyhow::ensure!(config.structures > 0, "structures = 0: must be at least 1");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let mut lines = vec![];
        let mut distances = vec![];
        for &samples in &config.samples {
            let streams = ctx.streams;
            let found = ctx.session.once(
                &format!("{samples} samples/discovery"),
                |stage| -> Result<Vec<Pooled>> {
                    let mut total = vec![Pooled::default(); config.agents.len()];
                    for k in 0..config.structures {
                        let seeds = SeedStream::new(streams.derive("structure", k));
                        structure(config, samples, seeds, &mut total)?;
                        stage.progress(k + 1, config.structures)?;
                    }
                    Ok(total)
                },
            )?;
            hand_in(config, samples, &found, ctx)?;
            let mean: Vec<f64> = found.iter().map(|p| p.distance / config.structures as f64).collect();
            lines.push(Line {
                name: format!("{samples} samples per agent"),
                x: config.agents.iter().map(|&n| n as f64).collect(),
                y: mean.clone(),
            });
            distances.push(mean);
        }
        needed(config, &distances, ctx)?;
        ctx.figure(Figure {
            name: "distance-by-agents".into(),
            title: "Structural Hamming distance by agents who pool".into(),
            x_label: "agents".into(),
            y_label: "structural Hamming distance".into(),
            lines,
        });
        for &samples in &config.samples {
            supply_line(config, samples, ctx)?;
        }
        ctx.note("Every pooled structure comes from the secure sum; `edges that differ` compares it with PC on the pooled raw rows.");
        ctx.note("Votes are over graphs that agents learned alone. Learners who play get expected payoffs without noise, and as many plays as the team has samples.");
        Ok(())
    }
}

/// Sums over structures, for one number of agents.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Pooled {
    distance: f64,
    vote: f64,
    differs: f64,
    bytes: f64,
}

fn structure(config: &Config, samples: usize, seeds: SeedStream, total: &mut [Pooled]) -> Result<()> {
    let line = Blueprint::random(config.variables, config.density, &mut seeds.stream("line", 0))?;
    let scm = line.scm()?;
    let truth = scm.dag().to_cpdag()?.into_mixed();
    let most = config.agents.last().copied().unwrap_or(1);
    let draw = |i| scm.sample(samples, &mut seeds.stream("rows", i));
    let tables: Vec<Table> = (0..most as u64).map(draw).collect::<Result<_, _>>()?;
    let own: Vec<Statistics> = tables.iter().map(Statistics::of).collect();
    let discover = |s: &Statistics| s.discover(&config.pc, &Knowledge::none());
    let alone: Vec<MixedGraph> = own.iter().map(discover).collect::<Result<_, _>>()?;
    for (&n, total) in config.agents.iter().zip(total) {
        if n == 1 {
            total.distance += shd(&truth, &alone[0])? as f64;
            total.vote += shd(&truth, &alone[0])? as f64;
            continue;
        }
        let (sum, traffic) = secure_sum(&own[..n], SeedStream::new(seeds.derive("secure", n as u64)))?;
        let found = discover(&sum)?;
        total.distance += shd(&truth, &found)? as f64;
        total.vote += voted_distance(&truth, &alone[..n]);
        total.bytes += traffic.bytes_up as f64 / n as f64;
        let raw = pooled(&tables[..n])?;
        let want = pc(&FisherZ::new(&raw)?, raw.names(), &config.pc, &Knowledge::none())?.graph;
        total.differs += shd(&want, &found)? as f64;
    }
    Ok(())
}

fn pooled(tables: &[Table]) -> Result<Table> {
    let column = |c: usize| tables.iter().flat_map(|t| t.columns()[c].iter().copied()).collect();
    Ok(Table::new(tables[0].names().to_vec(), (0..tables[0].len()).map(column).collect())?)
}

/// Pairs on which the most frequent opinion of the graphs is not the truth.
fn voted_distance(truth: &MixedGraph, graphs: &[MixedGraph]) -> f64 {
    let p = truth.len();
    let mut wrong = 0.0;
    for a in 0..p {
        for b in a + 1..p {
            let mut opinions: Vec<(Option<(Mark, Mark)>, usize)> = vec![];
            for opinion in graphs.iter().map(|g| g.edge(a, b)) {
                match opinions.iter_mut().find(|(o, _)| *o == opinion) {
                    Some((_, votes)) => *votes += 1,
                    None => opinions.push((opinion, 1)),
                }
            }
            let winner = opinions.iter().max_by_key(|(_, votes)| *votes).map(|(o, _)| *o);
            wrong += f64::from(u8::from(winner != Some(truth.edge(a, b))));
        }
    }
    wrong
}

fn named(n: usize) -> String {
    if n == 1 { "1 agent".into() } else { format!("{n} agents, pooled") }
}

fn hand_in(config: &Config, samples: usize, found: &[Pooled], ctx: &mut Context) -> Result<()> {
    let (task, structures) = (format!("{samples} samples per agent"), config.structures as f64);
    for (&n, pooled) in config.agents.iter().zip(found) {
        let role = if n == 1 { Role::Reference } else { Role::Method };
        ctx.score(&task, &named(n), role, SHD, samples as u64, pooled.distance / structures)?;
        if n > 1 {
            let vote = pooled.vote / structures;
            ctx.score(&task, &format!("{n} agents, vote"), Role::Reference, SHD, samples as u64, vote)?;
            ctx.score(&task, &named(n), role, DIFFER, samples as u64, pooled.differs / structures)?;
            if Some(&samples) == config.samples.first() {
                ctx.score("traffic", &named(n), role, BYTES, 0, pooled.bytes / structures)?;
            }
        }
    }
    Ok(())
}

/// Samples per agent at which the mean distance is small enough; twice the most tried where it never is.
fn needed(config: &Config, distances: &[Vec<f64>], ctx: &mut Context) -> Result<()> {
    let most = config.samples.last().copied().unwrap_or(0);
    let mut line = Line { name: "pooled".into(), x: vec![], y: vec![] };
    for (k, &n) in config.agents.iter().enumerate() {
        let first = distances.iter().position(|d| d[k] <= config.found);
        let needed = first.map_or(2 * most, |i| config.samples[i]) as f64;
        let role = if n == 1 { Role::Reference } else { Role::Method };
        ctx.score("discovery", &named(n), role, NEEDED, 0, needed)?;
        line.x.push(n as f64);
        line.y.push(needed);
    }
    ctx.figure(Figure {
        name: "samples-by-agents".into(),
        title: format!("Samples per agent until the distance is at most {}", config.found),
        x_label: "agents".into(),
        y_label: "samples per agent".into(),
        lines: vec![line],
    });
    Ok(())
}

/// The team task: mean payoffs over random lines.
fn supply_line(config: &Config, samples: usize, ctx: &mut Context) -> Result<()> {
    const METHODS: [(&str, Role); 5] = [
        ("pooled structure", Role::Method),
        ("structure, each alone", Role::Reference),
        ("pooled correlations", Role::Ablation),
        ("independent Q-learners", Role::Reference),
        ("oracle", Role::Reference),
    ];
    let streams = ctx.streams;
    let totals =
        ctx.session.once(&format!("{samples} samples/supply line"), |stage| -> Result<[f64; 5]> {
            let mut totals = [0.0; 5];
            for k in 0..config.structures {
                let seeds = SeedStream::new(streams.derive("supply line", k));
                let payoffs = payoffs(config, samples, seeds)?;
                totals.iter_mut().zip(payoffs).for_each(|(t, p)| *t += p / config.structures as f64);
                stage.progress(k + 1, config.structures)?;
            }
            Ok(totals)
        })?;
    for ((method, role), payoff) in METHODS.into_iter().zip(totals) {
        let task = format!("supply line, {samples} samples per agent");
        ctx.score(&task, method, role, PAYOFF, samples as u64, payoff)?;
    }
    Ok(())
}

fn payoffs(config: &Config, samples: usize, seeds: SeedStream) -> Result<[f64; 5]> {
    let blueprint = Blueprint::random(2 * TEAM + 1, config.density, &mut seeds.stream("line", 0))?;
    let owned = (0..TEAM).map(|i| vec![i, i + TEAM]).collect();
    let task = SupplyLine { blueprint, owned, price: config.price };
    let scm = task.blueprint.scm()?;
    let draw = |i| Ok(Statistics::of(&scm.sample(samples, &mut seeds.stream("rows", i))?));
    let own: Vec<Statistics> = (0..TEAM as u64).map(draw).collect::<Result<_>>()?;
    let (sum, _) = secure_sum(&own, seeds)?;
    let alone = own.iter().map(|s| Blueprint::learn(s, &config.pc)).collect::<Result<Vec<_>, _>>()?;
    let (game, steps) = (task.game(), samples * TEAM);
    let learning = tabular::Config { rule: Rule::Independent, steps, ..config.tabular };
    let learners = Learners::train(&game, learning, &mut seeds.stream("play", 0))?;
    Ok([
        task.play(&vec![Blueprint::learn(&sum, &config.pc)?; TEAM]),
        task.play(&alone),
        task.play(&vec![Blueprint::correlations(&sum)?; TEAM]),
        task.payoff(&task.blueprint, learners.greedy(0)),
        task.play(&vec![task.blueprint.clone(); TEAM]),
    ])
}
