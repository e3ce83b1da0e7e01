//! `/admin/users`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody, Nullable, stated};
use service_shell::openapi::{BodyRefused, TokenRefused};
use shared_claims::wire::ErrorBody;
use shared_claims::{Scope, Subject};
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::credentials::Peer;
use super::super::error::Error;
use super::super::path::Named;
use super::{Administrator, Limit, Query};
use crate::app::AppState;
use crate::audit::Author;
use crate::password::Password;
use crate::username::Username;
use crate::users::{User, Users};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, change, remove))
}

/// A user as an administrator sees them.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
struct ListedUser {
    #[schema(value_type = String)]
    id: Subject,
    username: String,
    /// Null: the default of the service.
    #[schema(value_type = Option<String>)]
    scope: Option<Scope>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
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

#[derive(Serialize, ToSchema)]
struct UserList {
    users: Vec<ListedUser>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Users whose names come after this one.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    after: String,
    /// 1 to 1,000 rows; 100 unless told otherwise
    #[serde(default)]
    #[param(value_type = Option<u32>)]
    limit: Limit,
}

/// Users by name
#[utoipa::path(get, path = "/admin/users", tag = "admin: users", params(Page), security(("token" = [])), responses((status = 200, description = "The users", body = UserList), (status = 400, description = "The query string has values that cannot be used: `invalid_request`", body = ErrorBody), TokenRefused))]
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

/// A user
#[utoipa::path(get, path = "/admin/users/{id}", tag = "admin: users", params(("id" = String, Path, description = "The id of the user")), security(("token" = [])), responses((status = 200, description = "The user", body = ListedUser), TokenRefused, (status = 404, description = "There is no such user: `not_found`", body = ErrorBody)))]
async fn show(
    State(users): State<Users>,
    _: Administrator,
    Named(id): Named<Subject>,
) -> Result<Json<ListedUser>, Error> {
    let account = users.account(&id).await?;
    Ok(Json(account.ok_or(NO_SUCH_USER)?.into()))
}

const NO_SUCH_USER: Error = Error::NotFound("There is no such user");

#[derive(Deserialize, ToSchema)]
#[schema(as = AdminNewUser)]
struct NewUser {
    #[schema(value_type = String)]
    username: Option<String>,
    #[schema(value_type = String, format = Password)]
    password: Option<SecretString>,
    #[schema(value_type = Option<String>)]
    scope: Option<Scope>,
}

/// Adds a user
#[utoipa::path(post, path = "/admin/users", tag = "admin: users", security(("token" = [])), request_body(content = NewUser), responses((status = 201, description = "The user", body = ListedUser), BodyRefused, TokenRefused, (status = 409, description = "The user name is taken: `username_taken`", body = ErrorBody)))]
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
#[derive(Deserialize, ToSchema)]
#[schema(as = UserChanges)]
struct Changes {
    disabled: Option<bool>,
    /// Null: the default of the service.
    #[serde(default, deserialize_with = "stated")]
    #[schema(value_type = Option<String>)]
    scope: Option<Nullable<Scope>>,
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
}

/// Changes what is named, and leaves the rest
#[utoipa::path(patch, path = "/admin/users/{id}", tag = "admin: users", params(("id" = String, Path, description = "The id of the user")), security(("token" = [])), request_body(content = Changes), responses((status = 200, description = "The user as they are now", body = ListedUser), BodyRefused, TokenRefused, (status = 404, description = "There is no such user: `not_found`", body = ErrorBody)))]
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

/// Removes a user, with their sessions
#[utoipa::path(delete, path = "/admin/users/{id}", tag = "admin: users", params(("id" = String, Path, description = "The id of the user")), security(("token" = [])), responses((status = 204, description = "They are gone"), TokenRefused, (status = 404, description = "There is no such user: `not_found`", body = ErrorBody)))]
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
