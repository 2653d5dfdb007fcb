//! Initialisers that draw from a given generator (candle's own cannot be seeded on the CPU).

use crate::StreamRng;
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// How a weight matrix `[inputs, outputs]` starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// All zero.
    Zeros,
    /// U(−1/√inputs, 1/√inputs): the default of PyTorch's `Linear`, for weights and biases.
    FanInUniform,
    /// U(−b, b), b = gain √(6 / (inputs + outputs)) (Glorot and Bengio 2010).
    XavierUniform {
        /// Scale of the bound.
        gain: f64,
    },
    /// U(−b, b), b = gain √(3 / inputs) (He et al. 2015; gain √2 for ReLU).
    KaimingUniform {
        /// Scale of the bound.
        gain: f64,
    },
    /// Orthonormal rows or columns, times gain (Saxe et al. 2014).
    Orthogonal {
        /// Scale of the matrix.
        gain: f64,
    },
    /// N(0, gain² / inputs) truncated at two standard deviations, rescaled to that variance.
    TruncatedNormal {
        /// Scale of the standard deviation.
        gain: f64,
    },
}

impl Init {
    /// Draws a matrix of `inputs · outputs` numbers, one row per input.
    pub fn draw(self, inputs: usize, outputs: usize, rng: &mut StreamRng) -> Vec<f64> {
        let n = inputs * outputs;
        let mut uniform = |bound: f64| (0..n).map(|_| bound * (2.0 * rng.random::<f64>() - 1.0)).collect();
        match self {
            Self::Zeros => vec![0.0; n],
            Self::FanInUniform => uniform(1.0 / (inputs as f64).sqrt()),
            Self::XavierUniform { gain } => uniform(gain * (6.0 / (inputs + outputs) as f64).sqrt()),
            Self::KaimingUniform { gain } => uniform(gain * (3.0 / inputs as f64).sqrt()),
            Self::Orthogonal { gain } => orthogonal(inputs, outputs, gain, rng),
            Self::TruncatedNormal { gain } => {
                // 0.8796… is the standard deviation of a standard normal truncated to [−2, 2].
                let scale = gain / (inputs as f64).sqrt() / 0.879_625_661_034_239_8;
                (0..n).map(|_| scale * truncated_normal(rng)).collect()
            }
        }
    }
}

fn truncated_normal(rng: &mut StreamRng) -> f64 {
    loop {
        let x: f64 = rng.sample(StandardNormal);
        if x.abs() <= 2.0 {
            return x;
        }
    }
}

/// Gram–Schmidt (applied twice, for orthogonality to rounding) on Gaussian vectors along the longer side.
fn orthogonal(inputs: usize, outputs: usize, gain: f64, rng: &mut StreamRng) -> Vec<f64> {
    let (count, length) = (inputs.min(outputs), inputs.max(outputs));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut v: Vec<f64> = (0..length).map(|_| rng.sample(StandardNormal)).collect();
        for _ in 0..2 {
            for b in &basis {
                let projection: f64 = v.iter().zip(b).map(|(x, y)| x * y).sum();
                v.iter_mut().zip(b).for_each(|(x, y)| *x -= projection * y);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 1e-6 {
            v.iter_mut().for_each(|x| *x /= norm);
            basis.push(v);
        }
    }
    let mut matrix = vec![0.0; inputs * outputs];
    for i in 0..inputs {
        for j in 0..outputs {
            let entry = if inputs >= outputs { basis[j][i] } else { basis[i][j] };
            matrix[i * outputs + j] = gain * entry;
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;

    fn rng() -> StreamRng {
        SeedStream::new(1).stream("init", 0)
    }

    #[test]
    fn orthogonal_matrices_are_orthogonal_along_the_shorter_side() {
        for (inputs, outputs) in [(7, 4), (4, 7), (5, 5)] {
            let w = Init::Orthogonal { gain: 2.0 }.draw(inputs, outputs, &mut rng());
            let entry = |i: usize, j: usize| w[i * outputs + j];
            let count = inputs.min(outputs);
            for a in 0..count {
                for b in 0..count {
                    let product: f64 = if inputs >= outputs {
                        (0..inputs).map(|i| entry(i, a) * entry(i, b)).sum()
                    } else {
                        (0..outputs).map(|j| entry(a, j) * entry(b, j)).sum()
                    };
                    let want = if a == b { 4.0 } else { 0.0 };
                    assert!((product - want).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn variances_are_as_stated() {
        let (inputs, outputs) = (100, 300);
        let variance = |init: Init| {
            let w = init.draw(inputs, outputs, &mut rng());
            w.iter().map(|x| x * x).sum::<f64>() / w.len() as f64
        };
        let cases = [
            (Init::FanInUniform, 1.0 / 300.0),
            (Init::XavierUniform { gain: 1.0 }, 2.0 / 400.0),
            (Init::KaimingUniform { gain: 2f64.sqrt() }, 2.0 / 100.0),
            (Init::TruncatedNormal { gain: 1.0 }, 1.0 / 100.0),
        ];
        for (init, want) in cases {
            let got = variance(init);
            assert!((got / want - 1.0).abs() < 0.03, "{init:?}: variance {got}, want {want}");
        }
    }
}
