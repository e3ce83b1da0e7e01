//! `auth-service user …`

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};
use clap::Subcommand;
use shared_claims::{Clock, Scope};
use zeroize::Zeroizing;

use super::{named, print, seconds};
use crate::config::HashingLimits;
use crate::hashing::Passwords;
use crate::password::Password;
use crate::sessions::EndReason;
use crate::storage::Store;
use crate::users::Users;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
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

pub(super) async fn run(command: UserCommand, store: Store) -> anyhow::Result<()> {
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

fn users(store: &Store) -> anyhow::Result<Users> {
    let passwords = Passwords::start(HashingLimits {
        concurrency: 1,
        ..HashingLimits::default()
    })?;
    Ok(Users::new(store.clone(), passwords, Clock::system()))
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
