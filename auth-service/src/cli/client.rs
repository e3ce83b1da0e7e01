//! `auth-service client …`

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use service_shell::settings::duration;
use shared_claims::{Clock, Scope};

use super::{print, seconds};
use crate::clients::{ClientSecret, Clients, client_id};
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
        #[arg(long, default_value = "1h", value_parser = duration)]
        overlap: Duration,
    },
    /// Keep a service account out
    Disable { id: String },
    /// Let a disabled service account in again
    Enable { id: String },
    /// Remove a service account
    Remove { id: String },
}

pub(super) async fn run(command: ClientCommand, store: Store) -> anyhow::Result<()> {
    let clients = Clients::new(store.clone(), Clock::system());
    let done = match command {
        ClientCommand::Add { id, scope } => {
            match clients
                .add(client_id(&id)?, ClientSecret::generate(), scope)
                .await?
            {
                Some(secret) => print(secret.expose()),
                None => Err(anyhow::anyhow!("there is a client '{id}' already")),
            }
        }
        ClientCommand::List => list_clients(&store).await,
        ClientCommand::RotateSecret { id, overlap } => {
            match clients.rotate_secret(&id.as_str().into(), overlap).await? {
                Some(secret) => print(secret.expose()),
                None => unknown_client(&id),
            }
        }
        ClientCommand::Disable { id } => {
            let disabled = clients.set_disabled(&id.as_str().into(), true).await?;
            if disabled {
                Ok(())
            } else {
                unknown_client(&id)
            }
        }
        ClientCommand::Enable { id } => {
            let enabled = clients.set_disabled(&id.as_str().into(), false).await?;
            if enabled { Ok(()) } else { unknown_client(&id) }
        }
        ClientCommand::Remove { id } => {
            let removed = store.remove_client(&id.as_str().into()).await?;
            if removed { Ok(()) } else { unknown_client(&id) }
        }
    };
    store.close().await;
    done
}

fn unknown_client(id: &str) -> anyhow::Result<()> {
    bail!("there is no client '{}'", id.escape_debug())
}

async fn list_clients(store: &Store) -> anyhow::Result<()> {
    let mut table = format!("{:<24}  {:<8}  {:<20}  SCOPE\n", "ID", "STATE", "CREATED");
    for client in store.clients().await? {
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
