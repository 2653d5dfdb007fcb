//! The supply line: a team that must know the structure to know who should act.
//!
//! Stages X₀ … X_{p−2} follow one another with an outcome Y at the end; each reads some earlier stages (a random linear model). Every
//! agent owns some stages and may leave them alone or set one of them to +1 or −1, do(X := ±1), at a price. The common payoff is
//! E[Y | do(·)] less the prices. What an upstream agent does is lost when one downstream sets the stage in between, and a
//! stage that merely goes along with Y is not worth its price: correlations mislead, the graph does not.

use super::statistics::Statistics;
use crate::error::{Error, Result};
use causal::discovery::{Knowledge, PcConfig};
use causal::graph::Mark;
use causal::scm::{Noise, Scm};
use marl::env::matrix;
use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};

/// A linear model of the line: what a stage is, given its parents.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// `[p]`: parents of each stage with their weights; parents come earlier.
    pub parents: Vec<Vec<(usize, f64)>>,
    /// `[p]`: mean of each stage when all parents are zero.
    pub intercepts: Vec<f64>,
}

/// The task.
#[derive(Clone, Debug, PartialEq)]
pub struct SupplyLine {
    /// The truth.
    pub blueprint: Blueprint,
    /// Stages of each agent; the outcome is nobody's.
    pub owned: Vec<Vec<usize>>,
    /// Price of setting a stage.
    pub price: f64,
}

impl Blueprint {
    /// A random line of `stages`: an earlier stage is a parent with probability `density`, weights ±U(0.5, 1.2).
    ///
    /// # Errors
    /// [`Error::Range`] for a density outside [0, 1] or fewer than two stages.
    pub fn random(stages: usize, density: f64, rng: &mut impl Rng) -> Result<Self> {
        crate::error::within("density", density, (0.0, 1.0), "in [0, 1]")?;
        crate::error::within("stages", stages as f64, (2.0, 64.0), "from 2 to 64")?;
        let mut parents = vec![vec![]; stages];
        for (v, parents) in parents.iter_mut().enumerate() {
            for u in 0..v {
                if rng.random::<f64>() < density {
                    let size = rng.random_range(0.5..1.2);
                    parents.push((u, if rng.random::<bool>() { size } else { -size }));
                }
            }
        }
        Ok(Self { parents, intercepts: vec![0.0; stages] })
    }

    /// The same as a structural causal model with standard normal noise.
    ///
    /// # Errors
    /// From [`Scm::linear`].
    pub fn scm(&self) -> Result<Scm> {
        let edges = self.parents.iter().enumerate();
        let weights: Vec<(usize, usize, f64)> =
            edges.flat_map(|(v, parents)| parents.iter().map(move |&(u, w)| (u, v, w))).collect();
        let p = self.parents.len();
        let names = (0..p).map(|v| if v + 1 == p { "Y".into() } else { format!("X{v}") }).collect();
        Ok(Scm::linear(names, &weights, &self.intercepts, vec![Noise::Normal { sd: 1.0 }; p])?)
    }

    /// The order of the line as knowledge: nothing later causes anything earlier.
    pub fn order(stages: usize) -> Knowledge {
        let mut knowledge = Knowledge::none();
        knowledge.tiers(&(0..stages).map(|v| vec![v]).collect::<Vec<_>>());
        knowledge
    }

    /// Learns parents by PC with the order known, and weights by least squares on the parents, from statistics alone.
    ///
    /// # Errors
    /// As [`Statistics::discover`].
    pub fn learn(statistics: &Statistics, config: &PcConfig) -> Result<Self> {
        let p = statistics.names().len();
        let graph = statistics.discover(config, &Self::order(p))?;
        let parents =
            |v: usize| (0..v).filter(|&u| graph.edge(u, v).is_some_and(|m| m.1 == Mark::Arrow)).collect();
        Self::fit(statistics, &(0..p).map(parents).collect::<Vec<Vec<usize>>>())
    }

