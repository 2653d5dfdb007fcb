//! Traces: episodes stepped by other code, state by state.

use crate::env::foraging::{self, Foraging, Player};
use crate::env::particle::{Config, Flavor, Particle, Placement, Scenario};
use crate::env::{Action, AgentId, MultiAgentEnv, Outcome};
use rl_core::SeedStream;
use rl_core::conformance::{Checker, get};
use serde_json::Value;

const TOLERANCE: f64 = 1e-12;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], String> {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| format!("`{key}` is no array"))
}

/// `mpe_NAME.json`: the maintained package.
pub(super) fn particle(data: &Value, checker: &mut Checker) -> Result<(), String> {
    let name: String = get(data, "env")?;
    let default = Scenario::named(&name).ok_or_else(|| format!("unknown scenario {name}"))?;
    let check = Particle::new(Config { scenario: default, ..Config::default() }).map_err(text)?;
    let names: Vec<String> = check.layout().agents.iter().map(|a| a.name.clone()).collect();
    checker.exact("agents_default", names, get(data, "agents_default")?);
    for (e, episode) in array(data, "episodes")?.iter().enumerate() {
        let what = format!("episode {e}");
        let kwargs = episode.get("kwargs").ok_or("kwargs are missing")?;
        let scenario = resize(default, kwargs)?;
        let max_cycles = kwargs.get("max_cycles").and_then(Value::as_u64).map_or(25, |n| n as usize);
        let continuous = get(episode, "continuous")?;
        let config = Config { scenario, flavor: Flavor::Mpe2, continuous, max_cycles };
        let mut env = Particle::new(config).map_err(text)?;
        let props = episode.get("props").or(data.get("properties"));
        bodies(checker, &what, &env, props.ok_or("properties are missing")?)?;
        env.place(&placement(episode)?).map_err(text)?;
        let first = episode.get("obs0").ok_or("obs0 is missing")?;
        for (i, spec) in env.layout().agents.iter().enumerate() {
            let want: Vec<f64> = get(first, &spec.name)?;
            checker.close_slice(&format!("{what} obs0 {}", spec.name), &see(&env, i), &want, TOLERANCE);
        }
        for (t, step) in array(episode, "steps")?.iter().enumerate() {
            let what = format!("{what} step {t}");
            let outcome = act(&mut env, step, continuous)?;
            compare(checker, &what, &env, &outcome, step)?;
            let n = outcome.rewards.len();
            let done: Vec<bool> = step.get("done").map_or(Ok(vec![false; 2 * n]), |_| get(step, "done"))?;
            checker.exact(&format!("{what} done"), [outcome.terminated, outcome.truncated].concat(), done);
        }
    }
    Ok(())
}

/// `mpe_openai2017_*.json`: the original code; every action is a vector.
pub(super) fn particle_2017(data: &Value, checker: &mut Checker) -> Result<(), String> {
    let envs = data.get("envs").and_then(Value::as_object).ok_or("`envs` is no object")?;
    for (name, data) in envs {
        let scenario = Scenario::named(name).ok_or_else(|| format!("unknown scenario {name}"))?;
        let config =
            Config { scenario, flavor: Flavor::OpenAi2017, continuous: true, max_cycles: usize::MAX };
        let mut env = Particle::new(config).map_err(text)?;
        for (e, episode) in array(data, "episodes")?.iter().enumerate() {
            env.place(&placement(episode)?).map_err(text)?;
            let first: Vec<Vec<f64>> = get(episode, "obs0")?;
            for (i, want) in first.iter().enumerate() {
                checker.close_slice(&format!("{name} {e} obs0 {i}"), &see(&env, i), want, TOLERANCE);
            }
            for (t, step) in array(episode, "steps")?.iter().enumerate() {
                let outcome = act(&mut env, step, true)?;
                compare(checker, &format!("{name} episode {e} step {t}"), &env, &outcome, step)?;
            }
        }
    }
    Ok(())
}

fn act(env: &mut Particle, step: &Value, continuous: bool) -> Result<Outcome, String> {
    let mut outcome = Outcome::new(env.layout().n());
    if continuous {
        env.step_continuous(&get::<Vec<Vec<f64>>>(step, "a")?, &mut outcome).map_err(text)?;
    } else {
        let actions: Vec<usize> = get(step, "a")?;
        let actions: Vec<_> = actions.into_iter().map(|a| Some(Action::Discrete(a))).collect();
        env.step(&actions, &mut SeedStream::new(0).stream("conformance", 0), &mut outcome).map_err(text)?;
    }
    Ok(outcome)
}

