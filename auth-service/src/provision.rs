//! What a stack starts with and nobody should have to make by hand: secrets in files, and a bootstrap file that names the service
//! account. A secret is made once and never touched again; the bootstrap file holds none, and is brought to what is asked for at
//! every start.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use service_shell::files::{create_folder_of, create_private, replace_private};
use service_shell::keys::KeySource;
use service_shell::settings::switch;
use shared_claims::{Scope, SharedSecret};
use zeroize::Zeroizing;

use crate::bootstrap::Bootstrap;
use crate::clients::client_id;

/// The user that a stack for trying things out comes with.
pub const DEMO_USER: &str = "cosmo";
/// And the password, which everybody knows.
pub const DEMO_PASSWORD: &str = "space-corgi";
/// The account that resource-service calls auth-service with.
pub const SERVICE_ACCOUNT: &str = "resource-service";
/// What that account may do.
pub const SERVICE_SCOPE: &str = "revocations:read token:exchange";

/// Whoever finds this line in a file may write it anew.
const MARK: &str = "# Written by 'auth-service provision' at every start of the stack: changes are lost. Name a file of your own in\n\
                    # AUTH_BOOTSTRAP_FILE instead.\n";

/// What to provide, beside the files of the secret that `JWT_SECRET_KEY_FILE` and `JWT_PREVIOUS_SECRET_KEYS_FILE` name, and those
/// for key pairs, with nothing in them yet, where `JWT_PRIVATE_KEY_FILE` and `JWT_PREVIOUS_PRIVATE_KEYS_FILE` name them.
#[derive(Args, Clone, Debug)]
pub struct Provision {
    /// Service account to declare
    #[arg(long, env = "RESOURCE_CLIENT_ID", value_name = "ID", default_value = SERVICE_ACCOUNT)]
    client: String,
    /// File for the secret of the service account
    #[arg(long, env = "RESOURCE_CLIENT_SECRET_FILE", value_name = "FILE")]
    client_secret_file: PathBuf,
    /// What the service account may do
    #[arg(long, value_name = "SCOPE", default_value = SERVICE_SCOPE)]
    client_scope: Scope,
    /// Whether to declare the user cosmo, password space-corgi, too
    #[arg(long, env = "AUTH_DEMO_USER", value_name = "SWITCH", default_value = "off", value_parser = switch,
          action = clap::ArgAction::Set)]
    demo_user: bool,
}

/// Makes a file with a random secret, unless there is one. `false`: there was.
///
/// # Errors
/// The file cannot be written.
pub fn secret(file: &Path) -> anyhow::Result<bool> {
    make(
        file,
        &Zeroizing::new(format!("{}\n", *SharedSecret::generate())),
    )
}

/// Makes a file for keys, none to begin with, unless there is one. `false`: there was.
///
/// # Errors
/// The file cannot be written.
pub fn no_keys(file: &Path) -> anyhow::Result<bool> {
    make(file, "")
}

fn make(file: &Path, text: &str) -> anyhow::Result<bool> {
    let made = create_folder_of(file).and_then(|()| create_private(file, text));
    made.with_context(|| {
        format!(
            "{} cannot be written; name a file in a folder that this user can write",
            file.display()
        )
    })
}

impl Provision {
    /// Makes what is missing; what was made, for people.
    ///
    /// # Errors
    /// A file cannot be written, or one that is there cannot be used.
    pub(crate) fn run(
        &self,
        keys: &KeySource,
        bootstrap_file: Option<&Path>,
    ) -> anyhow::Result<Vec<String>> {
        let Some((current, previous)) = keys.secret_files() else {
            bail!(
                "JWT_SECRET_KEY_FILE and JWT_PREVIOUS_SECRET_KEYS_FILE: both must name a file, which is made if it is not there"
            );
        };
        let Some(bootstrap_file) = bootstrap_file else {
            bail!(
                "AUTH_BOOTSTRAP_FILE: it is not set; name the file that is to declare the service account"
            );
        };
        let id = client_id(&self.client).context("RESOURCE_CLIENT_ID")?;
        let mut made = Vec::new();
        for (file, is_new) in [
            (previous, no_keys(previous)?),
            (current, secret(current)?),
            (&self.client_secret_file, secret(&self.client_secret_file)?),
            (bootstrap_file, self.declare(id.as_str(), bootstrap_file)?),
        ] {
            if is_new {
                made.push(format!("made {}", file.display()));
            }
        }
        if let Some((private, previous)) = keys.private_key_files() {
            for file in [private, previous] {
                if no_keys(file)? {
                    made.push(format!("made {}", file.display()));
                }
            }
        }
        keys.read()?;
        Bootstrap::read(bootstrap_file)?;
        Ok(made)
    }

    /// Writes the bootstrap file, unless somebody else did or it says the same already.
    fn declare(&self, id: &str, file: &Path) -> anyhow::Result<bool> {
        let secret_file = std::path::absolute(&self.client_secret_file)?;
        let secret_file = secret_file
            .to_str()
            .context("RESOURCE_CLIENT_SECRET_FILE: it is not UTF-8 text")?;
        let mut text = format!(
            "{MARK}\n[[clients]]\nid = {}\nsecret_file = {}\nscope = {}\n",
            toml::Value::from(id),
            toml::Value::from(secret_file),
            toml::Value::from(self.client_scope.to_string())
        );
        if self.demo_user {
            let (name, password) = (
                toml::Value::from(DEMO_USER),
                toml::Value::from(DEMO_PASSWORD),
            );
            let _ = write!(
                text,
                "\n[[users]]\nusername = {name}\npassword = {password}\n"
            );
        }
        if make(file, &text)? {
            return Ok(true);
        }
        let before = fs::read_to_string(file)
            .with_context(|| format!("AUTH_BOOTSTRAP_FILE: {} cannot be read", file.display()))?;
        if before == text || !before.starts_with(MARK) {
            return Ok(false);
        }
        replace_private(file, &text).with_context(|| {
            format!("AUTH_BOOTSTRAP_FILE: {} cannot be written", file.display())
        })?;
        Ok(true)
    }
}
