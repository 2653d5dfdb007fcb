//! Optimisers over flat parameters: one fused pass per module, global-norm or adaptive clipping, serialisable state.
//!
//! Candle's own AdamW takes about fifteen temporaries per parameter, cannot clip and keeps its moments private, so a
//! run could not resume. Conventions are PyTorch's; LaProp is DreamerV3's. A gradient that is not finite is an error,
//! never a silent step.

use crate::experiment::{Persist, TrainState};
use crate::nn::gradients::collect;
use crate::nn::kernel::{Real, dot, slice, with_slice};
use crate::nn::params::{Params, Part};
use crate::{Error, Result, vectorised};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Tensor};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// The update rule. θ parameters, g gradient, t the number of steps from 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Kingma and Ba 2015; with `decoupled` weight decay AdamW (Loshchilov and Hutter 2019).
    Adam {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to √v̂.
        eps: f64,
        /// Coefficient of the decay.
        weight_decay: f64,
        /// θ ← θ(1 − lr·wd) before the step, instead of g ← g + wd·θ.
        decoupled: bool,
    },
    /// AMSGrad (Reddi et al. 2018): Adam whose second moment is the largest so far.
    AmsGrad {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to √v̂.
        eps: f64,
    },
    /// Ziyin et al. 2020 as in DreamerV3: normalise by the root mean square, then momentum, both bias-corrected.
    LaProp {
        /// Decay of the momentum.
        beta1: f64,
        /// Decay of the mean square.
        beta2: f64,
        /// Added to the root mean square.
        eps: f64,
    },
    /// Hinton's RMSprop: v ← α v + (1 − α) g².
    RmsProp {
        /// Decay α.
        alpha: f64,
        /// Added to √v.
        eps: f64,
        /// Momentum on the normalised gradient.
        momentum: f64,
        /// Subtract the squared running mean of g from v.
        centered: bool,
    },
    /// Gradient descent; the first momentum buffer is the first gradient.
    Sgd {
        /// Momentum.
        momentum: f64,
        /// Look ahead (Nesterov).
        nesterov: bool,
    },
}

impl Method {
    /// Adam with β = (0.9, 0.999) and no weight decay.
    pub fn adam(eps: f64) -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, eps, weight_decay: 0.0, decoupled: false }
    }

    /// AMSGrad with β = (0.9, 0.999).
    pub fn amsgrad(eps: f64) -> Self {
        Self::AmsGrad { beta1: 0.9, beta2: 0.999, eps }
    }

    /// Whether it keeps a third number per parameter.
    pub fn has_extra_slot(&self) -> bool {
        matches!(self, Self::RmsProp { .. } | Self::AmsGrad { .. })
    }

    /// DreamerV3's LaProp: β = (0.9, 0.999), ε = 1e-20.
    pub fn laprop() -> Self {
        Self::LaProp { beta1: 0.9, beta2: 0.999, eps: 1e-20 }
    }

    /// One step on slices. `scale` multiplies the gradient (clipping), `slots` are this module's moments.
    pub fn update<R: Real>(
        &self,
        t: u64,
        learning_rate: f64,
        scale: R,
        theta: &mut [R],
        gradient: &[R],
        slots: &mut [Vec<R>; 3],
    ) {
        update(*self, t, learning_rate, scale, theta, gradient, slots);
    }
}

