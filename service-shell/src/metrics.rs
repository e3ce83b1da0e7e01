//! What an operator sees of a service: figures in Prometheus' text format.
//!
//! Whatever counts something has its own instruments and a `expose` that makes them known to the service's registry. No
//! label has a value that a client can choose: a route is known by its pattern, a method that is none of ours is `other`.

use std::fmt::{self, Write};
use std::fs;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::response::{IntoResponse, Response};
use clap::Args;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
    prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::problem::Problem;
use crate::settings::address;

/// Settings of the metrics.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsSettings {
    /// Address at which alone GET /metrics is answered [default: that of the service]
    #[arg(long, env = "METRICS_LISTEN", value_name = "ADDRESS", value_parser = address, global = true)]
    pub metrics_listen: Option<SocketAddr>,
}

/// Upper bounds in seconds, from what a read from memory takes to what a client gives up after.
const SECONDS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A histogram of times.
#[must_use]
pub fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// A registry that knows what runs here: the service, and the process that it runs in.
#[must_use]
pub fn registry(service: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.register(
        "tokenpair_build",
        "Which service this is, of which version",
        Info::new([("service", service), ("version", env!("CARGO_PKG_VERSION"))]),
    );
    gauge(
        &mut registry,
        "process_resident_memory_bytes",
        "Memory that the process has in use",
        || 1024 * status_field("VmRSS:").unwrap_or_default(),
    );
    gauge(
        &mut registry,
        "process_open_fds",
        "Files and connections that the process has open",
        || fs::read_dir("/proc/self/fd").map_or(0, |open| count(open.count())),
    );
    registry
}

fn status_field(name: &str) -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let field = status.lines().find_map(|line| line.strip_prefix(name))?;
    field.split_whitespace().next()?.parse().ok()
}

/// A number of things, as a gauge has it.
#[must_use]
pub fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}

/// Registers something that is looked at when it is asked for.
pub fn gauge(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    read: impl Fn() -> i64 + Send + Sync + 'static,
) {
    gauges::<[(&str, String); 0]>(registry, name, help, move || vec![([], read())]);
}

/// Registers several of a kind, told apart by their labels, that are looked at when they are asked for.
pub fn gauges<L: EncodeLabelSet + 'static>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    read: impl Fn() -> Vec<(L, i64)> + Send + Sync + 'static,
) {
    registry.register_collector(Box::new(Reading { name, help, read }));
}

struct Reading<F> {
    name: &'static str,
    help: &'static str,
    read: F,
}

impl<F> fmt::Debug for Reading<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reading").field(&self.name).finish()
    }
}

impl<L, F> Collector for Reading<F>
where
    L: EncodeLabelSet + 'static,
    F: Fn() -> Vec<(L, i64)> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family =
            encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        for (labels, value) in (self.read)() {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The answer to `GET /metrics`.
#[must_use]
pub fn answer(registry: &Registry) -> Response {
    let mut text = String::new();
    if let Err(error) = prometheus_text::encode(&mut text, registry) {
        return Problem::internal(error).into_response();
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

/// What is counted of requests: how many of which route came to which status, and how long they took.
#[derive(Clone, Debug)]
pub(crate) struct RequestMetrics(Family<Answered, Histogram>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: Route,
    status: u16,
}

#[derive(Clone, Debug)]
struct Route(Option<MatchedPath>);

impl Route {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("none", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        Self(Family::new_with_constructor(seconds))
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        registry.register(
            "http_request_duration_seconds",
            "Requests by route and status, and how long they took; 499: the client went away",
            self.0.clone(),
        );
    }

    pub(crate) fn answered(
        &self,
        method: &Method,
        route: Option<&MatchedPath>,
        status: StatusCode,
        took: Duration,
    ) {
        let answered = Answered {
            method: known(method),
            route: Route(route.cloned()),
            status: status.as_u16(),
        };
        self.0.get_or_create(&answered).observe(took.as_secs_f64());
    }
}

pub(crate) fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
