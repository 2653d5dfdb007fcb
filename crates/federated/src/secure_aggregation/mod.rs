//! Secure aggregation: the server learns the sum of the clients' vectors and nothing else.
//!
//! The protocol of Bonawitz et al. 2017 (figure 4, active adversary), rounds 0 to 4, with the optional sparse graph of
//! Bell et al. 2020:
//!
//! 0. **Advertise keys**: each client signs two fresh X25519 keys, one to encrypt, one for masks.
//! 1. **Share keys**: each client splits its mask key and a seed into shares, any `t` of which recover them, and sends
//!    each neighbour its shares, encrypted and signed, with commitments.
//! 2. **Masked input**: `y_u = x_u + PRG(b_u) + Σ_{v>u} PRG(s_uv) − Σ_{v<u} PRG(s_uv) (mod 2³²)`.
//! 3. **Consistency**: all sign the list of survivors, so that the server cannot tell different stories.
//! 4. **Unmasking**: each survivor reveals, of every other client, its share of the mask key if it dropped out and of the
//!    seed if it survived; **never both**, and only once.
//!
//! [`Client`] and [`Server`] are state machines over the messages of [`message`], which are plain bytes on the wire.
//! Whoever deviates where it can be seen is named ([`crate::Error::Tampering`]).
//!
//! What it protects: with the complete graph, `t ≥ ⌊2n/3⌋ + 1` and a directory of identity keys, the inputs of honest
//! clients against a malicious server colluding with fewer than `n/3` clients. With the sparse graph, against a server
//! that follows the protocol, because it could choose the graph. What it does not do: check that an input makes sense
//! (see [`crate::robust`]) or hide what the sum itself tells (see [`crate::privacy`]).

mod client;
pub mod graph;
pub mod keys;
pub mod mask;
pub mod message;
mod participant;
pub mod quantise;
mod server;
pub mod session;
pub mod shamir;
#[cfg(test)]
mod tests;
pub(crate) mod vectors;

pub use client::Client;
pub use participant::Participant;
pub use quantise::{Quantiser, QuantiserConfig};
pub use server::{Aggregate, Server};

use crate::error::{Result, check};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Number of a client, stable over sessions.
pub type ClientId = u32;

/// Random bytes that name one run of the protocol. Never used twice.
pub type SessionId = [u8; 32];

/// The identity keys of all clients: the public-key infrastructure that the active model assumes.
pub type Directory = BTreeMap<ClientId, VerifyingKey>;

/// Who broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The aggregating server.
    Server,
    /// A client.
    Client(ClientId),
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server => f.write_str("the server"),
            Self::Client(id) => write!(f, "client {id}"),
        }
    }
}

/// What all parties of a session agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// Most clients `n ≤ 255` of a neighbourhood, any number with a sparse graph.
    pub most_clients: usize,
    /// `t`: survivors (in every neighbourhood) without which nothing is revealed.
    pub threshold: usize,
    /// Length of the vectors.
    pub vector_length: usize,
    /// Neighbours per client; `None` is the complete graph.
    pub degree: Option<usize>,
    /// Whether the server may be malicious: asks for `t ≥ ⌊2n/3⌋ + 1` instead of `⌊n/2⌋ + 1`.
    pub active_adversary: bool,
}

impl SessionConfig {
    /// The least threshold against an active adversary among `clients` with a complete graph.
    pub fn complete(clients: usize, vector_length: usize) -> Self {
        let threshold = 2 * clients / 3 + 1;
        Self { most_clients: clients, threshold, vector_length, degree: None, active_adversary: true }
    }

