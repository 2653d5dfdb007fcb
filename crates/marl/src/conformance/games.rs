//! Game theory: values, equilibria, dynamics and learners against independent computations.

use crate::games::correlated::{Kind, Objective, correlated};
use crate::games::dynamics::{FictitiousPlay, replicator};
use crate::games::extensive::{GameTree, Policy};
use crate::games::poker::{Kuhn, Leduc};
use crate::games::regret::RegretMatching;
use crate::games::stochastic::ZeroSumStochastic;
use crate::games::{cfr::Cfr, nash, nash_conv, pareto_set, payoffs, stackelberg};
use crate::measures::{additive_fit, counterfactual_advantages};
use crate::population::alpha_rank::alpha_rank;
use crate::population::nash_averaging::nash_average;
use crate::population::psro::{MatrixOracle, MetaSolver, Psro};
use nalgebra::{DMatrix, DVector};
use rl_core::conformance::{Checker, get};
use rl_core::experiment::stats;
use rl_core::returns::{Steps, gae};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const TOLERANCE: f64 = 1e-9;

type Outcome = Result<(), String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// `games.json`; a section that is missing is an error, one that is unknown is not.
pub(super) fn check(data: &Value, checker: &mut Checker) -> Outcome {
    zero_sum(data, checker)?;
    for game in list(data, "bimatrix")? {
        bimatrix(game, checker)?;
    }
    repeated(section(data, "matrix_env_returns_25_steps")?, checker)?;
    replicators(section(data, "replicator_rk4_dt0.01_single_population")?, data, checker)?;
    let fp = "fictitious_play_simultaneous_lowest_index_ties_integer_counts_init_action0";
    fictitious(section(data, fp)?, data, checker)?;
    matching(section(data, "regret_matching_full_info_simultaneous")?, data, checker)?;
    sequential(section(data, "sequential")?, checker)?;
    stochastic(section(data, "zero_sum_stochastic_game")?, checker)?;
    oracles(section(data, "double_oracle_start_action0_both_add")?, data, checker)?;
    alpha_ranks(section(data, "alpharank")?, checker)?;
    let averaging = section(data, "nash_averaging")?;
    let rated = nash_average(&matrix(averaging, "A")?).map_err(text)?;
    checker.close_slice(
        "Nash average",
        rated.mixture.as_slice(),
        &get::<Vec<f64>>(averaging, "maxent_nash")?,
        TOLERANCE,
    );
    checker.close_slice("skill", rated.skill.as_slice(), &get::<Vec<f64>>(averaging, "skill")?, TOLERANCE);
    toys(section(data, "ctde_toys")?, checker)?;
    statistics(section(data, "eval_statistics")?, checker)?;
    estimators(data, checker)
}

fn section<'a>(data: &'a Value, key: &str) -> Result<&'a Value, String> {
    data.get(key).ok_or_else(|| format!("section `{key}` is missing"))
}

fn list<'a>(data: &'a Value, key: &str) -> Result<&'a [Value], String> {
    section(data, key)?.as_array().map(Vec::as_slice).ok_or_else(|| format!("`{key}` is no array"))
}

fn object<'a>(data: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    data.as_object().ok_or_else(|| format!("{what} is no object"))
}

fn matrix(value: &Value, key: &str) -> Result<DMatrix<f64>, String> {
    payoffs(&get::<Vec<Vec<f64>>>(value, key)?).map_err(text)
}

/// The payoff matrix of a named zero-sum game.
fn named(data: &Value, name: &str) -> Result<DMatrix<f64>, String> {
    let game = list(data, "zero_sum")?.iter().find(|g| g.get("name").and_then(Value::as_str) == Some(name));
    matrix(game.ok_or_else(|| format!("no zero-sum game {name}"))?, "A")
}

