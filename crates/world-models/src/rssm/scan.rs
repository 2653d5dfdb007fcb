//! The recurrence of the state-space model as one graph node: GRU, prior, posterior and sample for all steps.
//!
//! Only what feeds back is computed step by step; the weight gradients of all steps are one product each, after
//! the backward sweep through time. Rows are time-major: row t·B + b.

use candle_core::{CpuStorage, CustomOp2, DType, Layout as TensorLayout, Shape, Tensor};
use rl_core::nn::gradients::hand_over;
use rl_core::nn::gru::{gates_backward, gates_forward};
use rl_core::nn::kernel::{Mat, Real, add_column_sums, fill_rows, matmul, slice, with_slice};
use rl_core::nn::params::{Layout, Params};
use rl_core::nn::{Init, params};
use rl_core::{Result, StreamRng, vectorised};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Widths of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Deterministic state h.
    pub deter: usize,
    /// Stochastic state s.
    pub stoch: usize,
    /// Encoded action a.
    pub action: usize,
}

impl Sizes {
    /// Input of the GRU: `[s, a]`.
    pub fn input(&self) -> usize {
        self.stoch + self.action
    }

    /// A row of imagination: `[a, s, 1, h]`.
    pub fn cell(&self) -> usize {
        self.action + self.feature() + 1
    }

    /// What every head reads: `[s, h]`.
    pub fn feature(&self) -> usize {
        self.stoch + self.deter
    }

    /// One output row: features, posterior and prior statistics (mean and raw std each).
    pub fn output(&self) -> usize {
        self.feature() + 4 * self.stoch
    }

    /// Columns of the posterior statistics in an output row.
    pub fn posterior(&self) -> Range<usize> {
        self.feature()..self.feature() + 2 * self.stoch
    }

    /// Columns of the prior statistics in an output row.
    pub fn prior(&self) -> Range<usize> {
        self.feature() + 2 * self.stoch..self.output()
    }
}

/// Where the recurrent parameters lie in their flat vector.
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    /// GRU, from `[s, a]`: weight `[S + A, 3H]` and bias.
    pub input: (usize, usize),
    /// GRU, from h: weight `[H, 3H]` and bias.
    pub hidden: (usize, usize),
    /// Prior statistics from h: weight `[H, 2S]` and bias.
    pub prior: (usize, usize),
    /// The part of the posterior statistics that comes from h: weight `[H, 2S]`.
    pub posterior: usize,
}

/// Draws the recurrent parameters.
///
/// # Errors
/// If the device cannot hold them.
pub fn parameters(
    sizes: Sizes,
    embedding: usize,
    device: &candle_core::Device,
    rng: &mut StreamRng,
) -> Result<(Params, Offsets)> {
    let Sizes { deter, stoch, .. } = sizes;
    let mut layout = Layout::default();
    let input = layout.add_linear("gru/input", sizes.input(), 3 * deter, Init::FanInUniform, rng);
    let hidden = layout.add_linear("gru/hidden", deter, 3 * deter, Init::FanInUniform, rng);
    let prior = layout.add_linear("prior", deter, 2 * stoch, Init::FanInUniform, rng);
    // The posterior is one layer of [h, embedding]; its embedding half is applied to all steps at once, elsewhere.
    let fan_in = deter + embedding;
    let posterior = Init::FanInUniform.draw(fan_in, 2 * stoch, rng)[..deter * 2 * stoch].to_vec();
    let posterior = layout.add("posterior/from_deter", &[deter, 2 * stoch], posterior);
    Ok((layout.build(DType::F32, device)?, Offsets { input, hidden, prior, posterior }))
}

/// What the recurrence reads besides tensors that carry gradients.
#[derive(Clone, Debug)]
pub struct Inputs<R> {
    /// Steps.
    pub steps: usize,
    /// Sequences.
    pub batch: usize,
    /// The action that led to each observation, `[T·B, A]`.
    pub actions: Vec<R>,
    /// Standard normal noise of the samples, `[T·B, S]`.
    pub noise: Vec<R>,
    /// 1 where an episode begins: state and action are zeroed, `[T·B]`.
    pub first: Vec<R>,
    /// 1 where the observation is used; 0 where it is treated as missing and the prior is sampled, `[T·B]`.
    pub observed: Vec<R>,
    /// State before the first step, `[B, H]` and `[B, S]`.
    pub start: (Vec<R>, Vec<R>),
}

