//! The roots that the system trusts: where they are, whether they have changed, and what they are.

use std::collections::HashSet;
use std::ffi::OsString;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use rustls_native_certs::load_certs_from_paths;
use tokio_rustls::rustls::RootCertStore;

use super::ClientError;

/// Files and folders of certificates.
#[derive(Debug)]
pub(super) struct SystemRoots(Vec<PathBuf>);

impl SystemRoots {
    /// What `SSL_CERT_FILE` and `SSL_CERT_DIR` name, as OpenSSL reads them; where both are empty or not set, what the
    /// system's packages install. `variable` looks one up in the environment.
    pub(super) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let named =
            ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| variable(name).unwrap_or_default());
        let [file, folders] = &named;
        let folders = env::split_paths(folders);
        let mut paths: Vec<_> = [PathBuf::from(file)].into_iter().chain(folders).collect();
        paths.retain(|path| !path.as_os_str().is_empty());
        if paths.is_empty() {
            let found = openssl_probe::probe();
            paths = found.cert_file.into_iter().chain(found.cert_dir).collect();
        }
        Self(paths)
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

    /// Reads them, each once, and says in words where they come from. Blocks.
    pub(super) fn load(&self) -> Result<(RootCertStore, String), ClientError> {
        let (mut certificates, mut faults) = (HashSet::new(), Vec::new());
        for path in &self.0 {
            let path: &Path = path;
            let found = if path.is_dir() {
                load_certs_from_paths(None, Some(path))
            } else {
                load_certs_from_paths(Some(path), None)
            };
            certificates.extend(found.certs);
            faults.extend(found.errors.iter().map(ToString::to_string));
        }
        let mut roots = RootCertStore::empty();
        let (count, unusable) = roots.add_parsable_certificates(certificates);
        let paths: Vec<_> = self.0.iter().map(|path| path.display().to_string()).collect();
        let place = format!("the system's ({})", paths.join(", "));
        let fault = faults.first().map(|fault| format!(": {fault}")).unwrap_or_default();
        if count == 0 {
            let hint = "set api.ca_file or SSL_CERT_FILE";
            return Err(ClientError(format!("there are no trusted roots, {place}{fault}; {hint}")));
        }
        if unusable + faults.len() > 0 {
            tracing::warn!(unusable, "some trusted roots cannot be read, {place}{fault}");
        }
        Ok((roots, format!("{count} of {place}")))
    }
}
