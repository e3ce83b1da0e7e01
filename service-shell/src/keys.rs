//! Where the secrets that tokens are signed with come from, and what happens when they change under a service that runs.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared_claims::{SharedSecret, SigningKey, VerifyingKeys};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::settings::{SettingError, secret};

/// How often the files are looked at. A change counts when it looks the same twice: it may be half written.
const LOOK: Duration = Duration::from_millis(500);

/// The secret that signs, and those that only verify, each given as such or by the name of a file.
#[derive(Clone, Debug, Default)]
pub struct KeySource {
    pub(crate) current: Option<SecretString>,
    pub(crate) current_file: Option<PathBuf>,
    pub(crate) previous: Option<SecretString>,
    pub(crate) previous_file: Option<PathBuf>,
    /// What the files looked like before they were read.
    pub(crate) looked: Vec<Option<u64>>,
}

impl KeySource {
    /// The key that signs, and all that verify, the signing one first.
    ///
    /// # Errors
    /// A secret that is missing, too short, or in a file that cannot be read.
    pub fn read(&self) -> Result<(SigningKey, VerifyingKeys), SettingError> {
        let current = self.current()?;
        let previous = self.previous()?;
        let keys = std::iter::once(&current)
            .chain(&previous)
            .map(SharedSecret::verifying_key);
        Ok((current.signing_key(), VerifyingKeys::new(keys)))
    }

    /// The secret that signs.
    ///
    /// # Errors
    /// It is missing, too short, or in a file that cannot be read.
    pub fn current(&self) -> Result<SharedSecret, SettingError> {
        let current = secret(
            "JWT_SECRET_KEY",
            self.current.clone(),
            "JWT_SECRET_KEY_FILE",
            self.current_file.as_deref(),
        )?;
        let current = current.ok_or_else(|| SettingError {
            setting: "JWT_SECRET_KEY",
            fault: "it is not set".to_owned(),
            remedy: "make one with 'auth-service secret generate' and give it to both services",
        })?;
        strong("JWT_SECRET_KEY", current.expose_secret())
    }

    /// The secrets that only verify.
    ///
    /// # Errors
    /// One is too short, or they are in a file that cannot be read.
    pub fn previous(&self) -> Result<Vec<SharedSecret>, SettingError> {
        let previous = secret(
            "JWT_PREVIOUS_SECRET_KEYS",
            self.previous.clone(),
            "JWT_PREVIOUS_SECRET_KEYS_FILE",
            self.previous_file.as_deref(),
        )?;
        previous
            .iter()
            .flat_map(|secrets| Self::separate(secrets.expose_secret()))
            .map(|secret| strong("JWT_PREVIOUS_SECRET_KEYS", secret))
            .collect()
    }

    /// Secrets with commas or line ends between them.
    pub fn separate(text: &str) -> impl Iterator<Item = &str> {
        text.split([',', '\n', '\r'])
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
    }

    /// The files of the secret that signs and of those that only verify, where both are in files.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        Some((
            self.current_file.as_deref()?,
            self.previous_file.as_deref()?,
        ))
    }

    /// Reads the keys again when their files change and whenever the process is sent a SIGHUP, for ever. What cannot be used
    /// is told in the log, and the keys in use stay.
    pub async fn follow(&self, replace: impl Fn(SigningKey, VerifyingKeys)) {
        // From here on a SIGHUP does not end the process any more.
        let mut hang_up = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::error!("cannot hear of SIGHUP: {error}"))
            .ok();
        let in_files = self.current_file.is_some() || self.previous_file.is_some();
        // Not what they look like now: they may have changed since they were read.
        let mut used = self.looked.clone();
        let mut seen = used.clone();
        loop {
            let asked_for = async {
                match &mut hang_up {
                    Some(hang_up) => hang_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                _ = asked_for => true,
                () = tokio::time::sleep(LOOK), if in_files => false,
            };
            let now = self.look();
            let settled = std::mem::replace(&mut seen, now.clone()) == now;
            if !asked && (now == used || !settled) {
                continue;
            }
            used = now;
            match self.read() {
                Ok((signing, verifying)) => {
                    let ids: Vec<_> = verifying.ids().map(ToString::to_string).collect();
                    tracing::info!(signs = %signing.id(), keys = ids.join(" "), "the keys were read again");
                    replace(signing, verifying);
                }
                Err(error) => tracing::error!("the keys in use stay: {error}"),
            }
        }
    }

    /// What the files look like: enough to see that they have changed.
    pub(crate) fn look(&self) -> Vec<Option<u64>> {
        [&self.current_file, &self.previous_file]
            .into_iter()
            .flatten()
            .map(|file| {
                let bytes = Zeroizing::new(fs::read(file).ok()?);
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                Some(hasher.finish())
            })
            .collect()
    }
}

fn strong(setting: &'static str, secret: &str) -> Result<SharedSecret, SettingError> {
    SharedSecret::parse(secret).map_err(|too_short| SettingError {
        setting,
        fault: too_short.to_string(),
        remedy: "make one with 'auth-service secret generate'",
    })
}
