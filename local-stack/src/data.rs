//! The folder that the local stack keeps everything in: for its user's eyes only.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use shared_claims::SharedSecret;
use tempfile::TempDir;

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

    /// A file with a secret, made at the first start. It is written beside and moved to its name whole, so that a stack
    /// that is killed meanwhile leaves no half of one.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<PathBuf> {
        let (file, unfinished) = (self.path(name), self.path(&format!("{name}.new")));
        if !file.exists() {
            write_private(&unfinished, &SharedSecret::generate())
                .and_then(|()| fs::rename(&unfinished, &file))
                .with_context(|| {
                    format!(
                        "--data-dir: {} cannot be written; name a folder that this user can write",
                        file.display()
                    )
                })?;
        }
        Ok(file)
    }
}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
