//! Whether a service lives, whether it can do its work, and how a container asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// The body of a health answer.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

impl Health {
    /// All is well.
    pub const OK: Json<Self> = Json(Self { status: "ok" });
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It does", body = Health)))]
#[expect(clippy::unused_async, reason = "handlers are async")]
pub async fn live() -> Json<Health> {
    Health::OK
}

/// Where whoever listens on this address is reached from the same machine.
#[must_use]
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(host, listen.port())
}

/// Asks the service that listens on this address whether it is ready: the `healthcheck` command.
///
/// # Errors
/// It is not, or does not answer within two seconds.
pub async fn check(listen: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{}/health/ready", reachable(listen));
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()?;
    let answer = client
        .get(&url)
        .send()
        .await
        .with_context(|| format!("{url} does not answer"))?;
    if !answer.status().is_success() {
        bail!(
            "{url} answers {}: {}",
            answer.status(),
            answer.text().await.unwrap_or_default()
        );
    }
    Ok(())
}
