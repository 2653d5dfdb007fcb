//! Choosing a paradigm while it trains: a bandit whose arms are learners, and whose payoffs rise as they learn.
//!
//! A slice of the budget goes to one learner at a time; its return after the slice, scaled to [0, 1], is the payoff. Rules: UCB1 (Auer,
//! Cesa-Bianchi & Fischer 2002) and EXP3 (Auer et al. 2002) know nothing of learning; successive halving (Jamieson & Talwalkar
//! 2016) spends the budget on ever fewer; the rising rule follows the optimistic extrapolation for arms that improve with
//! diminishing increments (Heidari, Kearns & Roth 2016; Metelli et al. 2022). Learners have generators of their own, so what an arm pays
//! at its n-th slice does not depend on who trains in between: [`replay`] computes exactly what a rule would have got from the learning
//! curves, and the regret against the best arm in hindsight ([`Played::regret`]).
//!
//! Deviation: the rising rule extrapolates the mean slope of a window rather than a single increment, for noisy curves, and
//! has no confidence term.

use crate::error::{Error, Result, within};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Which learner gets the next slice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// Everyone in turn.
    Uniform,
    /// Largest mean payoff + √(c ln t / n); UCB1 has c = 2.
    Ucb {
        /// c.
        exploration: f64,
    },
    /// Exponential weights on importance-weighted payoffs, mixed with γ of uniform play.
    Exp3 {
        /// γ in (0, 1].
        gamma: f64,
    },
    /// Equal shares for those who are left; the worse half leaves, log₂ K times.
    Halving,
    /// Largest mean of the last `window` payoffs + slope × slices left.
    Rising {
        /// Slices whose mean is compared with that of as many before.
        window: usize,
    },
}

/// A rule and what it has seen.
#[derive(Clone, Debug)]
pub struct Selector {
    rule: Rule,
    horizon: usize,
    /// Payoffs of each arm so far.
    seen: Vec<Vec<f64>>,
    /// Logarithms of EXP3's weights.
    weights: Vec<f64>,
    probabilities: Vec<f64>,
    /// Arms that successive halving still has.
    left: Vec<usize>,
    t: usize,
}

/// What a rule got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// The arm of each slice.
    pub arms: Vec<usize>,
    /// Its payoff.
    pub payoffs: Vec<f64>,
}

impl Selector {
    /// A rule for so many arms over `horizon` slices.
    ///
    /// # Errors
    /// [`Error::Range`] for no arms, no slices, or a parameter out of range.
    pub fn new(rule: Rule, arms: usize, horizon: usize) -> Result<Self> {
        within("arms", arms as f64, (1.0, 1e6), "at least 1")?;
        within("horizon", horizon as f64, (1.0, 1e9), "at least 1")?;
        match rule {
            Rule::Ucb { exploration } => within("exploration", exploration, (0.0, 1e6), "not negative")?,
            Rule::Exp3 { gamma } => within("gamma", gamma, (1e-9, 1.0), "in (0, 1]")?,
            Rule::Rising { window } => within("window", window as f64, (1.0, 1e6), "at least 1")?,
            Rule::Uniform | Rule::Halving => {}
        }
        Ok(Self {
            rule,
            horizon,
            seen: vec![vec![]; arms],
            weights: vec![0.0; arms],
            probabilities: vec![1.0 / arms as f64; arms],
            left: (0..arms).collect(),
            t: 0,
        })
    }

    /// The arm of the next slice.
    pub fn choose(&mut self, rng: &mut impl Rng) -> usize {
        match self.rule {
            Rule::Uniform => self.t % self.seen.len(),
            Rule::Ucb { exploration } => {
                let t = (self.t.max(1) as f64).ln();
                self.best(1, |payoffs| mean(payoffs) + (exploration * t / payoffs.len() as f64).sqrt())
            }
            Rule::Exp3 { gamma } => self.draw(gamma, rng),
            Rule::Halving => self.halving(),
            Rule::Rising { window } => {
                let left = (self.horizon.saturating_sub(self.t)) as f64;
                self.best(2 * window, |payoffs| {
                    let (before, recent) = payoffs[payoffs.len() - 2 * window..].split_at(window);
                    let slope = (mean(recent) - mean(before)) / window as f64;
                    mean(recent) + slope.max(0.0) * left
                })
            }
        }
    }

    /// Takes note of the payoff in [0, 1] of a slice.
    ///
    /// # Errors
    /// [`Error::Range`] for another payoff or an arm that does not exist.
    pub fn observe(&mut self, arm: usize, payoff: f64) -> Result<()> {
        within("payoff", payoff, (0.0, 1.0), "in [0, 1]")?;
        within("arm", arm as f64, (0.0, self.seen.len() as f64 - 1.0), "an arm")?;
        if let Rule::Exp3 { gamma } = self.rule {
            let k = self.seen.len() as f64;
            self.weights[arm] += gamma * payoff / self.probabilities[arm] / k;
        }
        self.seen[arm].push(payoff);
        self.t += 1;
        Ok(())
    }

    /// Whoever has fewer than `least` payoffs, else the largest index; the first of equals.
    fn best(&self, least: usize, index: impl Fn(&[f64]) -> f64) -> usize {
        let fewest = (0..self.seen.len()).min_by_key(|&k| self.seen[k].len()).unwrap_or(0);
        if self.seen[fewest].len() < least {
            return fewest;
        }
        let indices: Vec<f64> = self.seen.iter().map(|payoffs| index(payoffs)).collect();
        (1..indices.len()).fold(0, |best, k| if indices[k] > indices[best] { k } else { best })
    }

