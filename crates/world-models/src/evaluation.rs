//! Is the model any good? Open-loop errors against honest baselines, and predicted against realised returns.
//!
//! The protocol: trajectories that were never trained on; the first steps are filtered, the rest is predicted from the
//! true actions alone; errors per look-ahead beside those of persistence (nothing changes), a linear model fitted to the
//! training data, and the true simulator. A model that cannot beat persistence has learned nothing.

use crate::Result;
use crate::planning::{Model, SimulatorModel};
use crate::rssm::{Rollout, encode_action};
use nalgebra::{DMatrix, DVector};
use rl_core::env::scripted::Policy;
use rl_core::env::{Action, Actions, Env, Simulator, Space};
use rl_core::{Error, StreamRng};

/// One episode: T actions, T rewards, T + 1 observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trajectory {
    /// `[T + 1, D]`
    pub observations: Vec<f32>,
    /// `[T, A]`, one-hot where actions are discrete.
    pub actions: Vec<f32>,
    /// `[T]`
    pub rewards: Vec<f32>,
    /// D
    pub observation_width: usize,
    /// A
    pub action_width: usize,
}

impl Trajectory {
    /// T
    pub fn steps(&self) -> usize {
        self.rewards.len()
    }

    /// Observation t, 0..=T.
    pub fn observation(&self, t: usize) -> &[f32] {
        &self.observations[t * self.observation_width..][..self.observation_width]
    }

    /// Action t, 0..T, encoded.
    pub fn action(&self, t: usize) -> &[f32] {
        &self.actions[t * self.action_width..][..self.action_width]
    }
}

/// Plays one episode per start and records it.
///
/// # Errors
/// If the environment refuses an action.
pub fn record(env: &mut dyn Env, policy: &mut dyn Policy, starts: &[u64]) -> Result<Vec<Trajectory>> {
    let (d, a) = (env.spec().observation.width(), env.spec().action.width());
    let (mut observation, mut encoded) = (vec![0.0; d], vec![0.0; a]);
    let mut all = vec![];
    for &start in starts {
        env.reset(Some(start), &mut observation)?;
        let mut trajectory = Trajectory { observation_width: d, action_width: a, ..Trajectory::default() };
        trajectory.observations.extend_from_slice(&observation);
        loop {
            let action = policy.act(&observation);
            encode_action(action, &mut encoded);
            let step = env.step(action, &mut observation)?;
            trajectory.actions.extend_from_slice(&encoded);
            trajectory.observations.extend_from_slice(&observation);
            trajectory.rewards.push(step.reward as f32);
            if step.done() {
                break;
            }
        }
        all.push(trajectory);
    }
    Ok(all)
}

/// Predicts what follows the first `context` transitions of a trajectory from its actions alone.
pub trait Predictor {
    /// Writes the observations `[horizon, D]` and rewards `[horizon]` of the steps `context..context + horizon`.
    ///
    /// # Errors
    /// If the predictor cannot be evaluated.
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()>;
}

/// Nothing changes: the last observation and the last reward, for ever.
pub struct Persistence;

impl Predictor for Persistence {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        let reward = if context > 0 { trajectory.rewards[context - 1] } else { 0.0 };
        for _ in 0..horizon {
            observations.extend_from_slice(trajectory.observation(context));
            rewards.push(reward);
        }
        Ok(())
    }
}

/// `[o', r] = M [o, a, 1]`, fitted by least squares.
pub struct Linear {
    /// `[D + A + 1, D + 1]`
    matrix: DMatrix<f64>,
}

impl Linear {
    /// Fits to all transitions of the trajectories.
    ///
    /// # Errors
    /// If there is no transition.
    pub fn fit(data: &[Trajectory]) -> Result<Self> {
        let Some(first) = data.iter().find(|t| t.steps() > 0) else {
            return Err(Error::shape("Linear::fit", "at least one transition", "none").into());
        };
        let (inputs, outputs) =
            (first.observation_width + first.action_width + 1, first.observation_width + 1);
        let (mut gram, mut moment) = (DMatrix::zeros(inputs, inputs), DMatrix::zeros(inputs, outputs));
        for trajectory in data {
            for t in 0..trajectory.steps() {
                let x = Self::features(trajectory.observation(t), trajectory.action(t));
                let reward = trajectory.rewards[t];
                let y = trajectory.observation(t + 1).iter().chain([&reward]).map(|&v| f64::from(v));
                let y = DVector::from_iterator(outputs, y);
                gram += &x * x.transpose();
                moment += &x * y.transpose();
            }
        }
        // A trace of regularisation: an observation that never moves must not make the system singular.
        let ridge = 1e-9 * gram.trace().max(1.0);
        gram += DMatrix::identity(inputs, inputs) * ridge;
        let solved = gram.cholesky().map(|c| c.solve(&moment));
        let matrix = solved.ok_or_else(|| Error::NotFinite {
            operation: "Linear::fit",
            what: "the data's second moment".into(),
            value: f64::NAN,
        })?;
        Ok(Self { matrix })
    }

