//! Attention between agents: scaled dot products (Vaswani et al. 2017), as the critics of MAAC (Iqbal and Sha 2019) and
//! the messages of TarMAC (Das et al. 2019) use them.
//!
//! Agent m asks with q_m, agent j answers with k_j and v_j; per head of width d,
//!
//! ℓ_mj = q_m · k_j, α_mj = softmax_j(ℓ_mj / √d), attended_m = Σ_j α_mj v_j.
//!
//! Agents are few and rows are many, so products and sums in one pass beat a batched product of tiny matrices; the whole is
//! one graph node with its own backward pass.

use crate::{Error, Result};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};
use rl_core::nn::kernel::{Real, slice, with_slice};
use rl_core::vectorised;
use std::marker::PhantomData;

/// Who attends to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The agents that ask, M of them.
    pub askers: Vec<usize>,
    /// Number N of agents that answer.
    pub agents: usize,
    /// Heads; widths of queries, keys and values are divided among them.
    pub heads: usize,
    /// `[N, N]`: whether the row's agent sees the column's. An agent that sees nobody attends to zeros.
    pub sees: Vec<bool>,
}

impl Pattern {
    /// Everyone asks and sees everyone, itself only with `own`.
    pub fn all(agents: usize, heads: usize, own: bool) -> Self {
        let sees = (0..agents * agents).map(|x| own || x / agents != x % agents).collect();
        Self { askers: (0..agents).collect(), agents, heads, sees }
    }

    fn seen(&self, asker: usize) -> &[bool] {
        &self.sees[asker * self.agents..][..self.agents]
    }

    fn check(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<(usize, usize)> {
        let ((asked, width), (answered, key), (values, value)) = (q.dims2()?, k.dims2()?, v.dims2()?);
        let rows = asked / self.askers.len().max(1);
        let fits = asked == rows * self.askers.len()
            && answered == rows * self.agents
            && values == answered
            && width == key
            && self.heads > 0
            && width.is_multiple_of(self.heads)
            && value.is_multiple_of(self.heads)
            && self.sees.len() == self.agents * self.agents
            && self.askers.iter().all(|&m| m < self.agents);
        match fits {
            true => Ok((rows, value)),
            false => Err(Error::shape(
                "attention",
                format!("[{}·B, H·d], [{}·B, H·d], values as many", self.askers.len(), self.agents),
                format!("{:?}, {:?}, {:?}", q.dims(), k.dims(), v.dims()),
            )),
        }
    }
}

/// What is attended to `[M·B, H·d_v]`, and the logits ℓ `[M·B, H·N]` (0 where the pattern hides), of queries `[M·B, H·d]`,
/// keys `[N·B, H·d]` and values `[N·B, H·d_v]`, agent by agent. Gradients pass through both results.
///
/// # Errors
/// [`Error::Shape`].
pub fn attend(pattern: &Pattern, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
    let (_, width) = pattern.check(q, k, v)?;
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let both = match q.dtype() {
        DType::F64 => q.apply_op3(&k, &v, Attend::<f64>(pattern.clone(), PhantomData))?,
        _ => q.apply_op3(&k, &v, Attend::<f32>(pattern.clone(), PhantomData))?,
    };
    Ok((both.narrow(1, 0, width)?, both.narrow(1, width, pattern.heads * pattern.agents)?))
}

/// [`attend`] without a graph, on slices of these widths: attended and logits side by side, `[M·B, H·d_v + H·N]`.
pub(crate) fn attend_slices(pattern: &Pattern, [q, k, v]: [&[f32]; 3], width: usize) -> Vec<f32> {
    let node = Attend::<f32>(pattern.clone(), PhantomData);
    attend_forward(&node, q, k, v, node.sizes(&[q.len() / width, width], &[v.len() / width, width]))
}

/// The way back of [`attend_slices`]: gradients of queries, keys and values from what it returned and its gradient.
pub(crate) fn attend_slices_backward(
    pattern: &Pattern,
    [q, k, v]: [&[f32]; 3],
    width: usize,
    (out, dy): (&[f32], &[f32]),
) -> [Vec<f32>; 3] {
    let node = Attend::<f32>(pattern.clone(), PhantomData);
    let sizes = node.sizes(&[q.len() / width, width], &[v.len() / width, width]);
    attend_backward(&node, (q, k, v), out, dy, sizes)
}

/// The weights α of logits `[M·B, H·N]` as `[M][B][H][N]` in one buffer: what an agent looks at. 0 where the pattern hides.
///
/// # Errors
/// If the logits have another type than f32.
pub fn weights(pattern: &Pattern, logits: &Tensor, head_width: usize) -> Result<Vec<f32>> {
    let mut all = logits.flatten_all()?.to_vec1::<f32>()?;
    let per_asker = all.len() / pattern.askers.len().max(1);
    for (chunk, &m) in all.chunks_mut(per_asker.max(1)).zip(&pattern.askers) {
        for row in chunk.chunks_mut(pattern.agents) {
            softmax(row, pattern.seen(m), 1.0 / (head_width as f32).sqrt());
        }
    }
    Ok(all)
}

/// Logits to weights, in place.
#[inline(always)]
fn softmax<R: Real>(row: &mut [R], seen: &[bool], scale: R) {
    let visible = row.iter().zip(seen).filter(|(_, s)| **s).map(|(x, _)| *x);
    let top = visible.fold(R::neg_infinity(), |top, x| larger(top, x));
    let mut sum = R::real(0.0);
    for (x, &seen) in row.iter_mut().zip(seen) {
        *x = if seen { ((*x - top) * scale).fast_exp() } else { R::real(0.0) };
        sum += *x;
    }
    if sum > R::real(0.0) {
        row.iter_mut().for_each(|x| *x /= sum);
    }
}

fn larger<R: Real>(a: R, b: R) -> R {
    if a > b { a } else { b }
}

/// The graph node: `[M·B, H·d], [N·B, H·d], [N·B, H·d_v] -> [M·B, H·d_v + H·N]`.
struct Attend<R>(Pattern, PhantomData<R>);

/// Widths of one head, and rows per agent.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    key: usize,
    value: usize,
}

