//! How instructions reach clients and replies come back: one trait for every engine.
//!
//! Two engines implement it: the in-process simulation ([`crate::simulation`]) and a node of the Flower framework
//! (`flower::FlowerTransport`, feature `flower`). Payloads are the same typed [`Task`] and [`Answer`] in both.

use crate::error::Result;
use std::time::Duration;

/// What a client is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Where the answer belongs to.
    pub id: String,
    /// What kind of work: `train`, `evaluate`, or `query` with an action, such as `query.secagg`.
    pub kind: String,
    /// Parameters, if the task carries any: flat vectors with shapes.
    pub arrays: Vec<NamedArray>,
    /// Settings of the server, such as the round.
    pub settings: Vec<(String, Setting)>,
}

impl Task {
    /// The number named `name`, whatever its type.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.settings.iter().find(|(key, _)| key == name)?.1 {
            Setting::Float(x) => Some(x),
            Setting::Int(x) => Some(x as f64),
            Setting::Bool(x) => Some(f64::from(u8::from(x))),
            Setting::Text(_) | Setting::Bytes(_) => None,
        }
    }

    /// The bytes named `name`.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        match &self.settings.iter().find(|(key, _)| key == name)?.1 {
            Setting::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// An array of f32 with a name and a shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedArray {
    /// Name.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Numbers.
    pub values: Vec<f32>,
}

/// A setting's or metric's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A real number.
    Float(f64),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Bytes: carries messages of secure aggregation.
    Bytes(Vec<u8>),
}

/// What a client answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// New parameters, if any.
    pub arrays: Vec<NamedArray>,
    /// Numbers such as `num-examples`.
    pub metrics: Vec<(String, f64)>,
    /// Further values, such as the bytes of a protocol.
    pub extra: Vec<(String, Setting)>,
}

/// A client's connection to a server.
pub trait Transport {
    /// The next task, if one comes within `wait`.
    ///
    /// # Errors
    /// A connection that is lost for good, or a peer that breaks the protocol.
    fn pull(&mut self, wait: Duration) -> Result<Option<Task>>;

    /// Sends the answer to `task`.
    ///
    /// # Errors
    /// As [`Transport::pull`].
    fn push(&mut self, task: &Task, answer: Answer) -> Result<()>;

    /// Says that the client is alive.
    ///
    /// # Errors
    /// As [`Transport::pull`].
    fn heartbeat(&mut self) -> Result<()>;
}

/// Serves tasks until `finished` says so, with a heartbeat between any two. A task that `work` fails is left unanswered.
///
/// # Errors
/// Those of the transport; errors of `work` go to `failed`.
pub fn serve(
    transport: &mut impl Transport,
    mut work: impl FnMut(&Task) -> Result<Answer>,
    mut finished: impl FnMut() -> bool,
    mut failed: impl FnMut(&Task, &crate::Error),
) -> Result<()> {
    while !finished() {
        transport.heartbeat()?;
        let Some(task) = transport.pull(Duration::from_millis(200))? else { continue };
        match work(&task) {
            Ok(answer) => transport.push(&task, answer)?,
            Err(error) => failed(&task, &error),
        }
    }
    Ok(())
}
