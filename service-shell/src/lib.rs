//! What every service of the workspace does the same way around its routes: settings, logs, one line and one id per
//! request, bodies in and errors out, health, start and stop. What a service is *for* is not in here.

mod answer_headers;
pub mod body;
pub mod client_body;
mod connections;
pub mod cors;
pub mod files;
pub mod health;
mod in_flight;
pub mod keys;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod request_log;
pub mod serve;
pub mod settings;
pub mod sqlite;
pub mod tokens;
mod trace_context;
pub mod traces;
