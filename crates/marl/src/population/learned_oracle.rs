//! A response oracle that learns (Lanctot et al. 2017): a Q-network plays sampled games against the other player's mixture.
//!
//! Monte Carlo control: with the player's encoding x of what it knows, Q(x, a) is fitted to the returns of finished games
//! played ε-greedily, loss mean (Q(x, a) − G)². The opponent of each game is drawn from the mixture, as a policy and not
//! move by move, so that the mixture is that of PSRO. The response is the greedy policy.
//!
//! Payoffs of the meta-game are exact expectations over the tree, so what is shown as NashConv is off only by what the
//! responses miss: measure the mixture with [`crate::games::extensive::GameTree::nash_conv`] for the truth.

use super::psro::{Oracle, TreeOracle};
use crate::games::extensive::{GameTree, Node, Policy};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rand::RngExt;
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Hidden layers.
    pub hidden: Vec<usize>,
    /// Adam's step size at first; it falls to 0.
    pub rate: f64,
    /// Games per response.
    pub games: usize,
    /// Games per update.
    pub batch: usize,
    /// Share of random moves.
    pub epsilon: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { hidden: vec![64], rate: 3e-3, games: 20_000, batch: 50, epsilon: 0.2 }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: String, allowed| Err(Error::config("learned_oracle", field, value, allowed));
        match self {
            c if c.hidden.contains(&0) => bad("hidden", format!("{:?}", c.hidden), "positive widths"),
            c if c.games == 0 || c.batch == 0 => bad("games, batch", "0".into(), "at least 1"),
            c if !(0.0..=1.0).contains(&c.epsilon) => bad("epsilon", c.epsilon.to_string(), "in [0, 1]"),
            _ => Ok(()),
        }
    }
}

/// Responses by learning, in a zero-sum game tree.
#[derive(Debug)]
pub struct LearnedOracle<'a> {
    exact: TreeOracle<'a>,
    config: Config,
    seeds: SeedStream,
    responses: u64,
}

/// A decision of the learner in a finished game.
struct Move {
    node: usize,
    /// Place among the legal actions.
    action: usize,
}

impl<'a> LearnedOracle<'a> {
    /// An oracle for a tree.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(tree: &'a GameTree, config: Config, seeds: SeedStream) -> Result<Self> {
        config.validate()?;
        Ok(Self { exact: TreeOracle(tree), config, seeds, responses: 0 })
    }

    /// Plays one game; the learner's moves are left in `moves`, its return is returned.
    fn game(
        &self,
        player: usize,
        q: &Mlp,
        opponent: &Policy,
        rng: &mut StreamRng,
        workspace: &mut Workspace<f32>,
        moves: &mut Vec<Move>,
    ) -> Result<f64> {
        let tree = self.exact.0;
        let mut at = 0;
        loop {
            at = match tree.node(at) {
                Node::End { returns } => return Ok(returns[player]),
                Node::Chance { outcomes } => {
                    let probabilities: Vec<f64> = outcomes.iter().map(|o| o.0).collect();
                    outcomes[draw(&probabilities, rng)].1
                }
                Node::Decision { player: mover, information, children } if *mover != player => {
                    children[draw(&opponent[*information], rng)].1
                }
                Node::Decision { children, .. } => {
                    let action = match rng.random::<f64>() < self.config.epsilon {
                        true => rng.random_range(0..children.len()),
                        false => best(q.predict(tree.encoding(at, player), workspace)?, children),
                    };
                    moves.push(Move { node: at, action });
                    children[action].1
                }
            };
        }
    }

    fn fit(&self, player: usize, q: &Mlp, optimizer: &mut Optimizer, moves: &[(Move, f32)]) -> Result<()> {
        let (tree, n, width) = (self.exact.0, moves.len(), q.outputs());
        let (mut seen, mut chosen) = (Vec::new(), vec![0f32; n * width]);
        for (row, (step, _)) in moves.iter().enumerate() {
            seen.extend_from_slice(tree.encoding(step.node, player));
            if let Node::Decision { children, .. } = tree.node(step.node) {
                chosen[row * width + children[step.action].0] = 1.0;
            }
        }
        let seen = Tensor::from_vec(seen, (n, tree.encoding_len()), &Device::Cpu)?;
        let chosen = Tensor::from_vec(chosen, (n, width), &Device::Cpu)?;
        let gains = Tensor::from_vec(moves.iter().map(|m| m.1).collect::<Vec<_>>(), n, &Device::Cpu)?;
        let loss = ((q.forward(&seen)? * chosen)?.sum(1)? - gains)?.sqr()?.mean_all()?;
        let (_, grads) = backward(&loss)?;
        optimizer.step(&grads)?;
        Ok(())
    }
}

