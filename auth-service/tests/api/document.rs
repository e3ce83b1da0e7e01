//! The `OpenAPI` document.

use std::path::Path;

use test_support::document;

use crate::stack::Stack;

const DESCRIBED: &[&str] = &[
    "POST /register",
    "POST /login",
    "POST /refresh",
    "POST /logout",
    "GET /me",
    "PUT /me/password",
    "GET /sessions",
    "DELETE /sessions",
    "DELETE /sessions/{id}",
    "POST /oauth/token",
    "POST /oauth/introspect",
    "POST /oauth/revoke",
    "GET /revocations",
    "PUT /revocations/subscribers/{id}",
    "DELETE /revocations/subscribers/{id}",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/jwks.json",
    "GET /admin/users",
    "POST /admin/users",
    "GET /admin/users/{id}",
    "PATCH /admin/users/{id}",
    "DELETE /admin/users/{id}",
    "GET /admin/users/{id}/sessions",
    "DELETE /admin/users/{id}/sessions",
    "DELETE /admin/sessions/{id}",
    "GET /admin/clients",
    "POST /admin/clients",
    "PATCH /admin/clients/{id}",
    "DELETE /admin/clients/{id}",
    "POST /admin/clients/{id}/secret",
    "GET /admin/audit-events",
    "GET /health/live",
    "GET /health/ready",
];

#[tokio::test]
async fn the_document_describes_every_route_as_it_is_and_nothing_else() {
    let stack = Stack::start().await;
    document::describes(&stack.client, DESCRIBED).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = [root.join("src"), root.join("../service-shell/src")];
    let undescribed = document::undescribed(&sources);
    assert_eq!(
        undescribed.iter().map(String::as_str).collect::<Vec<_>>(),
        [
            "/docs",
            "/docs/docs.css",
            "/docs/docs.js",
            "/metrics",
            "/oauth/{*nothing}",
            "/openapi.json",
        ],
        "a route that is added without a description and is none of these"
    );
}

#[tokio::test]
async fn everything_that_the_document_refers_to_is_in_it() {
    let stack = Stack::start().await;
    let document = document::of(&stack.client).await;
    document::refers_to_nothing_that_is_missing(&document);
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
