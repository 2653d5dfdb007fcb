//! Gradient descent with one learning rate per kind of parameter: angles, input scalings and output weights want rates
//! that differ by orders of magnitude (Skolik et al. 2022).

use super::model::Group;
use crate::error::{Result, same_length};
use rl_core::experiment::{Persist, TrainState};
use rl_core::optim::Method;
use serde::{Deserialize, Serialize};

/// Learning rates by kind of parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Of rotation angles, and of all parameters of a classical network.
    pub angle: f64,
    /// Of input scalings.
    pub scaling: f64,
    /// Of output weights and biases.
    pub output: f64,
}

impl Rates {
    /// The same for all.
    pub fn all(rate: f64) -> Self {
        Self { angle: rate, scaling: rate, output: rate }
    }

    fn of(&self, group: Group) -> f64 {
        match group {
            Group::Angle => self.angle,
            Group::Scaling => self.scaling,
            Group::Output => self.output,
        }
    }
}

/// The rule and its rates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescentConfig {
    /// The update rule.
    pub method: Method,
    /// Its learning rates.
    pub rates: Rates,
}

impl DescentConfig {
    /// AMSGrad with ε = 1e-7, as in Keras, which both the tutorial and Skolik et al. use.
    pub fn amsgrad(rates: Rates) -> Self {
        Self { method: Method::amsgrad(1e-7), rates }
    }

    /// # Errors
    /// When a rate is not a number from 0 on.
    pub fn validate(&self) -> Result<()> {
        let Rates { angle, scaling, output } = self.rates;
        for (field, rate) in [("rates.angle", angle), ("rates.scaling", scaling), ("rates.output", output)] {
            if !(rate >= 0.0 && rate.is_finite()) {
                return Err(rl_core::Error::config("descent", field, rate, "a number from 0 on").into());
            }
        }
        Ok(())
    }
}

/// The state of the optimiser.
#[derive(Clone, Debug)]
pub struct Descent {
    config: DescentConfig,
    rates: Vec<f64>,
    slots: [Vec<f64>; 3],
    t: u64,
    change: Vec<f64>,
}

impl Descent {
    /// For parameters of the given kinds.
    pub fn new(config: DescentConfig, groups: &[Group]) -> Self {
        let zeros = || vec![0.0; groups.len()];
        Self {
            rates: groups.iter().map(|g| config.rates.of(*g)).collect(),
            slots: [zeros(), zeros(), zeros()],
            t: 0,
            change: zeros(),
            config,
        }
    }

    /// One step against the gradient.
    ///
    /// # Errors
    /// When the gradient is not finite; nothing has changed then.
    pub fn step(&mut self, parameters: &mut [f64], gradient: &[f64]) -> Result<()> {
        same_length("descent", "gradients", self.rates.len(), gradient.len())?;
        let squares: f64 = gradient.iter().map(|g| g * g).sum();
        if !squares.is_finite() {
            let (what, value) = ("gradient norm".into(), squares.sqrt());
            return Err(rl_core::Error::NotFinite { operation: "descent", what, value }.into());
        }
        self.t += 1;
        self.change.fill(0.0);
        self.config.method.update(self.t, 1.0, 1.0, &mut self.change, gradient, &mut self.slots);
        for ((p, change), rate) in parameters.iter_mut().zip(&self.change).zip(&self.rates) {
            *p += rate * change;
        }
        Ok(())
    }
}

impl Persist for Descent {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(format!("{prefix}/t"), &self.t)?;
        for (k, slot) in self.slots.iter().enumerate() {
            state.put_array(format!("{prefix}/slot{k}"), &[slot.len()], slot);
        }
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.t = state.get(&format!("{prefix}/t"))?;
        for (k, slot) in self.slots.iter_mut().enumerate() {
            let size = [slot.len()];
            slot.copy_from_slice(state.array(&format!("{prefix}/slot{k}"), &size)?);
        }
        Ok(())
    }
}
