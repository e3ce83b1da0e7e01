//! The SQL, and nowhere else.

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use service_shell::settings::SettingError;
use service_shell::sqlite::{Database, DatabaseUrl, StorageError};
use shared_claims::Subject;
use sqlx::migrate::Migrator;

use crate::profiles::{Bio, DisplayName, Profile};

/// The setting that says where the store is.
pub(crate) const SETTING: &str = "RESOURCE_DATABASE_URL";

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/resource");

/// Profiles, in a SQLite file.
#[derive(Clone, Debug)]
pub(crate) struct Store(Database);

#[derive(sqlx::FromRow)]
struct ProfileRow {
    display_name: Option<String>,
    bio: Option<String>,
    updated_at: i64,
}

impl Store {
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, SettingError> {
        Ok(Self(Database::open(SETTING, url, &MIGRATIONS).await?))
    }

    /// Whether the store can be read and written.
    pub(crate) async fn ping(&self) -> Result<(), StorageError> {
        self.0.ping().await
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        self.0.writer.expose(registry);
    }

    pub(crate) async fn close(&self) {
        self.0.close().await;
    }

    pub(crate) async fn profile(&self, user: &Subject) -> Result<Option<Profile>, StorageError> {
        let row: Option<ProfileRow> =
            sqlx::query_as("select display_name, bio, updated_at from profiles where user_id = $1")
                .bind(user.as_str())
                .fetch_optional(&self.0.readers)
                .await?;
        let inconsistent = |column| StorageError::Inconsistent {
            table: "profiles",
            column,
            row: user.to_string(),
        };
        row.map(|row| {
            Ok(Profile {
                display_name: row
                    .display_name
                    .map(|text| DisplayName::parse(&text).map_err(|_| inconsistent("display_name")))
                    .transpose()?,
                bio: row
                    .bio
                    .map(|text| Bio::parse(&text).map_err(|_| inconsistent("bio")))
                    .transpose()?,
                updated_at: Some(
                    Timestamp::from_millisecond(row.updated_at)
                        .map_err(|_| inconsistent("updated_at"))?,
                ),
            })
        })
        .transpose()
    }

    pub(crate) async fn replace_profile(
        &self,
        user: &Subject,
        profile: &Profile,
    ) -> Result<(), StorageError> {
        let (user, profile) = (user.clone(), profile.clone());
        let replace = self.0.writer.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "insert into profiles (user_id, display_name, bio, updated_at)
                     values ($1, $2, $3, $4)
                         on conflict (user_id) do update
                        set display_name = excluded.display_name, bio = excluded.bio, updated_at = excluded.updated_at",
                )
                .bind(user.as_str())
                .bind(profile.display_name.as_ref().map(AsRef::as_ref))
                .bind(profile.bio.as_ref().map(AsRef::as_ref))
                .bind(profile.updated_at.map(Timestamp::as_millisecond))
                .execute(connection)
                .await?;
                Ok(())
            })
        });
        replace.await
    }
}
