//! A critic that looks at the others through attention, one query per agent:
//! Qᵢ = f([Σ_j α_ij v_j, eᵢ]) with e_j = [o_j, a_j], αᵢ = softmax_j(qᵢ·k_j / √d), all j, the own included.
//!
//! Unlike MAAC's (see [`crate::maac`]) it takes the own action as an input, so it serves continuous policies.
//!
//! Values and gradients are computed on slices, without a graph: at these sizes the graph's copies and allocations cost
//! as much as the products. Tests hold both against the same function out of tensor operations.

use crate::attention::{Pattern, attend_slices, attend_slices_backward, weights};
use crate::joint_replay::Columns;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rl_core::StreamRng;
use rl_core::nn::kernel::{Mat, matmul};
use rl_core::nn::mlp::Tape;
use rl_core::nn::{Mlp, MlpConfig, Params};

/// Observations and actions of all agents, one agent after another: `[N·B, longest observation + widest action]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Entities {
    all: Vec<f32>,
    width: usize,
    rows: usize,
}

impl Entities {
    /// Longest observation and widest action.
    pub(super) fn longest(sizes: &[(usize, usize)]) -> (usize, usize) {
        sizes.iter().fold((0, 0), |(o, a), s| (o.max(s.0), a.max(s.1)))
    }

    /// Width of a row.
    pub(super) fn width(sizes: &[(usize, usize)]) -> usize {
        let (observation, action) = Self::longest(sizes);
        observation + action
    }

    pub(super) fn new(columns: &Columns, sizes: &[(usize, usize)], joint: &[f32]) -> Self {
        let (longest, width) = (Self::longest(sizes).0, Self::width(sizes));
        let rows = joint.len() / columns.joint();
        let mut all = vec![0.0; sizes.len() * rows * width];
        for (i, &(observation, action)) in sizes.iter().enumerate() {
            for (to, row) in all[i * rows * width..].chunks_mut(width).zip(joint.chunks(columns.joint())) {
                to[..observation].copy_from_slice(&row[columns.observation[i]..][..observation]);
                let from = &row[columns.observations + columns.action[i]..][..action];
                to[longest..][..action].copy_from_slice(from);
            }
        }
        Self { all, width, rows }
    }

    /// Replaces one agent's rows by `own` `[B, own]`; what stands behind the entity's width (an identity) is left out.
    /// Returns what was there, for [`restore`](Self::restore).
    pub(super) fn replace(&mut self, agent: usize, own: &[f32]) -> Vec<f32> {
        let (width, rows) = (self.width, self.rows);
        if rows == 0 {
            return vec![];
        }
        let target = &mut self.all[agent * rows * width..][..rows * width];
        let before = target.to_vec();
        for (to, from) in target.chunks_mut(width).zip(own.chunks(own.len() / rows)) {
            to.copy_from_slice(&from[..width]);
        }
        before
    }

    /// Undoes a replacement.
    pub(super) fn restore(&mut self, agent: usize, before: &[f32]) {
        self.all[agent * before.len()..][..before.len()].copy_from_slice(before);
    }
}

/// The critic's networks.
#[derive(Debug)]
pub(super) struct AttentionCritic {
    query: Mlp,
    key: Mlp,
    value: Mlp,
    head: Mlp,
    agents: usize,
    heads: usize,
}

/// What [`AttentionCritic::run`] leaves for the way back; reused.
#[derive(Debug, Default)]
pub(super) struct Trail {
    query: Tape<f32>,
    key: Tape<f32>,
    value: Tape<f32>,
    head: Tape<f32>,
    /// `[B, width + heads · N]`: what is attended to, and the logits.
    both: Vec<f32>,
    /// `[B, width + own]`: what the head reads.
    inputs: Vec<f32>,
}

