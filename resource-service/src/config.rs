//! The settings of resource-service, and what they come to.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use auth_client::{FeedOptions, KeyOptions};
use clap::{Args, ValueEnum};
use reqwest::Url;
use secrecy::SecretString;
use service_shell::cors::{AllowedOrigins, CorsSettings};
use service_shell::keys::{Need, PairFiles};
use service_shell::limits::{LimitSettings, Limits};
use service_shell::settings::{SettingError, address, secret, web_address};
use service_shell::sqlite::DatabaseUrl;
use service_shell::tokens::{TokenConfig, TokenSettings};
use service_shell::traces::TraceExport;
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
    /// Where auth-service publishes its public keys, where it signs with a key pair: its /.well-known/jwks.json
    #[arg(long, env = "JWT_JWKS_URL", value_name = "URL", value_parser = web_address, global = true)]
    pub jwt_jwks_url: Option<Url>,
    /// PEM file of public keys that verify tokens; 'auth-service secret public' prints them
    #[arg(long, env = "JWT_PUBLIC_KEY_FILE", value_name = "FILE", global = true)]
    jwt_public_key_file: Option<PathBuf>,
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
    /// Where browsers reach auth-service, for the demo page [default: JWT_ISSUER if it is an address, else AUTH_URL]
    #[arg(
        long,
        env = "AUTH_PUBLIC_URL",
        value_name = "URL",
        value_parser = web_address,
        global = true
    )]
    pub auth_public_url: Option<Url>,
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
    /// What to do when auth-service has not been heard for 45 s: go on with what is known of ended sessions (lenient), or
    /// take no token (strict)
    #[arg(
        long,
        env = "RESOURCE_REVOCATION",
        value_name = "POLICY",
        default_value = "lenient",
        global = true
    )]
    resource_revocation: Revocation,
}

/// What to do while it cannot be known which sessions have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Revocation {
    /// Go on with what is known.
    Lenient,
    /// Take no token.
    Strict,
}

/// Everything that resource-service needs to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where profiles are kept.
    pub database: DatabaseUrl,
    /// Keys, issuer and audience.
    pub tokens: TokenConfig,
    /// How the keys that auth-service publishes are fetched; not at all without.
    pub issuer_keys: Option<KeyOptions>,
    /// How auth-service is asked for accounts, and listened to; not at all without.
    pub auth_service: Option<AuthServiceConfig>,
    /// Whose pages may call.
    pub allowed_origins: AllowedOrigins,
    /// Where browsers reach auth-service, for the demo page.
    pub auth_public_url: Url,
    /// Where the metrics are answered for; without, where everything else is.
    pub metrics_listen: Option<SocketAddr>,
    /// Where spans of the requests are sent; without, nowhere.
    pub traces: Option<TraceExport>,
    /// What clients may take.
    pub limits: Limits,
    /// Where the time comes from.
    pub clock: Clock,
}

/// How auth-service is asked, and listened to.
#[derive(Clone, Debug)]
pub struct AuthServiceConfig {
    /// Where auth-service is.
    pub auth_url: Url,
    /// Who we are to it.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretString,
    /// The audience of tokens for auth-service itself.
    pub issuer: Option<String>,
    /// How the revocation feed is listened to.
    pub feed: FeedOptions,
}

impl Config {
    /// The default settings, with what has no default: for whoever starts the service from Rust.
    ///
    /// # Panics
    /// Never: the default address is one.
    #[must_use]
    pub fn new(database: DatabaseUrl, tokens: TokenConfig) -> Self {
        Self {
            database,
            tokens,
            issuer_keys: None,
            auth_service: None,
            allowed_origins: AllowedOrigins::default(),
            auth_public_url: web_address("http://127.0.0.1:8001").expect("it is an address"),
            metrics_listen: None,
            traces: None,
            limits: Limits::default(),
            clock: Clock::system(),
        }
    }
}

impl ResourceSettings {
    /// Whether a service account is named, in whole or in part.
    #[must_use]
    pub fn names_an_account(&self) -> bool {
        self.resource_client_id.is_some()
            || self.resource_client_secret.is_some()
            || self.resource_client_secret_file.is_some()
    }

    /// Reads the secrets and checks them.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn resolve(
        self,
        tokens: TokenSettings,
        cors: CorsSettings,
        limits: &LimitSettings,
    ) -> Result<Config, SettingError> {
        let pairs = PairFiles {
            public: self.jwt_public_key_file,
            ..PairFiles::default()
        };
        let need = match self.jwt_jwks_url {
            Some(_) => Need::Nothing,
            None => Need::Verifying,
        };
        let tokens = tokens.resolve(pairs, need)?;
        let secret = secret(
            "RESOURCE_CLIENT_SECRET",
            self.resource_client_secret,
            "RESOURCE_CLIENT_SECRET_FILE",
            self.resource_client_secret_file.as_deref(),
        )?;
        let issuer = tokens.parties.issuer();
        let auth_public_url = self
            .auth_public_url
            .or_else(|| web_address(issuer?).ok())
            .unwrap_or_else(|| self.auth_url.clone());
        let strict = self.resource_revocation == Revocation::Strict;
        let auth_service = match (self.resource_client_id, secret) {
            (Some(client_id), Some(client_secret)) => Some(AuthServiceConfig {
                auth_url: self.auth_url,
                client_id,
                client_secret,
                issuer: tokens.parties.issuer().map(str::to_owned),
                feed: FeedOptions {
                    strict,
                    ..FeedOptions::new(name_of_this(self.resource_listen))
                },
            }),
            (None, None) if strict => {
                return Err(SettingError {
                    setting: "RESOURCE_REVOCATION",
                    fault: "without a service account auth-service cannot be listened to, so that no token would ever be taken".to_owned(),
                    remedy: "set RESOURCE_CLIENT_ID and RESOURCE_CLIENT_SECRET, or use lenient",
                });
            }
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
            issuer_keys: self.jwt_jwks_url.map(KeyOptions::new),
            auth_service,
            allowed_origins: cors.resolve(),
            auth_public_url,
            limits: limits.resolve()?,
            ..Config::new(self.resource_database_url, tokens)
        })
    }
}

/// What tells this process apart from others, for people.
fn name_of_this(listen: SocketAddr) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    format!("resource-service@{host}:{}", listen.port())
}
