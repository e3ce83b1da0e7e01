//! `/admin/clients`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use shared_claims::{ClientId, Scope};

use super::super::credentials::Peer;
use super::super::error::Error;
use super::super::path::Named;
use super::Administrator;
use crate::app::AppState;
use crate::audit::Author;
use crate::clients::{Client, ClientSecret, Clients, USUAL_OVERLAP, client_id, overlap};

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/clients", get(list).post(add))
        .route("/admin/clients/{id}", patch(change).delete(remove))
        .route("/admin/clients/{id}/secret", post(rotate_secret))
}

/// A client as an administrator sees it.
#[derive(Serialize)]
struct ListedClient {
    id: ClientId,
    scope: Scope,
    created_at: Timestamp,
    disabled_at: Option<Timestamp>,
}

impl From<Client> for ListedClient {
    fn from(client: Client) -> Self {
        Self {
            id: client.id,
            scope: client.scope,
            created_at: client.created_at,
            disabled_at: client.disabled_at,
        }
    }
}

#[derive(Serialize)]
struct ClientList {
    clients: Vec<ListedClient>,
}

async fn list(State(clients): State<Clients>, _: Administrator) -> Result<Json<ClientList>, Error> {
    let listed = clients.list().await?.into_iter().map(ListedClient::from);
    Ok(Json(ClientList {
        clients: listed.collect(),
    }))
}

/// A client's new secret, which is shown this once and which no cache keeps.
struct NewSecret(StatusCode, ClientId, ClientSecret);

impl IntoResponse for NewSecret {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            id: &'a ClientId,
            secret: &'a str,
        }
        let Self(status, id, secret) = self;
        let body = Body {
            id: &id,
            secret: secret.expose(),
        };
        (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

#[derive(Deserialize)]
struct NewClient {
    id: Option<String>,
    #[serde(default)]
    scope: Scope,
}

async fn add(
    State(clients): State<Clients>,
    administrator: Administrator,
    Peer(ip): Peer,
    JsonBody(new): JsonBody<NewClient>,
) -> Result<NewSecret, Error> {
    let mut fields = Fields::default();
    let id = fields.required("id", new.id, |text| client_id(&text));
    let id = fields.finish(id)?;
    let by = Author::known(&administrator.subject, ip);
    match clients.add(id.clone(), new.scope, &by).await? {
        Some(secret) => Ok(NewSecret(StatusCode::CREATED, id, secret)),
        None => Err(Error::ClientIdTaken),
    }
}

const NO_SUCH_CLIENT: Error = Error::NotFound("There is no such client");

fn known(known: bool) -> Result<StatusCode, Error> {
    if known {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(NO_SUCH_CLIENT)
    }
}

#[derive(Deserialize)]
struct Changes {
    disabled: Option<bool>,
}

async fn change(
    State(clients): State<Clients>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(id): Named<ClientId>,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<StatusCode, Error> {
    let mut fields = Fields::default();
    let disabled = fields.required("disabled", changes.disabled, Ok::<_, String>);
    let disabled = fields.finish(disabled)?;
    let by = Author::known(&administrator.subject, ip);
    known(clients.set_disabled(&id, disabled, &by).await?)
}

async fn remove(
    State(clients): State<Clients>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(id): Named<ClientId>,
) -> Result<StatusCode, Error> {
    let by = Author::known(&administrator.subject, ip);
    known(clients.remove(&id, &by).await?)
}

#[derive(Deserialize)]
struct Rotation {
    /// How long the old secret stays good, like `1h`.
    overlap: Option<String>,
}

async fn rotate_secret(
    State(clients): State<Clients>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(id): Named<ClientId>,
    JsonBody(rotation): JsonBody<Rotation>,
) -> Result<NewSecret, Error> {
    let mut fields = Fields::default();
    let given = rotation.overlap.map_or(Some(USUAL_OVERLAP), |text| {
        fields.required("overlap", Some(text), |text| overlap(&text))
    });
    let overlap: Duration = fields.finish(given)?;
    let by = Author::known(&administrator.subject, ip);
    let secret = clients.rotate_secret(&id, overlap, &by).await?;
    let secret = secret.ok_or(NO_SUCH_CLIENT)?;
    Ok(NewSecret(StatusCode::OK, id, secret))
}
