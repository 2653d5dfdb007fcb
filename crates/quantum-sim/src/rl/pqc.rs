//! A parametrised quantum circuit as a function of observations: encoding, circuit, observables, outputs.

use super::ansatz::{Ansatz, Start};
use super::encoding::Encoding;
use super::model::{Group, Model};
use crate::batch::Batch;
use crate::error::{Error, Result, same_length};
use crate::pauli::PauliSum;
use rand::RngExt;
use rl_core::StreamRng;
use serde::{Deserialize, Serialize};

/// From expectations to outputs. Trainable numbers here have their own, larger learning rate: expectations lie in
/// [−1, 1], values of states do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Head {
    /// `out_a = w_a · factor · (shift + ⟨O_{observable[a]}⟩) + b_a`
    Scaled {
        /// Which observable each output reads.
        observable: Vec<usize>,
        /// Added to the expectation.
        shift: f64,
        /// Multiplies it.
        factor: f64,
        /// Where the weights w start.
        weights: Vec<f64>,
        /// Whether the weights are trained.
        train_weights: bool,
        /// Whether biases b, from 0, are trained.
        biases: bool,
    },
    /// out_a = Σ_o W_ao ⟨O_o⟩ + b_a: a classical affine layer, small random weights at the start.
    Affine {
        /// A.
        outputs: usize,
    },
}

impl Head {
    /// Q_a = w_a (1 + ⟨O_a⟩)/2 with trainable w from 1 (Skolik et al. 2022).
    pub fn values(observable: &[usize]) -> Self {
        let weights = vec![1.0; observable.len()];
        let observable = observable.to_vec();
        Self::Scaled { observable, shift: 1.0, factor: 0.5, weights, train_weights: true, biases: false }
    }

    /// Logits w_a ⟨O_0⟩ with trainable w from ±1 for two actions (the TensorFlow Quantum tutorial).
    pub fn opposed() -> Self {
        let (observable, weights) = (vec![0, 0], vec![1.0, -1.0]);
        Self::Scaled { observable, shift: 0.0, factor: 1.0, weights, train_weights: true, biases: false }
    }

    /// ⟨O_a⟩ itself, for Born policies and for Chen et al. 2020 (with `biases`).
    pub fn plain(outputs: usize, biases: bool) -> Self {
        let (observable, weights) = ((0..outputs).collect(), vec![1.0; outputs]);
        Self::Scaled { observable, shift: 0.0, factor: 1.0, weights, train_weights: false, biases }
    }

    fn outputs(&self) -> usize {
        match self {
            Self::Scaled { observable, .. } => observable.len(),
            Self::Affine { outputs } => *outputs,
        }
    }

    fn parameters(&self, observables: usize) -> usize {
        match self {
            Self::Scaled { observable, train_weights, biases, .. } => {
                observable.len() * (usize::from(*train_weights) + usize::from(*biases))
            }
            Self::Affine { outputs } => outputs * (observables + 1),
        }
    }

    /// The weight of output a, from the trained numbers or fixed.
    fn weight(&self, parameters: &[f64], a: usize) -> f64 {
        match self {
            Self::Scaled { weights, train_weights, .. } => {
                if *train_weights {
                    parameters[a]
                } else {
                    weights[a]
                }
            }
            Self::Affine { .. } => 1.0,
        }
    }

    /// outputs `[B, A]` from expectations `[B, O]`.
    fn forward(&self, parameters: &[f64], width: usize, values: &[f64], outputs: &mut [f64]) {
        let count = self.outputs();
        for (values, out) in values.chunks_exact(width).zip(outputs.chunks_exact_mut(count)) {
            match self {
                Self::Scaled { observable, shift, factor, train_weights, biases, .. } => {
                    for (a, out) in out.iter_mut().enumerate() {
                        *out = self.weight(parameters, a) * factor * (shift + values[observable[a]]);
                        if *biases {
                            *out += parameters[count * usize::from(*train_weights) + a];
                        }
                    }
                }
                Self::Affine { .. } => {
                    for (row, out) in parameters.chunks_exact(width + 1).zip(out) {
                        *out = row[width] + row.iter().zip(values).map(|(w, v)| w * v).sum::<f64>();
                    }
                }
            }
        }
    }

    /// Adds to `gradient` and `by_value` `[B, O]`.
    fn backward(
        &self,
        parameters: &[f64],
        width: usize,
        (values, by_output): (&[f64], &[f64]),
        (by_value, gradient): (&mut [f64], &mut [f64]),
    ) {
        let count = self.outputs();
        let rows = values.chunks_exact(width).zip(by_value.chunks_exact_mut(width));
        for ((values, by_value), by_output) in rows.zip(by_output.chunks_exact(count)) {
            for (a, d) in by_output.iter().enumerate() {
                match self {
                    Self::Scaled { observable, shift, factor, train_weights, biases, .. } => {
                        let o = observable[a];
                        by_value[o] += d * self.weight(parameters, a) * factor;
                        if *train_weights {
                            gradient[a] += d * factor * (shift + values[o]);
                        }
                        if *biases {
                            gradient[count * usize::from(*train_weights) + a] += d;
                        }
                    }
                    Self::Affine { .. } => {
                        let row = a * (width + 1)..(a + 1) * (width + 1);
                        let (weights, gradient) = (&parameters[row.clone()], &mut gradient[row]);
                        for o in 0..width {
                            by_value[o] += d * weights[o];
                            gradient[o] += d * values[o];
                        }
                        gradient[width] += d;
                    }
                }
            }
        }
    }
}

