//! `auth-service user …`

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};
use clap::Subcommand;
use shared_claims::{Clock, Scope, Subject};
use zeroize::Zeroizing;

use super::{named, print, seconds};
use crate::attempts::Attempts;
use crate::audit::Author;
use crate::config::HashingLimits;
use crate::hashing::Passwords;
use crate::password::Password;
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
    /// Remove a user and end all of their sessions
    Remove { username: String },
    /// Set a user's password and end all of their sessions; it is asked for, or read as one line from standard input
    SetPassword { username: String },
}

impl UserCommand {
    /// Whether it may be the first thing that is done to a new store.
    pub(super) fn adds(&self) -> bool {
        matches!(self, Self::Add { .. })
    }
}

pub(super) async fn run(command: UserCommand, store: Store) -> anyhow::Result<()> {
    let (users, by) = (users(&store)?, Author::command_line());
    let done = match command {
        UserCommand::Add { username, scope } => {
            let (username, password) = (named(&username)?, ask_password()?);
            let user = users.register(username, password, scope, &by).await?;
            print(&format!("added {} with the id {}", user.username, user.id))
        }
        UserCommand::List => list_users(&users).await,
        UserCommand::Disable { username } => {
            let id = known(&users, &username).await?;
            users.set_disabled(&id, true, &by).await?;
            Ok(())
        }
        UserCommand::Enable { username } => {
            let id = known(&users, &username).await?;
            users.set_disabled(&id, false, &by).await?;
            Ok(())
        }
        UserCommand::Remove { username } => {
            let id = known(&users, &username).await?;
            users.remove(&id, &by).await?;
            Ok(())
        }
        UserCommand::SetPassword { username } => {
            let id = known(&users, &username).await?;
            users.set_password(&id, ask_password()?, &by).await?;
            Ok(())
        }
    };
    store.close().await;
    done
}

pub(super) fn users(store: &Store) -> anyhow::Result<Users> {
    let passwords = Passwords::start(HashingLimits {
        concurrency: 1,
        ..HashingLimits::default()
    })?;
    Ok(Users::new(
        store.clone(),
        passwords,
        Attempts::unlimited(),
        Clock::system(),
    ))
}

/// Users that are read at once.
const PAGE: u32 = 500;

async fn list_users(users: &Users) -> anyhow::Result<()> {
    let mut table = format!(
        "{:<36}  {:<8}  {:<20}  {:<20}  USERNAME",
        "ID", "STATE", "CREATED", "LAST LOGIN"
    );
    let mut after = String::new();
    loop {
        let page = users.accounts(&after, PAGE).await?;
        for (user, _) in &page {
            let state = if user.disabled_at.is_some() {
                "disabled"
            } else {
                "enabled"
            };
            let last_login = user
                .last_login_at
                .map_or_else(|| "never".to_owned(), seconds);
            let _ = write!(
                table,
                "\n{:<36}  {state:<8}  {:<20}  {last_login:<20}  {}",
                user.id,
                seconds(user.created_at),
                user.username
            );
        }
        print(&table)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        if page.len() < PAGE as usize {
            return Ok(());
        }
        after = last.username.to_string();
        table.clear();
    }
}

/// The id of the user of this name.
pub(super) async fn known(users: &Users, username: &str) -> anyhow::Result<Subject> {
    let username = named(username)?;
    let found = users.named(&username).await?;
    found.with_context(|| format!("there is no user '{username}'"))
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
