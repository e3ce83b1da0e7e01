//! The folder that the local stack keeps everything in: for its user's eyes only.

use std::path::PathBuf;

use anyhow::Context;
use service_shell::files::create_folder_of;
use tempfile::TempDir;

/// A folder with a secret and databases.
pub(crate) struct DataDir {
    folder: PathBuf,
    /// Removes an ephemeral folder when the stack ends.
    _removed: Option<TempDir>,
}

impl DataDir {
    /// A folder that is there already keeps its mode: it may be meant for others too, and every file is private anyway.
    pub(crate) fn open(folder: PathBuf) -> anyhow::Result<Self> {
        create_folder_of(&folder.join("auth.db")).with_context(|| {
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
}
