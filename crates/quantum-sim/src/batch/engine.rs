//! Forward and backward passes of a block of eight inputs.

use super::compile::{Chunk, Program, Segment, Source};
use super::kernel::{self, Turn, add, inverse};
use super::lane_math;
use super::observables::Observables;
use super::uniform::{Uniform, axis_of};
use crate::gate::Angle;
use crate::state_vector::kernel::{LANES, Masks, V};

const ZERO: V = [0.0; LANES];

/// An encoded angle of eight inputs.
#[derive(Clone, Copy, Debug)]
struct LaneAngle {
    /// w · x
    z: V,
    /// a(z)
    activated: V,
    /// of half the angle
    sin: V,
    cos: V,
}

/// What a block keeps from its forward pass.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// `[tape + 1][re, im][2ⁿ]`, the final state last.
    states: Vec<V>,
    angles: Vec<LaneAngle>,
    /// The quaternions of the runs that depend on the input.
    turns: Vec<Turn>,
}

/// The memory of one task, kept between calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Workspace {
    kept: Vec<Kept>,
    keeps_all: bool,
    re: Vec<V>,
    im: Vec<V>,
    lre: Vec<V>,
    lim: Vec<V>,
    spare: Vec<V>,
    tz: Vec<V>,
    by_lane: Vec<V>,
    pub(super) overlaps: Vec<[V; 3]>,
    pub(super) by_slot: Vec<V>,
    pub(super) by_parameter: Vec<f64>,
}

impl Workspace {
    /// The doubles that a block keeps.
    pub(super) fn block_size(program: &Program) -> usize {
        let states = ((program.tapes + 1) * 2) << program.qubits;
        LANES * (states + 4 * program.lanes.len() + 4 * program.runs.len())
    }

    pub(super) fn prepare(&mut self, program: &Program, blocks: usize, keeps_all: bool) {
        let dimension = 1 << program.qubits;
        self.keeps_all = keeps_all;
        self.kept.resize_with(if keeps_all { blocks } else { 1 }, Kept::default);
        let angle = LaneAngle { z: ZERO, activated: ZERO, sin: ZERO, cos: ZERO };
        for kept in &mut self.kept {
            kept.states.resize((program.tapes + 1) * 2 * dimension, ZERO);
            kept.angles.resize(program.lanes.len(), angle);
            kept.turns.resize(program.runs.len(), [ZERO; 4]);
        }
        for array in [&mut self.re, &mut self.im, &mut self.lre, &mut self.lim, &mut self.spare] {
            array.resize(dimension, ZERO);
        }
        self.tz.resize(program.qubits, ZERO);
        self.by_lane.resize(program.lanes.len(), ZERO);
        self.overlaps.resize(program.uniform_chunks, [ZERO; 3]);
        self.by_slot.resize(program.angles.len(), ZERO);
        self.by_parameter.resize(program.parameters, 0.0);
    }

    /// `inputs` `[b, I]`, `values` `[b, O]` for the samples of this task.
    #[inline(always)]
    pub(super) fn forward(
        &mut self,
        program: &Program,
        uniform: &Uniform,
        observables: &Observables,
        parameters: &[f64],
        inputs: &[f64],
        values: &mut [f64],
    ) {
        let width = observables.len();
        for (block, values) in values.chunks_mut(LANES * width.max(1)).enumerate() {
            let samples = values.len() / width.max(1);
            let inputs = &inputs[block * LANES * program.inputs..][..samples * program.inputs];
            self.forward_block(program, uniform, parameters, inputs, block);
            for (o, observable) in observables.list.iter().enumerate() {
                let value = observable.expectation(&self.re, &self.im);
                for w in 0..samples {
                    values[w * width + o] = value[w];
                }
            }
        }
    }

