//! Tokens as a stranger might make them, each with what a verifier must say.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use crate::SECRET;

/// A token of exactly this header and these claims, signed with HS256.
#[must_use]
pub fn forge(header: &Value, claims: &Value, secret: &str) -> String {
    forge_text(&header.to_string(), &claims.to_string(), secret)
}

/// A token of exactly these texts, signed with HS256.
#[must_use]
pub fn forge_text(header: &str, claims: &str, secret: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HMAC signs");
    format!("{message}.{signature}")
}

/// The claims of a good access token at this time, in Unix seconds.
#[must_use]
pub fn access_claims(now: i64) -> Value {
    json!({
        "iss": "http://127.0.0.1:8001", "aud": "tokenpair", "sub": "0199aaaa-0000-7000-8000-000000000001",
        "type": "access", "preferred_username": "mallory", "fresh": true, "auth_time": now,
        "scope": "profile:read profile:write", "jti": "one", "iat": now, "exp": now + 900,
    })
}

fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("changes are an object") {
        claims[name] = value.clone();
    }
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims
        .as_object_mut()
        .expect("claims are an object")
        .remove(name);
    claims
}

/// Headers of good tokens that carry keys, or point to them, in every form: all of it means nothing.
#[must_use]
pub fn headers_with_keys() -> Vec<Value> {
    let keys = [
        json!({"jwk": {"kty": "oct", "k": "AAAA"}}),
        json!({"jwk": "text"}),
        json!({"jku": "https://keys.example/"}),
        json!({"jku": 5}),
        json!({"x5u": "https://keys.example/"}),
        json!({"x5c": "AAAA"}),
        json!({"x5c": ["AAAA"], "x5t": 7, "cty": null, "typ": 3}),
    ];
    let header = json!({"alg": "HS256"});
    keys.map(|key| with(header.clone(), &key)).into()
}

/// A token that opens nothing, and why.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: String,
    /// The token.
    pub token: String,
    /// The code of the 401 that it is due.
    pub code: &'static str,
}

