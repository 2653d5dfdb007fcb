//! The exercises: a table, and what an exercise is.

mod baselines;
mod causal_bandits;
mod causal_confusion;
mod causal_discovery;
mod causal_identification;
mod causal_policy;
mod causal_world_model;
mod dreamer;
mod federated;
mod hybrid;
mod i2a;
mod marl;
mod mbpo;
mod pets;
mod quantum;
mod tdmpc;
mod untrained;
mod world_model_evaluation;
mod world_model_planning;

use crate::run::{Context, Preset};
use anyhow::Result;
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The exercises of the workspace, one line each.
pub fn table() -> &'static [Entry] {
    const TABLE: &[Entry] = &[
        Entry::of::<baselines::Baselines>(),
        Entry::of::<world_model_planning::WorldModelPlanning>(),
        Entry::of::<world_model_evaluation::WorldModelEvaluation>(),
        Entry::of::<pets::Pets>(),
        Entry::of::<mbpo::Mbpo>(),
        Entry::of::<dreamer::Dreamer>(),
        Entry::of::<tdmpc::Tdmpc>(),
        Entry::of::<i2a::I2a>(),
        Entry::of::<marl::Games>(),
        Entry::of::<marl::Cooperative>(),
        Entry::of::<marl::Competitive>(),
        Entry::of::<marl::Mixed>(),
        Entry::of::<marl::Mpe>(),
        Entry::of::<marl::Foraging>(),
        Entry::of::<marl::Communication>(),
        Entry::of::<marl::League>(),
        Entry::of::<causal_bandits::CausalBandits>(),
        Entry::of::<causal_confusion::CausalConfusion>(),
        Entry::of::<causal_discovery::CausalDiscovery>(),
        Entry::of::<causal_identification::CausalIdentification>(),
        Entry::of::<causal_policy::CausalPolicy>(),
        Entry::of::<causal_world_model::CausalWorldModelExercise>(),
        Entry::of::<quantum::Algorithms>(),
        Entry::of::<quantum::BarrenPlateaus>(),
        Entry::of::<quantum::CartPoleAgents>(),
        Entry::of::<quantum::Control>(),
        Entry::of::<quantum::Games>(),
        Entry::of::<quantum::Lake>(),
        Entry::of::<quantum::Noise>(),
        Entry::of::<federated::FederatedCommunication>(),
        Entry::of::<federated::FederatedFedAvg>(),
        Entry::of::<federated::FederatedFlower>(),
        Entry::of::<federated::FederatedPrivate>(),
        Entry::of::<federated::FederatedRobust>(),
        Entry::of::<hybrid::HybridCausalWorldModel>(),
        Entry::of::<hybrid::HybridCredit>(),
        Entry::of::<hybrid::HybridFederatedWorldModel>(),
        Entry::of::<hybrid::HybridMultiAgentCausal>(),
        Entry::of::<hybrid::QuantumCoordination>(),
        Entry::of::<hybrid::HybridQuantumWorldModel>(),
        Entry::of::<hybrid::HybridSelection>(),
        Entry::of::<hybrid::ScenarioTraffic>(),
        Entry::of::<hybrid::ScenarioTrading>(),
        Entry::of::<hybrid::ScenarioTreatment>(),
        Entry::of::<hybrid::ScenarioClimate>(),
        Entry::of::<hybrid::Compare>(),
    ];
    TABLE
}

/// An experiment: a configuration with presets, and the work of one seed.
pub trait Exercise {
    /// Everything that can be set. It is written to `config.toml`, and `--set` changes its fields, so it needs
    /// public serde fields and `deny_unknown_fields`.
    type Config: Serialize + DeserializeOwned;

    /// What users call it.
    const NAME: &'static str;
    /// What it shows, in one line.
    const DESCRIPTION: &'static str;
    /// Expected duration on two cores of `smoke`, `quick` and `full`.
    const DURATION: [&'static str; 3];

    /// The configuration of a preset.
    fn config(preset: Preset) -> Self::Config;

    /// How many seeds a preset runs.
    fn seeds(preset: Preset) -> u64 {
        match preset {
            Preset::Smoke => 1,
            Preset::Quick => 2,
            Preset::Full => 5,
        }
    }

    /// Refuses a configuration that makes no sense, naming the field, its value and the allowed range.
    ///
    /// # Errors
    /// The refusal.
    fn validate(_config: &Self::Config) -> Result<()> {
        Ok(())
    }

    /// Works one seed: trains through `ctx.session`, hands scores and figures to `ctx`.
    ///
    /// # Errors
    /// Whatever went wrong; a stop request comes through here as well.
    fn run(config: &Self::Config, ctx: &mut Context) -> Result<()>;
}

/// An exercise without its type.
pub struct Entry {
    /// What users call it.
    pub name: &'static str,
    /// What it shows, in one line.
    pub description: &'static str,
    /// Expected duration on two cores of `smoke`, `quick` and `full`.
    pub duration: [&'static str; 3],
    pub(crate) seeds: fn(Preset) -> u64,
    pub(crate) config: fn(Preset) -> Result<Value>,
    pub(crate) validate: fn(&Value) -> Result<()>,
    pub(crate) run: fn(&Value, &mut Context) -> Result<()>,
}

impl Entry {
    /// The entry of an exercise in the table.
    pub const fn of<E: Exercise>() -> Self {
        Self {
            name: E::NAME,
            description: E::DESCRIPTION,
            duration: E::DURATION,
            seeds: E::seeds,
            config: |preset| Ok(serde_json::to_value(E::config(preset))?),
            validate: |config| E::validate(&E::Config::deserialize(config)?),
            run: |config, ctx| E::run(&E::Config::deserialize(config)?, ctx),
        }
    }
}

/// `cargo xtask list`.
pub(crate) fn list(table: &[Entry]) -> String {
    let row = |e: &Entry| {
        let [smoke, quick, full] = e.duration;
        [e.name, smoke, quick, full, e.description].map(String::from).to_vec()
    };
    let rows: Vec<Vec<String>> = table.iter().map(row).collect();
    crate::table::aligned(&["exercise", "smoke", "quick", "full", "what it shows"], &rows)
}
