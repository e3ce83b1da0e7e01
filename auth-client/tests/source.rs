//! A source of tokens against an issuer that is well, slow, broken, or away.
#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use auth_client::{CallError, FETCH_LIMIT, FetchError, Issuer, ServiceClient, TokenSource, Trail};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use test_support::Server;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// An issuer that counts what it is asked, and a service that knows its newest token alone.
#[derive(Clone, Default)]
struct Fake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    asked: AtomicU32,
    called: AtomicU32,
    status: AtomicU32,
    delay_ms: AtomicU64,
    lifetime: AtomicU64,
    of_another_type: AtomicBool,
    /// What it answers in the place of a token.
    instead: Mutex<Option<String>>,
    /// What the last request for a token came with.
    trail: Mutex<String>,
}

impl Fake {
    async fn start() -> (Self, Server, TokenSource) {
        let fake = Self::default();
        fake.0.status.store(200, Ordering::SeqCst);
        fake.0.lifetime.store(900, Ordering::SeqCst);
        let routes = axum::Router::new()
            .route("/oauth/token", post(issue))
            .route("/stock", get(stock).post(stock))
            .with_state(fake.clone());
        let server = Server::start(|listener, stopped| async {
            let stopped = async {
                let _ = stopped.await;
            };
            Ok(axum::serve(listener, routes)
                .with_graceful_shutdown(stopped)
                .await?)
        });
        let server = server.await;
        let address = format!("http://{}", server.address()).parse().unwrap();
        let source = Issuer::new(address, "orders", "secret".into()).client_credentials(None);
        (fake, server, source)
    }

    fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn answers(&self, status: u32) {
        self.0.status.store(status, Ordering::SeqCst);
    }