    /// Leaves the final state in `re`, `im` and in the tape.
    #[inline(always)]
    fn forward_block(
        &mut self,
        program: &Program,
        uniform: &Uniform,
        parameters: &[f64],
        inputs: &[f64],
        block: usize,
    ) {
        let Self { kept, keeps_all, re, im, spare, .. } = self;
        let kept = &mut kept[if *keeps_all { block } else { 0 }];
        encode(program, parameters, inputs, &mut kept.angles);
        for (run, turn) in program.runs.iter().zip(&mut kept.turns) {
            if run.per_lane {
                *turn = per_lane(&run.chunks, uniform, &kept.angles);
            }
        }
        re.fill(ZERO);
        im.fill(ZERO);
        re[0] = [1.0; LANES];
        let dimension = re.len();
        let Kept { states, angles, turns } = kept;
        for segment in &program.segments {
            match segment {
                Segment::Layer { runs, tape } => {
                    layer((re, im), runs, |run| pick(program, uniform, turns, run));
                    store(states, *tape, dimension, re, im);
                }
                Segment::Monomial { source, sign, negated, permutes } => {
                    if *permutes {
                        for array in [&mut *re, &mut *im] {
                            for (to, (from, sign)) in spare.iter_mut().zip(source.iter().zip(sign)) {
                                *to = array[*from].map(|x| sign * x);
                            }
                            std::mem::swap(array, spare);
                        }
                    } else {
                        for &k in negated {
                            (re[k], im[k]) = (re[k].map(|x| -x), im[k].map(|x| -x));
                        }
                    }
                }
                Segment::Controlled { mask, qubit, run, tape } => {
                    kernel::controlled((re, im), *mask, *qubit, pick(program, uniform, turns, *run));
                    store(states, *tape, dimension, re, im);
                }
                Segment::Phase { mask, slot, scale, tape } => {
                    let (sin, cos) = phase_trig(program, uniform, angles, *slot, *scale);
                    kernel::phase((re, im), *mask, &cos, &sin);
                    store(states, *tape, dimension, re, im);
                }
                Segment::ConstantPhase { mask, cos, sin } => {
                    kernel::phase((re, im), *mask, &[*cos; LANES], &[*sin; LANES]);
                }
                Segment::PauliRotation { mask, pauli, slot, tape } => {
                    let (sin, cos) = half_trig(program, uniform, angles, *slot);
                    kernel::pauli_rotation((re, im), *mask, *pauli, &sin, &cos);
                    store(states, *tape, dimension, re, im);
                }
                Segment::Two { mask, a, b, matrix } => {
                    two((re, im), *mask, (*a, *b), |r, c| matrix[4 * r + c])
                }
            }
        }
        store(states, program.tapes, dimension, re, im);
    }

