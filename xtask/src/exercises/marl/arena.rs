//! `marl-cooperative`, `marl-competitive`, `marl-mixed`: PointArena's tasks.
//!
//! MADDPG with a joint and with an attention critic and MAPPO with and without messages, beside independent learners,
//! random play, doing nothing, and one line of control. Where interests differ, what a method gets against itself says
//! little: its first team is also measured against opponents that are controlled by that line.

use super::{Any, COPIES, Choice, Method, Recipe, SUM, idle, play, random, train};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use marl::communication;
use marl::env::point_arena::{self, PointArena, Task, proportional_derivative};
use marl::env::{AgentId, Batch, BatchActions, BatchStep, Copies, MultiAgentEnv};
use marl::maddpg::{self, CriticKind};
use marl::measures::{all_within, dispersion_lower_is_tighter, gini_lower_is_fairer};
use marl::ppo;
use marl::sharing::Sharing;
use marl::trainer::{Learner, Mode};
use rl_core::SeedStream;
use rl_core::StreamRng;
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::exercises) struct Cooperative;
pub(in crate::exercises) struct Competitive;
pub(in crate::exercises) struct Mixed;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Evaluations on the way, the last one at the end.
    evaluations: u64,
    /// Episodes of an evaluation.
    episodes: usize,
    /// The arenas, by name.
    arenas: BTreeMap<String, point_arena::Config>,
    /// By name.
    methods: BTreeMap<String, Method>,
}

/// Everyone within this of the origin ...
const NEAR: f64 = 0.5;
/// ... in each of so many last steps is a success of the cooperative task.
const LAST: usize = 20;

fn maddpg() -> maddpg::Config {
    maddpg::Config {
        actor_rate: 1e-3,
        critic_rate: 1e-3,
        batch: 256,
        update_every: 20,
        warm_up: 2_000,
        capacity: 200_000,
        noise: Schedule::Constant(0.2),
        logit_penalty: 1e-4,
        ..maddpg::Config::default()
    }
}

/// The recipes; `teams` is the number of groups.
fn methods(teams: usize, steps: u64, smoke: bool) -> BTreeMap<String, Method> {
    let learner = |config: maddpg::Config| {
        let (batch, warm_up) = if smoke { (16, 100) } else { (config.batch, config.warm_up) };
        Method::of(Recipe::Maddpg(maddpg::Config { batch, warm_up, ..config }), 10, steps)
    };
    let on_policy = |communication| {
        let config = ppo::Config {
            sharing: if teams == 1 { Sharing::All } else { Sharing::Group },
            horizon: 50,
            minibatches: 4,
            entropy: 0.0,
            communication,
            ..ppo::Config::default()
        };
        Method::of(Recipe::Ppo(config), if smoke { 4 } else { 32 }, if smoke { steps } else { 5 * steps })
    };
    let messages =
        communication::Config { kind: communication::Kind::Attention { heads: 4 }, ..Default::default() };
    let mut all = vec![
        ("maddpg", learner(maddpg())),
        (
            "maddpg-attention",
            learner(maddpg::Config { critic: CriticKind::Attention { width: 64, heads: 1 }, ..maddpg() }),
        ),
        ("matd3", learner(maddpg::Config { twin: true, policy_delay: 2, target_noise: 0.2, ..maddpg() })),
        ("ddpg-independent", learner(maddpg::Config { local_critics: (0..teams).collect(), ..maddpg() })),
        ("mappo", on_policy(None)),
    ];
    if teams == 1 {
        all.push(("mappo-messages", on_policy(Some(messages))));
    }
    all.into_iter().map(|(name, method)| (name.to_owned(), method)).collect()
}

fn config(arenas: &[(&str, Task)], teams: usize, preset: Preset) -> Config {
    let (steps, evaluations, episodes) = match preset {
        Preset::Smoke => (1_000, 1, 4),
        Preset::Quick => (60_000, 6, 50),
        Preset::Full => (200_000, 20, 200),
    };
    let arena = |(name, task): &(&str, Task)| {
        let steps = if preset == Preset::Smoke { 30 } else { 200 };
        ((*name).to_owned(), point_arena::Config { task: *task, steps, ..point_arena::Config::default() })
    };
    let mut methods = methods(teams, steps, preset == Preset::Smoke);
    if preset == Preset::Quick {
        methods.retain(|name, _| ["maddpg", "maddpg-attention", "ddpg-independent"].contains(&&name[..]));
    }
    Config { evaluations, episodes, arenas: arenas.iter().map(arena).collect(), methods }
}

fn validate(config: &Config) -> Result<()> {
    anyhow::ensure!(config.episodes > 0, "episodes = 0: must be at least 1");
    config.arenas.values().try_for_each(point_arena::Config::validate)?;
    config.methods.values().try_for_each(Method::validate)
}

