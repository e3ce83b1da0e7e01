//! Traces, from outside: what a route sees of one, what a collector is sent, and what happens when it takes nothing.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{any, get};
use http::{HeaderMap, Method, StatusCode};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use service_shell::health;
use service_shell::limits::Limits;
use service_shell::serve::Shell;
use service_shell::traces::TraceExport;
use test_support::{Client, Collector, Reply, Server};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// What is promised, and something for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(4);

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// A service whose answer is what its calls to other services would say of the trace.
async fn start(export: Option<&TraceExport>) -> (Server, Registry) {
    let trail = async |headers: HeaderMap| {
        let all = |name: &str| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap_or("?")).collect();
            values.join(",")
        };
        format!("{} {}", all("traceparent"), all("tracestate"))
    };
    let routes = Router::new()
        .route("/trail/{id}", any(trail))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/health/live", get(health::live));
    let shell = Shell::tracing("test", Limits::default(), export);
    let mut registry = Registry::default();
    shell.expose(&mut registry);
    let routes = shell.around(routes, None);
    let server = Server::start(|listener, stopped| async move {
        let stopped = async {
            let _ = stopped.await;
        };
        shell.serve((routes, listener), None, stopped).await;
        Ok(())
    });
    (server.await, registry)
}

fn all_to(collector: &Collector) -> TraceExport {
    TraceExport {
        endpoint: collector.url(),
        ratio: 1.0,
    }
}

