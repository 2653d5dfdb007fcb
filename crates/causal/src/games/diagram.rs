//! The diagram and the exact value of policies in it.

use crate::error::{Error, Result};
use crate::graph::Dag;
use std::collections::BTreeMap;

/// A pure decision rule per decision node: the action for each configuration of the node's parents, in row-major order of
/// the parents as listed, last fastest. Decisions without a rule mix uniformly.
pub type Policy = BTreeMap<usize, Vec<usize>>;

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Nature: P(value | parents), one row of probabilities per configuration of the parents.
    Chance(Vec<f64>),
    /// An agent's choice, which sees the parents.
    Decision {
        /// Whose.
        agent: usize,
    },
    /// A payoff, one per configuration of the parents. An agent maximises the sum of its payoffs.
    Utility {
        /// Whose.
        agent: usize,
        /// The payoffs.
        payoffs: Vec<f64>,
    },
}

/// A node of an influence diagram.
#[derive(Clone, Debug, PartialEq)]
pub struct GameNode {
    /// Its name.
    pub name: String,
    /// Its parents, by index; the order fixes the layout of tables and rules.
    pub parents: Vec<usize>,
    /// Number of values or actions; 1 for utilities.
    pub cardinality: usize,
    /// What it is.
    pub role: Role,
}

impl GameNode {
    /// A chance node.
    pub fn chance(name: &str, parents: &[usize], cardinality: usize, law: Vec<f64>) -> Self {
        Self { name: name.into(), parents: parents.to_vec(), cardinality, role: Role::Chance(law) }
    }

    /// A decision node.
    pub fn decision(name: &str, parents: &[usize], agent: usize, actions: usize) -> Self {
        let role = Role::Decision { agent };
        Self { name: name.into(), parents: parents.to_vec(), cardinality: actions, role }
    }

    /// A utility node.
    pub fn utility(name: &str, parents: &[usize], agent: usize, payoffs: Vec<f64>) -> Self {
        let role = Role::Utility { agent, payoffs };
        Self { name: name.into(), parents: parents.to_vec(), cardinality: 1, role }
    }
}

/// A multi-agent influence diagram over finite nodes.
#[derive(Clone, Debug)]
pub struct InfluenceDiagram {
    nodes: Vec<GameNode>,
    dag: Dag,
    /// Chance and decision nodes, causes first.
    order: Vec<usize>,
    agents: usize,
}

/// More configurations than this are not enumerated.
pub(super) const MOST_CONFIGURATIONS: usize = 1 << 22;

impl InfluenceDiagram {
    /// The diagram of these nodes.
    ///
    /// # Errors
    /// As [`Dag::new`]; [`Error::InvalidGraph`] for a utility with children, [`Error::Shape`] for a table of another
    /// size, [`Error::Data`] for probabilities that do not sum to 1 or payoffs that are not finite, [`Error::TooLarge`]
    /// beyond 2²² joint values.
    pub fn new(nodes: Vec<GameNode>) -> Result<Self> {
        let mut edges = Vec::new();
        for (v, node) in nodes.iter().enumerate() {
            edges.extend(node.parents.iter().map(|&u| (u, v)));
        }
        let dag = Dag::new(nodes.iter().map(|n| n.name.clone()).collect(), &edges)?;
        let is_utility = |v: usize| matches!(nodes[v].role, Role::Utility { .. });
        if let Some(&(from, to)) = edges.iter().find(|e| is_utility(e.0)) {
            let (from, to) = (&nodes[from].name, &nodes[to].name);
            let reason =
                format!("the utility {from} has the child {to}; split off what {to} reads as a chance node");
            return Err(Error::InvalidGraph { kind: "influence diagram", reason });
        }
        let cells = nodes.iter().try_fold(1usize, |n, node| n.checked_mul(node.cardinality));
        if cells.is_none_or(|n| n > MOST_CONFIGURATIONS) {
            let reason = format!("more than {MOST_CONFIGURATIONS} joint values of the nodes");
            return Err(Error::TooLarge { operation: "InfluenceDiagram::new", reason });
        }
        let order = dag.topological_order().into_iter().filter(|&v| !is_utility(v)).collect();
        let agent = |node: &GameNode| match node.role {
            Role::Chance(_) => 0,
            Role::Decision { agent } | Role::Utility { agent, .. } => agent + 1,
        };
        let agents = nodes.iter().map(agent).max().unwrap_or(0);
        let diagram = Self { nodes, dag, order, agents };
        (0..diagram.nodes.len()).try_for_each(|v| diagram.check_table(v))?;
        Ok(diagram)
    }

