//! Curricula: which easier tasks teach the right thing, and in which order skills are learned.
//!
//! Li, Zhang & Bareinboim, *Causally aligned curriculum learning* (ICLR 2024): a source task changes the mechanisms of some
//! variables of the target. It is aligned with the target for an action X when the optimal rule of X cannot depend on the
//! change: a selection node at every changed variable is d-separated from the reward given X and what X sees. Actions
//! that X relies on must be aligned too; this condition is checked by strategic relevance
//! ([`games`](crate::games::is_strategically_relevant)), as the paper's order of actions does for its own setting.
//!
//! Skills: an edge of the goal graph means "needed before"; a curriculum is an order in which everything needed comes
//! first, and each stage starts from the values of the one before.

use super::mdp::{Mdp, QLearningConfig, q_learning};
use crate::error::{Error, Result};
use crate::games::mechanism_matters;
use crate::graph::{Admg, Dag, NodeSet, node_set};
use rand::Rng;

/// The `actions` whose optimal rules stay optimal in a source task that changes the mechanisms of `edited`; the parents of
/// an action are what it sees.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] when an action or the reward is in more than one role.
pub fn aligned_actions(
    diagram: &Admg,
    edited: &[usize],
    actions: &[usize],
    reward: usize,
) -> Result<Vec<usize>> {
    let operation = "aligned_actions";
    let (edits, _) = checked(operation, diagram, edited, actions, reward)?;
    let matters = |node: usize, action: usize| {
        let mut given = diagram.dag().parents(action);
        given.push(action);
        mechanism_matters(diagram, node, &[reward], &given)
    };
    let mut aligned = Vec::new();
    for &action in actions {
        let mut keeps = true;
        for edit in edits.ones() {
            keeps = keeps && !matters(edit, action)?;
        }
        if keeps {
            aligned.push(action);
        }
    }
    // An action that relies on one whose rule may change may have to change with it.
    loop {
        let mut left = Vec::new();
        for &action in &aligned {
            let mut keeps = true;
            for &other in actions.iter().filter(|other| !aligned.contains(other)) {
                keeps = keeps && (other == action || !matters(other, action)?);
            }
            if keeps {
                left.push(action);
            }
        }
        if left.len() == aligned.len() {
            return Ok(left);
        }
        aligned = left;
    }
}

/// The variables that may be changed, all at once and in any way, while `action` keeps its optimal rule as long as the
/// other actions keep theirs: the largest set of edits, because separated selection nodes are separated together.
///
/// # Errors
/// As [`aligned_actions`].
pub fn editable_variables(
    diagram: &Admg,
    action: usize,
    actions: &[usize],
    reward: usize,
) -> Result<Vec<usize>> {
    let (_, roles) = checked("editable_variables", diagram, &[], actions, reward)?;
    node_set("editable_variables", diagram.len(), &[action])?;
    let mut given = diagram.dag().parents(action);
    given.push(action);
    let mut editable = Vec::new();
    for v in (0..diagram.len()).filter(|&v| v != action && !roles.contains(v)) {
        if !mechanism_matters(diagram, v, &[reward], &given)? {
            editable.push(v);
        }
    }
    Ok(editable)
}

fn checked(
    operation: &'static str,
    diagram: &Admg,
    edited: &[usize],
    actions: &[usize],
    reward: usize,
) -> Result<(NodeSet, NodeSet)> {
    let edits = node_set(operation, diagram.len(), edited)?;
    let mut roles = node_set(operation, diagram.len(), actions)?;
    node_set(operation, diagram.len(), &[reward])?;
    let shared = edits.intersection(&roles).next().or_else(|| roles.contains(reward).then_some(reward));
    if let Some(v) = shared {
        return Err(Error::Overlap { operation, name: diagram.name(v).into() });
    }
    roles.insert(reward);
    Ok((edits, roles))
}

/// The goals on the way to `target` in an order in which whatever is needed comes before, `target` last; goals that are
/// not needed are left out. Ties by index.
///
/// # Errors
/// [`Error::Node`] for a target out of range.
pub fn prerequisite_order(goals: &Dag, target: usize) -> Result<Vec<usize>> {
    node_set("prerequisite_order", goals.len(), &[target])?;
    let needed = goals.ancestors(&[target]);
    Ok(goals.topological_order().into_iter().filter(|&g| needed.contains(g)).collect())
}

