//! Where the keys come from that tokens are signed and verified with, and what happens when they change under a service that
//! runs.
//!
//! A file with nothing in it holds no key: so a service can be told of a file before there is a key, and go on without one
//! that has been dropped.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared_claims::{PrivateKey, PublicKey, SharedSecret, SigningKey, VerifyingKey, VerifyingKeys};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::settings::{SettingError, secret};

/// How often the files are looked at. A change counts when it looks the same twice: it may be half written.
const LOOK: Duration = Duration::from_millis(500);

const PRIVATE_KEY: &str = "JWT_PRIVATE_KEY_FILE";
const PREVIOUS_PRIVATE_KEYS: &str = "JWT_PREVIOUS_PRIVATE_KEYS_FILE";
const PUBLIC_KEY: &str = "JWT_PUBLIC_KEY_FILE";

/// The common secret that signs, and those that only verify, each given as such or by the name of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    pub(crate) current: Option<SecretString>,
    pub(crate) current_file: Option<PathBuf>,
    pub(crate) previous: Option<SecretString>,
    pub(crate) previous_file: Option<PathBuf>,
}

/// The PEM files of key pairs.
#[derive(Clone, Debug, Default)]
pub struct PairFiles {
    /// The private key that signs, in the place of the common secret.
    pub private: Option<PathBuf>,
    /// Private keys that sign nothing: the next and the previous.
    pub previous_private: Option<PathBuf>,
    /// Public keys.
    pub public: Option<PathBuf>,
}

/// What a service cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// A key that signs.
    #[default]
    Signing,
    /// A key that verifies.
    Verifying,
    /// No key of its own: it fetches the issuer's.
    Nothing,
}

/// The keys of a service.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The key that signs: the private key, or else the common secret.
    pub signing: Option<SigningKey>,
    /// The keys that verify: the signing one first.
    pub verifying: VerifyingKeys,
}

/// Where the keys come from.
#[derive(Clone, Debug, Default)]
pub struct KeySource {
    pub(crate) secrets: Secrets,
    pub(crate) pairs: PairFiles,
    pub(crate) need: Need,
    /// What the files looked like before they were read.
    pub(crate) looked: Vec<Option<u64>>,
}

impl KeySource {
    /// Reads the keys.
    ///
    /// # Errors
    /// A key that cannot be used or is missing, or a file that cannot be read.
    pub fn read(&self) -> Result<Keys, SettingError> {
        let (secret, secrets) = (self.secret()?, self.previous_secrets()?);
        let private = self.private_key()?;
        let previous_private = self.previous_private_keys()?;
        let public = in_pem_file(PUBLIC_KEY, self.pairs.public.as_deref(), PublicKey::parse)?;
        let of_pair = |key: &PrivateKey| key.public_key().verifying_key();
        let verifying: Vec<VerifyingKey> = private
            .iter()
            .map(of_pair)
            .chain(secret.iter().map(SharedSecret::verifying_key))
            .chain(previous_private.iter().map(of_pair))
            .chain(secrets.iter().map(SharedSecret::verifying_key))
            .chain(public.iter().map(PublicKey::verifying_key))
            .collect();
        let signing = private
            .as_ref()
            .map(PrivateKey::signing_key)
            .or_else(|| secret.as_ref().map(SharedSecret::signing_key));
        match self.need {
            Need::Signing if signing.is_none() => Err(self.missing(
                "make one with 'auth-service secret generate' and give it to both services",
            )),
            Need::Verifying if verifying.is_empty() => Err(self.missing(
                "make one with 'auth-service secret generate' and give it to both services, or set JWT_JWKS_URL",
            )),
            _ => Ok(Keys {
                signing,
                verifying: VerifyingKeys::new(verifying),
            }),
        }
    }

