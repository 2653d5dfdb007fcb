//! Evaluation of a policy: episodes from fixed starts, many at a time.
//!
//! Episode k is `reset(Some(starts[k]))` and the environment's own noise from there on, so the same starts give the
//! same episodes to every policy, whatever runs beside them. Rows of one call belong to different episodes; what a
//! policy remembers (a recurrent state, a warm start) it keeps by [`Turn::episodes`].

use crate::env::scripted::Policy;
use crate::env::{Action, Env, Space};
use crate::{Error, Result};

/// The episodes that wait for an action.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// What they observe, `[n, D]`.
    pub observations: &'a [f32],
    /// Which episode each row is: an index into the starts, `[n]`.
    pub episodes: &'a [usize],
    /// Whether the row is its episode's first, `[n]`.
    pub first: &'a [bool],
    /// What each row did last, `[n, A]`; zeros if it is the first. A discrete action is one number, its index.
    pub previous_actions: &'a [f32],
}

impl Turn<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.episodes.len()
    }
}

/// What the episodes came to, in the order of the starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Undiscounted returns.
    pub returns: Vec<f64>,
    /// Numbers of steps.
    pub lengths: Vec<u32>,
    /// Whether each ended by itself, not by the time limit alone.
    pub terminated: Vec<bool>,
}

impl Evaluation {
    /// Mean return; NaN without episodes.
    pub fn mean_return(&self) -> f64 {
        self.returns.iter().sum::<f64>() / self.returns.len() as f64
    }

    /// Mean length; NaN without episodes.
    pub fn mean_length(&self) -> f64 {
        self.lengths.iter().map(|&l| f64::from(l)).sum::<f64>() / self.lengths.len() as f64
    }

    /// Standard deviation of the returns (n − 1); NaN for fewer than two episodes.
    pub fn std_return(&self) -> f64 {
        let mean = self.mean_return();
        let squares: f64 = self.returns.iter().map(|r| (r - mean).powi(2)).sum();
        (squares / (self.returns.len() as f64 - 1.0)).sqrt()
    }
}

/// An episode that is being played.
struct Running {
    episode: usize,
    first: bool,
    observation: Vec<f32>,
    action: Vec<f32>,
}

/// Plays one episode from each start, as many at a time as there are copies of the environment. The policy reads a
/// [`Turn`] and writes the actions, `[n, A]`; a discrete action is one number, its index.
///
/// ```
/// use rl_core::env::make;
/// let mut copies = (0..4).map(|_| make("CartPole-v1", 0)).collect::<rl_core::Result<Vec<_>>>()?;
/// let starts: Vec<u64> = (0..20).collect();
/// let lean = |turn: &rl_core::evaluate::Turn<'_>, actions: &mut [f32]| {
///     for (action, o) in actions.iter_mut().zip(turn.observations.chunks(4)) {
///         *action = f32::from(u8::from(o[2] + 0.3 * o[3] + 0.05 * o[0] + 0.1 * o[1] > 0.0));
///     }
///     Ok::<(), rl_core::Error>(())
/// };
/// let result = rl_core::evaluate::evaluate(&mut copies, &starts, lean)?;
/// assert_eq!(result.mean_return(), 500.0);
/// # Ok::<(), rl_core::Error>(())
/// ```
///
/// # Errors
/// If there is no copy, an action does not fit, an episode does not end within a million steps, or the policy fails.
pub fn evaluate<E, P, F>(copies: &mut [E], starts: &[u64], mut policy: P) -> Result<Evaluation, F>
where
    E: Env,
    P: FnMut(&Turn<'_>, &mut [f32]) -> Result<(), F>,
    F: From<Error>,
{
    let Some(spec) = copies.first().map(|e| e.spec().clone()) else {
        return Err(Error::shape("evaluate", "at least one copy of the environment", 0).into());
    };
    let (d, a) = (spec.observation.width(), action_width(&spec.action));
    let mut result = Evaluation {
        returns: vec![0.0; starts.len()],
        lengths: vec![0; starts.len()],
        terminated: vec![false; starts.len()],
    };
    let mut waiting = 0..starts.len();
    let mut begin = |env: &mut E| -> Result<Option<Running>> {
        let Some(episode) = waiting.next() else { return Ok(None) };
        let mut running = Running { episode, first: true, observation: vec![0.0; d], action: vec![0.0; a] };
        env.reset(Some(starts[episode]), &mut running.observation)?;
        Ok(Some(running))
    };
    let mut running = copies.iter_mut().map(&mut begin).collect::<Result<Vec<_>>>()?;
    let (mut observations, mut previous, mut actions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut episodes, mut first) = (Vec::new(), Vec::new());
    loop {
        observations.clear();
        previous.clear();
        episodes.clear();
        first.clear();
        for run in running.iter().flatten() {
            observations.extend_from_slice(&run.observation);
            previous.extend_from_slice(&run.action);
            episodes.push(run.episode);
            first.push(run.first);
        }
        if episodes.is_empty() {
            return Ok(result);
        }
        actions.clear();
        actions.resize(episodes.len() * a, 0.0);
        let turn = Turn {
            observations: &observations,
            episodes: &episodes,
            first: &first,
            previous_actions: &previous,
        };
        policy(&turn, &mut actions)?;
        let mut rows = actions.chunks_exact(a);
        for (env, slot) in copies.iter_mut().zip(&mut running) {
            let Some(run) = slot else { continue };
            run.action.copy_from_slice(rows.next().unwrap_or_default());
            run.first = false;
            let step = env.step(to_action(&spec.action, &run.action), &mut run.observation)?;
            result.returns[run.episode] += step.reward;
            result.lengths[run.episode] += 1;
            result.terminated[run.episode] = step.terminated;
            if step.done() {
                *slot = begin(env)?;
            } else if result.lengths[run.episode] >= ENDLESS {
                let reason = format!("{} does not end: give it a time limit", spec.id);
                return Err(Error::State { operation: "evaluate", reason }.into());
            }
        }
    }
}

const ENDLESS: u32 = 1_000_000;

/// Numbers that encode an action in a buffer or an evaluation: 1 for an index, or the box's dimensions.
pub fn action_width(space: &Space) -> usize {
    match space {
        Space::Discrete(_) => 1,
        Space::Box { low, .. } => low.len(),
    }
}

/// An encoded action as the environment takes it; an index that is no small whole number fits no action space.
pub fn to_action<'a>(space: &Space, encoded: &'a [f32]) -> Action<'a> {
    match space {
        Space::Discrete(_) => {
            let index = encoded.first().copied().unwrap_or(-1.0);
            Action::Discrete(if index >= 0.0 && index.fract() == 0.0 { index as usize } else { usize::MAX })
        }
        Space::Box { .. } => Action::Continuous(encoded),
    }
}

