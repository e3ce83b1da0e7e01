//! Changing the common secret with no failed request: the new one verifies everywhere before it signs anywhere, and the old one
//! verifies until its last token has expired.
//!
//! The secrets are in the two files that the services read; which of them is on its way in or out is in the table. Each step
//! leaves both such that the next run goes on from there, wherever this one was interrupted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use service_shell::files::replace_private;
use service_shell::keys::KeySource;
use shared_claims::{Clock, KeyId, NumericDate, SharedSecret};
use zeroize::Zeroizing;

use crate::key_holders::KeyHolder;
use crate::storage::Store;

/// A secret is kept for this much longer than its last token: whoever signs may have learnt of its end a little later.
const SPARE: Duration = Duration::from_mins(1);

/// What is being done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// It verifies already, and is to sign.
    Next,
    /// It has signed, and verifies until its last token has expired.
    Retired,
}

/// A key on its way in or out.
#[derive(Clone, Debug)]
pub(crate) struct MovingKey {
    pub(crate) id: KeyId,
    pub(crate) state: KeyState,
    pub(crate) since: Timestamp,
}

/// A secret as it stands in a file, with the id of its key.
struct Written {
    id: KeyId,
    text: Zeroizing<String>,
}

impl Written {
    fn new(text: &str) -> anyhow::Result<Self> {
        Ok(Self {
            id: SharedSecret::parse(text)?.key_id(),
            text: Zeroizing::new(text.to_owned()),
        })
    }
}

/// How it stands with the keys.
pub(crate) struct Status {
    pub(crate) signs: KeyId,
    /// The others, with what is being done with them and, of retired ones, when their last token has expired.
    pub(crate) verify: Vec<(KeyId, Option<KeyState>, Option<NumericDate>)>,
    /// Those that have been heard of lately.
    pub(crate) holders: Vec<KeyHolder>,
}

impl Status {
    /// Whether every auth-service signs with this key: it names that one first.
    pub(crate) fn is_signed_with(&self, key: &KeyId) -> bool {
        let mut issuers = self.holders.iter().filter(|holder| holder.client.is_none());
        issuers.all(|issuer| issuer.keys.first() == Some(key))
    }

    /// Who does not hold this key.
    pub(crate) fn lacking(&self, key: &KeyId) -> Vec<&KeyHolder> {
        let holders = self.holders.iter();
        holders
            .filter(|holder| !holder.keys.contains(key))
            .collect()
    }
}

/// The files and the table together.
pub(crate) struct Rotation {
    store: Store,
    clock: Clock,
    current_file: PathBuf,
    previous_file: PathBuf,
}

