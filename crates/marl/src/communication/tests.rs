use super::*;
use rand::RngExt;
use rl_core::SeedStream;

const KINDS: [Kind; 4] =
    [Kind::Average, Kind::Gated, Kind::Attention { heads: 2 }, Kind::Words { vocabulary: 3 }];

fn network(kind: Kind, topology: Topology) -> Network {
    let config = Config { kind, topology, width: 8, rounds: 2 };
    let mut rng = SeedStream::new(2).stream("communication", 0);
    Network::new(&config, (3, 5, 4), &mut rng).unwrap()
}

/// Rows of three agents, four copies each; the noise is drawn.
fn rows(kind: Kind, index: u64) -> Tensor {
    let width = 5 + Network::noise(&Config { kind, rounds: 2, ..Config::default() });
    let mut rng = SeedStream::new(3).stream("rows", index);
    let data = (0..12 * width).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    Tensor::from_vec(data, (12, width), &Device::Cpu).unwrap()
}

/// The outputs of agent 0 when agent 2's inputs change.
fn influence(network: &Network, kind: Kind) -> f32 {
    let first = rows(kind, 0);
    let last = first.narrow(0, 8, 4).unwrap();
    let moved = (last.narrow(1, 0, 5).unwrap() * -3.0).unwrap();
    let moved = Tensor::cat(&[moved, last.narrow(1, 5, last.dim(1).unwrap() - 5).unwrap()], 1).unwrap();
    let second = Tensor::cat(&[first.narrow(0, 0, 8).unwrap(), moved], 0).unwrap();
    let own = |x: &Tensor| network.forward(x, None).unwrap().0.narrow(0, 0, 4).unwrap();
    let difference = (own(&first) - own(&second)).unwrap().abs().unwrap();
    difference.sum_all().unwrap().to_scalar().unwrap()
}

#[test]
fn every_parameter_gets_a_gradient_and_the_speaker_is_reached_from_the_listener() {
    for kind in KINDS {
        let network = network(kind, Topology::Broadcast);
        let x = candle_core::Var::from_tensor(&rows(kind, 1)).unwrap();
        let (out, _) = network.forward(x.as_tensor(), None).unwrap();
        let weight = Tensor::arange(0f32, 48.0, &Device::Cpu).unwrap().reshape((12, 4)).unwrap();
        let grads = (&out * weight).unwrap().sum_all().unwrap().backward().unwrap();
        for params in network.params() {
            let gradient = grads.get(params.tensor()).unwrap().to_vec1::<f32>().unwrap();
            assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|g| *g != 0.0), "{kind:?}");
        }
        // A loss of agent 0 alone has a gradient in the observation of agent 2.
        let grads = out.narrow(0, 0, 4).unwrap().sum_all().unwrap().backward().unwrap();
        let others = grads.get(x.as_tensor()).unwrap().narrow(0, 8, 4).unwrap().narrow(1, 0, 5).unwrap();
        assert!(others.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0, "{kind:?}");
    }
}

#[test]
fn messages_go_where_the_topology_says() {
    for kind in KINDS {
        assert_eq!(influence(&network(kind, Topology::Silent), kind), 0.0);
        assert_eq!(influence(&network(kind, Topology::Directed(vec![(1, 0)])), kind), 0.0);
        // A word or a gate may happen to stay the same; what is continuous may not.
        if matches!(kind, Kind::Average | Kind::Attention { .. }) {
            assert!(influence(&network(kind, Topology::Broadcast), kind) > 0.0);
            assert!(influence(&network(kind, Topology::Directed(vec![(2, 0)])), kind) > 0.0);
        }
    }
    let lost = Config { topology: Topology::Directed(vec![(0, 7)]), ..Config::default() };
    let mut rng = SeedStream::new(0).stream("", 0);
    assert!(Network::new(&lost, (3, 5, 4), &mut rng).is_err());
}

#[test]
fn ablation_removes_the_content() {
    for kind in KINDS {
        let network = network(kind, Topology::Broadcast);
        let x = rows(kind, 2);
        let run = |ablation| network.forward(&x, ablation).unwrap().0.to_vec2::<f32>().unwrap();
        assert_ne!(run(None), run(Some(Ablation::Zero)), "{kind:?}");
        assert_eq!(run(Some(Ablation::Shuffled)), run(Some(Ablation::Shuffled)));
    }
}

#[test]
fn words_are_words_and_gates_are_gates() {
    for kind in [Kind::Words { vocabulary: 3 }, Kind::Gated] {
        let (_, trace) = network(kind, Topology::Broadcast).forward(&rows(kind, 4), None).unwrap();
        assert_eq!(trace.sent.len(), 2);
        for sent in trace.sent {
            assert!(
                sent.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|x| *x == 0.0 || *x == 1.0)
            );
        }
    }
}
