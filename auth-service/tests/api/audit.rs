//! The audit log: what is noted, about whom, by whom and from where.

use reqwest::Method;
use serde_json::{Value, json};
use test_support::Reply;
use test_support::program::Program;

use crate::stack::{GRACE, PASSWORD, Stack, claims};

impl Stack {
    /// The events so far, oldest first, as event, detail, whether there is a user, who did it, and from where.
    async fn events(&self) -> Vec<Value> {
        let token = self.token_of("administration").await;
        let reply = self.client.get_with("/admin/audit-events", &token).await;
        let mut events = reply.has_status(200).json()["events"]
            .as_array()
            .unwrap()
            .clone();
        events.reverse();
        events.retain(|event| event["client"].is_null());
        events
    }
}

fn slugs(events: &[Value]) -> Vec<String> {
    let slug = |event: &Value| {
        let detail = event["detail"].as_str();
        let event = event["event"].as_str().unwrap();
        detail.map_or_else(|| event.to_owned(), |detail| format!("{event} {detail}"))
    };
    events.iter().map(slug).collect()
}

#[tokio::test]
async fn logins_failures_replays_and_revocations_are_noted_with_who_and_from_where() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let id = claims(&user.access)["sub"].clone();
    let wrong = |name: &str| json!({"username": name, "password": "not the password"});
    stack
        .client
        .post("/login", &wrong("cosmo"))
        .await
        .has_status(401);
    stack
        .client
        .post("/login", &wrong("nobody"))
        .await
        .has_status(401);
    stack.refresh(&user.refresh).await.has_status(200);
    stack.clock.advance(GRACE);
    stack
        .refresh(&user.refresh)
        .await
        .is(401, "refresh_token_reused");
    let body = json!({"current_password": "wrong", "new_password": "a new password"});
    let user = crate::stack::User::from(&stack.log_in("cosmo").await);
    let change = stack.client.put_with("/me/password", &user.access, &body);
    change.await.has_status(401);
    let body = json!({"current_password": PASSWORD, "new_password": "a new password"});
    let change = stack.client.put_with("/me/password", &user.access, &body);
    change.await.has_status(204);
    stack.log_out(&user.access).await.has_status(204);

    let events = stack.events().await;
    assert_eq!(
        slugs(&events),
        [
            "user_added",
            "login_succeeded",
            "login_failed wrong_password",
            "login_failed unknown_user",
            "refresh_token_reused",
            "session_revoked refresh_token_reused",
            "login_succeeded",
            "password_change_failed wrong_password",
            "password_changed",
            "session_revoked logout",
        ]
    );
    for event in &events {
        assert_eq!(event["ip"], "127.0.0.1");
        let unknown = event["detail"] == "unknown_user";
        assert_eq!(
            event["user"],
            if unknown { json!(null) } else { id.clone() }
        );
    }
    // Whoever replays a token has not shown who they are.
    assert_eq!(events[5]["actor"], json!(null));
    assert_eq!(
        (&events[9]["actor"], &events[9]["session"]),
        (&id, &claims(&user.access)["sid"])
    );
    let text = serde_json::to_string(&events).unwrap();
    for secret in [
        "nobody",
        "cosmo",
        "not the password",
        "a new password",
        "eyJ",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_administrators_and_commands_do_is_noted_and_a_command_reads_it() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let sub = claims(&user.access)["sub"].as_str().unwrap().to_owned();
    let token = stack.token_of("administration").await;
    let request = stack
        .client
        .request(&Method::PATCH, &format!("/admin/users/{sub}"));
    let request = request.bearer_auth(&token).json(&json!({"disabled": true}));
    Reply::to(request).await.has_status(200);
    let command = |command: &[&str]| {
        Program::new(env!("CARGO_BIN_EXE_auth-service"), std::env::temp_dir())
            .with(command)
            .setting("AUTH_DATABASE_URL", stack.database())
            .run()
            .succeeds()
    };
    command(&["user", "enable", "cosmo"]);
    let events = stack.events().await;
    assert_eq!(
        slugs(&events)[2..],
        [
            "user_disabled",
            "session_revoked user_disabled",
            "user_enabled"
        ]
    );
    let actors: Vec<_> = events[2..].iter().map(|event| &event["actor"]).collect();
    assert_eq!(actors, ["administration", "administration", "command line"]);

    let all = command(&["audit", "list"]).stdout;
    let newest = all.lines().nth(1).unwrap();
    assert!(
        newest.contains("user_enabled") && newest.contains("command line"),
        "{all}"
    );
    assert!(all.contains("client_declared"), "{all}");
    let of_user = command(&["audit", "list", "--user", "cosmo", "--limit", "2"]).stdout;
    assert_eq!(of_user.lines().count(), 3, "{of_user}");
    assert!(
        of_user.lines().skip(1).all(|line| line.contains(&sub)),
        "{of_user}"
    );
}