impl AttentionCritic {
    pub(super) fn new(
        (agents, entity, identity): (usize, usize, usize),
        (width, heads): (usize, usize),
        hidden: &[usize],
        rng: &mut StreamRng,
    ) -> Result<Self> {
        if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
            return Err(Error::config(
                "maddpg",
                "critic",
                format!("{width} / {heads}"),
                "width in whole heads",
            ));
        }
        let mut linear = |inputs| Mlp::new(&MlpConfig::relu(inputs, &[], width), &Device::Cpu, rng);
        let (query, key, value) = (linear(entity + identity)?, linear(entity)?, linear(entity)?);
        let head = Mlp::new(&MlpConfig::relu(width + entity + identity, hidden, 1), &Device::Cpu, rng)?;
        Ok(Self { query, key, value, head, agents, heads })
    }

    fn networks(&self) -> [&Mlp; 4] {
        [&self.query, &self.key, &self.value, &self.head]
    }

    pub(super) fn params(&self) -> [&Params; 4] {
        self.networks().map(Mlp::params)
    }

    pub(super) fn duplicate(&self) -> Result<Self> {
        let [query, key, value, head] = self.networks().map(Mlp::duplicate);
        Ok(Self { query: query?, key: key?, value: value?, head: head?, ..*self })
    }

    /// Values `[B]` of the own rows `[B, e]` of agent `asker` among all.
    pub(super) fn run<'a>(
        &self,
        own: &[f32],
        entities: &Entities,
        asker: usize,
        trail: &'a mut Trail,
    ) -> Result<&'a [f32]> {
        let width = self.query.outputs();
        record(&self.query, own, &mut trail.query)?;
        record(&self.key, &entities.all, &mut trail.key)?;
        record(&self.value, &entities.all, &mut trail.value)?;
        let answers = [trail.query.output(), trail.key.output(), trail.value.output()];
        trail.both = attend_slices(&self.pattern(asker), answers, width);
        trail.inputs.clear();
        let attended = trail.both.chunks(width + self.heads * self.agents);
        for (attended, own) in attended.zip(own.chunks(self.query.inputs())) {
            trail.inputs.extend_from_slice(&attended[..width]);
            trail.inputs.extend_from_slice(own);
        }
        record(&self.head, &trail.inputs, &mut trail.head)?;
        Ok(trail.head.output())
    }

    /// From ∂/∂values `[B]` to ∂/∂attended and the own rows `[B, width + own]`, and to ∂/∂queries, keys and values.
    fn retrace_head(
        &self,
        asker: usize,
        trail: &mut Trail,
        dvalues: &[f32],
        gradient: Option<&mut [f32]>,
    ) -> Result<(Vec<f32>, [Vec<f32>; 3])> {
        let (width, logits) = (self.query.outputs(), self.heads * self.agents);
        let mut dinputs = dvalues.to_vec();
        retrace(&self.head, &trail.inputs, &mut trail.head, &mut dinputs, gradient, true)?;
        let mut dboth = vec![0.0; trail.both.len()];
        for (to, from) in dboth.chunks_mut(width + logits).zip(dinputs.chunks(self.head.inputs())) {
            to[..width].copy_from_slice(&from[..width]);
        }
        let answers = [trail.query.output(), trail.key.output(), trail.value.output()];
        let all = attend_slices_backward(&self.pattern(asker), answers, width, (&trail.both, &dboth));
        Ok((dinputs, all))
    }

    /// After [`run`](Self::run): the gradients of the parameters, in the order of [`params`](Self::params).
    pub(super) fn learn(
        &self,
        own: &[f32],
        entities: &Entities,
        asker: usize,
        trail: &mut Trail,
        dvalues: &[f32],
        gradients: &mut [Vec<f32>],
    ) -> Result<()> {
        let [query, key, value, head] = gradients else {
            return Err(Error::shape("attention critic", "four gradients", gradients.len()));
        };
        let (_, [mut dq, mut dk, mut dv]) = self.retrace_head(asker, trail, dvalues, Some(head))?;
        retrace(&self.query, own, &mut trail.query, &mut dq, Some(query), false)?;
        retrace(&self.key, &entities.all, &mut trail.key, &mut dk, Some(key), false)?;
        retrace(&self.value, &entities.all, &mut trail.value, &mut dv, Some(value), false)
    }

    /// After [`run`](Self::run) with the own rows among the entities: the gradient of the own rows, `[B, own]`, through
    /// the query, the own key and value, and the head; the parameters are constant.
    pub(super) fn blame(&self, asker: usize, trail: &mut Trail, dvalues: &[f32]) -> Result<Vec<f32>> {
        let (width, wide, entity) = (self.query.outputs(), self.query.inputs(), self.key.inputs());
        let rows = dvalues.len();
        let (dinputs, [dq, dk, dv]) = self.retrace_head(asker, trail, dvalues, None)?;
        let answer = asker * rows * width..(asker + 1) * rows * width;
        let (mut through_entity, mut through_query) = (vec![0.0; rows * entity], vec![0.0; rows * wide]);
        pull(&self.value, &dv[answer.clone()], false, &mut through_entity)?;
        pull(&self.key, &dk[answer], true, &mut through_entity)?;
        pull(&self.query, &dq, false, &mut through_query)?;
        let mut down = Vec::with_capacity(rows * wide);
        for (b, row) in dinputs.chunks(width + wide).enumerate() {
            let start = down.len();
            down.extend_from_slice(&row[width..]);
            let add = |(d, g): (&mut f32, &f32)| *d += g;
            down[start..].iter_mut().zip(&through_entity[b * entity..][..entity]).for_each(add);
            down[start..].iter_mut().zip(&through_query[b * wide..][..wide]).for_each(add);
        }
        Ok(down)
    }

    fn pattern(&self, asker: usize) -> Pattern {
        Pattern { askers: vec![asker], ..Pattern::all(self.agents, self.heads, true) }
    }

    /// Weights `[B][heads][N]` of the last [`run`](Self::run).
    pub(super) fn weights(&self, asker: usize, trail: &Trail) -> Result<Vec<f32>> {
        let (width, logits) = (self.query.outputs(), self.heads * self.agents);
        let all: Vec<f32> =
            trail.both.chunks(width + logits).flat_map(|row| &row[width..]).copied().collect();
        let all = Tensor::from_vec(all, (trail.both.len() / (width + logits), logits), &Device::Cpu)?;
        weights(&self.pattern(asker), &all, width / self.heads)
    }
}

