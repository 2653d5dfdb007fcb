//! PettingZoo's parallel environments in a Python child process (feature `pettingzoo`).
//!
//! No Python is linked: a small script runs under any Python 3 that has the package, and the processes exchange
//! frames (see `rl_core::env::python::transport`). Discrete and Box spaces; a discrete observation is one-hot, a Box
//! is flattened and rounded to f32. Masks are taken from the observation's or the info's `action_mask`. An
//! environment across this bridge runs as fast as Python does: prefer the native ones.

use super::{Action, ActionSpace, AgentId, AgentSpec, Layout, MultiAgentEnv, Outcome};
use crate::{Error, Result};
use rand::Rng;
use rl_core::env::python::transport::PythonProcess;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

const SCRIPT: &str = include_str!("pettingzoo.py");

/// Which environment to make, and with which Python.
#[derive(Clone, Debug)]
pub struct PettingZooOptions {
    /// The interpreter; `python3` by default. One of a virtual environment brings its packages with it.
    pub interpreter: PathBuf,
    /// Arguments of `parallel_env`; none by default.
    pub kwargs: Map<String, Value>,
}

impl Default for PettingZooOptions {
    fn default() -> Self {
        Self { interpreter: "python3".into(), kwargs: Map::new() }
    }
}

/// One PettingZoo environment.
pub struct PettingZoo {
    process: PythonProcess,
    layout: Layout,
    observations: Vec<Vec<f32>>,
    masks: Vec<Vec<bool>>,
    live: Vec<bool>,
    request: Vec<u8>,
    /// What went wrong in a reset, told by the next step.
    failed: Option<rl_core::Error>,
}

impl PettingZoo {
    /// Starts a Python process with `parallel_env` of a module such as `mpe2.simple_spread_v3`.
    ///
    /// # Errors
    /// [`Error::Core`] with the bridge's message if the interpreter or the package is missing, the environment cannot
    /// be made or a space is neither Discrete nor Box; [`Error::Shape`] if the greeting cannot be read.
    pub fn new(module: &str, options: &PettingZooOptions) -> Result<Self> {
        let argument = json!({ "module": module, "kwargs": options.kwargs }).to_string();
        let peer = format!("PettingZoo's {module}");
        let (process, greeting, _) = PythonProcess::start(&peer, &options.interpreter, SCRIPT, &[&argument])?;
        let agents = greeting["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
        let agents: Vec<AgentSpec> = agents.iter().filter_map(read_agent).collect();
        if agents.is_empty() {
            return Err(Error::shape("pettingzoo", "a greeting with agents", greeting));
        }
        Ok(Self {
            process,
            observations: agents.iter().map(|a| vec![0.0; a.observation]).collect(),
            masks: agents.iter().map(|a| vec![true; a.actions.width()]).collect(),
            live: vec![false; agents.len()],
            layout: Layout { masked: true, ..Layout::new("pettingzoo", &["agent"], agents) },
            request: Vec::new(),
            failed: None,
        })
    }

    fn exchange(&mut self, what: &'static str, header: &Value, outcome: Option<&mut Outcome>) -> Result<()> {
        let (_, mut body) = self.process.request(what, header, &self.request)?;
        for row in &mut self.observations {
            read(&mut body, row, f32::from_le_bytes)?;
        }
        for (mask, spec) in self.masks.iter_mut().zip(&self.layout.agents) {
            if matches!(spec.actions, ActionSpace::Discrete(_)) {
                read(&mut body, mask, |[byte]| byte != 0)?;
            }
        }
        let mut passed = Outcome::new(self.live.len());
        read(&mut body, &mut passed.rewards, f64::from_le_bytes)?;
        read(&mut body, &mut passed.terminated, |[byte]| byte != 0)?;
        read(&mut body, &mut passed.truncated, |[byte]| byte != 0)?;
        read(&mut body, &mut self.live, |[byte]| byte != 0)?;
        if let Some(outcome) = outcome {
            *outcome = passed;
        }
        Ok(())
    }
}

impl MultiAgentEnv for PettingZoo {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Resets with a seed drawn from `rng`. What goes wrong here is told by the next step.
    fn reset(&mut self, rng: &mut dyn Rng) {
        self.request.clear();
        let header = json!({ "seed": rng.next_u32() >> 1, "do": "reset" });
        if let Err(error) = self.exchange("reset", &header, None) {
            // Someone must seem alive, or nobody would ask for the step that tells.
            self.live.fill(true);
            self.failed = Some(match error {
                Error::Core(error) => error,
                other => rl_core::Error::State { operation: "pettingzoo reset", reason: other.to_string() },
            });
        }
    }

    fn step(
        &mut self,
        actions: &[Option<Action<'_>>],
        _rng: &mut dyn Rng,
        outcome: &mut Outcome,
    ) -> Result<()> {
        if let Some(error) = self.failed.take() {
            self.live.fill(false);
            return Err(error.into());
        }
        self.layout.check(&self.live, actions)?;
        if !self.live.contains(&true) {
            return Err(Error::State { operation: "step", reason: "no agent is live: call reset".into() });
        }
        self.request.clear();
        self.request.extend(actions.iter().map(|a| u8::from(a.is_some())));
        for (action, spec) in actions.iter().zip(&self.layout.agents) {
            match (action, spec.actions) {
                (Some(Action::Discrete(a)), _) => self.request.extend((*a as i64).to_le_bytes()),
                (Some(Action::Continuous(v)), _) => {
                    v.iter().for_each(|x| self.request.extend(x.to_le_bytes()))
                }
                (None, ActionSpace::Discrete(_)) => self.request.extend([0; 8]),
                (None, ActionSpace::Continuous { dim, .. }) => {
                    self.request.resize(self.request.len() + 4 * dim, 0)
                }
            }
        }
        self.exchange("step", &json!({ "do": "step" }), Some(outcome))
    }

    fn live(&self) -> &[bool] {
        &self.live
    }

    fn observe(&self, agent: AgentId, into: &mut [f32]) {
        let seen = self.observations.get(agent.0).into_iter().flatten();
        into.iter_mut().zip(seen).for_each(|(out, x)| *out = *x);
    }

    fn mask(&self, agent: AgentId, into: &mut [bool]) {
        let mask = self.masks.get(agent.0).into_iter().flatten();
        into.iter_mut().zip(mask).for_each(|(out, m)| *out = *m);
    }
}

fn read_agent(described: &Value) -> Option<AgentSpec> {
    let action = &described["action"];
    let number = |key: &str| action[key].as_f64().map(|x| x as f32);
    let actions = match action["discrete"].as_u64() {
        Some(n) => ActionSpace::Discrete(n as usize),
        None => ActionSpace::Continuous {
            dim: action["box"].as_u64()? as usize,
            low: number("low")?,
            high: number("high")?,
        },
    };
    let observation = described["observation"].as_u64()? as usize;
    Some(AgentSpec { name: described["name"].as_str()?.into(), group: 0, observation, actions })
}

/// Takes little-endian numbers from the front of `body`.
fn read<T, const N: usize>(body: &mut &[u8], into: &mut [T], decode: impl Fn([u8; N]) -> T) -> Result<()> {
    let size = into.len() * N;
    let Some((front, rest)) = body.split_at_checked(size) else {
        return Err(Error::shape("answer of the bridge", format!("{size} more bytes"), body.len()));
    };
    for (value, bytes) in into.iter_mut().zip(front.chunks_exact(N)) {
        let mut word = [0; N];
        word.copy_from_slice(bytes);
        *value = decode(word);
    }
    *body = rest;
    Ok(())
}
