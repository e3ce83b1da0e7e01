//! `GET /sessions`, `DELETE /sessions…`, `PUT /me/password`: what users see of their sessions, and how they end them.

use reqwest::Method;
use reqwest::header::USER_AGENT;
use serde_json::{Value, json};
use shared_claims::Clock;
use test_support::{Reply, start_of_time};

use crate::stack::{CLIENT, CLIENT_SECRET, PASSWORD, REFRESH, SECOND, Stack, User, claims};

impl Stack {
    async fn sessions(&self, token: &str) -> Vec<Value> {
        let reply = self.client.get_with("/sessions", token).await;
        let list = reply.has_status(200).json()["sessions"].clone();
        list.as_array().expect("a list").clone()
    }

    async fn end(&self, path: &str, token: &str) -> Reply {
        Reply::to(
            self.client
                .request(&Method::DELETE, path)
                .bearer_auth(token),
        )
        .await
    }

    async fn change_password(&self, token: &str, current: &str, new: &str) -> Reply {
        let body = json!({"current_password": current, "new_password": new});
        self.client.put_with("/me/password", token, &body).await
    }
}

fn session_of(token: &str) -> String {
    claims(token)["sid"].as_str().expect("a sid").to_owned()
}

#[tokio::test]
async fn a_user_sees_their_own_live_sessions_with_the_current_one_marked() {
    let stack = Stack::start().await;
    let first = stack.sign_up("cosmo").await;
    stack.sign_up("laika").await;
    stack.clock.advance(SECOND);
    let login = stack.client.request(&Method::POST, "/login");
    let login = login
        .header(USER_AGENT, "a phone")
        .json(&json!({"username": "cosmo", "password": PASSWORD}));
    let phone = User::from(&Reply::to(login).await.has_status(200));
    let ended = User::from(&stack.log_in("cosmo").await);
    stack.log_out(&ended.access).await.has_status(204);

    let sessions = stack.sessions(&first.access).await;
    let ids: Vec<_> = sessions.iter().map(|session| &session["id"]).collect();
    assert_eq!(
        ids,
        [&session_of(&phone.access), &session_of(&first.access)],
        "the last used first"
    );
    let fields: Vec<_> = sessions[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        fields,
        [
            "created_at",
            "current",
            "expires_at",
            "id",
            "ip",
            "last_used_at",
            "user_agent"
        ]
    );
    assert_eq!(
        (&sessions[0]["user_agent"], &sessions[0]["ip"]),
        (&json!("a phone"), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&sessions[0]["current"], &sessions[1]["current"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(sessions[0]["created_at"], "2026-09-21T14:13:21Z");

    stack.clock.advance(SECOND);
    stack.refresh(&phone.refresh).await.has_status(200);
    let used = &stack.sessions(&first.access).await[0]["last_used_at"];
    assert_eq!(*used, json!("2026-09-21T14:13:22Z"));
    stack.clock.advance(REFRESH);
    let fresh = User::from(&stack.log_in("cosmo").await);
    let left = stack.sessions(&fresh.access).await.len();
    assert_eq!(left, 1, "what has expired is not listed");
}

#[tokio::test]
async fn a_user_ends_one_of_their_sessions_and_no_other_ends() {
    let stack = Stack::start().await;
    let (here, there) = (
        stack.sign_up("cosmo").await,
        User::from(&stack.log_in("cosmo").await),
    );
    let path = format!("/sessions/{}", session_of(&there.access));
    stack.end(&path, &here.access).await.has_status(204);
    stack.me(&there.access).await.is(401, "token_revoked");
    stack.refresh(&there.refresh).await.is(401, "token_revoked");
    stack.me(&here.access).await.has_status(200);
    stack.end(&path, &here.access).await.is(404, "not_found");
}

#[tokio::test]
async fn nobody_sees_ends_or_guesses_the_session_of_another() {
    let stack = Stack::start().await;
    let (victim, attacker) = (stack.sign_up("cosmo").await, stack.sign_up("laika").await);
    let theirs = session_of(&victim.access);
    let foreign = stack
        .end(&format!("/sessions/{theirs}"), &attacker.access)
        .await;
    let missing = "/sessions/0199aaaa-0000-7000-8000-000000000001";
    let missing = stack.end(missing, &attacker.access).await;
    assert_eq!(
        (foreign.status, &foreign.text),
        (missing.status, &missing.text),
        "a session of another is answered like none"
    );
    foreign.is(404, "not_found");
    let list = stack.client.get_with("/sessions", &attacker.access).await;
    assert!(!list.text.contains(&theirs));
    stack
        .end("/sessions", &attacker.access)
        .await
        .has_status(204);
    stack.me(&victim.access).await.has_status(200);
    for id in ["%00", "..%2f..", "%ff", &"x".repeat(5000), "' or 1=1 --"] {
        let reply = stack.end(&format!("/sessions/{id}"), &victim.access).await;
        assert!(
            [400, 404].contains(&reply.status.as_u16()),
            "{id}: {reply:?}"
        );
        assert!(!reply.text_of("code").is_empty());
    }
}

#[tokio::test]
async fn a_user_ends_all_of_their_sessions_at_once() {
    let stack = Stack::start().await;
    let (here, there) = (
        stack.sign_up("cosmo").await,
        User::from(&stack.log_in("cosmo").await),
    );
    stack.end("/sessions", &here.access).await.has_status(204);
    for user in [&here, &there] {
        stack.me(&user.access).await.is(401, "token_revoked");
        stack.refresh(&user.refresh).await.is(401, "token_revoked");
    }
    stack.log_in("cosmo").await.has_status(200);
}

#[tokio::test]
async fn the_session_routes_tell_an_expired_token_from_one_whose_session_has_ended() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.log_out(&user.refresh).await.has_status(204);
    let list = stack.client.get_with("/sessions", &user.access);
    list.await.is(401, "token_revoked");
    stack
        .end("/sessions", &user.access)
        .await
        .is(401, "token_revoked");
    let user = User::from(&stack.log_in("cosmo").await);
    stack.clock.advance(crate::stack::ACCESS);
    let list = stack.client.get_with("/sessions", &user.access);
    list.await.is(401, "token_expired");
    stack
        .end("/sessions/x", &user.access)
        .await
        .is(401, "token_expired");
}

#[tokio::test]
async fn with_one_session_too_many_the_least_recently_used_ends() {
    let stack = Stack::start_with(|config| config.sessions.most_per_user = 2).await;
    let first = stack.sign_up("cosmo").await;
    stack.clock.advance(SECOND);
    let second = User::from(&stack.log_in("cosmo").await);
    stack.clock.advance(SECOND);
    stack.refresh(&first.refresh).await.has_status(200);
    stack.clock.advance(SECOND);
    let third = User::from(&stack.log_in("cosmo").await);
    stack.me(&second.access).await.is(401, "token_revoked");
    for user in [&first, &third] {
        stack.me(&user.access).await.has_status(200);
    }
    stack.sign_up("laika").await;
    stack.me(&first.access).await.has_status(200);
}

#[tokio::test]
async fn a_login_does_not_end_its_own_session_though_the_others_were_used_later_by_the_clock() {
    let stack = Stack::start_with(|config| config.sessions.most_per_user = 1).await;
    let first = stack.sign_up("cosmo").await;
    stack.clock.advance(SECOND);
    stack.refresh(&first.refresh).await.has_status(200);
    let set_back = Clock::manual(start_of_time());
    let stack = stack.restart_with(|config| config.clock = set_back).await;
    let second = User::from(&stack.log_in("cosmo").await);
    stack.me(&second.access).await.has_status(200);
    stack.me(&first.access).await.is(401, "token_revoked");
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session() {
    let stack = Stack::start().await;
    let (here, there) = (
        stack.sign_up("cosmo").await,
        User::from(&stack.log_in("cosmo").await),
    );
    let change = stack.change_password(&here.access, PASSWORD, "a new password");
    change.await.has_status(204);
    stack.me(&here.access).await.has_status(200);
    stack.refresh(&here.refresh).await.has_status(200);
    stack.me(&there.access).await.is(401, "token_revoked");
    stack.refresh(&there.refresh).await.is(401, "token_revoked");
    stack.log_in("cosmo").await.is(401, "bad_credentials");
    let body = json!({"username": "cosmo", "password": "a new password"});
    stack.client.post("/login", &body).await.has_status(200);
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_it_with_a_fresh_token_and_by_nobody_else() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let wrong = stack.change_password(&user.access, "not the password", "a new password");
    wrong.await.is(401, "bad_credentials");
    let short = stack.change_password(&user.access, PASSWORD, "short").await;
    assert!(short.is(400, "invalid_request").json()["errors"]["new_password"].is_array());
    let nothing = json!({});
    let empty = stack
        .client
        .put_with("/me/password", &user.access, &nothing);
    let errors = empty.await.is(400, "invalid_request").json()["errors"].clone();
    assert_eq!(errors.as_object().unwrap().len(), 2);

    let stale = User::from(&stack.refresh(&user.refresh).await);
    let change = stack.change_password(&stale.access, PASSWORD, "a new password");
    change
        .await
        .is(401, "fresh_token_required")
        .says("Fresh token required");
    stack.log_in("cosmo").await.has_status(200);
}

#[tokio::test]
async fn a_service_that_acts_for_a_user_sees_neither_their_sessions_nor_ends_them() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let form = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &user.access),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
    ];
    let request = stack.client.request(&Method::POST, "/oauth/token");
    let request = request.basic_auth(CLIENT, Some(CLIENT_SECRET)).form(&form);
    let delegated = Reply::to(request).await.has_status(200);
    let delegated = delegated.text_of("access_token");
    stack.me(&delegated).await.has_status(200);
    let list = stack.client.get_with("/sessions", &delegated);
    list.await.is(403, "wrong_caller");
    stack
        .end("/sessions", &delegated)
        .await
        .is(403, "wrong_caller");
    let own = format!("/sessions/{}", session_of(&user.access));
    stack.end(&own, &delegated).await.is(403, "wrong_caller");
    let change = stack.change_password(&delegated, PASSWORD, "a new password");
    change.await.is(403, "wrong_caller");
    let service = stack.token_of(CLIENT).await;
    let list = stack.client.get_with("/sessions", &service);
    list.await.is(403, "wrong_caller");
    stack.me(&user.access).await.has_status(200);
}
