//! A world model with one mechanism per variable, each reading only its causal parents and the action.
//!
//! Structure: Wang, Xiao, Xu, Zhu & Stone, *Causal Dynamics Learning for task-independent state abstraction* (ICML 2022):
//! input i is a parent of v′ iff I(v′; i | all other inputs) ≥ ε, the conditional mutual information being the gap
//! E[ln p(v′ | all)] − E[ln p(v′ | all but i)] of one predictor trained with inputs left out at random.
//!
//! Deviations: hidden inputs are zeros, and the mask itself is an input, where the paper takes the maximum of features per
//! input; the final decision is made on all validation rows; the own past is a parent only where the data say so.

use super::dataset::InterventionalDataset;
use super::mechanism::{Mechanism, Rows, draw};
use super::space::{FactoredSpace, Kind};
use crate::error::{Error, Result};
use crate::graph::NodeSet;
use crate::scm::gumbel_max_counterfactual;
use rand::Rng;
use rayon::prelude::*;
use rl_core::SeedStream;
use rl_core::nn::mlp::Workspace;
use serde::{Deserialize, Serialize};

/// Where the parents come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Structure {
    /// From conditional mutual information while the mechanisms are trained.
    Learned,
    /// Given: the inputs of every variable, the action being the last input. From
    /// [`pcmci`](crate::discovery::pcmci), for instance.
    Given(Vec<Vec<usize>>),
    /// Everything may depend on everything: the plain world model.
    Dense,
}

/// Settings of [`CausalWorldModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldModelConfig {
    /// Where the parents come from.
    pub structure: Structure,
    /// Hidden widths of every mechanism. Two of 64 in the paper.
    pub hidden: Vec<usize>,
    /// Adam's step size. 10⁻⁴ in the paper, over 500,000 steps.
    pub learning_rate: f64,
    /// Rows per gradient step. 64 in the paper.
    pub batch: usize,
    /// Gradient steps of a whole training: the schedule of the search for parents hangs on it.
    pub updates: u64,
    /// ε: information in nats that makes an input a parent. 0.02 in the paper.
    pub threshold: f64,
    /// Share of the rows on which information is estimated. 0.1.
    pub validation: f64,
    /// Gradient steps between two estimates. 10.
    pub test_every: u64,
    /// Weight of the past in the running estimates. 0.999 in the paper's longer training.
    pub momentum: f64,
}

impl Default for WorldModelConfig {
    fn default() -> Self {
        Self {
            structure: Structure::Learned,
            hidden: vec![64, 64],
            learning_rate: 1e-3,
            batch: 128,
            updates: 4000,
            threshold: 0.02,
            validation: 0.1,
            test_every: 20,
            momentum: 0.95,
        }
    }
}

impl WorldModelConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: f64, allowed| Err(Error::config("world_model", field, value, allowed));
        if self.batch == 0 || self.updates == 0 || self.test_every == 0 {
            return bad("batch, updates, test_every", 0.0, "at least 1");
        }
        if !(self.threshold > 0.0 && self.threshold.is_finite()) {
            return bad("threshold", self.threshold, "positive");
        }
        if !(self.validation > 0.0 && self.validation <= 0.5) {
            return bad("validation", self.validation, "in (0, 0.5]");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return bad("momentum", self.momentum, "in [0, 1)");
        }
        Ok(())
    }
}

/// do(variable := value) on the state that a step leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Do {
    /// The variable.
    pub variable: usize,
    /// Its encoded value.
    pub value: Vec<f32>,
}

/// One mechanism per variable.
pub struct CausalWorldModel {
    space: FactoredSpace,
    config: WorldModelConfig,
    mechanisms: Vec<Mechanism>,
}

