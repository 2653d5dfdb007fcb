//! The world model on plain slices: filtering for the actor, and imagination. No graph, no gradient.

use super::model::WorldModel;
use crate::Result;
use rand::RngExt;
use rl_core::nn::NormGru;
use rl_core::nn::kernel::{Mat, Real, matmul};
use rl_core::nn::mlp::Workspace;
use rl_core::{StreamRng, vectorised};

/// States of some rows: h, and the class of every categorical of z.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latents {
    /// `[N, D]`
    pub deter: Vec<f32>,
    /// `[N, G]`; [`NONE`](Self::NONE) stands for a vector of zeros, as before an episode's first step.
    pub classes: Vec<u32>,
}

impl Latents {
    /// No class: zeros instead of a unit vector.
    pub const NONE: u32 = u32::MAX;

    /// z as unit vectors, `[N, G·K]`.
    pub fn one_hot(&self, classes: usize) -> Vec<f32> {
        let mut z = vec![0.0; self.classes.len() * classes];
        for (row, &class) in z.chunks_exact_mut(classes).zip(&self.classes) {
            if let Some(slot) = row.get_mut(class as usize) {
                *slot = 1.0;
            }
        }
        z
    }

    /// [h, z] of every row, `[N, F]`.
    pub fn features(&self, deter: usize, classes: usize) -> Vec<f32> {
        let rows = self.deter.len() / deter;
        let z = self.one_hot(classes);
        let stoch = z.len() / rows.max(1);
        let mut features = Vec::with_capacity(self.deter.len() + z.len());
        for (h, z) in self.deter.chunks_exact(deter).zip(z.chunks_exact(stoch.max(1))) {
            features.extend_from_slice(h);
            features.extend_from_slice(z);
        }
        features
    }

    /// Forgets row `i`.
    pub fn reset(&mut self, i: usize, deter: usize, groups: usize) {
        self.deter[i * deter..][..deter].fill(0.0);
        self.classes[i * groups..][..groups].fill(Self::NONE);
    }

    /// The rows `rows`, in that order.
    pub fn select(&self, rows: &[usize], deter: usize, groups: usize) -> Self {
        let pick = |i: &usize| self.deter[i * deter..][..deter].to_vec();
        let classes = |i: &usize| self.classes[i * groups..][..groups].to_vec();
        Self { deter: rows.iter().flat_map(pick).collect(), classes: rows.iter().flat_map(classes).collect() }
    }
}

/// h' of [`NormGru`] on slices: `x [N, I]`, `h [N, H]`.
fn gru(cell: &NormGru, x: &[f32], h: &mut [f32]) -> Result<()> {
    let n = cell.hidden();
    let rows = h.len() / n;
    let inputs = x.len() / rows.max(1);
    let parts = cell.params().parts();
    let (weight, scale, offset) = (parts[0].range(), parts[1].range(), parts[2].range());
    cell.params().with::<f32, _>(|p| {
        let (weight, scale, offset) = (&p[weight], &p[scale], &p[offset]);
        let mut all = vec![0.0; rows * 3 * n];
        let (top, bottom) = weight.split_at(inputs * 3 * n);
        matmul(&mut all, 3 * n, false, Mat::rows(x, inputs), Mat::rows(top, 3 * n), (rows, 3 * n, inputs));
        matmul(&mut all, 3 * n, true, Mat::rows(h, n), Mat::rows(bottom, 3 * n), (rows, 3 * n, n));
        advance(&mut all, scale, offset, h, n);
        Ok(())
    })?;
    Ok(())
}

vectorised! {
    /// Normalises the joint products of the three gates, and moves h.
    fn advance(products: &mut [f32], scale: &[f32], offset: &[f32], h: &mut [f32], n: usize) {
        for (row, h) in products.chunks_exact_mut(3 * n).zip(h.chunks_exact_mut(n)) {
            let mean = row.iter().sum::<f32>() / (3 * n) as f32;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / (3 * n) as f32;
            let inverse = (variance + 1e-3).sqrt().recip();
            for ((v, s), o) in row.iter_mut().zip(scale).zip(offset) {
                *v = (*v - mean) * inverse * s + o;
            }
            for i in 0..n {
                let candidate = (row[i].sigmoid() * row[n + i]).fast_tanh();
                let update = (row[2 * n + i] - 1.0).sigmoid();
                h[i] += update * (candidate - h[i]);
            }
        }
    }
}

