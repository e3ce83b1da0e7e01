//! `/admin/users`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody, Nullable, stated};
use shared_claims::{Scope, Subject};

use super::super::credentials::Peer;
use super::super::error::Error;
use super::super::path::Named;
use super::{Administrator, Limit, Query};
use crate::app::AppState;
use crate::audit::Author;
use crate::password::Password;
use crate::users::{User, Username, Users};

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/users", get(list).post(add))
        .route("/admin/users/{id}", get(show).patch(change).delete(remove))
}

/// A user as an administrator sees them.
#[derive(Serialize)]
struct ListedUser {
    id: Subject,
    username: String,
    /// Null: the default of the service.
    scope: Option<Scope>,
    created_at: Timestamp,
    last_login_at: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
    live_sessions: u32,
}

impl From<(User, u32)> for ListedUser {
    fn from((user, live_sessions): (User, u32)) -> Self {
        Self {
            id: user.id,
            username: user.username.to_string(),
            scope: user.scope,
            created_at: user.created_at,
            last_login_at: user.last_login_at,
            disabled_at: user.disabled_at,
            live_sessions,
        }
    }
}

#[derive(Serialize)]
struct UserList {
    users: Vec<ListedUser>,
}

#[derive(Deserialize)]
struct Page {
    /// Users whose names come after this one.
    #[serde(default)]
    after: String,
    #[serde(default)]
    limit: Limit,
}

async fn list(
    State(users): State<Users>,
    _: Administrator,
    Query(page): Query<Page>,
) -> Result<Json<UserList>, Error> {
    let accounts = users.accounts(&page.after, page.limit.rows()).await?;
    Ok(Json(UserList {
        users: accounts.into_iter().map(ListedUser::from).collect(),
    }))
}

async fn show(
    State(users): State<Users>,
    _: Administrator,
    Named(id): Named<Subject>,
) -> Result<Json<ListedUser>, Error> {
    let account = users.account(&id).await?;
    Ok(Json(account.ok_or(NO_SUCH_USER)?.into()))
}

const NO_SUCH_USER: Error = Error::NotFound("There is no such user");

#[derive(Deserialize)]
struct NewUser {
    username: Option<String>,
    password: Option<SecretString>,
    scope: Option<Scope>,
}

async fn add(
    State(users): State<Users>,
    administrator: Administrator,
    Peer(ip): Peer,
    JsonBody(new): JsonBody<NewUser>,
) -> Result<(StatusCode, Json<ListedUser>), Error> {
    let mut fields = Fields::default();
    let username = fields.required("username", new.username, |text| Username::parse(&text));
    let password = fields.required("password", new.password, |text| Password::chosen(&text));
    let (username, password) = fields.finish(username.zip(password))?;
    let by = Author::known(&administrator.subject, ip);
    let user = users.register(username, password, new.scope, &by).await?;
    Ok((StatusCode::CREATED, Json((user, 0).into())))
}

/// What is to be changed; what is not named stays.
#[derive(Deserialize)]
struct Changes {
    disabled: Option<bool>,
    /// Null: the default of the service.
    #[serde(default, deserialize_with = "stated")]
    scope: Option<Nullable<Scope>>,
    password: Option<SecretString>,
}

async fn change(
    State(users): State<Users>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(id): Named<Subject>,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Json<ListedUser>, Error> {
    let by = Author::known(&administrator.subject, ip);
    let mut fields = Fields::default();
    let password = match changes.password {
        None => Some(None),
        given => fields
            .required("password", given, |text| Password::chosen(&text))
            .map(Some),
    };
    let password = fields.finish(password)?;
    // Each change is whole by itself. Disabling comes first: whoever asks for it does not want to wait for a hash.
    let mut known = true;
    if let Some(disabled) = changes.disabled {
        known &= users.set_disabled(&id, disabled, &by).await?;
    }
    if let Some(Nullable(scope)) = changes.scope {
        known &= users.set_scope(&id, scope.as_ref(), &by).await?;
    }
    if let Some(password) = password.filter(|_| known) {
        known &= users.set_password(&id, password, &by).await?;
    }
    let account = users.account(&id).await?.filter(|_| known);
    Ok(Json(account.ok_or(NO_SUCH_USER)?.into()))
}

async fn remove(
    State(users): State<Users>,
    administrator: Administrator,
    Peer(ip): Peer,
    Named(id): Named<Subject>,
) -> Result<StatusCode, Error> {
    let by = Author::known(&administrator.subject, ip);
    if users.remove(&id, &by).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(NO_SUCH_USER)
    }
}
