//! The admin key: where it comes from, and what it may be.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

/// An admin key file larger than this is none.
const MAX_FILE_BYTES: u64 = 64 * 1024;

#[derive(Clone, Debug)]
pub enum Credentials {
    Key(SecretString),
    /// A file, read again for every poll.
    File(PathBuf),
}

impl Credentials {
    /// The key as it is now, trimmed, or for people why there is none. Blocks if it is in a file.
    pub fn read(&self) -> Result<SecretString, String> {
        let mut text = Zeroizing::new(String::new());
        let place = match self {
            Self::Key(key) => {
                text.push_str(key.expose_secret());
                "the admin key".to_owned()
            }
            Self::File(path) => {
                let place = format!("the admin key file {}", path.display());
                let read = File::open(path)
                    .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
                read.map_err(|error| format!("{place} cannot be read: {error}"))?;
                place
            }
        };
        let key = text.trim();
        if key.is_empty() {
            return Err(format!("{place} is empty"));
        }
        if !key.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Err("the admin key has a character that an HTTP header cannot carry".into());
        }
        Ok(key.into())
    }
}
