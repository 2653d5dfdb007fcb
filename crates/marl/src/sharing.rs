//! Who uses whose parameters: one network for all agents, one per group, or one each.
//!
//! Agents that share a network are told apart by a one-hot identity behind their observation, and shorter
//! observations and actions are padded with zeros to the longest of the set (Papoudakis et al. 2021, appendix).

use crate::env::Layout;
use serde::{Deserialize, Serialize};

/// How parameters are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One set for everyone.
    All,
    /// One set per group of the layout.
    Group,
    /// Everyone learns alone.
    #[default]
    None,
}

/// Agents with common parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Indices of the agents.
    pub members: Vec<usize>,
    /// Longest observation.
    pub observation: usize,
    /// Widest action.
    pub action: usize,
}

impl Set {
    /// Length of the identity code: 0 for a single member.
    pub fn identity(&self) -> usize {
        if self.members.len() > 1 { self.members.len() } else { 0 }
    }

    /// Length of a network's input: observation and identity.
    pub fn input(&self) -> usize {
        self.observation + self.identity()
    }

    /// Writes rows `[observation, zeros, identity]` for the set's `k`-th member from rows of length `width` that
    /// start `stride` apart.
    pub fn write(&self, k: usize, rows: &[f32], width: usize, stride: usize, into: &mut Vec<f32>) {
        for row in rows.chunks(stride.max(1)) {
            let start = into.len();
            into.extend_from_slice(&row[..width.min(row.len())]);
            into.resize(start + self.input(), 0.0);
            if k < self.identity() {
                into[start + self.observation + k] = 1.0;
            }
        }
    }
}

impl Set {
    /// The inputs of all members, one member after another: `[members · B, input]`. `rows(i)` are the rows of agent i, how
    /// many numbers of a row are its observation, and how far apart rows start.
    pub fn stack<'a>(&self, rows: impl Fn(usize) -> (&'a [f32], usize, usize)) -> Vec<f32> {
        let mut into = Vec::new();
        for (k, &i) in self.members.iter().enumerate() {
            let (rows, width, stride) = rows(i);
            self.write(k, rows, width, stride, &mut into);
        }
        into
    }
}

impl Sharing {
    /// The sets of a layout, in the order of their first members.
    pub fn sets(self, layout: &Layout) -> Vec<Set> {
        let n = layout.n();
        let members: Vec<Vec<usize>> = match self {
            Self::All => vec![(0..n).collect()],
            Self::None => (0..n).map(|i| vec![i]).collect(),
            Self::Group => {
                let groups = (0..layout.groups.len()).map(|g| layout.members(g).map(|id| id.0).collect());
                groups.filter(|members: &Vec<usize>| !members.is_empty()).collect()
            }
        };
        let longest =
            |members: &[usize], f: &dyn Fn(usize) -> usize| members.iter().map(|&i| f(i)).max().unwrap_or(0);
        let set = |members: Vec<usize>| Set {
            observation: longest(&members, &|i| layout.agents[i].observation),
            action: longest(&members, &|i| layout.agents[i].actions.width()),
            members,
        };
        members.into_iter().map(set).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MultiAgentEnv;
    use crate::env::particle::{Config, Particle, Scenario};

    #[test]
    fn sets_and_rows() {
        let scenario = Scenario::named("simple_tag").unwrap_or_default();
        let env = Particle::new(Config { scenario, ..Config::default() }).unwrap();
        assert_eq!(Sharing::None.sets(env.layout()).len(), 4);
        let groups = Sharing::Group.sets(env.layout());
        assert_eq!((groups[0].members.len(), groups[0].input(), groups[1].input()), (3, 19, 14));
        let all = &Sharing::All.sets(env.layout())[0];
        let mut rows = Vec::new();
        all.write(3, &[1.0, 2.0, 9.0, 3.0, 4.0, 9.0], 2, 3, &mut rows);
        assert_eq!(rows.len(), 2 * 20);
        assert_eq!((rows[0], rows[1], rows[2], rows[19], rows[20], rows[39]), (1.0, 2.0, 0.0, 1.0, 3.0, 1.0));
    }
}
