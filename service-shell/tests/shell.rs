//! What is around every route, from outside.

use axum::Router;
use axum::routing::get;
use service_shell::serve::{serve, with_shell};
use test_support::Server;

async fn start() -> Server {
    let routes = Router::new().route("/well", get(async || "well")).route(
        "/panics",
        get(async || -> String { panic!("a secret detail") }),
    );
    Server::start(|listener, stopped| {
        serve(with_shell("test", routes), listener, async {
            let _ = stopped.await;
        })
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
