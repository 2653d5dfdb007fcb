//! Client-level differential privacy: clipping, accountants, integer noise for secure aggregation, budgets.
//!
//! A guarantee is a number with a unit. Everything here protects one **client** unless said otherwise: all of a
//! client's trajectories together. Two ways of choosing the clients of a round are told apart, because they need
//! different accountants and different neighbours:
//!
//! - [`Sampling::Poisson`]: each client joins with probability `q` on its own; neighbours differ by adding or
//!   removing a client; one client moves the sum by the clipping norm `S`.
//! - [`Sampling::FixedSize`]: exactly `m` of `N` clients, `q = m/N`; neighbours differ by replacing a client, which
//!   moves the sum by up to `2S`.
//!
//! In both cases the noise multiplier is `z = σ/S`.

pub mod clipping;
pub mod distributed;
pub mod pld;
pub mod rdp;
pub mod sampler;
pub mod training;

use crate::error::{Error, Result, check};
use serde::{Deserialize, Serialize};

/// `Φ(x)`, the standard normal distribution function, accurate in both tails.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// How the clients of a round are chosen; see the module's text for what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Independently with probability `q`.
    Poisson,
    /// A subset of fixed size, `q = m/N`.
    FixedSize,
}

/// Which accountant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accountant {
    /// Rényi differential privacy: fast, loose for few rounds.
    Rdp,
    /// Privacy loss distributions: tight.
    Pld,
}

/// Whom a guarantee protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A client with everything it ever contributes.
    Client,
    /// One episode of one client: needs clipping per trajectory.
    Episode,
}

/// The subsampled Gaussian mechanism, repeated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mechanism {
    /// `z = σ/S > 0`: noise of the sum over the clipping norm.
    pub noise_multiplier: f64,
    /// `q ∈ (0, 1]`.
    pub sampling_rate: f64,
    /// Rounds `T ≥ 0`.
    pub steps: u64,
    /// How clients are chosen.
    pub sampling: Sampling,
}

impl Mechanism {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        let (z, q) = (self.noise_multiplier, self.sampling_rate);
        check(z > 0.0 && z.is_finite(), "epsilon", "noise_multiplier", z, "> 0 and finite")?;
        check(q > 0.0 && q <= 1.0, "epsilon", "sampling_rate", q, "in (0, 1]")?;
        check(self.steps <= 1 << 40, "epsilon", "steps", self.steps, "at most 2^40")
    }

    /// The noise over the sensitivity of the neighbours' relation: `z`, or `z/2` when a client is replaced.
    pub(crate) fn relative_noise(&self) -> f64 {
        match self.sampling {
            Sampling::Poisson => self.noise_multiplier,
            Sampling::FixedSize => 0.5 * self.noise_multiplier,
        }
    }
}

/// A guarantee, ready to be printed: never a bare ε.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `ε ≥ 0`.
    pub epsilon: f64,
    /// `δ`.
    pub delta: f64,
    /// Whom it protects.
    pub unit: Unit,
    /// Which accountant found it.
    pub accountant: Accountant,
    /// What was accounted for.
    pub mechanism: Mechanism,
    /// RDP's best order.
    pub order: Option<f64>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.unit {
            Unit::Client => "client",
            Unit::Episode => "episode",
        };
        let (neighbours, sampling) = match self.mechanism.sampling {
            Sampling::Poisson => ("adding or removing one", "Poisson sampling"),
            Sampling::FixedSize => ("replacing one", "fixed-size sampling"),
        };
        let accountant = match self.accountant {
            Accountant::Rdp => "RDP",
            Accountant::Pld => "PLD",
        };
        let Mechanism { noise_multiplier, sampling_rate, steps, .. } = self.mechanism;
        write!(
            f,
            "ε = {:.4} at δ = {:e} per {unit} ({neighbours} {unit}; {sampling}, q = {sampling_rate}, noise multiplier {noise_multiplier}, {steps} rounds; {accountant})",
            self.epsilon, self.delta
        )
    }
}

/// ε at `delta` of a repeated subsampled Gaussian mechanism: what the `epsilon` command prints.
///
/// ```
/// use federated::privacy::{Accountant, Mechanism, Sampling, epsilon};
/// let mechanism = Mechanism { noise_multiplier: 1.0, sampling_rate: 0.01, steps: 1000, sampling: Sampling::Poisson };
/// let rdp = epsilon(&mechanism, 1e-6, Accountant::Rdp)?;
/// let pld = epsilon(&mechanism, 1e-6, Accountant::Pld)?;
/// assert!(pld.epsilon < rdp.epsilon);
/// # Ok::<(), federated::Error>(())
/// ```
///
/// # Errors
/// Arguments out of range: `δ ∈ (0, 1)`, and [`Mechanism::validate`].
pub fn epsilon(mechanism: &Mechanism, delta: f64, accountant: Accountant) -> Result<Report> {
    mechanism.validate()?;
    check(delta > 0.0 && delta < 1.0, "epsilon", "delta", delta, "in (0, 1)")?;
    let (epsilon, order) = match accountant {
        Accountant::Rdp => {
            let (epsilon, order) = rdp::epsilon(mechanism, delta)?;
            (epsilon, Some(order))
        }
        Accountant::Pld => (pld::epsilon(mechanism, delta)?, None),
    };
    Ok(Report { epsilon, delta, unit: Unit::Client, accountant, mechanism: *mechanism, order })
}

/// Counts rounds against a budget: ask before each round, log ε after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    mechanism: Mechanism,
    epsilon: f64,
    delta: f64,
    accountant: Accountant,
}

