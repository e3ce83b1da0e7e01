//! Keys, and how a token names the one that it was signed with.

mod jwk;
mod pair;
mod secret;

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

pub use self::jwk::{Jwk, JwkSet, JwkUnusable};
pub use self::pair::{KeyUnusable, PairAlgorithm, PrivateKey, PublicKey};
pub use self::secret::{SecretTooShort, SharedSecret};
use crate::error::InvalidToken;
use crate::id::KeyId;

/// How many characters of the thumbprint make a key id: 96 bits, far beyond any accident among a handful of keys.
const KEY_ID_CHARACTERS: usize = 16;

/// The truncated thumbprint (RFC 7638) of a key, of which the JWK holds just the required members in lexical order.
fn thumbprint(jwk: &str) -> KeyId {
    let mut thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, jwk.as_bytes()));
    thumbprint.truncate(KEY_ID_CHARACTERS);
    thumbprint.into()
}

/// The key that new tokens are signed with.
#[derive(Clone)]
pub struct SigningKey {
    pub(crate) id: KeyId,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
}

impl SigningKey {
    /// The `kid` of the tokens that it signs.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// A key that tokens are verified with.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(crate) id: KeyId,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
    /// What the world may know of it: of a common secret nothing.
    pub(crate) public: Option<PublicKey>,
}

impl VerifyingKey {
    /// The `kid` of the tokens that it verifies.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.id)
    }
}

/// Every key that a token may be signed with: the current one, and those that were or will be current.
#[derive(Clone, Debug, Default)]
pub struct VerifyingKeys(Box<[VerifyingKey]>);

impl VerifyingKeys {
    /// The keys, in the order in which a token without `kid` is tried against them. Of two with the same id the first
    /// stays.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        let mut unlike = Vec::<VerifyingKey>::new();
        for key in keys {
            if unlike.iter().all(|known| known.id != key.id) {
                unlike.push(key);
            }
        }
        Self(unlike.into())
    }

    /// These keys and then those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self::new(self.0.iter().chain(&others.0).cloned())
    }

    /// The ids of the keys.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.0.iter().map(VerifyingKey::id)
    }

    /// Whether these public keys are those, under the same ids.
    pub(crate) fn is_same_as(&self, others: &Self) -> bool {
        let parts = |keys: &Self| -> Vec<_> {
            let keys = keys.0.iter();
            keys.map(|key| (key.id.clone(), key.public.clone()))
                .collect()
        };
        parts(self) == parts(others)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The public keys among them, as they are published.
    #[must_use]
    pub fn published(&self) -> JwkSet {
        let public = self.0.iter().filter_map(|key| key.public.as_ref());
        JwkSet {
            keys: public.map(PublicKey::jwk).collect(),
        }
    }

    /// The keys that a token with this `kid` can have been signed with: the named one, or all when it names none.
    pub(crate) fn candidates(&self, kid: Option<&str>) -> Result<&[VerifyingKey], InvalidToken> {
        let Some(kid) = kid else { return Ok(&self.0) };
        let named = self
            .0
            .iter()
            .position(|key| key.id.as_str() == kid)
            .ok_or(InvalidToken::UnknownKey)?;
        Ok(&self.0[named..=named])
    }
}
