//! Traffic: human drivers on a ring road fall into stop-and-go waves; one controlled vehicle can dissolve them.
//!
//! Drivers follow the Intelligent Driver Model (Treiber, Hennecke & Helbing 2000); the ring is the experiment of Sugiyama et al. 2008 with
//! 22 vehicles, its controlled vehicle that of Stern et al. 2018, whose FollowerStopper is the scripted expert. The integrator never
//! lets human drivers collide, keeps their order, and never drives backwards.

use crate::error::{Result, within};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::env::scripted::Policy;
use rl_core::env::{Action, EnvSpec, Simulator, Space};
use serde::{Deserialize, Serialize};

/// Integration step in s.
const DT: f64 = 0.1;
/// The hardest braking of any vehicle in m/s².
const EMERGENCY: f64 = 9.0;
/// Braking and acceleration of the controlled vehicle in m/s².
const BOUNDS: (f32, f32) = (-3.0, 1.0);

/// Parameters of the Intelligent Driver Model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Driver {
    /// v₀ in m/s: 30.
    pub desired_speed: f64,
    /// T in s: 1.
    pub time_gap: f64,
    /// s₀ in m: 2.
    pub minimum_gap: f64,
    /// a in m/s²: 1.
    pub acceleration: f64,
    /// b in m/s²: 1.5.
    pub comfortable_braking: f64,
    /// δ: 4.
    pub exponent: f64,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            desired_speed: 30.0,
            time_gap: 1.0,
            minimum_gap: 2.0,
            acceleration: 1.0,
            comfortable_braking: 1.5,
            exponent: 4.0,
        }
    }
}

impl Driver {
    /// v̇ = a (1 − (v/v₀)^δ − (s*/s)²), s* = s₀ + max(0, vT + vΔv/(2√(ab))), with the gap s to the leader in m and the approach Δv = v −
    /// v_leader in m/s (Treiber et al. 2000, eqs. 3 and 4; the max is Treiber & Kesting 2013).
    pub fn accelerate(&self, speed: f64, gap: f64, approach: f64) -> f64 {
        let Self { desired_speed, time_gap, minimum_gap, acceleration: a, comfortable_braking: b, exponent } =
            *self;
        let dynamic = speed * time_gap + speed * approach / (2.0 * (a * b).sqrt());
        let wanted = minimum_gap + dynamic.max(0.0);
        a * (1.0 - (speed / desired_speed).powf(exponent) - (wanted / gap.max(1e-3)).powi(2))
    }

    /// The speed in m/s at which drivers keep a gap forever, by bisection; 0 when the gap is below s₀.
    pub fn equilibrium(&self, gap: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.desired_speed);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.accelerate(middle, gap, 0.0) > 0.0 { low = middle } else { high = middle }
        }
        low
    }
}

/// How dense the traffic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difficulty {
    /// 260 m for 22 vehicles (Stern et al. 2018).
    Easy,
    /// 230 m for 22 vehicles (Sugiyama et al. 2008).
    Medium,
    /// 220 m for 22 vehicles.
    Hard,
}

/// The ring and its drivers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrafficConfig {
    /// Length of the ring in m: 230 (Sugiyama et al. 2008).
    pub circumference: f64,
    /// Vehicles, the controlled one among them: 22 (the same).
    pub vehicles: usize,
    /// Length of a vehicle in m: 5.
    pub length: f64,
    /// The human drivers.
    pub driver: Driver,
    /// Standard deviation of the drivers' acceleration in m/s², drawn anew every 0.1 s: 0.2.
    pub noise: f64,
    /// Seconds all drive as humans before the episode begins: 100. Waves grow meanwhile.
    pub warm_up: f64,
    /// Decisions of an episode, each held for 0.5 s: 400.
    pub decisions: u32,
}

impl Default for TrafficConfig {
    fn default() -> Self {
        Self {
            circumference: 230.0,
            vehicles: 22,
            length: 5.0,
            driver: Driver::default(),
            noise: 0.2,
            warm_up: 100.0,
            decisions: 400,
        }
    }
}

impl TrafficConfig {
    /// The published ring at a difficulty.
    pub fn of(difficulty: Difficulty) -> Self {
        let circumference = match difficulty {
            Difficulty::Easy => 260.0,
            Difficulty::Medium => 230.0,
            Difficulty::Hard => 220.0,
        };
        Self { circumference, ..Self::default() }
    }