impl CausalWorldModel {
    /// An untrained model.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Shape`] and [`Error::Node`] for given parents that do not fit the space.
    pub fn new(space: FactoredSpace, config: WorldModelConfig, seeds: SeedStream) -> Result<Self> {
        config.validate()?;
        if let Structure::Given(parents) = &config.structure {
            if parents.len() != space.len() {
                return Err(Error::shape(
                    "CausalWorldModel::new",
                    format!("{} parent lists", space.len()),
                    parents.len(),
                ));
            }
            if let Some(&node) = parents.iter().flatten().find(|&&i| i > space.len()) {
                return Err(Error::Node { operation: "CausalWorldModel::new", node, count: space.len() + 1 });
            }
        }
        let build = |v| Mechanism::new(&space, v, &config, seeds.stream("mechanism", v as u64));
        let mechanisms = (0..space.len()).map(build).collect::<Result<_>>()?;
        Ok(Self { space, config, mechanisms })
    }

    /// The space of its states.
    pub fn space(&self) -> &FactoredSpace {
        &self.space
    }

    /// Makes `updates` gradient steps with every mechanism, in parallel; mechanisms have their own generators, so the
    /// result does not depend on the number of threads. The whole training has `config.updates` steps.
    ///
    /// # Errors
    /// [`Error::Data`] when a variable was set from outside in nearly every row, [`Error::Shape`] for data of another
    /// space, and what the tensor library reports.
    pub fn train(&mut self, data: &InterventionalDataset, updates: u64) -> Result<()> {
        if data.space() != &self.space {
            return Err(Error::shape(
                "CausalWorldModel::train",
                "data of the model's space",
                "another space",
            ));
        }
        let config = &self.config;
        self.mechanisms.par_iter_mut().try_for_each(|mechanism| {
            let rows = Rows::split(data, mechanism.variable, config.validation)?;
            mechanism.train(data, &rows, config, updates)
        })
    }

    /// The inputs that the mechanism of `variable` reads: variables, and [`FactoredSpace::action_input`].
    pub fn parents(&self, variable: usize) -> Vec<usize> {
        let mask = &self.mechanisms[variable].mask;
        (0..mask.len()).filter(|&i| mask[i]).collect()
    }

    /// `[variable][input]`: estimated information in nats of each input given the others; infinite before the first
    /// estimate and for a structure that was not learned.
    pub fn information(&self) -> Vec<Vec<f64>> {
        self.mechanisms.iter().map(|m| m.information.clone()).collect()
    }

    /// The variables that influence `variable` now or later, itself included: closed under parents over time.
    pub fn causes_of(&self, variable: usize) -> NodeSet {
        let mut causes = NodeSet::with_capacity(self.space.len());
        let mut stack = vec![variable];
        while let Some(v) = stack.pop() {
            if !causes.put(v) {
                stack.extend(self.parents(v).into_iter().filter(|&i| i < self.space.len()));
            }
        }
        causes
    }

