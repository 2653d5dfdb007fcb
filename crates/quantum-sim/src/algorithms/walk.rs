//! Quantum walks: coined walks on the line and on graphs, and Szegedy's walk of a Markov chain.
//!
//! Aharonov et al. (2001); Szegedy (2004). On the line the spread grows like t instead of √t, which is what exploration
//! wants from it.

use crate::error::{Error, Result, same_length};
use crate::gate::C64;

const ZERO: C64 = C64::new(0.0, 0.0);

/// The Hadamard walk on the line: coin, then coin 0 steps to x − 1 and coin 1 to x + 1. The symmetric start is
/// (1, i)/√2; then σ → √(1 − 1/√2) t ≈ 0.5412 t.
#[derive(Clone, Debug, PartialEq)]
pub struct LineWalk {
    /// `[coin][x + steps]`
    amplitudes: [Vec<C64>; 2],
    steps: usize,
}

impl LineWalk {
    /// The walk after some steps from x = 0.
    ///
    /// # Errors
    /// When the coin is not normalised or there are more than 10⁶ steps.
    pub fn new(steps: usize, coin: [C64; 2]) -> Result<Self> {
        let deviation = (coin[0].norm_sqr() + coin[1].norm_sqr() - 1.0).abs();
        crate::error::at_most("walk", "norm 1 of the coin", deviation, 1e-9)?;
        if steps > 1_000_000 {
            return Err(Error::shape("walk", "at most 1000000 steps", steps));
        }
        let width = 2 * steps + 1;
        let mut amplitudes = [vec![ZERO; width], vec![ZERO; width]];
        (amplitudes[0][steps], amplitudes[1][steps]) = (coin[0], coin[1]);
        let r = std::f64::consts::FRAC_1_SQRT_2;
        for t in 0..steps {
            let mut next = [vec![ZERO; width], vec![ZERO; width]];
            for x in steps - t..=steps + t {
                let (a, b) = (amplitudes[0][x], amplitudes[1][x]);
                next[0][x - 1] = (a + b) * r;
                next[1][x + 1] = (a - b) * r;
            }
            amplitudes = next;
        }
        Ok(Self { amplitudes, steps })
    }

    /// P(x) for x = −t..t.
    pub fn probabilities(&self) -> Vec<f64> {
        let [left, right] = &self.amplitudes;
        left.iter().zip(right).map(|(a, b)| a.norm_sqr() + b.norm_sqr()).collect()
    }

    /// Mean and standard deviation of the position.
    pub fn moments(&self) -> (f64, f64) {
        let at = |k: usize| k as f64 - self.steps as f64;
        let p = self.probabilities();
        let mean: f64 = p.iter().enumerate().map(|(k, p)| p * at(k)).sum();
        let square: f64 = p.iter().enumerate().map(|(k, p)| p * at(k) * at(k)).sum();
        (mean, (square - mean * mean).max(0.0).sqrt())
    }
}

/// The coined walk on a graph: Grover's coin 2/d − 1 on each node's d arcs, then the flip-flop shift that turns each arc
/// round. `neighbours[v]` lists the nodes next to v; every arc needs its reverse. Returns P(node) after the steps, from a
/// uniform superposition of the arcs of `start`.
///
/// # Errors
/// When a node has no neighbour, an arc has no reverse, or `start` does not exist.
pub fn graph_walk(neighbours: &[Vec<usize>], start: usize, steps: usize) -> Result<Vec<f64>> {
    if start >= neighbours.len() {
        return Err(Error::Index { operation: "graph walk", index: start, count: neighbours.len() });
    }
    let offsets: Vec<usize> = neighbours
        .iter()
        .scan(0, |sum, list| {
            *sum += list.len();
            Some(*sum - list.len())
        })
        .collect();
    let mut reverse = vec![];
    for (v, list) in neighbours.iter().enumerate() {
        if list.is_empty() {
            return Err(Error::unsupported("graph walk", format!("node {v} has no neighbours")));
        }
        for &w in list {
            let back = neighbours.get(w).and_then(|l| l.iter().position(|&x| x == v));
            let Some(back) = back else {
                return Err(Error::unsupported("graph walk", format!("the arc {v} → {w} has no reverse")));
            };
            reverse.push(offsets[w] + back);
        }
    }
    let mut amplitudes = vec![0.0; reverse.len()];
    let degree = neighbours[start].len();
    amplitudes[offsets[start]..offsets[start] + degree].fill((degree as f64).sqrt().recip());
    for _ in 0..steps {
        for (v, list) in neighbours.iter().enumerate() {
            let arcs = &mut amplitudes[offsets[v]..offsets[v] + list.len()];
            let mean = arcs.iter().sum::<f64>() / list.len() as f64;
            arcs.iter_mut().for_each(|a| *a = 2.0 * mean - *a);
        }
        amplitudes = reverse.iter().map(|&k| amplitudes[k]).collect();
    }
    let at = |(v, list): (usize, &Vec<usize>)| -> f64 {
        amplitudes[offsets[v]..offsets[v] + list.len()].iter().map(|a| a * a).sum()
    };
    Ok(neighbours.iter().enumerate().map(at).collect())
}

/// Szegedy's walk of a Markov chain with transition matrix P (rows sum to 1): reflect about |φ_x⟩ = Σ_y √P_xy |x, y⟩, then
/// swap the two registers. Returns P(x) after the steps, from |φ_start⟩.
///
/// # Errors
/// When P is not square or stochastic, or `start` does not exist.
pub fn szegedy_walk(transition: &[Vec<f64>], start: usize, steps: usize) -> Result<Vec<f64>> {
    let n = transition.len();
    if start >= n {
        return Err(Error::Index { operation: "Szegedy walk", index: start, count: n });
    }
    for row in transition {
        same_length("Szegedy walk", "columns", n, row.len())?;
        let negative: f64 = row.iter().map(|p| (-p).max(0.0)).sum();
        let deviation = (row.iter().sum::<f64>() - 1.0).abs() + negative;
        crate::error::at_most("Szegedy walk", "rows of probabilities", deviation, 1e-9)?;
    }
    let root: Vec<Vec<f64>> = transition.iter().map(|row| row.iter().map(|p| p.sqrt()).collect()).collect();
    let mut psi = vec![vec![0.0; n]; n];
    psi[start].clone_from(&root[start]);
    for _ in 0..steps {
        for (row, phi) in psi.iter_mut().zip(&root) {
            let overlap: f64 = row.iter().zip(phi).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(phi).for_each(|(a, b)| *a = 2.0 * overlap * b - *a);
        }
        psi = (0..n).map(|x| (0..n).map(|y| psi[y][x]).collect()).collect();
    }
    Ok(psi.iter().map(|row| row.iter().map(|a| a * a).sum()).collect())
}
