//! The commands, one file for each noun.

mod audit;
mod client;
mod database;
mod secret;
mod session;
mod user;

use std::io::{self, Write};

use anyhow::Context;
use clap::{Parser, Subcommand};
use service_shell::cors::CorsSettings;
use service_shell::keys::Need;
use service_shell::limits::LimitSettings;
use service_shell::metrics::MetricsSettings;
use service_shell::settings::LogSettings;
use service_shell::tokens::TokenSettings;
use service_shell::traces::TraceSettings;
use service_shell::{health, logging, serve};
use tokio::net::TcpListener;

use self::audit::AuditCommand;
use self::client::ClientCommand;
use self::database::DatabaseCommand;
use self::secret::SecretCommand;
use self::session::SessionCommand;
use self::user::UserCommand;
use crate::config::{AuthSettings, PairSettings, StoreSettings};
use crate::provision::Provision;
use crate::storage::Store;
use crate::username::Username;

/// Knows the users, checks passwords, and issues access and refresh tokens
#[derive(Debug, Parser)]
#[command(
    name = "auth-service",
    version,
    after_help = "Without a command it serves. Every setting is a flag and an environment variable of the same name; durations are written \
                  like 30s, 15m, 1h, 7days or '2d 3h 15m'."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tokens: TokenSettings,
    #[command(flatten)]
    pairs: PairSettings,
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    cors: CorsSettings,
    #[command(flatten)]
    limits: LimitSettings,
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    traces: TraceSettings,
    #[command(flatten)]
    logs: LogSettings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the same as no command)
    Serve,
    /// Add, list, disable, enable and remove users, and set their passwords
    #[command(subcommand)]
    User(UserCommand),
    /// List and revoke sessions, and list who listens to the revocation feed
    #[command(subcommand)]
    Session(SessionCommand),
    /// Add, list, disable, enable and remove service accounts, and change their secrets
    #[command(subcommand)]
    Client(ClientCommand),
    /// Read the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Make keys, and change the one that tokens are signed with
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Back up and restore the database
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Make what a stack starts with, where it is not there yet: secrets in files, and a bootstrap file with a service account
    Provision(Provision),
    /// Ask the service that listens on `AUTH_LISTEN` whether it is ready (for containers)
    Healthcheck,
}

/// Does what the command line says.
///
/// # Errors
/// Whatever stands in the way, to be told in one line.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let database = cli.store.auth_database_url.clone();
    match cli.command {
        None | Some(Command::Serve) => {
            logging::start(&cli.logs)?;
            let listen = cli.auth.auth_listen;
            let pairs = cli.pairs.files();
            let mut config =
                cli.auth
                    .resolve(cli.store, cli.tokens, pairs, cli.cors, &cli.limits)?;
            config.metrics_listen = cli.metrics.metrics_listen;
            config.traces = cli.traces.resolve();
            let listener: TcpListener = serve::listen("AUTH_LISTEN", listen).await?;
            crate::serve(config, listener, serve::stop_signal()?).await
        }
        Some(Command::Database(command)) => database::run(command, &database).await,
        Some(Command::Provision(provision)) => {
            let bootstrap_file = cli.auth.auth_bootstrap_file.as_deref();
            let source = cli.tokens.source(cli.pairs.files(), Need::Signing);
            let made = provision.run(&source, bootstrap_file)?;
            made.iter().try_for_each(|line| print(line))
        }
        Some(Command::Healthcheck) => health::check(cli.auth.auth_listen).await,
        Some(Command::Secret(command)) => {
            let source = cli.tokens.source(cli.pairs.files(), Need::Signing);
            secret::run(command, &database, source).await
        }
        Some(Command::User(command)) => {
            let store = if command.adds() {
                Store::open(&database).await?
            } else {
                Store::open_existing(&database).await?
            };
            user::run(command, store).await
        }
        Some(Command::Client(command)) => {
            let store = if command.adds() {
                Store::open(&database).await?
            } else {
                Store::open_existing(&database).await?
            };
            client::run(command, store).await
        }
        Some(Command::Audit(command)) => {
            audit::run(command, Store::open_existing(&database).await?).await
        }
        Some(Command::Session(command)) => {
            session::run(command, Store::open_existing(&database).await?).await
        }
    }
}

/// To the second: a table for people.
fn seconds(at: jiff::Timestamp) -> String {
    format!("{at:.0}")
}

fn named(username: &str) -> anyhow::Result<Username> {
    Username::parse(username)
        .with_context(|| format!("the user name '{}' cannot be used", username.escape_debug()))
}

/// The one place that prints what a command was asked for.
fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
