//! Sections on recurrent cells and optimisers.

use super::functions::elements;
use super::{Checker, TOLERANCE, numbers, text};
use crate::SeedStream;
use crate::conformance::get;
use crate::nn::Gru;
use crate::nn::params::Part;
use crate::optim::{Method, clip_adaptive};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// The weights are PyTorch's `[3 hidden, inputs]`; the cell keeps them transposed.
pub(super) fn gru(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let (x, h) = (numbers(section, "x")?, numbers(section, "h")?);
    let mut values = Vec::new();
    for (weight, bias) in [("w_ih", "b_ih"), ("w_hh", "b_hh")] {
        let rows: Vec<Vec<f64>> = get(section, weight)?;
        let columns = rows.first().map_or(0, Vec::len);
        values.extend((0..columns).flat_map(|j| rows.iter().filter_map(move |row| row.get(j))));
        values.extend(numbers(section, bias)?);
    }
    let mut rng = SeedStream::new(0).stream("conformance", 0);
    let cell = Gru::new(x.len(), h.len(), &Device::Cpu, &mut rng).map_err(text)?;
    let cell = cell.to_dtype(DType::F64).map_err(text)?;
    cell.params().set(&values).map_err(text)?;
    let row = |v: &[f64]| Tensor::from_slice(v, (1, v.len()), &Device::Cpu).map_err(text);
    let (x, h) = (row(&x)?, row(&h)?);
    let want = numbers(section, "h_next")?;
    for (what, next) in [("fused", cell.step(&x, &h)), ("composed", cell.step_composed(&x, &h))] {
        checker.close_slice(&format!("h_next, {what}"), &elements(&next.map_err(text)?)?, &want, TOLERANCE);
    }
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
