//! Changing the common secret with no failed request: the new one verifies everywhere before it signs anywhere, and the old one
//! verifies until its last token has expired.
//!
//! The secrets are in the two files that the services read; what is being done with which of them is in the table. Each step
//! leaves both such that the next run goes on from there, wherever this one was interrupted.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
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
    /// It verifies already, has never signed, and is to sign.
    Next,
    /// It has signed before, and is to sign again.
    Recalled,
    /// It has signed, and verifies until its last token has expired.
    Retired,
    /// The same, after a rollback: it is not to sign again.
    Withdrawn,
}

/// A key on its way in or out.
#[derive(Clone, Debug)]
pub(crate) struct MovingKey {
    pub(crate) id: KeyId,
    pub(crate) state: KeyState,
    /// Since when; of a key on its way out, since it was seen that it signs no more.
    pub(crate) since: Option<Timestamp>,
}

impl MovingKey {
    fn is_leaving(&self) -> bool {
        matches!(self.state, KeyState::Retired | KeyState::Withdrawn)
    }
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
    /// The others, with what is being done with them and, of those on their way out, when their last token has expired.
    pub(crate) verify: Vec<(KeyId, Option<KeyState>, Option<NumericDate>)>,
    /// Whoever has told of itself and not said goodbye, be it that it has not been heard of lately.
    pub(crate) holders: Vec<KeyHolder>,
    pub(crate) now: Timestamp,
}

impl Status {
    /// Whether every auth-service that is there signs with this key: it names that one first.
    pub(crate) fn is_signed_with(&self, key: &KeyId) -> bool {
        self.issuers()
            .all(|issuer| issuer.keys.first() == Some(key))
    }

    fn issuers(&self) -> impl Iterator<Item = &KeyHolder> {
        let holders = self.holders.iter();
        holders.filter(|holder| holder.client.is_none() && holder.is_here(self.now))
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

    /// Keeps other runs from the files and the table while one reads and writes them.
    fn lock(&self) -> anyhow::Result<File> {
        let mut name = self.previous_file.clone().into_os_string();
        name.push(".lock");
        let file = PathBuf::from(name);
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(true).mode(0o600);
        let lock = lock.open(&file).and_then(|lock| lock.lock().map(|()| lock));
        lock.with_context(|| format!("{} cannot be locked", file.display()))
    }

    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        let _lock = self.lock()?;
        let (current, moving) = (self.current()?, self.store.moving_keys().await?);
        let mut verify = Vec::new();
        for Written { id, .. } in self.previous()? {
            let key = moving.iter().find(|key| key.id == id);
            let until = match key {
                Some(key) if key.is_leaving() => self.last_expiry(key).await?,
                _ => None,
            };
            verify.push((id, key.map(|key| key.state), until));
        }
        Ok(Status {
            signs: current.id,
            verify,
            holders: self.store.key_holders().await?,
            now: self.clock.now(),
        })
    }

    /// Makes the next secret, unless one is on its way already, and lets everybody verify with it.
    pub(crate) async fn stage(&self) -> anyhow::Result<KeyId> {
        let _lock = self.lock()?;
        let (current, mut previous) = (self.current()?, self.previous()?);
        ensure!(
            KeySource::separate(&current.text).eq([current.text.as_str()]),
            "the secret in JWT_SECRET_KEY_FILE has a comma in it, or a blank at one of its ends, and would not be the same among \
             the secrets that only verify; change it by hand, see docs/operations.md"
        );
        for key in self.store.moving_keys().await? {
            let verifies = previous.iter().any(|written| written.id == key.id);
            match key.state {
                KeyState::Recalled => bail!(
                    "a rollback to {} is under way; go on with 'secret rollback'",
                    key.id
                ),
                KeyState::Next if verifies || key.id == current.id => return Ok(key.id),
                // The last run came no further than to the table.
                KeyState::Next => self.store.forget_key(&key.id).await?,
                KeyState::Retired | KeyState::Withdrawn => {}
            }
        }
        let next = Written::new(&SharedSecret::generate())?;
        let id = next.id.clone();
        let now = Some(self.clock.now());
        self.store.move_key(&id, KeyState::Next, now).await?;
        previous.push(next);
        self.write_previous(&previous)?;
        Ok(id)
    }

