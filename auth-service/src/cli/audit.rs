//! `auth-service audit …`

use std::fmt::Write as _;

use clap::Subcommand;

use super::user::{known, users};
use super::{print, seconds};
use crate::audit::AuditLog;
use crate::storage::Store;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List what happened to accounts and sessions, newest first
    List {
        /// Only what is about this user
        #[arg(long, value_name = "USERNAME")]
        user: Option<String>,
        /// How many events at the most
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
}

pub(super) async fn run(command: AuditCommand, store: Store) -> anyhow::Result<()> {
    let AuditCommand::List { user, limit } = command;
    let user = match user {
        Some(user) => Some(known(&users(&store)?, &user).await?),
        None => None,
    };
    let log = AuditLog::new(store.clone());
    let mut table = format!(
        "{:<20}  {:<22}  {:<20}  {:<36}  {:<36}  {:<36}  ADDRESS\n",
        "AT", "EVENT", "DETAIL", "USER OR CLIENT", "SESSION", "BY"
    );
    for event in log.newest(user.as_ref(), None, limit).await? {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(
            table,
            "{:<20}  {:<22}  {:<20}  {:<36}  {:<36}  {:<36}  {}",
            seconds(event.at),
            event.event,
            or_none(event.detail),
            or_none(event.user.or(event.client)),
            or_none(event.session),
            or_none(event.actor),
            or_none(event.ip)
        );
    }
    store.close().await;
    print(table.trim_end())
}
