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
mod profiles;
mod storage;

use tokio::net::TcpListener;

use crate::app::AppState;
use crate::config::Config;

/// Serves on the listener until `shutdown` ends.
///
/// # Errors
/// The store cannot be opened.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let limits = config.limits;
    let state = AppState::start(config).await?;
    tracing::info!(address = %listener.local_addr()?, "resource-service listens");
    let routes = http::router(state.clone(), limits);
    service_shell::serve::serve(routes, listener, limits, shutdown).await;
    state.stop().await;
    Ok(())
}