/// A policy for one observation at a time as one for [`evaluate`]: scripted rules, the random policy.
pub fn one_by_one(policy: &mut (impl Policy + ?Sized)) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> {
    move |turn, actions| {
        let (d, a) = (turn.observations.len() / turn.rows(), actions.len() / turn.rows());
        for (action, observation) in actions.chunks_exact_mut(a).zip(turn.observations.chunks_exact(d)) {
            match policy.act(observation) {
                Action::Discrete(index) => action[0] = index as f32,
                Action::Continuous(reals) if reals.len() == a => action.copy_from_slice(reals),
                Action::Continuous(reals) => {
                    return Err(Error::shape("policy", format!("{a} action numbers"), reals.len()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::make;
    use crate::env::scripted::{heuristic, play};

    #[test]
    fn every_number_of_copies_gives_the_episodes_played_one_by_one() {
        for id in ["Acrobot-v1", "PointControl", "MountainCarContinuous-v0"] {
            let starts: Vec<u64> = (40..47).collect();
            let mut env = make(id, 0).unwrap();
            let space = env.spec().action.clone();
            let mut policy = heuristic(id, &space).unwrap();
            let alone: Vec<(f64, u32)> =
                starts.iter().map(|&s| play(&mut env, policy.as_mut(), Some(s)).unwrap()).collect();
            for n in [1, 3, 9] {
                let mut copies: Vec<_> = (0..n).map(|i| make(id, i).unwrap()).collect();
                let together = evaluate(&mut copies, &starts, one_by_one(policy.as_mut())).unwrap();
                let together: Vec<_> = together.returns.into_iter().zip(together.lengths).collect();
                assert_eq!(together, alone, "{id} with {n} copies");
            }
        }
    }

    #[test]
    fn an_action_outside_the_space_is_refused() {
        let mut copies = vec![make("CartPole-v1", 0).unwrap()];
        for bad in [2.0, -1.0, 0.5, f32::NAN] {
            let result = evaluate(&mut copies, &[1], |_: &Turn<'_>, actions: &mut [f32]| {
                actions.fill(bad);
                Ok::<(), Error>(())
            });
            assert!(matches!(result, Err(Error::Action { .. })), "{bad}");
        }
        let none: &mut [Box<dyn Env>] = &mut [];
        assert!(evaluate(none, &[1], |_: &Turn<'_>, _: &mut [f32]| Ok::<(), Error>(())).is_err());
    }
}