fn zero_sum(data: &Value, checker: &mut Checker) -> Outcome {
    for game in list(data, "zero_sum")? {
        let (name, a): (String, _) = (get(game, "name")?, matrix(game, "A")?);
        let solution = nash::zero_sum(&a).map_err(text)?;
        checker.close(&format!("{name} value"), solution.value, get(game, "value")?, TOLERANCE);
        let gap = nash_conv(&a, &-&a, &solution.row, &solution.column);
        checker.close(&format!("{name} NashConv"), gap, 0.0, TOLERANCE);
    }
    Ok(())
}

fn bimatrix(game: &Value, checker: &mut Checker) -> Outcome {
    let (name, a, b): (String, _, _) = (get(game, "name")?, matrix(game, "A")?, matrix(game, "B")?);
    checker.exact(&format!("{name} pure"), nash::pure(&a, &b).map_err(text)?, get(game, "pure_nash")?);
    checker.exact(&format!("{name} Pareto"), pareto_set(&a, &b).map_err(text)?, get(game, "pareto")?);
    let found = nash::support_enumeration(&a, &b).map_err(text)?;
    let wanted = list(game, "nash_support_enum")?;
    checker.exact(&format!("{name} number of equilibria"), found.len(), wanted.len());
    for (k, want) in wanted.iter().enumerate() {
        let flat = |e: &nash::Equilibrium| {
            [e.row.as_slice(), e.column.as_slice(), &[e.payoffs.0, e.payoffs.1]].concat()
        };
        let want = [get::<Vec<f64>>(want, "row")?, get(want, "col")?, get(want, "payoffs")?].concat();
        let gap = |got: &[f64]| got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        let nearest = found.iter().map(flat).min_by(|x, y| gap(x).total_cmp(&gap(y))).unwrap_or_default();
        checker.close_slice(&format!("{name} equilibrium {k}"), &nearest, &want, TOLERANCE);
    }
    let plans = [
        ("ce_max_welfare", Kind::Correlated, Objective::Welfare),
        ("ce_min_welfare", Kind::Correlated, Objective::LeastWelfare),
        ("cce_max_welfare", Kind::Coarse, Objective::Welfare),
        ("cce_min_welfare", Kind::Coarse, Objective::LeastWelfare),
    ];
    for (key, kind, objective) in plans {
        let (row, column) = correlated(&a, &b, kind, objective).map_err(text)?.payoffs;
        checker.close(&format!("{name} {key}"), row + column, get(game, key)?, TOLERANCE);
    }
    checker.close(&format!("{name} max welfare"), (&a + &b).max(), get(game, "max_welfare")?, TOLERANCE);
    let leader = section(game, "stackelberg_row_leader")?;
    let (mixed, pure) = (section(leader, "mixed")?, section(leader, "pure")?);
    let best = stackelberg::mixed(&a, &b).map_err(text)?;
    checker.close(&format!("{name} mixed commitment"), best.leader, get(mixed, "leader")?, TOLERANCE);
    let response = b.tr_mul(&best.strategy).max();
    checker.close(&format!("{name} response"), best.follower, response, TOLERANCE);
    let best = stackelberg::pure(&a, &b).map_err(text)?;
    checker.close(&format!("{name} pure leader"), best.leader, get(pure, "leader")?, TOLERANCE);
    checker.close(&format!("{name} pure follower"), best.follower, get(pure, "follower")?, TOLERANCE);
    let maximin = |a: &DMatrix<f64>| nash::zero_sum(a).map(|s| s.value).map_err(text);
    checker.close(&format!("{name} row maximin"), maximin(&a)?, get(game, "row_maximin")?, TOLERANCE);
    checker.close(
        &format!("{name} col maximin"),
        maximin(&b.transpose())?,
        get(game, "col_maximin")?,
        TOLERANCE,
    );
    Ok(())
}

