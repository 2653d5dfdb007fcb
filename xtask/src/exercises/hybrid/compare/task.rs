//! The tasks, each with its shift, its expert, and the paradigms that only it has a place for.

use super::Config;
use super::method::{Learners, OffPolicy, circuit, classic_dqn, classic_ppo, federation, pets};
use super::score::{Anchors, Outcome, costed};
use crate::exercises::hybrid::task::Task;
use crate::exercises::hybrid::{climate, trading, traffic, treatment};
use crate::exercises::marl as multi_agent;
use crate::run::Context;
use anyhow::Result;
use federated::rl::environment::{Dynamics, TurnedPointControl};
use federated::rl::ppo::PpoConfig as ClientConfig;
use hybrid::scenarios::{climate as climates, trading as markets, traffic as rings, treatment as clinics};
use marl::env::Copies;
use quantum_sim::rl::Encoding;
use rl_core::baselines::PpoConfig;
use rl_core::env::VariedCartPole;
use rl_core::env::scripted::{CartPoleRule, PointController};
use rl_core::experiment::Role;

pub(super) fn cart_pole(config: &Config, ctx: &mut Context) -> Result<()> {
    let long = VariedCartPole { half_length: 1.0, ..VariedCartPole::V1 };
    let task = Task { shifted: Some(long), ..Task::new(VariedCartPole::V1, config.starts) };
    let anchors = Anchors::new(&task, &mut CartPoleRule, ctx)?;
    let learners = Learners {
        ppo: classic_ppo,
        envs: 8,
        off_policy: OffPolicy::Dqn(classic_dqn),
        pets: pets(config, true),
    };
    learners.run(&task, &anchors, config, ctx)?;
    let encoding = Encoding::Angle { scale: vec![2.4, 2.5, 0.21, 2.5] };
    circuit(&task, &anchors, encoding, config, ctx)?;
    let dynamics = [Dynamics::CartPole(VariedCartPole::V1), Dynamics::CartPole(long)];
    federation(
        dynamics,
        &anchors,
        ClientConfig {
            envs: 1,
            rollout_steps: 64,
            minibatch_size: 64,
            epochs: 20,
            ..ClientConfig::default()
        },
        config,
        ctx,
    )
}

pub(super) fn point(config: &Config, ctx: &mut Context) -> Result<()> {
    let straight = TurnedPointControl::default();
    let turned = TurnedPointControl { angle: std::f64::consts::FRAC_PI_4, ..straight };
    let task = Task { shifted: Some(turned), ..Task::new(straight, config.starts) };
    let anchors = Anchors::new(&task, &mut PointController::default(), ctx)?;
    let learners = Learners {
        ppo: |steps| PpoConfig {
            reward_scale: 0.2,
            gamma: 0.95,
            initial_log_std: -0.5,
            ..classic_ppo(steps)
        },
        envs: 8,
        off_policy: OffPolicy::Sac(traffic::sac),
        pets: pets(config, false),
    };
    learners.run(&task, &anchors, config, ctx)?;
    let client = ClientConfig {
        envs: 1,
        rollout_steps: 64,
        minibatch_size: 64,
        epochs: 10,
        gamma: 0.95,
        gae_lambda: 0.9,
        reward_scale: 0.2,
        ..ClientConfig::default()
    };
    federation(
        [Dynamics::PointControl(straight), Dynamics::PointControl(turned)],
        &anchors,
        client,
        config,
        ctx,
    )
}

pub(super) fn on_the_ring(config: &Config, ctx: &mut Context) -> Result<()> {
    let ring = rings::TrafficConfig::of(rings::Difficulty::Medium);
    let dense = rings::TrafficConfig { noise: 0.4, ..rings::TrafficConfig::of(rings::Difficulty::Hard) };
    let shifted = Some(rings::TrafficRing::new(dense)?);
    let task = Task { shifted, ..Task::new(rings::TrafficRing::new(ring)?, config.starts.min(50)) };
    let rule = rings::Rule::FollowerStopper(0.9);
    let anchors = Anchors::new(&task, &mut rings::Scripted::new(rule, task.simulator.clone()), ctx)?;
    let learners = Learners {
        ppo: traffic::ppo,
        envs: 8,
        off_policy: OffPolicy::Sac(traffic::sac),
        pets: pets(config, true),
    };
    learners.run(&task, &anchors, config, ctx)
}

