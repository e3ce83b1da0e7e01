//! The service over real HTTP, with a real SQLite file, on a free port; tokens are signed with the common secret, as
//! auth-service signs them.
#![expect(
    clippy::unchecked_time_subtraction,
    reason = "a test that is wrong about its constants may panic"
)]

mod dashboard;
mod database;
mod document;
mod errors;
mod keys;
mod page;
mod profile;
mod settings;
mod stack;
mod tokens;
