use super::optimum::welfare;
use super::*;
use marl::env::{Action as Choice, MultiAgentEnv, Outcome};
use proptest::prelude::*;
use rand::SeedableRng;
use rl_core::StreamRng;
use rl_core::env::Episode;
use rl_core::testing::env_contract;

fn climate(difficulty: Difficulty) -> Climate {
    Climate::new(ClimateConfig::of(difficulty)).unwrap()
}

#[test]
fn it_keeps_the_contract() {
    for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
        env_contract(|| Episode::<Climate, StreamRng>::new(climate(difficulty), 0));
    }
}

/// The first lines of the published model by hand: output 105.5, emissions 35.85 plus 2.6 Gt CO₂, and M_AT in 2020.
#[test]
fn the_first_step_is_the_published_one() {
    let climate = climate(Difficulty::Easy);
    let mut planet = climate.first_planet();
    let world = Place { people: 1.0, output: 1.0, damage: 1.0 };
    let year = world.year(&climate.path()[0], 223.0, 0.85, 0.03);
    assert!((year.gross - 105.5).abs() < 0.5, "{}", year.gross);
    let emissions = climate.advance(&mut planet, 0, 3.1, |_| 0.03, |_, _| {});
    assert!((emissions - 38.45).abs() < 0.2, "{emissions}");
    let expected = 851.0 * 0.88 + 460.0 * 0.12 * 588.0 / 360.0 + emissions * 5.0 / 3.666;
    assert!((planet.carbon.atmosphere - expected).abs() < 1e-9);
    let forcing = 3.6813 * (expected / 588.0).log2() + 0.5 + 0.5 / 17.0;
    let warming = 0.85 + 0.1005 * (forcing - 3.6813 / 3.1 * 0.85 - 0.088 * (0.85 - 0.0068));
    assert!((planet.heat.atmosphere - warming).abs() < 1e-9);
    assert!((climate.path()[1].people - 7403.0 * (11500f64 / 7403.0).powf(0.134)).abs() < 1e-9);
    assert!((climate.path()[1].productivity - 5.115 / 0.924).abs() < 1e-9);
}

#[test]
fn a_lasting_doubling_warms_by_the_sensitivity() {
    let mut heat = Heat { atmosphere: 0.0, ocean: 0.0 };
    for _ in 0..5000 {
        heat = heat.step(physics::DOUBLING, 3.1);
    }
    assert!((heat.atmosphere - 3.1).abs() < 1e-6 && (heat.ocean - 3.1).abs() < 1e-6);
}

#[test]
fn carbon_at_rest_stays() {
    let carbon = Carbon { atmosphere: 588.0, upper: 360.0, lower: 1720.0 };
    let next = carbon.step(0.0);
    assert!((next.atmosphere - 588.0).abs() < 1e-9 && (next.lower - 1720.0).abs() < 1e-9);
    assert!(carbon.forcing().abs() < 1e-12);
}

#[test]
fn the_expert_beats_the_baseline_and_the_optimum_beats_the_expert() {
    let climate = climate(Difficulty::Easy);
    let path = |rule: Rule| -> Vec<f64> {
        let scripted = Scripted::new(rule, climate.clone());
        (1..=60).map(|t| scripted.rate(t)).collect()
    };
    let expert = welfare(&climate, &path(Rule::CarbonPrice));
    let baseline = welfare(&climate, &path(Rule::Baseline));
    let best = open_loop(&climate, &OptimumConfig { sweeps: 12, ..OptimumConfig::default() }).unwrap();
    assert!(baseline.abs() < 1e-6 && expert > 1.0, "{baseline} {expert}");
    assert!(welfare(&climate, &best) > expert);
}

#[test]
fn three_regions_add_up_to_the_world() {
    let (one, three) = (climate(Difficulty::Medium), climate(Difficulty::Hard));
    let run = |climate: &Climate| {
        let mut planet = climate.first_planet();
        climate.advance(&mut planet, 0, 3.1, |_| 0.03, |_, _| {});
        planet
    };
    let (a, b) = (run(&one), run(&three));
    assert!((a.carbon.atmosphere - b.carbon.atmosphere).abs() < 1e-9);
    assert!((a.capital[0] - b.capital.iter().sum::<f64>()).abs() < 1e-3 * a.capital[0]);
}

#[test]
fn a_region_alone_pays_for_all() {
    let mut game = Regions::new(RegionsConfig::default()).unwrap();
    let mut outcome = Outcome::new(3);
    let mut play = |rates: [f32; 3]| {
        let mut rng = StreamRng::seed_from_u64(1);
        game.reset(&mut rng);
        let mut sums = [0.0; 3];
        while game.live().contains(&true) {
            let actions: Vec<_> =
                rates.iter().map(|r| Some(Choice::Continuous(std::slice::from_ref(r)))).collect();
            game.step(&actions, &mut rng, &mut outcome).unwrap();
            (0..3).for_each(|i| sums[i] += outcome.rewards[i]);
        }
        sums
    };
    let (none, alone, all) = (play([0.0; 3]), play([0.5, 0.0, 0.0]), play([0.5; 3]));
    assert!(alone[2] > none[2], "the others gain: {alone:?} {none:?}");
    assert!(all[2] > alone[2] && all.iter().sum::<f64>() > none.iter().sum::<f64>());
}

#[test]
fn bad_configurations_are_refused() {
    let d = ClimateConfig::default;
    for config in [
        ClimateConfig { regions: vec![], ..d() },
        ClimateConfig { decisions: 0, ..d() },
        ClimateConfig { sensitivity: f64::NAN, ..d() },
        ClimateConfig { regions: three()[..2].to_vec(), ..d() },
    ] {
        assert!(Climate::new(config).is_err());
    }
    assert!(Regions::new(RegionsConfig { solidarity: 2.0, ..RegionsConfig::default() }).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn carbon_and_heat_balance(seed: u64, rates in prop::collection::vec(0.0..=1.0f64, 30)) {
        let climate = climate(Difficulty::Hard);
        let sensitivity = climate.draw_sensitivity(&mut StreamRng::seed_from_u64(seed));
        let mut planet = climate.first_planet();
        for (step, rate) in rates.into_iter().enumerate() {
            let before = planet.clone();
            let emissions = climate.advance(&mut planet, step, sensitivity, |_| rate, |_, _| {});
            let emitted = emissions * 5.0 / 3.666;
            prop_assert!((planet.carbon.total() - before.carbon.total() - emitted).abs() < 1e-8);
            let forcing = planet.carbon.forcing() + climate.path()[step + 1].other_forcing;
            let uptake = forcing - physics::DOUBLING / sensitivity * before.heat.atmosphere;
            prop_assert!((planet.heat.content() - before.heat.content() - uptake).abs() < 1e-9);
            for (place, k) in climate.places.iter().zip(&before.capital) {
                let year = place.year(&climate.path()[step], *k, before.heat.atmosphere, rate);
                let spent = year.consumption + year.investment + year.damages + year.abatement;
                prop_assert!((spent - year.gross).abs() < 1e-9 * year.gross);
            }
        }
    }
}
