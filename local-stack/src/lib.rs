//! Both services in one process, with SQLite files, a secret of their own and a demo user: `cargo run -p local-stack`.

mod data;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use auth_service::config::{AuthSettings, PairSettings, StoreSettings};
use auth_service::provision;
use clap::parser::ValueSource;
use clap::{ArgMatches, Parser};
use resource_service::config::ResourceSettings;
use service_shell::cors::{CorsSettings, Origin};
use service_shell::keys::PairFiles;
use service_shell::limits::LimitSettings;
use service_shell::settings::{self, LogSettings};
use service_shell::sqlite::DatabaseUrl;
use service_shell::tokens::TokenSettings;
use service_shell::traces::TraceSettings;
use service_shell::{health, logging, serve};
use tokio::sync::watch;

use crate::data::DataDir;

/// What to paste, step by step, against the default addresses.
pub const WALK_THROUGH: &str = include_str!("../walk-through.sh");

/// Both services in one process, with SQLite files, a generated secret and a demo user under ./data
#[derive(Debug, Parser)]
#[command(
    name = "local-stack",
    version,
    after_help = "Every setting is a flag and an environment variable of the same name; durations are written like 30s, 15m, 1h, 7days or \
                  '2d 3h 15m'."
)]
pub struct Cli {
    /// Folder of the secret and the databases, made at the first start
    #[arg(long, value_name = "DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Keep everything in a folder that is removed at the end
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    #[command(flatten)]
    tokens: TokenSettings,
    #[command(flatten)]
    pairs: PairSettings,
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    resource: ResourceSettings,
    #[command(flatten)]
    cors: CorsSettings,
    #[command(flatten)]
    limits: LimitSettings,
    #[command(flatten)]
    traces: TraceSettings,
    #[command(flatten)]
    logs: LogSettings,
}

/// Runs both services until Ctrl-C or SIGTERM.
///
/// # Errors
/// A setting that cannot be used, or a service that breaks.
pub async fn run(mut cli: Cli, given: &ArgMatches) -> anyhow::Result<()> {
    logging::start(&cli.logs)?;
    let data = if cli.ephemeral {
        DataDir::ephemeral()?
    } else {
        DataDir::open(cli.data_dir)?
    };
    let default = |setting: &str| given.value_source(setting) == Some(ValueSource::DefaultValue);
    if default("auth_database_url") {
        cli.store.auth_database_url = DatabaseUrl::file(data.path("auth.db"));
    }
    if default("resource_database_url") {
        cli.resource.resource_database_url = DatabaseUrl::file(data.path("resource.db"));
    }
    let pairs = key_files(&mut cli.tokens, cli.pairs.files(), &data)?;

    // Everything that can be wrong with a setting is found before a service starts or anything is said.
    let auth_listener = serve::listen("AUTH_LISTEN", cli.auth.auth_listen).await?;
    let resource_listener = serve::listen("RESOURCE_LISTEN", cli.resource.resource_listen).await?;
    let (auth_address, resource_address) =
        (auth_listener.local_addr()?, resource_listener.local_addr()?);
    if default("auth_url") {
        let reachable = health::reachable(auth_address);
        cli.resource.auth_url =
            settings::web_address(&format!("http://{reachable}")).map_err(anyhow::Error::msg)?;
    }
    if pairs.private.is_some() && cli.resource.jwt_jwks_url.is_none() {
        let published = settings::below(&cli.resource.auth_url, "/.well-known/jwks.json");
        cli.resource.jwt_jwks_url = Some(published);
    }
    if cli.resource.auth_public_url.is_none() && default("jwt_issuer") {
        cli.resource.auth_public_url = Some(cli.resource.auth_url.clone());
    }
    if cli.cors.is_empty() {
        // The demo page, which is resource-service's, calls auth-service too.
        let page = format!("http://{}", health::reachable(resource_address));
        cli.cors
            .allow(Origin::parse(&page).map_err(anyhow::Error::msg)?);
    }
    if default("auth_cookie_secure") && cli.cors.allows_elsewhere() {
        // The default of the stack is for this machine, and refused where it is not.
        cli.auth.require_secure_cookie();
    }
    if !cli.resource.names_an_account() {
        let secret = data.path("resource-client-secret");
        provision::secret(&secret)?;
        cli.resource.resource_client_id = Some(provision::SERVICE_ACCOUNT.to_owned());
        cli.resource.resource_client_secret_file = Some(secret);
    }
    let (tokens, cors) = (cli.tokens.clone(), cli.cors.clone());
    let mut auth = cli
        .auth
        .resolve(cli.store, tokens, pairs, cors, &cli.limits)?;
    let mut resource = cli.resource.resolve(cli.tokens, cli.cors, &cli.limits)?;
    auth.bootstrap = auth
        .bootstrap
        .with_user(provision::DEMO_USER, &provision::DEMO_PASSWORD.into())?;
    if let Some(account) = &resource.auth_service {
        let scope = provision::SERVICE_SCOPE.parse()?;
        auth.bootstrap = auth
            .bootstrap
            .with_client(&account.client_id, &account.client_secret, scope)
            .context("RESOURCE_CLIENT_ID and RESOURCE_CLIENT_SECRET make no service account")?;
    }
    auth.traces = cli.traces.resolve();
    resource.traces.clone_from(&auth.traces);

    let stop = serve::stop_signal()?;
    let (stopping, stopped) = watch::channel(false);
    let stopped = || {
        let mut stopped = stopped.clone();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };
    let signalled = async {
        stop.await;
        stopping.send_replace(true);
        anyhow::Ok(())
    };
    // What cannot start says so, and nothing else is said.
    let introduced = async {
        until_ready(auth_address).await;
        until_ready(resource_address).await;
        introduce(auth_address, resource_address)
    };
    // The first that breaks ends all: half a stack is none.
    tokio::try_join!(
        signalled,
        async {
            tokio::select! {
                introduced = introduced => introduced,
                () = stopped() => Ok(()),
            }
        },
        auth_service::serve(auth, auth_listener, stopped()),
        resource_service::serve(resource, resource_listener, stopped()),
    )?;
    Ok(())
}