    /// The gap in m when all keep the same.
    pub fn mean_gap(&self) -> f64 {
        self.circumference / self.vehicles as f64 - self.length
    }

    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range) naming the value.
    pub fn validate(&self) -> Result<()> {
        let positive = |what, value| within(what, value, (1e-6, 1e6), "positive");
        within("vehicles", self.vehicles as f64, (2.0, 1000.0), "from 2 to 1000")?;
        within("decisions", f64::from(self.decisions), (1.0, 1e6), "at least 1")?;
        within("noise", self.noise, (0.0, 2.0), "in [0, 2] m/s²")?;
        within("warm_up", self.warm_up, (0.0, 1e5), "0 s or more")?;
        positive("circumference", self.circumference)?;
        positive("length", self.length)?;
        let d = &self.driver;
        positive("desired_speed", d.desired_speed)?;
        positive("time_gap", d.time_gap)?;
        positive("minimum_gap", d.minimum_gap)?;
        positive("acceleration", d.acceleration)?;
        positive("comfortable_braking", d.comfortable_braking)?;
        positive("exponent", d.exponent)?;
        // Room for everyone to move: mean gap above the minimum gap.
        within(
            "mean gap",
            self.mean_gap(),
            (1.1 * d.minimum_gap, 1e6),
            "above 1.1 minimum gaps: lengthen the ring",
        )
    }
}

/// The ring with one controlled vehicle.
///
/// The action is its acceleration in m/s² in [−3, 1], held for 0.5 s. The observation is `[v / v_eq, (v_leader − v) / v_eq, s / s_eq]` of the
/// controlled vehicle; v_eq and s_eq are speed and gap of uniform traffic. The reward is the mean speed of all vehicles over the 0.5 s
/// divided by v_eq: 1 when traffic flows uniformly. Running into the leader ends the episode.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficRing {
    config: TrafficConfig,
    equilibrium: f64,
}

/// Positions (not wrapped) in m and speeds in m/s; vehicle i follows vehicle i + 1, and 0 is the controlled one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ring {
    /// Front bumpers, increasing.
    pub positions: Vec<f64>,
    /// Never negative.
    pub speeds: Vec<f64>,
}

impl TrafficRing {
    /// The simulator of a configuration.
    ///
    /// # Errors
    /// As [`TrafficConfig::validate`].
    pub fn new(config: TrafficConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { equilibrium: config.driver.equilibrium(config.mean_gap()), config })
    }

    /// Its configuration.
    pub fn config(&self) -> &TrafficConfig {
        &self.config
    }

    /// v_eq in m/s, the speed of uniform traffic.
    pub fn equilibrium(&self) -> f64 {
        self.equilibrium
    }

    /// Bumper to bumper, from vehicle i to the one before it, in m.
    pub fn gap(&self, ring: &Ring, i: usize) -> f64 {
        let n = self.config.vehicles;
        let lap = if i + 1 == n { self.config.circumference } else { 0.0 };
        ring.positions[(i + 1) % n] + lap - ring.positions[i] - self.config.length
    }

    /// One step of 0.1 s by the ballistic rule x ← x + vΔt + ½aΔt², stopping within the step where v would turn negative (Treiber &
    /// Kanagaraj 2015). `control` is the acceleration of vehicle 0; `None` leaves it to its human.
    pub fn integrate(&self, ring: &mut Ring, control: Option<f64>, rng: &mut impl Rng) {
        let n = self.config.vehicles;
        let accelerations: Vec<f64> = (0..n)
            .map(|i| {
                let (v, leader) = (ring.speeds[i], ring.speeds[(i + 1) % n]);
                let human = self.config.driver.accelerate(v, self.gap(ring, i), v - leader);
                let human = human + self.config.noise * rng.sample::<f64, _>(StandardNormal);
                control.filter(|_| i == 0).unwrap_or(human).max(-EMERGENCY)
            })
            .collect();
        for (i, a) in accelerations.into_iter().enumerate() {
            let v = ring.speeds[i];
            let after = v + a * DT;
            if after >= 0.0 {
                ring.positions[i] += 0.5 * (v + after) * DT;
                ring.speeds[i] = after;
            } else {
                ring.positions[i] += v * v / (-2.0 * a);
                ring.speeds[i] = 0.0;
            }
        }
    }
}

