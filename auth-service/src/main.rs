//! The binary of auth-service: parses the command line and dispatches.

use std::process::ExitCode;

use auth_service::Cli;
use clap::CommandFactory;
use service_shell::settings;

#[tokio::main]
async fn main() -> ExitCode {
    match settings::parse::<Cli>(Cli::command()) {
        Ok((cli, _)) => settings::end("auth-service", auth_service::run(cli).await),
        Err(code) => code,
    }
}