async fn send(client: &Client, path: &str, headers: &[(&'static str, &str)]) -> Reply {
    let request = client.request(&Method::GET, path);
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    Reply::to(request).await
}

fn spans_that_were(registry: &Registry, outcome: &str) -> u64 {
    let mut text = String::new();
    prometheus_text::encode(&mut text, registry).expect("figures can be written");
    let start = format!("tokenpair_spans_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

#[tokio::test]
async fn without_a_collector_a_valid_traceparent_goes_on_as_it_came_and_no_other_does() {
    let (server, _) = start(None).await;
    let client = server.client();
    let valid = traceparent("01");
    let headers = [("traceparent", valid.as_str()), ("tracestate", "a=b")];
    let trail = send(&client, "/trail/1", &headers).await;
    assert_eq!(trail.text, format!("{valid} a=b"));
    let later = format!("cc{}-more", &valid[2..]);
    let trail = send(&client, "/trail/1", &[("traceparent", &later)]).await;
    assert_eq!(trail.text, format!("{later} "));
    let upper = valid.to_uppercase();
    for invalid in [
        &[("traceparent", "00-1-2-01"), ("tracestate", "a=b")][..],
        &[("traceparent", upper.as_str()), ("tracestate", "a=b")],
        &[
            ("traceparent", &valid),
            ("traceparent", &valid),
            ("tracestate", "a=b"),
        ],
        &[("tracestate", "a=b")],
        &[],
    ] {
        assert_eq!(send(&client, "/trail/1", invalid).await.text, " ");
    }
}

#[tokio::test]
async fn a_request_is_a_span_below_its_caller_and_above_whom_it_calls() {
    let collector = Collector::start().await;
    let (server, registry) = start(Some(&all_to(&collector))).await;
    let client = server.client();
    let came = traceparent("01");
    let headers = [
        ("traceparent", came.as_str()),
        ("tracestate", "a=b"),
        ("x-request-id", "the-id"),
    ];
    let trail = send(&client, "/trail/a-name?token=secret", &headers).await;
    let (below, state) = trail.text.split_once(' ').unwrap_or_default();
    let spans = collector.spans_when_there_are(1).await;
    let [span] = &spans[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(
        (span.trace_id().as_str(), span.parent_id().as_str()),
        (TRACE, PARENT)
    );
    assert_eq!(below, format!("00-{TRACE}-{}-01", span.span_id()));
    assert_eq!(state, "a=b");
    let it = &span.span;
    assert_eq!((it.name.as_str(), it.kind), ("GET /trail/{id}", 2));
    assert_eq!(it.flags, 0x301);
    assert_eq!(it.status, None);
    assert!(it.start_time_unix_nano < it.end_time_unix_nano);
    let said: Vec<_> = span
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("http.request.method", "GET"),
            ("http.response.header.x-request-id", "the-id"),
            ("http.response.status_code", "200"),
            ("http.route", "/trail/{id}"),
            ("url.scheme", "http"),
        ]
    );
    assert_eq!(span.service(), "test");
    assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(span.resource["service.instance.id"].len(), 36);
    server.stop().await;
    assert_eq!(spans_that_were(&registry, "exported"), 1);
    assert_eq!(spans_that_were(&registry, "dropped"), 0);
}

#[tokio::test]
async fn without_a_caller_a_trace_begins_and_the_last_spans_are_sent_at_the_stop() {
    let collector = Collector::start().await;
    let (server, _) = start(Some(&all_to(&collector))).await;
    let client = server.client();
    let lone = send(&client, "/trail/1", &[("tracestate", "a=b")]).await;
    let odd = client.request(&Method::from_bytes(b"DANCE").expect("a method"), "/nowhere");
    Reply::to(odd).await.has_status(404);
    client.get("/broken").await.has_status(500);
    client.get("/health/live").await.has_status(200);
    let stopping = Instant::now();
    server.stop().await;
    assert!(stopping.elapsed() < STOP_LIMIT);
    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| span.span.name.as_str()).collect();
    assert_eq!(names, ["GET /trail/{id}", "HTTP", "GET /broken"]);
    assert!(spans.iter().all(|span| span.parent_id().is_empty()));
    let (id, of) = (spans[0].span_id(), spans[0].trace_id());
    assert_eq!(lone.text, format!("00-{of}-{id}-01 "));
    assert_ne!(of, spans[1].trace_id());
    assert_eq!(spans[1].attributes["http.request.method"], "_OTHER");
    assert_eq!(spans[1].span.status, None);
    assert_eq!(spans[2].attributes["error.type"], "500");
    assert_eq!(
        spans[2].span.status.as_ref().map(|status| status.code),
        Some(2)
    );
}

#[tokio::test]
async fn what_is_not_recorded_is_not_sent_and_whoever_is_called_hears_of_it() {
    let collector = Collector::start().await;
    let nothing = TraceExport {
        ratio: 0.0,
        ..all_to(&collector)
    };
    let (server, registry) = start(Some(&nothing)).await;
    let client = server.client();
    let flags = |reply: Reply| reply.text.split(['-', ' ']).nth(3).map(str::to_owned);
    let lone = send(&client, "/trail/1", &[]).await;
    assert_eq!(flags(lone).as_deref(), Some("00"));
    for (came, goes) in [("00", "00"), ("01", "01"), ("02", "00")] {
        let trail = send(&client, "/trail/1", &[("traceparent", &traceparent(came))]).await;
        assert!(
            trail.text.starts_with(&format!("00-{TRACE}-")),
            "{}",
            trail.text
        );
        assert_eq!(flags(trail).as_deref(), Some(goes));
    }
    server.stop().await;
    assert_eq!(collector.spans().len(), 1);
    assert_eq!(spans_that_were(&registry, "exported"), 1);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_requests_nor_the_stop() {
    let collector = Collector::that_hangs().await;
    let (server, registry) = start(Some(&all_to(&collector))).await;
    let client = server.client();
    client.get("/trail/1").await.has_status(200);
    collector.is_asked(1).await;
    // More than there is room for.
    for _ in 0..2100 {
        let started = Instant::now();
        client.get("/trail/1").await.has_status(200);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    assert!(spans_that_were(&registry, "dropped") > 0);
    let stopping = Instant::now();
    server.stop().await;
    assert!(stopping.elapsed() < STOP_LIMIT, "{:?}", stopping.elapsed());
    assert_eq!(spans_that_were(&registry, "exported"), 0);
}

#[tokio::test]
async fn a_collector_that_takes_nothing_is_asked_again_after_a_pause() {
    let collector = Collector::that_refuses().await;
    let (server, registry) = start(Some(&all_to(&collector))).await;
    let client = server.client();
    client.get("/trail/lost").await.has_status(200);
    collector.is_asked(1).await;
    let refused = Instant::now();
    collector.recovers();
    client.get("/trail/kept").await.has_status(200);
    collector.is_asked(2).await;
    assert!(refused.elapsed() > Duration::from_secs(4));
    server.stop().await;
    assert_eq!(spans_that_were(&registry, "dropped"), 1);
    assert_eq!(spans_that_were(&registry, "exported"), 1);
}
