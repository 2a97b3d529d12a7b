//! What lies below the requests: names, the proxy, TLS and connections. Each poll makes connections of its own, so that it
//! follows a name that moves. The files of TLS are looked at again for every poll, so that certificates rotate without a
//! restart.

use std::env::var_os;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io;
use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{ClientBuilder, redirect, retry};
use tokio::time::Instant;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, Error as TlsError, RootCertStore};

use super::error::error_chain;
use super::proxy::Proxy;
use super::roots::SystemRoots;
use super::tls_files::{self, TlsFiles};
use super::{Client, Metrics};
use crate::blocking::{BoundedIo, IO_TIMEOUT, lock, try_spawn, wait_for};
use crate::clients::Chain;
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
    system_roots: Option<Arc<SystemRoots>>,
    tls: Mutex<Tls>,
    /// Why the files, as they were for the last poll, are not in use.
    fault: Mutex<Option<Box<str>>>,
    io: BoundedIo,
    /// What is being read or was read last, as messages name it.
    reading: Arc<Mutex<String>>,
}

/// TLS as the files were when they could last be used.
#[derive(Debug)]
struct Tls {
    config: ClientConfig,
    /// Where the trusted roots come from, in words.
    roots: String,
    /// When the client certificate expires, in seconds since the epoch; none without one.
    not_after: Option<i64>,
    /// The client certificate as one of a client; none without one.
    presented: Option<Presented>,
    /// Why the files that were read last are not these.
    refused: Option<Box<str>>,
    /// Digest of the files when last read, usable or not; none if they could not be read.
    seen: Option<u64>,
}

/// What is presented to the API, or why it cannot be judged as a client's.
pub(crate) type Presented = Result<Arc<Chain>, Box<str>>;

impl Transport {
    pub(super) fn new(api: &Api) -> Result<Self, ClientError> {
        let proxy = Proxy::for_api(&api.base_url, |name| var_os(name))?;
        let speaks_tls =
            api.base_url.scheme() == "https" || proxy.as_ref().is_some_and(Proxy::speaks_tls);
        let uses_system_roots = speaks_tls && api.ca_file.is_none();
        let system_roots =
            uses_system_roots.then(|| SystemRoots::find(|name| var_os(name))).transpose()?;
        let system_roots = system_roots.map(Arc::new);
        let reading = Arc::default();
        let read_tls = {
            let (api, system_roots) = (api.clone(), system_roots.clone());
            let reading = Arc::clone(&reading);
            move || {
                let system_roots = system_roots.as_deref();
                let (files, seen) = read(&api, system_roots, &reading);
                configure(&files?, system_roots, seen)
            }
        };
        let tls = wait_for(IO_TIMEOUT, read_tls)
            .map_err(|error| ClientError(unreadable(&reading, &error)))??;
        let (tls, fault, io) = (Mutex::new(tls), Mutex::default(), BoundedIo::default());
        let transport = Self { proxy, system_roots, tls, fault, io, reading };
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
        lock(&self.tls)
    }

    /// Takes the files over if they have changed and can be used. Returns why those read last are not in use. Blocks.
    fn reload(&self, api: &Api) -> Option<Box<str>> {
        // Before the lock: a file system may hang.
        let system_roots = self.system_roots.as_deref();
        let (files, seen) = read(api, system_roots, &self.reading);
        let mut tls = self.tls();
        if std::mem::replace(&mut tls.seen, seen) == seen {
            if let Err(error) = &files {
                tls.refused = Some(error.0.as_str().into());
            }
            return tls.refused.clone();
        }
        drop(tls);
        match files.and_then(|files| configure(&files, system_roots, seen)) {
            Ok(tls) => {
                *self.tls() = tls;
                tracing::info!("the files for TLS to the API have changed and are in use");
                None
            }
            Err(error) => {
                tracing::warn!(
                    "the files for TLS to the API have changed and cannot be used; keeping the previous ones: {error}"
                );
                self.tls().refused = Some(error.0.into());
                self.tls().refused.clone()
            }
        }
    }
}

