//! What issuer and verifiers of tokens must have in common, as settings: the secrets, the parties, the leeway.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use shared_claims::Parties;

use crate::keys::{KeySource, Keys, Need, PairFiles, Secrets};
use crate::settings::{SettingError, whole_seconds};

/// The greatest leeway: every expired token is good for this much longer.
const MAX_LEEWAY: Duration = Duration::from_hours(1);

/// Settings that issuer and verifiers have in common.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
#[expect(clippy::doc_markdown, reason = "the comments are the text of --help")]
#[expect(
    clippy::struct_field_names,
    reason = "a field's name is its flag's and its variable's"
)]
pub struct TokenSettings {
    /// Secret that signs and verifies tokens, 32 bytes or more; 'auth-service secret generate' makes one
    #[arg(
        long,
        env = "JWT_SECRET_KEY",
        value_name = "SECRET",
        hide_env_values = true,
        global = true
    )]
    jwt_secret_key: Option<SecretString>,
    /// File to read JWT_SECRET_KEY from
    #[arg(long, env = "JWT_SECRET_KEY_FILE", value_name = "FILE", global = true)]
    jwt_secret_key_file: Option<PathBuf>,
    /// Secrets that verify tokens and sign none, with commas or line ends between them
    #[arg(
        long,
        env = "JWT_PREVIOUS_SECRET_KEYS",
        value_name = "SECRETS",
        hide_env_values = true,
        global = true
    )]
    jwt_previous_secret_keys: Option<SecretString>,
    /// File to read JWT_PREVIOUS_SECRET_KEYS from
    #[arg(
        long,
        env = "JWT_PREVIOUS_SECRET_KEYS_FILE",
        value_name = "FILE",
        global = true
    )]
    jwt_previous_secret_keys_file: Option<PathBuf>,
    /// Issuer of the tokens (iss); empty: neither issued nor checked
    #[arg(
        long,
        env = "JWT_ISSUER",
        value_name = "NAME",
        default_value = "http://127.0.0.1:8001",
        global = true
    )]
    jwt_issuer: String,
    /// Audience of access tokens (aud); empty: neither issued nor checked
    #[arg(
        long,
        env = "JWT_AUDIENCE",
        value_name = "NAME",
        default_value = "tokenpair",
        global = true
    )]
    jwt_audience: String,
    /// How far the clocks of issuer and verifiers may differ
    #[arg(long, env = "JWT_LEEWAY", value_name = "DURATION", default_value = "0s", value_parser = leeway, global = true)]
    jwt_leeway: Duration,
}

/// What issuer and verifiers have in common, ready for use.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The keys.
    pub keys: Keys,
    /// Who issues tokens and for whom.
    pub parties: Parties,
    /// How far the clocks may differ, in whole seconds.
    pub leeway: Duration,
    /// Where the keys come from, to be read again.
    pub source: KeySource,
}

impl TokenSettings {
    /// Reads the keys and checks them.
    ///
    /// # Errors
    /// A key that is missing or cannot be used, or a file that cannot be read.
    pub fn resolve(self, pairs: PairFiles, need: Need) -> Result<TokenConfig, SettingError> {
        let (parties, leeway) = (
            Parties::new(&*self.jwt_issuer, &*self.jwt_audience),
            self.jwt_leeway,
        );
        let mut source = self.source(pairs, need);
        source.looked = source.look();
        Ok(TokenConfig {
            keys: source.read()?,
            parties,
            leeway,
            source,
        })
    }

    /// Where the keys come from.
    #[must_use]
    pub fn source(self, pairs: PairFiles, need: Need) -> KeySource {
        KeySource {
            secrets: Secrets {
                current: self.jwt_secret_key,
                current_file: self.jwt_secret_key_file,
                previous: self.jwt_previous_secret_keys,
                previous_file: self.jwt_previous_secret_keys_file,
            },
            pairs,
            need,
            looked: Vec::new(),
        }
    }

    /// Whether a secret is named, be it as such or by its file.
    #[must_use]
    pub fn names_a_secret(&self) -> bool {
        self.jwt_secret_key.is_some() || self.jwt_secret_key_file.is_some()
    }

    /// Whether previous secrets are named, be it as such or by their file.
    #[must_use]
    pub fn names_previous_secrets(&self) -> bool {
        self.jwt_previous_secret_keys.is_some() || self.jwt_previous_secret_keys_file.is_some()
    }

    /// Takes the secret from this file.
    pub fn take_secret_from(&mut self, file: PathBuf) {
        self.jwt_secret_key_file = Some(file);
    }

    /// Takes the previous secrets from this file.
    pub fn take_previous_secrets_from(&mut self, file: PathBuf) {
        self.jwt_previous_secret_keys_file = Some(file);
    }
}

fn leeway(text: &str) -> Result<Duration, String> {
    let leeway = whole_seconds(text)?;
    if leeway > MAX_LEEWAY {
        Err(
            "use a duration from 0s to 1h: every expired token is good for this much longer"
                .to_owned(),
        )
    } else {
        Ok(leeway)
    }
}
