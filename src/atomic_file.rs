//! One writer for files that are replaced whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Replaces the content of a file. Readers find the old content or the new one, whole, also after a crash. The file behind
/// a link is replaced, not the link; a device or a pipe is written to, not replaced. `mode` is that of the new file, less
/// the process's umask.
pub fn replace(path: &Path, content: &[&[u8]], mode: u32) -> io::Result<()> {
    let path = match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let mut special = OpenOptions::new().write(true).open(path)?;
            return content.iter().try_for_each(|part| special.write_all(part));
        }
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_owned(),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A name that no reader of the folder takes for a file of its own. It is removed where a write fails, so that a full
    // disk keeps the room that the next one needs.
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{name}-"))
        .suffix(".tmp")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    content.iter().try_for_each(|part| file.write_all(part))?;
    // Without it a crash could leave an empty file under the new name.
    file.as_file().sync_all()?;
    file.persist(&path)?;
    // The rename is durable only once the folder is.
    File::open(folder)?.sync_all()
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
        replace(&link, &[b"ne", b"w"], 0o600).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn a_device_is_written_to_and_stays() {
        replace(Path::new("/dev/null"), &[b"text"], 0o600).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(replace(Path::new("/nonexistent/file"), &[b"text"], 0o600).is_err());
    }
}
