//! The server of secure aggregation: collects the messages of a round, closes it, and in the end knows the sum.
//!
//! It keeps one running sum, so its memory does not grow with the number of clients. Whoever sends something that can be
//! proved wrong is named and left out; the protocol goes on without it as without any client that drops out.

use super::keys::{KeyPair, Secret, mask_key};
use super::mask::{Sign, apply};
use super::message::{Advert, Body, Envelope, Message, Revealed, SEALED};
use super::shamir::{Gf256, combine};
use super::{
    ClientId, Directory, Party, SessionConfig, SessionId, ShareOf, advertised, commit_seed, commit_share,
    enveloped, graph, signed, survived,
};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Commitments by owner: to its seed, and per holder to both shares.
type Commitments = BTreeMap<ClientId, ([u8; 32], BTreeMap<ClientId, [[u8; 32]; 2]>)>;

/// What the server learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// `Σ_{u ∈ survivors} x_u (mod 2³²)`, `[vector_length]`.
    pub sum: Vec<u32>,
    /// Whose inputs are in it, ascending.
    pub survivors: Vec<ClientId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Advertise,
    Share,
    Input,
    Confirm,
    Unmask,
    Done,
}

/// The server in some round of one session.
#[derive(Debug)]
pub struct Server {
    config: SessionConfig,
    session: SessionId,
    directory: Directory,
    round: Round,
    adverts: BTreeMap<ClientId, Advert>,
    neighbours: BTreeMap<ClientId, Vec<ClientId>>,
    mailboxes: BTreeMap<ClientId, Vec<Envelope>>,
    commitments: Commitments,
    sum: Vec<u32>,
    survivors: BTreeSet<ClientId>,
    signatures: BTreeMap<ClientId, [u8; 64]>,
    /// By owner: (number of the holder's share, share).
    mask_shares: BTreeMap<ClientId, Vec<(usize, [u8; 32])>>,
    seed_shares: BTreeMap<ClientId, Vec<(usize, [u8; 32])>>,
    answered: BTreeSet<ClientId>,
}

fn blame<T>(client: ClientId, misdeed: impl ToString) -> Result<T> {
    Err(Error::Tampering { party: Party::Client(client), misdeed: misdeed.to_string() })
}