vectorised! {
    fn update<R: Real>(
        method: Method,
        t: u64,
        learning_rate: f64,
        scale: R,
        theta: &mut [R],
        gradient: &[R],
        slots: &mut [Vec<R>; 3],
    ) {
        let real = R::real;
        let one = real(1.0);
        let correction = |beta: f64| 1.0 - beta.powi(t as i32);
        let lr = real(learning_rate);
        let [m, v, extra] = slots;
        let all = theta.iter_mut().zip(gradient).zip(m.iter_mut().zip(v.iter_mut()));
        match method {
            Method::Adam { beta1, beta2, eps, weight_decay, decoupled } => {
                let (b1, b2, eps) = (real(beta1), real(beta2), real(eps));
                let (c1, root_c2) = (real(1.0 / correction(beta1)), real(1.0 / correction(beta2).sqrt()));
                let shrink = real(if decoupled { 1.0 - learning_rate * weight_decay } else { 1.0 });
                let l2 = real(if decoupled { 0.0 } else { weight_decay });
                for ((p, &g), (m, v)) in all {
                    let g = g * scale + l2 * *p;
                    *m = b1 * *m + (one - b1) * g;
                    *v = b2 * *v + (one - b2) * g * g;
                    *p = *p * shrink - lr * (*m * c1) / (v.sqrt() * root_c2 + eps);
                }
            }
            Method::AmsGrad { beta1, beta2, eps } => {
                let (b1, b2, eps) = (real(beta1), real(beta2), real(eps));
                let (c1, root_c2) = (real(1.0 / correction(beta1)), real(1.0 / correction(beta2).sqrt()));
                for (((p, &g), (m, v)), largest) in all.zip(extra.iter_mut()) {
                    let g = g * scale;
                    *m = b1 * *m + (one - b1) * g;
                    *v = b2 * *v + (one - b2) * g * g;
                    *largest = num_traits::Float::max(*largest, *v);
                    *p -= lr * (*m * c1) / (largest.sqrt() * root_c2 + eps);
                }
            }
            Method::LaProp { beta1, beta2, eps } => {
                let (b1, b2, eps) = (real(beta1), real(beta2), real(eps));
                let (c1, c2) = (real(1.0 / correction(beta1)), real(1.0 / correction(beta2)));
                for ((p, &g), (m, v)) in all {
                    let g = g * scale;
                    *v = b2 * *v + (one - b2) * g * g;
                    // The second moment underflows where gradients vanish: 0 / (0 + ε) = 0 must stay 0.
                    let u = g / ((*v * c2).sqrt() + eps);
                    *m = b1 * *m + (one - b1) * u;
                    *p -= lr * *m * c1;
                }
            }
            Method::RmsProp { alpha, eps, momentum, centered } => {
                let (a, eps, mu) = (real(alpha), real(eps), real(momentum));
                for (((p, &g), (m, v)), mean) in all.zip(extra.iter_mut()) {
                    let g = g * scale;
                    *v = a * *v + (one - a) * g * g;
                    let mut variance = *v;
                    if centered {
                        *mean = a * *mean + (one - a) * g;
                        variance = *v - *mean * *mean;
                    }
                    *m = mu * *m + g / (variance.sqrt() + eps);
                    *p -= lr * *m;
                }
            }
            Method::Sgd { momentum, nesterov } => {
                let mu = real(momentum);
                for ((p, &g), (m, _)) in all {
                    let g = g * scale;
                    *m = if t == 1 { g } else { mu * *m + g };
                    *p -= lr * if nesterov { g + mu * *m } else { *m };
                }
            }
        }
    }

    /// θ̄ ← θ̄ + τ (θ − θ̄).
    fn mix(target: &mut [f32], source: &[f32], tau: f32) {
        target.iter_mut().zip(source).for_each(|(t, &s)| *t += tau * (s - *t));
    }
}

/// How gradients are limited before a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Clip {
    /// Not at all.
    None,
    /// All modules of the optimiser together: g · min(1, max / (‖g‖ + 1e-6)) (PyTorch's `clip_grad_norm_`).
    GlobalNorm(f64),
    /// Each named part by itself: g / max(1, ‖g‖ / (clip · max(floor, ‖θ‖))) (Brock et al. 2021, per tensor).
    Adaptive {
        /// Largest allowed ratio of the norms.
        clip: f64,
        /// Smallest norm of the parameters that counts.
        floor: f64,
    },
}

/// Rule, learning rate and clipping.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Update rule.
    pub method: Method,
    /// Step size.
    pub learning_rate: f64,
    /// Limit on the gradient.
    pub clip: Clip,
    /// Steps over which the learning rate rises linearly from 0; 0 for none.
    pub warm_up: u64,
}

