//! Writes observations of `L` copies side by side, in any float type, without allocating.

use super::world::{Lanes, Point};

/// A float that an observation can be written in: `f32` for networks, `f64` for comparisons.
pub trait Real: Copy {
    /// Rounds to this type.
    fn of(value: f64) -> Self;
    /// The number in double precision.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// A cursor over the rows of `L` copies; what does not fit is counted and dropped.
pub(crate) struct Row<'a, T, const L: usize> {
    out: &'a mut [T],
    stride: usize,
    at: usize,
}

impl<'a, T: Real, const L: usize> Row<'a, T, L> {
    /// Lane `l` is written to `out[l·stride..]`.
    pub(crate) fn new(out: &'a mut [T], stride: usize) -> Self {
        Self { out, stride, at: 0 }
    }

    pub(crate) fn push(&mut self, value: &Lanes<L>) {
        for (l, &v) in value.iter().enumerate() {
            if let Some(cell) = self.out.get_mut(l * self.stride + self.at) {
                *cell = T::of(v);
            }
        }
        self.at += 1;
    }

    pub(crate) fn point(&mut self, [x, y]: &Point<L>) {
        self.push(x);
        self.push(y);
    }

    pub(crate) fn all(&mut self, values: &[Lanes<L>]) {
        values.iter().for_each(|v| self.push(v));
    }

    pub(crate) fn constant(&mut self, value: f64) {
        self.push(&[value; L]);
    }

    /// Numbers written per lane.
    pub(crate) fn len(&self) -> usize {
        self.at
    }
}
