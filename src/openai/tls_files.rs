//! The files of TLS to the API: certificate authorities, a client certificate and its key.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use secrecy::zeroize::Zeroizing;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

use super::ClientError;
use crate::blocking::lock;
use crate::config::Api;
use crate::pem::{self, Certificates, PairError, PemError};
use crate::regular_file;

/// What each file of certificates holds, a line each.
pub(crate) fn certificate_counts(api: &Api) -> Result<Vec<String>, ClientError> {
    let TlsFiles { ca, client_cert, .. } = TlsFiles::read(api, &Mutex::default())?;
    let line = |file: TlsFile| {
        let held = pem::count(&file.certificates()?);
        Ok(format!("{}: {} holds {held}", file.key, file.path.display()))
    };
    ca.into_iter().chain(client_cert).map(line).collect()
}

/// The certificate authorities, client certificate and key, as far as configured.
pub(super) struct TlsFiles {
    pub(super) ca: Option<TlsFile>,
    pub(super) client_cert: Option<TlsFile>,
    pub(super) client_key: Option<TlsFile>,
}

pub(super) struct TlsFile {
    /// The key of the configuration that names it.
    key: &'static str,
    path: PathBuf,
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// More than any list of authorities that a person maintains.
const MAX_KIB: u64 = 4096;

impl TlsFiles {
    /// Says in `reading` which file is being read.
    pub(super) fn read(api: &Api, reading: &Mutex<String>) -> Result<Self, ClientError> {
        let read = |key: &'static str, path: &Option<PathBuf>| {
            let Some(path) = path else { return Ok(None) };
            *lock(reading) = format!("{key}: {}", path.display());
            TlsFile::read(key, path).map(Some)
        };
        Ok(Self {
            ca: read("api.ca_file", &api.ca_file)?,
            client_cert: read("api.client_cert_file", &api.client_cert_file)?,
            client_key: read("api.client_key_file", &api.client_key_file)?,
        })
    }
}

/// What is presented to the API: a chain and the key of its first certificate.
pub(super) fn identity(cert: &TlsFile, key: &TlsFile) -> Result<CertifiedKey, ClientError> {
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
    })
}

/// `notAfter` of the certificate that is presented, in seconds since the epoch.
pub(super) fn not_after(pair: &CertifiedKey) -> Option<i64> {
    let (_, leaf) = parse_x509_certificate(pair.cert.first()?).ok()?;
    Some(leaf.validity().not_after.timestamp())
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

    /// Its certificates as trusted roots, and what they are in words.
    pub(super) fn roots(&self) -> Result<(RootCertStore, String), ClientError> {
        let roots = pem::roots(&self.certificates()?).map_err(|error| self.refuse(&error))?;
        let place = format!("{} of {}: {}", roots.len(), self.key, self.path.display());
        Ok((roots, place))
    }
}
