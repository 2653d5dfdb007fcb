//! The gated recurrent unit in PyTorch's convention (Cho et al. 2014): gates r, z, n and two biases.
//!
//! r = σ(Wr x + br + Ur h + cr), z = σ(Wz x + bz + Uz h + cz), n = tanh(Wn x + bn + r ∘ (Un h + cn)),
//! h' = (1 − z) ∘ n + z ∘ h. One graph node per step.

use super::gradients::hand_over;
use super::init::Init;
use super::kernel::{Mat, Real, add_column_sums, fill_rows, matmul, slice, with_slice};
use super::params::{Layout, Params};
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result, StreamRng, vectorised};
use candle_core::{CpuStorage, CustomOp3, DType, Device, Shape, Tensor};

/// A GRU cell with its parameters.
#[derive(Clone, Debug)]
pub struct Gru {
    inputs: usize,
    hidden: usize,
    params: Params,
}

/// The gates r, z and n of one unit, from its three entries of the input's and of the hidden state's projections.
#[inline(always)]
fn gates<R: Real>(from_input: [R; 3], from_hidden: [R; 3]) -> (R, R, R) {
    let r = (from_input[0] + from_hidden[0]).sigmoid();
    let z = (from_input[1] + from_hidden[1]).sigmoid();
    let n = (from_input[2] + r * from_hidden[2]).fast_tanh();
    (r, z, n)
}

/// h' of one unit from the inputs of its gates, n's apart by origin: `(e^{2n} − 1) e^{−z} + h (e^{2n} + 1)` over
/// `(e^{2n} + 1)(1 + e^{−z})`, two divisions instead of three. Beyond the limits tanh and σ are 1 and 0 in `f32`.
#[inline(always)]
fn next_hidden<R: Real>(r: R, z: R, n_input: R, n_hidden: R, h: R) -> R {
    let one = R::real(1.0);
    let at_most = |limit: f64, x: R| if R::real(limit) < x { R::real(limit) } else { x };
    let n = n_input + n_hidden / (one + (-r).fast_exp());
    let t = at_most(40.0, n + n).fast_exp();
    let e = at_most(40.0, -z).fast_exp();
    ((t - one) * e + h * (t + one)) / ((t + one) * (one + e))
}

/// The parts of one row that belong to r, z and n.
#[inline(always)]
fn thirds<R>(row: &[R], hidden: usize) -> [&[R]; 3] {
    [&row[..hidden], &row[hidden..][..hidden], &row[2 * hidden..][..hidden]]
}

#[inline(always)]
fn thirds_mut<R>(row: &mut [R], hidden: usize) -> [&mut [R]; 3] {
    let (r, rest) = row.split_at_mut(hidden);
    let (z, n) = rest.split_at_mut(hidden);
    [r, z, &mut n[..hidden]]
}

