//! Finite structural causal models: finite variables, finite exogenous variables that mechanisms may share.
//! Observation, intervention and counterfactuals are exact sums over the exogenous states.

use crate::error::{Error, Result};
use crate::graph::{Admg, Dag};
use crate::identify::Factor;
use rand::{Rng, RngExt};
use std::sync::Arc;

/// The value of a variable from the values of its parents and of its exogenous variables, in the given orders.
type Function = Arc<dyn Fn(&[usize], &[usize]) -> usize + Send + Sync>;

/// "`event` would hold under `interventions`": two lists of `(variable, value)`.
pub type Statement<'a> = (&'a [(usize, usize)], &'a [(usize, usize)]);

/// One endogenous variable.
#[derive(Clone)]
pub struct DiscreteVariable {
    /// Its name.
    pub name: String,
    /// Number of values `0..cardinality`.
    pub cardinality: usize,
    /// Endogenous parents, by index.
    pub parents: Vec<usize>,
    /// Exogenous variables it reads, by index.
    pub exogenous: Vec<usize>,
    /// The mechanism.
    pub function: Function,
}

/// A finite structural causal model.
#[derive(Clone)]
pub struct DiscreteScm {
    variables: Vec<DiscreteVariable>,
    exogenous: Vec<Vec<f64>>,
    diagram: Admg,
    order: Vec<usize>,
}

/// More exogenous states than this are not enumerated.
const MOST_STATES: usize = 1 << 24;

impl DiscreteScm {
    /// A model of the variables and the laws of the exogenous variables.
    ///
    /// # Errors
    /// As [`Dag::new`]; [`Error::Node`] for an exogenous index out of range; [`Error::Data`] for laws that do not
    /// sum to 1; [`Error::TooLarge`] beyond 2²⁴ exogenous states.
    pub fn new(variables: Vec<DiscreteVariable>, exogenous: Vec<Vec<f64>>) -> Result<Self> {
        for (i, law) in exogenous.iter().enumerate() {
            let total: f64 = law.iter().sum();
            if (total - 1.0).abs() > 1e-9 || law.iter().any(|p| *p < 0.0) {
                return Err(Error::data(
                    format!("exogenous variable {i}"),
                    format!("has probabilities with sum {total}"),
                ));
            }
        }
        let states = exogenous.iter().try_fold(1usize, |n, law| n.checked_mul(law.len()));
        if states.is_none_or(|n| n > MOST_STATES) {
            let reason = format!("more than {MOST_STATES} exogenous states to enumerate");
            return Err(Error::TooLarge { operation: "DiscreteScm::new", reason });
        }
        let mut edges = Vec::new();
        for (v, variable) in variables.iter().enumerate() {
            edges.extend(variable.parents.iter().map(|&u| (u, v)));
            if let Some(&node) = variable.exogenous.iter().find(|&&u| u >= exogenous.len()) {
                return Err(Error::Node { operation: "DiscreteScm::new", node, count: exogenous.len() });
            }
        }
        let dag = Dag::new(variables.iter().map(|v| v.name.clone()).collect(), &edges)?;
        let mut diagram = Admg::from_dag(&dag)?;
        for a in 0..variables.len() {
            for b in a + 1..variables.len() {
                if variables[a].exogenous.iter().any(|u| variables[b].exogenous.contains(u)) {
                    diagram.add_bidirected(a, b)?;
                }
            }
        }
        Ok(Self { order: dag.topological_order(), variables, exogenous, diagram })
    }

    /// The causal diagram: a bidirected edge joins variables that share an exogenous one.
    pub fn diagram(&self) -> &Admg {
        &self.diagram
    }

    /// Number of values of each variable.
    pub fn cardinalities(&self) -> Vec<usize> {
        self.variables.iter().map(|v| v.cardinality).collect()
    }

    /// The values that follow from exogenous states under do(·), in topological order.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of states, or a mechanism that returns a value out of range.
    pub fn evaluate(&self, exogenous: &[usize], interventions: &[(usize, usize)]) -> Result<Vec<usize>> {
        if exogenous.len() != self.exogenous.len() {
            return Err(Error::shape("DiscreteScm::evaluate", self.exogenous.len(), exogenous.len()));
        }
        let mut values = vec![0; self.variables.len()];
        let (mut inputs, mut noise) = (Vec::new(), Vec::new());
        for &v in &self.order {
            let variable = &self.variables[v];
            if let Some(&(_, forced)) = interventions.iter().find(|i| i.0 == v) {
                values[v] = forced;
                continue;
            }
            inputs.clear();
            inputs.extend(variable.parents.iter().map(|&u| values[u]));
            noise.clear();
            noise.extend(variable.exogenous.iter().map(|&u| exogenous[u]));
            values[v] = (variable.function)(&inputs, &noise);
            if values[v] >= variable.cardinality {
                let expected = format!("`{}` below {}", variable.name, variable.cardinality);
                return Err(Error::shape("DiscreteScm::evaluate", expected, values[v]));
            }
        }
        Ok(values)
    }

    /// Calls `visit(probability, exogenous states)` for every state of positive probability.
    fn for_each_state(&self, mut visit: impl FnMut(f64, &[usize]) -> Result<()>) -> Result<()> {
        let mut state = vec![0; self.exogenous.len()];
        loop {
            let probability: f64 = state.iter().zip(&self.exogenous).map(|(&s, law)| law[s]).product();
            if probability > 0.0 {
                visit(probability, &state)?;
            }
            let Some(i) = (0..state.len()).rev().find(|&i| state[i] + 1 < self.exogenous[i].len()) else {
                return Ok(());
            };
            state[i] += 1;
            state[i + 1..].fill(0);
        }
    }

