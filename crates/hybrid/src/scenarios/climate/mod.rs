//! Climate: who cuts how much carbon, in the world of DICE-2016R (Nordhaus 2017), as one planner or as regions with interests of their own.
//!
//! Carbon moves between three boxes and is conserved; heat between two, whose uptake equals forcing minus feedback. How strongly the climate
//! answers is uncertain: an episode draws its sensitivity, which nobody is told. The expert sets the carbon price that the model's author
//! published. [`Regions`] is the same world as a game.

mod economy;
mod optimum;
mod physics;
mod regions;
mod rules;
#[cfg(test)]
mod tests;

pub use economy::{Exogenous, Place, Year, rate_at_price};
pub use optimum::{OptimumConfig, open_loop};
pub use physics::{Carbon, Heat};
pub use regions::{Regions, RegionsConfig};
pub use rules::{Rule, Scripted};

use crate::error::{Result, within};
use economy::{FIRST_CAPITAL, FIRST_RATE, exogenous, invest, marginal_utility};
use physics::{CO2, YEARS};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::env::{Action, EnvSpec, Simulator, Space};
use serde::{Deserialize, Serialize};

/// How much is unknown, and how many decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difficulty {
    /// One rate for the world, sensitivity known within a few percent.
    Easy,
    /// One rate for the world, sensitivity as uncertain as the IPCC's likely range.
    Medium,
    /// As uncertain, and a rate for each of three regions.
    Hard,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// What it is called.
    pub name: String,
    /// Share of the world's people.
    pub people: f64,
    /// Share of the world's output in 2015.
    pub output: f64,
    /// Damages relative to the world's.
    pub damage: f64,
}

/// The world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClimateConfig {
    /// Regions; one of share 1 is DICE.
    pub regions: Vec<Region>,
    /// Median of the equilibrium warming of a doubling of CO₂ in °C: 3.1 (DICE-2016R).
    pub sensitivity: f64,
    /// Deviation of its logarithm: 0.24, which puts 68 % between 2.4 and 3.9 °C (IPCC AR6: likely 2.5 to 4).
    pub uncertainty: f64,
    /// Decisions, one in five years from 2020: 60.
    pub decisions: u32,
}

impl Default for ClimateConfig {
    fn default() -> Self {
        let world = Region { name: "world".into(), people: 1.0, output: 1.0, damage: 1.0 };
        Self { regions: vec![world], sensitivity: 3.1, uncertainty: 0.24, decisions: 60 }
    }
}

/// Three regions: the shares and damages are ours, round numbers whose output-weighted mean damage is the world's.
fn three() -> Vec<Region> {
    let region = |name: &str, people, output, damage| Region { name: name.into(), people, output, damage };
    vec![
        region("rich", 0.15, 0.5, 0.5),
        region("growing", 0.45, 0.3, 1.0),
        region("vulnerable", 0.4, 0.2, 2.25),
    ]
}

impl ClimateConfig {
    /// The published world at a difficulty.
    pub fn of(difficulty: Difficulty) -> Self {
        match difficulty {
            Difficulty::Easy => Self { uncertainty: 0.03, ..Self::default() },
            Difficulty::Medium => Self::default(),
            Difficulty::Hard => Self { regions: three(), ..Self::default() },
        }
    }

    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range) naming the value.
    pub fn validate(&self) -> Result<()> {
        within("number of regions", self.regions.len() as f64, (1.0, 100.0), "from 1 to 100")?;
        for region in &self.regions {
            within("people", region.people, (1e-6, 1.0), "in (0, 1]")?;
            within("output", region.output, (1e-6, 1.0), "in (0, 1]")?;
            within("damage", region.damage, (0.0, 20.0), "in [0, 20]")?;
        }
        let sum = |of: fn(&Region) -> f64| self.regions.iter().map(of).sum::<f64>();
        within("sum of people", sum(|r| r.people), (1.0 - 1e-9, 1.0 + 1e-9), "1")?;
        within("sum of output", sum(|r| r.output), (1.0 - 1e-9, 1.0 + 1e-9), "1")?;
        within("sensitivity", self.sensitivity, (0.5, 10.0), "from 0.5 to 10 °C")?;
        within("uncertainty", self.uncertainty, (0.0, 1.0), "in [0, 1]")?;
        within("decisions", f64::from(self.decisions), (1.0, 200.0), "from 1 to 200")
    }
}

/// Carbon, heat and capital.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planet {
    /// Carbon.
    pub carbon: Carbon,
    /// Heat.
    pub heat: Heat,
    /// Capital of each region in trillion 2010 $.
    pub capital: Vec<f64>,
}

/// Where an episode stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// Steps since 2015.
    pub step: u32,
    /// °C per doubling of CO₂; not observed.
    pub sensitivity: f64,
    /// As it is.
    pub planet: Planet,
    /// As it would be under the baseline policy.
    pub baseline: Planet,
}

/// The world under a planner.
///
/// The action is the control rate of each region for five years, in [0, 1]: the share of industrial emissions that is avoided. The observation is
/// `[time, T_AT / 4 °C, T_LO / 4 °C, M_AT / 1000 GtC, M_UP / 1000 GtC]`. The reward is the discounted welfare of the five years beyond that of the
/// baseline (a carbon price of 2 $, growing by 2 % a year) in the same climate, in trillions of 2010 $ of today's consumption.
#[derive(Clone, Debug, PartialEq)]
pub struct Climate {
    config: ClimateConfig,
    places: Vec<Place>,
    path: Vec<Exogenous>,
    /// Utility of a trillion $.
    unit: f64,
}

