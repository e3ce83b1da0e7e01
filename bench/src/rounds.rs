//! How long is measured: turns of a fixed length, each after a short time in which nothing counts.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::report::Figures;

/// Caches fill, buffers grow, threads take their memory: what happens once does not count.
const WARM_UP: Duration = Duration::from_millis(300);

/// The rounds of a run.
#[derive(Args, Debug)]
pub(crate) struct Rounds {
    /// Rounds in which every variant has its turn
    #[arg(long, value_name = "COUNT", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=50), global = true)]
    rounds: u16,
    /// Length of a turn
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=30), global = true)]
    seconds: u16,
}

impl Rounds {
    /// Their numbers.
    pub(crate) fn each(&self) -> impl Iterator<Item = u16> {
        0..self.rounds
    }

    /// A turn that begins now.
    pub(crate) fn turn(&self) -> Turn {
        let from = Instant::now() + WARM_UP;
        Turn {
            from,
            until: from + Duration::from_secs(self.seconds.into()),
        }
    }
}

/// The part of a turn that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// When it begins: until then is the time to warm up.
    pub(crate) from: Instant,
    /// When it ends.
    pub(crate) until: Instant,
}

impl Turn {
    pub(crate) fn seconds(&self) -> f64 {
        (self.until - self.from).as_secs_f64()
    }
}

/// How long each of those things took that were done while it counted.
#[derive(Debug)]
pub(crate) struct Waits {
    turn: Turn,
    waits: Vec<Duration>,
}

impl Waits {
    /// Nothing yet.
    pub(crate) fn of(turn: Turn) -> Self {
        Self {
            turn,
            waits: Vec::new(),
        }
    }

    /// Adds what was begun then and is done now.
    pub(crate) fn add(&mut self, begun: Instant) {
        let done = Instant::now();
        if (self.turn.from..self.turn.until).contains(&done) {
            self.waits.push(done - begun);
        }
    }

    /// Adds what was due then and is done now, however late.
    pub(crate) fn add_due(&mut self, due: Instant) {
        if (self.turn.from..self.turn.until).contains(&due) {
            self.waits.push(due.elapsed());
        }
    }

    /// Each of them.
    pub(crate) fn into_each(self) -> Vec<Duration> {
        self.waits
    }

    /// Adds what somebody else did in the same turn.
    pub(crate) fn extend(&mut self, others: Self) {
        self.waits.extend(others.waits);
    }

    pub(crate) fn count(&self) -> f64 {
        u32::try_from(self.waits.len()).map_or(f64::INFINITY, f64::from)
    }

    /// How often per second, and the milliseconds that 50 and 99 in a hundred did not exceed.
    pub(crate) fn figures(&mut self) -> Figures<2> {
        self.waits.sort_unstable();
        Figures {
            per_second: self.count() / self.turn.seconds(),
            further: [50, 99].map(|percent| {
                let index = self.waits.len().saturating_sub(1) * percent / 100;
                let wait = self.waits.get(index);
                wait.map_or(f64::NAN, |wait| wait.as_secs_f64() * 1000.0)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_waits_that_occurred() {
        let from = Instant::now();
        let turn = Turn {
            from,
            until: from + Duration::from_secs(2),
        };
        let mut waits = Waits::of(turn);
        assert!(waits.figures().further[0].is_nan());
        waits.waits = (1..=200).rev().map(Duration::from_millis).collect();
        let figures = waits.figures();
        assert!((figures.per_second - 100.0).abs() < 1e-9);
        let [p50, p99] = figures.further;
        assert!((p50 - 100.0).abs() < 1e-9 && (p99 - 198.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_done_before_or_after_the_turn_does_not_count() {
        let now = Instant::now();
        let hour = Duration::from_hours(1);
        for (from, until, count) in [
            (now, now + hour, 1.0),
            (now + hour, now + 2 * hour, 0.0),
            (now, now, 0.0),
        ] {
            let mut waits = Waits::of(Turn { from, until });
            waits.add(now);
            assert!((waits.count() - count).abs() < 1e-9);
        }
    }
}
