//! Counterfactuals of categorical mechanisms under the Gumbel-max assumption.
//!
//! Oberst & Sontag, *Counterfactual off-policy evaluation with Gumbel-max structural causal models* (ICML 2019). A
//! categorical distribution does not determine its mechanism; this picks x = argmax_i (ln pᵢ + gᵢ) with Gumbel gᵢ,
//! which never switches to a value whose relative probability fell. The result is exact under that assumption only.

use crate::error::{Error, Result};
use rand::{Rng, RngExt};

/// Draws what a categorical variable with probabilities `actual`, observed as `outcome`, would have been with
/// probabilities `hypothetical`.
///
/// # Errors
/// [`Error::Shape`] for laws of different size, [`Error::Data`] when the observed outcome has probability zero.
pub fn gumbel_max_counterfactual(
    actual: &[f64],
    outcome: usize,
    hypothetical: &[f64],
    rng: &mut impl Rng,
) -> Result<usize> {
    if actual.len() != hypothetical.len() || outcome >= actual.len() {
        let got = format!("{} probabilities, outcome {outcome}", hypothetical.len());
        return Err(Error::shape(
            "gumbel_max_counterfactual",
            format!("{} probabilities", actual.len()),
            got,
        ));
    }
    if actual[outcome] <= 0.0 {
        return Err(Error::data("observed outcome", "has probability zero under the actual law"));
    }
    let gumbel = |rng: &mut dyn FnMut() -> f64| -(-rng().max(f64::MIN_POSITIVE).ln()).ln();
    let mut uniform = || rng.random::<f64>();
    // The maximum of all ln pᵢ + gᵢ is Gumbel(ln Σp) whichever index attains it; the others are truncated below it.
    let top = actual.iter().sum::<f64>().ln() + gumbel(&mut uniform);
    let mut best = (f64::NEG_INFINITY, outcome);
    for (i, (&p, &q)) in actual.iter().zip(hypothetical).enumerate() {
        let free = gumbel(&mut uniform);
        let noise = if i == outcome {
            top - p.ln()
        } else if p > 0.0 {
            let value = p.ln() + free;
            -((-top).exp() + (-value).exp()).ln() - p.ln()
        } else {
            free
        };
        if q > 0.0 && q.ln() + noise > best.0 {
            best = (q.ln() + noise, i);
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_without_reason_and_the_marginal_is_right() {
        let mut rng = rl_core::SeedStream::new(3).stream("gumbel", 0);
        let (actual, hypothetical) = ([0.5, 0.3, 0.2], [0.2, 0.3, 0.5]);
        let mut counts = [0; 3];
        let n = 20_000;
        for k in 0..n {
            // Observe by the actual law, then ask for the hypothetical one: the mixture is its law.
            let u = (f64::from(k) + 0.5) / f64::from(n);
            let outcome = if u < 0.5 {
                0
            } else if u < 0.8 {
                1
            } else {
                2
            };
            assert_eq!(gumbel_max_counterfactual(&actual, outcome, &actual, &mut rng).unwrap(), outcome);
            let other = gumbel_max_counterfactual(&actual, outcome, &hypothetical, &mut rng).unwrap();
            assert!(outcome != 2 || other == 2, "the value that became likelier stays");
            counts[other] += 1;
        }
        for (count, p) in counts.iter().zip(hypothetical) {
            assert!((f64::from(*count) / f64::from(n) - p).abs() < 0.02);
        }
    }
}