impl OptimizerConfig {
    /// Adam without weight decay.
    pub fn adam(learning_rate: f64, eps: f64, clip: Clip) -> Self {
        Self { method: Method::adam(eps), learning_rate, clip, warm_up: 0 }
    }
}

/// Moments of one module.
type Slots = RefCell<[Vec<f32>; 3]>;

/// Steps the parameters of one or more modules.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    modules: Vec<(Params, Slots)>,
    t: u64,
}

impl Optimizer {
    /// An optimiser for these modules, in this order.
    ///
    /// # Errors
    /// If the learning rate is not a positive number.
    pub fn new(config: OptimizerConfig, modules: &[&Params]) -> Result<Self> {
        if !(config.learning_rate > 0.0 && config.learning_rate.is_finite()) {
            return Err(Error::config("optimizer", "learning_rate", config.learning_rate, "positive"));
        }
        keep_freed_memory();
        let extra = config.method.has_extra_slot();
        let zeros = |n: usize| vec![0f32; n];
        let modules = modules
            .iter()
            .map(|&p| {
                (
                    p.clone(),
                    RefCell::new([zeros(p.len()), zeros(p.len()), zeros(if extra { p.len() } else { 0 })]),
                )
            })
            .collect();
        Ok(Self { config, modules, t: 0 })
    }

    /// Sets the step size, for schedules.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.t
    }

    /// Clips, steps, and returns the norm of the gradient before clipping. A module without a gradient is left as it is.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the norm is not finite; nothing has changed then.
    pub fn step(&mut self, grads: &GradStore) -> Result<f64> {
        let mut found: Vec<(usize, Tensor)> = vec![];
        let mut squares = 0f64;
        for (i, (params, _)) in self.modules.iter().enumerate() {
            if let Some(gradient) = grads.get(params.tensor()) {
                let gradient = gradient.to_device(&candle_core::Device::Cpu)?.contiguous()?;
                squares += with_slice::<f32, _>(&gradient, |g| Ok(squared_norm(g)))?;
                found.push((i, gradient));
            }
        }
        let norm = finite_norm(squares)?;
        self.t += 1;
        for (i, gradient) in found {
            with_slice::<f32, _>(&gradient, |g| Ok(self.step_module(i, g, norm)))??;
        }
        Ok(norm)
    }

    /// [`step`](Self::step) with the gradients of all modules as slices, without a graph.
    ///
    /// # Errors
    /// [`Error::Shape`] if sizes differ, and [`Error::NotFinite`] if the norm is not finite; nothing has changed then.
    pub fn step_slices(&mut self, gradients: &[&[f32]]) -> Result<f64> {
        let fits = gradients.len() == self.modules.len()
            && self.modules.iter().zip(gradients).all(|((params, _), g)| params.len() == g.len());
        if !fits {
            let sizes = |all: &mut dyn Iterator<Item = usize>| format!("{:?}", all.collect::<Vec<_>>());
            let want = sizes(&mut self.modules.iter().map(|m| m.0.len()));
            return Err(Error::shape("optimizer step", want, sizes(&mut gradients.iter().map(|g| g.len()))));
        }
        let mut squares = 0f64;
        gradients.iter().for_each(|g| squares += squared_norm(g));
        let norm = finite_norm(squares)?;
        self.t += 1;
        gradients.iter().enumerate().try_for_each(|(i, g)| self.step_module(i, g, norm))?;
        Ok(norm)
    }

    fn step_module(&self, index: usize, gradient: &[f32], norm: f64) -> Result<()> {
        let (params, slots) = &self.modules[index];
        let (mut scale, mut clipped) = (1.0, vec![]);
        match self.config.clip {
            Clip::None => {}
            Clip::GlobalNorm(max) => scale = global_norm_scale(norm, max),
            Clip::Adaptive { clip, floor } => {
                clipped = gradient.to_vec();
                params.with::<f32, _>(|theta| {
                    clip_adaptive(params.parts(), theta, &mut clipped, clip, floor);
                    Ok(())
                })?;
            }
        }
        let gradient = if clipped.is_empty() { gradient } else { &clipped };
        let warm = if self.config.warm_up == 0 {
            1.0
        } else {
            (self.t as f64 / self.config.warm_up as f64).min(1.0)
        };
        let (method, t, learning_rate) = (self.config.method, self.t, self.config.learning_rate * warm);
        let step = Step { method, t, learning_rate, scale: scale as f32, slots, gradient };
        if params.var().device().is_cpu() {
            params.var().inplace_op1(&step)?;
            return Ok(());
        }
        // Other devices: the step runs on the host. Correct everywhere, not tuned.
        let mut theta = params.to_vec::<f32>()?;
        step.run(&mut theta);
        params.set(&theta)
    }
}

