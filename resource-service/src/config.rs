//! The settings of resource-service, and what they come to.

use std::net::SocketAddr;

use clap::Args;
use service_shell::settings::{SettingError, TokenConfig, TokenSettings, address};
use service_shell::sqlite::DatabaseUrl;
use shared_claims::Clock;

/// Settings of resource-service alone.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "resource-service")]
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
}

/// Everything that resource-service needs to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where profiles are kept.
    pub database: DatabaseUrl,
    /// Keys, issuer and audience.
    pub tokens: TokenConfig,
    /// Where the time comes from.
    pub clock: Clock,
}

impl ResourceSettings {
    /// Reads the secrets and checks them.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn resolve(self, tokens: TokenSettings) -> Result<Config, SettingError> {
        Ok(Config {
            database: self.resource_database_url,
            tokens: tokens.resolve()?,
            clock: Clock::system(),
        })
    }
}
