//! Settings: each is an environment variable and a command-line flag of the same name, `JWT_ISSUER` and `--jwt-issuer`.
//! What cannot be used is told in one line: the setting, what is wrong with it, and what would be right.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Args, Command, ValueEnum};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

const DAY: Duration = Duration::from_hours(24);

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {fault}; {remedy}")]
pub struct SettingError {
    /// The environment variable.
    pub setting: &'static str,
    /// What is wrong with it.
    pub fault: String,
    /// What would be right.
    pub remedy: &'static str,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For programs.
    Json,
}

/// Settings of the logs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogSettings {
    /// How log lines look [default: pretty on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
    /// What is logged: a level, or levels for single parts, like 'info,sqlx=warn'
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info",
        global = true
    )]
    pub rust_log: String,
}

/// The value of a secret, given as such or as the name of a file. A line end after it is not part of it.
///
/// # Errors
/// The file cannot be read, or the value is given as such too.
pub fn secret(
    setting: &'static str,
    value: Option<SecretString>,
    file_setting: &'static str,
    file: Option<&Path>,
) -> Result<Option<SecretString>, SettingError> {
    let Some(file) = file else {
        return Ok(value);
    };
    if value.is_some_and(|value| !value.expose_secret().is_empty()) {
        return Err(SettingError {
            setting: file_setting,
            fault: format!("{setting} is set as well"),
            remedy: "set one of the two",
        });
    }
    let text = fs::read_to_string(file).map_err(|error| SettingError {
        setting: file_setting,
        fault: format!("{} cannot be read: {error}", file.display()),
        remedy: "name a text file that this user can read",
    })?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).into()))
}

/// A duration as people write it.
///
/// # Errors
/// What would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| "write a duration like 30s, 15m, 1h, 7days or '2d 3h 15m'".to_owned())
}

pub(crate) fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.subsec_nanos() == 0 {
        Ok(duration)
    } else {
        Err("use whole seconds: tokens count nothing less".to_owned())
    }
}

/// An address to listen on.
///
/// # Errors
/// What would be right.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an address and a port like 127.0.0.1:8080".to_owned())
}

/// An address below that of a service, which may be below a path itself.
#[must_use]
pub fn below(service: &Url, path: &str) -> Url {
    let mut address = service.clone();
    address.set_path(&format!("{}{path}", service.path().trim_end_matches('/')));
    address
}

/// The address of a web service.
///
/// # Errors
/// What would be right.
pub fn web_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // It is told in the log.
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    url.ok_or_else(|| {
        "write an address like http://127.0.0.1:8001, with no name and no password in it".to_owned()
    })
}

/// Something that is on or off.
///
/// # Errors
/// What would be right.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("use on or off".to_owned()),
    }
}

/// A number of things, from 1 to the most.
///
/// # Errors
/// What would be right.
pub fn count(text: &str, most: usize) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("use a whole number from 1 to {most}"))
}

/// How long a token is good.
///
/// # Errors
/// What would be right.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = whole_seconds(text)?;
    if lifetime.is_zero() || lifetime > 366 * DAY {
        return Err("use a duration from 1s to 366d".to_owned());
    }
    Ok(lifetime)
}

/// Settings that mean something when they are empty: the claim is switched off, the scope allows nothing.
const MAY_BE_EMPTY: [&str; 3] = ["JWT_ISSUER", "JWT_AUDIENCE", "AUTH_DEFAULT_SCOPE"];

