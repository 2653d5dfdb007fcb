//! Gates as data: what a gate is called, which matrix it has, which generators its angles have.
//!
//! Rotations are exp(−iθ/2 P) throughout, as in Nielsen & Chuang, Qiskit and PennyLane (Qulacs' `RX` has the
//! opposite sign). Matrices are row-major; of a two-qubit matrix the first target is bit 0 of the index.

use crate::error::{Error, Result};
use num_complex::Complex64;

/// A complex number.
pub type C64 = Complex64;
/// A single-qubit matrix, row-major.
pub type Matrix2 = [[C64; 2]; 2];
/// A two-qubit matrix, row-major; bit 0 of an index is the first target.
pub type Matrix4 = [[C64; 4]; 4];

const O: C64 = C64::new(0.0, 0.0);
const ONE: C64 = C64::new(1.0, 0.0);
const I: C64 = C64::new(0.0, 1.0);
const UNITARITY: f64 = 1e-10;

/// What is applied to weight · input before it becomes an angle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// a(z) = z
    #[default]
    Linear,
    /// a(z) = tanh z
    Tanh,
    /// a(z) = arctan z
    Atan,
}

impl Activation {
    /// a(z)
    pub fn value(self, z: f64) -> f64 {
        match self {
            Self::Linear => z,
            Self::Tanh => z.tanh(),
            Self::Atan => z.atan(),
        }
    }

    /// a'(z)
    pub fn derivative(self, z: f64) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Tanh => 1.0 - z.tanh().powi(2),
            Self::Atan => 1.0 / (1.0 + z * z),
        }
    }
}

/// An angle in radians: a number, an affine function of a parameter, or an encoded input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Angle {
    /// A number.
    Fixed(f64),
    /// scale · p_index + offset
    Parameter {
        /// Which parameter.
        index: usize,
        /// Factor.
        scale: f64,
        /// Summand.
        offset: f64,
    },
    /// scale · a(w · x_index), with the trainable weight w = p_weight or 1 (data re-uploading).
    Input {
        /// Which input.
        index: usize,
        /// Which parameter is its weight; `None` for 1.
        weight: Option<usize>,
        /// a
        activation: Activation,
        /// Factor after the activation.
        scale: f64,
    },
}

/// A parameter of a circuit: `circuit.parameter("theta")`. `theta * 0.5 + 1.0` is an angle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter(pub usize);

impl From<f64> for Angle {
    fn from(value: f64) -> Self {
        Self::Fixed(value)
    }
}

impl From<Parameter> for Angle {
    fn from(Parameter(index): Parameter) -> Self {
        Self::Parameter { index, scale: 1.0, offset: 0.0 }
    }
}

impl std::ops::Mul<f64> for Parameter {
    type Output = Angle;
    fn mul(self, scale: f64) -> Angle {
        Angle::Parameter { index: self.0, scale, offset: 0.0 }
    }
}

impl std::ops::Add<f64> for Parameter {
    type Output = Angle;
    fn add(self, offset: f64) -> Angle {
        Angle::Parameter { index: self.0, scale: 1.0, offset }
    }
}

impl std::ops::Neg for Angle {
    type Output = Angle;
    fn neg(self) -> Angle {
        match self {
            Self::Fixed(value) => Self::Fixed(-value),
            Self::Parameter { index, scale, offset } => {
                Self::Parameter { index, scale: -scale, offset: -offset }
            }
            Self::Input { index, weight, activation, scale } => {
                Self::Input { index, weight, activation, scale: -scale }
            }
        }
    }
}

impl Angle {
    /// The angle for given parameters and inputs; their lengths have been checked at the door.
    #[inline]
    pub(crate) fn value(&self, parameters: &[f64], inputs: &[f64]) -> f64 {
        match *self {
            Self::Fixed(value) => value,
            Self::Parameter { index, scale, offset } => scale * parameters[index] + offset,
            Self::Input { index, weight, activation, scale } => {
                scale * activation.value(weight.map_or(1.0, |w| parameters[w]) * inputs[index])
            }
        }
    }

