//! The protocol end to end: random dropouts, a curious server, tampering on both sides, hostile bytes.

use super::message::{Body, Limits, Message};
use super::*;
use crate::error::Error;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use rand::RngExt;
use rl_core::seed::{SeedStream, StreamRng};

const SESSION: SessionId = [42; 32];

fn identities(n: usize) -> (Vec<SigningKey>, Directory) {
    let key = |i: usize| SigningKey::from_bytes(&std::array::from_fn(|j| (i * 31 + j * 7 + 1) as u8));
    let keys: Vec<SigningKey> = (0..n).map(key).collect();
    let directory = keys.iter().enumerate().map(|(i, k)| (i as ClientId, k.verifying_key())).collect();
    (keys, directory)
}

/// A session in mid-protocol: the server, the clients still with it, and everything the server has seen.
struct World {
    server: Server,
    clients: Vec<Option<Client>>,
    inputs: Vec<Vec<u32>>,
    rng: StreamRng,
    limits: Limits,
    /// Messages to the server, as decoded from their bytes.
    seen: Vec<Message>,
}

impl World {
    fn new(config: SessionConfig, seed: u64) -> (Self, Vec<Option<Message>>) {
        let n = config.most_clients;
        let (keys, directory) = identities(n);
        let mut rng = SeedStream::new(seed).stream("secagg", 0);
        let inputs = (0..n)
            .map(|_| (0..config.vector_length).map(|_| rng.random_range(0..1 << 20)).collect())
            .collect();
        let (mut clients, mut adverts) = (vec![], vec![]);
        for (i, key) in keys.into_iter().enumerate() {
            let (client, advert) =
                Client::new(config, SESSION, i as ClientId, key, directory.clone(), &mut rng).unwrap();
            clients.push(Some(client));
            adverts.push(Some(advert));
        }
        let server = Server::new(config, SESSION, directory).unwrap();
        (Self { server, clients, inputs, rng, limits: Limits::from(&config), seen: vec![] }, adverts)
    }

    /// Sends everyone's message to the server over the wire; `None` has dropped out.
    fn send(&mut self, messages: Vec<Option<Message>>) {
        for (i, message) in messages.into_iter().enumerate() {
            if let Some(message) = message {
                let message = Message::decode(&message.encode(), &self.limits).unwrap();
                self.seen.push(message.clone());
                self.server.receive(i as ClientId, message).unwrap();
            }
        }
    }

    /// Lets the clients answer; those for whom `online` is false drop out for good before answering.
    fn answer(
        &mut self,
        message: impl Fn(ClientId) -> Option<Message>,
        online: &[bool],
    ) -> Vec<Option<Message>> {
        (0..self.clients.len())
            .map(|i| {
                if !online[i] {
                    self.clients[i] = None;
                }
                let message = message(i as ClientId)?;
                let message = Message::decode(&message.encode(), &self.limits).unwrap();
                let client = self.clients[i].as_mut()?;
                Some(client.handle(&message, &self.inputs[i], &mut self.rng).unwrap())
            })
            .collect()
    }

    fn expected(&self, survivors: &[ClientId]) -> Vec<u32> {
        let mut sum = vec![0u32; self.inputs[0].len()];
        for &u in survivors {
            sum.iter_mut().zip(&self.inputs[u as usize]).for_each(|(s, x)| *s += x);
        }
        sum
    }
}

/// Runs a session in which client `i` drops out before its message of round `drop[i]` (5: never).
fn run(config: SessionConfig, seed: u64, drop: &[usize]) -> (crate::Result<Aggregate>, World) {
    let (mut world, adverts) = World::new(config, seed);
    let online = |round: usize| drop.iter().map(|d| *d > round).collect::<Vec<bool>>();
    let adverts = adverts.into_iter().enumerate().map(|(i, a)| a.filter(|_| drop[i] > 0)).collect();
    let result = (|| {
        world.send(adverts);
        let keys = world.server.close_advertise()?;
        let shares = world.answer(|i| (drop[i as usize] > 0).then(|| keys.clone()), &online(1));
        world.send(shares);
        let deliveries = world.server.close_share()?;
        let inputs = world.answer(|i| deliveries.get(&i).cloned(), &online(2));
        world.send(inputs);
        let survivors = world.server.close_input()?;
        let confirmations = world.answer(|i| (drop[i as usize] > 2).then(|| survivors.clone()), &online(3));
        world.send(confirmations);
        let signatures = world.server.close_confirm()?;
        let reveals = world.answer(|i| (drop[i as usize] > 3).then(|| signatures.clone()), &online(4));
        world.send(reveals);
        world.server.finish()
    })();
    (result, world)
}

