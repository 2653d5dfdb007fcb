//! Pulse control: piecewise constant fields steer a few qubits to a target, with GRAPE as the oracle.
//!
//! H(t) = H₀ + Σ_k u_k(t) H_k, each slice is exp(−i H Δt). GRAPE (Khaneja et al. 2005) climbs the exact gradient of the
//! fidelity; the divided differences of the exponential make it exact for any Δt. The qubit flip is that of Bukov et al.
//! (2018, arXiv:1705.00565): H = −S_z − h S_x, from the ground state at h = −2 to that at h = +2 with |h| ≤ 4.

use super::QuantumState;
use crate::algorithms::Bfgs;
use crate::error::{Error, Result};
use crate::gate::C64;
use nalgebra::{DMatrix, DVector};
use rand::Rng;
use rl_core::env::{Action, EnvSpec, Simulator, Space};

type Matrix = DMatrix<C64>;
type Vector = DVector<C64>;

const I: C64 = C64::new(0.0, 1.0);

/// A pulse-control task with one field that takes one of a few levels per slice. The observation is all real parts, all
/// imaginary parts, and the fraction of the time that has passed; the reward is the fidelity at the end.
#[derive(Clone, Debug)]
pub struct PulseControl {
    drift: Matrix,
    control: Matrix,
    start: Vector,
    target: Vector,
    levels: Vec<f64>,
    /// The propagator of one slice for each level.
    propagators: Vec<Matrix>,
    /// Total time T.
    pub time: f64,
    /// Number of slices.
    pub slices: u32,
}

/// What GRAPE found.
#[derive(Clone, Debug, PartialEq)]
pub struct Grape {
    /// |⟨target|ψ(T)⟩|²
    pub fidelity: f64,
    /// The field in each slice.
    pub pulse: Vec<f64>,
}

impl PulseControl {
    /// A task from Hermitian matrices of equal size (at most 16 × 16), normalised states and levels.
    ///
    /// # Errors
    /// When sizes differ, a matrix is not Hermitian, a state is not normalised, or there is nothing to choose.
    pub fn new(
        (drift, control): (Matrix, Matrix),
        (start, target): (Vector, Vector),
        levels: Vec<f64>,
        time: f64,
        slices: u32,
    ) -> Result<Self> {
        let d = start.len();
        for m in [&drift, &control] {
            if m.shape() != (d, d) || d > 16 {
                return Err(Error::shape(
                    "pulse control",
                    format!("{d} × {d} matrices, at most 16 × 16"),
                    format!("{:?}", m.shape()),
                ));
            }
            let deviation = (m - m.adjoint()).norm();
            crate::error::at_most("pulse control", "hermiticity", deviation, 1e-9)?;
        }
        for psi in [&start, &target] {
            let deviation = (psi.norm() - 1.0).abs();
            crate::error::same_length("pulse control", "amplitudes", d, psi.len())?;
            crate::error::at_most("pulse control", "norm 1", deviation, 1e-9)?;
        }
        if levels.is_empty() || slices == 0 || !(time > 0.0 && time.is_finite()) {
            return Err(Error::unsupported("pulse control", "needs levels, slices and a positive time"));
        }
        let mut task = Self { drift, control, start, target, levels, propagators: vec![], time, slices };
        task.propagators = task.levels.iter().map(|&u| task.slice(u).0).collect();
        Ok(task)
    }

    /// Bukov's qubit flip with fields ±4 (bang-bang).
    ///
    /// # Errors
    /// When time or slices are not positive.
    pub fn qubit_flip(time: f64, slices: u32) -> Result<Self> {
        let o = C64::new(0.0, 0.0);
        let half = C64::new(-0.5, 0.0);
        let drift = Matrix::from_row_slice(2, 2, &[half, o, o, -half]);
        let control = Matrix::from_row_slice(2, 2, &[o, half, half, o]);
        let ground = |h: f64| {
            // The ground state of −S_z − h S_x points along (h, 0, 1).
            let angle = h.atan2(1.0) / 2.0;
            Vector::from_vec(vec![angle.cos().into(), angle.sin().into()])
        };
        Self::new((drift, control), (ground(-2.0), ground(2.0)), vec![-4.0, 4.0], time, slices)
    }

