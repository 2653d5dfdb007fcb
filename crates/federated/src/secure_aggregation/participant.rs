//! Secure aggregation as tasks of an engine: what a node does with the protocol's bytes, whichever transport brings them.
//!
//! A task carries `session` (32 bytes) and `secagg`: empty to open a session, otherwise the server's next message. The
//! answer carries `client` and `secagg`, the message for the server.

use super::message::{Limits, Message};
use super::{Client, ClientId, Directory, Quantiser, QuantiserConfig, SessionConfig, SessionId};
use crate::error::{Error, Result};
use crate::transport::{Answer, Setting, Task};
use ed25519_dalek::SigningKey;
use rand::CryptoRng;
use std::collections::BTreeSet;

/// One client's side of all its sessions.
pub struct Participant {
    id: ClientId,
    identity: SigningKey,
    directory: Directory,
    quantiser: Quantiser,
    running: Option<(SessionId, SessionConfig, Client, Vec<u32>)>,
    past: BTreeSet<SessionId>,
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Participant {{ id: {}, running: {}, .. }}", self.id, self.running.is_some())
    }
}

impl Participant {
    /// For a client of `directory`. The threshold follows from the directory's size: no server can lower it.
    ///
    /// # Errors
    /// A quantiser whose sums could wrap, or fewer places in it than clients.
    pub fn new(
        id: ClientId,
        identity: SigningKey,
        directory: Directory,
        quantiser: QuantiserConfig,
    ) -> Result<Self> {
        if (quantiser.most_clients as usize) < directory.len() {
            return Err(Error::shape(
                "quantiser",
                format!("places for {} clients", directory.len()),
                quantiser.most_clients,
            ));
        }
        let quantiser = Quantiser::new(quantiser)?;
        Ok(Self { id, identity, directory, quantiser, running: None, past: BTreeSet::new() })
    }

    /// What server and clients derive alike from the directory and the length of an update.
    pub fn session_config(clients: usize, update_length: usize) -> SessionConfig {
        SessionConfig::complete(clients, update_length + 1)
    }

    /// Answers a task of the protocol. To open a session `train` is called for the update and its weight.
    ///
    /// # Errors
    /// A task without the protocol's settings, a session that was used before, or what the protocol refuses.
    pub fn handle(
        &mut self,
        task: &Task,
        train: impl FnOnce(&Task) -> Result<(Vec<f32>, u32)>,
        rng: &mut impl CryptoRng,
    ) -> Result<Answer> {
        let missing = || Error::malformed("task", "it lacks `session` or `secagg`");
        let session = task.bytes("session").and_then(|b| SessionId::try_from(b).ok()).ok_or_else(missing)?;
        let bytes = task.bytes("secagg").ok_or_else(missing)?;
        let message = if bytes.is_empty() {
            if !self.past.insert(session) {
                return Err(Error::OutOfOrder {
                    operation: "secure aggregation",
                    reason: "this session was used before".into(),
                });
            }
            let (update, weight) = train(task)?;
            let config = Self::session_config(self.directory.len(), update.len());
            let input = self.quantiser.encode(&update, weight, rng)?;
            let (client, advert) =
                Client::new(config, session, self.id, self.identity.clone(), self.directory.clone(), rng)?;
            self.running = Some((session, config, client, input));
            advert
        } else {
            let running = self.running.as_mut().filter(|(running, ..)| *running == session);
            let Some((_, config, client, input)) = running else {
                return Err(Error::OutOfOrder {
                    operation: "secure aggregation",
                    reason: "no such session is running".into(),
                });
            };
            client.handle(&Message::decode(bytes, &Limits::from(&*config))?, input, rng)?
        };
        let extra = vec![
            ("client".to_string(), Setting::Int(self.id.into())),
            ("secagg".to_string(), Setting::Bytes(message.encode())),
        ];
        Ok(Answer { extra, ..Answer::default() })
    }
}
