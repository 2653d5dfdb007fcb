//! The losses of PPO: pure functions of a minibatch that return the loss and write its gradient.

/// The clipped surrogate min(r A, clip(r, 1 − ε, 1 + ε) A) and its derivative with respect to ln r: r A where the
/// unclipped term is the smaller *or equal*, else 0. At r = 1, where both tie, nothing is lost.
pub fn surrogate(ratio: f64, advantage: f64, clip: f64) -> (f64, f64) {
    let (plain, clipped) = (ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage);
    if plain <= clipped { (plain, plain) } else { (clipped, 0.0) }
}

/// Means over a minibatch, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyStatistics {
    /// −1/B Σ surrogate.
    pub policy_loss: f64,
    /// Entropy of the policy.
    pub entropy: f64,
    /// 1/B Σ −ln r, the first estimate of KL(old ‖ new).
    pub old_approx_kl: f64,
    /// 1/B Σ (r − 1) − ln r, the better one (Schulman, Approximating KL Divergence, 2020).
    pub approx_kl: f64,
    /// Share of ratios outside of 1 ± ε.
    pub clip_fraction: f64,
}

impl PolicyStatistics {
    /// Adds sample `1/B` with this log-ratio and entropy; returns the derivative of the policy loss with respect to
    /// ln π(a|s).
    fn add(&mut self, log_ratio: f64, advantage: f64, clip: f64, entropy: f64, share: f64) -> f64 {
        let ratio = log_ratio.exp();
        let (value, slope) = surrogate(ratio, advantage, clip);
        self.policy_loss -= share * value;
        self.entropy += share * entropy;
        self.old_approx_kl -= share * log_ratio;
        self.approx_kl += share * (ratio - 1.0 - log_ratio);
        self.clip_fraction += if (ratio - 1.0).abs() > clip { share } else { 0.0 };
        -share * slope
    }
}

/// What the policy losses need of a minibatch.
#[derive(Clone, Copy, Debug)]
pub struct PolicyBatch<'a> {
    /// `[B, A]`; a discrete action is one number, its index.
    pub actions: &'a [f32],
    /// ln π_old(a|s), `[B]`.
    pub log_probs: &'a [f32],
    /// A, `[B]`.
    pub advantages: &'a [f32],
    /// ε.
    pub clip: f64,
    /// Weight of the entropy bonus.
    pub entropy_coefficient: f64,
}

/// Logarithms of softmax(logits).
pub(super) fn log_softmax(logits: &[f32], out: &mut Vec<f64>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    out.clear();
    out.extend(logits.iter().map(|&l| f64::from(l - max) - sum.ln()));
}

/// Policy loss of a categorical policy, −1/B Σ (surrogate + c H): its statistics, and the gradient in `dlogits`
/// `[B, K]`. ∂ln p_a/∂l_j = 1[j = a] − p_j and ∂H/∂l_j = −p_j (ln p_j + H).
pub fn categorical_loss(
    logits: &[f32],
    batch: &PolicyBatch<'_>,
    dlogits: &mut [f32],
) -> (f64, PolicyStatistics) {
    let (b, mut log_p) = (batch.log_probs.len(), Vec::new());
    let (classes, share) = (logits.len() / b.max(1), 1.0 / b as f64);
    let mut statistics = PolicyStatistics::default();
    for (i, (row, d)) in logits.chunks_exact(classes).zip(dlogits.chunks_exact_mut(classes)).enumerate() {
        log_softmax(row, &mut log_p);
        let action = batch.actions[i] as usize;
        let entropy: f64 = -log_p.iter().map(|l| l.exp() * l).sum::<f64>();
        let log_ratio = log_p[action] - f64::from(batch.log_probs[i]);
        let slope = statistics.add(log_ratio, f64::from(batch.advantages[i]), batch.clip, entropy, share);
        for (j, (d, l)) in d.iter_mut().zip(&log_p).enumerate() {
            let (p, hit) = (l.exp(), if j == action { 1.0 } else { 0.0 });
            *d = (slope * (hit - p) + batch.entropy_coefficient * share * p * (l + entropy)) as f32;
        }
    }
    (statistics.policy_loss - batch.entropy_coefficient * statistics.entropy, statistics)
}

/// ½ ln 2π
const HALF_LOG_2PI: f64 = 0.918_938_533_204_672_8;

