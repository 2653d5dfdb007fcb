//! Sections on distributions and their losses.

use super::functions::{elements, vector};
use super::{Checker, TOLERANCE, keyed, numbers, text};
use crate::Result;
use crate::conformance::get;
use crate::dist::{self, Bernoulli, Categorical, Gaussian, TanhGaussian, TwoHot};
use candle_core::{Device, Tensor, Var};
use serde_json::Value;

type Outcome = std::result::Result<(), String>;

/// A [1, D] variable from a field.
fn variable(section: &Value, key: &str) -> std::result::Result<Var, String> {
    let x = numbers(section, key)?;
    Tensor::from_slice(&x, (1, x.len()), &Device::Cpu).and_then(|x| Var::from_tensor(&x)).map_err(text)
}

/// A [N, 1] column from a field: N independent one-dimensional distributions.
fn column(section: &Value, key: &str) -> std::result::Result<Tensor, String> {
    vector(&numbers(section, key)?)?.unsqueeze(1).map_err(text)
}

/// Compares ∂loss/∂var with a field; no gradient at all counts as zeros.
fn check_gradient(checker: &mut Checker, what: &str, loss: &Tensor, var: &Var, want: &[f64]) -> Outcome {
    let grads = loss.sum_all().and_then(|loss| loss.backward()).map_err(text)?;
    let got = match grads.get(var) {
        Some(gradient) => elements(gradient)?,
        None => vec![0.0; want.len()],
    };
    checker.close_slice(what, &got, want, TOLERANCE);
    Ok(())
}

fn check_tensor(checker: &mut Checker, what: &str, got: Result<Tensor>, want: &[f64]) -> Outcome {
    checker.close_slice(what, &elements(&got.map_err(text)?)?, want, TOLERANCE);
    Ok(())
}

/// Compares the encoding of every number in `targets` with its weights by bin.
fn check_targets(section: &Value, checker: &mut Checker, code: &TwoHot) -> Outcome {
    for (value, weights) in keyed::<Value>(section, "targets")? {
        check_weights(checker, code, value, &weights)?;
    }
    Ok(())
}

fn check_weights(checker: &mut Checker, code: &TwoHot, value: f64, weights: &Value) -> Outcome {
    let mut want = vec![0.0; code.bins().len()];
    for (bin, weight) in keyed::<f64>(&serde_json::json!({ "bins": weights }), "bins")? {
        *want.get_mut(bin as usize).ok_or_else(|| format!("bin {bin} of {value} does not exist"))? = weight;
    }
    let target = vector(&[value])?;
    check_tensor(checker, &format!("two-hot of {value}"), code.encode(&target), &want)
}

pub(super) fn two_hot_current(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let code = TwoHot::dreamer_v3(get(section, "n_bins")?).map_err(text)?;
    for (index, bin) in keyed::<f64>(section, "bins_sample")? {
        let got = code.bins().get(index as usize).copied().unwrap_or(f64::NAN);
        checker.close(&format!("bin {index}"), got, bin, TOLERANCE);
    }
    check_targets(section, checker, &code)
}

pub(super) fn two_hot_2023(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    check_targets(section, checker, &TwoHot::dreamer_v3_2023(255).map_err(text)?)
}

pub(super) fn two_hot_td_mpc2(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    check_targets(section, checker, &TwoHot::td_mpc2(-10.0, 10.0, 101).map_err(text)?)
}

pub(super) fn two_hot_small(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let code = TwoHot::new(numbers(section, "bins")?, false).map_err(text)?;
    for case in get::<Vec<Value>>(section, "cases")? {
        let weights = case.get("twohot").ok_or("field `twohot` is missing")?;
        check_weights(checker, &code, get(&case, "x")?, weights)?;
    }
    Ok(())
}

/// The bins of the prediction are −(K − 1)/2 … (K − 1)/2 in steps of one.
pub(super) fn two_hot_loss(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let logits = variable(section, "logits")?;
    let target = variable(section, "target")?;
    let loss = dist::cross_entropy(&logits, &target).map_err(text)?;
    checker.close("loss", elements(&loss)?[0], get(section, "loss")?, TOLERANCE);
    check_gradient(checker, "grad_logits", &loss, &logits, &numbers(section, "grad_logits")?)?;
    let k = numbers(section, "logits")?.len();
    let bins = (0..k).map(|i| i as f64 - (k as f64 - 1.0) / 2.0).collect();
    let code = TwoHot::new(bins, false).map_err(text)?;
    check_tensor(checker, "pred_with_bins", code.predict(&logits), &[get(section, "pred_with_bins")?])
}

