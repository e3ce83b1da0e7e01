//! The folder that the local stack keeps everything in: for its user's eyes only.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Context;
use service_shell::files::replace_private;
use shared_claims::SharedSecret;
use tempfile::TempDir;
use zeroize::Zeroizing;

/// The user that the local stack comes with.
pub(crate) const DEMO_USER: &str = "cosmo";
pub(crate) const DEMO_PASSWORD: &str = "space-corgi";

/// The account that resource-service calls auth-service with, and what it may do.
pub(crate) const CLIENT_ID: &str = "resource-service";
pub(crate) const CLIENT_SCOPE: &str = "revocations:read token:exchange";

/// A folder with a secret and databases.
pub(crate) struct DataDir {
    folder: PathBuf,
    /// Removes an ephemeral folder when the stack ends.
    _removed: Option<TempDir>,
}

impl DataDir {
    /// A folder that is there already keeps its mode: it may be meant for others too, and every file is private anyway.
    pub(crate) fn open(folder: PathBuf) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| {
                format!(
                    "--data-dir: {} cannot be made; name a folder that this user can write",
                    folder.display()
                )
            })?;
        Ok(Self {
            folder,
            _removed: None,
        })
    }

    pub(crate) fn ephemeral() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("local-stack-")
            .tempdir()
            .context("--ephemeral: cannot make a folder")?;
        Ok(Self {
            folder: folder.path().to_owned(),
            _removed: Some(folder),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file with a secret, made at the first start.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<PathBuf> {
        let text = || Zeroizing::new(format!("{}\n", *SharedSecret::generate()));
        self.file(name, text)
    }

    /// A private file, made at the first start.
    pub(crate) fn file(
        &self,
        name: &str,
        text: impl FnOnce() -> Zeroizing<String>,
    ) -> anyhow::Result<PathBuf> {
        let file = self.path(name);
        if !file.exists() {
            replace_private(&file, &text()).with_context(|| {
                format!(
                    "--data-dir: {} cannot be written; name a folder that this user can write",
                    file.display()
                )
            })?;
        }
        Ok(file)
    }
}
