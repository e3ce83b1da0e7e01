//! The signatures of Project Wycheproof: known answers, and known ways to get it wrong.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::key::{Jwk, PublicKey};

#[derive(Deserialize)]
struct Vectors {
    tokens: Vec<TokenGroup>,
    ed25519: Vec<RawGroup>,
}

#[derive(Deserialize)]
struct TokenGroup {
    key: Value,
    cases: Vec<TokenCase>,
}

#[derive(Deserialize)]
struct TokenCase {
    name: String,
    token: String,
    valid: bool,
}

/// The suite has no tokens with `EdDSA`, only signatures of messages.
#[derive(Deserialize)]
struct RawGroup {
    public_key: String,
    cases: Vec<RawCase>,
}

#[derive(Deserialize)]
struct RawCase {
    name: String,
    message: String,
    signature: String,
    valid: bool,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("wycheproof.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// The key as this crate takes it, or `None` where it does not.
fn key(jwk: &Value) -> Option<VerifyingKey> {
    let mut key = if jwk["kty"] == "oct" {
        VerifyingKey {
            id: "".into(),
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(&URL_SAFE_NO_PAD.decode(jwk["k"].as_str()?).ok()?),
            public: None,
        }
    } else {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
        PublicKey::from_jwk(&jwk).ok()?.verifying_key()
    };
    key.id = jwk["kid"].as_str()?.into();
    Some(key)
}

/// Where the suite's word cannot be taken: two tokens with a `?` in their base64, which RFC 7515 section 2 does not allow, are
/// called valid, and two that lost the padding which they are named for, and are letter for letter case 357, are called
/// invalid.
const OTHERWISE: [(&str, bool); 4] = [
    ("367 invalidBase64Padding", true),
    ("370 invalidBase64PaddingInPayload", true),
    ("372 InvalidCharacterInsertedInHeader", false),
    ("373 InvalidCharacterInsertedInPayload", false),
];

#[test]
fn the_tokens_of_wycheproof_are_told_apart() {
    let mut counted = (0, 0);
    for group in vectors().tokens {
        let keys = VerifyingKeys::new(key(&group.key));
        for TokenCase { name, token, valid } in group.cases {
            // The payloads are texts, not claims.
            let signed = keys.signed(&token).is_ok();
            let otherwise = OTHERWISE.iter().find(|(case, _)| *case == name);
            let valid = otherwise.map_or(valid, |(_, valid)| *valid);
            assert_eq!(signed, valid, "{name}: {token}");
            counted.0 += usize::from(valid);
            counted.1 += usize::from(!valid);
        }
    }
    assert_eq!(counted, (12, 69));
}

#[test]
fn the_ed25519_signatures_of_wycheproof_are_told_apart() {
    let mut counted = (0, 0);
    for group in vectors().ed25519 {
        let x = Some(URL_SAFE_NO_PAD.encode(bytes(&group.public_key)));
        let jwk = Jwk {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            x,
            ..Jwk::default()
        };
        // A key that is no point of the curve is refused before any signature is looked at.
        let key = PublicKey::from_jwk(&jwk).map(|key| key.verifying_key());
        for case in group.cases {
            let signature = URL_SAFE_NO_PAD.encode(bytes(&case.signature));
            let message = bytes(&case.message);
            let good = key.as_ref().is_ok_and(|key| {
                let checked = key.check(Algorithm::EdDSA, &message, &signature);
                checked.is_ok()
            });
            assert_eq!(good, case.valid, "{}", case.name);
            counted.0 += usize::from(good);
            counted.1 += usize::from(!good);
        }
    }
    assert_eq!(counted, (88, 63));
}
