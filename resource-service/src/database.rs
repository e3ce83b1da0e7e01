//! `resource-service database …`

use std::io::{self, Write};

use anyhow::Context;
use clap::Subcommand;
use service_shell::sqlite::{Backup, DatabaseUrl, Restore};

use crate::storage::{MIGRATIONS, SETTING};

/// What can be done to the database as a whole.
#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Copy the database to a new file, beside a service that goes on
    Backup(Backup),
    /// Put a backup in the place of the database of a service that is stopped; what was there is kept
    Restore(Restore),
}

/// Does it.
///
/// # Errors
/// Whatever stands in the way, to be told in one line.
pub async fn run(command: DatabaseCommand, url: &DatabaseUrl) -> anyhow::Result<()> {
    match command {
        DatabaseCommand::Backup(backup) => backup.run(SETTING, url).await,
        DatabaseCommand::Restore(restore) => {
            let prepared = restore.prepare(SETTING, url, &MIGRATIONS).await?;
            let kept = prepared.put_in_place().await?;
            let kept = kept.map_or_else(String::new, |kept| {
                format!("; what was there is kept as {}", kept.display())
            });
            writeln!(io::stdout(), "restored{kept}").context("cannot write to standard output")
        }
    }
}
