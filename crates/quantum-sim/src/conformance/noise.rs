//! Channels, readout, extrapolation and cancellation. 1e-9.

use super::text;
use crate::density_matrix::DensityMatrix;
use crate::mitigation::{InverseDepolarizing, fold_global, linear, richardson};
use crate::{Channel, Circuit, NoiseModel, PauliSum, Readout, Result};
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::collections::BTreeMap;

const TOLERANCE: f64 = 1e-9;
type Checked = std::result::Result<(), String>;

pub(super) fn check(data: &Value, checker: &mut Checker) -> Checked {
    for (k, case) in get::<Vec<Value>>(data, "cases")?.iter().enumerate() {
        channels(&format!("case {k}"), case, checker)?;
    }
    for (k, case) in get::<Vec<Value>>(data, "readout")?.iter().enumerate() {
        let what = format!("readout {k}");
        let readout = Readout::new(get(case, "p01")?, get(case, "p10")?).map_err(text)?;
        let truth: Vec<f64> = get(case, "probs_true")?;
        let read: Vec<f64> = get(case, "probs_read")?;
        checker.close_slice(&what, &readout.apply(&truth).map_err(text)?, &read, TOLERANCE);
        checker.close_slice(
            &format!("{what} mitigated"),
            &readout.mitigate(&read).map_err(text)?,
            &truth,
            TOLERANCE,
        );
    }
    for (k, case) in get::<Vec<Value>>(data, "zne")?.iter().enumerate() {
        extrapolation(&format!("zne {k}"), case, checker)?;
    }
    for (k, case) in get::<Vec<Value>>(data, "pec")?.iter().enumerate() {
        let inverse = InverseDepolarizing::new(get(case, "p_depol")?).map_err(text)?;
        let got = [inverse.eta_identity, inverse.eta_pauli, inverse.gamma];
        let want = [get(case, "eta_I")?, get(case, "eta_XYZ")?, get(case, "gamma")?];
        checker.close_slice(&format!("pec {k}"), &got, &want, TOLERANCE);
    }
    Ok(())
}

fn channels(what: &str, case: &Value, checker: &mut Checker) -> Checked {
    let n: usize = get(case, "n")?;
    let named: Vec<String> = get(case, "channels")?;
    let has = |name: &str| named.iter().any(|c| c == name);
    let angles: Vec<Vec<[f64; 2]>> = get(case, "params")?;
    let mut after_rotations = vec![];
    if has("depol") {
        after_rotations.push(Channel::Depolarizing(get(case, "p_depol")?));
    }
    if has("amp") {
        after_rotations.push(Channel::AmplitudeDamping(get(case, "gamma_amp")?));
    }
    if has("phase") {
        after_rotations.push(Channel::PhaseDamping(get(case, "lambda_phase")?));
    }
    if has("bitflip") {
        after_rotations.push(Channel::BitFlip(get(case, "p_bitflip")?));
    }
    let two: Option<f64> = if has("depol2") { Some(get(case, "p_depol2")?) } else { None };
    let build = || -> Result<Circuit> {
        let mut c = Circuit::new(n)?;
        for layer in &angles {
            for (q, [a, b]) in layer.iter().enumerate() {
                c.ry(q, *a)?.rz(q, *b)?;
                after_rotations.iter().try_for_each(|channel| c.noise(channel.clone(), &[q]).map(|_| ()))?;
            }
            for q in 0..n - 1 {
                c.cx(q, q + 1)?;
                if let Some(p) = two {
                    c.noise(Channel::Depolarizing2(p), &[q, q + 1])?;
                }
            }
        }
        Ok(c)
    };
    let rho = DensityMatrix::from_circuit(&build().map_err(text)?, &[], &[]).map_err(text)?;
    let want: Vec<Vec<[f64; 2]>> = get(case, "rho")?;
    for (i, row) in want.iter().enumerate() {
        let got: Vec<f64> =
            (0..row.len()).flat_map(|j| [rho.element(i, j).re, rho.element(i, j).im]).collect();
        checker.close_slice(&format!("{what} ρ[{i}]"), &got, row.as_flattened(), TOLERANCE);
    }
    for (pauli, want) in get::<BTreeMap<String, f64>>(case, "expvals")? {
        let observable: PauliSum = pauli.parse().map_err(text)?;
        checker.close(
            &format!("{what} ⟨{pauli}⟩"),
            rho.expectation(&observable).map_err(text)?,
            want,
            TOLERANCE,
        );
    }
    checker.close(&format!("{what} purity"), rho.purity(), get(case, "purity")?, TOLERANCE);
    Ok(())
}

fn extrapolation(what: &str, case: &Value, checker: &mut Checker) -> Checked {
    let a: Vec<f64> = get(case, "params")?;
    let n = a.len() / 2;
    let build = || -> Result<Circuit> {
        let mut c = Circuit::new(n)?;
        (0..n).try_for_each(|q| c.ry(q, a[q]).map(|_| ()))?;
        (0..n - 1).try_for_each(|q| c.cx(q, q + 1).map(|_| ()))?;
        (0..n).try_for_each(|q| c.rx(q, a[n + q]).map(|_| ()))?;
        Ok(c)
    };
    let circuit = build().map_err(text)?;
    let depolarizing = vec![Channel::Depolarizing(get(case, "p_depol")?)];
    let model = NoiseModel { one_qubit: depolarizing.clone(), multi_qubit: depolarizing };
    let observable: PauliSum = "Z0 Z2".parse().map_err(text)?;
    let value = |circuit: &Circuit| {
        DensityMatrix::from_circuit(circuit, &[], &[])
            .and_then(|rho| rho.expectation(&observable))
            .map_err(text)
    };
    let scales: Vec<f64> = get(case, "scales")?;
    let noisy = |scale: &f64| {
        let folded = fold_global(&circuit, *scale).map_err(text)?;
        value(&model.apply(&folded).map_err(text)?)
    };
    let noisy = scales.iter().map(noisy).collect::<std::result::Result<Vec<f64>, String>>()?;
    checker.close_slice(&format!("{what} noisy"), &noisy, &get::<Vec<f64>>(case, "noisy")?, TOLERANCE);
    let got = [
        richardson(&scales, &noisy).map_err(text)?,
        linear(&scales, &noisy).map_err(text)?,
        value(&circuit)?,
    ];
    let want = [get(case, "richardson")?, get(case, "linear")?, get(case, "ideal")?];
    checker.close_slice(&format!("{what} extrapolated"), &got, &want, TOLERANCE);
    Ok(())
}
