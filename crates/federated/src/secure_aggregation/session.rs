//! A whole session in one process: for simulations and measurements. Every message goes over the wire format, and the
//! clients' work of a round runs in parallel.

use super::message::{Limits, Message};
use super::{Aggregate, Client, ClientId, Directory, Server, SessionConfig, SessionId};
use crate::error::Result;
use ed25519_dalek::SigningKey;
use rayon::prelude::*;
use rl_core::SeedStream;
use std::collections::BTreeMap;

/// One client of a session.
#[derive(Clone)]
pub struct Member {
    /// Its number.
    pub id: ClientId,
    /// Its identity key.
    pub identity: SigningKey,
    /// What it contributes, `[vector_length]`.
    pub input: Vec<u32>,
    /// It falls silent before its message of this round, 0 to 4; `None` stays to the end.
    pub silent_from: Option<usize>,
}

/// What a session gave and cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// The sum.
    pub aggregate: Aggregate,
    /// Bytes from the clients.
    pub bytes_up: u64,
    /// Bytes to the clients.
    pub bytes_down: u64,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member {{ id: {}, silent_from: {:?}, .. }}", self.id, self.silent_from)
    }
}

/// Identity keys for the clients `0..n` of a simulation; a deployment makes its own from the system's randomness.
pub fn simulated_identities(n: usize, seeds: SeedStream) -> Vec<SigningKey> {
    let key = |i| {
        let mut bytes = [0u8; 32];
        rand::Rng::fill_bytes(&mut seeds.stream("identity", i), &mut bytes);
        SigningKey::from_bytes(&bytes)
    };
    (0..n as u64).map(key).collect()
}

/// A session in progress.
struct Session {
    server: Server,
    limits: Limits,
    played: Played,
    /// The members who are still there, with their side of the protocol.
    clients: Vec<(Member, Client)>,
    seeds: SeedStream,
}

impl Session {
    /// Those who are still there in `round` answer what the server has for them.
    fn exchange(&mut self, round: usize, to: impl Fn(ClientId) -> Option<Message>) -> Result<()> {
        self.clients.retain(|(m, _)| m.silent_from.is_none_or(|from| from > round) && to(m.id).is_some());
        let (limits, seeds) = (self.limits, self.seeds);
        let tasks: Vec<Option<Vec<u8>>> =
            self.clients.iter().map(|(m, _)| to(m.id).map(|message| message.encode())).collect();
        self.played.bytes_down += tasks.iter().flatten().map(|bytes| bytes.len() as u64).sum::<u64>();
        let answer = |((member, client), task): (&mut (Member, Client), Option<Vec<u8>>)| -> Result<_> {
            let message = Message::decode(&task.unwrap_or_default(), &limits)?;
            let mut rng = seeds.stream("member", (round as u64) << 32 | u64::from(member.id));
            Ok((member.id, client.handle(&message, &member.input, &mut rng)?.encode()))
        };
        let answers: Vec<Result<(ClientId, Vec<u8>)>> =
            self.clients.par_iter_mut().zip(tasks).map(answer).collect();
        for answer in answers {
            let (id, bytes) = answer?;
            self.played.bytes_up += bytes.len() as u64;
            self.server.receive(id, Message::decode(&bytes, &limits)?)?;
        }
        Ok(())
    }
}

/// Plays a session. All randomness comes from `seeds`, `session` must be new.
///
/// # Errors
/// Too few members that stay, inputs of another length, or a member that deviates.
pub fn play(
    config: SessionConfig,
    session: SessionId,
    members: Vec<Member>,
    seeds: SeedStream,
) -> Result<Played> {
    let directory: Directory = members.iter().map(|m| (m.id, m.identity.verifying_key())).collect();
    let played =
        Played { aggregate: Aggregate { sum: vec![], survivors: vec![] }, bytes_up: 0, bytes_down: 0 };
    let mut server = Server::new(config, session, directory.clone())?;
    let limits = Limits::from(&config);
    let (mut clients, mut bytes_up) = (vec![], 0);
    for member in members.into_iter().filter(|m| m.silent_from != Some(0)) {
        let mut rng = seeds.stream("member", member.id.into());
        let (client, advert) =
            Client::new(config, session, member.id, member.identity.clone(), directory.clone(), &mut rng)?;
        let bytes = advert.encode();
        bytes_up += bytes.len() as u64;
        server.receive(member.id, Message::decode(&bytes, &limits)?)?;
        clients.push((member, client));
    }
    let mut s = Session { server, limits, played: Played { bytes_up, ..played }, clients, seeds };
    let keys = s.server.close_advertise()?;
    s.exchange(1, |_| Some(keys.clone()))?;
    let deliveries: BTreeMap<ClientId, Message> = s.server.close_share()?;
    s.exchange(2, |id| deliveries.get(&id).cloned())?;
    let survivors = s.server.close_input()?;
    s.exchange(3, |_| Some(survivors.clone()))?;
    let signatures = s.server.close_confirm()?;
    s.exchange(4, |_| Some(signatures.clone()))?;
    s.played.aggregate = s.server.finish()?;
    Ok(s.played)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn members(n: usize, silent: &[(usize, usize)]) -> Vec<Member> {
        let keys = simulated_identities(n, SeedStream::new(1));
        let member = |(i, identity): (usize, SigningKey)| Member {
            id: i as ClientId,
            identity,
            input: vec![i as u32, 10],
            silent_from: silent.iter().find(|(who, _)| *who == i).map(|(_, from)| *from),
        };
        keys.into_iter().enumerate().map(member).collect()
    }

    #[test]
    fn a_session_sums_whoever_sent_an_input_and_counts_bytes() {
        let config = SessionConfig::complete(9, 2);
        // 3 leaves after its input, which counts; 5 before it, which does not
        let played = play(config, [7; 32], members(9, &[(3, 3), (5, 2)]), SeedStream::new(2)).unwrap();
        assert_eq!(played.aggregate.sum, [36 - 5, 80]);
        assert_eq!(played.aggregate.survivors, [0, 1, 2, 3, 4, 6, 7, 8]);
        assert!(played.bytes_up > 9 * 9 * 80 && played.bytes_down > played.bytes_up / 2);
        let too_many = [(0, 1), (1, 2), (2, 3), (3, 4)];
        let refused = play(config, [8; 32], members(9, &too_many), SeedStream::new(2));
        assert!(matches!(refused, Err(Error::TooFew { .. })), "{refused:?}");
    }

    /// 100 clients with a million parameters each, a tenth of whom drop out. Run it alone:
    /// `cargo test --release -p federated -- --ignored --nocapture a_hundred_clients`.
    #[test]
    #[ignore = "takes 23 s of processor time in release, minutes in dev, and 0.8 GB"]
    fn a_hundred_clients_with_a_million_parameters() {
        let silent: Vec<(usize, usize)> = (0..10).map(|i| (10 * i, 2 + i % 3)).collect();
        let mut all = members(100, &silent);
        all.iter_mut().for_each(|m| m.input = vec![m.id; 1_000_000]);
        let start = std::time::Instant::now();
        let config = SessionConfig::complete(100, 1_000_000);
        let played = play(config, [9; 32], all, SeedStream::new(4)).unwrap();
        let expected: u32 = played.aggregate.survivors.iter().sum();
        assert!(
            played.aggregate.survivors.len() < 100 && played.aggregate.sum.iter().all(|x| *x == expected)
        );
        println!(
            "{} survivors, {:.1} s, {:.0} MB up",
            played.aggregate.survivors.len(),
            start.elapsed().as_secs_f64(),
            played.bytes_up as f64 / 1e6
        );
    }
}
