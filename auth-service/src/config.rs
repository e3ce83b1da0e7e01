//! The settings of auth-service, and what they come to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::attempts::rate_or_off;
use crate::grants::ADMIN_SCOPE;
use clap::{Args, ValueEnum};
use service_shell::cors::{AllowedOrigins, CorsSettings};
use service_shell::keys::{Need, PairFiles};
use service_shell::limits::{LimitSettings, Limits};
use service_shell::settings::{SettingError, address, count, duration, lifetime, switch};
use service_shell::sqlite::DatabaseUrl;
use service_shell::tokens::{TokenConfig, TokenSettings};
use service_shell::traces::TraceExport;
use shared_claims::{Clock, Scope};

pub use crate::attempts::{AttemptLimits, Limit, Rate};
pub use crate::bootstrap::Bootstrap;
pub use crate::hashing::HashingLimits;
pub use crate::proxies::TrustedProxies;
pub use crate::sessions::{RefreshRules, SessionPolicy};

const MAX_GRACE: Duration = Duration::from_hours(1);
/// A login may wait three times, when the password is hashed again with newer parameters and another login was quicker, and has
/// 30 seconds for all.
const MAX_HASHING_DEADLINE: Duration = Duration::from_secs(9);
const MAX_SESSION_AGE: Duration = Duration::from_hours(87840);

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// Anybody.
    Open,
    /// Nobody: users are added by `auth-service user add`.
    Closed,
}

/// Where users and sessions are kept: what the commands need too.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct StoreSettings {
    /// SQLite file with users and sessions
    #[arg(
        long,
        env = "AUTH_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://data/auth.db",
        global = true
    )]
    pub auth_database_url: DatabaseUrl,
}

/// The key pairs that auth-service signs with: what the commands for keys need too.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Tokens")]
#[expect(clippy::doc_markdown, reason = "the comments are the text of --help")]
pub struct PairSettings {
    /// PEM file (PKCS#8) of the private key, of Ed25519 or P-256, that signs tokens in the place of JWT_SECRET_KEY, which then
    /// only verifies; empty: none yet
    #[arg(long, env = "JWT_PRIVATE_KEY_FILE", value_name = "FILE", global = true)]
    jwt_private_key_file: Option<PathBuf>,
    /// PEM file of private keys that sign nothing: the next and the previous, whose public keys are published
    #[arg(
        long,
        env = "JWT_PREVIOUS_PRIVATE_KEYS_FILE",
        value_name = "FILE",
        global = true
    )]
    jwt_previous_private_keys_file: Option<PathBuf>,
}

impl PairSettings {
    /// The files.
    #[must_use]
    pub fn files(self) -> PairFiles {
        PairFiles {
            private: self.jwt_private_key_file,
            previous_private: self.jwt_previous_private_keys_file,
            public: None,
        }
    }
}

