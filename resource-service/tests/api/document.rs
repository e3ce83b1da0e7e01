//! The `OpenAPI` document.

use std::path::Path;

use test_support::document;

use crate::stack::Stack;

const DESCRIBED: &[&str] = &[
    "GET /profile",
    "PUT /profile",
    "GET /dashboard",
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
            "/",
            "/docs",
            "/docs/docs.css",
            "/docs/docs.js",
            "/metrics",
            "/openapi.json",
            "/page/icon.svg",
            "/page/page.css",
            "/page/page.js",
            "/page/tokenpair.js",
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
    for asset in ["/docs/docs.css", "/docs/docs.js", "/openapi.json"] {
        assert!(page.text.contains(&format!("\"{asset}\"")), "{asset}");
        stack.client.get(asset).await.has_status(200);
    }
    assert!(!page.text.contains("://"), "nothing comes from elsewhere");
}
