use super::*;
use quantum_sim::rl::{Encoding, Network, ReinforceConfig};
use rl_core::SeedStream;
use rl_core::experiment::Metrics;

fn small() -> DreamConfig {
    DreamConfig {
        rounds: 2,
        real_steps: 60,
        members: 2,
        hidden: vec![8],
        updates: 150,
        batch: 16,
        episodes: 8,
        side_by_side: 4,
        steps: 30,
        ..DreamConfig::default()
    }
}

fn training(seed: u64) -> DreamTraining {
    let network = Box::new(Network::of_size(Encoding::angles(4), 2, 40));
    DreamTraining::new(small(), ReinforceConfig::default(), network, SeedStream::new(seed)).unwrap()
}

#[test]
fn rounds_count_real_steps_lower_the_loss_and_are_deterministic() {
    let run = |seed| {
        let (metrics, mut dream) = (&mut Metrics::in_memory(), training(seed));
        let (first, second) = (dream.round(metrics).unwrap(), dream.round(metrics).unwrap());
        assert!(second < first, "{first} {second}");
        assert_eq!((dream.real_steps(), dream.imagined_returns().len()), (120, 16));
        assert!(dream.imagined_returns().iter().all(|r| (1.0..=30.0).contains(r)));
        (dream.policy().1.to_vec(), first)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn what_does_not_fit_is_refused() {
    let network = || Box::new(Network::of_size(Encoding::angles(4), 2, 40));
    let bad = DreamConfig { members: 0, ..small() };
    assert!(DreamTraining::new(bad, ReinforceConfig::default(), network(), SeedStream::new(0)).is_err());
    let wide = Box::new(Network::of_size(Encoding::angles(4), 3, 40));
    assert!(DreamTraining::new(small(), ReinforceConfig::default(), wide, SeedStream::new(0)).is_err());
}
