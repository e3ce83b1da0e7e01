//! One trace over both services, in the log and, where there is a collector, in what it is sent; and what never is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use test_support::program::free_address;
use test_support::{Client, Collector, Reply, TakenSpan};

use crate::stack::Stack;
use crate::unsaid;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PATIENCE: Duration = Duration::from_secs(20);

async fn dashboard(client: &Client, token: &str, traceparent: &str) {
    let request = client
        .request(&Method::GET, "/dashboard")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header("traceparent", traceparent);
    let reply = Reply::to(request).await.has_status(200);
    assert_eq!(reply.json()["missing"], json!([]), "{}", reply.text);
}

/// The lines of requests that were in the trace, by what was asked for.
fn lines(log: &str) -> BTreeMap<String, Value> {
    let lines = log.lines().filter(|line| line.contains(TRACE));
    let lines = lines.map(|line| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(line["trace_id"], TRACE);
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        (format!("{} {}", text("service"), text("route")), line)
    });
    lines.collect()
}

const ASKED: [&str; 3] = [
    "auth-service /me",
    "auth-service /oauth/token",
    "resource-service /dashboard",
];

#[tokio::test]
async fn the_lines_of_both_services_have_the_trace_of_the_request_and_none_of_a_bad_one() {
    let mut stack = Stack::start().await;
    let (access, _) = stack.pair().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    dashboard(&stack.resource, &access, &traceparent).await;
    let bad = traceparent.replace(PARENT, "0000000000000000");
    dashboard(&stack.resource, &access, &bad).await;
    let log = stack.log_to_the_end().await;
    let lines = lines(&log);
    assert_eq!(lines.keys().collect::<Vec<_>>(), ASKED);
    assert!(!log.contains("span_id"), "{log}");
    assert_eq!(log.matches(TRACE).count(), 3, "{log}");
    let ids: Vec<_> = lines.values().map(|line| &line["request_id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

// With a thread for the collector: it is to take spans while the test waits for the stack to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_spans_of_both_services_are_one_trace_and_the_log_has_their_ids() {
    let collector = Collector::start().await;
    let mut stack = Stack::start_local_with(&[(ENDPOINT, collector.url().as_str())]).await;
    let (access, _) = stack.pair().await;
    dashboard(&stack.resource, &access, &format!("00-{TRACE}-{PARENT}-01")).await;
    let log = stack.log_to_the_end().await;
    let spans = collector.spans();
    let of = |service: &str, name: &str| -> &TakenSpan {
        let mut spans = spans.iter().filter(|span| span.trace_id() == TRACE);
        spans
            .find(|span| span.service() == service && span.span.name == name)
            .unwrap_or_else(|| panic!("no {name} of {service}: {spans:#?}"))
    };
    let first = of("resource-service", "GET /dashboard");
    let (token, me) = (
        of("auth-service", "POST /oauth/token"),
        of("auth-service", "GET /me"),
    );
    assert_eq!(first.parent_id(), PARENT);
    assert_eq!(token.parent_id(), first.span_id());
    assert_eq!(me.parent_id(), first.span_id());
    assert_ne!(
        first.resource["service.instance.id"],
        me.resource["service.instance.id"]
    );
    let lines = lines(&log);
    assert_eq!(lines.keys().collect::<Vec<_>>(), ASKED);
    for (asked, span) in ASKED.iter().zip([me, token, first]) {
        let line = &lines[*asked];
        assert_eq!(line["span_id"], json!(span.span_id()));
        let said = |name: &str| json!(span.attributes.get(name));
        assert_eq!(line["user"], said("enduser.id"), "{asked}");
        assert_eq!(line["session"], said("session.id"), "{asked}");
        assert_eq!(
            line["request_id"],
            said("http.response.header.x-request-id")
        );
    }
    assert!(lines[ASKED[2]]["user"].is_string());
    // Whoever logged in was in no trace, and began one.
    let login = spans.iter().find(|span| span.span.name == "POST /login");
    assert_eq!(login.map(TakenSpan::parent_id).as_deref(), Some(""));
    assert!(!spans.iter().any(|span| span.span.name.contains("/health")));
}

/// Everything a user and a client do, and not one secret of it, no name and no path, in all that a collector is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_token_secret_or_name_is_in_the_spans_of_a_whole_run() {
    let collector = Collector::start().await;
    let url = collector.url();
    let settings = [
        (ENDPOINT, url.as_str()),
        ("AUTH_REFRESH_GRACE", "0s"),
        unsaid::ALLOWED,
    ];
    let mut stack = Stack::start_local_with(&settings).await;
    let (right, wrong) = ("bark at the moon", "a wrong password");
    let laika = json!({"username": "laika", "password": right});
    stack.auth.post("/register", &laika).await.has_status(201);
    stack.auth.post("/register", &laika).await.has_status(409);
    stack.log_in("laika", wrong).await.has_status(401);
    let pair = stack.log_in("laika", right).await.has_status(200);
    let (access, refresh) = (pair.text_of("access_token"), pair.text_of("refresh_token"));
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    dashboard(&stack.resource, &access, &traceparent).await;
    let named = json!({"display_name": "Laika of Moscow", "bio": "A dog in space."});
    let written = stack.resource.put_with("/profile", &access, &named).await;
    written.has_status(200);
    let odd = stack
        .resource
        .request(&Method::GET, &format!("/nothing?token={access}"))
        .header("tracestate", format!("a={}", &refresh[..60]))
        .header("traceparent", &traceparent)
        .header("cookie", "tasty=secret-crumbs")
        .header("user-agent", "a very special browser");
    Reply::to(odd).await.has_status(404);
    let sessions = stack.auth.get_with("/sessions", &access).await.json();
    let session = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
    let gone = format!("/sessions/{session}-and-laika-too");
    let end = stack.auth.request(&Method::DELETE, &gone);
    let end = end.header(AUTHORIZATION, format!("Bearer {access}"));
    assert!(Reply::to(end).await.status.is_client_error());
    let next = stack.auth.post_with("/refresh", &refresh).await;
    let next = next.has_status(200);
    stack
        .auth
        .post_with("/logout", &next.text_of("access_token"))
        .await
        .has_status(204);
    let used = unsaid::use_all(&stack).await.0;
    let secret = stack.secret().await;
    stack.log_to_the_end().await;
    assert!(collector.spans().len() > 10);
    let sent = String::from_utf8_lossy(&collector.bytes()).to_lowercase();
    let tokens = [
        access,
        refresh,
        next.text_of("access_token"),
        next.text_of("refresh_token"),
    ];
    let signatures = tokens.iter().map(|token| token.rsplit('.').next().unwrap());
    let unsaid = [
        right,
        wrong,
        &secret,
        "laika",
        "cosmo",
        "moscow",
        "dog in space",
        "crumbs",
        "special browser",
        "bearer",
        "eyj",
        "$argon2id$",
        "127.0.0.1",
        "nothing",
    ];
    let used = used.iter().map(String::as_str);
    for unsaid in unsaid.into_iter().chain(signatures).chain(used) {
        assert!(
            !sent.contains(&unsaid.to_lowercase()),
            "the spans have {unsaid}"
        );
    }
    // What is looked for would be found.
    assert!(sent.contains(&session) && sent.contains("/sessions/{id}"));
}

#[tokio::test]
async fn of_a_collector_that_is_away_the_log_tells_once() {
    let nobody = format!("http://{}", free_address());
    let mut stack = Stack::start_local_with(&[(ENDPOINT, nobody.as_str())]).await;
    let warnings = |log: &str| log.matches("spans are not taken").count();
    let started = Instant::now();
    // Each service is told of by itself, when it has a span to send.
    for (told, client) in [(1, stack.auth.clone()), (2, stack.resource.clone())] {
        client.get("/nowhere").await.has_status(404);
        let running = stack.local().running();
        while warnings(&running.log()) < told {
            assert!(started.elapsed() < PATIENCE, "{}", running.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    for client in [&stack.auth, &stack.resource] {
        client.get("/nowhere").await.has_status(404);
    }
    let stopping = Instant::now();
    let log = stack.log_to_the_end().await;
    assert!(stopping.elapsed() < Duration::from_secs(4));
    assert_eq!(warnings(&log), 2, "{log}");
}
