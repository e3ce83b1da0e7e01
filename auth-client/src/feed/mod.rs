//! The revocation feed: what auth-service says of ended sessions becomes the set that a verifier looks into.
//!
//! A subscription never gives up. What it has been told stays in the set whatever happens to the feed; what it missed
//! meanwhile it asks for when it is back.

mod events;
mod subscriber;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use shared_claims::Verifier;
pub use shared_claims::wire::FEED_SCOPE;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::subscriber::Subscriber;
use crate::issuer::Issuer;

/// How long a subscriber that broke down by a mistake of ours waits before it begins anew.
const AFTER_A_MISTAKE: Duration = Duration::from_secs(5);

/// What to do with tokens, and for whom.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// What the subscriber calls itself to those who ask auth-service who listens.
    pub name: String,
    /// Refuse every token once nothing has been heard for `silence`; otherwise the verifier goes on with what it knows.
    pub strict: bool,
    /// After this long without a byte the feed counts as lost. Auth-service sends something every 15 s at least.
    pub silence: Duration,
}

impl FeedOptions {
    /// The usual options under this name: not strict, 45 s.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            strict: false,
            silence: Duration::from_secs(45),
        }
    }
}

/// How it stands with the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedStatus {
    /// Nothing has been heard since the start: it is not known which sessions have ended, and no token is taken.
    Starting {
        /// What stands in the way, once something does.
        reason: Option<String>,
    },
    /// Every revocation is heard of when it is made.
    CaughtUp,
    /// The feed is lost: the verifier goes on with what it knows, or, if it is strict, does so no more after a while.
    Degraded {
        /// What stands in the way.
        reason: String,
    },
    /// Issuer and verifier do not agree on their settings: no token is taken.
    Mismatch {
        /// On which, and how they differ.
        reason: String,
    },
}

impl fmt::Display for FeedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting { reason: None } => f.write_str("the feed has not been heard yet"),
            Self::Starting {
                reason: Some(reason),
            }
            | Self::Degraded { reason }
            | Self::Mismatch { reason } => f.write_str(reason),
            Self::CaughtUp => f.write_str("every revocation is heard of"),
        }
    }
}

/// A subscription to the feed, which goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct Subscription {
    status: watch::Receiver<FeedStatus>,
    subscriber: Arc<Subscriber>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Subscribes as the issuer's client, which needs the scope [`FEED_SCOPE`]. The verifier takes no token until it is
    /// known which sessions have ended.
    #[must_use]
    pub fn start(issuer: &Issuer, verifier: Verifier, options: FeedOptions) -> Self {
        verifier.revoked().suspend();
        let subscriber = Arc::new(Subscriber::new(issuer, verifier, options));
        let (status, running) = (subscriber.status(), Arc::clone(&subscriber));
        let task = tokio::spawn(async move {
            // A mistake of ours must not leave a verifier that takes itself for told.
            while AssertUnwindSafe(running.run())
                .catch_unwind()
                .await
                .is_err()
            {
                running.lost("the subscriber broke down".to_owned());
                tokio::time::sleep(AFTER_A_MISTAKE).await;
            }
        });
        Self {
            status,
            subscriber,
            task,
        }
    }

    /// How it stands with the feed.
    #[must_use]
    pub fn status(&self) -> FeedStatus {
        self.status.borrow().clone()
    }

    /// What tells of every change of how it stands.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<FeedStatus> {
        self.status.clone()
    }

    /// Ends the subscription and says so to auth-service, which need not wait for this verifier any more.
    pub async fn stop(&self) {
        self.task.abort();
        self.subscriber.say_goodbye().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}
