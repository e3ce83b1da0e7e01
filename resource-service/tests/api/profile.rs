use std::time::Duration;

use serde_json::json;

use crate::stack::Stack;

const ALL: &str = "profile:read profile:write";

#[tokio::test]
async fn a_profile_that_nobody_has_written_yet_is_there_and_empty() {
    let stack = Stack::start().await;
    let reply = stack
        .client
        .get_with("/profile", &stack.token("cosmo", ALL))
        .await
        .has_status(200);
    assert_eq!(
        reply.json(),
        json!({"id": "id-of-cosmo", "username": "cosmo", "display_name": null, "bio": null, "updated_at": null})
    );
}

#[tokio::test]
async fn a_profile_is_kept_as_it_was_written_over_a_restart() {
    let stack = Stack::start().await;
    let token = stack.token("cosmo", ALL);
    let written = json!({"display_name": "Cosmo 🚀", "bio": "A corgi.\nIn space; 'quoted'."});
    let reply = stack
        .client
        .put_with("/profile", &token, &written)
        .await
        .has_status(200);
    let profile = json!({
        "id": "id-of-cosmo", "username": "cosmo", "display_name": "Cosmo 🚀", "bio": "A corgi.\nIn space; 'quoted'.",
        "updated_at": "2026-09-21T14:13:20Z",
    });
    assert_eq!(reply.json(), profile);
    let stack = stack.restart().await;
    assert_eq!(
        stack.client.get_with("/profile", &token).await.json(),
        profile
    );
}

#[tokio::test]
async fn a_profile_is_replaced_whole_and_null_empties_a_field() {
    let stack = Stack::start().await;
    let token = stack.token("cosmo", ALL);
    stack
        .client
        .put_with(
            "/profile",
            &token,
            &json!({"display_name": "Cosmo", "bio": "x"}),
        )
        .await
        .has_status(200);
    stack.clock.advance(Duration::from_mins(1));
    let reply = stack
        .client
        .put_with(
            "/profile",
            &token,
            &json!({"display_name": null, "bio": ""}),
        )
        .await;
    let reply = reply.has_status(200).json();
    assert_eq!(
        (&reply["display_name"], &reply["bio"], &reply["updated_at"]),
        (&json!(null), &json!(""), &json!("2026-09-21T14:14:20Z"))
    );
}

#[tokio::test]
async fn nobody_sees_or_writes_another_users_profile() {
    let stack = Stack::start().await;
    let (cosmo, laika) = (stack.token("cosmo", ALL), stack.token("laika", ALL));
    stack
        .client
        .put_with(
            "/profile",
            &cosmo,
            &json!({"display_name": "Cosmo", "bio": null}),
        )
        .await
        .has_status(200);
    assert_eq!(
        stack.client.get_with("/profile", &laika).await.json()["display_name"],
        json!(null)
    );
}

#[tokio::test]
async fn every_field_that_cannot_be_used_is_named_with_the_reason() {
    let stack = Stack::start().await;
    let token = stack.token("cosmo", ALL);
    let put = async |body: &serde_json::Value| {
        stack
            .client
            .put_with("/profile", &token, body)
            .await
            .is(400, "invalid_request")
            .json()["errors"]
            .clone()
    };
    let missing = json!(["Missing data for required field."]);
    assert_eq!(
        put(&json!({})).await,
        json!({"display_name": missing, "bio": missing})
    );
    assert_eq!(
        put(&json!({"display_name": "x"})).await,
        json!({"bio": missing})
    );
    let errors = put(&json!({"display_name": "", "bio": "x".repeat(2001)})).await;
    assert_eq!(
        errors["display_name"],
        json!(["Give 1 to 100 characters, or null."])
    );
    assert_eq!(
        errors["bio"],
        json!(["Give at most 2000 characters, or null."])
    );
    for body in [
        json!([]),
        json!({"display_name": 5, "bio": null}),
        json!({"display_name": {}, "bio": null}),
    ] {
        put(&body).await;
    }
    assert_eq!(
        stack.client.get_with("/profile", &token).await.json()["updated_at"],
        json!(null)
    );
}

#[tokio::test]
async fn each_route_asks_for_its_own_scope() {
    let stack = Stack::start().await;
    let (read, write, none) = (
        stack.token("a", "profile:read"),
        stack.token("b", "profile:write"),
        stack.token("c", ""),
    );
    let body = json!({"display_name": "x", "bio": null});
    for token in [&write, &none] {
        let reply = stack
            .client
            .get_with("/profile", token)
            .await
            .is(403, "insufficient_scope");
        assert_eq!(
            reply.header("www-authenticate"),
            "Bearer realm=\"tokenpair\", error=\"insufficient_scope\", \
             error_description=\"The token lacks the scope 'profile:read'\", scope=\"profile:read\""
        );
    }
    for token in [&read, &none] {
        stack
            .client
            .put_with("/profile", token, &body)
            .await
            .is(403, "insufficient_scope");
    }
    stack
        .client
        .get_with("/profile", &read)
        .await
        .has_status(200);
    stack
        .client
        .put_with("/profile", &write, &body)
        .await
        .has_status(200);
}
