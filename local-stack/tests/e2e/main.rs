//! The local stack as its user starts it: the real binary, both services, real files.
#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod browser;
mod containers;
mod crash;
mod dashboard;
mod folder;
mod in_process;
mod interop;
mod key_change;
mod key_pairs;
mod keys;
mod lesson;
mod load;
mod log;
mod metrics;
mod revocation;
mod stack;
mod traces;
mod unsaid;
