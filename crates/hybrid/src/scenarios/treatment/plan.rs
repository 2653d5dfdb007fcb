//! The best policy if treatment did what an estimate says: backward induction over size, drug and days.
//!
//! The mean patient: V ← V (1 + g ln(K/V) − b_c C − b_r d), no noise. Naive and causal estimates go through the same planner, so that only
//! what they believe about the effects differs.

use super::log::Effects;
use super::{DRUG, LETHAL, Treatment, diameter, room, volume};
use rl_core::env::Action;
use rl_core::env::scripted::Policy;

/// Points of the grid in ln V and in the concentration.
const SIZES: usize = 80;
const DRUGS: usize = 11;
/// Smallest diameter in cm and largest concentration in mg/m³ of the grid.
const SMALLEST: f64 = 0.02;
const MOST: f64 = 10.0;

/// A policy of day, size and concentration.
#[derive(Clone, Debug)]
pub struct Plan {
    days: u32,
    effects: Effects,
    remaining: f64,
    toxicity: (f64, f64),
    /// Cost to go by days left, then size, then drug; index 0: no days left.
    costs: Vec<Vec<f64>>,
}

impl Plan {
    /// Plans for these effects.
    pub fn new(treatment: &Treatment, effects: Effects) -> Self {
        let config = treatment.config();
        let mut plan = Self {
            days: config.days,
            effects,
            remaining: treatment.remaining(),
            toxicity: config.toxicity,
            costs: vec![vec![0.0; SIZES * DRUGS]],
        };
        for left in 1..=config.days {
            let cost = |k: usize| {
                let (size, drug) = (k / DRUGS, k % DRUGS);
                let v = (low() + (high() - low()) * size as f64 / (SIZES - 1) as f64).exp();
                let c = MOST * drug as f64 / (DRUGS - 1) as f64;
                (0..4).map(|action| plan.cost(v, c, left, action)).fold(f64::INFINITY, f64::min)
            };
            let row = (0..SIZES * DRUGS).map(cost).collect();
            plan.costs.push(row);
        }
        plan
    }

    /// Cost of an action and of the best days after it, with so many days left.
    fn cost(&self, v: f64, concentration: f64, left: u32, action: usize) -> f64 {
        let (chemotherapy, radiotherapy) = (action & 1 == 1, action & 2 == 2);
        let c = concentration * self.remaining + if chemotherapy { DRUG } else { 0.0 };
        let Effects { growth, drug, radiation } = self.effects;
        let killed = drug * c + if radiotherapy { radiation } else { 0.0 };
        let after = v * (1.0 + growth * room(v) - killed).max(0.01);
        let toxicity = f64::from(u8::from(chemotherapy)) * self.toxicity.0
            + f64::from(u8::from(radiotherapy)) * self.toxicity.1;
        let size = diameter(after) / LETHAL;
        if size >= 1.0 {
            return 1.0 + toxicity + 2.0 * f64::from(left - 1);
        }
        size + toxicity + self.to_go(after, c, left - 1)
    }

    /// Cost to go, linear between the grid's points and constant beyond its ends.
    fn to_go(&self, v: f64, c: f64, left: u32) -> f64 {
        let place = |x: f64, points: usize| {
            let x = x.clamp(0.0, 1.0) * (points - 1) as f64;
            let below = (x as usize).min(points - 2);
            (below, x - below as f64)
        };
        let (i, a) = place((v.ln() - low()) / (high() - low()), SIZES);
        let (j, b) = place(c / MOST, DRUGS);
        let costs = &self.costs[left as usize];
        let at = |i: usize| costs[i * DRUGS + j] * (1.0 - b) + costs[i * DRUGS + j + 1] * b;
        at(i) * (1.0 - a) + at(i + 1) * a
    }

    /// The return that the plan promises from a first diameter in cm.
    pub fn promise(&self, first_diameter: f64) -> f64 {
        -self.to_go(volume(first_diameter), 0.0, self.days)
    }
}

fn low() -> f64 {
    volume(SMALLEST).ln()
}

fn high() -> f64 {
    volume(LETHAL).ln()
}

impl Policy for Plan {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let value = |k: usize| observation.get(k).copied().map_or(0.0, f64::from);
        let v = volume((value(0) * LETHAL).max(1e-4));
        let left = ((value(4) * f64::from(self.days)).round() as u32).clamp(1, self.days);
        let cost = |action: &usize| self.cost(v, value(2) * 10.0, left, *action);
        let best = (0..4).min_by(|a, b| cost(a).total_cmp(&cost(b)));
        Action::Discrete(best.unwrap_or(0))
    }
}
