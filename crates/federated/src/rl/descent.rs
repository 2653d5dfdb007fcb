//! The local optimiser of a client: flat vectors, the method's own gradient, and the corrections of a strategy.

use crate::error::{Error, Result, check};
use crate::strategy::Instruction;
use crate::strategy::proximal::add_proximal_gradient;
use crate::strategy::scaffold::correct_gradient;
use rl_core::optim::{Method, global_norm_scale, squared_norm};
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// Settings of a client's optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DescentConfig {
    /// The update rule: Adam with ε = 1e-5.
    pub method: Method,
    /// Learning rate by round: constantly 1e-3.
    pub learning_rate: Schedule,
    /// Largest norm of a gradient: 0.5.
    pub max_grad_norm: f64,
    /// Whether moments are kept between rounds, which needs clients that come back; otherwise every round starts from
    /// zero moments: yes.
    pub keep_moments: bool,
}

impl Default for DescentConfig {
    fn default() -> Self {
        Self {
            method: Method::adam(1e-5),
            learning_rate: Schedule::Constant(1e-3),
            max_grad_norm: 0.5,
            keep_moments: true,
        }
    }
}

impl DescentConfig {
    /// Plain gradient descent, for which the theory of SCAFFOLD and FedNova holds.
    pub fn sgd(learning_rate: f64) -> Self {
        let method = Method::Sgd { momentum: 0.0, nesterov: false };
        Self { method, learning_rate: Schedule::Constant(learning_rate), ..Self::default() }
    }

    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        check(self.max_grad_norm > 0.0, "descent", "max_grad_norm", self.max_grad_norm, "> 0")?;
        Ok(self.learning_rate.validate()?)
    }
}

/// One client's optimiser with its moments and, for SCAFFOLD, its control variate `c_i`.
///
/// SCAFFOLD's option II sets `c_i⁺ = c_i − c + (x − y_i)/(K η)`, which for gradient descent is the mean of the client's
/// uncorrected gradients over the round. That mean is what is used here, so that the method also stands with Adam, where
/// movements are no longer proportional to gradients.
#[derive(Clone, Debug)]
pub struct Descent {
    config: DescentConfig,
    slots: [Vec<f32>; 3],
    steps: u64,
    /// Empty until a server sends a control variate.
    control: Vec<f32>,
    round: Round,
}

/// What a round needs from its instruction, and collects.
#[derive(Clone, Debug, Default)]
struct Round {
    learning_rate: f64,
    proximal_mu: f64,
    global: Vec<f32>,
    server_control: Option<Vec<f32>>,
    /// Sum of the uncorrected gradients, in f64; empty without a control variate.
    gradient_sum: Vec<f64>,
    steps: u32,
}

impl Descent {
    /// For `dimension = D` parameters.
    ///
    /// # Errors
    /// [`DescentConfig::validate`].
    pub fn new(config: DescentConfig, dimension: usize) -> Result<Self> {
        config.validate()?;
        let slots = std::array::from_fn(|_| vec![0.0; dimension]);
        Ok(Self { config, slots, steps: 0, control: vec![], round: Round::default() })
    }

    /// Starts a round at `global: [D]`.
    ///
    /// # Errors
    /// Another length than D.
    pub fn begin(&mut self, global: &[f32], instruction: &Instruction) -> Result<()> {
        let dimension = self.slots[0].len();
        let control = instruction.control.as_ref();
        if global.len() != dimension || control.is_some_and(|c| c.len() != dimension) {
            let got = format!("{} and a control of {:?}", global.len(), control.map(Vec::len));
            return Err(Error::shape("descent", format!("{dimension} parameters"), got));
        }
        if !self.config.keep_moments {
            self.slots.iter_mut().for_each(|slot| slot.fill(0.0));
            self.steps = 0;
        }
        let sums = if control.is_some() { dimension } else { 0 };
        self.control.resize(sums.max(self.control.len()), 0.0);
        self.round = Round {
            learning_rate: self.config.learning_rate.at(instruction.round),
            proximal_mu: instruction.proximal_mu,
            global: global.to_vec(),
            server_control: control.cloned(),
            gradient_sum: vec![0.0; sums],
            steps: 0,
        };
        Ok(())
    }