impl Simulator for TrafficRing {
    type State = Ring;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: format!("TrafficRing-{}", self.config.circumference),
            observation: Space::uniform_box(3, f32::NEG_INFINITY, f32::INFINITY),
            action: Space::uniform_box(1, BOUNDS.0, BOUNDS.1),
            max_episode_steps: Some(self.config.decisions),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> Ring {
        let n = self.config.vehicles;
        let spacing = self.config.circumference / n as f64;
        let jitter = 0.2 * self.config.mean_gap();
        let positions = (0..n).map(|i| i as f64 * spacing + jitter * (rng.random::<f64>() - 0.5)).collect();
        let mut ring = Ring { positions, speeds: vec![self.equilibrium; n] };
        for _ in 0..(self.config.warm_up / DT) as u64 {
            self.integrate(&mut ring, None, rng);
        }
        ring
    }

    fn transition(&self, ring: &mut Ring, action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        let control = f64::from(action.first().clamp(BOUNDS.0, BOUNDS.1));
        let (mut sum, steps) = (0.0, 5);
        for _ in 0..steps {
            self.integrate(ring, Some(control), rng);
            if self.gap(ring, 0) <= 0.0 {
                return (0.0, true);
            }
            sum += ring.speeds.iter().sum::<f64>() / self.config.vehicles as f64;
        }
        (sum / f64::from(steps) / self.equilibrium, false)
    }

    fn observe(&self, ring: &Ring, observation: &mut [f32]) {
        let (v, leader) = (ring.speeds[0], ring.speeds[1]);
        let values = [
            v / self.equilibrium,
            (leader - v) / self.equilibrium,
            self.gap(ring, 0) / self.config.mean_gap(),
        ];
        for (o, v) in observation.iter_mut().zip(values) {
            *o = v as f32;
        }
    }
}

/// What a scripted driver of the controlled vehicle does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Drives like the others, without their noise.
    Human,
    /// FollowerStopper (Stern et al. 2018) towards this fraction of v_eq: the expert. 0.9 dissolves the waves at every difficulty; more
    /// gains speed and becomes unstable in dense traffic.
    FollowerStopper(f64),
}

/// A scripted driver of the controlled vehicle.
#[derive(Clone, Debug)]
pub struct Scripted {
    rule: Rule,
    ring: TrafficRing,
    action: [f32; 1],
}

impl Scripted {
    /// For a ring, whose units it needs to read the observation.
    pub fn new(rule: Rule, ring: TrafficRing) -> Self {
        Self { rule, ring, action: [0.0] }
    }
}

impl Policy for Scripted {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let unit = self.ring.equilibrium;
        let value = |k: usize| observation.get(k).copied().map_or(0.0, f64::from);
        let (v, leader) = (value(0) * unit, (value(0) + value(1)) * unit);
        let gap = value(2) * self.ring.config.mean_gap();
        let a = match self.rule {
            Rule::Human => self.ring.config.driver.accelerate(v, gap, v - leader),
            // The command is to be reached within one decision.
            Rule::FollowerStopper(part) => (follower_stopper(v, leader, gap, part * unit) - v) / (5.0 * DT),
        };
        self.action = [(a as f32).clamp(BOUNDS.0, BOUNDS.1)];
        Action::Continuous(&self.action)
    }
}

