//! The settings of resource-service, and what they come to.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;
use service_shell::settings::{
    SettingError, TokenConfig, TokenSettings, address, secret, web_address,
};
use service_shell::sqlite::DatabaseUrl;
use shared_claims::Clock;

/// Settings of resource-service alone.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "resource-service")]
#[expect(clippy::doc_markdown, reason = "the comments are the text of --help")]
pub struct ResourceSettings {
    /// Address to listen on
    #[arg(
        long,
        env = "RESOURCE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8002",
        value_parser = address,
        global = true
    )]
    pub resource_listen: SocketAddr,
    /// SQLite file with profiles
    #[arg(
        long,
        env = "RESOURCE_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://data/resource.db",
        global = true
    )]
    pub resource_database_url: DatabaseUrl,
    /// Where auth-service is
    #[arg(
        long,
        env = "AUTH_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8001",
        value_parser = web_address,
        global = true
    )]
    pub auth_url: Url,
    /// Service account to call auth-service with; without one no such call is made
    #[arg(long, env = "RESOURCE_CLIENT_ID", value_name = "ID", global = true)]
    pub resource_client_id: Option<String>,
    /// Secret of the service account
    #[arg(
        long,
        env = "RESOURCE_CLIENT_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        global = true
    )]
    resource_client_secret: Option<SecretString>,
    /// File to read RESOURCE_CLIENT_SECRET from
    #[arg(
        long,
        env = "RESOURCE_CLIENT_SECRET_FILE",
        value_name = "FILE",
        global = true
    )]
    pub resource_client_secret_file: Option<PathBuf>,
}

/// Everything that resource-service needs to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where profiles are kept.
    pub database: DatabaseUrl,
    /// Keys, issuer and audience.
    pub tokens: TokenConfig,
    /// How auth-service is asked for accounts; not at all without.
    pub accounts: Option<AccountsConfig>,
    /// Where the time comes from.
    pub clock: Clock,
}

/// How auth-service is asked.
#[derive(Clone, Debug)]
pub struct AccountsConfig {
    /// Where auth-service is.
    pub auth_url: Url,
    /// Who we are to it.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretString,
    /// The audience of tokens for auth-service itself.
    pub issuer: Option<String>,
}

impl ResourceSettings {
    /// Reads the secrets and checks them.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn resolve(self, tokens: TokenSettings) -> Result<Config, SettingError> {
        let tokens = tokens.resolve()?;
        let secret = secret(
            "RESOURCE_CLIENT_SECRET",
            self.resource_client_secret,
            "RESOURCE_CLIENT_SECRET_FILE",
            self.resource_client_secret_file.as_deref(),
        )?;
        let accounts = match (self.resource_client_id, secret) {
            (Some(client_id), Some(client_secret)) => Some(AccountsConfig {
                auth_url: self.auth_url,
                client_id,
                client_secret,
                issuer: tokens.parties.issuer().map(str::to_owned),
            }),
            (None, None) => None,
            (id, _) => {
                let (setting, other) = ("RESOURCE_CLIENT_ID", "RESOURCE_CLIENT_SECRET");
                let (setting, other) = if id.is_some() {
                    (other, setting)
                } else {
                    (setting, other)
                };
                return Err(SettingError {
                    setting,
                    fault: format!("it is not set, and {other} is"),
                    remedy: "set both, or neither",
                });
            }
        };
        Ok(Config {
            database: self.resource_database_url,
            tokens,
            accounts,
            clock: Clock::system(),
        })
    }
}