vectorised! {
    /// Advances h to h' in place, from the projections of the input and of h (each `[rows, 3 · hidden]`); rows of h
    /// start `stride` elements apart.
    pub fn gates_forward<R: Real>(
        from_input: &[R],
        from_hidden: &[R],
        h: &mut [R],
        stride: usize,
        hidden: usize,
    ) {
        let projections = from_input.chunks_exact(3 * hidden).zip(from_hidden.chunks_exact(3 * hidden));
        for ((gi, gh), h) in projections.zip(h.chunks_mut(stride)) {
            let (gi, gh, h) = (thirds(gi, hidden), thirds(gh, hidden), &mut h[..hidden]);
            for i in 0..hidden {
                h[i] = next_hidden(gi[0][i] + gh[0][i], gi[1][i] + gh[1][i], gi[2][i], gh[2][i], h[i]);
            }
        }
    }

    /// [`gates_forward`] from the summed projections for r and z, `[rows, 2 · hidden]`, and the two for n,
    /// `[rows, hidden]` each: what inference can have, which needs no gradient of either.
    pub fn gates_forward_summed<R: Real>(
        reset_update: &[R],
        n_input: &[R],
        n_hidden: &[R],
        h: &mut [R],
        stride: usize,
        hidden: usize,
    ) {
        let projections = reset_update
            .chunks_exact(2 * hidden)
            .zip(n_input.chunks_exact(hidden).zip(n_hidden.chunks_exact(hidden)));
        for ((rz, (n_input, n_hidden)), h) in projections.zip(h.chunks_mut(stride)) {
            let ((r, z), h) = (rz.split_at(hidden), &mut h[..hidden]);
            for i in 0..hidden {
                h[i] = next_hidden(r[i], z[i], n_input[i], n_hidden[i], h[i]);
            }
        }
    }

    /// Gradients of the projections and of `h` (direct path only) from the gradient of h'. `entered` is what
    /// [`gates_forward`] was given (with h before it); the gates are computed again: cheaper than storing them.
    pub fn gates_backward<R: Real>(
        entered: (&[R], &[R], &[R]),
        dnext: &[R],
        gradients: (&mut [R], &mut [R], &mut [R]),
        hidden: usize,
    ) {
        let one = R::real(1.0);
        let ((from_input, from_hidden, h), (dinput, dhidden, dh)) = (entered, gradients);
        for (row, h) in h.chunks_exact(hidden).enumerate() {
            let wide = row * 3 * hidden..(row + 1) * 3 * hidden;
            let gi = thirds(&from_input[wide.clone()], hidden);
            let gh = thirds(&from_hidden[wide.clone()], hidden);
            let [di_r, di_z, di_n] = thirds_mut(&mut dinput[wide.clone()], hidden);
            let [dg_r, dg_z, dg_n] = thirds_mut(&mut dhidden[wide], hidden);
            let (d, dh) = (&dnext[row * hidden..][..hidden], &mut dh[row * hidden..][..hidden]);
            for i in 0..hidden {
                let (r, z, n) = gates(gi.map(|g| g[i]), gh.map(|g| g[i]));
                let dn = d[i] * (one - z) * (one - n * n);
                let dz = d[i] * (h[i] - n) * z * (one - z);
                let dr = dn * gh[2][i] * r * (one - r);
                (di_r[i], di_z[i], di_n[i]) = (dr, dz, dn);
                (dg_r[i], dg_z[i], dg_n[i]) = (dr, dz, dn * r);
                dh[i] = d[i] * z;
            }
        }
    }
}

impl Gru {
    /// Draws all parameters from U(−1/√hidden, 1/√hidden), as PyTorch does.
    ///
    /// # Errors
    /// If a size is zero or the device cannot hold the parameters.
    pub fn new(inputs: usize, hidden: usize, device: &Device, rng: &mut StreamRng) -> Result<Self> {
        if inputs == 0 || hidden == 0 {
            return Err(Error::config("gru", "inputs, hidden", format!("{inputs}, {hidden}"), "positive"));
        }
        let mut layout = Layout::default();
        let bound = |n: usize, rng: &mut StreamRng| Init::FanInUniform.draw(hidden, n, rng);
        for (name, rows) in [("input", inputs), ("hidden", hidden)] {
            let weight = bound(3 * rows, rng);
            layout.add(format!("{name}/weight"), &[rows, 3 * hidden], weight);
            let bias = bound(3, rng);
            layout.add(format!("{name}/bias"), &[3 * hidden], bias);
        }
        Ok(Self { inputs, hidden, params: layout.build(DType::F32, device)? })
    }

