//! Gradients: 1e-9; controlled gates, Hessians and metrics 1e-8; kernels 1e-10.

use super::text;
use crate::algorithms::{fidelity_kernel, kernel_target_alignment};
use crate::gradient::{Blocks, ParameterShift, fubini_study, shift};
use crate::{Activation, Adjoint, Batch, Circuit, Parameter, PauliSum, Result};
use rl_core::conformance::{Checker, get};
use serde_json::Value;

type Terms = Vec<(f64, String)>;
type Checked = std::result::Result<(), String>;

pub(super) fn check(data: &Value, checker: &mut Checker) -> Checked {
    for (k, case) in get::<Vec<Value>>(data, "vqc")?.iter().enumerate() {
        vqc(&format!("vqc {k}"), case, checker)?;
    }
    for (k, case) in get::<Vec<Value>>(data, "controlled_and_shared")?.iter().enumerate() {
        controlled(&format!("controlled {k}"), case, checker)?;
    }
    for (k, case) in get::<Vec<Value>>(data, "data_reuploading")?.iter().enumerate() {
        reuploading(&format!("re-uploading {k}"), case, checker)?;
    }
    for (k, case) in get::<Vec<Value>>(data, "metric")?.iter().enumerate() {
        metric(&format!("metric {k}"), case, checker)?;
    }
    for (k, case) in get::<Vec<Value>>(data, "kernels")?.iter().enumerate() {
        kernels(&format!("kernel {k}"), case, checker)?;
    }
    Ok(())
}

fn flat3(nested: Vec<Vec<Vec<f64>>>) -> Vec<f64> {
    nested.into_iter().flatten().flatten().collect()
}

fn rotate(circuit: &mut Circuit, q: usize, p: &[Parameter]) -> Result<()> {
    circuit.rx(q, p[0])?.ry(q, p[1])?.rz(q, p[2])?;
    Ok(())
}

/// RX RY RZ on every qubit, then a ring of CNOTs; one CNOT for two qubits.
fn ring(n: usize, layers: usize) -> Result<Circuit> {
    let mut circuit = Circuit::new(n)?;
    for l in 0..layers {
        let p = circuit.parameter_vector(&format!("p{l}"), 3 * n);
        (0..n).try_for_each(|q| rotate(&mut circuit, q, &p[3 * q..]))?;
        let links = if n > 2 { n } else { n - 1 };
        (0..links).try_for_each(|q| circuit.cx(q, (q + 1) % n).map(|_| ()))?;
    }
    Ok(circuit)
}

fn vqc(what: &str, case: &Value, checker: &mut Checker) -> Checked {
    let circuit = ring(get(case, "n")?, get(case, "layers")?).map_err(text)?;
    let observable = PauliSum::parse(&get::<Terms>(case, "observable")?).map_err(text)?;
    let parameters = flat3(get(case, "params")?);
    let want = flat3(get(case, "grad")?);
    let mut adjoint = Adjoint::new(&circuit, vec![observable.clone()]).map_err(text)?;
    let jacobian = adjoint.jacobian(&parameters, &[]).map_err(text)?;
    checker.close(&format!("{what} value"), jacobian.values[0], get(case, "expval")?, 1e-9);
    checker.close_slice(&format!("{what} adjoint"), &jacobian.parameters[0], &want, 1e-9);
    let mut shift = ParameterShift::new(&circuit, observable.clone()).map_err(text)?;
    let (by_shift, _) = shift.gradient(&parameters, &[]).map_err(text)?;
    checker.close_slice(&format!("{what} shift"), &by_shift, &want, 1e-9);
    let mut batch = Batch::new(&circuit, vec![observable]).map_err(text)?;
    let (mut value, mut by_batch) = ([0.0], vec![0.0; parameters.len()]);
    batch.forward(&parameters, &[], &mut value).map_err(text)?;
    batch.backward(&[1.0], &mut by_batch, &mut []).map_err(text)?;
    checker.close_slice(&format!("{what} batch"), &by_batch, &want, 1e-9);
    Ok(())
}