    /// The chain rule: adds ∂E/∂angle · ∂angle/∂p and ∂E/∂angle · ∂angle/∂x.
    #[inline]
    pub(crate) fn pull_back(
        &self,
        gradient: f64,
        (parameters, inputs): (&[f64], &[f64]),
        (by_parameter, by_input): (&mut [f64], &mut [f64]),
    ) {
        match *self {
            Self::Fixed(_) => {}
            Self::Parameter { index, scale, .. } => by_parameter[index] += scale * gradient,
            Self::Input { index, weight, activation, scale } => {
                let w = weight.map_or(1.0, |w| parameters[w]);
                let slope = scale * activation.derivative(w * inputs[index]) * gradient;
                by_input[index] += slope * w;
                if let Some(weight) = weight {
                    by_parameter[weight] += slope * inputs[index];
                }
            }
        }
    }

    /// Whether it depends on a parameter or input.
    pub fn is_variable(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }
}

/// A Pauli operator on one qubit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pauli {
    /// [[0, 1], [1, 0]]
    X,
    /// [[0, −i], [i, 0]]
    Y,
    /// [[1, 0], [0, −1]]
    Z,
}

impl Pauli {
    /// Its matrix.
    pub fn matrix(self) -> Matrix2 {
        match self {
            Self::X => [[O, ONE], [ONE, O]],
            Self::Y => [[O, -I], [I, O]],
            Self::Z => [[ONE, O], [O, -ONE]],
        }
    }
}

/// A gate without its qubits. The arity is the number of targets; any gate takes any number of controls.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// Identity.
    I,
    /// Pauli X.
    X,
    /// Pauli Y.
    Y,
    /// Pauli Z.
    Z,
    /// Hadamard.
    H,
    /// diag(1, i)
    S,
    /// diag(1, −i)
    Sdg,
    /// diag(1, e^{iπ/4})
    T,
    /// diag(1, e^{−iπ/4})
    Tdg,
    /// √X = ½[[1+i, 1−i], [1−i, 1+i]]
    Sx,
    /// The inverse of √X.
    Sxdg,
    /// exp(−iθX/2)
    Rx(Angle),
    /// exp(−iθY/2)
    Ry(Angle),
    /// exp(−iθZ/2)
    Rz(Angle),
    /// diag(1, e^{iφ})
    Phase(Angle),
    /// U(θ, φ, λ) = [[cos θ/2, −e^{iλ} sin θ/2], [e^{iφ} sin θ/2, e^{i(φ+λ)} cos θ/2]] (Qiskit's `u3`).
    U(Angle, Angle, Angle),
    /// e^{iγ} on no target; with controls a phase on their common |1…1⟩.
    GlobalPhase(Angle),
    /// Exchanges two qubits.
    Swap,
    /// SWAP with i on the exchanged amplitudes.
    ISwap,
    /// exp(−iθ/2 P₁⊗P₂…), one Pauli operator per target.
    PauliRotation(Vec<Pauli>, Angle),
    /// Any single-qubit unitary.
    Unitary1(Box<Matrix2>),
    /// Any two-qubit unitary; bit 0 of an index is the first target.
    Unitary2(Box<Matrix4>),
}

impl Gate {
    /// The number of targets.
    pub fn arity(&self) -> usize {
        match self {
            Self::GlobalPhase(_) => 0,
            Self::Swap | Self::ISwap | Self::Unitary2(_) => 2,
            Self::PauliRotation(paulis, _) => paulis.len(),
            _ => 1,
        }
    }

    /// The angles in order.
    pub fn angles(&self) -> Vec<Angle> {
        match self {
            Self::Rx(a) | Self::Ry(a) | Self::Rz(a) | Self::Phase(a) => vec![*a],
            Self::GlobalPhase(a) | Self::PauliRotation(_, a) => vec![*a],
            Self::U(a, b, c) => vec![*a, *b, *c],
            _ => vec![],
        }
    }

    /// The same gate with other angles, as many as [`Gate::angles`] gives.
    pub(crate) fn with_angles(&self, angles: &[Angle]) -> Self {
        match (self, angles) {
            (Self::Rx(_), &[a]) => Self::Rx(a),
            (Self::Ry(_), &[a]) => Self::Ry(a),
            (Self::Rz(_), &[a]) => Self::Rz(a),
            (Self::Phase(_), &[a]) => Self::Phase(a),
            (Self::GlobalPhase(_), &[a]) => Self::GlobalPhase(a),
            (Self::PauliRotation(paulis, _), &[a]) => Self::PauliRotation(paulis.clone(), a),
            (Self::U(..), &[a, b, c]) => Self::U(a, b, c),
            _ => self.clone(),
        }
    }

