//! The dashboard: a user's own figures.

use auth_client::Trail;
use jiff::Timestamp;
use service_shell::request_log::chain;
use service_shell::sqlite::StorageError;
use shared_claims::{AccessClaims, Clock, NumericDate};

use crate::accounts::{Account, Accounts, Unavailable};
use crate::profiles::Profiles;

/// What there is to tell a user of themselves.
#[derive(Debug)]
pub(crate) struct Dashboard {
    pub(crate) token_expires_in: i64,
    pub(crate) profile_updated_at: Option<Timestamp>,
    /// What auth-service knows, or why that is missing.
    pub(crate) account: Result<Account, Unavailable>,
}

/// Puts dashboards together.
#[derive(Clone, Debug)]
pub(crate) struct Dashboards {
    profiles: Profiles,
    accounts: Accounts,
    clock: Clock,
}

impl Dashboards {
    pub(crate) fn new(profiles: Profiles, accounts: Accounts, clock: Clock) -> Self {
        Self {
            profiles,
            accounts,
            clock,
        }
    }

    /// The dashboard of a caller, whose token goes to auth-service and nowhere else.
    pub(crate) async fn of(
        &self,
        caller: &AccessClaims,
        token: &str,
        trail: &Trail,
    ) -> Result<Dashboard, StorageError> {
        let (profile, account) = tokio::join!(
            self.profiles.of(&caller.subject),
            self.accounts.of(token, trail)
        );
        if let Err(unavailable) = &account {
            tracing::warn!(user = %caller.subject, "a dashboard without the account: {}", chain(unavailable));
        }
        // With a leeway a token is taken for a while after its expiry: it is good for no more seconds then.
        let token_expires_in = caller
            .expires_at
            .0
            .saturating_sub(NumericDate::from(self.clock.now()).0)
            .max(0);
        Ok(Dashboard {
            token_expires_in,
            profile_updated_at: profile?.updated_at,
            account,
        })
    }
}