    /// U = exp(−iHΔt) and ∂U/∂u, by diagonalising H = H₀ + u H₁.
    fn slice(&self, u: f64) -> (Matrix, Matrix) {
        let dt = self.time / f64::from(self.slices);
        let h = &self.drift + &self.control * C64::new(u, 0.0);
        let eigen = h.symmetric_eigen();
        let v = &eigen.eigenvectors;
        let phases = eigen.eigenvalues.map(|e| C64::cis(-e * dt));
        let propagator = v * Matrix::from_diagonal(&phases) * v.adjoint();
        // ⟨a|∂U|b⟩ = ⟨a|H₁|b⟩ (e^{−iE_aΔt} − e^{−iE_bΔt})/(E_a − E_b)
        let mut inner = v.adjoint() * &self.control * v;
        for a in 0..inner.nrows() {
            for b in 0..inner.ncols() {
                let gap = eigen.eigenvalues[a] - eigen.eigenvalues[b];
                inner[(a, b)] *=
                    if gap.abs() < 1e-9 { -I * dt * phases[a] } else { (phases[a] - phases[b]) / gap };
            }
        }
        (propagator, v * inner * v.adjoint())
    }

    /// |⟨target|ψ(T)⟩|² under a pulse, and its derivative by every slice's field.
    ///
    /// # Errors
    /// When the pulse has not one value per slice.
    pub fn fidelity_gradient(&self, pulse: &[f64]) -> Result<(f64, Vec<f64>)> {
        crate::error::same_length("pulse", "slices", self.slices as usize, pulse.len())?;
        let slices: Vec<(Matrix, Matrix)> = pulse.iter().map(|&u| self.slice(u)).collect();
        let mut forward = vec![self.start.clone()];
        for (propagator, _) in &slices {
            let next = propagator * &forward[forward.len() - 1];
            forward.push(next);
        }
        let overlap = self.target.dotc(&forward[slices.len()]);
        let mut back = self.target.clone();
        let mut gradient = vec![0.0; slices.len()];
        for (k, (propagator, derivative)) in slices.iter().enumerate().rev() {
            gradient[k] = 2.0 * (overlap.conj() * back.dotc(&(derivative * &forward[k]))).re;
            back = propagator.adjoint() * back;
        }
        Ok((overlap.norm_sqr(), gradient))
    }

    /// GRAPE from several seeded starts; fields stay within the extreme levels by u = centre + radius · sin v.
    ///
    /// # Errors
    /// Never for a valid task.
    pub fn grape(&self, starts: usize, rng: &mut impl Rng) -> Result<Grape> {
        use rand::RngExt;
        let low = self.levels.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (centre, radius) = (0.5 * (low + high), 0.5 * (high - low));
        let field = |v: f64| centre + radius * v.sin();
        let mut best = Grape { fidelity: -1.0, pulse: vec![] };
        for _ in 0..starts {
            let start: Vec<f64> = (0..self.slices).map(|_| rng.random_range(-1.0..1.0)).collect();
            let found = Bfgs::default().minimise(&start, |v| -> Result<_> {
                let pulse: Vec<f64> = v.iter().map(|&v| field(v)).collect();
                let (fidelity, gradient) = self.fidelity_gradient(&pulse)?;
                let chained = gradient.iter().zip(v).map(|(g, v)| -g * radius * v.cos()).collect();
                Ok((1.0 - fidelity, chained))
            })?;
            if 1.0 - found.value > best.fidelity {
                let pulse = found.at.iter().map(|&v| field(v)).collect();
                best = Grape { fidelity: 1.0 - found.value, pulse };
            }
        }
        Ok(best)
    }

