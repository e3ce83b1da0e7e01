use std::time::{Duration, Instant};

use auth_service::config::HashingLimits;
use serde_json::json;
use test_support::{Reply, start_of_time};

use crate::stack::{PASSWORD, SECOND, Stack, User, claims, header};

#[tokio::test]
async fn a_login_gives_a_pair_of_the_shape_that_was_promised() {
    let stack = Stack::start().await;
    stack.register("cosmo").await.has_status(201);
    let reply = stack.log_in("cosmo").await.has_status(200);
    let pair = reply.json();
    assert_eq!(pair["token_type"], "Bearer");
    assert_eq!(pair["expires_in"], 900);
    assert_eq!(pair["refresh_expires_in"], 3600);
    assert_eq!(pair["scope"], "profile:read profile:write");
    assert_eq!(pair.as_object().unwrap().len(), 6, "{pair}");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("content-type"), "application/json");
}

#[tokio::test]
async fn the_access_token_says_what_was_promised_and_no_more() {
    let stack = Stack::start().await;
    let id = stack.register("Cosmo").await.text_of("id");
    let user = User::from(&stack.log_in("cosmo").await);
    let now = start_of_time().as_second();
    let mut claims = claims(&user.access);
    let claims = claims.as_object_mut().unwrap();
    assert!(
        claims
            .remove("jti")
            .is_some_and(|jti| !jti.as_str().unwrap().is_empty())
    );
    assert!(
        claims
            .remove("sid")
            .is_some_and(|sid| sid.as_str().unwrap().len() == 36)
    );
    assert_eq!(
        serde_json::Value::from(claims.clone()),
        json!({
            "iss": "http://127.0.0.1:8001", "aud": "tokenpair", "sub": id, "preferred_username": "cosmo", "type": "access",
            "fresh": true, "auth_time": now, "scope": "profile:read profile:write", "iat": now, "exp": now + 900,
        })
    );
    let header = header(&user.access);
    assert_eq!(
        (header.alg, header.typ.as_deref()),
        (jsonwebtoken::Algorithm::HS256, Some("at+jwt"))
    );
    assert!(header.kid.is_some());
}

#[tokio::test]
async fn the_refresh_token_says_what_was_promised_and_no_more() {
    let stack = Stack::start().await;
    let id = stack.register("cosmo").await.text_of("id");
    let user = User::from(&stack.log_in("cosmo").await);
    let now = start_of_time().as_second();
    let session = claims(&user.access)["sid"].clone();
    let mut claims = claims(&user.refresh);
    assert!(claims.as_object_mut().unwrap().remove("jti").is_some());
    assert_eq!(
        claims,
        json!({
            "iss": "http://127.0.0.1:8001", "aud": "http://127.0.0.1:8001", "sub": id, "type": "refresh", "sid": session,
            "gen": 0, "iat": now, "exp": now + 3600,
        })
    );
    assert_eq!(header(&user.refresh).typ.as_deref(), Some("rt+jwt"));
}

#[tokio::test]
async fn wrong_password_and_unknown_user_are_answered_alike() {
    let stack = Stack::start().await;
    stack.register("cosmo").await.has_status(201);
    let log_in = async |username: &str, password: &str| {
        let reply = stack
            .client
            .post(
                "/login",
                &json!({"username": username, "password": password}),
            )
            .await;
        assert_eq!(reply.text_of("error"), "Bad username or password");
        let reply = reply
            .is(401, "bad_credentials")
            .says("Bad username or password");
        (
            reply.text.clone(),
            reply.header("www-authenticate").to_owned(),
        )
    };
    let wrong = log_in("cosmo", "wrong").await;
    assert_eq!(log_in("nobody", PASSWORD).await, wrong);
    assert_eq!(log_in("no body's name has spaces", PASSWORD).await, wrong);
    assert_eq!(log_in("cosmo", "\u{0}").await, wrong);
    assert_eq!(log_in("cosmo", &"long".repeat(1000)).await, wrong);
    assert_eq!(log_in("cosmo", &PASSWORD.to_uppercase()).await, wrong);
}

#[tokio::test]
async fn an_unknown_user_costs_what_a_known_one_costs() {
    let stack = Stack::start().await;
    stack.register("cosmo").await.has_status(201);
    let time = async |username: &str| {
        let started = Instant::now();
        stack
            .client
            .post(
                "/login",
                &json!({"username": username, "password": "wrong"}),
            )
            .await
            .has_status(401);
        started.elapsed()
    };
    // The quickest of some: noise only ever adds. Without the decoy an unknown name takes a hundredth.
    let mut quickest = [Duration::MAX; 2];
    for _ in 0..5 {
        quickest[0] = quickest[0].min(time("cosmo").await);
        quickest[1] = quickest[1].min(time("nobody").await);
    }
    let ratio = quickest[1].as_secs_f64() / quickest[0].as_secs_f64();
    assert!(
        ratio > 0.5,
        "an unknown user is known by the time: {quickest:?}"
    );
}