/// An index drawn with these probabilities.
fn draw(probabilities: &[f64], rng: &mut StreamRng) -> usize {
    let mut left = rng.random::<f64>() * probabilities.iter().sum::<f64>();
    let drawn = probabilities.iter().position(|p| {
        left -= p;
        left < 0.0
    });
    drawn.unwrap_or(probabilities.len() - 1)
}

/// The place of the legal action of the largest value.
fn best(values: &[f32], children: &[(usize, usize)]) -> usize {
    crate::games::argmax(children.iter().map(|c| f64::from(values[c.0])))
}

impl Oracle for LearnedOracle<'_> {
    type Policy = Policy;

    fn first(&mut self, player: usize) -> Policy {
        self.exact.first(player)
    }

    fn respond(&mut self, player: usize, others: &[Policy], weights: &[f64]) -> Result<Policy> {
        let tree = self.exact.0;
        let mut rng = self.seeds.stream("learned_oracle", self.responses);
        self.responses += 1;
        let sizes = MlpConfig::relu(tree.encoding_len(), &self.config.hidden, tree.actions());
        let q = Mlp::new(&sizes, &Device::Cpu, &mut rng)?;
        let adam = OptimizerConfig::adam(self.config.rate, 1e-8, Clip::None);
        let mut optimizer = Optimizer::new(adam, &[q.params()])?;
        let (mut workspace, mut moves, mut played) = (Workspace::default(), Vec::new(), Vec::new());
        for game in 1..=self.config.games {
            let opponent = others
                .get(draw(weights, &mut rng))
                .ok_or_else(|| Error::shape("learned oracle", "a weight per policy", weights.len()))?;
            let gain = self.game(player, &q, opponent, &mut rng, &mut workspace, &mut moves)?;
            played.extend(moves.drain(..).map(|m| (m, gain as f32)));
            if game % self.config.batch == 0 && !played.is_empty() {
                let left = 1.0 - (game - 1) as f64 / self.config.games as f64;
                optimizer.set_learning_rate(self.config.rate * left);
                self.fit(player, &q, &mut optimizer, &played)?;
                played.clear();
            }
        }
        // The other half does not count; a fixed one makes equal policies compare equal.
        let mut response = tree.uniform();
        for (set, p) in tree.sets().iter().zip(&mut response).filter(|(set, _)| set.player == player) {
            let Some(&node) = set.nodes.first() else { continue };
            if let Node::Decision { children, .. } = tree.node(node) {
                let a = best(q.predict(tree.encoding(node, player), &mut workspace)?, children);
                p.iter_mut().enumerate().for_each(|(k, p)| *p = f64::from(u8::from(k == a)));
            }
        }
        Ok(response)
    }

    fn payoff(&mut self, row: &Policy, column: &Policy) -> Result<f64> {
        self.exact.payoff(row, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::poker::Kuhn;
    use crate::population::psro::{MetaSolver, Psro};

    #[test]
    fn a_learned_response_is_nearly_the_best_one() {
        let tree = GameTree::build(&Kuhn).unwrap();
        let mut oracle = LearnedOracle::new(&tree, Config::default(), SeedStream::new(0)).unwrap();
        for player in 0..2 {
            let uniform = tree.uniform();
            let response = oracle.respond(player, std::slice::from_ref(&uniform), &[1.0]).unwrap();
            let profile = match player {
                0 => oracle.exact.profile(&response, &uniform),
                _ => oracle.exact.profile(&uniform, &response),
            };
            let best = tree.best_response_value(&uniform, player).unwrap();
            assert!(tree.value(&profile).unwrap()[player] > best - 0.05);
        }
    }

    #[test]
    fn psro_with_learned_responses_approaches_equilibrium() {
        let tree = GameTree::build(&Kuhn).unwrap();
        let config = Config { games: 10_000, ..Config::default() };
        let oracle = LearnedOracle::new(&tree, config, SeedStream::new(1)).unwrap();
        let mut run = Psro::new(oracle, MetaSolver::Nash).unwrap();
        let last = (0..10).map(|_| run.round().unwrap()).last().unwrap();
        let exact = TreeOracle(&tree);
        let (rows, columns) = run.policies();
        let weights = |w: &nalgebra::DVector<f64>, n: usize| {
            let mut all = w.as_slice().to_vec();
            all.resize(n, 0.0);
            all
        };
        let row = exact.blend(0, rows, &weights(&last.row, rows.len()));
        let column = exact.blend(1, columns, &weights(&last.column, columns.len()));
        // Uniform play has 0.9167.
        assert!(tree.nash_conv(&exact.profile(&row, &column)).unwrap() < 0.3);
    }
}
