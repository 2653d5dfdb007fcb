//! Discrete actions and messages that gradients pass through: the Gumbel-softmax (Jang et al. 2017; Maddison et al.
//! 2017).
//!
//! y = softmax((logits + g) / τ) with g = −ln(−ln u): argmax y is distributed as softmax(logits), and y approaches
//! its one-hot vector as τ → 0. Straight-through: forward the one-hot vector, backward through y.

use crate::Result;
use candle_core::{D, Tensor};
use rand::{Rng, RngExt};

/// `n` standard Gumbel numbers.
pub fn noise(n: usize, rng: &mut impl Rng) -> Vec<f32> {
    let mut numbers = vec![0.0; n];
    fill_noise(&mut numbers, rng);
    numbers
}

/// Standard Gumbel numbers into a buffer.
pub fn fill_noise(numbers: &mut [f32], rng: &mut impl Rng) {
    for x in numbers {
        let u = rng.random::<f32>().max(1e-20);
        *x = -((-u.ln()).max(1e-20)).ln();
    }
}

/// Relaxed samples of rows of logits `[.., A]`; `gumbel` has the shape of the logits.
///
/// # Errors
/// If shapes differ.
pub fn soft(logits: &Tensor, gumbel: &Tensor, temperature: f64) -> Result<Tensor> {
    let y = ((logits + gumbel)? / temperature)?;
    // Not softmax_last_dim: it has no backward pass.
    Ok(candle_nn::ops::softmax(&y, D::Minus1)?)
}

/// One-hot in the forward pass, the gradient of `soft` in the backward pass.
///
/// # Errors
/// If the tensor library fails.
pub fn straight_through(soft: &Tensor) -> Result<Tensor> {
    let hard = one_hot(soft)?;
    Ok(((hard - soft.detach())? + soft)?)
}

/// The one-hot vectors of the largest entries (the first of equals), without gradient.
///
/// # Errors
/// If the tensor library fails.
pub fn one_hot(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let mut values = x.detach().flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
    values.chunks_mut(width).for_each(|row| _ = one_hot_row(row));
    Ok(Tensor::from_vec(values, x.shape(), x.device())?.to_dtype(x.dtype())?)
}

/// Turns a row into the one-hot vector of its largest entry; returns the index.
pub fn one_hot_row(row: &mut [f32]) -> usize {
    let best = argmax(row);
    row.iter_mut().enumerate().for_each(|(i, x)| *x = f32::from(i == best));
    best
}

/// The logit of an action that is not available: no probability is left of it.
pub const UNAVAILABLE: f32 = -1e9;

/// Sets the logits of unavailable actions; an empty mask hides nothing.
pub fn hide(logits: &mut [f32], mask: &[bool]) {
    logits.iter_mut().zip(mask).filter(|(_, m)| !**m).for_each(|(x, _)| *x = UNAVAILABLE);
}

/// The index of the largest entry, the first of equals.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &x) in row.iter().enumerate() {
        if x > row[best] {
            best = i;
        }
    }
    best
}

/// softmax(row) in place.
pub fn softmax_row(row: &mut [f32]) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use rl_core::SeedStream;

    #[test]
    fn argmax_follows_the_softmax_law() {
        let mut rng = SeedStream::new(0).stream("gumbel", 0);
        let logits = [0.5f32, -1.0, 1.0];
        let mut law = logits;
        softmax_row(&mut law);
        let (n, mut counts) = (30_000, [0.0; 3]);
        for g in noise(3 * n, &mut rng).chunks(3) {
            let row: Vec<f32> = g.iter().zip(logits).map(|(g, l)| g + l).collect();
            counts[argmax(&row)] += 1.0;
        }
        // χ² with 2 degrees of freedom: 13.8 is its 99.9% quantile.
        let chi: f64 = counts
            .iter()
            .zip(law)
            .map(|(c, p)| (c - n as f64 * f64::from(p)).powi(2) / (n as f64 * f64::from(p)))
            .sum();
        assert!(chi < 13.8, "{chi}");
    }

    #[test]
    fn gradients_pass_and_low_temperature_is_argmax() {
        let device = Device::Cpu;
        let logits = Var::new(&[[0.2f32, 0.5, -0.3]], &device).unwrap();
        let gumbel = Tensor::new(&[[0.4f32, -0.2, 0.4]], &device).unwrap();
        let hard = straight_through(&soft(logits.as_tensor(), &gumbel, 1.0).unwrap()).unwrap();
        assert_eq!(hard.to_vec2::<f32>().unwrap(), [[1.0, 0.0, 0.0]]);
        let weights = Tensor::new(&[[1.0f32, 2.0, 3.0]], &device).unwrap();
        let grads = (&hard * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = grads.get(logits.as_tensor()).unwrap().to_vec2::<f32>().unwrap();
        assert!(gradient[0].iter().all(|g| g.is_finite() && *g != 0.0));
        let cold = soft(logits.as_tensor(), &gumbel, 0.01).unwrap().to_vec2::<f32>().unwrap();
        assert!(cold[0][0] > 0.999_99 && (cold[0].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
