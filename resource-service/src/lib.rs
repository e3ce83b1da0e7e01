//! resource-service holds the data. It verifies access tokens by itself, with `shared-claims` and the common secret:
//! there is no call to auth-service on the way of a request.
//!
//! [`serve`] is the whole service: the binary, the tests and the local stack all call it.

mod accounts;
mod app;
pub mod config;
mod dashboard;
pub mod database;
mod http;
mod metrics;
mod profiles;
mod storage;

use axum::extract::FromRef;
use service_shell::serve::{Shell, listen};
use tokio::net::TcpListener;

use crate::app::AppState;
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
    tracing::info!(address = %listener.local_addr()?, "resource-service listens");
    let routes = http::router(state.clone(), apart.is_none());
    let apart = apart.map(|listener| (http::metrics_router(state.clone()), listener));
    let shell = Shell::from_ref(&state);
    let stopping = shell.stopping(shutdown);
    shell.serve((routes, listener), apart, stopping).await;
    state.stop().await;
    Ok(())
}
