//! Theory, slow twins and properties of the coordination tasks.

use super::game::digits;
use super::*;
use proptest::prelude::*;
use quantum_sim::env as quantum;
use rand::{RngExt, SeedableRng};
use rl_core::StreamRng;

fn tasks() -> Vec<Task> {
    let mut all = vec![chsh().unwrap(), ghz().unwrap(), magic_square().unwrap(), rendezvous_grid(3).unwrap()];
    all.extend([3, 5, 7, 9].map(|n| rendezvous_ring(n).unwrap()));
    all
}

/// Every strategy of every player, one by one.
fn classical_by_trying_all(game: &Game) -> f64 {
    let radices: Vec<usize> =
        game.answers().iter().zip(game.questions()).flat_map(|(a, q)| vec![*a; *q]).collect();
    let count: usize = radices.iter().product();
    let value = |k| {
        let mut all = digits(k, &radices).into_iter();
        let strategy: Vec<Vec<usize>> =
            game.questions().iter().map(|q| all.by_ref().take(*q).collect()).collect();
        game.deterministic_value(&strategy)
    };
    (0..count).map(value).fold(0.0, f64::max)
}

#[test]
fn values_are_those_of_theory() {
    for task in tasks() {
        let classical = task.game.classical().unwrap();
        assert!((classical.value - task.theory.classical).abs() < 1e-12, "{}: {classical:?}", task.name);
        assert_eq!(task.game.deterministic_value(&classical.strategy), classical.value);
        let behaviour = task.team.behaviour(&task.game, Noise::None).unwrap();
        let value = behaviour.value(&task.game);
        assert!((value - task.theory.quantum).abs() < 1e-12, "{}: {value}", task.name);
        assert!(behaviour.signalling(&task.game) < 1e-12, "{}", task.name);
    }
}

#[test]
fn the_simulators_own_games_agree() {
    let (game, strategy) = quantum::chsh().unwrap();
    let ours = chsh().unwrap();
    assert_eq!(ours.game.classical().unwrap().value, game.classical_value());
    let value = |task: &Task| task.team.behaviour(&task.game, Noise::None).unwrap().value(&task.game);
    assert!((value(&ours) - game.quantum_value(&strategy).unwrap()).abs() < 1e-12);
    let (game, strategy) = quantum::ghz().unwrap();
    let ours = ghz().unwrap();
    assert_eq!(ours.game.classical().unwrap().value, game.classical_value());
    assert!((value(&ours) - game.quantum_value(&strategy).unwrap()).abs() < 1e-12);
    let (classical, entangled) = quantum::magic_square_values().unwrap();
    let ours = magic_square().unwrap();
    assert!((ours.game.classical().unwrap().value - classical).abs() < 1e-12);
    assert!((value(&ours) - entangled).abs() < 1e-12);
}

#[test]
fn noise_ends_the_advantage_where_theory_says() {
    for task in tasks() {
        let critical =
            |family| task.team.critical(&task.game, task.theory.classical + 1e-15, family).unwrap().unwrap();
        let (v, p) = (critical(Critical::Visibility), critical(Critical::Depolarizing));
        assert!((v - task.theory.visibility).abs() < 1e-10, "{}: visibility {v}", task.name);
        assert!((p - task.theory.depolarizing).abs() < 1e-10, "{}: depolarizing {p}", task.name);
    }
}

#[test]
fn plays_agree_with_theory_to_three_standard_errors() {
    let mut rng = StreamRng::seed_from_u64(11);
    let plays = 40_000;
    for task in tasks() {
        let behaviour = task.team.behaviour(&task.game, Noise::None).unwrap();
        let won = behaviour.play(&task.game, plays, &mut rng) as f64 / plays as f64;
        let q = task.theory.quantum;
        let error = (q * (1.0 - q) / plays as f64).sqrt();
        assert!((won - q).abs() <= 3.0 * error + 1e-12, "{}: {won} for {q} ± {error}", task.name);
    }
}

#[test]
fn without_entanglement_no_team_beats_the_classical_value() {
    for task in tasks() {
        let behaviour = task.team.behaviour(&task.game, Noise::Dephasing(0.5)).unwrap();
        assert!(behaviour.value(&task.game) <= task.theory.classical + 1e-12, "{}", task.name);
        let strategy = task.game.classical().unwrap().strategy;
        let played = Behaviour::deterministic(&task.game, &strategy);
        assert!((played.value(&task.game) - task.theory.classical).abs() < 1e-12);
    }
}

#[test]
fn bad_input_is_refused() {
    assert!(rendezvous_ring(4).is_err() && rendezvous_ring(23).is_err() && rendezvous_grid(5).is_err());
    let task = chsh().unwrap();
    for noise in [Noise::White(1.1), Noise::White(f64::NAN), Noise::Depolarizing(0.8), Noise::Dephasing(-0.1)]
    {
        assert!(task.team.behaviour(&task.game, noise).is_err(), "{noise:?}");
    }
    assert!(ghz().unwrap().team.behaviour(&task.game, Noise::None).is_err());
    // Alice must not turn Bob's qubit.
    let mut team = task.team.clone();
    team.measurements[0][0].rotation.h(1).unwrap();
    assert!(team.behaviour(&task.game, Noise::None).is_err());
    let wide = Game::new(vec![40; 2], vec![2; 2], &[vec![0, 0]], |_, _| true).unwrap();
    assert!(wide.classical().is_err());
    assert!(Game::new(vec![2], vec![2], &[vec![2]], |_, _| true).is_err());
    assert!(Game::new(vec![], vec![], &[vec![]], |_, _| true).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn enumeration_is_as_good_as_trying_all(
        seed in 0u64..1_000_000,
        questions in proptest::collection::vec(1usize..3, 1..4),
        width in 1usize..4,
    ) {
        let mut rng = StreamRng::seed_from_u64(seed);
        let answers: Vec<usize> = questions.iter().map(|_| rng.random_range(1..=width)).collect();
        let asked: Vec<Vec<usize>> =
            (0..5).map(|_| questions.iter().map(|q| rng.random_range(0..*q)).collect()).collect();
        let table: Vec<bool> = (0..512).map(|_| rng.random_bool(0.4)).collect();
        let rule = |q: &[usize], a: &[usize]| table[q.iter().chain(a).fold(0, |h, d| (h * 5 + d + 1) % 512)];
        let game = Game::new(questions, answers, &asked, rule).unwrap();
        let found = game.classical().unwrap();
        prop_assert_eq!(found.value, classical_by_trying_all(&game));
        prop_assert_eq!(found.value, game.deterministic_value(&found.strategy));
    }

    #[test]
    fn more_noise_never_helps(v in 0.0f64..1.0, w in 0.0f64..1.0) {
        let task = magic_square().unwrap();
        let value = |noise| task.team.behaviour(&task.game, noise).unwrap().value(&task.game);
        let (low, high) = (v.min(w), v.max(w));
        prop_assert!(value(Noise::White(low)) <= value(Noise::White(high)) + 1e-12);
        prop_assert!(value(Noise::Depolarizing(0.75 * high)) <= value(Noise::Depolarizing(0.75 * low)) + 1e-12);
    }
}
