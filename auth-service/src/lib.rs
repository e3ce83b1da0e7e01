//! auth-service knows the users, checks their passwords, and issues the tokens that every other service verifies by
//! itself.
//!
//! [`serve`] is the whole service: the binary, the tests and the local stack all call it.

mod app;
mod attempts;
mod audit;
mod bootstrap;
mod cli;
mod clients;
pub mod config;
mod grants;
mod hashing;
mod http;
mod key_files;
mod key_holders;
mod metrics;
mod password;
pub mod provision;
mod proxies;
mod revocations;
mod rotation;
mod sessions;
mod storage;
mod username;
mod users;

use axum::extract::FromRef;
use service_shell::serve::{Shell, listen};
use tokio::net::TcpListener;

use crate::app::AppState;
pub use crate::cli::{Cli, run};
use crate::config::Config;

/// Serves on the listener until `shutdown` ends.
///
/// # Errors
/// The store cannot be opened, or an address not be listened on.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let apart = match config.metrics_listen {
        Some(address) => Some(listen("METRICS_LISTEN", address).await?),
        None => None,
    };
    let state = AppState::start(config).await?;
    tracing::info!(address = %listener.local_addr()?, "auth-service listens");
    let shell = Shell::from_ref(&state);
    let stopping = state.stopping(shell.stopping(shutdown));
    let routes = http::router(state.clone(), apart.is_none());
    let apart = apart.map(|listener| (http::metrics_router(state.clone()), listener));
    shell.serve((routes, listener), apart, stopping).await;
    state.stop().await;
    Ok(())
}
