//! One writer for files that are replaced whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

const TEMP_SUFFIX: &str = ".tmp";

/// Replaces the content of a file. Readers find the old content or the new one, whole, also after a crash. The file behind
/// a link is replaced, not the link; a device or a pipe is written to, not replaced. A new file has `mode`, less the
/// process's umask; one that is replaced keeps of its own mode what `mode` allows and, where this process may set it, its
/// group.
pub(crate) fn replace(path: &Path, content: &[&[u8]], mode: u32) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let mut special = OpenOptions::new().write(true).open(path)?;
        return content.iter().try_for_each(|part| special.write_all(part));
    }
    let path = target(path);
    // Dropping the temporary file deletes it if a write fails, so that a full disk gets the space back.
    let mut file = temporary(&path, mode)?;
    if let Ok(replaced) = fs::metadata(&path) {
        file.as_file().set_permissions(Permissions::from_mode(replaced.mode() & mode))?;
        // The group that may read it can be one that this process is not in.
        let _ = fchown(file.as_file(), None, Some(replaced.gid()));
    }
    content.iter().try_for_each(|part| file.write_all(part))?;
    // Without the fsync, a crash could leave an empty file under the new name.
    file.as_file().sync_all()?;
    file.persist(&path)?;
    // The rename is durable only once the folder is.
    File::open(folder(&path))?.sync_all()
}

/// Whether a regular file, or a new one, can be replaced. It stays as it is.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    temporary(&target(path), 0o600).map(drop)
}

fn temporary(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&temp_prefix(path))
        .suffix(TEMP_SUFFIX)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder(path))
}

/// Removes what a process that was killed while it replaced this file has left beside it.
pub(crate) fn remove_leftovers(path: &Path) -> io::Result<()> {
    let path = target(path);
    let prefix = temp_prefix(&path);
    for entry in fs::read_dir(folder(&path))? {
        let entry = entry?;
        let name = entry.file_name();
        let random =
            name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(TEMP_SUFFIX));
        // Other text in between belongs to a file whose name begins like this one's.
        if random.is_some_and(|random| random.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The path without links, also if the file behind a link does not exist yet.
pub(crate) fn target(path: &Path) -> PathBuf {
    let behind_link = || fs::read_link(path).map(|target| path.with_file_name(target));
    fs::canonicalize(path).or_else(|_| behind_link()).unwrap_or_else(|_| path.to_owned())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Hidden, so that no reader of the folder takes the file for one of its own.
fn temp_prefix(path: &Path) -> String {
    format!(".{}-", path.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_behind_a_link_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "a longer text from before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        replace(&link, &[b"ne", b"w"], 0o666).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o664, "the one that was replaced, whatever the umask");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
        fs::remove_file(&file).unwrap();
        replace(&link, &[b"newer"], 0o600).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "newer", "where there was none, it is made");
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        replace(&link, &[b"newest"], 0o600).unwrap();
        assert_eq!(mode(), 0o600, "no more than is allowed");
    }

    #[test]
    fn leftovers_of_this_file_alone_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let kept = [
            "state",
            "state-2",
            ".state-2-x1Y2z3.tmp",
            ".state-x1Y2z3",
            "state-x1Y2z3.tmp",
            ".state.tmp",
        ];
        for name in kept.iter().chain(&[".state-x1Y2z3.tmp", ".state-000000.tmp"]) {
            fs::write(path(name), "").unwrap();
        }
        std::os::unix::fs::symlink("state", path("link")).unwrap();
        remove_leftovers(&path("link")).unwrap();
        assert!(kept.iter().all(|name| path(name).exists()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), kept.len() + 1);
        assert!(remove_leftovers(Path::new("/nonexistent/state")).is_err());
    }

    #[test]
    fn a_device_is_written_to_and_stays() {
        replace(Path::new("/dev/null"), &[b"text"], 0o600).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(replace(Path::new("/nonexistent/file"), &[b"text"], 0o600).is_err());
    }
}
