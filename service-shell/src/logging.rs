//! Logs, to standard error: for people on a terminal, JSON elsewhere.

use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings, SettingError};

/// Starts the logging of this process, panics included.
///
/// # Errors
/// A `RUST_LOG` that cannot be read.
pub fn start(settings: &LogSettings) -> Result<(), SettingError> {
    let filter = EnvFilter::builder()
        .parse(&settings.rust_log)
        .map_err(|error| SettingError {
            setting: "RUST_LOG",
            fault: error.to_string(),
            remedy: "write a level like 'info', or levels for parts like 'info,sqlx=warn'",
        })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Nobody reads the log any more, or the disk is full: to say so on the same standard error would end the process.
        .log_internal_errors(false);
    let format = settings
        .log_format
        .unwrap_or(if io::stderr().is_terminal() {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        });
    let started = match format {
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            // We open no spans: a line is an event, and looking for its spans is work for nothing.
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        LogFormat::Pretty => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
    };
    if started.is_ok() {
        panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(
                place,
                thread = std::thread::current().name(),
                "panic: {}",
                panic.payload_as_str().unwrap_or_default()
            );
        }));
    }
    Ok(())
}
