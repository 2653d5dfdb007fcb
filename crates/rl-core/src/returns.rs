//! Returns and advantages: what a value function is trained towards, as pure functions on slices.
//!
//! Generalised advantage estimation (Schulman et al. 2016), n-step returns (Sutton & Barto 2018, ch. 7),
//! λ-returns as Dreamer uses them (Hafner et al. 2020, 2023) and V-trace (Espeholt et al. 2018).
//!
//! All arrays are time-major `[T, B]`, last axis fastest; one trajectory is `B = 1`. Every recursion is carried in
//! f64, whatever the element type, row by row: one pass over memory however many environments. Two ends are told apart everywhere: after *termination* there is no future
//! (value 0), at *truncation* the future exists and is cut off, so the value of the final observation is used.

use crate::{Error, Result};

/// A float that the recursions read and write: `f32` or `f64`.
pub trait Scalar: Copy {
    /// Widens.
    fn wide(self) -> f64;
    /// Rounds to this type.
    fn narrow(value: f64) -> Self;
}

impl Scalar for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn narrow(value: f64) -> Self {
        value as f32
    }
}

impl Scalar for f64 {
    fn wide(self) -> f64 {
        self
    }
    fn narrow(value: f64) -> Self {
        value
    }
}

/// Recorded steps of `batch` environments, each slice `[T, B]`.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a, R> {
    /// B, the number of environments side by side.
    pub batch: usize,
    /// r_t, the reward of the step from s_t to s'_t.
    pub rewards: &'a [R],
    /// V(s'_t), the value of the true successor: at a truncation that of the *final* observation, not of the
    /// observation after the reset. Ignored where `terminated`.
    pub next_values: &'a [R],
    /// Whether s'_t is an end state.
    pub terminated: &'a [bool],
    /// Whether the episode was cut off at s'_t.
    pub truncated: &'a [bool],
}

impl<R: Scalar> Steps<'_, R> {
    fn check(&self, operation: &'static str) -> Result<usize> {
        let len = self.rewards.len();
        if self.batch == 0 || !len.is_multiple_of(self.batch) {
            return Err(Error::shape(operation, format!("a multiple of batch = {}", self.batch), len));
        }
        same_len(operation, "next_values", self.next_values.len(), len)?;
        same_len(operation, "terminated", self.terminated.len(), len)?;
        same_len(operation, "truncated", self.truncated.len(), len)?;
        Ok(len)
    }

    /// (1 − terminated_t) V(s'_t)
    fn bootstrap(&self, i: usize) -> f64 {
        if self.terminated[i] { 0.0 } else { self.next_values[i].wide() }
    }

    fn done(&self, i: usize) -> bool {
        self.terminated[i] || self.truncated[i]
    }
}

fn same_len(operation: &'static str, what: &str, got: usize, want: usize) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Error::shape(operation, format!("{want} numbers in {what}"), got))
}

/// Generalised advantage estimation; the returns to train a value function on are `A + V`.
///
/// δ_t = r_t + γ (1 − terminated_t) V(s'_t) − V(s_t),  A_t = δ_t + γ λ (1 − done_t) A_{t+1}
///
/// Schulman et al. 2016, eq. 16, with both kinds of episode end. λ = 1 gives returns − values, λ = 0 the TD error.
///
/// # Errors
/// [`Error::Shape`] if the slices differ in length or do not divide into batches.
pub fn gae<R: Scalar>(steps: &Steps<'_, R>, values: &[R], gamma: f64, lambda: f64) -> Result<Vec<R>> {
    let len = steps.check("gae")?;
    same_len("gae", "values", values.len(), len)?;
    let mut advantages = vec![R::narrow(0.0); len];
    let mut carried = vec![0.0; steps.batch];
    for row in (0..len).step_by(steps.batch).rev() {
        for (i, advantage) in (row..).zip(&mut carried) {
            let delta = steps.rewards[i].wide() + gamma * steps.bootstrap(i) - values[i].wide();
            let trace = if steps.done(i) { 0.0 } else { gamma * lambda };
            *advantage = delta + trace * *advantage;
            advantages[i] = R::narrow(*advantage);
        }
    }
    Ok(advantages)
}