    /// Its name in OpenQASM, where it has one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::I => "id",
            Self::X => "x",
            Self::Y => "y",
            Self::Z => "z",
            Self::H => "h",
            Self::S => "s",
            Self::Sdg => "sdg",
            Self::T => "t",
            Self::Tdg => "tdg",
            Self::Sx => "sx",
            Self::Sxdg => "sxdg",
            Self::Rx(_) => "rx",
            Self::Ry(_) => "ry",
            Self::Rz(_) => "rz",
            Self::Phase(_) => "p",
            Self::U(..) => "u3",
            Self::GlobalPhase(_) => "gphase",
            Self::Swap => "swap",
            Self::ISwap => "iswap",
            Self::PauliRotation(paulis, _) => match paulis.as_slice() {
                [Pauli::X, Pauli::X] => "rxx",
                [Pauli::Y, Pauli::Y] => "ryy",
                [Pauli::Z, Pauli::Z] => "rzz",
                _ => "pauli_rotation",
            },
            Self::Unitary1(_) => "unitary1",
            Self::Unitary2(_) => "unitary2",
        }
    }

    /// The gate that undoes it.
    pub fn inverse(&self) -> Self {
        match self {
            Self::S => Self::Sdg,
            Self::Sdg => Self::S,
            Self::T => Self::Tdg,
            Self::Tdg => Self::T,
            Self::Sx => Self::Sxdg,
            Self::Sxdg => Self::Sx,
            Self::Rx(a) => Self::Rx(-*a),
            Self::Ry(a) => Self::Ry(-*a),
            Self::Rz(a) => Self::Rz(-*a),
            Self::Phase(a) => Self::Phase(-*a),
            Self::GlobalPhase(a) => Self::GlobalPhase(-*a),
            Self::U(theta, phi, lambda) => Self::U(-*theta, -*lambda, -*phi),
            Self::PauliRotation(paulis, a) => Self::PauliRotation(paulis.clone(), -*a),
            Self::ISwap => Self::Unitary2(Box::new(adjoint4(&ISWAP))),
            Self::Unitary1(m) => Self::Unitary1(Box::new(adjoint2(m))),
            Self::Unitary2(m) => Self::Unitary2(Box::new(adjoint4(m))),
            same => same.clone(),
        }
    }

    /// The matrix of a gate with one target, for given values of its angles.
    pub fn matrix2(&self, angles: &[f64]) -> Option<Matrix2> {
        let phase = |phi: f64| [[ONE, O], [O, C64::cis(phi)]];
        let r = std::f64::consts::FRAC_1_SQRT_2;
        let quarter = std::f64::consts::FRAC_PI_4;
        let half = C64::new(0.5, 0.5);
        Some(match (self, angles) {
            (Self::I, _) => IDENTITY2,
            (Self::X, _) => Pauli::X.matrix(),
            (Self::Y, _) => Pauli::Y.matrix(),
            (Self::Z, _) => Pauli::Z.matrix(),
            (Self::H, _) => [[C64::new(r, 0.0); 2], [C64::new(r, 0.0), C64::new(-r, 0.0)]],
            (Self::S, _) => [[ONE, O], [O, I]],
            (Self::Sdg, _) => [[ONE, O], [O, -I]],
            (Self::T, _) => phase(quarter),
            (Self::Tdg, _) => phase(-quarter),
            (Self::Sx, _) => [[half, half.conj()], [half.conj(), half]],
            (Self::Sxdg, _) => [[half.conj(), half], [half, half.conj()]],
            (Self::Rx(_), &[a]) => rotation(Pauli::X, a),
            (Self::Ry(_), &[a]) => rotation(Pauli::Y, a),
            (Self::Rz(_), &[a]) => rotation(Pauli::Z, a),
            (Self::Phase(_), &[a]) => phase(a),
            (Self::U(..), &[theta, phi, lambda]) => {
                let (s, c) = (theta / 2.0).sin_cos();
                [[c.into(), -C64::cis(lambda) * s], [C64::cis(phi) * s, C64::cis(phi + lambda) * c]]
            }
            (Self::PauliRotation(paulis, _), &[a]) if paulis.len() == 1 => rotation(paulis[0], a),
            (Self::Unitary1(m), _) => **m,
            _ => return None,
        })
    }

    /// The matrix of a gate with two targets and no angle but a Pauli rotation's.
    pub fn matrix4(&self, angles: &[f64]) -> Option<Matrix4> {
        match (self, angles) {
            (Self::Swap, _) => Some(SWAP),
            (Self::ISwap, _) => Some(ISWAP),
            (Self::Unitary2(m), _) => Some(**m),
            (Self::PauliRotation(paulis, _), &[a]) if paulis.len() == 2 => {
                let (s, c) = (a / 2.0).sin_cos();
                let product = kronecker(&paulis[0].matrix(), &paulis[1].matrix());
                let mut out = product.map(|row| row.map(|z| -I * s * z));
                for (k, row) in out.iter_mut().enumerate() {
                    row[k] += c;
                }
                Some(out)
            }
            _ => None,
        }
    }

    /// The generators G of a one-target gate's angles, defined by ∂U/∂θ = (−i/2) G U.
    pub(crate) fn generators2(&self, angles: &[f64]) -> Vec<Matrix2> {
        let minus_identity = |m: Matrix2| [[m[0][0] - 1.0, m[0][1]], [m[1][0], m[1][1] - 1.0]];
        match (self, angles) {
            (Self::Rx(_), _) => vec![Pauli::X.matrix()],
            (Self::Ry(_), _) => vec![Pauli::Y.matrix()],
            (Self::Rz(_), _) => vec![Pauli::Z.matrix()],
            (Self::PauliRotation(paulis, _), _) if paulis.len() == 1 => vec![paulis[0].matrix()],
            (Self::Phase(_), _) => vec![minus_identity(Pauli::Z.matrix())],
            (Self::U(..), &[theta, phi, _]) => {
                let z = Pauli::Z.matrix();
                let left = rotation(Pauli::Z, phi);
                let both = matmul2(&left, &rotation(Pauli::Y, theta));
                vec![
                    conjugate2(&left, &Pauli::Y.matrix()),
                    minus_identity(z),
                    minus_identity(conjugate2(&both, &z)),
                ]
            }
            _ => vec![],
        }
    }

    /// `Ok` when the gate is unitary to 1e-10 and its numbers are finite.
    pub(crate) fn check(&self) -> Result<()> {
        let deviation = match self {
            Self::Unitary1(m) => distance_from_identity(&matmul2(&adjoint2(m), m)),
            Self::Unitary2(m) => distance_from_identity(&matmul4(&adjoint4(m), m)),
            _ => 0.0,
        };
        crate::error::at_most("gate", "unitarity", deviation, UNITARITY)?;
        for angle in self.angles() {
            let numbers = match angle {
                Angle::Fixed(value) => [value, 0.0],
                Angle::Parameter { scale, offset, .. } => [scale, offset],
                Angle::Input { scale, .. } => [scale, 0.0],
            };
            if let Some(value) = numbers.into_iter().find(|v| !v.is_finite()) {
                let (operation, what) = ("gate", "angle");
                return Err(Error::Range { operation, what, value, allowed: "finite" });
            }
        }
        Ok(())
    }
}

