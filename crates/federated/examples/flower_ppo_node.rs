//! A Flower node that trains a policy by PPO: client `NUMBER` of `COUNT`, in an environment of its own.
//!
//! `flower_ppo_node HOST:PORT PPO.json SEED NUMBER COUNT HETEROGENEITY`
//!
//! It draws the random numbers that the in-process simulation would draw for the same client and round, so both engines
//! can be compared number by number.
#![allow(clippy::print_stderr)]

use federated::client::Client;
use federated::flower::{FlowerConfig, FlowerTransport, NodeKey};
use federated::rl::environment::Dynamics;
use federated::rl::ppo::PpoClient;
use federated::strategy::Instruction;
use federated::transport::{Answer, Task, Transport};
use rand::SeedableRng;
use rl_core::SeedStream;
use std::io::Read;
use std::time::{Duration, Instant};

/// Client, its number, how many there are, and the seed of all.
struct Node {
    client: PpoClient,
    number: u64,
    count: u64,
    seeds: SeedStream,
}

impl Node {
    fn work(&mut self, task: &Task) -> federated::Result<Answer> {
        let mut arrays = task.arrays.clone();
        let parameters =
            arrays.first_mut().ok_or_else(|| federated::Error::malformed("task", "no arrays"))?;
        // Flower counts rounds from 1
        let round = (task.number("server-round").unwrap_or(1.0) as u64).saturating_sub(1);
        let one = |name: &str, value| vec![("num-examples".to_string(), 1.0), (name.to_string(), value)];
        if task.kind.starts_with("evaluate") {
            let mut rng = self.seeds.stream("evaluate", (round + 1) * self.count + self.number);
            let value = self.client.evaluate(&parameters.values, &mut rng)?.unwrap_or(f64::NAN);
            return Ok(Answer { metrics: one("return", value), ..Answer::default() });
        }
        let mut rng = self.seeds.stream("client", round * self.count + self.number);
        let instruction = Instruction { round, ..Instruction::default() };
        let reply = self.client.train(&parameters.values, &instruction, &mut rng)?;
        parameters.values = reply.parameters;
        Ok(Answer { arrays, metrics: one("steps", f64::from(reply.local_steps)), extra: vec![] })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, settings, seed, number, count, heterogeneity] = &args[..] else {
        return Err("usage: flower_ppo_node HOST:PORT PPO.json SEED NUMBER COUNT HETEROGENEITY".into());
    };
    let config = serde_json::from_str(&std::fs::read_to_string(settings)?)?;
    let (seeds, number, count) = (SeedStream::new(seed.parse()?), number.parse()?, count.parse()?);
    let world = Dynamics::cart_pole().spread(count as usize, heterogeneity.parse()?)?;
    let dynamics = world.get(number as usize).ok_or("NUMBER must be below COUNT")?;
    let mut node = Node { client: PpoClient::new(number, &config, dynamics, seeds)?, number, count, seeds };

    let mut key = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    let key = NodeKey::random(&mut rand_chacha::ChaCha20Rng::from_seed(key));
    let mut transport =
        FlowerTransport::connect(FlowerConfig { address: address.clone(), ..FlowerConfig::default() }, key)?;
    eprintln!("client {number} is node {}", transport.node_id());
    let mut last = Instant::now();
    let mut served = false;
    // long enough for the slowest other client of a round
    while !served || last.elapsed() < Duration::from_secs(300) {
        let Some(task) = transport.pull(Duration::from_millis(200))? else {
            if served && transport.runs_finished()? {
                break;
            }
            continue;
        };
        match node.work(&task) {
            Ok(answer) => transport.push(&task, answer)?,
            Err(error) => eprintln!("task {} failed: {error}", task.id),
        }
        (served, last) = (true, Instant::now());
    }
    transport.leave()?;
    Ok(())
}
