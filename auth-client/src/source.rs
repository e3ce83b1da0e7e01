//! A source of access tokens: cached, fetched once for all who wait, renewed before they expire.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use shared_claims::AccessToken;

use crate::backoff::pause;
use crate::client::Trail;
use crate::issuer::{FetchError, Form, Granted, Issuer};

/// The longest that a call waits for a token.
pub const FETCH_LIMIT: Duration = Duration::from_secs(2);

/// A token that was fetched this shortly ago is not replaced because somebody refuses it: the next would be refused too.
const JUST_ISSUED: Duration = Duration::from_secs(1);
/// No token is believed to be good for longer.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Hands out access tokens. Clones share the token and the fetching of it.
#[derive(Clone)]
pub struct TokenSource(Arc<Source>);

struct Source {
    issuer: Issuer,
    form: Form,
    state: Mutex<State>,
}

type Outcome = Result<AccessToken, FetchError>;

#[derive(Default)]
struct State {
    token: Option<Cached>,
    /// The fetch that is under way, for all who wait for it.
    fetching: Option<Shared<BoxFuture<'static, Outcome>>>,
    failures: u32,
    /// The last failure, and the end of the pause after it.
    failed: Option<(FetchError, Instant)>,
}

#[derive(Clone)]
struct Cached {
    token: AccessToken,
    fetched_at: Instant,
    /// From then on a new one is fetched beside its use.
    renew_at: Instant,
    /// From then on it is not used any more: it might expire on its way.
    use_until: Instant,
}

impl TokenSource {
    pub(crate) fn new(issuer: Issuer, form: Form) -> Self {
        Self(Arc::new(Source {
            issuer,
            form,
            state: Mutex::default(),
        }))
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    /// There is none, and none could be fetched within [`FETCH_LIMIT`].
    pub async fn token(&self) -> Result<AccessToken, FetchError> {
        self.token_for(&Trail::default()).await
    }

    /// The same for a request with this trail: a fetch that begins with it carries it too, whoever else waits for the token.
    ///
    /// # Errors
    /// Like [`token`](Self::token).
    pub async fn token_for(&self, trail: &Trail) -> Result<AccessToken, FetchError> {
        let fetching = {
            let (mut state, now) = (self.state(), Instant::now());
            let pausing = state.pausing(now);
            match &state.token {
                Some(cached) if now < cached.use_until => {
                    let token = cached.token.clone();
                    if now >= cached.renew_at && pausing.is_none() {
                        drop(self.fetch(&mut state, trail));
                    }
                    return Ok(token);
                }
                _ => match pausing {
                    Some(last) => return Err(FetchError::Waiting(Arc::new(last))),
                    None => self.fetch(&mut state, trail),
                },
            }
        };
        fetching.await
    }

    /// Another token than this one, which somebody answered with 401: fetched, unless there is one already. `None`: there is
    /// no other to be had, be it that the issuer does not answer or that this one is only just issued. It stays in use then:
    /// one service that refuses it must not take it from all the others.
    pub async fn instead_of(&self, token: &AccessToken, trail: &Trail) -> Option<AccessToken> {
        let fetching = {
            let (mut state, now) = (self.state(), Instant::now());
            match &state.token {
                Some(cached) if cached.token != *token => return Some(cached.token.clone()),
                Some(cached) if now < cached.fetched_at + JUST_ISSUED => return None,
                _ if state.pausing(now).is_some() => return None,
                _ => self.fetch(&mut state, trail),
            }
        };
        fetching.await.ok().filter(|fetched| fetched != token)
    }

    /// Joins the fetch that is under way, or starts one. It runs in a task of its own: a caller that goes away takes
    /// nothing from the others.
    fn fetch(&self, state: &mut State, trail: &Trail) -> Shared<BoxFuture<'static, Outcome>> {
        if let Some(fetching) = &state.fetching {
            return fetching.clone();
        }
        let (source, trail) = (self.clone(), trail.clone());
        let task = tokio::spawn(async move {
            let granted = source.0.issuer.fetch(&source.0.form, &trail).await;
            source.state().settle(granted, Instant::now())
        });
        let source = self.clone();
        let fetched = async move {
            task.await.unwrap_or_else(|_| {
                let aborted = Err(FetchError::Aborted);
                source.state().settle(aborted, Instant::now())
            })
        };
        let fetching = fetched.boxed().shared();
        state.fetching = Some(fetching.clone());
        fetching
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves it half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The last failure, while it is too early for the next attempt. A fetch that is under way is no pause.
    fn pausing(&self, now: Instant) -> Option<FetchError> {
        let (last, until) = self.failed.as_ref()?;
        (self.fetching.is_none() && now < *until).then(|| last.clone())
    }

    fn settle(&mut self, granted: Result<Granted, FetchError>, now: Instant) -> Outcome {
        self.fetching = None;
        match granted {
            Ok(Granted {
                access_token,
                expires_in,
                ..
            }) => {
                let lifetime = Duration::from_secs(expires_in.max(0).unsigned_abs());
                let lifetime = lifetime.min(LONGEST_LIFETIME);
                self.token = Some(Cached {
                    token: access_token.clone(),
                    fetched_at: now,
                    renew_at: now + lifetime * 3 / 4,
                    use_until: now
                        + lifetime.saturating_sub((lifetime / 10).min(Duration::from_secs(5))),
                });
                (self.failures, self.failed) = (0, None);
                Ok(access_token)
            }
            Err(error) => {
                tracing::warn!(
                    failures = self.failures + 1,
                    "no token could be fetched: {error}"
                );
                self.failed = Some((error.clone(), now + pause(self.failures, LONGEST_PAUSE)));
                self.failures += 1;
                Err(error)
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource(…)")
    }
}
