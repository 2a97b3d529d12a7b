//! What lies below the requests: names, the proxy, TLS and connections. Each poll makes connections of its own, so that it
//! follows a name that moves. The files of TLS are looked at again for every poll, so that certificates rotate without a
//! restart.

use std::env::var_os;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{ClientBuilder, redirect, retry};
use secrecy::zeroize::Zeroizing;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error as TlsError, RootCertStore};
use x509_parser::pem::parse_x509_pem;

use super::error::error_chain;
use super::proxy::Proxy;
use super::roots::SystemRoots;
use super::{Client, Metrics};
use crate::blocking::try_spawn;
use crate::config::{Api, ConfigError};
use crate::poll_state::ApiConnection;

/// Some services in front of an API add dozens of headers; the library takes 100 by default.
const MAX_HEADERS: usize = 256;

/// Why the client cannot be set up, for people: a file that TLS cannot be made of, a system without trusted roots, or a
/// proxy that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClientError(pub(super) String);

impl From<ConfigError> for ClientError {
    fn from(error: ConfigError) -> Self {
        Self(error.to_string())
    }
}

/// How the API is reached.
#[derive(Debug)]
pub(super) struct Transport {
    proxy: Option<Proxy>,
    /// None if no connection speaks TLS, or `api.ca_file` holds the roots.
    system_roots: Option<SystemRoots>,
    tls: Mutex<Tls>,
}

/// TLS as the files were when they could last be used.
#[derive(Debug)]
struct Tls {
    config: ClientConfig,
    /// Where the trusted roots come from, in words.
    roots: String,
    /// Digest of the files when last read, usable or not; none if they could not be read.
    seen: Option<u64>,
}

impl Transport {
    pub(super) fn new(api: &Api, metrics: &Metrics) -> Result<Self, ClientError> {
        let proxy = Proxy::for_api(&api.base_url, |name| var_os(name))?;
        let speaks_tls =
            api.base_url.scheme() == "https" || proxy.as_ref().is_some_and(Proxy::speaks_tls);
        let system_roots =
            (speaks_tls && api.ca_file.is_none()).then(|| SystemRoots::find(|name| var_os(name)));
        let files = TlsFiles::read(api)?;
        let seen = Some(digest(&files, system_roots.as_ref()));
        let (config, roots) = configure(&files, system_roots.as_ref(), metrics)?;
        let transport = Self { proxy, system_roots, tls: Mutex::new(Tls { config, roots, seen }) };
        // It fails here, if at all.
        transport.connector(api).connect().map_err(|error| ClientError(error_chain(&error)))?;
        Ok(transport)
    }

    fn connector(&self, api: &Api) -> Connector {
        // Shared by the addresses of the name, so that a dead one leaves time for the next; half is left for the request.
        let connect_timeout = api.request_timeout / 2;
        Connector { tls: self.tls().config.clone(), proxy: self.proxy.clone(), connect_timeout }
    }

    pub(super) fn connection(&self, api: &Api) -> ApiConnection {
        let (host, port) = (api.base_url.host_str(), api.base_url.port_or_known_default());
        ApiConnection {
            api: format!("{}:{}", host.unwrap_or_default(), port.unwrap_or_default()),
            proxy: self.proxy.as_ref().map(ToString::to_string),
            roots: self.tls().roots.clone(),
            client_certificate: api
                .client_cert_file
                .as_ref()
                .map(|path| path.display().to_string()),
        }
    }

    fn tls(&self) -> MutexGuard<'_, Tls> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the files over if they have changed and can be used. Blocks.
    fn reload(&self, api: &Api, metrics: &Metrics) {
        // Before the lock: a file system may hang.
        let files = TlsFiles::read(api);
        let system_roots = self.system_roots.as_ref();
        let seen = files.as_ref().ok().map(|files| digest(files, system_roots));
        if std::mem::replace(&mut self.tls().seen, seen) == seen {
            return;
        }
        match files.and_then(|files| configure(&files, system_roots, metrics)) {
            Ok((config, roots)) => {
                *self.tls() = Tls { config, roots, seen };
                tracing::info!("the files for TLS to the API have changed and are in use");
            }
            Err(error) => {
                tracing::warn!(
                    "the files for TLS to the API have changed and cannot be used; those before stay: {error}"
                );
            }
        }
    }
}