    /// The parameters: `input/weight [inputs, 3 hidden]`, `input/bias`, `hidden/weight`, `hidden/bias`.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The same cell in another precision, for gradient checks.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self { params: self.params.to_dtype(dtype)?, ..self.clone() })
    }

    /// `(x [B, inputs], h [B, hidden]) -> h' [B, hidden]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn step(&self, x: &Tensor, h: &Tensor) -> Result<Tensor> {
        let (rows, inputs) = x.dims2()?;
        if inputs != self.inputs || h.dims2()? != (rows, self.hidden) {
            let expected = format!("x [B, {}] and h [B, {}]", self.inputs, self.hidden);
            return Err(Error::shape("Gru::step", expected, format!("{:?} and {:?}", x.dims(), h.dims())));
        }
        if !x.device().is_cpu() {
            return self.step_composed(x, h);
        }
        let (x, h) = (x.contiguous()?, h.contiguous()?);
        let input_gradient = x.track_op();
        let (inputs, hidden) = (self.inputs, self.hidden);
        let op = GruOp { inputs, hidden, input_gradient };
        Ok(x.apply_op3(&h, self.params.tensor(), op)?)
    }

    /// The same step out of plain tensor operations.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn step_composed(&self, x: &Tensor, h: &Tensor) -> Result<Tensor> {
        let sigmoid = |x: Tensor| ((x.neg()?.exp()? + 1.0)?).recip();
        let gi = x.matmul(&self.params.part(0)?)?.broadcast_add(&self.params.part(1)?)?;
        let gh = h.matmul(&self.params.part(2)?)?.broadcast_add(&self.params.part(3)?)?;
        let (gi, gh) = (gi.chunk(3, 1)?, gh.chunk(3, 1)?);
        let r = sigmoid((&gi[0] + &gh[0])?)?;
        let z = sigmoid((&gi[1] + &gh[1])?)?;
        let n = (&gi[2] + r.mul(&gh[2])?)?.tanh()?;
        Ok((&n + (z * (h - &n)?)?)?)
    }
}

impl Persist for Gru {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        self.params.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        self.params.load(prefix, state)
    }
}

/// The graph node: `(x, h, params) -> h'`.
struct GruOp {
    inputs: usize,
    hidden: usize,
    input_gradient: bool,
}

impl GruOp {
    /// Offsets of the hidden bias, hidden weight and input bias in the flat parameters.
    fn offsets(&self) -> (usize, usize, usize) {
        let wide = 3 * self.hidden;
        let input_bias = self.inputs * wide;
        let hidden_weight = input_bias + wide;
        (hidden_weight + self.hidden * wide, hidden_weight, input_bias)
    }

    fn projections<R: Real>(&self, x: &[R], h: &[R], params: &[R]) -> (Vec<R>, Vec<R>) {
        let (wide, rows) = (3 * self.hidden, h.len() / self.hidden);
        let (hidden_bias, hidden_weight, input_bias) = self.offsets();
        let project = |x: &[R], k: usize, weight: usize, bias: usize| {
            let mut y = vec![R::real(0.0); rows * wide];
            fill_rows(&mut y, &params[bias..][..wide]);
            matmul(&mut y, wide, true, Mat::rows(x, k), Mat::rows(&params[weight..], wide), (rows, wide, k));
            y
        };
        (project(x, self.inputs, 0, input_bias), project(h, self.hidden, hidden_weight, hidden_bias))
    }

    fn forward<R: Real>(&self, x: &[R], h: &[R], params: &[R]) -> Vec<R> {
        let (gi, gh) = self.projections(x, h, params);
        let mut next = h.to_vec();
        gates_forward(&gi, &gh, &mut next, self.hidden, self.hidden);
        next
    }

    fn backward<R: Real>(&self, x: &[R], h: &[R], params: &[R], dnext: &[R]) -> [Vec<R>; 3] {
        let zero = R::real(0.0);
        let (wide, rows) = (3 * self.hidden, h.len() / self.hidden);
        let (hidden_bias, hidden_weight, input_bias) = self.offsets();
        let (gi, gh) = self.projections(x, h, params);
        let (mut di, mut dg) = (vec![zero; rows * wide], vec![zero; rows * wide]);
        let (mut dh, mut dparams) = (vec![zero; h.len()], vec![zero; params.len()]);
        gates_backward((&gi, &gh, h), dnext, (&mut di, &mut dg, &mut dh), self.hidden);
        let mut weight_gradient = |x: &[R], k: usize, d: &[R], weight: usize, bias: usize| {
            let shape = (k, wide, rows);
            let dweight = &mut dparams[weight..][..k * wide];
            matmul(dweight, wide, false, Mat::rows(x, k).t(), Mat::rows(d, wide), shape);
            add_column_sums(&mut dparams[bias..][..wide], d);
        };
        weight_gradient(x, self.inputs, &di, 0, input_bias);
        weight_gradient(h, self.hidden, &dg, hidden_weight, hidden_bias);
        let hidden_matrix = Mat::rows(&params[hidden_weight..][..self.hidden * wide], wide).t();
        matmul(&mut dh, self.hidden, true, Mat::rows(&dg, wide), hidden_matrix, (rows, self.hidden, wide));
        let mut dx = vec![];
        if self.input_gradient {
            dx = vec![zero; x.len()];
            let input_matrix = Mat::rows(&params[..self.inputs * wide], wide).t();
            matmul(
                &mut dx,
                self.inputs,
                false,
                Mat::rows(&di, wide),
                input_matrix,
                (rows, self.inputs, wide),
            );
        }
        [dx, dh, dparams]
    }

