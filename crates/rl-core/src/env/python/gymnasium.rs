//! Gymnasium environments in a child process, one or a batch of copies.

use super::transport::PythonProcess;
use crate::env::vector::check_running;
use crate::env::{Action, Actions, Autoreset, Batch, BatchEnv, Env, EnvSpec, Space, Step};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

const SCRIPT: &str = include_str!("gymnasium.py");

/// Which environment to make, and with which Python.
#[derive(Clone, Debug)]
pub struct GymnasiumOptions {
    /// The interpreter; `python3` by default. One of a virtual environment brings its packages with it.
    pub interpreter: PathBuf,
    /// Further arguments of `gymnasium.make`; none by default, so nothing is rendered.
    pub kwargs: Map<String, Value>,
}

impl Default for GymnasiumOptions {
    fn default() -> Self {
        Self { interpreter: "python3".into(), kwargs: Map::new() }
    }
}

/// Copies of a Gymnasium environment in one child process, one message per step of all of them.
///
/// Discrete and Box spaces; a discrete observation is one-hot, a Box is flattened in C order and rounded to f32, an
/// action is given in the dtype of its space. Seeds are those of [`VectorEnv`](crate::env::VectorEnv), and so are
/// the three modes: the same environment gives the same bits either way.
pub struct GymnasiumVector {
    process: PythonProcess,
    spec: EnvSpec,
    mode: Autoreset,
    batch: Batch,
    over: Vec<bool>,
    request: Vec<u8>,
}

impl GymnasiumVector {
    /// Starts a Python process with `copies` of the environment `id`.
    ///
    /// # Errors
    /// [`Error::Bridge`] if the interpreter or the package is missing, the environment is unknown or cannot be made,
    /// or its spaces are neither Discrete nor Box; [`Error::Config`] for no copies.
    pub fn new(id: &str, copies: usize, mode: Autoreset, options: &GymnasiumOptions) -> Result<Self> {
        if copies == 0 {
            return Err(Error::config("gymnasium", "copies", copies, "at least 1"));
        }
        let peer = format!("Gymnasium's {id}");
        let argument = json!({ "id": id, "copies": copies, "kwargs": options.kwargs }).to_string();
        let (process, greeting, bounds) =
            PythonProcess::start(&peer, &options.interpreter, SCRIPT, &[&argument])?;
        let spec = read_spec(id, &greeting, &bounds).map_err(|reason| Error::Bridge {
            peer,
            reason: format!("its greeting cannot be read: {reason}"),
        })?;
        let batch = Batch::new(copies, spec.observation.width());
        Ok(Self { process, spec, mode, batch, over: vec![true; copies], request: Vec::new() })
    }

    /// The child's process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    fn reset_chosen(&mut self, mask: &[bool], seed: Option<u64>) -> Result<()> {
        self.request.clear();
        self.request.extend(mask.iter().map(|&chosen| u8::from(chosen)));
        let header = json!({ "do": "reset", "seed": seed });
        let (_, mut body) = self.process.request("reset", &header, &self.request)?;
        read(&mut body, &mut self.batch.observations, f32::from_le_bytes)?;
        for (i, _) in mask.iter().enumerate().filter(|(_, chosen)| **chosen) {
            self.batch.clear(i);
            self.over[i] = false;
        }
        Ok(())
    }
}

impl BatchEnv for GymnasiumVector {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<()> {
        self.reset_chosen(&vec![true; self.over.len()], seed)
    }

    fn reset_where(&mut self, mask: &[bool]) -> Result<()> {
        if mask.len() != self.over.len() {
            return Err(Error::shape("reset_where", format!("{} flags", self.over.len()), mask.len()));
        }
        self.reset_chosen(mask, None)
    }