    /// Checks that the threshold protects what the module says.
    ///
    /// # Errors
    /// A neighbourhood of more than 255 clients, a threshold that is too low or cannot be met, an empty vector, or a
    /// sparse graph against an active adversary.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "secure_aggregation";
        let holders = self.holders(self.most_clients);
        check(self.most_clients >= 2, NAME, "most_clients", self.most_clients, "≥ 2")?;
        check(
            holders <= 255,
            NAME,
            "most_clients",
            self.most_clients,
            "at most 255 with a complete graph; use a sparse one",
        )?;
        let least = if self.active_adversary { 2 * holders / 3 + 1 } else { holders / 2 + 1 };
        let allowed = "above 2/3 (active adversary) or 1/2 of the share holders, and at most all of them";
        check((least..=holders).contains(&self.threshold), NAME, "threshold", self.threshold, allowed)?;
        check(
            (1..=1 << 30).contains(&self.vector_length),
            NAME,
            "vector_length",
            self.vector_length,
            "in 1..=2^30",
        )?;
        let sparse = self.degree.is_some_and(|k| k + 1 < self.most_clients);
        check(
            !(sparse && self.active_adversary),
            NAME,
            "degree",
            format!("{:?}", self.degree),
            "none against an active adversary",
        )?;
        check(self.degree.is_none_or(|k| k >= 2), NAME, "degree", format!("{:?}", self.degree), "at least 2")
    }

    /// Share holders of one client among `n`: the neighbours and itself.
    fn holders(&self, n: usize) -> usize {
        self.degree.map_or(n, |k| n.min(2 * k.div_ceil(2) + 1))
    }
}

/// What a share is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareOf {
    MaskKey,
    Seed,
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Binds a share to its owner, holder and session. Shares are uniform 32 bytes, so the hash hides them.
pub(crate) fn commit_share(
    session: &SessionId,
    of: ShareOf,
    owner: ClientId,
    holder: ClientId,
    share: &[u8; 32],
) -> [u8; 32] {
    let kind: &[u8] =
        if of == ShareOf::MaskKey { b"secagg/v1/mask-key-share" } else { b"secagg/v1/seed-share" };
    hash(&[kind, session, &owner.to_be_bytes(), &holder.to_be_bytes(), share])
}

/// Binds a client to its seed.
pub(crate) fn commit_seed(session: &SessionId, owner: ClientId, seed: &[u8; 32]) -> [u8; 32] {
    hash(&[b"secagg/v1/seed", session, &owner.to_be_bytes(), seed])
}

/// What a client signs in round 0.
pub(crate) fn advertised(session: &SessionId, advert: &message::Advert) -> [u8; 32] {
    hash(&[b"secagg/v1/advert", session, &advert.client.to_be_bytes(), &advert.cipher_key, &advert.mask_key])
}

/// What binds an envelope to sender, recipient and session; also the associated data of its encryption.
pub(crate) fn envelope_context(session: &SessionId, owner: ClientId, holder: ClientId) -> [u8; 32] {
    hash(&[b"secagg/v1/envelope", session, &owner.to_be_bytes(), &holder.to_be_bytes()])
}

/// What an owner signs in round 1, per envelope.
pub(crate) fn enveloped(session: &SessionId, e: &message::Envelope) -> [u8; 32] {
    let context = envelope_context(session, e.owner, e.holder);
    hash(&[&context, &e.sealed, &e.commitments[0], &e.commitments[1], &e.seed_commitment])
}

/// What a survivor signs in round 3.
pub(crate) fn survived(session: &SessionId, survivors: &[ClientId]) -> [u8; 32] {
    let bytes: Vec<u8> = survivors.iter().flat_map(|id| id.to_be_bytes()).collect();
    hash(&[b"secagg/v1/survivors", session, &bytes])
}

/// Whether `signature` is the client's on `digest`.
pub(crate) fn signed(
    directory: &Directory,
    client: ClientId,
    digest: &[u8; 32],
    signature: &[u8; 64],
) -> bool {
    directory
        .get(&client)
        .is_some_and(|key| key.verify_strict(digest, &Signature::from_bytes(signature)).is_ok())
}

/// Whether ids ascend without repetition.
pub(crate) fn ascending(ids: &[ClientId]) -> bool {
    ids.windows(2).all(|w| w[0] < w[1])
}
