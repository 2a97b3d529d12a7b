//! A port with a web configuration: certificates, files, and clients that show what they were told.

use axum::Router;
use axum::routing::get;
use openai_cert_exporter::web::{Limits, Security, Server};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use reqwest::{Certificate, Client, ClientBuilder, Identity};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::DEADLINE;

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(format!("{}{}", self.certificate, self.key).as_bytes()).unwrap()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// For the server that tests connect to.
    pub(crate) fn server(&self) -> Pair {
        self.sign(vec![SanType::IpAddress([127, 0, 0, 1].into())], ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn client(&self, names: Vec<SanType>) -> Pair {
        self.sign(names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// For a client, until the first day of `year`.
    pub(crate) fn client_until(&self, year: i32) -> Pair {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.sign_with(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, names: Vec<SanType>, purpose: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        self.sign_with(params, purpose)
    }

    fn sign_with(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Pair {
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A client that trusts this authority alone.
    pub(crate) fn trusting(&self) -> ClientBuilder {
        let certificate = Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        Client::builder().no_proxy().tls_certs_only([certificate]).timeout(DEADLINE)
    }
}

/// The bcrypt hash of a password, at the lowest cost there is.
pub(crate) fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

/// A folder of files that goes with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// With a web configuration.
    pub(crate) fn with(web_config: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write("web.yml", web_config);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn web_config(&self) -> PathBuf {
        self.0.path().join("web.yml")
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.path().join(name), content).unwrap();
    }

    pub(crate) fn write_pair(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.pem"), &pair.certificate);
        self.write(&format!("{name}.key"), &pair.key);
    }
}

/// TLS with the files of [`Folder::write_pair`] for `server`.
pub(crate) const TLS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";

/// The server that the exporter serves with, in this process.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) folder: Folder,
    _end: DropGuard,
}

impl Port {
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }
}

pub(crate) fn patient() -> Limits {
    Limits { connections: 1_000, head_timeout: DEADLINE, idle_timeout: DEADLINE, answer_timeout: DEADLINE }
}

/// More than the sockets of both sides hold.
const LARGE: usize = 64 << 20;

/// Serves a folder's web configuration.
pub(crate) async fn serve(folder: Folder, limits: Limits) -> Port {
    let page = get(async || "metrics\n");
    let router = Router::new()
        .route("/metrics", page.clone())
        .route("/healthz", page)
        .route("/large", get(async || vec![b'x'; LARGE]));
    let security = Security::load(&folder.web_config()).unwrap();
    let server = Server::bind(&["127.0.0.1:0".parse().unwrap()], limits).await.unwrap().secured(Some(security));
    let address = server.addresses().unwrap()[0];
    let end = CancellationToken::new();
    tokio::spawn(server.run(router, end.clone()));
    Port { address, folder, _end: end.drop_guard() }
}
