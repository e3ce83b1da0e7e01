//! `/admin/users/{id}/sessions`, `/admin/sessions/{id}`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use service_shell::openapi::TokenRefused;
use shared_claims::wire::ErrorBody;
use shared_claims::{SessionId, Subject};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::credentials::Peer;
use super::super::error::Error;
use super::super::path::Named;
use super::super::sessions::ListedSession;
use super::Administrator;
use crate::app::AppState;
use crate::audit::Author;
use crate::sessions::{EndReason, Sessions};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, end_all))
        .routes(routes!(end))
}

#[derive(Serialize, ToSchema)]
#[schema(as = SessionsOfUser)]
struct SessionList {
    sessions: Vec<ListedSession>,
}

/// The sessions of a user; one who is not there has none
#[utoipa::path(get, path = "/admin/users/{id}/sessions", tag = "admin: sessions", params(("id" = String, Path, description = "The id of the user")), security(("token" = [])), responses((status = 200, description = "The sessions that go on", body = SessionList), TokenRefused))]
async fn list(
    State(sessions): State<Sessions>,
    administrator: Administrator,
    Named(user): Named<Subject>,
) -> Result<Json<SessionList>, Error> {
    let live = sessions.of(&user).await?;
    let current = administrator.session.as_ref();
    let listed = live
        .into_iter()
        .map(|session| ListedSession::new(session, current));
    Ok(Json(SessionList {
        sessions: listed.collect(),
    }))
}

/// Ends all sessions of a user
#[utoipa::path(delete, path = "/admin/users/{id}/sessions", tag = "admin: sessions", params(("id" = String, Path, description = "The id of the user")), security(("token" = [])), responses((status = 204, description = "They are over"), TokenRefused))]
async fn end_all(
    State(sessions): State<Sessions>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(user): Named<Subject>,
) -> Result<StatusCode, Error> {
    let by = Author::known(&administrator.subject, ip);
    let reason = EndReason::Administrator;
    sessions.end_all_of(&user, reason, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session
#[utoipa::path(delete, path = "/admin/sessions/{id}", tag = "admin: sessions", params(("id" = String, Path, description = "The id of the session")), security(("token" = [])), responses((status = 204, description = "It is over"), TokenRefused, (status = 404, description = "There is no such session: `not_found`", body = ErrorBody)))]
async fn end(
    State(sessions): State<Sessions>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(id): Named<SessionId>,
) -> Result<StatusCode, Error> {
    let by = Author::known(&administrator.subject, ip);
    let reason = EndReason::Administrator;
    if sessions.end(&id, None, reason, &by).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::NotFound("There is no such session"))
    }
}
