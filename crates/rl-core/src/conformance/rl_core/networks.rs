//! Sections on recurrent cells and optimisers.

use super::functions::elements;
use super::{Checker, TOLERANCE, numbers, text};
use crate::conformance::get;
use crate::nn::params::Part;
use crate::nn::{Gru, Lstm, NormGru};
use crate::optim::{Method, clip_adaptive, global_norm_scale, squared_norm};
use crate::{SeedStream, StreamRng};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// Rows of a matrix, transposed: references keep weights `[outputs, inputs]`, the cells `[inputs, outputs]`.
fn transposed(section: &Value, key: &str) -> Result<Vec<f64>, String> {
    let rows: Vec<Vec<f64>> = get(section, key)?;
    let columns = rows.first().map_or(0, Vec::len);
    Ok((0..columns).flat_map(|j| rows.iter().filter_map(move |row| row.get(j).copied())).collect())
}

/// A PyTorch cell's weights and biases in the order of our parameters.
fn pytorch_parameters(section: &Value) -> Result<Vec<f64>, String> {
    let mut values = Vec::new();
    for (weight, bias) in [("w_ih", "b_ih"), ("w_hh", "b_hh")] {
        values.extend(transposed(section, weight)?);
        values.extend(numbers(section, bias)?);
    }
    Ok(values)
}

/// One row, `[1, n]`.
fn row(values: &[f64]) -> Result<Tensor, String> {
    Tensor::from_slice(values, (1, values.len()), &Device::Cpu).map_err(text)
}

fn generator() -> StreamRng {
    SeedStream::new(0).stream("conformance", 0)
}

/// The fused step and its slow twin.
pub(super) fn gru(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let (x, h) = (numbers(section, "x")?, numbers(section, "h")?);
    let cell = Gru::new(x.len(), h.len(), &Device::Cpu, &mut generator()).map_err(text)?;
    let cell = cell.to_dtype(DType::F64).map_err(text)?;
    cell.params().set(&pytorch_parameters(section)?).map_err(text)?;
    let (x, h) = (row(&x)?, row(&h)?);
    let want = numbers(section, "h_next")?;
    for (what, next) in [("fused", cell.step(&x, &h)), ("composed", cell.step_composed(&x, &h))] {
        checker.close_slice(&format!("h_next, {what}"), &elements(&next.map_err(text)?)?, &want, TOLERANCE);
    }
    Ok(())
}

pub(super) fn lstm(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let [x, h, c] = ["x", "h", "c"].map(|key| numbers(section, key));
    let (x, h, c) = (x?, h?, c?);
    let cell = Lstm::new(x.len(), h.len(), &Device::Cpu, &mut generator()).map_err(text)?;
    let cell = cell.to_dtype(DType::F64).map_err(text)?;
    cell.params().set(&pytorch_parameters(section)?).map_err(text)?;
    let (h, c) = cell.step(&row(&x)?, &row(&h)?, &row(&c)?).map_err(text)?;
    checker.close_slice("h_next", &elements(&h)?, &numbers(section, "h_next")?, TOLERANCE);
    checker.close_slice("c_next", &elements(&c)?, &numbers(section, "c_next")?, TOLERANCE);
    Ok(())
}

/// The reference's norm has scale 1 and offset 0.
pub(super) fn norm_gru(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let (x, h) = (numbers(section, "x")?, numbers(section, "h")?);
    let cell = NormGru::new(x.len(), h.len(), &Device::Cpu, &mut generator()).map_err(text)?;
    let cell = cell.to_dtype(DType::F64).map_err(text)?;
    let mut values = transposed(section, "w")?;
    values.resize(values.len() + 3 * h.len(), 1.0);
    values.resize(values.len() + 3 * h.len(), 0.0);
    cell.params().set(&values).map_err(text)?;
    let next = cell.step(&row(&x)?, &row(&h)?).map_err(text)?;
    checker.close_slice("h_next", &elements(&next)?, &numbers(section, "h_next")?, TOLERANCE);
    Ok(())
}

