//! The admin key: where it comes from, and what it may be.

use std::fs::File;
use std::io::{self, Read as _};
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
    /// The key as it is now, trimmed. Blocks where it is in a file.
    pub fn read(&self) -> Result<SecretString, CredentialsError> {
        let path = match self {
            Self::Key(key) => return validate_key(key.expose_secret()),
            Self::File(path) => path,
        };
        let mut text = Zeroizing::new(String::new());
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
            .map_err(|source| CredentialsError::Unreadable { path: path.clone(), source })?;
        validate_key(&text).map_err(|error| match error {
            CredentialsError::Empty => CredentialsError::EmptyFile { path: path.clone() },
            other => other,
        })
    }
}

fn validate_key(key: &str) -> Result<SecretString, CredentialsError> {
    let key = key.trim();
    if key.is_empty() {
        return Err(CredentialsError::Empty);
    }
    if !key.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err(CredentialsError::InvalidCharacter);
    }
    Ok(key.into())
}

/// Why there is no usable admin key. No variant carries any of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("the admin key is empty")]
    Empty,
    #[error("the admin key file {} is empty", path.display())]
    EmptyFile { path: PathBuf },
    #[error("the admin key file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the admin key has a character that an HTTP header cannot carry")]
    InvalidCharacter,
}