/// std = floor + ln(1 + e^raw) and its derivative σ(raw).
#[inline(always)]
pub fn std_of<R: Real>(raw: R, floor: R) -> R {
    floor + raw.softplus()
}

/// The node: `(embedding half of the posterior [T·B, 2S], parameters [n]) -> [T·B, output]`.
pub struct Scan<R> {
    /// Widths.
    pub sizes: Sizes,
    /// Parameter positions.
    pub offsets: Offsets,
    /// Lower bound of every standard deviation.
    pub std_floor: f64,
    /// Constants of this call.
    pub inputs: Arc<Inputs<R>>,
    cache: Mutex<Option<Cache<R>>>,
}

/// What the backward sweep needs: everything that entered the GRU, and its projections.
struct Cache<R> {
    x: Vec<R>,
    before: Vec<R>,
    from_input: Vec<R>,
    from_hidden: Vec<R>,
    output: Vec<R>,
}

impl<R: Real> Scan<R> {
    /// Prepares a call.
    pub fn new(sizes: Sizes, offsets: Offsets, std_floor: f64, inputs: Arc<Inputs<R>>) -> Self {
        Self { sizes, offsets, std_floor, inputs, cache: Mutex::new(None) }
    }

    fn rows(&self, t: usize, width: usize) -> Range<usize> {
        t * self.inputs.batch * width..(t + 1) * self.inputs.batch * width
    }

    fn forward(&self, embedded: &[R], params: &[R]) -> Cache<R> {
        let zero = R::real(0.0);
        let Inputs { steps, batch, .. } = *self.inputs;
        let Sizes { deter, stoch, .. } = self.sizes;
        let (input, output) = (self.sizes.input(), self.sizes.output());
        let buffer = |width: usize| vec![zero; steps * batch * width];
        let mut c = Cache {
            x: buffer(input),
            before: buffer(deter),
            from_input: buffer(3 * deter),
            from_hidden: buffer(3 * deter),
            output: buffer(output),
        };
        let mut next = vec![zero; batch * deter];
        let mut statistics = vec![zero; batch * 4 * stoch];
        for t in 0..steps {
            self.enter(t, &mut c);
            let (x, before) = (self.rows(t, input), self.rows(t, deter));
            let wide = self.rows(t, 3 * deter);
            let linear = Linear { params, rows: batch };
            linear.forward(self.offsets.input, &c.x[x], input, 3 * deter, &mut c.from_input[wide.clone()]);
            let h = &c.before[before.clone()];
            linear.forward(self.offsets.hidden, h, deter, 3 * deter, &mut c.from_hidden[wide.clone()]);
            next.copy_from_slice(h);
            gates_forward(&c.from_input[wide.clone()], &c.from_hidden[wide], &mut next, deter, deter);
            let (posterior, prior) = statistics.split_at_mut(batch * 2 * stoch);
            posterior.copy_from_slice(&embedded[self.rows(t, 2 * stoch)]);
            linear.add(self.offsets.posterior, &next, deter, 2 * stoch, posterior);
            linear.forward(self.offsets.prior, &next, deter, 2 * stoch, prior);
            self.leave(t, &next, posterior, prior, &mut c.output);
        }
        c
    }

    /// `x_t = [s_{t−1}, a_t]` and `h_{t−1}`, zeroed where an episode begins.
    fn enter(&self, t: usize, c: &mut Cache<R>) {
        let Inputs { batch, actions, first, start, .. } = &*self.inputs;
        let Sizes { deter, stoch, action } = self.sizes;
        let (input, output) = (self.sizes.input(), self.sizes.output());
        for b in 0..*batch {
            let row = t * batch + b;
            if first[row] > R::real(0.5) {
                continue; // the buffers start as zeros
            }
            let (s, h) = if t == 0 {
                (&start.1[b * stoch..][..stoch], &start.0[b * deter..][..deter])
            } else {
                let last = &c.output[(row - batch) * output..][..output];
                (&last[..stoch], &last[stoch..][..deter])
            };
            c.x[row * input..][..stoch].copy_from_slice(s);
            c.before[row * deter..][..deter].copy_from_slice(h);
            c.x[row * input + stoch..][..action].copy_from_slice(&actions[row * action..][..action]);
        }
    }