/// Parameters after each step, for every method; all use PyTorch's defaults but for what their names say.
pub(super) fn optimizers(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let adam = |eps, weight_decay, decoupled| Method::Adam {
        beta1: 0.9,
        beta2: 0.999,
        eps,
        weight_decay,
        decoupled,
    };
    let rms_prop = |momentum, centered| Method::RmsProp { alpha: 0.99, eps: 1e-8, momentum, centered };
    let methods = [
        ("adam", adam(1e-8, 0.0, false)),
        ("adamw_wd0_1", adam(1e-8, 0.1, true)),
        ("adam_eps1e_5", adam(1e-5, 0.0, false)),
        ("adam_l2_wd0_1", adam(1e-8, 0.1, false)),
        ("rmsprop_torch", rms_prop(0.0, false)),
        ("rmsprop_momentum0_9", rms_prop(0.9, false)),
        ("rmsprop_centered", rms_prop(0.0, true)),
        ("laprop_dreamerv3", Method::laprop()),
        ("sgd_momentum", Method::Sgd { momentum: 0.9, nesterov: false }),
        ("sgd_nesterov", Method::Sgd { momentum: 0.9, nesterov: true }),
    ];
    let start = numbers(section, "theta0")?;
    let gradients: Vec<Vec<f64>> = get(section, "grads")?;
    let learning_rate = get(section, "lr")?;
    for (key, method) in methods {
        let mut theta = start.clone();
        let mut slots = [(); 3].map(|()| vec![0.0; theta.len()]);
        let trace: Vec<Vec<f64>> = get(section, key)?;
        checker.exact(&format!("{key}: steps"), trace.len(), gradients.len());
        for (t, (gradient, want)) in (1..).zip(gradients.iter().zip(&trace)) {
            method.update(t, learning_rate, 1.0, &mut theta, gradient, &mut slots);
            checker.close_slice(&format!("{key}, step {t}"), &theta, want, TOLERANCE);
        }
    }
    Ok(())
}

/// The floor of the parameters' norm is 1e-3.
pub(super) fn adaptive_clipping(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let (theta, mut gradient) = (numbers(section, "param")?, numbers(section, "grad")?);
    let part = Part { name: "param".into(), shape: vec![theta.len()], offset: 0 };
    clip_adaptive(&[part], &theta, &mut gradient, get(section, "clip")?, 1e-3);
    checker.close_slice("clipped", &gradient, &numbers(section, "clipped")?, TOLERANCE);
    Ok(())
}

/// Gradients of any nesting, one module each.
pub(super) fn global_norm_clipping(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let modules = |key: &str| -> Result<Vec<Vec<f64>>, String> {
        let nested: Vec<Value> = get(section, key)?;
        nested.iter().map(flattened).collect()
    };
    let (gradients, want) = (modules("grads")?, modules("clipped_torch")?);
    let norm = gradients.iter().map(|gradient| squared_norm(gradient)).sum::<f64>().sqrt();
    checker.close("global_norm", norm, get(section, "global_norm")?, TOLERANCE);
    let scale = global_norm_scale(norm, get(section, "max_norm")?);
    checker.exact("modules", gradients.len(), want.len());
    for (gradient, want) in gradients.iter().zip(&want) {
        let clipped: Vec<f64> = gradient.iter().map(|g| g * scale).collect();
        checker.close_slice("clipped", &clipped, want, TOLERANCE);
    }
    Ok(())
}

/// The numbers of a nested array, row by row.
fn flattened(nested: &Value) -> Result<Vec<f64>, String> {
    match nested {
        Value::Array(items) => {
            let parts: Vec<Vec<f64>> = items.iter().map(flattened).collect::<Result<_, _>>()?;
            Ok(parts.concat())
        }
        number => Ok(vec![number.as_f64().ok_or_else(|| format!("{number} is not a number"))?]),
    }
}
