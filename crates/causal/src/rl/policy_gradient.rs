//! A policy gradient whose policy must not change when variables that cannot change the return are set.
//!
//! L(θ) = −E[A ln π(a | s)] − η H(π) + β E[KL(π(· | s) ‖ π(· | do(s_N := s′_N)))], with N the observed variables that are no
//! causes of the return ([`CausalWorldModel::causes_of`](super::CausalWorldModel::causes_of)) and s′_N the values they had in
//! another row. REINFORCE with a learned baseline: Williams (1992), Sutton et al. (1999). The last term compares the
//! policy with itself *under an intervention*: it is zero exactly where the policy ignores N, and its gradient reaches
//! every parameter otherwise. β = 0 is the plain policy gradient, bit for bit.

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use rand::{Rng, RngExt};
use rl_core::dist::Categorical;
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Activation, Init, Mlp, MlpConfig, Norm};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Settings of [`CausalPolicyGradient`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyGradientConfig {
    /// Hidden widths of policy and baseline.
    pub hidden: Vec<usize>,
    /// Adam's step size.
    pub learning_rate: f64,
    /// η: weight of the entropy.
    pub entropy: f64,
    /// β: weight of the interventional consistency.
    pub consistency: f64,
    /// Columns of the observation that are no causes of the return. Empty: the plain policy gradient.
    pub non_causes: Vec<usize>,
}

impl Default for PolicyGradientConfig {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            learning_rate: 1e-3,
            entropy: 0.01,
            consistency: 1.0,
            non_causes: vec![],
        }
    }
}

impl PolicyGradientConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("entropy", self.entropy), ("consistency", self.consistency)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::config("policy_gradient", field, value, "at least 0"));
            }
        }
        Ok(())
    }
}

/// Steps of finished episodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// `[n, D]`
    pub observations: Vec<f32>,
    /// `[n]`
    pub actions: Vec<u32>,
    /// Discounted return from each step on, `[n]`.
    pub returns: Vec<f32>,
}

/// −mean(A ln π(a | s)) − η mean H(π): logits `[n, K]`, actions and advantages `[n]`.
///
/// # Errors
/// From the tensor library, if the sizes do not fit.
pub fn policy_gradient_loss(
    policy: &Categorical,
    actions: &[u32],
    advantages: &[f32],
    entropy: f64,
) -> rl_core::Result<Tensor> {
    let device = policy.probs().device();
    let actions = Tensor::from_slice(actions, actions.len(), device)?;
    let advantages = Tensor::from_slice(advantages, advantages.len(), device)?;
    let gain = (policy.log_prob(&actions)? * advantages)?.mean_all()?;
    Ok((gain.neg()? - (policy.entropy()?.mean_all()? * entropy)?)?)
}

/// mean KL(π(· | s) ‖ π(· | do(s_N))): `observations` and `intervened` are `[n, D]`. Differentiable through both.
///
/// # Errors
/// From the tensor library, if the sizes do not fit.
pub fn interventional_consistency(
    policy: &Mlp,
    observations: &Tensor,
    intervened: &Tensor,
) -> rl_core::Result<Tensor> {
    let natural = Categorical::new(&policy.forward(observations)?)?;
    let set = Categorical::new(&policy.forward(intervened)?)?;
    Ok(natural.kl(&set)?.mean_all()?)
}

/// What an update measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// The policy gradient's surrogate, with the entropy.
    pub policy: f64,
    /// Mean squared error of the baseline.
    pub baseline: f64,
    /// The interventional consistency, before its weight.
    pub consistency: f64,
}

/// A policy over `K` actions with its baseline.
pub struct CausalPolicyGradient {
    config: PolicyGradientConfig,
    policy: Mlp,
    baseline: Mlp,
    policy_optimizer: Optimizer,
    baseline_optimizer: Optimizer,
    /// Draws interventions and nothing else, so that they shift no other random number.
    interventions: StreamRng,
    workspace: Workspace<f32>,
}

