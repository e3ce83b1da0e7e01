//! The files that keys are kept in, as whoever changes the keys sees them: one for the key of each kind that signs, and one for
//! those of that kind that only verify. Every change leaves them such that all keys that were there before still verify.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use service_shell::files::replace_private;
use service_shell::keys::{KeySource, separate_pem, separate_secrets};
use shared_claims::{KeyId, PairAlgorithm, PrivateKey, SharedSecret};
use zeroize::Zeroizing;

/// Of the mode of a file, what is for everybody.
const OTHERS: u32 = 0o007;

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HS256, with a secret that verifiers have too.
    Secret,
    /// A key pair, of which verifiers have the public key.
    Pair(PairAlgorithm),
}

impl Kind {
    fn is_secret(self) -> bool {
        self == Self::Secret
    }

    fn files_setting(self) -> &'static str {
        if self.is_secret() {
            "JWT_SECRET_KEY_FILE and JWT_PREVIOUS_SECRET_KEYS_FILE"
        } else {
            "JWT_PRIVATE_KEY_FILE and JWT_PREVIOUS_PRIVATE_KEYS_FILE"
        }
    }
}

/// A key as it stands in a file.
#[derive(Clone)]
pub(crate) struct WrittenKey {
    pub(crate) id: KeyId,
    pub(crate) kind: Kind,
    text: Zeroizing<String>,
}

impl WrittenKey {
    /// A new key.
    pub(crate) fn generate(kind: Kind) -> anyhow::Result<Self> {
        let text = match kind {
            Kind::Secret => SharedSecret::generate(),
            Kind::Pair(algorithm) => PrivateKey::generate(algorithm),
        };
        Self::read(kind.is_secret(), &text)
    }

    fn read(is_secret: bool, text: &str) -> anyhow::Result<Self> {
        let (id, kind) = if is_secret {
            (SharedSecret::parse(text)?.key_id(), Kind::Secret)
        } else {
            let key = PrivateKey::parse(text)?;
            let public = key.public_key();
            (public.key_id(), Kind::Pair(public.algorithm()))
        };
        Ok(Self {
            id,
            kind,
            text: Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()),
        })
    }
}

/// The keys in the files.
pub(crate) struct KeysInFiles {
    /// The key that signs: the private key, where there is one, or else the secret.
    pub(crate) signs: WrittenKey,
    /// All others: those that only verify, and a secret that a private key has taken the place of.
    pub(crate) verify: Vec<WrittenKey>,
}

/// The two files for keys of one kind.
struct Slots {
    is_secret: bool,
    current: PathBuf,
    previous: PathBuf,
}

impl Slots {
    fn new(is_secret: bool, (current, previous): (&Path, &Path)) -> Self {
        Self {
            is_secret,
            current: current.to_owned(),
            previous: previous.to_owned(),
        }
    }

    fn current(&self) -> anyhow::Result<Option<WrittenKey>> {
        Ok(self.keys_in(&self.current)?.into_iter().next())
    }

    fn previous(&self) -> anyhow::Result<Vec<WrittenKey>> {
        self.keys_in(&self.previous)
    }

    fn keys_in(&self, file: &Path) -> anyhow::Result<Vec<WrittenKey>> {
        let text = fs::read_to_string(file).map(Zeroizing::new);
        let text = text.with_context(|| format!("{} cannot be read", file.display()))?;
        let texts: Vec<&str> = match (self.is_secret, file == self.current) {
            (false, _) => separate_pem(&text).collect(),
            (true, false) => separate_secrets(&text).collect(),
            // It may have anything in it.
            (true, true) => vec![text.trim_end_matches(['\n', '\r'])],
        };
        let texts = texts.into_iter().filter(|text| !text.is_empty());
        texts
            .map(|text| {
                WrittenKey::read(self.is_secret, text)
                    .with_context(|| format!("{} cannot be used", file.display()))
            })
            .collect()
    }

    fn write_current(&self, key: Option<&WrittenKey>) -> anyhow::Result<()> {
        write(&self.current, key)
    }

    fn write_previous(&self, keys: &[WrittenKey]) -> anyhow::Result<()> {
        write(&self.previous, keys)
    }

    fn add(&self, key: WrittenKey) -> anyhow::Result<()> {
        let mut previous = self.previous()?;
        if previous.iter().all(|known| known.id != key.id) {
            previous.push(key);
            self.write_previous(&previous)?;
        }
        Ok(())
    }

    fn remove(&self, id: &KeyId) -> anyhow::Result<()> {
        let mut previous = self.previous()?;
        let before = previous.len();
        previous.retain(|known| known.id != *id);
        if previous.len() < before {
            self.write_previous(&previous)?;
        }
        Ok(())
    }

    /// Puts a key in the first place; the one that had it only verifies from now on.
    fn put_first(&self, key: &WrittenKey) -> anyhow::Result<()> {
        let current = self.current()?;
        if current.as_ref().is_none_or(|current| current.id != key.id) {
            if let Some(current) = current {
                self.add(current)?;
            }
            self.write_current(Some(key))?;
        }
        self.remove(&key.id)
    }
}

fn write<'a>(file: &Path, keys: impl IntoIterator<Item = &'a WrittenKey>) -> anyhow::Result<()> {
    let mut text = Zeroizing::new(String::new());
    for key in keys {
        text.push_str(&key.text);
        text.push('\n');
    }
    replace_private(file, &text).with_context(|| format!("{} cannot be written", file.display()))
}

