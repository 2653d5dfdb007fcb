//! The messages of secure aggregation and their bytes.
//!
//! Layout: `"QSA1"`, one byte for the kind, the session's 32 bytes, then the fields; numbers are little-endian, lists carry
//! their length as u32. Reading never allocates more than [`Limits`] allow and never panics.

use super::{ClientId, SessionConfig, SessionId};
use crate::error::{Error, Result};

/// Round 0, from a client: its public keys, signed with its identity key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The sender.
    pub client: ClientId,
    /// X25519 key for encryption.
    pub cipher_key: [u8; 32],
    /// X25519 key for masks.
    pub mask_key: [u8; 32],
    /// Ed25519 over both, the sender and the session.
    pub signature: [u8; 64],
}

/// Round 1: one owner's shares for one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Whose secrets.
    pub owner: ClientId,
    /// Who keeps the shares.
    pub holder: ClientId,
    /// Both shares, encrypted; empty in the owner's envelope to itself.
    pub sealed: Vec<u8>,
    /// Commitments to the share of the mask key and to that of the seed.
    pub commitments: [[u8; 32]; 2],
    /// Commitment to the seed.
    pub seed_commitment: [u8; 32],
    /// Ed25519 of the owner over all of this.
    pub signature: [u8; 64],
}

/// A revealed share.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed {
    /// Whose secret.
    pub owner: ClientId,
    /// The share.
    pub share: [u8; 32],
}

impl std::fmt::Debug for Revealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Revealed {{ owner: {}, share: .. }}", self.owner)
    }
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Round 0, up.
    Advert(Advert),
    /// Round 0, down: who takes part.
    KeyList(Vec<Advert>),
    /// Round 1, up: one envelope per holder, the sender included.
    Shares(ClientId, Vec<Envelope>),
    /// Round 1, down: the envelopes addressed to one client.
    Delivery(ClientId, Vec<Envelope>),
    /// Round 2, up.
    MaskedInput(ClientId, Vec<u32>),
    /// Round 2, down: whose input arrived.
    Survivors(Vec<ClientId>),
    /// Round 3, up: signature on the survivors.
    Confirmation(ClientId, [u8; 64]),
    /// Round 3, down: all signatures.
    Confirmations(Vec<(ClientId, [u8; 64])>),
    /// Round 4, up: shares of the mask keys of those who dropped out, and of the seeds of those who did not.
    Unmask(ClientId, Vec<Revealed>, Vec<Revealed>),
}

/// A message of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which session.
    pub session: SessionId,
    /// The rest.
    pub body: Body,
}

/// What a receiver is ready to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of any list of clients.
    pub clients: usize,
    /// Length of a masked vector.
    pub vector_length: usize,
}

impl From<&SessionConfig> for Limits {
    fn from(config: &SessionConfig) -> Self {
        Self { clients: config.most_clients, vector_length: config.vector_length }
    }
}

const MAGIC: &[u8; 4] = b"QSA1";
/// Two shares of 32 bytes and Poly1305's tag.
pub(crate) const SEALED: usize = 64 + 16;