impl Budget {
    /// A budget of `(epsilon, delta)` for rounds of `mechanism`, whose `steps` are those spent already.
    ///
    /// # Errors
    /// Arguments out of range.
    pub fn new(mechanism: Mechanism, epsilon: f64, delta: f64, accountant: Accountant) -> Result<Self> {
        mechanism.validate()?;
        check(epsilon > 0.0, "budget", "epsilon", epsilon, "> 0")?;
        check(delta > 0.0 && delta < 1.0, "budget", "delta", delta, "in (0, 1)")?;
        Ok(Self { mechanism, epsilon, delta, accountant })
    }

    /// Spends one round and returns the guarantee after it.
    ///
    /// # Errors
    /// [`Error::BudgetSpent`] when the round would exceed the budget; nothing is then spent, and training must stop.
    pub fn spend_round(&mut self) -> Result<Report> {
        let after = Mechanism { steps: self.mechanism.steps + 1, ..self.mechanism };
        let report = epsilon(&after, self.delta, self.accountant)?;
        if report.epsilon > self.epsilon {
            return Err(Error::BudgetSpent {
                after: report.epsilon,
                allowed: self.epsilon,
                delta: self.delta,
            });
        }
        self.mechanism = after;
        Ok(report)
    }

    /// Rounds spent.
    pub fn rounds(&self) -> u64 {
        self.mechanism.steps
    }

    /// The largest number of rounds that the budget allows in all, by bisection.
    ///
    /// # Errors
    /// None beyond those of [`epsilon`].
    pub fn rounds_allowed(&self) -> Result<u64> {
        let fits = |steps| -> Result<bool> {
            Ok(epsilon(&Mechanism { steps, ..self.mechanism }, self.delta, self.accountant)?.epsilon
                <= self.epsilon)
        };
        let (mut low, mut high) = (0, 1);
        while high < 1 << 24 && fits(high)? {
            (low, high) = (high, high * 2);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle)? { low = middle } else { high = middle }
        }
        Ok(low)
    }
}

/// The least noise multiplier whose ε after `mechanism.steps` rounds stays within `epsilon_target`, to 1e-4 relative.
///
/// # Errors
/// Arguments out of range, or a target that no multiplier up to 10⁴ reaches.
pub fn noise_for(
    mechanism: &Mechanism,
    epsilon_target: f64,
    delta: f64,
    accountant: Accountant,
) -> Result<f64> {
    check(epsilon_target > 0.0, "noise_for", "epsilon_target", epsilon_target, "> 0")?;
    let at = |z: f64| {
        Ok::<_, Error>(epsilon(&Mechanism { noise_multiplier: z, ..*mechanism }, delta, accountant)?.epsilon)
    };
    let (mut low, mut high) = (0.2, 0.4);
    while at(high)? > epsilon_target {
        check(
            high < 1e4,
            "noise_for",
            "epsilon_target",
            epsilon_target,
            "reachable with a noise multiplier below 10^4",
        )?;
        (low, high) = (high, high * 2.0);
    }
    while high / low > 1.0001 {
        let middle = (low * high).sqrt();
        if at(middle)? > epsilon_target { low = middle } else { high = middle }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mechanism() -> Mechanism {
        Mechanism { noise_multiplier: 1.0, sampling_rate: 0.1, steps: 0, sampling: Sampling::Poisson }
    }

    #[test]
    fn a_budget_stops_before_it_is_exceeded() {
        let noisy = Mechanism { noise_multiplier: 2.0, ..mechanism() };
        let mut budget = Budget::new(noisy, 2.0, 1e-5, Accountant::Rdp).unwrap();
        let allowed = budget.rounds_allowed().unwrap();
        let mut last = 0.0;
        for _ in 0..allowed {
            let report = budget.spend_round().unwrap();
            assert!(report.epsilon <= 2.0 && report.epsilon >= last);
            last = report.epsilon;
        }
        assert!(matches!(budget.spend_round(), Err(Error::BudgetSpent { .. })));
        assert_eq!(budget.rounds(), allowed);
        assert!(allowed > 3);
    }

    #[test]
    fn the_unit_and_the_neighbours_are_always_printed() {
        let fixed = Mechanism { sampling: Sampling::FixedSize, steps: 10, ..mechanism() };
        let text = epsilon(&fixed, 1e-5, Accountant::Pld).unwrap().to_string();
        assert!(text.contains("per client") && text.contains("replacing one client"), "{text}");
        let text =
            epsilon(&Mechanism { steps: 10, ..mechanism() }, 1e-5, Accountant::Rdp).unwrap().to_string();
        assert!(text.contains("adding or removing one client") && text.contains("RDP"), "{text}");
    }

    #[test]
    fn noise_is_found_for_a_target() {
        let m = Mechanism { steps: 100, ..mechanism() };
        let z = noise_for(&m, 3.0, 1e-5, Accountant::Rdp).unwrap();
        let at = |z| epsilon(&Mechanism { noise_multiplier: z, ..m }, 1e-5, Accountant::Rdp).unwrap().epsilon;
        assert!(at(z) <= 3.0 && at(z * 0.999) > 3.0);
    }

    #[test]
    fn arguments_are_checked() {
        for bad in [
            Mechanism { noise_multiplier: 0.0, ..mechanism() },
            Mechanism { noise_multiplier: f64::NAN, ..mechanism() },
            Mechanism { sampling_rate: 1.5, ..mechanism() },
        ] {
            assert!(epsilon(&bad, 1e-5, Accountant::Pld).is_err());
        }
        assert!(epsilon(&mechanism(), 0.0, Accountant::Pld).is_err());
        assert_eq!(epsilon(&mechanism(), 1e-5, Accountant::Pld).unwrap().epsilon, 0.0);
        assert_eq!(epsilon(&mechanism(), 1e-5, Accountant::Rdp).unwrap().epsilon, 0.0);
    }
}
