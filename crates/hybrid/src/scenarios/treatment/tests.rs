use super::log::{ClinicConfig, Reading, effects, record};
use super::plan::Plan;
use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rl_core::StreamRng;
use rl_core::env::scripted::Policy;
use rl_core::env::{Env, Episode};
use rl_core::testing::env_contract;

fn treatment(difficulty: Difficulty) -> Treatment {
    Treatment::new(TreatmentConfig::of(difficulty)).unwrap()
}

fn mean_return(treatment: &Treatment, policy: &mut dyn Policy, starts: std::ops::Range<u64>) -> f64 {
    let mut env = Episode::<Treatment, StreamRng>::new(treatment.clone(), 0);
    let n = (starts.end - starts.start) as f64;
    let mut observation = [0.0; 5];
    let mut play = |seed: u64| {
        env.reset(Some(seed), &mut observation).unwrap();
        let mut sum = 0.0;
        loop {
            let action = policy.act(&observation);
            let step = env.step(action, &mut observation).unwrap();
            sum += step.reward;
            if step.done() {
                return sum;
            }
        }
    };
    starts.map(&mut play).sum::<f64>() / n
}

#[test]
fn it_keeps_the_contract() {
    for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
        env_contract(|| Episode::<Treatment, StreamRng>::new(treatment(difficulty), 0));
    }
}

#[test]
fn a_day_by_hand() {
    let config = TreatmentConfig { noise: 0.0, flare_growth: 0.0, ..TreatmentConfig::default() };
    let treatment = Treatment::new(config).unwrap();
    let mut rng = StreamRng::seed_from_u64(0);
    let mut patient = treatment.initial_state(&mut rng);
    patient = Patient { volume: 100.0, growth: 0.01, radiosensitivity: 0.05, drug_kill: 0.028, ..patient };
    treatment.advance(&mut patient, true, true, &mut rng);
    // α d + β d² = 0.05 · 2 + 0.005 · 4 = 0.12; β_c C = 0.14.
    let expected = 100.0 * (1.0 + 0.01 * room(100.0) - 0.14 - 0.12);
    assert!((patient.volume - expected).abs() < 1e-9, "{} {expected}", patient.volume);
    treatment.advance(&mut patient, false, false, &mut rng);
    assert!((patient.concentration - 2.5).abs() < 1e-12);
    assert!((diameter(volume(7.0)) - 7.0).abs() < 1e-12);
}

#[test]
fn without_treatment_tumours_grow_to_the_capacity() {
    let config = TreatmentConfig { noise: 0.0, flare_growth: 0.0, ..TreatmentConfig::default() };
    let treatment = Treatment::new(config).unwrap();
    let mut rng = StreamRng::seed_from_u64(1);
    let mut patient = Patient { growth: 0.05, ..treatment.initial_state(&mut rng) };
    for _ in 0..3000 {
        treatment.advance(&mut patient, false, false, &mut rng);
    }
    assert!((diameter(patient.volume) - 30.0).abs() < 1e-3);
}

#[test]
fn hidden_flares_bias_the_regression_and_not_the_instrument() {
    let treatment = treatment(Difficulty::Medium);
    let records = |flare: f64| {
        let clinic = ClinicConfig { flare, patients: 2000, ..ClinicConfig::default() };
        record(&treatment, &clinic, &mut StreamRng::seed_from_u64(3))
    };
    let truth = -0.028 * DRUG;
    let hidden = records(4.0);
    let (naive, causal) =
        (effects(&hidden, Reading::Regression).unwrap(), effects(&hidden, Reading::Instrument).unwrap());
    assert!(naive.drug.value > truth + 0.03, "the drug looks {} strong", naive.drug.value);
    assert!((causal.drug.value - truth).abs() < 4.0 * causal.drug.standard_error, "{:?}", causal.drug);
    assert!((causal.drug.value - truth).abs() < 0.02, "{:?}", causal.drug);
    // Where nothing is hidden both are right.
    let open = records(0.0);
    let naive = effects(&open, Reading::Regression).unwrap();
    assert!((naive.drug.value - truth).abs() < 0.02, "{:?}", naive.drug);
}

#[test]
fn the_right_effects_make_the_better_plan() {
    let treatment = treatment(Difficulty::Medium);
    let clinic = ClinicConfig::default();
    let records = record(&treatment, &clinic, &mut StreamRng::seed_from_u64(5));
    let play = |reading| {
        let mut plan = Plan::new(&treatment, effects(&records, reading).unwrap().effects);
        mean_return(&treatment, &mut plan, 100..200)
    };
    let (naive, causal) = (play(Reading::Regression), play(Reading::Instrument));
    assert!(causal > naive, "{causal} against {naive}");
}

#[test]
fn the_expert_beats_watching_and_the_protocol() {
    for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
        let treatment = treatment(difficulty);
        let play = |rule| mean_return(&treatment, &mut Scripted::new(rule, 60), 100..200);
        let (nothing, protocol) = (play(Rule::Nothing), play(Rule::Protocol));
        assert!(play(Rule::Adaptive(1.0)) > play(Rule::Adaptive(2.0)));
        let expert = play(Rule::Adaptive(1.0));
        assert!(expert > nothing && expert > protocol, "{difficulty:?}: {expert} {nothing} {protocol}");
    }
}

#[test]
fn bad_configurations_are_refused() {
    let d = TreatmentConfig::default;
    for config in [
        TreatmentConfig { days: 0, ..d() },
        TreatmentConfig { half_life: 0.0, ..d() },
        TreatmentConfig { correlation: 1.0, ..d() },
        TreatmentConfig { noise: f64::NAN, ..d() },
        TreatmentConfig { flare: (1.5, 0.1), ..d() },
    ] {
        assert!(Treatment::new(config).is_err());
    }
    assert!(ClinicConfig { patients: 0, ..ClinicConfig::default() }.validate().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn volume_and_drug_balance(seed in 0u64..1_000_000, doses in prop::collection::vec(0usize..4, 1..60)) {
        let treatment = treatment(Difficulty::Hard);
        let mut rng = StreamRng::seed_from_u64(seed);
        let mut patient = treatment.initial_state(&mut rng);
        for dose in doses {
            treatment.advance(&mut patient, dose & 1 == 1, dose & 2 == 2, &mut rng);
            let l = patient.ledger;
            let volume = l.initial + l.grown - l.drug_killed - l.radiation_killed;
            prop_assert!((volume - patient.volume).abs() < 1e-9 * (1.0 + l.initial + l.grown.abs()), "{volume} {patient:?}");
            prop_assert!((l.given - l.eliminated - patient.concentration).abs() < 1e-9);
            prop_assert!(patient.volume >= 0.0 && l.drug_killed >= 0.0 && l.radiation_killed >= 0.0);
        }
    }
}
