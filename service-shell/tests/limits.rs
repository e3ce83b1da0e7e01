//! What a client may take, by clients that take more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use clap::Parser;
use serde_json::Value;
use service_shell::body::JsonBody;
use service_shell::cors::{AllowedOrigins, Origin};
use service_shell::health;
use service_shell::limits::{LimitSettings, Limits};
use service_shell::serve::Shell;
use test_support::{Raw, RawAnswer, Server};
use tokio::sync::Notify;

const GET: &str = "GET /well HTTP/1.1\r\nHost: test\r\n\r\n";
const HEALTH: &str = "GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n";
const WAIT: &str = "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST /body HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n";
const APP: &str = "https://app.example.com";
const FROM_APP: &str =
    "GET /well HTTP/1.1\r\nHost: test\r\nOrigin: https://app.example.com\r\n\r\n";
const PREFLIGHT: &str = "OPTIONS /well HTTP/1.1\r\nHost: test\r\nOrigin: https://app.example.com\r\n\
    Access-Control-Request-Method: GET\r\n\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";
/// Far shorter than in earnest, so that a test can wait for it.
const SHORT: Duration = Duration::from_millis(500);
/// What comes at once comes sooner than any time limit that is not `SHORT`.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What a test decides on: when `/wait` is answered, and whether somebody waits there.
#[derive(Clone, Default)]
struct Held {
    arrived: Arc<Notify>,
    released: Arc<Notify>,
}

async fn wait(State(held): State<Held>) -> &'static str {
    held.arrived.notify_one();
    held.released.notified().await;
    "waited"
}

async fn start(limits: Limits) -> (Server, Held) {
    let held = Held::default();
    let routes = Router::new()
        .route("/well", get(async || "well"))
        .route("/wait", get(wait))
        .route("/body", post(async |JsonBody(_): JsonBody<Value>| "read"))
        .route("/health/live", get(health::live));
    let shell = Shell::new("test", limits);
    let pages: AllowedOrigins = [Origin::parse(APP).expect("an origin")]
        .into_iter()
        .collect();
    let routes = shell.around(routes, pages.layer());
    let routes = routes.with_state(held.clone());
    let server = Server::start(|listener, stopped| async move {
        let stopped = async {
            let _ = stopped.await;
        };
        shell.serve((routes, listener), None, stopped).await;
        Ok(())
    });
    (server.await, held)
}

async fn ask(server: &Server, request: &str) -> RawAnswer {
    let mut connection = Raw::connect(server.address()).await;
    connection.send(request).await;
    connection.answer().await.expect("an answer")
}