/// [`Mlp::record`] with the network's own values.
pub(super) fn record(mlp: &Mlp, x: &[f32], tape: &mut Tape<f32>) -> Result<()> {
    Ok(mlp.params().with(|p| {
        mlp.record(p, x, tape);
        Ok(())
    })?)
}

/// [`Mlp::retrace`] likewise; what the gradient held before does not matter.
pub(super) fn retrace(
    mlp: &Mlp,
    x: &[f32],
    tape: &mut Tape<f32>,
    dy: &mut Vec<f32>,
    mut gradient: Option<&mut [f32]>,
    input_gradient: bool,
) -> Result<()> {
    if let Some(gradient) = gradient.as_deref_mut() {
        gradient.fill(0.0);
    }
    Ok(mlp.params().with(|p| {
        mlp.retrace(p, x, tape, dy, gradient, input_gradient);
        Ok(())
    })?)
}

/// The gradient of the input of one linear layer, `dx = dy Wᵀ` or `+=`.
fn pull(linear: &Mlp, dy: &[f32], add: bool, dx: &mut [f32]) -> Result<()> {
    let (k, n) = (linear.inputs(), linear.outputs());
    Ok(linear.params().with(|p| {
        if let Some((weight, _)) = linear.dense_layers(p).next() {
            matmul(dx, k, add, Mat::rows(dy, n), Mat::rows(weight, n).t(), (dy.len() / n, k, n));
        }
        Ok(())
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::attend;
    use rl_core::SeedStream;

    /// The slow twin: the same function as a graph.
    fn composed(c: &AttentionCritic, own: &Tensor, all: &Tensor, asker: usize, train: bool) -> Tensor {
        let run = |mlp: &Mlp, x: &Tensor| mlp.forward_composed(x, train).unwrap();
        let (q, k, v) = (run(&c.query, own), run(&c.key, all), run(&c.value, all));
        let (attended, _) = attend(&c.pattern(asker), &q, &k, &v).unwrap();
        run(&c.head, &Tensor::cat(&[&attended, own], 1).unwrap()).squeeze(1).unwrap()
    }

    #[test]
    fn values_and_gradients_are_those_of_the_graph() {
        let (agents, entity, identity, rows) = (3, 5, 3, 40);
        let mut rng = SeedStream::new(5).stream("critic", 0);
        for heads in [1, 2] {
            let critic =
                AttentionCritic::new((agents, entity, identity), (8, heads), &[16], &mut rng).unwrap();
            let data = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<_>>();
            let (own, dvalues) = (data(rows * (entity + identity), 0.37), data(rows, 1.1));
            let mut entities = Entities { all: data(agents * rows * entity, 0.73), width: entity, rows };
            let before = entities.replace(1, &own);
            let own_var =
                candle_core::Var::from_slice(&own, (rows, entity + identity), &Device::Cpu).unwrap();
            let tensor = |x: &[f32], width: usize| {
                Tensor::from_slice(x, (x.len() / width, width), &Device::Cpu).unwrap()
            };
            let (first, last) = entities.all.split_at(rows * entity);
            let entity_rows = own_var.narrow(1, 0, entity).unwrap();
            let parts = [tensor(first, entity), entity_rows, tensor(&last[rows * entity..], entity)];
            let all = Tensor::cat(&parts, 0).unwrap();
            let values = composed(&critic, &own_var, &all, 1, true);
            let weighed = (&values * Tensor::from_slice(&dvalues, rows, &Device::Cpu).unwrap()).unwrap();
            let grads = weighed.sum_all().unwrap().backward().unwrap();
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let close = |a: &[f32], b: &[f32]| {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs().max(1.0))
            };

            let mut trail = Trail::default();
            assert!(close(critic.run(&own, &entities, 1, &mut trail).unwrap(), &flat(&values)));
            let mut gradients: Vec<Vec<f32>> = critic.params().map(|p| vec![0.0; p.len()]).to_vec();
            critic.learn(&own, &entities, 1, &mut trail, &dvalues, &mut gradients).unwrap();
            for (got, params) in gradients.iter().zip(critic.params()) {
                assert!(close(got, &flat(grads.get(params.tensor()).unwrap())));
            }
            let down = critic.blame(1, &mut trail, &dvalues).unwrap();
            assert!(close(&down, &flat(grads.get(&own_var).unwrap())));
            let weights = critic.weights(1, &trail).unwrap();
            assert!(weights.chunks(agents).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
            entities.restore(1, &before);
            assert!(close(&entities.all, &data(agents * rows * entity, 0.73)));
        }
    }
}
