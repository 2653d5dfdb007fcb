use super::*;
use rl_core::SeedStream;

fn workshop(noise: f64) -> Workshop {
    Workshop::random(3, 0.5, noise, 1.0, &mut SeedStream::new(4).stream("workshop", 0)).unwrap()
}

#[test]
fn the_counterfactual_keeps_the_luck_of_the_episode() {
    let workshop = workshop(2.0);
    let scm = workshop.blueprint().scm().unwrap();
    let play = |actions: [usize; 3]| {
        workshop.play(&scm, &actions, &mut SeedStream::new(1).stream("play", 0)).unwrap()
    };
    let (taken, other) = (play([2, 0, 1]), play([2, 2, 1]));
    // The same noise with the other action is what the model says.
    let said = workshop.instead(&scm, &taken, 1, 2).unwrap();
    assert!((said - other.reward).abs() < 1e-9);
    assert!((workshop.instead(&scm, &taken, 1, 0).unwrap() - taken.reward).abs() < 1e-9);
}

#[test]
fn the_expected_reward_is_that_of_many_plays() {
    let workshop = workshop(0.5);
    let scm = workshop.blueprint().scm().unwrap();
    let certain = |a: usize| (0..3).map(|b| f64::from(u8::from(a == b))).collect::<Vec<f64>>();
    let rng = &mut SeedStream::new(2).stream("play", 0);
    let n = 20_000;
    let mean =
        (0..n).map(|_| workshop.play(&scm, &[2, 1, 0], rng).unwrap().reward).sum::<f64>() / f64::from(n);
    let exact = workshop.expected(&[certain(2), certain(1), certain(0)]);
    assert!((mean - exact).abs() < 0.05 * exact.abs().max(1.0), "{mean} {exact}");
    assert!(workshop.best() >= exact);
}

#[test]
fn all_kinds_of_credit_learn_and_the_same_seed_gives_the_same_policies() {
    let workshop = workshop(1.0);
    let run = |credit, learned| {
        let config = CreditConfig { credit, learned, refit: 50, ..CreditConfig::default() };
        let mut learners = Learners::new(config, &workshop, SeedStream::new(3)).unwrap();
        let start = workshop.expected(&learners.policies());
        for _ in 0..600 {
            learners.episode(&workshop).unwrap();
        }
        (start, workshop.expected(&learners.policies()))
    };
    for (credit, learned) in [
        (Credit::Shared, false),
        (Credit::Difference, false),
        (Credit::Baseline, false),
        (Credit::Baseline, true),
    ] {
        let (start, end) = run(credit, learned);
        assert!(end > start, "{credit:?} {learned}: {start} {end}");
        assert_eq!(run(credit, learned), (start, end));
    }
    let bad = CreditConfig { momentum: 1.0, ..CreditConfig::default() };
    assert!(Learners::new(bad, &workshop, SeedStream::new(3)).is_err());
    assert!(Workshop::random(0, 0.5, 1.0, 1.0, &mut SeedStream::new(4).stream("workshop", 0)).is_err());
}