fn config(clients: usize, threshold: usize, length: usize) -> SessionConfig {
    SessionConfig {
        most_clients: clients,
        threshold,
        vector_length: length,
        degree: None,
        active_adversary: false,
    }
}

/// One random schedule: the sum is exact whenever `t` clients answer to the end, and refused otherwise.
fn schedule(seed: u64) {
    let mut rng = SeedStream::new(seed).stream("schedule", 0);
    let n = rng.random_range(2..9usize);
    let threshold = rng.random_range(n / 2 + 1..=n);
    let drop: Vec<usize> =
        (0..n).map(|_| if rng.random_bool(0.75) { 5 } else { rng.random_range(0..5) }).collect();
    let (result, world) = run(config(n, threshold, 3), seed, &drop);
    let until = |round: usize| drop.iter().filter(|d| **d > round).count();
    if until(4) >= threshold {
        let aggregate = result.unwrap();
        let survivors: Vec<ClientId> = (0..n as ClientId).filter(|i| drop[*i as usize] > 2).collect();
        assert_eq!(aggregate.survivors, survivors, "{drop:?}");
        assert_eq!(aggregate.sum, world.expected(&survivors), "{drop:?}");
    } else {
        assert!(matches!(result, Err(Error::TooFew { .. })), "{drop:?} of {threshold}: {result:?}");
    }
}

#[test]
fn sums_are_exact_over_random_dropouts() {
    (0..150).for_each(schedule);
}

#[test]
#[ignore = "ten thousand schedules take minutes; run with --ignored --release"]
fn sums_are_exact_over_ten_thousand_random_dropouts() {
    (1_000_000..1_010_000).for_each(schedule);
}

#[test]
fn a_sparse_graph_gives_the_same_sum_with_fewer_envelopes() {
    let sparse = SessionConfig { degree: Some(8), ..config(30, 5, 4) };
    let mut drop = vec![5; 30];
    (drop[3], drop[11], drop[20]) = (2, 2, 4);
    let (result, world) = run(sparse, 1, &drop);
    let survivors: Vec<ClientId> = (0..30).filter(|i| ![3, 11].contains(i)).collect();
    assert_eq!(result.unwrap(), Aggregate { sum: world.expected(&survivors), survivors });
    let envelopes =
        world.seen.iter().map(|m| if let Body::Shares(_, e) = &m.body { e.len() } else { 0 }).max();
    assert_eq!(envelopes, Some(9));
}

#[test]
fn thresholds_that_do_not_protect_are_refused() {
    assert!(config(10, 5, 1).validate().is_err());
    assert!(SessionConfig { active_adversary: true, ..config(10, 6, 1) }.validate().is_err());
    assert!(SessionConfig { active_adversary: true, ..config(10, 7, 1) }.validate().is_ok());
    assert!(config(10, 11, 1).validate().is_err());
    assert!(config(256, 200, 1).validate().is_err());
    assert!(SessionConfig { degree: Some(20), ..config(1000, 15, 1) }.validate().is_ok());
    assert!(
        SessionConfig { degree: Some(20), active_adversary: true, ..config(1000, 15, 1) }.validate().is_err()
    );
}