/// The files.
pub(crate) struct KeyFiles {
    source: KeySource,
    secrets: Option<Slots>,
    pairs: Option<Slots>,
}

impl KeyFiles {
    pub(crate) fn new(source: &KeySource) -> anyhow::Result<Self> {
        if let Some(setting) = source.missing_file() {
            bail!(
                "{setting}: it is not set; name a file, be it with nothing in it, which the services read too"
            );
        }
        let secrets = source.secret_files().map(|files| Slots::new(true, files));
        let pairs = source
            .private_key_files()
            .map(|files| Slots::new(false, files));
        ensure!(
            secrets.is_some() || pairs.is_some(),
            "JWT_SECRET_KEY_FILE and JWT_PREVIOUS_SECRET_KEYS_FILE: both must name a file, which the services read too; secrets \
             that are kept elsewhere are changed there, see docs/operations.md"
        );
        Ok(Self {
            source: source.clone(),
            secrets,
            pairs,
        })
    }

    /// Keeps other runs from the files while one reads and writes them, always in the same order.
    pub(crate) fn lock(&self) -> anyhow::Result<Vec<File>> {
        let lock = |slots: &Slots| {
            let mut name = slots.previous.clone().into_os_string();
            name.push(".lock");
            let file = PathBuf::from(name);
            let mut options = File::options();
            let lock = options.write(true).create(true).truncate(true).mode(0o600);
            let lock = lock.open(&file).and_then(|lock| lock.lock().map(|()| lock));
            lock.with_context(|| format!("{} cannot be locked", file.display()))
        };
        self.all().map(lock).collect()
    }

    pub(crate) fn read(&self) -> anyhow::Result<KeysInFiles> {
        // What the services would not take is nothing to go on from.
        let read = self.source.read()?;
        let (mut current, mut verify) = (Vec::new(), Vec::new());
        for slots in self.all() {
            current.extend(slots.current()?);
            verify.extend(slots.previous()?);
        }
        let signs = read.signing.map(|key| key.id().clone());
        ensure!(
            current.first().map(|key: &WrittenKey| &key.id) == signs.as_ref(),
            "JWT_SECRET_KEY signs, and is in no file; secrets that are kept elsewhere are changed there, see docs/operations.md"
        );
        let signs = current.remove(0);
        current.append(&mut verify);
        let mut unlike = Vec::<WrittenKey>::new();
        for key in current {
            if key.id != signs.id && unlike.iter().all(|known| known.id != key.id) {
                unlike.push(key);
            }
        }
        Ok(KeysInFiles {
            signs,
            verify: unlike,
        })
    }

    /// Lets a new key verify.
    pub(crate) fn add(&self, key: WrittenKey) -> anyhow::Result<()> {
        self.of(key.kind)?.add(key)
    }

    /// Whether keys of this kind can be changed here; the reason why not.
    pub(crate) fn can_change(&self, kind: Kind) -> anyhow::Result<()> {
        let slots = self.of(kind)?;
        for file in [&slots.current, &slots.previous] {
            let mode = fs::metadata(file).map_or(0, |file| file.mode());
            ensure!(
                slots.is_secret || mode & OTHERS == 0,
                "{} is open to everybody, and a private key is to come into it: chmod 600 it first",
                file.display()
            );
        }
        if let (true, Some(current)) = (slots.is_secret, slots.current()?) {
            ensure!(
                separate_secrets(&current.text).eq([current.text.as_str()]),
                "the secret in JWT_SECRET_KEY_FILE has a comma in it, or a blank at one of its ends, and would not be the same \
                 among the secrets that only verify; change it by hand, see docs/operations.md"
            );
        }
        Ok(())
    }

    /// Removes a key that does not sign.
    pub(crate) fn remove(&self, id: &KeyId) -> anyhow::Result<()> {
        ensure!(self.read()?.signs.id != *id, "{id} signs");
        for slots in self.all() {
            slots.remove(id)?;
            // A secret in the first place that a private key has taken the place of.
            if slots.current()?.is_some_and(|current| current.id == *id) {
                slots.write_current(None)?;
            }
        }
        Ok(())
    }

    /// Signs with a key that verifies already.
    pub(crate) fn sign_with(&self, id: &KeyId) -> anyhow::Result<()> {
        let keys = self.read()?;
        let mut verifying = keys.verify.iter().chain([&keys.signs]);
        let Some(key) = verifying.find(|key| key.id == *id) else {
            bail!("the next key is in the files no more");
        };
        self.of(key.kind)?.put_first(key)?;
        // A secret signs only where there is no private key: the last step that counts.
        if let (Kind::Secret, Some(pairs)) = (key.kind, &self.pairs)
            && let Some(private) = pairs.current()?
        {
            pairs.add(private)?;
            pairs.write_current(None)?;
        }
        Ok(())
    }

    /// The private keys first: they sign where there are any.
    fn all(&self) -> impl Iterator<Item = &Slots> {
        self.pairs.iter().chain(&self.secrets)
    }

    fn of(&self, kind: Kind) -> anyhow::Result<&Slots> {
        let slots = if kind.is_secret() {
            &self.secrets
        } else {
            &self.pairs
        };
        slots.as_ref().with_context(|| {
            format!(
                "{}: both must name a file, be it with nothing in it yet, which auth-service reads too",
                kind.files_setting()
            )
        })
    }
}