impl CausalPolicyGradient {
    /// For observations of width `width`.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Node`] for a column out of range.
    pub fn new(
        width: usize,
        actions: usize,
        config: PolicyGradientConfig,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        if let Some(&node) = config.non_causes.iter().find(|&&c| c >= width) {
            return Err(Error::Node { operation: "policy_gradient.non_causes", node, count: width });
        }
        let network = |outputs, last, rng: &mut StreamRng| {
            let shape = MlpConfig {
                inputs: width,
                hidden: config.hidden.clone(),
                outputs,
                activation: Activation::Tanh,
                output_activation: Activation::Identity,
                norm: Norm::None,
                init: Init::Orthogonal { gain: 2f64.sqrt() },
                output_init: Init::Orthogonal { gain: last },
            };
            Mlp::new(&shape, &Device::Cpu, rng)
        };
        let policy = network(actions, 0.01, &mut seeds.stream("policy", 0))?;
        let baseline = network(1, 1.0, &mut seeds.stream("baseline", 0))?;
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-5, Clip::GlobalNorm(0.5));
        Ok(Self {
            policy_optimizer: Optimizer::new(adam, &[policy.params()])?,
            baseline_optimizer: Optimizer::new(adam, &[baseline.params()])?,
            policy,
            baseline,
            interventions: seeds.stream("interventions", 0),
            workspace: Workspace::default(),
            config,
        })
    }

    /// The policy's network: observations to logits.
    pub fn policy(&self) -> &Mlp {
        &self.policy
    }

    /// An action per row of observations `[n, D]`, drawn from the policy.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width.
    pub fn act(&mut self, observations: &[f32], rng: &mut impl Rng) -> Result<Vec<usize>> {
        let choose = |row: &[f32], rng: &mut dyn FnMut() -> f32| {
            // The largest of logit + Gumbel noise is a draw from the softmax.
            let noisy = row.iter().map(|&l| l - (-rng().max(f32::MIN_POSITIVE).ln()).ln());
            largest(noisy)
        };
        let mut uniform = || rng.random::<f32>();
        Ok(self
            .logits(observations)?
            .chunks_exact(self.policy.outputs())
            .map(|r| choose(r, &mut uniform))
            .collect())
    }

    /// The most likely action per row.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width.
    pub fn act_greedily(&mut self, observations: &[f32]) -> Result<Vec<usize>> {
        let logits = self.logits(observations)?;
        Ok(logits.chunks_exact(self.policy.outputs()).map(|r| largest(r.iter().copied())).collect())
    }

    fn logits(&mut self, observations: &[f32]) -> Result<Vec<f32>> {
        let (policy, workspace) = (&self.policy, &mut self.workspace);
        let rows = rows_of(observations, policy.inputs())?;
        let infer = |p: &[f32]| Ok(policy.infer(p, rows, observations, policy.inputs(), workspace).to_vec());
        Ok(policy.params().with::<f32, _>(infer)?)
    }

    /// One gradient step of policy and baseline.
    ///
    /// # Errors
    /// [`Error::Shape`] for lists of different length, and what the tensor library reports.
    pub fn update(&mut self, batch: &Batch) -> Result<Losses> {
        let (width, n) = (self.policy.inputs(), rows_of(&batch.observations, self.policy.inputs())?);
        if batch.actions.len() != n || batch.returns.len() != n || n == 0 {
            let got = format!("{n}, {} and {}", batch.actions.len(), batch.returns.len());
            return Err(Error::shape(
                "CausalPolicyGradient::update",
                "as many rows of each, at least one",
                got,
            ));
        }
        let tensor = |values: &[f32]| -> rl_core::Result<Tensor> {
            Ok(Tensor::from_slice(values, (n, width), &Device::Cpu)?)
        };
        let observations = tensor(&batch.observations)?;
        let values = self.baseline.forward(&observations)?;
        let known = (|| values.flatten_all()?.to_vec1::<f32>())().map_err(rl_core::Error::from)?;
        let advantages = standardised(batch.returns.iter().zip(&known).map(|(g, v)| g - v).collect());

        let distribution = Categorical::new(&self.policy.forward(&observations)?)?;
        let plain = policy_gradient_loss(&distribution, &batch.actions, &advantages, self.config.entropy)?;
        let mut losses = Losses { policy: scalar(&plain)?, baseline: 0.0, consistency: 0.0 };
        let mut loss = plain;
        if !self.config.non_causes.is_empty() {
            let set = self.intervene(&batch.observations, width);
            let term = interventional_consistency(&self.policy, &observations, &tensor(&set)?)?;
            losses.consistency = scalar(&term)?;
            let weighted = (term * self.config.consistency).map_err(rl_core::Error::from)?;
            loss = (loss + weighted).map_err(rl_core::Error::from)?;
        }
        let (_, gradients) = backward(&loss)?;
        self.policy_optimizer.step(&gradients)?;

        let error = (|| {
            let returns = Tensor::from_slice(&batch.returns, (n, 1), &Device::Cpu)?;
            (values - returns)?.sqr()?.mean_all()
        })()
        .map_err(rl_core::Error::from)?;
        let (value, gradients) = backward(&error)?;
        self.baseline_optimizer.step(&gradients)?;
        losses.baseline = value;
        Ok(losses)
    }

    /// do(s_N := s′_N): the columns of N out of another row, all of one row together.
    fn intervene(&mut self, observations: &[f32], width: usize) -> Vec<f32> {
        let n = observations.len() / width;
        let mut order: Vec<usize> = (0..n).collect();
        (1..n).rev().for_each(|i| order.swap(i, self.interventions.random_range(0..=i)));
        let mut set = observations.to_vec();
        for (row, &other) in set.chunks_exact_mut(width).zip(&order) {
            for &column in &self.config.non_causes {
                row[column] = observations[other * width + column];
            }
        }
        set
    }
}

