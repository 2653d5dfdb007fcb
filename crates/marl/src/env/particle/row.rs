//! Writes observations of `L` copies side by side, in any float type, without allocating.

use super::world::{Lanes, Point};
use rl_core::returns::Scalar;

/// A cursor over the rows of `L` copies; what does not fit is counted and dropped.
pub(crate) struct Row<'a, T, const L: usize> {
    out: &'a mut [T],
    stride: usize,
    at: usize,
}

impl<'a, T: Scalar, const L: usize> Row<'a, T, L> {
    /// Lane `l` is written to `out[l·stride..]`.
    pub(crate) fn new(out: &'a mut [T], stride: usize) -> Self {
        Self { out, stride, at: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &Lanes<L>) {
        // One check for all lanes where they all fit.
        if self.at + (L - 1) * self.stride < self.out.len() {
            for (l, &v) in value.iter().enumerate() {
                self.out[l * self.stride + self.at] = T::narrow(v);
            }
        } else {
            for (l, &v) in value.iter().enumerate() {
                if let Some(cell) = self.out.get_mut(l * self.stride + self.at) {
                    *cell = T::narrow(v);
                }
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
