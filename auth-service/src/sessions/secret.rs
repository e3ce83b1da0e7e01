//! What a session's refresh tokens are told apart by from those that somebody else makes.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared_claims::{RefreshClaims, TokenId};
use zeroize::Zeroizing;

/// The key that the ids of one session's refresh tokens are derived with. It never leaves auth-service.
#[derive(Clone)]
pub(crate) struct SessionSecret(Zeroizing<[u8; 32]>);

impl SessionSecret {
    pub(super) fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(&mut *bytes).expect("the operating system has random bytes");
        Self(bytes)
    }

    /// The secret from its row.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// The secret for its row.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.0)
    }

    /// The `jti` of the refresh token of this generation.
    pub(crate) fn token_id(&self, generation: u64) -> TokenId {
        URL_SAFE_NO_PAD
            .encode(hmac::sign(&self.key(), &generation.to_be_bytes()))
            .into()
    }

    /// Whether this session made the token. Compared in constant time.
    pub(crate) fn derives(&self, claims: &RefreshClaims) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(claims.id.as_str()) else {
            return false;
        };
        hmac::verify(&self.key(), &claims.generation.to_be_bytes(), &tag).is_ok()
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}