/// Posterior and prior with their four variables: means and standard deviations.
struct Latents {
    vars: [Var; 4],
    posterior: Gaussian,
    prior: Gaussian,
}

impl Latents {
    fn read(section: &Value) -> std::result::Result<Self, String> {
        let keys = ["post_mean", "post_std", "prior_mean", "prior_std"];
        let [a, b, c, d] = keys.map(|key| variable(section, key));
        let vars = [a?, b?, c?, d?];
        let gaussian = |i: usize| Gaussian::new(vars[i].as_tensor().clone(), vars[i + 1].as_tensor().clone());
        let (posterior, prior) = (gaussian(0).map_err(text)?, gaussian(2).map_err(text)?);
        Ok(Self { vars, posterior, prior })
    }
}

pub(super) fn gaussian_kl(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let Latents { vars, posterior, prior } = Latents::read(section)?;
    check_tensor(checker, "kl_per_dim", posterior.kl_per_dim(&prior), &numbers(section, "kl_per_dim")?)?;
    check_tensor(checker, "kl_sum", posterior.kl(&prior), &[get(section, "kl_sum")?])?;
    check_tensor(checker, "reverse_kl_sum", prior.kl(&posterior), &[get(section, "reverse_kl_sum")?])?;
    let kl = posterior.kl(&prior).map_err(text)?;
    for (var, key) in
        vars.iter().zip(["grad_post_mean", "grad_post_std", "grad_prior_mean", "grad_prior_std"])
    {
        check_gradient(checker, key, &kl, var, &numbers(section, key)?)?;
    }
    Ok(())
}

/// Inputs are those of `gaussian_kl`; DreamerV3 weighs by 1 and 0.1 with one free nat, DreamerV2 by 0.8 and 0.2.
pub(super) fn kl_balancing(section: &Value, file: &Value, checker: &mut Checker) -> Outcome {
    let latents = file.get("gaussian_kl").ok_or("section `gaussian_kl` is missing")?;
    let Latents { vars: [post_mean, _, prior_mean, _], posterior, prior } = Latents::read(latents)?;
    let v3 = dist::kl_loss_v3(&posterior, &prior, [1.0, 0.1], 1.0).map_err(text)?.total;
    check_tensor(checker, "v3_loss_value", Ok(v3.clone()), &[get(section, "v3_loss_value")?])?;
    let v2 = dist::kl_loss_v2(&posterior, &prior, 0.8, 0.0).map_err(text)?.total;
    let gradients = [
        ("v3_grad_prior_mean", &v3, &prior_mean),
        ("v3_grad_post_mean", &v3, &post_mean),
        ("v2_grad_prior_mean", &v2, &prior_mean),
        ("v2_grad_post_mean", &v2, &post_mean),
    ];
    for (key, loss, var) in gradients {
        check_gradient(checker, key, loss, var, &numbers(section, key)?)?;
    }
    check_clamped(section.get("clamped_case").ok_or("field `clamped_case` is missing")?, checker)
}

/// Unit Gaussians whose means are √(2 KL) apart have the stated divergence.
fn check_clamped(case: &Value, checker: &mut Checker) -> Outcome {
    let kl: f64 = get(case, "kl_sum")?;
    let inputs = serde_json::json!({
        "post_mean": [(2.0 * kl).sqrt()], "post_std": [1.0], "prior_mean": [0.0], "prior_std": [1.0],
    });
    let Latents { vars, posterior, prior } = Latents::read(&inputs)?;
    check_tensor(checker, "clamped kl", posterior.kl(&prior), &[kl])?;
    let loss = dist::kl_loss_v3(&posterior, &prior, [1.0, 0.1], 1.0).map_err(text)?.total;
    check_tensor(checker, "clamped v3_loss", Ok(loss.clone()), &[get(case, "v3_loss")?])?;
    let gradient = get(case, "grads")?;
    vars.iter().try_for_each(|var| check_gradient(checker, "clamped grads", &loss, var, &[gradient]))
}

/// A [G, K] matrix from a field.
fn matrix(section: &Value, key: &str) -> std::result::Result<Tensor, String> {
    let rows: Vec<Vec<f64>> = get(section, key)?;
    let width = rows.first().map_or(0, Vec::len);
    Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu).map_err(text)
}

pub(super) fn categorical_kl(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let unimix = get(section, "unimix")?;
    let read = |key| Categorical::with_unimix(&matrix(section, key)?, unimix).map_err(text);
    let (posterior, prior) = (read("logits_post")?, read("logits_prior")?);
    for (key, latent) in [("probs_post", &posterior), ("probs_prior", &prior)] {
        checker.close_slice(key, &elements(latent.probs())?, &elements(&matrix(section, key)?)?, TOLERANCE);
    }
    check_tensor(checker, "kl_per_group", posterior.kl(&prior), &numbers(section, "kl_per_group")?)?;
    let sum = dist::KlDivergence::kl_of_latent(&posterior, &prior);
    check_tensor(checker, "kl_sum", sum, &[get(section, "kl_sum")?])?;
    check_tensor(checker, "entropy_post", posterior.entropy(), &numbers(section, "entropy_post")?)
}

