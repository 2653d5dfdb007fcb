//! The exercises of `hybrid`: where the paradigms meet.

mod quantum_coordination;
mod traffic;

pub(super) use quantum_coordination::QuantumCoordination;
pub(super) use traffic::ScenarioTraffic;
