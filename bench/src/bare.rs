//! A bare axum route: the least that an answer over HTTP takes on this machine, and so what all else is compared with.

use std::net::SocketAddr;

use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::load::{Repeating, drive};
use crate::rounds::{Turn, Waits};
use crate::server::{Servers, Stop};

/// What the route answers with.
#[derive(Debug, Serialize)]
pub(crate) struct Item {
    id: u32,
    name: &'static str,
}

impl Item {
    pub(crate) fn json() -> Json<Self> {
        Json(Self {
            id: 4711,
            name: "cosmo",
        })
    }
}

/// The route.
pub(crate) fn routes() -> Router {
    Router::new().route("/item", get(async || Item::json()))
}

/// Serves routes as axum does.
pub(crate) async fn serve(routes: Router, listener: TcpListener, stop: Stop) -> anyhow::Result<()> {
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await?;
    Ok(())
}

/// The route, served beside what is compared with it.
#[derive(Debug)]
pub(crate) struct BareRoute {
    pub(crate) address: SocketAddr,
    servers: Servers,
}

impl BareRoute {
    pub(crate) const NAME: &str = "a bare axum route";
    pub(crate) const REQUEST: &str =
        "GET /item HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n";

    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut servers = Servers::on_threads(1)?;
        let address = servers.start(|listener, stop| serve(routes(), listener, stop))?;
        Ok(Self { address, servers })
    }

    /// So many callers ask it until the turn ends.
    pub(crate) async fn drive(&self, callers: usize, turn: Turn) -> anyhow::Result<Waits> {
        let callers = vec![Repeating::new(Self::REQUEST); callers];
        Ok(drive(self.address, callers, turn).await?.1)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.servers.stop().await
    }
}
