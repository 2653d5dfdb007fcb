//! The regions as players: each decides its own rate and counts its own welfare, more or less.

use super::{Climate, ClimateConfig, Difficulty, World};
use crate::error::{Result, within};
use marl::env::{Action, ActionSpace, AgentId, AgentSpec, Layout, MultiAgentEnv, Outcome};
use rand::Rng;
use rl_core::experiment::{Persist, TrainState};
use serde::{Deserialize, Serialize};

/// The world and what its regions care for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegionsConfig {
    /// The world; three regions unless said otherwise.
    pub climate: ClimateConfig,
    /// Weight of the mean of all regions' gains in each one's reward, the rest is its own gain: 1 is a team, 0 the tragedy of the commons.
    pub solidarity: f64,
}

impl Default for RegionsConfig {
    fn default() -> Self {
        Self { climate: ClimateConfig::of(Difficulty::Hard), solidarity: 0.0 }
    }
}

/// A game between regions.
///
/// Each agent's action is its control rate in [0, 1]; its observation what [`Climate`] shows, then `[share of people, share of output, damage / 2]`
/// of the region. Rewards are gains over the baseline in trillions of 2010 $, shared by [`RegionsConfig::solidarity`].
#[derive(Clone, Debug)]
pub struct Regions {
    climate: Climate,
    solidarity: f64,
    layout: Layout,
    world: Option<World>,
    live: Vec<bool>,
    gains: Vec<f64>,
}

impl Regions {
    /// A game; reset it before the first step.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range) naming the value.
    pub fn new(config: RegionsConfig) -> Result<Self> {
        within("solidarity", config.solidarity, (0.0, 1.0), "in [0, 1]")?;
        let climate = Climate::new(config.climate)?;
        let agent = |region: &super::Region| AgentSpec {
            name: region.name.clone(),
            group: 0,
            observation: 8,
            actions: ActionSpace::Continuous { dim: 1, low: 0.0, high: 1.0 },
        };
        let agents: Vec<AgentSpec> = climate.config().regions.iter().map(agent).collect();
        let n = agents.len();
        let layout = Layout::new("climate", &["regions"], agents);
        let (live, gains) = (vec![false; n], vec![0.0; n]);
        Ok(Self { climate, solidarity: config.solidarity, layout, world: None, live, gains })
    }

    /// The world's dynamics.
    pub fn climate(&self) -> &Climate {
        &self.climate
    }

    /// The present, after the first reset.
    pub fn world(&self) -> Option<&World> {
        self.world.as_ref()
    }

    /// Each region's own gain of the last step.
    pub fn gains(&self) -> &[f64] {
        &self.gains
    }
}

impl MultiAgentEnv for Regions {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn reset(&mut self, rng: &mut dyn Rng) {
        let sensitivity = self.climate.draw_sensitivity(rng);
        self.world = Some(self.climate.first_world(sensitivity));
        self.live.fill(true);
        self.gains.fill(0.0);
    }

    fn step(
        &mut self,
        actions: &[Option<Action<'_>>],
        _: &mut dyn Rng,
        outcome: &mut Outcome,
    ) -> marl::Result<()> {
        self.layout.check(&self.live, actions)?;
        outcome.restart(self.layout.n());
        let Some(world) = &mut self.world else { return Ok(()) };
        if !self.live.contains(&true) {
            return Ok(());
        }
        let rate = |r: usize| match actions[r] {
            Some(Action::Continuous(vector)) => f64::from(vector[0].clamp(0.0, 1.0)),
            _ => 0.0,
        };
        self.gains.fill(0.0);
        self.climate.decide(world, rate, &mut self.gains);
        let mean = self.gains.iter().sum::<f64>() / self.gains.len() as f64;
        for (reward, gain) in outcome.rewards.iter_mut().zip(&self.gains) {
            *reward = self.solidarity * mean + (1.0 - self.solidarity) * gain;
        }
        if world.step > self.climate.config().decisions {
            outcome.truncated.fill(true);
            self.live.fill(false);
        }
        Ok(())
    }

    fn live(&self) -> &[bool] {
        &self.live
    }

    fn observe(&self, agent: AgentId, into: &mut [f32]) {
        let (Some(world), Some(region)) = (&self.world, self.climate.config().regions.get(agent.0)) else {
            into.fill(0.0);
            return;
        };
        let own = [region.people, region.output, region.damage / 2.0].map(|x| x as f32);
        for (o, v) in into.iter_mut().zip(self.climate.view(world).into_iter().chain(own)) {
            *o = v;
        }
    }
}

impl Persist for Regions {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(format!("{prefix}/state"), &(&self.world, &self.live))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        (self.world, self.live) = state.get(&format!("{prefix}/state"))?;
        Ok(())
    }
}