/// Discounted returns to the end of each episode, bootstrapped where it was cut off or the data end.
///
/// R_t = r_t + γ R_{t+1}; at an end R_t = r_t + γ (1 − terminated_t) V(s'_t).
///
/// # Errors
/// [`Error::Shape`] if the slices differ in length or do not divide into batches.
pub fn discounted_returns<R: Scalar>(steps: &Steps<'_, R>, gamma: f64) -> Result<Vec<R>> {
    let len = steps.check("discounted_returns")?;
    let mut returns = vec![R::narrow(0.0); len];
    let mut carried = vec![None; steps.batch];
    for row in (0..len).step_by(steps.batch).rev() {
        for (i, future) in (row..).zip(&mut carried) {
            let after = if steps.done(i) { None } else { *future };
            let value = steps.rewards[i].wide() + gamma * after.unwrap_or_else(|| steps.bootstrap(i));
            returns[i] = R::narrow(value);
            *future = Some(value);
        }
    }
    Ok(returns)
}

/// n-step returns.
///
/// R_t = Σ_{k<m} γᵏ r_{t+k} + γᵐ (1 − terminated) V(s'_{t+m−1}), where m ≤ n is the number of steps up to the end of
/// the episode or of the data, whichever comes first. Sutton & Barto 2018, eq. 7.1.
///
/// # Errors
/// [`Error::Shape`] if the slices do not fit; [`Error::Config`] if `n` is zero.
pub fn n_step<R: Scalar>(steps: &Steps<'_, R>, n: usize, gamma: f64) -> Result<Vec<R>> {
    let len = steps.check("n_step")?;
    if n == 0 {
        return Err(Error::config("n_step", "n", n, "at least 1"));
    }
    let return_from = |start: usize| {
        let (mut sum, mut discount) = (0.0, 1.0);
        let mut last = start;
        for i in (start..len).step_by(steps.batch).take(n) {
            sum += discount * steps.rewards[i].wide();
            discount *= gamma;
            last = i;
            if steps.done(i) {
                break;
            }
        }
        R::narrow(sum + discount * steps.bootstrap(last))
    };
    Ok((0..len).map(return_from).collect())
}

/// λ-returns with rewards *on arrival*, as in DreamerV3; all inputs `[H + 1, B]`, the result `[H, B]`.
///
/// R_t = r_{t+1} + d_{t+1} ((1 − λ_{t+1}) v_{t+1} + λ_{t+1} R_{t+1}),  R_H = v_H,  λ_{t+1} = λ (1 − is_last_{t+1})
///
/// Hafner et al. 2023, eq. 7, indexed as in its code. In imagination `d = c`, the predicted continuation that
/// already contains γ, and nothing is last; on replayed data `d = γ (1 − terminated)`, `v` is the bootstrap (the
/// imagined return at that state) and `is_last` cuts the trace, so that no return crosses into the next episode.
///
/// # Errors
/// [`Error::Shape`] if the slices differ in length, hold no state, or do not divide into batches.
pub fn lambda_return<R: Scalar>(
    rewards: &[R],
    values: &[R],
    discounts: &[R],
    is_last: &[bool],
    lambda: f64,
    batch: usize,
) -> Result<Vec<R>> {
    let op = "lambda_return";
    let len = rewards.len();
    if batch == 0 || len < batch || !len.is_multiple_of(batch) {
        return Err(Error::shape(op, format!("a positive multiple of batch = {batch}"), len));
    }
    same_len(op, "values", values.len(), len)?;
    same_len(op, "discounts", discounts.len(), len)?;
    same_len(op, "is_last", is_last.len(), len)?;
    let horizon = len - batch;
    let mut returns = vec![R::narrow(0.0); horizon];
    let mut carried: Vec<f64> = values[horizon..].iter().map(|v| v.wide()).collect();
    for row in (0..horizon).step_by(batch).rev() {
        for (i, future) in (row..).zip(&mut carried) {
            let next = i + batch;
            let trace = if is_last[next] { 0.0 } else { lambda };
            let mixed = (1.0 - trace) * values[next].wide() + trace * *future;
            *future = rewards[next].wide() + discounts[next].wide() * mixed;
            returns[i] = R::narrow(*future);
        }
    }
    Ok(returns)
}

