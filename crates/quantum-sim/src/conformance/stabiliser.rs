//! Clifford circuits exactly, error-correction memories exactly in structure and within 3 σ in rates.

use super::text;
use crate::Pauli;
use crate::stabilizer::{
    SignedPauli, StimCircuit, canonical_stabilizers, pauli_text, repetition_memory, sample, surface_memory,
};
use rand::SeedableRng;
use rl_core::StreamRng;
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::collections::BTreeMap;

/// As many as the reference drew.
const SHOTS: usize = 200_000;
type Checked = Result<(), String>;

pub(super) fn check(data: &Value, checker: &mut Checker) -> Checked {
    let mut rng = StreamRng::seed_from_u64(0);
    for (k, case) in get::<Vec<Value>>(data, "cliffords")?.iter().enumerate() {
        let n: usize = get(case, "n")?;
        let (tableau, _) =
            StimCircuit::parse(&get::<String>(case, "stim")?).map_err(text)?.run(&mut rng).map_err(text)?;
        let texts = |rows: &[SignedPauli]| rows.iter().map(pauli_text).collect::<Vec<_>>();
        let what = |part: &str| format!("Clifford {k} {part}");
        checker.exact(&what("X outputs"), texts(tableau.destabilizers()), get(case, "tableau_x")?);
        checker.exact(&what("Z outputs"), texts(tableau.stabilizers()), get(case, "tableau_z")?);
        let canonical = texts(&canonical_stabilizers(&tableau));
        checker.exact(&what("canonical form"), canonical, get(case, "canonical_stabilizers")?);
        for (pauli, want) in get::<BTreeMap<String, i8>>(case, "peek_expectations")? {
            let got = tableau.expectation(&pauli.parse().map_err(text)?).map_err(text)?;
            checker.exact(&what(&pauli), got, want);
        }
        let z = |q: usize| tableau.expectation(&SignedPauli::single(n, Pauli::Z, q)).map_err(text);
        let z = (0..n).map(z).collect::<Result<Vec<i8>, _>>()?;
        checker.exact(&what("⟨Z⟩"), z, get(case, "peek_z")?);
    }
    for case in get::<Vec<Value>>(data, "qec")? {
        memory(&case, checker)?;
    }
    Ok(())
}

fn memory(case: &Value, checker: &mut Checker) -> Checked {
    let code: String = get(case, "code")?;
    let (d, rounds, p): (usize, usize, f64) = (get(case, "distance")?, get(case, "rounds")?, get(case, "p")?);
    let what = format!("{code} d = {d}, {rounds} rounds, p = {p}");
    let circuit = if code.starts_with("repetition") {
        repetition_memory(d, rounds, p)
    } else {
        surface_memory(d, rounds, p)
    };
    let circuit = circuit.map_err(text)?;
    checker.exact(&format!("{what}: qubits"), circuit.qubits(), get(case, "num_qubits")?);
    checker.exact(&format!("{what}: detectors"), circuit.detectors(), get(case, "num_detectors")?);
    // `num_dem_errors` is not compared: the reference counts the instructions of a model made with `decompose_errors=True`,
    // in which one set of symptoms stands once per way of splitting it. `error_mechanisms` counts the distinct sets: Stim's
    // number without that option and with `flatten_loops=True` (a test has those).
    let mut circuits = vec![circuit];
    if let Some(given) = get::<Option<String>>(case, "circuit")? {
        circuits.push(StimCircuit::parse(&given).map_err(text)?);
    }
    let mut rng = StreamRng::seed_from_u64(1);
    for circuit in &circuits {
        let samples = sample(circuit, SHOTS, &mut rng).map_err(text)?;
        let rate: f64 = get(case, "raw_observable_flip_rate")?;
        // Both sides are samples of this many shots.
        let sigma = (2.0 * rate * (1.0 - rate) / SHOTS as f64).sqrt();
        checker.close(
            &format!("{what}: observable in σ"),
            (samples.observable_rate(0) - rate) / sigma,
            0.0,
            3.0,
        );
        let mean: f64 = get(case, "mean_detector_rate")?;
        // One error fires two detectors or more, so shots vary more than independent detectors would.
        let sigma = shot_deviation(&samples) * (2.0 / SHOTS as f64).sqrt();
        checker.close(
            &format!("{what}: detectors in σ"),
            (samples.mean_detector_rate() - mean) / sigma,
            0.0,
            3.0,
        );
    }
    Ok(())
}

/// The standard deviation over shots of the fraction of detectors that fire.
fn shot_deviation(samples: &crate::stabilizer::Samples) -> f64 {
    let mut fired = vec![0u32; samples.shots];
    for words in &samples.detectors {
        for (shot, count) in fired.iter_mut().enumerate() {
            *count += (words[shot / 64] >> (shot % 64) & 1) as u32;
        }
    }
    let n = samples.shots as f64;
    let mean = fired.iter().map(|&c| f64::from(c)).sum::<f64>() / n;
    let variance = fired.iter().map(|&c| (f64::from(c) - mean).powi(2)).sum::<f64>() / n;
    variance.sqrt() / samples.detectors.len().max(1) as f64
}