fn rows_of(observations: &[f32], width: usize) -> Result<usize> {
    if observations.len().is_multiple_of(width) {
        return Ok(observations.len() / width);
    }
    Err(Error::shape("CausalPolicyGradient", format!("rows of {width} numbers"), observations.len()))
}

fn scalar(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.to_scalar::<f32>().map_err(rl_core::Error::from)?))
}

fn largest(values: impl Iterator<Item = f32>) -> usize {
    let first = |best: (usize, f32), new: (usize, f32)| if new.1 > best.1 { new } else { best };
    values.enumerate().fold((0, f32::NEG_INFINITY), first).0
}

/// Mean 0, standard deviation 1.
fn standardised(mut x: Vec<f32>) -> Vec<f32> {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    let deviation = (x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
    x.iter_mut().for_each(|v| *v = (*v - mean) / (deviation + 1e-8));
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    /// Two columns of which the second is noise; action 1 is right where the first is positive.
    fn batch(n: usize, seed: u64) -> Batch {
        let mut rng = SeedStream::new(seed).stream("batch", 0);
        let mut batch = Batch::default();
        for _ in 0..n {
            let (cause, noise): (f32, f32) = (rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0));
            let action = rng.random_range(0..2u32);
            batch.observations.extend([cause, noise]);
            batch.actions.push(action);
            batch.returns.push(f32::from(u8::from((action == 1) == (cause > 0.0))));
        }
        batch
    }

    fn agent(consistency: f64, non_causes: Vec<usize>) -> CausalPolicyGradient {
        let config = PolicyGradientConfig {
            hidden: vec![16],
            consistency,
            non_causes,
            ..PolicyGradientConfig::default()
        };
        CausalPolicyGradient::new(2, 2, config, SeedStream::new(3)).unwrap()
    }

    fn bits(agent: &CausalPolicyGradient) -> Vec<u32> {
        agent.policy.params().to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn weight_zero_is_the_plain_policy_gradient_bit_for_bit() {
        let (mut plain, mut zero, mut weighted) =
            (agent(1.0, vec![]), agent(0.0, vec![1]), agent(1.0, vec![1]));
        for seed in 0..20 {
            let batch = batch(64, seed);
            assert_eq!(plain.update(&batch).unwrap().policy, zero.update(&batch).unwrap().policy);
            weighted.update(&batch).unwrap();
        }
        assert_eq!(bits(&plain), bits(&zero));
        assert_ne!(bits(&plain), bits(&weighted));
    }

    /// Logits (0, w x): KL(σ(w x) ‖ σ(w x′)) by hand.
    #[test]
    fn the_consistency_of_a_linear_policy_is_the_hand_worked_one() {
        let policy =
            Mlp::new(&MlpConfig::relu(1, &[], 2), &Device::Cpu, &mut SeedStream::new(1).stream("p", 0))
                .unwrap();
        policy.params().set(&[0f32, 2.0, 0.0, 0.0]).unwrap();
        let row = |x: f32| Tensor::new(&[[x]], &Device::Cpu).unwrap();
        let term = scalar(&interventional_consistency(&policy, &row(0.5), &row(-0.5)).unwrap()).unwrap();
        let p = 1.0 / (1.0 + (-1f64).exp());
        let want = p * (p / (1.0 - p)).ln() + (1.0 - p) * ((1.0 - p) / p).ln();
        assert!((term - want).abs() < 1e-5, "{term} {want}");
        let none = scalar(&interventional_consistency(&policy, &row(0.5), &row(0.5)).unwrap()).unwrap();
        assert!(none.abs() < 1e-7);
    }

    #[test]
    fn the_term_bites_every_parameter_and_its_gradient_is_right() {
        let config = MlpConfig { activation: Activation::Tanh, ..MlpConfig::relu(2, &[4], 3) };
        let policy = Mlp::new(&config, &Device::Cpu, &mut SeedStream::new(1).stream("p", 0)).unwrap();
        let policy = policy.to_dtype(DType::F64).unwrap();
        let rows = Tensor::new(&[[0.5f64, 1.0], [-0.3, 0.2]], &Device::Cpu).unwrap();
        let set = Tensor::new(&[[0.5f64, -0.7], [-0.3, 1.5]], &Device::Cpu).unwrap();
        let (value, gradients) =
            backward(&interventional_consistency(&policy, &rows, &set).unwrap()).unwrap();
        assert!(value > 1e-4);
        let gradient = gradients.get(policy.params().tensor()).unwrap().to_vec1::<f64>().unwrap();
        let start = policy.params().to_vec::<f64>().unwrap();
        for (i, g) in gradient.iter().enumerate() {
            assert!(*g != 0.0, "parameter {i} has no gradient");
            let at = |h: f64| {
                let mut moved = start.clone();
                moved[i] += h;
                policy.params().set(&moved).unwrap();
                interventional_consistency(&policy, &rows, &set).unwrap().to_scalar::<f64>().unwrap()
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((slope - g).abs() < 1e-7, "parameter {i}: {g} against {slope}");
        }
    }

    #[test]
    fn the_policy_learns_and_forgets_what_is_no_cause() {
        // The noise column copies the cause in training: a spurious feature.
        let spurious = |n, seed| {
            let mut batch = batch(n, seed);
            batch.observations.chunks_exact_mut(2).for_each(|r| r[1] = 3.0 * r[0]);
            batch
        };
        let right = |agent: &mut CausalPolicyGradient| {
            let mut batch = batch(400, 999);
            batch.observations.chunks_exact_mut(2).for_each(|r| r[1] = -3.0 * r[0]);
            let actions = agent.act_greedily(&batch.observations).unwrap();
            let hits =
                batch.observations.chunks_exact(2).zip(actions).filter(|(r, a)| (*a == 1) == (r[0] > 0.0));
            hits.count() as f64 / 400.0
        };
        let mut scores = Vec::new();
        for weight in [0.0, 1.0] {
            let config = PolicyGradientConfig {
                hidden: vec![16],
                learning_rate: 1e-2,
                consistency: weight,
                non_causes: vec![1],
                ..PolicyGradientConfig::default()
            };
            let mut agent = CausalPolicyGradient::new(2, 2, config, SeedStream::new(3)).unwrap();
            (0..300).for_each(|seed| {
                agent.update(&spurious(128, seed)).unwrap();
            });
            scores.push(right(&mut agent));
        }
        assert!(scores[0] < 0.3 && scores[1] > 0.9, "{scores:?}");
    }
}
