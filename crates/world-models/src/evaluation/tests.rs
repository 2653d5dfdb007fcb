use super::*;
use crate::pets::{DynamicsConfig, EnsembleConfig, RolloutConfig};
use crate::rssm::RssmConfig;
use candle_core::Device;
use rl_core::SeedStream;
use rl_core::StreamRng;
use rl_core::env::PointControl;
use rl_core::env::make;
use rl_core::env::scripted::Random;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};

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

/// A linear model plans and predicts as the fit that it is made of, and the copy stands still.
#[test]
fn the_linear_fit_is_a_model_too() {
    let (train, test) = (data(0..20), data(100..103));
    let mut linear = Linear::fit(&train).unwrap();
    let mut model = LinearModel::new(&linear);
    let space = make("PointControl", 0).unwrap().spec().action.clone();
    let mut learned = Learned { rollout: &mut model, space: &space, rng: rng() };
    let (mut slow, mut fast) = ((vec![], vec![]), (vec![], vec![]));
    linear.predict(&test[0], 4, 6, &mut slow.0, &mut slow.1).unwrap();
    learned.predict(&test[0], 4, 6, &mut fast.0, &mut fast.1).unwrap();
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(close(&slow.0, &fast.0) && close(&slow.1, &fast.1));
    let mut copy = LinearModel::copy(4, 2);
    let mut learned = Learned { rollout: &mut copy, space: &space, rng: rng() };
    let (mut o, mut r) = (vec![], vec![]);
    learned.predict(&test[0], 4, 2, &mut o, &mut r).unwrap();
    assert_eq!((&o[4..], &r[..]), (test[0].observation(4), &[0.0, 0.0][..]));
    // Without spread the score is the absolute error, and nothing is covered but what is hit.
    let spread = open_loop_spread(&mut learned, &test, (5, 10, 3), &[1, 5]).unwrap();
    assert!(spread[0].crps < spread[1].crps && spread[0].coverage < 0.1, "{spread:?}");
}

/// Both learners see the same episodes, predict better for it, and go on bit for bit.
#[test]
fn models_learn_from_recorded_episodes() {
    let (train, test) = (data(0..8), data(100..104));
    let env = make("PointControl", 0).unwrap();
    let spec = env.spec().clone();
    let seeds = SeedStream::new(2);
    let config = OfflineConfig { updates: 150, ..OfflineConfig::default() };
    let rssm = || OfflineRssm::new((&config, &small_rssm()), &spec, &train, &Device::Cpu, seeds).unwrap();
    let dynamics = DynamicsConfig {
        ensemble: EnsembleConfig { members: 3, elites: 3, hidden: vec![32], ..EnsembleConfig::default() },
        ..DynamicsConfig::default()
    };
    let ensemble = || OfflineEnsemble::new((&dynamics, 600), &train, &Device::Cpu, seeds).unwrap();
    fn finish<T: Trainer<Error = crate::Error>>(mut trainer: T) -> T {
        let mut metrics = Metrics::in_memory();
        while trainer.step() < trainer.total_steps() {
            trainer.advance(&mut metrics).unwrap();
        }
        trainer
    }
    fn resumed<T: Trainer<Error = crate::Error>>(mut first: T, mut fresh: T) -> TrainState {
        let (mut metrics, mut state) = (Metrics::in_memory(), TrainState::default());
        while first.step() < first.total_steps() / 2 {
            first.advance(&mut metrics).unwrap();
        }
        first.save("a", &mut state).unwrap();
        fresh.load("a", &state).unwrap();
        state_of(&finish(fresh))
    }
    fn state_of<T: Persist>(trainer: &T) -> TrainState {
        let mut state = TrainState::default();
        trainer.save("a", &mut state).unwrap();
        state
    }
    let (trained_rssm, trained_ensemble) = (finish(rssm()), finish(ensemble()));
    assert!(resumed(rssm(), rssm()) == state_of(&trained_rssm));
    assert!(resumed(ensemble(), ensemble()) == state_of(&trained_ensemble));
    let error = |p: &mut dyn Predictor| open_loop_errors(p, &test, 5, &[10], 10).unwrap()[0].observation;
    let persistence = error(&mut Persistence);
    let mut model = trained_ensemble.model(&RolloutConfig::default(), 3).unwrap();
    let mut learned = Learned { rollout: &mut model, space: &spec.action, rng: rng() };
    let spread = open_loop_spread(&mut learned, &test, (5, 20, 30), &[1]).unwrap()[0];
    assert!((0.6..1.0).contains(&spread.coverage), "{spread:?}");
    learned.rollout.set_sampling(false);
    assert!(error(&mut learned) < 0.8 * persistence);
    let rssm_error = |rssm: &OfflineRssm| {
        let mut rollout = rssm.rollout().unwrap();
        error(&mut Learned { rollout: &mut rollout, space: &spec.action, rng: rng() })
    };
    assert!(rssm_error(&trained_rssm) < 0.9 * rssm_error(&rssm()));
}

fn small_rssm() -> RssmConfig {
    RssmConfig {
        deter: 24,
        stoch: 8,
        embedding: 24,
        encoder: vec![24],
        decoder: vec![24],
        reward: vec![24],
        continuation: vec![16],
        ..RssmConfig::default()
    }
}
