//! The probabilistic ensemble of PETS (Chua et al. 2018, "Deep Reinforcement Learning in a Handful of Trials using
//! Probabilistic Dynamics Models"): E networks of one shape, each on its own bootstrap sample.
//!
//! A member reads (o, a) and returns mean and log-variance of the change of the observation and of the reward, in units
//! of the data, and the logit of a termination. All weights of a layer are one array `[E, inputs, outputs]`; loss and
//! gradient are one pass of matrix products on slices, checked against tensor operations and finite differences.

use crate::Result;
use crate::checks::{at_least_one, not_negative, positive_widths};
use candle_core::{DType, Device, Tensor};
use rl_core::nn::kernel::{Mat, Real, add_column_sums, fill_rows, matmul};
use rl_core::nn::params::Layout;
use rl_core::nn::{Init, Params, fused_loss};
use rl_core::{Error, StreamRng, vectorised};
use serde::{Deserialize, Serialize};

/// Size of the ensemble and weights of its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnsembleConfig {
    /// E (PETS: 5).
    pub members: usize,
    /// Members that plan: those with the smallest error on held-out transitions. Equal to `members`: all (PETS).
    pub elites: usize,
    /// Hidden layers with SiLU between them (PETS: 3 of 500 on images of larger tasks; 64 do on classic control).
    pub hidden: Vec<usize>,
    /// Weight decay λ of ½λ‖W‖², biases excepted (PETS: 2.5e-5 to 1e-4, layer by layer).
    pub weight_decay: f64,
    /// β, by which every term of the likelihood is weighted with sg(σ^2β) (Seitzer et al. 2022, "On the Pitfalls of
    /// Heteroscedastic Uncertainty Estimation", equation 6; they recommend ½). 0 is the likelihood of PETS, in which the
    /// mean stops learning where the deviation is large: a rare reward is explained as noise.
    pub beta: f64,
    /// Weight of the pull on the bounds of the log-variance (PETS: 0.01).
    pub bound_scale: f64,
    /// Weight of the termination's cross-entropy; 0 where no episode terminates: then imagined ones do not either.
    pub termination_scale: f64,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        Self {
            members: 5,
            elites: 5,
            hidden: vec![64, 64],
            weight_decay: 1e-5,
            beta: 0.5,
            bound_scale: 0.01,
            termination_scale: 1.0,
        }
    }
}

impl EnsembleConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("ensemble", [("members", self.members as u64)])?;
        if self.elites == 0 || self.elites > self.members {
            return Err(Error::config("ensemble", "elites", self.elites, "in 1..=members").into());
        }
        positive_widths("ensemble", "hidden", &self.hidden)?;
        let weights = [
            ("weight_decay", self.weight_decay),
            ("beta", self.beta),
            ("bound_scale", self.bound_scale),
            ("termination_scale", self.termination_scale),
        ];
        not_negative("ensemble", weights)
    }
}

/// One layer of all members: where `[E, inputs, outputs]` and `[E, outputs]` lie in the flat parameters.
#[derive(Clone, Copy, Debug)]
struct Layer {
    inputs: usize,
    outputs: usize,
    weight: usize,
    bias: usize,
}

impl Layer {
    fn weight<'a, R>(&self, theta: &'a [R], member: usize) -> &'a [R] {
        &theta[self.weight + member * self.inputs * self.outputs..][..self.inputs * self.outputs]
    }

    fn bias<'a, R>(&self, theta: &'a [R], member: usize) -> &'a [R] {
        &theta[self.bias + member * self.outputs..][..self.outputs]
    }
}

/// The shape of the ensemble: what to do with its parameters.
#[derive(Clone, Debug)]
pub struct Network {
    layers: Vec<Layer>,
    /// K: predicted numbers, the observation's change and the reward.
    predicted: usize,
    members: usize,
    min_log_var: usize,
    max_log_var: usize,
}

/// Minibatches of all members, in units of the data.
#[derive(Clone, Debug, Default)]
pub struct Minibatch<R> {
    /// B, per member.
    pub rows: usize,
    /// `[E, B, inputs]`
    pub inputs: Vec<R>,
    /// `[E, B, K]`: change of the observation, then the reward.
    pub targets: Vec<R>,
    /// `[E, B]`, 1 where the episode terminated.
    pub terminated: Vec<R>,
}

/// The ensemble with its parameters.
#[derive(Clone, Debug)]
pub struct Ensemble {
    config: EnsembleConfig,
    network: Network,
    params: Params,
}

