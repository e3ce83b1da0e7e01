//! `POST /register`.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};

use super::credentials::Peer;
use super::error::Error;
use crate::app::AppState;
use crate::audit::Author;
use crate::config::Registration;
use crate::password::Password;
use crate::users::{Username, Users};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/register", post(register))
}

#[derive(Deserialize)]
struct NewUser {
    username: Option<String>,
    password: Option<SecretString>,
}

#[derive(Serialize)]
struct Registered {
    id: String,
    username: String,
}

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
