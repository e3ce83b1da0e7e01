//! The dashboard: a user's own figures.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{AccessClaims, Clock, NumericDate};

use crate::profiles::Profiles;

/// What there is to tell a user of themselves.
#[derive(Clone, Debug)]
pub(crate) struct Dashboard {
    pub(crate) token_expires_in: i64,
    pub(crate) profile_updated_at: Option<Timestamp>,
}

/// Puts dashboards together.
#[derive(Clone, Debug)]
pub(crate) struct Dashboards {
    profiles: Profiles,
    clock: Clock,
}

impl Dashboards {
    pub(crate) fn new(profiles: Profiles, clock: Clock) -> Self {
        Self { profiles, clock }
    }

    pub(crate) async fn of(&self, caller: &AccessClaims) -> Result<Dashboard, StorageError> {
        let profile = self.profiles.of(&caller.subject).await?;
        // With a leeway a token is taken for a while after its expiry: it is good for no more seconds then.
        let token_expires_in = caller
            .expires_at
            .0
            .saturating_sub(NumericDate::from(self.clock.now()).0)
            .max(0);
        Ok(Dashboard {
            token_expires_in,
            profile_updated_at: profile.updated_at,
        })
    }
}
