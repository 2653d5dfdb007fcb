//! Predicted against realised returns.

use super::learned::{Imagines, Learned};
use super::predictor::TrueDynamics;
use super::trajectory::Trajectory;
use crate::Result;
use crate::planning::{Model, SimulatorModel};
use rl_core::env::{Actions, Simulator, Space};
use rl_core::{Error, StreamRng};

/// How predicted returns of action sequences relate to those that the simulator pays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Pearson's correlation over sequences and states.
    pub correlation: f64,
    /// Mean of predicted minus realised: positive is optimism.
    pub bias: f64,
    /// Sequences compared.
    pub count: usize,
}

/// Scores random action sequences in the model and in the simulator, from states along the trajectories.
///
/// # Errors
/// If a model fails, or no trajectory is long enough.
pub fn calibration<M: Imagines, S: Simulator + Clone>(
    learned: &mut Learned<'_, M>,
    truth: &TrueDynamics<'_, S>,
    data: &[Trajectory],
    (context, horizon, sequences): (usize, usize, usize),
    rng: &mut StreamRng,
) -> Result<Calibration> {
    let (mut predicted, mut realised) = (vec![], vec![]);
    for trajectory in data.iter().filter(|t| t.steps() > context) {
        learned.observe(trajectory, context);
        let state = (truth.state_of)(trajectory.observation(context));
        let simulator = SimulatorModel::new(truth.simulator.clone(), state);
        let space = learned.space.clone();
        let actions = Sequences::random(&space, sequences, horizon, rng);
        predicted.extend(actions.returns(&*learned.rollout, rng)?);
        realised.extend(actions.returns(&simulator, rng)?);
    }
    let count = predicted.len();
    if count < 2 {
        return Err(
            Error::shape("calibration", format!("episodes longer than {context} steps"), "none").into()
        );
    }
    let mean = |x: &[f64]| x.iter().sum::<f64>() / count as f64;
    let (p, r) = (mean(&predicted), mean(&realised));
    let moment = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    let spread = moment(&predicted, p, &predicted, p) * moment(&realised, r, &realised, r);
    let correlation = moment(&predicted, p, &realised, r) / spread.sqrt().max(f64::MIN_POSITIVE);
    Ok(Calibration { correlation, bias: p - r, count })
}

/// Random action sequences for any model.
struct Sequences {
    count: usize,
    steps: Vec<Step>,
}

/// The actions of all sequences at one step.
enum Step {
    /// `[sequences · A]`
    Continuous(Vec<f32>),
    /// `[sequences]`
    Discrete(Vec<usize>),
}

impl Sequences {
    fn random(space: &Space, count: usize, horizon: usize, rng: &mut StreamRng) -> Self {
        let mut step = || match space {
            Space::Discrete(n) => {
                Step::Discrete((0..count).map(|_| Space::sample_discrete(*n, rng)).collect())
            }
            Space::Box { low, high } => {
                let mut actions = vec![0.0; count * low.len()];
                for action in actions.chunks_exact_mut(low.len()) {
                    Space::sample_box(low, high, rng, action);
                }
                Step::Continuous(actions)
            }
        };
        Self { count, steps: (0..horizon).map(|_| step()).collect() }
    }

    fn returns<M: Model>(&self, model: &M, rng: &mut StreamRng) -> Result<Vec<f64>> {
        let rows = self.count;
        let mut batch = model.batch();
        model.start(&mut batch, rows);
        let (mut rewards, mut continues) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut totals, mut alive) = (vec![0.0; rows], vec![1.0; rows]);
        for step in &self.steps {
            let actions = match step {
                Step::Continuous(actions) => Actions::Continuous(actions),
                Step::Discrete(actions) => Actions::Discrete(actions),
            };
            model.step(&mut batch, actions, rng, &mut rewards, &mut continues)?;
            for i in 0..rows {
                totals[i] += alive[i] * f64::from(rewards[i]);
                alive[i] *= f64::from(continues[i]);
            }
        }
        Ok(totals)
    }
}

/// (score − random) / (oracle − random): 0 is chance, 1 is planning with the true dynamics.
pub fn normalised_score(score: f64, random: f64, oracle: f64) -> f64 {
    (score - random) / (oracle - random)
}
