//! `hybrid-quantum-coordination`: agents who cannot talk and share an entangled state, beside the best shared randomness, and the noise
//! that ends their advantage.

use crate::exercises::Exercise;
use crate::report::{Figure, Line};
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use hybrid::quantum_coordination::{
    Behaviour, Critical, Noise, Task, chsh, ghz, magic_square, rendezvous_grid, rendezvous_ring,
};
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct QuantumCoordination;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Plays behind each measured winning probability.
    plays: u64,
    /// Visibilities at which the noisy team plays.
    visibilities: Vec<f64>,
    /// Cells of the rings of the rendezvous, odd.
    rings: Vec<usize>,
}

const WINS: Measure = more("winning probability");
const VISIBILITY: Measure = Measure::error("least useful visibility", "");
const DEPOLARIZING: Measure = more("largest useful depolarising probability");
const DEVIATION: Measure = Measure::error("distance from theory in standard errors", "");

const fn more(metric: &'static str) -> Measure {
    Measure { metric, unit: "", higher_is_better: true }
}

impl Exercise for QuantumCoordination {
    type Config = Config;

    const NAME: &'static str = "hybrid-quantum-coordination";
    const DESCRIPTION: &'static str = "Agents who cannot talk win CHSH, GHZ, the magic square and a rendezvous more often with an entangled state, until noise ends it";
    const DURATION: [&'static str; 3] = ["1 s", "2 s", "30 s"];

    fn config(preset: Preset) -> Config {
        let (plays, points, rings) = match preset {
            Preset::Smoke => (1000, 5, vec![3]),
            Preset::Quick => (100_000, 21, vec![3, 5, 7]),
            Preset::Full => (1_000_000, 41, vec![3, 5, 7, 9, 11]),
        };
        let visibilities = (0..points).map(|k| f64::from(k) / f64::from(points - 1)).collect();
        Config { plays, visibilities, rings }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.plays > 0, "plays = 0: must be at least 1");
        for v in &config.visibilities {
            anyhow::ensure!((0.0..=1.0).contains(v), "visibilities: {v} must be in [0, 1]");
        }
        for n in &config.rings {
            anyhow::ensure!(n % 2 == 1 && (3..=21).contains(n), "rings: {n} must be odd, from 3 to 21");
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let mut tasks = vec![chsh()?, ghz()?, magic_square()?, rendezvous_grid(3)?];
        for n in &config.rings {
            tasks.push(rendezvous_ring(*n)?);
        }
        for task in &tasks {
            references(task, config, ctx)?;
            entangled(task, config, ctx)?;
            thresholds(task, ctx)?;
            sweep(task, config, ctx)?;
        }
        ctx.note("The classical value is the best of all deterministic strategies, tried one by one; shared randomness only mixes them. Measured values are won plays over plays.");
        ctx.note("A correct value lies beyond 3 standard errors in 0.27 % of all cases. Where theory says 1, a single lost play would be an error; the distance is then 0 only if none was lost.");
        ctx.note(
            "Everything is simulated: the figures show what entanglement would give, not a quantum computer.",
        );
        Ok(())
    }
}

/// Plays, and scores the fraction won.
fn play(
    task: &Task,
    (method, role): (&str, Role),
    behaviour: &Behaviour,
    plays: u64,
    ctx: &mut Context,
) -> Result<f64> {
    let mut rng = ctx.seeds(&task.name, method).stream("play", 0);
    let won = ctx.session.once(&format!("{}/{method}", task.name), |_| -> Result<u64> {
        Ok(behaviour.play(&task.game, plays, &mut rng))
    })?;
    let value = won as f64 / plays as f64;
    ctx.score(&task.name, method, role, WINS, plays, value)?;
    Ok(value)
}

/// Random answers, the best classical strategy, theory, and the same team without its entanglement.
fn references(task: &Task, config: &Config, ctx: &mut Context) -> Result<()> {
    let random = task.team.behaviour(&task.game, Noise::White(0.0))?;
    play(task, ("random answers", Role::Reference), &random, config.plays, ctx)?;
    let classical = task.game.classical()?;
    ctx.score(&task.name, "best classical exact", Role::Reference, WINS, 0, classical.value)?;
    let best = Behaviour::deterministic(&task.game, &classical.strategy);
    play(task, ("best classical played", Role::Reference), &best, config.plays, ctx)?;
    ctx.score(&task.name, "quantum theory", Role::Reference, WINS, 0, task.theory.quantum)?;
    let dephased = task.team.behaviour(&task.game, Noise::Dephasing(0.5))?;
    play(task, ("dephased team", Role::Ablation), &dephased, config.plays, ctx)?;
    Ok(())
}

fn entangled(task: &Task, config: &Config, ctx: &mut Context) -> Result<()> {
    let behaviour = task.team.behaviour(&task.game, Noise::None)?;
    let method = "entangled team";
    let won = play(task, (method, Role::Method), &behaviour, config.plays, ctx)?;
    let q = task.theory.quantum;
    let error = (q * (1.0 - q) / config.plays as f64).sqrt();
    // One lost play in so many is the unit where theory leaves no spread.
    let distance = (won - q).abs() / error.max(1.0 / config.plays as f64);
    ctx.score(&task.name, method, Role::Method, DEVIATION, config.plays, distance)
}

/// Where noise ends the advantage: found by bisection on the exact values, and by theory.
fn thresholds(task: &Task, ctx: &mut Context) -> Result<()> {
    let theory = task.theory;
    let families = [
        (Critical::Visibility, VISIBILITY, theory.visibility),
        (Critical::Depolarizing, DEPOLARIZING, theory.depolarizing),
    ];
    for (family, measure, expected) in families {
        ctx.score(&task.name, "theory", Role::Reference, measure, 0, expected)?;
        if let Some(found) = task.team.critical(&task.game, theory.classical, family)? {
            ctx.score(&task.name, "entangled team", Role::Method, measure, 0, found)?;
        }
    }
    Ok(())
}

/// The winning probability by visibility, played.
fn sweep(task: &Task, config: &Config, ctx: &mut Context) -> Result<()> {
    let mut rng = ctx.seeds(&task.name, "visibilities").stream("play", 0);
    let played = ctx.session.once(&format!("{}/visibilities", task.name), |_| -> Result<Vec<f64>> {
        let mut values = vec![];
        for v in &config.visibilities {
            let behaviour = task.team.behaviour(&task.game, Noise::White(*v))?;
            values.push(behaviour.play(&task.game, config.plays, &mut rng) as f64 / config.plays as f64);
        }
        Ok(values)
    })?;
    let constant = |name: &str, value: f64| Line { name: name.into(), x: vec![0.0, 1.0], y: vec![value; 2] };
    let lines = vec![
        Line { name: "entangled team, played".into(), x: config.visibilities.clone(), y: played },
        constant("best classical", task.theory.classical),
        constant("quantum theory without noise", task.theory.quantum),
    ];
    ctx.figure(Figure {
        name: format!("{}-visibility", task.name.to_lowercase().replace(' ', "-")),
        title: format!(
            "{}: winning probability by visibility; theory crosses the classical value at {:.4}",
            task.name, task.theory.visibility
        ),
        x_label: "visibility".into(),
        y_label: "winning probability".into(),
        lines,
    });
    Ok(())
}