/// λ-returns with rewards *on departure*, as in Dreamer and DreamerV2; inputs and result `[T, B]`, `bootstrap [B]`.
///
/// R_t = r_t + c_t ((1 − λ) v_{t+1} + λ R_{t+1}),  v_T = R_T = bootstrap
///
/// Hafner et al. 2020, eq. 6 in recursive form; `c` is γ times the predicted continuation.
///
/// # Errors
/// [`Error::Shape`] if the slices do not fit together.
pub fn lambda_return_v2<R: Scalar>(
    rewards: &[R],
    values: &[R],
    discounts: &[R],
    bootstrap: &[R],
    lambda: f64,
) -> Result<Vec<R>> {
    let op = "lambda_return_v2";
    let (len, batch) = (rewards.len(), bootstrap.len());
    if batch == 0 || !len.is_multiple_of(batch) {
        return Err(Error::shape(op, format!("a multiple of {batch} bootstrap values"), len));
    }
    same_len(op, "values", values.len(), len)?;
    same_len(op, "discounts", discounts.len(), len)?;
    let mut returns = vec![R::narrow(0.0); len];
    let mut carried: Vec<f64> = bootstrap.iter().map(|v| v.wide()).collect();
    for row in (0..len).step_by(batch).rev() {
        for (i, (future, last)) in (row..).zip(carried.iter_mut().zip(bootstrap)) {
            let next_value = values.get(i + batch).unwrap_or(last).wide();
            let mixed = (1.0 - lambda) * next_value + lambda * *future;
            *future = rewards[i].wide() + discounts[i].wide() * mixed;
            returns[i] = R::narrow(*future);
        }
    }
    Ok(returns)
}

/// How much each imagined state counts in DreamerV3's losses: w_t = Π_{i≤t} d_i / γ, shape `[H + 1, B]`.
///
/// `discounts` as in [`lambda_return`]. `first` is γ, taken out once so that the first state of a live episode has
/// weight 1; it is 1 when the continuation head itself has learned γ (`contdisc`).
///
/// # Errors
/// [`Error::Shape`] if the slice does not divide into batches.
pub fn imagination_weights<R: Scalar>(discounts: &[R], first: f64, batch: usize) -> Result<Vec<R>> {
    let len = discounts.len();
    if batch == 0 || !len.is_multiple_of(batch) {
        return Err(Error::shape("imagination_weights", format!("a multiple of batch = {batch}"), len));
    }
    let mut weights = vec![R::narrow(0.0); len];
    let mut carried = vec![1.0 / first; batch];
    for row in (0..len).step_by(batch) {
        for (i, product) in (row..).zip(&mut carried) {
            *product *= discounts[i].wide();
            weights[i] = R::narrow(*product);
        }
    }
    Ok(weights)
}

/// Clipping levels and trace decay of [`vtrace`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VTraceLevels {
    /// ρ̄: which policy the fixed point belongs to. Espeholt et al. 2018: 1.
    pub rho_bar: f64,
    /// c̄: how far corrections travel back. Espeholt et al. 2018: 1.
    pub c_bar: f64,
    /// λ, Remark 2 of the paper: 1.
    pub lambda: f64,
}

impl Default for VTraceLevels {
    fn default() -> Self {
        Self { rho_bar: 1.0, c_bar: 1.0, lambda: 1.0 }
    }
}

