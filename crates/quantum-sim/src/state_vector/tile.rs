//! Cache blocking: a large state is worked on in tiles that stay in cache while many gates pass over them.
//!
//! A pass picks up to [`TILE`] qubits: the lowest [`LOW`], so that a tile is made of contiguous runs, and as many
//! others as fit. It takes every step that acts on those qubits only and that no skipped step has to precede. A tile
//! is then gathered into a small state vector, all steps of the pass are applied to it, and it is written back: one
//! trip through memory for dozens of gates. From [`PARALLEL`] qubits the tiles are shared out to Rayon's threads in a
//! fixed division, so that the result does not depend on the number of threads.

use super::kernel::Inlined;
use super::plan::{Bound, Step, TILE, apply_steps};

/// A tile's contiguous runs have 2^LOW amplitudes.
const LOW: usize = 6;
/// States of at least this many qubits are shared out to threads.
const PARALLEL: usize = 14;
/// Into how many tasks.
const TASKS: usize = 8;

/// Steps that share one trip through memory.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// The tile's qubits above the lowest `low`, ascending.
    high: Vec<usize>,
    /// The tile holds qubits 0..low as contiguous runs.
    low: usize,
    /// Steps with qubits as positions in the tile.
    pub(crate) steps: Vec<Step>,
    /// A step on too many qubits for a tile works on the whole state.
    whole: bool,
}

/// Splits the steps of a state of more than [`TILE`] qubits into passes.
pub(crate) fn passes(steps: &[Step], qubits: usize) -> Vec<Pass> {
    let mut rest: Vec<Step> = steps.to_vec();
    let mut passes = vec![];
    while !rest.is_empty() {
        let (pass, left) = next_pass(&rest, qubits);
        passes.push(pass);
        rest = left;
    }
    passes
}

fn next_pass(steps: &[Step], qubits: usize) -> (Pass, Vec<Step>) {
    let all = (1usize << qubits) - 1;
    let low_mask = (1usize << LOW) - 1;
    let (mut chosen, mut blocked) = (0usize, 0usize);
    let (mut taken, mut left) = (vec![], vec![]);
    for step in steps {
        let mask = step.qubits();
        let wanted = (chosen | mask) & !low_mask;
        if mask & blocked == 0 && wanted.count_ones() as usize <= TILE - LOW {
            chosen = wanted;
            taken.push(step);
        } else {
            blocked |= mask;
            left.push(step.clone());
            if blocked == all {
                // Everything after this step has to wait.
                let seen = taken.len() + left.len();
                left.extend_from_slice(&steps[seen..]);
                break;
            }
        }
    }
    if taken.is_empty() {
        let pass = Pass { high: vec![], low: qubits, steps: vec![steps[0].clone()], whole: true };
        return (pass, steps[1..].to_vec());
    }
    // Unused room goes to the lowest qubits: longer runs.
    for qubit in LOW..qubits {
        if (chosen.count_ones() as usize) < TILE - LOW {
            chosen |= 1 << qubit;
        }
    }
    let low = LOW + (chosen >> LOW).trailing_ones() as usize;
    let high: Vec<usize> = (low..qubits).filter(|q| chosen >> q & 1 == 1).collect();
    let place = |q: usize| match high.iter().position(|&h| h == q) {
        Some(position) => low + position,
        None => q,
    };
    let steps = taken.iter().map(|step| step.relabel(place)).collect();
    (Pass { high, low, steps, whole: false }, left)
}

/// A contiguous piece of a state: real and imaginary parts.
pub(crate) struct Part<'a> {
    re: &'a mut [f64],
    im: &'a mut [f64],
}

/// Memory of the tasks, kept between runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    tasks: Vec<Task>,
}

/// A task's tile(s) and its partial sums.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task {
    pub(crate) tiles: Vec<[Vec<f64>; 2]>,
    pub(crate) sums: Vec<f64>,
}

impl Scratch {
    /// Makes room for `states` tiles and `sums` zeroed partial sums per task.
    pub(crate) fn prepare(&mut self, states: usize, sums: usize) {
        self.tasks.resize_with(TASKS, Task::default);
        for task in &mut self.tasks {
            task.tiles
                .resize_with(states.max(task.tiles.len()), || [vec![0.0; 1 << TILE], vec![0.0; 1 << TILE]]);
            task.sums.clear();
            task.sums.resize(sums, 0.0);
        }
    }

    /// The sums over all tasks, in a fixed order.
    pub(crate) fn total(&self, sums: &mut [f64]) {
        for task in &self.tasks {
            sums.iter_mut().zip(&task.sums).for_each(|(total, part)| *total += part);
        }
    }
}

impl Pass {
    /// Applies the pass's steps to one state.
    pub(crate) fn forward(
        &self,
        arch: pulp::Arch,
        bound: &Bound,
        re: &mut [f64],
        im: &mut [f64],
        scratch: &mut Scratch,
    ) {
        if self.whole {
            return arch.dispatch(Inlined(
                #[inline(always)]
                || apply_steps(&self.steps, bound, re, im),
            ));
        }
        scratch.prepare(1, 0);
        self.share([Part { re, im }], scratch, &|parts: &mut [Vec<Part>; 1], top: usize, task: &mut Task| {
            arch.dispatch(Inlined(
                #[inline(always)]
                || {
                    self.tiles(
                        parts,
                        top,
                        task,
                        #[inline(always)]
                        |[(re, im)]: [(&mut [f64], &mut [f64]); 1], _: &mut [f64]| {
                            apply_steps(&self.steps, bound, re, im);
                        },
                    );
                },
            ));
        });
    }

