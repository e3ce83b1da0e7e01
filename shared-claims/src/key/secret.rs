//! The common secret: one key that signs and verifies, wherever it is known.

use std::fmt;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use zeroize::Zeroizing;

use super::{SigningKey, VerifyingKey, thumbprint};
use crate::id::KeyId;

/// The secret that issuer and verifiers have in common. Whoever holds it can mint tokens.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

/// A secret that is shorter than the output of HS256's hash, which RFC 7518 section 3.2 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has {bytes} bytes and needs at least {}", SharedSecret::MIN_BYTES)]
pub struct SecretTooShort {
    bytes: usize,
}

impl SharedSecret {
    /// The least length that HS256 allows (RFC 7518 section 3.2).
    pub const MIN_BYTES: usize = 32;

    /// Takes the bytes of the text as they stand, as flask-jwt-extended does with its `JWT_SECRET_KEY`.
    pub fn parse(text: &str) -> Result<Self, SecretTooShort> {
        if text.len() < Self::MIN_BYTES {
            return Err(SecretTooShort { bytes: text.len() });
        }
        Ok(Self(Zeroizing::new(text.as_bytes().to_vec())))
    }

    /// 256 random bits as text, to be kept in a file or a secret store.
    ///
    /// # Panics
    /// When the operating system has no random bytes to give.
    #[must_use]
    pub fn generate() -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(&mut *bytes).expect("the operating system has random bytes");
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))
    }

    /// The key that signs with this secret.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        SigningKey {
            id: self.key_id(),
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(&self.0),
        }
    }

    /// The key that verifies with this secret.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey {
            id: self.key_id(),
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(&self.0),
            public: None,
        }
    }

    /// The truncated JWK thumbprint (RFC 7638) of the secret, the same wherever the secret is known.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let jwk = Zeroizing::new(format!(
            r#"{{"k":"{}","kty":"oct"}}"#,
            URL_SAFE_NO_PAD.encode(&*self.0)
        ));
        thumbprint(&jwk)
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lessons_own_secret_is_refused() {
        let refusal = SharedSecret::parse("super-secret").unwrap_err();
        assert_eq!(refusal.to_string(), "it has 12 bytes and needs at least 32");
    }

    #[test]
    fn length_is_counted_in_bytes() {
        assert!(SharedSecret::parse(&"é".repeat(16)).is_ok());
        assert!(SharedSecret::parse(&"e".repeat(31)).is_err());
    }

    #[test]
    fn a_generated_secret_is_long_enough_and_never_the_same() {
        let (one, other) = (SharedSecret::generate(), SharedSecret::generate());
        assert!(SharedSecret::parse(&one).is_ok());
        assert_ne!(*one, *other);
    }

    #[test]
    fn the_key_id_is_the_secrets_jwk_thumbprint() {
        // printf '{"k":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE","kty":"oct"}' | sha256sum | xxd -r -p | basenc --base64url
        let secret = SharedSecret::parse("01234567890123456789012345678901").unwrap();
        assert_eq!(secret.signing_key().id().as_str(), "fp-tF4_HwKEGbDEn");
        assert_eq!(secret.verifying_key().id, *secret.signing_key().id());
    }

    #[test]
    fn no_debug_output_shows_the_secret() {
        let text = "01234567890123456789012345678901";
        let secret = SharedSecret::parse(text).unwrap();
        let shown = format!(
            "{secret:?} {:?} {:?}",
            secret.signing_key(),
            secret.verifying_key()
        );
        assert!(!shown.contains("0123"), "{shown}");
    }
}
