//! Scripted planners.

use super::physics::YEARS;
use super::{Climate, rate_at_price};
use rl_core::env::Action;
use rl_core::env::scripted::Policy;

/// What a scripted planner does, in every region alike.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The baseline of the reward: a carbon price of 2 $ that grows by 2 % a year.
    Baseline,
    /// Always this rate.
    Constant(f64),
    /// The expert: 31 $ per t CO₂ in 2015, growing by 3 % a year (Nordhaus 2017, the social cost of carbon of DICE-2016R), up to the backstop.
    CarbonPrice,
    /// A rate for each decision.
    Path(Vec<f64>),
}

/// A scripted planner.
#[derive(Clone, Debug)]
pub struct Scripted {
    rule: Rule,
    climate: Climate,
    action: Vec<f32>,
}

impl Scripted {
    /// For a climate, whose prices and regions it knows.
    pub fn new(rule: Rule, climate: Climate) -> Self {
        let action = vec![0.0; climate.config().regions.len()];
        Self { rule, climate, action }
    }

    /// The control rate at a step since 2015.
    pub fn rate(&self, step: usize) -> f64 {
        match &self.rule {
            Rule::Baseline => self.climate.baseline_rate(step),
            Rule::Constant(rate) => *rate,
            Rule::CarbonPrice => {
                let price = 31.0 * 1.03f64.powf(YEARS * step as f64);
                rate_at_price(price, self.climate.path()[step].backstop)
            }
            Rule::Path(rates) => rates.get(step.saturating_sub(1)).copied().unwrap_or(1.0),
        }
    }
}

impl Policy for Scripted {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let decisions = self.climate.config().decisions;
        let time = observation.first().copied().map_or(0.0, f64::from);
        let step = ((time * f64::from(decisions)).round() as usize).min(self.climate.path().len() - 2);
        let rate = self.rate(step) as f32;
        self.action.fill(rate);
        Action::Continuous(&self.action)
    }
}
