//! The file that `--config.file` names.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::zeroize::Zeroizing;

use super::{ConfigError, values};
use crate::regular_file;

/// Room for tens of thousands of clients.
const MAX_KIB: u64 = 4096;

/// A regular file, or a pipe such as a shell's `<(…)`. A pipe has its content once: read at startup, it cannot be read
/// for a reload.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    was_read: AtomicBool,
}

impl ConfigFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), was_read: AtomicBool::new(false) }
    }

    /// As messages name it.
    pub(super) fn origin(&self) -> String {
        format!("file {}", self.path.display())
    }

    /// Waits for the other end of a pipe.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, ConfigError> {
        if values::is_secret(&self.path.to_string_lossy()) {
            let flag = "--config.file";
            return Err(ConfigError::new(flag, values::SECRET_AS_PATH, format!("flag {flag}")));
        }
        let unreadable = |fault: String| ConfigError::of_origin(self.origin(), fault);
        let is_reload = self.was_read.swap(true, Ordering::Relaxed);
        let read = if is_reload { regular_file::read } else { regular_file::read_or_drain };
        let content = read(&self.path, MAX_KIB).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput if is_reload => {
                unreadable(format!("cannot be read again: {error}; restart the exporter"))
            }
            _ => unreadable(format!("cannot be read: {error}")),
        })?;
        let content = Zeroizing::new(content);
        let text = str::from_utf8(&content);
        Ok(Zeroizing::new(
            text.map_err(|_| unreadable("cannot be read: it is not UTF-8".into()))?.into(),
        ))
    }
}
