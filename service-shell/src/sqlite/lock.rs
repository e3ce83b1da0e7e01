//! Whoever has a store open holds a lock together with others; whoever puts another file in its place holds it alone.
//!
//! SQLite's own locks are on the file itself: a program that opened it a moment before it was replaced would go on, unnoticed,
//! with the one that nobody reads any more.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::files::take_over;
use crate::settings::SettingError;

/// For as long as the store is used.
pub(super) fn shared(setting: &'static str, database: &Path) -> Result<File, SettingError> {
    taken(setting, database, File::try_lock_shared)?.ok_or_else(|| SettingError {
        setting,
        fault: format!("{} is being restored", database.display()),
        remedy: "wait until that is done",
    })
}

/// For as long as another file is being put in its place.
pub(super) fn alone(setting: &'static str, database: &Path) -> Result<File, SettingError> {
    taken(setting, database, File::try_lock)?.ok_or_else(|| SettingError {
        setting,
        fault: format!("{} is in use", database.display()),
        remedy: "stop the service, and every command, that uses it",
    })
}

/// `None`: others hold it.
fn taken(
    setting: &'static str,
    database: &Path,
    take: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<Option<File>, SettingError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let unusable = |error: io::Error| SettingError {
        setting,
        fault: format!("{} cannot be locked: {error}", name.display()),
        remedy: "name a file in a folder that this user can write",
    };
    let file = open(database, &name).map_err(unusable)?;
    match take(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Whoever may use the database may lock it: root, who makes a backup before the service itself has made the lock, must not shut
/// it out.
fn open(database: &Path, name: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let made = options.write(true).mode(0o600).create_new(true).open(name);
    match made {
        Ok(file) => {
            if let Ok(database) = fs::metadata(database) {
                let _ = take_over(&file, &database);
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).open(name)
        }
        Err(error) => Err(error),
    }
}
