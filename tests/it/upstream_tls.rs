//! TLS to the API: a private authority, a client certificate, and both of them rotated while the exporter runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::harness::{Launch, until};
use crate::page::Page;
use crate::port::{Authority, Pair};
use crate::upstream::{certificates, page};

const NOT_AFTER: &str = "openai_cert_exporter_client_certificate_not_after_timestamp_seconds";

/// The API behind TLS. Every request has a connection of its own.
struct TlsApi {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    /// The certificate of each client that was let in; none where it had none.
    clients: Arc<Mutex<Vec<Option<CertificateDer<'static>>>>>,
    accepting: JoinHandle<()>,
}

/// A server with this certificate, which asks for one of `clients` where there is one.
fn server(
    pair: &Pair,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(vec![pair.der()], key).unwrap())
}

impl TlsApi {
    async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (config, clients) = (Arc::new(Mutex::new(config)), Arc::<Mutex<Vec<_>>>::default());
        let (current, seen) = (Arc::clone(&config), Arc::clone(&clients));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let config = Arc::clone(&current.lock().unwrap());
                tokio::spawn(answer(stream, config, Arc::clone(&seen)));
            }
        });
        Self { address, config, clients, accepting }
    }

    fn now_is(&self, config: Arc<ServerConfig>) {
        *self.config.lock().unwrap() = config;
    }

    /// An exporter that polls it again and again.
    fn polled(&self) -> Launch {
        Launch::often(&format!("https://{}/v1", self.address))
    }

    fn last_client(&self) -> Option<CertificateDer<'static>> {
        self.clients.lock().unwrap().last().cloned().flatten()
    }
}

impl Drop for TlsApi {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    seen: Arc<Mutex<Vec<Option<CertificateDer<'static>>>>>,
) -> std::io::Result<()> {
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let client = stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned());
    seen.lock().unwrap().push(client);
    let body = page(&certificates(3), false).to_string();
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The files of one exporter.
struct Files {
    folder: TempDir,
}

impl Files {
    fn of(ca: &Authority, client: Option<&Pair>) -> Self {
        let files = Self { folder: TempDir::new().unwrap() };
        files.write("ca.pem", &ca.certificate);
        if let Some(client) = client {
            files.write_client(client);
        }
        files
    }

    /// Moved into place, as a mounted Secret is.
    fn write(&self, name: &str, content: &str) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, content).unwrap();
        std::fs::rename(fresh, self.folder.path().join(name)).unwrap();
    }

    fn write_client(&self, pair: &Pair) {
        self.write("client.pem", &pair.certificate);
        self.write("client.key", &pair.key);
    }

    fn name(&self, name: &str) -> String {
        Path::join(self.folder.path(), name).display().to_string()
    }

    fn with_ca(&self, launch: Launch) -> Launch {
        launch.set("api.ca_file", &self.name("ca.pem"))
    }

    fn with_client(&self, launch: Launch) -> Launch {
        self.with_ca(launch)
            .set("api.client_cert_file", &self.name("client.pem"))
            .set("api.client_key_file", &self.name("client.key"))
    }
}

fn is_up(page: &Page) -> bool {
    page.one("openai_cert_exporter_up") == 1.0
}

/// 1 January 2031 and 2041, as Unix times.
const ENDS: [(i32, f64); 2] = [(2031, 1_924_992_000.0), (2041, 2_240_611_200.0)];