impl Climate {
    /// The simulator of a configuration.
    ///
    /// # Errors
    /// As [`ClimateConfig::validate`].
    pub fn new(config: ClimateConfig) -> Result<Self> {
        config.validate()?;
        let place = |r: &Region| Place { people: r.people, output: r.output, damage: r.damage };
        let places: Vec<Place> = config.regions.iter().map(place).collect();
        let path = exogenous(config.decisions as usize + 1);
        let world = Place { people: 1.0, output: 1.0, damage: 1.0 };
        let today = world.year(&path[0], FIRST_CAPITAL, Heat::FIRST.atmosphere, FIRST_RATE);
        let unit = marginal_utility(path[0].people, today.consumption);
        Ok(Self { config, places, path, unit })
    }

    /// Its configuration.
    pub fn config(&self) -> &ClimateConfig {
        &self.config
    }

    /// What grows by itself.
    pub fn path(&self) -> &[Exogenous] {
        &self.path
    }

    /// 2015.
    pub fn first_planet(&self) -> Planet {
        let capital = self.places.iter().map(|p| p.output * FIRST_CAPITAL).collect();
        Planet { carbon: Carbon::FIRST, heat: Heat::FIRST, capital }
    }

    /// The baseline's control rate: a carbon price of 2 $ that grows by 2 % a year.
    pub fn baseline_rate(&self, step: usize) -> f64 {
        rate_at_price(2.0 * 1.02f64.powf(YEARS * step as f64), self.path[step].backstop)
    }

    /// Five years: each region's utility in trillions of $ of today's consumption, and the emissions in Gt CO₂ per year.
    pub fn advance(
        &self,
        planet: &mut Planet,
        step: usize,
        sensitivity: f64,
        rate: impl Fn(usize) -> f64,
        mut welfare: impl FnMut(usize, f64),
    ) -> f64 {
        let now = &self.path[step];
        let mut emissions = now.land;
        for (r, place) in self.places.iter().enumerate() {
            let year = place.year(now, planet.capital[r], planet.heat.atmosphere, rate(r));
            emissions += year.emissions;
            welfare(r, place.utility(now, year.consumption) / self.unit);
            planet.capital[r] = invest(planet.capital[r], year.investment);
        }
        planet.carbon = planet.carbon.step(emissions * YEARS / CO2);
        let forcing = planet.carbon.forcing() + self.path[step + 1].other_forcing;
        planet.heat = planet.heat.step(forcing, sensitivity);
        emissions
    }

    /// A decision: the gain of each region over the baseline is added to `gains`.
    pub fn decide(&self, world: &mut World, rates: impl Fn(usize) -> f64, gains: &mut [f64]) {
        let step = world.step as usize;
        self.advance(&mut world.planet, step, world.sensitivity, rates, |r, w| gains[r] += w);
        let rate = self.baseline_rate(step);
        self.advance(&mut world.baseline, step, world.sensitivity, |_| rate, |r, w| gains[r] -= w);
        world.step += 1;
    }

    /// The world at the first decision, 2020.
    pub fn first_world(&self, sensitivity: f64) -> World {
        let mut planet = self.first_planet();
        self.advance(&mut planet, 0, sensitivity, |_| FIRST_RATE, |_, _| {});
        World { step: 1, sensitivity, baseline: planet.clone(), planet }
    }

    /// Draws a climate sensitivity.
    pub fn draw_sensitivity(&self, rng: &mut (impl Rng + ?Sized)) -> f64 {
        let z: f64 = rng.sample(StandardNormal);
        // Beyond three deviations the damages leave the range for which the model was made.
        self.config.sensitivity * (self.config.uncertainty * z.clamp(-3.0, 3.0)).exp()
    }

    /// What everybody sees.
    pub fn view(&self, world: &World) -> [f32; 5] {
        let (carbon, heat) = (world.planet.carbon, world.planet.heat);
        [
            f64::from(world.step) / f64::from(self.config.decisions),
            heat.atmosphere / 4.0,
            heat.ocean / 4.0,
            carbon.atmosphere / 1000.0,
            carbon.upper / 1000.0,
        ]
        .map(|x| x as f32)
    }
}

impl Simulator for Climate {
    type State = World;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: format!("Climate-{}x{}", self.places.len(), self.config.uncertainty),
            observation: Space::uniform_box(5, f32::NEG_INFINITY, f32::INFINITY),
            action: Space::uniform_box(self.places.len(), 0.0, 1.0),
            max_episode_steps: Some(self.config.decisions),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> World {
        self.first_world(self.draw_sensitivity(rng))
    }

    fn transition(&self, world: &mut World, action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let rates: &[f32] = match action {
            Action::Continuous(rates) => rates,
            Action::Discrete(_) => &[],
        };
        let rate = |r: usize| f64::from(rates.get(r).copied().unwrap_or(0.0).clamp(0.0, 1.0));
        let mut gains = vec![0.0; self.places.len()];
        self.decide(world, rate, &mut gains);
        (gains.iter().sum(), false)
    }

    fn observe(&self, world: &World, observation: &mut [f32]) {
        for (o, v) in observation.iter_mut().zip(self.view(world)) {
            *o = v;
        }
    }
}
