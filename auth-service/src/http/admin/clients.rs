//! `/admin/clients`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use service_shell::openapi::{BodyRefused, TokenRefused};
use shared_claims::wire::ErrorBody;
use shared_claims::{ClientId, Scope};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::credentials::Peer;
use super::super::error::Error;
use super::super::path::Named;
use super::Administrator;
use crate::app::AppState;
use crate::audit::Author;
use crate::clients::{Client, ClientSecret, Clients, USUAL_OVERLAP, client_id, overlap};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(change, remove))
        .routes(routes!(rotate_secret))
}

/// A client as an administrator sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
struct ListedClient {
    #[schema(value_type = String)]
    id: ClientId,
    #[schema(value_type = String)]
    scope: Scope,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
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

#[derive(Serialize, ToSchema)]
struct ClientList {
    clients: Vec<ListedClient>,
}

/// Service accounts
#[utoipa::path(get, path = "/admin/clients", tag = "admin: clients", security(("token" = [])), responses((status = 200, description = "The clients", body = ClientList), TokenRefused))]
async fn list(State(clients): State<Clients>, _: Administrator) -> Result<Json<ClientList>, Error> {
    let listed = clients.list().await?.into_iter().map(ListedClient::from);
    Ok(Json(ClientList {
        clients: listed.collect(),
    }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClientSecret)]
struct NewSecretBody<'a> {
    #[schema(value_type = String)]
    id: &'a ClientId,
    secret: &'a str,
}

/// A client's new secret, which is shown this once and which no cache keeps.
struct NewSecret(StatusCode, ClientId, ClientSecret);

impl IntoResponse for NewSecret {
    fn into_response(self) -> Response {
        let Self(status, id, secret) = self;
        let body = NewSecretBody {
            id: &id,
            secret: secret.expose(),
        };
        (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

#[derive(Deserialize, ToSchema)]
struct NewClient {
    /// 1 to 64 letters, digits, `-`, `_`, `.`, and no UUID
    #[schema(value_type = String)]
    id: Option<String>,
    #[serde(default)]
    #[schema(value_type = String, required = false)]
    scope: Scope,
}

/// Adds a service account
#[utoipa::path(post, path = "/admin/clients", tag = "admin: clients", security(("token" = [])), request_body(content = NewClient), responses((status = 201, description = "Its secret, shown this once", body = NewSecretBody), BodyRefused, TokenRefused, (status = 409, description = "The id is taken: `client_id_taken`", body = ErrorBody)))]
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

#[derive(Deserialize, ToSchema)]
#[schema(as = ClientChanges)]
struct Changes {
    #[schema(value_type = bool)]
    disabled: Option<bool>,
}

/// Disables or enables a service account
#[utoipa::path(patch, path = "/admin/clients/{id}", tag = "admin: clients", params(("id" = String, Path, description = "The id of the client")), security(("token" = [])), request_body(content = Changes), responses((status = 204, description = "Done"), BodyRefused, TokenRefused, (status = 404, description = "There is no such client: `not_found`", body = ErrorBody)))]
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

/// Removes a service account
#[utoipa::path(delete, path = "/admin/clients/{id}", tag = "admin: clients", params(("id" = String, Path, description = "The id of the client")), security(("token" = [])), responses((status = 204, description = "It is gone"), TokenRefused, (status = 404, description = "There is no such client: `not_found`", body = ErrorBody)))]
async fn remove(
    State(clients): State<Clients>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(id): Named<ClientId>,
) -> Result<StatusCode, Error> {
    let by = Author::known(&administrator.subject, ip);
    known(clients.remove(&id, &by).await?)
}

#[derive(Deserialize, ToSchema)]
struct Rotation {
    /// How long the old secret stays good, like `1h`.
    overlap: Option<String>,
}

/// Gives a service account a new secret
#[utoipa::path(post, path = "/admin/clients/{id}/secret", tag = "admin: clients", params(("id" = String, Path, description = "The id of the client")), security(("token" = [])), request_body(content = Rotation), responses((status = 200, description = "The new secret, shown this once", body = NewSecretBody), BodyRefused, TokenRefused, (status = 404, description = "There is no such client: `not_found`", body = ErrorBody)))]
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
