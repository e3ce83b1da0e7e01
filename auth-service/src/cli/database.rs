//! `auth-service database …`

use clap::Subcommand;
use service_shell::sqlite::{Backup, DatabaseUrl, Restore};
use shared_claims::Clock;

use super::print;
use crate::audit::Author;
use crate::storage::{MIGRATIONS, SETTING, Store};

#[derive(Debug, Subcommand)]
pub(super) enum DatabaseCommand {
    /// Copy the database to a new file, beside a service that goes on
    Backup(Backup),
    /// Put a backup in the place of the database of a service that is stopped, and end its sessions; what was there is kept
    Restore {
        #[command(flatten)]
        restore: Restore,
        /// Let the sessions in the backup go on: right only when nothing has been answered since it was written
        #[arg(long)]
        keep_sessions: bool,
    },
}

pub(super) async fn run(command: DatabaseCommand, url: &DatabaseUrl) -> anyhow::Result<()> {
    match command {
        DatabaseCommand::Backup(backup) => backup.run(SETTING, url).await,
        DatabaseCommand::Restore {
            restore,
            keep_sessions,
        } => {
            let prepared = restore.prepare(SETTING, url, &MIGRATIONS).await?;
            let store = Store::open(&prepared.url()).await?;
            let (by, now) = (Author::command_line(), Clock::system().now());
            let settled = store.settle_restored(keep_sessions, &by, now).await;
            store.close().await;
            let ended = settled?;
            if let Some(kept) = prepared.put_in_place().await? {
                print(&format!("what was there is kept as {}", kept.display()))?;
            }
            print(&format!("restored; {ended} sessions have ended"))
        }
    }
}
