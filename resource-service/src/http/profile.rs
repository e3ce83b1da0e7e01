//! `GET /profile`, `PUT /profile`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody, Nullable, stated};
use service_shell::problem::Problem;
use shared_claims::extract::User;
use shared_claims::{AccessClaims, Caller};

use super::{ProfileRead, ProfileWrite};
use crate::app::AppState;
use crate::profiles::{Bio, DisplayName, Profile, Profiles};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/profile", get(show).put(replace))
}

#[derive(Serialize)]
struct ProfileBody {
    id: String,
    username: Option<String>,
    display_name: Option<String>,
    bio: Option<String>,
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
#[derive(Deserialize)]
struct Replacement {
    #[serde(default, deserialize_with = "stated")]
    display_name: Option<Nullable<String>>,
    #[serde(default, deserialize_with = "stated")]
    bio: Option<Nullable<String>>,
}

async fn show(
    caller: Caller<(ProfileRead, User)>,
    State(profiles): State<Profiles>,
) -> Result<Json<ProfileBody>, Problem> {
    let profile = profiles.of(&caller.subject).await?;
    Ok(ProfileBody::new(&caller, &profile))
}

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
