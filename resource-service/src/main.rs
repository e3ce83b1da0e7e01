//! The binary of resource-service: parses the command line and dispatches.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use resource_service::config::ResourceSettings;
use resource_service::database::{self, DatabaseCommand};
use service_shell::cors::CorsSettings;
use service_shell::limits::LimitSettings;
use service_shell::metrics::MetricsSettings;
use service_shell::settings::{self, LogSettings};
use service_shell::tokens::TokenSettings;
use service_shell::traces::TraceSettings;
use service_shell::{health, logging, serve};

/// Holds the data, and verifies access tokens by itself
#[derive(Debug, Parser)]
#[command(
    name = "resource-service",
    version,
    after_help = "Without a command it serves. Every setting is a flag and an environment variable of the same name; durations are written \
                  like 30s, 15m, 1h, 7days or '2d 3h 15m'."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tokens: TokenSettings,
    #[command(flatten)]
    resource: ResourceSettings,
    #[command(flatten)]
    cors: CorsSettings,
    #[command(flatten)]
    limits: LimitSettings,
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    traces: TraceSettings,
    #[command(flatten)]
    logs: LogSettings,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::doc_markdown, reason = "the comments are the text of --help")]
enum Command {
    /// Serve (the same as no command)
    Serve,
    /// Back up and restore the database
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Ask the service that listens on RESOURCE_LISTEN whether it is ready (for containers)
    Healthcheck,
}

#[tokio::main]
async fn main() -> ExitCode {
    match settings::parse::<Cli>(Cli::command()) {
        Ok((cli, _)) => settings::end("resource-service", run(cli).await),
        Err(code) => code,
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None | Some(Command::Serve) => {
            logging::start(&cli.logs)?;
            let listen = cli.resource.resource_listen;
            let mut config = cli.resource.resolve(cli.tokens, cli.cors, &cli.limits)?;
            config.metrics_listen = cli.metrics.metrics_listen;
            config.traces = cli.traces.resolve();
            let listener = serve::listen("RESOURCE_LISTEN", listen).await?;
            resource_service::serve(config, listener, serve::stop_signal()?).await
        }
        Some(Command::Database(command)) => {
            database::run(command, &cli.resource.resource_database_url).await
        }
        Some(Command::Healthcheck) => health::check(cli.resource.resource_listen).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
