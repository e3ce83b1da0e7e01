//! `/admin/…`: users, their sessions, clients and the audit log, for whoever holds the scope `admin`.

mod audit;
mod clients;
mod sessions;
mod users;

use axum::extract::FromRequestParts;
use axum::extract::rejection::QueryRejection;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use service_shell::problem::Problem;
use utoipa_axum::router::OpenApiRouter;

use super::Admin;
use super::credentials::{InPerson, LiveCaller};
use crate::app::AppState;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(users::router())
        .merge(sessions::router())
        .merge(clients::router())
        .merge(audit::router())
}

/// A user or a service account that administers the service, and no service that acts for one.
type Administrator = LiveCaller<(Admin, InPerson)>;

/// Rows in an answer, unless the request asks for fewer or more.
const USUAL: u32 = 100;
const MOST: u32 = 1000;

/// A part of a query string that says how many rows are wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(transparent)]
struct Limit(Option<u32>);

impl Limit {
    fn rows(self) -> u32 {
        self.0.unwrap_or(USUAL).clamp(1, MOST)
    }
}

/// A query string, with our own error shape for one that cannot be used.
struct Query<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|_: QueryRejection| {
                Problem::invalid_request("The query string has values that cannot be used")
            })
    }
}
