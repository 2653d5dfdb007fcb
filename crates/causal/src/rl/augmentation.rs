//! Counterfactual data augmentation: parts of two transitions that did not influence each other are exchanged.
//!
//! Pitis, Creager & Garg, *Counterfactual data augmentation using locally factored dynamics* (CoDA; NeurIPS 2020). A
//! transition splits into the connected components of its local causal graph. Component C of one transition may take the
//! place of the same component of another, if both split off C and the mixed state would do so as well; the result is a
//! transition of the same dynamics that was never observed.

use super::dataset::{InterventionalDataset, Transition};
use super::space::FactoredSpace;
use crate::error::{Error, Result};
use rand::{Rng, RngExt};

/// Up to `count` transitions made by exchanging components. `local_parents(state, action)` says which variables each
/// variable of the next state reads *there*; the action counts as one more input. Rewards are made by `reward(state,
/// action, next)`: a component carries no reward of its own.
///
/// The component that holds the action stays, so the action stays. Attempts whose masks disagree yield nothing; at most
/// `10 · count` are made.
///
/// # Errors
/// [`Error::Shape`] for lists that do not fit the space.
pub fn swap_components(
    data: &InterventionalDataset,
    local_parents: impl Fn(&[f32], &[f32]) -> Vec<Vec<usize>>,
    reward: impl Fn(&[f32], &[f32], &[f32]) -> f32,
    count: usize,
    rng: &mut impl Rng,
) -> Result<InterventionalDataset> {
    let space = data.space();
    let mut made = InterventionalDataset::new(space.clone());
    if data.len() < 2 {
        return Ok(made);
    }
    let components = |state: &[f32], action: &[f32]| connected(space, &local_parents(state, action));
    for _ in 0..10 * count {
        if made.len() == count {
            break;
        }
        let pair = [rng.random_range(0..data.len()), rng.random_range(0..data.len())];
        let (Some(a), Some(b)) = (data.get(pair[0]), data.get(pair[1])) else { continue };
        let (split_a, split_b) = (components(a.state, a.action)?, components(b.state, b.action)?);
        let movable: Vec<&Vec<usize>> = split_a
            .iter()
            .filter(|c| !c.contains(&space.action_input()) && split_b.contains(*c))
            .filter(|c| !c.iter().any(|v| a.set.contains(v) || b.set.contains(v)))
            .collect();
        if movable.is_empty() {
            continue;
        }
        let component = movable[rng.random_range(0..movable.len())];
        let (state, next) =
            (mixed(space, a.state, b.state, component), mixed(space, a.next, b.next, component));
        if components(&state, a.action)?.contains(component) {
            let reward = reward(&state, a.action, &next);
            made.push(Transition { state: &state, next: &next, reward, first: true, ..a })?;
        }
    }
    Ok(made)
}

/// `base` with the blocks of `component` out of `other`.
fn mixed(space: &FactoredSpace, base: &[f32], other: &[f32], component: &[usize]) -> Vec<f32> {
    let mut state = base.to_vec();
    for &v in component {
        state[space.block(v)].copy_from_slice(&other[space.block(v)]);
    }
    state
}

/// The connected components of the graph that joins every variable with its parents, each ascending.
fn connected(space: &FactoredSpace, parents: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
    let n = space.len() + 1;
    if parents.len() != space.len() || parents.iter().flatten().any(|&i| i >= n) {
        let got = format!("{} lists", parents.len());
        return Err(Error::shape(
            "swap_components",
            format!("{} lists of inputs below {n}", space.len()),
            got,
        ));
    }
    let mut label: Vec<usize> = (0..n).collect();
    for (v, list) in parents.iter().enumerate() {
        for &i in list {
            let (from, to) = (label[v], label[i]);
            label.iter_mut().filter(|l| **l == from).for_each(|l| *l = to);
        }
    }
    let mut components: Vec<Vec<usize>> = Vec::new();
    for root in 0..n {
        let members: Vec<usize> = (0..n).filter(|&v| label[v] == root).collect();
        if !members.is_empty() {
            components.push(members);
        }
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Variable};
    use super::*;
    use rl_core::SeedStream;

    /// Two balls that bounce independently unless they touch; the action moves the first.
    #[test]
    fn new_transitions_obey_the_same_dynamics() {
        let real = |name: &str| Variable { name: name.into(), kind: Kind::Real(1) };
        let space = FactoredSpace::new(vec![real("p"), real("q")], Kind::Real(1)).unwrap();
        let step = |s: &[f32], a: f32| {
            if (s[0] - s[1]).abs() < 0.5 { [s[1], s[0]] } else { [0.5 * s[0] + a, 2.0 * s[1]] }
        };
        let mut rng = SeedStream::new(1).stream("coda", 0);
        let mut data = InterventionalDataset::new(space);
        for _ in 0..50 {
            let (s, a) =
                ([rng.random_range(-2.0..2.0), rng.random_range(-2.0..2.0)], rng.random_range(-1.0..1.0));
            let t = Transition {
                state: &s,
                action: &[a],
                reward: 0.0,
                next: &step(&s, a),
                first: true,
                set: &[],
            };
            data.push(t).unwrap();
        }
        let local = |s: &[f32], _: &[f32]| {
            if (s[0] - s[1]).abs() < 0.5 { vec![vec![0, 1], vec![0, 1]] } else { vec![vec![0, 2], vec![1]] }
        };
        let made = swap_components(&data, local, |_, _, next| next[0], 200, &mut rng).unwrap();
        assert!(made.len() > 100, "{}", made.len());
        let old: Vec<Vec<f32>> = data.iter().map(|t| t.state.to_vec()).collect();
        assert!(made.iter().any(|t| !old.contains(&t.state.to_vec())));
        for t in made.iter() {
            assert_eq!(t.next, step(t.state, t.action[0]), "not of these dynamics");
            assert_eq!(t.reward, t.next[0]);
        }
    }
}