impl Server {
    /// Opens round 0. `session` must be fresh randomness.
    ///
    /// # Errors
    /// A bad configuration.
    pub fn new(config: SessionConfig, session: SessionId, directory: Directory) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            session,
            directory,
            round: Round::Advertise,
            adverts: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            commitments: BTreeMap::new(),
            sum: vec![0; config.vector_length],
            survivors: BTreeSet::new(),
            signatures: BTreeMap::new(),
            mask_shares: BTreeMap::new(),
            seed_shares: BTreeMap::new(),
            answered: BTreeSet::new(),
        })
    }

    /// Takes one client's message of the present round. `sender` is whom the transport has authenticated.
    ///
    /// # Errors
    /// A message of another session, round or sender, sent twice, or malformed; [`Error::Tampering`] where the sender is
    /// provably at fault. The server's state is then as before.
    pub fn receive(&mut self, sender: ClientId, message: Message) -> Result<()> {
        if message.session != self.session {
            return Err(Error::malformed("message", "it belongs to another session"));
        }
        let claimed = match &message.body {
            Body::Advert(advert) => Some(advert.client),
            Body::Shares(id, _)
            | Body::MaskedInput(id, _)
            | Body::Confirmation(id, _)
            | Body::Unmask(id, ..) => Some(*id),
            _ => None,
        };
        if claimed.is_some_and(|id| id != sender) {
            return blame(sender, "sent a message in another client's name");
        }
        match (self.round, message.body) {
            (Round::Advertise, Body::Advert(advert)) => self.take_advert(advert),
            (Round::Share, Body::Shares(_, envelopes)) => self.take_shares(sender, envelopes),
            (Round::Input, Body::MaskedInput(_, vector)) => self.take_input(sender, &vector),
            (Round::Confirm, Body::Confirmation(_, signature)) => self.take_confirmation(sender, signature),
            (Round::Unmask, Body::Unmask(_, mask_keys, seeds)) => {
                self.take_unmask(sender, &mask_keys, &seeds)
            }
            (round, _) => {
                let reason = format!("a message of client {sender} does not belong to the round {round:?}");
                Err(Error::OutOfOrder { operation: "secure aggregation server", reason })
            }
        }
    }

    fn repeated<T>(&self, client: ClientId) -> Result<T> {
        let reason = format!("client {client} has sent its message of round {:?} already", self.round);
        Err(Error::OutOfOrder { operation: "secure aggregation server", reason })
    }

    fn not_in_session<T>(&self, client: ClientId) -> Result<T> {
        let reason = format!("client {client} is not, or no longer, part of this session");
        Err(Error::OutOfOrder { operation: "secure aggregation server", reason })
    }

    fn enough(&self, got: usize) -> Result<()> {
        if got >= self.config.threshold {
            return Ok(());
        }
        Err(Error::TooFew { operation: "secure aggregation", needed: self.config.threshold, got })
    }

    /// Leaves a round exactly once.
    fn leave(&mut self, round: Round, next: Round) -> Result<()> {
        if self.round != round {
            let reason = format!("the server is in round {:?}", self.round);
            return Err(Error::OutOfOrder { operation: "closing a round of secure aggregation", reason });
        }
        self.round = next;
        Ok(())
    }

    fn message(&self, body: Body) -> Message {
        Message { session: self.session, body }
    }

    fn take_advert(&mut self, advert: Advert) -> Result<()> {
        if !signed(&self.directory, advert.client, &advertised(&self.session, &advert), &advert.signature) {
            return blame(advert.client, "sent keys without a valid signature");
        }
        if self.adverts.contains_key(&advert.client) {
            return self.repeated(advert.client);
        }
        let keys = [advert.cipher_key, advert.mask_key];
        let reused = keys[0] == keys[1]
            || self.adverts.values().any(|a| keys.contains(&a.cipher_key) || keys.contains(&a.mask_key));
        if reused {
            return blame(advert.client, "sent a key that is in use already");
        }
        if self.adverts.len() >= self.config.most_clients {
            return Err(Error::OutOfOrder {
                operation: "secure aggregation server",
                reason: "the session is full".into(),
            });
        }
        self.adverts.insert(advert.client, advert);
        Ok(())
    }

    /// Closes round 0: the list of keys for everyone.
    ///
    /// # Errors
    /// Fewer clients than the threshold, or called twice.
    pub fn close_advertise(&mut self) -> Result<Message> {
        self.enough(self.adverts.len())?;
        self.leave(Round::Advertise, Round::Share)?;
        let everyone: Vec<ClientId> = self.adverts.keys().copied().collect();
        self.neighbours = graph::neighbours(&everyone, self.config.degree, &self.session);
        Ok(self.message(Body::KeyList(self.adverts.values().cloned().collect())))
    }

    /// Share holders of `owner`: its neighbours and itself, ascending. A holder's place is its share's number, from 1.
    fn holders(&self, owner: ClientId) -> Vec<ClientId> {
        let mut holders = self.neighbours.get(&owner).cloned().unwrap_or_default();
        holders.push(owner);
        holders.sort_unstable();
        holders
    }

    fn take_shares(&mut self, owner: ClientId, envelopes: Vec<Envelope>) -> Result<()> {
        if !self.adverts.contains_key(&owner) {
            return self.not_in_session(owner);
        }
        if self.commitments.contains_key(&owner) {
            return self.repeated(owner);
        }
        let addressed: Vec<ClientId> = envelopes.iter().map(|e| e.holder).collect();
        if addressed != self.holders(owner) {
            return blame(owner, "did not address exactly one envelope to every neighbour and itself");
        }
        let seed_commitment = envelopes[0].seed_commitment;
        for envelope in &envelopes {
            let length = if envelope.holder == owner { 0 } else { SEALED };
            let consistent = envelope.seed_commitment == seed_commitment && envelope.sealed.len() == length;
            if envelope.owner != owner || !consistent {
                return blame(owner, "sent an inconsistent envelope");
            }
            if !signed(&self.directory, owner, &enveloped(&self.session, envelope), &envelope.signature) {
                return blame(owner, "sent an envelope without a valid signature");
            }
        }
        let commitments = envelopes.iter().map(|e| (e.holder, e.commitments)).collect();
        self.commitments.insert(owner, (seed_commitment, commitments));
        for envelope in envelopes.into_iter().filter(|e| e.holder != owner) {
            self.mailboxes.entry(envelope.holder).or_default().push(envelope);
        }
        Ok(())
    }

    /// Closes round 1: to each client that shared, its envelopes.
    ///
    /// # Errors
    /// Fewer clients than the threshold, or called twice.
    pub fn close_share(&mut self) -> Result<BTreeMap<ClientId, Message>> {
        self.enough(self.commitments.len())?;
        self.leave(Round::Share, Round::Input)?;
        let mut mailboxes = std::mem::take(&mut self.mailboxes);
        let delivery = |id: &ClientId| {
            (*id, self.message(Body::Delivery(*id, mailboxes.remove(id).unwrap_or_default())))
        };
        Ok(self.commitments.keys().map(delivery).collect())
    }

    fn take_input(&mut self, client: ClientId, vector: &[u32]) -> Result<()> {
        if !self.commitments.contains_key(&client) {
            return self.not_in_session(client);
        }
        if vector.len() != self.config.vector_length {
            return blame(
                client,
                format!("sent {} numbers instead of {}", vector.len(), self.config.vector_length),
            );
        }
        if !self.survivors.insert(client) {
            return self.repeated(client);
        }
        self.sum.iter_mut().zip(vector).for_each(|(s, y)| *s = s.wrapping_add(*y));
        Ok(())
    }

    /// Closes round 2: the list of survivors for everyone in it. A later input is refused for good.
    ///
    /// # Errors
    /// Fewer survivors than the threshold, or called twice.
    pub fn close_input(&mut self) -> Result<Message> {
        self.enough(self.survivors.len())?;
        self.leave(Round::Input, Round::Confirm)?;
        Ok(self.message(Body::Survivors(self.survivors.iter().copied().collect())))
    }

    fn take_confirmation(&mut self, client: ClientId, signature: [u8; 64]) -> Result<()> {
        if !self.survivors.contains(&client) {
            return self.not_in_session(client);
        }
        if self.signatures.contains_key(&client) {
            return self.repeated(client);
        }
        let list: Vec<ClientId> = self.survivors.iter().copied().collect();
        if !signed(&self.directory, client, &survived(&self.session, &list), &signature) {
            return blame(client, "did not sign the list of survivors");
        }
        self.signatures.insert(client, signature);
        Ok(())
    }

    /// Closes round 3: all signatures for everyone who signed.
    ///
    /// # Errors
    /// Fewer signatures than the threshold, or called twice.
    pub fn close_confirm(&mut self) -> Result<Message> {
        self.enough(self.signatures.len())?;
        self.leave(Round::Confirm, Round::Unmask)?;
        Ok(self.message(Body::Confirmations(self.signatures.iter().map(|(id, s)| (*id, *s)).collect())))
    }

    fn take_unmask(&mut self, holder: ClientId, mask_keys: &[Revealed], seeds: &[Revealed]) -> Result<()> {
        if !self.signatures.contains_key(&holder) {
            return self.not_in_session(holder);
        }
        if self.answered.contains(&holder) {
            return self.repeated(holder);
        }
        let mut numbered = Vec::new();
        let mut seen = BTreeSet::new();
        for (list, of) in [(mask_keys, ShareOf::MaskKey), (seeds, ShareOf::Seed)] {
            for revealed in list {
                let owner = revealed.owner;
                let Some(committed) =
                    self.commitments.get(&owner).and_then(|(_, shares)| shares.get(&holder))
                else {
                    return blame(
                        holder,
                        format!("revealed a share of client {owner}, of which it holds none"),
                    );
                };
                if self.survivors.contains(&owner) != (of == ShareOf::Seed) || !seen.insert(owner) {
                    return blame(holder, format!("revealed the wrong share of client {owner}"));
                }
                let expected = committed[usize::from(of == ShareOf::Seed)];
                if commit_share(&self.session, of, owner, holder, &revealed.share) != expected {
                    return blame(holder, format!("revealed a false share of client {owner}"));
                }
                let number = self.holders(owner).iter().position(|h| *h == holder).unwrap_or(0) + 1;
                numbered.push((of, owner, number, revealed.share));
            }
        }
        self.answered.insert(holder);
        for (of, owner, number, share) in numbered {
            let shares = if of == ShareOf::Seed { &mut self.seed_shares } else { &mut self.mask_shares };
            shares.entry(owner).or_default().push((number, share));
        }
        Ok(())
    }

    /// Recovers an owner's secret from exactly `t` of its shares.
    fn recover(&self, of: ShareOf, owner: ClientId) -> Result<Secret> {
        let shares = if of == ShareOf::Seed { &self.seed_shares } else { &self.mask_shares };
        let shares = shares.get(&owner).map_or(&[][..], Vec::as_slice);
        self.enough(shares.len())?;
        Ok(Secret::new(combine::<Gf256>(&shares[..self.config.threshold])?))
    }

    /// Ends round 4: takes the survivors' own masks and those shared with clients that dropped out off the sum.
    ///
    /// # Errors
    /// Fewer than `t` shares of some secret: nothing can be said about the sum then. [`Error::Tampering`] names a client
    /// whose (committed) shares do not belong to its secret.
    pub fn finish(&mut self) -> Result<Aggregate> {
        self.enough(self.answered.len())?;
        let mut masks = Vec::new();
        for &u in &self.survivors {
            let seed = self.recover(ShareOf::Seed, u)?;
            if self.commitments.get(&u).map(|(commitment, _)| *commitment)
                != Some(commit_seed(&self.session, u, seed.expose()))
            {
                return blame(u, "dealt shares that do not belong to its seed");
            }
            masks.push((seed, Sign::Minus));
        }
        for &v in self.commitments.keys().filter(|v| !self.survivors.contains(v)) {
            let survivors: Vec<ClientId> = self
                .neighbours
                .get(&v)
                .into_iter()
                .flatten()
                .filter(|u| self.survivors.contains(u))
                .copied()
                .collect();
            if survivors.is_empty() {
                continue;
            }
            let pair = KeyPair::from_secret(self.recover(ShareOf::MaskKey, v)?);
            if self.adverts.get(&v).map(|a| a.mask_key) != Some(pair.public()) {
                return blame(v, "dealt shares that do not belong to its mask key");
            }
            for u in survivors {
                let Some(peer) = self.adverts.get(&u) else { continue };
                let key = mask_key(&pair.agree(&peer.mask_key)?, &self.session, u, v);
                // u added the mask when v > u
                masks.push((key, if v > u { Sign::Minus } else { Sign::Plus }));
            }
        }
        self.leave(Round::Unmask, Round::Done)?;
        let mut sum = std::mem::take(&mut self.sum);
        apply(&mut sum, &masks);
        Ok(Aggregate { sum, survivors: self.survivors.iter().copied().collect() })
    }
}

#[cfg(test)]
impl Server {
    /// What a curious server does with the shares it has been given.
    pub(super) fn recover_for_test(&self, owner: ClientId) -> Secret {
        self.recover(ShareOf::Seed, owner).expect("enough shares")
    }
}
