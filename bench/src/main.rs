//! What the services can do on this machine, each figure beside a reference taken in the same run:
//! `cargo run --release -p bench -- route`, `-- login`, `-- refresh`, `-- storm`, `-- scale`, `-- revocation`.
//!
//! No machine is quiet for long, so the variants of a table take turns in short rounds, and the table compares their
//! medians: what slows the machine down for a while slows all of them. Everything stays on the loopback interface and
//! ends by itself.

mod auth;
mod bare;
mod load;
mod login;
mod population;
mod refresh;
mod report;
mod revocation;
mod rounds;
mod route;
mod scale;
mod server;
mod storm;
mod usual;

use anyhow::ensure;
use clap::{Parser, Subcommand};

use crate::rounds::Rounds;

/// Measures the services on this machine, each figure beside a reference taken in the same run
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    rounds: Rounds,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What a small route costs bare, protected, and with all that surrounds a route of the services
    Route {
        /// Connections that are kept alive, each with one request at a time
        #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
        connections: u16,
        /// Threads of the server
        #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
        server_threads: u16,
    },
    /// Logins per second beside bare password hashing
    Login,
    /// Refreshes per second, with and without rotation, beside the bare update of a row
    Refresh {
        /// Callers at the same time, each with a session of its own
        #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=64))]
        callers: u16,
    },
    /// Refreshes, reads and memory while many log in at the same time
    Storm {
        /// How many log in
        #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [64, 512], value_parser = clap::value_parser!(u16).range(1..=2000))]
        logins: Vec<u16>,
    },
    /// What many users and sessions cost
    Scale {
        /// How many users, each with a session
        #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000], value_parser = clap::value_parser!(u32).range(64..=10_000_000))]
        sizes: Vec<u32>,
    },
    /// The time from a logout to the last service's refusal, and what many ended sessions cost a service
    Revocation {
        /// Logouts, one after the other
        #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        logouts: u16,
        /// Services that listen
        #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
        services: u16,
    },
}

// The load generator has this one thread, the servers have their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Cli { command, rounds } = Cli::parse();
    ensure!(
        !cfg!(debug_assertions),
        "an unoptimised build says nothing: cargo run --release -p bench"
    );
    server::log_to_nowhere()?;
    report::print(&report::machine_and_command());
    match command {
        Command::Route {
            connections,
            server_threads,
        } => route::run(&rounds, connections.into(), server_threads.into()).await,
        Command::Login => login::run(&rounds).await,
        Command::Refresh { callers } => refresh::run(&rounds, callers.into()).await,
        Command::Storm { logins } => storm::run(&rounds, &logins).await,
        Command::Scale { sizes } => scale::run(&rounds, &sizes).await,
        Command::Revocation { logouts, services } => revocation::run(logouts, services).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