    fn backward_tensors<R: Real>(
        &self,
        x: &Tensor,
        h: &Tensor,
        params: &Tensor,
        dnext: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dh, dparams] = with_slice(x, |xs| {
            with_slice(h, |hs| {
                with_slice(params, |ps| with_slice(dnext, |ds| Ok(self.backward::<R>(xs, hs, ps, ds))))
            })
        })?;
        let device = x.device();
        let dx = if self.input_gradient { Some(Tensor::from_vec(dx, x.shape(), device)?) } else { None };
        let dh = Tensor::from_vec(dh, h.shape(), device)?;
        let dparams = Tensor::from_vec(dparams, params.shape(), device)?;
        Ok((dx, Some(dh), hand_over(params, dparams)?))
    }
}

impl CustomOp3 for GruOp {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &candle_core::Layout,
        h: &CpuStorage,
        h_layout: &candle_core::Layout,
        params: &CpuStorage,
        params_layout: &candle_core::Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let next = match x {
            CpuStorage::F64(_) => CpuStorage::F64(self.forward(
                slice(x, x_layout)?,
                slice(h, h_layout)?,
                slice(params, params_layout)?,
            )),
            _ => CpuStorage::F32(self.forward(
                slice(x, x_layout)?,
                slice(h, h_layout)?,
                slice(params, params_layout)?,
            )),
        };
        Ok((next, h_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        h: &Tensor,
        params: &Tensor,
        _next: &Tensor,
        dnext: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F64 => self.backward_tensors::<f64>(x, h, params, dnext),
            _ => self.backward_tensors::<f32>(x, h, params, dnext),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use candle_core::Var;

    #[test]
    fn the_fused_step_equals_its_slow_twin_in_value_and_gradients() {
        let mut rng = SeedStream::new(2).stream("init", 0);
        let gru = Gru::new(3, 5, &Device::Cpu, &mut rng).unwrap().to_dtype(DType::F64).unwrap();
        let numbers = |n: usize, f: f64| (0..n).map(|i| (i as f64 * f).sin()).collect::<Vec<f64>>();
        let x = Var::from_tensor(&Tensor::from_vec(numbers(12, 0.9), (4, 3), &Device::Cpu).unwrap()).unwrap();
        let h = Var::from_tensor(&Tensor::from_vec(numbers(20, 1.7), (4, 5), &Device::Cpu).unwrap()).unwrap();
        let weights = Tensor::from_vec(numbers(20, 0.3), (4, 5), &Device::Cpu).unwrap();
        let run = |step: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| {
            // Two steps, so that gradients also flow through the hidden state.
            let y = step(&x, &step(&x, &h).unwrap()).unwrap();
            let loss = (&y * &weights).unwrap().sum_all().unwrap();
            (y.flatten_all().unwrap().to_vec1::<f64>().unwrap(), loss.backward().unwrap())
        };
        let (fast, fast_grads) = run(&|x, h| gru.step(x, h));
        let (slow, slow_grads) = run(&|x, h| gru.step_composed(x, h));
        assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-12));
        for var in [&x, &h, gru.params().var()] {
            let values = |g: &candle_core::backprop::GradStore| {
                g.get(var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
            };
            let (f, s) = (values(&fast_grads), values(&slow_grads));
            assert!(f.iter().zip(&s).all(|(a, b)| (a - b).abs() < 1e-11));
        }
    }
}