    /// The joint distribution of all variables under do(·); no intervention gives the observed one.
    ///
    /// # Errors
    /// As [`DiscreteScm::evaluate`].
    pub fn joint(&self, interventions: &[(usize, usize)]) -> Result<Factor> {
        let cardinalities = self.cardinalities();
        let mut table = vec![0.0; cardinalities.iter().product()];
        self.for_each_state(|probability, state| {
            let values = self.evaluate(state, interventions)?;
            let index = values.iter().zip(&cardinalities).fold(0, |i, (v, c)| i * c + v);
            table[index] += probability;
            Ok(())
        })?;
        Factor::new((0..cardinalities.len()).collect(), cardinalities, table)
    }

    /// E[value of `node` | do(·)].
    ///
    /// # Errors
    /// As [`DiscreteScm::evaluate`].
    pub fn mean(&self, node: usize, interventions: &[(usize, usize)]) -> Result<f64> {
        let mut mean = 0.0;
        self.for_each_state(|probability, state| {
            mean += probability * self.evaluate(state, interventions)?[node] as f64;
            Ok(())
        })?;
        Ok(mean)
    }

    /// P(event | evidence) of observed variables: seeing.
    ///
    /// # Errors
    /// [`Error::Data`] when the evidence has probability zero.
    pub fn see(&self, event: &[(usize, usize)], evidence: &[(usize, usize)]) -> Result<f64> {
        self.counterfactual(&[(event, &[])], evidence)
    }

    /// P(all statements | evidence), each statement "`event` would hold under `do`": one exogenous state serves the
    /// real world and all hypothetical ones.
    ///
    /// # Errors
    /// [`Error::Data`] when the evidence has probability zero.
    pub fn counterfactual(&self, statements: &[Statement], evidence: &[(usize, usize)]) -> Result<f64> {
        let holds = |values: &[usize], event: &[(usize, usize)]| {
            event.iter().all(|&(v, x)| values.get(v) == Some(&x))
        };
        let (mut both, mut given) = (0.0, 0.0);
        self.for_each_state(|probability, state| {
            if holds(&self.evaluate(state, &[])?, evidence) {
                given += probability;
                let mut all = true;
                for (event, interventions) in statements {
                    all = all && holds(&self.evaluate(state, interventions)?, event);
                }
                both += if all { probability } else { 0.0 };
            }
            Ok(())
        })?;
        if given > 0.0 {
            Ok(both / given)
        } else {
            Err(Error::data("evidence", "has probability zero under the model"))
        }
    }

    /// One draw of the exogenous states.
    pub fn sample_exogenous(&self, rng: &mut impl Rng) -> Vec<usize> {
        let draw = |law: &Vec<f64>, u: f64| {
            let mut left = u;
            law.iter().position(|p| {
                left -= p;
                left < 0.0
            })
        };
        let last = |law: &Vec<f64>| law.iter().rposition(|p| *p > 0.0).unwrap_or(0);
        self.exogenous.iter().map(|law| draw(law, rng.random::<f64>()).unwrap_or(last(law))).collect()
    }

    /// One draw of all variables under do(·).
    ///
    /// # Errors
    /// As [`DiscreteScm::evaluate`].
    pub fn sample(&self, interventions: &[(usize, usize)], rng: &mut impl Rng) -> Result<Vec<usize>> {
        self.evaluate(&self.sample_exogenous(rng), interventions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U → X, U → Y, X → Y = X xor U.
    fn confounded() -> DiscreteScm {
        let x = DiscreteVariable {
            name: "X".into(),
            cardinality: 2,
            parents: vec![],
            exogenous: vec![0],
            function: Arc::new(|_, u| u[0]),
        };
        let y = DiscreteVariable {
            name: "Y".into(),
            cardinality: 2,
            parents: vec![0],
            exogenous: vec![0],
            function: Arc::new(|pa, u| pa[0] ^ u[0]),
        };
        DiscreteScm::new(vec![x, y], vec![vec![0.3, 0.7]]).unwrap()
    }

    #[test]
    fn seeing_doing_and_imagining_differ() {
        let scm = confounded();
        assert_eq!(scm.diagram().bidirected_edges(), [(0, 1)]);
        assert_eq!(scm.see(&[(1, 1)], &[(0, 1)]).unwrap(), 0.0);
        assert!((scm.mean(1, &[(0, 1)]).unwrap() - 0.3).abs() < 1e-15);
        // Had X been 0 where it was 1, Y would have been 1 for sure.
        assert_eq!(scm.counterfactual(&[(&[(1, 1)], &[(0, 0)])], &[(0, 1)]).unwrap(), 1.0);
        assert!(scm.see(&[(1, 1)], &[(0, 1), (1, 1)]).is_err());
    }

    #[test]
    fn samples_follow_the_joint() {
        let scm = confounded();
        let mut rng = rl_core::SeedStream::new(1).stream("discrete", 0);
        let ones = (0..4000).filter(|_| scm.sample(&[(0, 1)], &mut rng).unwrap()[1] == 1).count();
        assert!((1080..1320).contains(&ones), "{ones} of 4000 at 0.3");
    }
}