/// A class of every row of logits `[N, K]`, drawn from the softmax mixed with the uniform distribution.
pub(super) fn draw_classes(logits: &[f32], classes: usize, unimix: f32, rng: &mut StreamRng) -> Vec<u32> {
    let mut weights = vec![0.0f32; classes];
    let draw = |row: &[f32]| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        weights.iter_mut().zip(row).for_each(|(w, l)| *w = (l - max).fast_exp());
        let sum: f32 = weights.iter().sum();
        let mut left = rng.random::<f32>();
        for (i, w) in weights.iter().enumerate() {
            left -= (1.0 - unimix) * w / sum + unimix / classes as f32;
            if left < 0.0 {
                return i as u32;
            }
        }
        classes as u32 - 1
    };
    logits.chunks_exact(classes).map(draw).collect()
}

impl WorldModel {
    /// Moves h of all rows by their actions `[N, A]`.
    fn advance(&self, latents: &mut Latents, actions: &[f32]) -> Result<()> {
        let w = &self.config.widths;
        let z = latents.one_hot(w.classes);
        let mut x = Vec::with_capacity(z.len() + actions.len());
        for (z, a) in z.chunks_exact(w.stoch()).zip(actions.chunks_exact(self.action)) {
            x.extend_from_slice(z);
            x.extend_from_slice(a);
        }
        let mut workspace = Workspace::default();
        gru(&self.gru, self.input.predict(&x, &mut workspace)?, &mut latents.deter)
    }

    /// Takes observations `[N, D]` into the states, after the actions that led to them.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn filter(
        &self,
        latents: &mut Latents,
        actions: &[f32],
        observations: &[f32],
        rng: &mut StreamRng,
    ) -> Result<()> {
        let w = &self.config.widths;
        self.advance(latents, actions)?;
        let symlog: Vec<f32> = observations.iter().map(|x| x.abs().ln_1p().copysign(*x)).collect();
        let mut workspace = Workspace::default();
        let embedded = self.encoder.predict(&symlog, &mut workspace)?;
        let mut x = Vec::with_capacity(latents.deter.len() + embedded.len());
        for (h, e) in latents.deter.chunks_exact(w.deter).zip(embedded.chunks_exact(self.encoder.outputs())) {
            x.extend_from_slice(h);
            x.extend_from_slice(e);
        }
        let mut workspace = Workspace::default();
        let logits = self.posterior.predict(&x, &mut workspace)?;
        latents.classes = draw_classes(logits, w.classes, self.config.unimix as f32, rng);
        Ok(())
    }

    /// Moves all rows by their actions without an observation.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn imagine(&self, latents: &mut Latents, actions: &[f32], rng: &mut StreamRng) -> Result<()> {
        let w = &self.config.widths;
        self.advance(latents, actions)?;
        let mut workspace = Workspace::default();
        let logits = self.prior.predict(&latents.deter, &mut workspace)?;
        latents.classes = draw_classes(logits, w.classes, self.config.unimix as f32, rng);
        Ok(())
    }

    /// [h, z] of every row, `[N, F]`.
    pub fn features(&self, latents: &Latents) -> Vec<f32> {
        latents.features(self.config.widths.deter, self.config.widths.classes)
    }

    /// The observations that the states stand for, `[N, D]`.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn decode(&self, latents: &Latents) -> Result<Vec<f32>> {
        let mut workspace = Workspace::default();
        let y = self.decoder.predict(&self.features(latents), &mut workspace)?;
        Ok(y.iter().map(|x| x.abs().exp_m1().copysign(*x)).collect())
    }
}
