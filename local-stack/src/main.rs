//! The binary of the local stack: parses the command line and dispatches.

use std::process::ExitCode;

use clap::CommandFactory;
use local_stack::Cli;
use service_shell::settings;

#[tokio::main]
async fn main() -> ExitCode {
    // What the stack is for comes by plain HTTP from this very machine.
    let command = Cli::command()
        .mut_arg("auth_registration", |argument| {
            argument.default_value("open")
        })
        .mut_arg("auth_cookie_secure", |argument| {
            argument.default_value("off")
        });
    match settings::parse::<Cli>(command) {
        Ok((cli, given)) => {
            settings::end("local-stack", Box::pin(local_stack::run(cli, &given)).await)
        }
        Err(code) => code,
    }
}