    /// Mean negative log-likelihood per variable on data, nats, with the model's own parents.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn losses(&self, data: &InterventionalDataset) -> Result<Vec<f64>> {
        let mut workspace = Workspace::default();
        let one = |m: &Mechanism, w: &mut Workspace<f32>| {
            m.mean_loss(data, &data.rows_of(m.variable), |i| m.mask[i], w)
        };
        self.mechanisms.iter().map(|m| one(m, &mut workspace)).collect()
    }

    /// The law of one variable after each row: `[rows, k]` probabilities, or `[rows, 2k]` means and standard deviations.
    ///
    /// # Errors
    /// [`Error::Shape`] for states and actions that do not fit.
    pub fn law(&self, variable: usize, states: &[f32], actions: &[f32]) -> Result<Vec<f32>> {
        self.check_rows(states, actions)?;
        self.mechanisms[variable].law(&self.space, states, actions, &mut Workspace::default())
    }

    fn check_rows(&self, states: &[f32], actions: &[f32]) -> Result<usize> {
        let (w, a) = (self.space.width(), self.space.action().width());
        let rows = states.len() / w;
        if states.len() == rows * w && actions.len() == rows * a {
            return Ok(rows);
        }
        let got = format!("{} and {} numbers", states.len(), actions.len());
        Err(Error::shape("CausalWorldModel", format!("rows of {w} and {a} numbers"), got))
    }

    /// Draws the next states of rows of states `[rows, W]` and actions `[rows, A]`, under interventions: variables in `set`
    /// get their value whatever their mechanism says.
    ///
    /// # Errors
    /// [`Error::Shape`] for sizes that do not fit.
    pub fn sample(
        &self,
        states: &[f32],
        actions: &[f32],
        set: &[Do],
        rng: &mut impl Rng,
    ) -> Result<Vec<f32>> {
        let rows = self.check_rows(states, actions)?;
        self.check_interventions(set)?;
        let w = self.space.width();
        let mut next = vec![0.0; rows * w];
        let mut workspace = Workspace::default();
        for mechanism in &self.mechanisms {
            let block = self.space.block(mechanism.variable);
            if let Some(fixed) = set.iter().find(|d| d.variable == mechanism.variable) {
                next.chunks_exact_mut(w).for_each(|row| row[block.clone()].copy_from_slice(&fixed.value));
                continue;
            }
            let law = mechanism.law(&self.space, states, actions, &mut workspace)?;
            for (row, law) in next.chunks_exact_mut(w).zip(law.chunks_exact(mechanism.law_width())) {
                draw(mechanism.kind(), law, &mut row[block.clone()], rng);
            }
        }
        Ok(next)
    }

    fn check_interventions(&self, set: &[Do]) -> Result<()> {
        for intervention in set {
            let node = intervention.variable;
            if node >= self.space.len() {
                return Err(Error::Node { operation: "do", node, count: self.space.len() });
            }
            let width = self.space.variables()[node].kind.width();
            if intervention.value.len() != width {
                let got = intervention.value.len();
                return Err(Error::shape("do", format!("{width} numbers for variable {node}"), got));
            }
        }
        Ok(())
    }

    /// A trajectory under do(·): `set[t]` is set in the state that action t leads to, later states are made from it. Returns
    /// the states after each action.
    ///
    /// # Errors
    /// As [`CausalWorldModel::sample`]; [`Error::Shape`] for another number of interventions than actions.
    pub fn rollout(
        &self,
        start: &[f32],
        actions: &[Vec<f32>],
        set: &[Vec<Do>],
        rng: &mut impl Rng,
    ) -> Result<Vec<Vec<f32>>> {
        if set.len() != actions.len() {
            return Err(Error::shape(
                "rollout",
                format!("{} lists of interventions", actions.len()),
                set.len(),
            ));
        }
        let mut states: Vec<Vec<f32>> = Vec::with_capacity(actions.len());
        for (action, set) in actions.iter().zip(set) {
            let next = self.sample(states.last().map_or(start, Vec::as_slice), action, set, rng)?;
            states.push(next);
        }
        Ok(states)
    }

    /// What the next state would have been with another action, given what it was: abduction, action, prediction.
    ///
    /// Real variables: u = (v′ − μ)/σ is recovered exactly and carried over. Categorical ones: the noise is drawn from its
    /// posterior under the Gumbel-max mechanism ([`gumbel_max_counterfactual`]), exact under that assumption only.
    ///
    /// # Errors
    /// As [`CausalWorldModel::sample`].
    pub fn counterfactual(
        &self,
        state: &[f32],
        action: &[f32],
        next: &[f32],
        instead: &[f32],
        rng: &mut impl Rng,
    ) -> Result<Vec<f32>> {
        if self.check_rows(state, action)? != 1 || next.len() != state.len() || instead.len() != action.len()
        {
            let got = format!("{} and {} numbers", next.len(), instead.len());
            return Err(Error::shape("counterfactual", "one state, action, next state and action", got));
        }
        let mut imagined = vec![0.0; next.len()];
        let mut workspace = Workspace::default();
        for mechanism in &self.mechanisms {
            let block = self.space.block(mechanism.variable);
            let actual = mechanism.law(&self.space, state, action, &mut workspace)?;
            let other = mechanism.law(&self.space, state, instead, &mut workspace)?;
            let (seen, value) = (&next[block.clone()], &mut imagined[block]);
            match mechanism.kind() {
                Kind::Real(k) => {
                    for i in 0..k {
                        let noise = (seen[i] - actual[i]) / actual[k + i];
                        value[i] = other[i] + other[k + i] * noise;
                    }
                }
                Kind::Categorical(_) => {
                    let wide =
                        |law: &[f32]| law.iter().map(|&p| f64::from(p.max(1e-12))).collect::<Vec<f64>>();
                    let outcome = seen.iter().position(|&v| v > 0.5).unwrap_or(0);
                    value[gumbel_max_counterfactual(&wide(&actual), outcome, &wide(&other), rng)?] = 1.0;
                }
            }
        }
        Ok(imagined)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Transition, Variable};
    use super::*;
    use crate::discovery::{PcmciConfig, pcmci};
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    fn space() -> FactoredSpace {
        let real = |name: &str| Variable { name: name.into(), kind: Kind::Real(1) };
        let coin = Variable { name: "coin".into(), kind: Kind::Categorical(2) };
        FactoredSpace::new(vec![real("x"), real("y"), coin, real("nuisance")], Kind::Real(1)).unwrap()
    }

    /// x ← 0.5 x + a, y ← 0.9 x (no own past), coin copies the sign of y, nuisance is noise.
    fn data(rows: usize) -> InterventionalDataset {
        let mut data = InterventionalDataset::new(space());
        let mut rng = SeedStream::new(5).stream("rows", 0);
        let mut state = vec![0.0f32, 0.0, 1.0, 0.0, 0.0];
        for i in 0..rows {
            let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
            let (noise, nuisance) = ([normal(), normal()], normal());
            let a: f32 = rng.random_range(-1.0..1.0);
            let heads = f32::from(u8::from(state[1] > 0.0));
            let next = vec![
                0.5 * state[0] + a + 0.2 * noise[0],
                0.9 * state[0] + 0.2 * noise[1],
                1.0 - heads,
                heads,
                nuisance,
            ];
            let t = Transition {
                state: &state,
                action: &[a],
                reward: 0.0,
                next: &next,
                first: i % 20 == 0,
                set: &[],
            };
            data.push(t).unwrap();
            state = next;
        }
        data
    }

    #[test]
    fn the_parents_are_found_and_nothing_else_matters() {
        let data = data(3000);
        let config = WorldModelConfig { hidden: vec![32], updates: 2500, ..WorldModelConfig::default() };
        let mut model = CausalWorldModel::new(space(), config, SeedStream::new(1)).unwrap();
        model.train(&data, 2500).unwrap();
        let parents: Vec<Vec<usize>> = (0..4).map(|v| model.parents(v)).collect();
        assert_eq!(parents, [vec![0, 4], vec![0], vec![1], vec![]], "{:?}", model.information());
        let causes: Vec<usize> = model.causes_of(2).ones().collect();
        assert_eq!(causes, [0, 1, 2]);
        // Changing what is no parent leaves the law bit-identical.
        let (a, b) = ([0.3, -0.2, 1.0, 0.0, 0.0], [0.3, 7.0, 0.0, 1.0, -9.0]);
        for v in 0..2 {
            assert_eq!(model.law(v, &a, &[0.1]).unwrap(), model.law(v, &b, &[0.1]).unwrap());
        }
        assert_ne!(model.law(0, &a, &[0.1]).unwrap(), model.law(0, &a, &[0.2]).unwrap());
        what_is_set_stays_set(&model);
        an_action_that_changes_nothing_changes_nothing(&model);
    }

    /// do(x := 2) moves y one step later by the mechanism, and leaves the nuisance alone.
    fn what_is_set_stays_set(model: &CausalWorldModel) {
        let mut rng = SeedStream::new(2).stream("rollout", 0);
        let set = [vec![Do { variable: 0, value: vec![2.0] }], vec![]];
        let mut mean = 0.0;
        for _ in 0..100 {
            let path =
                model.rollout(&[0.0, 0.0, 1.0, 0.0, 0.0], &[vec![0.0], vec![0.0]], &set, &mut rng).unwrap();
            assert_eq!(path[0][0], 2.0);
            mean += path[1][1] / 100.0;
        }
        assert!((mean - 1.8).abs() < 0.2, "{mean}");
        let bad = [vec![Do { variable: 9, value: vec![2.0] }]];
        assert!(model.rollout(&[0.0; 5], &[vec![0.0]], &bad, &mut rng).is_err());
    }

    /// The same action gives back the same next state; another one shifts x by its effect.
    fn an_action_that_changes_nothing_changes_nothing(model: &CausalWorldModel) {
        let mut rng = SeedStream::new(3).stream("cf", 0);
        let (state, next) = ([0.4, -0.2, 1.0, 0.0, 0.1], [0.5, 0.1, 1.0, 0.0, 2.0]);
        let same = model.counterfactual(&state, &[0.2], &next, &[0.2], &mut rng).unwrap();
        same.iter().zip(next).for_each(|(a, b)| assert!((a - b).abs() < 1e-4));
        let other = model.counterfactual(&state, &[0.2], &next, &[0.7], &mut rng).unwrap();
        assert!((other[0] - 1.0).abs() < 0.15, "{other:?}");
        assert_eq!(other[4], next[4]);
    }

    #[test]
    fn masks_can_come_from_pcmci() {
        let data = data(2000);
        let (tables, inputs) = data.episodes().unwrap();
        // The coin's second column repeats the first, which linear tests refuse: leave it out.
        let kept: Vec<usize> = (0..inputs.len()).filter(|&c| c != 3).collect();
        let names: Vec<String> = kept.iter().map(|&c| tables[0].names()[c].clone()).collect();
        let pick = |t: &crate::data::Table| {
            let columns = kept.iter().map(|&c| t.columns()[c].clone()).collect();
            crate::data::Table::new(names.clone(), columns).unwrap()
        };
        let episodes: Vec<_> = tables.iter().map(pick).collect();
        let config = PcmciConfig { exogenous: vec![4], alpha: 1e-4, ..PcmciConfig::default() };
        let mut parents = pcmci(&episodes, &config).unwrap().parents();
        parents.truncate(4);
        assert_eq!(parents, [vec![0, 4], vec![0], vec![1], vec![]]);
        let config = WorldModelConfig {
            structure: Structure::Given(parents.clone()),
            updates: 50,
            hidden: vec![16],
            ..WorldModelConfig::default()
        };
        let mut model = CausalWorldModel::new(space(), config, SeedStream::new(1)).unwrap();
        let before = model.losses(&data).unwrap();
        model.train(&data, 50).unwrap();
        assert_eq!((0..4).map(|v| model.parents(v)).collect::<Vec<_>>(), parents);
        assert!(model.losses(&data).unwrap()[0] < before[0]);
    }

    #[test]
    fn rows_in_which_a_variable_was_set_teach_its_mechanism_nothing() {
        // In half of the rows x is set to 5 from outside; its mechanism must not predict that.
        let mut data = InterventionalDataset::new(space());
        let clean = self::data(1000);
        for (i, t) in clean.iter().enumerate() {
            let mut next = t.next.to_vec();
            let outside = i % 2 == 0;
            if outside {
                next[0] = 5.0;
            }
            data.push(Transition { next: &next, set: if outside { &[0] } else { &[] }, ..t }).unwrap();
        }
        let config = WorldModelConfig {
            structure: Structure::Dense,
            updates: 300,
            hidden: vec![32],
            ..WorldModelConfig::default()
        };
        let mut model = CausalWorldModel::new(space(), config, SeedStream::new(1)).unwrap();
        model.train(&data, 300).unwrap();
        let law = model.law(0, &[0.5, 0.0, 1.0, 0.0, 0.0], &[0.2]).unwrap();
        assert!((law[0] - 0.45).abs() < 0.2 && law[1] < 0.5, "{law:?}");
    }
}
