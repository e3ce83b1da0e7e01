//! What clients may take of a service, however many there are and whatever they do with their connections, and what time they
//! have when it stops: settings with defaults that hold for a service that anybody may reach.

use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::{SettingError, count, duration};

/// Connections at the same time, where the process may have files enough open.
const MAX_CONNECTIONS: usize = 10_000;
/// The least that hyper reads headers into.
const LEAST_HEADER_BYTES: usize = 8 * 1024;

/// Settings of what clients may take.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
#[expect(
    clippy::struct_field_names,
    reason = "a field's name is its flag's and its variable's"
)]
pub struct LimitSettings {
    /// Connections at the same time; one more is answered with 503 and closed [default: 10000, or half of the files that the
    /// process may have open]
    #[arg(long, env = "HTTP_MAX_CONNECTIONS", value_name = "COUNT", value_parser = |text: &str| count(text, 1_000_000), global = true)]
    http_max_connections: Option<usize>,
    /// Requests that are being worked on at the same time, and as many again that wait for a password to be hashed; one more is
    /// answered with 503
    #[arg(long, env = "HTTP_MAX_IN_FLIGHT", value_name = "COUNT", default_value = "1024", value_parser = |text: &str| count(text, 1_000_000), global = true)]
    http_max_in_flight: usize,
    /// Bytes of a request's first line and headers; one more is answered with 431
    #[arg(long, env = "HTTP_MAX_HEADER_BYTES", value_name = "BYTES", default_value = "65536", value_parser = header_bytes, global = true)]
    http_max_header_bytes: usize,
    /// Bytes of a request's body; one more is answered with 413
    #[arg(long, env = "HTTP_MAX_BODY_BYTES", value_name = "BYTES", default_value = "65536", value_parser = |text: &str| count(text, 1 << 30), global = true)]
    http_max_body_bytes: usize,
    /// How long a connection may be without the headers of a request, be it silent or slow; then it is closed
    #[arg(long, env = "HTTP_IDLE_TIMEOUT", value_name = "DURATION", default_value = "75s", value_parser = timeout, global = true)]
    http_idle_timeout: Duration,
    /// How long a request's body may take; then it is answered with 408
    #[arg(long, env = "HTTP_BODY_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = body_timeout, global = true)]
    http_body_timeout: Duration,
    /// How long the service goes on as ever when it is asked to stop, but says that it is not ready: until a load balancer has
    /// seen it
    #[arg(long, env = "HTTP_STOP_DELAY", value_name = "DURATION", default_value = "0s", value_parser = stop_time, global = true)]
    http_stop_delay: Duration,
    /// How long requests that are running may take to end, when no new ones are taken any more
    #[arg(long, env = "HTTP_STOP_LIMIT", value_name = "DURATION", default_value = "5s", value_parser = stop_time, global = true)]
    http_stop_limit: Duration,
}

/// What clients may take of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Requests of a class that are being worked on at the same time. Those that wait for their own client do not count.
    pub in_flight: usize,
    /// The routes whose requests wait for something that is scarce: they are a class of their own, so that, however many they are,
    /// there is room for the others.
    pub scarce: &'static [&'static str],
    /// Bytes of a request's first line and headers, from 8 KiB.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a connection may be without the headers of a request.
    pub idle: Duration,
    /// How long a request's body may take, from when it is first waited for.
    pub body: Duration,
    /// How long the service goes on when it is asked to stop, and says that it is not ready.
    pub stop_delay: Duration,
    /// How long running requests may take to end after that.
    pub stop_limit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            in_flight: 1024,
            scarce: &[],
            header_bytes: 64 * 1024,
            body_bytes: 64 * 1024,
            idle: Duration::from_secs(75),
            body: Duration::from_secs(10),
            stop_delay: Duration::ZERO,
            stop_limit: Duration::from_secs(5),
        }
    }
}

impl LimitSettings {
    /// Checks the settings against what the operating system allows, having asked it for all that it does.
    ///
    /// # Errors
    /// More connections than files that the process may have open.
    pub fn resolve(&self) -> Result<Limits, SettingError> {
        let files = open_files();
        let connections = match self.http_max_connections {
            Some(wanted) if wanted >= files => {
                return Err(SettingError {
                    setting: "HTTP_MAX_CONNECTIONS",
                    fault: format!("this process may have no more than {files} files open"),
                    remedy: "raise that limit (ulimit -n, LimitNOFILE), or allow fewer connections",
                });
            }
            Some(wanted) => wanted,
            None => MAX_CONNECTIONS.min(files / 2),
        };
        Ok(Limits {
            connections,
            in_flight: self.http_max_in_flight,
            scarce: &[],
            header_bytes: self.http_max_header_bytes,
            body_bytes: self.http_max_body_bytes,
            idle: self.http_idle_timeout,
            body: self.http_body_timeout,
            stop_delay: self.http_stop_delay,
            stop_limit: self.http_stop_limit,
        })
    }
}

/// How many files the process may have open. Where it may raise the number by itself, it is raised: the low one that many
/// systems begin with is for programs that use `select`.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    current.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}

fn header_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok();
    bytes
        .filter(|bytes| (LEAST_HEADER_BYTES..=1 << 20).contains(bytes))
        .ok_or_else(|| "use a whole number from 8192 to 1048576".to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout.is_zero() || timeout > Duration::from_hours(1) {
        return Err("use a duration from 1ms to 1h".to_owned());
    }
    Ok(timeout)
}

fn stop_time(text: &str) -> Result<Duration, String> {
    duration(text)
        .ok()
        .filter(|time| *time <= Duration::from_mins(10))
        .ok_or_else(|| "use a duration from 0s to 10m".to_owned())
}

fn body_timeout(text: &str) -> Result<Duration, String> {
    timeout(text)
        .ok()
        .filter(|timeout| *timeout <= Duration::from_secs(25))
        .ok_or_else(|| {
            "use a duration from 1ms to 25s: a request has 30 seconds for all".to_owned()
        })
}