/// What [`learn_in_stages`] leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages {
    /// Q after the last stage, `[S, A]` row-major.
    pub q: Vec<f64>,
    /// Episodes spent in each stage; the configured number when a stage was not mastered.
    pub episodes: Vec<usize>,
    /// Steps over all stages.
    pub steps: usize,
}

/// Q-learning through a sequence of tasks over the same states and actions, each beginning with the values of the one
/// before. A stage is mastered, and left, when `streak` episodes in a row reached a terminal state before the cut-off.
///
/// # Errors
/// As [`q_learning`]; [`Error::Shape`] without a task.
pub fn learn_in_stages(
    tasks: &[Mdp],
    start: usize,
    streak: usize,
    config: &QLearningConfig,
    rng: &mut impl Rng,
) -> Result<Stages> {
    let Some(first) = tasks.first() else {
        return Err(Error::shape("learn_in_stages", "at least one task", "none"));
    };
    let mut stages = Stages { q: vec![0.0; first.states * first.actions], episodes: Vec::new(), steps: 0 };
    let one = QLearningConfig { episodes: 1, ..config.clone() };
    for task in tasks {
        let (mut episodes, mut good) = (0, 0);
        let none = vec![0.0; task.states];
        while episodes < config.episodes && good < streak {
            let learned = q_learning(task, start, std::mem::take(&mut stages.q), &none, &one, rng)?;
            stages.q = learned.q;
            let steps = learned.steps[0];
            good = if steps < config.max_steps { good + 1 } else { 0 };
            stages.steps += steps;
            episodes += 1;
        }
        stages.episodes.push(episodes);
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::{GameNode, InfluenceDiagram, backward_induction};
    use proptest::prelude::*;
    use rl_core::SeedStream;

    #[test]
    fn what_an_action_sees_may_be_edited_and_what_it_does_not_may_not() {
        // 0 context → 1 action (sees it), 0 → 2 reward, 1 → 2, 3 hidden luck → 2.
        let diagram = Admg::from_edges(4, &[(0, 1), (0, 2), (1, 2), (3, 2)], &[]).unwrap();
        assert_eq!(editable_variables(&diagram, 1, &[1], 2).unwrap(), [0]);
        assert_eq!(aligned_actions(&diagram, &[0], &[1], 2).unwrap(), [1]);
        assert!(aligned_actions(&diagram, &[3], &[1], 2).unwrap().is_empty());
        // A hidden common cause of context and reward makes the context's law matter.
        let confounded = Admg::from_edges(4, &[(0, 1), (0, 2), (1, 2), (3, 2)], &[(0, 2)]).unwrap();
        assert!(editable_variables(&confounded, 1, &[1], 2).unwrap().is_empty());
        assert!(
            aligned_actions(&diagram, &[1], &[1], 2).is_err()
                && aligned_actions(&diagram, &[9], &[1], 2).is_err()
        );
    }

    #[test]
    fn two_steps_the_later_action_first() {
        // s1 0 → x1 1 → s2 2 → x2 3 → reward 4, s1 → s2, s2 → reward: how s2 arises matters to x1 alone.
        let edges = [(0, 1), (1, 2), (0, 2), (2, 3), (2, 4), (3, 4)];
        let diagram = Admg::from_edges(5, &edges, &[]).unwrap();
        assert_eq!(aligned_actions(&diagram, &[2], &[1, 3], 4).unwrap(), [3]);
        assert_eq!(editable_variables(&diagram, 3, &[1, 3], 4).unwrap(), [0, 2]);
        assert_eq!(editable_variables(&diagram, 1, &[1, 3], 4).unwrap(), [0]);
    }

    #[test]
    fn needed_goals_come_first_and_others_not_at_all() {
        let goals = Dag::from_edges(6, &[(3, 1), (1, 0), (4, 0), (3, 5)]).unwrap();
        assert_eq!(prerequisite_order(&goals, 0).unwrap(), [3, 1, 4, 0]);
        assert!(prerequisite_order(&goals, 6).is_err());
    }

    /// Five skills; states are the sets held. Trying a skill works with 0.9 when its prerequisites are held; trying one
    /// out of order loses everything. The task ends when `goal` is held.
    fn workshop(goals: &Dag, goal: usize) -> Mdp {
        let (n, states) = (goals.len(), 1 << goals.len());
        let mut transition = vec![0.0; states * n * states];
        let mut reward = vec![0.0; states * n];
        for s in 0..states {
            for a in 0..n {
                let row = (s * n + a) * states;
                let ready = goals.parents(a).iter().all(|&u| s >> u & 1 == 1) && s >> a & 1 == 0;
                if ready {
                    transition[row + (s | 1 << a)] = 0.9;
                    transition[row + s] += 0.1;
                    reward[s * n + a] = if a == goal { 0.9 } else { 0.0 };
                } else {
                    transition[row] = 1.0;
                }
            }
        }
        let terminal = (0..states).map(|s| s >> goal & 1 == 1).collect();
        Mdp { states, actions: n, transition, reward, terminal, discount: 0.95 }
    }

    #[test]
    fn in_order_of_prerequisites_the_target_takes_fewer_episodes() {
        let goals = Dag::from_edges(6, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]).unwrap();
        let config = QLearningConfig { episodes: 3000, max_steps: 25, learning_rate: 0.3, exploration: 0.2 };
        let order = prerequisite_order(&goals, 5).unwrap();
        let staged: Vec<Mdp> = order.iter().map(|&g| workshop(&goals, g)).collect();
        let episodes = |tasks: &[Mdp], seed: u64| {
            let mut rng = SeedStream::new(seed).stream("curriculum", 0);
            learn_in_stages(tasks, 0, 5, &config, &mut rng).unwrap().episodes.iter().sum::<usize>()
        };
        let (mut in_order, mut flat) = (0, 0);
        for seed in 0..5 {
            in_order += episodes(&staged, seed);
            flat += episodes(&[workshop(&goals, 5)], seed);
        }
        assert!(2 * in_order < flat, "{in_order} episodes in order, {flat} at once (5 seeds)");
        assert!(learn_in_stages(&[], 0, 1, &config, &mut SeedStream::new(0).stream("x", 0)).is_err());
    }

    proptest! {
        /// Random diagrams of three chance variables, one action and a reward: redrawing the laws of all editable variables
        /// never changes the optimal rule.
        #[test]
        fn editable_variables_do_not_move_the_optimum(
            bits in proptest::collection::vec(proptest::bool::weighted(0.6), 10),
            place in 0usize..4,
            seed in 0u64..10_000,
        ) {
            // Nodes 0..4 in causal order, the action at `place`; node 4 is the reward.
            let pairs = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b)));
            let edges: Vec<(usize, usize)> = pairs.zip(bits).filter(|(_, keep)| *keep).map(|(e, _)| e).collect();
            let diagram = Admg::from_edges(5, &edges, &[]).unwrap();
            let editable = editable_variables(&diagram, place, &[place], 4).unwrap();
            let game = |edited: &[usize]| {
                let nodes = (0..5).map(|v| {
                    let salt = if edited.contains(&v) { 100 } else { 0 };
                    let mut rng = SeedStream::new(seed).stream("law", salt + v as u64);
                    let mut unit = || rand::RngExt::random_range(&mut rng, 0.05..0.95);
                    let parents = diagram.dag().parents(v);
                    let rows = 1 << parents.len();
                    let name = diagram.name(v);
                    match v {
                        4 => GameNode::utility(name, &parents, 0, (0..rows).map(|_| unit()).collect()),
                        _ if v == place => GameNode::decision(name, &parents, 0, 2),
                        _ => GameNode::chance(name, &parents, 2, (0..rows).flat_map(|_| { let p: f64 = unit(); [p, 1.0 - p] }).collect()),
                    }
                }).collect();
                InfluenceDiagram::new(nodes).unwrap()
            };
            let (target, source) = (game(&[]), game(&editable));
            prop_assert_eq!(backward_induction(&target).unwrap(), backward_induction(&source).unwrap());
        }
    }
}
