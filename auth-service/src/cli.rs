//! The commands.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use service_shell::settings::{LogSettings, TokenSettings, duration};
use service_shell::{health, logging, serve};
use shared_claims::{Clock, Scope, SessionId, SharedSecret};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::clients::{ClientSecret, Clients, client_id};
use crate::config::{AuthSettings, HashingLimits, StoreSettings};
use crate::hashing::Passwords;
use crate::password::Password;
use crate::sessions::{EndReason, Session};
use crate::storage::Store;
use crate::users::{Username, Users};

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
    auth: AuthSettings,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    logs: LogSettings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the same as no command)
    Serve,
    /// Add, list, disable and enable users, and set their passwords
    #[command(subcommand)]
    User(UserCommand),
    /// List and revoke sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Add, list, disable, enable and remove service accounts, and change their secrets
    #[command(subcommand)]
    Client(ClientCommand),
    /// Make secrets
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Ask the service that listens on `AUTH_LISTEN` whether it is ready (for containers)
    Healthcheck,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user; the password is asked for, or read as one line from standard input
    Add {
        username: String,
        /// What the user may do, like 'profile:read admin' [default: `AUTH_DEFAULT_SCOPE`]
        #[arg(long)]
        scope: Option<Scope>,
    },
    /// List the users
    List,
    /// Keep a user out and end all of their sessions
    Disable { username: String },
    /// Let a disabled user in again
    Enable { username: String },
    /// Set a user's password and end all of their sessions; it is asked for, or read as one line from standard input
    SetPassword { username: String },
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// List the sessions that go on
    List {
        /// Only those of this user
        #[arg(long)]
        user: Option<String>,
    },
    /// End a session
    Revoke { id: String },
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
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

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Print a new random secret for `JWT_SECRET_KEY`
    Generate,
}

/// Does what the command line says.
///
/// # Errors
/// Whatever stands in the way, to be told in one line.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None | Some(Command::Serve) => {
            logging::start(&cli.logs)?;
            let listen = cli.auth.auth_listen;
            let config = cli.auth.resolve(cli.store, cli.tokens)?;
            let listener: TcpListener = serve::listen("AUTH_LISTEN", listen).await?;
            crate::serve(config, listener, serve::stop_signal()?).await
        }
        Some(Command::Healthcheck) => health::check(cli.auth.auth_listen).await,
        Some(Command::Secret(SecretCommand::Generate)) => print(&SharedSecret::generate()),
        Some(Command::User(command)) => {
            user(command, Store::open(&cli.store.auth_database_url).await?).await
        }
        Some(Command::Client(command)) => {
            client(command, Store::open(&cli.store.auth_database_url).await?).await
        }
        Some(Command::Session(command)) => {
            session(command, Store::open(&cli.store.auth_database_url).await?).await
        }
    }
}

fn users(store: &Store) -> anyhow::Result<Users> {
    let passwords = Passwords::start(HashingLimits {
        concurrency: 1,
        ..HashingLimits::default()
    })?;
    Ok(Users::new(store.clone(), passwords, Clock::system()))
}

async fn user(command: UserCommand, store: Store) -> anyhow::Result<()> {
    let done = match command {
        UserCommand::Add { username, scope } => {
            let user = users(&store)?
                .register(named(&username)?, ask_password()?, scope)
                .await?;
            print(&format!("added {} with the id {}", user.username, user.id))
        }
        UserCommand::List => list_users(&store).await,
        UserCommand::Disable { username } => known(
            store
                .disable_user(
                    &named(&username)?,
                    EndReason::UserDisabled,
                    Clock::system().now(),
                )
                .await?,
            &username,
        ),
        UserCommand::Enable { username } => {
            known(store.enable_user(&named(&username)?).await?, &username)
        }
        UserCommand::SetPassword { username } => {
            let (username, password) = (named(&username)?, ask_password()?);
            known(
                users(&store)?.set_password(&username, password).await?,
                username.as_ref(),
            )
        }
    };
    store.close().await;
    done
}

async fn client(command: ClientCommand, store: Store) -> anyhow::Result<()> {
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

async fn session(command: SessionCommand, store: Store) -> anyhow::Result<()> {
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

async fn list_users(store: &Store) -> anyhow::Result<()> {
    let mut table = format!(
        "{:<36}  {:<8}  {:<20}  {:<20}  USERNAME\n",
        "ID", "STATE", "CREATED", "LAST LOGIN"
    );
    for user in store.users().await? {
        let state = if user.disabled_at.is_some() {
            "disabled"
        } else {
            "enabled"
        };
        let last_login = user
            .last_login_at
            .map_or_else(|| "never".to_owned(), seconds);
        let _ = writeln!(
            table,
            "{:<36}  {state:<8}  {:<20}  {last_login:<20}  {}",
            user.id,
            seconds(user.created_at),
            user.username
        );
    }
    print(table.trim_end())
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

/// To the second: a table for people.
fn seconds(at: jiff::Timestamp) -> String {
    format!("{at:.0}")
}

fn named(username: &str) -> anyhow::Result<Username> {
    Username::parse(username)
        .with_context(|| format!("the user name '{}' cannot be used", username.escape_debug()))
}

fn known(found: bool, username: &str) -> anyhow::Result<()> {
    if found {
        Ok(())
    } else {
        bail!("there is no user '{username}'")
    }
}

/// A password is never an argument: those are shown to everybody on the machine.
fn ask_password() -> anyhow::Result<Password> {
    let text = if io::stdin().is_terminal() {
        let once = Zeroizing::new(rpassword::prompt_password("Password: ")?);
        let again = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
        if *once != *again {
            bail!("the two passwords differ");
        }
        once
    } else {
        let mut line = Zeroizing::new(String::new());
        io::stdin()
            .lock()
            .read_line(&mut line)
            .context("no password could be read from standard input")?;
        line
    };
    Password::chosen(&text.trim_end_matches(['\n', '\r']).into())
        .context("the password cannot be used")
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
