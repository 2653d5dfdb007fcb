//! Preparing a state gate by gate: actions are gates, the reward is the fidelity with the target.
//!
//! The exercise's original has two qubits and four gates on the first qubit only, so that |++⟩ is out of reach: fidelity
//! never exceeds ½ and the best return is 5. The reachable variant has gates on every qubit and entanglers.

use super::QuantumState;
use crate::circuit::{Circuit, Operation};
use crate::error::{Error, Result};
use crate::gate::{C64, Gate};
use crate::{Plan, StateVector};
use rand::Rng;
use rl_core::env::{Action, EnvSpec, Simulator, Space};
use std::collections::HashMap;
use std::f64::consts::FRAC_PI_4;

/// State preparation from |0…0⟩. The observation is all real parts, then all imaginary parts; the reward of a step is the
/// fidelity |⟨target|ψ⟩|² after it; when that exceeds `threshold` the episode terminates and pays `bonus` for every step that
/// was left.
#[derive(Clone, Debug)]
pub struct StatePreparation {
    id: &'static str,
    qubits: usize,
    /// One compiled gate per action.
    plans: Vec<Plan>,
    names: Vec<String>,
    target: StateVector,
    /// Fidelity above which the episode ends.
    pub threshold: f64,
    /// Reward for each step left when it ends: 1 pays as if the target were held, 0 makes arriving cost the rest.
    pub bonus: f64,
    /// Steps per episode.
    pub max_steps: u32,
}

/// What exhaustive search over all action sequences finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// The largest return of an episode.
    pub best_return: f64,
    /// The largest fidelity on any sequence.
    pub best_fidelity: f64,
    /// Actions of a best episode.
    pub actions: Vec<usize>,
    /// Distinct states met.
    pub states: usize,
}

/// What an action gives: the reward, and where it leads unless it ends the episode.
type Edge = (f64, Option<usize>);

impl StatePreparation {
    /// A task with any gates and any target.
    ///
    /// # Errors
    /// When a gate does not fit the target's qubits, or there are none.
    pub fn new(id: &'static str, target: StateVector, gates: &[Operation], max_steps: u32) -> Result<Self> {
        if gates.is_empty() {
            return Err(Error::shape("state preparation", "at least one gate", 0));
        }
        let qubits = target.qubits();
        let compile = |operation: &Operation| {
            let mut circuit = Circuit::new(qubits)?;
            circuit.push(operation.gate.clone(), &operation.targets, &operation.controls)?;
            Plan::new(&circuit)
        };
        let name = |o: &Operation| {
            let list: Vec<String> = o.qubits().map(|q| q.to_string()).collect();
            format!("{}{} {}", "c".repeat(o.controls.len()), o.gate.name(), list.join(","))
        };
        Ok(Self {
            id,
            qubits,
            plans: gates.iter().map(compile).collect::<Result<_>>()?,
            names: gates.iter().map(name).collect(),
            target,
            threshold: 0.95,
            bonus: 0.0,
            max_steps,
        })
    }

    /// The original task: two qubits, target |++⟩, actions H, X, RY(π/4), RZ(π/4) on the first qubit, 10 steps.
    ///
    /// # Errors
    /// Never in practice: the task is fixed.
    pub fn original() -> Result<Self> {
        let gates = [Gate::H, Gate::X, Gate::Ry(FRAC_PI_4.into()), Gate::Rz(FRAC_PI_4.into())];
        let on_first = gates.map(|gate| Operation { gate, targets: vec![0], controls: vec![] });
        Self::new("StatePreparation-original", plus(2)?, &on_first, 10)
    }

    /// The same gates on every qubit and a CNOT from each qubit to the next, target |+…+⟩. Arriving pays one point for every
    /// step left, as if the target were held; a bonus that does not shrink would make it best to hover below the threshold
    /// until the last step.
    ///
    /// # Errors
    /// When `qubits` is 0 or too large.
    pub fn reachable(qubits: usize, max_steps: u32) -> Result<Self> {
        let mut gates = vec![];
        for q in 0..qubits {
            for gate in [Gate::H, Gate::X, Gate::Ry(FRAC_PI_4.into()), Gate::Rz(FRAC_PI_4.into())] {
                gates.push(Operation { gate, targets: vec![q], controls: vec![] });
            }
        }
        for q in 1..qubits {
            gates.push(Operation { gate: Gate::X, targets: vec![q], controls: vec![q - 1] });
        }
        let mut task = Self::new("StatePreparation", plus(qubits)?, &gates, max_steps)?;
        task.bonus = 1.0;
        Ok(task)
    }

    /// The actions in words.
    pub fn action_names(&self) -> &[String] {
        &self.names
    }

    /// |⟨target|ψ⟩|²
    pub fn fidelity(&self, state: &QuantumState) -> f64 {
        let (u, v) = self.target.parts();
        let (mut re, mut im) = (0.0, 0.0);
        for (k, (x, y)) in state.re.iter().zip(&state.im).enumerate() {
            re += u[k] * x + v[k] * y;
            im += u[k] * y - v[k] * x;
        }
        re * re + im * im
    }

