//! Counterfactual regret minimisation (Zinkevich et al. 2007) and CFR+ (Tammelin 2014).
//!
//! Both update the players in turn. CFR averages uniformly; CFR+ floors regrets at zero after each pass and weighs
//! iteration t with t. The *average* policy approaches equilibrium, not the last one.

use super::extensive::{GameTree, Node, Policy};
use super::regret::matching;

/// The solver's state for one game.
#[derive(Clone, Debug)]
pub struct Cfr<'a> {
    tree: &'a GameTree,
    plus: bool,
    t: f64,
    regrets: Policy,
    sums: Policy,
    current: Policy,
    /// Values of the children along the present path.
    values: Vec<f64>,
}

impl<'a> Cfr<'a> {
    /// Starts from the uniform policy; `plus` selects CFR+.
    pub fn new(tree: &'a GameTree, plus: bool) -> Self {
        let zero: Policy = tree.sets().iter().map(|set| vec![0.0; set.actions.len()]).collect();
        let current = tree.uniform();
        Self { tree, plus, t: 0.0, regrets: zero.clone(), sums: zero, current, values: Vec::new() }
    }

    /// One iteration: a pass for each player.
    pub fn iterate(&mut self) {
        self.t += 1.0;
        for player in 0..2 {
            self.walk(0, player, [1.0; 2], 1.0);
            for (set, regrets) in self.regrets.iter_mut().enumerate() {
                if self.plus {
                    regrets.iter_mut().for_each(|r| *r = r.max(0.0));
                }
                if self.tree.sets()[set].player == player {
                    self.current[set] = matching(regrets);
                }
            }
        }
    }

    /// Adds the counterfactual regrets below a node; returns its value to `player`.
    fn walk(&mut self, node: usize, player: usize, reach: [f64; 2], chance: f64) -> f64 {
        let tree = self.tree;
        match tree.node(node) {
            Node::End { returns } => returns[player],
            Node::Chance { outcomes } => {
                outcomes.iter().map(|&(p, child)| p * self.walk(child, player, reach, chance * p)).sum()
            }
            Node::Decision { player: actor, information, children } => {
                let base = self.values.len();
                let mut value = 0.0;
                for (k, &(_, child)) in children.iter().enumerate() {
                    let p = self.current[*information][k];
                    let mut below = reach;
                    below[*actor] *= p;
                    let v = self.walk(child, player, below, chance);
                    self.values.push(v);
                    value += p * v;
                }
                if *actor == player {
                    let weight = if self.plus { self.t } else { 1.0 };
                    let counterfactual = reach[1 - player] * chance;
                    for k in 0..children.len() {
                        self.regrets[*information][k] += counterfactual * (self.values[base + k] - value);
                        self.sums[*information][k] += weight * reach[player] * self.current[*information][k];
                    }
                }
                self.values.truncate(base);
                value
            }
        }
    }

    /// The average policy; uniform where nothing was reached.
    pub fn average(&self) -> Policy {
        let normalise = |sums: &Vec<f64>| match sums.iter().sum::<f64>() {
            total if total > 0.0 => sums.iter().map(|s| s / total).collect(),
            _ => vec![1.0 / sums.len() as f64; sums.len()],
        };
        self.sums.iter().map(normalise).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::poker::Kuhn;
    use super::*;

    #[test]
    fn kuhn_is_solved_to_the_known_distance() {
        let tree = GameTree::build(&Kuhn).unwrap();
        let after = |plus, n| {
            let mut cfr = Cfr::new(&tree, plus);
            (0..n).for_each(|_| cfr.iterate());
            tree.nash_conv(&cfr.average()).unwrap()
        };
        assert!(after(true, 1000) <= 1.8e-4, "{}", after(true, 1000));
        assert!((after(false, 100) - 0.016451954631830412).abs() < 1e-9);
    }
}
