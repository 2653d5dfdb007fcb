//! Equilibria in pure policies: by enumeration, and component by component of the relevance graph.

use super::diagram::{InfluenceDiagram, Policy};
use super::relevance::relevance_components;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// More joint policies than this are not enumerated.
const MOST_POLICIES: usize = 1 << 16;
/// Utilities closer than this are equal.
const TIE: f64 = 1e-9;

/// All Nash equilibria in pure policies, by the definition: no agent gains by changing all its rules.
///
/// # Errors
/// [`Error::TooLarge`] beyond 2¹⁶ joint policies.
pub fn pure_nash_equilibria(game: &InfluenceDiagram) -> Result<Vec<Policy>> {
    component_equilibria(game, &game.decisions(), &Policy::new())
}

/// All subgame-perfect equilibria in pure policies (Hammond et al. 2021): the components of the relevance graph are
/// solved in order, decisions that are settled later mixing uniformly, so that every circumstance counts. A rule for
/// circumstances that chance excludes is action 0. Empty when some component has no equilibrium in pure policies.
///
/// # Errors
/// [`Error::TooLarge`] when a component has more than 2¹⁶ joint policies, or ties leave more than 2¹⁶ equilibria.
pub fn subgame_perfect_equilibria(game: &InfluenceDiagram) -> Result<Vec<Policy>> {
    let mut settled = vec![Policy::new()];
    for component in relevance_components(game)? {
        let mut longer = Vec::new();
        for policy in &settled {
            longer.extend(match component[..] {
                [single] => optimal_rules(game, single, policy)?,
                _ => component_equilibria(game, &component, policy)?,
            });
            if longer.len() > MOST_POLICIES {
                let reason = format!(
                    "ties leave more than {MOST_POLICIES} equilibria; backward_induction returns one"
                );
                return Err(Error::TooLarge { operation: "subgame_perfect_equilibria", reason });
            }
        }
        settled = longer;
    }
    Ok(settled)
}

/// One subgame-perfect equilibrium of a game whose relevance graph has no cycle; ties go to the lowest action
/// (Koller & Milch 2003, algorithm 6.1).
///
/// # Errors
/// [`Error::InvalidGraph`] when decisions rely on each other: use [`subgame_perfect_equilibria`] then.
pub fn backward_induction(game: &InfluenceDiagram) -> Result<Policy> {
    let mut policy = Policy::new();
    for component in relevance_components(game)? {
        let [single] = component[..] else {
            let names: Vec<&str> = component.iter().map(|&d| game.dag().name(d)).collect();
            let reason = format!("{} rely on each other; use subgame_perfect_equilibria", names.join(", "));
            return Err(Error::InvalidGraph { kind: "game for backward induction", reason });
        };
        let best = best_actions(game, single, &policy);
        policy.insert(single, best.into_iter().map(|ties| ties[0]).collect());
    }
    Ok(policy)
}

/// The actions that are best for the agent of `d` in each configuration of its parents; only 0 where it cannot occur.
fn best_actions(game: &InfluenceDiagram, d: usize, policy: &Policy) -> Vec<Vec<usize>> {
    let actions = game.nodes()[d].cardinality;
    let rows = game.configurations(d);
    let stakes = game.stakes(d);
    let (mut weight, mut value) = (vec![0.0; rows], vec![0.0; rows * actions]);
    game.for_each_outcome(policy, &[], Some(d), |probability, values| {
        let row = game.configuration(d, values);
        weight[row] += probability;
        value[row * actions + values[d]] += probability * game.payoff(&stakes, values);
    });
    let best = |row: usize| {
        if weight[row] <= 0.0 {
            return vec![0];
        }
        let of_row = &value[row * actions..][..actions];
        let most = of_row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (0..actions).filter(|&a| of_row[a] >= most - TIE * weight[row]).collect()
    };
    (0..rows).map(best).collect()
}

/// `policy` with every optimal rule of `d`.
fn optimal_rules(game: &InfluenceDiagram, d: usize, policy: &Policy) -> Result<Vec<Policy>> {
    let best = best_actions(game, d, policy);
    let sizes: Vec<usize> = best.iter().map(Vec::len).collect();
    let rule = |code: usize| digits(code, &sizes).iter().zip(&best).map(|(&i, ties)| ties[i]).collect();
    let extended = |code: usize| {
        let mut longer = policy.clone();
        longer.insert(d, rule(code));
        longer
    };
    Ok((0..count("subgame_perfect_equilibria", &sizes)?).map(extended).collect())
}