/// The identity.
pub const IDENTITY2: Matrix2 = [[ONE, O], [O, ONE]];
/// The identity on two qubits.
pub const IDENTITY4: Matrix4 = [[ONE, O, O, O], [O, ONE, O, O], [O, O, ONE, O], [O, O, O, ONE]];
const SWAP: Matrix4 = [[ONE, O, O, O], [O, O, ONE, O], [O, ONE, O, O], [O, O, O, ONE]];
const ISWAP: Matrix4 = [[ONE, O, O, O], [O, O, I, O], [O, I, O, O], [O, O, O, ONE]];

/// exp(−iθP/2)
pub fn rotation(pauli: Pauli, theta: f64) -> Matrix2 {
    let (s, c) = (theta / 2.0).sin_cos();
    match pauli {
        Pauli::X => [[c.into(), C64::new(0.0, -s)], [C64::new(0.0, -s), c.into()]],
        Pauli::Y => [[c.into(), C64::new(-s, 0.0)], [C64::new(s, 0.0), c.into()]],
        Pauli::Z => [[C64::new(c, -s), O], [O, C64::new(c, s)]],
    }
}

/// A · B
pub fn matmul2(a: &Matrix2, b: &Matrix2) -> Matrix2 {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]))
}

/// A†
pub fn adjoint2(a: &Matrix2) -> Matrix2 {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i].conj()))
}

