//! The hot paths: forward, adjoint, the batched inner loop, tiles, stabiliser frames. `cargo bench -p quantum-sim`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops when its own circuits are unusable and prints its results"
)]

mod circuits;

use circuits::{angles, reuploading, ring};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use quantum_sim::{Adjoint, Batch, Plan, StateVector};
use rand::SeedableRng;
use std::hint::black_box;

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward, 10 layers");
    group.sample_size(20);
    for qubits in [4, 10, 16, 20, 22] {
        let circuit = ring(qubits, 10).unwrap();
        let parameters = angles(circuit.parameters());
        let (mut plan, mut state) = (Plan::new(&circuit).unwrap(), StateVector::zero(qubits).unwrap());
        group.bench_function(BenchmarkId::from_parameter(qubits), |b| {
            b.iter(|| plan.run(black_box(&parameters), &[], &mut state).unwrap());
        });
    }
}

fn gradient(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adjoint gradient, 10 layers");
    group.sample_size(20);
    for qubits in [4, 8, 12, 16] {
        let circuit = ring(qubits, 10).unwrap();
        let parameters = angles(circuit.parameters());
        let mut adjoint = Adjoint::new(&circuit, vec!["Z0".parse().unwrap()]).unwrap();
        group.bench_function(BenchmarkId::from_parameter(qubits), |b| {
            b.iter(|| {
                adjoint.forward(black_box(&parameters), &[]).unwrap();
                black_box(adjoint.backward(&[1.0]).unwrap().parameters[0])
            });
        });
    }
}

/// 64 inputs, 4 qubits, 5 layers, two observables: what a quantum agent does all day.
fn inner_loop(criterion: &mut Criterion) {
    let circuit = reuploading(4, 5).unwrap();
    let observables = vec!["Z0 Z1".parse().unwrap(), "Z2 Z3".parse().unwrap()];
    let mut batch = Batch::new(&circuit, observables).unwrap();
    let (parameters, inputs) = (angles(circuit.parameters()), angles(256));
    let (mut values, mut weights) = ([0.0; 128], [0.0; 128]);
    let (mut by_parameter, mut by_input) = (vec![0.0; parameters.len()], vec![0.0; 256]);
    let mut group = criterion.benchmark_group("64 inputs, 4 qubits, 5 layers");
    group.bench_function("forward", |b| {
        b.iter(|| batch.forward(black_box(&parameters), &inputs, &mut values).unwrap());
    });
    group.bench_function("forward and gradient", |b| {
        b.iter(|| {
            batch.forward(black_box(&parameters), &inputs, &mut values).unwrap();
            for (k, (w, v)) in weights.iter_mut().zip(&values).enumerate() {
                *w = 2.0 * (v - if k % 2 == 0 { 0.3 } else { 0.1 });
            }
            batch.backward(&weights, &mut by_parameter, &mut by_input).unwrap();
        });
    });
}

fn frames(criterion: &mut Criterion) {
    let circuit = quantum_sim::stabilizer::surface_memory(5, 5, 0.005).unwrap();
    let mut rng = rl_core::StreamRng::seed_from_u64(0);
    criterion.bench_function("surface code d = 5, 1024 shots", |b| {
        b.iter(|| quantum_sim::stabilizer::sample(black_box(&circuit), 1024, &mut rng).unwrap());
    });
}

criterion_group!(benches, forward, gradient, inner_loop, frames);
criterion_main!(benches);
