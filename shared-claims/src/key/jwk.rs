//! Keys as an issuer publishes them (RFC 7517), and how to read a set that may hold anything.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PairAlgorithm, PublicKey, VerifyingKeys};

/// More keys than this no issuer has in use, and every token without `kid` would be tried against all.
const MOST_KEYS: usize = 32;

/// A JSON web key (RFC 7517 section 4), as far as it means anything here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Jwk {
    /// The family: `OKP` or `EC`.
    pub kty: String,
    /// The curve: `Ed25519` or `P-256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// The public key, or the first coordinate of its point, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The second coordinate of its point, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// What tokens call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The algorithm: `EdDSA` (or `Ed25519`, RFC 9864) or `ES256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// What it is for: `sig`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// The same in another way: `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
}

impl Jwk {
    /// What signs with the key, if that is something that is verified here.
    pub(super) fn algorithm(&self) -> Result<PairAlgorithm, JwkUnusable> {
        let (algorithm, names) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => (PairAlgorithm::Ed25519, ["EdDSA", "Ed25519"]),
            ("EC", Some("P-256")) => (PairAlgorithm::Es256, ["ES256", "ES256"]),
            _ => return Err(JwkUnusable::Type),
        };
        let stated = self.alg.as_deref();
        if stated.is_some_and(|stated| !names.contains(&stated)) {
            return Err(JwkUnusable::Algorithm);
        }
        let ops = self.key_ops.as_ref();
        let to_verify = ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") || !to_verify {
            return Err(JwkUnusable::Use);
        }
        Ok(algorithm)
    }
}

/// Why a published key is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkUnusable {
    /// It is no JSON web key.
    #[error("it is no JSON web key")]
    NoKey,
    /// Neither Ed25519 nor P-256.
    #[error("it is neither of Ed25519 nor of P-256")]
    Type,
    /// An `alg` that is not the curve's.
    #[error("its algorithm is none that is verified here")]
    Algorithm,
    /// A `use` or `key_ops` other than to verify signatures.
    #[error("it is not meant to verify signatures")]
    Use,
    /// A private key has no business there.
    #[error("its private part is published with it")]
    Private,
    /// A member of the key is missing or cannot be read.
    #[error("its member '{0}' cannot be used")]
    Member(&'static str),
    /// A key before it has the same `kid`.
    #[error("another key has the same kid")]
    Twice,
    /// The set is full.
    #[error("there are more than {MOST_KEYS} keys")]
    TooMany,
}

/// A set of keys (RFC 7517 section 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

impl JwkSet {
    /// The keys of a published set, each under the `kid` that it states or, without one, under its thumbprint; and, by their
    /// place in the set, those that cannot be used, which are passed over as section 5 asks.
    ///
    /// # Errors
    /// The text is no such set.
    pub fn read(
        text: &[u8],
    ) -> Result<(VerifyingKeys, Vec<(usize, JwkUnusable)>), serde_json::Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        // serde would take a list for the fields in their order, here and for each key.
        let set: serde_json::Map<String, Value> = serde_json::from_slice(text)?;
        let set: Set = serde_json::from_value(Value::Object(set))?;
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        for (place, value) in set.keys.into_iter().enumerate() {
            let read = read_one(value).and_then(|key| {
                let known = keys
                    .iter()
                    .any(|known: &super::VerifyingKey| known.id == key.id);
                match () {
                    () if known => Err(JwkUnusable::Twice),
                    () if keys.len() == MOST_KEYS => Err(JwkUnusable::TooMany),
                    () => Ok(key),
                }
            });
            match read {
                Ok(key) => keys.push(key),
                Err(why) => unusable.push((place, why)),
            }
        }
        Ok((VerifyingKeys::new(keys), unusable))
    }
}