vectorised! {
    fn attend_forward<R: Real>(node: &Attend<R>, q: &[R], k: &[R], v: &[R], s: Sizes) -> Vec<R> {
        node.forward(q, k, v, s)
    }

    fn attend_backward<R: Real>(
        node: &Attend<R>,
        inputs: (&[R], &[R], &[R]),
        out: &[R],
        dy: &[R],
        s: Sizes,
    ) -> [Vec<R>; 3] {
        node.backward(inputs.0, inputs.1, inputs.2, out, dy, s)
    }
}

impl<R: Real> Attend<R> {
    fn sizes(&self, q: &[usize], v: &[usize]) -> Sizes {
        let Pattern { askers, heads, .. } = &self.0;
        Sizes { rows: q[0] / askers.len(), key: q[1] / heads, value: v[1] / heads }
    }

    #[inline(always)]
    fn forward(&self, q: &[R], k: &[R], v: &[R], s: Sizes) -> Vec<R> {
        let Pattern { askers, agents, heads, .. } = &self.0;
        let (qw, vw) = (heads * s.key, heads * s.value);
        let width = vw + heads * agents;
        let mut out = vec![R::real(0.0); askers.len() * s.rows * width];
        let scale = R::real(1.0 / (s.key as f64).sqrt());
        let mut alpha = vec![R::real(0.0); *agents];
        for (m, &asker) in askers.iter().enumerate() {
            let seen = self.0.seen(asker);
            for b in 0..s.rows {
                let row = m * s.rows + b;
                let (attended, logits) = out[row * width..][..width].split_at_mut(vw);
                for h in 0..*heads {
                    let query = &q[row * qw + h * s.key..][..s.key];
                    for j in (0..*agents).filter(|&j| seen[j]) {
                        let key = &k[(j * s.rows + b) * qw + h * s.key..][..s.key];
                        alpha[j] = dot(query, key);
                        logits[h * agents + j] = alpha[j];
                    }
                    softmax(&mut alpha, seen, scale);
                    let target = &mut attended[h * s.value..][..s.value];
                    for j in (0..*agents).filter(|&j| seen[j]) {
                        let value = &v[(j * s.rows + b) * vw + h * s.value..][..s.value];
                        target.iter_mut().zip(value).for_each(|(t, &x)| *t += alpha[j] * x);
                    }
                }
            }
        }
        out
    }

