//! The chemical environment: objects change colour because of each other.
//!
//! After Ke et al., *Systematic evaluation of causal discovery in visual model based reinforcement learning* (NeurIPS
//! datasets 2021) and Wang et al. (ICML 2022): five objects of five colours; an action gives one object a colour; random
//! networks say which colours follow from which; positions are drawn anew at every step and mean nothing.
//!
//! Deviation: all reactions take one step. An object with parents is redrawn at every step from the colours its parents
//! had before it; an object without parents keeps its colour. So every edge of the graph can be seen in transitions, the
//! graph is exactly the transition graph, and a rollout is needed to see the effect of an action downstream.

use super::super::space::{FactoredSpace, Kind, Variable};
use crate::error::{Error, Result};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use rl_core::nn::Init;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Which objects influence which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChemicalGraph {
    /// 0 → 1 → 2 → …
    Chain,
    /// All but the last → the last.
    Collider,
    /// Every object → all later ones.
    Full,
}

/// Units of the hidden layer of every mechanism.
const HIDDEN: usize = 20;

/// The mechanism of one object: one hidden layer, softmax over colours.
#[derive(Clone, Debug)]
struct Reaction {
    first: Vec<f64>,
    first_bias: Vec<f64>,
    second: Vec<f64>,
    second_bias: Vec<f64>,
}

/// Colours and positions.
#[derive(Clone, Debug, PartialEq)]
pub struct ChemicalState {
    /// One per object.
    pub colours: Vec<usize>,
    /// Two numbers per object, N(0, scale²), drawn anew at every step.
    pub positions: Vec<f32>,
}

/// The environment. An action is `object · colours + colour`.
#[derive(Clone, Debug)]
pub struct Chemical {
    graph: ChemicalGraph,
    objects: usize,
    colours: usize,
    reactions: Vec<Reaction>,
    /// Standard deviation of the positions: 1; another value is a shift of variables that mean nothing.
    pub position_scale: f32,
}

impl Chemical {
    /// Random reactions: orthogonal weights of gain 3, biases U(−0.2, 0.2), 20 hidden units with ReLU.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than two objects or colours.
    pub fn new(graph: ChemicalGraph, objects: usize, colours: usize, seeds: SeedStream) -> Result<Self> {
        for (field, value) in [("objects", objects), ("colours", colours)] {
            if value < 2 {
                return Err(Error::config("chemical", field, value, "at least 2"));
            }
        }
        let reaction = |v: u64| {
            let rng: &mut StreamRng = &mut seeds.stream("reaction", v);
            let init = Init::Orthogonal { gain: 3.0 };
            let (first, second) =
                (init.draw(objects * colours, HIDDEN, rng), init.draw(HIDDEN, colours, rng));
            let mut bias = |n: usize| (0..n).map(|_| rng.random_range(-0.2..0.2)).collect();
            Reaction { first, second, first_bias: bias(HIDDEN), second_bias: bias(colours) }
        };
        let reactions = (0..objects as u64).map(reaction).collect();
        Ok(Self { graph, objects, colours, reactions, position_scale: 1.0 })
    }

    /// The variables: the colour of every object, then the position of every object.
    ///
    /// # Errors
    /// None for an environment that exists.
    pub fn space(&self) -> Result<FactoredSpace> {
        let colour = |v| Variable { name: format!("colour {v}"), kind: Kind::Categorical(self.colours) };
        let position = |v| Variable { name: format!("position {v}"), kind: Kind::Real(2) };
        let variables = (0..self.objects).map(colour).chain((0..self.objects).map(position)).collect();
        FactoredSpace::new(variables, Kind::Categorical(self.actions()))
    }

    /// Number of objects.
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// Number of actions: objects times colours.
    pub fn actions(&self) -> usize {
        self.objects * self.colours
    }

    /// The objects whose colours decide that of `object`.
    pub fn parents(&self, object: usize) -> Vec<usize> {
        match self.graph {
            ChemicalGraph::Chain => object.checked_sub(1).into_iter().collect(),
            ChemicalGraph::Collider if object + 1 < self.objects => vec![],
            ChemicalGraph::Collider | ChemicalGraph::Full => (0..object).collect(),
        }
    }

    /// The inputs of every mechanism of the transition graph: parents, or for objects without parents their own past; and
    /// the action. Positions have none.
    pub fn transition_graph(&self) -> Vec<Vec<usize>> {
        let action = 2 * self.objects;
        let colour = |v: usize| {
            let parents = self.parents(v);
            let mut inputs = if parents.is_empty() { vec![v] } else { parents };
            inputs.push(action);
            inputs
        };
        (0..self.objects).map(colour).chain((0..self.objects).map(|_| vec![])).collect()
    }

