//! What is around every route, from outside.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::Method;
use service_shell::cors::{AllowedOrigins, Origin};
use service_shell::limits::Limits;
use service_shell::problem::Problem;
use service_shell::serve::Shell;
use test_support::{Client, Reply, Server};

const SECOND: Duration = Duration::from_secs(1);
const APP: &str = "https://app.example.com";

async fn start() -> Server {
    start_for_pages_of(&[]).await
}

async fn start_for_pages_of(origins: &[&str]) -> Server {
    let origins: AllowedOrigins = origins
        .iter()
        .map(|origin| Origin::parse(origin).expect("an origin"))
        .collect();
    let routes = Router::new()
        .route("/well", get(async || "well"))
        .route(
            "/kept",
            get(async || ([("cache-control", "public, max-age=300")], "kept")),
        )
        .route("/busy", get(async || Problem::overloaded(SECOND)))
        .route(
            "/panics",
            get(async || -> String { panic!("a secret detail") }),
        );
    let shell = Shell::new("test", Limits::default());
    let routes = shell.around(routes, origins.layer_with_cookies());
    Server::start(|listener, stopped| async move {
        let stopped = async {
            let _ = stopped.await;
        };
        shell.serve((routes, listener), None, stopped).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_panic_is_a_500_without_detail_and_the_process_lives() {
    let server = start().await;
    for _ in 0..3 {
        let reply = server
            .client()
            .get("/panics")
            .await
            .is(500, "internal")
            .says("Internal error");
        assert!(!reply.text.contains("secret"), "{}", reply.text);
        assert_eq!(reply.header("x-request-id").len(), 36);
    }
    server.client().get("/well").await.has_status(200);
    server.stop().await;
}

#[tokio::test]
async fn no_answer_is_taken_for_another_type_or_kept_unless_its_route_says_so() {
    let server = start().await;
    for (path, status, caching) in [
        ("/well", 200, "no-store"),
        ("/kept", 200, "public, max-age=300"),
        ("/busy", 503, "no-store"),
        ("/panics", 500, "no-store"),
        ("/nothing", 404, "no-store"),
    ] {
        let reply = server.client().get(path).await.has_status(status);
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("cache-control"), caching, "{path}");
    }
    let request = server.client().request(&Method::DELETE, "/well");
    let reply = Reply::to(request).await.is(405, "method_not_allowed");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("cache-control"), "no-store");
}

async fn preflight(client: &Client, path: &str, origin: &str) -> Reply {
    let request = client
        .request(&Method::OPTIONS, path)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "PUT")
        .header(
            "Access-Control-Request-Headers",
            "authorization,content-type",
        );
    Reply::to(request).await
}

async fn get_from(client: &Client, path: &str, origin: &str) -> Reply {
    Reply::to(client.request(&Method::GET, path).header("Origin", origin)).await
}

#[tokio::test]
async fn a_preflight_of_an_allowed_page_is_answered_and_may_be_kept() {
    let server = start_for_pages_of(&["https://other.example.com", APP]).await;
    let reply = preflight(&server.client(), "/well", APP).await;
    let reply = reply.has_status(200);
    assert_eq!(reply.header("access-control-allow-origin"), APP);
    assert_eq!(reply.header("access-control-allow-credentials"), "true");
    assert_eq!(reply.header("access-control-max-age"), "7200");
    assert_eq!(
        reply.header("access-control-allow-methods"),
        "GET,POST,PUT,PATCH,DELETE"
    );
    assert!(
        reply
            .header("access-control-allow-headers")
            .starts_with("authorization,content-type,x-request-id")
    );
    assert!(reply.header("vary").contains("origin"));
    assert_eq!(reply.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn an_allowed_page_reads_every_answer_and_the_headers_that_it_needs() {
    let server = start_for_pages_of(&[APP]).await;
    for (path, status) in [
        ("/well", 200),
        ("/busy", 503),
        ("/nothing", 404),
        ("/panics", 500),
    ] {
        let reply = get_from(&server.client(), path, APP).await;
        let reply = reply.has_status(status);
        assert_eq!(reply.header("access-control-allow-origin"), APP, "{path}");
        assert_eq!(
            reply.header("access-control-expose-headers"),
            "www-authenticate,retry-after,x-request-id"
        );
        assert!(reply.header("vary").contains("origin"), "{path}");
        let credentials = reply.header("access-control-allow-credentials");
        assert_eq!(credentials, "true", "{path}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_nothing() {
    for origins in [&[][..], &[APP]] {
        let server = start_for_pages_of(origins).await;
        for origin in [
            "https://evil.example",
            "null",
            "http://app.example.com",
            "https://app.example.com.evil.example",
        ] {
            for reply in [
                preflight(&server.client(), "/well", origin).await,
                get_from(&server.client(), "/well", origin).await,
                get_from(&server.client(), "/panics", origin).await,
            ] {
                assert_eq!(reply.header("access-control-allow-origin"), "", "{origin}");
            }
        }
    }
}

#[tokio::test]
async fn a_service_without_allowed_origins_has_nothing_to_say_about_them() {
    let server = start().await;
    let reply = preflight(&server.client(), "/well", APP).await;
    let reply = reply.is(405, "method_not_allowed");
    for name in reply.headers.keys() {
        assert!(!name.as_str().starts_with("access-control"), "{name}");
    }
}