#[tokio::test]
async fn a_private_authority_is_trusted_where_its_file_is_given() {
    let (authority, other) = (Authority::new(), Authority::new());
    for versions in [&[&TLS12], &[&TLS13]] {
        let api = TlsApi::start(server(&authority.server(), None, versions)).await;
        let files = Files::of(&authority, None);
        let page = files.with_ca(api.polled()).start().await.page_when("a poll succeeds", is_up).await;
        assert_eq!(page.certificates().len(), 3);
        assert_eq!(page.find(NOT_AFTER, &[]), None, "without one");

        let files = Files::of(&other, None);
        let page = files.with_ca(api.polled()).start().await.page_after_polls(1).await;
        assert_eq!(page.failures().into_keys().collect::<Vec<_>>(), ["network"], "of another authority");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks_and_its_end_is_exported() {
    let authority = Authority::new();
    let (year, end) = ENDS[0];
    let client = authority.client_until(year);
    let api = TlsApi::start(server(&authority.server(), Some(&authority), &[&TLS13, &TLS12])).await;
    let files = Files::of(&authority, Some(&client));
    let page = files.with_client(api.polled()).start().await.page_when("a poll succeeds", is_up).await;
    assert_eq!(page.one(NOT_AFTER), end);
    assert_eq!(api.last_client(), Some(client.der()));

    let page = files.with_ca(api.polled()).start().await.page_after_polls(1).await;
    assert_eq!(page.failures().into_keys().collect::<Vec<_>>(), ["network"], "without one");
}

#[tokio::test]
async fn both_are_rotated_between_polls() {
    let (old, new) = (Authority::new(), Authority::new());
    let [(first_year, first_end), (second_year, second_end)] = ENDS;
    let (first, second) = (old.client_until(first_year), new.client_until(second_year));
    let versions: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    let api = TlsApi::start(server(&old.server(), Some(&old), versions)).await;
    let files = Files::of(&old, Some(&first));
    let exporter = files.with_client(api.polled()).start().await;
    assert_eq!(exporter.page_when("a poll succeeds", is_up).await.one(NOT_AFTER), first_end);

    api.now_is(server(&new.server(), Some(&new), versions));
    exporter.page_when("the server is strange", |page| !is_up(page)).await;
    files.write("ca.pem", &new.certificate);
    files.write_client(&second);
    let page = exporter.page_when("a poll succeeds again", is_up).await;
    assert_eq!(page.one(NOT_AFTER), second_end);
    assert_eq!(api.last_client(), Some(second.der()));
}

#[tokio::test]
async fn what_cannot_be_used_leaves_what_was() {
    let authority = Authority::new();
    let (year, end) = ENDS[0];
    let client = authority.client_until(year);
    let api = TlsApi::start(server(&authority.server(), Some(&authority), &[&TLS13, &TLS12])).await;
    let files = Files::of(&authority, Some(&client));
    let exporter = files.with_client(api.polled()).start().await;
    exporter.page_when("a poll succeeds", is_up).await;
    let other = Authority::new().client_until(ENDS[1].0);
    let empty_bundle = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    for (round, (name, content)) in [
        ("client.pem", "not PEM"),
        ("client.key", ""),
        ("client.key", other.key.as_str()),
        ("ca.pem", "not PEM"),
        ("ca.pem", empty_bundle),
    ]
    .into_iter()
    .enumerate()
    {
        files.write(name, content);
        let warnings = || exporter.log_lines("cannot be used; those before stay");
        until("it is told", async || (warnings().len() > round).then_some(())).await;
        let polls = exporter.page().await.one("openai_cert_exporter_polls_total");
        let enough = |page: &Page| page.one("openai_cert_exporter_polls_total") >= polls + 4.0;
        let page = exporter.page_when("polls go on", enough).await;
        assert!(is_up(&page), "{name}: {content}\n{}", exporter.log());
        assert_eq!(page.one(NOT_AFTER), end, "{name}: {content}");
        assert_eq!(warnings().len(), round + 1, "once for {name}, not for each poll: {:?}", warnings());
        assert!(!exporter.log().contains("PRIVATE KEY"));
        files.write("ca.pem", &authority.certificate);
        files.write_client(&client);
        let polls = page.one("openai_cert_exporter_polls_total");
        exporter.page_when("polls go on", |page| page.one("openai_cert_exporter_polls_total") >= polls + 3.0).await;
    }
    assert!(exporter.page().await.failures().is_empty());
}
