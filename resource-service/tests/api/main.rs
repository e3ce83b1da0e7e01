//! The service over real HTTP, with a real SQLite file, on a free port; tokens are signed with the common secret, as
//! auth-service signs them.

mod dashboard;
mod errors;
mod profile;
mod settings;
mod stack;
mod tokens;
