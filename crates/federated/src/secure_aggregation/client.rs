//! One client of secure aggregation: five steps, each of which uses the state up. After an error the client is spent.

use super::keys::{KeyPair, Secret, decrypt, encrypt, mask_key};
use super::mask::{Sign, apply};
use super::message::{Advert, Body, Envelope, Message, Revealed};
use super::shamir::{Gf256, split};
use super::{
    ClientId, Directory, Party, SessionConfig, SessionId, ShareOf, advertised, ascending, commit_seed,
    commit_share, envelope_context, enveloped, graph, signed, survived,
};
use crate::error::{Error, Result};
use ed25519_dalek::{Signer, SigningKey};
use rand::CryptoRng;
use std::collections::BTreeMap;

/// A client in some round of one session.
pub struct Client {
    config: SessionConfig,
    session: SessionId,
    id: ClientId,
    identity: SigningKey,
    directory: Directory,
    state: State,
}

/// What the client knows between two messages.
enum State {
    /// Waits for the keys of the others.
    Advertised { cipher: KeyPair, mask: KeyPair },
    /// Waits for its shares.
    Shared {
        cipher: KeyPair,
        mask: KeyPair,
        seed: Secret,
        own: [Secret; 2],
        peers: BTreeMap<ClientId, Advert>,
        everyone: Vec<ClientId>,
    },
    /// Waits for the survivors. `held` are the shares of all in its closed neighbourhood that shared.
    Masked { held: BTreeMap<ClientId, [Secret; 2]>, everyone: Vec<ClientId> },
    /// Waits for the others' signatures.
    Confirmed { held: BTreeMap<ClientId, [Secret; 2]>, survivors: Vec<ClientId> },
    /// Has answered, or met an error.
    Spent,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let round = match self.state {
            State::Advertised { .. } => "advertised",
            State::Shared { .. } => "shared",
            State::Masked { .. } => "masked",
            State::Confirmed { .. } => "confirmed",
            State::Spent => "spent",
        };
        write!(f, "Client {{ id: {}, state: {round}, .. }}", self.id)
    }
}

fn blame<T>(party: Party, misdeed: impl ToString) -> Result<T> {
    Err(Error::Tampering { party, misdeed: misdeed.to_string() })
}

fn out_of_order<T>(operation: &'static str) -> Result<T> {
    let reason = "this message does not come now: it was sent twice, too early, or to a spent client".into();
    Err(Error::OutOfOrder { operation, reason })
}

impl Client {
    /// Round 0: makes fresh keys and the message that advertises them. `session` must come from the server and be new.
    ///
    /// # Errors
    /// A bad configuration, or a directory in which this client stands with another key or not at all.
    pub fn new(
        config: SessionConfig,
        session: SessionId,
        id: ClientId,
        identity: SigningKey,
        directory: Directory,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Message)> {
        config.validate()?;
        if directory.get(&id) != Some(&identity.verifying_key()) {
            return Err(Error::malformed(
                "directory",
                format!("client {id} does not stand in it with this identity key"),
            ));
        }
        let (cipher, mask) = (KeyPair::random(rng), KeyPair::random(rng));
        let mut advert =
            Advert { client: id, cipher_key: cipher.public(), mask_key: mask.public(), signature: [0; 64] };
        advert.signature = identity.sign(&advertised(&session, &advert)).to_bytes();
        let client =
            Self { config, session, id, identity, directory, state: State::Advertised { cipher, mask } };
        Ok((client, Message { session, body: Body::Advert(advert) }))
    }

    /// Handles the next message of the server and returns the answer, in whichever round the client is. `input` is what
    /// it contributes in round 2: `vector_length` words, already quantised so that sums do not wrap.
    ///
    /// # Errors
    /// A message that is of another session, out of order, or shows tampering. The client is then spent: its secrets are
    /// wiped and it answers nothing any more.
    pub fn handle(&mut self, message: &Message, input: &[u32], rng: &mut impl CryptoRng) -> Result<Message> {
        let state = std::mem::replace(&mut self.state, State::Spent);
        if message.session != self.session {
            return Err(Error::malformed("message", "it belongs to another session"));
        }
        let body = match (state, &message.body) {
            (State::Advertised { cipher, mask }, Body::KeyList(adverts)) => {
                self.share_keys(cipher, mask, adverts, rng)
            }
            (State::Shared { cipher, mask, seed, own, peers, everyone }, Body::Delivery(to, envelopes))
                if *to == self.id =>
            {
                let held = self.open(&cipher, own, &peers, envelopes)?;
                self.mask_input(&mask, &seed, &peers, &held, input)
                    .inspect(|_| self.state = State::Masked { held, everyone })
            }
            (State::Masked { held, everyone }, Body::Survivors(survivors)) => {
                self.confirm(held, &everyone, survivors)
            }
            (State::Confirmed { held, survivors }, Body::Confirmations(signatures)) => {
                self.unmask(held, &survivors, signatures)
            }
            _ => out_of_order("secure aggregation client"),
        }?;
        Ok(Message { session: self.session, body })
    }

