//! Structural causal models: mechanisms and exogenous noise, observation, intervention and counterfactuals.
//!
//! Pearl, *Causality* (2009), chapter 7. [`Scm`] holds real variables with one private noise each; [`DiscreteScm`]
//! finite variables with finite, possibly shared noise, every query of which is exact. [`causation_bounds`] and the
//! like say what remains when only distributions are known: an [`Answer`] is a point or an interval, and says so.

mod bounds;
mod discrete;
mod gumbel;

pub use bounds::{Answer, Causation, causation_bounds, manski_bounds};
pub use discrete::{DiscreteScm, DiscreteVariable, Statement};
pub use gumbel::gumbel_max_counterfactual;

use crate::data::Table;
use crate::error::{Error, Result};
use crate::graph::Dag;
use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use std::fmt;
use std::sync::Arc;

/// Law of a private exogenous variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// Always zero: a deterministic mechanism.
    Zero,
    /// N(0, sd²).
    Normal {
        /// Standard deviation.
        sd: f64,
    },
    /// Uniform on [−half_width, half_width].
    Uniform {
        /// Half of the width.
        half_width: f64,
    },
    /// Laplace with density e^{−|u|/scale} / (2 scale).
    Laplace {
        /// Mean absolute value.
        scale: f64,
    },
}

impl Noise {
    fn sample(&self, rng: &mut impl Rng) -> f64 {
        match *self {
            Self::Zero => 0.0,
            Self::Normal { sd } => sd * Distribution::<f64>::sample(&StandardNormal, rng),
            Self::Uniform { half_width } => half_width * (2.0 * rng.random::<f64>() - 1.0),
            Self::Laplace { scale } => {
                let u: f64 = rng.random::<f64>() - 0.5;
                -scale * u.signum() * (1.0 - 2.0 * u.abs()).max(f64::MIN_POSITIVE).ln()
            }
        }
    }

    /// Var(u).
    pub fn variance(&self) -> f64 {
        match *self {
            Self::Zero => 0.0,
            Self::Normal { sd } => sd * sd,
            Self::Uniform { half_width } => half_width * half_width / 3.0,
            Self::Laplace { scale } => 2.0 * scale * scale,
        }
    }
}

type AdditiveFunction = Arc<dyn Fn(&[f64]) -> f64 + Send + Sync>;
type GeneralFunction = Arc<dyn Fn(&[f64], f64) -> f64 + Send + Sync>;

/// How a variable is made from its parents (in ascending order of their index) and its noise u.
#[derive(Clone)]
pub enum Mechanism {
    /// x = intercept + Σ weightᵢ paᵢ + u.
    Linear {
        /// Value at zero parents and zero noise.
        intercept: f64,
        /// One weight per parent.
        weights: Vec<f64>,
    },
    /// x = f(pa) + u.
    Additive(AdditiveFunction),
    /// x = f(pa, u), not assumed invertible in u.
    General(GeneralFunction),
}

impl fmt::Debug for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear { intercept, weights } => {
                f.debug_struct("Linear").field("intercept", intercept).field("weights", weights).finish()
            }
            Self::Additive(_) => f.write_str("Additive(..)"),
            Self::General(_) => f.write_str("General(..)"),
        }
    }
}

/// An action on one variable of an [`Scm`].
#[derive(Clone, Debug)]
pub enum Intervention {
    /// do(x := value): the variable ignores its parents and its noise.
    Hard {
        /// The variable.
        node: usize,
        /// Its new value.
        value: f64,
    },
    /// do(x := x + amount): the mechanism stays, its output is moved.
    Shift {
        /// The variable.
        node: usize,
        /// How far it is moved.
        amount: f64,
    },
    /// The mechanism and the noise are replaced; the parents stay.
    Soft {
        /// The variable.
        node: usize,
        /// The new mechanism.
        mechanism: Mechanism,
        /// The new noise.
        noise: Noise,
    },
}

impl Intervention {
    fn node(&self) -> usize {
        match *self {
            Self::Hard { node, .. } | Self::Shift { node, .. } | Self::Soft { node, .. } => node,
        }
    }
}

/// A structural causal model over real variables without shared noise.
///
/// ```
/// use causal::graph::Dag;
/// use causal::scm::{Intervention, Mechanism, Noise, Scm};
/// let chain = Dag::from_edges(3, &[(0, 1), (1, 2)])?;
/// let linear = |weights: &[f64]| Mechanism::Linear { intercept: 0.0, weights: weights.to_vec() };
/// let scm = Scm::new(chain, vec![linear(&[]), linear(&[2.0]), linear(&[3.0])], vec![Noise::Normal { sd: 1.0 }; 3])?;
/// let acted = scm.counterfactual(&[1.0, 2.5, 7.0], &[Intervention::Hard { node: 0, value: 2.0 }])?;
/// assert_eq!(acted, [2.0, 4.5, 13.0]);
/// # Ok::<(), causal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scm {
    dag: Dag,
    order: Vec<usize>,
    parents: Vec<Vec<usize>>,
    mechanisms: Vec<Mechanism>,
    noises: Vec<Noise>,
    shifts: Vec<f64>,
}