/// The curious server has every message and the final secrets, and tries to see one client's input.
#[test]
fn a_curious_server_sees_only_noise() {
    let length = 20_000;
    let (result, mut world) = run(config(5, 3, length), 7, &[5, 5, 5, 2, 5]);
    result.unwrap();
    let vector = |world: &World, id: ClientId| {
        let find = |m: &Message| {
            if let Body::MaskedInput(i, y) = &m.body { (*i == id).then(|| y.clone()) } else { None }
        };
        world.seen.iter().find_map(find)
    };
    let mut y = vector(&world, 0).unwrap();
    let uniform = |y: &[u32]| {
        // top bits are set half of the time, and the inputs (20 bits) are nowhere to be seen
        let high = y.iter().filter(|w| **w >> 31 == 1).count() as f64 / length as f64;
        let small = y.iter().filter(|w| **w < 1 << 20).count();
        (0.48..0.52).contains(&high) && small < 40
    };
    assert!(uniform(&y));
    // with the seed of client 0, which it recovers by right, the pairwise masks still hide the input
    let seed = world.server.recover_for_test(0);
    mask::apply(&mut y, &[(seed, mask::Sign::Minus)]);
    assert!(uniform(&y) && y != world.inputs[0]);
    // so does the sum of two survivors; only all of them together are free of masks between survivors
    let seed = world.server.recover_for_test(1);
    let mut other = vector(&world, 1).unwrap();
    mask::apply(&mut other, &[(seed, mask::Sign::Minus)]);
    let pair: Vec<u32> = y.iter().zip(&other).map(|(a, b)| a.wrapping_add(*b)).collect();
    assert!(uniform(&pair));
    // an input that arrives late, when the mask keys of its sender are known, is not taken
    world.inputs[3][0] = 0;
    let late = Message { session: SESSION, body: Body::MaskedInput(3, world.inputs[3].clone()) };
    assert!(world.server.receive(3, late).is_err());
}

#[test]
fn no_client_ever_reveals_both_shares_of_anyone() {
    let (_, world) = run(config(6, 4, 1), 3, &[5, 2, 5, 5, 5, 5]);
    for message in &world.seen {
        if let Body::Unmask(_, mask_keys, seeds) = &message.body {
            assert!(mask_keys.iter().all(|r| r.owner == 1) && seeds.iter().all(|r| r.owner != 1));
        }
    }
    // and it answers once: asked again, with any list, it is spent
    let (mut world, adverts) = World::new(config(3, 2, 1), 3);
    world.send(adverts);
    let keys = world.server.close_advertise().unwrap();
    let client = world.clients[0].as_mut().unwrap();
    client.handle(&keys, &[0], &mut world.rng).unwrap();
    assert!(matches!(client.handle(&keys, &[0], &mut world.rng), Err(Error::OutOfOrder { .. })));
    assert!(matches!(client.handle(&keys, &[0], &mut world.rng), Err(Error::OutOfOrder { .. })));
}

fn named(result: crate::Result<impl std::fmt::Debug>, party: Party) {
    match result {
        Err(Error::Tampering { party: got, .. }) => assert_eq!(got, party),
        other => panic!("{party} should have been named: {other:?}"),
    }
}

/// A session up to the point where `round` messages of the server are on their way.
fn until(round: usize, seed: u64) -> (World, std::collections::BTreeMap<ClientId, Message>) {
    let (mut world, adverts) = World::new(config(4, 3, 2), seed);
    let all = [true; 4];
    let to_all = |m: Message| (0..4).map(|i| (i, m.clone())).collect::<std::collections::BTreeMap<_, _>>();
    world.send(adverts);
    let mut mail = to_all(world.server.close_advertise().unwrap());
    for step in 1..round {
        let answers = world.answer(|i| mail.get(&i).cloned(), &all);
        world.send(answers);
        mail = match step {
            1 => world.server.close_share().unwrap(),
            2 => to_all(world.server.close_input().unwrap()),
            _ => to_all(world.server.close_confirm().unwrap()),
        };
    }
    (world, mail)
}

fn handle(world: &mut World, id: usize, message: &Message) -> crate::Result<Message> {
    world.clients[id].as_mut().unwrap().handle(message, &world.inputs[id], &mut world.rng)
}

