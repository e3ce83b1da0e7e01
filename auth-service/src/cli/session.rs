//! `auth-service session …`

use std::fmt::Write as _;

use anyhow::bail;
use clap::Subcommand;
use jiff::Timestamp;
use shared_claims::{Clock, KeyId, SessionId, Subject};

use super::user::{known, users};
use super::{print, seconds};
use crate::audit::Author;
use crate::sessions::{EndReason, Session};
use crate::storage::Store;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List the sessions that go on
    List {
        /// Only those of this user
        #[arg(long, value_name = "USERNAME")]
        user: Option<String>,
    },
    /// End a session, or all sessions of a user
    Revoke {
        /// The session
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        id: Option<String>,
        /// All sessions of this user
        #[arg(long, value_name = "USERNAME")]
        user: Option<String>,
    },
    /// List the verifiers that listen to the revocation feed: the keys that they hold, and how far they have read
    Feed,
}

pub(super) async fn run(command: SessionCommand, store: Store) -> anyhow::Result<()> {
    let (now, by) = (Clock::system().now(), Author::command_line());
    let reason = EndReason::Administrator;
    let done = match command {
        SessionCommand::List { user } => {
            let user = match user {
                Some(user) => Some(known(&users(&store)?, &user).await?),
                None => None,
            };
            list_sessions(&store, user.as_ref(), now).await
        }
        SessionCommand::Revoke {
            user: Some(user), ..
        } => {
            let user = known(&users(&store)?, &user).await?;
            let ended = store.revoke_sessions_of(&user, reason, &by, now).await?;
            print(&format!("ended {ended}"))
        }
        SessionCommand::Revoke { id, .. } => {
            let id = id.unwrap_or_default();
            let session = SessionId::from(id.as_str());
            if store
                .revoke_session(&session, None, reason, &by, now)
                .await?
            {
                Ok(())
            } else {
                bail!("no session {} goes on", id.escape_debug())
            }
        }
        SessionCommand::Feed => list_key_holders(&store, now).await,
    };
    store.close().await;
    done
}

async fn list_sessions(
    store: &Store,
    user: Option<&Subject>,
    now: Timestamp,
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

async fn list_key_holders(store: &Store, now: Timestamp) -> anyhow::Result<()> {
    let mut table = format!(
        "{:<36}  {:<24}  {:<24}  {:<5}  {:<20}  {:>6}  KEYS\n",
        "ID", "CLIENT", "NAME", "STATE", "LAST HEARD", "UNREAD"
    );
    for holder in store.key_holders().await? {
        let state = if holder.is_here(now) { "here" } else { "gone" };
        // auth-service reads no feed: it writes it.
        let unread = if holder.client.is_some() {
            let read = holder.last_seq.unwrap_or(0);
            let unread = store.count_revocations_after(read, now.into()).await?;
            unread.to_string()
        } else {
            "-".to_owned()
        };
        let keys: Vec<_> = holder.keys.iter().map(KeyId::as_str).collect();
        let _ = writeln!(
            table,
            "{:<36}  {:<24}  {:<24}  {state:<5}  {:<20}  {unread:>6}  {}",
            holder.id,
            holder.client.as_ref().map_or("-", |client| client.as_str()),
            holder.name,
            seconds(holder.reported_at),
            keys.join(" ")
        );
    }
    print(table.trim_end())
}
