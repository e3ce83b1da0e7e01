//! `/admin/…`: users, their sessions, clients and the audit log, for whoever holds the scope `admin`.

mod audit;
mod clients;
mod sessions;
mod users;

use std::ops::Deref;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use service_shell::problem::Problem;
use shared_claims::{AccessClaims, TokenError};
use utoipa_axum::router::OpenApiRouter;

use super::Admin;
use super::credentials::{InPerson, LiveCaller};
use super::error::Error;
use crate::app::AppState;
use crate::grants::Grants;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(users::router())
        .merge(sessions::router())
        .merge(clients::router())
        .merge(audit::router())
}

/// A user or a service account that administers the service, and no service that acts for one: by the token, and by what they may
/// do at this moment. Whoever was an administrator a minute ago must not make themselves one again.
struct Administrator(LiveCaller<(Admin, InPerson)>);

impl Deref for Administrator {
    type Target = AccessClaims;

    fn deref(&self) -> &AccessClaims {
        &self.0
    }
}

impl FromRequestParts<AppState> for Administrator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Error> {
        let caller = LiveCaller::from_request_parts(parts, state).await?;
        let grants = Grants::from_ref(state);
        if grants.still_allows(&caller, Admin::SCOPE).await? {
            Ok(Self(caller))
        } else {
            let required = Admin::SCOPE;
            Err(TokenError::InsufficientScope { required }.into())
        }
    }
}

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
