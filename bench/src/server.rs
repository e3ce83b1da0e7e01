//! Servers in this process, on threads of their own, and the processor time that those threads and their databases' have had.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::rounds::Turn;

/// By this the kernel knows the servers' threads.
const THREAD_NAME: &str = "server";
/// And those of their databases, as sqlx and the services' store name them.
const DATABASE_THREADS: [&str; 2] = ["sqlx-", "store-"];

/// Ends when the server is to stop.
pub(crate) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts logging as the services do it, to where it is lost: writing a line costs what it costs, reading it nothing.
///
/// # Errors
/// There is no `/dev/null`.
pub(crate) fn log_to_nowhere() -> anyhow::Result<()> {
    let nowhere = File::options()
        .write(true)
        .open("/dev/null")
        .context("/dev/null cannot be written to")?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(nowhere)
        .json()
        .flatten_event(true)
        .try_init()
        .map_err(|error| anyhow!(error))
}

/// Servers that share their threads.
#[derive(Debug)]
pub(crate) struct Servers {
    runtime: Option<Runtime>,
    stopping: watch::Sender<bool>,
    running: JoinSet<anyhow::Result<()>>,
}

impl Servers {
    pub(crate) fn on_threads(count: usize) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(THREAD_NAME)
            .enable_all()
            .build()
            .context("the servers' threads cannot be started")?;
        Ok(Self {
            runtime: Some(runtime),
            stopping: watch::Sender::new(false),
            running: JoinSet::new(),
        })
    }

    /// Starts a server on a free port.
    pub(crate) fn start<F>(
        &mut self,
        serve: impl FnOnce(TcpListener, Stop) -> F,
    ) -> anyhow::Result<SocketAddr>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().context("the servers were stopped")?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _threads = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let mut stopping = self.stopping.subscribe();
        let stop = Box::pin(async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        });
        self.running
            .spawn_on(serve(listener, stop), runtime.handle());
        Ok(address)
    }

    /// How much processor time the threads of all servers, and of their databases, have in the part of the turn that counts, in seconds.
    pub(crate) async fn processor_seconds(&self, turn: Turn) -> anyhow::Result<f64> {
        tokio::time::sleep_until(turn.from).await;
        let before = processor_time()?;
        tokio::time::sleep_until(turn.until).await;
        Ok((processor_time()?.saturating_sub(before)).as_secs_f64())
    }

    /// Stops the servers and waits until they have.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            ended.context("a server panicked")??;
        }
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // A runtime must not wait for its threads inside of another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What this process has in memory.
pub(crate) fn resident_kib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("there is no /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure
        .context("the kernel does not tell")?
        .parse()
        .map_err(Into::into)
}

/// What the kernel has counted for the servers' threads so far, to the nanosecond: `/proc/…/schedstat` begins with it.
fn processor_time() -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir("/proc/self/task").context("there is no /proc")? {
        let folder = thread?.path();
        // A thread may end while the folder is read.
        let Ok(name) = fs::read_to_string(folder.join("comm")) else {
            continue;
        };
        let is_database = DATABASE_THREADS.iter().any(|begin| name.starts_with(begin));
        if is_database || name.trim_end() == THREAD_NAME {
            let counted = fs::read_to_string(folder.join("schedstat"))
                .context("the kernel keeps no schedstat")?;
            let nanoseconds = counted.split(' ').next().unwrap_or_default().parse()?;
            sum += Duration::from_nanos(nanoseconds);
        }
    }
    Ok(sum)
}