    /// Samples s_t and writes the output rows of step t.
    fn leave(&self, t: usize, next: &[R], posterior: &[R], prior: &[R], output: &mut [R]) {
        let Inputs { batch, noise, observed, .. } = &*self.inputs;
        let Sizes { deter, stoch, .. } = self.sizes;
        let (width, floor) = (self.sizes.output(), R::real(self.std_floor));
        for b in 0..*batch {
            let row = t * batch + b;
            let out = &mut output[row * width..][..width];
            let (q, p) = (&posterior[b * 2 * stoch..][..2 * stoch], &prior[b * 2 * stoch..][..2 * stoch]);
            let used = if observed[row] > R::real(0.5) { q } else { p };
            let z = &noise[row * stoch..][..stoch];
            draw(used, z, floor, &mut out[..stoch]);
            out[stoch..][..deter].copy_from_slice(&next[b * deter..][..deter]);
            out[self.sizes.posterior()].copy_from_slice(q);
            out[self.sizes.prior()].copy_from_slice(p);
        }
    }

    /// Gradients of the embedding half and of the parameters, from the gradient of the output rows.
    fn backward(&self, params: &[R], c: &Cache<R>, doutput: &[R]) -> (Vec<R>, Vec<R>) {
        let zero = R::real(0.0);
        let Inputs { steps, batch, first, .. } = &*self.inputs;
        let (steps, batch) = (*steps, *batch);
        let Sizes { deter, stoch, .. } = self.sizes;
        let (input, output) = (self.sizes.input(), self.sizes.output());
        let buffer = |width: usize| vec![zero; steps * batch * width];
        let (mut dposterior, mut dprior) = (buffer(2 * stoch), buffer(2 * stoch));
        let (mut dinput, mut dhidden) = (buffer(3 * deter), buffer(3 * deter));
        let mut h_rows = buffer(deter);
        let (mut dh, mut dh_next) = (vec![zero; batch * deter], vec![zero; batch * deter]);
        let mut ds_next = vec![zero; batch * stoch];
        let back = |weight, n, k| Transposed::new(params, weight, (batch, k, n));
        let from_posterior = back(self.offsets.posterior, 2 * stoch, deter);
        let from_prior = back(self.offsets.prior.0, 2 * stoch, deter);
        let from_hidden = back(self.offsets.hidden.0, 3 * deter, deter);
        let from_input = back(self.offsets.input.0, 3 * deter, stoch);
        for t in (0..steps).rev() {
            let narrow = self.rows(t, 2 * stoch);
            for b in 0..batch {
                let row = t * batch + b;
                let d = &doutput[row * output..][..output];
                let out = &c.output[row * output..][..output];
                let h = row * deter..(row + 1) * deter;
                h_rows[h].copy_from_slice(&out[stoch..][..deter]);
                // ds: from the heads, and from the next step's input.
                let ds = &mut ds_next[b * stoch..][..stoch];
                ds.iter_mut().zip(d).for_each(|(s, &d)| *s += d);
                dh[b * deter..][..deter].copy_from_slice(&d[stoch..][..deter]);
                let range = row * 2 * stoch..(row + 1) * 2 * stoch;
                let (dq, dp) = (&mut dposterior[range.clone()], &mut dprior[range]);
                dq.copy_from_slice(&d[self.sizes.posterior()]);
                dp.copy_from_slice(&d[self.sizes.prior()]);
                self.sample_backward(row, out, ds, dq, dp);
            }
            dh.iter_mut().zip(&dh_next).for_each(|(d, &n)| *d += n);
            from_posterior.apply(&dposterior[narrow.clone()], &mut dh, true);
            from_prior.apply(&dprior[narrow], &mut dh, true);
            let wide = self.rows(t, 3 * deter);
            let before = &c.before[self.rows(t, deter)];
            let entered = (&c.from_input[wide.clone()], &c.from_hidden[wide.clone()], before);
            let gradients = (&mut dinput[wide.clone()], &mut dhidden[wide.clone()], &mut dh_next[..]);
            gates_backward(entered, &dh, gradients, deter);
            from_hidden.apply(&dhidden[wide.clone()], &mut dh_next, true);
            from_input.apply(&dinput[wide], &mut ds_next, false);
            for b in 0..batch {
                if first[t * batch + b] > R::real(0.5) {
                    dh_next[b * deter..][..deter].fill(zero);
                    ds_next[b * stoch..][..stoch].fill(zero);
                }
            }
        }
        let mut dparams = vec![zero; params.len()];
        let rows = steps * batch;
        let mut weight = |(weight, bias): (usize, Option<usize>), x: &[R], k: usize, d: &[R], n: usize| {
            let shape = (k, n, rows);
            matmul(&mut dparams[weight..][..k * n], n, false, Mat::rows(x, k).t(), Mat::rows(d, n), shape);
            if let Some(bias) = bias {
                add_column_sums(&mut dparams[bias..][..n], d);
            }
        };
        let with_bias = |(weight, bias)| (weight, Some(bias));
        weight(with_bias(self.offsets.input), &c.x, input, &dinput, 3 * deter);
        weight(with_bias(self.offsets.hidden), &c.before, deter, &dhidden, 3 * deter);
        weight(with_bias(self.offsets.prior), &h_rows, deter, &dprior, 2 * stoch);
        weight((self.offsets.posterior, None), &h_rows, deter, &dposterior, 2 * stoch);
        (dposterior, dparams)
    }