impl Exercise for Cooperative {
    type Config = Config;

    const NAME: &'static str = "marl-cooperative";
    const DESCRIPTION: &'static str =
        "Three noisy points go to one place: MADDPG with and without attention, MAPPO with messages";
    const DURATION: [&'static str; 3] = ["10 s", "4 min", "2 h"];

    fn config(preset: Preset) -> Config {
        config(&[("cooperative", Task::Cooperative)], 1, preset)
    }

    fn validate(config: &Config) -> Result<()> {
        validate(config)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        run(config, ctx)?;
        ctx.note(format!(
            "Success: everyone within {NEAR} of the origin in each of the last {LAST} steps. An agent that leaves the arena \
             ends its costs, so the share that stays belongs beside the return."
        ));
        Ok(())
    }
}

impl Exercise for Competitive {
    type Config = Config;

    const NAME: &'static str = "marl-competitive";
    const DESCRIPTION: &'static str =
        "One winner per step: MADDPG, independent learners and controllers against each other";
    const DURATION: [&'static str; 3] = ["10 s", "4 min", "2 h"];

    fn config(preset: Preset) -> Config {
        config(&[("competitive", Task::Competitive)], 3, preset)
    }

    fn validate(config: &Config) -> Result<()> {
        validate(config)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        run(config, ctx)?;
        ctx.note(
            "The sum over agents is the same for any three live agents: what tells methods apart is the return of the first \
             agent against controllers, and how evenly winning is shared in self-play.",
        );
        Ok(())
    }
}

impl Exercise for Mixed {
    type Config = Config;

    const NAME: &'static str = "marl-mixed";
    const DESCRIPTION: &'static str =
        "Teams of points, as the task was set (closeness to opponents pays) and corrected (distance pays)";
    const DURATION: [&'static str; 3] = ["20 s", "8 min", "4 h"];

    fn config(preset: Preset) -> Config {
        let mut config =
            config(&[("mixed", Task::Mixed), ("mixed-corrected", Task::MixedCorrected)], 2, preset);
        // Two teams of two: with three agents the first task has three teams of one.
        config.arenas.values_mut().for_each(|arena| arena.agents = 4);
        config
    }

    fn validate(config: &Config) -> Result<()> {
        validate(config)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        run(config, ctx)?;
        ctx.note("Task `mixed` pays for being close to opponents, as it was set; `mixed-corrected` pays for distance.");
        Ok(())
    }
}

fn run(config: &Config, ctx: &mut Context) -> Result<()> {
    for (task, arena) in &config.arenas {
        let env = PointArena::new(*arena)?;
        for (name, policy) in REFERENCES {
            scripted(ctx, (task, name), env.clone(), config.episodes, policy)?;
        }
        for (name, method) in &config.methods {
            learned(ctx, (task, name), &env, method, config)?;
        }
    }
    Ok(())
}

type Scripted = fn(&PointArena, AgentId, &mut StreamRng, &mut [f32]) -> Choice;

const REFERENCES: [(&str, Scripted); 4] =
    [("random", random), ("idle", idle), ("controller", controller), ("apart", apart)];

/// To the origin: a = clip(−2p − 2v), from the noisy observation.
fn controller(env: &PointArena, agent: AgentId, _: &mut StreamRng, action: &mut [f32]) -> Choice {
    let mut seen = vec![0.0; env.layout().agents[agent.0].observation];
    env.observe(agent, &mut seen);
    action.copy_from_slice(&proportional_derivative(&seen));
    Choice::Continuous
}

/// Teams gather on different sides: the same control toward (±2, 0).
fn apart(env: &PointArena, agent: AgentId, _: &mut StreamRng, action: &mut [f32]) -> Choice {
    let mut seen = vec![0.0; env.layout().agents[agent.0].observation];
    env.observe(agent, &mut seen);
    seen[0] -= if env.config().team(agent.0).is_multiple_of(2) { 2.0 } else { -2.0 };
    action.copy_from_slice(&proportional_derivative(&seen));
    Choice::Continuous
}

/// Positions in one episode, `[T][N]`.
type Path = Vec<Vec<[f64; 2]>>;

/// What an evaluation leaves, averaged over its episodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Measured {
    sum: f64,
    per_agent: Vec<f64>,
    dispersion: f64,
    success: f64,
    stayed: f64,
    gini: f64,
    /// The first episode, per agent: x and y.
    paths: Vec<[Vec<f64>; 2]>,
}

impl Measured {
    /// From positions `[episode][T][N]` and returns `[episode][N]`; `stayed` is the share of agents alive at the end.
    fn new(paths: &[Path], returns: &[Vec<f64>], stayed: f64) -> Self {
        let (episodes, n) = (returns.len().max(1) as f64, returns.first().map_or(0, Vec::len));
        let mean = |f: &dyn Fn(&Path) -> f64| paths.iter().map(f).sum::<f64>() / paths.len().max(1) as f64;
        let tight = |path: &Path| {
            path.iter().map(|p| dispersion_lower_is_tighter(p)).sum::<f64>() / path.len().max(1) as f64
        };
        let success = |path: &Path| f64::from(u8::from(all_within(path, [0.0; 2], NEAR, LAST)));
        let per_agent: Vec<f64> =
            (0..n).map(|i| returns.iter().map(|r| r[i]).sum::<f64>() / episodes).collect();
        // Rewards of the competitive task lie in [−0.1, 1]: shifted, they are shares of winning.
        let shares: Vec<f64> =
            per_agent.iter().map(|r| r - per_agent.iter().copied().fold(0.0, f64::min)).collect();
        let line = |i: usize, axis: usize| paths.first().into_iter().flatten().map(|p| p[i][axis]).collect();
        Self {
            sum: per_agent.iter().sum(),
            dispersion: mean(&tight),
            success: mean(&success),
            stayed,
            gini: if shares.iter().sum::<f64>() > 0.0 { gini_lower_is_fairer(&shares) } else { 0.0 },
            paths: (0..n).map(|i| [line(i, 0), line(i, 1)]).collect(),
            per_agent,
        }
    }

