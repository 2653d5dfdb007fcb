//! CEM for discrete actions: independent categorical distributions per step, refitted to the elites' frequencies.
//!
//! p ← α p + (1 − α) frequency(elites), mixed with a little of the uniform so that no action dies out. Every method
//! uses this proposal for discrete actions; shooting draws once from the uniform one.

use super::proposal::best;
use super::{Execute, Method, PlannedAction, PlannerConfig};
use rand::{Rng, RngExt};

/// Share of the uniform distribution in every refit.
const UNIFORM: f32 = 0.02;

pub(super) struct Categorical {
    actions: usize,
    pub(super) horizon: usize,
    /// `[H, n]`
    pub(super) probabilities: Vec<f32>,
    /// `[candidates, H]`
    pub(super) sequences: Vec<usize>,
    pub(super) best: Vec<usize>,
    best_return: f32,
    pub(super) planned: bool,
}

impl Categorical {
    pub(super) fn new(actions: usize, horizon: usize) -> Self {
        let probabilities = vec![1.0 / actions as f32; actions * horizon];
        let best = vec![0; horizon];
        Self {
            actions,
            horizon,
            probabilities,
            sequences: vec![],
            best,
            best_return: f32::NEG_INFINITY,
            planned: false,
        }
    }

    pub(super) fn reset(&mut self) {
        self.probabilities.fill(1.0 / self.actions as f32);
        self.planned = false;
    }

    pub(super) fn begin(&mut self, config: &PlannerConfig) {
        if !(config.warm_start && self.planned) {
            self.reset();
        }
        self.best_return = f32::NEG_INFINITY;
    }

    pub(super) fn propose(&mut self, config: &PlannerConfig, rng: &mut impl Rng) -> usize {
        self.sequences.resize(config.candidates * self.horizon, 0);
        for (j, action) in self.sequences.iter_mut().enumerate() {
            let row = &self.probabilities[(j % self.horizon) * self.actions..][..self.actions];
            let mut left = rng.random::<f32>();
            *action = self.actions - 1;
            for (a, p) in row.iter().enumerate() {
                left -= p;
                if left < 0.0 {
                    *action = a;
                    break;
                }
            }
        }
        // The best sequence of the last plan stays in the race.
        if self.planned && config.warm_start {
            self.sequences[..self.horizon].copy_from_slice(&self.best);
        }
        config.candidates
    }

    pub(super) fn learn(&mut self, config: &PlannerConfig, returns: &[f32]) {
        let order = best(returns, config.elites);
        if let Some(&first) = order.first()
            && returns[first] >= self.best_return
        {
            self.best_return = returns[first];
            self.best.copy_from_slice(&self.sequences[first * self.horizon..][..self.horizon]);
        }
        let momentum = match &config.method {
            Method::Cem(cem) => cem.momentum as f32,
            Method::Icem(icem) => icem.momentum as f32,
            Method::Shooting | Method::Mppi(_) => 0.0,
        };
        let share = (1.0 - momentum) * (1.0 - UNIFORM) / order.len() as f32;
        for p in &mut self.probabilities {
            *p = momentum * *p + (1.0 - momentum) * UNIFORM / self.actions as f32;
        }
        for &i in &order {
            for (t, &action) in self.sequences[i * self.horizon..][..self.horizon].iter().enumerate() {
                self.probabilities[t * self.actions + action] += share;
            }
        }
        self.planned = true;
    }

    pub(super) fn decide(&self, config: &PlannerConfig) -> (PlannedAction, f64) {
        let first = &self.probabilities[..self.actions];
        let mode = (0..self.actions).fold(0, |m, a| if first[a] > first[m] { a } else { m });
        let action = match config.execute {
            Execute::Mean => mode,
            Execute::Best => self.best[0],
        };
        (PlannedAction::Discrete(action), f64::from(self.best_return))
    }

    pub(super) fn shift(&mut self, config: &PlannerConfig) {
        if !config.warm_start {
            return;
        }
        self.probabilities.copy_within(self.actions.., 0);
        let last = (self.horizon - 1) * self.actions;
        self.probabilities[last..].fill(1.0 / self.actions as f32);
        self.best.copy_within(1.., 0);
        // Confidence fades with age: half of every step's mass returns to the uniform distribution.
        for p in &mut self.probabilities {
            *p = 0.5 * *p + 0.5 / self.actions as f32;
        }
    }
}
