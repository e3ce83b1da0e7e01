//! The one connection that writes. Changes that arrive while one is being brought to the disk share the next commit.
//!
//! With `synchronous=FULL` a commit costs far more than the statements in it, so that sharing it is where throughput
//! comes from; the promise stays what it was: a change is answered when it is on the disk.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use super::StorageError;
use super::checkpoint::Checkpointer;
use crate::metrics;

/// Changes that wait; more have to wait before they may wait.
const QUEUE: usize = 1024;
/// Changes that share a commit at the most, so that the first of them is not held up by those behind.
const BATCH: usize = 256;

/// A handle on the writing connection.
#[derive(Clone, Debug)]
pub struct Writer {
    messages: mpsc::Sender<Message>,
    batches: Batches,
}

/// What is counted of commits.
#[derive(Clone, Debug)]
struct Batches {
    changes: Histogram,
    took: Histogram,
}

enum Message {
    Change(Box<dyn Change>),
    Close(oneshot::Sender<()>),
}

/// One caller's change, on its way through a batch.
trait Change: Send {
    /// Makes the change; `Err` when it left nothing behind that could be kept.
    fn make<'c>(
        &'c mut self,
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<(), ()>>;
    /// Answers the caller, after the commit.
    fn answer(self: Box<Self>, kept: Result<(), Arc<sqlx::Error>>);
}

struct Pending<T, W> {
    work: Option<W>,
    outcome: Option<Result<T, StorageError>>,
    caller: oneshot::Sender<Result<T, StorageError>>,
}

impl<T, W> Change for Pending<T, W>
where
    T: Send,
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StorageError>> + Send,
{
    fn make<'c>(
        &'c mut self,
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<(), ()>> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return Err(());
            };
            let outcome = AssertUnwindSafe(work(connection)).catch_unwind().await;
            let outcome =
                outcome.unwrap_or_else(|_| Err(StorageError::NotKept("it panicked".to_owned())));
            let made = if outcome.is_ok() { Ok(()) } else { Err(()) };
            self.outcome = Some(outcome);
            made
        })
    }

    fn answer(self: Box<Self>, kept: Result<(), Arc<sqlx::Error>>) {
        let outcome = match (self.outcome, kept) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) if super::is_busy(&error) => {
                Err(StorageError::Busy(sqlx::Error::Protocol(error.to_string())))
            }
            (_, Err(error)) => Err(StorageError::NotKept(error.to_string())),
            (None, Ok(())) => Err(StorageError::NotKept("its turn never came".to_owned())),
        };
        // A caller that went away has had its change made all the same: it may ask again what came of it.
        let _ = self.caller.send(outcome);
    }
}

impl Writer {
    /// Starts the writer, on a thread of its own: a commit goes back and forth between it and the connection's thread, and would else
    /// wait each time behind all the requests that have come meanwhile. The thread ends with the last handle.
    pub(super) fn start(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
    ) -> io::Result<Self> {
        let (messages, receiver) = mpsc::channel(QUEUE);
        let batches = Batches {
            changes: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            took: metrics::seconds(),
        };
        let running = run(connection, receiver, batches.clone(), options);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(running))?;
        Ok(Self { messages, batches })
    }

    /// Makes known what is counted of commits.
    pub fn expose(&self, registry: &mut Registry) {
        registry.register(
            "tokenpair_database_batch_changes",
            "Changes that shared a commit",
            self.batches.changes.clone(),
        );
        registry.register(
            "tokenpair_database_commit_seconds",
            "How long changes and their commit took",
            self.batches.took.clone(),
        );
    }

    /// Makes a change of one or more statements, whole or not at all, and returns when it is on the disk. The change is
    /// made even if the caller does not wait for it.
    ///
    /// # Errors
    /// The change's own error, or that it could not be kept.
    pub async fn write<T, W>(&self, work: W) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StorageError>>
            + Send
            + 'static,
    {
        let (caller, outcome) = oneshot::channel();
        let change = Pending {
            work: Some(work),
            outcome: None,
            caller,
        };
        let closed = |()| StorageError::NotKept("the store is closed".to_owned());
        self.messages
            .send(Message::Change(Box::new(change)))
            .await
            .map_err(|_| closed(()))?;
        outcome.await.map_err(|_| closed(()))?
    }

    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.messages.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

async fn run(
    mut connection: SqliteConnection,
    mut messages: mpsc::Receiver<Message>,
    batches: Batches,
    options: SqliteConnectOptions,
) {
    let mut checkpointer = Checkpointer::start(options);
    let mut waiting = Vec::with_capacity(BATCH);
    let mut closing = Vec::new();
    while messages.recv_many(&mut waiting, BATCH).await > 0 {
        let mut batch = Vec::with_capacity(waiting.len());
        for message in waiting.drain(..) {
            match message {
                Message::Change(change) => batch.push(change),
                Message::Close(done) => closing.push(done),
            }
        }
        let started = Instant::now();
        let kept = commit(&mut connection, &mut batch).await.map_err(Arc::new);
        if !batch.is_empty() {
            batches
                .changes
                .observe(f64::from(u16::try_from(batch.len()).unwrap_or(u16::MAX)));
            batches.took.observe(started.elapsed().as_secs_f64());
            checkpointer.written(batch.len());
        }
        for change in batch {
            change.answer(kept.clone());
        }
        if !closing.is_empty() {
            break;
        }
    }
    checkpointer.stop().await;
    let _ = connection.close().await;
    for done in closing {
        let _ = done.send(());
    }
}

/// Each change stands on a savepoint of its own: one that fails takes nothing of the others with it. After any error of
/// the transaction itself, a full disk say, nothing of the batch is kept and the connection is as good as before.
async fn commit(
    connection: &mut SqliteConnection,
    batch: &mut [Box<dyn Change>],
) -> sqlx::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let kept = transaction(connection, batch).await;
    if kept.is_err() {
        // SQLite may have rolled back already, and then says that there is nothing to roll back.
        let _ = statement(connection, "rollback").await;
    }
    kept
}

/// What stands between two changes is sent as one: each sending is handed to the connection's thread and back again, which takes
/// long where all cores are busy.
async fn transaction(
    connection: &mut SqliteConnection,
    batch: &mut [Box<dyn Change>],
) -> sqlx::Result<()> {
    statement(connection, "begin immediate; savepoint change").await?;
    let mut changes = batch.iter_mut().peekable();
    while let Some(change) = changes.next() {
        let made = change.make(connection).await.is_ok();
        let next = match (made, changes.peek().is_some()) {
            (true, true) => "release change; savepoint change",
            // Takes the savepoint with it.
            (true, false) => "commit",
            // The savepoint stays, for the next one.
            (false, true) => "rollback to change",
            (false, false) => "rollback to change; commit",
        };
        statement(connection, next).await?;
    }
    Ok(())
}

/// Not sqlx's own transactions: they count how deep they are, and lose count when SQLite rolls back by itself.
async fn statement(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<()> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}
