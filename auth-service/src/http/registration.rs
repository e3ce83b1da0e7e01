//! `POST /register`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use service_shell::openapi::{AttemptRefused, BodyRefused};
use shared_claims::wire::ErrorBody;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::credentials::Peer;
use super::error::Error;
use crate::app::AppState;
use crate::audit::Author;
use crate::config::Registration;
use crate::password::Password;
use crate::username::Username;
use crate::users::Users;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(register))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewUser)]
struct NewUser {
    /// 1 to 64 characters after normalisation (RFC 8265)
    #[schema(value_type = String, example = "laika")]
    username: Option<String>,
    /// 8 to 256 characters
    #[schema(value_type = String, format = Password, example = "space-corgi")]
    password: Option<SecretString>,
}

#[derive(Serialize, ToSchema)]
struct Registered {
    id: String,
    username: String,
}

/// Registers a user, where registration is open
#[utoipa::path(post, path = "/register", tag = "users", request_body(content = NewUser), responses((status = 201, description = "The user", body = Registered), BodyRefused, AttemptRefused, (status = 403, description = "Registration is closed here: `registration_closed`", body = ErrorBody), (status = 409, description = "The user name is taken: `username_taken`", body = ErrorBody)))]
async fn register(
    State(users): State<Users>,
    State(registration): State<Registration>,
    Peer(ip): Peer,
    JsonBody(new): JsonBody<NewUser>,
) -> Result<(StatusCode, Json<Registered>), Error> {
    if registration == Registration::Closed {
        return Err(Error::RegistrationClosed);
    }
    let mut fields = Fields::default();
    let username = fields.required("username", new.username, |text| Username::parse(&text));
    let password = fields.required("password", new.password, |text| Password::chosen(&text));
    let (username, password) = fields.finish(username.zip(password))?;

    let by = Author::anybody(ip);
    let user = users.register(username, password, None, &by).await?;
    Ok((
        StatusCode::CREATED,
        Json(Registered {
            id: user.id.to_string(),
            username: user.username.to_string(),
        }),
    ))
}