fn read_one(value: Value) -> Result<super::VerifyingKey, JwkUnusable> {
    if !value.is_object() {
        return Err(JwkUnusable::NoKey);
    }
    if value.get("d").is_some() {
        return Err(JwkUnusable::Private);
    }
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| JwkUnusable::NoKey)?;
    let mut key = PublicKey::from_jwk(&jwk)?.verifying_key();
    if let Some(kid) = jwk.kid {
        key.id = kid.into();
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::PrivateKey;

    fn published(algorithm: PairAlgorithm) -> Value {
        let key = PrivateKey::parse(&PrivateKey::generate(algorithm)).unwrap();
        serde_json::to_value(key.public_key().jwk()).unwrap()
    }

    fn read(keys: &[Value]) -> (Vec<String>, Vec<(usize, JwkUnusable)>) {
        let text = json!({"keys": keys, "more": 1}).to_string();
        let (keys, unusable) = JwkSet::read(text.as_bytes()).unwrap();
        (keys.ids().map(ToString::to_string).collect(), unusable)
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    #[test]
    fn what_is_published_is_what_is_read() {
        for algorithm in [PairAlgorithm::Ed25519, PairAlgorithm::Es256] {
            let key = PrivateKey::parse(&PrivateKey::generate(algorithm)).unwrap();
            let keys = VerifyingKeys::new([key.public_key().verifying_key()]);
            let text = serde_json::to_vec(&keys.published()).unwrap();
            let (read, unusable) = JwkSet::read(&text).unwrap();
            assert_eq!(unusable, []);
            assert_eq!(read.published(), keys.published());
            assert!(read.ids().eq(keys.ids()) && read.ids().eq([key.signing_key().id()]));
        }
    }

    #[test]
    fn a_common_secret_is_never_published() {
        let secret = crate::SharedSecret::parse(&"s".repeat(32)).unwrap();
        let keys = VerifyingKeys::new([secret.verifying_key()]);
        assert_eq!(keys.published().keys, []);
    }

    #[test]
    fn keys_that_cannot_be_used_are_passed_over_and_the_others_stay() {
        let (ed, ec) = (
            published(PairAlgorithm::Ed25519),
            published(PairAlgorithm::Es256),
        );
        let other = published(PairAlgorithm::Ed25519);
        let bad = [
            (json!("text"), JwkUnusable::NoKey),
            (
                json!(["OKP", "Ed25519", other["x"], null, "list", null, null, null]),
                JwkUnusable::NoKey,
            ),
            (json!({}), JwkUnusable::Type),
            (
                json!({"kty": "oct", "k": "AAAA", "kid": "s"}),
                JwkUnusable::Type,
            ),
            (
                json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
                JwkUnusable::Type,
            ),
            (
                with(other.clone(), "crv", json!("X25519")),
                JwkUnusable::Type,
            ),
            (with(other.clone(), "kty", json!("EC")), JwkUnusable::Type),
            (
                with(other.clone(), "alg", json!("HS256")),
                JwkUnusable::Algorithm,
            ),
            (with(other.clone(), "use", json!("enc")), JwkUnusable::Use),
            (
                with(other.clone(), "key_ops", json!(["sign"])),
                JwkUnusable::Use,
            ),
            (
                with(other.clone(), "d", json!("AAAA")),
                JwkUnusable::Private,
            ),
            (
                with(other.clone(), "x", json!("AAAA")),
                JwkUnusable::Member("x"),
            ),
            (
                with(other.clone(), "x", json!("!")),
                JwkUnusable::Member("x"),
            ),
            (with(other.clone(), "x", json!(5)), JwkUnusable::NoKey),
            (
                with(other.clone(), "x", Value::Null),
                JwkUnusable::Member("x"),
            ),
            (with(ec.clone(), "y", Value::Null), JwkUnusable::Member("y")),
            // No point of the curve.
            (
                with(ec.clone(), "y", ec["x"].clone()),
                JwkUnusable::Member("x"),
            ),
            (ed.clone(), JwkUnusable::Twice),
            (
                with(other.clone(), "kid", ed["kid"].clone()),
                JwkUnusable::Twice,
            ),
        ];
        let mut keys = vec![ed.clone(), ec.clone()];
        keys.extend(bad.iter().map(|(key, _)| key.clone()));
        keys.push(with(other, "alg", json!("Ed25519")));
        let (ids, unusable) = read(&keys);
        assert_eq!(ids.len(), 3);
        let expected: Vec<_> = bad
            .iter()
            .enumerate()
            .map(|(at, (_, why))| (at + 2, *why))
            .collect();
        assert_eq!(unusable, expected);
    }

    #[test]
    fn a_key_goes_by_the_kid_that_it_states_and_without_one_by_its_thumbprint() {
        let key = published(PairAlgorithm::Es256);
        let named = with(key.clone(), "kid", json!("2026-11"));
        let (ids, _) = read(&[named, with(key.clone(), "kid", Value::Null)]);
        assert_eq!(ids, ["2026-11", key["kid"].as_str().unwrap()]);
    }

    #[test]
    fn a_set_has_an_end() {
        let key = published(PairAlgorithm::Ed25519);
        let keys: Vec<_> = (0..40)
            .map(|n| with(key.clone(), "kid", json!(n.to_string())))
            .collect();
        let (ids, unusable) = read(&keys);
        assert_eq!((ids.len(), unusable.len()), (MOST_KEYS, 8));
        for text in [
            "",
            "null",
            "{}",
            "[]",
            "[[]]",
            r#"{"keys": {}}"#,
            r#"{"keys": 5}"#,
        ] {
            assert!(JwkSet::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
