//! The HTTP client below the requests: connection pool, proxies and TLS. Where TLS is made of files, they are read again
//! for every poll, so that certificates rotate without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::{Certificate, Identity};
use secrecy::zeroize::Zeroizing;

use super::{ClientError, Metrics, causes};
use crate::config::{Api, is_loopback};

/// A client, and what it was made of.
#[derive(Debug)]
pub(super) struct Transport {
    files: Files,
    is_loopback: bool,
    is_plain: bool,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    http: reqwest::Client,
    contents: Contents,
    /// What was found in the files last and could not be used, so that it is told once.
    refused: Option<Contents>,
}

/// The files that TLS is made of, where any are configured.
#[derive(Clone, Debug)]
struct Files {
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

/// What is in them. Not printed: one of them holds a private key.
#[derive(Clone, Default, PartialEq, Eq)]
struct Contents {
    ca: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contents")
    }
}

/// Why TLS cannot be made of the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("{key}: {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{key}: {} does not hold {expected} in PEM", path.display())]
    Content {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
}

impl Files {
    fn read(&self) -> Result<Contents, TlsFileError> {
        let read = |key, path: &Path| {
            std::fs::read(path).map_err(|source| TlsFileError::Unreadable { key, path: path.into(), source })
        };
        let ca = self.ca.as_deref().map(|path| read("api.ca_file", path)).transpose()?;
        let client = match &self.client {
            Some((cert, key)) => {
                Some((read("api.client_cert_file", cert)?, Zeroizing::new(read("api.client_key_file", key)?)))
            }
            None => None,
        };
        Ok(Contents { ca, client })
    }
}

impl Transport {
    pub(super) fn new(api: &Api, metrics: &Metrics) -> Result<Self, ClientError> {
        let client = api.client_cert_file.clone().zip(api.client_key_file.clone());
        let files = Files { ca: api.ca_file.clone(), client };
        let (is_loopback, is_plain) = (is_loopback(&api.base_url), api.base_url.scheme() == "http");
        let contents = files.read()?;
        let http = build(&files, &contents, is_loopback, is_plain, metrics)?;
        Ok(Self { files, is_loopback, is_plain, current: Mutex::new(Current { http, contents, refused: None }) })
    }

    /// Whether there are files to read.
    pub(super) fn has_files(&self) -> bool {
        self.files.ca.is_some() || self.files.client.is_some()
    }

    /// The client as it was last, without a look at the files.
    pub(super) fn last(&self) -> reqwest::Client {
        self.lock().http.clone()
    }

    /// The client as the files are now. Files that cannot be used leave it as it was, and are told of once. Blocks.
    pub(super) fn current(&self, metrics: &Metrics) -> reqwest::Client {
        // Before the lock: a file system may hang.
        let read = self.files.read();
        let mut current = self.lock();
        match read {
            Ok(contents) if contents == current.contents => current.refused = None,
            Ok(contents) => match build(&self.files, &contents, self.is_loopback, self.is_plain, metrics) {
                Ok(http) => {
                    tracing::info!("the files for TLS to the API have changed and are in use");
                    *current = Current { http, contents, refused: None };
                }
                Err(error) => refuse(&mut current, contents, &error),
            },
            Err(error) => refuse(&mut current, Contents::default(), &error),
        }
        current.http.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(current: &mut Current, contents: Contents, error: &dyn std::error::Error) {
    if current.refused.as_ref() != Some(&contents) {
        tracing::warn!("the files for TLS to the API have changed and cannot be used; those before stay: {error}");
        current.refused = Some(contents);
    }
}

fn build(
    files: &Files,
    contents: &Contents,
    is_loopback: bool,
    is_plain: bool,
    metrics: &Metrics,
) -> Result<reqwest::Client, ClientError> {
    let mut http = reqwest::Client::builder()
        .user_agent(concat!("openai-cert-exporter/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        // This module's user retries; a layer below that does too would multiply the tries.
        .retry(reqwest::retry::never());
    if is_loopback {
        http = http.no_proxy();
    }
    if is_plain {
        // No TLS, so no roots are needed; a bare container may have none.
        http = http.tls_certs_only([]);
    } else {
        http = http.tls_version_min(reqwest::tls::Version::TLS_1_2);
    }
    let content = |key, path: &Path, expected| TlsFileError::Content { key, path: path.into(), expected };
    if let (Some(path), Some(bundle)) = (&files.ca, &contents.ca) {
        let roots = Certificate::from_pem_bundle(bundle).ok().filter(|roots| !roots.is_empty());
        http = http.tls_certs_only(roots.ok_or_else(|| content("api.ca_file", path, "certificates"))?);
    }
    let mut not_after = None;
    if let (Some((cert_file, key_file)), Some((cert, key))) = (&files.client, &contents.client) {
        let error = || content("api.client_cert_file", cert_file, "a certificate");
        not_after = Some(leaf_not_after(cert).ok_or_else(error)?);
        let identity = Identity::from_pem(&Zeroizing::new([cert.as_slice(), b"\n", key].concat()));
        http = http.identity(identity.map_err(|_| content("api.client_key_file", key_file, "a private key"))?);
    }
    let http = http.build().map_err(|error| ClientError::Http(causes(&error)))?;
    if let Some(not_after) = not_after {
        metrics.client_certificate_ends(not_after);
    }
    Ok(http)
}

/// When the first certificate of a PEM file ends, in seconds since the epoch.
fn leaf_not_after(pem: &[u8]) -> Option<i64> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    Some(block.parse_x509().ok()?.validity().not_after.timestamp())
}
