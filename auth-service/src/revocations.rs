//! The revocation feed: every ended session whose access tokens may still be good somewhere, to every verifier that listens.
//!
//! The table is the feed's log. What happens in this process only says "look again": a slow or absent subscriber loses
//! nothing, and one that reads slowly costs no memory, for the next rows are read when it has taken the last ones.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use prometheus_client::registry::Registry;
use service_shell::metrics;
use service_shell::request_log::chain;
use service_shell::sqlite::StorageError;
use shared_claims::wire::FeedHello;
use shared_claims::{AccessClaims, Clock, NumericDate, SessionId, Subject, Verifier};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::grants::Grants;
use crate::sessions::RefreshError;
use crate::storage::Store;

/// How often the table is looked at without a word from this process: commands on the same file end sessions too.
const LOOK: Duration = Duration::from_millis(100);
/// How often a subscriber's right to listen is looked at again.
const CONFIRM: Duration = Duration::from_secs(1);
/// After this long with nothing to say, that is said: well within the 15 s that subscribers may count on.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Rows that are read for a subscriber at once.
const BATCH: u32 = 1000;

/// The end of a session, as the feed tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) seq: i64,
    pub(crate) session: SessionId,
    pub(crate) reason: String,
    pub(crate) revoked_at: NumericDate,
    /// From then on the session's last access token has expired by itself.
    pub(crate) forget_after: NumericDate,
}

/// What a subscriber is sent, in this order: the hello, what it has not read yet, that it has caught up, what is new; and a
/// heartbeat when there is nothing.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Hello(FeedHello),
    Revoked(Revocation),
    CaughtUp,
    Heartbeat,
}

/// The feed. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct RevocationFeed(Arc<Feed>);

#[derive(Debug)]
struct Feed {
    store: Store,
    grants: Grants,
    clock: Clock,
    /// What the hello says, but for the keys, which change.
    terms: FeedHello,
    verifier: Verifier,
    /// The seq of the newest row.
    newest: watch::Sender<i64>,
    stopping: watch::Sender<bool>,
    places: Places,
}

