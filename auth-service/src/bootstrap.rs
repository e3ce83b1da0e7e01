//! Users and clients declared in a file, so that a stack comes up complete: `AUTH_BOOTSTRAP_FILE`.
//!
//! Applied at every start, any number of times, with the same result. A client gets the scope that the file says, and its
//! secret when that is another than at the last start, so that a secret that was rotated since stays. A user is added once and
//! then keeps the password that they may have changed; the scope is brought to what the file says. Of somebody who has registered
//! under the name nothing is changed: the file does not mean them.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use service_shell::settings::SettingError;
use shared_claims::{ClientId, Clock, Scope, Subject};

use crate::audit::Author;
use crate::clients::{ClientSecret, client_id};
use crate::hashing::Passwords;
use crate::password::Password;
use crate::storage::Store;
use crate::username::Username;
use crate::users::User;

/// A file that was read and found usable.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    users: Vec<(Username, Password, Option<Scope>)>,
    clients: Vec<(ClientId, ClientSecret, Scope)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    users: Vec<UserEntry>,
    #[serde(default)]
    clients: Vec<ClientEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserEntry {
    username: String,
    password: Option<SecretString>,
    password_file: Option<PathBuf>,
    scope: Option<Scope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientEntry {
    id: String,
    secret: Option<SecretString>,
    secret_file: Option<PathBuf>,
    #[serde(default)]
    scope: Scope,
}

impl Bootstrap {
    /// Reads the file and the files of secrets that it names, which are looked for beside it.
    ///
    /// # Errors
    /// The entry that cannot be used, and why.
    pub(crate) fn read(path: &Path) -> Result<Self, SettingError> {
        let text = fs::read_to_string(path)
            .map_err(|error| unusable(path, &format!("cannot be read: {error}")))?;
        // The error's own Display shows the line that is wrong, and its message the value: either may hold a secret.
        let file: File = toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map_or(0, |span| text[..span.start].split('\n').count());
            unusable(
                path,
                &format!(
                    "is not as it should be in line {line}: {}",
                    unquoted(error.message())
                ),
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let users = file.users.into_iter().map(|entry| {
            let wrong = |fault: String| {
                unusable(
                    path,
                    &format!("has a user '{}': {fault}", entry.username.escape_debug()),
                )
            };
            let username =
                Username::parse(&entry.username).map_err(|error| wrong(error.to_string()))?;
            let password =
                secret(folder, "password", entry.password, entry.password_file).map_err(wrong)?;
            let password = Password::chosen(&password).map_err(|error| wrong(error.to_string()))?;
            Ok((username, password, entry.scope))
        });
        let clients = file.clients.into_iter().map(|entry| {
            let wrong = |fault: String| {
                unusable(
                    path,
                    &format!("has a client '{}': {fault}", entry.id.escape_debug()),
                )
            };
            let id = client_id(&entry.id).map_err(|error| wrong(error.to_string()))?;
            let secret =
                secret(folder, "secret", entry.secret, entry.secret_file).map_err(wrong)?;
            let secret = ClientSecret::parse(&secret).map_err(|error| wrong(error.to_string()))?;
            Ok((id, secret, entry.scope))
        });
        let read = Self {
            users: users.collect::<Result<_, _>>()?,
            clients: clients.collect::<Result<_, _>>()?,
        };
        let names = read.users.iter().map(|(username, ..)| username.as_ref());
        let ids = read.clients.iter().map(|(id, ..)| id.as_str());
        for (what, twice) in [("user", first_twice(names)), ("client", first_twice(ids))] {
            if let Some(name) = twice {
                return Err(unusable(path, &format!("has the {what} '{name}' twice")));
            }
        }
        Ok(read)
    }

    /// Declares a user, as an entry of a file does, unless the file has them already.
    ///
    /// # Errors
    /// What is wrong with the name or password.
    pub fn with_user(mut self, username: &str, password: &SecretString) -> anyhow::Result<Self> {
        let username = Username::parse(username)?;
        if self
            .users
            .iter()
            .all(|(declared, ..)| *declared != username)
        {
            let password = Password::chosen(password)?;
            self.users.push((username, password, None));
        }
        Ok(self)
    }

    /// Declares a client, as an entry of a file does, unless the file has it already.
    ///
    /// # Errors
    /// What is wrong with its id or secret.
    pub fn with_client(
        mut self,
        id: &str,
        secret: &SecretString,
        scope: Scope,
    ) -> anyhow::Result<Self> {
        let id = client_id(id)?;
        if self.clients.iter().all(|(declared, ..)| *declared != id) {
            self.clients.push((id, ClientSecret::parse(secret)?, scope));
        }
        Ok(self)
    }

    pub(crate) async fn apply(
        &self,
        store: &Store,
        passwords: &Passwords,
        clock: &Clock,
    ) -> anyhow::Result<()> {
        let (now, by) = (clock.now(), Author::bootstrap_file());
        for (id, secret, scope) in &self.clients {
            let secret = secret.hash();
            let declared = store.declare_client(id, &secret, scope, &by, now);
            if declared.await? {
                tracing::info!(client = %id, %scope, "declared a client");
            }
        }
        for (username, password, scope) in &self.users {
            if let Some(user) = store.user_by_name(username).await? {
                if store.has_registered(&user.id).await? {
                    tracing::error!(
                        user = %user.id,
                        "AUTH_BOOTSTRAP_FILE declares a user of whose name somebody has registered: nothing of theirs is changed; \
                         remove them with 'auth-service user remove', or declare another name"
                    );
                    continue;
                }
                let scope = scope.as_ref();
                store.set_user_scope(&user.id, scope, &by, now).await?;
                continue;
            }
            let user = User {
                id: Subject::generate(),
                username: username.clone(),
                password_hash: passwords.hash(password.clone()).await?,
                scope: scope.clone(),
                created_at: now,
                last_login_at: None,
                disabled_at: None,
            };
            if store.add_user(&user, &by).await? {
                tracing::info!(user = %user.id, "declared a user");
            }
        }
        Ok(())
    }
}

/// What the parser says without what it has read.
fn unquoted(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("there should be {expected}"),
        None if message.starts_with("missing field") => message.to_owned(),
        None => "it is no TOML of users and clients".to_owned(),
    }
}

fn first_twice<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut seen = HashSet::new();
    names.find(|name| !seen.insert(*name))
}

fn secret(
    folder: &Path,
    what: &str,
    value: Option<SecretString>,
    file: Option<PathBuf>,
) -> Result<SecretString, String> {
    match (value, file) {
        (Some(value), None) => Ok(value),
        (None, Some(file)) => {
            let file = folder.join(file);
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
            let text: SecretString = text.into();
            Ok(text.expose_secret().trim_end_matches(['\n', '\r']).into())
        }
        _ => Err(format!("it needs either {what} or {what}_file")),
    }
}

fn unusable(path: &Path, fault: &str) -> SettingError {
    SettingError {
        setting: "AUTH_BOOTSTRAP_FILE",
        fault: format!("{} {fault}", path.display()),
        remedy: "write [[users]] with username and password, and [[clients]] with id, secret and scope",
    }
}
