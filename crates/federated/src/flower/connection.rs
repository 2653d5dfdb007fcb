//! Signed protobuf over HTTP/1.1, with TLS, retries and the check of the server's version.

use crate::error::{Error, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use p384::ecdsa::signature::hazmat::PrehashSigner;
use p384::ecdsa::{Signature, SigningKey};
use p384::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use prost::Message;
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The only version of Flower that this node speaks.
pub const VERSION: &str = "1.41.0";
/// Flower's error code for requests about a run whose status does not allow them any more.
const RUN_IS_OVER: u64 = 2007;
/// Flower's error code for a node that is unknown, or that it takes for alive already.
const ACTIVATION_FAILED: u64 = 2004;
/// Largest response: a chunk of 5 MiB and what is around it, with room for lists of objects.
const MOST_BYTES: u64 = 64 << 20;

/// A node's identity: an ECDSA key on P-384. Keep it in a file, or the server takes every start for a new node.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

fn bad_key(error: impl ToString) -> Error {
    Error::malformed("node key", error)
}

impl NodeKey {
    /// A fresh key.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        loop {
            let mut bytes = zeroize::Zeroizing::new([0u8; 48]);
            rng.fill_bytes(&mut *bytes);
            if let Ok(key) = SigningKey::from_slice(&*bytes) {
                return Self(key);
            }
        }
    }

    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    /// A file that cannot be read or is no P-384 key.
    pub fn load(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { operation: "read", path: path.display().to_string(), source };
        let pem = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
        Ok(Self(SigningKey::from_pkcs8_pem(&pem).map_err(bad_key)?))
    }

    /// Writes PKCS#8 PEM, readable by its owner only.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        use std::io::Write;
        let io = |source| Error::Io { operation: "write", path: path.display().to_string(), source };
        let pem = self.0.to_pkcs8_pem(LineEnding::LF).map_err(bad_key)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).and_then(|mut file| file.write_all(pem.as_bytes())).map_err(io)
    }

    /// The public key as PEM (SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// None in practice.
    pub fn public_pem(&self) -> Result<String> {
        let key = p384::PublicKey::from(self.0.verifying_key());
        key.to_public_key_pem(LineEnding::LF).map_err(bad_key)
    }

    /// The public key as OpenSSH writes it, which `flwr supernode register` takes.
    pub fn public_openssh(&self) -> String {
        let point = self.0.verifying_key().to_sec1_point(false);
        let mut blob = Vec::new();
        for part in [b"ecdsa-sha2-nistp384".as_slice(), b"nistp384", point.as_bytes()] {
            blob.extend((part.len() as u32).to_be_bytes());
            blob.extend(part);
        }
        format!("ecdsa-sha2-nistp384 {} quintet\n", STANDARD.encode(blob))
    }

    /// DER of the ECDSA signature over `text`, hashed with SHA-256 as Flower does (P-384's own default is SHA-384).
    fn sign(&self, text: &str) -> Result<Vec<u8>> {
        let signature: Signature = self.0.sign_prehash(&Sha256::digest(text.as_bytes())).map_err(bad_key)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// Requests to one server, signed with one key. May be shared by threads.
pub(super) struct Connection {
    base: String,
    agent: ureq::Agent,
    key: NodeKey,
    public_key: String,
    patience: Duration,
}

impl Connection {
    /// Prepares the connection; nothing is sent yet. With `root_certificates` (PEM) it speaks TLS and trusts only these.
    pub(super) fn new(
        address: &str,
        root_certificates: Option<&[u8]>,
        key: NodeKey,
        patience: Duration,
    ) -> Result<Self> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)));
        let mut scheme = "http";
        if let Some(pem) = root_certificates {
            let root = Certificate::from_pem(pem).map_err(|e| Error::malformed("root certificate", e))?;
            let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root])).build();
            config = config.tls_config(tls);
            scheme = "https";
        }
        let public_key = key.public_pem()?;
        Ok(Self {
            base: format!("{scheme}://{address}"),
            agent: config.build().into(),
            key,
            public_key,
            patience,
        })
    }

    pub(super) fn public_key(&self) -> Vec<u8> {
        self.public_key.as_bytes().to_vec()
    }

    /// Asks the server what it is: `/openapi.json` names application and version.
    pub(super) fn check_version(&self) -> Result<()> {
        let refuse = |got: String| Error::Version {
            peer: self.base.clone(),
            got,
            expected: VERSION,
            mend: "install flwr==1.41.0 on the server, or a release of this crate that speaks the server's version",
        };
        let url = format!("{}/openapi.json", self.base);
        let (status, body) = self.with_patience("version", || {
            let response = self.agent.get(&url).call()?;
            Ok((
                response.status().as_u16(),
                response.into_body().with_config().limit(MOST_BYTES).read_to_vec()?,
            ))
        })?;
        if status != 200 {
            return Err(refuse(format!("unknown (HTTP {status} on /openapi.json)")));
        }
        let info =
            serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|v| v.get("info").cloned());
        let field =
            |name: &str| info.as_ref().and_then(|i| i.get(name)?.as_str()).unwrap_or("unknown").to_string();
        match (field("title").as_str(), field("version")) {
            ("SuperLink API", version) if version == VERSION => Ok(()),
            ("SuperLink API", version) => Err(refuse(version)),
            (title, version) => Err(refuse(format!("{version} of `{title}`, which is no SuperLink"))),
        }
    }

    /// Tries again, ever more slowly, while the server cannot be reached or is busy.
    fn with_patience<T>(&self, operation: &str, attempt: impl Fn() -> Result<T, ureq::Error>) -> Result<T> {
        let start = std::time::Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if start.elapsed() + pause > self.patience => {
                    let reason = format!("{error}; is the server at {} up?", self.base);
                    return Err(Error::Transport { operation: operation.into(), reason });
                }
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// One request of the Fleet protocol. A run that is over and a node that cannot be activated now are
    /// [`Error::OutOfOrder`], any other refusal [`Error::Transport`].
    pub(super) fn call<R: Message + Default>(&self, method: &str, request: &impl Message) -> Result<R> {
        let body = request.encode_to_vec();
        let headers = self.headers()?;
        let (status, answer) = self.with_patience(method, || {
            let mut post = self.agent.post(format!("{}/v1/fleet/{method}", self.base));
            for (name, value) in &headers {
                post = post.header(*name, value);
            }
            let response = post.send(&body[..])?;
            let status = response.status().as_u16();
            if matches!(status, 502..=504) {
                return Err(ureq::Error::StatusCode(status));
            }
            Ok((status, response.into_body().with_config().limit(MOST_BYTES).read_to_vec()?))
        })?;
        if status != 200 {
            let code = serde_json::from_slice::<serde_json::Value>(&answer)
                .ok()
                .and_then(|v| v.get("code")?.as_u64());
            let text = String::from_utf8_lossy(&answer[..answer.len().min(500)]).into_owned();
            if code == Some(RUN_IS_OVER) {
                return Err(Error::OutOfOrder {
                    operation: "flower",
                    reason: format!("{method}: the run is over"),
                });
            }
            if code == Some(ACTIVATION_FAILED) {
                let reason = format!(
                    "{method}: the server does not know the key (register it), or still takes a former node with it for alive"
                );
                return Err(Error::OutOfOrder { operation: "flower", reason });
            }
            return Err(Error::Transport {
                operation: method.into(),
                reason: format!("HTTP {status}: {text}"),
            });
        }
        R::decode(&answer[..]).map_err(|e| Error::malformed("answer of the server", e))
    }

    /// Signature, time and version, which every request carries.
    fn headers(&self) -> Result<[(&'static str, String); 8]> {
        let now = time::OffsetDateTime::now_utc();
        let (date, clock) = (now.date(), now.time());
        let timestamp = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+00:00",
            date.year(),
            u8::from(date.month()),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second(),
            clock.microsecond()
        );
        let signature = STANDARD.encode(self.key.sign(&timestamp)?);
        Ok([
            ("content-type", "application/protobuf".into()),
            ("accept", "application/protobuf".into()),
            ("flwr-public-key", STANDARD.encode(&self.public_key)),
            ("flwr-timestamp", timestamp),
            ("flwr-signature", signature),
            ("flwr-package-name", "flwr".into()),
            ("flwr-package-version", VERSION.into()),
            ("flwr-component-name", "SuperNode".into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn key() -> NodeKey {
        NodeKey::random(&mut rl_core::seed::SeedStream::new(0).stream("node", 0))
    }

    /// A server that answers one request with `response` and hangs up.
    fn answering(response: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(response.as_bytes());
        });
        address
    }

    fn check(response: &'static str) -> Result<()> {
        Connection::new(&answering(response), None, key(), Duration::from_millis(10)).unwrap().check_version()
    }

    #[test]
    fn another_version_is_refused_in_words() {
        let body = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"info\":{\"title\":\"SuperLink API\",\"version\":\"1.40.0\"}}";
        let text = check(body).unwrap_err().to_string();
        assert!(
            text.contains("1.40.0") && text.contains("1.41.0 only") && text.contains("install"),
            "{text}"
        );
        let body = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"info\":{\"title\":\"SuperLink API\",\"version\":\"1.41.0\"}}";
        assert!(check(body).is_ok());
        assert!(matches!(
            check("HTTP/1.1 404 no\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            Err(Error::Version { .. })
        ));
        assert!(matches!(
            check("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>"),
            Err(Error::Version { .. })
        ));
        assert!(matches!(check("SSH-2.0\r\n"), Err(Error::Transport { .. })));
    }

    #[test]
    fn keys_survive_the_file_and_do_not_print() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.pem");
        let key = key();
        key.save(&path).unwrap();
        assert_eq!(NodeKey::load(&path).unwrap().public_pem().unwrap(), key.public_pem().unwrap());
        assert_eq!(format!("{key:?}"), "NodeKey(..)");
        assert!(key.public_openssh().starts_with("ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ"));
        assert!(NodeKey::load(&folder.path().join("none.pem")).is_err());
    }
}