fn controlled(what: &str, case: &Value, checker: &mut Checker) -> Checked {
    let build = || -> Result<Circuit> {
        let mut c = Circuit::new(3)?;
        let t = c.parameter_vector("t", 6);
        c.h(0)?.ry(1, t[0])?.crx(0, 1, t[1])?.cry(1, 2, t[2])?.crz(2, 0, t[3])?.rx(2, t[4])?;
        c.rx(0, t[4] * 0.5)?.rzz(0, 2, t[5])?.h(0)?.h(2)?;
        Ok(c)
    };
    let circuit = build().map_err(text)?;
    let observable = PauliSum::parse(&[(1.0, "Z0 X2"), (0.5, "Y1")]).map_err(text)?;
    let parameters: Vec<f64> = get(case, "params")?;
    let want: Vec<f64> = get(case, "grad")?;
    let mut adjoint = Adjoint::new(&circuit, vec![observable.clone()]).map_err(text)?;
    let jacobian = adjoint.jacobian(&parameters, &[]).map_err(text)?;
    checker.close(&format!("{what} value"), jacobian.values[0], get(case, "expval")?, 1e-8);
    checker.close_slice(&format!("{what} adjoint"), &jacobian.parameters[0], &want, 1e-8);
    let mut rule = ParameterShift::new(&circuit, observable.clone()).map_err(text)?;
    let (by_shift, _) = rule.gradient(&parameters, &[]).map_err(text)?;
    checker.close_slice(&format!("{what} shift"), &by_shift, &want, 1e-8);
    let hessian = shift::hessian(&circuit, &observable, &parameters).map_err(text)?;
    let want: Vec<f64> = get::<Vec<Vec<f64>>>(case, "hessian")?.concat();
    checker.close_slice(&format!("{what} Hessian"), &hessian.concat(), &want, 1e-8);
    Ok(())
}

/// θ first, `[L + 1][q][3]`, then λ, `[L][q]`.
fn reuploading_circuit(n: usize, layers: usize) -> Result<Circuit> {
    let mut c = Circuit::new(n)?;
    let theta = c.parameter_vector("theta", 3 * n * (layers + 1));
    let lambda = c.parameter_vector("lambda", n * layers);
    for l in 0..=layers {
        (0..n).try_for_each(|q| rotate(&mut c, q, &theta[3 * (l * n + q)..]))?;
        if l == layers {
            break;
        }
        (0..n - 1).try_for_each(|q| c.cz(q, q + 1).map(|_| ()))?;
        if n != 2 {
            c.cz(0, n - 1)?;
        }
        for q in 0..n {
            let x = c.encode(q, Some(lambda[l * n + q]), Activation::Tanh);
            c.rx(q, x)?;
        }
    }
    Ok(c)
}

