//! The keys of a verifier, which change while it verifies, and what it says to whoever fetches more of them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::key::VerifyingKeys;

/// The keys, for all clones of a verifier.
#[derive(Clone, Debug)]
pub(crate) struct KeyRing(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    /// What is verified with: the two parts together.
    keys: ArcSwap<VerifyingKeys>,
    parts: Mutex<Parts>,
    changed: watch::Sender<()>,
    lookup: OnceLock<KeyLookup>,
}

#[derive(Debug)]
struct Parts {
    configured: VerifyingKeys,
    published: VerifyingKeys,
}

impl KeyRing {
    pub(crate) fn new(configured: VerifyingKeys) -> Self {
        Self(Arc::new(Ring {
            keys: ArcSwap::from_pointee(configured.clone()),
            parts: Mutex::new(Parts {
                configured,
                published: VerifyingKeys::default(),
            }),
            changed: watch::Sender::new(()),
            lookup: OnceLock::new(),
        }))
    }

    pub(crate) fn load(&self) -> Guard<Arc<VerifyingKeys>> {
        self.0.keys.load()
    }

    pub(crate) fn configure(&self, keys: VerifyingKeys) {
        let mut parts = self.parts();
        parts.configured = keys;
        self.put_together(&parts);
    }

    /// Whether the published keys are others than before.
    pub(crate) fn publish(&self, keys: VerifyingKeys) -> bool {
        let mut parts = self.parts();
        let changed = !parts.published.is_same_as(&keys);
        if changed {
            parts.published = keys;
            self.put_together(&parts);
        }
        changed
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // A change is one assignment: nothing is ever half done.
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_together(&self, parts: &Parts) {
        let keys = parts.configured.and(&parts.published);
        self.0.keys.store(Arc::new(keys));
        self.0.changed.send_replace(());
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// What asks for more keys, and is made by this: from now on somebody fetches them.
    pub(crate) fn start_lookup(&self) -> KeyLookup {
        self.0.lookup.get_or_init(KeyLookup::new).clone()
    }

    pub(crate) fn lookup(&self) -> Option<&KeyLookup> {
        self.0.lookup.get()
    }

    /// Whether the issuer may have keys that are not known here: none has been fetched yet, or the newest fetch has failed.
    pub(crate) fn is_behind(&self) -> bool {
        self.lookup()
            .is_some_and(|lookup| !lookup.0.borrow().succeeded || self.load().is_empty())
    }
}

/// What a verifier and whoever fetches the issuer's published keys for it say to each other. Clones share it.
#[derive(Clone, Debug)]
pub struct KeyLookup(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    begun: u64,
    ended: u64,
    /// Somebody waits for a fetch that has not begun.
    wanted: bool,
    /// Whether the newest fetch that has ended brought keys.
    succeeded: bool,
    /// Until then no token that nobody knows the key of is a reason to fetch.
    rest_until: Option<Instant>,
}

/// Why keys are to be fetched now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupReason {
    /// A token names a key that is not known; anybody can send such a one.
    UnknownKey,
    /// The issuer itself has told of a key that is not known.
    Told,
}

impl State {
    /// Which fetch it is that brings what is asked for; `None`: none, it is too early after the last.
    fn ask(&mut self, reason: LookupReason) -> Option<u64> {
        let under_way = self.begun > self.ended;
        let resting = self.rest_until.is_some_and(|until| Instant::now() < until);
        match reason {
            LookupReason::UnknownKey if under_way => return Some(self.begun),
            LookupReason::UnknownKey if resting && !self.wanted => return None,
            // A fetch that is under way may have been answered before the issuer told.
            LookupReason::UnknownKey | LookupReason::Told => {}
        }
        self.wanted = true;
        Some(self.begun + 1)
    }
}

impl KeyLookup {
    /// The longest that a request waits for keys.
    pub const REQUEST_WAITS: Duration = Duration::from_millis(500);

    /// Requests that wait at the same time.
    const MOST_WAIT: usize = 256;

    fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Asks for the keys and waits for the fetch, which is one for all who ask: this long at the most, and not at all while it
    /// is too early after the last, or for a token's sake while many wait already: anybody can make such tokens, and requests that
    /// wait take the room of others. Whether it has ended meanwhile.
    pub async fn ask(&self, reason: LookupReason, limit: Duration) -> bool {
        let mut asked = None;
        self.0.send_modify(|state| asked = state.ask(reason));
        let Some(fetch) = asked else { return false };
        if reason == LookupReason::UnknownKey && self.0.receiver_count() >= Self::MOST_WAIT {
            return false;
        }
        let mut state = self.0.subscribe();
        let ended = state.wait_for(|state| state.ended >= fetch);
        let ended = tokio::time::timeout(limit, ended).await;
        ended.is_ok_and(|ended| ended.is_ok())
    }

    /// Asks for the keys, because the issuer has told of one that is not known, and waits for nothing.
    pub fn want(&self) {
        self.0.send_modify(|state| {
            state.ask(LookupReason::Told);
        });
    }

    /// For whoever fetches: waits until somebody needs keys.
    pub async fn needed(&self) {
        // The sender is here: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|state| state.wanted).await;
    }

    /// For whoever fetches: a fetch begins.
    pub fn begin(&self) {
        self.0.send_modify(|state| {
            state.begun += 1;
            state.wanted = false;
        });
    }

    /// For whoever fetches: the fetch has ended, and unknown keys are no reason for another within this time.
    pub fn end(&self, succeeded: bool, rest: Duration) {
        self.0.send_modify(|state| {
            state.ended = state.begun;
            state.succeeded = succeeded;
            state.rest_until = Instant::now().checked_add(rest);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn any_number_who_ask_at_once_wait_for_one_fetch_and_then_nobody_asks_for_a_while() {
        let lookup = KeyLookup::new();
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let lookup = lookup.clone();
                tokio::spawn(async move { lookup.ask(LookupReason::UnknownKey, LONG).await })
            })
            .collect();
        lookup.needed().await;
        lookup.begin();
        tokio::task::yield_now().await;
        lookup.end(true, LONG);
        for waited in waiting {
            assert!(waited.await.unwrap());
        }
        assert!(!lookup.ask(LookupReason::UnknownKey, LONG).await);
        let quiet = tokio::time::timeout(Duration::from_millis(20), lookup.needed()).await;
        assert!(quiet.is_err(), "a second fetch is asked for");
    }

    #[tokio::test]
    async fn of_a_flood_of_made_up_keys_few_wait_and_the_rest_is_answered_at_once() {
        let lookup = KeyLookup::new();
        let ask = || {
            let lookup = lookup.clone();
            tokio::spawn(async move { lookup.ask(LookupReason::UnknownKey, LONG).await })
        };
        let flood: Vec<_> = (0..1000).map(|_| ask()).collect();
        while lookup.0.receiver_count() < KeyLookup::MOST_WAIT {
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            assert!(!ask().await.unwrap());
        }
        lookup.begin();
        lookup.end(true, LONG);
        let mut told = 0;
        for asked in flood {
            told += usize::from(asked.await.unwrap());
        }
        assert_eq!(told, KeyLookup::MOST_WAIT);
    }

    #[tokio::test]
    async fn what_the_issuer_tells_is_looked_up_whatever_was_fetched_a_moment_ago() {
        let lookup = KeyLookup::new();
        lookup.begin();
        let told = tokio::spawn({
            let lookup = lookup.clone();
            async move { lookup.ask(LookupReason::Told, LONG).await }
        });
        tokio::task::yield_now().await;
        lookup.end(true, LONG);
        lookup.needed().await;
        assert!(!told.is_finished(), "the fetch had begun before");
        lookup.begin();
        lookup.end(true, LONG);
        assert!(told.await.unwrap());
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_they_meant_to() {
        let lookup = KeyLookup::new();
        assert!(
            !lookup
                .ask(LookupReason::UnknownKey, Duration::from_millis(5))
                .await
        );
    }
}