/// The root, if it is finite.
fn finite_norm(squares: f64) -> Result<f64> {
    let norm = squares.sqrt();
    match norm.is_finite() {
        true => Ok(norm),
        false => {
            let what = "gradient norm".into();
            Err(Error::NotFinite { operation: "optimizer step", what, value: norm })
        }
    }
}

/// Σ g² of one module's gradient. The global norm is the root of the sum over modules.
pub fn squared_norm<R: Real>(gradient: &[R]) -> f64 {
    dot(gradient, gradient).to_f64()
}

/// What clipping by the global norm multiplies every gradient with: min(1, max / (‖g‖ + 1e-6)), PyTorch's rule
/// (Pascanu et al. 2013 without the 1e-6).
pub fn global_norm_scale(norm: f64, max: f64) -> f64 {
    (max / (norm + 1e-6)).min(1.0)
}

/// Adaptive gradient clipping of every part of one module.
pub fn clip_adaptive<R: Real>(parts: &[Part], theta: &[R], gradient: &mut [R], clip: f64, floor: f64) {
    for part in parts {
        let (p, g) = (&theta[part.range()], &mut gradient[part.range()]);
        let upper = R::real(clip) * num_traits::Float::max(R::real(floor), dot(p, p).sqrt());
        let ratio = dot(g, g).sqrt() / upper;
        if ratio > R::real(1.0) {
            g.iter_mut().for_each(|v| *v /= ratio);
        }
    }
}

struct Step<'a> {
    method: Method,
    t: u64,
    learning_rate: f64,
    scale: f32,
    slots: &'a Slots,
    gradient: &'a [f32],
}

impl Step<'_> {
    fn run(&self, theta: &mut [f32]) {
        let slots = &mut *self.slots.borrow_mut();
        self.method.update(self.t, self.learning_rate, self.scale, theta, self.gradient, slots);
    }
}

impl InplaceOp1 for Step<'_> {
    fn name(&self) -> &'static str {
        "optimizer-step"
    }

    fn cpu_fwd(&self, theta: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        self.run(slice_mut(theta, layout)?);
        Ok(())
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("this operation needs a contiguous f32 tensor"),
    }
}

/// Polyak averaging of a target network: θ' ← θ' + τ (θ − θ'), in place.
///
/// # Errors
/// If the two modules differ in size.
pub fn polyak(target: &Params, source: &Params, tau: f64) -> Result<()> {
    if target.len() != source.len() {
        return Err(Error::shape("polyak", format!("{} parameters", target.len()), source.len()));
    }
    if target.var().device().is_cpu() {
        target.var().inplace_op2(source.tensor(), &Polyak(tau as f32))?;
        return Ok(());
    }
    let (t, s) = (target.tensor().detach(), source.tensor().detach());
    Ok(target.var().set(&(&t + ((s - &t)? * tau)?)?)?)
}

struct Polyak(f32);

impl InplaceOp2 for Polyak {
    fn name(&self) -> &'static str {
        "polyak"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (target, source) = (slice_mut(target, target_layout)?, slice::<f32>(source, source_layout)?);
        mix(target, source, self.0);
        Ok(())
    }
}