impl Ensemble {
    /// Draws the weights: truncated normal with deviation 1/(2√inputs), as PETS does; the log-variances start within
    /// [−10, ½].
    ///
    /// # Errors
    /// If the configuration is invalid or the device cannot hold the parameters.
    pub fn new(
        config: &EnsembleConfig,
        inputs: usize,
        predicted: usize,
        device: &Device,
        rng: &mut StreamRng,
    ) -> Result<Self> {
        config.validate()?;
        let widths: Vec<usize> =
            [inputs].into_iter().chain(config.hidden.iter().copied()).chain([2 * predicted + 1]).collect();
        let (members, mut layout) = (config.members, Layout::default());
        let mut layers = vec![];
        for (i, pair) in widths.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let draw = |_| Init::TruncatedNormal { gain: 0.5 }.draw(inputs, outputs, rng);
            let values: Vec<f64> = (0..members).flat_map(draw).collect();
            let weight = layout.add(format!("layer{i}/weight"), &[members, inputs, outputs], values);
            let zeros = vec![0.0; members * outputs];
            let bias = layout.add(format!("layer{i}/bias"), &[members, outputs], zeros);
            layers.push(Layer { inputs, outputs, weight, bias });
        }
        let min_log_var = layout.add("min_log_var", &[predicted], vec![-10.0; predicted]);
        let max_log_var = layout.add("max_log_var", &[predicted], vec![0.5; predicted]);
        let network = Network { layers, predicted, members, min_log_var, max_log_var };
        Ok(Self { config: config.clone(), network, params: layout.build(DType::F32, device)? })
    }

    /// The shape.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters: `layer*/weight [E, inputs, outputs]`, `layer*/bias [E, outputs]`, `min_log_var`, `max_log_var`.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The configuration.
    pub fn config(&self) -> &EnsembleConfig {
        &self.config
    }

    /// Σ over members of (1/BK) Σ sg(σ^2β) [(μ − y)² e^(−ln σ²) + ln σ²] + c_t BCE(termination), plus ½λ‖W‖² and
    /// c (Σ max − Σ min) of the bounds: one graph node whose gradient is already known.
    ///
    /// # Errors
    /// If the minibatch does not fit the network.
    pub fn loss(&self, batch: &Minibatch<f32>) -> Result<Tensor> {
        self.network.check(batch)?;
        Ok(fused_loss([self.params.tensor()], |[theta]: [&[f32]; 1], [dtheta]| {
            self.network.loss(theta, batch, &self.config, dtheta)
        })?)
    }
}

impl rl_core::experiment::Persist for Ensemble {
    fn save(&self, prefix: &str, state: &mut rl_core::experiment::TrainState) -> rl_core::Result<()> {
        self.params.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &rl_core::experiment::TrainState) -> rl_core::Result<()> {
        self.params.load(prefix, state)
    }
}

/// Buffers of a pass, reused between calls.
#[derive(Clone, Debug, Default)]
pub struct Buffers<R> {
    /// Per layer: what goes into its activation.
    before: Vec<Vec<R>>,
    /// Per layer: what comes out.
    after: Vec<Vec<R>>,
}

/// ln σ² within its soft bounds, and its derivatives by the raw value, the lower and the upper bound.
#[inline(always)]
fn bounded_log_var<R: Real>(raw: R, min: R, max: R) -> (R, [R; 3]) {
    let one = R::real(1.0);
    let (below, from_raw) = (max - (max - raw).softplus(), (max - raw).sigmoid());
    let through = (below - min).sigmoid();
    (min + (below - min).softplus(), [through * from_raw, one - through, through * (one - from_raw)])
}

impl Network {
    /// Numbers that a member reads.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// K: the change of the observation and the reward.
    pub fn predicted(&self) -> usize {
        self.predicted
    }

    /// Numbers that a member returns: K means, K raw log-variances, one logit.
    pub fn outputs(&self) -> usize {
        2 * self.predicted + 1
    }

    /// E.
    pub fn members(&self) -> usize {
        self.members
    }

    fn check(&self, batch: &Minibatch<f32>) -> Result<()> {
        let rows = self.members * batch.rows;
        let want = [rows * self.inputs(), rows * self.predicted, rows];
        let got = [batch.inputs.len(), batch.targets.len(), batch.terminated.len()];
        if want == got && batch.rows > 0 {
            return Ok(());
        }
        Err(Error::shape("Ensemble::loss", format!("{want:?} numbers, at least one row"), format!("{got:?}"))
            .into())
    }

