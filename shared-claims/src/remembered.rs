//! Access tokens that were verified before: a client sends the same one again and again until it expires.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::claims::{AccessClaims, NumericDate};
use crate::key::VerifyingKeys;

/// What is remembered may take this many bytes, be it thousands of usual tokens or hundreds of the longest.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// What an entry takes beside the token itself: the claims, and the cache's own.
const BESIDE: u64 = 700;
/// A guess that sizes the cache's tables.
const USUAL_TOKENS: usize = 6_000;

/// A token whose signature and claims were found good. What changes with time is looked at again at every use.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) claims: Arc<AccessClaims>,
    pub(crate) not_before: Option<NumericDate>,
    /// The keys that it was verified with: it is good for nothing once they are replaced.
    pub(crate) keys: Arc<VerifyingKeys>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Known> for Bytes {
    fn weight(&self, token: &Box<str>, _: &Known) -> u64 {
        u64::try_from(token.len())
            .unwrap_or(u64::MAX)
            .saturating_add(BESIDE)
    }
}

/// The tokens, found by a keyed hash and then compared as a whole. Only what was verified comes in, and what is used again
/// and again is not pushed out by what is used once.
pub(crate) struct Remembered(Cache<Box<str>, Known, Bytes>);

impl Remembered {
    pub(crate) fn new() -> Self {
        Self(Cache::with_weighter(USUAL_TOKENS, MOST_BYTES, Bytes))
    }

    /// The token as it was verified with these keys.
    pub(crate) fn get(&self, token: &str, keys: &Arc<VerifyingKeys>) -> Option<Known> {
        self.0
            .get(token)
            .filter(|known| Arc::ptr_eq(&known.keys, keys))
    }

    pub(crate) fn insert(&self, token: &str, known: Known) {
        self.0.insert(token.into(), known);
    }

    pub(crate) fn remove(&self, token: &str) {
        self.0.remove(token);
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.0.weight()
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remembered({} tokens)", self.0.len())
    }
}