pub(super) fn on_the_market(config: &Config, ctx: &mut Context) -> Result<()> {
    let market = markets::TradingConfig::of(markets::Difficulty::Medium);
    let mut worse = market.clone();
    // Bear markets begin three times as often.
    let more = 2.0 * worse.transition[1][0];
    worse.transition[1][0] += more;
    worse.transition[1][1] -= more;
    let shifted = Some(markets::Market::new(worse)?);
    let task = Task { shifted, ..Task::new(markets::Market::new(market)?, 10 * config.starts) };
    let rule = markets::Rule::Filtered;
    let anchors = Anchors::new(&task, &mut markets::Scripted::new(rule, task.simulator.clone()), ctx)?;
    let learners = Learners {
        ppo: trading::ppo,
        envs: 8,
        off_policy: OffPolicy::Sac(trading::sac),
        pets: pets(config, false),
    };
    learners.run(&task, &anchors, config, ctx)
}

pub(super) fn in_the_clinic(config: &Config, ctx: &mut Context) -> Result<()> {
    let disease = |difficulty| clinics::Treatment::new(clinics::TreatmentConfig::of(difficulty));
    let shifted = Some(disease(clinics::Difficulty::Hard)?);
    let task = Task { shifted, ..Task::new(disease(clinics::Difficulty::Medium)?, config.starts) };
    let days = task.simulator.config().days;
    let rule = clinics::Rule::Adaptive(treatment::EXPERT);
    let anchors = Anchors::new(&task, &mut clinics::Scripted::new(rule, days), ctx)?;
    let learners = Learners {
        ppo: treatment::ppo,
        envs: 8,
        off_policy: OffPolicy::Dqn(treatment::dqn),
        pets: pets(config, true),
    };
    learners.run(&task, &anchors, config, ctx)?;
    for (method, role, reading) in [
        ("causal", Role::Method, clinics::log::Reading::Instrument),
        ("causal naive", Role::Ablation, clinics::log::Reading::Regression),
    ] {
        costed(&task.id(), method, ctx, |ctx| {
            let patients = (config.steps / u64::from(days)).max(2) as usize;
            let clinic = clinics::log::ClinicConfig { patients, ..clinics::log::ClinicConfig::default() };
            let mut rng = task.seeds("records", ctx).stream("clinic", 0);
            let records = clinics::log::record(&task.simulator, &clinic, &mut rng);
            let estimate = clinics::log::effects(&records, reading)?;
            let mut plan = clinics::plan::Plan::new(&task.simulator, estimate.effects);
            task.scripted((method, role), ctx, &mut plan)?;
            anchors.normalise(method, role, records.len() as u64, ctx)
        })?;
    }
    circuit(&task, &anchors, Encoding::Angle { scale: vec![1.0; 5] }, config, ctx)
}

pub(super) fn in_the_climate(config: &Config, ctx: &mut Context) -> Result<()> {
    let world = climates::ClimateConfig::of(climates::Difficulty::Hard);
    let hot = climates::ClimateConfig { sensitivity: 4.65, ..world.clone() };
    let shifted = Some(climates::Climate::new(hot.clone())?);
    let task = Task { shifted, ..Task::new(climates::Climate::new(world.clone())?, config.starts) };
    let rule = climates::Rule::CarbonPrice;
    let anchors = Anchors::new(&task, &mut climates::Scripted::new(rule, task.simulator.clone()), ctx)?;
    let learners = Learners {
        ppo: climate::ppo_config,
        envs: 8,
        off_policy: OffPolicy::Sac(climate::sac),
        pets: pets(config, false),
    };
    learners.run(&task, &anchors, config, ctx)?;
    let game = |climate| climates::Regions::new(climates::RegionsConfig { climate, solidarity: 1.0 });
    let (own, other) = (game(world)?, game(hot)?);
    let id = task.id();
    costed(&id, "multi-agent", ctx, |ctx| {
        let method = climate::regions(config.steps, 8);
        let episodes = config.starts as usize;
        let (mut team, last) = multi_agent::train(ctx, &id, "multi-agent", &method, (1, episodes), |n| {
            Ok(Copies::new(own.clone(), n))
        })?;
        let seeds = ctx.seeds(&id, "multi-agent shifted");
        let shifted = ctx.session.once(&format!("{id}/multi-agent shifted"), |_| -> Result<f64> {
            let mut worlds = Copies::new(other, episodes.min(50));
            let returns = marl::trainer::evaluate(&mut team, &mut worlds, episodes, &seeds)?;
            Ok(returns.iter().flatten().sum::<f64>() / returns.len() as f64)
        })?;
        let outcome = Outcome { value: last.mean_sum(), shifted, step: config.steps };
        anchors.hand_in("multi-agent", &outcome, ctx)
    })
}