/// Tokens that no route for access tokens takes at this time, in Unix seconds.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn hostile_access_tokens(now: i64) -> Vec<Hostile> {
    let header = json!({"alg": "HS256", "typ": "at+jwt"});
    let claims = access_claims(now);
    let good = forge(&header, &claims, SECRET);
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a token has three parts")
    };
    let mut tokens = Vec::new();
    let mut add = |name: &str, token: String, code: &'static str| {
        tokens.push(Hostile {
            name: name.to_owned(),
            token,
            code,
        });
    };

    for alg in [
        "none", "None", "HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA", "", "x",
    ] {
        let token = forge(&json!({"alg": alg}), &claims, SECRET);
        add(&format!("alg {alg:?}"), token.clone(), "invalid_token");
        let unsigned = format!("{}.", token.rsplit_once('.').expect("three parts").0);
        add(
            &format!("alg {alg:?} with no signature"),
            unsigned,
            "invalid_token",
        );
    }
    for (name, header) in [
        ("no alg", json!({"typ": "at+jwt"})),
        ("alg of a wrong type", json!({"alg": 5})),
        ("a kid of nobody", json!({"alg": "HS256", "kid": "nobody"})),
        ("an empty kid", json!({"alg": "HS256", "kid": ""})),
        (
            "a kid that is a path",
            json!({"alg": "HS256", "kid": "../../../../dev/null"}),
        ),
        ("a kid of a wrong type", json!({"alg": "HS256", "kid": 7})),
        ("a crit header", json!({"alg": "HS256", "crit": ["exp"]})),
        ("an empty crit header", json!({"alg": "HS256", "crit": []})),
        (
            "a crit header of null",
            json!({"alg": "HS256", "crit": null}),
        ),
        ("a kid of null", json!({"alg": "HS256", "kid": null})),
        ("a header that is a list", json!(["HS256"])),
    ] {
        add(name, forge(&header, &claims, SECRET), "invalid_token");
    }
    let other = "another-secret-of-at-least-32-bytes-in-length";
    add(
        "another secret",
        forge(&header, &claims, other),
        "invalid_token",
    );
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(other)});
    let own_key = json!({"alg": "HS256", "jwk": jwk});
    add(
        "a key of its own",
        forge(&own_key, &claims, other),
        "invalid_token",
    );

    for name in ["exp", "sub", "type", "iss", "aud"] {
        add(
            &format!("no {name}"),
            forge(&header, &without(claims.clone(), name), SECRET),
            "invalid_token",
        );
    }
    for changes in [
        json!({"exp": "tomorrow"}),
        json!({"exp": null}),
        json!({"exp": true}),
        json!({"sub": 5}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": ["a"]}),
        json!({"type": 1}),
        json!({"type": "id"}),
        json!({"type": "ACCESS"}),
        json!({"iss": "http://127.0.0.1:8001/"}),
        json!({"iss": ""}),
        json!({"iss": ["http://127.0.0.1:8001"]}),
        json!({"aud": "other"}),
        json!({"aud": []}),
        json!({"aud": ["other"]}),
        json!({"aud": 1}),
        json!({"scope": 5}),
        json!({"scope": ["profile:read"]}),
        json!({"scope": "with\"quote"}),
        json!({"fresh": "yes"}),
        json!({"sid": 5}),
        json!({"iat": "now"}),
        json!({"jti": 1}),
        json!({"auth_time": "x"}),
        json!({"nbf": "x"}),
        json!({"scope": null}),
        json!({"sid": null}),
        json!({"fresh": null}),
        json!({"nbf": null}),
        json!({"iss": null}),
        json!({"nbf": now + 5}),
    ] {
        add(
            &format!("claims with {changes}"),
            forge(&header, &with(claims.clone(), &changes), SECRET),
            "invalid_token",
        );
    }
    for changes in [
        json!({"exp": now}),
        json!({"exp": now - 1}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": -1e300}),
    ] {
        add(
            &format!("claims with {changes}"),
            forge(&header, &with(claims.clone(), &changes), SECRET),
            "token_expired",
        );
    }
    let refresh = with(
        claims.clone(),
        &json!({"type": "refresh", "aud": "http://127.0.0.1:8001", "sid": "s", "gen": 0}),
    );
    add(
        "a refresh token",
        forge(&header, &refresh, SECRET),
        "wrong_token_type",
    );
    let expired_refresh = with(refresh, &json!({"exp": now - 1}));
    add(
        "an expired refresh token",
        forge(&header, &expired_refresh, SECRET),
        "wrong_token_type",
    );

    let twice = claims.to_string().replacen('{', r#"{"sub":"admin","#, 1);
    add(
        "a claim that stands twice",
        forge_text(&header.to_string(), &twice, SECRET),
        "invalid_token",
    );
    add(
        "a header field that stands twice",
        forge_text(
            r#"{"alg":"HS256","alg":"none"}"#,
            &claims.to_string(),
            SECRET,
        ),
        "invalid_token",
    );
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(3000), "]".repeat(3000));
    add(
        "deep claims",
        forge_text(&header.to_string(), &deep, SECRET),
        "invalid_token",
    );
    add(
        "claims that are no JSON",
        forge_text(&header.to_string(), "hello", SECRET),
        "invalid_token",
    );
    add(
        "claims that are a list",
        forge(&header, &json!([1]), SECRET),
        "invalid_token",
    );
    add(
        "claims that are no UTF-8 in disguise",
        format!(
            "{head}.{}.{signature}",
            URL_SAFE_NO_PAD.encode([0xff, 0xfe])
        ),
        "invalid_token",
    );

    let other_payload =
        URL_SAFE_NO_PAD.encode(with(claims.clone(), &json!({"sub": "admin"})).to_string());
    add(
        "other claims under an old signature",
        format!("{head}.{other_payload}.{signature}"),
        "invalid_token",
    );
    add(
        "no signature",
        format!("{head}.{payload}."),
        "invalid_token",
    );
    add(
        "half a signature",
        format!("{head}.{payload}.{}", &signature[..20]),
        "invalid_token",
    );
    add("a padded signature", format!("{good}="), "invalid_token");
    add("two parts", format!("{head}.{payload}"), "invalid_token");
    add("four parts", format!("{good}.{signature}"), "invalid_token");
    add(
        "five parts, as of an encrypted token",
        format!("{good}.a.b"),
        "invalid_token",
    );
    for text in [
        ".",
        "..",
        "...",
        "x",
        "null",
        "eyJ",
        "undefined",
        "\"",
        "%00",
    ] {
        add(
            &format!("the text {text}"),
            text.to_owned(),
            "invalid_token",
        );
    }
    let long = with(claims, &json!({"bio": "x".repeat(45_000)}));
    add("60 kB", forge(&header, &long, SECRET), "invalid_token");
    tokens
}