impl Scm {
    /// A model with one mechanism and one noise per node of the graph.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers of mechanisms, noises or linear weights do not fit the graph.
    pub fn new(dag: Dag, mechanisms: Vec<Mechanism>, noises: Vec<Noise>) -> Result<Self> {
        let p = dag.len();
        if mechanisms.len() != p || noises.len() != p {
            let got = format!("{} and {}", mechanisms.len(), noises.len());
            return Err(Error::shape("Scm::new", format!("{p} mechanisms and noises"), got));
        }
        let parents: Vec<Vec<usize>> = (0..p).map(|v| dag.parents(v)).collect();
        for (v, mechanism) in mechanisms.iter().enumerate() {
            check_weights(&dag, v, &parents[v], mechanism)?;
        }
        Ok(Self { order: dag.topological_order(), parents, dag, mechanisms, noises, shifts: vec![0.0; p] })
    }

    /// A linear model from `(from, to, weight)`, intercepts and noises.
    ///
    /// # Errors
    /// As [`Dag::new`] and [`Scm::new`].
    pub fn linear(
        names: Vec<String>,
        weights: &[(usize, usize, f64)],
        intercepts: &[f64],
        noises: Vec<Noise>,
    ) -> Result<Self> {
        let edges: Vec<(usize, usize)> = weights.iter().map(|&(a, b, _)| (a, b)).collect();
        let dag = Dag::new(names, &edges)?;
        if intercepts.len() != dag.len() {
            return Err(Error::shape("Scm::linear", format!("{} intercepts", dag.len()), intercepts.len()));
        }
        let weight = |from, to| weights.iter().find(|w| (w.0, w.1) == (from, to)).map_or(0.0, |w| w.2);
        let mechanism = |v: usize| Mechanism::Linear {
            intercept: intercepts[v],
            weights: dag.parents(v).into_iter().map(|u| weight(u, v)).collect(),
        };
        let mechanisms = (0..dag.len()).map(mechanism).collect();
        Self::new(dag, mechanisms, noises)
    }

    /// The graph.
    pub fn dag(&self) -> &Dag {
        &self.dag
    }

    /// The values that follow from the noises, in topological order, so that every child reads the new values of
    /// its parents.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of noises than nodes.
    pub fn evaluate(&self, noise: &[f64]) -> Result<Vec<f64>> {
        self.check_length("Scm::evaluate", noise)?;
        let mut values = vec![0.0; noise.len()];
        for &v in &self.order {
            values[v] = self.output(v, &values, noise[v]);
        }
        Ok(values)
    }

    fn output(&self, v: usize, values: &[f64], noise: f64) -> f64 {
        let inputs: Vec<f64> = self.parents[v].iter().map(|&u| values[u]).collect();
        self.shifts[v]
            + match &self.mechanisms[v] {
                Mechanism::Linear { intercept, weights } => {
                    intercept + weights.iter().zip(&inputs).map(|(w, x)| w * x).sum::<f64>() + noise
                }
                Mechanism::Additive(f) => f(&inputs) + noise,
                Mechanism::General(f) => f(&inputs, noise),
            }
    }

    /// One draw of all noises.
    pub fn sample_noise(&self, rng: &mut impl Rng) -> Vec<f64> {
        self.noises.iter().map(|n| n.sample(rng)).collect()
    }

    /// `rows` independent draws.
    ///
    /// # Errors
    /// None for a valid model.
    pub fn sample(&self, rows: usize, rng: &mut impl Rng) -> Result<Table> {
        let mut columns = vec![Vec::with_capacity(rows); self.dag.len()];
        for _ in 0..rows {
            let values = self.evaluate(&self.sample_noise(rng))?;
            columns.iter_mut().zip(values).for_each(|(column, v)| column.push(v));
        }
        Table::new(self.dag.names().map(String::from).collect(), columns)
    }

