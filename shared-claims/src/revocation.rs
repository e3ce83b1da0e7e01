//! The sessions whose access tokens are to be refused although they have not expired.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::watch;

use crate::claims::NumericDate;
use crate::id::SessionId;

/// Parts of the set, each with a lock of its own: so many that going through one of them, to forget, takes no time even
/// with a million sessions in the set.
const PARTS: usize = 256;

/// A set of revoked sessions that every request may look into while it is being changed. Clones share the set.
///
/// A change locks one of many parts of the set, and for no longer than it takes to put one session into it.
#[derive(Clone)]
pub struct RevokedSessions(Arc<Shared>);

struct Shared {
    /// Ids come from tokens whose signature fits, so that nobody chooses them to make the lookups slow.
    sessions: DashMap<SessionId, NumericDate, RandomState>,
    suspended: AtomicBool,
    changed: watch::Sender<()>,
}

impl Default for RevokedSessions {
    fn default() -> Self {
        Self::new()
    }
}

impl RevokedSessions {
    /// A set with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            sessions: DashMap::with_hasher_and_shard_amount(RandomState::default(), PARTS),
            suspended: AtomicBool::new(false),
            changed: watch::Sender::new(()),
        }))
    }

    /// Refuses the session until `forget_after`, when its last access token has expired everywhere: the access
    /// lifetime plus the leeway after the revocation.
    pub fn insert(&self, session: SessionId, forget_after: NumericDate) {
        self.0
            .sessions
            .entry(session)
            .and_modify(|known| *known = (*known).max(forget_after))
            .or_insert(forget_after);
        self.0.changed.send_replace(());
    }

    /// Whether tokens of the session are to be refused.
    #[must_use]
    pub fn contains(&self, session: &SessionId) -> bool {
        self.0.sessions.contains_key(session)
    }

    /// Drops what has expired anyway.
    pub fn forget_until(&self, now: NumericDate) {
        self.0
            .sessions
            .retain(|_, forget_after| *forget_after > now);
    }

    /// Refuses every token, because the set cannot be relied on: it has not been filled yet, or not for too long.
    pub fn suspend(&self) {
        self.0.suspended.store(true, Ordering::Release);
        self.0.changed.send_replace(());
    }

    /// The set can be relied on again.
    pub fn resume(&self) {
        self.0.suspended.store(false, Ordering::Release);
    }

    /// Whether every token is refused.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.0.suspended.load(Ordering::Acquire)
    }

    /// What is told of every change that may refuse more tokens than before.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// How many sessions are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.sessions.len()
    }

    /// Whether no session is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.sessions.is_empty()
    }
}

impl fmt::Debug for RevokedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevokedSessions({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_forgotten_when_its_last_token_has_expired_and_not_before() {
        let revoked = RevokedSessions::new();
        revoked.insert("one".into(), NumericDate(100));
        revoked.insert("one".into(), NumericDate(90));

        revoked.forget_until(NumericDate(99));
        assert!(revoked.contains(&"one".into()));
        assert!(!revoked.contains(&"two".into()));

        revoked.forget_until(NumericDate(100));
        assert!(!revoked.contains(&"one".into()));
        assert!(revoked.is_empty());
    }
}
