//! What the log says, and what it must never say.

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use test_support::Reply;

use crate::stack::Stack;

/// Everything a user does, at the loudest that our own code can log, and not one secret of it in the whole log, nor who it was or
/// where they went.
#[tokio::test]
async fn no_password_token_or_secret_is_in_the_log_of_a_whole_run() {
    let quiet = "trace,hyper=info,hyper_util=info,mio=info,tokio=info";
    let mut stack = Stack::start_with(&[("RUST_LOG", quiet), ("AUTH_REFRESH_GRACE", "0s")]).await;
    let passwords = [
        "bark at the moon",
        "a wrong password",
        "12345678901234567890",
    ];
    let laika = json!({"username": "laika", "password": passwords[0]});
    stack.auth.post("/register", &laika).await.has_status(201);
    stack.auth.post("/register", &laika).await.has_status(409);
    stack.log_in("laika", passwords[1]).await.has_status(401);
    stack
        .auth
        .post(
            "/login",
            &json!({"username": "laika", "password": 12_345_678_901_234_567_890_u64}),
        )
        .await
        .has_status(400);
    let half = format!(
        "{{\"username\": \"laika\", \"password\": \"{}\"",
        passwords[0]
    );
    let broken = stack
        .auth
        .request(&Method::POST, "/login")
        .header("content-type", "application/json")
        .body(half);
    Reply::to(broken).await.has_status(400);

    let pair = stack.auth.post("/login", &laika).await.has_status(200);
    let (access, refresh) = (pair.text_of("access_token"), pair.text_of("refresh_token"));
    stack
        .resource
        .get_with("/profile", &access)
        .await
        .has_status(200);
    stack
        .resource
        .get_with("/profile", &refresh)
        .await
        .has_status(401);
    stack
        .resource
        .get_with("/profile", &format!("{access}x"))
        .await
        .has_status(401);
    stack
        .resource
        .get(&format!("/nothing?token={access}"))
        .await
        .has_status(404);
    leaves_traces(&stack, &access).await;
    let odd = stack
        .resource
        .request(&Method::GET, "/profile")
        .header(AUTHORIZATION, format!("Basic {access}"));
    Reply::to(odd).await.is(401, "malformed_header");
    let next = stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .has_status(200);
    stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .is(401, "refresh_token_reused");
    let (other, _) = stack.pair().await;
    stack
        .auth
        .post_with("/logout", &other)
        .await
        .has_status(204);
    let secret = stack.secret().await;
    let log = stack.log_to_the_end().await;
    let tokens = [
        access,
        refresh,
        next.text_of("access_token"),
        next.text_of("refresh_token"),
        other,
    ];
    let signatures = tokens.iter().map(|token| token.rsplit('.').next().unwrap());
    let secrets = passwords
        .into_iter()
        .chain(["space-corgi", secret.as_str()])
        .chain(signatures);
    let users = ["laika", "cosmo", UNKNOWN];
    let queries = ["query-of", "?token"];
    for secret in secrets.chain(users).chain(PATHS).chain(queries) {
        assert!(!log.contains(secret), "the log has {secret}");
    }
    for (what, sign) in [
        ("a token", "eyJ"),
        ("a header", "Bearer ey"),
        ("a hash", "$argon2id$"),
    ] {
        assert!(!log.contains(sign), "the log has {what}");
    }
    assert!(log.contains("a refresh token was used again"));
}

/// A path without a route, and one that in auth-service has a route for administrators.
const PATHS: [&str; 2] = ["/no-route-leads-here", "/admin/users/whose-account"];
const UNKNOWN: &str = "nobody-of-this-name";

async fn leaves_traces(stack: &Stack, token: &str) {
    for (path, status) in PATHS.into_iter().zip([404, 403]) {
        let asked = format!("{path}?query-of=anything");
        let reply = stack.resource.get_with(&asked, token).await;
        reply.has_status(404);
        let reply = stack.auth.get_with(&asked, token).await;
        reply.has_status(status);
    }
    let reply = stack.log_in(UNKNOWN, "a wrong password").await;
    reply.has_status(401);
}

#[tokio::test]
async fn each_request_is_one_line_with_its_id_route_status_and_caller() {
    let mut stack = Stack::start().await;
    let (access, refresh) = stack.pair().await;
    let me = stack.auth.get_with("/me", &access).await.has_status(200);
    let profile = stack
        .resource
        .get_with("/profile?x=1", &access)
        .await
        .has_status(200);
    let missing = stack.resource.get("/nowhere").await.has_status(404);
    let wrong = stack
        .resource
        .get_with("/profile", &refresh)
        .await
        .has_status(401);
    let bad = stack.log_in("nobody", "space-corgi").await.has_status(401);
    let user = me.text_of("id");
    let log = stack.log_to_the_end().await;
    let line = |reply: &Reply| -> Value {
        let id = reply.header("x-request-id");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(id)).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        serde_json::from_str(lines[0]).expect("a line of JSON")
    };
    let (me, profile, missing) = (line(&me), line(&profile), line(&missing));
    assert_eq!(
        (&me["service"], &me["method"], &me["route"], &me["status"]),
        (
            &json!("auth-service"),
            &json!("GET"),
            &json!("/me"),
            &json!(200)
        )
    );
    assert!(
        me["duration_us"]
            .as_u64()
            .is_some_and(|duration| duration > 0),
        "{me}"
    );
    assert_eq!(profile["user"], json!(user));
    assert_eq!(profile["session"], me["session"]);
    assert!(
        profile["session"].is_string() && profile["cause"].is_null(),
        "{profile}"
    );
    assert_eq!(
        (&profile["service"], &profile["route"]),
        (&json!("resource-service"), &json!("/profile"))
    );
    assert_eq!(
        (&missing["route"], &missing["status"]),
        (&json!("none"), &json!(404))
    );
    assert_eq!(
        line(&wrong)["cause"],
        json!("Only non-refresh tokens are allowed")
    );
    assert_eq!(line(&bad)["cause"], json!("there is no such user"));
}
