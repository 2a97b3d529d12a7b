//! TLS: who is let in, with what, and that certificates are rotated under load.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use reqwest::Client;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};

use crate::client::{client, read_to_close};
use crate::server::{Port, TLS, serving};
use crate::tls::{Authority, Folder, Pair};
use crate::wait::{all, until};

/// Between two scrapes of the same client: a thousand times less than anybody has, and yet the other tests go on.
const PAUSE: Duration = Duration::from_millis(10);

const SCRAPE_AND_CLOSE: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn folder(authority: &Authority, tls: &str) -> Folder {
    let folder = Folder::with(tls);
    folder.write_pair("server", &authority.server());
    folder.write("ca.pem", &authority.certificate);
    folder
}

fn tls_with(more: &str) -> String {
    TLS.replace('}', &format!(", {more}}}"))
}

async fn scrape(http: &Client, port: &Port) -> reqwest::Result<u16> {
    Ok(http.get(port.url("https", "/metrics")).send().await?.status().as_u16())
}

/// A handshake by hand, to see what was agreed on.
async fn handshake(
    authority: &Authority,
    address: SocketAddr,
    client: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    connect(address, tls_client(authority, client, versions, protocols)).await
}

async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(config).connect(ServerName::from(address.ip()), socket).await
}

fn tls_client(
    authority: &Authority,
    client: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[tokio::test]
async fn only_a_client_that_trusts_the_certificate_and_speaks_tls_can_scrape() {
    let (authority, other) = (Authority::new(), Authority::new());
    let port = serving().secured(&folder(&authority, TLS)).start().await;
    assert_eq!(scrape(&authority.trusting().build().unwrap(), &port).await.unwrap(), 200);
    assert!(
        scrape(&other.trusting().build().unwrap(), &port).await.is_err(),
        "the authority is another one"
    );
    let plain = client().get(port.url("http", "/metrics")).send().await;
    assert!(plain.is_err(), "{plain:?}");
}

#[tokio::test]
async fn clients_are_verified_as_the_file_says() {
    let (authority, other) = (Authority::new(), Authority::new());
    let names = || {
        vec![
            SanType::DnsName("scraper.example".try_into().unwrap()),
            SanType::DnsName("*.wild.example".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::IpAddress("fd00::1".parse().unwrap()),
            SanType::Rfc822Name("scraper@example.org".try_into().unwrap()),
            SanType::URI("spiffe://cluster/scraper".try_into().unwrap()),
        ]
    };
    let (valid, foreign) = (authority.client(names()), other.client(names()));
    // What the file says, and whether a client gets in without a certificate, with a valid one, with a foreign one.
    let verify = "client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert";
    let if_given = "client_ca_file: ca.pem, client_auth_type: VerifyClientCertIfGiven";
    let cases = [
        ("client_auth_type: NoClientCert".to_owned(), [true, true, true]),
        (if_given.to_owned(), [true, true, false]),
        (verify.to_owned(), [false, true, false]),
        (format!("{verify}, client_allowed_sans: []"), [false, true, false]),
        (format!("{verify}, client_allowed_sans: [other, scraper.example]"), [false, true, false]),
        (format!("{verify}, client_allowed_sans: [10.0.0.1]"), [false, true, false]),
        (
            format!("{verify}, client_allowed_sans: [\"spiffe://cluster/scraper\"]"),
            [false, true, false],
        ),
        (format!("{verify}, client_allowed_sans: ['fd00:0::01']"), [false, true, false]),
        (format!("{verify}, client_allowed_sans: [scraper@example.org]"), [false, true, false]),
        (format!("{verify}, client_allowed_sans: ['*.wild.example']"), [false, true, false]),
        (format!("{verify}, client_allowed_sans: [a.wild.example]"), [false, false, false]),
        (format!("{verify}, client_allowed_sans: [example]"), [false, false, false]),
        (format!("{verify}, client_allowed_sans: [10.0.0.2]"), [false, false, false]),
        (format!("{verify}, client_allowed_sans: [\"spiffe://cluster\"]"), [false, false, false]),
        (format!("{if_given}, client_allowed_sans: [other]"), [true, false, false]),
    ];
    all(cases, async |(more, expected)| {
        let port = serving().secured(&folder(&authority, &tls_with(&more))).start().await;
        let client = |pair: Option<&Pair>| {
            let builder = authority.trusting();
            pair.map_or(authority.trusting(), |pair| builder.identity(pair.identity()))
                .build()
                .unwrap()
        };
        let clients = [
            ("no", client(None)),
            ("a valid", client(Some(&valid))),
            ("a foreign", client(Some(&foreign))),
        ];
        for ((which, http), is_let_in) in clients.iter().zip(expected) {
            assert_eq!(
                scrape(http, &port).await.ok(),
                is_let_in.then_some(200),
                "{more}: {which} certificate"
            );
            // Again, where the session may be resumed.
            assert_eq!(
                scrape(http, &port).await.ok(),
                is_let_in.then_some(200),
                "{more}: {which} certificate, again"
            );
        }
    })
    .await;
}

/// A certificate of its own making.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let mut params = CertificateParams::default();
    change(&mut params);
    Authority::with(params)
}

/// Whether a port that requires one of the listed certificates, or one of their issue, answers who shows this one.
async fn is_let_in(authority: &Authority, listed: &[&str], client: &Pair) -> bool {
    let verify = "client_ca_file: clients.pem, client_auth_type: RequireAndVerifyClientCert";
    let folder = folder(authority, &tls_with(verify));
    folder.write("clients.pem", &listed.concat());
    let port = serving().secured(&folder).start().await;
    let mut answers = Vec::new();
    for version in [&TLS12, &TLS13] {
        let config = tls_client(authority, Some(client), &[version], &[]);
        // Over TLS 1.3 a client learns that it was refused when it reads.
        answers.push(match connect(port.address, config).await {
            Ok(mut stream) => {
                let _ = stream.write_all(SCRAPE_AND_CLOSE).await;
                read_to_close(&mut stream).await.starts_with(b"HTTP/1.1 200")
            }
            Err(_) => false,
        });
    }
    assert_eq!(answers[0], answers[1], "TLS 1.2 and 1.3");
    answers[0]
}

#[tokio::test]
async fn client_that_is_listed_itself_is_let_in_as_go_does() {
    let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = Authority::new();
    let as_openssl_makes_it = self_signed(|params| params.is_ca = is_ca);
    let no_authority = self_signed(|_| ());
    let not_for_certificates = self_signed(|params| {
        params.is_ca = is_ca;
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    for (listed, may_issue) in
        [(as_openssl_makes_it, true), (no_authority, false), (not_for_certificates, false)]
    {
        let (alone, both) =
            ([&*listed.certificate], [&*authority.certificate, &*listed.certificate]);
        assert!(is_let_in(&authority, &alone, &listed.pair()).await);
        assert!(is_let_in(&authority, &both, &listed.pair()).await);
        assert!(is_let_in(&authority, &both, &authority.client(vec![])).await);
        assert!(!is_let_in(&authority, &alone, &self_signed(|_| ()).pair()).await);
        assert!(!is_let_in(&authority, &alone, &authority.client(vec![])).await);
        assert_eq!(is_let_in(&authority, &alone, &listed.client(vec![])).await, may_issue);
    }
    let issued = authority.client(vec![]);
    assert!(is_let_in(&authority, &[&issued.certificate], &issued).await);
    assert!(!is_let_in(&authority, &[&issued.certificate], &authority.client(vec![])).await);
    for of_no_use in [
        self_signed(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        self_signed(|params| params.not_after = date_time_ymd(2020, 1, 1)),
        self_signed(|params| params.not_before = date_time_ymd(2120, 1, 1)),
    ] {
        let listed = [&*authority.certificate, &*of_no_use.certificate];
        assert!(!is_let_in(&authority, &listed, &of_no_use.pair()).await);
    }
}

#[tokio::test]
async fn names_of_a_client_are_checked_for_a_resumed_session_too() {
    let authority = Authority::new();
    let client = authority.client(vec![SanType::DnsName("scraper.example".try_into().unwrap())]);
    let verify = "client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans:";
    for (version, allowed, expected) in [
        (&TLS13, "scraper.example", "HTTP/1.1 200"),
        (&TLS12, "scraper.example", "HTTP/1.1 200"),
        (&TLS13, "other", ""),
        (&TLS12, "other", ""),
    ] {
        let port = serving()
            .secured(&folder(&authority, &tls_with(&format!("{verify} [{allowed}]"))))
            .start()
            .await;
        let config = tls_client(&authority, Some(&client), &[version], &[]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = connect(port.address, Arc::clone(&config)).await.unwrap();
            let _ = stream.write_all(SCRAPE_AND_CLOSE).await;
            let answer = read_to_close(&mut stream).await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{version:?} {allowed}");
            let is_expected =
                answer.starts_with(expected.as_bytes()) && answer.is_empty() == expected.is_empty();
            assert!(is_expected, "{version:?} {allowed} {kind:?}: {}", answer.escape_ascii());
        }
    }
}

#[tokio::test]
async fn versions_suites_and_the_protocol_are_what_the_file_says() {
    let authority = Authority::new();
    let (old, new, both) = (&[&TLS12][..], &[&TLS13][..], &[&TLS13, &TLS12][..]);
    let cases = [
        ("min_version: TLS12", old, Some(ProtocolVersion::TLSv1_2)),
        ("min_version: TLS12", new, Some(ProtocolVersion::TLSv1_3)),
        ("min_version: TLS12", both, Some(ProtocolVersion::TLSv1_3)),
        ("min_version: TLS13", old, None),
        ("min_version: TLS13", both, Some(ProtocolVersion::TLSv1_3)),
        ("max_version: TLS12", new, None),
        ("max_version: TLS12", both, Some(ProtocolVersion::TLSv1_2)),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", old, None), // the key is not an RSA one
    ];
    for (more, versions, expected) in cases {
        let port = serving().secured(&folder(&authority, &tls_with(more))).start().await;
        let agreed = handshake(&authority, port.address, None, versions, &["h2", "http/1.1"]).await;
        assert_eq!(
            agreed.ok().and_then(|stream| stream.get_ref().1.protocol_version()),
            expected,
            "{more}"
        );
    }

    let order = "max_version: TLS12, curve_preferences: [CurveP384], cipher_suites: \
                 [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]";
    // A client that says so by its order prefers AES 256, then AES 128.
    for (more, suite) in [
        (order.to_owned(), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
        (
            format!("{order}, prefer_server_cipher_suites: false"),
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
    ] {
        let port = serving().secured(&folder(&authority, &tls_with(&more))).start().await;
        let stream =
            handshake(&authority, port.address, None, both, &["h2", "http/1.1"]).await.unwrap();
        let (_, agreed) = stream.get_ref();
        assert_eq!(format!("{:?}", agreed.negotiated_cipher_suite().unwrap().suite()), suite);
        assert_eq!(
            format!("{:?}", agreed.negotiated_key_exchange_group().unwrap().name()),
            "secp384r1"
        );
        assert_eq!(agreed.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    let port = serving().secured(&folder(&authority, TLS)).start().await;
    assert!(
        handshake(&authority, port.address, None, both, &["h2"]).await.is_err(),
        "HTTP/2 is not served"
    );
    assert!(handshake(&authority, port.address, None, both, &[]).await.is_ok());
}

#[tokio::test]
async fn certificate_is_rotated_under_load_without_a_failed_scrape() {
    let authority = Arc::new(Authority::new());
    let verify = tls_with("client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert");
    let client = authority.client(vec![]);
    all([TLS, &verify], async |config| {
        let folder = folder(&authority, config);
        let port = Arc::new(serving().secured(&folder).start().await);
        let stop = Arc::new(AtomicBool::new(false));
        // Some keep their connections, some make a new one each time.
        let load = [0, 1, 8, 8].map(|idle| {
            let http = authority
                .trusting()
                .identity(client.identity())
                .pool_max_idle_per_host(idle)
                .build()
                .unwrap();
            let (port, stop) = (Arc::clone(&port), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut scrapes = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(scrape(&http, &port).await.unwrap(), 200);
                    scrapes += 1;
                    sleep(PAUSE).await;
                }
                scrapes
            })
        });
        for _ in 0..3 {
            let next = authority.server();
            // First the certificate, then the key: in between they do not fit, and the old pair is kept.
            folder.write_pair("server", &next);
            until("the new certificate is shown", async || {
                let stream = handshake(&authority, port.address, Some(&client), &[&TLS13], &[])
                    .await
                    .unwrap();
                (stream.get_ref().1.peer_certificates().unwrap()[0] == next.der()).then_some(())
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
        for scraper in load {
            assert!(scraper.await.unwrap() > 5, "there was hardly any load");
        }
    })
    .await;
}

#[tokio::test]
async fn client_of_a_former_authority_is_refused() {
    let (authority, successor) = (Authority::new(), Authority::new());
    let config = tls_with("client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert");
    let folder = folder(&authority, &config);
    let port = serving().secured(&folder).start().await;
    let http = authority.trusting().identity(authority.client(vec![]).identity()).build().unwrap();
    assert_eq!(scrape(&http, &port).await.unwrap(), 200);
    // The client's authority is not one any longer.
    folder.write("ca.pem", &successor.certificate);
    until("the client is refused", async || scrape(&http, &port).await.err()).await;
    let http = authority.trusting().identity(successor.client(vec![]).identity()).build().unwrap();
    assert_eq!(scrape(&http, &port).await.unwrap(), 200);
}

#[tokio::test]
async fn half_open_handshakes_do_not_keep_the_scraper_out() {
    let authority = Authority::new();
    let port = serving().connections(200).secured(&folder(&authority, TLS)).start().await;
    let http = authority.trusting().pool_max_idle_per_host(0).build().unwrap();
    // Nothing, the start of a record, a whole record that is the start of a greeting, and one that is none.
    let mut greeting = vec![0x16, 3, 1, 0, 100, 1, 0, 0x20, 0];
    greeting.resize(105, 0);
    let starts: [&[u8]; 4] = [b"", b"\x16\x03\x01\x02\x00\x01", &greeting, b"\x16\x03\x01\x40\x00"];
    let mut half_open = Vec::new();
    for round in 0..1_500 {
        let mut socket = TcpStream::connect(port.address).await.unwrap();
        let _ = socket.write_all(starts[round % starts.len()]).await;
        half_open.push(socket);
        if half_open.len() > 400 {
            // Those have been closed by the server long since.
            half_open.remove(0);
        }
        if round % 250 == 249 {
            assert_eq!(scrape(&http, &port).await.unwrap(), 200, "after {round}");
        }
    }
}

#[tokio::test]
async fn handshake_counts_as_a_part_of_the_head() {
    let authority = Authority::new();
    let folder = folder(&authority, TLS);
    let log = folder.path().join("log");
    // Of the whole process: the one of a thread misses what another thread has logged first.
    let written = tracing_subscriber::fmt().with_writer(Arc::new(File::create(&log).unwrap()));
    tracing::subscriber::set_global_default(written.with_ansi(false).finish()).unwrap();
    let port = serving().head_timeout(Duration::from_millis(400)).secured(&folder).start().await;
    let (mut clients, mut addresses) = (Vec::new(), Vec::new());
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut socket = TcpStream::connect(port.address).await.unwrap();
        addresses.push(socket.local_addr().unwrap());
        socket.write_all(sent).await.unwrap();
        clients.push(socket);
    }
    for mut socket in clients {
        let rest = read_to_close(&mut socket).await;
        assert!(!rest.starts_with(b"HTTP"), "{}", rest.escape_ascii());
    }
    // Whoever sends nothing only looks whether somebody listens.
    let [silent, half] = [addresses[0], addresses[1]].map(|client| format!("client={client} "));
    let line = until("the time-out is logged", async || {
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(!log.contains(&silent), "{log}");
        log.lines().find(|line| line.contains(&half)).map(str::to_owned)
    });
    let line = line.await;
    assert!(line.contains("a TLS handshake failed: it was not complete in time"), "{line}");
    // A finished handshake starts no time of its own.
    let mut stream = handshake(&authority, port.address, None, &[&TLS13], &[]).await.unwrap();
    stream.write_all(b"GET /metrics HT").await.unwrap();
    let rest = read_to_close(&mut stream).await;
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    assert_eq!(scrape(&authority.trusting().build().unwrap(), &port).await.unwrap(), 200);
}

#[tokio::test]
async fn head_that_is_too_large_is_refused_over_tls_too() {
    let authority = Authority::new();
    let port = serving().secured(&folder(&authority, TLS)).start().await;
    let many = "a: b\r\n".repeat(2_000);
    for head in [
        format!("GET /metrics HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(20 << 10)),
        format!("GET /metrics HTTP/1.1\r\n{many}\r\n"),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(20 << 10)),
        format!("GET /metrics HTTP/1.1\r\nauthorization: Basic {}\r\n\r\n", "A".repeat(1 << 20)),
    ] {
        let mut stream = handshake(&authority, port.address, None, &[&TLS13], &[]).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = read_to_close(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            answer.escape_ascii()
        );
    }
    assert_eq!(scrape(&authority.trusting().build().unwrap(), &port).await.unwrap(), 200);
}

#[tokio::test]
async fn client_that_does_not_read_is_closed_over_tls_too() {
    let authority = Authority::new();
    let timeout = Duration::from_millis(400);
    let port = serving()
        .head_timeout(timeout)
        .idle_timeout(timeout)
        .secured(&folder(&authority, TLS))
        .start()
        .await;
    let mut stream = handshake(&authority, port.address, None, &[&TLS13], &[]).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // It is told by what it sends afterwards.
    until("the server closes the connection", async || stream.write_all(b"\r\n").await.err()).await;
}