/// The commanded speed in m/s: U when the gap is wide, 0 when it is narrow, in between min(v_leader, U) and a ramp (Stern et al. 2018; Δx⁰ = 4.5,
/// 5.25, 6 m, d = 1.5, 1, 0.5 m/s²).
pub fn follower_stopper(speed: f64, leader: f64, gap: f64, desired: f64) -> f64 {
    let closing = (leader - speed).min(0.0);
    let edge = |start: f64, d: f64| start + closing * closing / (2.0 * d);
    let [first, second, third] = [edge(4.5, 1.5), edge(5.25, 1.0), edge(6.0, 0.5)];
    let v = leader.max(0.0).min(desired);
    if gap <= first {
        0.0
    } else if gap <= second {
        v * (gap - first) / (second - first)
    } else if gap <= third {
        v + (desired - v) * (gap - second) / (third - second)
    } else {
        desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rl_core::StreamRng;

    fn ring(difficulty: Difficulty) -> TrafficRing {
        TrafficRing::new(TrafficConfig::of(difficulty)).unwrap()
    }

    /// Mean reward over an episode, and the standard deviation of speeds at its end.
    fn episode(ring: &TrafficRing, rule: Rule, seed: u64) -> (f64, f64) {
        let mut rng = StreamRng::seed_from_u64(seed);
        let mut state = ring.initial_state(&mut rng);
        let mut policy = Scripted::new(rule, ring.clone());
        let (mut sum, mut observation) = (0.0, [0.0; 3]);
        for _ in 0..ring.config.decisions {
            ring.observe(&state, &mut observation);
            let (reward, ended) = ring.transition(&mut state, policy.act(&observation), &mut rng);
            assert!(!ended, "{rule:?} collided");
            sum += reward;
        }
        let mean = state.speeds.iter().sum::<f64>() / state.speeds.len() as f64;
        let variance =
            state.speeds.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / state.speeds.len() as f64;
        (sum / f64::from(ring.config.decisions), variance.sqrt())
    }

    #[test]
    fn uniform_traffic_without_noise_stays_uniform() {
        let ring = TrafficRing::new(TrafficConfig { noise: 0.0, ..TrafficConfig::default() }).unwrap();
        let n = ring.config.vehicles;
        let spacing = ring.config.circumference / n as f64;
        let positions = (0..n).map(|i| i as f64 * spacing).collect();
        let mut state = Ring { positions, speeds: vec![ring.equilibrium; n] };
        let mut rng = StreamRng::seed_from_u64(1);
        for _ in 0..100 {
            ring.integrate(&mut state, None, &mut rng);
        }
        assert!(state.speeds.iter().all(|v| (v - ring.equilibrium).abs() < 1e-6));
        assert!((state.positions[0] - 10.0 * ring.equilibrium).abs() < 1e-5);
    }

    #[test]
    fn a_free_driver_approaches_the_desired_speed() {
        let driver = Driver::default();
        assert!((driver.accelerate(0.0, 1e9, 0.0) - 1.0).abs() < 1e-12);
        assert!(driver.accelerate(30.0, 1e9, 0.0).abs() < 1e-12);
        // By hand: v = 10, s = 20, Δv = 0: s* = 12, 1 − (1/3)⁴ − 0.36.
        assert!((driver.accelerate(10.0, 20.0, 0.0) - (0.64 - 1.0 / 81.0)).abs() < 1e-12);
        assert_eq!(driver.equilibrium(1.0), 0.0);
    }

    #[test]
    fn waves_grow_and_the_expert_dissolves_them() {
        for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
            let ring = ring(difficulty);
            // Four starts; the waves are measured in units of the uniform speed, which the difficulty changes.
            let mean = |rule| {
                let played: Vec<(f64, f64)> = (0..4).map(|seed| episode(&ring, rule, seed)).collect();
                let of = |part: fn(&(f64, f64)) -> f64| played.iter().map(part).sum::<f64>() / 4.0;
                (of(|p| p.0), of(|p| p.1) / ring.equilibrium)
            };
            let ((human, waves), (expert, calm)) = (mean(Rule::Human), mean(Rule::FollowerStopper(0.9)));
            assert!(waves > 0.5 && calm < 0.5 * waves, "{difficulty:?}: waves of {waves}, {calm} left");
            assert!(expert > human, "{difficulty:?}: {expert} against {human}");
        }
    }

    #[test]
    fn a_reckless_vehicle_collides_and_the_episode_ends() {
        let ring = ring(Difficulty::Medium);
        let mut rng = StreamRng::seed_from_u64(4);
        let mut state = ring.initial_state(&mut rng);
        let ended = (0..400).any(|_| ring.transition(&mut state, Action::Continuous(&[1.0]), &mut rng).1);
        assert!(ended);
    }

    #[test]
    fn bad_configurations_are_refused() {
        let d = TrafficConfig::default;
        for config in [
            TrafficConfig { vehicles: 1, ..d() },
            TrafficConfig { circumference: 120.0, ..d() },
            TrafficConfig { noise: f64::NAN, ..d() },
            TrafficConfig { driver: Driver { time_gap: 0.0, ..Driver::default() }, ..d() },
        ] {
            assert!(TrafficRing::new(config).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn human_drivers_never_collide_or_reverse(seed in 0u64..1_000_000, circumference in 200.0f64..400.0, noise in 0.0f64..0.5) {
            let config = TrafficConfig { circumference, noise, warm_up: 0.0, ..TrafficConfig::default() };
            let ring = TrafficRing::new(config).unwrap();
            let mut rng = StreamRng::seed_from_u64(seed);
            let mut state = ring.initial_state(&mut rng);
            for _ in 0..2000 {
                ring.integrate(&mut state, None, &mut rng);
                let gaps: Vec<f64> = (0..22).map(|i| ring.gap(&state, i)).collect();
                prop_assert!(gaps.iter().all(|g| *g > 0.0), "{gaps:?}");
                prop_assert!(state.speeds.iter().all(|v| *v >= 0.0));
                // Road is neither made nor lost.
                let road = gaps.iter().sum::<f64>() + 22.0 * 5.0;
                prop_assert!((road - circumference).abs() < 1e-6);
            }
        }
    }
}