    /// Whether the steps work on the whole state at once.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Splits S states of equal size into tasks and runs `leaf` on each.
    pub(crate) fn share<const S: usize>(
        &self,
        states: [Part; S],
        scratch: &mut Scratch,
        leaf: &(impl Fn(&mut [Vec<Part>; S], usize, &mut Task) + Sync),
    ) {
        let top = states[0].re.len().trailing_zeros() as usize;
        let parts = states.map(|part| vec![part]);
        let tasks = if top >= PARALLEL { TASKS } else { 1 };
        self.descend(parts, top, &mut scratch.tasks[..tasks], leaf);
    }

    /// `parts` hold the qubits below `top`; the pass's qubits from `top` upwards number the parts.
    fn descend<const S: usize>(
        &self,
        mut parts: [Vec<Part>; S],
        top: usize,
        tasks: &mut [Task],
        leaf: &(impl Fn(&mut [Vec<Part>; S], usize, &mut Task) + Sync),
    ) {
        if tasks.len() <= 1 || top <= self.low {
            if let Some(task) = tasks.first_mut() {
                leaf(&mut parts, top, task);
            }
            return;
        }
        if self.high.contains(&(top - 1)) {
            let parts =
                parts.map(|list| list.into_iter().flat_map(|part| <[Part; 2]>::from(split(part))).collect());
            return self.descend(parts, top - 1, tasks, leaf);
        }
        let mut upper: [Vec<Part>; S] = std::array::from_fn(|_| Vec::with_capacity(parts[0].len()));
        for (lower, upper) in parts.iter_mut().zip(&mut upper) {
            for part in std::mem::take(lower) {
                let (a, b) = split(part);
                lower.push(a);
                upper.push(b);
            }
        }
        let (first, second) = tasks.split_at_mut(tasks.len() / 2);
        rayon::join(
            || self.descend(parts, top - 1, first, leaf),
            || self.descend(upper, top - 1, second, leaf),
        );
    }

    /// Gathers each tile of all S states, runs the body on it, and scatters it back; contiguous tiles stay in place.
    #[inline(always)]
    pub(crate) fn tiles<const S: usize>(
        &self,
        parts: &mut [Vec<Part>; S],
        top: usize,
        task: &mut Task,
        mut body: impl FnMut([(&mut [f64], &mut [f64]); S], &mut [f64]),
    ) {
        let run = 1usize << self.low;
        let inner: Vec<usize> = self.high.iter().copied().filter(|&q| q < top).collect();
        let rows = 1usize << inner.len();
        // Offsets of a tile's rows inside a part, and the qubits that do not number the tiles.
        let offsets: Vec<usize> = (0..rows)
            .map(|row| inner.iter().enumerate().fold(0, |o, (k, &q)| o | (row >> k & 1) << q))
            .collect();
        let fixed: Vec<usize> = (0..self.low).chain(inner.iter().copied()).collect();
        let count = (1usize << top) >> (self.low + inner.len());
        for tile in 0..count {
            let base = super::kernel::insert_zeros(tile, &fixed);
            if self.high.is_empty() {
                let mut states = parts.iter_mut().filter_map(|list| list.first_mut());
                let in_place = std::array::from_fn(|_| match states.next() {
                    Some(part) => (&mut part.re[base..base + run], &mut part.im[base..base + run]),
                    None => (&mut [][..], &mut [][..]),
                });
                body(in_place, &mut task.sums);
                continue;
            }
            let places =
                |p: usize| offsets.iter().enumerate().map(move |(row, o)| ((p * rows + row) * run, base + o));
            for (list, [re, im]) in parts.iter().zip(&mut task.tiles) {
                for (p, part) in list.iter().enumerate() {
                    for (to, from) in places(p) {
                        re[to..to + run].copy_from_slice(&part.re[from..from + run]);
                        im[to..to + run].copy_from_slice(&part.im[from..from + run]);
                    }
                }
            }
            let mut tiles = task.tiles.iter_mut();
            let gathered = std::array::from_fn(|_| match tiles.next() {
                Some([re, im]) => (&mut re[..], &mut im[..]),
                None => (&mut [][..], &mut [][..]),
            });
            body(gathered, &mut task.sums);
            for (list, [re, im]) in parts.iter_mut().zip(&task.tiles) {
                for (p, part) in list.iter_mut().enumerate() {
                    for (from, to) in places(p) {
                        part.re[to..to + run].copy_from_slice(&re[from..from + run]);
                        part.im[to..to + run].copy_from_slice(&im[from..from + run]);
                    }
                }
            }
        }
    }
}

fn split(part: Part) -> (Part, Part) {
    let half = part.re.len() / 2;
    let ((a, b), (c, d)) = (part.re.split_at_mut(half), part.im.split_at_mut(half));
    (Part { re: a, im: c }, Part { re: b, im: d })
}

impl<'a> Part<'a> {
    /// A whole state.
    pub(crate) fn new(re: &'a mut [f64], im: &'a mut [f64]) -> Self {
        Self { re, im }
    }
}