    /// Adds this task's overlaps; `by_input` `[b, I]` of its samples.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward(
        &mut self,
        program: &Program,
        uniform: &Uniform,
        observables: &Observables,
        parameters: &[f64],
        inputs: &[f64],
        weights: &[f64],
        by_input: &mut [f64],
    ) {
        self.overlaps.fill([ZERO; 3]);
        self.by_slot.fill(ZERO);
        self.by_parameter.fill(0.0);
        let width = observables.len();
        for (block, weights) in weights.chunks(LANES * width.max(1)).enumerate() {
            let samples = weights.len() / width.max(1);
            let range = block * LANES * program.inputs..(block * LANES + samples) * program.inputs;
            if !self.keeps_all {
                self.forward_block(program, uniform, parameters, &inputs[range.clone()], block);
            }
            self.start_lambda(program, observables, weights, block);
            self.take_off(program, uniform, block);
            self.chain_rule(program, parameters, &inputs[range.clone()], &mut by_input[range], block);
        }
    }

    /// λ = Σ_o v_o O_o ψ; the padding of a last block has v = 0.
    #[inline(always)]
    fn start_lambda(&mut self, program: &Program, observables: &Observables, weights: &[f64], block: usize) {
        let kept = &self.kept[if self.keeps_all { block } else { 0 }];
        let psi = stored(&kept.states, program.tapes, self.re.len());
        self.lre.fill(ZERO);
        self.lim.fill(ZERO);
        let width = observables.len();
        for (o, observable) in observables.list.iter().enumerate() {
            let mut v = ZERO;
            for (v, weight) in v.iter_mut().zip(weights[o..].iter().step_by(width)) {
                *v = *weight;
            }
            observable.accumulate(psi, &v, (&mut self.lre, &mut self.lim));
        }
    }

    #[inline(always)]
    fn take_off(&mut self, program: &Program, uniform: &Uniform, block: usize) {
        let Self { kept, keeps_all, lre, lim, spare, tz, by_lane, overlaps, by_slot, .. } = self;
        let Kept { states, angles, turns } = &kept[if *keeps_all { block } else { 0 }];
        let dimension = lre.len();
        by_lane.fill(ZERO);
        for (position, segment) in program.segments.iter().enumerate().rev() {
            match segment {
                Segment::Layer { runs, tape } => {
                    let psi = stored(states, *tape, dimension);
                    kernel::tap_z(psi, (lre, lim), spare, tz);
                    for (qubit, run) in runs.iter().filter(|(_, run)| program.runs[*run].wanted) {
                        let (tx, ty) = kernel::tap_xy(psi, (lre, lim), *qubit);
                        let t = [tx, ty, tz[*qubit]];
                        resolve(&program.runs[*run].chunks, t, uniform, angles, overlaps, by_lane);
                    }
                    if position > 0 {
                        layer((lre, lim), runs, |run| inverse(pick(program, uniform, turns, run)));
                    }
                }
                Segment::Monomial { source, sign, negated, permutes } => {
                    if *permutes {
                        for array in [&mut *lre, &mut *lim] {
                            for (k, (to, sign)) in source.iter().zip(sign).enumerate() {
                                spare[*to] = array[k].map(|x| sign * x);
                            }
                            std::mem::swap(array, spare);
                        }
                    } else {
                        for &k in negated {
                            (lre[k], lim[k]) = (lre[k].map(|x| -x), lim[k].map(|x| -x));
                        }
                    }
                }
                Segment::Controlled { mask, qubit, run, tape } => {
                    let turn = pick(program, uniform, turns, *run);
                    let chunks = &program.runs[*run].chunks;
                    let t =
                        kernel::tap_controlled(stored(states, *tape, dimension), (lre, lim), *mask, *qubit);
                    resolve(chunks, t, uniform, angles, overlaps, by_lane);
                    kernel::controlled((lre, lim), *mask, *qubit, &inverse(turn));
                }
                Segment::Phase { mask, slot, scale, tape } => {
                    let identity = Masks { x: 0, z: 0, power: 0 };
                    let psi = stored(states, *tape, dimension);
                    let t = kernel::tap_pauli(psi, (lre, lim), *mask, identity).map(|t| -2.0 * scale * t);
                    add(by_source(program, *slot, by_slot, by_lane), &t);
                    let (sin, cos) = phase_trig(program, uniform, angles, *slot, *scale);
                    kernel::phase((lre, lim), *mask, &cos, &sin.map(|s| -s));
                }
                Segment::ConstantPhase { mask, cos, sin } => {
                    kernel::phase((lre, lim), *mask, &[*cos; LANES], &[-sin; LANES]);
                }
                Segment::PauliRotation { mask, pauli, slot, tape } => {
                    let psi = stored(states, *tape, dimension);
                    let t = kernel::tap_pauli(psi, (lre, lim), *mask, *pauli);
                    add(by_source(program, *slot, by_slot, by_lane), &t);
                    let (sin, cos) = half_trig(program, uniform, angles, *slot);
                    kernel::pauli_rotation((lre, lim), *mask, *pauli, &sin.map(|s| -s), &cos);
                }
                Segment::Two { mask, a, b, matrix } => two((lre, lim), *mask, (*a, *b), |r, c| {
                    let [re, im] = matrix[4 * c + r];
                    [re, -im]
                }),
            }
        }
    }

    /// From the encoded angles to weights and inputs.
    #[inline(always)]
    fn chain_rule(
        &mut self,
        program: &Program,
        parameters: &[f64],
        inputs: &[f64],
        by_input: &mut [f64],
        block: usize,
    ) {
        let kept = &self.kept[if self.keeps_all { block } else { 0 }];
        for (lane, slot) in program.lanes.iter().enumerate() {
            let Angle::Input { index, weight, activation, scale } = program.angles[*slot] else { continue };
            let LaneAngle { z, activated, .. } = &kept.angles[lane];
            let slope = lane_math::derivative(activation, z, activated);
            let w = weight.map_or(1.0, |w| parameters[w]);
            let rows = inputs.chunks_exact(program.inputs).zip(by_input.chunks_exact_mut(program.inputs));
            let mut by_weight = 0.0;
            for (sample, (x, by_x)) in rows.enumerate() {
                let g = scale * slope[sample] * self.by_lane[lane][sample];
                by_x[index] += g * w;
                by_weight += g * x[index];
            }
            if let Some(weight) = weight {
                self.by_parameter[weight] += by_weight;
            }
        }
    }
}

