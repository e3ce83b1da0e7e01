//! `auth-service session …`

use std::fmt::Write as _;

use clap::Subcommand;
use shared_claims::{Clock, SessionId};

use super::{named, print, seconds};
use crate::sessions::{EndReason, Session};
use crate::storage::Store;
use crate::users::Username;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List the sessions that go on
    List {
        /// Only those of this user
        #[arg(long)]
        user: Option<String>,
    },
    /// End a session
    Revoke { id: String },
}

pub(super) async fn run(command: SessionCommand, store: Store) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let done = match command {
        SessionCommand::List { user } => {
            let user = user.as_deref().map(named).transpose()?;
            list_sessions(&store, user.as_ref(), now).await
        }
        SessionCommand::Revoke { id } => {
            let revoked = store
                .revoke_session(&SessionId::from(id.as_str()), EndReason::Administrator, now)
                .await?;
            if revoked {
                Ok(())
            } else {
                Err(anyhow::anyhow!("no session {id} goes on"))
            }
        }
    };
    store.close().await;
    done
}

async fn list_sessions(
    store: &Store,
    user: Option<&Username>,
    now: jiff::Timestamp,
) -> anyhow::Result<()> {
    let mut table = format!(
        "{:<36}  {:<20}  {:<20}  {:<20}  {:<15}  USERNAME\n",
        "ID", "CREATED", "LAST USED", "EXPIRES", "ADDRESS"
    );
    for (session, username) in store.live_sessions(user, now).await? {
        let ip = session
            .ip
            .map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
        let Session {
            id,
            created_at,
            last_used_at,
            expires_at,
            ..
        } = session;
        let _ = writeln!(
            table,
            "{id:<36}  {:<20}  {:<20}  {:<20}  {ip:<15}  {username}",
            seconds(created_at),
            seconds(last_used_at),
            seconds(expires_at)
        );
    }
    print(table.trim_end())
}
