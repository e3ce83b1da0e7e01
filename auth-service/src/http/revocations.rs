//! `GET /revocations`, the feed; `PUT` and `DELETE /revocations/subscribers/{id}`, by which subscribers tell of themselves.

use std::convert::Infallible;
use std::fmt::Write;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use service_shell::openapi::{BodyRefused, TokenRefused};
use shared_claims::extract::Service;
use shared_claims::wire::{ErrorBody, SessionRevoked};
use shared_claims::{ClientId, KeyId, TokenError};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::RevocationsRead;
use super::credentials::{InPerson, LiveCaller};
use super::error::Error;
use super::path::Named;
use crate::app::AppState;
use crate::key_holders::{self, KeyHolders};
use crate::revocations::{Message, RevocationFeed};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(follow))
        .routes(routes!(report, say_goodbye))
}

/// Of a subscriber that is a service, there is something to tell.
type Subscriber = LiveCaller<(RevocationsRead, Service)>;

fn client(caller: &Subscriber) -> Result<ClientId, TokenError> {
    let client = caller.client_id.clone();
    client.ok_or(TokenError::WrongCaller {
        expected: shared_claims::CallerKind::Service,
    })
}

/// The feed of sessions that end, as server-sent events; for whoever has the scope `revocations:read`
#[utoipa::path(get, path = "/revocations", tag = "services", security(("token" = [])), responses((status = 200, description = "Every revocation that still matters, then each new one", body = String, content_type = "text/event-stream"), TokenRefused))]
async fn follow(
    State(feed): State<RevocationFeed>,
    caller: LiveCaller<(RevocationsRead, InPerson)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    // An id that is none of ours is like no id: whoever sends it is told everything.
    let last = headers
        .get(LAST_EVENT_ID)
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let messages = feed.follow(caller.clone(), last)?;
    let events = messages.map(|messages| Ok::<_, Infallible>(write(&messages)));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // What a proxy keeps back to send it together comes too late.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// Messages as server-sent events, which go out together. JSON on one line needs no more care than that.
fn write(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        match message {
            Message::Hello(hello) => {
                let _ = write!(text, "event: hello\ndata: {}\n\n", json(hello));
            }
            Message::Revoked(revocation) => {
                let seq = revocation.seq;
                let revoked = SessionRevoked {
                    sid: revocation.session.clone(),
                    reason: revocation.reason.clone(),
                    revoked_at: revocation.revoked_at,
                    forget_after: revocation.forget_after,
                };
                let data = json(&revoked);
                let _ = write!(text, "id: {seq}\nevent: session-revoked\ndata: {data}\n\n");
            }
            // An event without data is one that readers pass over.
            Message::CaughtUp => text.push_str("event: caught-up\ndata: {}\n\n"),
            Message::Heartbeat => text.push_str(":\n\n"),
        }
    }
    text
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers can be written as JSON")
}

#[derive(Deserialize, ToSchema)]
#[schema(as = SubscriberReport)]
struct Report {
    /// What the subscriber calls itself, for people
    #[schema(value_type = String)]
    name: Option<String>,
    /// The keys that it verifies with
    #[schema(value_type = Vec<String>)]
    kids: Option<Vec<KeyId>>,
    last_event_id: Option<i64>,
}

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
enum ReportRefused {
    #[error("Give 1 to 128 visible ASCII characters.")]
    Name,
    #[error("Give at most 64 key ids of at most 128 visible ASCII characters.")]
    Keys,
}

fn visible(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// By this a subscriber of the feed tells which keys it holds and how far it has read
#[utoipa::path(put, path = "/revocations/subscribers/{id}", tag = "services", params(("id" = String, Path, description = "The id that the subscriber gives itself")), security(("token" = [])), request_body(content = Report), responses((status = 204, description = "Taken"), BodyRefused, TokenRefused, (status = 404, description = "It is another client's subscriber: `not_found`", body = ErrorBody), (status = 409, description = "The client has as many others as may be, and all have been heard of lately: `too_many_subscribers`", body = ErrorBody)))]
async fn report(
    State(holders): State<KeyHolders>,
    caller: Subscriber,
    Named(id): Named<String>,
    JsonBody(report): JsonBody<Report>,
) -> Result<StatusCode, Error> {
    let client = client(&caller)?;
    let mut fields = Fields::default();
    let id = fields.required("id", Some(id), |id| {
        visible(&id).then_some(id).ok_or(ReportRefused::Name)
    });
    let name = fields.required("name", report.name, |name| {
        visible(&name).then_some(name).ok_or(ReportRefused::Name)
    });
    let keys = fields.required("kids", report.kids, |keys| {
        let usable = keys.len() <= 64 && keys.iter().all(|key| visible(key.as_str()));
        usable.then_some(keys).ok_or(ReportRefused::Keys)
    });
    let ((id, name), keys) = fields.finish(id.zip(name).zip(keys))?;
    let last = report.last_event_id;
    match holders.keep(id, Some(client), name, keys, last).await? {
        key_holders::Report::Taken => Ok(StatusCode::NO_CONTENT),
        key_holders::Report::Foreign => Err(UNKNOWN),
        key_holders::Report::TooMany => Err(Error::ClientHasTooManySubscribers),
    }
}

/// By this a subscriber of the feed says that it ends
#[utoipa::path(delete, path = "/revocations/subscribers/{id}", tag = "services", params(("id" = String, Path, description = "The id that the subscriber gives itself")), security(("token" = [])), responses((status = 204, description = "Taken"), TokenRefused, (status = 404, description = "There is no such subscriber: `not_found`", body = ErrorBody)))]
async fn say_goodbye(
    State(holders): State<KeyHolders>,
    caller: Subscriber,
    Named(id): Named<String>,
) -> Result<StatusCode, Error> {
    if holders.dismiss(&id, &client(&caller)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(UNKNOWN)
    }
}

/// Another client's subscriber is answered like one that is not there.
const UNKNOWN: Error = Error::NotFound("There is no such subscriber");