/// The encoded angles of a block; missing samples of a last block count as 0.
#[inline(always)]
fn encode(program: &Program, parameters: &[f64], inputs: &[f64], angles: &mut [LaneAngle]) {
    for (slot, out) in program.lanes.iter().zip(angles) {
        let Angle::Input { index, weight, activation, scale } = program.angles[*slot] else { continue };
        let w = weight.map_or(1.0, |w| parameters[w]);
        out.z = ZERO;
        for (z, x) in out.z.iter_mut().zip(inputs[index..].iter().step_by(program.inputs)) {
            *z = w * x;
        }
        out.activated = lane_math::activation(activation, &out.z);
        let half = out.activated.map(|a| 0.5 * scale * a);
        (out.sin, out.cos) = lane_math::sin_cos(&half);
    }
}

/// The quaternion of a run for eight inputs.
#[inline(always)]
fn per_lane(chunks: &[Chunk], uniform: &Uniform, angles: &[LaneAngle]) -> Turn {
    let mut q = [[1.0; LANES], ZERO, ZERO, ZERO];
    for chunk in chunks {
        match chunk {
            Chunk::Uniform { id, .. } => {
                let [a, b, c, d] = uniform.chunks[*id];
                let p = q;
                for w in 0..LANES {
                    q[0][w] = a * p[0][w] - b * p[1][w] - c * p[2][w] - d * p[3][w];
                    q[1][w] = a * p[1][w] + b * p[0][w] + c * p[3][w] - d * p[2][w];
                    q[2][w] = a * p[2][w] + c * p[0][w] + d * p[1][w] - b * p[3][w];
                    q[3][w] = a * p[3][w] + d * p[0][w] + b * p[2][w] - c * p[1][w];
                }
            }
            Chunk::Lane { pauli, lane } => {
                let (s, c) = (&angles[*lane].sin, &angles[*lane].cos);
                // (c − i s P_i) times p: axes i, j, k in cyclic order.
                let i = axis_of(*pauli);
                let (i, j, k) = (1 + i, 1 + (i + 1) % 3, 1 + (i + 2) % 3);
                let p = q;
                for w in 0..LANES {
                    q[0][w] = c[w] * p[0][w] - s[w] * p[i][w];
                    q[i][w] = c[w] * p[i][w] + s[w] * p[0][w];
                    q[j][w] = c[w] * p[j][w] - s[w] * p[k][w];
                    q[k][w] = c[w] * p[k][w] + s[w] * p[j][w];
                }
            }
        }
    }
    q
}

/// Takes the chunks of a run off the overlaps, from the last: sums for uniform chunks, derivatives for encoded angles.
#[inline(always)]
fn resolve(
    chunks: &[Chunk],
    mut t: [V; 3],
    uniform: &Uniform,
    angles: &[LaneAngle],
    overlaps: &mut [[V; 3]],
    by_lane: &mut [V],
) {
    for (position, chunk) in chunks.iter().enumerate().rev() {
        match chunk {
            Chunk::Uniform { id, .. } => {
                (0..3).for_each(|axis| add(&mut overlaps[*id][axis], &t[axis]));
                if position > 0 {
                    let (r, u) = (&uniform.blochs[*id], t);
                    t = [
                        combined([r[0][0], r[1][0], r[2][0]], &u),
                        combined([r[0][1], r[1][1], r[2][1]], &u),
                        combined([r[0][2], r[1][2], r[2][2]], &u),
                    ];
                }
            }
            Chunk::Lane { pauli, lane } => {
                let i = axis_of(*pauli);
                let (j, k) = ((i + 1) % 3, (i + 2) % 3);
                add(&mut by_lane[*lane], &t[i]);
                if position > 0 {
                    let (s, c, u) = (&angles[*lane].sin, &angles[*lane].cos, t);
                    for w in 0..LANES {
                        let (sin, cos) = (2.0 * s[w] * c[w], c[w] * c[w] - s[w] * s[w]);
                        t[j][w] = cos * u[j][w] + sin * u[k][w];
                        t[k][w] = cos * u[k][w] - sin * u[j][w];
                    }
                }
            }
        }
    }
}

