//! How often somebody may try: passwords for a user, and from an address, whatever is tried there.
//!
//! An attempt is counted before anything is hashed, and given back when it turns out not to have been a guess: the password was
//! right, or was not looked at. A user's name is counted whether somebody has it or not. Where everything that may be tried is being
//! tried at this moment, the next attempt waits for what comes of it: many who know their password are not refused for coming at
//! once, and of many guesses at once no more are looked at than may be.
//!
//! Guessing locks nobody out for good. Whoever has had a session of theirs from this address before has a count of their own,
//! which strangers cannot use up; and what strangers have used up comes back with time.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;
use service_shell::settings::duration;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::username::Username;

/// How long an attempt waits for others to be decided: as long as a password may wait to be hashed by default.
const DECISION_LIMIT: Duration = Duration::from_secs(5);
/// And when to come again after that.
const SHORTLY: Duration = Duration::from_secs(1);

/// How many names, and how many addresses, are counted at the same time: some 10 MiB. Those that are tried again and again stay,
/// however many are tried once.
const COUNTED: usize = 100_000;

/// So many at once, and on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    period: Duration,
}

impl Rate {
    /// This many in this time; neither can be zero.
    #[must_use]
    pub fn new(count: u32, period: Duration) -> Option<Self> {
        let count = NonZeroU32::new(count)?;
        let each = period / count.get();
        (!each.is_zero()).then_some(Self { count, period })
    }

    fn each(self) -> Duration {
        self.period / self.count.get()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = || "write a rate like 100/1h or 5/1m, or off".to_owned();
        let (count, period) = text.split_once('/').ok_or_else(remedy)?;
        let (count, period) = (count.trim(), period.trim());
        // `5/m` is said as well as `5/1m`.
        let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
            duration(period)
        } else {
            duration(&format!("1{period}"))
        };
        let period = period.map_err(|_| remedy())?;
        let count = count.parse().map_err(|_| remedy())?;
        if period > Duration::from_hours(24) {
            return Err(
                "use a time of a day at the most: what is counted is forgotten with a restart"
                    .to_owned(),
            );
        }
        Self::new(count, period).ok_or_else(remedy)
    }
}

/// A rate, or none.
///
/// # Errors
/// What would be right.
pub(crate) fn rate_or_off(text: &str) -> Result<Limit, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(Limit(None));
    }
    text.parse().map(|rate| Limit(Some(rate)))
}

/// A rate, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<Rate>);

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

/// A rate for each of many keys.
struct Counter {
    limiter: RateLimiter<u64, States, MonotonicClock, NoOpMiddleware<std::time::Instant>>,
    states: States,
    each: u64,
}