/// Where nothing is said of keys, they are in files that the commands can change while the stack runs: a secret of its own, and
/// room for key pairs.
fn key_files(
    tokens: &mut TokenSettings,
    mut pairs: PairFiles,
    data: &DataDir,
) -> anyhow::Result<PairFiles> {
    if tokens.names_a_secret() || pairs.private.is_some() {
        return Ok(pairs);
    }
    let secret = data.path("jwt-secret");
    provision::secret(&secret)?;
    tokens.take_secret_from(secret);
    let no_keys = |name| {
        let file = data.path(name);
        provision::no_keys(&file).map(|_| file)
    };
    if !tokens.names_previous_secrets() {
        tokens.take_previous_secrets_from(no_keys("jwt-previous-secrets")?);
    }
    pairs.private = Some(no_keys("jwt-private-key")?);
    if pairs.previous_private.is_none() {
        pairs.previous_private = Some(no_keys("jwt-previous-private-keys")?);
    }
    Ok(pairs)
}

/// The walk-through with the addresses that it is to be tried at.
#[must_use]
pub fn walk_through(auth: SocketAddr, resource: SocketAddr) -> String {
    WALK_THROUGH
        .replace("127.0.0.1:8001", &auth.to_string())
        .replace("127.0.0.1:8002", &resource.to_string())
}

async fn until_ready(address: SocketAddr) {
    while health::check(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn introduce(auth: SocketAddr, resource: SocketAddr) -> anyhow::Result<()> {
    let text = format!(
        "auth-service      http://{auth}\nresource-service  http://{resource}\n\n\
         Paste this into another terminal, all of it or line by line. Started with JWT_ACCESS_TOKEN_EXPIRES=10s in the\n\
         environment, the stack lets you see the access token expire; Ctrl-C stops it.\n\n{}",
        walk_through(auth, resource)
    );
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
