//! A sum tree over priorities (Schaul et al. 2016, appendix B.2.1): draws proportionally in O(log n).

use crate::{Error, Result};

/// A complete binary tree whose leaves are non-negative weights and whose nodes hold the sum, and the smallest
/// positive leaf, below them.
///
/// Each node is recomputed from its two children, so sums never drift however often leaves change.
#[derive(Clone, Debug, PartialEq)]
pub struct SumTree {
    leaves: usize,
    /// Leaves rounded up to a power of two; node i has children 2i and 2i + 1, leaf j is node `base + j`.
    base: usize,
    sums: Vec<f64>,
    minima: Vec<f64>,
}

impl SumTree {
    /// A tree of `leaves` zero weights.
    pub fn new(leaves: usize) -> Self {
        let base = leaves.next_power_of_two();
        Self { leaves, base, sums: vec![0.0; 2 * base], minima: vec![f64::INFINITY; 2 * base] }
    }

    /// Number of leaves.
    pub fn len(&self) -> usize {
        self.leaves
    }

    /// Whether the tree has no leaf.
    pub fn is_empty(&self) -> bool {
        self.leaves == 0
    }

    /// The sum of all weights.
    pub fn total(&self) -> f64 {
        self.sums[1]
    }

    /// The smallest positive weight, infinity if there is none.
    pub fn min_positive(&self) -> f64 {
        self.minima[1]
    }

    /// The weight of a leaf; zero outside the tree.
    pub fn get(&self, leaf: usize) -> f64 {
        if leaf < self.leaves { self.sums[self.base + leaf] } else { 0.0 }
    }

    /// All weights.
    pub fn weights(&self) -> &[f64] {
        &self.sums[self.base..self.base + self.leaves]
    }

    /// Sets the weight of a leaf.
    ///
    /// # Errors
    /// [`Error::Shape`] for a leaf outside the tree, [`Error::NotFinite`] for a weight that is negative or not finite.
    pub fn set(&mut self, leaf: usize, weight: f64) -> Result<()> {
        if leaf >= self.leaves {
            return Err(Error::shape("SumTree::set", format!("a leaf below {}", self.leaves), leaf));
        }
        if !(weight.is_finite() && weight >= 0.0) {
            let what = "a priority (must be finite and not negative)".into();
            return Err(Error::NotFinite { operation: "SumTree::set", what, value: weight });
        }
        let mut node = self.base + leaf;
        self.sums[node] = weight;
        self.minima[node] = if weight > 0.0 { weight } else { f64::INFINITY };
        while node > 1 {
            node /= 2;
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1];
            self.minima[node] = self.minima[2 * node].min(self.minima[2 * node + 1]);
        }
        Ok(())
    }

    /// The smallest leaf i with w_0 + … + w_i > `mass`, for `mass` in [0, total).
    ///
    /// Never a leaf of weight zero: where rounding would lead into one, or `mass` is not below the total, it is the
    /// nearest positive leaf. `None` if all weights are zero.
    pub fn prefix(&self, mass: f64) -> Option<usize> {
        if self.total() <= 0.0 {
            return None;
        }
        let (mut node, mut mass) = (1, mass);
        while node < self.base {
            let (left, right) = (self.sums[2 * node], self.sums[2 * node + 1]);
            if right <= 0.0 || (mass < left && left > 0.0) {
                node *= 2;
            } else {
                node = 2 * node + 1;
                mass -= left;
            }
        }
        Some(node - self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prefix_agrees_with_a_linear_scan(
            weights in prop::collection::vec(prop_oneof![Just(0u32), 1u32..8], 1..40), queries in prop::collection::vec(0.0..1.0f64, 8),
        ) {
            let mut tree = SumTree::new(weights.len());
            for (leaf, &weight) in weights.iter().enumerate() {
                tree.set(leaf, 99.0).unwrap();
                tree.set(leaf, f64::from(weight)).unwrap();
            }
            let total: u32 = weights.iter().sum();
            prop_assert_eq!(tree.total(), f64::from(total));
            for query in queries {
                // Whole and half masses: exact in floating point, so both sides must agree.
                let mass = (query * f64::from(2 * total)).floor() / 2.0;
                let scan = weights.iter().scan(0, |sum, &w| { *sum += w; Some(*sum) }).position(|sum| f64::from(sum) > mass);
                prop_assert_eq!(tree.prefix(mass), scan);
            }
        }
    }

    #[test]
    fn never_an_empty_leaf() {
        let mut tree = SumTree::new(5);
        assert_eq!(tree.prefix(0.0), None);
        tree.set(1, 0.1).unwrap();
        tree.set(3, 0.2).unwrap();
        for mass in [-1.0, 0.0, 0.1, 0.3, tree.total(), 7.0, f64::NAN] {
            assert!(matches!(tree.prefix(mass), Some(1 | 3)), "{mass}");
        }
        assert_eq!(tree.min_positive(), 0.1);
        assert!(tree.set(5, 1.0).is_err() && tree.set(0, -1.0).is_err() && tree.set(0, f64::NAN).is_err());
        assert_eq!(SumTree::new(1).total(), 0.0);
    }
}
