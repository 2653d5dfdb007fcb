//! A batch in which agents do not see some of what they observe: to close a channel, or to see what a policy needs.

use super::{Batch, BatchActions, BatchStep, Layout};
use crate::{Error, Result};
use rl_core::SeedStream;
use rl_core::experiment::{Persist, TrainState};
use std::ops::Range;

/// A batch whose observations are zero in some columns.
#[derive(Clone, Debug)]
pub struct Censored<E> {
    inner: E,
    hidden: Vec<Range<usize>>,
}

impl<E: Batch> Censored<E> {
    /// Hides these columns, a range per agent (an empty one hides nothing).
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not one range per agent inside its observation.
    pub fn new(inner: E, hidden: Vec<Range<usize>>) -> Result<Self> {
        let agents = &inner.layout().agents;
        let fits = hidden.len() == agents.len()
            && hidden.iter().zip(agents).all(|(h, a)| h.start <= h.end && h.end <= a.observation);
        match fits {
            true => Ok(Self { inner, hidden }),
            false => {
                let want = format!("{} ranges inside the observations", agents.len());
                Err(Error::shape("censored", want, format!("{hidden:?}")))
            }
        }
    }

    fn blank(&self, step: &mut BatchStep) {
        for (i, columns) in self.hidden.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
            let width = self.inner.layout().agents[i].observation;
            for rows in [&mut step.observations[i], &mut step.final_observations[i]] {
                rows.chunks_mut(width).for_each(|row| row[columns.clone()].fill(0.0));
            }
        }
    }
}

impl<E: Batch> Batch for Censored<E> {
    fn layout(&self) -> &Layout {
        self.inner.layout()
    }

    fn copies(&self) -> usize {
        self.inner.copies()
    }

    fn reset(&mut self, seeds: &SeedStream, step: &mut BatchStep) -> Result<()> {
        self.inner.reset(seeds, step)?;
        self.blank(step);
        Ok(())
    }

    fn step(&mut self, actions: &BatchActions, step: &mut BatchStep) -> Result<()> {
        self.inner.step(actions, step)?;
        self.blank(step);
        Ok(())
    }
}

impl<E: Persist> Persist for Censored<E> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.inner.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.inner.load(prefix, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::particle::{Config, ParticleBatch};

    #[test]
    fn only_the_hidden_columns_are_blank() {
        let inner = ParticleBatch::new(Config::default(), 3).unwrap();
        assert!(Censored::new(inner.clone(), vec![0..2, 0..0]).is_err());
        assert!(Censored::new(inner.clone(), vec![0..2, 0..0, 17..19]).is_err());
        let (mut open, mut closed) = (inner.clone(), Censored::new(inner, vec![2..4, 0..0, 0..0]).unwrap());
        let (mut a, mut b) = (BatchStep::new(open.layout(), 3), BatchStep::new(open.layout(), 3));
        open.reset(&SeedStream::new(0), &mut a).unwrap();
        closed.reset(&SeedStream::new(0), &mut b).unwrap();
        assert_eq!(a.observations[1], b.observations[1]);
        for (seen, blank) in a.observations[0].chunks(18).zip(b.observations[0].chunks(18)) {
            assert!(seen[2] != 0.0 && blank[2..4] == [0.0; 2] && seen[4..] == blank[4..]);
        }
    }
}
