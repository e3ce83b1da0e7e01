//! Files with secrets: for their user alone, and never there by half.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Writes a file beside this one and moves it to its name whole, so that whoever reads it meanwhile, or finds it after a crash,
/// has the old text or the new one. A file that is there keeps its mode and owner; a new one is its user's alone.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn replace_private(file: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, and not the link.
    let target = fs::canonicalize(file);
    let file = target.as_deref().unwrap_or(file);
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}.new", std::process::id()));
    let unfinished = file.with_file_name(unfinished);
    let mut written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    written.write_all(text.as_bytes())?;
    if let Ok(before) = fs::metadata(file) {
        written.set_permissions(before.permissions())?;
        let own = written.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            fchown(&written, Some(before.uid()), Some(before.gid()))?;
        }
    }
    written.sync_all()?;
    fs::rename(&unfinished, file)?;
    // The new name is on the disk when the folder is.
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
