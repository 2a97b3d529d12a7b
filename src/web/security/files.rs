//! The web configuration file and those that it names, and whether their contents have changed since they were read.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use crate::config::ConfigError;
use crate::regular_file;

/// More than any chain of certificates or list of authorities that a person maintains.
const MAX_KIB: u64 = 4096;

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
        let contents = regular_file::read(&path, MAX_KIB).map(Zeroizing::new);
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
}