#[tokio::test]
async fn a_name_may_be_typed_in_any_case_and_a_password_composed_in_any_form() {
    let stack = Stack::start().await;
    stack
        .client
        .post(
            "/register",
            &json!({"username": "Émilie", "password": "café au lait"}),
        )
        .await
        .has_status(201);
    let typed = json!({"username": "E\u{301}MILIE", "password": "cafe\u{301} au lait"});
    stack.client.post("/login", &typed).await.has_status(200);
}

#[tokio::test]
async fn a_field_that_is_missing_empty_or_of_a_wrong_type_is_a_400() {
    let stack = Stack::start().await;
    for body in [
        json!({}),
        json!({"username": "cosmo"}),
        json!({"password": PASSWORD}),
        json!({"username": "", "password": PASSWORD}),
        json!({"username": "cosmo", "password": ""}),
        json!({"username": null, "password": null}),
        json!({"username": 5, "password": PASSWORD}),
        json!({"username": ["cosmo"], "password": PASSWORD}),
        json!({"username": "a".repeat(10_000), "password": PASSWORD}),
        json!([]),
        json!("cosmo"),
        json!(null),
    ] {
        stack
            .client
            .post("/login", &body)
            .await
            .is(400, "invalid_request");
    }
}

#[tokio::test]
async fn no_answer_repeats_a_password_that_was_sent_as_a_number() {
    let stack = Stack::start().await;
    let reply = stack
        .client
        .post(
            "/login",
            &json!({"username": "cosmo", "password": 123_456_789}),
        )
        .await;
    assert!(
        !reply
            .clone()
            .is(400, "invalid_request")
            .text
            .contains("123456789"),
        "{}",
        reply.text
    );
    assert!(
        reply.json()["errors"]["password"] == json!(["Must be a string."]),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn more_logins_than_there_is_room_for_take_no_room_from_others() {
    let stack = Stack::start_with(|config| {
        config.limits.in_flight = 4;
        config.hashing = HashingLimits {
            concurrency: 1,
            queue: 64,
            deadline: 25 * SECOND,
        };
    })
    .await;
    let user = stack.sign_up("cosmo").await;
    let storm = futures_util::future::join_all((0..24).map(|_| stack.log_in("cosmo")));
    let others = async {
        for _ in 0..20 {
            stack.me(&user.access).await.has_status(200);
        }
    };
    let (replies, ()) = tokio::join!(storm, others);
    let refused = replies.iter().filter(|reply| reply.status == 503).count();
    assert!((1..=20).contains(&refused), "{refused} refused");
}

#[tokio::test]
async fn logins_that_cannot_be_served_in_time_get_503_and_the_rest_go_on() {
    let limits = HashingLimits {
        concurrency: 1,
        queue: 2,
        deadline: 25 * SECOND,
    };
    let stack = Stack::start_with(|config| config.hashing = limits).await;
    let user = stack.sign_up("cosmo").await;
    let storm = futures_util::future::join_all((0..24).map(|_| stack.log_in("cosmo")));
    let others = async {
        for _ in 0..5 {
            stack.me(&user.access).await.has_status(200);
        }
    };
    let (replies, ()) = tokio::join!(storm, others);
    let (served, refused): (Vec<Reply>, Vec<Reply>) =
        replies.into_iter().partition(|reply| reply.status == 200);
    assert!(
        served.len() >= 3 && !refused.is_empty(),
        "{} served",
        served.len()
    );
    for reply in refused {
        let reply = reply.is(503, "overloaded");
        assert!(
            reply
                .header("retry-after")
                .parse::<u64>()
                .is_ok_and(|seconds| seconds >= 1)
        );
    }
}

#[tokio::test]
async fn a_login_waits_no_longer_than_the_deadline() {
    let stack = Stack::start().await;
    stack.register("cosmo").await.has_status(201);
    let limits = HashingLimits {
        concurrency: 1,
        queue: 8,
        deadline: Duration::from_millis(1),
    };
    let stack = stack.restart_with(|config| config.hashing = limits).await;
    stack.log_in("cosmo").await.is(503, "overloaded");
}