#[tokio::test]
async fn headers_that_come_one_byte_at_a_time_are_cut_off_and_others_are_served() {
    let (server, _) = start(Limits {
        idle: SHORT,
        ..Limits::default()
    })
    .await;
    let mut slow = Raw::connect(server.address()).await;
    let started = Instant::now();
    for byte in GET.bytes().chain(std::iter::repeat(b'x')) {
        if !slow.send([byte]).await {
            break;
        }
        assert_eq!(ask(&server, GET).await.body, "well");
        assert!(started.elapsed() < 20 * SHORT, "it may go on for ever");
        tokio::time::sleep(SHORT / 4).await;
    }
    assert!(started.elapsed() >= SHORT);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_one_byte_at_a_time_is_a_408_and_takes_the_place_of_nobody() {
    let (server, _) = start(Limits {
        body: SHORT,
        in_flight: 1,
        ..Limits::default()
    })
    .await;
    let mut slow = Raw::connect(server.address()).await;
    slow.send(format!("{POST}Content-Length: 1000\r\n\r\n"))
        .await;
    let started = Instant::now();
    let answer = loop {
        tokio::select! {
            answer = slow.answer() => break answer,
            () = tokio::time::sleep(SHORT / 8) => {}
        }
        slow.send(" ").await;
        // The one request that may be in flight is another's, while this one waits for its client.
        assert_eq!(ask(&server, GET).await.body, "well");
        assert!(started.elapsed() < 20 * SHORT, "it may go on for ever");
    };
    answer.expect("an answer").is(408, "request_timeout");
    assert!(started.elapsed() >= SHORT);
    server.stop().await;
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_a_413_whether_it_is_announced_or_not() {
    let (server, _) = start(Limits::default()).await;
    let started = Instant::now();
    let piece = vec![b' '; 64 * 1024];
    let chunk = [b"10000\r\n", &piece[..], b"\r\n"].concat();
    for (headers, piece) in [
        ("Content-Length: 1073741824\r\n\r\n", &piece),
        (CHUNKED, &chunk),
    ] {
        let mut connection = Raw::connect(server.address()).await;
        connection.send(format!("{POST}{headers}")).await;
        let answer = connection.flood(piece, 1 << 30).await;
        let answer = answer.expect("an answer, not a reset");
        let answer = answer.is(413, "payload_too_large");
        assert!(answer.body.contains("65536 bytes"), "{answer:?}");
        assert!(answer.head.contains("\r\nx-request-id: "), "{answer:?}");
    }
    assert!(started.elapsed() < 4 * AT_ONCE);
    // Nothing of the body is waited for, where its length alone is too much.
    let mut silent = Raw::connect(server.address()).await;
    silent
        .send(format!("{POST}Content-Length: 1073741824\r\n\r\n"))
        .await;
    silent
        .answer()
        .await
        .expect("an answer")
        .is(413, "payload_too_large");
    assert_eq!(ask(&server, GET).await.body, "well");
    server.stop().await;
}

#[tokio::test]
async fn the_longest_body_is_read_and_one_byte_more_is_not() {
    let (server, _) = start(Limits {
        body_bytes: 1000,
        ..Limits::default()
    })
    .await;
    for (length, status) in [(1000, 200), (1001, 413)] {
        let body = format!("{{}}{}", " ".repeat(length - 2));
        let request = format!("{POST}Content-Length: {length}\r\n\r\n{body}");
        assert_eq!(ask(&server, &request).await.status, status);
        let request = format!("{POST}{CHUNKED}{length:x}\r\n{body}\r\n0\r\n\r\n");
        assert_eq!(ask(&server, &request).await.status, status);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_header_of_a_megabyte_is_a_431() {
    let (server, _) = start(Limits::default()).await;
    let mut connection = Raw::connect(server.address()).await;
    connection
        .send("GET /well HTTP/1.1\r\nHost: test\r\nX: ")
        .await;
    let answer = connection.flood(&[b'x'; 16 * 1024], 1 << 20).await;
    assert_eq!(answer.expect("an answer, not a reset").status, 431);
    let long = format!(
        "GET /well HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n",
        "x".repeat(60_000)
    );
    assert_eq!(ask(&server, &long).await.body, "well");
    server.stop().await;
}

#[tokio::test]
async fn requests_that_come_together_are_answered_one_after_the_other() {
    let (server, _) = start(Limits::default()).await;
    let mut connection = Raw::connect(server.address()).await;
    let post = format!("{POST}Content-Length: 2\r\n\r\n{{}}");
    connection.send([GET, &post, HEALTH, GET].concat()).await;
    for expected in ["well", "read", "{\"status\":\"ok\"}", "well"] {
        assert_eq!(connection.answer().await.expect("an answer").body, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_at_once_and_a_place_becomes_free() {
    let (server, _) = start(Limits {
        connections: 2,
        ..Limits::default()
    })
    .await;
    let mut held = [
        Raw::connect(server.address()).await,
        Raw::connect(server.address()).await,
    ];
    for connection in &mut held {
        connection.send(GET).await;
        assert_eq!(connection.answer().await.expect("an answer").status, 200);
    }
    let started = Instant::now();
    let answer = ask(&server, GET).await.is(503, "overloaded");
    for header in [
        "retry-after: 1",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
    ] {
        assert!(answer.has(header), "{answer:?}");
    }
    assert!(answer.head.contains("\nx-request-id: "), "{answer:?}");
    assert!(started.elapsed() < AT_ONCE);
    drop(held);
    while ask(&server, GET).await.status != 200 {
        assert!(started.elapsed() < 2 * AT_ONCE, "no place became free");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_idle_connections_hold_up_nobody_and_are_closed() {
    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        limits: LimitSettings,
    }
    // Both ends of the connections are in this process; this has it open the files that it takes.
    let limits = Settings::parse_from(["test"]).limits.resolve().unwrap();
    let (server, _) = start(Limits {
        idle: 2 * AT_ONCE,
        ..limits
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(Raw::connect(server.address()).await);
    }
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(ask(&server, GET).await.body, "well");
    }
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    for connection in &mut idle {
        assert!(connection.ends_in_silence().await);
    }
    assert!(started.elapsed() > AT_ONCE);
    server.stop().await;
}

#[tokio::test]
async fn one_request_too_many_is_a_503_and_health_is_answered_all_the_same() {
    let (server, held) = start(Limits {
        in_flight: 1,
        ..Limits::default()
    })
    .await;
    let mut waiting = Raw::connect(server.address()).await;
    waiting.send(WAIT).await;
    held.arrived.notified().await;
    let answer = ask(&server, GET).await.is(503, "overloaded");
    for header in [
        "retry-after: 1",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
    ] {
        assert!(answer.has(header), "{answer:?}");
    }
    assert!(answer.head.contains("\r\nx-request-id: "), "{answer:?}");
    assert_eq!(ask(&server, HEALTH).await.status, 200);
    held.released.notify_one();
    assert_eq!(waiting.answer().await.expect("an answer").body, "waited");
    assert_eq!(ask(&server, GET).await.body, "well");
    server.stop().await;
}

#[tokio::test]
async fn requests_that_wait_for_what_is_scarce_leave_room_for_the_others() {
    let (server, held) = start(Limits {
        in_flight: 1,
        scarce: &["/wait"],
        ..Limits::default()
    })
    .await;
    let mut waiting = Raw::connect(server.address()).await;
    waiting.send(WAIT).await;
    held.arrived.notified().await;
    ask(&server, WAIT).await.is(503, "overloaded");
    assert_eq!(ask(&server, GET).await.body, "well");
    held.released.notify_one();
    assert_eq!(waiting.answer().await.expect("an answer").body, "waited");
    server.stop().await;
}

#[tokio::test]
async fn a_page_sees_that_its_request_is_one_too_many() {
    let (server, held) = start(Limits {
        in_flight: 1,
        ..Limits::default()
    })
    .await;
    let mut waiting = Raw::connect(server.address()).await;
    waiting.send(WAIT).await;
    held.arrived.notified().await;
    let readable = format!("access-control-allow-origin: {APP}");
    let preflight = ask(&server, PREFLIGHT).await;
    assert!(
        preflight.status == 200 && preflight.has(&readable),
        "{preflight:?}"
    );
    let answer = ask(&server, FROM_APP).await.is(503, "overloaded");
    assert!(answer.has(&readable), "{answer:?}");
    let elsewhere = FROM_APP.replace("app.", "evil.");
    let answer = ask(&server, &elsewhere).await.is(503, "overloaded");
    assert!(
        !answer.head.contains("access-control-allow-origin"),
        "{answer:?}"
    );
    held.released.notify_one();
    server.stop().await;
}

#[tokio::test]
async fn a_page_sees_that_its_body_is_too_long_or_too_slow() {
    let (server, _) = start(Limits {
        body: SHORT,
        ..Limits::default()
    })
    .await;
    let readable = format!("access-control-allow-origin: {APP}");
    for (length, status, code) in [
        ("1000000000", 413, "payload_too_large"),
        ("10", 408, "request_timeout"),
    ] {
        let request = format!("{POST}Origin: {APP}\r\nContent-Length: {length}\r\n\r\n");
        let answer = ask(&server, &request).await.is(status, code);
        assert!(answer.has(&readable), "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_its_client_gives_up_takes_no_place() {
    let (server, held) = start(Limits {
        in_flight: 1,
        ..Limits::default()
    })
    .await;
    for _ in 0..3 {
        let mut waiting = Raw::connect(server.address()).await;
        waiting.send(WAIT).await;
        held.arrived.notified().await;
        drop(waiting);
        let mut slow = Raw::connect(server.address()).await;
        let started = Instant::now();
        while ask(&server, GET).await.status != 200 {
            assert!(started.elapsed() < AT_ONCE, "the place is lost");
        }
        slow.send(format!("{POST}Content-Length: 9\r\n\r\n")).await;
        drop(slow);
    }
    assert_eq!(ask(&server, GET).await.body, "well");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_does_not_end_holds_up_the_stop_no_longer_than_it_may() {
    let (server, held) = start(Limits {
        stop_limit: SHORT,
        ..Limits::default()
    })
    .await;
    let mut waiting = Raw::connect(server.address()).await;
    waiting.send(WAIT).await;
    held.arrived.notified().await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() >= SHORT && started.elapsed() < AT_ONCE);
    assert!(waiting.ends_in_silence().await);
}

#[tokio::test]
async fn a_stop_closes_idle_connections_at_once_and_lets_the_running_request_end() {
    let (server, held) = start(Limits::default()).await;
    let address = server.address();
    let mut idle = Raw::connect(address).await;
    idle.send(GET).await;
    assert_eq!(idle.answer().await.expect("an answer").body, "well");
    let mut waiting = Raw::connect(address).await;
    waiting.send(WAIT).await;
    held.arrived.notified().await;
    let started = Instant::now();
    let stopped = tokio::spawn(server.stop());
    assert!(idle.ends_in_silence().await);
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "it was not idle"
    );
    held.released.notify_one();
    let answer = waiting.answer().await.expect("an answer");
    assert_eq!(answer.body, "waited");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    stopped.await.expect("it stops");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