impl Message {
    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let kind = match &self.body {
            Body::Advert(_) => 0,
            Body::KeyList(_) => 1,
            Body::Shares(..) => 2,
            Body::Delivery(..) => 3,
            Body::MaskedInput(..) => 4,
            Body::Survivors(_) => 5,
            Body::Confirmation(..) => 6,
            Body::Confirmations(_) => 7,
            Body::Unmask(..) => 8,
        };
        out.push(kind);
        out.extend(self.session);
        match &self.body {
            Body::Advert(advert) => put_advert(&mut out, advert),
            Body::KeyList(list) => put_list(&mut out, list, put_advert),
            Body::Shares(client, list) | Body::Delivery(client, list) => {
                out.extend(client.to_le_bytes());
                put_list(&mut out, list, put_envelope);
            }
            Body::MaskedInput(client, vector) => {
                out.extend(client.to_le_bytes());
                put_list(&mut out, vector, |out, word| out.extend(word.to_le_bytes()));
            }
            Body::Survivors(list) => put_list(&mut out, list, |out, id| out.extend(id.to_le_bytes())),
            Body::Confirmation(client, signature) => {
                out.extend(client.to_le_bytes());
                out.extend(signature);
            }
            Body::Confirmations(list) => put_list(&mut out, list, |out, (id, signature)| {
                out.extend(id.to_le_bytes());
                out.extend(signature);
            }),
            Body::Unmask(client, mask_keys, seeds) => {
                out.extend(client.to_le_bytes());
                put_list(&mut out, mask_keys, put_revealed);
                put_list(&mut out, seeds, put_revealed);
            }
        }
        out
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Anything that [`Message::encode`] could not have written within the limits.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let mut reader = Reader(bytes);
        if reader.array::<4>()? != *MAGIC {
            return Err(malformed("it does not start with the protocol's mark"));
        }
        let kind = reader.array::<1>()?[0];
        let session = reader.array()?;
        let clients = limits.clients;
        let body = match kind {
            0 => Body::Advert(reader.advert()?),
            1 => Body::KeyList(reader.list(clients, 132, Reader::advert)?),
            2 => Body::Shares(reader.id()?, reader.list(clients, 172, Reader::envelope)?),
            3 => Body::Delivery(reader.id()?, reader.list(clients, 172, Reader::envelope)?),
            4 => Body::MaskedInput(reader.id()?, reader.list(limits.vector_length, 4, Reader::id)?),
            5 => Body::Survivors(reader.list(clients, 4, Reader::id)?),
            6 => Body::Confirmation(reader.id()?, reader.array()?),
            7 => Body::Confirmations(reader.list(clients, 68, |r| Ok((r.id()?, r.array()?)))?),
            8 => Body::Unmask(
                reader.id()?,
                reader.list(clients, 36, Reader::revealed)?,
                reader.list(clients, 36, Reader::revealed)?,
            ),
            other => return Err(malformed(format!("unknown kind {other}"))),
        };
        if !reader.0.is_empty() {
            return Err(malformed(format!("{} bytes left over", reader.0.len())));
        }
        Ok(Self { session, body })
    }
}

fn malformed(reason: impl ToString) -> Error {
    Error::malformed("secure aggregation message", reason)
}

fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend((list.len() as u32).to_le_bytes());
    list.iter().for_each(|item| put(out, item));
}

fn put_advert(out: &mut Vec<u8>, advert: &Advert) {
    out.extend(advert.client.to_le_bytes());
    out.extend(advert.cipher_key);
    out.extend(advert.mask_key);
    out.extend(advert.signature);
}

fn put_envelope(out: &mut Vec<u8>, e: &Envelope) {
    out.extend(e.owner.to_le_bytes());
    out.extend(e.holder.to_le_bytes());
    put_list(out, &e.sealed, |out, byte| out.push(*byte));
    out.extend(e.commitments.as_flattened());
    out.extend(e.seed_commitment);
    out.extend(e.signature);
}

fn put_revealed(out: &mut Vec<u8>, revealed: &Revealed) {
    out.extend(revealed.owner.to_le_bytes());
    out.extend(revealed.share);
}

/// Takes bytes off the front, never past the end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or_else(|| malformed("it ends too early"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn id(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A list of at most `most` items of at least `size` bytes each: its length is checked before anything is allocated.
    fn list<T>(&mut self, most: usize, size: usize, read: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let length = self.id()? as usize;
        if length > most {
            return Err(malformed(format!("a list of {length} where at most {most} are allowed")));
        }
        if length.saturating_mul(size) > self.0.len() {
            return Err(malformed("it ends too early"));
        }
        (0..length).map(|_| read(self)).collect()
    }

    fn advert(&mut self) -> Result<Advert> {
        Ok(Advert {
            client: self.id()?,
            cipher_key: self.array()?,
            mask_key: self.array()?,
            signature: self.array()?,
        })
    }

    fn envelope(&mut self) -> Result<Envelope> {
        Ok(Envelope {
            owner: self.id()?,
            holder: self.id()?,
            sealed: self.list(SEALED, 1, |r| Ok(r.array::<1>()?[0]))?,
            commitments: [self.array()?, self.array()?],
            seed_commitment: self.array()?,
            signature: self.array()?,
        })
    }

    fn revealed(&mut self) -> Result<Revealed> {
        Ok(Revealed { owner: self.id()?, share: self.array()? })
    }
}
