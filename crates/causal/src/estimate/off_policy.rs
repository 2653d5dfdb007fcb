//! Off-policy evaluation: the value of a target policy from episodes of a behaviour policy.
//!
//! Precup, Sutton & Singh (2000) for importance sampling; Jiang & Li (2016) for the doubly robust form. When hidden
//! confounders drive both the behaviour and the outcome no weight repairs that: [`confounded_value_bounds`] returns
//! the interval that a bound Γ on their strength leaves (Kallus & Zhou, *Confounding-robust policy evaluation*, 2020;
//! Bruns-Smith 2021), which for Γ → ∞ becomes Manski's.

use super::Estimate;
use super::sensitivity::extreme_means;
use crate::error::{Error, Result};
use crate::scm::Answer;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One step of an episode, with the probabilities of its action under both policies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Reward after the action.
    pub reward: f64,
    /// π(action | state) of the policy to be evaluated.
    pub target_probability: f64,
    /// Probability of the action under the policy that acted; positive.
    pub behaviour_probability: f64,
    /// Model value Q(s, a) of the target policy; 0 without a model.
    pub q: f64,
    /// Model value V(s) of the target policy; 0 without a model.
    pub v: f64,
}

/// An estimate and how many effective episodes carry it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OffPolicyEstimate {
    /// The value of the target policy.
    pub value: Estimate,
    /// (Σ w)² / Σ w² of the whole-episode weights: small numbers warn.
    pub effective_episodes: f64,
}

fn check(episodes: &[Vec<Step>], discount: f64) -> Result<()> {
    if episodes.is_empty() {
        return Err(Error::data("episodes", "there is none"));
    }
    if !(0.0..=1.0).contains(&discount) {
        return Err(Error::config("off_policy", "discount", discount, "in [0, 1]"));
    }
    let bad = episodes
        .iter()
        .flatten()
        .find(|s| !(s.behaviour_probability > 0.0 && s.behaviour_probability <= 1.0));
    match bad {
        Some(step) => Err(Error::data(
            "behaviour probability",
            format!("{} of an action that was taken; must be in (0, 1]", step.behaviour_probability),
        )),
        None => Ok(()),
    }
}

fn ratio(step: &Step) -> f64 {
    step.target_probability / step.behaviour_probability
}

fn episode_weights(episodes: &[Vec<Step>]) -> Vec<f64> {
    episodes.iter().map(|e| e.iter().map(ratio).product()).collect()
}

fn effective(weights: &[f64]) -> f64 {
    let (sum, squares) = (weights.iter().sum::<f64>(), weights.iter().map(|w| w * w).sum::<f64>());
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

fn discounted(episode: &[Step], discount: f64) -> f64 {
    episode.iter().rev().fold(0.0, |after, step| step.reward + discount * after)
}

/// mean of (∏ₜ ρₜ) Σₜ γᵗ rₜ: unbiased, of large variance.
///
/// # Errors
/// [`Error::Data`] without episodes or for behaviour probabilities outside (0, 1], [`Error::Config`] for γ.
pub fn importance_sampling(episodes: &[Vec<Step>], discount: f64) -> Result<OffPolicyEstimate> {
    check(episodes, discount)?;
    let weights = episode_weights(episodes);
    let values: Vec<f64> = episodes.iter().zip(&weights).map(|(e, w)| w * discounted(e, discount)).collect();
    Ok(OffPolicyEstimate {
        value: Estimate::from_influence(&values),
        effective_episodes: effective(&weights),
    })
}

/// Σ w R / Σ w: biased for few episodes, of bounded variance.
///
/// # Errors
/// As [`importance_sampling`]; [`Error::Data`] when no episode is possible under the target policy.
pub fn weighted_importance_sampling(episodes: &[Vec<Step>], discount: f64) -> Result<OffPolicyEstimate> {
    check(episodes, discount)?;
    let weights = episode_weights(episodes);
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return Err(Error::data("episodes", "none has positive probability under the target policy"));
    }
    let returns: Vec<f64> = episodes.iter().map(|e| discounted(e, discount)).collect();
    let value = weights.iter().zip(&returns).map(|(w, r)| w * r).sum::<f64>() / total;
    let n = episodes.len() as f64;
    let influence: Vec<f64> =
        weights.iter().zip(&returns).map(|(w, r)| n / total * w * (r - value)).collect();
    let standard_error = Estimate::from_influence(&influence).standard_error;
    Ok(OffPolicyEstimate {
        value: Estimate::new(value, standard_error),
        effective_episodes: effective(&weights),
    })
}

