//! The web configuration file and those that it names, and whether their contents have changed since they were read.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use crate::config::ConfigError;

/// More than any chain of certificates or list of authorities that a person maintains.
const MAX_BYTES: u64 = 4 << 20;

/// The files that rules are built from, and a hash of what was read of them.
///
/// While the hash is unchanged, rereading gives the same result, also if that was an error and later files were not read.
pub(super) struct WatchedFiles {
    pub(super) config: PathBuf,
    /// In the order in which they were read.
    read: Vec<PathBuf>,
    hasher: DefaultHasher,
}

impl WatchedFiles {
    /// None yet. `config` is the web configuration file.
    pub(super) fn of(config: &Path) -> Self {
        Self { config: config.to_owned(), read: Vec::new(), hasher: DefaultHasher::new() }
    }

    /// Where relative paths in the web configuration file start.
    pub(super) fn folder(&self) -> &Path {
        let folder = self.config.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    pub(super) fn read_config(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        self.read(self.config.clone())
    }

    /// A file that the web configuration file names.
    pub(super) fn read_named(&mut self, path: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        self.read(self.folder().join(path))
    }

    fn read(&mut self, path: PathBuf) -> io::Result<Zeroizing<Vec<u8>>> {
        let contents = read_bounded(&path);
        contents
            .as_ref()
            .map(|bytes| bytes.as_slice())
            .map_err(io::Error::kind)
            .hash(&mut self.hasher);
        self.read.push(path);
        contents
    }

    pub(super) fn have_changed(&self) -> bool {
        let mut now = Self::of(&self.config);
        for path in &self.read {
            // An error is part of the hash.
            let _ = now.read(path.clone());
        }
        now.hasher.finish() != self.hasher.finish()
    }

    /// How messages name the web configuration file.
    pub(super) fn origin(&self) -> String {
        format!("file {}", self.config.display())
    }

    pub(super) fn refuse(&self, key: impl Into<String>, fault: impl Into<String>) -> ConfigError {
        ConfigError::new(key, fault, self.origin())
    }
}

fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // A pipe would block, and could be read only once.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut contents = Zeroizing::new(Vec::new());
    if File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut contents)? as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_change_with_their_contents_and_with_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let [config, key, missing] =
            ["web.yml", "key", "missing"].map(|name| folder.path().join(name));
        fs::write(&config, "a").unwrap();
        fs::write(&key, "b").unwrap();
        let mut files = WatchedFiles::of(&config);
        files.read_config().unwrap();
        files.read_named("key").unwrap();
        files.read_named("missing").unwrap_err();
        assert!(!files.have_changed());
        // Written again, and replaced, by the same.
        fs::write(&key, "b").unwrap();
        fs::write(folder.path().join("new"), "a").unwrap();
        fs::rename(folder.path().join("new"), &config).unwrap();
        assert!(!files.have_changed());

        let restored: [(&Path, &dyn Fn()); 4] = [
            (&key, &|| fs::write(&key, "c").unwrap()),
            (&key, &|| fs::remove_file(&key).unwrap()),
            (&config, &|| fs::write(&config, "").unwrap()),
            (&missing, &|| fs::write(&missing, "").unwrap()),
        ];
        for (path, change) in restored {
            let before = fs::read(path).ok();
            change();
            assert!(files.have_changed(), "{}", path.display());
            match before {
                Some(contents) => fs::write(path, contents).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            assert!(!files.have_changed(), "{} is as before", path.display());
        }
        // What one file loses another gains.
        fs::write(&config, "").unwrap();
        fs::write(&key, "ab").unwrap();
        assert!(files.have_changed());
    }

    #[test]
    fn file_too_large_or_not_regular_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("web.yml");
        fs::write(&config, vec![b'x'; usize::try_from(MAX_BYTES).unwrap()]).unwrap();
        let mut files = WatchedFiles::of(&config);
        assert_eq!(files.read_config().unwrap().len() as u64, MAX_BYTES);
        fs::write(&config, vec![b'x'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        assert_eq!(files.read_config().unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(files.read_named(".").unwrap_err().to_string(), "it is not a regular file");
    }
}