impl Client {
    /// What makes the connections of a poll, with the files as they are now. While they cannot be used, or if reading
    /// them takes until `deadline`, with those before.
    pub(super) async fn connector(self: &Arc<Self>, deadline: Instant) -> Connector {
        let Self { api, transport, .. } = &**self;
        if transport.system_roots.is_some()
            || api.ca_file.is_some()
            || api.client_cert_file.is_some()
        {
            let client = Arc::clone(self);
            let reload = move || client.transport.reload(&client.api, &client.metrics);
            // Past the deadline the poll itself fails.
            if let Ok(Err(error)) = timeout_at(deadline, try_spawn(reload)).await {
                tracing::warn!("the files for TLS to the API are not read again: {error}");
            }
        }
        transport.connector(api)
    }

    /// How the API is reached, for people.
    pub fn connection(&self) -> ApiConnection {
        self.transport.connection(&self.api)
    }

    pub(crate) fn log_connection(&self) {
        let ApiConnection { api, proxy, roots, client_certificate } = self.connection();
        tracing::info!(%api, proxy, roots, client_certificate, "how the API is reached");
    }
}

/// Makes HTTP clients, each with connections of its own.
#[derive(Debug)]
pub(super) struct Connector {
    tls: ClientConfig,
    proxy: Option<Proxy>,
    connect_timeout: Duration,
}

impl Connector {
    pub(super) fn connect(&self) -> reqwest::Result<reqwest::Client> {
        self.builder().build()
    }

    fn builder(&self) -> ClientBuilder {
        let http = reqwest::Client::builder()
            .user_agent(concat!("openai-cert-exporter/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // `request` retries; retries here would multiply its attempts.
            .retry(retry::never())
            .connect_timeout(self.connect_timeout)
            .http1_max_headers(MAX_HEADERS)
            .dns_resolver(SystemResolver)
            .tls_backend_preconfigured(self.tls.clone())
            // The library's own reading of the environment ignores what it cannot read.
            .no_proxy();
        let proxy = self.proxy.iter().map(|proxy| proxy.http.clone());
        proxy.fold(http, ClientBuilder::proxy)
    }
}

/// The system's resolver. The library's one panics where no thread can be started.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = try_spawn(move || (name.as_str(), 0).to_socket_addrs());
        Box::pin(async move { Ok(Box::new(addresses.await??) as Addrs) })
    }
}

