//! The service over real HTTP, with a real SQLite file, on a free port.
#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]
#![expect(
    clippy::unchecked_time_subtraction,
    reason = "a test that is wrong about its constants may panic"
)]

mod account;
mod admin;
mod attempts;
mod audit;
mod clients;
mod commands;
mod cookies;
mod database;
mod document;
mod errors;
mod feed;
mod health;
mod login;
mod logout;
mod metrics;
mod model;
mod oauth;
mod oauth_library;
mod provision;
mod refresh;
mod registration;
mod secrets;
mod sessions;
mod settings;
mod stack;
mod stop;
mod tokens;
mod well_known;