    /// Round 1: checks the list of keys, splits the secrets, seals an envelope for every neighbour.
    fn share_keys(
        &mut self,
        cipher: KeyPair,
        mask: KeyPair,
        adverts: &[Advert],
        rng: &mut impl CryptoRng,
    ) -> Result<Body> {
        let everyone: Vec<ClientId> = adverts.iter().map(|a| a.client).collect();
        if !ascending(&everyone) || everyone.len() > self.config.most_clients {
            return blame(Party::Server, "sent a list of keys with repeated or too many clients");
        }
        for advert in adverts {
            if !signed(&self.directory, advert.client, &advertised(&self.session, advert), &advert.signature)
            {
                return blame(Party::Server, format!("sent keys that client {} did not sign", advert.client));
            }
        }
        let mut keys: Vec<[u8; 32]> = adverts.iter().flat_map(|a| [a.cipher_key, a.mask_key]).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|w| w[0] == w[1]) {
            return blame(Party::Server, "sent a list in which a key occurs twice");
        }
        let own_advert = adverts.iter().find(|a| a.client == self.id);
        if own_advert.map(|a| (a.cipher_key, a.mask_key)) != Some((cipher.public(), mask.public())) {
            return blame(Party::Server, format!("left out or replaced the keys of client {}", self.id));
        }
        let neighbours = graph::neighbours(&everyone, self.config.degree, &self.session)
            .remove(&self.id)
            .unwrap_or_default();
        let mut holders = neighbours.clone();
        holders.push(self.id);
        holders.sort_unstable();
        let threshold = self.config.threshold;
        if holders.len() < threshold {
            return Err(Error::TooFew {
                operation: "secure aggregation",
                needed: threshold,
                got: holders.len(),
            });
        }
        let peers: BTreeMap<ClientId, Advert> = adverts
            .iter()
            .filter(|a| neighbours.binary_search(&a.client).is_ok())
            .map(|a| (a.client, a.clone()))
            .collect();

