//! The server of secure aggregation as a program that some other server drives over stdin and stdout.
//!
//! `secure_sum DIRECTORY.json UPDATE_LENGTH`, where the directory maps client numbers to Ed25519 keys in hexadecimal.
//! It prints one JSON object per line: `{"session", "to": {client: message}}` while the protocol runs and
//! `{"result", "weight", "clients"}` at the end; after each of the former it reads one line with the answers,
//! `{client: message}`. Messages are hexadecimal; an empty one opens the session. Who answers nothing has dropped out;
//! who answers something wrong is named on stderr and left out.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use ed25519_dalek::VerifyingKey;
use federated::secure_aggregation::message::{Limits, Message};
use federated::secure_aggregation::{
    ClientId, Directory, Participant, Quantiser, QuantiserConfig, Server, SessionId,
};
use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};

type Failure = Box<dyn std::error::Error>;

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |i: usize| text.get(i..i + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Sends everyone's message and feeds the answers to the server.
fn exchange(
    server: &mut Server,
    session: &SessionId,
    limits: &Limits,
    to: BTreeMap<ClientId, Vec<u8>>,
) -> Result<Vec<ClientId>, Failure> {
    let to: BTreeMap<String, String> = to.iter().map(|(id, bytes)| (id.to_string(), to_hex(bytes))).collect();
    println!("{}", serde_json::json!({ "session": to_hex(session), "to": to }));
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let answers: BTreeMap<ClientId, String> = serde_json::from_str(&line)?;
    let mut heard = Vec::new();
    for (client, text) in answers {
        let message = Message::decode(&from_hex(&text).unwrap_or_default(), limits);
        match message.and_then(|m| server.receive(client, m)) {
            Ok(()) => heard.push(client),
            Err(error) => eprintln!("client {client}: {error}"),
        }
    }
    Ok(heard)
}

fn main() -> Result<(), Failure> {
    let [_, directory, length] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: secure_sum DIRECTORY.json UPDATE_LENGTH".into());
    };
    let listed: BTreeMap<ClientId, String> = serde_json::from_str(&std::fs::read_to_string(directory)?)?;
    let mut keys = Directory::new();
    for (id, text) in listed {
        let bytes: [u8; 32] =
            from_hex(&text).and_then(|b| b.try_into().ok()).ok_or("a key is not 32 bytes of hexadecimal")?;
        keys.insert(id, VerifyingKey::from_bytes(&bytes)?);
    }
    let mut session = SessionId::default();
    std::fs::File::open("/dev/urandom")?.read_exact(&mut session)?;
    let config = Participant::session_config(keys.len(), length.parse()?);
    let limits = Limits::from(&config);
    let mut server = Server::new(config, session, keys.clone())?;
    let everyone =
        |ids: Vec<ClientId>, message: Message| ids.into_iter().map(|id| (id, message.encode())).collect();

    let open = keys.keys().map(|id| (*id, vec![])).collect();
    let heard = exchange(&mut server, &session, &limits, open)?;
    let keys = server.close_advertise()?;
    exchange(&mut server, &session, &limits, everyone(heard, keys))?;
    let deliveries = server.close_share()?.into_iter().map(|(id, m)| (id, m.encode())).collect();
    let heard = exchange(&mut server, &session, &limits, deliveries)?;
    let survivors = server.close_input()?;
    let heard = exchange(&mut server, &session, &limits, everyone(heard, survivors))?;
    let signatures = server.close_confirm()?;
    exchange(&mut server, &session, &limits, everyone(heard, signatures))?;
    let aggregate = server.finish()?;
    let quantiser = Quantiser::new(QuantiserConfig { clip: 4.0, ..QuantiserConfig::default() })?;
    let (mean, weight) = quantiser.decode(&aggregate.sum)?;
    println!("{}", serde_json::json!({ "result": mean, "weight": weight, "clients": aggregate.survivors }));
    Ok(())
}