fn see(env: &Particle, agent: usize) -> Vec<f64> {
    let mut observation = vec![0.0; env.layout().agents.get(agent).map_or(0, |a| a.observation)];
    env.observation(AgentId(agent), &mut observation);
    observation
}

fn compare(
    checker: &mut Checker,
    what: &str,
    env: &Particle,
    outcome: &Outcome,
    step: &Value,
) -> Result<(), String> {
    let observations: Vec<Vec<f64>> = get(step, "o")?;
    for (i, want) in observations.iter().enumerate() {
        checker.close_slice(&format!("{what} observation {i}"), &see(env, i), want, TOLERANCE);
    }
    checker.close_slice(
        &format!("{what} rewards"),
        &outcome.rewards,
        &get::<Vec<f64>>(step, "r")?,
        TOLERANCE,
    );
    if step.get("p").is_some() {
        for (i, want) in get::<Vec<[f64; 4]>>(step, "p")?.iter().enumerate() {
            let ([x, y], [vx, vy]) =
                (env.position(i).unwrap_or_default(), env.velocity(AgentId(i)).unwrap_or_default());
            checker.close_slice(&format!("{what} state {i}"), &[x, y, vx, vy], want, TOLERANCE);
        }
    }
    Ok(())
}

/// The sizes of a scenario, changed by the Python constructor's keywords.
fn resize(scenario: Scenario, kwargs: &Value) -> Result<Scenario, String> {
    let n =
        |key: &str, default: usize| kwargs.get(key).and_then(Value::as_u64).map_or(default, |n| n as usize);
    let ratio = |default: f64| kwargs.get("local_ratio").and_then(Value::as_f64).unwrap_or(default);
    Ok(match scenario {
        Scenario::Spread { agents, local_ratio } => {
            Scenario::Spread { agents: n("N", agents), local_ratio: ratio(local_ratio) }
        }
        Scenario::Adversary { good } => Scenario::Adversary { good: n("N", good) },
        Scenario::Tag { good, adversaries, obstacles } => Scenario::Tag {
            good: n("num_good", good),
            adversaries: n("num_adversaries", adversaries),
            obstacles: n("num_obstacles", obstacles),
        },
        Scenario::Reference { local_ratio } => Scenario::Reference { local_ratio: ratio(local_ratio) },
        Scenario::WorldComm { good, adversaries, obstacles, food, forests } => Scenario::WorldComm {
            good: n("num_good", good),
            adversaries: n("num_adversaries", adversaries),
            obstacles: n("num_obstacles", obstacles),
            food: n("num_food", food),
            forests: n("num_forests", forests),
        },
        other => other,
    })
}

fn bodies(checker: &mut Checker, what: &str, env: &Particle, props: &Value) -> Result<(), String> {
    let entities: Vec<&Value> = array(props, "agents")?.iter().chain(array(props, "landmarks")?).collect();
    checker.exact(&format!("{what} bodies"), env.bodies().len(), entities.len());
    for (body, want) in env.bodies().iter().zip(entities) {
        let name: String = get(want, "name")?;
        let what = format!("{what} {name}");
        checker.close(&format!("{what} size"), body.size, get(want, "size")?, TOLERANCE);
        checker.exact(&format!("{what} movable"), body.movable, get(want, "movable")?);
        checker.exact(&format!("{what} collide"), body.collide, get(want, "collide")?);
        checker.exact(&format!("{what} max_speed"), body.max_speed, get(want, "max_speed")?);
        checker.exact(
            &format!("{what} accel"),
            body.accel,
            get::<Option<f64>>(want, "accel")?.unwrap_or(5.0),
        );
    }
    Ok(())
}

/// Positions, and the hidden indices in the order [`Placement`] wants them.
fn placement(episode: &Value) -> Result<Placement, String> {
    let init = episode.get("init").ok_or("init is missing")?;
    let positions =
        |key| array(init, key)?.iter().map(|e| get::<[f64; 2]>(e, "pos")).collect::<Result<_, _>>();
    let goals = episode.get("goals").ok_or("goals are missing")?;
    let landmark = |key: &str| goals.get(key).and_then(|g| g.get("landmark")).and_then(Value::as_u64);
    let mut hidden = Vec::new();
    if let Ok(key) = get::<Vec<f64>>(goals, "agent2.key") {
        let index = key.iter().position(|&k| k == 1.0).ok_or("the key is not one-hot")?;
        hidden.extend(landmark("agent0.goal_a"));
        hidden.push(index as u64);
    } else {
        // Who knows a goal: the goal of agent 0 itself, or of the other agents (`goal_b`).
        hidden.extend(landmark("agent0.goal_b").or(landmark("agent0.goal_a")));
        hidden.extend(landmark("agent1.goal_b"));
    }
    let goals = hidden.into_iter().map(|g| g as usize).collect();
    Ok(Placement { agents: positions("agents")?, landmarks: positions("landmarks")?, goals })
}