/// TLS with these files, and where its trusted roots come from. Blocks.
fn configure(
    files: &TlsFiles,
    system_roots: Option<&SystemRoots>,
    metrics: &Metrics,
) -> Result<(ClientConfig, String), ClientError> {
    let (roots, place) = match (&files.ca, system_roots) {
        (Some(ca), _) => ca.roots()?,
        (None, Some(system_roots)) => system_roots.load()?,
        (None, None) => (RootCertStore::empty(), "none, since there is no TLS".into()),
    };
    let unusable = |error: TlsError| ClientError(format!("TLS cannot be set up: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    let mut config = match (&files.client_cert, &files.client_key) {
        (Some(cert), Some(key)) => {
            let not_after =
                cert.leaf_not_after().ok_or_else(|| cert.does_not_hold("a certificate"))?;
            let key_der = PrivateKeyDer::from_pem_slice(&key.content)
                .map_err(|_| key.does_not_hold("a private key"))?;
            let config =
                builder.with_client_auth_cert(cert.certificates()?, key_der).map_err(|error| {
                    ClientError(format!("{} does not fit {}: {error}", key.name, cert.name))
                })?;
            metrics.client_certificate_not_after.with_label_values::<&str>(&[]).set(not_after);
            config
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, place))
}

/// Differs if a file does. Blocks, for a moment only: the files of TLS have been read.
fn digest(files: &TlsFiles, system_roots: Option<&SystemRoots>) -> u64 {
    let contents = [&files.ca, &files.client_cert, &files.client_key]
        .map(|file| Some(file.as_ref()?.content.as_slice()));
    let system_roots = system_roots.map(SystemRoots::stamp);
    BuildHasherDefault::<DefaultHasher>::new().hash_one((contents, system_roots))
}

/// The certificate authorities, client certificate and key, as far as configured.
struct TlsFiles {
    ca: Option<TlsFile>,
    client_cert: Option<TlsFile>,
    client_key: Option<TlsFile>,
}

struct TlsFile {
    /// The key of the configuration that names it, and its path.
    name: String,
    content: Zeroizing<Vec<u8>>,
}

impl TlsFiles {
    fn read(api: &Api) -> Result<Self, ClientError> {
        let read = |key, path: &Option<PathBuf>| {
            path.as_ref().map(|path| TlsFile::read(key, path)).transpose()
        };
        Ok(Self {
            ca: read("api.ca_file", &api.ca_file)?,
            client_cert: read("api.client_cert_file", &api.client_cert_file)?,
            client_key: read("api.client_key_file", &api.client_key_file)?,
        })
    }
}

impl TlsFile {
    fn read(key: &str, path: &Path) -> Result<Self, ClientError> {
        let name = format!("{key}: {}", path.display());
        match std::fs::read(path) {
            Ok(content) => Ok(Self { name, content: content.into() }),
            Err(error) => Err(ClientError(format!("{name} cannot be read: {error}"))),
        }
    }

    fn does_not_hold(&self, expected: &str) -> ClientError {
        ClientError(format!("{} does not hold {expected} in PEM", self.name))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, ClientError> {
        let certificates =
            CertificateDer::pem_slice_iter(&self.content).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        certificates.ok_or_else(|| self.does_not_hold("certificates"))
    }

    /// Its certificates as trusted roots, and what they are in words.
    fn roots(&self) -> Result<(RootCertStore, String), ClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|_| self.does_not_hold("certificates"))?;
        }
        let place = format!("{} of {}", roots.len(), self.name);
        Ok((roots, place))
    }

    /// `notAfter` of its first certificate, in seconds since the epoch.
    fn leaf_not_after(&self) -> Option<i64> {
        let (_, block) = parse_x509_pem(&self.content).ok()?;
        Some(block.parse_x509().ok()?.validity().not_after.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn dead_first_address_leaves_time_for_the_next() {
        let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live_address = live.local_addr().unwrap();
        // The system answers nobody where as many wait as may.
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind(([127, 0, 0, 2], live_address.port()).into()).unwrap();
        let dead = dead.listen(1).unwrap();
        let dead_address = dead.local_addr().unwrap();
        let wait = || timeout(Duration::from_millis(200), TcpStream::connect(dead_address));
        let mut waiting = Vec::new();
        while let Ok(connected) = wait().await {
            waiting.push(connected.unwrap());
        }

        let api = "base_url = 'http://127.0.0.1:1'\npage_size = 1\nrequest_timeout = '2s'\nmax_retries = 0\ninsecure_http = false";
        let api: Api = toml::from_str(api).unwrap();
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let http = Transport::new(&api, &metrics).unwrap().connector(&api).builder();
        let http = http.resolve_to_addrs("api.test", &[dead_address, live_address]).build();
        let url = format!("http://api.test:{}", live_address.port());
        let request = timeout(api.request_timeout, http.unwrap().get(url).send());
        let answer = async {
            let (mut stream, _) = live.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            stream
        };
        let (response, _) = tokio::join!(request, timeout(api.request_timeout, answer));
        assert_eq!(response.expect("it comes in time").unwrap().status(), 204);
    }
}