#[test]
fn a_tampering_server_is_named() {
    // swaps a key
    let (mut world, mut mail) = until(1, 1);
    let message = mail.get_mut(&0).unwrap();
    if let Body::KeyList(list) = &mut message.body {
        list[2].mask_key[0] ^= 1;
    }
    named(handle(&mut world, 0, message), Party::Server);
    // leaves the client itself out
    let (mut world, mut mail) = until(1, 2);
    let message = mail.get_mut(&0).unwrap();
    if let Body::KeyList(list) = &mut message.body {
        list.remove(0);
    }
    named(handle(&mut world, 0, message), Party::Server);
    // alters an envelope
    let (mut world, mut mail) = until(2, 3);
    let message = mail.get_mut(&0).unwrap();
    if let Body::Delivery(_, list) = &mut message.body {
        list[1].sealed[5] ^= 1;
    }
    named(handle(&mut world, 0, message), Party::Server);
    // invents a survivor, and leaves the client out
    for list in [vec![0, 1, 2, 9], vec![1, 2, 3], vec![0, 0, 1]] {
        let (mut world, _) = until(3, 4);
        let message = Message { session: SESSION, body: Body::Survivors(list) };
        named(handle(&mut world, 0, &message), Party::Server);
    }
    // tells client 0 that client 3 dropped out, and the others that it survived: no one reveals anything
    let (mut world, mail) = until(3, 5);
    let split = Message { session: SESSION, body: Body::Survivors(vec![0, 1, 2]) };
    let confirmations: Vec<(ClientId, [u8; 64])> = (0..4)
        .map(|i| handle(&mut world, i, if i == 0 { &split } else { &mail[&1] }).unwrap().body)
        .map(|body| if let Body::Confirmation(id, signature) = body { (id, signature) } else { panic!() })
        .collect();
    let to = |who: &[usize]| Message {
        session: SESSION,
        body: Body::Confirmations(who.iter().map(|i| confirmations[*i]).collect()),
    };
    named(handle(&mut world, 0, &to(&[0, 1, 2])), Party::Server);
    named(handle(&mut world, 1, &to(&[0, 1, 2, 3])), Party::Server);
    // without the odd one there are three signatures for clients 1 to 3, which is the threshold and the same story
    assert!(handle(&mut world, 2, &to(&[1, 2, 3])).is_ok());
    // too few survivors or signatures
    let (mut world, _) = until(3, 6);
    let few = Message { session: SESSION, body: Body::Survivors(vec![0, 1]) };
    assert!(matches!(handle(&mut world, 0, &few), Err(Error::TooFew { .. })));
}

#[test]
fn a_tampering_client_is_named() {
    // keys that it did not sign, or in another's name
    let (mut world, adverts) = World::new(config(4, 3, 2), 1);
    let mut bad = adverts[2].clone().unwrap();
    named(world.server.receive(1, bad.clone()), Party::Client(1));
    if let Body::Advert(advert) = &mut bad.body {
        advert.cipher_key[0] ^= 1;
    }
    named(world.server.receive(2, bad), Party::Client(2));

    // an envelope with another content than committed to: signed, so its owner is named by the holder
    let (mut world, mail) = until(1, 2);
    let Message { body: Body::Shares(_, mut envelopes), .. } = handle(&mut world, 2, &mail[&2]).unwrap()
    else {
        panic!()
    };
    let (keys, _) = identities(4);
    envelopes[0].commitments[1][0] ^= 1;
    let resign = |e: &mut message::Envelope| {
        use ed25519_dalek::Signer;
        e.signature = keys[2].sign(&enveloped(&SESSION, e)).to_bytes();
    };
    resign(&mut envelopes[0]);
    for i in [0, 1, 3] {
        let shares = handle(&mut world, i, &mail[&(i as ClientId)]).unwrap();
        world.server.receive(i as ClientId, shares).unwrap();
    }
    world.server.receive(2, Message { session: SESSION, body: Body::Shares(2, envelopes) }).unwrap();
    let deliveries = world.server.close_share().unwrap();
    named(handle(&mut world, 0, &deliveries[&0]), Party::Client(2));

    // a masked input of the wrong length; a false signature; a false share
    let (mut world, _) = until(2, 3);
    named(
        world.server.receive(1, Message { session: SESSION, body: Body::MaskedInput(1, vec![1]) }),
        Party::Client(1),
    );
    let (mut world, _) = until(3, 3);
    named(
        world.server.receive(1, Message { session: SESSION, body: Body::Confirmation(1, [7; 64]) }),
        Party::Client(1),
    );
    let (mut world, mail) = until(4, 4);
    let mut reveal = handle(&mut world, 1, &mail[&1]).unwrap();
    if let Body::Unmask(_, _, seeds) = &mut reveal.body {
        seeds[0].share[3] ^= 1;
    }
    named(world.server.receive(1, reveal.clone()), Party::Client(1));
    // it can be left out: the others finish
    for i in [0, 2, 3] {
        let message = handle(&mut world, i, &mail[&(i as ClientId)]).unwrap();
        world.server.receive(i as ClientId, message).unwrap();
    }
    let aggregate = world.server.finish().unwrap();
    assert_eq!(aggregate.sum, world.expected(&[0, 1, 2, 3]));
}