/// The gradient through a sample is the same whichever class is drawn.
pub(super) fn straight_through(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let logits = variable(section, "logits")?;
    let upstream = variable(section, "dL_dz")?;
    for (unimix, key) in [(get(section, "unimix")?, "dL_dlogits"), (0.0, "dL_dlogits_no_unimix")] {
        let want = numbers(section, key)?;
        let latent = Categorical::with_unimix(&logits, unimix).map_err(text)?;
        for class in 0..want.len() as u32 {
            let drawn = Tensor::new(&[class], &Device::Cpu).map_err(text)?;
            let z = latent.straight_through(&drawn).map_err(text)?;
            let loss = (z * upstream.as_tensor()).map_err(text)?;
            check_gradient(checker, key, &loss, &logits, &want)?;
        }
    }
    Ok(())
}

pub(super) fn tanh_normal(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let base = Gaussian::new(column(section, "mu")?, column(section, "sd")?).map_err(text)?;
    let (action, log_prob) = TanhGaussian::new(base).sample_with(&column(section, "eps")?).map_err(text)?;
    checker.close_slice("action", &elements(&action)?, &numbers(section, "action")?, TOLERANCE);
    checker.close_slice("logp", &elements(&log_prob)?, &numbers(section, "logp")?, TOLERANCE);
    Ok(())
}

pub(super) fn normal(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let [mean, std, x] = ["mu", "sd", "x"].map(|key| vector(&[get(section, key)?]));
    let gaussian = Gaussian::new(mean?, std?).map_err(text)?;
    check_tensor(checker, "logpdf", gaussian.log_prob(&x?), &[get(section, "logpdf")?])?;
    check_tensor(checker, "entropy", gaussian.entropy(), &[get(section, "entropy")?])
}

pub(super) fn bounded_normal(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let (mean, std) = (column(section, "raw_mean")?, column(section, "raw_std")?);
    let gaussian = dist::bounded_normal(&mean, &std, 0.1, 1.0).map_err(text)?;
    checker.close_slice("mean", &elements(gaussian.mean())?, &numbers(section, "mean")?, TOLERANCE);
    checker.close_slice("std", &elements(gaussian.std())?, &numbers(section, "std")?, TOLERANCE);
    Ok(())
}

/// Both have a floor of 0.1.
pub(super) fn standard_deviations(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let raw = vector(&numbers(section, "raw")?)?;
    check_tensor(checker, "std", dist::softplus_std(&raw, 0.1), &numbers(section, "std")?)?;
    check_tensor(checker, "std_v2", dist::sigmoid2_std(&raw, 0.1), &numbers(section, "std_v2")?)
}

pub(super) fn bernoulli(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let coin = Bernoulli::new(vector(&numbers(section, "logit")?)?);
    let log_prob = coin.log_prob(&vector(&numbers(section, "target")?)?);
    let loss: Vec<f64> = elements(&log_prob.map_err(text)?)?.iter().map(|x| -x).collect();
    checker.close_slice("loss", &loss, &numbers(section, "loss")?, TOLERANCE);
    Ok(())
}

/// The bounds are numbers here; PETS learns one pair per dimension.
pub(super) fn gaussian_nll(section: &Value, _: &Value, checker: &mut Checker) -> Outcome {
    let bound = |key: &str| -> std::result::Result<Tensor, String> { vector(&[get(section, key)?]) };
    let raw = vector(&numbers(section, "raw_logvar")?)?;
    let log_var = dist::bounded_log_var(&raw, &bound("min_logvar")?, &bound("max_logvar")?).map_err(text)?;
    checker.close_slice("bounded", &elements(&log_var)?, &numbers(section, "bounded")?, TOLERANCE);
    let (mean, target) = (vector(&numbers(section, "mu")?)?, vector(&numbers(section, "target")?)?);
    let loss = elements(&dist::gaussian_nll(&mean, &log_var, &target).map_err(text)?)?;
    checker.close_slice("nll_per_dim", &loss, &numbers(section, "nll_per_dim")?, TOLERANCE);
    let mean = loss.iter().sum::<f64>() / loss.len() as f64;
    checker.close("nll_mean", mean, get(section, "nll_mean")?, TOLERANCE);
    Ok(())
}