    /// Without structure: every stage is taken to act on the outcome by its regression slope alone, and on nothing else.
    ///
    /// # Errors
    /// [`Error::Shape`] when a slope cannot be computed.
    pub fn correlations(statistics: &Statistics) -> Result<Self> {
        let p = statistics.names().len();
        let covariance = statistics.covariance();
        let slope = |u: usize| (u, covariance[u * p + p - 1] / covariance[u * p + u]);
        let mut parents = vec![vec![]; p];
        parents[p - 1] = (0..p - 1).map(slope).collect();
        Ok(Self { parents, intercepts: vec![0.0; p] })
    }

    /// Least squares on given parents: Σ_pa,pa w = Σ_pa,v.
    fn fit(statistics: &Statistics, parents: &[Vec<usize>]) -> Result<Self> {
        let p = statistics.names().len();
        let covariance = statistics.covariance();
        let mut weighted = vec![];
        for (v, parents) in parents.iter().enumerate() {
            let k = parents.len();
            let gram = DMatrix::from_fn(k, k, |i, j| covariance[parents[i] * p + parents[j]]);
            let right = DVector::from_fn(k, |i, _| covariance[parents[i] * p + v]);
            let weights = gram.cholesky().map(|c| c.solve(&right)).ok_or_else(|| {
                Error::shape("Blueprint::fit", "linearly independent parents", format!("those of stage {v}"))
            })?;
            weighted.push(parents.iter().copied().zip(weights.iter().copied()).collect());
        }
        Ok(Self { parents: weighted, intercepts: vec![0.0; p] })
    }

    /// E[Y | do(stages := values)] by the means along the line.
    pub fn outcome(&self, set: &[(usize, f64)]) -> f64 {
        let mut means = self.intercepts.clone();
        for v in 0..means.len() {
            match set.iter().find(|s| s.0 == v) {
                Some(&(_, value)) => means[v] = value,
                None => means[v] += self.parents[v].iter().map(|&(u, w)| w * means[u]).sum::<f64>(),
            }
        }
        means.last().copied().unwrap_or(0.0)
    }
}

impl SupplyLine {
    /// Actions of each agent: leave everything, or set the k-th owned stage to +1 (1 + 2k) or −1 (2 + 2k).
    pub fn actions(&self) -> Vec<usize> {
        self.owned.iter().map(|stages| 1 + 2 * stages.len()).collect()
    }

    /// What a joint action sets.
    fn set(&self, joint: &[usize]) -> Vec<(usize, f64)> {
        let one = |(&a, stages): (&usize, &Vec<usize>)| {
            (a > 0).then(|| (stages[(a - 1) / 2], if a % 2 == 1 { 1.0 } else { -1.0 }))
        };
        joint.iter().zip(&self.owned).filter_map(one).collect()
    }

    /// The payoff of a joint action according to a model of the line.
    pub fn payoff(&self, model: &Blueprint, joint: &[usize]) -> f64 {
        let set = self.set(joint);
        model.outcome(&set) - self.price * set.len() as f64
    }

    /// All joint actions, the first agent's the most significant.
    fn joints(&self) -> Vec<Vec<usize>> {
        let mut all = vec![vec![]];
        for n in self.actions() {
            let longer =
                |joint: &Vec<usize>| (0..n).map(|a| [joint.as_slice(), &[a]].concat()).collect::<Vec<_>>();
            all = all.iter().flat_map(longer).collect();
        }
        all
    }

    /// The joint action that a model says is best; the first of equals, so that agents with one model agree.
    pub fn plan(&self, model: &Blueprint) -> Vec<usize> {
        let mut best = (f64::NEG_INFINITY, vec![]);
        for joint in self.joints() {
            let payoff = self.payoff(model, &joint);
            if payoff > best.0 + 1e-12 {
                best = (payoff, joint);
            }
        }
        best.1
    }

    /// The payoff when every agent plans with a model of its own and plays its own part.
    pub fn play(&self, models: &[Blueprint]) -> f64 {
        let joint: Vec<usize> = models.iter().enumerate().map(|(i, model)| self.plan(model)[i]).collect();
        self.payoff(&self.blueprint, &joint)
    }

    /// The same as a one-step game with a common payoff, for learners who play.
    pub fn game(&self) -> matrix::Config {
        let n = self.owned.len();
        let pay = |joint: &Vec<usize>| vec![self.payoff(&self.blueprint, joint); n];
        matrix::Config::repeated(self.actions(), self.joints().iter().map(pay).collect(), 1)
    }
}
