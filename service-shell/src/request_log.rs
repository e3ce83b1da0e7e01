//! The one layer around every route: request id, limits, caught panics, headers of every answer, and one line in the log.
//!
//! tower-http has a layer for each of these. Each boxes the future of the one below it and its trace layer opens a span
//! per request; together they take more from a small route than verifying its token does (`docs/evidence.md`).

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use prometheus_client::registry::Registry;
use shared_claims::extract::{CallerLog, Cause};
use tower::{Layer, Service};
use uuid::Uuid;

use crate::answer_headers;
use crate::client_body::ClientBody;
use crate::cors::Readers;
use crate::in_flight::Classes;
use crate::limits::Limits;
use crate::metrics::{self, RequestMetrics};
use crate::problem::Problem;
use crate::trace_context::TraceParent;
use crate::traces::{Begun, Said, SpanCounts, Spans, TraceExport};

/// What a request is found by in the logs of all services that had to do with it.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer incoming request id is replaced by one of ours: it is copied into every log line.
const MAX_REQUEST_ID_BYTES: usize = 256;

/// A route that has not answered by now is stuck; what it waits for has shorter limits of its own.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How a problem is put into words.
pub type Wording = fn(Problem) -> Response;

/// Puts [`Logged`] around a router's routes.
#[derive(Clone, Debug)]
pub struct RequestLog {
    around: Arc<Around>,
    readers: Readers,
    /// Below which paths what is answered without the routes has another form than elsewhere, and which.
    worded: Option<(&'static str, Wording)>,
}

#[derive(Debug)]
struct Around {
    /// The name of the service, for the log.
    service: &'static str,
    limits: Limits,
    in_flight: Classes,
    requests: RequestMetrics,
    /// Where spans are sent, if they are.
    spans: Option<Spans>,
    span_counts: SpanCounts,
    stopping: AtomicBool,
}

impl RequestLog {
    /// For a service of this name.
    #[must_use]
    pub(crate) fn new(service: &'static str, limits: Limits, traces: Option<&TraceExport>) -> Self {
        let span_counts = SpanCounts::new();
        let start = |export| Spans::start(service, export, span_counts.clone());
        let around = Around {
            service,
            limits,
            in_flight: Classes::new(&limits),
            requests: RequestMetrics::new(),
            spans: traces.map(start),
            span_counts,
            stopping: AtomicBool::new(false),
        };
        Self {
            around: Arc::new(around),
            readers: Readers::default(),
            worded: None,
        }
    }

    /// Lets these read what it answers by itself.
    pub(crate) fn with_readers(self, readers: Readers) -> Self {
        Self { readers, ..self }
    }

    /// Words what it answers by itself below this path in this way.
    pub(crate) fn with_wording(self, below: &'static str, wording: Wording) -> Self {
        let worded = Some((below, wording));
        Self { worded, ..self }
    }

    /// From now on every answer closes its connection: whoever has another request finds another service.
    pub(crate) fn stop(&self) {
        self.around.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.around.stopping.load(Ordering::Relaxed)
    }

    /// Sends the spans that are left, within a limit.
    pub(crate) async fn stop_spans(&self) {
        if let Some(spans) = &self.around.spans {
            spans.stop().await;
        }
    }

    /// Makes known what is counted of requests.
    pub fn expose(&self, registry: &mut Registry) {
        self.around.requests.expose(registry);
        self.around.in_flight.expose(registry);
        self.around.span_counts.expose(registry);
    }
}

impl<S> Layer<S> for RequestLog {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged {
            inner,
            around: Arc::clone(&self.around),
            readers: self.readers.clone(),
            worded: self.worded,
        }
    }
}