/// `lbf.json`: level-based foraging.
pub(super) fn foraging(data: &Value, checker: &mut Checker) -> Result<(), String> {
    for (e, episode) in array(data, "episodes")?.iter().enumerate() {
        let players: Vec<Player> =
            triples(episode, "players")?.map(|(row, col, level)| Player { row, col, level }).collect();
        let config = foraging::Config {
            rows: get(episode, "rows")?,
            cols: get(episode, "cols")?,
            players: players.len(),
            food: get(episode, "max_num_food")?,
            sight: get(episode, "sight")?,
            coop: get(episode, "force_coop")?,
            penalty: get(episode, "penalty")?,
            normalize_reward: get(episode, "normalize_reward")?,
            observe_agent_levels: get(episode, "observe_agent_levels")?,
            max_episode_steps: get(episode, "max_episode_steps")?,
            limit_terminates: true,
            ..foraging::Config::default()
        };
        let named = foraging::Config::named(&get::<String>(episode, "id")?).map_err(text)?;
        let sizes = |c: &foraging::Config| (c.rows, c.cols, c.players, c.food, c.sight, c.coop);
        checker.exact(&format!("episode {e} name"), sizes(&named), sizes(&config));
        let mut env = Foraging::new(config).map_err(text)?;
        env.place(&players, &triples(episode, "food")?.collect::<Vec<_>>()).map_err(text)?;
        compare_sight(checker, &format!("episode {e} obs0"), &env, &get::<Vec<Vec<f32>>>(episode, "obs0")?);
        let mut returns = vec![0.0; players.len()];
        for (t, step) in array(episode, "steps")?.iter().enumerate() {
            let outcome = forage(checker, &format!("episode {e} step {t}"), &mut env, step)?;
            returns.iter_mut().zip(&outcome.rewards).for_each(|(sum, r)| *sum += r);
        }
        checker.close_slice(
            &format!("episode {e} return"),
            &returns,
            &get::<Vec<f64>>(episode, "return")?,
            TOLERANCE,
        );
    }
    Ok(())
}

fn forage(checker: &mut Checker, what: &str, env: &mut Foraging, step: &Value) -> Result<Outcome, String> {
    let n = env.players().len();
    let valid = |i| (0..6).filter(|&a| env.possible(AgentId(i), a)).collect::<Vec<usize>>();
    checker.exact(
        &format!("{what} valid"),
        (0..n).map(valid).collect(),
        get::<Vec<Vec<usize>>>(step, "valid")?,
    );
    let actions: Vec<usize> = get(step, "a")?;
    let actions: Vec<_> = actions.into_iter().map(|a| Some(Action::Discrete(a))).collect();
    let mut outcome = Outcome::new(n);
    env.step(&actions, &mut SeedStream::new(0).stream("conformance", 0), &mut outcome).map_err(text)?;
    checker.close_slice(
        &format!("{what} rewards"),
        &outcome.rewards,
        &get::<Vec<f64>>(step, "r")?,
        TOLERANCE,
    );
    let cells: Vec<[usize; 2]> = env.players().iter().map(|p| [p.row, p.col]).collect();
    checker.exact(&format!("{what} positions"), cells, get(step, "pos")?);
    checker.exact(&format!("{what} food"), env.food().collect(), triples(step, "food")?.collect::<Vec<_>>());
    let done: bool = get(step, "done")?;
    checker.exact(&format!("{what} done"), outcome.terminated.clone(), vec![done; n]);
    compare_sight(checker, what, env, &get::<Vec<Vec<f32>>>(step, "o")?);
    Ok(outcome)
}

fn compare_sight(checker: &mut Checker, what: &str, env: &Foraging, want: &[Vec<f32>]) {
    for (i, want) in want.iter().enumerate() {
        let mut got = vec![0.0; env.layout().agents.get(i).map_or(0, |a| a.observation)];
        env.observe(AgentId(i), &mut got);
        checker.exact(&format!("{what} observation {i}"), &got, want);
    }
}

fn triples(value: &Value, key: &str) -> Result<impl Iterator<Item = (usize, usize, usize)> + use<>, String> {
    let rows: Vec<[usize; 3]> = get(value, key)?;
    Ok(rows.into_iter().map(|[a, b, c]| (a, b, c)))
}
