//! `auth-service client …`

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use shared_claims::{ClientId, Clock, Scope};

use super::{print, seconds};
use crate::audit::Author;
use crate::clients::{Clients, client_id, overlap};
use crate::storage::Store;

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Add a service account and print its secret, which is shown this once
    Add {
        id: String,
        /// What the client may ask for, for itself, like 'revocations:read'
        #[arg(long, default_value = "")]
        scope: Scope,
    },
    /// List the service accounts
    List,
    /// Give a service account a new secret and print it; the old one stays good for a while
    RotateSecret {
        id: String,
        /// How long the old secret stays good; 0s: not at all
        #[arg(long, default_value = "1h", value_parser = overlap)]
        overlap: Duration,
    },
    /// Keep a service account out
    Disable { id: String },
    /// Let a disabled service account in again
    Enable { id: String },
    /// Remove a service account
    Remove { id: String },
}

impl ClientCommand {
    /// Whether it may be the first thing that is done to a new store.
    pub(super) fn adds(&self) -> bool {
        matches!(self, Self::Add { .. })
    }
}

pub(super) async fn run(command: ClientCommand, store: Store) -> anyhow::Result<()> {
    let (clients, by) = (
        Clients::new(store.clone(), Clock::system()),
        Author::command_line(),
    );
    let done = match command {
        ClientCommand::Add { id, scope } => match clients.add(client_id(&id)?, scope, &by).await? {
            Some(secret) => print(secret.expose()),
            None => Err(anyhow::anyhow!("there is a client '{id}' already")),
        },
        ClientCommand::List => list_clients(&clients).await,
        ClientCommand::RotateSecret { id, overlap } => {
            match clients.rotate_secret(&named(&id), overlap, &by).await? {
                Some(secret) => print(secret.expose()),
                None => known(false, &id),
            }
        }
        ClientCommand::Disable { id } => {
            known(clients.set_disabled(&named(&id), true, &by).await?, &id)
        }
        ClientCommand::Enable { id } => {
            known(clients.set_disabled(&named(&id), false, &by).await?, &id)
        }
        ClientCommand::Remove { id } => known(clients.remove(&named(&id), &by).await?, &id),
    };
    store.close().await;
    done
}

/// An id as it was typed: one that no client can have is merely unknown.
fn named(id: &str) -> ClientId {
    id.into()
}

fn known(found: bool, id: &str) -> anyhow::Result<()> {
    if found {
        Ok(())
    } else {
        bail!("there is no client '{}'", id.escape_debug())
    }
}

async fn list_clients(clients: &Clients) -> anyhow::Result<()> {
    let mut table = format!("{:<24}  {:<8}  {:<20}  SCOPE\n", "ID", "STATE", "CREATED");
    for client in clients.list().await? {
        let state = if client.disabled_at.is_some() {
            "disabled"
        } else {
            "enabled"
        };
        let _ = writeln!(
            table,
            "{:<24}  {state:<8}  {:<20}  {}",
            client.id,
            seconds(client.created_at),
            client.scope
        );
    }
    print(table.trim_end())
}
