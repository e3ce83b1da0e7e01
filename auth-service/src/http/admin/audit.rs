//! `GET /admin/audit-events`.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service_shell::openapi::TokenRefused;
use shared_claims::Subject;
use shared_claims::wire::ErrorBody;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::error::Error;
use super::{Administrator, Limit, Query};
use crate::app::AppState;
use crate::audit::{AuditEvent, AuditLog};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
struct EventList {
    events: Vec<ListedEvent>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
struct ListedEvent {
    id: i64,
    #[schema(value_type = String, format = DateTime)]
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

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Events about this user.
    #[param(value_type = Option<String>)]
    user: Option<Subject>,
    /// Events older than the one with this id.
    before: Option<i64>,
    /// 1 to 1,000 rows; 100 unless told otherwise
    #[serde(default)]
    #[param(value_type = Option<u32>)]
    limit: Limit,
}

/// The newest events, newest first.
#[utoipa::path(get, path = "/admin/audit-events", tag = "admin: audit log", params(Page), security(("token" = [])), responses((status = 200, description = "The events", body = EventList), (status = 400, description = "The query string has values that cannot be used: `invalid_request`", body = ErrorBody), TokenRefused))]
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