    /// Gradients of queries, keys and values.
    #[inline(always)]
    fn backward(&self, q: &[R], k: &[R], v: &[R], out: &[R], dy: &[R], s: Sizes) -> [Vec<R>; 3] {
        let Pattern { askers, agents, heads, .. } = &self.0;
        let (qw, vw) = (heads * s.key, heads * s.value);
        let width = vw + heads * agents;
        let zeros = |n: usize| vec![R::real(0.0); n];
        let (mut dq, mut dk, mut dv) = (zeros(q.len()), zeros(k.len()), zeros(v.len()));
        let scale = R::real(1.0 / (s.key as f64).sqrt());
        let (mut alpha, mut dalpha) = (zeros(*agents), zeros(*agents));
        for (m, &asker) in askers.iter().enumerate() {
            let seen = self.0.seen(asker);
            for b in 0..s.rows {
                let row = m * s.rows + b;
                let (gained, dlogits) = dy[row * width..][..width].split_at(vw);
                let logits = &out[row * width + vw..][..heads * agents];
                for h in 0..*heads {
                    alpha.copy_from_slice(&logits[h * agents..][..*agents]);
                    softmax(&mut alpha, seen, scale);
                    let gained = &gained[h * s.value..][..s.value];
                    let mut mean = R::real(0.0);
                    for j in (0..*agents).filter(|&j| seen[j]) {
                        let at = (j * s.rows + b) * vw + h * s.value;
                        dalpha[j] = dot(gained, &v[at..][..s.value]);
                        mean += alpha[j] * dalpha[j];
                        dv[at..][..s.value].iter_mut().zip(gained).for_each(|(d, &g)| *d += alpha[j] * g);
                    }
                    let at_q = row * qw + h * s.key;
                    for j in (0..*agents).filter(|&j| seen[j]) {
                        // ∂α/∂ℓ, plus what comes in through the logits themselves.
                        let dl = alpha[j] * (dalpha[j] - mean) * scale + dlogits[h * agents + j];
                        let at_k = (j * s.rows + b) * qw + h * s.key;
                        for x in 0..s.key {
                            dq[at_q + x] += dl * k[at_k + x];
                            dk[at_k + x] += dl * q[at_q + x];
                        }
                    }
                }
            }
        }
        [dq, dk, dv]
    }
}

#[inline(always)]
fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    rl_core::nn::kernel::dot_inline(a, b)
}

