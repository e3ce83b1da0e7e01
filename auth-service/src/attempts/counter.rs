//! How many attempts there were for each of many keys, in a memory that does not grow beyond its bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::TooMany;
use super::rate::Rate;

/// How long an attempt waits for others to be decided: as long as a password may wait to be hashed by default.
const DECISION_LIMIT: Duration = Duration::from_secs(5);
/// And when to come again after that.
pub(super) const SHORTLY: Duration = Duration::from_secs(1);

/// How many names, and how many addresses, are counted at the same time. Those that are tried again and again stay, however many
/// are tried once.
pub(super) const COUNTED: usize = 50_000;

/// A rate for each of many keys.
pub(super) struct Counter {
    limiter: RateLimiter<u64, States, MonotonicClock, NoOpMiddleware<std::time::Instant>>,
    pub(super) states: States,
    pub(super) each: u64,
}

impl Counter {
    pub(super) fn new(rate: Rate) -> Self {
        let quota = Quota::with_period(rate.each()).map(|quota| quota.allow_burst(rate.count));
        let states = States::new();
        Self {
            limiter: RateLimiter::new(
                quota.expect("a rate's time for each is not zero"),
                states.clone(),
                MonotonicClock,
            ),
            states,
            each: u64::try_from(rate.each().as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Counts an attempt, and waits for others to be decided where that may make room for it.
    pub(super) async fn count(&self, key: u64, what: &'static str) -> Result<Arc<State>, TooMany> {
        let state = self.states.of(key);
        let deadline = Instant::now() + DECISION_LIMIT;
        loop {
            // From here on no decision is missed.
            let mut decision = Box::pin(Arc::clone(&state.decisions).notified_owned());
            decision.as_mut().enable();
            let Err(not_until) = self.limiter.check_key(&key) else {
                state.undecided.fetch_add(1, Ordering::AcqRel);
                return Ok(state);
            };
            let retry_after = not_until.wait_time_from(MonotonicClock.now());
            // Whoever was let in a moment ago is about to say so.
            tokio::task::yield_now().await;
            let undecided = state.undecided.load(Ordering::Acquire) > 0;
            // The last of them may have given its own back since.
            if !undecided && self.limiter.check_key(&key).is_ok() {
                state.undecided.fetch_add(1, Ordering::AcqRel);
                return Ok(state);
            }
            let decided = undecided && tokio::time::timeout_at(deadline, decision).await.is_ok();
            if !decided {
                return Err(TooMany {
                    what,
                    undecided,
                    retry_after: if undecided { SHORTLY } else { retry_after },
                });
            }
        }
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counter({} keys)", self.states.0.len())
    }
}

/// What is known of a key.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The time at which everything that was counted will have come back, in nanoseconds since the start; 0: nothing was.
    arrival: AtomicU64,
    /// Attempts of which it is not known yet whether they were guesses.
    undecided: AtomicU32,
    decisions: Arc<Notify>,
}

impl State {
    pub(super) fn give_back(&self, each: u64) {
        let earlier = |arrival: u64| Some(arrival.saturating_sub(each));
        let _ = self
            .arrival
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, earlier);
    }

    /// An attempt has come to its end. Whoever waits looks again: one of them has room, or nobody will have.
    pub(super) fn decided(&self) {
        self.undecided.fetch_sub(1, Ordering::AcqRel);
        self.decisions.notify_waiters();
    }
}

/// The keys. governor keeps its own in a map without an end.
#[derive(Clone)]
pub(super) struct States(pub(super) Arc<Cache<u64, Arc<State>>>);

impl States {
    fn new() -> Self {
        Self(Arc::new(Cache::new(COUNTED)))
    }

    fn of(&self, key: u64) -> Arc<State> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::default());
        match self.0.get_or_insert_with(&key, fresh) {
            Ok(state) => state,
            Err(never) => match never {},
        }
    }
}

impl StateStore for States {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let state = self.of(*key);
        let mut before = state.arrival.load(Ordering::Acquire);
        loop {
            let known = (before != 0).then(|| Nanos::from(before));
            let (decision, after) = decide(known)?;
            match state.arrival.compare_exchange_weak(
                before,
                after.as_u64(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(decision),
                Err(now) => before = now,
            }
        }
    }
}
