//! The classical twin: one hidden layer of tanh units with about as many parameters as the circuit it stands beside.

use super::encoding::Encoding;
use super::model::{Group, Model};
use super::pqc::normal;
use crate::error::{Result, same_length};
use rl_core::StreamRng;

/// y = W₂ tanh(W₁ x + b₁) + b₂ in f64. Parameters: rows of `[W₁ | b₁]`, then of `[W₂ | b₂]`; all follow the rate of angles.
#[derive(Clone, Debug)]
pub struct Network {
    encoding: Encoding,
    hidden: usize,
    outputs: usize,
    groups: Vec<Group>,
    parameters: Vec<f64>,
    inputs: Vec<f64>,
    activations: Vec<f64>,
}

impl Network {
    /// With a given number of hidden units.
    pub fn new(encoding: Encoding, hidden: usize, outputs: usize) -> Self {
        let count = hidden * (encoding.inputs() + 1) + outputs * (hidden + 1);
        let groups = vec![Group::Angle; count];
        Self { encoding, hidden, outputs, groups, parameters: vec![], inputs: vec![], activations: vec![] }
    }

    /// With the number of hidden units that comes closest to `parameters` in all.
    pub fn of_size(encoding: Encoding, outputs: usize, parameters: usize) -> Self {
        let per_unit = (encoding.inputs() + 1 + outputs) as f64;
        let hidden = (parameters.saturating_sub(outputs) as f64 / per_unit).round().max(1.0);
        Self::new(encoding, hidden as usize, outputs)
    }
}

impl Model for Network {
    fn observation(&self) -> usize {
        self.encoding.observation()
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Normal with variance 1/fan-in, biases 0.
    fn initial(&self, rng: &mut StreamRng) -> Vec<f64> {
        let mut parameters = vec![];
        for (rows, width) in [(self.hidden, self.encoding.inputs()), (self.outputs, self.hidden)] {
            for _ in 0..rows {
                parameters.extend((0..width).map(|_| normal(rng) / (width as f64).sqrt()));
                parameters.push(0.0);
            }
        }
        parameters
    }

    fn forward(&mut self, parameters: &[f64], observations: &[f32], outputs: &mut [f64]) -> Result<()> {
        same_length("network", "parameters", self.groups.len(), parameters.len())?;
        let batch = observations.len() / self.observation().max(1);
        same_length("network", "outputs [B, A]", batch * self.outputs, outputs.len())?;
        self.inputs.clear();
        self.encoding.encode(observations, &mut self.inputs)?;
        self.parameters.clear();
        self.parameters.extend_from_slice(parameters);
        let width = self.encoding.inputs();
        let (first, second) = parameters.split_at(self.hidden * (width + 1));
        self.activations.resize(batch * self.hidden, 0.0);
        let rows = self.inputs.chunks_exact(width).zip(self.activations.chunks_exact_mut(self.hidden));
        for ((x, h), y) in rows.zip(outputs.chunks_exact_mut(self.outputs)) {
            affine(first, x, h);
            h.iter_mut().for_each(|h| *h = h.tanh());
            affine(second, h, y);
        }
        Ok(())
    }

    fn backward(&mut self, by_output: &[f64], gradient: &mut [f64]) -> Result<()> {
        same_length("network", "gradients", self.groups.len(), gradient.len())?;
        let batch = self.activations.len() / self.hidden;
        same_length("network", "output gradients [B, A]", batch * self.outputs, by_output.len())?;
        let width = self.encoding.inputs();
        gradient.fill(0.0);
        let (first, second) = gradient.split_at_mut(self.hidden * (width + 1));
        let weights = &self.parameters[self.hidden * (width + 1)..];
        let mut by_hidden = vec![0.0; self.hidden];
        let rows = self.inputs.chunks_exact(width).zip(self.activations.chunks_exact(self.hidden));
        for ((x, h), d) in rows.zip(by_output.chunks_exact(self.outputs)) {
            add_outer(second, d, h);
            for (j, (g, h)) in by_hidden.iter_mut().zip(h).enumerate() {
                let through: f64 =
                    d.iter().enumerate().map(|(a, d)| d * weights[a * (self.hidden + 1) + j]).sum();
                *g = through * (1.0 - h * h);
            }
            add_outer(first, &by_hidden, x);
        }
        Ok(())
    }
}

/// y = W x + b, rows of `[W | b]`.
fn affine(rows: &[f64], x: &[f64], y: &mut [f64]) {
    for (row, y) in rows.chunks_exact(x.len() + 1).zip(y) {
        *y = row[x.len()] + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    }
}

/// `[W | b]` += d ⊗ `[x | 1]`
fn add_outer(rows: &mut [f64], d: &[f64], x: &[f64]) {
    for (row, d) in rows.chunks_exact_mut(x.len() + 1).zip(d) {
        row.iter_mut().zip(x).for_each(|(w, x)| *w += d * x);
        row[x.len()] += d;
    }
}
