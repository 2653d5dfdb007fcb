//! The circuits that are timed, here and in the comparison with other simulators.

use quantum_sim::{Activation, Circuit, Parameter, Result};

fn rotate(c: &mut Circuit, p: &[Parameter]) -> Result<()> {
    for q in 0..c.qubits() {
        c.rx(q, p[3 * q])?.ry(q, p[3 * q + 1])?.rz(q, p[3 * q + 2])?;
    }
    Ok(())
}

/// Layers of RX RY RZ on every qubit and a ring of CNOTs.
pub(crate) fn ring(qubits: usize, layers: usize) -> Result<Circuit> {
    let mut c = Circuit::new(qubits)?;
    for l in 0..layers {
        let p = c.parameter_vector(&format!("p{l}"), 3 * qubits);
        rotate(&mut c, &p)?;
        (0..qubits).try_for_each(|q| c.cx(q, (q + 1) % qubits).map(|_| ()))?;
    }
    Ok(c)
}

/// The data re-uploading circuit of the TensorFlow Quantum tutorial.
pub(crate) fn reuploading(qubits: usize, layers: usize) -> Result<Circuit> {
    let mut c = Circuit::new(qubits)?;
    for l in 0..=layers {
        let p = c.parameter_vector(&format!("theta{l}"), 3 * qubits);
        rotate(&mut c, &p)?;
        if l < layers {
            let w = c.parameter_vector(&format!("lambda{l}"), qubits);
            (0..qubits).try_for_each(|q| c.cz(q, (q + 1) % qubits).map(|_| ()))?;
            for (q, w) in w.into_iter().enumerate() {
                let x = c.encode(q, Some(w), Activation::Tanh);
                c.rx(q, x)?;
            }
        }
    }
    Ok(c)
}

/// Angles without a pattern.
pub(crate) fn angles(count: usize) -> Vec<f64> {
    (0..count).map(|k| (0.7 * k as f64).sin() * 3.0).collect()
}
