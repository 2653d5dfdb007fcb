//! QAvg and PAvg (Jin et al. 2022): tabular federated RL over clients whose dynamics differ. Every `E` local
//! steps the server averages Q-tables, or policies.

use crate::error::{Error, Result, check};
use crate::strategy::weighted_mean;

/// QAvg (algorithm 1): `Q̄(s,a) = 1/N Σ_k Q_k(s,a)`; `tables: [N][S·A]`.
///
/// # Errors
/// No tables, unequal sizes, numbers that are not finite.
pub fn q_average(tables: &[&[f64]]) -> Result<Vec<f64>> {
    weighted_mean(tables, &vec![1.0; tables.len()])
}

/// PAvg (algorithm 2): `π̄(a|s) = 1/N Σ_k π_k(a|s)`; `policies: [N][S·A]`, rows `[A]` that sum to 1.
///
/// # Errors
/// No policies, unequal sizes, or a row that is not a distribution (client and state are named).
pub fn policy_average(policies: &[&[f64]], actions: usize) -> Result<Vec<f64>> {
    check(actions > 0, "policy_average", "actions", actions, "≥ 1")?;
    for (k, policy) in policies.iter().enumerate() {
        if policy.len() % actions != 0 {
            return Err(Error::shape("policy_average", format!("rows of {actions}"), policy.len()));
        }
        for (state, row) in policy.chunks(actions).enumerate() {
            let valid = row.iter().all(|p| *p >= 0.0) && (row.iter().sum::<f64>() - 1.0).abs() < 1e-6;
            if !valid {
                let got = format!("{row:?} for state {state} from client {k}");
                return Err(Error::shape("policy_average", "probabilities that sum to 1", got));
            }
        }
    }
    weighted_mean(policies, &vec![1.0; policies.len()])
}

/// Projects every row `[A]` of a table onto the probability simplex in place (Euclidean; Duchi et al. 2008,
/// figure 1), the step after a policy-gradient move in PAvg.
///
/// # Errors
/// Rows that do not divide the table, or numbers that are not finite.
pub fn project_onto_simplex(table: &mut [f64], actions: usize) -> Result<()> {
    check(
        actions > 0 && table.len().is_multiple_of(actions),
        "project_onto_simplex",
        "actions",
        actions,
        "a divisor of the table's size",
    )?;
    if table.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite { operation: "project_onto_simplex", what: "a table entry".into() });
    }
    for row in table.chunks_mut(actions) {
        let mut sorted = row.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let (mut sum, mut shift) = (0.0, 0.0);
        for (j, value) in sorted.iter().enumerate() {
            sum += value;
            let candidate = (sum - 1.0) / (j + 1) as f64;
            if *value > candidate {
                shift = candidate;
            }
        }
        row.iter_mut().for_each(|x| *x = (*x - shift).max(0.0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn averages_by_hand() {
        assert_eq!(q_average(&[&[1.0, 2.0], &[3.0, 6.0]]).unwrap(), [2.0, 4.0]);
        let mean = policy_average(&[&[1.0, 0.0, 0.5, 0.5], &[0.0, 1.0, 0.5, 0.5]], 2).unwrap();
        assert_eq!(mean, [0.5; 4]);
        assert!(policy_average(&[&[0.7, 0.7]], 2).is_err());
    }

    proptest! {
        #[test]
        fn the_projection_is_a_distribution_and_the_nearest(row in prop::collection::vec(-3.0f64..3.0, 1..6)) {
            let mut p = row.clone();
            project_onto_simplex(&mut p, row.len()).unwrap();
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9 && p.iter().all(|x| *x >= 0.0));
            // optimality: moving mass from any used entry to any other does not come nearer
            for i in (0..p.len()).filter(|i| p[*i] > 1e-9) {
                for j in 0..p.len() {
                    prop_assert!((p[i] - row[i]) <= (p[j] - row[j]) + 1e-9);
                }
            }
        }
    }
}