impl Counter {
    fn new(rate: Rate) -> Self {
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
    async fn count(&self, key: u64, what: &'static str) -> Result<Arc<State>, TooMany> {
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
struct State {
    /// The time at which everything that was counted will have come back, in nanoseconds since the start; 0: nothing was.
    arrival: AtomicU64,
    /// Attempts of which it is not known yet whether they were guesses.
    undecided: AtomicU32,
    decisions: Arc<Notify>,
}

impl State {
    fn give_back(&self, each: u64) {
        let earlier = |arrival: u64| Some(arrival.saturating_sub(each));
        let _ = self
            .arrival
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, earlier);
    }

    /// An attempt has come to its end. Whoever waits looks again: one of them has room, or nobody will have.
    fn decided(&self) {
        self.undecided.fetch_sub(1, Ordering::AcqRel);
        self.decisions.notify_waiters();
    }
}

/// The keys. governor keeps its own in a map without an end.
#[derive(Clone)]
struct States(Arc<Cache<u64, Arc<State>>>);

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

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(per_user: u32, per_address: u32) -> Attempts {
        let rate = |count| Limit(Rate::new(count, Duration::from_hours(1)));
        Attempts::new(AttemptLimits {
            per_user: rate(per_user),
            per_address: rate(per_address),
        })
    }

    fn name(text: &str) -> Username {
        Username::parse(text).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_written_as_people_say_them() {
        let rate = |count, seconds| Ok(Limit(Rate::new(count, Duration::from_secs(seconds))));
        assert_eq!(rate_or_off("100/1h"), rate(100, 3600));
        assert_eq!(rate_or_off("5/m"), rate(5, 60));
        assert_eq!(rate_or_off(" 5 / 90s"), rate(5, 90));
        assert_eq!(rate_or_off("OFF"), Ok(Limit(None)));
        for text in [
            "",
            "5",
            "0/1m",
            "5/0s",
            "-1/1m",
            "5/",
            "/1m",
            "5/x",
            "5/2d",
            "1000000000/1ns",
        ] {
            assert!(rate_or_off(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_given_back_was_not_counted() {
        let attempts = attempts(3, 5);
        let attempt = async || {
            let mut attempt = attempts.from(Some(address("192.0.2.1"))).await?;
            attempt.for_user(&name("cosmo")).await.map(|()| attempt)
        };
        for _ in 0..100 {
            attempt().await.unwrap().give_back();
        }
        for _ in 0..3 {
            drop(attempt().await.unwrap());
        }
        let refused = attempt().await.unwrap_err();
        assert_eq!(refused.what, "user name");
        assert!(refused.retry_after > Duration::from_mins(19), "{refused:?}");
        assert!(
            refused.retry_after <= Duration::from_mins(20),
            "{refused:?}"
        );
        // The refused ones count for the address.
        drop(attempts.from(Some(address("192.0.2.1"))).await.unwrap());
        assert_eq!(
            attempts
                .from(Some(address("192.0.2.1")))
                .await
                .unwrap_err()
                .what,
            "address"
        );
        assert!(attempts.from(Some(address("192.0.2.2"))).await.is_ok());
        assert!(attempts.from(None).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_of_ones_own_has_a_count_of_its_own() {
        let attempts = attempts(1, 100);
        let mut attempt = attempts.from(None).await.unwrap();
        attempt.for_user(&name("cosmo")).await.unwrap();
        drop(attempt);
        let mut attempt = attempts.from(None).await.unwrap();
        assert!(attempt.for_user(&name("cosmo")).await.is_err());
        let home = address("192.0.2.1");
        assert!(attempt.for_user_at(&name("cosmo"), home).await.is_ok());
        drop(attempt);
        let mut attempt = attempts.from(None).await.unwrap();
        assert!(attempt.for_user_at(&name("cosmo"), home).await.is_err());
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address() {
        let same = |one: &str, other: &str| same_network(address(one), address(other));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }

    #[tokio::test]
    async fn a_flood_of_names_takes_no_more_memory_and_does_not_make_a_guessed_one_forgotten() {
        let attempts = attempts(20, 1);
        let guess = async |name: &str| {
            let mut attempt = attempts.from(None).await.unwrap();
            attempt.for_user(&self::name(name)).await
        };
        for _ in 0..20 {
            guess("cosmo").await.unwrap();
        }
        for number in 0..300_000 {
            let _ = guess(&format!("user{number}")).await;
            if number % 1000 == 0 {
                assert!(guess("cosmo").await.is_err(), "forgotten after {number}");
            }
        }
        let counter = attempts.0.of_users.as_ref().unwrap();
        assert!(counter.states.0.len() <= COUNTED);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn any_number_who_know_their_password_get_in_at_once_and_of_guesses_no_more_than_may_be()
    {
        for (right, expected) in [(true, 200), (false, 5)] {
            let attempts = attempts(5, 1);
            let callers: Vec<_> = (0..200)
                .map(|_| {
                    let attempts = attempts.clone();
                    tokio::spawn(async move {
                        let mut attempt = attempts.from(None).await.unwrap();
                        attempt.for_user(&name("cosmo")).await?;
                        // What is looked at takes a while.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        if right {
                            attempt.give_back();
                        }
                        Ok::<_, TooMany>(())
                    })
                })
                .collect();
            let mut through = 0;
            for caller in callers {
                match caller.await.unwrap() {
                    Ok(()) => through += 1,
                    Err(too_many) => assert!(!too_many.undecided, "{too_many:?}"),
                }
            }
            assert_eq!(through, expected);
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_decision_for_ever() {
        let attempts = attempts(1, 1);
        let mut first = attempts.from(None).await.unwrap();
        first.for_user(&name("cosmo")).await.unwrap();
        let mut second = attempts.from(None).await.unwrap();
        let refused = second.for_user(&name("cosmo")).await.unwrap_err();
        assert!(refused.undecided && refused.retry_after == SHORTLY);
        drop(first);
        let refused = second.for_user(&name("cosmo")).await.unwrap_err();
        assert!(!refused.undecided);
    }
}