    fn check_table(&self, v: usize) -> Result<()> {
        let node = &self.nodes[v];
        let configurations = self.configurations(v);
        let (expected, table) = match &node.role {
            Role::Decision { .. } if node.cardinality == 0 => {
                return Err(Error::shape(
                    "InfluenceDiagram::new",
                    format!("actions of {}", node.name),
                    "none",
                ));
            }
            Role::Decision { .. } => return Ok(()),
            Role::Chance(law) => (configurations * node.cardinality, law),
            Role::Utility { payoffs, .. } => (configurations, payoffs),
        };
        if table.len() != expected || node.cardinality == 0 {
            let expected = format!(
                "{expected} entries in the table of {} (one row per parent configuration)",
                node.name
            );
            return Err(Error::shape("InfluenceDiagram::new", expected, table.len()));
        }
        let is_law =
            |row: &[f64]| (row.iter().sum::<f64>() - 1.0).abs() < 1e-9 && row.iter().all(|p| *p >= 0.0);
        match &node.role {
            Role::Chance(law) if !law.chunks(node.cardinality).all(is_law) => {
                Err(Error::data(format!("the law of {}", node.name), "has a row that does not sum to 1"))
            }
            Role::Utility { payoffs, .. } if payoffs.iter().any(|p| !p.is_finite()) => {
                Err(Error::data(format!("the payoffs of {}", node.name), "are not all finite"))
            }
            _ => Ok(()),
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> &[GameNode] {
        &self.nodes
    }

    /// The graph.
    pub fn dag(&self) -> &Dag {
        &self.dag
    }

    /// Number of agents `0..n`.
    pub fn agents(&self) -> usize {
        self.agents
    }

    /// The decision nodes, ascending.
    pub fn decisions(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&v| self.owner(v).is_some()).collect()
    }

    /// The agent that decides at `v`.
    pub fn owner(&self, v: usize) -> Option<usize> {
        match self.nodes.get(v)?.role {
            Role::Decision { agent } => Some(agent),
            _ => None,
        }
    }

    /// The utilities of the agent of decision `d` that `d` can influence.
    pub(super) fn stakes(&self, d: usize) -> Vec<usize> {
        let below = self.dag.descendants(&[d]);
        let own = |v: &usize| matches!(self.nodes[*v].role, Role::Utility { agent, .. } if Some(agent) == self.owner(d));
        below.ones().filter(own).collect()
    }

    /// Σ of the payoffs of some utility nodes.
    pub(super) fn payoff(&self, utilities: &[usize], values: &[usize]) -> f64 {
        let of = |&v: &usize| match &self.nodes[v].role {
            Role::Utility { payoffs, .. } => payoffs[self.configuration(v, values)],
            _ => 0.0,
        };
        utilities.iter().map(of).sum()
    }

    /// Number of configurations of the parents of `v`.
    pub fn configurations(&self, v: usize) -> usize {
        self.nodes[v].parents.iter().map(|&u| self.nodes[u].cardinality).product()
    }

    /// The row of the tables of `v` at these values of the nodes.
    pub(super) fn configuration(&self, v: usize, values: &[usize]) -> usize {
        self.nodes[v].parents.iter().fold(0, |i, &u| i * self.nodes[u].cardinality + values[u])
    }

    /// E\[Σ payoffs\] of every agent.
    ///
    /// # Errors
    /// [`Error::Shape`] for a rule of another length or with an action that does not exist, or for a node that is no
    /// decision.
    pub fn expected_utilities(&self, policy: &Policy) -> Result<Vec<f64>> {
        self.utilities_after(policy, &[])
    }

    /// The same after nodes were set from outside without the agents' knowledge: a post-policy intervention. Rules stay,
    /// and see the values that were set.
    ///
    /// # Errors
    /// As [`InfluenceDiagram::expected_utilities`]; [`Error::Shape`] for a value that the node does not have.
    pub fn utilities_after(&self, policy: &Policy, interventions: &[(usize, usize)]) -> Result<Vec<f64>> {
        self.check_policy(policy)?;
        interventions.iter().try_for_each(|&(v, value)| self.check_value(v, value))?;
        let mut totals = vec![0.0; self.agents];
        self.for_each_outcome(policy, interventions, None, |probability, values| {
            for (v, node) in self.nodes.iter().enumerate() {
                if let Role::Utility { agent, payoffs } = &node.role {
                    totals[*agent] += probability * payoffs[self.configuration(v, values)];
                }
            }
        });
        Ok(totals)
    }

    /// The game in which `v` is set from outside and everybody knows: a pre-policy intervention.
    ///
    /// # Errors
    /// [`Error::Shape`] for a value that the node does not have.
    pub fn intervene(&self, v: usize, value: usize) -> Result<Self> {
        self.check_value(v, value)?;
        let mut nodes = self.nodes.clone();
        let law = (0..nodes[v].cardinality).map(|x| f64::from(u8::from(x == value))).collect();
        nodes[v] = GameNode { parents: Vec::new(), role: Role::Chance(law), ..nodes[v].clone() };
        let mut changed = Self::new(nodes)?;
        changed.agents = self.agents;
        Ok(changed)
    }

    fn check_value(&self, v: usize, value: usize) -> Result<()> {
        let node = self.nodes.get(v).filter(|n| !matches!(n.role, Role::Utility { .. }));
        match node {
            Some(node) if value < node.cardinality => Ok(()),
            Some(node) => {
                let expected = format!("a value of {} below {}", node.name, node.cardinality);
                Err(Error::shape("influence diagram", expected, value))
            }
            None => Err(Error::shape(
                "influence diagram",
                "a chance or decision node to set",
                format!("node {v}"),
            )),
        }
    }

    pub(super) fn check_policy(&self, policy: &Policy) -> Result<()> {
        for (&d, rule) in policy {
            if self.owner(d).is_none() {
                return Err(Error::shape(
                    "policy",
                    "rules for decision nodes",
                    format!("a rule for node {d}"),
                ));
            }
            let (rows, node) = (self.configurations(d), &self.nodes[d]);
            if rule.len() != rows || rule.iter().any(|&a| a >= node.cardinality) {
                let expected = format!("{rows} actions below {} for {}", node.cardinality, node.name);
                return Err(Error::shape("policy", expected, format!("{rule:?}")));
            }
        }
        Ok(())
    }

    /// Calls `visit(probability, values)` for every outcome of positive probability. The factor of `open` is left out, so
    /// that all its actions are visited with the weight of their circumstances.
    pub(super) fn for_each_outcome(
        &self,
        policy: &Policy,
        interventions: &[(usize, usize)],
        open: Option<usize>,
        mut visit: impl FnMut(f64, &[usize]),
    ) {
        let mut values = vec![0; self.nodes.len()];
        let mut stack = vec![(0usize, 0usize, 1.0f64)]; // (place in the order, value to try, weight so far)
        while let Some((place, value, weight)) = stack.pop() {
            let Some(&v) = self.order.get(place) else {
                visit(weight, &values);
                continue;
            };
            if value + 1 < self.nodes[v].cardinality {
                stack.push((place, value + 1, weight));
            }
            values[v] = value;
            let factor = match interventions.iter().find(|i| i.0 == v) {
                Some(&(_, forced)) => f64::from(u8::from(forced == value)),
                None if open == Some(v) => 1.0,
                None => self.probability(v, value, &values, policy),
            };
            if factor > 0.0 {
                stack.push((place + 1, 0, weight * factor));
            }
        }
    }

    fn probability(&self, v: usize, value: usize, values: &[usize], policy: &Policy) -> f64 {
        let node = &self.nodes[v];
        let row = self.configuration(v, values);
        match (&node.role, policy.get(&v)) {
            (Role::Chance(law), _) => law[row * node.cardinality + value],
            (_, Some(rule)) => f64::from(u8::from(rule[row] == value)),
            _ => 1.0 / node.cardinality as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Koller & Milch's tree: Alice builds a patio and may poison the tree that spoils its view; its illness shows; Bob may
    /// call a tree doctor. 0 poison, 1 ill (if poisoned 0.9, else 0.1), 2 doctor (sees ill), utilities.
    fn tree() -> InfluenceDiagram {
        InfluenceDiagram::new(vec![
            GameNode::decision("poison", &[], 0, 2),
            GameNode::chance("ill", &[0], 2, vec![0.9, 0.1, 0.1, 0.9]),
            GameNode::decision("doctor", &[1], 1, 2),
            GameNode::utility("view", &[1, 2], 0, vec![0.0, 0.0, 10.0, 2.0]),
            GameNode::utility("effort", &[0], 0, vec![0.0, -1.0]),
            GameNode::utility("tree", &[1, 2], 1, vec![5.0, 4.0, 0.0, 3.0]),
        ])
        .unwrap()
    }

    #[test]
    fn utilities_are_exact() {
        let game = tree();
        // Poison; call the doctor when ill: ill 0.9 → Alice 0.9 · 2 − 1, Bob 0.9 · 3 + 0.1 · 5.
        let policy = Policy::from([(0, vec![1]), (2, vec![0, 1])]);
        let utilities = game.expected_utilities(&policy).unwrap();
        assert!((utilities[0] - 0.8).abs() < 1e-12 && (utilities[1] - 3.2).abs() < 1e-12, "{utilities:?}");
        // Healthy by miracle: the rule stays and sees no illness.
        let spared = game.utilities_after(&policy, &[(1, 0)]).unwrap();
        assert_eq!(spared, [-1.0, 5.0]);
        // Without rules both mix: ill 0.5.
        let mixed = game.expected_utilities(&Policy::new()).unwrap();
        assert!((mixed[0] - (0.5 * 6.0 - 0.5)).abs() < 1e-12 && (mixed[1] - 0.5 * (4.5 + 1.5)).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_game_is_refused() {
        let utility = GameNode::utility("u", &[0], 0, vec![0.0, 1.0]);
        let choice = GameNode::decision("d", &[], 0, 2);
        let reads_utility = GameNode::decision("e", &[1], 0, 2);
        assert!(InfluenceDiagram::new(vec![choice.clone(), utility.clone(), reads_utility]).is_err());
        let short = GameNode::utility("u", &[0], 0, vec![0.0]);
        assert!(InfluenceDiagram::new(vec![choice.clone(), short]).is_err());
        assert!(InfluenceDiagram::new(vec![GameNode::chance("c", &[], 2, vec![0.5, 0.6])]).is_err());
        assert!(InfluenceDiagram::new(vec![GameNode::decision("d", &[], 0, 0)]).is_err());
        let game = InfluenceDiagram::new(vec![choice, utility]).unwrap();
        for bad in
            [Policy::from([(1, vec![0])]), Policy::from([(0, vec![2])]), Policy::from([(0, vec![0, 0])])]
        {
            assert!(game.expected_utilities(&bad).is_err());
        }
        assert!(
            game.intervene(0, 2).is_err() && game.intervene(1, 0).is_err() && game.intervene(9, 0).is_err()
        );
    }
}
