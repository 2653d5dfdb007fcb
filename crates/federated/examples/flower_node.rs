//! A Flower node that pulls every parameter half-way to a target number: the smallest thing that can be checked by hand.
//!
//! `flower_node HOST:PORT --target 3 --examples 300 [--key node.pem] [--ca ca.pem] [--hang]`
//!
//! With `--key` the key must be registered with the server; without, the node makes one and registers itself. `--hang`
//! makes it stall in its first training, to be killed in mid-round.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use federated::flower::{FlowerConfig, FlowerTransport, NodeKey};
use federated::transport::{Answer, Task, serve};
use rand::SeedableRng;
use std::io::Read;
use std::time::{Duration, Instant};

fn fresh_key() -> Result<NodeKey, Box<dyn std::error::Error>> {
    let mut seed = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(NodeKey::random(&mut rand_chacha::ChaCha20Rng::from_seed(seed)))
}

fn work(task: &Task, target: f32, examples: f64) -> Answer {
    let mut arrays = task.arrays.clone();
    if !task.kind.starts_with("train") {
        let mean =
            arrays.first().map_or(0.0, |a| a.values.iter().sum::<f32>() / a.values.len().max(1) as f32);
        let metrics = vec![("num-examples".into(), 1.0), ("mean".into(), f64::from(mean))];
        return Answer { metrics, ..Answer::default() };
    }
    for array in &mut arrays {
        array.values.iter_mut().for_each(|w| *w += 0.5 * (target - *w));
    }
    Answer { arrays, metrics: vec![("num-examples".into(), examples)], extra: vec![] }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args
        .next()
        .ok_or("usage: flower_node HOST:PORT [--target X] [--examples N] [--key F] [--ca F] [--hang]")?;
    let mut config = FlowerConfig { address, heartbeat_seconds: 10.0, ..FlowerConfig::default() };
    let (mut target, mut examples, mut key, mut hang) = (1.0f32, 100.0f64, None, false);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or("a flag lacks its value");
        match flag.as_str() {
            "--target" => target = value()?.parse()?,
            "--examples" => examples = value()?.parse()?,
            "--key" => key = Some(value()?),
            "--ca" => config.root_certificates = Some(std::fs::read(value()?)?),
            "--hang" => hang = true,
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    config.registered = key.is_some();
    let key = match key {
        Some(path) => NodeKey::load(path.as_ref())?,
        None => fresh_key()?,
    };
    let mut transport = FlowerTransport::connect(config, key)?;
    eprintln!("active as node {}", transport.node_id());
    let last_task = std::cell::Cell::new(Instant::now());
    let served = std::cell::Cell::new(false);
    serve(
        &mut transport,
        |task| {
            eprintln!("task {}", task.kind);
            if hang {
                loop {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            last_task.set(Instant::now());
            served.set(true);
            Ok(work(task, target, examples))
        },
        || served.get() && last_task.get().elapsed() > Duration::from_secs(4),
        |task, error| eprintln!("task {} failed: {error}", task.id),
    )?;
    transport.leave()?;
    eprintln!("left");
    Ok(())
}
