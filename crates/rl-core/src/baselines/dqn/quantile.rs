//! Quantile regression of returns: Dabney et al., Distributional Reinforcement Learning with Quantile Regression, AAAI 2018.
//!
//! ```text
//! Z(s, a) = θ₁ … θ_N, quantiles at τᵢ = (2i − 1) / 2N      Q(s, a) = 1/N Σᵢ θᵢ
//! yⱼ = r + γᵐ (1 − terminated) θⱼ'(s', argmax Q)
//! L = 1/B Σ w Σᵢ 1/N Σⱼ |τᵢ − 1{yⱼ < θᵢ}| h(yⱼ − θᵢ)        h = Huber's function
//! ```
//!
//! A network has A · N outputs, `[B, A, N]`.

use super::argmax;
use crate::buffer::TransitionBatch;

/// Q(s, a) `[B, A]` of quantiles `[B, A, N]`: their means.
pub fn means(quantiles: &[f32], n: usize, q: &mut Vec<f32>) {
    q.clear();
    q.extend(quantiles.chunks_exact(n).map(|row| row.iter().sum::<f32>() / n as f32));
}

/// yⱼ = r + γᵐ (1 − terminated) θⱼ'(s', a*), `[B, N]`, with a* the argmax of `selector: [B, A]`; `next` are the quantiles
/// `[B, A, N]` of the successors. A truncated episode goes on bootstrapping.
pub fn targets(batch: &TransitionBatch<f32>, next: &[f32], n: usize, selector: &[f32]) -> Vec<f32> {
    let rows = batch.rewards.len();
    let actions = selector.len() / rows.max(1);
    let mut targets = Vec::with_capacity(rows * n);
    for i in 0..rows {
        let chosen = i * actions + argmax(&selector[i * actions..(i + 1) * actions]);
        let discount = if batch.terminated[i] { 0.0 } else { batch.discounts[i] };
        let quantiles = &next[chosen * n..(chosen + 1) * n];
        targets.extend(quantiles.iter().map(|&theta| batch.rewards[i] + discount * theta));
    }
    targets
}

/// The loss above over quantiles `[B, A, N]` and targets `[B, N]`. Writes the gradient into `gradient` `[B, A, N]` and
/// Q(s, a) − mean y into `errors` `[B]`.
pub fn quantile_huber_loss(
    quantiles: &[f32],
    actions: &[f32],
    targets: &[f32],
    n: usize,
    weights: Option<&[f32]>,
    gradient: &mut [f32],
    errors: &mut Vec<f32>,
) -> f64 {
    let b = targets.len() / n;
    let outputs = quantiles.len() / b.max(1);
    errors.clear();
    let mut loss = 0.0;
    for (row, y) in targets.chunks_exact(n).enumerate() {
        let first = row * outputs + actions[row] as usize * n;
        let theta = &quantiles[first..first + n];
        let weight = weights.map_or(1.0, |w| w[row]) / (b * n) as f32;
        for (i, (&theta, slope)) in theta.iter().zip(&mut gradient[first..first + n]).enumerate() {
            let tau = (2 * i + 1) as f32 / (2 * n) as f32;
            for &y in y {
                let u = y - theta;
                let side = if u < 0.0 { 1.0 - tau } else { tau };
                let huber = if u.abs() <= 1.0 { 0.5 * u * u } else { u.abs() - 0.5 };
                loss += f64::from(weight * side * huber);
                *slope -= weight * side * u.clamp(-1.0, 1.0);
            }
        }
        errors.push((theta.iter().sum::<f32>() - y.iter().sum::<f32>()) / n as f32);
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::super::{huber_loss, td_targets};
    use super::*;

    const Q: [f32; 8] = [1.0, 2.5, -0.5, 0.25, 3.0, 3.5, -2.0, 4.0]; // [2, 2, 2]

    fn batch() -> TransitionBatch<f32> {
        TransitionBatch {
            rewards: vec![1.0, -1.0],
            terminated: vec![false, true],
            truncated: vec![true, false],
            discounts: vec![0.5; 2],
            ..TransitionBatch::default()
        }
    }

    #[test]
    fn one_quantile_is_the_mean() {
        let (q, y, actions) = ([1.0, 9.0, 9.0, 3.0], [0.5, 0.0], [0.0, 1.0]);
        let (mut d1, mut d2, mut e1, mut e2) = ([0.0; 4], [0.0; 4], vec![], vec![]);
        let loss = quantile_huber_loss(&q, &actions, &y, 1, None, &mut d1, &mut e1);
        // τ = ½ on both sides.
        assert_eq!(loss, 0.5 * huber_loss(&q, &actions, &y, None, &mut d2, &mut e2));
        assert_eq!((d1.map(|d| 2.0 * d), e1), (d2, e2));
        let (batch, next) = (batch(), [2.0, 4.0, 1.0, 0.0]);
        assert_eq!(targets(&batch, &next, 1, &next), td_targets(&batch, &next, None));
    }

    #[test]
    fn targets_take_the_quantiles_of_the_action_of_the_larger_mean() {
        let mut q = vec![];
        means(&Q, 2, &mut q);
        assert_eq!(q, [1.75, -0.125, 3.25, 1.0]);
        assert_eq!(targets(&batch(), &Q, 2, &q), [1.5, 2.25, -1.0, -1.0]);
    }

    #[test]
    fn gradient_equals_finite_differences() {
        let (actions, y, weights) = ([1.0, 0.0], [0.5, -1.5, 2.75, 4.75], Some(&[0.5, 2.0][..]));
        let loss =
            |q: &[f32], d: &mut [f32]| quantile_huber_loss(q, &actions, &y, 2, weights, d, &mut vec![]);
        let mut gradient = [0.0; 8];
        loss(&Q, &mut gradient);
        for i in 0..Q.len() {
            let at = |by: f32| {
                let mut q = Q;
                q[i] += by;
                loss(&q, &mut [0.0; 8])
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[i])).abs() < 1e-3, "{i}: {slope} {}", gradient[i]);
        }
    }

    #[test]
    fn the_minimum_lies_at_the_quantiles() {
        // Returns 0, 10, …, 70 so far apart that Huber's rounding does not reach: quartile midpoints at 10 and 60.
        let y: Vec<f32> = (0..8).flat_map(|k| [10.0 * k as f32; 2]).collect();
        let mut theta = [35.0, 35.0];
        for _ in 0..4000 {
            let quantiles: Vec<f32> = theta.repeat(8);
            let mut gradient = vec![0.0; 16];
            quantile_huber_loss(&quantiles, &[0.0; 8], &y, 2, None, &mut gradient, &mut vec![]);
            for (i, g) in gradient.iter().enumerate() {
                theta[i % 2] -= 0.3 * g;
            }
        }
        assert!((10.0..=20.0).contains(&theta[0]) && (50.0..=60.0).contains(&theta[1]), "{theta:?}");
    }
}
