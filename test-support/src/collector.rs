//! A collector of OpenTelemetry, as far as services see one: it takes spans, or does not.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reqwest::{StatusCode, Url};

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(20);

/// A collector on a free port.
#[derive(Debug)]
pub struct Collector {
    server: Server,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    bodies: Vec<Bytes>,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Default)]
enum Mode {
    #[default]
    Takes,
    Refuses,
    Hangs,
}

/// A span, and which service it is of.
#[derive(Clone, Debug)]
pub struct TakenSpan {
    /// What the service calls itself, its version and its instance.
    pub resource: BTreeMap<String, String>,
    /// The attributes, each as text.
    pub attributes: BTreeMap<String, String>,
    /// All of it.
    pub span: Span,
}

impl Collector {
    /// One that takes what it is sent.
    pub async fn start() -> Self {
        Self::start_in(Mode::Takes).await
    }

    /// One that answers everything with 503.
    pub async fn that_refuses() -> Self {
        Self::start_in(Mode::Refuses).await
    }

    /// One that never answers.
    pub async fn that_hangs() -> Self {
        Self::start_in(Mode::Hangs).await
    }

    async fn start_in(mode: Mode) -> Self {
        let taken = Arc::new(Mutex::new(Taken {
            mode,
            ..Taken::default()
        }));
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&taken));
        let server = Server::start(|listener, stopped| async move {
            let stopped = async {
                let _ = stopped.await;
            };
            Ok(axum::serve(listener, routes)
                .with_graceful_shutdown(stopped)
                .await?)
        });
        Self {
            server: server.await,
            taken,
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn url(&self) -> Url {
        let url = format!("http://{}", self.server.address());
        url.parse().expect("it is an address")
    }

    /// Takes what it is sent, from now on.
    pub fn recovers(&self) {
        lock(&self.taken).mode = Mode::Takes;
    }

    /// How often it was sent something, be it that it did not take it.
    pub fn asked(&self) -> usize {
        lock(&self.taken).bodies.len()
    }

    /// Waits until it was sent something this often.
    pub async fn is_asked(&self, times: usize) {
        let started = Instant::now();
        while self.asked() < times {
            assert!(started.elapsed() < PATIENCE, "{}", self.asked());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every byte that it was sent.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.taken).bodies.concat()
    }

    /// Every span that it was sent.
    pub fn spans(&self) -> Vec<TakenSpan> {
        let bodies = lock(&self.taken).bodies.clone();
        let requests = bodies
            .into_iter()
            .map(|body| ExportTraceServiceRequest::decode(body).expect("OTLP in protobuf"));
        let of_resources = requests.flat_map(|request| request.resource_spans);
        of_resources
            .flat_map(|of_resource| {
                let resource = texts(&of_resource.resource.unwrap_or_default().attributes);
                let of_scopes = of_resource.scope_spans.into_iter();
                of_scopes
                    .flat_map(|of_scope| of_scope.spans)
                    .map(move |span| TakenSpan {
                        resource: resource.clone(),
                        attributes: texts(&span.attributes),
                        span,
                    })
            })
            .collect()
    }

    /// The spans, once there are as many as this.
    pub async fn spans_when_there_are(&self, count: usize) -> Vec<TakenSpan> {
        let started = Instant::now();
        loop {
            let spans = self.spans();
            if spans.len() >= count {
                return spans;
            }
            assert!(started.elapsed() < PATIENCE, "{spans:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl TakenSpan {
    /// The service that has sent it.
    pub fn service(&self) -> &str {
        &self.resource["service.name"]
    }

    /// The id of its trace, as logs and headers have it.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Its own id.
    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The id of the span that it is below, or the empty string.
    pub fn parent_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

async fn take(State(taken): State<Arc<Mutex<Taken>>>, body: Bytes) -> Response {
    let mode = {
        let mut taken = lock(&taken);
        taken.bodies.push(body);
        taken.mode
    };
    match mode {
        Mode::Takes => ExportTraceServiceResponse::default()
            .encode_to_vec()
            .into_response(),
        Mode::Refuses => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mode::Hangs => future::pending().await,
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |attribute: &KeyValue| (attribute.key.clone(), text(attribute.value.as_ref()));
    attributes.iter().map(pair).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::ArrayValue(array)) => {
            let texts: Vec<_> = array.values.iter().map(|value| text(Some(value))).collect();
            texts.join(",")
        }
        other => format!("{other:?}"),
    }
}