/// Makes the allocator keep what an update frees for the next one.
///
/// A graph is built and dropped at every update: megabytes that glibc gives back to the kernel, to be faulted in and
/// cleared again each time. It learns from the largest block that was ever freed, up to 32 MiB, what is worth
/// keeping; a block that is never touched teaches it at no cost. Elsewhere this does nothing.
fn keep_freed_memory() {
    drop(std::hint::black_box(vec![0u8; 31 << 20]));
}

/// Gradients of a scalar loss, and its value.
///
/// # Errors
/// If the loss is not a scalar or not finite: candle would sum a vector silently and train on NaN.
pub fn backward(loss: &Tensor) -> Result<(f64, GradStore)> {
    if loss.rank() != 0 {
        return Err(Error::shape("backward", "a scalar loss", format!("{:?}", loss.dims())));
    }
    let value = loss.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
    if !value.is_finite() {
        return Err(Error::NotFinite { operation: "backward", what: "loss".into(), value });
    }
    Ok((value, collect(|| loss.backward())?))
}

impl Persist for Optimizer {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        state.put(format!("{prefix}/t"), &self.t)?;
        state.put(format!("{prefix}/learning_rate"), &self.config.learning_rate)?;
        for (i, (_, slots)) in self.modules.iter().enumerate() {
            for (j, slot) in slots.borrow().iter().enumerate() {
                state.put_array(format!("{prefix}/module{i}/slot{j}"), &[slot.len()], slot);
            }
        }
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        self.t = state.get(&format!("{prefix}/t"))?;
        self.config.learning_rate = state.get(&format!("{prefix}/learning_rate"))?;
        for (i, (_, slots)) in self.modules.iter().enumerate() {
            for (j, slot) in slots.borrow_mut().iter_mut().enumerate() {
                let saved = state.array::<f32>(&format!("{prefix}/module{i}/slot{j}"), &[slot.len()])?;
                slot.copy_from_slice(saved);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::params::Layout as ParamsLayout;
    use candle_core::{DType, Device};

    fn module(values: &[f64]) -> Params {
        let mut layout = ParamsLayout::default();
        layout.add("theta", &[values.len()], values.to_vec());
        layout.build(DType::F32, &Device::Cpu).unwrap()
    }

    /// loss = Σ (θ − target)²
    fn loss(params: &Params, target: f64) -> Tensor {
        (params.tensor() - target).unwrap().sqr().unwrap().sum_all().unwrap()
    }

    #[test]
    fn every_method_finds_the_minimum_of_a_quadratic() {
        let sgd = |nesterov| Method::Sgd { momentum: 0.5, nesterov };
        let rms = |centered| Method::RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered };
        for method in [Method::adam(1e-8), Method::laprop(), rms(false), rms(true), sgd(false), sgd(true)] {
            let params = module(&[1.0, -2.0, 0.5]);
            let config = OptimizerConfig { method, learning_rate: 0.02, clip: Clip::None, warm_up: 10 };
            let mut optimizer = Optimizer::new(config, &[&params]).unwrap();
            for _ in 0..600 {
                let (_, grads) = backward(&loss(&params, 0.3)).unwrap();
                optimizer.step(&grads).unwrap();
            }
            let worst = params.to_vec::<f32>().unwrap().iter().map(|p| (p - 0.3).abs()).fold(0.0, f32::max);
            assert!(worst < 0.03, "{method:?}: {worst}");
        }
    }

    #[test]
    fn amsgrad_takes_pytorchs_steps() {
        // torch.optim.Adam(lr=0.1, amsgrad=True), torch 2.15, in f64; plain Adam ends at 1.111238 in the first place,
        // where gradients shrink after the second step.
        let params = module(&[1.0, -2.0]);
        let config = OptimizerConfig {
            method: Method::amsgrad(1e-8),
            learning_rate: 0.1,
            clip: Clip::None,
            warm_up: 0,
        };
        let mut optimizer = Optimizer::new(config, &[&params]).unwrap();
        for target in [0.0, 8.0, 0.9, 0.9, 0.9, 0.9] {
            let (_, grads) = backward(&loss(&params, target)).unwrap();
            optimizer.step(&grads).unwrap();
        }
        for (got, torch) in params.to_vec::<f32>().unwrap().iter().zip([1.111_115_872, -1.500_948_218]) {
            // f32: 1 − β₂ alone is off by 1e-5 of itself.
            assert!((f64::from(*got) - torch).abs() < 1e-5, "{got} instead of {torch}");
        }
    }

    #[test]
    fn saving_in_the_middle_changes_nothing() {
        let config = OptimizerConfig::adam(0.05, 1e-8, Clip::GlobalNorm(1.0));
        let run = |break_at: Option<usize>| {
            let mut params = module(&[1.0, -2.0]);
            let mut optimizer = Optimizer::new(config, &[&params]).unwrap();
            for i in 0..10 {
                if break_at == Some(i) {
                    let mut state = TrainState::default();
                    params.save("p", &mut state).unwrap();
                    optimizer.save("o", &mut state).unwrap();
                    params = module(&[9.0, 9.0]);
                    params.load("p", &state).unwrap();
                    optimizer = Optimizer::new(config, &[&params]).unwrap();
                    optimizer.load("o", &state).unwrap();
                }
                let (_, grads) = backward(&loss(&params, 0.0)).unwrap();
                optimizer.step(&grads).unwrap();
            }
            params.to_vec::<f32>().unwrap()
        };
        assert_eq!(run(None), run(Some(5)));
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_an_error_and_changes_nothing() {
        let params = module(&[0.0, 1.0]);
        let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.1, 1e-8, Clip::None), &[&params]).unwrap();
        let root = params.tensor().sqrt().unwrap().sum_all().unwrap(); // derivative of √ at 0
        let grads = root.backward().unwrap();
        assert!(matches!(optimizer.step(&grads), Err(Error::NotFinite { .. })));
        assert_eq!(params.to_vec::<f32>().unwrap(), [0.0, 1.0]);
        let nan = (params.tensor() * f64::NAN).unwrap().sum_all().unwrap();
        assert!(matches!(backward(&nan), Err(Error::NotFinite { .. })));
        assert!(matches!(backward(params.tensor()), Err(Error::Shape { .. })));
    }

