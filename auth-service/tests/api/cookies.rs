//! Refresh tokens in cookies: for browsers, and for the pages of allowed origins alone.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE};
use serde_json::{Value, json};
use service_shell::cors::Origin;
use test_support::Reply;

use crate::stack::{CLIENT, CLIENT_SECRET, GRACE, PASSWORD, REFRESH, Stack, User, claims};

const APP: &str = "https://app.example.com";
const PATHS: [&str; 3] = ["/login", "/refresh", "/logout"];
const NAME: &str = "__Secure-tokenpair-refresh";

async fn start() -> Stack {
    start_with(true, true).await
}

async fn start_with(secure: bool, rotation: bool) -> Stack {
    let stack = Stack::start_with(|config| {
        config.allowed_origins = [Origin::parse(APP).unwrap()].into_iter().collect();
        config.cookie_secure = secure;
        config.sessions.refresh.rotation = rotation;
    })
    .await;
    stack.register("cosmo").await.has_status(201);
    stack
}

/// What a browser sends with a request that a page causes.
#[derive(Clone, Copy, Default)]
struct Page<'a> {
    origin: Option<&'a str>,
    site: Option<&'a str>,
}

const OURS: Page = Page {
    origin: Some(APP),
    site: Some("same-site"),
};

async fn log_in(stack: &Stack, page: Page<'_>) -> Reply {
    let body = json!({"username": "cosmo", "password": PASSWORD, "delivery": "cookie"});
    let request = stack.client.request(&Method::POST, "/login").json(&body);
    Reply::to(from(request, page)).await
}

async fn post(stack: &Stack, path: &str, cookie: &str, page: Page<'_>) -> Reply {
    let request = stack
        .client
        .request(&Method::POST, path)
        .header(COOKIE, format!("theme=dark; {cookie}; lang=en"));
    Reply::to(from(request, page)).await
}

fn from(request: reqwest::RequestBuilder, page: Page<'_>) -> reqwest::RequestBuilder {
    let headers = [("Origin", page.origin), ("Sec-Fetch-Site", page.site)];
    headers
        .into_iter()
        .fold(request, |request, (name, value)| match value {
            Some(value) => request.header(name, value),
            None => request,
        })
}

/// The cookies of an answer.
fn cookies(reply: &Reply) -> Vec<&str> {
    let cookies = reply.headers.get_all(SET_COOKIE).iter();
    cookies.map(|cookie| cookie.to_str().unwrap()).collect()
}

/// `name=token` of the one token that an answer puts into cookies.
fn cookie(reply: &Reply) -> String {
    let [first, second, third] = cookies(reply)[..] else {
        panic!("{:?}", reply.headers);
    };
    let pair = |cookie: &str| cookie.split_once(';').unwrap().0.to_owned();
    assert_eq!([pair(first), pair(first)], [pair(second), pair(third)]);
    pair(first)
}

fn token(cookie: &str) -> &str {
    cookie.split_once('=').unwrap().1
}

#[tokio::test]
async fn a_login_puts_the_refresh_token_into_a_cookie_that_no_script_reads() {
    let stack = start().await;
    let reply = log_in(&stack, OURS).await.has_status(200);
    assert_eq!(reply.json().get("refresh_token"), None);
    assert_eq!(reply.json()["refresh_expires_in"], 3600);
    assert_eq!(reply.header("cache-control"), "no-store");
    stack
        .me(&reply.text_of("access_token"))
        .await
        .has_status(200);
    let value = cookie(&reply);
    assert_eq!(
        cookies(&reply),
        PATHS.map(|path| format!(
            "{value}; Path={path}; Max-Age=3600; HttpOnly; SameSite=Strict; Secure"
        ))
    );
    assert!(value.starts_with(&format!("{NAME}=")), "{value}");
    assert_eq!(claims(token(&value))["type"], "refresh");
}

#[tokio::test]
async fn a_refresh_takes_the_token_from_the_cookie_and_puts_the_next_one_there() {
    let stack = start().await;
    let first = cookie(&log_in(&stack, OURS).await);
    let reply = post(&stack, "/refresh", &first, OURS).await.has_status(200);
    assert_eq!(reply.json().get("refresh_token"), None);
    stack
        .me(&reply.text_of("access_token"))
        .await
        .has_status(200);
    let second = cookie(&reply);
    assert_eq!(claims(token(&second))["gen"], 1);
    // Another tab within the grace gets the same.
    let again = post(&stack, "/refresh", &first, OURS).await.has_status(200);
    assert_eq!(cookie(&again), second);
    stack.clock.advance(GRACE);
    let third = cookie(&post(&stack, "/refresh", &second, OURS).await);
    stack.clock.advance(GRACE);
    let used_before = post(&stack, "/refresh", &first, OURS).await;
    used_before.is(401, "refresh_token_reused");
    let over = post(&stack, "/refresh", &third, OURS).await;
    over.is(401, "token_revoked");
}