    fn step(&mut self, actions: Actions<'_>) -> Result<()> {
        actions.check(&self.spec, self.over.len())?;
        if self.mode != Autoreset::NextStep {
            check_running(&self.over)?;
        }
        self.request.clear();
        self.request.extend(self.over.iter().map(|&over| u8::from(over)));
        match actions {
            Actions::Discrete(all) => all.iter().for_each(|&a| self.request.extend((a as i64).to_le_bytes())),
            Actions::Continuous(all) => all.iter().for_each(|a| self.request.extend(a.to_le_bytes())),
        }
        let header = json!({ "do": "step", "same_step": self.mode == Autoreset::SameStep });
        let (_, mut body) = self.process.request("step", &header, &self.request)?;
        let batch = &mut self.batch;
        read(&mut body, &mut batch.observations, f32::from_le_bytes)?;
        read(&mut body, &mut batch.final_observations, f32::from_le_bytes)?;
        read(&mut body, &mut batch.rewards, f64::from_le_bytes)?;
        read(&mut body, &mut batch.terminated, |[byte]| byte != 0)?;
        read(&mut body, &mut batch.truncated, |[byte]| byte != 0)?;
        for (i, over) in self.over.iter_mut().enumerate() {
            batch.ignored[i] = *over;
            *over = batch.done(i) && self.mode != Autoreset::SameStep;
        }
        Ok(())
    }

    fn batch(&self) -> &Batch {
        &self.batch
    }
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

fn read_spec(id: &str, greeting: &Value, mut bounds: &[u8]) -> std::result::Result<EnvSpec, String> {
    let mut space = |name: &str| {
        let described = &greeting[name];
        if let Some(n) = described["discrete"].as_u64() {
            return Ok(Space::Discrete(n as usize));
        }
        let size = described["box"].as_u64().ok_or_else(|| format!("no {name} space"))? as usize;
        let (mut low, mut high) = (vec![0.0; size], vec![0.0; size]);
        for bound in [&mut low, &mut high] {
            read(&mut bounds, bound, f32::from_le_bytes).map_err(|e| e.to_string())?;
        }
        Ok::<_, String>(Space::Box { low, high })
    };
    Ok(EnvSpec {
        id: id.into(),
        observation: space("observation")?,
        action: space("action")?,
        max_episode_steps: greeting["max_episode_steps"].as_u64().map(|limit| limit as u32),
        reward_threshold: greeting["reward_threshold"].as_f64(),
    })
}

/// One Gymnasium environment as an [`Env`].
pub struct GymnasiumEnv {
    vector: GymnasiumVector,
}

impl GymnasiumEnv {
    /// Starts a Python process with the environment `id`.
    ///
    /// # Errors
    /// As [`GymnasiumVector::new`].
    pub fn new(id: &str, options: &GymnasiumOptions) -> Result<Self> {
        Ok(Self { vector: GymnasiumVector::new(id, 1, Autoreset::Disabled, options)? })
    }

    fn check_size(&self, operation: &'static str, observation: &[f32]) -> Result<()> {
        let expected = self.vector.batch.width;
        if observation.len() == expected {
            return Ok(());
        }
        Err(Error::shape(operation, format!("{expected} observed numbers"), observation.len()))
    }
}

impl Env for GymnasiumEnv {
    fn spec(&self) -> &EnvSpec {
        &self.vector.spec
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.check_size("reset", observation)?;
        self.vector.reset(seed)?;
        observation.copy_from_slice(&self.vector.batch.observations);
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        self.check_size("step", observation)?;
        self.vector.spec.action.check(&self.vector.spec.id, action)?;
        match action {
            Action::Discrete(a) => self.vector.step(Actions::Discrete(&[a]))?,
            Action::Continuous(a) => self.vector.step(Actions::Continuous(a))?,
        }
        let batch = &self.vector.batch;
        observation.copy_from_slice(&batch.observations);
        Ok(Step { reward: batch.rewards[0], terminated: batch.terminated[0], truncated: batch.truncated[0] })
    }

    fn save(&self) -> Result<Value> {
        let reason =
            "an environment in another process cannot be saved; use a native one to resume exactly".into();
        Err(Error::State { operation: "save", reason })
    }

    fn load(&mut self, _: &Value) -> Result<()> {
        let reason =
            "an environment in another process cannot be loaded; use a native one to resume exactly".into();
        Err(Error::State { operation: "load", reason })
    }
}