    /// One member on rows of `x`, borrowed from the buffers: `[rows, 2K + 1]`.
    pub fn infer<'a, R: Real>(
        &self,
        theta: &[R],
        member: usize,
        rows: usize,
        x: &[R],
        buffers: &'a mut Buffers<R>,
    ) -> &'a [R] {
        self.forward(theta, member, rows, x, buffers);
        &buffers.after[self.layers.len() - 1][..rows * self.outputs()]
    }

    /// σ of every predicted number from its raw log-variance: `[K]`.
    pub fn deviations(&self, theta: &[f32], raw: &[f32], std: &mut [f32]) {
        let k = self.predicted;
        let (min, max) = (&theta[self.min_log_var..][..k], &theta[self.max_log_var..][..k]);
        for (((s, &raw), &min), &max) in std.iter_mut().zip(raw).zip(min).zip(max) {
            *s = (0.5 * bounded_log_var(raw, min, max).0).fast_exp();
        }
    }

    fn forward<R: Real>(&self, theta: &[R], member: usize, rows: usize, x: &[R], buffers: &mut Buffers<R>) {
        let last = self.layers.len() - 1;
        buffers.before.resize_with(last + 1, Vec::new);
        buffers.after.resize_with(last + 1, Vec::new);
        for (i, layer) in self.layers.iter().enumerate() {
            let n = rows * layer.outputs;
            let (done, rest) = buffers.after.split_at_mut(i);
            let (before, after) = (&mut buffers.before[i], &mut rest[0]);
            before.resize(n.max(before.len()), R::real(0.0));
            after.resize(n.max(after.len()), R::real(0.0));
            let z = if i == last { &mut after[..n] } else { &mut before[..n] };
            fill_rows(z, layer.bias(theta, member));
            let source = if i == 0 { x } else { &done[i - 1] };
            let weight = Mat::rows(layer.weight(theta, member), layer.outputs);
            let shape = (rows, layer.outputs, layer.inputs);
            matmul(z, layer.outputs, true, Mat::rows(source, layer.inputs), weight, shape);
            if i < last {
                let z = &before[..n];
                silu(z, &mut after[..n]);
            }
        }
    }

    /// Loss of all members, and its gradient.
    fn loss<R: Real>(
        &self,
        theta: &[R],
        batch: &Minibatch<R>,
        config: &EnsembleConfig,
        dtheta: &mut [R],
    ) -> f64 {
        let (rows, k, inputs) = (batch.rows, self.predicted, self.inputs());
        let (mut buffers, mut d, mut below) = (Buffers { before: vec![], after: vec![] }, vec![], vec![]);
        let mut loss = 0.0;
        for member in 0..self.members {
            let x = &batch.inputs[member * rows * inputs..][..rows * inputs];
            let targets = &batch.targets[member * rows * k..][..rows * k];
            let terminated = &batch.terminated[member * rows..][..rows];
            self.forward(theta, member, rows, x, &mut buffers);
            d.clear();
            d.resize(rows * self.outputs(), R::real(0.0));
            let output = &buffers.after[self.layers.len() - 1];
            loss += self.output_loss(theta, output, targets, terminated, config, &mut d, dtheta);
            self.backward(theta, member, rows, x, &buffers, &mut d, &mut below, dtheta);
        }
        loss + self.regularisation(theta, config, dtheta)
    }

    /// Likelihood and cross-entropy of one member; gradients of the output go to `d`, those of the bounds to `dtheta`.
    #[allow(clippy::too_many_arguments)]
    fn output_loss<R: Real>(
        &self,
        theta: &[R],
        output: &[R],
        targets: &[R],
        terminated: &[R],
        config: &EnsembleConfig,
        d: &mut [R],
        dtheta: &mut [R],
    ) -> f64 {
        let k = self.predicted;
        let rows = terminated.len();
        let (mean, end) = (R::real(1.0 / (rows * k) as f64), R::real(config.termination_scale / rows as f64));
        let beta = R::real(config.beta);
        let mut loss = R::real(0.0);
        let outputs = output.chunks_exact(2 * k + 1).zip(d.chunks_exact_mut(2 * k + 1));
        for ((y, d), (target, &over)) in outputs.zip(targets.chunks_exact(k).zip(terminated)) {
            for j in 0..k {
                let (min, max) = (theta[self.min_log_var + j], theta[self.max_log_var + j]);
                let (log_var, [by_raw, by_min, by_max]) = bounded_log_var(y[k + j], min, max);
                let (error, precision) = (y[j] - target[j], (-log_var).fast_exp());
                let share = mean * (beta * log_var).fast_exp();
                loss += share * (error * error * precision + log_var);
                d[j] = share * R::real(2.0) * error * precision;
                let slope = share * (R::real(1.0) - error * error * precision);
                d[k + j] = slope * by_raw;
                dtheta[self.min_log_var + j] += slope * by_min;
                dtheta[self.max_log_var + j] += slope * by_max;
            }
            let logit = y[2 * k];
            loss += end * (logit.softplus() - over * logit);
            d[2 * k] = end * (logit.sigmoid() - over);
        }
        loss.to_f64()
    }

    /// From the gradient of the output, in `d`, to those of one member's weights.
    #[allow(clippy::too_many_arguments)]
    fn backward<R: Real>(
        &self,
        theta: &[R],
        member: usize,
        rows: usize,
        x: &[R],
        buffers: &Buffers<R>,
        d: &mut Vec<R>,
        below: &mut Vec<R>,
        dtheta: &mut [R],
    ) {
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (k, n) = (layer.inputs, layer.outputs);
            let source = if i == 0 { x } else { &buffers.after[i - 1][..rows * k] };
            add_column_sums(&mut dtheta[layer.bias + member * n..][..n], &d[..rows * n]);
            let dw = &mut dtheta[layer.weight + member * k * n..][..k * n];
            matmul(dw, n, true, Mat::rows(source, k).t(), Mat::rows(&d[..], n), (k, n, rows));
            if i == 0 {
                break;
            }
            below.clear();
            below.resize(rows * k, R::real(0.0));
            let weight = Mat::rows(layer.weight(theta, member), n).t();
            matmul(below, k, false, Mat::rows(&d[..], n), weight, (rows, k, n));
            let z = &buffers.before[i - 1][..rows * k];
            silu_backward(z, below);
            std::mem::swap(d, below);
        }
    }

    /// Weight decay and the pull on the bounds.
    fn regularisation<R: Real>(&self, theta: &[R], config: &EnsembleConfig, dtheta: &mut [R]) -> f64 {
        let (decay, pull) = (R::real(config.weight_decay), R::real(config.bound_scale));
        let mut loss = R::real(0.0);
        for layer in &self.layers {
            let range = layer.weight..layer.weight + self.members * layer.inputs * layer.outputs;
            let (w, dw) = (&theta[range.clone()], &mut dtheta[range]);
            add_scaled(dw, decay, w);
            loss += R::real(0.5) * decay * rl_core::nn::kernel::dot(w, w);
        }
        for j in 0..self.predicted {
            loss += pull * (theta[self.max_log_var + j] - theta[self.min_log_var + j]);
            dtheta[self.max_log_var + j] += pull;
            dtheta[self.min_log_var + j] -= pull;
        }
        loss.to_f64()
    }
}