    /// Uniform colours.
    pub fn initial(&self, rng: &mut impl Rng) -> ChemicalState {
        let colours = (0..self.objects).map(|_| rng.random_range(0..self.colours)).collect();
        ChemicalState { colours, positions: self.draw_positions(rng) }
    }

    fn draw_positions(&self, rng: &mut impl Rng) -> Vec<f32> {
        let mut normal = || -> f32 { StandardNormal.sample(rng) };
        (0..2 * self.objects).map(|_| self.position_scale * normal()).collect()
    }

    /// p(colour of `object` after a step that leaves it alone).
    pub fn law(&self, object: usize, colours: &[usize]) -> Vec<f64> {
        let parents = self.parents(object);
        if parents.is_empty() {
            return (0..self.colours).map(|c| f64::from(u8::from(c == colours[object]))).collect();
        }
        let reaction = &self.reactions[object];
        let mut hidden = reaction.first_bias.clone();
        for &p in &parents {
            let row = &reaction.first[(p * self.colours + colours[p]) * HIDDEN..][..HIDDEN];
            hidden.iter_mut().zip(row).for_each(|(h, w)| *h += w);
        }
        let mut logits = reaction.second_bias.clone();
        for (h, row) in hidden.iter().zip(reaction.second.chunks_exact(self.colours)) {
            logits.iter_mut().zip(row).for_each(|(l, w)| *l += h.max(0.0) * w);
        }
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|l| (l - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|w| w / total).collect()
    }

    /// One step. Actions beyond the last do nothing.
    pub fn step(&self, state: &ChemicalState, action: usize, rng: &mut impl Rng) -> ChemicalState {
        let colour = |v: usize, rng: &mut dyn FnMut() -> f64| {
            if action / self.colours == v {
                return action % self.colours;
            }
            let mut left = rng();
            let law = self.law(v, &state.colours);
            let found = law.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            found.unwrap_or(self.colours - 1)
        };
        let mut uniform = || rng.random::<f64>();
        let colours = (0..self.objects).map(|v| colour(v, &mut uniform)).collect();
        ChemicalState { colours, positions: self.draw_positions(rng) }
    }

    /// The state as [`Chemical::space`] encodes it.
    pub fn encode(&self, state: &ChemicalState) -> Vec<f32> {
        let mut x = vec![0.0; self.objects * self.colours];
        state.colours.iter().enumerate().for_each(|(v, &c)| x[v * self.colours + c] = 1.0);
        x.extend_from_slice(&state.positions);
        x
    }

    /// The action as a unit vector.
    pub fn encode_action(&self, action: usize) -> Vec<f32> {
        (0..self.actions()).map(|a| f32::from(u8::from(a == action))).collect()
    }

    /// Share of the objects of an encoded state that have the goal's colours.
    pub fn matched(&self, encoded: &[f32], goal: &[usize]) -> f64 {
        let hits = goal.iter().enumerate().filter(|(v, c)| encoded[v * self.colours + **c] > 0.5);
        hits.count() as f64 / self.objects as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_read_the_parents_and_nothing_else() {
        let rng = &mut SeedStream::new(1).stream("chemical", 0);
        for graph in [ChemicalGraph::Chain, ChemicalGraph::Collider, ChemicalGraph::Full] {
            let chemical = Chemical::new(graph, 5, 5, SeedStream::new(7)).unwrap();
            for _ in 0..20 {
                let state = chemical.initial(rng);
                for v in 0..5 {
                    let law = chemical.law(v, &state.colours);
                    assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    for u in (0..5).filter(|&u| u != v) {
                        let mut other = state.colours.clone();
                        other[u] = (other[u] + 1) % 5;
                        let same = chemical.law(v, &other) == law;
                        assert_eq!(same, !chemical.parents(v).contains(&u));
                    }
                }
                let next = chemical.step(&state, 13, rng);
                assert_eq!(next.colours[2], 3);
                let goal = next.colours.clone();
                assert_eq!(chemical.matched(&chemical.encode(&next), &goal), 1.0);
            }
        }
        let chain = Chemical::new(ChemicalGraph::Chain, 5, 5, SeedStream::new(7)).unwrap();
        assert_eq!(chain.transition_graph()[..3], [vec![0, 10], vec![0, 10], vec![1, 10]]);
    }
}
