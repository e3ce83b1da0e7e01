//! `GET /admin/audit-events`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared_claims::Subject;

use super::super::error::Error;
use super::{Administrator, Limit, Query};
use crate::app::AppState;
use crate::audit::{AuditEvent, AuditLog};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/admin/audit-events", get(list))
}

#[derive(Serialize)]
struct EventList {
    events: Vec<ListedEvent>,
}

#[derive(Serialize)]
struct ListedEvent {
    id: i64,
    at: Timestamp,
    event: String,
    user: Option<String>,
    session: Option<String>,
    client: Option<String>,
    actor: Option<String>,
    ip: Option<String>,
    detail: Option<String>,
}

impl From<AuditEvent> for ListedEvent {
    fn from(event: AuditEvent) -> Self {
        Self {
            id: event.id,
            at: event.at,
            event: event.event,
            user: event.user,
            session: event.session,
            client: event.client,
            actor: event.actor,
            ip: event.ip,
            detail: event.detail,
        }
    }
}

#[derive(Deserialize)]
struct Page {
    /// Events about this user.
    user: Option<Subject>,
    /// Events older than the one with this id.
    before: Option<i64>,
    #[serde(default)]
    limit: Limit,
}

/// The newest events, newest first.
async fn list(
    State(log): State<AuditLog>,
    _: Administrator,
    Query(page): Query<Page>,
) -> Result<Json<EventList>, Error> {
    let (user, limit) = (page.user.as_ref(), page.limit.rows());
    let events = log.newest(user, page.before, limit).await?;
    Ok(Json(EventList {
        events: events.into_iter().map(ListedEvent::from).collect(),
    }))
}