/// `settled` with every combination of rules of `decisions` from which no agent gains by leaving alone.
fn component_equilibria(
    game: &InfluenceDiagram,
    decisions: &[usize],
    settled: &Policy,
) -> Result<Vec<Policy>> {
    // One digit per decision and configuration of its parents.
    let slots: Vec<(usize, usize)> =
        decisions.iter().map(|&d| (game.configurations(d), game.nodes()[d].cardinality)).collect();
    let sizes: Vec<usize> = slots.iter().flat_map(|&(rows, actions)| vec![actions; rows]).collect();
    let owners: Vec<Option<usize>> =
        decisions.iter().zip(&slots).flat_map(|(&d, s)| vec![game.owner(d); s.0]).collect();
    let total = count("pure_nash_equilibria", &sizes)?;
    let policy = |code: usize| {
        let all = digits(code, &sizes);
        let (mut policy, mut from) = (settled.clone(), 0);
        for (&d, &(rows, _)) in decisions.iter().zip(&slots) {
            policy.insert(d, all[from..from + rows].to_vec());
            from += rows;
        }
        policy
    };
    let utilities =
        (0..total).map(|code| game.expected_utilities(&policy(code))).collect::<Result<Vec<_>>>()?;
    let mut stable = vec![true; total];
    for agent in 0..game.agents() {
        // Policies that agree in what the others do compete with each other.
        let mut best: BTreeMap<Vec<usize>, f64> = BTreeMap::new();
        let others = |code: usize| {
            let all = digits(code, &sizes);
            all.into_iter().zip(&owners).map(|(a, owner)| if *owner == Some(agent) { 0 } else { a }).collect()
        };
        for (code, utility) in utilities.iter().enumerate() {
            let most = best.entry(others(code)).or_insert(f64::NEG_INFINITY);
            *most = most.max(utility[agent]);
        }
        for (code, utility) in utilities.iter().enumerate() {
            stable[code] &= best.get(&others(code)).is_some_and(|most| utility[agent] >= most - TIE);
        }
    }
    Ok((0..total).filter(|&code| stable[code]).map(policy).collect())
}

/// ∏ sizes, when it can be enumerated.
fn count(operation: &'static str, sizes: &[usize]) -> Result<usize> {
    let total = sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s)).filter(|n| *n <= MOST_POLICIES);
    total.ok_or_else(|| {
        let reason = format!("{} rule entries have more than {MOST_POLICIES} combinations", sizes.len());
        Error::TooLarge { operation, reason }
    })
}