/// U G U†
pub fn conjugate2(u: &Matrix2, g: &Matrix2) -> Matrix2 {
    matmul2(&matmul2(u, g), &adjoint2(u))
}

/// A · B
pub fn matmul4(a: &Matrix4, b: &Matrix4) -> Matrix4 {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..4).map(|k| a[i][k] * b[k][j]).sum()))
}

/// A†
pub fn adjoint4(a: &Matrix4) -> Matrix4 {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i].conj()))
}

/// The matrix that acts as `low` on the first and as `high` on the second target.
pub fn kronecker(low: &Matrix2, high: &Matrix2) -> Matrix4 {
    std::array::from_fn(|i| std::array::from_fn(|j| low[i & 1][j & 1] * high[i >> 1][j >> 1]))
}

fn distance_from_identity<const D: usize>(m: &[[C64; D]; D]) -> f64 {
    let mut worst: f64 = 0.0;
    for (i, row) in m.iter().enumerate() {
        for (j, z) in row.iter().enumerate() {
            let error = (z - if i == j { ONE } else { O }).norm();
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_one_qubit() -> Vec<Gate> {
        let (a, b, c) = (Angle::Fixed(0.3), Angle::Fixed(-1.1), Angle::Fixed(2.0));
        vec![
            Gate::I,
            Gate::X,
            Gate::Y,
            Gate::Z,
            Gate::H,
            Gate::S,
            Gate::Sdg,
            Gate::T,
            Gate::Tdg,
            Gate::Sx,
            Gate::Sxdg,
            Gate::Rx(a),
            Gate::Ry(b),
            Gate::Rz(c),
            Gate::Phase(a),
            Gate::U(a, b, c),
        ]
    }

    fn values(gate: &Gate) -> Vec<f64> {
        gate.angles().iter().map(|a| a.value(&[], &[])).collect()
    }

    #[test]
    fn every_gate_is_unitary_and_its_inverse_undoes_it() {
        for gate in all_one_qubit() {
            let (m, inverse) = (gate.matrix2(&values(&gate)).unwrap(), gate.inverse());
            let back = inverse.matrix2(&values(&inverse)).unwrap();
            assert!(distance_from_identity(&matmul2(&adjoint2(&m), &m)) < 1e-15, "{gate:?}");
            assert!(distance_from_identity(&matmul2(&back, &m)) < 1e-15, "{gate:?}");
        }
    }

    #[test]
    fn generators_match_finite_differences() {
        for gate in all_one_qubit() {
            let at = values(&gate);
            let m = gate.matrix2(&at).unwrap();
            for (j, g) in gate.generators2(&at).iter().enumerate() {
                let shifted = |h: f64| {
                    let mut moved = at.clone();
                    moved[j] += h;
                    gate.matrix2(&moved).unwrap()
                };
                let (up, down) = (shifted(1e-6), shifted(-1e-6));
                let exact = matmul2(g, &m);
                for r in 0..2 {
                    for c in 0..2 {
                        let numeric = (up[r][c] - down[r][c]) / 2e-6;
                        assert!((numeric - C64::new(0.0, -0.5) * exact[r][c]).norm() < 1e-9, "{gate:?} {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_unitary_is_refused() {
        let stretched = [[C64::new(1.1, 0.0), O], [O, ONE]];
        assert!(Gate::Unitary1(Box::new(stretched)).check().is_err());
        assert!(Gate::Unitary1(Box::new([[C64::new(f64::NAN, 0.0), O], [O, ONE]])).check().is_err());
        assert!(Gate::Rx(Angle::Fixed(f64::INFINITY)).check().is_err());
    }
}
