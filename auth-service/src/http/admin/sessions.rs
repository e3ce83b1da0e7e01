//! `/admin/users/{id}/sessions`, `/admin/sessions/{id}`.

use axum::extract::State;
use axum::routing::{delete, get};
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use shared_claims::{SessionId, Subject};

use super::super::credentials::Peer;
use super::super::error::Error;
use super::super::path::Named;
use super::super::sessions::ListedSession;
use super::Administrator;
use crate::app::AppState;
use crate::audit::Author;
use crate::sessions::{EndReason, Sessions};

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/users/{id}/sessions", get(list).delete(end_all))
        .route("/admin/sessions/{id}", delete(end))
}

#[derive(Serialize)]
struct SessionList {
    sessions: Vec<ListedSession>,
}

/// A user who is not there has no sessions.
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