/// Optimal and safe returns of the repeated coordination games, by playing them.
fn repeated(data: &Value, checker: &mut Checker) -> Outcome {
    use crate::env::{
        Action, Parallel,
        matrix::{Config, Matrix},
    };
    let play = |game: Config, joint: [usize; 2]| -> Result<f64, String> {
        let mut env = Parallel::new(Matrix::new(game).map_err(text)?);
        env.reset(0);
        let (mut sum, actions) = (0.0, joint.map(|a| Some(Action::Discrete(a))));
        while env.agents().next().is_some() {
            sum += env.step(&actions).map_err(text)?.rewards[0];
        }
        Ok(sum)
    };
    let (climbing, penalty) = (section(data, "climbing")?, section(data, "penalty")?);
    let cases = [
        ("climbing optimum", Config::climbing(), [0, 0], get(climbing, "opt")?),
        ("climbing second equilibrium", Config::climbing(), [1, 1], get(climbing, "second_nash")?),
        ("penalty optimum", Config::penalty(-50.0), [0, 2], get(penalty, "opt")?),
        ("penalty safe", Config::penalty(-50.0), [1, 1], get(penalty, "safe")?),
    ];
    for (what, game, joint, want) in cases {
        checker.close(what, play(game, joint)?, want, TOLERANCE);
    }
    Ok(())
}

fn replicators(data: &Value, all: &Value, checker: &mut Checker) -> Outcome {
    for (name, case) in object(data, "replicator")? {
        let from_bimatrix = || {
            let game = list(all, "bimatrix")
                .ok()?
                .iter()
                .find(|g| g.get("name").and_then(Value::as_str) == Some(name));
            matrix(game?, "A").ok()
        };
        let a = match (matrix(case, "A"), named(all, name), from_bimatrix()) {
            (Ok(a), ..) | (_, Ok(a), _) | (.., Some(a)) => a,
            _ => return Err(format!("no payoffs for replicator {name}")),
        };
        let x = DVector::from_vec(get::<Vec<f64>>(case, "x0")?);
        for (steps, want) in get::<BTreeMap<String, Vec<f64>>>(case, "after_steps")? {
            let steps: usize = steps.parse().map_err(text)?;
            let got = replicator(&a, &x, 0.01, steps).map_err(text)?;
            checker.close_slice(
                &format!("replicator {name} after {steps}"),
                got.as_slice(),
                &want,
                TOLERANCE,
            );
        }
    }
    Ok(())
}

/// The checkpoints of a case, in order.
fn checkpoints(case: &Value, what: &str) -> Result<BTreeMap<usize, Value>, String> {
    object(case, what)?.iter().map(|(t, v)| Ok((t.parse().map_err(text)?, v.clone()))).collect()
}

fn fictitious(data: &Value, all: &Value, checker: &mut Checker) -> Outcome {
    for (name, case) in object(data, "fictitious play")? {
        let a = named(all, name)?;
        let mut play = FictitiousPlay::new(&a, &-&a).map_err(text)?;
        let mut t = 1;
        for (until, want) in checkpoints(case, name)? {
            (t..until).for_each(|_| _ = play.step());
            t = until;
            let (x, y) = play.averages();
            let what = format!("fictitious play {name} at {t}");
            checker.close_slice(&what, x.as_slice(), &get::<Vec<f64>>(&want, "row")?, TOLERANCE);
            checker.close_slice(&what, y.as_slice(), &get::<Vec<f64>>(&want, "col")?, TOLERANCE);
            checker.close(&what, nash_conv(&a, &-&a, &x, &y), get(&want, "nashconv")?, TOLERANCE);
        }
    }
    Ok(())
}

fn matching(data: &Value, all: &Value, checker: &mut Checker) -> Outcome {
    let [row, column]: [Vec<f64>; 2] = get(data, "init_regrets")?;
    for (key, plus) in [("rm", false), ("rm_plus", true)] {
        for (name, case) in object(section(data, key)?, key)? {
            let a = named(all, name)?;
            let mut learner = RegretMatching::new(&a, &-&a, plus, &row, &column).map_err(text)?;
            let mut t = 0;
            for (until, want) in checkpoints(case, name)? {
                (t..until).for_each(|_| learner.step());
                t = until;
                let [x, y] = learner.averages();
                let what = format!("{key} {name} at {t}");
                checker.close_slice(&what, x.as_slice(), &get::<Vec<f64>>(&want, "row_avg")?, TOLERANCE);
                checker.close_slice(&what, y.as_slice(), &get::<Vec<f64>>(&want, "col_avg")?, TOLERANCE);
                checker.close(&what, nash_conv(&a, &-&a, &x, &y), get(&want, "nashconv")?, TOLERANCE);
            }
        }
    }
    Ok(())
}

