//! The `OpenAPI` document.

use std::collections::HashSet;

use reqwest::Method;
use test_support::Reply;

use crate::stack::Stack;

#[tokio::test]
async fn the_document_describes_every_route_and_nothing_else() {
    let stack = Stack::start().await;
    let document = stack.client.get("/openapi.json").await.has_status(200);
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = HashSet::new();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} stands twice");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                assert!(
                    answer["headers"]["x-request-id"].is_object(),
                    "{id} {status}"
                );
                let is_error = status.starts_with(['4', '5']);
                assert!(!is_error || answer["content"].is_object(), "{id} {status}");
            }
            for status in ["500", "503"] {
                assert!(operation["responses"][status].is_object(), "{id} {status}");
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let request = stack.client.request(&method, &path.replace("{id}", "x"));
            let status = Reply::to(request).await.status.as_u16();
            assert!(
                operation["responses"][status.to_string()].is_object(),
                "{id} answers {status}, which is not described"
            );
            described.push(format!("{method} {path}"));
        }
    }
    for route in [
        "POST /register",
        "POST /login",
        "POST /refresh",
        "POST /logout",
        "GET /me",
        "PUT /me/password",
        "GET /sessions",
        "DELETE /sessions/{id}",
        "DELETE /sessions",
        "POST /oauth/token",
        "POST /oauth/introspect",
        "POST /oauth/revoke",
        "GET /revocations",
        "GET /.well-known/oauth-authorization-server",
        "GET /.well-known/jwks.json",
        "GET /admin/users",
        "PATCH /admin/clients/{id}",
        "GET /health/live",
        "GET /health/ready",
    ] {
        assert!(described.iter().any(|it| it == route), "{route}");
    }
}

#[tokio::test]
async fn the_page_to_try_it_is_made_of_what_is_served_here() {
    let stack = Stack::start().await;
    let page = stack.client.get("/docs").await.has_status(200);
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    for asset in ["/docs/docs.css", "/docs/docs.js", "/openapi.json"] {
        assert!(page.text.contains(&format!("\"{asset}\"")), "{asset}");
        let answer = stack.client.get(asset).await.has_status(200);
        assert_eq!(answer.header("cache-control"), "no-cache", "{asset}");
    }
    assert!(!page.text.contains("://"), "nothing comes from elsewhere");
}
