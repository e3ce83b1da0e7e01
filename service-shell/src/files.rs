//! Files with secrets: for their user alone, and never there by half.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::Path;

use tempfile::NamedTempFile;

/// Makes the folder of a file, for its user alone. One that is there keeps its mode: it may be meant for others too.
///
/// # Errors
/// It cannot be made.
pub fn create_folder_of(file: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder_of(file))
}

/// Writes a file that is not there yet, whole and on the disk before it has its name, for its user alone. `false`: there is one,
/// be it that it came to be at this moment, and it stays as it is.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn create_private(file: &Path, text: &str) -> io::Result<bool> {
    if file.try_exists()? {
        return Ok(false);
    }
    let written = unfinished_beside(file, text)?;
    written.as_file().sync_all()?;
    match written.persist_noclobber(file) {
        Ok(_) => sync_folder_of(file).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Writes a file beside this one and moves it to its name whole, so that whoever reads it meanwhile, or finds it after a crash,
/// has the old text or the new one. A file that is there keeps its mode and owner; a new one is its user's alone.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn replace_private(file: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, and not the link.
    let target = fs::canonicalize(file);
    let file = target.as_deref().unwrap_or(file);
    let written = unfinished_beside(file, text)?;
    if let Ok(before) = fs::metadata(file) {
        take_over(written.as_file(), &before)?;
    }
    written.as_file().sync_all()?;
    written.persist(file).map_err(|error| error.error)?;
    sync_folder_of(file)
}

/// What is not finished is for its user alone, and goes away with whoever does not come to its end.
fn unfinished_beside(file: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut written = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder_of(file))?;
    written.write_all(text.as_bytes())?;
    Ok(written)
}

/// Gives a file the mode and owner of the one that it is to replace.
pub(crate) fn take_over(file: &File, before: &fs::Metadata) -> io::Result<()> {
    file.set_permissions(before.permissions())?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
        fchown(file, Some(before.uid()), Some(before.gid()))?;
    }
    Ok(())
}

/// A new name is on the disk when the folder is.
pub(crate) fn sync_folder_of(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}

pub(crate) fn folder_of(file: &Path) -> &Path {
    let folder = file.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    #[test]
    fn of_many_who_make_one_file_at_once_one_does_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let texts: Vec<_> = (0..16).map(|number| format!("secret {number}")).collect();
        let made: Vec<_> = thread::scope(|scope| {
            let makers: Vec<_> = texts
                .iter()
                .map(|text| scope.spawn(|| create_private(&file, text).unwrap()))
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().unwrap())
                .collect()
        });
        let made: Vec<_> = texts.iter().zip(made).filter(|(_, made)| *made).collect();
        assert_eq!(made.len(), 1);
        assert_eq!(fs::read_to_string(&file).unwrap(), *made[0].0);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