    /// One step of `parameters: [D]` along `gradient: [D]`, which is clipped, corrected and used up.
    ///
    /// # Errors
    /// A gradient that is not finite.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &mut [f32]) -> Result<()> {
        let norm = squared_norm(gradient).sqrt();
        if !norm.is_finite() {
            return Err(Error::NotFinite { operation: "descent", what: "the client's gradient".into() });
        }
        let scale = global_norm_scale(norm, self.config.max_grad_norm) as f32;
        gradient.iter_mut().for_each(|g| *g *= scale);
        let round = &mut self.round;
        round.gradient_sum.iter_mut().zip(&*gradient).for_each(|(s, g)| *s += f64::from(*g));
        if let Some(server_control) = &round.server_control {
            correct_gradient(gradient, &self.control, server_control)?;
        }
        if round.proximal_mu > 0.0 {
            add_proximal_gradient(gradient, parameters, &round.global, round.proximal_mu)?;
        }
        round.steps += 1;
        self.steps += 1;
        let rate = round.learning_rate;
        self.config.method.update(self.steps, rate, 1.0, parameters, gradient, &mut self.slots);
        Ok(())
    }

    /// Ends the round: its number of steps and, under SCAFFOLD, `c_i⁺ − c_i`.
    pub fn finish(&mut self) -> (u32, Option<Vec<f32>>) {
        let round = std::mem::take(&mut self.round);
        if round.server_control.is_none() || round.steps == 0 {
            return (round.steps, round.server_control.map(|c| vec![0.0; c.len()]));
        }
        let mean = round.gradient_sum.iter().map(|s| (s / f64::from(round.steps)) as f32);
        let change = mean
            .zip(&mut self.control)
            .map(|(mean, own)| {
                let change = mean - *own;
                *own = mean;
                change
            })
            .collect();
        (round.steps, Some(change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::scaffold::update_client_control;

    #[test]
    fn with_gradient_descent_the_control_is_that_of_option_two() {
        let (global, server, rate) = ([1.0f32, -2.0], [0.3f32, -0.1], 0.1);
        let mut descent =
            Descent::new(DescentConfig { max_grad_norm: 1e9, ..DescentConfig::sgd(rate) }, 2).unwrap();
        let mut plain_control = vec![0.0f32; 2];
        for round in 0..3 {
            let instruction = Instruction { round, control: Some(server.to_vec()), proximal_mu: 0.0 };
            descent.begin(&global, &instruction).unwrap();
            let mut x = global.to_vec();
            for k in 0..4 {
                let mut gradient = [x[0] - k as f32, 2.0 * x[1]];
                descent.step(&mut x, &mut gradient).unwrap();
            }
            let (steps, change) = descent.finish();
            assert_eq!(steps, 4);
            let plain = update_client_control(&mut plain_control, &server, &global, &x, 4, rate).unwrap();
            assert!(change.unwrap().iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn without_corrections_it_is_the_plain_optimiser_and_refuses_nan() {
        let mut descent = Descent::new(DescentConfig::sgd(0.5), 1).unwrap();
        descent.begin(&[1.0], &Instruction::default()).unwrap();
        let mut x = [1.0f32];
        descent.step(&mut x, &mut [0.4]).unwrap();
        assert_eq!(x, [0.8]);
        assert!(descent.step(&mut x, &mut [f32::NAN]).is_err());
        assert_eq!(descent.finish(), (1, None));
        descent.begin(&[1.0], &Instruction { proximal_mu: 1.0, ..Instruction::default() }).unwrap();
        let mut x = [3.0f32];
        descent.step(&mut x, &mut [0.0]).unwrap();
        assert_eq!(x, [2.0]);
        assert!(descent.begin(&[1.0; 2], &Instruction::default()).is_err());
    }
}