    fn missing(&self, remedy: &'static str) -> SettingError {
        let empty = |file: &PathBuf| format!("its file {} is empty", file.display());
        let (setting, fault) = match (&self.secrets.current_file, &self.pairs.private) {
            (Some(file), _) => ("JWT_SECRET_KEY", empty(file)),
            (None, Some(file)) => {
                let fault = format!("{}, and JWT_SECRET_KEY is not set", empty(file));
                (PRIVATE_KEY, fault)
            }
            (None, None) => ("JWT_SECRET_KEY", "it is not set".to_owned()),
        };
        SettingError {
            setting,
            fault,
            remedy,
        }
    }

    /// The file that is missing where only one of the two of a kind is named, so that a key cannot move between them.
    #[must_use]
    pub fn missing_file(&self) -> Option<&'static str> {
        let named = |current: &Option<PathBuf>, previous: &Option<PathBuf>| {
            (current.is_some(), previous.is_some())
        };
        match named(&self.secrets.current_file, &self.secrets.previous_file) {
            (true, false) => return Some("JWT_PREVIOUS_SECRET_KEYS_FILE"),
            (false, true) => return Some("JWT_SECRET_KEY_FILE"),
            _ => {}
        }
        match named(&self.pairs.private, &self.pairs.previous_private) {
            (true, false) => Some(PREVIOUS_PRIVATE_KEYS),
            (false, true) => Some(PRIVATE_KEY),
            _ => None,
        }
    }

    /// The common secret, which signs where there is no private key.
    ///
    /// # Errors
    /// It is too short, or in a file that cannot be read.
    fn secret(&self) -> Result<Option<SharedSecret>, SettingError> {
        let Secrets {
            current,
            current_file,
            ..
        } = &self.secrets;
        let (setting, file) = ("JWT_SECRET_KEY", current_file.as_deref());
        let given = secret(setting, current.clone(), "JWT_SECRET_KEY_FILE", file)?;
        let given = given.filter(|secret| !secret.expose_secret().is_empty());
        given
            .map(|secret| strong(setting, secret.expose_secret()))
            .transpose()
    }

    /// The secrets that only verify.
    fn previous_secrets(&self) -> Result<Vec<SharedSecret>, SettingError> {
        let previous = secret(
            "JWT_PREVIOUS_SECRET_KEYS",
            self.secrets.previous.clone(),
            "JWT_PREVIOUS_SECRET_KEYS_FILE",
            self.secrets.previous_file.as_deref(),
        )?;
        previous
            .iter()
            .flat_map(|secrets| separate_secrets(secrets.expose_secret()))
            .map(|secret| strong("JWT_PREVIOUS_SECRET_KEYS", secret))
            .collect()
    }

    /// The private key that signs.
    ///
    /// # Errors
    /// It cannot be used, or its file cannot be read.
    pub fn private_key(&self) -> Result<Option<PrivateKey>, SettingError> {
        let file = self.pairs.private.as_deref();
        let mut keys = in_pem_file(PRIVATE_KEY, file, PrivateKey::parse)?;
        match keys.len() {
            0 | 1 => Ok(keys.pop()),
            several => Err(SettingError {
                setting: PRIVATE_KEY,
                fault: format!("there are {several} keys in the file"),
                remedy: "keep the one that signs, and the others in JWT_PREVIOUS_PRIVATE_KEYS_FILE",
            }),
        }
    }

    /// The private keys that sign nothing.
    ///
    /// # Errors
    /// One cannot be used, or their file cannot be read.
    pub fn previous_private_keys(&self) -> Result<Vec<PrivateKey>, SettingError> {
        let file = self.pairs.previous_private.as_deref();
        in_pem_file(PREVIOUS_PRIVATE_KEYS, file, PrivateKey::parse)
    }

    /// The files of the secret that signs and of those that only verify, where both are in files.
    #[must_use]
    pub fn secret_files(&self) -> Option<(&Path, &Path)> {
        Some((
            self.secrets.current_file.as_deref()?,
            self.secrets.previous_file.as_deref()?,
        ))
    }

    /// The files of the private key that signs and of those that do not, where both are named.
    #[must_use]
    pub fn private_key_files(&self) -> Option<(&Path, &Path)> {
        Some((
            self.pairs.private.as_deref()?,
            self.pairs.previous_private.as_deref()?,
        ))
    }

    /// Reads the keys again when their files change and whenever the process is sent a SIGHUP, for ever. What cannot be used
    /// is told in the log, and the keys in use stay.
    pub async fn follow(&self, replace: impl Fn(Keys)) {
        // From here on a SIGHUP does not end the process any more.
        let mut hang_up = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::error!("cannot hear of SIGHUP: {error}"))
            .ok();
        let in_files = self.files().next().is_some();
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
            let read = self.read();
            if now != self.look() {
                // Another file has changed meanwhile, and what was read may be of two minds.
                continue;
            }
            used = now;
            match read {
                Ok(keys) => {
                    let ids: Vec<_> = keys.verifying.ids().map(ToString::to_string).collect();
                    let signs = keys.signing.as_ref().map(|key| key.id().to_string());
                    tracing::info!(signs, keys = ids.join(" "), "the keys were read again");
                    replace(keys);
                }
                Err(error) => tracing::error!("the keys in use stay: {error}"),
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let Secrets {
            current_file,
            previous_file,
            ..
        } = &self.secrets;
        let PairFiles {
            private,
            previous_private,
            public,
        } = &self.pairs;
        let files = [
            current_file,
            previous_file,
            private,
            previous_private,
            public,
        ];
        files.into_iter().flatten()
    }

    /// What the files look like: enough to see that they have changed.
    pub(crate) fn look(&self) -> Vec<Option<u64>> {
        let look = |file| {
            let bytes = Zeroizing::new(fs::read(file).ok()?);
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            Some(hasher.finish())
        };
        self.files().map(look).collect()
    }
}