/// The function. Its parameters are the circuit's, in the circuit's order, then the head's (weights, then biases).
#[derive(Clone, Debug)]
pub struct Pqc {
    engine: Batch,
    encoding: Encoding,
    head: Head,
    groups: Vec<Group>,
    start: Start,
    /// The head's parameters at the last forward pass.
    head_parameters: Vec<f64>,
    inputs: Vec<f64>,
    values: Vec<f64>,
    by_value: Vec<f64>,
    by_input: Vec<f64>,
}

impl Pqc {
    /// # Errors
    /// When encoding, circuit, observables and head do not fit together.
    pub fn new(ansatz: &Ansatz, observables: Vec<PauliSum>, encoding: Encoding, head: Head) -> Result<Self> {
        same_length("circuit model", "encoded inputs", ansatz.circuit.inputs(), encoding.inputs())?;
        if let Head::Scaled { observable, weights, .. } = &head {
            same_length("circuit model", "output weights", observable.len(), weights.len())?;
            let count = observables.len();
            if let Some(&index) = observable.iter().find(|&&o| o >= count) {
                return Err(Error::Index { operation: "observable of an output", index, count });
            }
        }
        let mut groups = ansatz.groups.clone();
        groups.extend(std::iter::repeat_n(Group::Output, head.parameters(observables.len())));
        Ok(Self {
            engine: Batch::new(&ansatz.circuit, observables)?,
            encoding,
            head,
            groups,
            start: ansatz.start,
            head_parameters: vec![],
            inputs: vec![],
            values: vec![],
            by_value: vec![],
            by_input: vec![],
        })
    }
}

impl Model for Pqc {
    fn observation(&self) -> usize {
        self.encoding.observation()
    }

    fn outputs(&self) -> usize {
        self.head.outputs()
    }

    fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn initial(&self, rng: &mut StreamRng) -> Vec<f64> {
        let mut output = 0;
        let mut draw = |group: &Group| match group {
            Group::Angle => match self.start {
                Start::Uniform(bound) => bound * rng.random::<f64>(),
                Start::Normal(sd) => sd * normal(rng),
            },
            Group::Scaling => 1.0,
            Group::Output => {
                output += 1;
                match &self.head {
                    Head::Scaled { weights, train_weights: true, .. } => {
                        weights.get(output - 1).copied().unwrap_or(0.0)
                    }
                    Head::Scaled { .. } => 0.0,
                    Head::Affine { .. } if output % (self.engine.observables() + 1) == 0 => 0.0,
                    Head::Affine { .. } => 0.1 * normal(rng),
                }
            }
        };
        self.groups.iter().map(&mut draw).collect()
    }

    fn forward(&mut self, parameters: &[f64], observations: &[f32], outputs: &mut [f64]) -> Result<()> {
        same_length("circuit model", "parameters", self.groups.len(), parameters.len())?;
        let batch = observations.len() / self.observation().max(1);
        same_length("circuit model", "outputs [B, A]", batch * self.outputs(), outputs.len())?;
        self.inputs.clear();
        self.encoding.encode(observations, &mut self.inputs)?;
        let (circuit, head) = parameters.split_at(self.engine.parameters());
        self.values.resize(batch * self.engine.observables(), 0.0);
        self.engine.forward(circuit, &self.inputs, &mut self.values)?;
        self.head.forward(head, self.engine.observables(), &self.values, outputs);
        self.head_parameters.clear();
        self.head_parameters.extend_from_slice(head);
        Ok(())
    }

    fn backward(&mut self, by_output: &[f64], gradient: &mut [f64]) -> Result<()> {
        same_length("circuit model", "gradients", self.groups.len(), gradient.len())?;
        let width = self.engine.observables();
        let batch = self.values.len() / width.max(1);
        same_length("circuit model", "output gradients [B, A]", batch * self.outputs(), by_output.len())?;
        self.by_value.clear();
        self.by_value.resize(self.values.len(), 0.0);
        self.by_input.resize(self.inputs.len(), 0.0);
        let (circuit, head) = gradient.split_at_mut(self.engine.parameters());
        head.fill(0.0);
        let known = (&self.values[..], by_output);
        self.head.backward(&self.head_parameters, width, known, (&mut self.by_value, head));
        self.engine.backward(&self.by_value, circuit, &mut self.by_input)
    }
}

/// A standard normal number (Box & Muller 1958).
pub(super) fn normal(rng: &mut StreamRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