/// An empty variable is one that is not set: compose files and scripts pass on what they do not know.
fn unset_when_empty(argument: Arg) -> Arg {
    let empty = argument.get_env().is_some_and(|name| {
        let may_be = name
            .to_str()
            .is_some_and(|name| MAY_BE_EMPTY.contains(&name));
        !may_be && std::env::var_os(name).is_some_and(|value| value.is_empty())
    });
    if empty {
        argument.env(None::<&'static str>)
    } else {
        argument
    }
}

/// Parses the command line and the environment.
///
/// # Errors
/// How the process is to end: after `--help` and `--version` well, after a setting that cannot be used with one line on
/// standard error and code 2.
pub fn parse<C: clap::FromArgMatches>(command: Command) -> Result<(C, ArgMatches), ExitCode> {
    let name = command.get_name().to_owned();
    let not_text = command
        .get_arguments()
        .filter_map(Arg::get_env)
        .find(|name| std::env::var_os(name).is_some_and(|value| value.to_str().is_none()))
        .map(|name| name.to_string_lossy().into_owned());
    let parsed = command
        .mut_args(unset_when_empty)
        .try_get_matches()
        .and_then(|matches| Ok((C::from_arg_matches(&matches)?, matches)));
    parsed.map_err(|error| {
        if error.use_stderr() {
            let line = match not_text.filter(|_| error.kind() == ErrorKind::InvalidUtf8) {
                Some(setting) => format!("{setting}: it is not UTF-8 text; write it as such"),
                None => one_line(&error),
            };
            complain(&name, &line);
            ExitCode::from(2)
        } else {
            let _ = error.print();
            ExitCode::SUCCESS
        }
    })
}

/// How a process ends: with nothing to say, or with one line on standard error.
#[must_use]
pub fn end(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(name, &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The one line that tells why a process ends, logging or not. Where nobody reads it, the exit code has to do.
fn complain(name: &str, line: &str) {
    let _ = writeln!(io::stderr(), "{name}: {}", line.replace('\n', " "));
}

/// clap's own messages name the flag, over several lines. Secrets are taken as they are, so that no message of clap's can
/// repeat one.
fn one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    // The address of a database may have a password in it.
    let value = text(ContextKind::InvalidValue).filter(|value| !value.contains('@'));
    let value = value.map_or_else(|| "its value".to_owned(), |value| format!("'{value}'"));
    let setting = argument
        .split_whitespace()
        .next()
        .filter(|argument| argument.starts_with("--"));
    match (error.kind(), setting) {
        (ErrorKind::ValueValidation, Some(flag)) => {
            let remedy = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{}: {value} cannot be used; {remedy}", variable(flag))
        }
        (ErrorKind::InvalidValue, Some(flag)) => {
            let remedy = text(ContextKind::ValidValue)
                .filter(|values| !values.is_empty())
                .map_or_else(
                    || "give it a value".to_owned(),
                    |values| format!("use one of: {values}"),
                );
            format!("{}: {value} cannot be used; {remedy}", variable(flag))
        }
        (ErrorKind::UnknownArgument, _) => format!("there is no '{argument}'; see --help"),
        (ErrorKind::InvalidSubcommand, _) => {
            format!(
                "there is no command '{}'; see --help",
                text(ContextKind::InvalidSubcommand).unwrap_or_default()
            )
        }
        (ErrorKind::InvalidUtf8, _) => "a setting is not UTF-8 text; see --help".to_owned(),
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            "which command? see --help".to_owned()
        }
        _ => {
            let message = error.to_string();
            let message = message
                .split("\n\n")
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            format!("{}; see --help", message.trim_start_matches("error: "))
        }
    }
}

fn variable(flag: &str) -> String {
    flag.trim_start_matches("--")
        .replace('-', "_")
        .to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_say_them() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("1h"), Ok(3600));
        assert_eq!(seconds("7days"), Ok(7 * 86_400));
        assert_eq!(seconds("2w"), Ok(14 * 86_400));
        assert_eq!(seconds("2d 3h 15m"), Ok(2 * 86_400 + 3 * 3600 + 15 * 60));
        for text in ["", "15", "m", "-1s", "fifteen", "1e9d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_lifetime_is_neither_nothing_nor_absurd_nor_a_part_of_a_second() {
        assert!(lifetime("1s").is_ok() && lifetime("366d").is_ok());
        for text in ["0s", "367d", "1000years", "1500ms", "99999999999999999999s"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
