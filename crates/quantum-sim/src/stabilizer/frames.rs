//! Pauli frames: sampling detectors of a noisy Clifford circuit, 64 shots per word, without ever touching a tableau.
//!
//! An error is a Pauli frame on the noiseless run; gates conjugate it, measurements read its X part. Detectors are parities
//! of measurements that are deterministic without noise, so the frame's flips are all there is to know (Gidney 2021).

use super::program::{Name, Statement, StimCircuit};
use crate::error::{Error, Result};
use rand::{Rng, RngExt};
use std::collections::BTreeSet;

/// Detector and observable flips of many shots; bit s of word k belongs to shot 64k + s.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The number of shots.
    pub shots: usize,
    /// `[detector][word]`
    pub detectors: Vec<Vec<u64>>,
    /// `[observable][word]`
    pub observables: Vec<Vec<u64>>,
}

impl Samples {
    /// The mean over detectors and shots.
    pub fn mean_detector_rate(&self) -> f64 {
        let ones: u64 = self.detectors.iter().flatten().map(|w| u64::from(w.count_ones())).sum();
        ones as f64 / (self.shots * self.detectors.len()).max(1) as f64
    }

    /// How often observable o flipped.
    pub fn observable_rate(&self, o: usize) -> f64 {
        let ones: u64 =
            self.observables.get(o).into_iter().flatten().map(|w| u64::from(w.count_ones())).sum();
        ones as f64 / self.shots.max(1) as f64
    }
}

/// The X and Z parts of 64 frames on every qubit.
struct Frames {
    x: Vec<u64>,
    z: Vec<u64>,
}

impl Frames {
    fn new(qubits: usize) -> Self {
        Self { x: vec![0; qubits], z: vec![0; qubits] }
    }

    /// Conjugates by a gate; Pauli gates do nothing to a frame.
    fn gate(&mut self, name: Name, targets: &[usize]) {
        let (x, z) = (&mut self.x, &mut self.z);
        match name {
            Name::H => targets.iter().for_each(|&q| std::mem::swap(&mut x[q], &mut z[q])),
            Name::S | Name::SDag => targets.iter().for_each(|&q| z[q] ^= x[q]),
            Name::SqrtX | Name::SqrtXDag => targets.iter().for_each(|&q| x[q] ^= z[q]),
            Name::Swap => targets.chunks_exact(2).for_each(|p| {
                x.swap(p[0], p[1]);
                z.swap(p[0], p[1]);
            }),
            Name::Cx => targets.chunks_exact(2).for_each(|p| {
                x[p[1]] ^= x[p[0]];
                z[p[0]] ^= z[p[1]];
            }),
            Name::Cz => targets.chunks_exact(2).for_each(|p| {
                z[p[1]] ^= x[p[0]];
                z[p[0]] ^= x[p[1]];
            }),
            Name::Cy => targets.chunks_exact(2).for_each(|p| {
                z[p[0]] ^= x[p[1]] ^ z[p[1]];
                x[p[1]] ^= x[p[0]];
                z[p[1]] ^= x[p[0]];
            }),
            _ => {}
        }
    }

    /// Puts Pauli `kind` (1 X, 2 Y, 3 Z) on the shots of a mask.
    fn strike(&mut self, qubit: usize, kind: usize, mask: u64) {
        if kind == 1 || kind == 2 {
            self.x[qubit] ^= mask;
        }
        if kind == 2 || kind == 3 {
            self.z[qubit] ^= mask;
        }
    }
}

/// A word whose bits are 1 with probability p.
fn bernoulli(p: f64, rng: &mut impl Rng) -> u64 {
    if p <= 0.0 {
        return 0;
    }
    if p >= 1.0 {
        return u64::MAX;
    }
    // Distances between successes are geometric: few draws when p is small.
    let (scale, mut word, mut at) = ((-p).ln_1p().recip(), 0, 0.0);
    loop {
        let u: f64 = 1.0 - rng.random::<f64>();
        at += (u.ln() * scale).floor();
        if at >= 64.0 {
            return word;
        }
        word |= 1 << at as u32;
        at += 1.0;
    }
}

/// Samples detectors and observables.
///
/// # Errors
/// When there are no shots.
pub fn sample(circuit: &StimCircuit, shots: usize, rng: &mut impl Rng) -> Result<Samples> {
    if shots == 0 {
        return Err(Error::shape("sample", "at least 1 shot", shots));
    }
    let words = shots.div_ceil(64);
    let mut samples = Samples {
        shots,
        detectors: vec![Vec::with_capacity(words); circuit.detectors],
        observables: vec![Vec::with_capacity(words); circuit.observables],
    };
    for word in 0..words {
        let kept = shots - 64 * word;
        let mask = if kept >= 64 { u64::MAX } else { (1 << kept) - 1 };
        let (mut frames, mut record, mut detector) = (Frames::new(circuit.qubits), vec![], 0);
        samples.observables.iter_mut().for_each(|o| o.push(0));
        for statement in &circuit.statements {
            let Statement { name, argument, targets } = statement;
            match name {
                Name::Detector => {
                    let flips: u64 = targets.iter().fold(0, |f, &m| f ^ record[m]);
                    samples.detectors[detector].push(flips & mask);
                    detector += 1;
                }
                Name::Observable => {
                    let flips: u64 = targets.iter().fold(0, |f, &m| f ^ record[m]);
                    samples.observables[*argument as usize][word] ^= flips & mask;
                }
                _ => step(&mut frames, statement, &mut record, rng),
            }
        }
    }
    Ok(samples)
}