/// Σ_q r_q u_q. A loop of its own: three of them at once were unrolled into scalar code.
#[inline(always)]
fn combined(r: [f64; 3], u: &[V; 3]) -> V {
    let mut out = ZERO;
    for w in 0..LANES {
        out[w] = r[0] * u[0][w] + r[1] * u[1][w] + r[2] * u[2][w];
    }
    out
}

/// All gates of a layer, two qubits per pass over memory.
#[inline(always)]
fn layer<T: std::borrow::Borrow<Turn>>(
    (re, im): kernel::Parts,
    runs: &[(usize, usize)],
    turn: impl Fn(usize) -> T,
) {
    let mut pairs = runs.chunks_exact(2);
    for pair in &mut pairs {
        let ((a, first), (b, second)) = (pair[0], pair[1]);
        let (first, second) = (turn(first), turn(second));
        let (first, second) = ((a, first.borrow()), (b, second.borrow()));
        let (low, high) = if a < b { (first, second) } else { (second, first) };
        kernel::both((re, im), low, high);
    }
    for &(qubit, run) in pairs.remainder() {
        kernel::one((re, im), qubit, turn(run).borrow());
    }
}

#[inline(always)]
fn pick<'a>(program: &Program, uniform: &'a Uniform, turns: &'a [Turn], run: usize) -> &'a Turn {
    if program.runs[run].per_lane { &turns[run] } else { &uniform.turns[run] }
}

#[inline(always)]
fn store(states: &mut [V], tape: usize, dimension: usize, re: &[V], im: &[V]) {
    let at = &mut states[2 * tape * dimension..][..2 * dimension];
    let (to_re, to_im) = at.split_at_mut(dimension);
    to_re.copy_from_slice(re);
    to_im.copy_from_slice(im);
}

#[inline(always)]
fn stored(states: &[V], tape: usize, dimension: usize) -> (&[V], &[V]) {
    states[2 * tape * dimension..][..2 * dimension].split_at(dimension)
}

#[inline(always)]
fn half_trig(program: &Program, uniform: &Uniform, angles: &[LaneAngle], slot: usize) -> (V, V) {
    match program.sources[slot] {
        Source::Lane(lane) => (angles[lane].sin, angles[lane].cos),
        Source::Uniform => ([uniform.trig[slot].0; LANES], [uniform.trig[slot].1; LANES]),
    }
}

/// (sin, cos) of scale · angle, scale being 1 or ½.
#[inline(always)]
fn phase_trig(program: &Program, uniform: &Uniform, angles: &[LaneAngle], slot: usize, scale: f64) -> (V, V) {
    let (s, c) = half_trig(program, uniform, angles, slot);
    if scale == 0.5 {
        return (s, c);
    }
    let sin = std::array::from_fn(|w| 2.0 * s[w] * c[w]);
    let cos = std::array::from_fn(|w| c[w] * c[w] - s[w] * s[w]);
    (sin, cos)
}

#[inline(always)]
fn by_source<'a>(program: &Program, slot: usize, by_slot: &'a mut [V], by_lane: &'a mut [V]) -> &'a mut V {
    match program.sources[slot] {
        Source::Lane(lane) => &mut by_lane[lane],
        Source::Uniform => &mut by_slot[slot],
    }
}

/// A constant two-qubit gate.
#[inline(always)]
fn two(
    (re, im): kernel::Parts,
    mask: usize,
    (a, b): (usize, usize),
    matrix: impl Fn(usize, usize) -> [f64; 2],
) {
    for k in 0..re.len() {
        if k & mask != mask || k >> a & 1 == 1 || k >> b & 1 == 1 {
            continue;
        }
        let at = [k, k | 1 << a, k | 1 << b, k | 1 << a | 1 << b];
        let (x, y) = (at.map(|k| re[k]), at.map(|k| im[k]));
        for r in 0..4 {
            let (mut p, mut q) = (ZERO, ZERO);
            for c in 0..4 {
                let [u, v] = matrix(r, c);
                for w in 0..LANES {
                    p[w] += u * x[c][w] - v * y[c][w];
                    q[w] += u * y[c][w] + v * x[c][w];
                }
            }
            (re[at[r]], im[at[r]]) = (p, q);
        }
    }
}