/// mean of Σₜ γᵗ (∏ᵢ≤ₜ ρᵢ) rₜ: a reward is weighted by the actions before it only.
///
/// # Errors
/// As [`importance_sampling`].
pub fn per_decision_importance_sampling(episodes: &[Vec<Step>], discount: f64) -> Result<OffPolicyEstimate> {
    check(episodes, discount)?;
    let value = |e: &Vec<Step>| e.iter().rev().fold(0.0, |after, s| ratio(s) * (s.reward + discount * after));
    let values: Vec<f64> = episodes.iter().map(value).collect();
    let effective_episodes = effective(&episode_weights(episodes));
    Ok(OffPolicyEstimate { value: Estimate::from_influence(&values), effective_episodes })
}

/// The recursion V̂ₜ = V(sₜ) + ρₜ (rₜ + γ V̂ₜ₊₁ − Q(sₜ, aₜ)): right when the weights or the model are.
///
/// # Errors
/// As [`importance_sampling`].
pub fn doubly_robust(episodes: &[Vec<Step>], discount: f64) -> Result<OffPolicyEstimate> {
    check(episodes, discount)?;
    let value = |e: &Vec<Step>| {
        e.iter().rev().fold(0.0, |after, s| s.v + ratio(s) * (s.reward + discount * after - s.q))
    };
    let values: Vec<f64> = episodes.iter().map(value).collect();
    let effective_episodes = effective(&episode_weights(episodes));
    Ok(OffPolicyEstimate { value: Estimate::from_influence(&values), effective_episodes })
}

/// A transition between finite states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TabularTransition {
    /// State before.
    pub state: usize,
    /// Action taken.
    pub action: usize,
    /// Reward.
    pub reward: f64,
    /// State after; `None` when the episode ended.
    pub next: Option<usize>,
}

/// Settings of [`confounded_value_bounds`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfoundedConfig {
    /// Γ ≥ 1: the factor by which hidden confounders may change the odds of an action. 1 assumes none.
    pub gamma: f64,
    /// Discount in [0, 1).
    pub discount: f64,
    /// Least reward there is.
    pub lowest_reward: f64,
    /// Largest reward there is.
    pub highest_reward: f64,
    /// Sweeps end when no value changes by more than this.
    pub tolerance: f64,
}

impl Default for ConfoundedConfig {
    fn default() -> Self {
        Self { gamma: 1.0, discount: 0.95, lowest_reward: 0.0, highest_reward: 1.0, tolerance: 1e-9 }
    }
}

/// Bounds on the value V^π(s) of every state `0..policy.len()` under `policy[s][a]`, from transitions of a behaviour
/// whose hidden confounders are drawn anew at each step.
///
/// With e = P(a | s) as observed, the unseen weights of a sample lie in [e + (1 − e)/Γ, e + (1 − e) Γ] (the marginal
/// sensitivity model); the worst and best weighted means are taken in every Bellman step. State–action pairs
/// without data get the extreme value.
///
/// # Errors
/// [`Error::Config`] for Γ, discount or rewards out of range; [`Error::Node`] for a state or action outside the
/// policy; [`Error::Data`] for policy rows that do not sum to 1.
pub fn confounded_value_bounds(
    data: &[TabularTransition],
    policy: &[Vec<f64>],
    config: &ConfoundedConfig,
) -> Result<Vec<Answer>> {
    check_confounded(data, policy, config)?;
    let mut visits = vec![0usize; policy.len()];
    let mut samples: HashMap<(usize, usize), Vec<&TabularTransition>> = HashMap::new();
    for step in data {
        visits[step.state] += 1;
        samples.entry((step.state, step.action)).or_default().push(step);
    }
    let solve = |upper: bool| {
        let extreme =
            if upper { config.highest_reward } else { config.lowest_reward } / (1.0 - config.discount);
        let mut values = vec![extreme; policy.len()];
        loop {
            let mut change = 0.0f64;
            for s in 0..policy.len() {
                let backup = |(a, probability): (usize, &f64)| {
                    if *probability == 0.0 {
                        return 0.0;
                    }
                    let Some(list) = samples.get(&(s, a)) else { return probability * extreme };
                    let e = list.len() as f64 / visits[s] as f64;
                    let (low, high) = (e + (1.0 - e) / config.gamma, e + (1.0 - e) * config.gamma);
                    let target = |t: &&TabularTransition| {
                        t.reward + config.discount * t.next.map_or(0.0, |n| values[n])
                    };
                    let (least, most) = extreme_means(list.iter().map(|t| (target(t), low, high)).collect());
                    probability * if upper { most } else { least }
                };
                let new: f64 = policy[s].iter().enumerate().map(backup).sum();
                change = change.max((new - values[s]).abs());
                values[s] = new;
            }
            if change <= config.tolerance {
                return values;
            }
        }
    };
    let (lower, upper) = (solve(false), solve(true));
    let answer = |(lower, upper): (f64, f64)| {
        if upper - lower <= 10.0 * config.tolerance / (1.0 - config.discount) {
            Answer::Point { value: 0.5 * (lower + upper) }
        } else {
            Answer::Bounds { lower, upper }
        }
    };
    Ok(lower.into_iter().zip(upper).map(answer).collect())
}