impl Rotation {
    pub(crate) fn new(store: Store, clock: Clock, source: &KeySource) -> anyhow::Result<Self> {
        let Some((current, previous)) = source.files() else {
            bail!(
                "JWT_SECRET_KEY_FILE and JWT_PREVIOUS_SECRET_KEYS_FILE: both must name a file, which the services read too; secrets \
                 that are kept elsewhere are changed there, see docs/operations.md"
            );
        };
        Ok(Self {
            store,
            clock,
            current_file: current.to_owned(),
            previous_file: previous.to_owned(),
        })
    }

    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        let (current, now) = (self.current()?, self.clock.now());
        let moving = self.store.moving_keys().await?;
        let mut verify = Vec::new();
        for Written { id, .. } in self.previous()? {
            let key = moving.iter().find(|key| key.id == id);
            let until = match key {
                Some(key) if key.state == KeyState::Retired => self.last_expiry(key.since).await?,
                _ => None,
            };
            verify.push((id, key.map(|key| key.state), until));
        }
        let mut holders = self.store.key_holders().await?;
        holders.retain(|holder| holder.is_here(now));
        Ok(Status {
            signs: current.id,
            verify,
            holders,
        })
    }

    /// Makes the next secret, unless one is on its way already, and lets everybody verify with it.
    pub(crate) async fn stage(&self) -> anyhow::Result<KeyId> {
        let mut previous = self.previous()?;
        for key in self.store.moving_keys().await? {
            let is_current = key.id == self.current()?.id;
            if key.state == KeyState::Next && previous.iter().any(|written| written.id == key.id) {
                return Ok(key.id);
            }
            if key.state == KeyState::Next && !is_current {
                // The last run came no further than to the table.
                self.store.forget_key(&key.id).await?;
            }
        }
        let next = Written::new(&SharedSecret::generate())?;
        let id = next.id.clone();
        self.store
            .move_key(&id, KeyState::Next, self.clock.now())
            .await?;
        previous.push(next);
        self.write_previous(&previous)?;
        Ok(id)
    }

    /// Signs with a secret that everybody verifies with, and retires the one that has signed so far, which is handed back.
    pub(crate) async fn promote(&self, next: &KeyId) -> anyhow::Result<Option<KeyId>> {
        let (current, mut previous) = (self.current()?, self.previous()?);
        let mut retired = None;
        if current.id != *next {
            retired = Some(current.id.clone());
            let found = previous.iter().find(|written| written.id == *next);
            let text = found
                .context("the next secret is in the file no more")?
                .text
                .clone();
            self.store
                .move_key(&current.id, KeyState::Retired, self.clock.now())
                .await?;
            if !previous.iter().any(|written| written.id == current.id) {
                previous.push(current);
                self.write_previous(&previous)?;
            }
            write(&self.current_file, &Zeroizing::new(format!("{}\n", *text)))?;
        }
        // It signs, so that it need not stand among those that only verify.
        previous.retain(|written| written.id != *next);
        self.write_previous(&previous)?;
        self.store.forget_key(next).await?;
        Ok(retired)
    }

    /// The time of a retired secret begins now: it has been seen that it signs no more.
    pub(crate) async fn has_retired(&self, key: &KeyId) -> anyhow::Result<()> {
        let now = self.clock.now();
        Ok(self.store.move_key(key, KeyState::Retired, now).await?)
    }

    /// When the last token has expired that was signed with a key which was retired then.
    async fn last_expiry(&self, retired: Timestamp) -> anyhow::Result<Option<NumericDate>> {
        let expiry = self.store.last_expiry(retired.into()).await?;
        Ok(expiry.map(|expiry| expiry.after(SPARE)))
    }

    /// Takes back what [`stage`](Self::stage) did. `None`: nothing is on its way in.
    pub(crate) async fn unstage(&self) -> anyhow::Result<Option<KeyId>> {
        let (current, mut previous) = (self.current()?, self.previous()?);
        let moving = self.store.moving_keys().await?;
        let next = moving
            .into_iter()
            .find(|key| key.state == KeyState::Next && key.id != current.id);
        let Some(next) = next else { return Ok(None) };
        previous.retain(|written| written.id != next.id);
        self.write_previous(&previous)?;
        self.store.forget_key(&next.id).await?;
        Ok(Some(next.id))
    }

    /// Makes the secret that was retired last the next one again. `None`: there is none that verifies still.
    pub(crate) async fn recall(&self) -> anyhow::Result<Option<KeyId>> {
        let previous = self.previous()?;
        let mut retired = self.store.moving_keys().await?;
        retired.retain(|key| {
            key.state == KeyState::Retired && previous.iter().any(|written| written.id == key.id)
        });
        let Some(last) = retired.into_iter().max_by_key(|key| key.since) else {
            return Ok(None);
        };
        self.store
            .move_key(&last.id, KeyState::Next, self.clock.now())
            .await?;
        Ok(Some(last.id))
    }

    /// Drops the retired secrets whose last token has expired; which, and which must stay until when.
    pub(crate) async fn prune(&self) -> anyhow::Result<(Vec<KeyId>, Vec<(KeyId, NumericDate)>)> {
        let now = NumericDate::from(self.clock.now());
        let mut previous = self.previous()?;
        let (mut dropped, mut kept) = (Vec::new(), Vec::new());
        for key in self.store.moving_keys().await? {
            if key.state != KeyState::Retired {
                continue;
            }
            match self.last_expiry(key.since).await? {
                Some(until) if now < until => kept.push((key.id, until)),
                _ => dropped.push(key.id),
            }
        }
        if !dropped.is_empty() {
            previous.retain(|written| !dropped.contains(&written.id));
            self.write_previous(&previous)?;
        }
        for id in &dropped {
            self.store.forget_key(id).await?;
        }
        Ok((dropped, kept))
    }

    fn current(&self) -> anyhow::Result<Written> {
        let text = read("JWT_SECRET_KEY_FILE", &self.current_file)?;
        Written::new(text.trim_end_matches(['\n', '\r'])).context("JWT_SECRET_KEY_FILE")
    }

    fn previous(&self) -> anyhow::Result<Vec<Written>> {
        let text = read("JWT_PREVIOUS_SECRET_KEYS_FILE", &self.previous_file)?;
        KeySource::separate(&text)
            .map(|secret| Written::new(secret).context("JWT_PREVIOUS_SECRET_KEYS_FILE"))
            .collect()
    }

    fn write_previous(&self, secrets: &[Written]) -> anyhow::Result<()> {
        let mut text = Zeroizing::new(String::new());
        for secret in secrets {
            text.push_str(&secret.text);
            text.push('\n');
        }
        write(&self.previous_file, &text)
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    replace_private(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

fn read(setting: &str, file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("{setting}: {} cannot be read", file.display()))?;
    Ok(Zeroizing::new(text))
}
