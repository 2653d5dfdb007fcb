//! `quantum-barren-plateaus`: the variance of a gradient over random circuits falls as 2⁻ⁿ (McClean et al. 2018), and small
//! starting angles avoid it.

use super::{figure, line};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use quantum_sim::algorithms::{PlateauRow, gradient_variance, slope};
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

pub(in crate::exercises) struct BarrenPlateaus;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Numbers of qubits.
    qubits: Vec<usize>,
    /// Layers per qubit: 10.
    layers_per_qubit: usize,
    /// Circuits per size: 500.
    samples: usize,
    /// Starting angles of the remedy are uniform in [0, this).
    small_angle: f64,
}

impl Exercise for BarrenPlateaus {
    type Config = Config;

    const NAME: &'static str = "quantum-barren-plateaus";
    const DESCRIPTION: &'static str =
        "Gradients of random circuits vanish as 2^-n; small angles and few layers keep them";
    const DURATION: [&'static str; 3] = ["1 s", "1 min", "5 min"];

    fn config(preset: Preset) -> Config {
        let (qubits, samples) = match preset {
            Preset::Smoke => (vec![2, 4], 50),
            Preset::Quick => (vec![2, 4, 6, 8], 500),
            Preset::Full => (vec![2, 4, 6, 8, 10], 500),
        };
        Config { qubits, layers_per_qubit: 10, samples, small_angle: 0.05 }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.qubits.len() >= 2, "qubits: at least two sizes make a slope");
        anyhow::ensure!(config.layers_per_qubit > 0, "layers_per_qubit = 0: must be at least 1");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let exponent = Measure { metric: "exponent s of Var = 2^(-s n)", unit: "", higher_is_better: false };
        let mut lines = vec![];
        let studies = [
            ("random angles", Role::Method, TAU, config.layers_per_qubit),
            ("small angles", Role::Ablation, config.small_angle, config.layers_per_qubit),
            ("random angles, one layer", Role::Ablation, TAU, 0),
        ];
        for (method, role, range, layers_per_qubit) in studies {
            let stage = format!("McClean circuit/{}", method.replace(',', ""));
            let seeds = ctx.seeds("McClean circuit", method);
            let rows = ctx.session.once(&stage, |stage| -> Result<Vec<(usize, f64)>> {
                let mut rows = vec![];
                for (k, &n) in config.qubits.iter().enumerate() {
                    let mut rng = seeds.stream("circuits", n as u64);
                    let row =
                        gradient_variance(n, (layers_per_qubit * n).max(1), config.samples, range, &mut rng)?;
                    rows.push((n, row.variance));
                    stage.progress(k as u64 + 1, config.qubits.len() as u64)?;
                }
                Ok(rows)
            })?;
            let plateau: Vec<PlateauRow> =
                rows.iter().map(|&(qubits, variance)| PlateauRow { qubits, variance, mean: 0.0 }).collect();
            if let Some(s) = slope(&plateau) {
                ctx.score("McClean circuit", method, role, exponent, 0, s)?;
            }
            lines.push(line(method, rows.iter().map(|&(n, v)| (n as f64, v.log2()))));
        }
        lines.push(line("2^-n", config.qubits.iter().map(|&n| (n as f64, -(n as f64)))));
        let title = "Variance of the gradient by the first angle";
        ctx.figure(figure("variance", title, ("qubits", "log2 of the variance"), lines));
        ctx.note("A 2-design has Var = O(2^-n) for a Pauli observable: exponent 1. Observable Z0 Z1, derivative by the very first angle.");
        Ok(())
    }
}