        let seed = Secret::random(rng);
        let wrap = |shares: Vec<[u8; 32]>| shares.into_iter().map(Secret::new).collect::<Vec<_>>();
        let mask_shares = wrap(split::<Gf256>(mask.secret().expose(), threshold, holders.len(), rng)?);
        let seed_shares = wrap(split::<Gf256>(seed.expose(), threshold, holders.len(), rng)?);
        let mut own = [Secret::new([0; 32]), Secret::new([0; 32])];
        let mut envelopes = Vec::with_capacity(holders.len());
        for ((&holder, mask_share), seed_share) in holders.iter().zip(&mask_shares).zip(&seed_shares) {
            if holder == self.id {
                own = [mask_share.clone(), seed_share.clone()];
            }
            envelopes.push(self.seal(&cipher, peers.get(&holder), holder, &seed, mask_share, seed_share)?);
        }
        self.state = State::Shared { cipher, mask, seed, own, peers, everyone };
        Ok(Body::Shares(self.id, envelopes))
    }

    /// The envelope for `holder`; the one to itself carries commitments only.
    fn seal(
        &self,
        cipher: &KeyPair,
        peer: Option<&Advert>,
        holder: ClientId,
        seed: &Secret,
        mask_share: &Secret,
        seed_share: &Secret,
    ) -> Result<Envelope> {
        let session = &self.session;
        let sealed = match peer {
            Some(peer) => {
                let plain = zeroize::Zeroizing::new([*mask_share.expose(), *seed_share.expose()].concat());
                encrypt(
                    &cipher.agree(&peer.cipher_key)?,
                    &envelope_context(session, self.id, holder),
                    &plain,
                )?
            }
            None => Vec::new(),
        };
        let commitments = [
            commit_share(session, ShareOf::MaskKey, self.id, holder, mask_share.expose()),
            commit_share(session, ShareOf::Seed, self.id, holder, seed_share.expose()),
        ];
        let seed_commitment = commit_seed(session, self.id, seed.expose());
        let mut envelope =
            Envelope { owner: self.id, holder, sealed, commitments, seed_commitment, signature: [0; 64] };
        envelope.signature = self.identity.sign(&enveloped(session, &envelope)).to_bytes();
        Ok(envelope)
    }

    /// Round 2, first half: opens the envelopes. A bad signature is the server's doing, a bad content its owner's.
    fn open(
        &self,
        cipher: &KeyPair,
        own: [Secret; 2],
        peers: &BTreeMap<ClientId, Advert>,
        envelopes: &[Envelope],
    ) -> Result<BTreeMap<ClientId, [Secret; 2]>> {
        let session = &self.session;
        let mut held = BTreeMap::from([(self.id, own)]);
        for envelope in envelopes {
            let owner = envelope.owner;
            let Some(peer) = peers.get(&owner).filter(|_| envelope.holder == self.id) else {
                return blame(
                    Party::Server,
                    format!("delivered an envelope of client {owner} that is not for this client"),
                );
            };
            if !signed(&self.directory, owner, &enveloped(session, envelope), &envelope.signature) {
                return blame(Party::Server, format!("altered the envelope of client {owner}"));
            }
            let context = envelope_context(session, owner, self.id);
            let Ok(plain) = decrypt(&cipher.agree(&peer.cipher_key)?, &context, &envelope.sealed) else {
                return blame(Party::Client(owner), "signed an envelope that does not decrypt");
            };
            let (Some(mask_share), Some(seed_share)) = (plain.first_chunk::<32>(), plain.last_chunk::<32>())
            else {
                return blame(Party::Client(owner), "sent shares of a wrong length");
            };
            let expected = [
                commit_share(session, ShareOf::MaskKey, owner, self.id, mask_share),
                commit_share(session, ShareOf::Seed, owner, self.id, seed_share),
            ];
            if expected != envelope.commitments {
                return blame(Party::Client(owner), "sent shares that differ from its commitments");
            }
            if held.insert(owner, [Secret::new(*mask_share), Secret::new(*seed_share)]).is_some() {
                return blame(Party::Server, format!("delivered the envelope of client {owner} twice"));
            }
        }
        if held.len() < self.config.threshold {
            return Err(Error::TooFew {
                operation: "secure aggregation",
                needed: self.config.threshold,
                got: held.len(),
            });
        }
        Ok(held)
    }

    /// Round 2, second half: `y_u = x_u + PRG(b_u) + Σ_{v>u} PRG(s_uv) − Σ_{v<u} PRG(s_uv)`.
    fn mask_input(
        &self,
        mask: &KeyPair,
        seed: &Secret,
        peers: &BTreeMap<ClientId, Advert>,
        held: &BTreeMap<ClientId, [Secret; 2]>,
        input: &[u32],
    ) -> Result<Body> {
        if input.len() != self.config.vector_length {
            return Err(Error::shape("secure aggregation input", self.config.vector_length, input.len()));
        }
        let mut masks = vec![(seed.clone(), Sign::Plus)];
        for (&v, peer) in peers.iter().filter(|(v, _)| held.contains_key(v)) {
            let key = mask_key(&mask.agree(&peer.mask_key)?, &self.session, self.id, v);
            masks.push((key, if v > self.id { Sign::Plus } else { Sign::Minus }));
        }
        let mut y = input.to_vec();
        apply(&mut y, &masks);
        Ok(Body::MaskedInput(self.id, y))
    }

    /// Round 3: signs the list of survivors, if it is possible.
    fn confirm(
        &mut self,
        held: BTreeMap<ClientId, [Secret; 2]>,
        everyone: &[ClientId],
        survivors: &[ClientId],
    ) -> Result<Body> {
        let known = survivors.iter().all(|v| everyone.binary_search(v).is_ok());
        if !ascending(survivors) || !known || survivors.binary_search(&self.id).is_err() {
            return blame(Party::Server, "sent an impossible list of survivors");
        }
        let around = survivors.iter().filter(|v| held.contains_key(v)).count();
        if around < self.config.threshold {
            return Err(Error::TooFew {
                operation: "secure aggregation",
                needed: self.config.threshold,
                got: around,
            });
        }
        let signature = self.identity.sign(&survived(&self.session, survivors)).to_bytes();
        self.state = State::Confirmed { held, survivors: survivors.to_vec() };
        Ok(Body::Confirmation(self.id, signature))
    }

    /// Round 4: once enough others have signed the same list, reveals of each client one share, never both.
    fn unmask(
        &self,
        held: BTreeMap<ClientId, [Secret; 2]>,
        survivors: &[ClientId],
        signatures: &[(ClientId, [u8; 64])],
    ) -> Result<Body> {
        let signers: Vec<ClientId> = signatures.iter().map(|(v, _)| *v).collect();
        if !ascending(&signers) || signers.iter().any(|v| survivors.binary_search(v).is_err()) {
            return blame(Party::Server, "sent signatures of clients that did not survive, or twice");
        }
        let digest = survived(&self.session, survivors);
        for (v, signature) in signatures {
            if !signed(&self.directory, *v, &digest, signature) {
                return blame(
                    Party::Server,
                    format!("showed client {v} another list of survivors, or forged its signature"),
                );
            }
        }
        let around = signers.iter().filter(|v| held.contains_key(v)).count();
        if around < self.config.threshold {
            return Err(Error::TooFew {
                operation: "secure aggregation",
                needed: self.config.threshold,
                got: around,
            });
        }
        let (mut mask_keys, mut seeds) = (Vec::new(), Vec::new());
        for (owner, [mask_share, seed_share]) in &held {
            let (list, share) = match survivors.binary_search(owner) {
                Ok(_) => (&mut seeds, seed_share),
                Err(_) => (&mut mask_keys, mask_share),
            };
            list.push(Revealed { owner: *owner, share: *share.expose() });
        }
        Ok(Body::Unmask(self.id, mask_keys, seeds))
    }
}