/// The digits of `code` in the mixed radix `sizes`, last fastest.
fn digits(mut code: usize, sizes: &[usize]) -> Vec<usize> {
    let mut digits = vec![0; sizes.len()];
    for (digit, &size) in digits.iter_mut().zip(sizes).rev() {
        *digit = code % size;
        code /= size;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::super::{GameNode, relevance_graph};
    use super::*;
    use proptest::prelude::*;

    /// A two-by-two game; payoffs row-major over (first, second).
    fn matrix(seen: bool, first: [f64; 4], second: [f64; 4]) -> InfluenceDiagram {
        let sees: &[usize] = if seen { &[0] } else { &[] };
        InfluenceDiagram::new(vec![
            GameNode::decision("d0", &[], 0, 2),
            GameNode::decision("d1", sees, 1, 2),
            GameNode::utility("u0", &[0, 1], 0, first.to_vec()),
            GameNode::utility("u1", &[0, 1], 1, second.to_vec()),
        ])
        .unwrap()
    }

    #[test]
    fn dilemma_coordination_and_pennies() {
        let dilemma = matrix(false, [-1.0, -3.0, 0.0, -2.0], [-1.0, 0.0, -3.0, -2.0]);
        assert_eq!(pure_nash_equilibria(&dilemma).unwrap(), [Policy::from([(0, vec![1]), (1, vec![1])])]);
        let coordination = matrix(false, [2.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 1.0]);
        assert_eq!(subgame_perfect_equilibria(&coordination).unwrap().len(), 2);
        let pennies = matrix(false, [1.0, -1.0, -1.0, 1.0], [-1.0, 1.0, 1.0, -1.0]);
        assert!(pure_nash_equilibria(&pennies).unwrap().is_empty());
        assert!(subgame_perfect_equilibria(&pennies).unwrap().is_empty());
        assert!(backward_induction(&pennies).is_err());
    }

    #[test]
    fn an_empty_threat_is_nash_and_not_subgame_perfect() {
        // Entry: 0 stays out (0, 2), 1 enters; the incumbent fights (−1, −1) or yields (1, 1).
        let entry = matrix(true, [0.0, 0.0, -1.0, 1.0], [2.0, 2.0, -1.0, 1.0]);
        let threat = Policy::from([(0, vec![0]), (1, vec![0, 0])]);
        assert!(pure_nash_equilibria(&entry).unwrap().contains(&threat));
        let perfect = subgame_perfect_equilibria(&entry).unwrap();
        assert!(!perfect.contains(&threat) && perfect.len() == 2, "{perfect:?}");
        assert!(perfect.iter().all(|p| p[&0] == [1] && p[&1][1] == 1));
        assert_eq!(entry.expected_utilities(&backward_induction(&entry).unwrap()).unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn what_agents_know_of_an_intervention_changes_what_they_do() {
        // Weather (sun 0.8) decides; the walker does not see it and leaves the umbrella at home.
        let game = InfluenceDiagram::new(vec![
            GameNode::chance("rain", &[], 2, vec![0.8, 0.2]),
            GameNode::decision("umbrella", &[], 0, 2),
            GameNode::utility("comfort", &[0, 1], 0, vec![1.0, 0.5, -1.0, 0.5]),
        ])
        .unwrap();
        let usual = backward_induction(&game).unwrap();
        assert_eq!(usual[&1], [0]);
        assert_eq!(
            game.utilities_after(&usual, &[(0, 1)]).unwrap(),
            [-1.0],
            "post-policy: surprised by rain"
        );
        let warned = game.intervene(0, 1).unwrap();
        let umbrella = backward_induction(&warned).unwrap();
        assert_eq!(
            warned.expected_utilities(&umbrella).unwrap(),
            [0.5],
            "pre-policy: the forecast was heard"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// Random games with a chance node and up to three movers who see some earlier moves: what is settled component by
        /// component is a Nash equilibrium of the whole, and no rule of it can be improved where others mix.
        #[test]
        fn settled_by_components_is_nash_by_enumeration(
            payoffs in proptest::collection::vec(-5i8..5, 48),
            sees in proptest::collection::vec(any::<bool>(), 6),
            rain in 0.1f64..0.9,
        ) {
            let seen = |who: usize, bits: &[bool]| (0..who).filter(|&v| bits[v]).collect::<Vec<_>>();
            let mut nodes = vec![GameNode::chance("rain", &[], 2, vec![1.0 - rain, rain])];
            nodes.push(GameNode::decision("d1", &seen(1, &sees[..1]), 0, 2));
            nodes.push(GameNode::decision("d2", &seen(2, &sees[1..3]), 1, 2));
            nodes.push(GameNode::decision("d3", &seen(3, &sees[3..6]), 2, 2));
            for agent in 0..3 {
                let table = payoffs[16 * agent..][..16].iter().map(|&p| f64::from(p)).collect();
                nodes.push(GameNode::utility(["u1", "u2", "u3"][agent], &[0, 1, 2, 3], agent, table));
            }
            let game = InfluenceDiagram::new(nodes).unwrap();
            let nash = pure_nash_equilibria(&game).unwrap();
            let perfect = subgame_perfect_equilibria(&game).unwrap();
            prop_assert!(perfect.iter().all(|p| nash.contains(p)));
            match backward_induction(&game) {
                Ok(one) => prop_assert!(perfect.contains(&one)),
                Err(_) => prop_assert!(relevance_graph(&game).unwrap().len() >= 2),
            }
        }

        /// A rule that ignores what does not reach it: changing an irrelevant rule never changes the best actions.
        #[test]
        fn irrelevant_rules_do_not_matter(payoffs in proptest::collection::vec(-5i8..5, 8), rule in 0usize..2) {
            let table = |from: usize| std::array::from_fn(|i| f64::from(payoffs[from + i]));
            let game = matrix(true, table(0), table(4));
            let mixed = best_actions(&game, 1, &Policy::new());
            let fixed = best_actions(&game, 1, &Policy::from([(0, vec![rule])]));
            prop_assert_eq!(&mixed[rule], &fixed[rule], "where it can occur at all");
        }
    }
}