    fn applied(&self, state: &QuantumState, action: usize) -> QuantumState {
        let mut next = state.clone();
        next.step += 1;
        let amplitudes: Vec<C64> = state.re.iter().zip(&state.im).map(|(&x, &y)| C64::new(x, y)).collect();
        // A state that was loaded from outside may be unusable; it then stays as it is.
        let Ok(mut psi) = StateVector::from_amplitudes(&amplitudes) else { return next };
        let Some(plan) = self.plans.get(action) else { return next };
        if plan.clone().apply(&[], &[], &mut psi).is_ok() {
            let (re, im) = psi.parts();
            next.re.copy_from_slice(re);
            next.im.copy_from_slice(im);
        }
        next
    }

    fn start(&self) -> QuantumState {
        let mut re = vec![0.0; 1 << self.qubits];
        re[0] = 1.0;
        QuantumState { im: vec![0.0; re.len()], re, step: 0 }
    }

    /// The best that any agent can do, by breadth-first search over all distinct states (equal up to a global phase) and
    /// backward induction.
    ///
    /// # Errors
    /// When more than `max_states` distinct states are met.
    pub fn ceiling(&self, max_states: usize) -> Result<Ceiling> {
        // Layer t: states, and for every action the reward, whether it ends, and the index in layer t + 1.
        let mut layers: Vec<Vec<QuantumState>> = vec![vec![self.start()]];
        let mut edges: Vec<Vec<Vec<Edge>>> = vec![];
        let (mut states, mut best_fidelity) = (1, self.fidelity(&layers[0][0]));
        for t in 0..self.max_steps as usize {
            let (mut next, mut index) = (vec![], HashMap::new());
            let mut out = vec![];
            for state in &layers[t] {
                let mut row = vec![];
                for action in 0..self.plans.len() {
                    let child = self.applied(state, action);
                    let (reward, fidelity, done) = self.judge(&child);
                    best_fidelity = best_fidelity.max(fidelity);
                    let place = (!done).then(|| {
                        *index.entry(key(&child)).or_insert_with(|| {
                            next.push(child);
                            next.len() - 1
                        })
                    });
                    row.push((reward, place));
                }
                out.push(row);
            }
            states += next.len();
            if states > max_states {
                let reason = format!("more than {max_states} states within {} steps", t + 1);
                return Err(Error::unsupported("exhaustive search", reason));
            }
            layers.push(next);
            edges.push(out);
        }
        let mut values = vec![0.0; layers[self.max_steps as usize].len()];
        let mut choices: Vec<Vec<usize>> = vec![];
        for rows in edges.iter().rev() {
            let best = |row: &Vec<(f64, Option<usize>)>| {
                let value =
                    |(reward, place): &(f64, Option<usize>)| reward + place.map_or(0.0, |p| values[p]);
                let scored = row.iter().map(value).enumerate();
                scored.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
            };
            let (choice, value): (Vec<usize>, Vec<f64>) = rows.iter().map(best).unzip();
            choices.push(choice);
            values = value;
        }
        choices.reverse();
        let (mut at, mut actions) = (Some(0), vec![]);
        for (t, choice) in choices.iter().enumerate() {
            let Some(place) = at else { break };
            actions.push(choice[place]);
            at = edges[t][place][choice[place]].1;
        }
        Ok(Ceiling { best_return: values[0], best_fidelity, actions, states })
    }

    /// Reward, fidelity, and whether the episode terminates.
    fn judge(&self, state: &QuantumState) -> (f64, f64, bool) {
        let fidelity = self.fidelity(state);
        let done = fidelity > self.threshold;
        let left = f64::from(self.max_steps.saturating_sub(state.step));
        (fidelity + if done { self.bonus * left } else { 0.0 }, fidelity, done)
    }
}

fn plus(qubits: usize) -> Result<StateVector> {
    let mut circuit = Circuit::new(qubits)?;
    (0..qubits).try_for_each(|q| circuit.h(q).map(|_| ()))?;
    StateVector::from_circuit(&circuit, &[], &[])
}

/// The state up to a global phase, rounded to 1e-7.
fn key(state: &QuantumState) -> Vec<i64> {
    let first = state.re.iter().zip(&state.im).find(|(x, y)| x.hypot(**y) > 1e-6);
    let phase = first.map_or(C64::new(1.0, 0.0), |(x, y)| C64::new(*x, -*y) / x.hypot(*y));
    let rounded = |v: f64| (v * 1e7).round() as i64;
    let turned = state.re.iter().zip(&state.im).map(|(&x, &y)| C64::new(x, y) * phase);
    turned.flat_map(|z| [rounded(z.re), rounded(z.im)]).collect()
}

impl Simulator for StatePreparation {
    type State = QuantumState;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: self.id.into(),
            observation: Space::uniform_box(2 << self.qubits, -1.0, 1.0),
            action: Space::Discrete(self.plans.len()),
            max_episode_steps: Some(self.max_steps),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, _: &mut impl Rng) -> QuantumState {
        self.start()
    }

    fn transition(&self, state: &mut QuantumState, action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let Action::Discrete(action) = action else { return (0.0, false) };
        *state = self.applied(state, action);
        let (reward, _, done) = self.judge(state);
        (reward, done)
    }

    fn observe(&self, state: &QuantumState, observation: &mut [f32]) {
        for (o, v) in observation.iter_mut().zip(state.re.iter().chain(&state.im)) {
            *o = *v as f32;
        }
    }
}
