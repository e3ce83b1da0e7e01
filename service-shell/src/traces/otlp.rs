//! Spans as the protocol has them (OTLP), in the words of OpenTelemetry's semantic conventions.

use std::time::{Duration, UNIX_EPOCH};

use axum::extract::MatchedPath;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};
use prost::Message;
use uuid::Uuid;

use super::Ended;
use crate::metrics::known;

/// The body that brings these spans to a collector.
pub(super) fn request(resource: &Resource, spans: Vec<Ended>) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let of_scope = ScopeSpans {
        scope: Some(scope),
        spans: spans.into_iter().map(Span::from).collect(),
        ..ScopeSpans::default()
    };
    let of_resource = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![of_scope],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![of_resource],
    };
    request.encode_to_vec()
}

/// How many of the spans of a batch that it has taken the collector did not like. An answer that cannot be read is a success
/// all the same: its status says so.
pub(super) fn refused(answer: &[u8]) -> u64 {
    let refused = ExportTraceServiceResponse::decode(answer)
        .ok()
        .and_then(|answer| answer.partial_success)
        .map_or(0, |partial| partial.rejected_spans);
    u64::try_from(refused).unwrap_or_default()
}

/// What sends the spans.
pub(super) fn resource(service: &'static str) -> Resource {
    Resource {
        attributes: vec![
            text("service.name", service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", Uuid::now_v7().to_string()),
        ],
        ..Resource::default()
    }
}

impl From<Ended> for Span {
    /// A span of a server, by the semantic conventions for HTTP; without the path, which may name somebody, and without the
    /// address.
    fn from(Ended(begun, said): Ended) -> Self {
        let method = match known(&said.method) {
            "other" => ("HTTP", "_OTHER"),
            method => (method, method),
        };
        let mut attributes = vec![
            text("http.request.method", method.1),
            text("url.scheme", "http"),
            attribute(
                "http.response.status_code",
                Value::IntValue(said.status.as_u16().into()),
            ),
        ];
        if let Ok(id) = said.request_id.to_str() {
            let id = Value::ArrayValue(ArrayValue {
                values: vec![any(Value::StringValue(id.to_owned()))],
            });
            attributes.push(attribute("http.response.header.x-request-id", id));
        }
        if let Some((subject, session)) = said.caller.caller() {
            attributes.push(text("enduser.id", subject.as_str()));
            attributes.extend(session.map(|session| text("session.id", session.as_str())));
        }
        let failed = said.status.is_server_error();
        if failed {
            attributes.push(text("error.type", said.status.as_str()));
        }
        let name = match said.route.as_ref().map(MatchedPath::as_str) {
            Some(route) => {
                attributes.push(text("http.route", route));
                format!("{} {route}", method.0)
            }
            None => method.0.to_owned(),
        };
        let started = begun.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let remote = match begun.parent_id {
            Some(_) => SpanFlags::ContextIsRemoteMask as u32,
            None => 0,
        };
        Self {
            trace_id: begun.trace_id.to_vec(),
            span_id: begun.span_id.to_vec(),
            parent_span_id: begun.parent_id.map_or_else(Vec::new, |id| id.to_vec()),
            flags: u32::from(begun.sampled) | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
            name,
            kind: SpanKind::Server.into(),
            start_time_unix_nano: nanoseconds(started),
            end_time_unix_nano: nanoseconds(started + said.took),
            attributes,
            status: failed.then(|| Status {
                code: StatusCode::Error.into(),
                message: String::new(),
            }),
            ..Self::default()
        }
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}
