//! The roots that the system trusts: where they are, whether they have changed, and what they are.

use std::collections::HashSet;
use std::ffi::OsString;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::ClientError;
use crate::config::values::{SECRET_AS_PATH, is_secret};
use crate::pem::{self, PemError};
use crate::regular_file;

/// Ten times the bundles that systems have.
const MAX_KIB: u64 = 4096;

/// Files and folders of certificates.
#[derive(Debug)]
pub(super) struct SystemRoots(Vec<PathBuf>);

impl SystemRoots {
    /// What `SSL_CERT_FILE` and `SSL_CERT_DIR` name, as OpenSSL reads them; where both are empty or not set, what the
    /// system's packages install. `variable` looks one up in the environment.
    pub(super) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ClientError> {
        let named = |name| {
            let value = variable(name).unwrap_or_default();
            if is_secret(&value.to_string_lossy()) {
                return Err(ClientError(format!(
                    "{name}: {SECRET_AS_PATH} (environment variable)"
                )));
            }
            Ok(value)
        };
        let (file, folders) = (named("SSL_CERT_FILE")?, named("SSL_CERT_DIR")?);
        let mut paths: Vec<_> =
            [PathBuf::from(file)].into_iter().chain(env::split_paths(&folders)).collect();
        paths.retain(|path| !path.as_os_str().is_empty());
        if paths.is_empty() {
            let found = openssl_probe::probe();
            paths = found.cert_file.into_iter().chain(found.cert_dir).collect();
        }
        Ok(Self(paths))
    }

    /// Differs once a file or folder has been written, replaced or removed; takes less time than to read them. Blocks.
    pub(super) fn stamp(&self) -> u64 {
        let entries = self.0.iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
        let paths = self.0.iter().cloned().chain(entries.map(|entry| entry.path()));
        let stamp = |path: PathBuf| {
            let known = fs::metadata(&path).ok().map(|known| {
                (known.dev(), known.ino(), known.size(), known.ctime(), known.ctime_nsec())
            });
            BuildHasherDefault::<DefaultHasher>::new().hash_one((path, known))
        };
        // A folder has no order.
        paths.map(stamp).fold(0, u64::wrapping_add)
    }

    /// Reads them, each once, and says in words where they come from. A file that is named must be whole; what is missing, or
    /// cannot be used in a folder, is left out and said to be. Blocks.
    pub(super) fn load(&self) -> Result<(RootCertStore, String), ClientError> {
        let (mut certificates, mut left_out) = (HashSet::new(), Vec::new());
        for path in &self.0 {
            let Ok(folder) = fs::read_dir(path) else {
                match read(path) {
                    Err(Fault::Pem(fault)) => return Err(ClientError(fault)),
                    Err(Fault::Io(fault)) => left_out.push(fault),
                    Ok(found) => certificates.extend(found),
                }
                continue;
            };
            for entry in folder.flatten().filter(|entry| entry.path().is_file()) {
                match read(&entry.path()) {
                    Err(Fault::Pem(fault) | Fault::Io(fault)) => left_out.push(fault),
                    Ok(found) => certificates.extend(found),
                }
            }
        }
        let mut roots = RootCertStore::empty();
        let (count, _) = roots.add_parsable_certificates(certificates);
        let first = left_out.first();
        let without = first.map(|first| format!(", {} left out: {first}", left_out.len()));
        let place = format!("the system's ({self}){}", without.unwrap_or_default());
        if count == 0 {
            let hint = "set api.ca_file or SSL_CERT_FILE";
            return Err(ClientError(format!("no trusted roots are found in {place}; {hint}")));
        }
        Ok((roots, format!("{count} of {place}")))
    }
}

impl fmt::Display for SystemRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.0.iter().map(|path| path.display().to_string()).collect();
        f.write_str(&paths.join(", "))
    }
}

enum Fault {
    Io(String),
    Pem(String),
}

/// The certificates of a file; none if it holds something else.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let name = path.display();
    let content = regular_file::read(path, MAX_KIB)
        .map_err(|error| Fault::Io(format!("{name} cannot be read: {error}")))?;
    match pem::certificates(&content) {
        Ok(certificates) => Ok(certificates.into_iter().map(|item| item.der).collect()),
        Err(PemError::Empty | PemError::NoBlock | PemError::Missing { .. }) => Ok(Vec::new()),
        Err(fault) => Err(Fault::Pem(format!("{name} {fault}"))),
    }
}