#[test]
fn replays_and_strangers_are_refused() {
    let (mut world, adverts) = World::new(config(4, 3, 2), 1);
    world.send(adverts.clone());
    assert!(matches!(world.server.receive(1, adverts[1].clone().unwrap()), Err(Error::OutOfOrder { .. })));
    let other = Message { session: [1; 32], ..adverts[1].clone().unwrap() };
    assert!(matches!(world.server.receive(1, other), Err(Error::Malformed { .. })));
    assert!(world.server.finish().is_err() && world.server.close_input().is_err());
    let keys = world.server.close_advertise().unwrap();
    assert!(world.server.close_advertise().is_err());
    assert!(world.server.receive(9, Message { session: SESSION, body: Body::Shares(9, vec![]) }).is_err());
    assert!(world.server.receive(1, keys).is_err());
}

#[test]
fn nothing_secret_is_printed() {
    let (world, _) = until(2, 1);
    let text = format!("{:?} {:?}", world.clients, world.server);
    assert!(text.contains("Client { id: 0, state: shared, .. }"), "{text}");
    let reveal = message::Revealed { owner: 1, share: [171; 32] };
    assert!(!format!("{reveal:?}").contains("171"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0u8..10) {
        let limits = Limits { clients: 5, vector_length: 20 };
        let _ = Message::decode(&bytes, &limits);
        let mut framed = b"QSA1".to_vec();
        framed.push(kind);
        framed.extend(SESSION);
        framed.append(&mut bytes);
        if let Ok(message) = Message::decode(&framed, &limits) {
            prop_assert_eq!(message.encode(), framed);
        }
    }

    /// A mutated or misplaced message never panics and never makes the server or a client go on wrongly.
    #[test]
    fn hostile_messages_are_refused(round in 1usize..5, place in any::<usize>(), to in any::<u8>(), victim in 0usize..4) {
        let (mut world, mail) = until(round, 9);
        let message = &mail[&(victim as ClientId)];
        let mut bytes = message.encode();
        let place = place % bytes.len();
        prop_assume!(bytes[place] != to);
        bytes[place] = to;
        if let Ok(changed) = Message::decode(&bytes, &world.limits.clone()) {
            let outcome = handle(&mut world, victim, &changed);
            prop_assert!(outcome.is_err(), "round {round} byte {place} went through: {outcome:?}");
            let _ = world.server.receive(victim as ClientId, changed);
        }
    }

    #[test]
    fn oversized_lists_are_refused_before_they_are_read(length in 6u32..u32::MAX) {
        let mut bytes = b"QSA1\x05".to_vec();
        bytes.extend(SESSION);
        bytes.extend(length.to_le_bytes());
        let limits = Limits { clients: 5, vector_length: 20 };
        prop_assert!(Message::decode(&bytes, &limits).is_err());
    }
}