fn step(frames: &mut Frames, statement: &Statement, record: &mut Vec<u64>, rng: &mut impl Rng) {
    let Statement { name, argument: p, targets } = statement;
    match name {
        Name::Reset => {
            for &q in targets {
                // Z flips of |0⟩ are invisible: random ones keep non-deterministic outcomes honest.
                (frames.x[q], frames.z[q]) = (0, rng.random());
            }
        }
        Name::Measure | Name::MeasureReset => {
            for &q in targets {
                record.push(frames.x[q]);
                if *name == Name::MeasureReset {
                    frames.x[q] = 0;
                }
                frames.z[q] = rng.random();
            }
        }
        Name::XError => targets.iter().for_each(|&q| frames.strike(q, 1, bernoulli(*p, rng))),
        Name::YError => targets.iter().for_each(|&q| frames.strike(q, 2, bernoulli(*p, rng))),
        Name::ZError => targets.iter().for_each(|&q| frames.strike(q, 3, bernoulli(*p, rng))),
        Name::Depolarize1 => {
            for &q in targets {
                each_bit(bernoulli(*p, rng), |bit| frames.strike(q, rng.random_range(1..4), bit));
            }
        }
        Name::Depolarize2 => {
            for pair in targets.chunks_exact(2) {
                each_bit(bernoulli(*p, rng), |bit| {
                    let kind = rng.random_range(1..16usize);
                    frames.strike(pair[0], kind % 4, bit);
                    frames.strike(pair[1], kind / 4, bit);
                });
            }
        }
        gate => frames.gate(*gate, targets),
    }
}

fn each_bit(mut word: u64, mut visit: impl FnMut(u64)) {
    while word != 0 {
        let bit = word & word.wrapping_neg();
        visit(bit);
        word ^= bit;
    }
}

/// The distinct sets of detectors and observables that single errors of the circuit flip, the empty set left out: the
/// number of mechanisms of its detector error model. Found by running every error as one frame.
///
/// # Errors
/// When the circuit has no statements.
pub fn error_mechanisms(circuit: &StimCircuit) -> Result<usize> {
    if circuit.statements.is_empty() {
        return Err(Error::shape("error mechanisms", "a circuit", 0));
    }
    // All single errors: (statement, [(qubit, kind)]).
    let mut errors: Vec<(usize, Vec<(usize, usize)>)> = vec![];
    for (at, Statement { name, argument, targets }) in circuit.statements.iter().enumerate() {
        if *argument <= 0.0 {
            continue;
        }
        match name {
            Name::XError => errors.extend(targets.iter().map(|&q| (at, vec![(q, 1)]))),
            Name::YError => errors.extend(targets.iter().map(|&q| (at, vec![(q, 2)]))),
            Name::ZError => errors.extend(targets.iter().map(|&q| (at, vec![(q, 3)]))),
            Name::Depolarize1 => {
                errors.extend(targets.iter().flat_map(|&q| (1..4).map(move |k| (at, vec![(q, k)]))));
            }
            Name::Depolarize2 => {
                for pair in targets.chunks_exact(2) {
                    errors.extend((1..16).map(|k| (at, vec![(pair[0], k % 4), (pair[1], k / 4)])));
                }
            }
            _ => {}
        }
    }
    let mut symptoms: BTreeSet<Vec<usize>> = BTreeSet::new();
    for group in errors.chunks(64) {
        let mut found = vec![vec![]; group.len()];
        follow(circuit, group, &mut found);
        symptoms.extend(found.into_iter().filter(|s| !s.is_empty()));
    }
    Ok(symptoms.len())
}

/// Runs up to 64 single errors as the bits of one frame word.
fn follow(circuit: &StimCircuit, group: &[(usize, Vec<(usize, usize)>)], found: &mut [Vec<usize>]) {
    let (mut frames, mut record, mut detector) = (Frames::new(circuit.qubits), vec![], 0);
    let mut observables = vec![0u64; circuit.observables];
    for (at, Statement { name, argument, targets }) in circuit.statements.iter().enumerate() {
        match name {
            Name::Reset => targets.iter().for_each(|&q| (frames.x[q], frames.z[q]) = (0, 0)),
            Name::Measure | Name::MeasureReset => {
                for &q in targets {
                    record.push(frames.x[q]);
                    frames.z[q] = 0;
                    if *name == Name::MeasureReset {
                        frames.x[q] = 0;
                    }
                }
            }
            Name::Detector => {
                let flips: u64 = targets.iter().fold(0, |f, &m: &usize| f ^ record[m]);
                for (k, symptoms) in found.iter_mut().enumerate() {
                    if flips >> k & 1 == 1 {
                        symptoms.push(detector);
                    }
                }
                detector += 1;
            }
            Name::Observable => {
                observables[*argument as usize] ^= targets.iter().fold(0, |f, &m| f ^ record[m]);
            }
            Name::XError | Name::YError | Name::ZError | Name::Depolarize1 | Name::Depolarize2 => {
                for (k, (_, strikes)) in group.iter().enumerate().filter(|(_, (s, _))| *s == at) {
                    strikes.iter().for_each(|&(q, kind)| frames.strike(q, kind, 1 << k));
                }
            }
            gate => frames.gate(*gate, targets),
        }
    }
    for (o, flips) in observables.into_iter().enumerate() {
        for (k, symptoms) in found.iter_mut().enumerate() {
            if flips >> k & 1 == 1 {
                symptoms.push(circuit.detectors + o);
            }
        }
    }
}