    /// s = mean + std(raw) z, whichever distribution was sampled.
    fn sample_backward(&self, row: usize, out: &[R], ds: &[R], dposterior: &mut [R], dprior: &mut [R]) {
        let stoch = self.sizes.stoch;
        let z = &self.inputs.noise[row * stoch..][..stoch];
        let (raw, d) = if self.inputs.observed[row] > R::real(0.5) {
            (&out[self.sizes.posterior()][stoch..], dposterior)
        } else {
            (&out[self.sizes.prior()][stoch..], dprior)
        };
        draw_backward(ds, z, raw, d);
    }
}

vectorised! {
    /// s = mean + std(raw) z, from one row of statistics.
    fn draw<R: Real>(statistics: &[R], z: &[R], floor: R, s: &mut [R]) {
        let (mean, raw) = statistics.split_at(s.len());
        for (((s, &mean), &raw), &z) in s.iter_mut().zip(mean).zip(raw).zip(z) {
            *s = mean + std_of(raw, floor) * z;
        }
    }

    /// Adds the gradient of a sample to that of its row of statistics.
    fn draw_backward<R: Real>(ds: &[R], z: &[R], raw: &[R], dstatistics: &mut [R]) {
        let (dmean, draw) = dstatistics.split_at_mut(ds.len());
        for ((((dm, dr), &ds), &z), &raw) in dmean.iter_mut().zip(draw).zip(ds).zip(z).zip(raw) {
            *dm += ds;
            *dr += ds * z * raw.sigmoid();
        }
    }
}

/// Products with parts of a flat parameter vector.
struct Linear<'a, R> {
    params: &'a [R],
    rows: usize,
}

impl<R: Real> Linear<'_, R> {
    fn forward(&self, (weight, bias): (usize, usize), x: &[R], k: usize, n: usize, y: &mut [R]) {
        fill_rows(y, &self.params[bias..][..n]);
        self.add(weight, x, k, n, y);
    }

    fn add(&self, weight: usize, x: &[R], k: usize, n: usize, y: &mut [R]) {
        let w = Mat::rows(&self.params[weight..][..k * n], n);
        matmul(y, n, true, Mat::rows(x, k), w, (self.rows, n, k));
    }
}

