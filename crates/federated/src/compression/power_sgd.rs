//! PowerSGD (Vogels, Karimireddy & Jaggi 2019, algorithm 1): each weight matrix `[m, n]` of the update is
//! approximated by `P Qᵀ` of rank `r` with one step of warm-started power iteration; error feedback keeps the rest.
//!
//! `P` and `Q` are linear in the clients' updates, so a server may average them: [`PowerSgd::left`] → mean of `P`
//! → [`PowerSgd::right`] → mean of `Q` → [`PowerSgd::finish`], at `4 r (m + n)` bytes per matrix and direction.

use crate::error::{Error, Result, check};
use crate::strategy::personal::Layout;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// One client's compressor: memory and the warm start of `Q`. All clients must be made with equal random streams.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerSgd {
    rank: usize,
    blocks: Vec<Block>,
    memory: Vec<f32>,
    /// `m + u` of the running exchange.
    target: Vec<f32>,
}

/// A matrix `[rows, columns]` at `start`; vectors (`columns == 1`) travel uncompressed.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    start: usize,
    rows: usize,
    columns: usize,
    /// `[columns, rank]`.
    q: Vec<f32>,
    /// `[rows, rank]`, orthonormal columns, of the running exchange.
    p: Vec<f32>,
}

impl PowerSgd {
    /// For the layers of `layout`: the first axis against the rest, rank `r ≥ 1` (the paper uses 1 to 4).
    ///
    /// # Errors
    /// Rank 0.
    pub fn new(rank: usize, layout: &Layout, rng: &mut impl Rng) -> Result<Self> {
        check(rank > 0, "power_sgd", "rank", rank, "≥ 1")?;
        let mut blocks = Vec::new();
        for (layer, (_, range)) in layout.0.iter().zip(layout.ranges()) {
            let rows = layer.shape.first().copied().unwrap_or(1).max(1);
            let columns = range.len() / rows;
            let compressible = columns > 1 && rows > 1 && rank * (rows + columns) < rows * columns;
            let (rows, columns) = if compressible { (rows, columns) } else { (range.len(), 1) };
            let q = if compressible {
                (0..columns * rank).map(|_| StandardNormal.sample(rng)).collect()
            } else {
                vec![]
            };
            blocks.push(Block { start: range.start, rows, columns, q, p: Vec::new() });
        }
        let zeros = vec![0.0; layout.dimension()];
        Ok(Self { rank, blocks, memory: zeros.clone(), target: zeros })
    }

    /// First half: `M ← memory + update`, returns all `P = M Q` (and the uncompressed layers) as one flat vector.
    ///
    /// # Errors
    /// Another length, or a number that is not finite.
    pub fn left(&mut self, update: &[f32]) -> Result<Vec<f32>> {
        if update.len() != self.memory.len() {
            return Err(Error::shape("power_sgd", self.memory.len(), update.len()));
        }
        if let Some(j) = update.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite {
                operation: "power_sgd",
                what: format!("update of parameter {j}"),
            });
        }
        for ((target, memory), update) in self.target.iter_mut().zip(&self.memory).zip(update) {
            *target = memory + update;
        }
        let mut message = Vec::new();
        for block in &self.blocks {
            let m = &self.target[block.start..block.start + block.rows * block.columns];
            if block.q.is_empty() {
                message.extend_from_slice(m);
                continue;
            }
            for row in m.chunks(block.columns) {
                for r in 0..self.rank {
                    message.push((0..block.columns).map(|c| row[c] * block.q[c * self.rank + r]).sum());
                }
            }
        }
        Ok(message)
    }

    /// Second half: takes the mean of all clients' `P`, orthonormalises its columns and returns `Q = Mᵀ P`.
    ///
    /// # Errors
    /// Another length than [`PowerSgd::left`] returned.
    pub fn right(&mut self, mean_left: &[f32]) -> Result<Vec<f32>> {
        let rank = self.rank;
        self.check_length("power_sgd right", mean_left.len(), |b| {
            b.rows * if b.q.is_empty() { 1 } else { rank }
        })?;
        let (mut rest, mut message) = (mean_left, Vec::new());
        for block in &mut self.blocks {
            let (now, later) = rest.split_at(block.rows * if block.q.is_empty() { 1 } else { rank });
            rest = later;
            block.p = now.to_vec();
            if block.q.is_empty() {
                continue;
            }
            orthonormalise(&mut block.p, rank);
            let m = &self.target[block.start..block.start + block.rows * block.columns];
            let mut q = vec![0.0f32; block.columns * rank];
            for (row, p) in m.chunks(block.columns).zip(block.p.chunks(rank)) {
                for (c, x) in row.iter().enumerate() {
                    for r in 0..rank {
                        q[c * rank + r] += x * p[r];
                    }
                }
            }
            message.extend_from_slice(&q);
        }
        Ok(message)
    }

    /// Takes the mean of all clients' `Q` and returns the common decompressed mean update `P Qᵀ`; what it does not
    /// represent of this client's own update stays in the memory.
    ///
    /// # Errors
    /// Another length than [`PowerSgd::right`] returned.
    pub fn finish(&mut self, mean_right: &[f32]) -> Result<Vec<f32>> {
        let rank = self.rank;
        self.check_length("power_sgd finish", mean_right.len(), |b| b.q.len())?;
        if self.blocks.iter().any(|b| b.p.is_empty() && b.rows > 0) {
            let reason = "no running exchange: call left and right first".into();
            return Err(Error::OutOfOrder { operation: "power_sgd finish", reason });
        }
        let (mut rest, mut mean) = (mean_right, vec![0.0f32; self.memory.len()]);
        for block in &mut self.blocks {
            let (now, later) = rest.split_at(block.q.len());
            rest = later;
            let place = block.start..block.start + block.rows * block.columns;
            let (out, memory) = (&mut mean[place.clone()], &mut self.memory[place.clone()]);
            let p = std::mem::take(&mut block.p);
            if block.q.is_empty() {
                out.copy_from_slice(&p);
                memory.fill(0.0);
                continue;
            }
            block.q.copy_from_slice(now);
            for (row, p) in out.chunks_mut(block.columns).zip(p.chunks(rank)) {
                for (c, x) in row.iter_mut().enumerate() {
                    *x = (0..rank).map(|r| p[r] * block.q[c * rank + r]).sum();
                }
            }
            for ((memory, target), sent) in memory.iter_mut().zip(&self.target[place]).zip(out.iter()) {
                *memory = target - sent;
            }
        }
        Ok(mean)
    }

    /// Bytes up per exchange: both messages, 4 bytes a number.
    pub fn bytes_up(&self) -> usize {
        let numbers = |b: &Block| if b.q.is_empty() { b.rows } else { self.rank * (b.rows + b.columns) };
        4 * self.blocks.iter().map(numbers).sum::<usize>()
    }

    fn check_length(&self, operation: &'static str, got: usize, of: impl Fn(&Block) -> usize) -> Result<()> {
        let expected: usize = self.blocks.iter().map(of).sum();
        if expected == got { Ok(()) } else { Err(Error::shape(operation, expected, got)) }
    }
}

