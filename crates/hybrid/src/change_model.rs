//! The smallest dynamics model: a perceptron from (s, a) to the change of s, in units that are known beforehand.
//!
//! The deterministic member of PETS (Chua et al. 2018), with reward and termination known rather than learned. Units are not
//! taken from data, so that no normaliser tells anything of a client's data.

use crate::error::Result;
use candle_core::{Device, Tensor};
use rand::{Rng, RngExt};
use rl_core::nn::mlp::{Activation, Workspace};
use rl_core::nn::{Mlp, MlpConfig, Params};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{Error as CoreError, StreamRng};

/// c Δs ≈ f(s, a): tanh layers; clones share their parameters.
#[derive(Clone, Debug)]
pub struct ChangeModel {
    network: Mlp,
    scale: Vec<f32>,
}

/// What a model learns from: inputs (s, a) as `[n, D + A]`, targets c Δs as `[n, D]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// `[n, D + A]`
    pub inputs: Vec<f32>,
    /// `[n, D]`
    pub targets: Vec<f32>,
}

impl ChangeModel {
    /// A model of `scale.len()` state variables and `action` numbers; `scale` is c, one over the size of a usual change. No
    /// hidden layer is a linear model.
    ///
    /// # Errors
    /// For a width of zero.
    pub fn new(scale: &[f32], action: usize, hidden: &[usize], rng: &mut StreamRng) -> Result<Self> {
        let (inputs, activation) = (scale.len() + action, Activation::Tanh);
        let config = MlpConfig { activation, ..MlpConfig::relu(inputs, hidden, scale.len()) };
        Ok(Self { network: Mlp::new(&config, &Device::Cpu, rng)?, scale: scale.to_vec() })
    }

    /// The flat parameters.
    pub fn params(&self) -> &Params {
        self.network.params()
    }

    /// D.
    pub fn width(&self) -> usize {
        self.scale.len()
    }

    /// Adds the predicted changes to `states: [n, D]`; `inputs` are (s, a), `[n, D + A]`.
    ///
    /// # Errors
    /// For rows of another width.
    pub fn advance(
        &self,
        states: &mut [f32],
        inputs: &[f32],
        workspace: &mut Workspace<f32>,
    ) -> Result<(), CoreError> {
        let change = self.network.predict(inputs, workspace)?;
        let units = self.scale.iter().cycle();
        states.iter_mut().zip(change).zip(units).for_each(|((s, change), c)| *s += change / c);
        Ok(())
    }

    /// ½ mean (f(s, a) − c Δs)².
    ///
    /// # Errors
    /// For rows of another width.
    pub fn loss(&self, data: &Changes) -> Result<Tensor> {
        let tensor = |values: &[f32], width: usize| {
            Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu).map_err(CoreError::from)
        };
        let x = tensor(&data.inputs, self.network.inputs())?;
        let y = tensor(&data.targets, self.width())?;
        let error = self.network.forward(&x)?.sub(&y).map_err(CoreError::from)?;
        Ok((error.sqr().and_then(|e| e.mean_all()).map_err(CoreError::from)? * 0.5)
            .map_err(CoreError::from)?)
    }

    /// Makes `updates` gradient steps with a fresh Adam on `batch` rows drawn with replacement; returns the mean loss.
    ///
    /// # Errors
    /// If there is no row, or a number is not finite.
    pub fn learn(
        &self,
        data: &Changes,
        (updates, batch, learning_rate): (u64, usize, f64),
        rng: &mut impl Rng,
    ) -> Result<f64> {
        let (inputs, width) = (self.network.inputs(), self.width());
        let rows = data.targets.len() / width;
        crate::error::within("rows to learn from", rows as f64, (1.0, f64::MAX), "at least 1")?;
        let adam = OptimizerConfig::adam(learning_rate, 1e-8, Clip::None);
        let mut optimizer = Optimizer::new(adam, &[self.params()])?;
        let (mut drawn, mut total) = (Changes::default(), 0.0);
        for _ in 0..updates {
            drawn.inputs.clear();
            drawn.targets.clear();
            for _ in 0..batch {
                let row = rng.random_range(0..rows);
                drawn.inputs.extend_from_slice(&data.inputs[row * inputs..][..inputs]);
                drawn.targets.extend_from_slice(&data.targets[row * width..][..width]);
            }
            let (loss, gradients) = backward(&self.loss(&drawn)?)?;
            optimizer.step(&gradients)?;
            total += loss / updates as f64;
        }
        Ok(total)
    }

    /// Appends a step to what is learned from.
    pub fn note(&self, (state, action): (&[f32], &[f32]), next: &[f32], data: &mut Changes) {
        data.inputs.extend(state.iter().chain(action));
        let change = next.iter().zip(state).zip(&self.scale);
        data.targets.extend(change.map(|((n, s), c)| c * (n - s)));
    }
}

impl Changes {
    /// All rows of all: what pooling would need.
    pub fn pooled<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut pooled = Self::default();
        for own in all {
            pooled.inputs.extend_from_slice(&own.inputs);
            pooled.targets.extend_from_slice(&own.targets);
        }
        pooled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    #[test]
    fn a_linear_world_is_learned_and_every_parameter_gets_a_gradient() {
        let rng = &mut SeedStream::new(1).stream("model", 0);
        let model = ChangeModel::new(&[10.0, 5.0], 1, &[8], rng).unwrap();
        let mut data = Changes::default();
        for _ in 0..200 {
            let s = [rng.random_range(-1.0..1.0f32), rng.random_range(-1.0..1.0f32)];
            let a = [rng.random_range(-1.0..1.0f32)];
            model.note((&s, &a), &[s[0] + 0.1 * a[0], s[1] - 0.2 * s[0]], &mut data);
        }
        let (_, gradients) = backward(&model.loss(&data).unwrap()).unwrap();
        let gradient = gradients.get(model.params().tensor()).unwrap().to_vec1::<f32>().unwrap();
        assert!(model.params().parts().iter().all(|part| gradient[part.range()].iter().any(|g| *g != 0.0)));
        assert!(gradient.iter().all(|g| g.is_finite()));
        model.learn(&data, (600, 32, 1e-2), rng).unwrap();
        let mut states = [0.5f32, 0.0];
        model.advance(&mut states, &[0.5, 0.0, 1.0], &mut Workspace::default()).unwrap();
        assert!((states[0] - 0.6).abs() < 0.03 && (states[1] + 0.1).abs() < 0.03, "{states:?}");
        assert!(model.learn(&Changes::default(), (1, 1, 1e-2), rng).is_err());
    }
}
