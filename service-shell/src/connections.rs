//! Connections: taken within a limit, closed when they are idle or slow, and brought to an end without losing an answer.
//!
//! `axum::serve` does the same without any limit: a client that says nothing keeps its connection for ever.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use prometheus_client::registry::Registry;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tower::Service;
use uuid::Uuid;

use crate::limits::Limits;
use crate::metrics;

/// How long an answer may wait to be taken by whoever asked for it.
const UNREAD_LIMIT: Duration = Duration::from_secs(30);

/// How long what a client goes on to send is thrown away, so that it comes to read the answer. A connection that is closed
/// with something unread is reset, and the answer is lost.
const LINGER: Duration = Duration::from_secs(1);

/// Connections over the limit that are told so at the same time; further ones are closed without a word.
const REFUSALS: usize = 64;

/// The same shape as any other error. It is written before anything is read, so that the id is always one of ours.
fn refusal() -> String {
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nx-request-id: {}\r\n\
         connection: close\r\ncontent-length: 74\r\n\r\n\
         {{\"code\":\"overloaded\",\"msg\":\"The service is overloaded, try again shortly\"}}",
        Uuid::now_v7()
    )
}

/// The connections that there are. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    most: usize,
    places: Arc<Semaphore>,
}

impl Connections {
    pub(crate) fn at_most(most: usize) -> Self {
        Self {
            most,
            places: Arc::new(Semaphore::new(most)),
        }
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        let (most, places) = (self.most, Arc::clone(&self.places));
        metrics::gauge(
            registry,
            "http_connections",
            "Connections that are open",
            move || metrics::count(most - places.available_permits()),
        );
        metrics::gauge(
            registry,
            "http_connections_limit",
            "Connections that may be open",
            move || metrics::count(most),
        );
    }
}

/// Serves the routes until `shutdown` ends, and then the requests that are running, within a limit.
pub(crate) async fn serve(
    routes: Router,
    listener: TcpListener,
    limits: Limits,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes);
    let server = Server {
        routes: routes.with_state(()),
        http,
        stopping: Arc::default(),
    };
    let places = connections.places;
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let graceful = GracefulShutdown::new();
    let mut running = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    unaccepted(&error).await;
                    continue;
                }
            },
            Some(_) = running.join_next() => continue,
            () = &mut shutdown => break,
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let watcher = graceful.watcher();
            running.spawn(server.clone().converse(stream, peer, watcher, place));
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            running.spawn(refuse(server.socket(stream), place));
        }
    }
    drop(listener);
    server.stopping.store(true, Ordering::Relaxed);
    let ended = tokio::time::timeout(limits.stop_limit, graceful.shutdown()).await;
    if ended.is_err() {
        let after = limits.stop_limit;
        tracing::warn!("stopped with requests still running after {after:?}");
    }
}

/// A client that went away before it was taken is nobody's trouble; without files to open, it may help to wait.
async fn unaccepted(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    tracing::error!("no connection can be taken: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn refuse(mut socket: Socket, _place: OwnedSemaphorePermit) {
    // A client that does not take even this is cut off.
    let _ = tokio::time::timeout(LINGER, async {
        socket.write_all(refusal().as_bytes()).await?;
        socket.shutdown().await
    })
    .await;
}

#[derive(Clone)]
struct Server {
    routes: Router,
    http: http1::Builder,
    stopping: Arc<AtomicBool>,
}

impl Server {
    fn socket(&self, stream: TcpStream) -> Socket {
        // Answers are small and written at once: Nagle's algorithm could only hold them up.
        let _ = stream.set_nodelay(true);
        // Whoever does not take what is sent is cut off by the kernel: no task of ours gets to see it.
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_LIMIT));
        Socket {
            stream,
            stopping: Arc::clone(&self.stopping),
            lingering: None,
        }
    }

    /// One connection, request by request.
    async fn converse(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        watcher: Watcher,
        _place: OwnedSemaphorePermit,
    ) {
        let socket = TokioIo::new(self.socket(stream));
        let routes = self.routes;
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.clone().call(request)
        });
        let connection = self.http.serve_connection(socket, answer);
        // What breaks here is the client's connection; what was answered on it is in the log.
        let _ = watcher.watch(connection).await;
    }
}

/// A connection that lets the client read to the end before it goes.
struct Socket {
    stream: TcpStream,
    stopping: Arc<AtomicBool>,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            // The stop waits for connections: those that are idle must not hold it up.
            if this.stopping.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering = this
            .lingering
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if lingering.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut thrown_away = [0; 16 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
