//! What distributions alone say about counterfactuals of a binary cause and a binary effect.
//!
//! Tian & Pearl, *Probabilities of causation: bounds and identification* (2000); Manski (1990).

use crate::error::{Error, Result};
use serde::Serialize;

/// A counterfactual quantity: known exactly, or only between bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Answer {
    /// The data and assumptions determine the value.
    Point {
        /// The value.
        value: f64,
    },
    /// They leave an interval; every value in it is possible.
    Bounds {
        /// Smallest possible value.
        lower: f64,
        /// Largest possible value.
        upper: f64,
    },
}

impl Answer {
    fn between(lower: f64, upper: f64) -> Self {
        let (lower, upper) = (lower.clamp(0.0, 1.0), upper.clamp(0.0, 1.0));
        if upper - lower <= 1e-12 { Self::Point { value: lower } } else { Self::Bounds { lower, upper } }
    }

    /// The interval; of a point, both ends are the value.
    pub fn interval(&self) -> (f64, f64) {
        match *self {
            Self::Point { value } => (value, value),
            Self::Bounds { lower, upper } => (lower, upper),
        }
    }
}

/// Probabilities of causation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Causation {
    /// PN = P(Y₀ = 0 | X = 1, Y = 1): without the cause, the effect would not have been.
    pub necessity: Answer,
    /// PS = P(Y₁ = 1 | X = 0, Y = 0): with the cause, the effect would have been.
    pub sufficiency: Answer,
    /// PNS = P(Y₁ = 1, Y₀ = 0).
    pub necessity_and_sufficiency: Answer,
}

/// Bounds on PN, PS and PNS from the observed joint `[x][y]` and, if known, P(Y = 1 | do(x)) for x = 0, 1.
///
/// `monotone` assumes that the cause never prevents the effect (Y₁ ≥ Y₀); then all three are points when the
/// interventional distribution is known. Without it they are bounds, except at the edges.
///
/// # Errors
/// [`Error::Data`] when a table is not a distribution, or when joint and interventions contradict each other.
pub fn causation_bounds(joint: [[f64; 2]; 2], doing: Option<[f64; 2]>, monotone: bool) -> Result<Causation> {
    let total: f64 = joint.iter().flatten().sum();
    if (total - 1.0).abs() > 1e-9 || joint.iter().flatten().any(|p| *p < 0.0) {
        return Err(Error::data("joint", format!("is no distribution: the sum is {total}")));
    }
    let [[p00, p01], [p10, p11]] = joint; // p_xy
    let p_y = p01 + p11;
    // Without experiments every P(y | do(x)) that agrees with the joint is possible.
    let ranges = match doing {
        Some([y0, y1]) => {
            let fits = |x: usize, y: f64| joint[x][1] <= y + 1e-9 && y <= 1.0 - joint[x][0] + 1e-9;
            if !fits(0, y0) || !fits(1, y1) {
                return Err(Error::data(
                    "P(y | do(x))",
                    "contradicts the joint: P(x, y) <= P(y | do(x)) <= 1 - P(x, not y)",
                ));
            }
            [(y0, y0), (y1, y1)]
        }
        None => [(p01, 1.0 - p00), (p11, 1.0 - p10)],
    };
    let ((low0, high0), (low1, high1)) = (ranges[0], ranges[1]);
    let pns = if monotone {
        Answer::between(low1 - high0, high1 - low0)
    } else {
        let lower = [0.0, low1 - high0, p_y - high0, low1 - p_y].into_iter().fold(0.0, f64::max);
        let upper = [high1, 1.0 - low0, p11 + p00, high1 - low0 + p10 + p01].into_iter().fold(1.0, f64::min);
        Answer::between(lower, upper)
    };
    let ratio = |value: f64, by: f64| if by > 0.0 { value / by } else { f64::NAN };
    let pn = match (monotone, p11 > 0.0) {
        (_, false) => Answer::between(0.0, 1.0),
        (true, _) => Answer::between(ratio(p_y - high0, p11), ratio(p_y - low0, p11)),
        _ => Answer::between(ratio(p_y - high0, p11).max(0.0), ratio(1.0 - low0 - p00, p11).min(1.0)),
    };
    let ps = match (monotone, p00 > 0.0) {
        (_, false) => Answer::between(0.0, 1.0),
        (true, _) => Answer::between(ratio(low1 - p_y, p00), ratio(high1 - p_y, p00)),
        _ => Answer::between(ratio(low1 - p_y, p00).max(0.0), ratio(high1 - p11, p00).min(1.0)),
    };
    Ok(Causation { necessity: pn, sufficiency: ps, necessity_and_sufficiency: pns })
}

/// Manski's assumption-free bounds on E[Y | do(x)] for Y in `[lowest, highest]`: the units that did not take x
/// could have had any outcome. `mean` = E[Y | x], `share` = P(x).
pub fn manski_bounds(mean: f64, share: f64, lowest: f64, highest: f64) -> Answer {
    let (lower, upper) = (mean * share + lowest * (1.0 - share), mean * share + highest * (1.0 - share));
    if upper - lower <= 1e-12 { Answer::Point { value: lower } } else { Answer::Bounds { lower, upper } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Response types never, complier, defier, always with P(X = 1 | type) give every quantity exactly.
        #[test]
        fn the_truth_lies_within(weights in proptest::array::uniform4(0.01f64..1.0), px in proptest::array::uniform4(0.05f64..0.95)) {
            let total: f64 = weights.iter().sum();
            let t = weights.map(|w| w / total);
            let response = |k: usize, x: usize| [0, x, 1 - x, 1][k];
            let mut joint = [[0.0; 2]; 2];
            for k in 0..4 {
                for x in 0..2 {
                    joint[x][response(k, x)] += t[k] * if x == 1 { px[k] } else { 1.0 - px[k] };
                }
            }
            let doing = [t[2] + t[3], t[1] + t[3]];
            let truth = [t[1] * px[1] / joint[1][1], t[1] * (1.0 - px[1]) / joint[0][0], t[1]];
            for known in [Some(doing), None] {
                let c = causation_bounds(joint, known, false).unwrap();
                for (answer, truth) in [c.necessity, c.sufficiency, c.necessity_and_sufficiency].iter().zip(truth) {
                    let (lower, upper) = answer.interval();
                    prop_assert!(lower <= truth + 1e-9 && truth <= upper + 1e-9, "{answer:?} {truth}");
                }
            }
        }
    }

    #[test]
    fn monotonicity_makes_points() {
        // No defiers: never 0.3, complier 0.5, always 0.2; X is a fair coin.
        let joint = [[0.4, 0.1], [0.15, 0.35]];
        let c = causation_bounds(joint, Some([0.2, 0.7]), true).unwrap();
        assert!(
            matches!(c.necessity_and_sufficiency, Answer::Point { value } if (value - 0.5).abs() < 1e-12)
        );
        assert!(matches!(c.necessity, Answer::Point { value } if (value - 0.25 / 0.35).abs() < 1e-12));
        assert!(matches!(
            causation_bounds(joint, Some([0.2, 0.7]), false).unwrap().necessity,
            Answer::Bounds { .. }
        ));
        assert!(causation_bounds(joint, Some([0.9, 0.9]), false).is_err());
    }
}
