//! The exercises of `hybrid`: where the paradigms meet.

mod causal_world_model;
mod climate;
mod compare;
mod credit;
mod federated_world_model;
mod multi_agent_causal;
mod quantum_coordination;
mod quantum_world_model;
mod selection;
mod task;
mod trading;
mod traffic;
mod treatment;

pub(super) use causal_world_model::HybridCausalWorldModel;
pub(super) use climate::ScenarioClimate;
pub(super) use compare::Compare;
pub(super) use credit::HybridCredit;
pub(super) use federated_world_model::HybridFederatedWorldModel;
pub(super) use multi_agent_causal::HybridMultiAgentCausal;
pub(super) use quantum_coordination::QuantumCoordination;
pub(super) use quantum_world_model::HybridQuantumWorldModel;
pub(super) use selection::HybridSelection;
pub(super) use trading::ScenarioTrading;
pub(super) use traffic::ScenarioTraffic;
pub(super) use treatment::ScenarioTreatment;
