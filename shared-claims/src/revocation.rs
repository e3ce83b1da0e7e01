//! The sessions whose access tokens are to be refused although they have not expired.

use std::sync::Arc;

use dashmap::DashMap;

use crate::claims::NumericDate;
use crate::id::SessionId;

/// A set of revoked sessions that every request may look into while it is being changed. Clones share the set.
///
/// A change locks one of many parts of the set, and for no longer than it takes to put one session into it.
#[derive(Clone, Debug, Default)]
pub struct RevokedSessions(Arc<DashMap<SessionId, NumericDate>>);

impl RevokedSessions {
    /// A set with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses the session until `forget_after`, when its last access token has expired everywhere: the access
    /// lifetime plus the leeway after the revocation.
    pub fn insert(&self, session: SessionId, forget_after: NumericDate) {
        self.0
            .entry(session)
            .and_modify(|known| *known = (*known).max(forget_after))
            .or_insert(forget_after);
    }

    /// Whether tokens of the session are to be refused.
    #[must_use]
    pub fn contains(&self, session: &SessionId) -> bool {
        self.0.contains_key(session)
    }

    /// Drops what has expired anyway.
    pub fn forget_until(&self, now: NumericDate) {
        self.0.retain(|_, forget_after| *forget_after > now);
    }

    /// How many sessions are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no session is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
