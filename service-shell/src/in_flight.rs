//! The requests that are being worked on: how many there are, and whether there may be one more.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use axum::extract::MatchedPath;
use prometheus_client::registry::Registry;

use crate::limits::Limits;
use crate::metrics;

/// The requests that are being worked on, by class: each has as much room as all of them would have without the other.
#[derive(Debug)]
pub(crate) struct Classes {
    scarce_routes: &'static [&'static str],
    scarce: InFlight,
    others: InFlight,
}

impl Classes {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            scarce_routes: limits.scarce,
            scarce: InFlight::at_most(limits.in_flight),
            others: InFlight::at_most(limits.in_flight),
        }
    }

    /// The class of the requests to a route.
    pub(crate) fn of(&self, route: Option<&MatchedPath>) -> &InFlight {
        let is_scarce = |route: &MatchedPath| self.scarce_routes.contains(&route.as_str());
        if route.is_some_and(is_scarce) {
            &self.scarce
        } else {
            &self.others
        }
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        let mut classes = vec![("others", self.others.clone())];
        if !self.scarce_routes.is_empty() {
            classes.push(("scarce", self.scarce.clone()));
        }
        let read = |classes: &[(&'static str, InFlight)], of: fn(&InFlight) -> isize| {
            let read = |(class, in_flight): &(&'static str, InFlight)| {
                let count = i64::try_from(of(in_flight)).unwrap_or(i64::MAX);
                ([("class", (*class).to_owned())], count)
            };
            classes.iter().map(read).collect()
        };
        let limited = classes.clone();
        metrics::gauges(
            registry,
            "http_requests_in_flight",
            "Requests that are being worked on",
            move || read(&classes, |class| class.running.load(Ordering::Relaxed)),
        );
        metrics::gauges(
            registry,
            "http_requests_in_flight_limit",
            "Requests that may be worked on at the same time",
            move || read(&limited, |class| class.most),
        );
    }
}

/// The requests of a class. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    most: isize,
    /// Goes below zero for a moment, where a request is given up while it waits for its client.
    running: Arc<AtomicIsize>,
}

impl InFlight {
    fn at_most(most: usize) -> Self {
        Self {
            most: isize::try_from(most).unwrap_or(isize::MAX),
            running: Arc::default(),
        }
    }

    /// One more, until the guard is dropped. `None`: there are as many as there may be.
    pub(crate) fn begin(&self) -> Option<Running> {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(Arc::clone(&self.running));
        (before < self.most).then_some(running)
    }

    /// For a request of which there may always be one more.
    pub(crate) fn begin_always(&self) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(&self.running))
    }

    /// Takes a running request out of the count, until the guard is dropped.
    pub(crate) fn pause(&self) -> Paused {
        self.running.fetch_sub(1, Ordering::Relaxed);
        Paused(Arc::clone(&self.running))
    }
}

/// A request that counts.
#[derive(Debug)]
pub(crate) struct Running(Arc<AtomicIsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that does not count for now.
#[derive(Debug)]
pub(crate) struct Paused(Arc<AtomicIsize>);

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