vectorised! {
    fn silu<R: Real>(z: &[R], y: &mut [R]) {
        y.iter_mut().zip(z).for_each(|(y, &z)| *y = z * z.sigmoid());
    }

    fn silu_backward<R: Real>(z: &[R], d: &mut [R]) {
        d.iter_mut().zip(z).for_each(|(d, &z)| {
            let s = z.sigmoid();
            *d *= s + z * s * (R::real(1.0) - s);
        });
    }

    /// y += scale · x.
    fn add_scaled<R: Real>(y: &mut [R], scale: R, x: &[R]) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += scale * x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;
    use rl_core::dist::{bounded_log_var as composed_log_var, gaussian_nll};
    use rl_core::nn::ops::bce_with_logits;

    const SIZES: (usize, usize, usize, usize) = (3, 4, 2, 5); // members, inputs, predicted, rows

    fn ensemble() -> Ensemble {
        let (members, inputs, predicted, _) = SIZES;
        let config = EnsembleConfig {
            members,
            elites: members,
            hidden: vec![6, 7],
            weight_decay: 0.03,
            beta: 0.4,
            bound_scale: 0.2,
            termination_scale: 0.7,
        };
        let mut rng = SeedStream::new(3).stream("init", 0);
        Ensemble::new(&config, inputs, predicted, &Device::Cpu, &mut rng).unwrap()
    }

    fn numbers(n: usize, f: f64) -> Vec<f64> {
        (0..n).map(|i| 1.5 * (i as f64 * f).sin()).collect()
    }

    fn batch() -> Minibatch<f64> {
        let (members, inputs, predicted, rows) = SIZES;
        Minibatch {
            rows,
            inputs: numbers(members * rows * inputs, 0.7),
            targets: numbers(members * rows * predicted, 1.1),
            terminated: (0..members * rows).map(|i| f64::from(u8::from(i % 3 == 0))).collect(),
        }
    }

    /// The loss out of tensor operations.
    fn composed(e: &Ensemble, params: &Params, batch: &Minibatch<f64>) -> Tensor {
        let (members, inputs, k, rows) = SIZES;
        let parts = params.parts().len();
        let (min, max) = (params.part(parts - 2).unwrap(), params.part(parts - 1).unwrap());
        let cut = |values: &[f64], member: usize, width: usize| {
            let part = values[member * rows * width..][..rows * width].to_vec();
            Tensor::from_vec(part, (rows, width), &Device::Cpu).unwrap()
        };
        let mut loss =
            ((max.sum_all().unwrap() - min.sum_all().unwrap()).unwrap() * e.config.bound_scale).unwrap();
        for member in 0..members {
            let mut x = cut(&batch.inputs, member, inputs);
            for layer in 0..3 {
                let w = params.part(2 * layer).unwrap().get(member).unwrap();
                let b = params.part(2 * layer + 1).unwrap().get(member).unwrap();
                loss = (loss
                    + (w.sqr().unwrap().sum_all().unwrap() * (0.5 * e.config.weight_decay)).unwrap())
                .unwrap();
                x = x.matmul(&w).unwrap().broadcast_add(&b).unwrap();
                if layer < 2 {
                    x = x.silu().unwrap();
                }
            }
            let (mean, raw) = (x.narrow(1, 0, k).unwrap(), x.narrow(1, k, k).unwrap());
            let log_var = composed_log_var(&raw, &min, &max).unwrap();
            let nll = gaussian_nll(&mean, &log_var, &cut(&batch.targets, member, k)).unwrap();
            let nll = (nll * (log_var.detach() * e.config.beta).unwrap().exp().unwrap()).unwrap();
            let bce =
                bce_with_logits(&x.narrow(1, 2 * k, 1).unwrap(), &cut(&batch.terminated, member, 1)).unwrap();
            let bce = (bce.mean_all().unwrap() * e.config.termination_scale).unwrap();
            loss = ((loss + nll.mean_all().unwrap()).unwrap() + bce).unwrap();
        }
        loss
    }

    #[test]
    fn loss_and_gradient_are_those_of_tensor_operations() {
        let (e, batch) = (ensemble(), batch());
        let params = e.params.to_dtype(DType::F64).unwrap();
        let theta = params.to_vec::<f64>().unwrap();
        let mut gradient = vec![0.0; theta.len()];
        let loss = e.network.loss(&theta, &batch, &e.config, &mut gradient);
        let slow = composed(&e, &params, &batch);
        assert!((loss - slow.to_scalar::<f64>().unwrap()).abs() < 1e-10);
        let grads = slow.backward().unwrap();
        let want = grads.get(params.tensor()).unwrap().to_vec1::<f64>().unwrap();
        for (i, (got, want)) in gradient.iter().zip(&want).enumerate() {
            assert!((got - want).abs() < 1e-10, "parameter {i}: got {got}, want {want}");
        }
        assert!(params.parts().iter().all(|part| gradient[part.range()].iter().any(|g| *g != 0.0)));
    }

    #[test]
    fn one_member_alone_is_the_member_in_the_batch() {
        let e = ensemble();
        let theta = e.params.to_vec::<f32>().unwrap();
        let x: Vec<f32> = numbers(8, 0.3).iter().map(|&x| x as f32).collect();
        let (mut a, mut b) = (Buffers::default(), Buffers::default());
        let both = e.network.infer(&theta, 1, 2, &x, &mut a).to_vec();
        let first = e.network.infer(&theta, 1, 1, &x[..4], &mut b);
        assert_eq!(&both[..e.network.outputs()], first);
        let mut std = [0.0; 2];
        e.network.deviations(&theta, &[1e3, -1e3], &mut std);
        assert!(std[0] < 1.4 && std[1] > 6e-3, "{std:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let e = ensemble();
        assert!(e.loss(&Minibatch::default()).is_err());
        let bad = EnsembleConfig { elites: 9, ..EnsembleConfig::default() };
        assert!(bad.validate().unwrap_err().to_string().contains("ensemble.elites = 9"));
    }
}