    fn features(observation: &[f32], action: &[f32]) -> DVector<f64> {
        let all = observation.iter().chain(action).chain([&1.0]).map(|&v| f64::from(v));
        DVector::from_iterator(observation.len() + action.len() + 1, all)
    }
}

impl Predictor for Linear {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        let d = trajectory.observation_width;
        let mut present = trajectory.observation(context).to_vec();
        for t in context..context + horizon {
            let y = self.matrix.tr_mul(&Self::features(&present, trajectory.action(t)));
            present = y.iter().take(d).map(|&v| v as f32).collect();
            observations.extend_from_slice(&present);
            rewards.push(y[d] as f32);
        }
        Ok(())
    }
}

/// The learned model: filters the context, then follows the prior's mean.
pub struct Learned<'a> {
    /// The trained model.
    pub rollout: &'a mut Rollout,
    /// What actions the environment takes.
    pub space: &'a Space,
    /// For models that sample.
    pub rng: StreamRng,
}

impl Learned<'_> {
    /// Filters the observations 0..=context of a trajectory.
    fn observe(&mut self, trajectory: &Trajectory, context: usize) {
        let mut state = self.rollout.initial();
        for t in 0..=context {
            let action = (t > 0).then(|| as_action(self.space, trajectory.action(t - 1)));
            state = self.rollout.filter(&state, action, trajectory.observation(t));
        }
        self.rollout.state = state;
    }
}

impl Predictor for Learned<'_> {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        self.observe(trajectory, context);
        let mut batch = self.rollout.batch();
        self.rollout.start(&mut batch, 1);
        let (mut reward, mut go_on, mut decoded) = ([0.0], [0.0], vec![]);
        for t in context..context + horizon {
            with_actions(self.space, trajectory.action(t), |actions| {
                self.rollout.step(&mut batch, actions, &mut self.rng, &mut reward, &mut go_on)
            })?;
            self.rollout.decode(&batch, &mut decoded);
            observations.extend_from_slice(&decoded);
            rewards.push(reward[0]);
        }
        Ok(())
    }
}

/// The true dynamics, from the observed state; its noise is drawn anew, so it is not free of error either.
pub struct TrueDynamics<'a, S: Simulator> {
    /// The simulator; without noise, if it has any, it predicts the mean.
    pub simulator: &'a S,
    /// The state that an observation shows.
    pub state_of: fn(&[f32]) -> S::State,
    /// For its noise.
    pub rng: StreamRng,
}

impl<S: Simulator> Predictor for TrueDynamics<'_, S> {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        let mut state = (self.state_of)(trajectory.observation(context));
        let mut observation = vec![0.0; trajectory.observation_width];
        let space = self.simulator.spec().action;
        for t in context..context + horizon {
            let action = as_action(&space, trajectory.action(t));
            let (reward, _) = self.simulator.transition(&mut state, action, &mut self.rng);
            self.simulator.observe(&state, &mut observation);
            observations.extend_from_slice(&observation);
            rewards.push(reward as f32);
        }
        Ok(())
    }
}

/// Root mean square errors at one look-ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpenLoopError {
    /// Steps ahead, from 1.
    pub horizon: usize,
    /// Of the observation, over all dimensions, each divided by its standard deviation in the data.
    pub observation: f64,
    /// Of the reward, in its own unit.
    pub reward: f64,
    /// Predictions that were averaged.
    pub count: usize,
}

/// Errors of a predictor at the given look-aheads, from every `stride`-th step of every trajectory on.
///
/// # Errors
/// If the predictor fails, or no trajectory is long enough.
pub fn open_loop_errors(
    predictor: &mut dyn Predictor,
    data: &[Trajectory],
    context: usize,
    horizons: &[usize],
    stride: usize,
) -> Result<Vec<OpenLoopError>> {
    let longest = horizons.iter().copied().max().unwrap_or(0);
    let scale = standard_deviations(data);
    let mut sums = vec![(0.0, 0.0, 0usize); horizons.len()];
    let (mut observations, mut rewards) = (vec![], vec![]);
    for trajectory in data {
        let d = trajectory.observation_width;
        let mut from = context;
        while from + longest <= trajectory.steps() {
            observations.clear();
            rewards.clear();
            predictor.predict(trajectory, from, longest, &mut observations, &mut rewards)?;
            for (sum, &horizon) in sums.iter_mut().zip(horizons) {
                let predicted = &observations[(horizon - 1) * d..][..d];
                let true_observation = trajectory.observation(from + horizon);
                for ((p, o), s) in predicted.iter().zip(true_observation).zip(&scale) {
                    sum.0 += (f64::from(p - o) / s).powi(2) / d as f64;
                }
                sum.1 += f64::from(rewards[horizon - 1] - trajectory.rewards[from + horizon - 1]).powi(2);
                sum.2 += 1;
            }
            from += stride.max(1);
        }
    }
    if sums.iter().any(|s| s.2 == 0) {
        let expected = format!("an episode of at least {} steps", context + longest);
        return Err(Error::shape("open_loop_errors", expected, "shorter ones").into());
    }
    let error = |((observation, reward, count), &horizon): ((f64, f64, usize), &usize)| OpenLoopError {
        horizon,
        observation: (observation / count as f64).sqrt(),
        reward: (reward / count as f64).sqrt(),
        count,
    };
    Ok(sums.into_iter().zip(horizons).map(error).collect())
}