    /// Signs with a secret that everybody verifies with; the one that has signed so far is on its way out.
    pub(crate) async fn promote(&self, next: &KeyId) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let (current, mut previous) = (self.current()?, self.previous()?);
        if current.id != *next {
            let found = previous.iter().find(|written| written.id == *next);
            let text = found
                .context("the next secret is in the file no more")?
                .text
                .clone();
            let moving = self.store.moving_keys().await?;
            let recalled = moving
                .iter()
                .any(|key| key.id == *next && key.state == KeyState::Recalled);
            let state = if recalled {
                KeyState::Withdrawn
            } else {
                KeyState::Retired
            };
            self.store.move_key(&current.id, state, None).await?;
            if !previous.iter().any(|written| written.id == current.id) {
                previous.push(current);
                self.write_previous(&previous)?;
            }
            write(&self.current_file, &Zeroizing::new(format!("{}\n", *text)))?;
        }
        // It signs, so that it need not stand among those that only verify.
        previous.retain(|written| written.id != *next);
        self.write_previous(&previous)
    }

    /// It has been seen that every auth-service signs with the secret that was promoted: it is on its way no more, and the time
    /// of those on their way out begins.
    pub(crate) async fn settle(&self, promoted: &KeyId) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let now = Some(self.clock.now());
        self.store.forget_key(promoted).await?;
        for key in self.store.moving_keys().await? {
            if key.is_leaving() && key.since.is_none() {
                self.store.move_key(&key.id, key.state, now).await?;
            }
        }
        Ok(())
    }

    /// Takes back what [`stage`](Self::stage) did. `None`: nothing is on its way in.
    pub(crate) async fn unstage(&self) -> anyhow::Result<Option<KeyId>> {
        let _lock = self.lock()?;
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

    /// The secret that is to sign again: the one that a rollback is on its way to, or the one that was retired last. `None`:
    /// there is none that verifies still, or the rollback is done.
    pub(crate) async fn recall(&self) -> anyhow::Result<Option<KeyId>> {
        let _lock = self.lock()?;
        let (current, previous) = (self.current()?, self.previous()?);
        let mut moving = self.store.moving_keys().await?;
        moving.retain(|key| {
            key.id == current.id || previous.iter().any(|written| written.id == key.id)
        });
        let recalled = moving.iter().find(|key| key.state == KeyState::Recalled);
        if let Some(recalled) = recalled {
            return Ok(Some(recalled.id.clone()));
        }
        // Not yet seen to sign no more is later than any time.
        let age = |key: &&MovingKey| key.since.unwrap_or(Timestamp::MAX);
        let retired = moving.iter().filter(|key| key.state == KeyState::Retired);
        let Some(last) = retired.max_by_key(age) else {
            return Ok(None);
        };
        let now = Some(self.clock.now());
        self.store
            .move_key(&last.id, KeyState::Recalled, now)
            .await?;
        Ok(Some(last.id.clone()))
    }

    /// Drops the secrets on their way out whose last token has expired; which, and which must stay until when, where that is
    /// known.
    pub(crate) async fn prune(
        &self,
    ) -> anyhow::Result<(Vec<KeyId>, Vec<(KeyId, Option<NumericDate>)>)> {
        let status = self.status().await?;
        let _lock = self.lock()?;
        let now = NumericDate::from(self.clock.now());
        let mut previous = self.previous()?;
        let (mut dropped, mut kept) = (Vec::new(), Vec::new());
        for key in self.store.moving_keys().await? {
            if !key.is_leaving() {
                continue;
            }
            let until = self.last_expiry(&key).await?;
            let signs = status
                .issuers()
                .any(|issuer| issuer.keys.first() == Some(&key.id));
            if signs || until.is_none_or(|until| now < until) {
                kept.push((key.id, until.filter(|_| !signs)));
            } else {
                dropped.push(key.id);
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

    /// When the last token has expired that was signed with a key on its way out. `None`: it may sign still.
    async fn last_expiry(&self, key: &MovingKey) -> anyhow::Result<Option<NumericDate>> {
        let Some(since) = key.since else {
            return Ok(None);
        };
        let expiry = self.store.last_expiry(since.into()).await?;
        Ok(Some(expiry.unwrap_or(since.into()).after(SPARE)))
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
    let text = fs::read_to_string(file);
    let text = text.with_context(|| format!("{setting}: {} cannot be read", file.display()))?;
    Ok(Zeroizing::new(text))
}
