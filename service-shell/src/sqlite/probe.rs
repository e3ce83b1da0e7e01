//! Whether a store can do its work, which anybody may ask as often as they like.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use sqlx::SqlitePool;

use super::{StorageError, Writer};
use crate::request_log::chain;

/// How long it is taken for granted that what could be written can be written: within the interval of any health check.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// And how long that it cannot: whoever waits for the store to be well again is not to wait for long.
const BAD_FOR: Duration = Duration::from_secs(1);

type Outcome = Result<(), Arc<StorageError>>;

/// The last time that the store was tried. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe(Arc<Mutex<Option<Trial>>>);

#[derive(Debug)]
struct Trial {
    begun: Instant,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

impl Trial {
    fn holds(&self) -> bool {
        let time = match self.outcome.peek() {
            Some(Err(_)) => BAD_FOR,
            Some(Ok(())) | None => GOOD_FOR,
        };
        self.begun.elapsed() < time
    }
}

impl Probe {
    /// Tries the store, unless it was tried a moment ago: a commit for every question would let whoever asks keep the disk busy.
    pub(super) async fn ask(
        &self,
        readers: &SqlitePool,
        writer: &Writer,
    ) -> Result<(), StorageError> {
        let outcome = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = || Trial {
                begun: Instant::now(),
                outcome: in_a_task(try_out(readers.clone(), writer.clone()))
                    .boxed()
                    .shared(),
            };
            match &*last {
                Some(trial) if trial.holds() => trial.outcome.clone(),
                _ => last.insert(begin()).outcome.clone(),
            }
        };
        outcome.await.map_err(|error| {
            let cause = sqlx::Error::Protocol(chain(&*error));
            match &*error {
                StorageError::Busy(_) => StorageError::Busy(cause),
                _ => StorageError::Failed(cause),
            }
        })
    }
}

/// A caller that goes away half-way leaves no reader checked out.
async fn in_a_task(trial: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    let tried = tokio::spawn(trial).await;
    tried.unwrap_or_else(|error| {
        Err(StorageError::from(sqlx::Error::Protocol(error.to_string())).into())
    })
}

async fn try_out(readers: SqlitePool, writer: Writer) -> Outcome {
    let reading = sqlx::query("select 1").execute(&readers).await;
    reading.map_err(StorageError::from)?;
    // A transaction without a change is committed without a look at the disk. This writes what stands there already, as the start
    // does.
    let writing = writer.write(|connection| {
        Box::pin(async move {
            sqlx::query("pragma user_version = 1")
                .execute(connection)
                .await?;
            Ok(())
        })
    });
    Ok(writing.await?)
}
