//! Spans: what a collector of OpenTelemetry is told of each request, where one is named; nothing at all otherwise.
//!
//! A request only leaves its span in a queue. A task sends what has come together, and drops what nobody takes: neither a
//! request nor a stop waits for a collector that is slow or away.

mod otlp;
mod sender;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::MatchedPath;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use reqwest::Url;
use shared_claims::extract::CallerLog;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::sender::Sender;
use crate::settings::web_address;
use crate::trace_context::{TRACEPARENT, TraceParent};

/// Spans that wait to be sent; one more is dropped.
const QUEUE: usize = 2048;
/// How long a stop waits until the last spans are sent.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Settings of tracing.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tracing")]
pub struct TraceSettings {
    /// Collector of OpenTelemetry that takes spans by OTLP, protobuf over HTTP, at /v1/traces below this address
    /// [default: none, and no span is made]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = web_address, global = true)]
    otel_exporter_otlp_endpoint: Option<Url>,
    /// Share of the requests that begin a trace here for which spans are sent, from 0 to 1; of others whoever began the trace
    /// decides
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "RATIO", default_value = "1", value_parser = ratio, global = true)]
    otel_traces_sampler_arg: f64,
}

/// Where spans are sent, and of which requests.
#[derive(Clone, Debug)]
pub struct TraceExport {
    /// The collector; spans are sent to `v1/traces` below it.
    pub endpoint: Url,
    /// Of requests that begin a trace, the share for which spans are sent: from 0 to 1.
    pub ratio: f64,
}

impl TraceSettings {
    /// Where spans are sent; `None`: nowhere.
    #[must_use]
    pub fn resolve(self) -> Option<TraceExport> {
        let ratio = self.otel_traces_sampler_arg;
        let export = |endpoint| TraceExport { endpoint, ratio };
        self.otel_exporter_otlp_endpoint.map(export)
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "use a number from 0 to 1, like 0.1".to_owned())
}

/// The spans of a service. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Spans(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<Ended>,
    ratio: f64,
    counts: SpanCounts,
    /// The task that sends them, and how to tell it to come to an end.
    sending: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// A request of which a span is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_id: Option<[u8; 8]>,
    sampled: bool,
    started: SystemTime,
}

/// What a span says of a request, no more: no path, no query, no header, no body, no name.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) method: Method,
    pub(crate) route: Option<MatchedPath>,
    pub(crate) status: StatusCode,
    pub(crate) took: Duration,
    pub(crate) request_id: HeaderValue,
    pub(crate) caller: CallerLog,
}

#[derive(Debug)]
struct Ended(Begun, Said);

impl Begun {
    /// The place in the trace that calls to other services come to have: that of this span.
    pub(crate) fn hand_on(&self, headers: &mut HeaderMap) -> TraceParent {
        let place = TraceParent::new(self.trace_id, self.span_id, self.sampled);
        headers.insert(TRACEPARENT, place.header());
        place
    }
}

impl Spans {
    /// Starts to send the spans of a service of this name.
    ///
    /// # Panics
    /// When the system's TLS cannot be set up.
    pub(crate) fn start(service: &'static str, export: &TraceExport, counts: SpanCounts) -> Self {
        let sender = Sender::new(service, &export.endpoint, counts.clone());
        let collector = sender.collector();
        tracing::info!(service, collector, ratio = export.ratio, "spans are sent");
        let (queue, ended) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(sender.run(ended, stopped));
        Self(Arc::new(Shared {
            queue,
            ratio: export.ratio,
            counts,
            sending: Mutex::new(Some((stop, task))),
        }))
    }

    /// A span below its parent, recorded if that is; without a parent the first of a trace, recorded by chance.
    #[expect(
        clippy::disallowed_methods,
        reason = "it stands beside spans of others, whatever time a test has"
    )]
    pub(crate) fn begin(&self, parent: Option<&TraceParent>) -> Begun {
        let (trace_id, sampled) = match parent {
            Some(parent) => (parent.trace_id_bytes(), parent.sampled()),
            None => (
                fastrand::u128(1..).to_be_bytes(),
                fastrand::f64() < self.0.ratio,
            ),
        };
        Begun {
            trace_id,
            span_id: fastrand::u64(1..).to_be_bytes(),
            parent_id: parent.map(TraceParent::span_id_bytes),
            sampled,
            started: SystemTime::now(),
        }
    }

    /// Leaves an ended span to be sent, if it is recorded: what is to be said of it is asked for only then.
    pub(crate) fn end(&self, begun: Begun, said: impl FnOnce() -> Said) {
        if begun.sampled && self.0.queue.try_send(Ended(begun, said())).is_err() {
            self.0.counts.dropped.inc();
        }
    }

    /// Sends what is left, within a limit.
    pub(crate) async fn stop(&self) {
        let sending = {
            let mut sending = self.0.sending.lock();
            let sending = sending.as_mut().map_err(PoisonError::get_mut);
            sending.unwrap_or_else(|sending| sending).take()
        };
        let Some((stop, mut task)) = sending else {
            return;
        };
        let _ = stop.send(());
        if tokio::time::timeout(STOP_LIMIT, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("stopped with spans that no collector took within {STOP_LIMIT:?}");
        }
    }
}

/// How many spans there were, and what became of them.
#[derive(Clone, Debug)]
pub(crate) struct SpanCounts {
    family: Family<[(&'static str, &'static str); 1], Counter>,
    exported: Counter,
    dropped: Counter,
}

impl SpanCounts {
    pub(crate) fn new() -> Self {
        let family = Family::<_, Counter>::default();
        let counter = |outcome| family.get_or_create(&[("outcome", outcome)]).clone();
        Self {
            exported: counter("exported"),
            dropped: counter("dropped"),
            family,
        }
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        registry.register(
            "tokenpair_spans",
            "Spans that a collector has taken, and those that it has not",
            self.family.clone(),
        );
    }
}