fn sequential(data: &Value, checker: &mut Checker) -> Outcome {
    for (name, case) in object(data, "sequential")? {
        let tree = match name.as_str() {
            "kuhn_poker" => GameTree::build(&Kuhn),
            "leduc_poker" => GameTree::build(&Leduc),
            _ => return Err(format!("unknown game {name}")),
        };
        let tree = tree.map_err(text)?;
        checker.exact(&format!("{name} information sets"), tree.sets().len(), get(case, "n_infosets")?);
        let conv = |policy: &Policy| tree.nash_conv(policy).map_err(text);
        let value = |policy: &Policy| tree.value(policy).map(|v| v[0]).map_err(text);
        let uniform = tree.uniform();
        checker.close(&format!("{name} uniform"), conv(&uniform)?, get(case, "uniform_nashconv")?, TOLERANCE);
        checker.close(
            &format!("{name} uniform"),
            conv(&uniform)? / 2.0,
            get(case, "uniform_exploitability")?,
            TOLERANCE,
        );
        checker.close(
            &format!("{name} uniform"),
            value(&uniform)?,
            get(case, "uniform_value_p0")?,
            TOLERANCE,
        );
        let first = tree
            .sets()
            .iter()
            .map(|s| (0..s.actions.len()).map(|k| f64::from(u8::from(k == 0))).collect())
            .collect();
        checker.close(
            &format!("{name} first"),
            conv(&first)?,
            get(case, "always_first_action_nashconv")?,
            TOLERANCE,
        );
        for (key, plus) in [("cfr", false), ("cfr_plus", true)] {
            solve(&format!("{name} {key}"), &tree, plus, section(case, key)?, checker)?;
        }
        if let Some(family) = case.get("equilibrium_family_bet_prob_by_infoset") {
            for (alpha, member) in object(family, "equilibria")? {
                let bets: BTreeMap<String, f64> = get(member, "bet_prob")?;
                let bet = |key: &str| bets.get(key).copied().unwrap_or(0.0);
                let policy = tree.policy(|key, a| if a == 1 { bet(key) } else { 1.0 - bet(key) });
                let what = format!("{name} equilibrium {alpha}");
                checker.close(&what, conv(&policy)?, get(member, "nashconv")?, TOLERANCE);
                checker.close(&what, value(&policy)?, get(member, "value_p0")?, TOLERANCE);
            }
        }
    }
    Ok(())
}

fn solve(what: &str, tree: &GameTree, plus: bool, case: &Value, checker: &mut Checker) -> Outcome {
    let mut cfr = Cfr::new(tree, plus);
    let mut t = 0;
    for (until, want) in checkpoints(case, what)? {
        (t..until).for_each(|_| cfr.iterate());
        t = until;
        let policy = cfr.average();
        let what = format!("{what} at {t}");
        checker.close(&what, tree.nash_conv(&policy).map_err(text)?, get(&want, "nashconv")?, TOLERANCE);
        checker.close(&what, tree.value(&policy).map_err(text)?[0], get(&want, "value_p0")?, TOLERANCE);
        let Some(probabilities) = want.get("policy") else { continue };
        for (key, want) in object(probabilities, "policy")? {
            let set =
                tree.sets().iter().position(|s| s.key == *key).ok_or_else(|| format!("no set {key}"))?;
            for (k, action) in tree.sets()[set].actions.iter().enumerate() {
                checker.close(
                    &format!("{what} {key}"),
                    policy[set][k],
                    get(want, &action.to_string())?,
                    TOLERANCE,
                );
            }
        }
    }
    Ok(())
}