/// Gram-Schmidt on the columns of `p: [rows, rank]`; a column without anything new becomes zero.
fn orthonormalise(p: &mut [f32], rank: usize) {
    let rows = p.len() / rank;
    let dot = |p: &[f32], a: usize, b: usize| -> f64 {
        (0..rows).map(|i| f64::from(p[i * rank + a]) * f64::from(p[i * rank + b])).sum()
    };
    for r in 0..rank {
        let before = dot(p, r, r).sqrt();
        for earlier in 0..r {
            let overlap = dot(p, r, earlier) as f32;
            (0..rows).for_each(|i| p[i * rank + r] -= overlap * p[i * rank + earlier]);
        }
        let length = dot(p, r, r).sqrt();
        let scale = if length > 1e-6 * before && length > 0.0 { 1.0 / length } else { 0.0 };
        (0..rows).for_each(|i| p[i * rank + r] = (f64::from(p[i * rank + r]) * scale) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::personal::Layer;
    use rand::RngExt;

    fn layout() -> Layout {
        let layer = |name: &str, shape: &[usize]| Layer { name: name.into(), shape: shape.to_vec() };
        Layout(vec![layer("w", &[12, 10]), layer("b", &[12])])
    }

    fn exchange(clients: &mut [PowerSgd], updates: &[Vec<f32>]) -> Vec<f32> {
        let mean = |m: Vec<Vec<f32>>| -> Vec<f32> {
            (0..m[0].len()).map(|j| m.iter().map(|x| x[j]).sum::<f32>() / m.len() as f32).collect()
        };
        let left = mean(clients.iter_mut().zip(updates).map(|(c, u)| c.left(u).unwrap()).collect());
        let right = mean(clients.iter_mut().map(|c| c.right(&left).unwrap()).collect());
        let out: Vec<Vec<f32>> = clients.iter_mut().map(|c| c.finish(&right).unwrap()).collect();
        assert!(out.windows(2).all(|w| w[0] == w[1]), "all clients decompress the same mean");
        out[0].clone()
    }

    fn client() -> PowerSgd {
        PowerSgd::new(2, &layout(), &mut rl_core::seed::SeedStream::new(0).stream("power", 0)).unwrap()
    }

    #[test]
    fn a_mean_of_low_rank_is_exact_and_vectors_always_are() {
        let mut clients = [client(), client()];
        let make = |s: f32| -> Vec<f32> {
            let matrix =
                (0..120).map(|k| s * (k / 10) as f32 * ((k % 10) as f32 - 4.0) + 0.5 * ((k % 10) as f32));
            matrix.chain((0..12).map(|i| s + i as f32)).collect()
        };
        let (a, b) = (make(1.0), make(-0.5));
        let got = exchange(&mut clients, &[a.clone(), b.clone()]);
        for j in 0..132 {
            assert!((got[j] - 0.5 * (a[j] + b[j])).abs() < 1e-3, "{j}: {} {}", got[j], 0.5 * (a[j] + b[j]));
        }
        assert_eq!(clients[0].bytes_up(), 4 * (2 * 22 + 12));
    }

    #[test]
    fn error_feedback_delivers_a_constant_update_in_the_long_run() {
        let mut rng = rl_core::seed::SeedStream::new(1).stream("power", 1);
        let update: Vec<f32> = (0..132).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut clients = [client()];
        let mut sum = vec![0.0f32; 132];
        let rounds = 300;
        for _ in 0..rounds {
            let got = exchange(&mut clients, std::slice::from_ref(&update));
            sum.iter_mut().zip(got).for_each(|(s, g)| *s += g);
        }
        for j in 0..132 {
            assert!((sum[j] / rounds as f32 - update[j]).abs() < 0.1, "{j}");
        }
    }

    #[test]
    fn lengths_are_checked() {
        let mut c = client();
        assert!(c.left(&[0.0; 3]).is_err());
        assert!(c.right(&[0.0; 3]).is_err());
        assert!(c.finish(&[0.0; 3]).is_err());
    }
}