fn reuploading(what: &str, case: &Value, checker: &mut Checker) -> Checked {
    let circuit = reuploading_circuit(get(case, "n")?, get(case, "layers")?).map_err(text)?;
    let observables: Vec<PauliSum> = get::<Vec<Terms>>(case, "observables")?
        .iter()
        .map(|terms| PauliSum::parse(terms).map_err(text))
        .collect::<std::result::Result<_, _>>()?;
    let mut parameters = flat3(get(case, "theta")?);
    let thetas = parameters.len();
    parameters.extend(get::<Vec<Vec<f64>>>(case, "lam")?.concat());
    let rows: Vec<Value> = get(case, "batch")?;
    let inputs =
        rows.iter().map(|row| get::<Vec<f64>>(row, "x")).collect::<std::result::Result<Vec<_>, _>>()?;
    let width = observables.len();
    let mut batch = Batch::new(&circuit, observables.clone()).map_err(text)?;
    let mut values = vec![0.0; width * rows.len()];
    batch.forward(&parameters, &inputs.concat(), &mut values).map_err(text)?;
    let mut adjoint = Adjoint::new(&circuit, observables).map_err(text)?;
    for (b, row) in rows.iter().enumerate() {
        let what = format!("{what} input {b}");
        let want: Vec<f64> = get(row, "expvals")?;
        let jacobian = adjoint.jacobian(&parameters, &inputs[b]).map_err(text)?;
        checker.close_slice(&format!("{what} values"), &jacobian.values, &want, 1e-9);
        checker.close_slice(&format!("{what} batch values"), &values[b * width..][..width], &want, 1e-9);
        let by_x: Vec<f64> = get::<Vec<Vec<f64>>>(row, "jac_x")?.concat();
        checker.close_slice(&format!("{what} by x"), &jacobian.inputs.concat(), &by_x, 1e-9);
        let by_theta: Option<Vec<Vec<Vec<Vec<f64>>>>> = get(row, "jac_theta")?;
        let by_lambda: Option<Vec<Vec<Vec<f64>>>> = get(row, "jac_lambda")?;
        for o in 0..width {
            // The batched engine, one observable and one input at a time.
            let mut weights = vec![0.0; values.len()];
            weights[b * width + o] = 1.0;
            let (mut by_p, mut by_input) = (vec![0.0; parameters.len()], vec![0.0; inputs.concat().len()]);
            batch.backward(&weights, &mut by_p, &mut by_input).map_err(text)?;
            let (n, both) = (inputs[b].len(), [&jacobian.parameters[o], &by_p]);
            checker.close_slice(
                &format!("{what} batch by x"),
                &by_input[b * n..][..n],
                &by_x[o * n..][..n],
                1e-9,
            );
            for gradient in both {
                if let Some(want) = &by_theta {
                    let want = flat3(want[o].clone());
                    checker.close_slice(&format!("{what} by θ"), &gradient[..thetas], &want, 1e-9);
                }
                if let Some(want) = &by_lambda {
                    let want = want[o].concat();
                    checker.close_slice(&format!("{what} by λ"), &gradient[thetas..], &want, 1e-9);
                }
            }
        }
    }
    Ok(())
}

fn metric(what: &str, case: &Value, checker: &mut Checker) -> Checked {
    let circuit = ring(get(case, "n")?, get(case, "layers")?).map_err(text)?;
    let parameters = flat3(get(case, "params")?);
    for (blocks, key) in [(Blocks::Full, "fubini_study_full"), (Blocks::Layers, "fubini_study_blockdiag")] {
        let got = fubini_study(&circuit, &parameters, blocks).map_err(text)?;
        let want: Vec<f64> = get::<Vec<Vec<f64>>>(case, key)?.concat();
        checker.close_slice(&format!("{what} {key}"), &got.concat(), &want, 1e-8);
    }
    Ok(())
}

/// The products x_q x_{q+1} enter as further inputs.
fn kernels(what: &str, case: &Value, checker: &mut Checker) -> Checked {
    let n: usize = get(case, "n")?;
    let build = || -> Result<Circuit> {
        let mut c = Circuit::new(n)?;
        for q in 0..n {
            let x = c.encode(q, None, Activation::Linear);
            c.h(q)?.rz(q, x)?;
        }
        for q in 0..n - 1 {
            let product = c.encode(n + q, None, Activation::Linear);
            c.rzz(q, q + 1, product)?;
        }
        for q in 0..n {
            let x = c.encode(q, None, Activation::Linear);
            c.ry(q, x)?;
        }
        Ok(c)
    };
    let map = build().map_err(text)?;
    let extended = |x: &Vec<f64>| -> Vec<f64> {
        x.iter().copied().chain(x.windows(2).map(|w| 2.0 * w[0] * w[1])).collect()
    };
    let inputs: Vec<Vec<f64>> = get::<Vec<Vec<f64>>>(case, "X")?.iter().map(extended).collect();
    let kernel = fidelity_kernel(&map, &[], &inputs, &inputs).map_err(text)?;
    let want: Vec<f64> = get::<Vec<Vec<f64>>>(case, "K")?.concat();
    checker.close_slice(what, &kernel.concat(), &want, 1e-10);
    let alignment = kernel_target_alignment(&kernel, &get::<Vec<f64>>(case, "y")?).map_err(text)?;
    checker.close(&format!("{what} alignment"), alignment, get(case, "kernel_target_alignment")?, 1e-10);
    Ok(())
}
