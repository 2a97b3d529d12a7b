//! The HTTP client below the requests: connection pool, proxies and TLS. The TLS files are read again for every poll, so
//! that certificates rotate without a restart.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use reqwest::tls::Version;
use reqwest::{Certificate, ClientBuilder, Identity, redirect, retry};
use secrecy::zeroize::Zeroizing;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use x509_parser::parse_x509_certificate;

use super::error::error_chain;
use super::{Client, Metrics};
use crate::config::{Api, is_loopback};
use crate::pem::{self, Certificates, PairError, PemError};
use crate::regular_file;

/// Why the client cannot be set up, for people: a file that TLS cannot be made of, or a system without trusted roots.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClientError(String);

/// What sends the requests.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    /// Digest of the TLS files when last read, usable or not; none if they could not be read.
    seen: Option<u64>,
}

impl Transport {
    pub(super) fn new(api: &Api, metrics: &Metrics) -> Result<Self, ClientError> {
        let files = TlsFiles::read(api)?;
        Ok(Self { http: build(api, &files, metrics)?, seen: Some(files.digest()) })
    }
}

impl Client {
    /// The HTTP client as the files are now. While they cannot be used, or if reading them takes until `deadline`,
    /// the previous client.
    pub(super) async fn http(self: &Arc<Self>, deadline: Instant) -> reqwest::Client {
        if self.api.ca_file.is_some() || self.api.client_cert_file.is_some() {
            let client = Arc::clone(self);
            // Past the deadline the poll itself fails.
            let _ = timeout_at(deadline, spawn_blocking(move || client.reload_files())).await;
        }
        self.transport().http.clone()
    }

    /// Makes the HTTP client anew if the files have changed. Blocks.
    fn reload_files(&self) {
        // Before the lock: a file system may hang.
        let files = TlsFiles::read(&self.api);
        let seen = files.as_ref().ok().map(TlsFiles::digest);
        let mut transport = self.transport();
        if seen == transport.seen {
            return;
        }
        transport.seen = seen;
        match files.and_then(|files| build(&self.api, &files, &self.metrics)) {
            Ok(http) => {
                transport.http = http;
                tracing::info!("the files for TLS to the API have changed and are in use");
            }
            Err(error) => {
                tracing::warn!(
                    "the files for TLS to the API have changed and cannot be used; those before stay: {error}"
                );
            }
        }
    }

    fn transport(&self) -> MutexGuard<'_, Transport> {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(api: &Api, files: &TlsFiles, metrics: &Metrics) -> Result<reqwest::Client, ClientError> {
    let mut http = reqwest::Client::builder()
        .user_agent(concat!("openai-cert-exporter/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // `request` retries; retries here would multiply its attempts.
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
    let http = files.apply(http)?.build().map_err(|error| {
        ClientError(format!("the HTTP client cannot be set up: {}", error_chain(&error)))
    })?;
    if let Some(not_after) = files.client_cert.as_ref().and_then(TlsFile::not_after) {
        metrics.client_certificate_not_after.with_label_values::<&str>(&[]).set(not_after);
    }
    Ok(http)
}

/// What each file of certificates holds, a line each.
pub(crate) fn certificate_counts(api: &Api) -> Result<Vec<String>, ClientError> {
    let TlsFiles { ca, client_cert, .. } = TlsFiles::read(api)?;
    let line = |file: TlsFile| {
        let held = pem::count(&file.certificates()?);
        Ok(format!("{}: {} holds {held}", file.key, file.path.display()))
    };
    ca.into_iter().chain(client_cert).map(line).collect()
}

/// The certificate authorities, client certificate and key, as far as configured.
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

/// More than any list of authorities that a person maintains.
const MAX_KIB: u64 = 4096;

impl TlsFiles {
    fn read(api: &Api) -> Result<Self, ClientError> {
        let read = |key: &'static str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| TlsFile::read(key, path)).transpose()
        };
        Ok(Self {
            ca: read("api.ca_file", &api.ca_file)?,
            client_cert: read("api.client_cert_file", &api.client_cert_file)?,
            client_key: read("api.client_key_file", &api.client_key_file)?,
        })
    }

    fn apply(&self, mut http: ClientBuilder) -> Result<ClientBuilder, ClientError> {
        if let Some(ca) = &self.ca {
            let certificates = ca.certificates()?;
            pem::roots(&certificates).map_err(|error| ca.refuse(&error))?;
            let roots = certificates.iter().map(|item| Certificate::from_der(&item.der));
            http = http.tls_certs_only(
                roots.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(&error))?,
            );
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            http = http.identity(identity(cert, key)?);
        }
        Ok(http)
    }

    fn digest(&self) -> u64 {
        let contents = [&self.ca, &self.client_cert, &self.client_key]
            .map(|file| Some(file.as_ref()?.content.as_slice()));
        BuildHasherDefault::<DefaultHasher>::new().hash_one(contents)
    }
}

/// What is presented to the API: a chain and the key of its first certificate.
fn identity(cert: &TlsFile, key: &TlsFile) -> Result<Identity, ClientError> {
    let chain = cert.certificates()?;
    let private_key = pem::private_key(&key.content).map_err(|error| key.refuse(&error))?;
    pem::pair(&chain, &private_key).map_err(|error| match error {
        PairError::Certificate(error) => cert.refuse(&error),
        PairError::Key(error) => key.refuse(&error),
        PairError::Mismatch => ClientError(format!(
            "{}: {} is not the key of the first certificate in {}",
            key.key,
            key.path.display(),
            cert.path.display()
        )),
    })?;
    let blocks = chain.iter().map(|item| &item.pem).chain([&private_key.pem]);
    let both = blocks.map(|pem| pem.as_slice()).collect::<Vec<_>>().concat();
    Identity::from_pem(&Zeroizing::new(both)).map_err(|error| unusable(&error))
}

fn unusable(error: &reqwest::Error) -> ClientError {
    ClientError(format!("the files for TLS to the API cannot be used: {}", error_chain(error)))
}

impl TlsFile {
    fn read(key: &'static str, path: &Path) -> Result<Self, ClientError> {
        match regular_file::read(path, MAX_KIB) {
            Ok(content) => Ok(Self { key, path: path.into(), content: content.into() }),
            Err(error) => {
                Err(ClientError(format!("{key}: {} cannot be read: {error}", path.display())))
            }
        }
    }

    fn refuse(&self, fault: &PemError) -> ClientError {
        ClientError(format!("{}: {} {fault}", self.key, self.path.display()))
    }

    fn certificates(&self) -> Result<Certificates, ClientError> {
        pem::certificates(&self.content).map_err(|error| self.refuse(&error))
    }

    /// `notAfter` of its first certificate, which is the one presented, in seconds since the epoch.
    fn not_after(&self) -> Option<i64> {
        let chain = self.certificates().ok()?;
        let (_, leaf) = parse_x509_certificate(&chain.first()?.der).ok()?;
        Some(leaf.validity().not_after.timestamp())
    }
}
