//! Nothing that was answered is lost, whenever the stack is killed.

use std::env;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use test_support::Client;

use crate::stack::Stack;

/// What the service has answered, and so must know for ever.
#[derive(Default)]
struct Answered {
    users: Vec<String>,
    going_on: Vec<String>,
    logged_out: Vec<String>,
}

/// Registers, logs in, refreshes and logs out until the service is gone.
async fn live(auth: Client, name: String, steps: Arc<AtomicU32>) -> Answered {
    let mut answered = Answered::default();
    let user = json!({"username": name, "password": "bark at the moon"});
    let post = async |path: &str, token: Option<&str>| {
        let request = auth.request(&reqwest::Method::POST, path);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request.json(&user),
        };
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        steps.fetch_add(1, Ordering::SeqCst);
        Some((
            status,
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default(),
        ))
    };
    let Some((status, _)) = post("/register", None).await else {
        return answered;
    };
    assert_eq!(status, 201);
    answered.users.push(name.clone());
    loop {
        let Some((200, pair)) = post("/login", None).await else {
            return answered;
        };
        let first = pair["refresh_token"].as_str().expect("a token").to_owned();
        let session = answered.going_on.len();
        answered.going_on.push(first.clone());
        let Some((200, pair)) = post("/refresh", Some(&first)).await else {
            return answered;
        };
        let next = pair["refresh_token"].as_str().expect("a token").to_owned();
        answered.going_on[session].clone_from(&next);
        if session % 2 == 1 {
            // Asked to end and killed before the answer, it may have ended or not.
            let token = answered.going_on.remove(session);
            let Some((204, _)) = post("/logout", Some(&token)).await else {
                return answered;
            };
            answered.logged_out.push(token);
        }
    }
}

#[tokio::test]
async fn kill_at_any_moment_loses_nothing_that_was_answered() {
    let asked_for = env::var_os("TOKENPAIR_KILL_ROUNDS");
    let rounds = asked_for.as_ref().map_or(5, |rounds| {
        let rounds = rounds.to_str().and_then(|rounds| rounds.parse().ok());
        rounds.expect("TOKENPAIR_KILL_ROUNDS is a number")
    });
    // A refresh that was made and not answered is asked for again at the very end: within a long grace.
    let mut stack = Stack::start_with(&[("AUTH_REFRESH_GRACE", "10m")]).await;
    let mut all = Answered::default();
    for round in 0..rounds {
        let steps = Arc::new(AtomicU32::new(0));
        let lives = (0..4).map(|number| {
            tokio::spawn(live(
                stack.auth.clone(),
                format!("user-{round}-{number}"),
                Arc::clone(&steps),
            ))
        });
        let lives: Vec<_> = lives.collect();
        while steps.load(Ordering::SeqCst) < 12 + 7 * round % 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stack = stack.crash().await;
        for life in lives {
            let answered = life.await.unwrap();
            all.users.extend(answered.users);
            all.going_on.extend(answered.going_on);
            all.logged_out.extend(answered.logged_out);
        }
    }
    let [users, going_on, logged_out] = [&all.users, &all.going_on, &all.logged_out].map(Vec::len);
    assert!(
        users >= 15 && going_on >= 5,
        "{users} users, {going_on} sessions"
    );
    for name in &all.users {
        stack.log_in(name, "bark at the moon").await.has_status(200);
    }
    for token in &all.going_on {
        stack
            .auth
            .post_with("/refresh", token)
            .await
            .has_status(200);
    }
    for token in &all.logged_out {
        stack
            .auth
            .post_with("/refresh", token)
            .await
            .is(401, "token_revoked");
    }
    if asked_for.is_some() {
        // For benches/kill.sh.
        writeln!(
            io::stdout(),
            "killed {rounds} times: {users} registrations, {going_on} sessions that go on and {logged_out} logouts were answered, \
             and none of them is lost"
        )
        .unwrap();
    }
}

#[tokio::test]
async fn users_sessions_logouts_profiles_and_the_secret_survive_a_restart() {
    let stack = Stack::start().await;
    let (access, refresh) = stack.pair().await;
    let (gone, _) = stack.pair().await;
    let profile = json!({"display_name": "Cosmo", "bio": null});
    stack
        .resource
        .put_with("/profile", &access, &profile)
        .await
        .has_status(200);
    stack.auth.post_with("/logout", &gone).await.has_status(204);

    let stack = stack.crash().await;
    assert_eq!(
        stack
            .resource
            .get_with("/profile", &access)
            .await
            .has_status(200)
            .text_of("display_name"),
        "Cosmo"
    );
    stack.auth.get_with("/me", &access).await.has_status(200);
    stack
        .auth
        .get_with("/me", &gone)
        .await
        .is(401, "token_revoked");
    stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .has_status(200);
    stack.pair().await;
}

#[tokio::test]
async fn a_signal_stops_the_stack_in_order() {
    for signal in ["INT", "TERM"] {
        let mut stack = Stack::start_local_with(&[]).await;
        let (access, _) = stack.pair().await;
        // A connection that is kept alive does not hold it up.
        stack
            .resource
            .get_with("/profile", &access)
            .await
            .has_status(200);
        let local = stack.local();
        let status = local.running().stop(signal);
        assert!(status.success(), "{status}: {}", local.running().log());
        for left in ["auth.db-wal", "resource.db-wal"] {
            assert!(
                !local.data(left).exists(),
                "{left} is left after an orderly stop"
            );
        }
    }
}
