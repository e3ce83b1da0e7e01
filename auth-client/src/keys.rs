//! The keys that an issuer publishes (RFC 7517), fetched beside the requests that they verify.
//!
//! What was fetched stays in use whatever becomes of the issuer. It is fetched again every now and then, when a token names a
//! key that is not known, though not for every such token, and when the issuer tells of one.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use shared_claims::{JwkSet, JwkUnusable, KeyLookup, Verifier, VerifyingKeys};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::answer::{self, AnswerError};
use crate::backoff::pause;

/// A fetch takes this long at the most.
const FETCH_LIMIT: Duration = Duration::from_secs(5);
/// More unusable keys than this are told of by their number alone.
const MOST_TOLD: usize = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// When the keys are fetched.
#[derive(Clone, Debug)]
pub struct KeyOptions {
    /// Where they are published.
    pub url: Url,
    /// They are fetched again after this long.
    pub interval: Duration,
    /// Tokens with unknown keys are no reason for another fetch within this time after the last.
    pub cooldown: Duration,
}

impl KeyOptions {
    /// The usual options for this address: every minute, and for unknown keys every 10 s at the most.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            interval: Duration::from_mins(1),
            cooldown: Duration::from_secs(10),
        }
    }
}

/// How it stands with the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// None has been fetched since the start.
    Starting {
        /// What stands in the way, once something does.
        reason: Option<String>,
    },
    /// The keys are those that the issuer published when it was asked last.
    Fetched {
        /// How many of them can be used.
        keys: usize,
    },
    /// The last fetch has failed: the keys are those of the one before.
    Degraded {
        /// What stands in the way.
        reason: String,
    },
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting { reason: None } => f.write_str("the keys have not been fetched yet"),
            Self::Fetched { keys: 0 } => {
                f.write_str("the issuer publishes no key that can be used here")
            }
            Self::Fetched { keys } => write!(f, "the issuer publishes {keys} keys"),
            Self::Starting {
                reason: Some(reason),
            }
            | Self::Degraded { reason } => write!(f, "the keys cannot be fetched: {reason}"),
        }
    }
}

/// The fetching of an issuer's keys for a verifier, of which there is one for each; it goes on until this is dropped.
#[derive(Debug)]
pub struct IssuerKeys {
    status: watch::Receiver<KeyStatus>,
    task: JoinHandle<()>,
}

impl IssuerKeys {
    /// Starts to fetch. The verifier takes the fetched keys beside those that it was made with.
    ///
    /// # Panics
    /// When the system's TLS cannot be set up.
    #[must_use]
    pub fn start(verifier: Verifier, options: KeyOptions) -> Self {
        // What is published elsewhere is somebody else's.
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .timeout(FETCH_LIMIT)
            .build();
        let (told, status) = watch::channel(KeyStatus::Starting { reason: None });
        let fetcher = Fetcher {
            http: http.expect("the system's TLS can be set up"),
            lookup: verifier.start_lookup(),
            verifier,
            options,
            status: told,
            passed_over: Vec::new(),
        };
        let task = tokio::spawn(fetcher.run());
        Self { status, task }
    }

    /// How it stands with the keys.
    #[must_use]
    pub fn status(&self) -> KeyStatus {
        self.status.borrow().clone()
    }
}

impl Drop for IssuerKeys {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Fetcher {
    http: reqwest::Client,
    lookup: KeyLookup,
    verifier: Verifier,
    options: KeyOptions,
    status: watch::Sender<KeyStatus>,
    passed_over: Vec<(usize, JwkUnusable)>,
}

impl Fetcher {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            self.lookup.begin();
            let fetched = self.fetch().await;
            let (succeeded, next) = match fetched {
                Ok(keys) => {
                    failures = 0;
                    self.take(keys);
                    (true, self.options.interval)
                }
                Err(reason) => {
                    failures += 1;
                    self.fail(reason);
                    (false, pause(failures, LONGEST_PAUSE))
                }
            };
            // After a failure the next attempt comes by itself, sooner than the cooldown would let a token ask for it.
            self.lookup.end(succeeded, self.options.cooldown);
            tokio::select! {
                () = self.lookup.needed() => {}
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    async fn fetch(&mut self) -> Result<VerifyingKeys, String> {
        let unreachable = |error: reqwest::Error| {
            if error.is_timeout() {
                "no answer in time".to_owned()
            } else {
                innermost(&error.without_url())
            }
        };
        // A set that somebody on the way has kept is of no use to whoever looks for a new key.
        let request = self.http.get(self.options.url.clone());
        let request = request.header(CACHE_CONTROL, "no-cache");
        let answer = request.send().await.map_err(unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        let text = answer::bytes(answer).await.map_err(|error| match error {
            AnswerError::BrokeOff(error) => unreachable(error),
            error => error.to_string(),
        })?;
        let (keys, unusable) =
            JwkSet::read(&text).map_err(|_| "the answer is no set of keys".to_owned())?;
        self.pass_over(unusable);
        Ok(keys)
    }

    /// Tells of keys that cannot be used, once.
    fn pass_over(&mut self, unusable: Vec<(usize, JwkUnusable)>) {
        if self.passed_over == unusable {
            return;
        }
        for (place, why) in unusable.iter().take(MOST_TOLD) {
            let number = place + 1;
            tracing::warn!("a published key, number {number} of the set, is passed over: {why}");
        }
        if unusable.len() > MOST_TOLD {
            let more = unusable.len() - MOST_TOLD;
            tracing::warn!("{more} more of the published keys are passed over");
        }
        self.passed_over = unusable;
    }

    fn take(&self, keys: VerifyingKeys) {
        let ids: Vec<_> = keys.ids().map(ToString::to_string).collect();
        let status = KeyStatus::Fetched { keys: ids.len() };
        // What is remembered of verified tokens is worth keeping while nothing changes.
        if self.verifier.replace_fetched_keys(keys) {
            tracing::info!(keys = ids.join(" "), "the issuer's keys are fetched");
        } else if *self.status.borrow() != status {
            tracing::info!("{status}");
        }
        self.status.send_replace(status);
    }

    fn fail(&self, reason: String) {
        let status = match &*self.status.borrow() {
            KeyStatus::Starting { .. } => KeyStatus::Starting {
                reason: Some(reason),
            },
            KeyStatus::Fetched { .. } | KeyStatus::Degraded { .. } => {
                KeyStatus::Degraded { reason }
            }
        };
        if *self.status.borrow() != status {
            tracing::warn!("{status}");
        }
        self.status.send_replace(status);
    }
}

/// What lies under all that an error is wrapped in: "connection refused" rather than "error sending request".
fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
