//! Keys of one client: X25519 agreement (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439), Ed25519.
//!
//! Every key is derived for one session, one purpose and one ordered pair of clients, so that none is used twice.
//! Secrets are wiped when dropped and never printed.

use super::{ClientId, SessionId};
use crate::error::{Error, Result};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// 32 secret bytes: wiped on drop, hidden from `{:?}`.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Fresh uniform bytes.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self::new([0; 32]);
        rng.fill_bytes(&mut *secret.0);
        secret
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An X25519 key pair.
#[derive(Clone, Debug)]
pub struct KeyPair {
    secret: Secret,
    public: [u8; 32],
}

impl KeyPair {
    /// A fresh pair.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self::from_secret(Secret::random(rng))
    }

    /// The pair of a secret.
    pub fn from_secret(secret: Secret) -> Self {
        let public = PublicKey::from(&StaticSecret::from(*secret.expose())).to_bytes();
        Self { secret, public }
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The secret half, to be shared out.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The agreed bytes with `peer`.
    ///
    /// # Errors
    /// A public key of small order, which would make them zero.
    pub fn agree(&self, peer: &[u8; 32]) -> Result<Secret> {
        let shared = StaticSecret::from(*self.secret.expose()).diffie_hellman(&PublicKey::from(*peer));
        if !shared.was_contributory() {
            return Err(Error::malformed("public key", "it has small order"));
        }
        Ok(Secret::new(shared.to_bytes()))
    }
}

/// HKDF-SHA256 with an empty salt: 32 bytes for the purpose spelt out in `info`.
pub fn derive(agreed: &Secret, info: &[&[u8]]) -> Secret {
    let mut key = Secret::new([0; 32]);
    // 32 bytes are far below HKDF's limit of 255 hashes: it cannot fail
    let expanded = Hkdf::<Sha256>::new(Some(&[]), agreed.expose()).expand_multi_info(info, &mut *key.0);
    debug_assert!(expanded.is_ok());
    key
}

/// The key of the mask that `a` and `b` share in a session; the same for both orders.
pub(crate) fn mask_key(agreed: &Secret, session: &SessionId, a: ClientId, b: ClientId) -> Secret {
    let (low, high) = (a.min(b).to_be_bytes(), a.max(b).to_be_bytes());
    derive(agreed, &[b"secagg/v1/mask", session, &low, &high])
}

/// Encrypts for one recipient. The key is derived for this session, direction and pair and used once, so the nonce
/// is zero.
pub(crate) fn encrypt(agreed: &Secret, context: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let key = derive(agreed, &[b"secagg/v1/encrypt", context]);
    ChaCha20Poly1305::new(key.expose().into())
        .encrypt(&Nonce::default(), Payload { msg: plain, aad: context })
        .map_err(|_| Error::malformed("share", "it is too long to encrypt"))
}

/// Reverses [`encrypt`].
///
/// # Errors
/// Bytes that were not encrypted for this session, direction and pair.
pub(crate) fn decrypt(agreed: &Secret, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let key = derive(agreed, &[b"secagg/v1/encrypt", context]);
    ChaCha20Poly1305::new(key.expose().into())
        .decrypt(&Nonce::default(), Payload { msg: sealed, aad: context })
        .map(Zeroizing::new)
        .map_err(|_| Error::malformed("encrypted share", "it does not decrypt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let mut rng = rl_core::seed::SeedStream::new(0).stream("keys", 0);
        let pair = KeyPair::random(&mut rng);
        let text = format!("{pair:?}");
        assert!(text.contains("Secret(..)"));
        assert!(!text.contains(&format!("{:?}", pair.secret.expose())));
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut rng = rl_core::seed::SeedStream::new(0).stream("keys", 1);
        assert!(KeyPair::random(&mut rng).agree(&[0; 32]).is_err());
    }

    #[test]
    fn a_flipped_bit_or_another_context_does_not_decrypt() {
        let agreed = Secret::new([5; 32]);
        let sealed = encrypt(&agreed, b"context", b"share").unwrap();
        assert_eq!(&decrypt(&agreed, b"context", &sealed).unwrap()[..], b"share");
        assert!(decrypt(&agreed, b"other", &sealed).is_err());
        let mut bad = sealed.clone();
        bad[0] ^= 1;
        assert!(decrypt(&agreed, b"context", &bad).is_err());
        assert!(decrypt(&agreed, b"context", &[]).is_err());
    }
}