/// The result of [`vtrace`], both `[T, B]`.
#[derive(Clone, Debug, PartialEq)]
pub struct VTrace<R> {
    /// v_t, the targets of the value function.
    pub values: Vec<R>,
    /// min(ρ̄, ρ_t)(r_t + γ_t v_{t+1} − V(s_t)), the advantages of the policy gradient.
    pub advantages: Vec<R>,
}

/// V-trace: off-policy corrected value targets.
///
/// δ_t = min(ρ̄, ρ_t)(r_t + γ_t V_{t+1} − V_t),  v_t − V_t = δ_t + γ_t λ min(c̄, ρ_t)(v_{t+1} − V_{t+1})
///
/// Espeholt et al. 2018, eq. 1 and Remark 1. `ratios` ρ = π/μ `[T, B]`, `rewards [T, B]`, `discounts [T, B]` (γ, and 0
/// at a termination), `values [T + 1, B]`.
///
/// # Errors
/// [`Error::Shape`] if the slices do not fit together.
pub fn vtrace<R: Scalar>(
    ratios: &[R],
    rewards: &[R],
    discounts: &[R],
    values: &[R],
    levels: VTraceLevels,
    batch: usize,
) -> Result<VTrace<R>> {
    let len = rewards.len();
    if batch == 0 || !len.is_multiple_of(batch) {
        return Err(Error::shape("vtrace", format!("a multiple of batch = {batch}"), len));
    }
    same_len("vtrace", "ratios", ratios.len(), len)?;
    same_len("vtrace", "discounts", discounts.len(), len)?;
    same_len("vtrace", "values", values.len(), len + batch)?;
    let mut result = VTrace { values: vec![R::narrow(0.0); len], advantages: vec![R::narrow(0.0); len] };
    let mut carried = vec![0.0; batch]; // v_{t+1} − V_{t+1}
    for row in (0..len).step_by(batch).rev() {
        for (i, correction) in (row..).zip(&mut carried) {
            let (ratio, reward, discount) = (ratios[i].wide(), rewards[i].wide(), discounts[i].wide());
            let (value, next_value) = (values[i].wide(), values[i + batch].wide());
            let rho = ratio.min(levels.rho_bar);
            result.advantages[i] = R::narrow(rho * (reward + discount * (next_value + *correction) - value));
            let delta = rho * (reward + discount * next_value - value);
            *correction = delta + discount * levels.lambda * ratio.min(levels.c_bar) * *correction;
            result.values[i] = R::narrow(value + *correction);
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Columns = (Vec<f64>, Vec<f64>, Vec<f64>, Vec<bool>, Vec<bool>);

    fn columns() -> impl Strategy<Value = (usize, Columns)> {
        (1usize..4, 1usize..12).prop_flat_map(|(batch, steps)| {
            let reals = || prop::collection::vec(-3.0..3.0f64, batch * steps);
            let flags = || prop::collection::vec(prop::bool::weighted(0.2), batch * steps);
            (Just(batch), (reals(), reals(), reals(), flags(), flags()))
        })
    }

    fn assert_close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-10, "{got:?} {want:?}");
        }
    }

    proptest! {
        #[test]
        fn gae_with_lambda_one_is_returns_minus_values_and_with_zero_the_td_error(
            (batch, (rewards, values, next, term, trunc)) in columns(), gamma in 0.5..1.0f64,
        ) {
            let len = rewards.len();
            // λ = 1 telescopes only if V(s'_t) is V(s_{t+1}) inside an episode.
            let mut next_values = next;
            for i in 0..len.saturating_sub(batch) {
                if !term[i] && !trunc[i] {
                    next_values[i] = values[i + batch];
                }
            }
            let steps = Steps { batch, rewards: &rewards, next_values: &next_values, terminated: &term, truncated: &trunc };
            let returns = discounted_returns(&steps, gamma).unwrap();
            let long: Vec<f64> = returns.iter().zip(&values).map(|(r, v)| r - v).collect();
            assert_close(&gae(&steps, &values, gamma, 1.0).unwrap(), &long);
            let td: Vec<f64> = n_step(&steps, 1, gamma).unwrap().iter().zip(&values).map(|(r, v)| r - v).collect();
            assert_close(&gae(&steps, &values, gamma, 0.0).unwrap(), &td);
            assert_close(&n_step(&steps, len, gamma).unwrap(), &returns);
        }

        #[test]
        fn columns_of_a_batch_do_not_see_each_other(
            (batch, (rewards, values, next_values, term, trunc)) in columns(),
        ) {
            let column = |v: &[f64], b: usize| -> Vec<f64> { v.iter().skip(b).step_by(batch).copied().collect() };
            let flags = |v: &[bool], b: usize| -> Vec<bool> { v.iter().skip(b).step_by(batch).copied().collect() };
            let all = Steps { batch, rewards: &rewards, next_values: &next_values, terminated: &term, truncated: &trunc };
            let joint = gae(&all, &values, 0.9, 0.8).unwrap();
            let joint_n = n_step(&all, 3, 0.9).unwrap();
            let joint_lambda = lambda_return(&rewards, &values, &next_values, &trunc, 0.8, batch).unwrap();
            for b in 0..batch {
                let (r, v, n) = (column(&rewards, b), column(&values, b), column(&next_values, b));
                let (te, tr) = (flags(&term, b), flags(&trunc, b));
                let one = Steps { batch: 1, rewards: &r, next_values: &n, terminated: &te, truncated: &tr };
                assert_close(&column(&joint, b), &gae(&one, &v, 0.9, 0.8).unwrap());
                assert_close(&column(&joint_n, b), &n_step(&one, 3, 0.9).unwrap());
                assert_close(&column(&joint_lambda, b), &lambda_return(&r, &v, &n, &tr, 0.8, 1).unwrap());
            }
        }

        #[test]
        fn on_policy_vtrace_is_the_n_step_return(
            (batch, (rewards, values, last, _, _)) in columns(), gamma in 0.5..1.0f64,
        ) {
            let len = rewards.len();
            let extended: Vec<f64> = values.iter().chain(&last[..batch]).copied().collect();
            let levels = VTraceLevels::default();
            let trace = vtrace(&vec![1.0; len], &rewards, &vec![gamma; len], &extended, levels, batch).unwrap();
            let never = vec![false; len];
            let steps = Steps {
                batch, rewards: &rewards, next_values: &extended[batch..], terminated: &never, truncated: &never,
            };
            assert_close(&trace.values, &discounted_returns(&steps, gamma).unwrap());
        }
    }

    #[test]
    fn hand_worked_ends() {
        // Two steps, γ = 1/2: the first truncated (V(final) = 8), the second terminated (its 100 must not count).
        let steps = Steps {
            batch: 1,
            rewards: &[1.0f32, 2.0],
            next_values: &[8.0, 100.0],
            terminated: &[false, true],
            truncated: &[true, false],
        };
        assert_eq!(discounted_returns(&steps, 0.5).unwrap(), [5.0, 2.0]);
        assert_eq!(n_step(&steps, 2, 0.5).unwrap(), [5.0, 2.0]);
        assert_eq!(gae(&steps, &[1.0, 1.0], 0.5, 1.0).unwrap(), [4.0, 1.0]);
    }

    #[test]
    fn shapes_are_checked() {
        let steps = Steps {
            batch: 2,
            rewards: &[1.0],
            next_values: &[1.0],
            terminated: &[false],
            truncated: &[false],
        };
        assert!(gae(&steps, &[1.0], 0.9, 0.9).unwrap_err().to_string().contains("batch = 2"));
        assert!(lambda_return::<f64>(&[], &[], &[], &[], 0.9, 1).is_err());
        assert!(n_step(&Steps { batch: 1, ..steps }, 0, 0.9).is_err());
    }
}