/// A route whose requests have an id and leave one line in the log each.
#[derive(Clone, Debug)]
pub struct Logged<S> {
    inner: S,
    around: Arc<Around>,
    readers: Readers,
    worded: Option<(&'static str, Wording)>,
}

impl<S> Service<Request> for Logged<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let around = &*self.around;
        let line = Line::begin(Arc::clone(&self.around), &mut request);
        let in_flight = around.in_flight.of(line.route.as_ref());
        let asker = self.readers.asker(&request);
        let wording = match self.worded {
            Some((below, wording)) if request.uri().path().starts_with(below) => wording,
            _ => Problem::into_response,
        };
        // Handlers that call other services find it there, whoever made it.
        request.headers_mut().insert(X_REQUEST_ID, line.id.clone());
        let running = if may_always_run(&request) {
            in_flight.begin_always()
        } else if let Some(running) = in_flight.begin() {
            running
        } else {
            let overloaded = Problem::overloaded(Duration::from_secs(1)).because(Arc::new(TooMany));
            return Box::pin(async move { Ok(line.end(asker.answer(wording(overloaded)).await)) });
        };
        let request = ClientBody::limit(request, &around.limits, in_flight);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered =
                tokio::time::timeout(TIME_LIMIT, AssertUnwindSafe(answer).catch_unwind());
            let answered = match answered.await {
                Ok(Ok(Ok(response))) => Ok(response),
                Ok(Err(panic)) => Err(Problem::internal(panic_message(&*panic))),
                Err(elapsed) => {
                    Err(Problem::overloaded(Duration::from_secs(1)).because(Arc::new(elapsed)))
                }
            };
            let response = match answered {
                Ok(response) => response,
                Err(problem) => asker.answer(wording(problem)).await,
            };
            drop(running);
            Ok(line.end(response))
        })
    }
}

/// How a service is can be asked however many requests there are.
fn may_always_run(request: &Request) -> bool {
    let path = request.uri().path();
    path.starts_with("/health/") || path == "/metrics"
}

#[derive(Debug, thiserror::Error)]
#[error("HTTP_MAX_IN_FLIGHT requests are being worked on")]
struct TooMany;

/// What is known of a request while it runs. Dropped before its end, it says that nobody waited for the answer.
struct Line {
    around: Arc<Around>,
    started: Instant,
    id: HeaderValue,
    method: Method,
    route: Option<MatchedPath>,
    caller: CallerLog,
    /// Where the request is in a trace, if it is in one: at our own span, or else where it came from.
    place: Option<TraceParent>,
    span: Option<Begun>,
    answered: bool,
}

impl Line {
    fn begin(around: Arc<Around>, request: &mut Request) -> Self {
        let mut place = TraceParent::take(request.headers_mut());
        let span = match &around.spans {
            Some(spans) if !may_always_run(request) => {
                let span = spans.begin(place.as_ref());
                place = Some(span.hand_on(request.headers_mut()));
                Some(span)
            }
            _ => None,
        };
        let line = Self {
            around,
            started: Instant::now(),
            id: request_id(request),
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            caller: CallerLog::default(),
            place,
            span,
            answered: false,
        };
        request.extensions_mut().insert(line.caller.clone());
        line
    }

    fn end(mut self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        answer_headers::complete(headers);
        headers.insert(X_REQUEST_ID, self.id.clone());
        if self.around.stopping.load(Ordering::Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.answered = true;
        let cause = response
            .extensions()
            .get::<Cause>()
            .map(|Cause(error)| chain(&**error));
        self.write(response.status(), cause.as_deref());
        response
    }

    fn write(&self, status: StatusCode, cause: Option<&str>) {
        let took = self.started.elapsed();
        let route = self.route.as_ref();
        let requests = &self.around.requests;
        requests.answered(&self.method, route, status, took);
        if let (Some(spans), Some(span)) = (&self.around.spans, self.span) {
            spans.end(span, || Said {
                method: self.method.clone(),
                route: self.route.clone(),
                status,
                took,
                request_id: self.id.clone(),
                caller: self.caller.clone(),
            });
        }
        let place = self.place.as_ref();
        let caller = self.caller.caller();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    service = self.around.service,
                    request_id = self.id.to_str().unwrap_or_default(),
                    trace_id = place.map(TraceParent::trace_id),
                    span_id = self.span.and(place).map(TraceParent::span_id),
                    method = metrics::known(&self.method),
                    route = route.map_or("none", MatchedPath::as_str),
                    status = status.as_u16(),
                    duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    user = caller.map(|(subject, _)| subject.as_str()),
                    session = caller
                        .and_then(|(_, session)| session)
                        .map(|session| session.as_str()),
                    cause,
                    "request"
                )
            };
        }
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            line!(error);
        } else {
            line!(info);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.answered {
            // 499 is the customary mark in logs of a client that did not wait; it never goes over the wire.
            self.write(
                StatusCode::from_u16(499).expect("499 is in range"),
                Some("the client went away"),
            );
        }
    }
}

fn request_id(request: &Request) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        !id.is_empty()
            && id.len() <= MAX_REQUEST_ID_BYTES
            && id.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'))
    };
    let incoming = request.headers().get(X_REQUEST_ID).filter(usable).cloned();
    incoming.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(Uuid::now_v7().hyphenated().encode_lower(&mut text))
            .expect("a UUID is visible ASCII")
    })
}

/// The error and everything under it, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", message.unwrap_or_default())
}