/// The first `k` rows of a weight with `n` columns, transposed once for the products of all steps.
struct Transposed<'a, R> {
    weight: &'a [R],
    /// In rows; empty where the product does as well without.
    turned: Vec<R>,
    shape: (usize, usize, usize),
}

impl<'a, R: Real> Transposed<'a, R> {
    fn new(params: &'a [R], weight: usize, shape: (usize, usize, usize)) -> Self {
        let (_, k, n) = shape;
        let weight = &params[weight..][..k * n];
        Self { weight, turned: Mat::rows(weight, n).t().turned(shape), shape }
    }

    /// `dx (+)= dy Wᵀ`.
    fn apply(&self, dy: &[R], dx: &mut [R], add: bool) {
        let (_, k, n) = self.shape;
        let in_rows = Mat::rows(&self.turned, k);
        let weight = if self.turned.is_empty() { Mat::rows(self.weight, n).t() } else { in_rows };
        matmul(dx, k, add, Mat::rows(dy, n), weight, self.shape);
    }
}

impl<R: Real> CustomOp2 for Scan<R> {
    fn name(&self) -> &'static str {
        "rssm-scan"
    }

    fn cpu_fwd(
        &self,
        embedded: &CpuStorage,
        embedded_layout: &TensorLayout,
        params: &CpuStorage,
        params_layout: &TensorLayout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let cache = self.forward(slice::<R>(embedded, embedded_layout)?, slice::<R>(params, params_layout)?);
        let output = cache.output.clone();
        if let Ok(mut kept) = self.cache.lock() {
            *kept = Some(cache);
        }
        let shape = (self.inputs.steps * self.inputs.batch, self.sizes.output());
        Ok((R::to_cpu_storage_owned(output), shape.into()))
    }

    fn bwd(
        &self,
        embedded: &Tensor,
        params: &Tensor,
        _output: &Tensor,
        doutput: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.cache.lock().ok().and_then(|mut kept| kept.take());
        let (dembedded, dparams) = with_slice(params, |p| {
            with_slice(doutput, |d| {
                let cache = match kept {
                    Some(cache) => cache,
                    None => with_slice(embedded, |e| Ok(self.forward(e, p)))?,
                };
                Ok(self.backward(p, &cache, d))
            })
        })?;
        let device = params.device();
        let dembedded = Tensor::from_vec(dembedded, embedded.shape(), device)?;
        let dparams = Tensor::from_vec(dparams, params.shape(), device)?;
        Ok((Some(dembedded), hand_over(params, dparams)?))
    }
}