    fn draw(&mut self, gamma: f64, rng: &mut impl Rng) -> usize {
        let k = self.seen.len() as f64;
        let top = self.weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = self.weights.iter().map(|w| (w - top).exp()).sum();
        for (p, w) in self.probabilities.iter_mut().zip(&self.weights) {
            *p = (1.0 - gamma) * (w - top).exp() / total + gamma / k;
        }
        let mut left = rng.random::<f64>();
        let found = self.probabilities.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        found.unwrap_or(self.seen.len() - 1)
    }

    /// Whoever of those left has had the fewest slices; when all had their share of the round, the worse half leaves.
    fn halving(&mut self) -> usize {
        let rounds = (self.seen.len() as f64).log2().ceil().max(1.0);
        let done = (self.t as f64 * rounds / self.horizon as f64).floor();
        let allowed = (self.seen.len() as f64 / 2f64.powf(done)).ceil().max(1.0) as usize;
        if self.left.len() > allowed {
            let last = |k: &usize| self.seen[*k].last().copied().unwrap_or(0.0);
            self.left.sort_by(|a, b| last(b).total_cmp(&last(a)).then(a.cmp(b)));
            self.left.truncate(allowed);
        }
        self.left.iter().copied().min_by_key(|&k| (self.seen[k].len(), k)).unwrap_or(0)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// What a rule gets from arms whose n-th slice pays `curves[arm][n]`, in as many slices as the curves have.
///
/// # Errors
/// [`Error::Shape`] for curves of different lengths, or as [`Selector`].
pub fn replay(rule: Rule, curves: &[Vec<f64>], rng: &mut impl Rng) -> Result<Played> {
    let horizon = curves.first().map_or(0, Vec::len);
    if let Some(odd) = curves.iter().find(|c| c.len() != horizon) {
        return Err(Error::shape("replay", format!("curves of {horizon} slices"), odd.len()));
    }
    let mut selector = Selector::new(rule, curves.len(), horizon)?;
    let mut played = Played { arms: vec![], payoffs: vec![] };
    for _ in 0..horizon {
        let arm = selector.choose(rng);
        let payoff = curves[arm][selector.seen[arm].len()];
        selector.observe(arm, payoff)?;
        played.arms.push(arm);
        played.payoffs.push(payoff);
    }
    Ok(played)
}

impl Played {
    /// Σ_t of the best single arm less Σ_t of what was got: what knowing the best beforehand would have been worth.
    pub fn regret(&self, curves: &[Vec<f64>]) -> f64 {
        let best = curves.iter().map(|c| c.iter().sum()).fold(f64::NEG_INFINITY, f64::max);
        best - self.payoffs.iter().sum::<f64>()
    }

    /// The largest last payoff over arms: what is in hand at the end.
    pub fn in_hand(&self) -> f64 {
        let last = |arm: &usize| self.arms.iter().rposition(|a| a == arm).map_or(0.0, |t| self.payoffs[t]);
        self.arms.iter().map(last).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rl_core::SeedStream;

    const RULES: [Rule; 5] = [
        Rule::Uniform,
        Rule::Ucb { exploration: 2.0 },
        Rule::Exp3 { gamma: 0.1 },
        Rule::Halving,
        Rule::Rising { window: 2 },
    ];

    proptest! {
        #[test]
        fn every_rule_spends_the_whole_budget_and_flat_arms_cost_what_they_differ(
            flat in prop::collection::vec(0.0..1.0f64, 1..6), horizon in 1usize..60,
        ) {
            let curves: Vec<Vec<f64>> = flat.iter().map(|&x| vec![x; horizon]).collect();
            let best = flat.iter().copied().fold(0.0, f64::max);
            for rule in RULES {
                let played = replay(rule, &curves, &mut SeedStream::new(1).stream("select", 0)).unwrap();
                let cost: f64 = played.arms.iter().map(|&k| best - flat[k]).sum();
                prop_assert_eq!(played.arms.len(), horizon);
                prop_assert!((played.regret(&curves) - cost).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_rising_rule_waits_for_the_late_one_and_ucb_does_not() {
        // One arm pays 0.4 at once and stays; the other starts at nothing and rises to 1.
        let late: Vec<f64> = (0..100).map(|n| (n as f64 / 40.0).min(1.0)).collect();
        let curves = vec![vec![0.4; 100], late];
        let run = |rule| replay(rule, &curves, &mut SeedStream::new(1).stream("select", 0)).unwrap();
        let (rising, greedy) = (run(Rule::Rising { window: 2 }), run(Rule::Ucb { exploration: 0.02 }));
        assert!(rising.regret(&curves) < 5.0, "{}", rising.regret(&curves));
        assert!(greedy.regret(&curves) > 20.0 && greedy.in_hand() < rising.in_hand());
        assert_eq!(rising.in_hand(), 1.0);
    }

    #[test]
    fn halving_ends_with_one_and_bad_input_is_refused() {
        let curves: Vec<Vec<f64>> = (0..4).map(|k| vec![f64::from(k) / 10.0; 40]).collect();
        let played = replay(Rule::Halving, &curves, &mut SeedStream::new(1).stream("select", 0)).unwrap();
        assert!(played.arms[20..].iter().all(|k| *k >= 2), "{:?}", played.arms);
        let mut selector = Selector::new(Rule::Uniform, 2, 5).unwrap();
        assert!(selector.observe(0, 1.5).is_err() && selector.observe(2, 0.5).is_err());
        assert!(Selector::new(Rule::Exp3 { gamma: 0.0 }, 2, 5).is_err());
        let uneven = vec![vec![0.0; 3], vec![0.0; 2]];
        assert!(replay(Rule::Uniform, &uneven, &mut SeedStream::new(1).stream("select", 0)).is_err());
    }
}