fn stochastic(data: &Value, checker: &mut Checker) -> Outcome {
    let rewards: Vec<Vec<Vec<f64>>> = get(data, "R")?;
    let game = ZeroSumStochastic {
        gamma: get(data, "gamma")?,
        rewards: rewards.iter().map(|r| payoffs(r)).collect::<Result<_, _>>().map_err(text)?,
        transitions: get(data, "P")?,
    };
    let solution = game.solve(1e-12).map_err(text)?;
    checker.close_slice("stochastic game V", &solution.values, &get::<Vec<f64>>(data, "V")?, TOLERANCE);
    let team = game.team_values(1e-12).map_err(text)?;
    checker.close_slice("team V", &team, &get::<Vec<f64>>(data, "V_if_common_payoff_max")?, TOLERANCE);
    for (s, stage) in solution.stages.iter().enumerate() {
        checker.close(&format!("stage {s}"), stage.value, solution.values[s], TOLERANCE);
    }
    Ok(())
}

fn oracles(data: &Value, all: &Value, checker: &mut Checker) -> Outcome {
    for (name, rounds) in object(data, "double oracle")? {
        let rounds = rounds.as_array().ok_or("the rounds are no array")?;
        let mut run = Psro::new(MatrixOracle(named(all, name)?), MetaSolver::Nash).map_err(text)?;
        for (k, want) in rounds.iter().enumerate() {
            let what = format!("double oracle {name} round {k}");
            let sorted = |policies: &[usize]| {
                let mut sorted = policies.to_vec();
                sorted.sort_unstable();
                sorted
            };
            let (rows, columns) = run.policies();
            checker.exact(&what, [sorted(rows), sorted(columns)], [get(want, "I")?, get(want, "J")?]);
            let round = run.round().map_err(text)?;
            checker.close(&what, round.value, get(want, "meta_value")?, TOLERANCE);
            checker.close(&what, round.nash_conv, get(want, "nashconv")?, TOLERANCE);
        }
    }
    Ok(())
}

fn alpha_ranks(data: &Value, checker: &mut Checker) -> Outcome {
    for (name, case) in object(data, "alpha-rank")? {
        let (a, b) = (matrix(case, "A")?, matrix(case, "B")?);
        for (alpha, want) in object(section(case, "pi")?, "pi")? {
            let what = format!("alpha-rank {name} at {alpha}");
            let mass = alpha_rank(&a, &b, alpha.parse().map_err(text)?, get(case, "m")?).map_err(text)?;
            match want.as_array() {
                Some(_) => checker.close_slice(
                    &what,
                    &mass,
                    &get::<Vec<f64>>(section(case, "pi")?, alpha)?,
                    TOLERANCE,
                ),
                // The other computation found no unique answer; a distribution is all that can be asked for.
                None => checker.close(&what, mass.iter().sum(), 1.0, TOLERANCE),
            }
        }
    }
    Ok(())
}

/// What value decomposition can represent: the additive least-squares fits, and the optimum of the two-step game.
fn toys(data: &Value, checker: &mut Checker) -> Outcome {
    for (name, toy) in object(data, "toys")? {
        let pairs =
            [("payoff", "vdn_uniform_least_squares_Qtot"), ("payoff_2B", "vdn_uniform_least_squares_2B")];
        for (payoff, fit) in
            pairs.iter().filter(|(payoff, fit)| toy.get(payoff).is_some() && toy.get(fit).is_some())
        {
            let (got, want) = (additive_fit(&matrix(toy, payoff)?), matrix(toy, fit)?);
            checker.close_slice(&format!("additive fit {name}"), got.as_slice(), want.as_slice(), TOLERANCE);
        }
        if let Ok(optimal) = get::<f64>(toy, "optimal") {
            checker.close(&format!("optimum {name}"), matrix(toy, "payoff")?.max(), optimal, TOLERANCE);
        }
        if let Ok(optimal) = get::<f64>(toy, "optimal_return") {
            let best = matrix(toy, "payoff_2A")?.max().max(matrix(toy, "payoff_2B")?.max());
            checker.close(&format!("optimum {name}"), best, optimal, TOLERANCE);
        }
    }
    Ok(())
}

