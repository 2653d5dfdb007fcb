//! n-step transitions (Sutton 1988; Hessel et al. 2018): m ≤ n steps of one environment seen as one.

use super::column::Column;
use super::replay::Transition;
use crate::experiment::{Element, Persist, TrainState};
use crate::{Error, Result};

/// Turns one-step into n-step transitions, per stream, on their way into a buffer.
///
/// From step t it makes (s_t, a_t, Σ_{k<m} γᵏ r_{t+k}, s'_{t+m−1}) with discount γᵐ. A window never reaches across an
/// episode's end: there the remaining starts are emitted with m < n and the flags of the last step, so that a
/// truncation bootstraps from the final observation with γᵐ. γ is the `discount` of the incoming transitions.
#[derive(Clone, Debug)]
pub struct NStep<O = f32> {
    n: usize,
    windows: Vec<Window<O>>,
}

/// The last up to n steps of one stream, a ring.
#[derive(Clone, Debug)]
struct Window<O> {
    observations: Column<O>,
    actions: Column<f32>,
    rewards: Vec<f32>,
    discounts: Vec<f32>,
    newest_next: Column<O>,
    start: usize,
    len: usize,
}

impl<O: Element + Default> NStep<O> {
    /// Windows of `n` steps for `streams` environments.
    ///
    /// # Errors
    /// [`Error::Config`] if a size is zero.
    pub fn new(n: usize, streams: usize, observation: usize, action: usize) -> Result<Self> {
        let sizes = [("n", n), ("streams", streams), ("observation", observation), ("action", action)];
        for (field, size) in sizes {
            if size == 0 {
                return Err(Error::config("n_step", field, size, "at least 1"));
            }
        }
        let window = Window {
            observations: Column::new(n, observation),
            actions: Column::new(n, action),
            rewards: vec![0.0; n],
            discounts: vec![0.0; n],
            newest_next: Column::new(1, observation),
            start: 0,
            len: 0,
        };
        Ok(Self { n, windows: vec![window; streams] })
    }