    /// The least time at which GRAPE reaches a fidelity of 1 − `infidelity`: the quantum speed limit of the task, by
    /// bisection in `range` to 1 %.
    ///
    /// # Errors
    /// When the fidelity is not reached at the end of the range.
    pub fn speed_limit(
        &self,
        range: (f64, f64),
        infidelity: f64,
        starts: usize,
        rng: &mut impl Rng,
    ) -> Result<f64> {
        let mut reaches = |time: f64| -> Result<bool> {
            let task = Self { time, ..self.clone() };
            Ok(task.grape(starts, rng)?.fidelity > 1.0 - infidelity)
        };
        let (mut low, mut high) = range;
        if !reaches(high)? {
            return Err(Error::unsupported("speed limit", format!("fidelity not reached at T = {high}")));
        }
        while high - low > 0.01 * high {
            let middle = 0.5 * (low + high);
            if reaches(middle)? { high = middle } else { low = middle }
        }
        Ok(high)
    }

    /// The best pulse that takes one of the levels per slice, by trying all of them.
    ///
    /// # Errors
    /// When there are more than 2²⁰ pulses.
    pub fn best_bang_bang(&self) -> Result<Grape> {
        let count = (self.levels.len() as f64).powi(self.slices as i32);
        if count > f64::from(1 << 20) {
            return Err(Error::unsupported("exhaustive search", format!("{count:e} pulses are too many")));
        }
        let mut best = Grape { fidelity: -1.0, pulse: vec![] };
        let mut choice = vec![0; self.slices as usize];
        self.try_all(0, &self.start, &mut choice, &mut best);
        Ok(best)
    }

    fn try_all(&self, slice: usize, psi: &Vector, choice: &mut [usize], best: &mut Grape) {
        if slice == choice.len() {
            let fidelity = self.target.dotc(psi).norm_sqr();
            if fidelity > best.fidelity {
                *best = Grape { fidelity, pulse: choice.iter().map(|&k| self.levels[k]).collect() };
            }
            return;
        }
        for level in 0..self.levels.len() {
            choice[slice] = level;
            self.try_all(slice + 1, &(&self.propagators[level] * psi), choice, best);
        }
    }
}

impl Simulator for PulseControl {
    type State = QuantumState;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "PulseControl".into(),
            observation: Space::uniform_box(2 * self.start.len() + 1, -1.0, 1.0),
            action: Space::Discrete(self.levels.len()),
            max_episode_steps: Some(self.slices),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, _: &mut impl Rng) -> QuantumState {
        let part = |f: fn(&C64) -> f64| self.start.iter().map(f).collect();
        QuantumState { re: part(|z| z.re), im: part(|z| z.im), step: 0 }
    }

    fn transition(&self, state: &mut QuantumState, action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let Action::Discrete(level) = action else { return (0.0, false) };
        let Some(propagator) = self.propagators.get(level) else { return (0.0, false) };
        let parts = state.re.iter().zip(&state.im).map(|(&x, &y)| C64::new(x, y));
        let psi = propagator * Vector::from_iterator(self.start.len(), parts);
        for (k, z) in psi.iter().enumerate() {
            (state.re[k], state.im[k]) = (z.re, z.im);
        }
        state.step += 1;
        let done = state.step >= self.slices;
        (if done { self.target.dotc(&psi).norm_sqr() } else { 0.0 }, done)
    }

    fn observe(&self, state: &QuantumState, observation: &mut [f32]) {
        let passed = f64::from(state.step) / f64::from(self.slices);
        for (o, v) in observation.iter_mut().zip(state.re.iter().chain(&state.im).chain([&passed])) {
            *o = *v as f32;
        }
    }
}

/// |Tr(V†U)|² / d²
///
/// # Errors
/// When the matrices differ in size.
pub fn gate_fidelity(u: &Matrix, v: &Matrix) -> Result<f64> {
    if u.shape() != v.shape() || u.nrows() != u.ncols() || u.nrows() == 0 {
        return Err(Error::shape(
            "gate fidelity",
            "square matrices of one size",
            format!("{:?}, {:?}", u.shape(), v.shape()),
        ));
    }
    Ok((v.adjoint() * u).trace().norm_sqr() / (u.nrows() as f64).powi(2))
}

/// (d F + 1)/(d + 1): the mean state fidelity over all inputs.
///
/// # Errors
/// As [`gate_fidelity`].
pub fn average_gate_fidelity(u: &Matrix, v: &Matrix) -> Result<f64> {
    let d = u.nrows() as f64;
    Ok((d * gate_fidelity(u, v)? + 1.0) / (d + 1.0))
}
