//! The HTTP client below the requests: connection pool, proxies and TLS. The TLS files are read again for every poll, so
//! that certificates rotate without a restart.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::tls::Version;
use reqwest::{Certificate, ClientBuilder, Identity, redirect, retry};
use secrecy::zeroize::Zeroizing;
use tokio::time::{Instant, timeout_at};
use x509_parser::pem::parse_x509_pem;

use super::error::error_chain;
use super::{ClientError, Metrics};
use crate::config::{Api, is_loopback};

#[derive(Debug)]
pub(super) struct Transport {
    api: Api,
    metrics: Arc<Metrics>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    http: reqwest::Client,
    /// Digest of the TLS files when last read, usable or not; none where they could not be read.
    seen: Option<u64>,
}

impl Transport {
    pub(super) fn new(api: Api, metrics: Arc<Metrics>) -> Result<Self, ClientError> {
        let files = TlsFiles::read(&api)?;
        let current = Current { http: build(&api, &files, &metrics)?, seen: Some(files.digest()) };
        Ok(Self { api, metrics, current: Mutex::new(current) })
    }

    /// The client with the present TLS files; the previous one while they cannot be used, or where reading them takes until
    /// `deadline`.
    pub(super) async fn current(self: &Arc<Self>, deadline: Instant) -> reqwest::Client {
        if self.api.ca_file.is_some() || self.api.client_cert_file.is_some() {
            let transport = Arc::clone(self);
            // Past the deadline the poll itself fails.
            let _ = timeout_at(deadline, tokio::task::spawn_blocking(move || transport.reload())).await;
        }
        self.lock().http.clone()
    }

    /// Rebuilds the client where the TLS files have changed. Blocks.
    fn reload(&self) {
        // Before the lock: a file system may hang.
        let files = TlsFiles::read(&self.api);
        let seen = files.as_ref().ok().map(TlsFiles::digest);
        let mut current = self.lock();
        if seen == current.seen {
            return;
        }
        current.seen = seen;
        match files.map_err(ClientError::from).and_then(|files| build(&self.api, &files, &self.metrics)) {
            Ok(http) => {
                current.http = http;
                tracing::info!("the files for TLS to the API have changed and are in use");
            }
            Err(error) => {
                tracing::warn!(
                    "the files for TLS to the API have changed and cannot be used; those before stay: {error}"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(api: &Api, files: &TlsFiles, metrics: &Metrics) -> Result<reqwest::Client, ClientError> {
    let mut http = reqwest::Client::builder()
        .user_agent(concat!("openai-cert-exporter/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // `request` retries; retries here would multiply its tries.
        .retry(retry::never());
    if is_loopback(&api.base_url) {
        http = http.no_proxy();
    }
    if api.base_url.scheme() == "http" {
        // No TLS, so no roots are needed; a bare container may have none.
        http = http.tls_certs_only([]);
    } else {
        http = http.tls_version_min(Version::TLS_1_2);
    }
    let http = files.apply(http)?.build().map_err(|error| ClientError::Http(error_chain(&error)))?;
    if let Some(not_after) = files.client_cert.as_ref().and_then(TlsFile::leaf_not_after) {
        metrics.client_certificate_ends(not_after);
    }
    Ok(http)
}

/// The certificate authorities, client certificate and key, where configured.
struct TlsFiles {
    ca: Option<TlsFile>,
    client_cert: Option<TlsFile>,
    client_key: Option<TlsFile>,
}

struct TlsFile {
    /// The key of the configuration that names it.
    key: &'static str,
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
}

/// Why a TLS file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {} {fault}", path.display())]
pub struct TlsFileError {
    key: &'static str,
    path: PathBuf,
    fault: String,
}

impl TlsFiles {
    fn read(api: &Api) -> Result<Self, TlsFileError> {
        let read = |key, path: &Option<PathBuf>| path.as_ref().map(|path| TlsFile::read(key, path)).transpose();
        Ok(Self {
            ca: read("api.ca_file", &api.ca_file)?,
            client_cert: read("api.client_cert_file", &api.client_cert_file)?,
            client_key: read("api.client_key_file", &api.client_key_file)?,
        })
    }

    fn apply(&self, mut http: ClientBuilder) -> Result<ClientBuilder, TlsFileError> {
        if let Some(ca) = &self.ca {
            let roots = Certificate::from_pem_bundle(&ca.content).ok().filter(|roots| !roots.is_empty());
            http = http.tls_certs_only(roots.ok_or_else(|| ca.does_not_hold("certificates"))?);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            cert.leaf_not_after().ok_or_else(|| cert.does_not_hold("a certificate"))?;
            let both = Zeroizing::new([cert.content.as_slice(), b"\n", &key.content].concat());
            http = http.identity(Identity::from_pem(&both).map_err(|_| key.does_not_hold("a private key"))?);
        }
        Ok(http)
    }

    fn digest(&self) -> u64 {
        let contents =
            [&self.ca, &self.client_cert, &self.client_key].map(|file| Some(file.as_ref()?.content.as_slice()));
        BuildHasherDefault::<DefaultHasher>::new().hash_one(contents)
    }
}

impl TlsFile {
    fn read(key: &'static str, path: &Path) -> Result<Self, TlsFileError> {
        match std::fs::read(path) {
            Ok(content) => Ok(Self { key, path: path.into(), content: content.into() }),
            Err(error) => Err(TlsFileError { key, path: path.into(), fault: format!("cannot be read: {error}") }),
        }
    }

    fn does_not_hold(&self, expected: &str) -> TlsFileError {
        TlsFileError { key: self.key, path: self.path.clone(), fault: format!("does not hold {expected} in PEM") }
    }

    /// `notAfter` of its first certificate, in seconds since the epoch.
    fn leaf_not_after(&self) -> Option<i64> {
        let (_, block) = parse_x509_pem(&self.content).ok()?;
        Some(block.parse_x509().ok()?.validity().not_after.timestamp())
    }
}
