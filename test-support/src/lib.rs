//! What the tests of every service need: a server on a free port, and a client whose calls and answers read as sentences.
//!
//! Everything here panics where a test is to fail.
#![expect(clippy::missing_panics_doc, reason = "to panic is how a test fails")]
#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an assertion that hands its subject on may be the last"
)]

mod client;
mod collector;
pub mod compose;
pub mod document;
pub mod program;
mod raw;
mod server;
pub mod tokens;

pub use client::{Client, Reply};
pub use collector::{Collector, TakenSpan};
pub use raw::{Raw, RawAnswer};
pub use server::{Server, token_config};

use jiff::Timestamp;

/// The secret that tests sign with.
pub const SECRET: &str = "a-secret-for-tests-of-at-least-32-bytes";

/// The time at which a test's clock starts.
#[must_use]
pub fn start_of_time() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("a time in 2026")
}
