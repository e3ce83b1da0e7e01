//! `GET /profile`, `PUT /profile`.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody, Nullable, stated};
use service_shell::openapi::{BodyRefused, TokenRefused};
use service_shell::problem::Problem;
use shared_claims::extract::User;
use shared_claims::{AccessClaims, Caller};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ProfileRead, ProfileWrite};
use crate::app::AppState;
use crate::profiles::{Bio, DisplayName, Profile, Profiles};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show, replace))
}

/// A profile; what nobody has written yet is null.
#[derive(Serialize, ToSchema)]
#[schema(as = Profile)]
struct ProfileBody {
    id: String,
    username: Option<String>,
    display_name: Option<String>,
    bio: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

impl ProfileBody {
    fn new(caller: &AccessClaims, profile: &Profile) -> Json<Self> {
        Json(Self {
            id: caller.subject.to_string(),
            username: caller.preferred_username.clone(),
            display_name: profile
                .display_name
                .as_ref()
                .map(|text| text.as_ref().to_owned()),
            bio: profile.bio.as_ref().map(|text| text.as_ref().to_owned()),
            updated_at: profile.updated_at,
        })
    }
}

/// A replacement says all: each field must stand there, be it as null.
#[derive(Deserialize, ToSchema)]
struct Replacement {
    /// 1 to 100 characters
    #[serde(default, deserialize_with = "stated")]
    #[schema(value_type = Option<String>, required, min_length = 1, max_length = 100)]
    display_name: Option<Nullable<String>>,
    /// At most 2,000 characters
    #[serde(default, deserialize_with = "stated")]
    #[schema(value_type = Option<String>, required, max_length = 2000)]
    bio: Option<Nullable<String>>,
}

/// The profile of the token's user
#[utoipa::path(get, path = "/profile", tag = "profile", security(("token" = [])),
    responses((status = 200, description = "The profile", body = ProfileBody), TokenRefused))]
async fn show(
    caller: Caller<(ProfileRead, User)>,
    State(profiles): State<Profiles>,
) -> Result<Json<ProfileBody>, Problem> {
    let profile = profiles.of(&caller.subject).await?;
    Ok(ProfileBody::new(&caller, &profile))
}

/// Replaces the profile of the token's user
#[utoipa::path(put, path = "/profile", tag = "profile", security(("token" = [])), request_body = Replacement,
    responses((status = 200, description = "The profile as it is now", body = ProfileBody), BodyRefused, TokenRefused))]
async fn replace(
    caller: Caller<(ProfileWrite, User)>,
    State(profiles): State<Profiles>,
    JsonBody(replacement): JsonBody<Replacement>,
) -> Result<Json<ProfileBody>, Problem> {
    let mut fields = Fields::default();
    let display_name = fields.required(
        "display_name",
        replacement.display_name,
        |Nullable(text)| text.as_deref().map(DisplayName::parse).transpose(),
    );
    let bio = fields.required("bio", replacement.bio, |Nullable(text)| {
        text.as_deref().map(Bio::parse).transpose()
    });
    let (display_name, bio) = fields.finish(display_name.zip(bio))?;
    let profile = profiles.replace(&caller.subject, display_name, bio).await?;
    Ok(ProfileBody::new(&caller, &profile))
}
