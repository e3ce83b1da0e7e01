//! Start and stop: an address to listen on, a signal to end on, and the time in between.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tower_http::cors::CorsLayer;

use crate::connections::Connections;
use crate::cors::Readers;
use crate::limits::Limits;
use crate::problem::Problem;
use crate::request_log::{RequestLog, Wording};
use crate::settings::SettingError;
use crate::traces::TraceExport;
use crate::{connections, problem};

/// Listens on the address of this setting.
///
/// # Errors
/// Somebody else listens there, or the address is not this machine's.
pub async fn listen(
    setting: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, SettingError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => SettingError {
                setting,
                fault: format!("{address} is already in use"),
                remedy: "stop the program that listens there, or choose another port",
            },
            io::ErrorKind::PermissionDenied => SettingError {
                setting,
                fault: format!("this user may not listen on {address}"),
                remedy: "choose a port from 1024 up",
            },
            _ => SettingError {
                setting,
                fault: format!("cannot listen on {address}: {error}"),
                remedy: "use an address of this machine",
            },
        })
}

/// Ends with the first Ctrl-C or SIGTERM.
///
/// # Errors
/// The operating system does not let us hear of signals.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// What every service has around its routes. Clones share it.
#[derive(Clone, Debug)]
pub struct Shell {
    log: RequestLog,
    limits: Limits,
    connections: Connections,
}

impl Shell {
    /// For a service of this name.
    #[must_use]
    pub fn new(service: &'static str, limits: Limits) -> Self {
        Self::tracing(service, limits, None)
    }

    /// For a service of this name, of whose requests spans are sent, if it is said where to. For that a runtime must be there.
    ///
    /// # Panics
    /// When the system's TLS cannot be set up.
    #[must_use]
    pub fn tracing(service: &'static str, limits: Limits, traces: Option<&TraceExport>) -> Self {
        Self {
            log: RequestLog::new(service, limits, traces),
            limits,
            connections: Connections::at_most(limits.connections),
        }
    }

    /// The same, with what the shell answers by itself below this path in another form than elsewhere.
    #[must_use]
    pub fn with_wording(self, below: &'static str, wording: Wording) -> Self {
        let log = self.log.with_wording(below, wording);
        Self { log, ..self }
    }

    /// Makes known what is counted of connections and requests.
    pub fn expose(&self, registry: &mut Registry) {
        self.log.expose(registry);
        self.connections.expose(registry);
    }

    /// What ends with `shutdown`, and then some: from `shutdown` on the service is not [ready](Self::ready), and goes on as ever
    /// until a load balancer has had the time to see it.
    pub fn stopping(
        &self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (log, delay) = (self.log.clone(), self.limits.stop_delay);
        async move {
            shutdown.await;
            log.stop();
            tokio::time::sleep(delay).await;
        }
    }

    /// Whether the service takes requests, as far as the shell knows.
    ///
    /// # Errors
    /// It is about to stop.
    pub fn ready(&self) -> Result<(), Problem> {
        if self.log.is_stopping() {
            return Err(Problem::stopping());
        }
        Ok(())
    }

    /// Puts around the routes: the request log, the limits on requests, what pages of other origins may do, and answers of
    /// our own shape where there is no route or no such method.
    ///
    /// A preflight is answered before anything asks it for a token. What the request log answers by itself, after a panic, the
    /// time limit or at too many requests, is outside of that layer and for the same pages to read. A connection too many is
    /// refused before anything is read, to a page a network that failed.
    pub fn around<S: Clone + Send + Sync + 'static>(
        &self,
        routes: Router<S>,
        cors: Option<CorsLayer>,
    ) -> Router<S> {
        let routes = routes
            .fallback(problem::not_found)
            .method_not_allowed_fallback(problem::method_not_allowed);
        let routes = match cors.clone() {
            Some(cors) => routes.layer(cors),
            None => routes,
        };
        routes.layer(self.log.clone().with_readers(Readers::new(cors)))
    }

    /// Serves the routes, and others aside from them at an address of their own, until `shutdown` ends, and then the requests
    /// that are running, within a limit. Spans that are left are sent then, within two seconds.
    pub async fn serve(
        &self,
        (routes, listener): (Router, TcpListener),
        aside: Option<(Router, TcpListener)>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let (stopping, mut stopped) = watch::channel(false);
        let shutdown = async move {
            shutdown.await;
            stopping.send_replace(true);
        };
        let connections = self.connections.clone();
        let served = connections::serve(routes, listener, self.limits, connections, shutdown);
        let aside = async {
            let Some((routes, listener)) = aside else {
                return;
            };
            let connections = Connections::at_most(self.limits.connections);
            let stopped = async {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            connections::serve(routes, listener, self.limits, connections, stopped).await;
        };
        tokio::join!(served, aside);
        self.log.stop_spans().await;
    }
}
