//! The gates that every program knows.

use super::expression::Affine;
use crate::gate::{Angle, Gate, Pauli};

/// A gate ready to be applied.
#[derive(Clone)]
pub(super) struct Primitive {
    pub(super) gate: Gate,
    pub(super) targets: Vec<usize>,
    pub(super) controls: Vec<usize>,
}

/// A built-in gate: arguments, controls, targets (0 controls for any number, as in `mcx`).
pub(super) fn builtin(name: &str) -> Option<(usize, usize, usize)> {
    Some(match name {
        "id" | "x" | "y" | "z" | "h" | "s" | "sdg" | "t" | "tdg" | "sx" | "sxdg" => (0, 0, 1),
        "rx" | "ry" | "rz" | "p" | "phase" | "u1" | "u0" => (1, 0, 1),
        "u2" => (2, 0, 1),
        "u3" | "u" | "U" => (3, 0, 1),
        "cx" | "CX" | "cy" | "cz" | "ch" | "csx" | "cs" | "csdg" => (0, 1, 1),
        "crx" | "cry" | "crz" | "cp" | "cphase" | "cu1" => (1, 1, 1),
        "cu3" => (3, 1, 1),
        "cu" => (4, 1, 1),
        "ccx" | "ccz" => (0, 2, 1),
        "c3x" => (0, 3, 1),
        "c4x" => (0, 4, 1),
        "mcx" => (0, usize::MAX, 1),
        "swap" | "iswap" => (0, 0, 2),
        "cswap" => (0, 1, 2),
        "rxx" | "ryy" | "rzz" => (1, 0, 2),
        "gphase" => (1, 0, 0),
        _ => return None,
    })
}

pub(super) fn primitive(
    name: &str,
    arguments: &[Affine],
    qubits: &[usize],
) -> Result<Vec<Primitive>, String> {
    let Some((count, controls, targets)) = builtin(name) else {
        return Err(format!("gate `{name}` is not defined"));
    };
    let controls = if controls == usize::MAX { qubits.len().saturating_sub(targets) } else { controls };
    if arguments.len() != count || qubits.len() != controls + targets {
        return Err(format!("gate `{name}` takes {count} arguments and {} qubits", controls + targets));
    }
    let a: Vec<Angle> = arguments.iter().map(|a| a.angle()).collect();
    let half_pi = Angle::Fixed(std::f64::consts::FRAC_PI_2);
    let (control, target) = qubits.split_at(controls);
    let gate = match name.trim_start_matches("mc").trim_start_matches("cc") {
        _ if name == "gphase" => Gate::GlobalPhase(a[0]),
        "id" | "u0" => Gate::I,
        "x" | "cx" | "CX" | "c3x" | "c4x" => Gate::X,
        "y" | "cy" => Gate::Y,
        "z" | "cz" => Gate::Z,
        "h" | "ch" => Gate::H,
        "s" | "cs" => Gate::S,
        "sdg" | "csdg" => Gate::Sdg,
        "t" => Gate::T,
        "tdg" => Gate::Tdg,
        "sx" | "csx" => Gate::Sx,
        "sxdg" => Gate::Sxdg,
        "rx" | "crx" => Gate::Rx(a[0]),
        "ry" | "cry" => Gate::Ry(a[0]),
        "rz" | "crz" => Gate::Rz(a[0]),
        "p" | "phase" | "u1" | "cp" | "cphase" | "cu1" => Gate::Phase(a[0]),
        "u2" => Gate::U(half_pi, a[0], a[1]),
        "u3" | "u" | "U" | "cu3" | "cu" => Gate::U(a[0], a[1], a[2]),
        "swap" | "cswap" => Gate::Swap,
        "iswap" => Gate::ISwap,
        "rxx" => Gate::PauliRotation(vec![Pauli::X; 2], a[0]),
        "ryy" => Gate::PauliRotation(vec![Pauli::Y; 2], a[0]),
        "rzz" => Gate::PauliRotation(vec![Pauli::Z; 2], a[0]),
        _ => return Err(format!("gate `{name}` is not defined")),
    };
    let mut out = vec![Primitive { gate, targets: target.to_vec(), controls: control.to_vec() }];
    if name == "cu" {
        // cu(θ, φ, λ, γ) is the controlled e^{iγ} u3.
        out.push(Primitive { gate: Gate::Phase(a[3]), targets: control.to_vec(), controls: vec![] });
    }
    Ok(out)
}