/// The streams that there may be. No one listener may take all of them: those of the others, which start anew, would find none.
#[derive(Clone, Debug)]
struct Places(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    free: usize,
    /// The most that one may have.
    each: usize,
    by: HashMap<Subject, usize>,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
struct Place {
    places: Places,
    subject: Subject,
}

impl Places {
    fn new(most: usize) -> Self {
        let kept = (most / 10).max(1);
        Self(Arc::new(Mutex::new(Taken {
            free: most,
            each: most.saturating_sub(kept).max(1),
            by: HashMap::new(),
        })))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, subject: &Subject) -> Option<Place> {
        let mut taken = self.taken();
        if taken.free == 0 || taken.by.get(subject).is_some_and(|has| *has >= taken.each) {
            return None;
        }
        taken.free -= 1;
        *taken.by.entry(subject.clone()).or_default() += 1;
        Some(Place {
            places: self.clone(),
            subject: subject.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.free += 1;
        if let Entry::Occupied(mut has) = taken.by.entry(self.subject.clone()) {
            *has.get_mut() -= 1;
            if *has.get() == 0 {
                has.remove();
            }
        }
    }
}

/// There are as many subscribers as there may be.
#[derive(Debug, thiserror::Error)]
#[error("AUTH_MAX_SUBSCRIBERS listen to the feed")]
pub(crate) struct TooManySubscribers;

impl RevocationFeed {
    /// Starts to look at the table, until the task is stopped.
    pub(crate) fn start(
        store: Store,
        grants: Grants,
        clock: Clock,
        terms: FeedHello,
        verifier: Verifier,
        most_subscribers: usize,
    ) -> (Self, JoinHandle<()>) {
        let feed = Arc::new(Feed {
            store,
            grants,
            clock,
            terms,
            verifier,
            newest: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            places: Places::new(most_subscribers),
        });
        let looking = tokio::spawn(look(Arc::clone(&feed)));
        (Self(feed), looking)
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        let feed = Arc::clone(&self.0);
        metrics::gauge(
            registry,
            "tokenpair_feed_subscribers",
            "Subscribers that listen to the revocation feed",
            move || metrics::count(feed.newest.receiver_count()),
        );
    }

    /// What ends with `shutdown`, once no stream of the feed will hold up the end of the connections any more.
    pub(crate) fn close_on(
        &self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let feed = Arc::clone(&self.0);
        async move {
            shutdown.await;
            feed.stopping.send_replace(true);
        }
    }

    /// What a subscriber is sent that has read up to `last`. It ends when its token expires, when its account is disabled
    /// or removed or its session ends, and when the service stops; after a failure of the store too, and then it goes on where it was. Messages
    /// come together as they are read together.
    ///
    /// # Errors
    /// There are as many subscribers as there may be, or as one of them may be.
    pub(crate) fn follow(
        &self,
        claims: AccessClaims,
        last: Option<i64>,
    ) -> Result<impl Stream<Item = Vec<Message>> + Send + use<>, TooManySubscribers> {
        let place = self.0.places.take(&claims.subject);
        let follower = Follower {
            _place: place.ok_or(TooManySubscribers)?,
            newest: self.0.newest.subscribe(),
            keys: self.0.verifier.key_changes(),
            stopping: self.0.stopping.subscribe(),
            feed: Arc::clone(&self.0),
            claims,
            confirmed: Instant::now(),
            spoken: Instant::now(),
            last: last.unwrap_or(0),
            stage: Stage::Greeting,
        };
        // A task that waits for a word, and no longer for the next look, is told that somebody listens.
        self.0.store.look_again();
        Ok(stream::unfold(follower, |mut follower| async {
            let messages = follower.next().await?;
            follower.spoken = Instant::now();
            Some((messages, follower))
        }))
    }
}

/// Keeps `newest` up to date: at every word from this process, and every now and then while somebody listens.
async fn look(feed: Arc<Feed>) {
    loop {
        match feed.store.newest_revocation().await {
            Ok(newest) => {
                feed.newest
                    .send_if_modified(|known| std::mem::replace(known, newest) != newest);
            }
            Err(error) => {
                tracing::error!("the table of revocations cannot be read: {}", chain(&error));
            }
        }
        let somebody_listens = feed.newest.receiver_count() > 0;
        tokio::select! {
            () = feed.store.told_to_look() => {}
            () = tokio::time::sleep(LOOK), if somebody_listens => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    CatchingUp,
    Live,
}

struct Follower {
    _place: Place,
    feed: Arc<Feed>,
    newest: watch::Receiver<i64>,
    keys: watch::Receiver<()>,
    stopping: watch::Receiver<bool>,
    /// What it is let in with.
    claims: AccessClaims,
    confirmed: Instant,
    spoken: Instant,
    last: i64,
    stage: Stage,
}

impl Follower {
    /// What comes next, or `None` at the end.
    async fn next(&mut self) -> Option<Vec<Message>> {
        if self.stage == Stage::Greeting {
            self.stage = Stage::CatchingUp;
            // An id that this table has not come to yet is another table's: everything is new then.
            let newest = self.kept(self.feed.store.newest_revocation().await)?;
            if self.last > newest {
                self.last = 0;
            }
            return Some(vec![self.hello()]);
        }
        loop {
            if *self.stopping.borrow() || !self.may_listen().await {
                return None;
            }
            if self.keys.has_changed().is_ok_and(|changed| changed) {
                return Some(vec![self.hello()]);
            }
            // Marked as seen before the table is read: what comes between the two is looked for again.
            let newest = *self.newest.borrow_and_update();
            if self.stage == Stage::CatchingUp || newest > self.last {
                let messages = self.read(newest).await?;
                if !messages.is_empty() {
                    return Some(messages);
                }
            }
            if self.spoken.elapsed() >= HEARTBEAT {
                return Some(vec![Message::Heartbeat]);
            }
            let pause = CONFIRM.min(self.time_left());
            tokio::select! {
                _ = self.newest.changed() => {}
                _ = self.keys.changed() => self.keys.mark_changed(),
                _ = self.stopping.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Until the token expires. A stream that ended only at the next event would tell of that one only to who comes again.
    fn time_left(&self) -> Duration {
        let now = self.feed.clock.now().as_millisecond();
        let left = self.claims.expires_at.0.saturating_mul(1000) - now;
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// Said first, and again when the keys have changed.
    fn hello(&mut self) -> Message {
        self.keys.mark_unchanged();
        let kids = self.feed.verifier.key_ids();
        Message::Hello(FeedHello {
            kids,
            ..self.feed.terms.clone()
        })
    }

    /// The next rows, when the newest is known to be at least this.
    async fn read(&mut self, newest: i64) -> Option<Vec<Message>> {
        let now = self.feed.clock.now().into();
        let read = self.feed.store.revocations_after(self.last, now, BATCH);
        let rows = self.kept(read.await)?;
        let all = rows.len() < BATCH as usize;
        if let Some(row) = rows.last() {
            self.last = row.seq;
        }
        let mut messages: Vec<_> = rows.into_iter().map(Message::Revoked).collect();
        if all {
            // Rows that do not matter any more are not read, and need not be looked for again.
            self.last = self.last.max(newest);
            if self.stage == Stage::CatchingUp {
                self.stage = Stage::Live;
                messages.push(Message::CaughtUp);
            }
        }
        Some(messages)
    }

    /// Whether the token is still good, which the tables are asked every now and then.
    async fn may_listen(&mut self) -> bool {
        if self.claims.expires_at <= self.feed.clock.now().into() {
            return false;
        }
        if self.confirmed.elapsed() < CONFIRM {
            return true;
        }
        self.confirmed = Instant::now();
        match self.feed.grants.confirm(&self.claims).await {
            Err(RefreshError::Storage(error)) => self.kept(Err::<(), _>(error)).is_some(),
            confirmed => confirmed.is_ok(),
        }
    }

    /// What the store has answered. A failure ends the stream, and its reader comes again.
    fn kept<T>(&self, answer: Result<T, StorageError>) -> Option<T> {
        answer
            .inspect_err(|error| {
                tracing::error!(listener = %self.claims.subject, "a stream of the feed ends: {}", chain(error));
            })
            .ok()
    }
}
