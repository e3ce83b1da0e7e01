use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::json;
use test_support::Reply;

use crate::stack::Stack;

#[tokio::test]
async fn an_unknown_route_is_a_404_of_our_shape() {
    let stack = Stack::start().await;
    for path in ["/", "/nothing", "/login/", "/%00", "/health"] {
        stack.client.get(path).await.is(404, "not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_is_a_405_that_says_which_are_right() {
    let stack = Stack::start().await;
    let reply = stack
        .client
        .get("/login")
        .await
        .is(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), "POST");
    let reply = Reply::to(stack.client.request(&Method::DELETE, "/me"))
        .await
        .is(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_body_that_is_not_the_json_asked_for_is_a_400() {
    let stack = Stack::start().await;
    let post = |body: Vec<u8>, content_type: &str| {
        Reply::to(
            stack
                .client
                .request(&Method::POST, "/login")
                .header(CONTENT_TYPE, content_type)
                .body(body),
        )
    };
    let good = json!({"username": "cosmo", "password": "space-corgi"}).to_string();
    for (name, body, content_type) in [
        (
            "a form",
            b"username=cosmo&password=space-corgi".to_vec(),
            "application/x-www-form-urlencoded",
        ),
        ("JSON called text", good.clone().into_bytes(), "text/plain"),
        ("no type", good.clone().into_bytes(), ""),
        ("nothing", Vec::new(), "application/json"),
        ("half", good[..10].into(), "application/json"),
        (
            "too much",
            [good.as_bytes(), b"}"].concat(),
            "application/json",
        ),
        (
            "two",
            [good.as_bytes(), good.as_bytes()].concat(),
            "application/json",
        ),
        (
            "no UTF-8",
            b"{\"username\": \"\xff\xfe\", \"password\": \"x\"}".to_vec(),
            "application/json",
        ),
        (
            "UTF-16",
            good.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "application/json",
        ),
        (
            "a field twice",
            br#"{"username":"a","username":"b","password":"x"}"#.to_vec(),
            "application/json",
        ),
        (
            "half a character",
            br#"{"username":"\ud800","password":"x"}"#.to_vec(),
            "application/json",
        ),
        (
            "a well",
            [b"[".repeat(30_000), b"]".repeat(30_000)].concat(),
            "application/json",
        ),
        (
            "a well in a field",
            [br#"{"username":"#.to_vec(), b"[".repeat(60_000)].concat(),
            "application/json",
        ),
    ] {
        let reply = post(body, content_type).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text_of("code").as_str()),
            (400, "invalid_request"),
            "{name}: {}",
            reply.text
        );
    }
    for content_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.tokenpair+json",
    ] {
        post(good.clone().into_bytes(), content_type)
            .await
            .is(401, "bad_credentials");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413_whether_or_not_it_says_so_beforehand() {
    let stack = Stack::start().await;
    let body = json!({"username": "cosmo", "password": "x".repeat(70_000)});
    stack
        .client
        .post("/login", &body)
        .await
        .is(413, "payload_too_large");
}

#[tokio::test]
async fn an_authorization_header_that_is_not_one_bearer_token_is_malformed() {
    let stack = Stack::start().await;
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Basic Y29zbW86eA==",
        "token",
        "Bearer a b",
        "Bearer\ta",
        "BearerX",
        "é",
    ] {
        let reply = Reply::to(
            stack
                .client
                .request(&Method::GET, "/me")
                .header(AUTHORIZATION, value),
        )
        .await;
        assert_eq!(
            (reply.status.as_u16(), reply.text_of("code").as_str()),
            (401, "malformed_header"),
            "{value:?}"
        );
        assert!(
            reply.header("www-authenticate").starts_with("Bearer "),
            "{value:?}"
        );
    }
    let user = stack.sign_up("cosmo").await;
    let twice = stack
        .client
        .request(&Method::GET, "/me")
        .bearer_auth(&user.access)
        .bearer_auth(&user.access);
    Reply::to(twice).await.is(401, "malformed_header");
    for scheme in ["bearer", "BEARER", "Bearer "] {
        let request = stack
            .client
            .request(&Method::GET, "/me")
            .header(AUTHORIZATION, format!("{scheme} {}", user.access));
        Reply::to(request).await.has_status(200);
    }
}

#[tokio::test]
async fn a_request_id_is_kept_and_one_that_cannot_be_used_is_replaced() {
    let stack = Stack::start().await;
    let get = |id: String| {
        Reply::to(
            stack
                .client
                .request(&Method::GET, "/nothing")
                .header("x-request-id", id),
        )
    };
    for id in ["abc-123", "with space", &"x".repeat(256)] {
        assert_eq!(get(id.to_owned()).await.header("x-request-id"), id);
    }
    for id in ["", "é", "a\tb", &"x".repeat(257)] {
        let kept = get(id.to_owned()).await;
        assert_eq!(kept.header("x-request-id").len(), 36, "{id:?}");
    }
    assert_ne!(
        stack.client.get("/me").await.header("x-request-id"),
        stack.client.get("/me").await.header("x-request-id")
    );
}