fn check_confounded(
    data: &[TabularTransition],
    policy: &[Vec<f64>],
    config: &ConfoundedConfig,
) -> Result<()> {
    if !(config.gamma >= 1.0 && config.gamma.is_finite()) {
        return Err(Error::config("confounded", "gamma", config.gamma, "at least 1"));
    }
    if !(0.0..1.0).contains(&config.discount) {
        return Err(Error::config("confounded", "discount", config.discount, "in [0, 1)"));
    }
    if config.lowest_reward > config.highest_reward || config.tolerance <= 0.0 {
        return Err(Error::config(
            "confounded",
            "lowest_reward",
            config.lowest_reward,
            "at most highest_reward",
        ));
    }
    if let Some(s) = policy.iter().position(|row| (row.iter().sum::<f64>() - 1.0).abs() > 1e-9) {
        return Err(Error::data(format!("policy of state {s}"), "does not sum to 1"));
    }
    for step in data {
        let places = [Some(step.state), step.next].into_iter().flatten();
        if let Some(node) = places.into_iter().find(|&s| s >= policy.len()) {
            return Err(Error::Node { operation: "confounded_value_bounds", node, count: policy.len() });
        }
        if step.action >= policy[step.state].len() {
            let count = policy[step.state].len();
            return Err(Error::Node { operation: "confounded_value_bounds", node: step.action, count });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn all_unbiased_estimators_agree_with_the_truth() {
        // Two steps, two actions, reward = action; the target always plays 1, the behaviour tosses a coin.
        let mut rng = rl_core::SeedStream::new(1).stream("ope", 0);
        let mut step = |model: bool| {
            let action = u8::from(rng.random::<f64>() < 0.5);
            let (q, v) = if model { (f64::from(action), 1.0) } else { (0.0, 0.0) };
            Step {
                reward: f64::from(action),
                target_probability: f64::from(action),
                behaviour_probability: 0.5,
                q,
                v,
            }
        };
        let plain: Vec<Vec<Step>> = (0..4000).map(|_| vec![step(false), step(false)]).collect();
        for estimate in [
            importance_sampling(&plain, 1.0).unwrap(),
            weighted_importance_sampling(&plain, 1.0).unwrap(),
            per_decision_importance_sampling(&plain, 1.0).unwrap(),
            doubly_robust(&plain, 1.0).unwrap(),
        ] {
            assert!((estimate.value.value - 2.0).abs() < 0.2, "{estimate:?}");
        }
    }

    #[test]
    fn the_bounds_hold_under_confounding_and_close_without_it() {
        // U ~ fair coin picks the action mostly (a = U with 0.8) and pays 1 when a differs from U.
        let mut rng = rl_core::SeedStream::new(2).stream("confounded", 0);
        let data: Vec<TabularTransition> = (0..20_000)
            .map(|_| {
                let u = usize::from(rng.random::<f64>() < 0.5);
                let action = if rng.random::<f64>() < 0.8 { u } else { 1 - u };
                TabularTransition { state: 0, action, reward: f64::from(u8::from(action != u)), next: None }
            })
            .collect();
        let policy = vec![vec![1.0, 0.0]];
        let bounds = |gamma| {
            let config = ConfoundedConfig { gamma, discount: 0.0, ..ConfoundedConfig::default() };
            confounded_value_bounds(&data, &policy, &config).unwrap()[0]
        };
        // The truth under do(a = 0) is 0.5; the data say 0.2, and the odds differ by 4.
        assert!(matches!(bounds(1.0), Answer::Point { value } if (value - 0.2).abs() < 0.02));
        let (lower, upper) = bounds(4.0).interval();
        assert!(lower < 0.5 && 0.5 <= upper + 0.02, "{lower} {upper}");
        let wider = bounds(8.0).interval();
        assert!(wider.0 <= lower && wider.1 >= upper);
    }
}