/// Settings of auth-service alone.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "auth-service")]
pub struct AuthSettings {
    /// Address to listen on
    #[arg(
        long,
        env = "AUTH_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8001",
        value_parser = address,
        global = true
    )]
    pub auth_listen: SocketAddr,
    /// Who may register
    #[arg(
        long,
        env = "AUTH_REGISTRATION",
        value_name = "WHO",
        default_value = "closed",
        global = true
    )]
    pub auth_registration: Registration,
    /// What a user without a scope of their own may do
    #[arg(
        long,
        env = "AUTH_DEFAULT_SCOPE",
        value_name = "SCOPE",
        default_value = "profile:read profile:write",
        global = true
    )]
    auth_default_scope: Scope,
    /// How long an access token is good
    #[arg(long, env = "JWT_ACCESS_TOKEN_EXPIRES", value_name = "DURATION", default_value = "15m", value_parser = lifetime, global = true)]
    jwt_access_token_expires: Duration,
    /// How long a refresh token is good
    #[arg(long, env = "JWT_REFRESH_TOKEN_EXPIRES", value_name = "DURATION", default_value = "1h", value_parser = lifetime, global = true)]
    jwt_refresh_token_expires: Duration,
    /// Whether a refresh replaces the refresh token: on or off
    #[arg(long, env = "AUTH_REFRESH_ROTATION", value_name = "SWITCH", default_value = "on", value_parser = switch,
          action = clap::ArgAction::Set, global = true)]
    auth_refresh_rotation: bool,
    /// How long a refresh token that was replaced is answered with its successor; 0s: not at all
    #[arg(long, env = "AUTH_REFRESH_GRACE", value_name = "DURATION", default_value = "10s", value_parser = grace, global = true)]
    auth_refresh_grace: Duration,
    /// How long after a login the password has to be given again, however often the session was refreshed
    #[arg(long, env = "AUTH_SESSION_MAX_AGE", value_name = "DURATION", default_value = "30d", value_parser = session_age, global = true)]
    auth_session_max_age: Duration,
    /// Sessions of one user that go on at the most: with one more, the least recently used ends
    #[arg(long, env = "AUTH_SESSIONS_PER_USER", value_name = "COUNT", default_value = "1000", value_parser = sessions_per_user, global = true)]
    auth_sessions_per_user: u32,
    /// Whether the cookie of a refresh token is for TLS alone: on, or off on a developer's machine
    #[arg(long, env = "AUTH_COOKIE_SECURE", value_name = "SWITCH", default_value = "on", value_parser = switch,
          action = clap::ArgAction::Set, global = true)]
    auth_cookie_secure: bool,
    /// How long events are kept in the audit log
    #[arg(long, env = "AUTH_AUDIT_RETENTION", value_name = "DURATION", default_value = "90d", value_parser = retention, global = true)]
    auth_audit_retention: Duration,
    /// TOML file with users and clients to be there at every start
    #[arg(long, env = "AUTH_BOOTSTRAP_FILE", value_name = "FILE", global = true)]
    pub(crate) auth_bootstrap_file: Option<PathBuf>,
    /// Wrong passwords for one user's name before the next attempt has to wait, like 100/1h, or off
    #[arg(long, env = "AUTH_LOGIN_RATE_PER_USER", value_name = "RATE", default_value = "100/1h", value_parser = rate_or_off, global = true)]
    auth_login_rate_per_user: Limit,
    /// The same from one address, whatever is tried: passwords, registrations, secrets of clients
    #[arg(long, env = "AUTH_LOGIN_RATE_PER_IP", value_name = "RATE", default_value = "1000/10m", value_parser = rate_or_off, global = true)]
    auth_login_rate_per_ip: Limit,
    /// Addresses and networks of proxies whose X-Forwarded-For or Forwarded is believed
    #[arg(
        long,
        env = "TRUSTED_PROXIES",
        value_name = "ADDRESSES",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    trusted_proxies: TrustedProxies,
    /// Passwords hashed at the same time, with 19 MiB each [default: one for each core]
    #[arg(long, env = "AUTH_HASHING_CONCURRENCY", value_name = "COUNT", value_parser = |text: &str| count(text, 256), global = true)]
    auth_hashing_concurrency: Option<usize>,
    /// Passwords that wait to be hashed; one more is answered with 503 [default: 64 for each core]
    #[arg(long, env = "AUTH_HASHING_QUEUE", value_name = "COUNT", value_parser = |text: &str| count(text, 100_000), global = true)]
    auth_hashing_queue: Option<usize>,
    /// How long a password waits and is hashed before it is answered with 503
    #[arg(long, env = "AUTH_HASHING_DEADLINE", value_name = "DURATION", default_value = "5s", value_parser = hashing_deadline, global = true)]
    auth_hashing_deadline: Duration,
    /// Subscribers of the revocation feed at the same time, one more is answered with 503; and those that one client may tell of
    #[arg(long, env = "AUTH_MAX_SUBSCRIBERS", value_name = "COUNT", default_value = "1000", value_parser = |text: &str| count(text, 100_000), global = true)]
    auth_max_subscribers: usize,
}

/// Everything that auth-service needs to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where users and sessions are kept.
    pub database: DatabaseUrl,
    /// Keys, issuer and audience.
    pub tokens: TokenConfig,
    /// Lifetimes and the rules of refreshing.
    pub sessions: SessionPolicy,
    /// How long events are kept in the audit log.
    pub audit_retention: Duration,
    /// How much password hashing there may be.
    pub hashing: HashingLimits,
    /// How often somebody may try.
    pub attempts: AttemptLimits,
    /// Whose word is taken for where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// Who may register.
    pub registration: Registration,
    /// Whose pages may call.
    pub allowed_origins: AllowedOrigins,
    /// Whether the cookie of a refresh token is for TLS alone.
    pub cookie_secure: bool,
    /// Users and clients that are to be there.
    pub bootstrap: Bootstrap,
    /// Where the metrics are answered for; without, where everything else is.
    pub metrics_listen: Option<SocketAddr>,
    /// Where spans of the requests are sent; without, nowhere.
    pub traces: Option<TraceExport>,
    /// What clients may take.
    pub limits: Limits,
    /// Subscribers of the revocation feed at the same time, and those that one client may tell of.
    pub most_subscribers: usize,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Config {
    /// The default settings, with what has no default: for whoever starts the service from Rust.
    ///
    /// # Panics
    /// Never: the default scope is a scope.
    #[must_use]
    pub fn new(database: DatabaseUrl, tokens: TokenConfig) -> Self {
        Self {
            database,
            sessions: SessionPolicy {
                access_token_expires: Duration::from_mins(15),
                refresh: RefreshRules {
                    rotation: true,
                    grace: Duration::from_secs(10),
                    token_expires: Duration::from_hours(1),
                    session_max_age: Duration::from_hours(30 * 24),
                    leeway: tokens.leeway,
                },
                default_scope: "profile:read profile:write".parse().expect("it is a scope"),
                most_per_user: 1000,
            },
            audit_retention: Duration::from_hours(90 * 24),
            hashing: HashingLimits::default(),
            attempts: AttemptLimits::default(),
            trusted_proxies: TrustedProxies::default(),
            registration: Registration::Closed,
            allowed_origins: AllowedOrigins::default(),
            cookie_secure: true,
            bootstrap: Bootstrap::default(),
            metrics_listen: None,
            traces: None,
            limits: Limits::default(),
            most_subscribers: 1000,
            clock: Clock::system(),
            tokens,
        }
    }
}

