//! Transitions that know which variables were set from outside.

use super::space::FactoredSpace;
use crate::data::Table;
use crate::error::{Error, Result};

/// One step, encoded as its [`FactoredSpace`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition<'a> {
    /// State before, `[W]`.
    pub state: &'a [f32],
    /// Action, `[A]`.
    pub action: &'a [f32],
    /// Reward.
    pub reward: f32,
    /// State after, `[W]`.
    pub next: &'a [f32],
    /// Whether it is the first of its episode.
    pub first: bool,
    /// Variables whose value in `next` was set by do(·), not made by their mechanism.
    pub set: &'a [usize],
}

/// Transitions under observation and under interventions. A mechanism is learned from the rows in which it worked: those
/// where its variable was not set (as in GIES; Hauser & Bühlmann 2012).
#[derive(Clone, Debug, PartialEq)]
pub struct InterventionalDataset {
    space: FactoredSpace,
    states: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    next: Vec<f32>,
    first: Vec<bool>,
    set: Vec<Vec<usize>>,
}

impl InterventionalDataset {
    /// An empty set.
    pub fn new(space: FactoredSpace) -> Self {
        let (states, actions, rewards, next) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { space, states, actions, rewards, next, first: Vec::new(), set: Vec::new() }
    }

    /// The space of its rows.
    pub fn space(&self) -> &FactoredSpace {
        &self.space
    }

    /// Number of transitions.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Adds a transition.
    ///
    /// # Errors
    /// [`Error::Shape`] for vectors that do not fit the space, [`Error::Node`] for a variable out of range,
    /// [`Error::Data`] for numbers that are not finite.
    pub fn push(&mut self, t: Transition<'_>) -> Result<()> {
        let (w, a) = (self.space.width(), self.space.action().width());
        for (what, values, width) in [("state", t.state, w), ("next", t.next, w), ("action", t.action, a)] {
            if values.len() != width {
                let got = format!("{} in `{what}`", values.len());
                return Err(Error::shape("InterventionalDataset::push", format!("{width} numbers"), got));
            }
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::data(
                    format!("transition {}", self.len()),
                    format!("`{what}` is not finite"),
                ));
            }
        }
        if let Some(&node) = t.set.iter().find(|&&v| v >= self.space.len()) {
            let count = self.space.len();
            return Err(Error::Node { operation: "InterventionalDataset::push", node, count });
        }
        self.states.extend_from_slice(t.state);
        self.actions.extend_from_slice(t.action);
        self.rewards.push(t.reward);
        self.next.extend_from_slice(t.next);
        self.first.push(t.first);
        self.set.push(t.set.to_vec());
        Ok(())
    }

    /// The transition `i`, or `None` beyond the end.
    pub fn get(&self, i: usize) -> Option<Transition<'_>> {
        let (w, a) = (self.space.width(), self.space.action().width());
        Some(Transition {
            reward: *self.rewards.get(i)?,
            state: &self.states[i * w..][..w],
            action: &self.actions[i * a..][..a],
            next: &self.next[i * w..][..w],
            first: self.first[i],
            set: &self.set[i],
        })
    }

    /// All transitions in order.
    pub fn iter(&self) -> impl Iterator<Item = Transition<'_>> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// The rows in which the mechanism of `variable` worked.
    pub fn rows_of(&self, variable: usize) -> Vec<usize> {
        (0..self.len()).filter(|&i| !self.set[i].contains(&variable)).collect()
    }

    /// One table per episode for [`pcmci`](crate::discovery::pcmci): a column per encoded number of the state, then of
    /// the action, and which input each column belongs to. The last state of an episode has no action and is left out.
    ///
    /// # Errors
    /// None; the signature is that of [`Table::new`].
    pub fn episodes(&self) -> Result<(Vec<Table>, Vec<usize>)> {
        let (mut names, mut inputs) = (Vec::new(), Vec::new());
        let action = ("action".to_string(), self.space.action().width());
        let blocks = self.space.variables().iter().map(|v| (v.name.clone(), v.kind.width())).chain([action]);
        for (input, (name, width)) in blocks.enumerate() {
            names.extend((0..width).map(|k| format!("{name}.{k}")));
            inputs.extend(std::iter::repeat_n(input, width));
        }
        let mut tables = Vec::new();
        let mut columns = vec![Vec::new(); names.len()];
        for t in self.iter() {
            if t.first && !columns[0].is_empty() {
                let full = std::mem::replace(&mut columns, vec![Vec::new(); names.len()]);
                tables.push(Table::new(names.clone(), full)?);
            }
            columns.iter_mut().zip(t.state.iter().chain(t.action)).for_each(|(c, &v)| c.push(f64::from(v)));
        }
        tables.push(Table::new(names, columns)?);
        Ok((tables, inputs))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Variable};
    use super::*;

    #[test]
    fn rows_episodes_and_refusals() {
        let real = |name: &str| Variable { name: name.into(), kind: Kind::Real(1) };
        let space = FactoredSpace::new(vec![real("x"), real("y")], Kind::Real(1)).unwrap();
        let mut data = InterventionalDataset::new(space);
        for i in 0..4 {
            let x = i as f32;
            let t = Transition {
                state: &[x, -x],
                action: &[0.5],
                reward: x,
                next: &[x + 1.0, -x],
                first: i % 2 == 0,
                set: if i == 1 { &[0] } else { &[] },
            };
            data.push(t).unwrap();
        }
        assert_eq!(data.rows_of(0), [0, 2, 3]);
        assert_eq!(data.rows_of(1), [0, 1, 2, 3]);
        let (tables, inputs) = data.episodes().unwrap();
        assert_eq!((tables.len(), inputs), (2, vec![0, 1, 2]));
        assert_eq!(tables[1].columns()[0], [2.0, 3.0]);
        let bad = Transition {
            state: &[0.0],
            action: &[0.0],
            reward: 0.0,
            next: &[0.0, 0.0],
            first: true,
            set: &[],
        };
        assert!(data.push(bad).unwrap_err().to_string().contains("1 in `state`"));
        let bad = Transition { state: &[0.0, f32::NAN], next: &[0.0, 0.0], ..bad };
        assert!(data.push(bad).unwrap_err().to_string().contains("not finite"));
    }
}
