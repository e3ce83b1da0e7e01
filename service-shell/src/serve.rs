//! Start and stop: an address to listen on, a signal to end on, and the time in between.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::serve::ListenerExt;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tower_http::cors::CorsLayer;

use crate::body::MAX_BODY_BYTES;
use crate::problem;
use crate::request_log::RequestLog;
use crate::settings::SettingError;

/// How long requests that are running when the stop comes may take to end: half of what Docker waits before it kills.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long an answer may wait to be taken by whoever asked for it.
const UNREAD_LIMIT: Duration = Duration::from_secs(30);

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

/// What every service puts around its routes: the request log, what pages of other origins may do, the body limit, and
/// answers of our own shape where there is no route or no such method.
///
/// A preflight is answered before anything asks it for a token. What the request log answers by itself, after a panic or the
/// time limit, no page of another origin can read: to it that is a network that failed.
pub fn with_shell<S: Clone + Send + Sync + 'static>(
    service: &'static str,
    routes: Router<S>,
    cors: Option<CorsLayer>,
) -> Router<S> {
    let routes = routes
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    let routes = match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(RequestLog { service })
}

/// Serves the routes until `shutdown` ends, and then the requests that are running, within a limit.
///
/// # Errors
/// The listener breaks.
pub async fn serve(
    routes: Router,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let shutdown = async move {
        shutdown.await;
        let _ = stopping.send(());
    };
    // Answers are small and written at once: Nagle's algorithm could only hold them up.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
        // Whoever does not take what is sent is cut off by the kernel: no task of ours gets to see it.
        let _ = SockRef::from(&*connection).set_tcp_user_timeout(Some(UNREAD_LIMIT));
    });
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(shutdown);
    let limit = async {
        if stopped.await.is_ok() {
            tokio::time::sleep(STOP_LIMIT).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = server => ended.context("the listener broke"),
        () = limit => {
            tracing::warn!("stopped with requests still running after {STOP_LIMIT:?}");
            Ok(())
        }
    }
}
