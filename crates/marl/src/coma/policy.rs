//! The floored policies, and their step along the counterfactual advantages.

use super::Coma;
use crate::rollout::{Decision, choose};
use crate::trainer::Mode;
use crate::{Result, gumbel};
use candle_core::{D, Device, Tensor};
use rl_core::StreamRng;
use rl_core::optim::backward;

impl Coma {
    /// Logits ln π of the floored policies, per agent `[R, A]`, of what agents observe; unavailable actions keep nothing.
    pub(super) fn log_policies<'a>(
        &mut self,
        observations: impl Fn(usize) -> &'a [f32],
        masks: impl Fn(usize) -> &'a [bool],
        floor: f64,
    ) -> Result<Vec<Vec<f32>>> {
        let mut all = vec![Vec::new(); self.sizes.len()];
        for team in &self.teams {
            let rows = team.set.stack(|i| (observations(i), self.sizes[i].0, self.sizes[i].0));
            let out = team.policy.predict(&rows, &mut self.workspace)?;
            let per_agent = out.len() / team.set.members.len();
            for (&i, out) in team.set.members.iter().zip(out.chunks(per_agent.max(1))) {
                let width = self.sizes[i].1;
                out.chunks(team.set.action).for_each(|row| all[i].extend_from_slice(&row[..width]));
                for (r, row) in all[i].chunks_mut(width).enumerate() {
                    lift(row, masks(i).get(r * width..(r + 1) * width).unwrap_or_default(), floor as f32);
                }
            }
        }
        Ok(all)
    }

    /// One action of everybody per row.
    pub(super) fn draw(&self, log_policies: &[Vec<f32>], rng: &mut StreamRng) -> Vec<Vec<f32>> {
        let pick = |(logs, &(_, n)): (&Vec<f32>, &(usize, usize))| {
            let mut decision = Decision::default();
            choose(&mut logs.clone(), (n, n), &[], Mode::Explore, rng, &mut decision);
            decision.actions
        };
        log_policies.iter().zip(&self.sizes).map(pick).collect()
    }

    /// One step of a team's policy along the counterfactual advantages.
    pub(super) fn improve(&mut self, t: usize, q: &[f32], taken: &[Vec<f32>], floor: f64) -> Result<()> {
        let team = &mut self.teams[t];
        let (rows, mut losses, mut entropies) =
            (self.rollout.copies * self.rollout.steps, Vec::new(), Vec::new());
        let agents = &self.rollout.agents;
        let input = team.set.stack(|i| (&agents[i].before, self.sizes[i].0, self.sizes[i].0));
        let input = Tensor::from_vec(input, (team.set.members.len() * rows, team.set.input()), &Device::Cpu)?;
        let out = team.policy.forward(&input)?;
        for (k, &i) in team.set.members.iter().enumerate() {
            let (own, n) = (&agents[i], self.sizes[i].1);
            let mut logits = out.narrow(0, k * rows, rows)?.narrow(1, 0, n)?;
            let available: Vec<f32> = match own.masks.is_empty() {
                true => vec![1.0; rows * n],
                false => own.masks.iter().map(|&m| f32::from(u8::from(m))).collect(),
            };
            let shares: Vec<f32> = available
                .chunks(n)
                .flat_map(|row| {
                    let count = row.iter().sum::<f32>().max(1.0);
                    row.iter().map(move |a| a * floor as f32 / count)
                })
                .collect();
            let available = Tensor::from_vec(available, (rows, n), &Device::Cpu)?;
            logits = (logits + available.affine(-1.0, 1.0)?.affine(f64::from(gumbel::UNAVAILABLE), 0.0)?)?;
            let soft = candle_nn::ops::softmax(&logits, D::Minus1)?;
            let policy = ((soft * (1.0 - floor))? + Tensor::from_vec(shares, (rows, n), &Device::Cpu)?)?; // [R, A]
            let probabilities = policy.detach().to_vec2::<f32>()?;
            let own_q = |r: usize| &q[(k * rows + r) * team.set.action..][..n];
            let mut weights = vec![0f32; rows * n];
            for (r, p) in probabilities.iter().enumerate() {
                let a = taken[i][r] as usize;
                weights[r * n + a] = own.acted[r] * counterfactual(p, own_q(r), a);
            }
            let count = f64::from(own.acted.iter().sum::<f32>()).max(1.0);
            let log = policy.clamp(1e-30, 1.0)?.log()?;
            let weights = Tensor::from_vec(weights, (rows, n), &Device::Cpu)?;
            losses.push(((&log * weights)?.sum_all()? / -count)?);
            entropies.push(((policy * log)?.sum(1)?.mean_all()? * -1.0)?);
        }
        let entropy = (Tensor::stack(&entropies, 0)?.sum_all()? / losses.len() as f64)?;
        let loss = (Tensor::stack(&losses, 0)?.sum_all()? / losses.len() as f64)?;
        let (value, grads) = backward(&(loss - (&entropy * self.config.entropy)?)?)?;
        team.policy_optimizer.step(&grads)?;
        (self.metrics[1], self.metrics[2]) = (value, f64::from(entropy.to_scalar::<f32>()?));
        Ok(())
    }
}

/// A(a) = q(a) − Σ_b π(b) q(b).
pub(super) fn counterfactual(policy: &[f32], q: &[f32], a: usize) -> f32 {
    q[a] - policy.iter().zip(q).map(|(p, q)| p * q).sum::<f32>()
}

/// Turns logits into ln of the floored policy over the available actions.
pub(super) fn lift(row: &mut [f32], mask: &[bool], floor: f32) {
    gumbel::hide(row, mask);
    let count = if mask.is_empty() { row.len() } else { mask.iter().filter(|m| **m).count() };
    gumbel::softmax_row(row);
    for (a, p) in row.iter_mut().enumerate() {
        let share = if mask.get(a).copied().unwrap_or(true) { floor / count.max(1) as f32 } else { 0.0 };
        *p = ((1.0 - floor) * *p + share).max(1e-30).ln();
    }
}
