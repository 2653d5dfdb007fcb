//! `cargo xtask qasm`: runs an OpenQASM program on the state vector of `quantum-sim`.

use super::{answer, read};
use crate::input::bad;
use crate::{machine, table};
use anyhow::Result;
use quantum_sim::density_matrix::MAX_DENSITY_QUBITS;
use quantum_sim::state_vector::{MAX_STATE_QUBITS, bit_string};
use quantum_sim::{Circuit, DensityMatrix, Error, Instruction, PauliSum, StateVector, qasm};
use rl_core::SeedStream;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `qasm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Program: OpenQASM 2, or the usual part of 3
    file: PathBuf,
    /// Expectation value of a Pauli string, such as "Z0 Z1"; may be repeated
    #[arg(long, value_name = "STRING")]
    pauli: Vec<String>,
    /// Measure so many times and count the outcomes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    shots: Option<u64>,
    /// Seed of the shots
    #[arg(long, value_name = "S", default_value_t = 0, requires = "shots")]
    seed: u64,
    /// Give the amplitudes of the final state (up to 20 qubits)
    #[arg(long)]
    state: bool,
    /// Print one JSON object and nothing else on stdout
    #[arg(long)]
    json: bool,
}

/// States with more qubits are not printed.
const PRINTED_QUBITS: usize = 20;
/// Amplitudes that a terminal is shown.
const SHOWN: usize = 64;

#[derive(Serialize)]
struct Report {
    file: String,
    qubits: usize,
    bits: usize,
    gates: usize,
    depth: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expectations: Vec<Expectation>,
    #[serde(flatten)]
    shots: Option<Shots>,
    /// `[re, im]` of amplitude k, qubit q being bit q of k.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Vec<[f64; 2]>>,
}

#[derive(Serialize)]
struct Expectation {
    pauli: String,
    value: f64,
}

#[derive(Serialize)]
struct Shots {
    shots: u64,
    seed: u64,
    counts: BTreeMap<String, u64>,
}

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let source = args.file.display().to_string();
    let refuse = |error: Error| bad(format!("{source}: {error}"));
    let circuit = qasm::parse(&read(&args.file)?).map_err(refuse)?;
    let observables = args.pauli.iter().map(|text| observable(text, &source, circuit.qubits()));
    let observables = observables.collect::<Result<Vec<_>>>()?;
    if !args.pauli.is_empty() || args.shots.is_some() || args.state {
        check(args, &source, &circuit)?;
    }
    let (expectations, state) = ideal(args, &source, &circuit, &observables)?;
    let is_gate = |i: &&Instruction| matches!(i, Instruction::Gate(_) | Instruction::If { .. });
    let report = Report {
        qubits: circuit.qubits(),
        bits: circuit.bits(),
        gates: circuit.instructions().iter().filter(is_gate).count(),
        depth: circuit.depth(),
        expectations,
        shots: args.shots.map(|n| shots(&circuit, n, args.seed)).transpose().map_err(refuse)?,
        state,
        file: source.clone(),
    };
    answer(args.json, &report, || text(&report))
}

fn observable(text: &str, source: &str, qubits: usize) -> Result<PauliSum> {
    let observable: PauliSum = text.parse().map_err(|error| {
        let reason = match error {
            Error::Parse { message, .. } => message,
            other => other.to_string(),
        };
        bad(format!("--pauli \"{text}\": {reason}"))
    })?;
    if observable.width() > qubits {
        let (qubit, last) = (observable.width() - 1, qubits - 1);
        let reason = format!("there is no qubit {qubit}; those of {source} are 0 to {last}");
        return Err(bad(format!("--pauli \"{text}\": {reason}")));
    }
    Ok(observable)
}

/// Refuses what cannot be simulated here before memory is asked for.
fn check(args: &Args, source: &str, circuit: &Circuit) -> Result<()> {
    if circuit.parameters() > 0 {
        let names = circuit.parameter_names().join(", ");
        let mend = "write numbers in place of the `input` declarations";
        return Err(bad(format!("{source}: the angles {names} have no value; {mend}")));
    }
    let qubits = circuit.qubits();
    if qubits > MAX_STATE_QUBITS {
        let reason = format!("{qubits} qubits; a state vector holds at most {MAX_STATE_QUBITS}");
        return Err(bad(format!("{source}: {reason}; leave --pauli, --shots and --state out for a summary")));
    }
    // Amplitudes and probabilities: 24 bytes each; below a MiB nobody needs to look.
    let (needed, available) = (24u64 << qubits, machine::available_memory());
    if let Some(available) = available.filter(|&available| qubits > 16 && needed > available) {
        let (needed, available) = (needed >> 20, available >> 20);
        let reason = format!("{qubits} qubits need {needed} MiB of memory, {available} MiB are available");
        return Err(bad(format!("{source}: {reason}; use fewer qubits or a larger machine")));
    }
    if args.state && qubits > PRINTED_QUBITS {
        let reason = format!("--state: {qubits} qubits have 2^{qubits} amplitudes, at most {PRINTED_QUBITS}");
        return Err(bad(format!("{reason} qubits are printed; use --pauli or --shots")));
    }
    Ok(())
}

type Ideal = (Vec<Expectation>, Option<Vec<[f64; 2]>>);

/// What needs no shots: of the state before the final measurements or, when the program measures or resets on the
/// way, of the mixture over the outcomes, which has expectations but no amplitudes.
fn ideal(args: &Args, source: &str, circuit: &Circuit, observables: &[PauliSum]) -> Result<Ideal> {
    if observables.is_empty() && !args.state {
        return Ok((Vec::new(), None));
    }
    let refuse = |error: Error| bad(format!("{source}: {error}"));
    let circuit = circuit.without_final_measurements();
    let (values, state) = if circuit.operations().is_ok() {
        let state = StateVector::from_circuit(&circuit, &[], &[]).map_err(refuse)?;
        let values = observables.iter().map(|o| state.expectation(o)).collect::<Result<Vec<_>, _>>();
        let amplitudes = args.state.then(|| state.amplitudes().iter().map(|a| [a.re, a.im]).collect());
        (values.map_err(refuse)?, amplitudes)
    } else {
        refuse_mixture(args, source, &circuit)?;
        let mixture = DensityMatrix::from_circuit(&circuit, &[], &[]).map_err(refuse)?;
        (observables.iter().map(|o| mixture.expectation(o)).collect::<Result<_, _>>().map_err(refuse)?, None)
    };
    let named =
        args.pauli.iter().zip(values).map(|(pauli, value)| Expectation { pauli: pauli.clone(), value });
    Ok((named.collect(), state))
}

fn refuse_mixture(args: &Args, source: &str, circuit: &Circuit) -> Result<()> {
    let conditional = circuit.instructions().iter().any(|i| matches!(i, Instruction::If { .. }));
    let reason = match (args.state, conditional) {
        (true, _) => "--state: it measures or resets on the way and ends in no single state".into(),
        (_, true) => "--pauli: it branches on measured bits".into(),
        _ if circuit.qubits() > MAX_DENSITY_QUBITS => {
            format!("--pauli: it measures or resets on the way, with more than {MAX_DENSITY_QUBITS} qubits")
        }
        _ => return Ok(()),
    };
    Err(bad(format!("{source}: {reason}; use --shots")))
}

/// Counts by bit string, the highest bit on the left: of the classical bits, or of all qubits if there are none.
fn shots(circuit: &Circuit, shots: u64, seed: u64) -> Result<Shots, Error> {
    let mut rng = SeedStream::new(seed).stream("qasm", 0);
    let counts = circuit.simulate(&[], &[], shots, &mut rng)?;
    let width = if circuit.bits() > 0 { circuit.bits() } else { circuit.qubits() };
    let counts = counts.into_iter().map(|(outcome, count)| (bit_string(outcome, width), count)).collect();
    Ok(Shots { shots, seed, counts })
}

fn text(report: &Report) -> String {
    let Report { file, qubits, bits, gates, depth, .. } = report;
    let head = format!("{file}: {qubits} qubits, {bits} classical bits, {gates} gates, depth {depth}");
    let mut parts = vec![head];
    if !report.expectations.is_empty() {
        let cells = |e: &Expectation| vec![e.pauli.clone(), format!("{:.10}", e.value)];
        let cells: Vec<_> = report.expectations.iter().map(cells).collect();
        parts.push(table::aligned(&["Pauli", "expectation"], &cells));
    }
    if let Some(Shots { shots, seed, counts }) = &report.shots {
        let mut ordered: Vec<_> = counts.iter().collect();
        ordered.sort_by(|a, b| b.1.cmp(a.1));
        let share = |count: u64| table::number(count as f64 / *shots as f64);
        let cells =
            ordered.iter().take(SHOWN).map(|(b, c)| vec![format!("|{b}⟩"), c.to_string(), share(**c)]);
        let table = table::aligned(&["outcome", "count", "share"], &cells.collect::<Vec<_>>());
        parts.push(format!("{shots} shots, seed {seed}\n{table}{}", more(counts.len(), "outcomes")));
    }
    if let Some(state) = &report.state {
        parts.push(amplitudes(state, *qubits));
    }
    parts.join("\n\n")
}

fn amplitudes(state: &[[f64; 2]], qubits: usize) -> String {
    let probability = |[re, im]: [f64; 2]| re * re + im * im;
    let seen: Vec<_> = state.iter().enumerate().filter(|(_, a)| probability(**a) > 1e-20).collect();
    let cells = seen.iter().take(SHOWN).map(|&(k, &[re, im])| {
        let basis = format!("|{}⟩", bit_string(k, qubits));
        vec![basis, format!("{re:.10}"), format!("{im:.10}"), table::number(probability([re, im]))]
    });
    let table = table::aligned(&["basis state", "re", "im", "probability"], &cells.collect::<Vec<_>>());
    table + &more(seen.len(), "amplitudes")
}

fn more(count: usize, what: &str) -> String {
    match count.saturating_sub(SHOWN) {
        0 => String::new(),
        left => format!("\nand {left} more {what}; --json gives all"),
    }
}
