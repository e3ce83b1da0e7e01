//! What the log says, and what it must never say.

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use test_support::Reply;

use crate::stack::Stack;
use crate::unsaid::{self, Unsaid};

/// Everything a user and a client do, at the loudest that our own code can log, and not one secret of it in the whole log or in the
/// figures, nor who it was or where they went.
#[tokio::test]
async fn no_password_token_or_secret_is_in_the_log_of_a_whole_run() {
    let quiet = "trace,hyper=info,hyper_util=info,mio=info,tokio=info";
    let settings = [
        ("RUST_LOG", quiet),
        ("AUTH_REFRESH_GRACE", "0s"),
        unsaid::ALLOWED,
    ];
    let mut stack = Stack::start_with(&settings).await;
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
    let mut unsaid = unsaid::use_all(&stack).await;
    for token in [
        access,
        refresh,
        next.text_of("access_token"),
        next.text_of("refresh_token"),
        other,
    ] {
        unsaid.token(&token);
    }
    unsaid.texts(&passwords);
    unsaid.texts(&["space-corgi", &stack.secret().await]);
    unsaid.texts(&["laika", "cosmo", UNKNOWN, "query-of", "?token"]);
    unsaid.texts(&PATHS);
    let figures = figures(&stack).await;
    let log = stack.log_to_the_end().await;
    assert!(log.contains("a refresh token was used again"));
    for (name, said) in [("log", log), ("figures", figures)] {
        is_unsaid(&unsaid, name, &said);
    }
}

async fn figures(stack: &Stack) -> String {
    let mut figures = String::new();
    for service in [&stack.auth, &stack.resource] {
        figures += &service.get("/metrics").await.has_status(200).text;
    }
    figures
}

fn is_unsaid(unsaid: &Unsaid, name: &str, said: &str) {
    for unsaid in &unsaid.0 {
        assert!(!said.contains(unsaid), "{unsaid} is in the {name}");
    }
    for (what, sign) in [
        ("a token", "eyJ"),
        ("a header", "Bearer ey"),
        ("a client's header", "Basic cmV"),
        ("a cookie", "tokenpair-refresh"),
        ("a hash", "$argon2id$"),
    ] {
        assert!(!said.contains(sign), "{what} is in the {name}");
    }
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
    let odd = stack.resource.request(&Method::GET, "/profile");
    let odd = odd.header(AUTHORIZATION, format!("Basic {token}"));
    Reply::to(odd).await.is(401, "malformed_header");
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
