use std::time::Duration;

use serde_json::json;

use crate::stack::Stack;

#[tokio::test]
async fn a_dashboard_tells_who_how_long_and_when() {
    let stack = Stack::start().await;
    let token = stack.token("cosmo", "profile:write");
    stack
        .client
        .put_with(
            "/profile",
            &token,
            &json!({"display_name": "Cosmo", "bio": null}),
        )
        .await
        .has_status(200);
    stack.clock.advance(Duration::from_mins(5));
    assert_eq!(
        stack
            .client
            .get_with("/dashboard", &token)
            .await
            .has_status(200)
            .json(),
        json!({
            "id": "id-of-cosmo", "username": "cosmo",
            "token": {"expires_in": 600, "fresh": true, "scope": "profile:write"},
            "profile": {"updated_at": "2026-09-21T14:13:20Z"},
            "account": null,
            "missing": [{"part": "account", "reason": "this service has no account of its own to ask auth-service with"}],
        })
    );
}

#[tokio::test]
async fn a_dashboard_needs_a_token_but_no_scope() {
    let stack = Stack::start().await;
    stack
        .client
        .get_with("/dashboard", &stack.token("cosmo", ""))
        .await
        .has_status(200);
    let reply = stack
        .client
        .get("/dashboard")
        .await
        .is(401, "missing_token")
        .says("Missing Authorization Header");
    assert_eq!(
        reply.header("www-authenticate"),
        "Bearer realm=\"tokenpair\""
    );
}