impl Client {
    /// [`Client::new`], while other tasks go on.
    pub(crate) async fn new_on_thread(
        api: &Api,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ClientError> {
        let api = api.clone();
        let made = try_spawn(move || Self::new(&api, metrics)).await;
        made.map_err(|error| {
            ClientError(format!("the files for TLS to the API cannot be read: {error}"))
        })?
    }

    /// What makes the connections of a poll, with the files as they are now. While they cannot be used, or if reading
    /// them takes too long, with those before: see [`Client::tls_fault`].
    pub(super) async fn connector(self: &Arc<Self>, deadline: Instant) -> Connector {
        let Self { api, transport, .. } = &**self;
        if transport.system_roots.is_some()
            || api.ca_file.is_some()
            || api.client_cert_file.is_some()
        {
            let client = Arc::clone(self);
            let reload = move || client.transport.reload(&client.api);
            let fault = transport.io.run(deadline, reload).await.unwrap_or_else(|error| {
                let fault = unreadable(&transport.reading, &error);
                tracing::warn!(
                    "the files for TLS to the API cannot be read again; keeping the previous ones: {fault}"
                );
                Some(fault.into())
            });
            *lock(&transport.fault) = fault;
        }
        self.metrics.tls(transport.tls().not_after, self.tls_fault().is_none());
        transport.connector(api)
    }

    /// Why the files for TLS, as they were for the last session, are not in use, but those before; none if they are.
    pub(crate) fn tls_fault(&self) -> Option<Box<str>> {
        lock(&self.transport.fault).clone()
    }

    /// The file of the client certificate, and what of it is in use; none without one.
    pub(crate) fn presented(&self) -> Option<(&Path, Presented)> {
        let file = self.api.client_cert_file.as_deref()?;
        Some((file, self.transport.tls().presented.clone()?))
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
            // Connections end with their poll, and every request has a time-out.
            .tcp_keepalive(None)
            .tcp_keepalive_interval(None)
            .tcp_keepalive_retries(None)
            .tcp_user_timeout(None)
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

/// The files as they are, and their digest if they can be read. Says in `reading` what is being read. Blocks.
fn read(
    api: &Api,
    system_roots: Option<&SystemRoots>,
    reading: &Mutex<String>,
) -> (Result<TlsFiles, ClientError>, Option<u64>) {
    let files = TlsFiles::read(api, reading);
    if let Some(system_roots) = system_roots {
        *lock(reading) = format!("the system's trusted roots ({system_roots})");
    }
    let seen = files.as_ref().ok().map(|files| digest(files, system_roots));
    (files, seen)
}

/// What messages say where reading takes too long.
fn unreadable(reading: &Mutex<String>, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", lock(reading))
}

/// TLS with these files. Blocks.
fn configure(
    files: &TlsFiles,
    system_roots: Option<&SystemRoots>,
    seen: Option<u64>,
) -> Result<Tls, ClientError> {
    let (store, roots) = match (&files.ca, system_roots) {
        (Some(ca), _) => ca.roots()?,
        (None, Some(system_roots)) => system_roots.load()?,
        (None, None) => (RootCertStore::empty(), "none, since there is no TLS".into()),
    };
    let unusable = |error: TlsError| ClientError(format!("TLS cannot be set up: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(store);
    let (mut config, not_after, presented) = match (&files.client_cert, &files.client_key) {
        (Some(cert), Some(key)) => {
            let pair = tls_files::identity(cert, key)?;
            let not_after = tls_files::not_after(&pair);
            let resolver = Arc::new(SingleCertAndKey::from(pair));
            let presented = Chain::from_pem(&cert.content).map(Arc::new);
            let presented = presented.map_err(|error| error.to_string().into());
            (builder.with_client_cert_resolver(resolver), not_after, Some(presented))
        }
        _ => (builder.with_no_client_auth(), None, None),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { config, roots, not_after, presented, refused: None, seen })
}

/// Differs if a file does. Blocks, for a moment only: the files of TLS have been read.
fn digest(files: &TlsFiles, system_roots: Option<&SystemRoots>) -> u64 {
    let contents = [&files.ca, &files.client_cert, &files.client_key]
        .map(|file| Some(file.as_ref()?.content.as_slice()));
    let system_roots = system_roots.map(SystemRoots::stamp);
    BuildHasherDefault::<DefaultHasher>::new().hash_one((contents, system_roots))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use prometheus::Registry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::fixture::authority;

    fn api() -> Api {
        let api = "base_url = 'http://127.0.0.1:1'\npage_size = 1\nrequest_timeout = '2s'\nmax_retries = 0\ninsecure_http = false";
        toml::from_str(api).unwrap()
    }

    #[tokio::test]
    async fn files_that_are_still_being_read_are_named_and_those_before_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, authority("ca").0).unwrap();
        let mut api = api();
        api.ca_file = Some(file.clone());
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let client = Arc::new(Client::new(&api, metrics).unwrap());
        let (_release, disk) = channel::<()>();
        let hung = client.transport.io.run(Instant::now(), move || disk.recv()).await;
        assert!(hung.is_err());
        let (log, writer) = io::pipe().unwrap();
        let format = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        let subscriber = format.with_writer(Arc::new(writer)).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        client.connector(Instant::now() + IO_TIMEOUT).await.connect().unwrap();
        drop(guard);
        let what = "the files for TLS to the API cannot be read again; keeping the previous ones";
        let fault = "cannot be read: the file system does not respond";
        let fault = format!("api.ca_file: {} {fault}", file.display());
        assert_eq!(client.tls_fault(), Some(fault.as_str().into()));
        assert_eq!(io::read_to_string(log).unwrap(), format!(" WARN {what}: {fault}\n"));
    }

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

        let api = api();
        let http = Transport::new(&api).unwrap().connector(&api).builder();
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