    fn hand_in(&self, ctx: &mut Context, (task, name): (&str, &str), role: Role, step: u64) -> Result<()> {
        let more = |metric, unit| Measure { metric, unit, higher_is_better: true };
        ctx.score(task, name, role, SUM, step, self.sum)?;
        ctx.score(task, name, role, more("agents still in the arena", "share"), step, self.stayed)?;
        ctx.score(
            task,
            name,
            role,
            Measure::error("dispersion", "distance to the centroid"),
            step,
            self.dispersion,
        )?;
        match task {
            "cooperative" => ctx.score(task, name, role, more("success", "share"), step, self.success)?,
            "competitive" => {
                ctx.score(
                    task,
                    name,
                    role,
                    Measure::error("inequality", "Gini of winning"),
                    step,
                    self.gini,
                )?;
            }
            _ => {}
        }
        let lines = self.paths.iter().enumerate().map(|(i, [x, y])| Line {
            name: format!("agent {i}"),
            x: x.clone(),
            y: y.clone(),
        });
        ctx.figure(Figure {
            name: format!("{task}-{name}-trajectory"),
            title: format!("{task}, {name}: an episode"),
            x_label: "x".into(),
            y_label: "y".into(),
            lines: lines.collect(),
        });
        Ok(())
    }
}

fn position(env: &PointArena, agent: usize) -> [f64; 2] {
    env.agent_state(AgentId(agent)).map_or([0.0; 2], |s| [s[0], s[1]])
}

fn scripted(
    ctx: &mut Context,
    (task, name): (&str, &str),
    mut env: PointArena,
    episodes: usize,
    policy: Scripted,
) -> Result<()> {
    let seeds = ctx.seeds(task, name);
    let n = env.layout().n();
    let measured = ctx.session.once(&format!("{task}/{name} evaluation"), |_| -> Result<Measured> {
        let mut paths: Vec<Path> = vec![Vec::new(); episodes];
        let look = |episode: usize, env: &PointArena| {
            paths[episode].push((0..n).map(|i| position(env, i)).collect());
        };
        let returns = play(&mut env, episodes, &seeds, policy, look)?;
        let radius = env.config().radius;
        let inside = |path: &Path| {
            path.last().map_or(0, |last| last.iter().filter(|p| p[0].hypot(p[1]) <= radius).count())
        };
        let stayed = paths.iter().map(inside).sum::<usize>() as f64 / (n * episodes) as f64;
        Ok(Measured::new(&paths, &returns, stayed))
    })?;
    measured.hand_in(ctx, (task, name), Role::Reference, 0)
}

/// A learner whose agents from some index on are controlled by the one line instead.
struct Against<'a> {
    learner: &'a mut Any,
    /// Which agents the line controls.
    controlled: Vec<bool>,
}

impl Learner for Against<'_> {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> marl::Result<()> {
        self.learner.act(now, mode, rng, actions)?;
        for (i, _) in self.controlled.iter().enumerate().filter(|(_, c)| **c) {
            let width = now.observations[i].len() / now.reset.len();
            let rows = now.observations[i].chunks(width).zip(actions.continuous[i].chunks_mut(2));
            rows.for_each(|(seen, action)| action.copy_from_slice(&proportional_derivative(seen)));
        }
        Ok(())
    }

    fn learn(&mut self, _: &BatchStep, _: &BatchStep, _: &mut StreamRng) -> marl::Result<()> {
        Ok(())
    }
}