    /// Takes in a one-step transition and hands every n-step transition that is complete with it to `sink`, oldest
    /// first.
    ///
    /// # Errors
    /// [`Error::Shape`] if a slice has not the configured width or the stream does not exist, and what `sink` returns.
    pub fn push(
        &mut self,
        stream: usize,
        step: &Transition<'_, O>,
        mut sink: impl FnMut(&Transition<'_, O>) -> Result<()>,
    ) -> Result<()> {
        let n = self.n;
        let window = window_of(&mut self.windows, stream)?;
        window.check(step)?;
        window.append(n, step);
        if step.terminated || step.truncated {
            return window.drain(n, step.terminated, step.truncated, sink);
        }
        if window.len == n {
            window.emit(n, false, false, &mut sink)?;
            window.drop_oldest(n);
        }
        Ok(())
    }

    /// Ends a stream's episode from outside, as a truncation after its newest step.
    ///
    /// # Errors
    /// [`Error::Shape`] if the stream does not exist, and what `sink` returns.
    pub fn flush(&mut self, stream: usize, sink: impl FnMut(&Transition<'_, O>) -> Result<()>) -> Result<()> {
        let n = self.n;
        window_of(&mut self.windows, stream)?.drain(n, false, true, sink)
    }
}

fn window_of<O>(windows: &mut [Window<O>], stream: usize) -> Result<&mut Window<O>> {
    let streams = windows.len();
    let expected = || Error::shape("n-step push", format!("a stream below {streams}"), stream);
    windows.get_mut(stream).ok_or_else(expected)
}

impl<O: Element + Default> Window<O> {
    fn check(&self, step: &Transition<'_, O>) -> Result<()> {
        let widths = [
            ("observation", step.observation.len(), self.observations.width()),
            ("action", step.action.len(), self.actions.width()),
            ("next observation", step.next_observation.len(), self.observations.width()),
        ];
        for (what, got, want) in widths {
            if got != want {
                return Err(Error::shape("n-step push", format!("{want} numbers in the {what}"), got));
            }
        }
        Ok(())
    }

    fn append(&mut self, n: usize, step: &Transition<'_, O>) {
        let row = (self.start + self.len) % n;
        self.observations.set(row, step.observation);
        self.actions.set(row, step.action);
        self.rewards[row] = step.reward;
        self.discounts[row] = step.discount;
        self.newest_next.set(0, step.next_observation);
        self.len += 1;
    }

    fn drop_oldest(&mut self, n: usize) {
        self.start = (self.start + 1) % n;
        self.len -= 1;
    }

    fn drain(
        &mut self,
        n: usize,
        terminated: bool,
        truncated: bool,
        mut sink: impl FnMut(&Transition<'_, O>) -> Result<()>,
    ) -> Result<()> {
        while self.len > 0 {
            self.emit(n, terminated, truncated, &mut sink)?;
            self.drop_oldest(n);
        }
        Ok(())
    }

    /// The transition from the oldest step to the newest successor.
    fn emit(
        &self,
        n: usize,
        terminated: bool,
        truncated: bool,
        sink: &mut impl FnMut(&Transition<'_, O>) -> Result<()>,
    ) -> Result<()> {
        let (mut reward, mut discount) = (0.0, 1.0);
        for k in 0..self.len {
            let row = (self.start + k) % n;
            reward += discount * f64::from(self.rewards[row]);
            discount *= f64::from(self.discounts[row]);
        }
        sink(&Transition {
            observation: self.observations.row(self.start),
            action: self.actions.row(self.start),
            reward: reward as f32,
            next_observation: self.newest_next.row(0),
            terminated,
            truncated,
            discount: discount as f32,
        })
    }
}

impl<O: Element + Default> Persist for NStep<O> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        for (stream, window) in self.windows.iter().enumerate() {
            let name = |field: &str| format!("{prefix}/{stream}/{field}");
            window.observations.save(name("observations"), self.n, state);
            window.actions.save(name("actions"), self.n, state);
            state.put_array(name("rewards"), &[self.n], &window.rewards);
            state.put_array(name("discounts"), &[self.n], &window.discounts);
            window.newest_next.save(name("newest_next"), 1, state);
            state.put_array(name("start_len"), &[2], &[window.start as u64, window.len as u64]);
        }
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let n = self.n;
        for (stream, window) in self.windows.iter_mut().enumerate() {
            let name = |field: &str| format!("{prefix}/{stream}/{field}");
            window.observations.load(&name("observations"), n, state)?;
            window.actions.load(&name("actions"), n, state)?;
            window.rewards.copy_from_slice(state.array(&name("rewards"), &[n])?);
            window.discounts.copy_from_slice(state.array(&name("discounts"), &[n])?);
            window.newest_next.load(&name("newest_next"), 1, state)?;
            let place = state.array::<u64>(&name("start_len"), &[2])?;
            (window.start, window.len) = (place[0] as usize, place[1] as usize);
            if window.start >= n || window.len > n {
                let reason = format!("start and length exceed n = {n}: the file is damaged");
                return Err(Error::Checkpoint { path: name("start_len"), reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::returns::{Steps, n_step};
    use proptest::prelude::*;

    fn step<'a>(
        observation: &'a [f32],
        next: &'a [f32],
        reward: f32,
        ends: (bool, bool),
    ) -> Transition<'a, f32> {
        Transition {
            observation,
            action: &[0.5],
            reward,
            next_observation: next,
            terminated: ends.0,
            truncated: ends.1,
            discount: 0.5,
        }
    }

    proptest! {
        /// With V(s') = the observation of s', targets from transitions equal the pure function on the whole data.
        #[test]
        fn targets_equal_the_pure_function_on_random_episodes(
            script in prop::collection::vec((-4i8..4, prop::bool::weighted(0.15), prop::bool::weighted(0.15)), 1..50),
            n in 1usize..6,
        ) {
            let mut windows = NStep::new(n, 2, 1, 1).unwrap();
            let mut targets = [Vec::new(), Vec::new()];
            for (t, &(reward, terminated, truncated)) in script.iter().enumerate() {
                for (stream, targets) in targets.iter_mut().enumerate() {
                    let at = (1000 * stream + t) as f32;
                    let next = [at + 0.5];
                    let now = [at];
                    let step = step(&now, &next, f32::from(reward), (terminated, truncated));
                    windows.push(stream, &step, |t| {
                        let value = if t.terminated { 0.0 } else { t.next_observation[0] };
                        targets.push((t.observation[0], t.reward + t.discount * value));
                        Ok(())
                    }).unwrap();
                }
            }
            for (stream, targets) in targets.iter_mut().enumerate() {
                windows.flush(stream, |t| {
                    let value = if t.terminated { 0.0 } else { t.next_observation[0] };
                    targets.push((t.observation[0], t.reward + t.discount * value));
                    Ok(())
                }).unwrap();
                let column = |f: &dyn Fn(usize) -> f32| (0..script.len()).map(f).collect::<Vec<f32>>();
                let steps = Steps {
                    batch: 1,
                    rewards: &column(&|t| f32::from(script[t].0)),
                    next_values: &column(&|t| (1000 * stream + t) as f32 + 0.5),
                    terminated: &script.iter().map(|s| s.1).collect::<Vec<_>>(),
                    truncated: &script.iter().map(|s| s.2).collect::<Vec<_>>(),
                };
                let want: Vec<(f32, f32)> = n_step(&steps, n, 0.5).unwrap().into_iter().enumerate()
                    .map(|(t, r)| ((1000 * stream + t) as f32, r)).collect();
                prop_assert_eq!(&*targets, &want);
            }
        }
    }

    #[test]
    fn saved_and_loaded_in_mid_window_the_rest_is_equal() {
        let mut original = NStep::new(3, 1, 1, 1).unwrap();
        for t in 0..4 {
            original.push(0, &step(&[t as f32], &[t as f32 + 1.0], 1.0, (false, false)), |_| Ok(())).unwrap();
        }
        let mut state = TrainState::default();
        original.save("n", &mut state).unwrap();
        let mut copy = NStep::new(3, 1, 1, 1).unwrap();
        copy.load("n", &state).unwrap();
        let outputs = [&mut original, &mut copy].map(|windows| {
            let mut seen = Vec::new();
            let last = step(&[4.0], &[5.0], 2.0, (true, false));
            windows
                .push(0, &last, |t| {
                    seen.push((t.observation[0], t.reward, t.discount));
                    Ok(())
                })
                .unwrap();
            seen
        });
        assert_eq!(outputs[0], outputs[1]);
        assert_eq!(outputs[0], [(2.0, 2.0, 0.125), (3.0, 2.0, 0.25), (4.0, 2.0, 0.5)]);
        assert!(NStep::<f32>::new(2, 1, 1, 1).unwrap().load("n", &state).is_err());
        assert!(copy.push(1, &step(&[0.0], &[0.0], 0.0, (false, false)), |_| Ok(())).is_err());
    }
}
