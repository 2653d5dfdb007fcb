//! Causal games: influence diagrams with several agents.
//!
//! Koller & Milch, *Multi-agent influence diagrams for representing and solving games* (GEB 2003); Hammond, Fox, Everitt,
//! Abate & Wooldridge, *Equilibrium refinements for multi-agent influence diagrams* (AAMAS 2021) and *Reasoning about
//! causality in games* (AIJ 2023).
//!
//! - [`InfluenceDiagram`]: chance, decision and utility nodes; exact expected utilities of policies;
//! - [`is_strategically_relevant`], [`relevance_graph`], [`relevance_components`]: which decisions must be settled first;
//! - [`pure_nash_equilibria`], [`subgame_perfect_equilibria`], [`backward_induction`];
//! - interventions that agents know of ([`InfluenceDiagram::intervene`], then solve) and interventions they do not
//!   ([`InfluenceDiagram::utilities_after`] under policies that stay as they are).
//!
//! ```
//! use causal::games::{GameNode, InfluenceDiagram, backward_induction};
//! // A leader picks a quantity; the follower sees it and answers.
//! let leader = GameNode::decision("leader", &[], 0, 2);
//! let follower = GameNode::decision("follower", &[0], 1, 2);
//! let gain = |name, agent, payoffs: [f64; 4]| GameNode::utility(name, &[0, 1], agent, payoffs.to_vec());
//! let nodes = vec![leader, follower, gain("u0", 0, [3.0, 1.0, 4.0, 0.0]), gain("u1", 1, [3.0, 2.0, 1.0, 2.0])];
//! let game = InfluenceDiagram::new(nodes)?;
//! let policy = backward_induction(&game)?;
//! assert_eq!(game.expected_utilities(&policy)?, [3.0, 3.0]);
//! # Ok::<(), causal::Error>(())
//! ```

mod diagram;
mod equilibrium;
mod relevance;

pub use diagram::{GameNode, InfluenceDiagram, Policy, Role};
pub use equilibrium::{backward_induction, pure_nash_equilibria, subgame_perfect_equilibria};
pub(crate) use relevance::mechanism_matters;
pub use relevance::{is_strategically_relevant, relevance_components, relevance_graph};