fn learned(
    ctx: &mut Context,
    (task, name): (&str, &str),
    env: &PointArena,
    method: &Method,
    config: &Config,
) -> Result<()> {
    let plan = (config.evaluations, config.episodes);
    let (mut learner, last) =
        train(ctx, task, name, method, plan, |copies| Ok(Copies::new(env.clone(), copies)))?;
    let seeds = SeedStream::new(ctx.seeds(task, name).derive("final", 0));
    let nobody = vec![false; env.layout().n()];
    let measured = ctx.session.once(&format!("{task}/{name} evaluation"), |_| -> Result<Measured> {
        evaluate(&mut Against { learner: &mut learner, controlled: nobody }, env, config.episodes, &seeds)
    })?;
    measured.hand_in(ctx, (task, name), Role::Method, last.step)?;
    if task != "cooperative" {
        let controlled = (0..env.layout().n()).map(|i| env.config().team(i) != 0).collect();
        let measured =
            ctx.session.once(&format!("{task}/{name} against controllers"), |_| -> Result<Measured> {
                evaluate(&mut Against { learner: &mut learner, controlled }, env, config.episodes, &seeds)
            })?;
        let team = (0..env.layout().n()).filter(|&i| env.config().team(i) == 0);
        let first: f64 = team.map(|i| measured.per_agent[i]).sum();
        let measure = Measure {
            metric: "return of the first team against controllers",
            unit: "sum over its agents",
            higher_is_better: true,
        };
        ctx.score(task, name, Role::Method, measure, last.step, first)?;
    }
    if let Any::Maddpg(learner) = &mut learner {
        attention(ctx, (task, name), learner, env)?;
    }
    Ok(())
}

/// Plays with the learner and looks at the arenas.
fn evaluate(
    learner: &mut Against<'_>,
    env: &PointArena,
    episodes: usize,
    seeds: &SeedStream,
) -> Result<Measured> {
    let (n, copies) = (env.layout().n(), COPIES.min(episodes));
    let mut running: Vec<Path> = vec![Vec::new(); copies];
    let (mut paths, mut out, mut ended) = (Vec::new(), 0, 0);
    let mut batch = Copies::new(env.clone(), copies);
    let returns = marl::trainer::watch(learner, &mut batch, episodes, seeds, |batch, step| {
        for (b, env) in batch.envs().iter().enumerate() {
            if step.reset[b] {
                ended += 1;
                paths.push(std::mem::take(&mut running[b]));
            } else {
                running[b].push((0..n).map(|i| position(env, i)).collect());
            }
            out += (0..n).filter(|&i| step.terminated[i][b]).count();
        }
    })?;
    paths.truncate(episodes);
    let stayed = 1.0 - out as f64 / (n * ended.max(1)) as f64;
    Ok(Measured::new(&paths, &returns, stayed))
}

/// Whom the first agent's critic looks at in the course of an episode.
fn attention(
    ctx: &mut Context,
    (task, name): (&str, &str),
    learner: &mut maddpg::Maddpg,
    env: &PointArena,
) -> Result<()> {
    let n = env.layout().n();
    let mut batch = Copies::new(env.clone(), COPIES);
    let mut now = BatchStep::new(batch.layout(), COPIES);
    let mut actions = BatchActions::new(batch.layout(), COPIES);
    let seeds = SeedStream::new(ctx.seeds(task, name).derive("attention", 0));
    let mut rng = seeds.stream("act", 0);
    batch.reset(&seeds, &mut now)?;
    let mut lines: Vec<Line> =
        (0..n).map(|j| Line { name: format!("on agent {j}"), x: vec![], y: vec![] }).collect();
    for t in 0..env.config().steps - 1 {
        let Some(weights) = learner.attention(0, &now)? else { return Ok(()) };
        for (j, line) in lines.iter_mut().enumerate() {
            line.x.push(t as f64);
            let all = weights.chunks(n).map(|row| f64::from(row[j]));
            line.y.push(all.sum::<f64>() / (weights.len() / n) as f64);
        }
        learner.act(&now, Mode::Exploit, &mut rng, &mut actions)?;
        batch.step(&actions, &mut now)?;
    }
    ctx.figure(Figure {
        name: format!("{task}-{name}-attention"),
        title: format!("{task}, {name}: attention of the first agent's critic"),
        x_label: "step of the episode".into(),
        y_label: "mean weight".into(),
        lines,
    });
    Ok(())
}