/// Secrets with commas or line ends between them.
pub fn separate_secrets(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n', '\r'])
        .map(str::trim)
        .filter(|secret| !secret.is_empty())
}

/// The PEM blocks of a text, each with what stands before it: a reader of single blocks tells what is wrong with that.
pub fn separate_pem(text: &str) -> impl Iterator<Item = &str> {
    const END: &str = "-----END";
    let mut rest = text;
    std::iter::from_fn(move || {
        let from = rest.trim_start();
        let end = from.find(END).map_or(from.len(), |end| {
            let line = from[end..].find('\n');
            line.map_or(from.len(), |line| end + line + 1)
        });
        let (block, after) = from.split_at(end);
        rest = after;
        (!block.trim().is_empty()).then_some(block)
    })
}

fn in_pem_file<K, E: std::fmt::Display>(
    setting: &'static str,
    file: Option<&Path>,
    parse: impl Fn(&str) -> Result<K, E>,
) -> Result<Vec<K>, SettingError> {
    let Some(text) = secret(setting, None, setting, file)? else {
        return Ok(Vec::new());
    };
    separate_pem(text.expose_secret())
        .map(|block| {
            parse(block).map_err(|unusable| SettingError {
                setting,
                fault: unusable.to_string(),
                remedy: if setting == PUBLIC_KEY {
                    "print the public keys with 'auth-service secret public'"
                } else {
                    "make a key pair with 'auth-service secret generate --ed25519'"
                },
            })
        })
        .collect()
}

fn strong(setting: &'static str, secret: &str) -> Result<SharedSecret, SettingError> {
    SharedSecret::parse(secret).map_err(|too_short| SettingError {
        setting,
        fault: too_short.to_string(),
        remedy: "make one with 'auth-service secret generate'",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_blocks_are_told_apart_whatever_stands_between_them() {
        let block = "-----BEGIN X-----\nAAAA\n-----END X-----";
        let blocks = |text: &str| -> Vec<String> {
            separate_pem(text)
                .map(|block| block.trim().to_owned())
                .collect()
        };
        assert_eq!(blocks(" \n\r\n"), Vec::<String>::new());
        assert_eq!(blocks(block), [block]);
        assert_eq!(blocks(&format!("{block}\n\n{block}\r\n")), [block, block]);
        assert_eq!(blocks("no key"), ["no key"]);
        assert_eq!(blocks(&format!("{block}\nno key")), [block, "no key"]);
    }
}