impl<R: Real> CustomOp3 for Attend<R> {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let s = self.sizes(q_layout.dims(), v_layout.dims());
        let (q, k, v) = (slice::<R>(q, q_layout)?, slice::<R>(k, k_layout)?, slice::<R>(v, v_layout)?);
        let out = attend_forward(self, q, k, v, s);
        let rows = s.rows * self.0.askers.len();
        let width = out.len() / rows.max(1);
        Ok((R::to_cpu_storage_owned(out), (rows, width).into()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = self.sizes(q.dims(), v.dims());
        let [dq, dk, dv] = with_slice(q, |q| {
            with_slice(k, |k| {
                with_slice(v, |v| {
                    with_slice(out, |out| {
                        with_slice(dy, |dy| Ok(attend_backward(self, (q, k, v), out, dy, s)))
                    })
                })
            })
        })?;
        let tensor = |data, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device()).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{D, Device, Var};
    use rand::RngExt;
    use rl_core::SeedStream;

    fn random(rows: usize, width: usize, index: u64) -> Var {
        let mut rng = SeedStream::new(1).stream("attention", index);
        let data: Vec<f64> = (0..rows * width).map(|_| rng.random_range(-1.0..1.0)).collect();
        Var::from_vec(data, (rows, width), &Device::Cpu).unwrap()
    }

    /// The slow, obvious twin for one head.
    fn composed(p: &Pattern, q: &Tensor, k: &Tensor, v: &Tensor) -> (Tensor, Tensor) {
        let rows = k.dim(0).unwrap() / p.agents;
        let part = |x: &Tensor, i: usize| x.narrow(0, i * rows, rows).unwrap();
        let scale = 1.0 / (q.dim(1).unwrap() as f64).sqrt();
        let (mut out, mut all) = (vec![], vec![]);
        for (m, &asker) in p.askers.iter().enumerate() {
            let logit = |j: usize| (part(q, m) * part(k, j)).unwrap().sum_keepdim(1).unwrap();
            let logits = Tensor::cat(&(0..p.agents).map(logit).collect::<Vec<_>>(), 1).unwrap();
            let seen: Vec<f64> = p.seen(asker).iter().map(|&s| f64::from(u8::from(s))).collect();
            let seen = Tensor::from_vec(seen, (1, p.agents), &Device::Cpu).unwrap();
            let hidden = seen.affine(1e9, -1e9).unwrap();
            let weights = (&logits * scale).unwrap().broadcast_add(&hidden).unwrap();
            let weights = candle_nn::ops::softmax(&weights, D::Minus1).unwrap();
            let term = |j: usize| part(v, j).broadcast_mul(&weights.narrow(1, j, 1).unwrap()).unwrap();
            out.push((0..p.agents).map(term).reduce(|a, b| (a + b).unwrap()).unwrap());
            all.push(logits.broadcast_mul(&seen).unwrap());
        }
        (Tensor::cat(&out, 0).unwrap(), Tensor::cat(&all, 0).unwrap())
    }

    #[test]
    fn it_equals_its_slow_twin_in_value_and_gradients() {
        for (askers, own) in [(vec![0, 1, 2], true), (vec![0, 1, 2], false), (vec![1], true)] {
            let p = Pattern { askers, ..Pattern::all(3, 1, own) };
            let (q, k, v) = (random(p.askers.len() * 4, 5, 0), random(12, 5, 1), random(12, 6, 2));
            let run = |(out, logits): (Tensor, Tensor)| {
                let weight = random(out.dim(0).unwrap(), 6, 3);
                let loss = ((&out * weight.as_tensor()).unwrap().sum_all().unwrap()
                    + logits.sqr().unwrap().mean_all().unwrap())
                .unwrap();
                let grads = loss.backward().unwrap();
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let each = [&q, &k, &v].map(|x| flat(grads.get(x.as_tensor()).unwrap()));
                [flat(&out), flat(&logits), each.concat()].concat()
            };
            let fast = run(attend(&p, q.as_tensor(), k.as_tensor(), v.as_tensor()).unwrap());
            let slow = run(composed(&p, q.as_tensor(), k.as_tensor(), v.as_tensor()));
            assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn own_weight_is_zero_where_oneself_is_hidden_and_weights_sum_to_one() {
        let p = Pattern::all(3, 2, false);
        let single = |x: Var| x.to_dtype(DType::F32).unwrap();
        let (q, k, v) = (single(random(12, 8, 0)), single(random(12, 8, 1)), single(random(12, 4, 2)));
        let (_, logits) = attend(&p, &q, &k, &v).unwrap();
        let weights = weights(&p, &logits, 4).unwrap();
        for (i, row) in weights.chunks(3).enumerate() {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert_eq!(row[i / 8], 0.0);
        }
        assert!(attend(&p, &k.narrow(0, 0, 11).unwrap(), &k, &v).is_err());
        let blind = Pattern { sees: vec![false; 9], ..p };
        let (out, _) = attend(&blind, &q, &k, &v).unwrap();
        assert!(out.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|x| *x == 0.0));
    }
}
