//! The binary of the local stack: parses the command line and dispatches.

use std::process::ExitCode;

use clap::CommandFactory;
use local_stack::Cli;
use service_shell::settings;

#[tokio::main]
async fn main() -> ExitCode {
    match settings::parse::<Cli>(Cli::command().mut_arg("auth_registration", |argument| {
        argument.default_value("open")
    })) {
        Ok((cli, given)) => {
            settings::end("local-stack", Box::pin(local_stack::run(cli, &given)).await)
        }
        Err(code) => code,
    }
}