impl AuthSettings {
    /// Has the cookie of a refresh token go with TLS alone.
    pub fn require_secure_cookie(&mut self) {
        self.auth_cookie_secure = true;
    }

    /// Checks the settings against each other and reads the secrets.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn resolve(
        self,
        store: StoreSettings,
        tokens: TokenSettings,
        pairs: PairFiles,
        cors: CorsSettings,
        limits: &LimitSettings,
    ) -> Result<Config, SettingError> {
        if self.auth_registration == Registration::Open
            && self.auth_default_scope.contains(ADMIN_SCOPE)
        {
            return Err(SettingError {
                setting: "AUTH_DEFAULT_SCOPE",
                fault: format!(
                    "with {ADMIN_SCOPE} in it and AUTH_REGISTRATION=open anybody could make themselves an administrator"
                ),
                remedy: "give that scope to single users with 'auth-service user add --scope', or close the registration",
            });
        }
        let allowed_origins = cors.resolve();
        if let Some(elsewhere) = allowed_origins.first_elsewhere()
            && !self.auth_cookie_secure
        {
            return Err(SettingError {
                setting: "AUTH_COOKIE_SECURE",
                fault: format!(
                    "off has refresh tokens sent without TLS, and pages of {elsewhere} may have them"
                ),
                remedy: "use on, or allow nothing but origins on this machine",
            });
        }
        let concurrency = self
            .auth_hashing_concurrency
            .unwrap_or(HashingLimits::default().concurrency);
        let limits = limits.resolve()?;
        let tokens = tokens.resolve(pairs, Need::Signing)?;
        Ok(Config {
            database: store.auth_database_url,
            sessions: SessionPolicy {
                access_token_expires: self.jwt_access_token_expires,
                refresh: RefreshRules {
                    rotation: self.auth_refresh_rotation,
                    grace: self.auth_refresh_grace,
                    token_expires: self.jwt_refresh_token_expires,
                    session_max_age: self.auth_session_max_age,
                    leeway: tokens.leeway,
                },
                default_scope: self.auth_default_scope,
                most_per_user: self.auth_sessions_per_user,
            },
            audit_retention: self.auth_audit_retention,
            attempts: AttemptLimits {
                per_user: self.auth_login_rate_per_user,
                per_address: self.auth_login_rate_per_ip,
            },
            trusted_proxies: self.trusted_proxies,
            hashing: HashingLimits {
                concurrency,
                queue: self.auth_hashing_queue.unwrap_or(64 * concurrency),
                deadline: self.auth_hashing_deadline,
            },
            registration: self.auth_registration,
            allowed_origins,
            cookie_secure: self.auth_cookie_secure,
            bootstrap: self
                .auth_bootstrap_file
                .map_or_else(|| Ok(Bootstrap::default()), |file| Bootstrap::read(&file))?,
            tokens,
            metrics_listen: None,
            traces: None,
            limits,
            most_subscribers: self.auth_max_subscribers,
            clock: Clock::system(),
        })
    }
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = duration(text)?;
    if grace > MAX_GRACE {
        Err(
            "use a duration from 0s to 1h: a stolen refresh token is not noticed within it"
                .to_owned(),
        )
    } else {
        Ok(grace)
    }
}

fn session_age(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    if age.as_secs() == 0 || age.subsec_nanos() != 0 || age > MAX_SESSION_AGE {
        return Err("use whole seconds, from 1s to 3660d".to_owned());
    }
    Ok(age)
}

fn sessions_per_user(text: &str) -> Result<u32, String> {
    let most = count(text, 10_000)?;
    u32::try_from(most).map_err(|error| error.to_string())
}

fn retention(text: &str) -> Result<Duration, String> {
    let retention = duration(text)?;
    if (Duration::from_hours(24)..=MAX_SESSION_AGE).contains(&retention) {
        Ok(retention)
    } else {
        Err("use a duration from 1d to 3660d".to_owned())
    }
}

fn hashing_deadline(text: &str) -> Result<Duration, String> {
    let deadline = duration(text)?;
    if deadline.is_zero() || deadline > MAX_HASHING_DEADLINE {
        return Err("use a duration from 1ms to 9s".to_owned());
    }
    Ok(deadline)
}