    #[test]
    fn slices_step_as_the_store_does() {
        for clip in [Clip::None, Clip::GlobalNorm(0.1), Clip::Adaptive { clip: 0.01, floor: 1e-3 }] {
            let config = OptimizerConfig::adam(0.05, 1e-8, clip);
            let run = |sliced: bool| {
                let (a, b) = (module(&[1.0, -2.0]), module(&[0.5]));
                let mut optimizer = Optimizer::new(config, &[&a, &b]).unwrap();
                for _ in 0..5 {
                    let (_, grads) = backward(&(loss(&a, 0.0) + loss(&b, 1.0)).unwrap()).unwrap();
                    if sliced {
                        let flat = [&a, &b].map(|p| grads.get(p.tensor()).unwrap().to_vec1::<f32>().unwrap());
                        optimizer.step_slices(&[&flat[0], &flat[1]]).unwrap();
                        assert!(optimizer.step_slices(&[&flat[0], &flat[0]]).is_err());
                    } else {
                        optimizer.step(&grads).unwrap();
                    }
                }
                [a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap()]
            };
            assert_eq!(run(true), run(false));
        }
    }

    #[test]
    fn polyak_moves_the_target_by_tau_and_shares_nothing() {
        let source = module(&[1.0, 2.0]);
        let target = source.duplicate().unwrap();
        source.set(&[3f32, 2.0]).unwrap();
        assert_eq!(target.to_vec::<f32>().unwrap(), [1.0, 2.0]);
        polyak(&target, &source, 0.5).unwrap();
        assert_eq!(target.to_vec::<f32>().unwrap(), [2.0, 2.0]);
    }
}
