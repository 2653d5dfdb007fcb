//! The central critic: what it reads, what it is fitted to.

use super::Coma;
use crate::Result;
use crate::sharing::Set;
use candle_core::{Device, Tensor};
use rl_core::optim::{backward, polyak};
use rl_core::returns::gae;

impl Coma {
    /// Critic inputs of a set's members `[members · R, joint + identity]`: all observations, and the actions of the others.
    pub(super) fn critic_rows(&self, set: &Set, observations: &[f32], actions: &[Vec<f32>]) -> Vec<f32> {
        let width: usize = self.sizes.iter().map(|s| s.0).sum();
        let mut rows = Vec::new();
        for (k, &i) in set.members.iter().enumerate() {
            for (r, seen) in observations.chunks(width).enumerate() {
                rows.extend_from_slice(seen);
                for (j, &(_, n)) in self.sizes.iter().enumerate() {
                    let start = rows.len();
                    rows.resize(start + n, 0.0);
                    if j != i {
                        rows[start + actions[j][r] as usize] = 1.0;
                    }
                }
                rows.extend((0..set.identity()).map(|member| f32::from(u8::from(member == k))));
            }
        }
        rows
    }

    /// λ-returns of a team's members, one member after another, from target values of all own actions.
    pub(super) fn targets(&self, t: usize, q: &[f32], next_q: &[f32], next: &[Vec<f32>]) -> Result<Vec<f32>> {
        let set = &self.teams[t].set;
        let (count, stride) = (self.rollout.copies * self.rollout.steps, set.action);
        let mut targets = Vec::with_capacity(count * set.members.len());
        for (k, &i) in set.members.iter().enumerate() {
            let (own, n) = (&self.rollout.agents[i], self.sizes[i].1);
            let value = |r: usize| f64::from(q[(k * count + r) * stride + own.decided.actions[r] as usize]);
            let expected = |r: usize| {
                let (q, logs) = (&next_q[(k * count + r) * stride..][..n], &next[i][r * n..(r + 1) * n]);
                q.iter().zip(logs).map(|(&q, &log)| f64::from(q * log.exp())).sum::<f64>()
            };
            let values: Vec<f64> = (0..count).map(value).collect();
            let next_values: Vec<f64> = (0..count).map(expected).collect();
            let steps = own.steps(self.rollout.copies, &next_values);
            let advantages = gae(&steps, &values, self.config.gamma, self.config.lambda)?;
            targets.extend(advantages.iter().zip(values).map(|(a, v)| (a + v) as f32));
        }
        Ok(targets)
    }

    /// Fits a team's critic; returns its values of all own actions afterwards.
    pub(super) fn fit(
        &mut self,
        t: usize,
        rows: Vec<f32>,
        taken: &[Vec<f32>],
        targets: &[f32],
    ) -> Result<Vec<f32>> {
        let team = &mut self.teams[t];
        let n = targets.len();
        let stride = team.set.action;
        let mut chosen = vec![0f32; n * stride];
        let actions = team.set.members.iter().flat_map(|&i| &taken[i]);
        actions.enumerate().for_each(|(r, &a)| chosen[r * stride + a as usize] = 1.0);
        let acted: Vec<f32> =
            team.set.members.iter().flat_map(|&i| &self.rollout.agents[i].acted).copied().collect();
        let count = f64::from(acted.iter().sum::<f32>()).max(1.0);
        let input = Tensor::from_slice(&rows, (n, team.critic.inputs()), &Device::Cpu)?;
        let chosen = Tensor::from_vec(chosen, (n, stride), &Device::Cpu)?;
        let (y, acted) =
            (Tensor::from_slice(targets, n, &Device::Cpu)?, Tensor::from_vec(acted, n, &Device::Cpu)?);
        for _ in 0..self.config.critic_steps {
            let q = (team.critic.forward(&input)? * &chosen)?.sum(1)?;
            let loss = (((q - &y)?.sqr()? * &acted)?.sum_all()? / count)?;
            let (value, grads) = backward(&loss)?;
            team.critic_optimizer.step(&grads)?;
            polyak(team.target.params(), team.critic.params(), self.config.tau)?;
            self.metrics[0] = value;
        }
        Ok(team.critic.predict(&rows, &mut self.workspace)?.to_vec())
    }
}
