//! Changing the key that signs with no failed request, be it for another of its kind or of another: the new one verifies
//! everywhere before it signs anywhere, and the old one verifies until its last token has expired.
//!
//! The keys are in the files that the services read; what is being done with which of them is in the table. Each step leaves
//! both such that the next run goes on from there, wherever this one was interrupted.

use std::time::Duration;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use service_shell::keys::KeySource;
use shared_claims::{Clock, KeyId, NumericDate};

use crate::key_files::{KeyFiles, Kind, WrittenKey};
use crate::key_holders::KeyHolder;
use crate::storage::Store;

/// A key is kept for this much longer than its last token: whoever signs may have learnt of its end a little later.
const SPARE: Duration = Duration::from_mins(1);

/// Verifiers take twice as many.
const MOST_KEYS: usize = 16;

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
    files: KeyFiles,
}

impl Rotation {
    pub(crate) fn new(store: Store, clock: Clock, source: &KeySource) -> anyhow::Result<Self> {
        let files = KeyFiles::new(source)?;
        Ok(Self {
            store,
            clock,
            files,
        })
    }

    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        let _lock = self.files.lock()?;
        let (keys, moving) = (self.files.read()?, self.store.moving_keys().await?);
        let mut verify = Vec::new();
        for WrittenKey { id, .. } in keys.verify {
            let key = moving.iter().find(|key| key.id == id);
            let until = match key {
                Some(key) if key.is_leaving() => self.last_expiry(key).await?,
                _ => None,
            };
            verify.push((id, key.map(|key| key.state), until));
        }
        Ok(Status {
            signs: keys.signs.id,
            verify,
            holders: self.store.key_holders().await?,
            now: self.clock.now(),
        })
    }

    /// Makes the next key, of this kind or of that of the one that signs, unless one is on its way already, and lets everybody
    /// verify with it.
    pub(crate) async fn stage(&self, kind: Option<Kind>) -> anyhow::Result<KeyId> {
        let _lock = self.files.lock()?;
        let keys = self.files.read()?;
        let next_kind = kind.unwrap_or(keys.signs.kind);
        self.files.can_change(next_kind)?;
        for key in self.store.moving_keys().await? {
            let mut written = keys.verify.iter().chain([&keys.signs]);
            let written = written.find(|written| written.id == key.id);
            match key.state {
                KeyState::Recalled => bail!(
                    "a rollback to {} is under way; go on with 'secret rollback'",
                    key.id
                ),
                KeyState::Next => match written {
                    Some(written) if kind.is_none_or(|kind| kind == written.kind) => {
                        return Ok(key.id);
                    }
                    Some(_) => bail!(
                        "{} of another kind is on its way; go on with it by 'secret rotate' alone, or take it back with 'secret rollback' first",
                        key.id
                    ),
                    // The last run came no further than to the table.
                    None => self.store.forget_key(&key.id).await?,
                },
                KeyState::Retired | KeyState::Withdrawn => {}
            }
        }
        ensure!(
            keys.verify.len() < MOST_KEYS,
            "there are {MOST_KEYS} keys already that only verify; drop some with 'secret prune' first"
        );
        let next = WrittenKey::generate(next_kind)?;
        let (id, now) = (next.id.clone(), Some(self.clock.now()));
        self.store.move_key(&id, KeyState::Next, now).await?;
        self.files.add(next)?;
        Ok(id)
    }

    /// Signs with a key that everybody verifies with; the one that has signed so far is on its way out.
    pub(crate) async fn promote(&self, next: &KeyId) -> anyhow::Result<()> {
        let _lock = self.files.lock()?;
        let signs = self.files.read()?.signs;
        if signs.id != *next {
            let moving = self.store.moving_keys().await?;
            let recalled = moving
                .iter()
                .any(|key| key.id == *next && key.state == KeyState::Recalled);
            let state = if recalled {
                KeyState::Withdrawn
            } else {
                KeyState::Retired
            };
            self.store.move_key(&signs.id, state, None).await?;
        }
        self.files.sign_with(next)
    }

    /// It has been seen that every auth-service signs with the key that was promoted: it is on its way no more, and the time
    /// of those on their way out begins.
    pub(crate) async fn settle(&self, promoted: &KeyId) -> anyhow::Result<()> {
        let _lock = self.files.lock()?;
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
        let _lock = self.files.lock()?;
        let signs = self.files.read()?.signs.id;
        let moving = self.store.moving_keys().await?;
        let next = moving
            .into_iter()
            .find(|key| key.state == KeyState::Next && key.id != signs);
        let Some(next) = next else { return Ok(None) };
        self.files.remove(&next.id)?;
        self.store.forget_key(&next.id).await?;
        Ok(Some(next.id))
    }

    /// The key that is to sign again: the one that a rollback is on its way to, or the one that was retired last. `None`: there
    /// is none that verifies still, or the rollback is done.
    pub(crate) async fn recall(&self) -> anyhow::Result<Option<KeyId>> {
        let _lock = self.files.lock()?;
        let keys = self.files.read()?;
        let mut moving = self.store.moving_keys().await?;
        moving.retain(|key| {
            key.id == keys.signs.id || keys.verify.iter().any(|written| written.id == key.id)
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

    /// Drops the keys on their way out whose last token has expired; which, and which must stay until when, where that is
    /// known.
    pub(crate) async fn prune(
        &self,
    ) -> anyhow::Result<(Vec<KeyId>, Vec<(KeyId, Option<NumericDate>)>)> {
        let status = self.status().await?;
        let _lock = self.files.lock()?;
        let now = NumericDate::from(self.clock.now());
        let (mut dropped, mut kept) = (Vec::new(), Vec::new());
        for key in self.store.moving_keys().await? {
            if !key.is_leaving() {
                continue;
            }
            let signs = status
                .issuers()
                .any(|issuer| issuer.keys.first() == Some(&key.id));
            if key.since.is_none() && !signs && status.signs != key.id {
                // It has signed again, because somebody wrote the files by hand, and does so no more.
                let since = Some(self.clock.now());
                self.store.move_key(&key.id, key.state, since).await?;
            }
            let until = self.last_expiry(&key).await?;
            if signs || until.is_none_or(|until| now < until) {
                kept.push((key.id, until.filter(|_| !signs)));
            } else {
                dropped.push(key.id);
            }
        }
        for id in &dropped {
            self.files.remove(id)?;
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
}
