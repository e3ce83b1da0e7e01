//! What is seen here beside requests: how it stands with the keys and with the feed.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service_shell::metrics::{self, gauge, gauges};
use service_shell::serve::Shell;
use shared_claims::Verifier;

use crate::app::{Feed, Fetched};
use crate::storage::Store;

/// The figures of this service.
#[derive(Clone, Debug)]
pub(crate) struct Monitor(pub(crate) Arc<Registry>);

impl Monitor {
    pub(crate) fn new(
        shell: &Shell,
        store: &Store,
        verifier: Verifier,
        fetched: Fetched,
        feed: Feed,
    ) -> Self {
        let mut registry = metrics::registry("resource-service");
        shell.expose(&mut registry);
        store.expose(&mut registry);
        let keys = verifier.clone();
        gauges(
            &mut registry,
            "tokenpair_keys",
            "The keys in use, and what for",
            move || {
                let keys = keys.key_ids().into_iter();
                keys.map(|key| {
                    (
                        [("use", "verifies".to_owned()), ("kid", key.to_string())],
                        1,
                    )
                })
                .collect()
            },
        );
        gauges(
            &mut registry,
            "tokenpair_keys_state",
            "How it stands with the issuer's keys: 1 for the state that it is",
            move || one_of(&Fetched::STATES, fetched.state().0),
        );
        gauges(
            &mut registry,
            "tokenpair_feed_state",
            "How it stands with the revocation feed: 1 for the state that it is",
            move || one_of(&Feed::STATES, feed.state().0),
        );
        gauge(
            &mut registry,
            "tokenpair_revocations",
            "Ended sessions whose access tokens are refused",
            move || metrics::count(verifier.revoked().len()),
        );
        Self(Arc::new(registry))
    }
}

/// Each state is there, so that a change is seen as one.
fn one_of(
    states: &[&'static str],
    current: &'static str,
) -> Vec<([(&'static str, String); 1], i64)> {
    let value = |state| i64::from(state == current);
    let states = states.iter();
    states
        .map(|&state| ([("state", state.to_owned())], value(state)))
        .collect()
}