#[tokio::test]
async fn a_cookie_lives_as_long_as_its_token() {
    let stack = start().await;
    let first = cookie(&log_in(&stack, OURS).await);
    let second = post(&stack, "/refresh", &first, OURS).await;
    stack.clock.advance(GRACE / 2);
    let again = post(&stack, "/refresh", &first, OURS).await.has_status(200);
    assert!(cookies(&second)[0].contains("Max-Age=3600;"));
    assert!(cookies(&again)[0].contains("Max-Age=3595;"));
    stack.clock.advance(REFRESH);
    let late = post(&stack, "/refresh", &cookie(&second), OURS).await;
    late.is(401, "token_expired");
}

#[tokio::test]
async fn with_rotation_off_the_cookie_stays_as_it_is() {
    let stack = start_with(true, false).await;
    let value = cookie(&log_in(&stack, OURS).await);
    for _ in 0..2 {
        let reply = post(&stack, "/refresh", &value, OURS).await.has_status(200);
        assert_eq!(cookies(&reply), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn a_logout_ends_the_session_of_the_cookie_and_has_it_forgotten() {
    let stack = start().await;
    let login = log_in(&stack, OURS).await;
    let value = cookie(&login);
    let reply = post(&stack, "/logout", &value, OURS).await.has_status(204);
    assert_eq!(
        cookies(&reply),
        PATHS.map(|path| format!(
            "{NAME}=; Path={path}; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
        ))
    );
    stack
        .me(&login.text_of("access_token"))
        .await
        .is(401, "token_revoked");
    let over = post(&stack, "/refresh", &value, OURS).await;
    over.is(401, "token_revoked");
}

#[tokio::test]
async fn logging_out_by_access_token_or_everywhere_has_the_cookie_forgotten_too() {
    let stack = start().await;
    for (method, path) in [(Method::POST, "/logout"), (Method::DELETE, "/sessions")] {
        let access = log_in(&stack, OURS).await.text_of("access_token");
        let request = stack.client.request(&method, path).bearer_auth(access);
        let reply = Reply::to(request).await.has_status(204);
        assert_eq!(token(&cookie(&reply)), "", "{path}");
    }
}

#[tokio::test]
async fn a_token_of_a_cookie_is_not_taken_from_a_header_or_a_form() {
    let stack = start().await;
    let value = cookie(&log_in(&stack, OURS).await);
    let stolen = token(&value);
    stack.refresh(stolen).await.is(401, "invalid_token");
    stack.log_out(stolen).await.is(401, "invalid_token");
    for (path, form) in [
        (
            "/oauth/token",
            vec![("grant_type", "refresh_token"), ("refresh_token", stolen)],
        ),
        ("/oauth/introspect", vec![("token", stolen)]),
    ] {
        let request = stack.client.request(&Method::POST, path).form(&form);
        let reply = Reply::to(request.basic_auth(CLIENT, Some(CLIENT_SECRET))).await;
        match path {
            "/oauth/token" => assert_eq!(reply.json()["error"], "invalid_grant"),
            _ => assert_eq!(reply.json(), json!({"active": false})),
        }
    }
    // Nothing of that has used it up.
    let reply = post(&stack, "/refresh", &value, OURS).await.has_status(200);
    assert_eq!(claims(token(&cookie(&reply)))["gen"], 1);
}

#[tokio::test]
async fn whoever_holds_a_token_of_a_cookie_may_revoke_it() {
    let stack = start().await;
    let value = cookie(&log_in(&stack, OURS).await);
    let form = [("token", token(&value))];
    let request = stack.client.request(&Method::POST, "/oauth/revoke");
    Reply::to(request.form(&form)).await.has_status(200);
    let over = post(&stack, "/refresh", &value, OURS).await;
    over.is(401, "token_revoked");
}

#[tokio::test]
async fn a_token_of_a_header_is_not_taken_from_a_cookie() {
    let stack = start().await;
    let user = User::from(&stack.log_in("cosmo").await);
    for token in [&user.refresh, &user.access] {
        let value = format!("{NAME}={token}");
        for path in ["/refresh", "/logout"] {
            post(&stack, path, &value, OURS).await.has_status(401);
        }
    }
    let next = stack.refresh(&user.refresh).await.has_status(200);
    assert_eq!(cookies(&next), Vec::<&str>::new());
    assert_eq!(claims(&next.text_of("refresh_token"))["gen"], 1);
}

#[tokio::test]
async fn a_page_of_another_origin_neither_refreshes_nor_logs_out_nor_logs_in() {
    let stack = start().await;
    let value = cookie(&log_in(&stack, OURS).await);
    let elsewhere = [
        Page::default(),
        Page {
            site: Some("same-origin"),
            ..Page::default()
        },
        Page {
            origin: Some("https://evil.example"),
            site: Some("cross-site"),
        },
        Page {
            origin: Some("https://evil.example.com"),
            site: Some("same-site"),
        },
        Page {
            origin: Some("null"),
            site: Some("cross-site"),
        },
        Page {
            origin: Some("https://evil.example"),
            site: None,
        },
        Page {
            origin: Some("http://app.example.com"),
            site: Some("none"),
        },
    ];
    for page in elsewhere {
        for path in ["/refresh", "/logout"] {
            let refused = post(&stack, path, &value, page).await;
            let refused = refused.is(403, "origin_not_allowed");
            assert_eq!(cookies(&refused), Vec::<&str>::new());
            assert_eq!(refused.header("access-control-allow-origin"), "");
        }
        let refused = log_in(&stack, page).await;
        assert_eq!(
            cookies(&refused.is(403, "origin_not_allowed")),
            Vec::<&str>::new()
        );
    }
    let request = stack
        .client
        .request(&Method::POST, "/refresh")
        .header(COOKIE, &value)
        .header(ORIGIN, "https://evil.example")
        .header(ORIGIN, APP);
    Reply::to(request).await.is(403, "origin_not_allowed");
    let reply = post(&stack, "/refresh", &value, OURS).await.has_status(200);
    assert_eq!(claims(token(&cookie(&reply)))["gen"], 1);
    let access = reply.text_of("access_token");
    let sessions = stack.client.get_with("/sessions", &access).await.json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_page_of_our_own_may_use_the_cookie_by_the_browsers_word() {
    let stack = start().await;
    let own = Page {
        origin: Some("https://auth.example.com"),
        site: Some("same-origin"),
    };
    let value = cookie(&log_in(&stack, own).await.has_status(200));
    post(&stack, "/refresh", &value, own).await.has_status(200);
}

#[tokio::test]
async fn a_request_with_two_tokens_is_refused_and_uses_up_neither() {
    let stack = start().await;
    let value = cookie(&log_in(&stack, OURS).await);
    let user = User::from(&stack.log_in("cosmo").await);
    for path in ["/refresh", "/logout"] {
        for token in [&user.refresh, &user.access] {
            let request = stack
                .client
                .request(&Method::POST, path)
                .header(COOKIE, &value)
                .header(ORIGIN, APP)
                .header(AUTHORIZATION, format!("Bearer {token}"));
            Reply::to(request).await.is(400, "invalid_request");
        }
        let two = post(&stack, path, &format!("{value}; {value}"), OURS).await;
        two.is(400, "invalid_request");
    }
    post(&stack, "/refresh", &value, OURS).await.has_status(200);
    stack.refresh(&user.refresh).await.has_status(200);
}

#[tokio::test]
async fn without_tls_the_cookie_has_another_name_and_neither_is_taken_for_the_other() {
    let stack = start_with(false, true).await;
    let reply = log_in(&stack, OURS).await.has_status(200);
    let value = cookie(&reply);
    assert!(value.starts_with("tokenpair-refresh="), "{value}");
    assert!(cookies(&reply)[0].ends_with("; HttpOnly; SameSite=Strict"));
    let renamed = format!("__Secure-{value}");
    let refused = post(&stack, "/refresh", &renamed, OURS).await;
    refused.is(401, "missing_token");
    post(&stack, "/refresh", &value, OURS).await.has_status(200);
}

async fn log_in_again(stack: &Stack, cookie: &str, page: Page<'_>, body: &Value) -> Reply {
    let request = stack.client.request(&Method::POST, "/login").json(body);
    Reply::to(from(request.header(COOKIE, cookie), page)).await
}

fn credentials(username: &str, password: &str, delivery: &str) -> Value {
    json!({"username": username, "password": password, "delivery": delivery})
}

#[tokio::test]
async fn a_login_ends_the_session_that_was_in_the_same_browser() {
    let stack = start().await;
    stack.register("laika").await.has_status(201);
    let elsewhere = log_in(&stack, OURS).await.text_of("access_token");
    let mut before = log_in(&stack, OURS).await;
    // The same user again, and then another one at the same browser.
    for username in ["cosmo", "laika"] {
        let body = credentials(username, PASSWORD, "cookie");
        let after = log_in_again(&stack, &cookie(&before), OURS, &body).await;
        let after = after.has_status(200);
        let (old, new) = (
            before.text_of("access_token"),
            after.text_of("access_token"),
        );
        stack.me(&old).await.is(401, "token_revoked");
        stack.me(&new).await.has_status(200);
        let over = post(&stack, "/refresh", &cookie(&before), OURS).await;
        over.is(401, "token_revoked");
        let told = stack.backlog().await;
        let told = told.last().expect("the feed tells of it");
        assert_eq!(told["sid"], claims(&old)["sid"]);
        assert_eq!(told["reason"], "logged_in_again");
        before = after;
    }
    stack.me(&elsewhere).await.has_status(200);
    // One that has been refreshed since is the same session.
    let refreshed = post(&stack, "/refresh", &cookie(&before), OURS).await;
    let body = credentials("laika", PASSWORD, "cookie");
    let last = log_in_again(&stack, &cookie(&refreshed), OURS, &body).await;
    last.has_status(200);
    let access = refreshed.text_of("access_token");
    stack.me(&access).await.is(401, "token_revoked");
}

#[tokio::test]
async fn a_login_that_does_not_succeed_or_is_none_of_a_page_of_ours_ends_nothing() {
    let stack = start().await;
    let before = log_in(&stack, OURS).await;
    let (value, access) = (cookie(&before), before.text_of("access_token"));
    let goes_on = async || stack.me(&access).await.has_status(200);
    let right = credentials("cosmo", PASSWORD, "cookie");
    for (origin, site) in [
        (None, Some("same-origin")),
        (Some("https://evil.example"), Some("cross-site")),
        (Some("https://evil.example.com"), Some("same-site")),
        (Some("null"), None),
    ] {
        let page = Page { origin, site };
        let refused = log_in_again(&stack, &value, page, &right).await;
        refused.is(403, "origin_not_allowed");
        // Such a page may log in with a header, and does not get at the cookie by it.
        let body = credentials("cosmo", PASSWORD, "header");
        let header = log_in_again(&stack, &value, page, &body).await;
        header.has_status(200);
        goes_on().await;
    }
    let wrong = credentials("cosmo", "wrong password", "cookie");
    let refused = log_in_again(&stack, &value, OURS, &wrong).await;
    refused.is(401, "bad_credentials");
    goes_on().await;
    // What is no good as a cookie hinders no login and ends nothing: two of the name, a token of a header, anything else.
    let user = User::from(&stack.log_in("cosmo").await);
    for cookies in [
        format!("{value}; {value}"),
        format!("{NAME}={}", user.refresh),
        format!("{NAME}={}", user.access),
        format!("{NAME}="),
        format!("other-{value}"),
    ] {
        let reply = log_in_again(&stack, &cookies, OURS, &right).await;
        reply.has_status(200);
        goes_on().await;
    }
    stack.refresh(&user.refresh).await.has_status(200);
    stack.clock.advance(REFRESH);
    let late = log_in_again(&stack, &value, OURS, &right).await;
    late.has_status(200);
}

#[tokio::test]
async fn a_delivery_is_header_or_cookie() {
    let stack = start().await;
    for delivery in [json!("post"), json!(""), json!(1), json!("Cookie")] {
        let body = json!({"username": "cosmo", "password": PASSWORD, "delivery": delivery});
        let reply = stack.client.post("/login", &body).await;
        let reply = reply.is(400, "invalid_request");
        assert!(
            reply.json()["errors"]["delivery"][0].is_string(),
            "{}",
            reply.text
        );
        assert!(!reply.text.contains(PASSWORD));
    }
    for delivery in [json!("header"), json!(null)] {
        let body = json!({"username": "cosmo", "password": PASSWORD, "delivery": delivery});
        let reply = stack.client.post("/login", &body).await.has_status(200);
        assert_eq!(cookies(&reply), Vec::<&str>::new());
        assert_ne!(reply.text_of("refresh_token"), "");
    }
}