    /// The model after some interventions; the present one is unchanged. Later ones on the same variable win,
    /// except that shifts add up.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::Shape`] for a soft mechanism with the wrong weights.
    pub fn intervene(&self, interventions: &[Intervention]) -> Result<Self> {
        let mut acted = self.clone();
        for intervention in interventions {
            let v = intervention.node();
            if v >= self.dag.len() {
                return Err(Error::Node { operation: "Scm::intervene", node: v, count: self.dag.len() });
            }
            match intervention {
                Intervention::Hard { value, .. } => {
                    for &u in &self.parents[v] {
                        acted.dag.remove_edge(u, v);
                    }
                    acted.parents[v].clear();
                    acted.mechanisms[v] = Mechanism::Linear { intercept: *value, weights: Vec::new() };
                    acted.noises[v] = Noise::Zero;
                    acted.shifts[v] = 0.0;
                }
                Intervention::Shift { amount, .. } => acted.shifts[v] += amount,
                Intervention::Soft { mechanism, noise, .. } => {
                    check_weights(&acted.dag, v, &acted.parents[v], mechanism)?;
                    acted.mechanisms[v] = mechanism.clone();
                    acted.noises[v] = *noise;
                    acted.shifts[v] = 0.0;
                }
            }
        }
        Ok(acted)
    }

    /// Abduction: the noises that made the observed values.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of values than nodes; [`Error::Data`] at a general mechanism, whose
    /// noise the values do not determine.
    pub fn abduct(&self, observed: &[f64]) -> Result<Vec<f64>> {
        self.check_length("Scm::abduct", observed)?;
        let noise = |v: usize| match self.mechanisms[v] {
            Mechanism::General(_) => Err(Error::data(
                format!("mechanism of `{}`", self.dag.name(v)),
                "is not invertible in its noise; use a linear or additive mechanism, or a DiscreteScm",
            )),
            _ => Ok(observed[v] - self.output(v, observed, 0.0)),
        };
        (0..observed.len()).map(noise).collect()
    }

    /// What the values would have been under the interventions, given what was observed: abduction, action,
    /// prediction. Exact, because linear and additive mechanisms determine the noise.
    ///
    /// # Errors
    /// As [`Scm::abduct`] and [`Scm::intervene`].
    pub fn counterfactual(&self, observed: &[f64], interventions: &[Intervention]) -> Result<Vec<f64>> {
        let mut noise = self.abduct(observed)?;
        // A hard intervention ignores the noise; a soft one reuses it.
        let acted = self.intervene(interventions)?;
        for intervention in interventions {
            if let Intervention::Hard { node, .. } = intervention {
                noise[*node] = 0.0;
            }
        }
        acted.evaluate(&noise)
    }

    /// Means and covariances (row-major `[p, p]`) implied by a model whose mechanisms are all linear.
    ///
    /// # Errors
    /// [`Error::Data`] when a mechanism is not linear.
    pub fn moments(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let (mean, covariance) = self.linear_moments()?;
        Ok((mean.iter().copied().collect(), covariance.transpose().iter().copied().collect()))
    }

    fn linear_moments(&self) -> Result<(DVector<f64>, DMatrix<f64>)> {
        let p = self.dag.len();
        // Row v of `paths` holds the total effects of all noises on v.
        let mut paths = DMatrix::<f64>::identity(p, p);
        let mut mean = DVector::zeros(p);
        for &v in &self.order {
            let Mechanism::Linear { intercept, weights } = &self.mechanisms[v] else {
                let what = format!("mechanism of `{}`", self.dag.name(v));
                return Err(Error::data(what, "is not linear; the moments have no closed form, use sample"));
            };
            mean[v] = intercept + self.shifts[v];
            for (&u, w) in self.parents[v].iter().zip(weights) {
                mean[v] += w * mean[u];
                let effect = paths.row(u) * *w;
                let mut row = paths.row_mut(v);
                row += effect;
            }
        }
        let variances =
            DMatrix::from_diagonal(&DVector::from_iterator(p, self.noises.iter().map(Noise::variance)));
        Ok((mean, &paths * variances * paths.transpose()))
    }

    /// Mean and variance of every variable after seeing some values, in a linear model with normal noise:
    /// E[x | e] = μ + Σ_xe Σ_ee⁻¹ (e − μ_e). Seeing is not doing: compare with [`Scm::intervene`].
    ///
    /// # Errors
    /// [`Error::Data`] when a mechanism is not linear or a noise not normal, [`Error::Node`] for an index out of
    /// range, [`Error::Singular`] when the evidence is linearly dependent.
    pub fn see(&self, evidence: &[(usize, f64)]) -> Result<(Vec<f64>, Vec<f64>)> {
        if self.noises.iter().any(|n| !matches!(n, Noise::Normal { .. } | Noise::Zero)) {
            return Err(Error::data("noise", "is not normal; the conditional has no closed form"));
        }
        let p = self.dag.len();
        if let Some(&(node, _)) = evidence.iter().find(|e| e.0 >= p) {
            return Err(Error::Node { operation: "Scm::see", node, count: p });
        }
        let (mean, covariance) = self.linear_moments()?;
        let seen: Vec<usize> = evidence.iter().map(|e| e.0).collect();
        let surprise = DVector::from_iterator(seen.len(), evidence.iter().map(|&(v, value)| value - mean[v]));
        let inner = covariance.select_rows(&seen).select_columns(&seen);
        let factor = inner.cholesky().ok_or_else(|| Error::Singular {
            operation: "Scm::see",
            columns: seen.iter().map(|&v| format!("`{}`", self.dag.name(v))).collect::<Vec<_>>().join(", "),
        })?;
        let gain = factor.solve(&covariance.select_rows(&seen)).transpose(); // [p, e]
        let posterior = mean + &gain * surprise;
        let explained = &gain * covariance.select_rows(&seen);
        let variances = (0..p).map(|v| (covariance[(v, v)] - explained[(v, v)]).max(0.0)).collect();
        Ok((posterior.iter().copied().collect(), variances))
    }