/// The same recurrence out of plain tensor operations: for devices without the fused node, and its slow twin.
///
/// # Errors
/// If the tensor library fails.
pub fn scan_composed<R: Real>(
    sizes: Sizes,
    std_floor: f64,
    inputs: &Inputs<R>,
    embedded: &Tensor,
    params: &params::Params,
) -> Result<Tensor> {
    let Inputs { steps, batch, .. } = *inputs;
    let Sizes { deter, stoch, action } = sizes;
    let device = embedded.device();
    let constant = |data: &[R], width: usize| -> Result<Tensor> {
        Ok(Tensor::from_slice(data, (data.len() / width, width), device)?)
    };
    let (actions, noise) = (constant(&inputs.actions, action)?, constant(&inputs.noise, stoch)?);
    let keep = (constant(&inputs.first, 1)?.neg()? + 1.0)?;
    let observed = constant(&inputs.observed, 1)?;
    let (mut h, mut s) = (constant(&inputs.start.0, deter)?, constant(&inputs.start.1, stoch)?);
    // Parts in the order of `parameters`.
    let part = |i: usize| params.part(i);
    let linear =
        |x: &Tensor, i: usize| -> Result<Tensor> { Ok(x.matmul(&part(i)?)?.broadcast_add(&part(i + 1)?)?) };
    let sigmoid = |x: Tensor| ((x.neg()?.exp()? + 1.0)?).recip();
    let softplus =
        |x: &Tensor| -> candle_core::Result<Tensor> { x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()? };
    let mut outputs = vec![];
    for t in 0..steps {
        let now = |x: &Tensor| x.narrow(0, t * batch, batch);
        let keep = now(&keep)?;
        let x = Tensor::cat(&[&s, &now(&actions)?], 1)?.broadcast_mul(&keep)?;
        let before = h.broadcast_mul(&keep)?;
        let gi = linear(&x, 0)?.chunk(3, 1)?;
        let gh = linear(&before, 2)?.chunk(3, 1)?;
        let r = sigmoid((&gi[0] + &gh[0])?)?;
        let z = sigmoid((&gi[1] + &gh[1])?)?;
        let n = (&gi[2] + r.mul(&gh[2])?)?.tanh()?;
        h = (&n + (z * (before - &n)?)?)?;
        let posterior = (now(embedded)? + h.matmul(&part(6)?)?)?;
        let prior = linear(&h, 4)?;
        let observed = now(&observed)?;
        let used = (posterior.broadcast_mul(&observed)? + prior.broadcast_mul(&(observed.neg()? + 1.0)?)?)?;
        let std = (softplus(&used.narrow(1, stoch, stoch)?)? + std_floor)?;
        s = (used.narrow(1, 0, stoch)? + (std * now(&noise)?)?)?;
        outputs.push(Tensor::cat(&[&s, &h, &posterior, &prior], 1)?);
    }
    Ok(Tensor::cat(&outputs, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use rl_core::SeedStream;

    #[test]
    fn the_fused_scan_equals_its_slow_twin_in_value_and_gradients() {
        let sizes = Sizes { deter: 6, stoch: 3, action: 2 };
        let (steps, batch, floor) = (5, 4, 0.1);
        let mut rng = SeedStream::new(5).stream("init", 0);
        let (params, offsets) = parameters(sizes, 4, &Device::Cpu, &mut rng).unwrap();
        let params = params.to_dtype(DType::F64).unwrap();
        let numbers = |n: usize, f: f64| (0..n).map(|i| (i as f64 * f).sin()).collect::<Vec<f64>>();
        let flags = |on: &[usize]| {
            (0..steps * batch).map(|i| f64::from(u8::from(on.contains(&i)))).collect::<Vec<_>>()
        };
        let mut observed = vec![1.0; steps * batch];
        for i in [9, 13, 14, 17] {
            observed[i] = 0.0;
        }
        let inputs = Arc::new(Inputs {
            steps,
            batch,
            actions: numbers(steps * batch * 2, 0.7),
            noise: numbers(steps * batch * 3, 1.9),
            first: flags(&[0, 2, 9, 15]),
            observed,
            start: (numbers(batch * 6, 0.4), numbers(batch * 3, 0.6)),
        });
        let embedded =
            Tensor::from_vec(numbers(steps * batch * 6, 1.1), (steps * batch, 6), &Device::Cpu).unwrap();
        let embedded = Var::from_tensor(&embedded).unwrap();
        let weights = numbers(steps * batch * sizes.output(), 0.37);
        let weights = Tensor::from_vec(weights, (steps * batch, sizes.output()), &Device::Cpu).unwrap();
        let gradients = |y: Tensor| (&y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let scan = Scan::new(sizes, offsets, floor, inputs.clone());
        let fast = embedded.apply_op2(params.tensor(), scan).unwrap();
        let slow = scan_composed(sizes, floor, &inputs, &embedded, &params).unwrap();
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let close = |a: &Tensor, b: &Tensor| {
            let worst = values(a).iter().zip(&values(b)).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-11, "{worst}");
        };
        close(&fast, &slow);
        let (fast, slow) = (gradients(fast), gradients(slow));
        close(fast.get(&embedded).unwrap(), slow.get(&embedded).unwrap());
        close(fast.get(params.var()).unwrap(), slow.get(params.var()).unwrap());
        let g = values(fast.get(params.var()).unwrap());
        for part in params.parts() {
            assert!(g[part.range()].iter().any(|v| *v != 0.0), "{} gets no gradient", part.name);
        }
    }
}