/// ln N(a; μ, diag e^{2ℓ}), summed over dimensions.
pub(super) fn gaussian_log_prob(mean: &[f32], log_std: &[f32], action: &[f32]) -> f64 {
    let term = |((&m, &l), &a): ((&f32, &f32), &f32)| {
        let z = f64::from(a - m) / f64::from(l).exp();
        -0.5 * z * z - f64::from(l) - HALF_LOG_2PI
    };
    mean.iter().zip(log_std).zip(action).map(term).sum()
}

/// Policy loss of a Gaussian policy with means `[B, A]` and ln σ `[A]` for all states, as [`categorical_loss`].
/// ∂ln p/∂μ = (a − μ)/σ², ∂ln p/∂ln σ = ((a − μ)/σ)² − 1, H = Σ ln σ + ½ ln 2πe.
pub fn gaussian_loss(
    mean: &[f32],
    log_std: &[f32],
    batch: &PolicyBatch<'_>,
    dmean: &mut [f32],
    dlog_std: &mut [f32],
) -> (f64, PolicyStatistics) {
    let (b, width) = (batch.log_probs.len(), log_std.len());
    let share = 1.0 / b as f64;
    let entropy = log_std.iter().map(|&l| f64::from(l) + HALF_LOG_2PI + 0.5).sum();
    let mut statistics = PolicyStatistics::default();
    let mut sums = vec![-batch.entropy_coefficient; width];
    let rows = mean.chunks_exact(width).zip(batch.actions.chunks_exact(width));
    for (i, ((mean, action), d)) in rows.zip(dmean.chunks_exact_mut(width)).enumerate() {
        let log_ratio = gaussian_log_prob(mean, log_std, action) - f64::from(batch.log_probs[i]);
        let slope = statistics.add(log_ratio, f64::from(batch.advantages[i]), batch.clip, entropy, share);
        for j in 0..width {
            let std = f64::from(log_std[j]).exp();
            let z = f64::from(action[j] - mean[j]) / std;
            d[j] = (slope * z / std) as f32;
            sums[j] += slope * (z * z - 1.0);
        }
    }
    dlog_std.iter_mut().zip(&sums).for_each(|(d, &s)| *d = s as f32);
    (statistics.policy_loss - batch.entropy_coefficient * statistics.entropy, statistics)
}

/// 1/B Σ (V − R)², or with `clip` 1/B Σ max((V − R)², (V_old + clip(V − V_old, ±ε) − R)²); the gradient goes to `dv`.
pub fn value_loss(v: &[f32], returns: &[f32], old: &[f32], clip: Option<f64>, dv: &mut [f32]) -> f64 {
    let share = 1.0 / v.len() as f64;
    let mut loss = 0.0;
    for (i, d) in dv.iter_mut().enumerate() {
        let (v, target, old) = (f64::from(v[i]), f64::from(returns[i]), f64::from(old[i]));
        let error = v - target;
        let limited = clip.map_or(error, |c| old + (v - old).clamp(-c, c) - target);
        let (error, slope) =
            if limited * limited > error * error { (limited, 0.0) } else { (error, 2.0 * error) };
        loss += share * error * error;
        *d = (share * slope) as f32;
    }
    loss
}

/// (A − mean) / (std + 1e-8), in place; std with n − 1. A single advantage stays as it is.
pub fn normalize_advantages(advantages: &mut [f32]) {
    if advantages.len() < 2 {
        return;
    }
    let n = advantages.len() as f64;
    let mean = advantages.iter().map(|&a| f64::from(a)).sum::<f64>() / n;
    let variance = advantages.iter().map(|&a| (f64::from(a) - mean).powi(2)).sum::<f64>() / (n - 1.0);
    advantages.iter_mut().for_each(|a| *a = ((f64::from(*a) - mean) / (variance.sqrt() + 1e-8)) as f32);
}

/// 1 − Var(R − V) / Var(R): 1 for perfect values, 0 for useless ones; NaN if all returns are equal.
pub fn explained_variance(advantages: &[f32], returns: &[f32]) -> f64 {
    let variance = |x: &[f32]| {
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / x.len() as f64
    };
    1.0 - variance(advantages) / variance(returns)
}

#[cfg(test)]
mod tests;