    fn check_length(&self, operation: &'static str, values: &[f64]) -> Result<()> {
        let p = self.dag.len();
        if values.len() == p {
            Ok(())
        } else {
            Err(Error::shape(operation, format!("{p} values"), values.len()))
        }
    }
}

fn check_weights(dag: &Dag, v: usize, parents: &[usize], mechanism: &Mechanism) -> Result<()> {
    match mechanism {
        Mechanism::Linear { weights, .. } if weights.len() != parents.len() => {
            let expected = format!("{} weights for `{}`", parents.len(), dag.name(v));
            Err(Error::shape("Scm mechanism", expected, weights.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::default_names;

    fn chain() -> Scm {
        let weights = [(0, 1, 0.7), (1, 2, 0.5), (0, 2, 0.8)];
        Scm::linear(default_names(3), &weights, &[0.0; 3], vec![Noise::Normal { sd: 1.0 }; 3]).unwrap()
    }

    #[test]
    fn interventions_reach_grandchildren_and_leave_ancestors_alone() {
        let scm = Scm::linear(
            default_names(4),
            &[(0, 1, 2.0), (1, 2, 3.0), (3, 0, 1.0)],
            &[0.0; 4],
            vec![Noise::Zero; 4],
        )
        .unwrap();
        let acted = scm.intervene(&[Intervention::Hard { node: 0, value: 1.0 }]).unwrap();
        assert_eq!(acted.evaluate(&[0.0; 4]).unwrap(), [1.0, 2.0, 6.0, 0.0]);
        let shifted = scm.intervene(&[Intervention::Shift { node: 1, amount: 1.0 }]).unwrap();
        assert_eq!(shifted.evaluate(&[1.0, 0.0, 0.0, 0.0]).unwrap(), [1.0, 3.0, 9.0, 0.0]);
        let square = Mechanism::Additive(Arc::new(|pa: &[f64]| pa[0] * pa[0]));
        let soft = Intervention::Soft { node: 1, mechanism: square, noise: Noise::Zero };
        assert_eq!(
            scm.intervene(&[soft]).unwrap().evaluate(&[3.0, 0.0, 0.0, 0.0]).unwrap(),
            [3.0, 9.0, 27.0, 0.0]
        );
    }

    #[test]
    fn seeing_differs_from_doing_under_confounding() {
        // 0 confounds 1 → 2.
        let scm = chain();
        let (mean, variance) = scm.see(&[(1, 1.0)]).unwrap();
        let expected = 0.5 + 0.8 * 0.7 / 1.49;
        assert!((mean[2] - expected).abs() < 1e-12);
        assert!(variance[1].abs() < 1e-12 && variance[2] > 0.9);
        let done = scm.intervene(&[Intervention::Hard { node: 1, value: 1.0 }]).unwrap();
        assert!((done.moments().unwrap().0[2] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn samples_have_the_implied_moments() {
        let mut rng = rl_core::SeedStream::new(2).stream("scm", 0);
        let scm = chain();
        let table = scm.sample(20_000, &mut rng).unwrap();
        let covariance = crate::data::covariance(table.columns());
        for (got, want) in covariance.iter().zip(scm.moments().unwrap().1) {
            assert!((got - want).abs() < 0.06, "{got} {want}");
        }
    }

    #[test]
    fn a_mechanism_that_hides_its_noise_has_no_point_counterfactual() {
        let dag = Dag::from_edges(1, &[]).unwrap();
        let sign = Mechanism::General(Arc::new(|_: &[f64], u: f64| u.signum()));
        let scm = Scm::new(dag, vec![sign], vec![Noise::Normal { sd: 1.0 }]).unwrap();
        assert!(scm.counterfactual(&[1.0], &[]).unwrap_err().to_string().contains("not invertible"));
    }
}
