//! What is counted here beside requests, and what is looked up when somebody asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service_shell::metrics;
use service_shell::request_log::chain;
use service_shell::sqlite::StorageError;
use shared_claims::Clock;
use tokio::sync::Mutex;

use crate::storage::Store;

/// How long what was looked up in the store is said again: however often somebody asks, it costs little.
const LOOKED_UP_FOR: Duration = Duration::from_secs(10);
/// A store that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often something came to which end.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes(Family<Outcome, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Outcomes {
    /// Each is there from the beginning, so that the first of a kind is seen as a change.
    pub(crate) fn of(outcomes: &[&'static str]) -> Self {
        let counters = Family::default();
        for outcome in outcomes {
            let _ = counters.get_or_create(&Outcome { outcome });
        }
        Self(counters)
    }

    pub(crate) fn count(&self, outcome: &'static str) {
        self.0.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn expose(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, self.0.clone());
    }
}

/// Answers for the figures of this service.
#[derive(Clone, Debug)]
pub(crate) struct Monitor(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    registry: Registry,
    store: Store,
    clock: Clock,
    looked_up: Mutex<Option<Instant>>,
    sessions: Gauge,
    revocations: Gauge,
    unread: Gauge,
}

impl Monitor {
    /// Of everything that is registered, and what only the store knows.
    pub(crate) fn new(mut registry: Registry, store: Store, clock: Clock) -> Self {
        let (sessions, revocations, unread) =
            (Gauge::default(), Gauge::default(), Gauge::default());
        for (name, help, gauge) in [
            ("tokenpair_sessions", "Sessions that go on", &sessions),
            (
                "tokenpair_revocations",
                "Ended sessions whose access tokens may still be good elsewhere",
                &revocations,
            ),
            (
                "tokenpair_feed_unread",
                "Revocations that the subscriber who is furthest behind has not read, by what subscribers last told",
                &unread,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        Self(Arc::new(Figures {
            registry,
            store,
            clock,
            looked_up: Mutex::default(),
            sessions,
            revocations,
            unread,
        }))
    }

    /// All figures. When the store cannot be asked, those that come from it are the last that were known.
    pub(crate) async fn answer(&self) -> Response {
        let mut looked_up = self.0.looked_up.lock().await;
        if looked_up.is_none_or(|at| at.elapsed() > LOOKED_UP_FOR) {
            match tokio::time::timeout(PATIENCE, self.0.look_up()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("figures are out of date: {}", chain(&error)),
                Err(_) => tracing::warn!("figures are out of date: the database is slow"),
            }
            *looked_up = Some(Instant::now());
        }
        drop(looked_up);
        metrics::answer(&self.0.registry)
    }
}

impl Figures {
    async fn look_up(&self) -> Result<(), StorageError> {
        let now = self.clock.now();
        self.sessions
            .set(self.store.count_live_sessions(now).await?.into());
        let revocations = self.store.count_revocations_after(0, now.into()).await?;
        self.revocations.set(revocations.into());
        let holders = self.store.key_holders().await?;
        let furthest_behind = holders
            .iter()
            .filter(|holder| holder.is_here(now))
            .filter_map(|holder| holder.last_seq)
            .min();
        let unread = match furthest_behind {
            Some(seq) => self.store.count_revocations_after(seq, now.into()).await?,
            None => 0,
        };
        self.unread.set(unread.into());
        Ok(())
    }
}
