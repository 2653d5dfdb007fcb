use super::*;
use crate::change_model::Changes;
use federated::client::Client;
use federated::rl::environment::Dynamics;
use federated::simulation::{Simulation, SimulationConfig};
use federated::strategy::FedAvg;
use rl_core::SeedStream;
use rl_core::env::Actions;
use world_models::planning::Model;

fn clients(n: usize, heterogeneity: f64) -> Vec<ModelClient> {
    let config = ClientConfig { episodes: 1, ..ClientConfig::default() };
    let machines = Dynamics::point_control().spread(n, heterogeneity).unwrap();
    let build = |(id, machine)| ModelClient::new(id as u64, machine, &config, SeedStream::new(3)).unwrap();
    machines.into_iter().enumerate().map(build).collect()
}

#[test]
fn imagination_is_the_network_and_the_known_reward() {
    let mut model = PointModel::new(&[], &mut SeedStream::new(1).stream("model", 0)).unwrap();
    // Linear: Δs₀ = 0.1 a₀, Δs₁ = 0.1 a₁, nothing else. Weights are [inputs, outputs], then the biases.
    let mut weights = vec![0.0f32; 6 * 4 + 4];
    (weights[4 * 4], weights[5 * 4 + 1]) = (1.0, 1.0);
    model.params().set(&weights).unwrap();
    model.observe(&[0.5, -0.5, 0.0, 0.0]);
    let rng = &mut SeedStream::new(1).stream("plan", 0);
    let (mut batch, mut rewards, mut continues) = (model.batch(), [0.0; 2], [0.0; 2]);
    model.start(&mut batch, 2);
    model
        .step(&mut batch, Actions::Continuous(&[-1.0, 1.0, 0.0, 0.0]), rng, &mut rewards, &mut continues)
        .unwrap();
    assert!(
        (rewards[0] + 0.4 * 0.4 * 2.0 + 0.02).abs() < 1e-6 && (rewards[1] + 0.5).abs() < 1e-6,
        "{rewards:?}"
    );
}

#[test]
fn federated_rounds_lower_everyones_loss_and_the_same_seed_gives_the_same_bits() {
    let run = || {
        let clients = clients(4, 0.2);
        let global = clients[0].parameters().unwrap();
        let loss = |clients: &[ModelClient], global: &[f32]| {
            let model = PointModel::new(&[16], &mut SeedStream::new(0).stream("model", 0)).unwrap();
            model.params().set(global).unwrap();
            let all = Changes::pooled(clients.iter().map(ModelClient::steps));
            model.change().loss(&all).unwrap().to_scalar::<f32>().unwrap()
        };
        let before = loss(&clients, &global);
        let config = SimulationConfig { evaluate_every: 0, ..SimulationConfig::default() };
        let mut simulation = Simulation::new(config, clients, FedAvg, global).unwrap();
        for _ in 0..5 {
            assert!(simulation.step().unwrap().failed.is_empty());
        }
        let after = loss(simulation.clients(), simulation.global());
        assert!(after < 0.6 * before, "{before} {after}");
        simulation.global().to_vec()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_model_of_the_own_machine_beats_the_untrained_one() {
    let mut client = clients(2, 1.0).remove(1);
    let start = client.parameters().unwrap();
    let rng = &mut SeedStream::new(5).stream("own", 0);
    let own = client.personalise(&start, 200, rng).unwrap();
    let seeds = SeedStream::new(9);
    let (trained, untrained) = (client.play(&own, seeds).unwrap(), client.play(&start, seeds).unwrap());
    assert!(trained > untrained, "{trained} {untrained}");
    let mut rng = SeedStream::new(9).stream("evaluate", 0);
    assert!(client.evaluate(&own, &mut rng).unwrap().is_some());
    assert!(client.play(&own[1..], seeds).is_err());
    let bad = ClientConfig { steps: 0, ..ClientConfig::default() };
    assert!(ModelClient::new(0, Dynamics::point_control(), &bad, seeds).is_err());
    assert!(ModelClient::new(0, Dynamics::cart_pole(), &ClientConfig::default(), seeds).is_err());
}
