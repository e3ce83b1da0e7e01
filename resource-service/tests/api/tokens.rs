use std::time::Duration;

use serde_json::json;
use shared_claims::{Parties, SharedSecret, VerifyingKeys};
use test_support::tokens::{access_claims, forge, headers_with_keys, hostile_access_tokens};
use test_support::{SECRET, start_of_time};

use crate::stack::{ACCESS, Stack};

#[tokio::test]
async fn no_hostile_token_opens_anything() {
    let stack = Stack::start().await;
    for hostile in hostile_access_tokens(start_of_time().as_second()) {
        for path in ["/profile", "/dashboard"] {
            let reply = stack.client.get_with(path, &hostile.token).await;
            let said = (reply.status.as_u16(), reply.text_of("code"));
            assert_eq!(
                said,
                (401, hostile.code.to_owned()),
                "{}: {}",
                hostile.name,
                reply.text
            );
            let challenge = reply.header("www-authenticate");
            let due = "Bearer realm=\"tokenpair\", error=\"invalid_token\"";
            assert!(challenge.starts_with(due), "{}: {challenge}", hostile.name);
        }
    }
}

#[tokio::test]
async fn a_token_is_good_until_its_expiry_and_not_a_second_longer() {
    let stack = Stack::start().await;
    let token = stack.token("cosmo", "profile:read");
    stack.clock.advance(ACCESS - Duration::from_secs(1));
    stack
        .client
        .get_with("/profile", &token)
        .await
        .has_status(200);
    stack.clock.advance(Duration::from_secs(1));
    let reply = stack
        .client
        .get_with("/profile", &token)
        .await
        .is(401, "token_expired")
        .says("Token has expired");
    assert_eq!(
        reply.header("www-authenticate"),
        "Bearer realm=\"tokenpair\", error=\"invalid_token\", error_description=\"Token has expired\""
    );
}

#[tokio::test]
async fn the_leeway_is_for_the_expiry_and_for_a_foreign_tokens_beginning() {
    let stack = Stack::start_with(|tokens| tokens.leeway = Duration::from_secs(5)).await;
    let now = start_of_time().as_second();
    let get = async |changes: &[(&str, i64)]| {
        let mut claims = access_claims(now);
        for (name, value) in changes {
            claims[*name] = (*value).into();
        }
        stack
            .client
            .get_with(
                "/profile",
                &forge(&json!({"alg": "HS256"}), &claims, SECRET),
            )
            .await
            .status
            .as_u16()
    };
    assert_eq!(get(&[("exp", now - 4)]).await, 200);
    assert_eq!(get(&[("exp", now - 5)]).await, 401);
    assert_eq!(get(&[("nbf", now + 5)]).await, 200);
    assert_eq!(get(&[("nbf", now + 6)]).await, 401);
    assert_eq!(get(&[("exp", i64::MAX), ("nbf", i64::MIN)]).await, 200);
}

#[tokio::test]
async fn a_token_without_kid_or_typ_with_a_list_of_audiences_or_with_keys_in_its_header_is_good() {
    let stack = Stack::start().await;
    let now = start_of_time().as_second();
    let mut claims = access_claims(now);
    claims["aud"] = json!(["other", "tokenpair"]);
    claims["unknown"] = json!({"to": "us"});
    for header in [
        json!({"alg": "HS256"}),
        json!({"alg": "HS256", "typ": "JWT"}),
        json!({"alg": "HS256", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert", "x5c": ["AAAA"]}),
        json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}),
    ] {
        let reply = stack
            .client
            .get_with("/profile", &forge(&header, &claims, SECRET))
            .await;
        assert_eq!(reply.status, 200, "{header}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_token_of_a_previous_secret_is_good_with_and_without_kid() {
    let previous = SharedSecret::parse("a-previous-secret-of-at-least-32-bytes").unwrap();
    let current = SharedSecret::parse(SECRET).unwrap();
    let keys = VerifyingKeys::new([current.verifying_key(), previous.verifying_key()]);
    let stack = Stack::start_with(|tokens| tokens.keys.verifying = keys).await;
    let claims = access_claims(start_of_time().as_second());
    let kid = previous.signing_key().id().to_string();
    for header in [json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": kid})] {
        let token = forge(&header, &claims, "a-previous-secret-of-at-least-32-bytes");
        stack
            .client
            .get_with("/profile", &token)
            .await
            .has_status(200);
        stack
            .client
            .get_with(
                "/profile",
                &forge(&json!({"alg": "HS256", "kid": kid}), &claims, SECRET),
            )
            .await
            .is(401, "invalid_token");
    }
}

#[tokio::test]
async fn with_issuer_and_audience_switched_off_a_flask_services_token_is_good() {
    let stack = Stack::start_with(|tokens| tokens.parties = Parties::new("", "")).await;
    let now = start_of_time().as_second();
    // What flask-jwt-extended puts into an access token by default.
    let claims = json!({
        "fresh": false, "iat": now, "jti": "2ad3b4b4-64a8-4b5f-8bcb-0a8f9c1b2d3e", "type": "access", "sub": "cosmo", "nbf": now,
        "csrf": "0c2f2e0a-7f0e-4f0e-9d4a-4f5b0a7b1c2d", "exp": now + 900,
    });
    let token = forge(&json!({"alg": "HS256", "typ": "JWT"}), &claims, SECRET);
    let reply = stack
        .client
        .get_with("/dashboard", &token)
        .await
        .has_status(200);
    assert_eq!(reply.json()["id"], "cosmo");
    let mut refresh = claims;
    refresh["type"] = json!("refresh");
    let token = forge(&json!({"alg": "HS256", "typ": "JWT"}), &refresh, SECRET);
    stack
        .client
        .get_with("/dashboard", &token)
        .await
        .is(401, "wrong_token_type")
        .says("Only non-refresh tokens are allowed");
}

#[tokio::test]
async fn keys_in_a_header_mean_nothing_whatever_they_look_like() {
    let stack = Stack::start().await;
    for header in headers_with_keys() {
        let token = forge(&header, &access_claims(start_of_time().as_second()), SECRET);
        let reply = stack.client.get_with("/profile", &token).await;
        assert_eq!(reply.status, 200, "{header}: {}", reply.text);
    }
}
