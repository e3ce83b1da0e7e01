//! How often somebody may try: passwords for a user, and from an address, whatever is tried there.
//!
//! An attempt is counted before anything is hashed, and given back when it turns out not to have been a guess: the password was
//! right, or was not looked at. A user's name is counted whether somebody has it or not. Where everything that may be tried is being
//! tried at this moment, the next attempt waits for what comes of it: many who know their password are not refused for coming at
//! once, and of many guesses at once no more are looked at than may be.
//!
//! Guessing locks nobody out for good. Whoever has had a session of theirs from this address before has a count of their own,
//! which strangers cannot use up; and what strangers have used up comes back with time.

mod counter;
mod rate;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::counter::{Counter, State};
pub(crate) use self::rate::rate_or_off;
pub use self::rate::{Limit, Rate};
use crate::username::Username;

/// How often somebody may try.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// For one user's name, and once more for each address that the user has had a session from.
    pub per_user: Limit,
    /// From one address, or one IPv6 network of 64 bits.
    pub per_address: Limit,
}

impl Default for AttemptLimits {
    /// As many guesses as NIST SP 800-63B section 5.2.2 and OWASP ASVS allow for one account; for an address as many as a house
    /// full of people may need.
    fn default() -> Self {
        let rate = |count, period| Limit(Rate::new(count, period));
        Self {
            per_user: rate(100, Duration::from_hours(1)),
            per_address: rate(1000, Duration::from_mins(10)),
        }
    }
}

/// Too many attempts: the next may be made after this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts for this {what}")]
pub(crate) struct TooMany {
    /// What was counted, for the log.
    what: &'static str,
    /// Whether it is not known yet if these were guesses: nothing is wrong but that there is more to do than can be done in time.
    pub(crate) undecided: bool,
    pub(crate) retry_after: Duration,
}

/// The counts. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Attempts(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    hasher: RandomState,
    of_users: Option<Counter>,
    of_addresses: Option<Counter>,
}

/// An attempt that counts, unless it is given back.
#[derive(Debug)]
#[must_use = "an attempt that was no guess is given back"]
pub(crate) struct Attempt {
    counts: Arc<Counts>,
    of_user: Option<Arc<State>>,
    of_address: Option<Arc<State>>,
}

impl Attempts {
    pub(crate) fn new(limits: AttemptLimits) -> Self {
        Self(Arc::new(Counts {
            hasher: RandomState::new(),
            of_users: limits.per_user.0.map(Counter::new),
            of_addresses: limits.per_address.0.map(Counter::new),
        }))
    }

    /// For the commands: whoever sits at the machine may try as often as they like.
    pub(crate) fn unlimited() -> Self {
        let off = Limit(None);
        Self::new(AttemptLimits {
            per_user: off,
            per_address: off,
        })
    }

    /// An attempt from this address.
    pub(crate) async fn from(&self, address: Option<IpAddr>) -> Result<Attempt, TooMany> {
        let counts = &self.0;
        let mut attempt = Attempt {
            counts: Arc::clone(counts),
            of_user: None,
            of_address: None,
        };
        if let (Some(counter), Some(address)) = (&counts.of_addresses, address) {
            let key = counts.hasher.hash_one(network(address));
            attempt.of_address = Some(counter.count(key, "address").await?);
        }
        Ok(attempt)
    }
}

impl Attempt {
    /// Whether it matters whose password it is that somebody tries.
    pub(crate) fn counts_users(&self) -> bool {
        self.counts.of_users.is_some()
    }

    /// The same attempt as one for this user, by a stranger.
    pub(crate) async fn for_user(&mut self, name: &Username) -> Result<(), TooMany> {
        let key = self.counts.hasher.hash_one((name.as_ref(), None::<u64>));
        self.count_user(key).await
    }

    /// The same attempt as one for this user, by somebody at an address that the user has been at.
    pub(crate) async fn for_user_at(
        &mut self,
        name: &Username,
        address: IpAddr,
    ) -> Result<(), TooMany> {
        let at = Some(network(address));
        let key = self.counts.hasher.hash_one((name.as_ref(), at));
        self.count_user(key).await
    }

    async fn count_user(&mut self, key: u64) -> Result<(), TooMany> {
        if let Some(counter) = &self.counts.of_users {
            self.of_user = Some(counter.count(key, "user name").await?);
        }
        Ok(())
    }

    /// It was no guess.
    pub(crate) fn give_back(self) {
        let Counts {
            of_users,
            of_addresses,
            ..
        } = &*self.counts;
        for (counter, state) in [(of_users, &self.of_user), (of_addresses, &self.of_address)] {
            if let (Some(counter), Some(state)) = (counter, state) {
                state.give_back(counter.each);
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for state in [&self.of_user, &self.of_address].into_iter().flatten() {
            state.decided();
        }
    }
}

/// Whether two addresses count as one.
pub(crate) fn same_network(one: IpAddr, other: IpAddr) -> bool {
    network(one) == network(other)
}

/// Who has an IPv6 address has 64 bits of them.
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        // No network out there begins with 32 zeros, so that none is taken for an IPv4 address.
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX),
    }
}