fn statistics(data: &Value, checker: &mut Checker) -> Outcome {
    let columns = |key: &str| -> Result<Vec<Vec<f64>>, String> {
        let runs: Vec<Vec<f64>> = get(data, key)?;
        let tasks = runs.first().map_or(0, Vec::len);
        Ok((0..tasks)
            .map(|t| runs.iter().map(|run| run.get(t).copied().unwrap_or(f64::NAN)).collect())
            .collect())
    };
    let (x, y) = (columns("scores_runs_x_tasks_X")?, columns("Y")?);
    let all: Vec<f64> = x.iter().flatten().copied().collect();
    checker.close("mean", stats::mean(&all), get(data, "mean")?, TOLERANCE);
    let means: Vec<f64> = x.iter().map(|task| stats::mean(task)).collect();
    checker.close(
        "median of means",
        stats::quantile(&means, 0.5),
        get(data, "median_of_task_means")?,
        TOLERANCE,
    );
    checker.close("IQM", stats::aggregate_iqm(&x), get(data, "iqm")?, TOLERANCE);
    let capped: Vec<f64> = all.iter().map(|s| s.min(1.0)).collect();
    checker.close(
        "optimality gap",
        1.0 - stats::mean(&capped),
        get(data, "optimality_gap_gamma1")?,
        TOLERANCE,
    );
    let improvement = stats::probability_of_improvement(&x, &y);
    checker.close("improvement", improvement, get(data, "probability_of_improvement_X_over_Y")?, TOLERANCE);
    for (threshold, want) in get::<BTreeMap<String, f64>>(data, "performance_profile")? {
        let share = stats::performance_profile(&x, &[threshold.parse().map_err(text)?])[0];
        checker.close(&format!("profile at {threshold}"), share, want, TOLERANCE);
    }
    Ok(())
}

fn estimators(data: &Value, checker: &mut Checker) -> Outcome {
    let coma = section(data, "coma_advantage")?;
    let (policy, q): (Vec<f64>, Vec<f64>) = (get(coma, "pi")?, get(coma, "q")?);
    let advantages = counterfactual_advantages(&policy, &q);
    checker.close_slice(
        "counterfactual advantages",
        &advantages,
        &get::<Vec<f64>>(coma, "advantages")?,
        TOLERANCE,
    );
    checker.close("counterfactual baseline", q[0] - advantages[0], get(coma, "baseline")?, TOLERANCE);
    let case = section(data, "gae")?;
    let (rewards, values): (Vec<f64>, Vec<f64>) = (get(case, "r")?, get(case, "v")?);
    let (gamma, lambda): (f64, f64) = (get(case, "gamma")?, get(case, "lam")?);
    let (flags, n) = (vec![false; rewards.len()], rewards.len());
    if values.len() != n + 1 {
        return Err("gae: one value more than rewards is needed".into());
    }
    let steps = Steps {
        batch: 1,
        rewards: &rewards,
        next_values: &values[1..],
        terminated: &flags,
        truncated: &flags,
    };
    let advantages = gae(&steps, &values[..n], gamma, lambda).map_err(text)?;
    checker.close_slice("gae", &advantages, &get::<Vec<f64>>(case, "adv")?, TOLERANCE);
    let returns: Vec<f64> = advantages.iter().zip(&values).map(|(a, v)| a + v).collect();
    checker.close_slice("gae returns", &returns, &get::<Vec<f64>>(case, "returns")?, TOLERANCE);
    // The λ-return is the value plus the advantage (Schulman et al. 2016, section 3).
    checker.close_slice("TD(λ) targets", &returns, &get::<Vec<f64>>(case, "td_lambda_targets")?, TOLERANCE);
    Ok(())
}
