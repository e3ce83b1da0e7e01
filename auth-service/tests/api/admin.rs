//! `/admin/…`, by a service account with the scope `admin`.

use reqwest::Method;
use serde_json::{Value, json};
use test_support::Reply;

use crate::stack::{CLIENT, PASSWORD, Stack, User, client_credentials};

impl Stack {
    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let token = self.token_of("administration").await;
        let request = self.client.request(&method, path).bearer_auth(token);
        Reply::to(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn id_of(&self, user: &User) -> String {
        self.me(&user.access).await.has_status(200).text_of("id")
    }
}

#[tokio::test]
async fn users_are_listed_page_by_page_and_shown_one_by_one() {
    let stack = Stack::start().await;
    let cosmo = stack.sign_up("cosmo").await;
    stack.sign_up("laika").await;
    stack.register("belka").await.has_status(201);
    let names = async |query: &str| {
        let path = format!("/admin/users{query}");
        let list = stack.admin(Method::GET, &path, None).await.has_status(200);
        let users = list.json()["users"].as_array().unwrap().clone();
        let names = users
            .iter()
            .map(|user| user["username"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["belka", "cosmo", "laika"]);
    assert_eq!(names("?limit=1").await, ["belka"]);
    assert_eq!(names("?after=belka&limit=1").await, ["cosmo"]);
    let path = format!("/admin/users/{}", stack.id_of(&cosmo).await);
    let shown = stack
        .admin(Method::GET, &path, None)
        .await
        .has_status(200)
        .json();
    assert_eq!(
        (
            &shown["username"],
            &shown["live_sessions"],
            &shown["disabled_at"]
        ),
        (&json!("cosmo"), &json!(1), &json!(null))
    );
    assert!(shown.get("password_hash").is_none());
    let wrong = stack.admin(Method::GET, "/admin/users?limit=many", None);
    wrong.await.is(400, "invalid_request");
    let nobody = stack.admin(Method::GET, "/admin/users/nobody", None);
    nobody.await.is(404, "not_found");
}

#[tokio::test]
async fn an_administrator_adds_users_and_changes_what_they_may_do() {
    let stack = Stack::start().await;
    let new = json!({"username": "belka", "password": PASSWORD, "scope": "profile:read"});
    let added = stack
        .admin(Method::POST, "/admin/users", Some(new.clone()))
        .await;
    let id = added.has_status(201).text_of("id");
    let again = stack.admin(Method::POST, "/admin/users", Some(new));
    again.await.is(409, "username_taken");
    assert_eq!(stack.log_in("belka").await.text_of("scope"), "profile:read");
    let path = format!("/admin/users/{id}");
    let change = stack.admin(Method::PATCH, &path, Some(json!({"scope": null})));
    assert_eq!(change.await.has_status(200).json()["scope"], json!(null));
    assert_eq!(
        stack.log_in("belka").await.text_of("scope"),
        "profile:read profile:write"
    );
    for scope in [json!("-"), json!(null), json!("")] {
        let change = stack.admin(Method::PATCH, &path, Some(json!({"scope": scope})));
        assert_eq!(change.await.has_status(200).json()["scope"], scope);
    }
    let change = stack.admin(Method::PATCH, &path, Some(json!({"password": "short"})));
    change.await.is(400, "invalid_request");
}

#[tokio::test]
async fn disabling_removing_and_a_new_password_end_all_sessions_of_a_user() {
    let stack = Stack::start().await;
    let bystander = stack.sign_up("laika").await;
    for (name, change) in [
        ("one", Some(json!({"disabled": true}))),
        ("two", Some(json!({"password": "another password"}))),
        ("three", None),
    ] {
        let users = [
            stack.sign_up(name).await,
            User::from(&stack.log_in(name).await),
        ];
        let path = format!("/admin/users/{}", stack.id_of(&users[0]).await);
        let done = match change {
            Some(change) => stack.admin(Method::PATCH, &path, Some(change)).await,
            None => stack.admin(Method::DELETE, &path, None).await,
        };
        assert!(done.status.is_success(), "{done:?}");
        for user in &users {
            stack.me(&user.access).await.is(401, "token_revoked");
            stack.refresh(&user.refresh).await.is(401, "token_revoked");
        }
        stack.log_in(name).await.is(401, "bad_credentials");
    }
    stack.me(&bystander.access).await.has_status(200);
    // A name that is free again is another user's.
    stack.sign_up("three").await;
}

#[tokio::test]
async fn a_user_who_was_disabled_is_let_in_again_and_their_old_sessions_stay_ended() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let path = format!("/admin/users/{}", stack.id_of(&user).await);
    for disabled in [true, true, false, false] {
        let change = stack.admin(Method::PATCH, &path, Some(json!({"disabled": disabled})));
        let shown = change.await.has_status(200).json();
        assert_eq!(shown["disabled_at"].is_string(), disabled);
    }
    stack.me(&user.access).await.is(401, "token_revoked");
    stack.log_in("cosmo").await.has_status(200);
}

#[tokio::test]
async fn an_administrator_lists_and_ends_the_sessions_of_others() {
    let stack = Stack::start().await;
    let users = [
        stack.sign_up("cosmo").await,
        User::from(&stack.log_in("cosmo").await),
        User::from(&stack.log_in("cosmo").await),
    ];
    let path = format!("/admin/users/{}/sessions", stack.id_of(&users[0]).await);
    let list = stack
        .admin(Method::GET, &path, None)
        .await
        .has_status(200)
        .json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    let one = crate::stack::claims(&users[0].access)["sid"].clone();
    let one = format!("/admin/sessions/{}", one.as_str().unwrap());
    stack
        .admin(Method::DELETE, &one, None)
        .await
        .has_status(204);
    stack
        .admin(Method::DELETE, &one, None)
        .await
        .is(404, "not_found");
    stack.me(&users[0].access).await.is(401, "token_revoked");
    stack.me(&users[1].access).await.has_status(200);
    stack
        .admin(Method::DELETE, &path, None)
        .await
        .has_status(204);
    stack.me(&users[1].access).await.is(401, "token_revoked");
    stack.me(&users[2].access).await.is(401, "token_revoked");
}

#[tokio::test]
async fn an_administrator_keeps_the_clients() {
    let stack = Stack::start().await;
    let new = json!({"id": "stock", "scope": "a"});
    let added = stack
        .admin(Method::POST, "/admin/clients", Some(new.clone()))
        .await;
    assert_eq!(added.header("cache-control"), "no-store");
    let secret = added.has_status(201).text_of("secret");
    let again = stack.admin(Method::POST, "/admin/clients", Some(new));
    again.await.is(409, "client_id_taken");
    let token = async |secret: &str| client_credentials(&stack.client, "stock", secret, &[]).await;
    token(&secret).await.has_status(200);

    let path = "/admin/clients/stock/secret";
    let rotated = stack.admin(Method::POST, path, Some(json!({"overlap": "0s"})));
    let newer = rotated.await.has_status(200).text_of("secret");
    token(&secret).await.has_status(401);
    token(&newer).await.has_status(200);
    let absurd = stack.admin(Method::POST, path, Some(json!({"overlap": "900000y"})));
    absurd.await.is(400, "invalid_request");

    let list = stack
        .admin(Method::GET, "/admin/clients", None)
        .await
        .has_status(200);
    assert!(list.text.contains("\"id\":\"stock\"") && !list.text.contains("secret"));
    let path = "/admin/clients/stock";
    for _ in 0..2 {
        let disable = stack.admin(Method::PATCH, path, Some(json!({"disabled": true})));
        disable.await.has_status(204);
    }
    let events = stack.admin(Method::GET, "/admin/audit-events", None).await;
    let noted = events.text.matches("client_disabled").count();
    assert_eq!(noted, 1, "{}", events.text);
    token(&newer).await.has_status(401);
    stack
        .admin(Method::DELETE, path, None)
        .await
        .has_status(204);
    stack
        .admin(Method::DELETE, path, None)
        .await
        .is(404, "not_found");
}

#[tokio::test]
async fn nobody_without_the_scope_administers_anything_and_a_removed_administrator_no_more() {
    let stack = Stack::start().await;
    let (user, service) = (
        stack.sign_up("cosmo").await.access,
        stack.token_of(CLIENT).await,
    );
    let admin = stack.token_of("administration").await;
    for (method, path) in [
        (Method::GET, "/admin/users"),
        (Method::POST, "/admin/users"),
        (Method::GET, "/admin/users/x"),
        (Method::PATCH, "/admin/users/x"),
        (Method::DELETE, "/admin/users/x"),
        (Method::GET, "/admin/users/x/sessions"),
        (Method::DELETE, "/admin/users/x/sessions"),
        (Method::DELETE, "/admin/sessions/x"),
        (Method::GET, "/admin/clients"),
        (Method::POST, "/admin/clients"),
        (Method::PATCH, "/admin/clients/x"),
        (Method::DELETE, "/admin/clients/x"),
        (Method::POST, "/admin/clients/x/secret"),
        (Method::GET, "/admin/audit-events"),
    ] {
        let call = |token: &str| stack.client.request(&method, path).bearer_auth(token);
        for token in [&user, &service] {
            Reply::to(call(token)).await.is(403, "insufficient_scope");
        }
        let anonymous = stack.client.request(&method, path);
        Reply::to(anonymous).await.is(401, "missing_token");
    }
    let gone = "/admin/clients/administration";
    stack
        .admin(Method::DELETE, gone, None)
        .await
        .has_status(204);
    let list = stack.client.get_with("/admin/users", &admin);
    list.await.is(401, "token_revoked");
}

#[tokio::test]
async fn whoever_is_an_administrator_no_more_cannot_make_themselves_one_again() {
    let stack = Stack::start().await;
    let administration = stack.token_of("administration").await;
    let user = stack.sign_up("laika").await;
    let me = stack.me(&user.access).await.has_status(200);
    let path = format!("/admin/users/{}", me.text_of("id"));
    let scope = async |token: &str, scope: &str| {
        let request = stack.client.request(&Method::PATCH, &path);
        let request = request.bearer_auth(token).json(&json!({"scope": scope}));
        Reply::to(request).await
    };
    scope(&administration, "profile:read admin").await;
    let user = stack.log_in("laika").await.has_status(200);
    let token = user.text_of("access_token");
    stack
        .client
        .get_with("/admin/users", &token)
        .await
        .has_status(200);
    scope(&administration, "profile:read").await;
    // The token says still what it said.
    let refused = scope(&token, "profile:read admin").await;
    refused.is(403, "insufficient_scope");
    let refused = stack.client.get_with("/admin/users", &token).await;
    refused.is(403, "insufficient_scope");
    stack.me(&token).await.has_status(200);
}
