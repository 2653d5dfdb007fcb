//! Counterfactual credit: what the outcome would have been had one agent acted otherwise, everything else being as it was.
//!
//! A team with one reward learns slowly because the reward says little of any one action. Difference rewards (Wolpert & Tumer
//! 2002) subtract what the team would have got without the agent; the counterfactual baseline of COMA (Foerster et al. 2018)
//! subtracts the mean over the agent's own choices. Both ask for the reward of an action that was not taken. COMA asks a critic; here
//! a structural causal model answers by abduction, action, prediction (Pearl 2009, chapter 7): the noise of this very episode is
//! recovered and kept ([`causal::scm::Scm::counterfactual`]), so luck that hit everyone cancels. The model may be the true one, or one that the
//! team learns from its own play ([`Blueprint::learn`](crate::multi_agent_causal::Blueprint::learn)).

mod learners;
#[cfg(test)]
mod tests;
mod workshop;

pub use learners::{Credit, CreditConfig, Learners};
pub use workshop::{Episode, Workshop};
