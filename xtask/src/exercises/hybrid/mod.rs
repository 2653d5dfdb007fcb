//! The exercises of `hybrid`: where the paradigms meet.

mod climate;
mod compare;
mod quantum_coordination;
mod task;
mod trading;
mod traffic;
mod treatment;

pub(super) use climate::ScenarioClimate;
pub(super) use compare::Compare;
pub(super) use quantum_coordination::QuantumCoordination;
pub(super) use trading::ScenarioTrading;
pub(super) use traffic::ScenarioTraffic;
pub(super) use treatment::ScenarioTreatment;
