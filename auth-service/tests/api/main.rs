//! The service over real HTTP, with a real SQLite file, on a free port.
#![expect(
    clippy::unchecked_time_subtraction,
    reason = "a test that is wrong about its constants may panic"
)]

mod account;
mod clients;
mod commands;
mod errors;
mod health;
mod login;
mod logout;
mod oauth;
mod oauth_library;
mod refresh;
mod registration;
mod settings;
mod stack;
mod tokens;
