//! One field of many steps: rows of equal width in one allocation.

use crate::Result;
use crate::experiment::{Element, TrainState};

/// `rows × width` elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column<T> {
    width: usize,
    data: Vec<T>,
}

impl<T: Element + Default> Column<T> {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self { width, data: vec![T::default(); rows * width] }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn rows(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }

    pub(super) fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.width..(row + 1) * self.width]
    }

    pub(super) fn set(&mut self, row: usize, values: &[T]) {
        self.data[row * self.width..(row + 1) * self.width].copy_from_slice(values);
    }

    /// Adds a row of zeros.
    pub(super) fn grow(&mut self) {
        self.data.resize(self.data.len() + self.width, T::default());
    }

    /// Stores the first `rows` rows.
    pub(super) fn save(&self, name: String, rows: usize, state: &mut TrainState) {
        state.put_array(name, &[rows, self.width], &self.data[..rows * self.width]);
    }

    /// Restores the first `rows` rows, growing if there are more than before.
    pub(super) fn load(&mut self, name: &str, rows: usize, state: &TrainState) -> Result<()> {
        let stored = state.array(name, &[rows, self.width])?;
        if self.data.len() < stored.len() {
            self.data.resize(stored.len(), T::default());
        }
        self.data[..stored.len()].copy_from_slice(stored);
        Ok(())
    }
}
