//! Random circuits: states with their global phase, Pauli expectations, single-qubit probabilities. 1e-10.

use super::text;
use crate::{PauliSum, StateVector, qasm};
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::collections::BTreeMap;

const TOLERANCE: f64 = 1e-10;

pub(super) fn check(data: &Value, checker: &mut Checker) -> Result<(), String> {
    for case in get::<Vec<Value>>(data, "circuits")? {
        let id: u64 = get(&case, "id")?;
        let circuit = qasm::parse(&get::<String>(&case, "qasm")?).map_err(text)?;
        let state = StateVector::from_circuit(&circuit, &[], &[]).map_err(text)?;
        let want: Vec<[f64; 2]> = get(&case, "state")?;
        let got: Vec<f64> = state.amplitudes().iter().flat_map(|z| [z.re, z.im]).collect();
        checker.close_slice(&format!("circuit {id} state"), &got, want.as_flattened(), TOLERANCE);
        for (pauli, want) in get::<BTreeMap<String, f64>>(&case, "expvals")? {
            let observable: PauliSum = pauli.parse().map_err(text)?;
            let got = state.expectation(&observable).map_err(text)?;
            checker.close(&format!("circuit {id} ⟨{pauli}⟩"), got, want, TOLERANCE);
        }
        let got = state.probability_one(0).map_err(text)?;
        checker.close(&format!("circuit {id} P(q0 = 1)"), got, get(&case, "probs_q0_one")?, TOLERANCE);
        // Written and read again it is the same circuit.
        let again = qasm::parse(&qasm::write(&circuit).map_err(text)?).map_err(text)?;
        checker.exact(&format!("circuit {id} written and read"), again == circuit, true);
    }
    Ok(())
}
