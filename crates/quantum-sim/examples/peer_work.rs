//! The work that `benches/peers/quantum` gives to the peers, timed here: one JSON line per case, the least time over many
//! short blocks in milliseconds. `cargo run --release -p quantum-sim --example peer_work -- [threads] [small]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark stops when its own circuits are unusable and prints its results"
)]

#[path = "../benches/circuits/mod.rs"]
mod circuits;

use circuits::{angles, reuploading, ring};
use quantum_sim::{Adjoint, Batch, Plan, Result, StateVector};
use std::time::Instant;

/// The least time per call over blocks of at least 2 ms, for about so many seconds.
fn least(seconds: f64, mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    f();
    let calls = ((0.002 / start.elapsed().as_secs_f64()) as usize).max(1);
    let (begin, mut least, mut blocks) = (Instant::now(), f64::MAX, 0);
    while blocks < 3 || (begin.elapsed().as_secs_f64() < seconds && blocks < 400) {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        least = least.min(start.elapsed().as_secs_f64() / calls as f64);
        blocks += 1;
    }
    least * 1e3
}

fn report(work: &str, threads: usize, ms: f64) {
    println!("{{\"area\":\"quantum\",\"work\":\"{work}\",\"threads\":{threads},\"ms\":{ms:.6}}}");
}

fn main() -> Result<()> {
    let threads = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1);
    let small = std::env::args().any(|a| a == "small");
    let seconds = if small { 0.05 } else { 0.5 };
    let (gradients, forwards): (&[usize], &[usize]) =
        if small { (&[4, 8], &[4, 10]) } else { (&[4, 8, 12, 16], &[4, 10, 16, 18, 20, 22]) };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    let circuit = reuploading(4, 5)?;
    let mut batch = Batch::new(&circuit, vec!["Z0 Z1".parse()?, "Z2 Z3".parse()?])?;
    let (p, x) = (angles(circuit.parameters()), angles(256));
    let (mut values, mut weights, mut by_p, mut by_x) =
        ([0.0; 128], [0.0; 128], vec![0.0; p.len()], [0.0; 256]);
    report(
        "inner loop forward",
        threads,
        least(seconds, || batch.forward(&p, &x, &mut values).expect("lengths fit")),
    );
    let both = least(seconds, || {
        batch.forward(&p, &x, &mut values).expect("lengths fit");
        for (k, (w, v)) in weights.iter_mut().zip(&values).enumerate() {
            *w = 2.0 * (v - if k % 2 == 0 { 0.3 } else { 0.1 });
        }
        batch.backward(&weights, &mut by_p, &mut by_x).expect("lengths fit");
    });
    report("inner loop forward and gradient", threads, both);
    for &n in gradients {
        let circuit = ring(n, 10)?;
        let p = angles(circuit.parameters());
        let mut adjoint = Adjoint::new(&circuit, vec!["Z0".parse()?])?;
        let ms = least(seconds, || {
            adjoint.forward(&p, &[]).expect("lengths fit");
            adjoint.backward(&[1.0]).expect("lengths fit");
        });
        report(&format!("gradient n={n} L=10"), threads, ms);
    }
    for &n in forwards {
        let circuit = ring(n, 10)?;
        let p = angles(circuit.parameters());
        let (mut plan, mut state) = (Plan::new(&circuit)?, StateVector::zero(n)?);
        let ms = least(seconds, || plan.run(&p, &[], &mut state).expect("lengths fit"));
        report(&format!("forward n={n} L=10"), threads, ms);
    }
    Ok(())
}