fn standard_deviations(data: &[Trajectory]) -> Vec<f64> {
    let width = data.first().map_or(0, |t| t.observation_width);
    let mut statistics = rl_core::normalize::RunningMeanStd::new(width);
    for trajectory in data {
        // Whole rows of finite numbers, as recorded.
        let _ = statistics.update(&trajectory.observations);
    }
    statistics.variance().iter().map(|v| v.sqrt().max(1e-6)).collect()
}

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
pub fn calibration<S: Simulator + Clone>(
    learned: &mut Learned<'_>,
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

fn as_action<'a>(space: &Space, encoded: &'a [f32]) -> Action<'a> {
    match space {
        Space::Discrete(_) => Action::Discrete(encoded.iter().position(|&x| x > 0.5).unwrap_or(0)),
        Space::Box { .. } => Action::Continuous(encoded),
    }
}

fn with_actions<R>(space: &Space, encoded: &[f32], f: impl FnOnce(Actions<'_>) -> R) -> R {
    match as_action(space, encoded) {
        Action::Discrete(index) => f(Actions::Discrete(&[index])),
        Action::Continuous(reals) => f(Actions::Continuous(reals)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;
    use rl_core::env::PointControl;
    use rl_core::env::make;
    use rl_core::env::scripted::Random;

    fn data(starts: std::ops::Range<u64>) -> Vec<Trajectory> {
        let mut env = make("PointControl", 0).unwrap();
        let mut policy = Random::new(&env.spec().action.clone(), SeedStream::new(7).stream("random", 0));
        record(env.as_mut(), &mut policy, &starts.collect::<Vec<_>>()).unwrap()
    }

    fn rng() -> StreamRng {
        SeedStream::new(1).stream("evaluation", 0)
    }

    #[test]
    fn the_baselines_rank_as_they_must() {
        let (train, test) = (data(0..20), data(100..110));
        let simulator = PointControl { noise: 0.0 };
        let state_of: fn(&[f32]) -> [f64; 4] = |o| std::array::from_fn(|i| f64::from(o[i]));
        let errors = |p: &mut dyn Predictor| open_loop_errors(p, &test, 5, &[1, 10], 10).unwrap();
        let persistence = errors(&mut Persistence);
        let linear = errors(&mut Linear::fit(&train).unwrap());
        let truth = errors(&mut TrueDynamics { simulator: &simulator, state_of, rng: rng() });
        for i in 0..2 {
            assert!(truth[i].observation <= linear[i].observation + 1e-3);
            assert!(linear[i].observation < persistence[i].observation);
            assert!(truth[i].reward < linear[i].reward && truth[i].reward < persistence[i].reward);
        }
        assert!(persistence[0].observation < persistence[1].observation);
    }

    #[test]
    fn a_linear_system_is_fitted_exactly() {
        let step = |o: &[f32], a: f32| [0.9 * o[0] + 0.1 * o[1], -0.2 * o[0] + 0.8 * o[1] + 0.5 * a];
        let mut trajectory = Trajectory { observation_width: 2, action_width: 1, ..Trajectory::default() };
        let mut o = [1.0f32, -0.5];
        trajectory.observations.extend(o);
        for t in 0..40 {
            let a = (t as f32).sin();
            o = step(&o, a);
            trajectory.observations.extend(o);
            trajectory.actions.push(a);
            trajectory.rewards.push(o[0] * 2.0 + 1.0);
        }
        let data = [trajectory];
        let errors = open_loop_errors(&mut Linear::fit(&data).unwrap(), &data, 3, &[1, 5], 1).unwrap();
        assert!(errors.iter().all(|e| e.observation < 1e-3 && e.reward < 1e-3), "{errors:?}");
    }

    #[test]
    fn short_episodes_are_refused_and_scores_are_normalised() {
        let message = open_loop_errors(&mut Persistence, &data(0..1), 5, &[5000], 1).unwrap_err().to_string();
        assert!(message.contains("at least 5005 steps"), "{message}");
        assert_eq!(normalised_score(-10.0, -30.0, -5.0), 0.8);
    }
}