    fn takes(&self, delay: Duration) {
        self.0
            .delay_ms
            .store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

fn trail(headers: &HeaderMap) -> String {
    let header = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    format!(
        "{} {} {}",
        header("x-request-id"),
        header("traceparent"),
        header("tracestate")
    )
}

async fn issue(State(Fake(fake)): State<Fake>, headers: HeaderMap) -> Response {
    *fake.trail.lock().unwrap() = trail(&headers);
    let number = fake.asked.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::time::sleep(Duration::from_millis(fake.delay_ms.load(Ordering::SeqCst))).await;
    let status =
        StatusCode::from_u16(u16::try_from(fake.status.load(Ordering::SeqCst)).unwrap()).unwrap();
    let lifetime = fake.lifetime.load(Ordering::SeqCst);
    let of_another_type = fake.of_another_type.load(Ordering::SeqCst);
    let token_type = if of_another_type { "DPoP" } else { "bearer" };
    if let Some(instead) = &*fake.instead.lock().unwrap() {
        return (status, instead.clone()).into_response();
    }
    let body = if status == 200 {
        json!({"access_token": format!("token-{number}"), "token_type": token_type, "expires_in": lifetime})
    } else {
        json!({"error": "invalid_client"})
    };
    (status, Json(body)).into_response()
}

async fn stock(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    fake.0.called.fetch_add(1, Ordering::SeqCst);
    let token = format!("Bearer token-{}", fake.asked());
    let status = if headers
        .get("authorization")
        .is_some_and(|sent| *sent == *token)
    {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    };
    (status, trail(&headers)).into_response()
}

#[tokio::test]
async fn a_thousand_callers_cause_one_token_request() {
    let (fake, _server, source) = Fake::start().await;
    fake.takes(Duration::from_millis(50));
    let callers = (0..1000).map(|_| {
        let source = source.clone();
        tokio::spawn(async move { source.token().await.unwrap().expose().to_owned() })
    });
    for token in join_all(callers).await {
        assert_eq!(token.unwrap(), "token-1");
    }
    assert_eq!(source.token().await.unwrap().expose(), "token-1");
    assert_eq!(fake.asked(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_from_the_others() {
    let (fake, _server, source) = Fake::start().await;
    fake.takes(Duration::from_millis(200));
    let first = tokio::spawn({
        let source = source.clone();
        async move { source.token().await }
    });
    while fake.asked() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert_eq!(source.token().await.unwrap().expose(), "token-1");
}

/// Lifetimes of tokens to try one after the other: a machine that stood still at the moment that a test is about has missed it.
const LIFETIMES: [u64; 3] = [2, 4, 8];

#[tokio::test]
async fn a_token_is_renewed_beside_its_use_before_it_expires() {
    for lifetime in LIFETIMES {
        let (fake, _server, source) = Fake::start().await;
        fake.0.lifetime.store(lifetime, Ordering::SeqCst);
        let started = Instant::now();
        assert_eq!(source.token().await.unwrap().expose(), "token-1");
        fake.takes(Duration::from_millis(100));
        let mut used_meanwhile = false;
        while source.token().await.unwrap().expose() == "token-1" {
            used_meanwhile |= fake.asked() == 2;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(started.elapsed() >= Duration::from_secs(lifetime) * 3 / 4);
        assert_eq!(fake.asked(), 2);
        if used_meanwhile {
            return;
        }
    }
    panic!("nobody was given the old one while the new one was fetched");
}

#[tokio::test]
async fn a_good_token_stays_in_use_while_the_issuer_is_broken_and_it_is_asked_with_pauses() {
    for lifetime in LIFETIMES {
        let (fake, _server, source) = Fake::start().await;
        fake.0.lifetime.store(lifetime, Ordering::SeqCst);
        // It is used for nine tenths of its life, which began later than this.
        let started = Instant::now();
        let used_for = Duration::from_secs(lifetime) * 9 / 10;
        source.token().await.unwrap();
        fake.answers(500);
        let mut calls_meanwhile = 0;
        loop {
            let (failed, token) = (fake.asked() > 1, source.token().await);
            if started.elapsed() >= used_for {
                break;
            }
            assert_eq!(token.unwrap().expose(), "token-1");
            calls_meanwhile += u32::from(failed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Pauses of 50 ms at the least, twice as long each time, leave room for no more in the last quarter of its life.
        let attempts = fake.asked() - 1;
        assert!(attempts <= 6, "asked {attempts} times");
        fake.answers(200);
        // It recovers by itself: by and by the pause ends and a call fetches anew.
        while source.token().await.is_err() || source.token().await.unwrap().expose() == "token-1" {
            assert!(started.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if calls_meanwhile > 1 && attempts > 1 {
            return;
        }
    }
    panic!("nobody was given the token while the issuer was broken");
}

#[tokio::test]
async fn an_issuer_that_is_slow_or_away_is_waited_for_no_longer_than_the_limit() {
    let (fake, server, source) = Fake::start().await;
    fake.takes(Duration::from_secs(10));
    let started = Instant::now();
    let error = source.token().await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable(_)), "{error:?}");
    assert!(started.elapsed() < FETCH_LIMIT + Duration::from_secs(1));
    // Within the pause nobody waits at all.
    let started = Instant::now();
    assert!(matches!(
        source.token().await.unwrap_err(),
        FetchError::Waiting(_)
    ));
    assert!(started.elapsed() < Duration::from_millis(50));
    drop(server);
}

#[tokio::test]
async fn a_refusal_is_told_by_its_code_and_no_error_shows_the_secret() {
    let (fake, _server, source) = Fake::start().await;
    fake.answers(401);
    let error = source.token().await.unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(
        error.to_string(),
        "the issuer of tokens refuses: invalid_client"
    );
    let issuer = Issuer::new(
        "http://127.0.0.1:1".parse().unwrap(),
        "orders",
        "hunter2-hunter2".into(),
    );
    let source = issuer.client_credentials(None);
    let error = source.token().await.unwrap_err();
    assert!(!format!("{issuer:?} {source:?} {error:?} {error}").contains("hunter2"));
}

#[tokio::test]
async fn a_call_carries_the_token_and_the_trail_and_so_does_the_fetch_of_its_token() {
    let (fake, server, source) = Fake::start().await;
    let client = ServiceClient::new(source);
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", "abc".parse().unwrap());
    headers.insert("traceparent", TRACEPARENT.parse().unwrap());
    headers.insert("tracestate", "a=b".parse().unwrap());
    headers.insert("cookie", "not=this".parse().unwrap());
    let url = format!("http://{}/stock", server.address());
    let answer = client
        .send(client.get(url), &Trail::of(&headers))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let all = format!("abc {TRACEPARENT} a=b");
    assert_eq!(answer.text().await.unwrap(), all);
    assert_eq!(*fake.0.trail.lock().unwrap(), all);
}

#[tokio::test]
async fn what_is_long_or_not_well_formed_is_in_no_call_and_in_no_fetch_that_others_wait_for() {
    let long = |count| "x".repeat(count);
    let (id, longest) = (("x-request-id", "abc"), long(512));
    let parent = ("traceparent", TRACEPARENT);
    let later = format!("cc{}-more", &TRACEPARENT[2..]);
    let cases: Vec<(Vec<(&'static str, String)>, String)> = [
        (
            vec![id, parent, ("tracestate", &longest)],
            format!("abc {TRACEPARENT} {longest}"),
        ),
        (vec![("traceparent", &later)], format!(" {later} ")),
        (
            vec![("x-request-id", &long(256))],
            format!("{}  ", long(256)),
        ),
        (
            vec![("x-request-id", &long(257)), parent],
            format!(" {TRACEPARENT} "),
        ),
        (vec![id, id], "  ".to_owned()),
        (vec![("x-request-id", "")], "  ".to_owned()),
        (vec![("x-request-id", "\u{e9}")], "  ".to_owned()),
        (vec![id, ("tracestate", "a=b")], "abc  ".to_owned()),
        (
            vec![id, parent, ("tracestate", &long(100_000))],
            format!("abc {TRACEPARENT} "),
        ),
        (
            vec![
                parent,
                ("tracestate", &long(256)),
                ("tracestate", &long(256)),
            ],
            format!(" {TRACEPARENT} "),
        ),
        (vec![parent, parent, ("tracestate", "a=b")], "  ".to_owned()),
        (
            vec![("traceparent", "00-1-2-01"), ("tracestate", "a=b")],
            "  ".to_owned(),
        ),
        (
            vec![("traceparent", &TRACEPARENT.to_uppercase())],
            "  ".to_owned(),
        ),
        (
            vec![("traceparent", &format!("{TRACEPARENT}-more"))],
            "  ".to_owned(),
        ),
        (
            vec![("traceparent", &format!("{later}{}", long(256)))],
            "  ".to_owned(),
        ),
    ]
    .into_iter()
    .map(|(headers, expected)| {
        let headers = headers.into_iter();
        (
            headers
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            expected,
        )
    })
    .collect();
    for (came, goes) in cases {
        let (fake, server, source) = Fake::start().await;
        let client = ServiceClient::new(source);
        let mut headers = HeaderMap::new();
        for (name, value) in &came {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let url = format!("http://{}/stock", server.address());
        let answer = client.send(client.get(url), &Trail::of(&headers)).await;
        assert_eq!(answer.unwrap().text().await.unwrap(), goes, "{came:?}");
        assert_eq!(*fake.0.trail.lock().unwrap(), goes, "{came:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_answered_with_401_is_made_once_more_with_a_new_token() {
    let (fake, server, source) = Fake::start().await;
    let client = ServiceClient::new(source.clone());
    let url = format!("http://{}/stock", server.address());
    source.token().await.unwrap();
    // Of a token that was only just issued the next would be no better.
    fake.0.asked.fetch_add(1, Ordering::SeqCst);
    let answer = client.send(client.get(&url), &Trail::default()).await;
    assert_eq!(answer.unwrap().status(), 401);
    assert_eq!(fake.0.called.swap(0, Ordering::SeqCst), 1);
    fake.0.asked.fetch_sub(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1010)).await;
    // The service does not take that token any more: it wants a newer one than was issued.
    fake.0.asked.fetch_add(1, Ordering::SeqCst);
    let request = client.request(http::Method::POST, &url).body("a body");
    let answer = client.send(request, &Trail::default()).await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            fake.0.called.load(Ordering::SeqCst)
        ),
        (200, 2)
    );
    assert_eq!(source.token().await.unwrap().expose(), "token-3");

    let refusing = format!("http://{}/nothing", server.address());
    let answer = client
        .send(client.get(refusing), &Trail::default())
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_call_to_nobody_is_an_error_that_says_so() {
    let (_fake, _server, source) = Fake::start().await;
    let client = ServiceClient::new(source);
    let error = client
        .send(client.get("http://127.0.0.1:1/"), &Trail::default())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Call(_)));
    assert_eq!(error.to_string(), "the service does not answer");
}

#[tokio::test]
async fn a_token_that_one_service_refuses_stays_in_use_while_there_is_no_other() {
    let (fake, server, source) = Fake::start().await;
    let client = ServiceClient::new(source.clone());
    let url = format!("http://{}/stock", server.address());
    let token = source.token().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1010)).await;
    fake.answers(500);
    fake.0.asked.fetch_add(1, Ordering::SeqCst);
    let answer = client.send(client.get(&url), &Trail::default()).await;
    assert_eq!(answer.unwrap().status(), 401);
    assert_eq!(source.token().await.unwrap(), token);
}

#[tokio::test]
async fn a_token_is_asked_for_anew_for_another_audience_or_scope() {
    let (fake, server, _) = Fake::start().await;
    let address = format!("http://{}", server.address()).parse().unwrap();
    let exchange = Issuer::new(address, "orders", "secret".into()).exchange();
    let sources = [
        exchange.clone(),
        exchange.clone().for_audience("a"),
        exchange.clone().for_audience("b"),
        exchange.clone().with_scope("c"),
        exchange,
    ];
    let mut tokens = Vec::new();
    for source in &sources {
        let token = source.on_behalf_of("a user's token").token().await.unwrap();
        tokens.push(token.expose().to_owned());
    }
    assert_eq!(
        tokens,
        ["token-1", "token-2", "token-3", "token-4", "token-1"]
    );
    assert_eq!(fake.asked(), 4);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error_and_no_panic() {
    let (fake, _server, source) = Fake::start().await;
    fake.0.lifetime.store(u64::MAX / 2, Ordering::SeqCst);
    source.token().await.unwrap();
    let (fake, _server, source) = Fake::start().await;
    fake.0.of_another_type.store(true, Ordering::SeqCst);
    let error = source.token().await.unwrap_err();
    assert!(matches!(error, FetchError::TokenType), "{error:?}");
    let token =
        |text: &str| json!({"access_token": text, "token_type": "Bearer", "expires_in": 900});
    for nonsense in [
        String::new(),
        "a secret".to_owned(),
        "[]".to_owned(),
        token("two\nlines").to_string(),
        token("x\u{7f}").to_string(),
        token(&"x".repeat(100_000)).to_string(),
    ] {
        let (fake, _server, source) = Fake::start().await;
        *fake.0.instead.lock().unwrap() = Some(nonsense);
        let error = source.token().await.unwrap_err();
        assert!(matches!(error, FetchError::NoToken(_)), "{error:?}");
        assert!(
            !format!("{error:?} {error}").contains("secret"),
            "{error:?}"
        );
        // It is well again, and so is the source.
        *fake.0.instead.lock().unwrap() = None;
        while source.token().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
