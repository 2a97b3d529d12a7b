//! Where the exporter serves, under which limits of the process, and under which web configuration file. What that file may
//! say, and what follows from it for a connection, is tested in `tests/server`.

use std::os::unix::fs::symlink;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::api::{Api, With as _, certificate, certificates};
use crate::binary::Launch;
use crate::client::{client, connect, read_to_close};
use crate::page::Page;
use crate::tls::{Authority, Folder, hash, users};
use crate::wait::{all, until};

async fn api() -> Api {
    Api::listing(certificates(1)).await
}

#[tokio::test]
async fn several_addresses_are_served() {
    let api = api().await;
    let exporter = api.once().arg("--web.listen-address=[::1]:0").start().await;
    exporter.page_after_polls(1).await;
    let lines = exporter.log_lines("serving /metrics");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let address = line.split_once("address=").unwrap().1.split(' ').next().unwrap();
        let response = client().get(format!("http://{address}/metrics")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{address}");
    }
}

#[tokio::test]
async fn probes_have_a_port_of_their_own_without_credentials() {
    let folder = Folder::with(&users(&[("alice", &hash("secret"))]));
    let launch = Launch::demo().web_config(&folder).arg("--web.probe-listen-address=127.0.0.1:0");
    let exporter = launch.start().await;
    let line = exporter.line_saying("serving probes").await;
    let address = line.split_once("address=").unwrap().1.trim().to_owned();
    let http = client();
    let status = async |method: Method, path: &str| {
        http.request(method, format!("http://{address}{path}"))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    for path in ["/healthz", "/-/healthy"] {
        assert_eq!(status(Method::GET, path).await, 200, "{path}");
        assert_eq!(status(Method::POST, path).await, 405, "{path}");
    }
    for path in ["/readyz", "/-/ready"] {
        until("it is ready", async || (status(Method::GET, path).await == 200).then_some(())).await;
    }
    for path in ["/", "/metrics", "/api/v1/certificates", "/none"] {
        assert_eq!(status(Method::GET, path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn few_descriptors_do_not_keep_the_scraper_out() {
    let api = api().await;
    // 64 are kept for the rest, so this leaves 16 connections.
    let exporter = api.often().under("ulimit -n 80").start().await;
    exporter.page_after_polls(1).await;
    let mut never = Vec::new();
    for _ in 0..100 {
        never.push(connect(exporter.address, b"GET /metr").await);
    }
    let page = exporter.page_after_more_polls(2).await;
    assert_eq!((page.is_up(), page.one("process_max_fds")), (true, 80.0));
    assert!(
        page.one("process_open_fds") <= 80.0 - 32.0,
        "{} are open",
        page.one("process_open_fds")
    );
    assert!(!exporter.log().contains("cannot be accepted"), "{}", exporter.log());
}

#[tokio::test]
async fn soft_limit_of_descriptors_is_raised() {
    let api = api().await;
    let exporter = api.once().under("ulimit -Sn 80").start().await;
    let mut clients = Vec::new();
    for _ in 0..150 {
        clients.push(connect(exporter.address, b"GET /healthz HTTP/1.1\r\n").await);
    }
    for client in &mut clients {
        client.write_all(b"host: x\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(read_to_close(client).await.starts_with(b"HTTP/1.1 200 "), "none had to make way");
    }
    assert!(exporter.page().await.one("process_max_fds") >= 1_024.0 + 64.0);
}

#[tokio::test]
async fn clients_that_do_not_read_hold_no_page_of_their_own() {
    const CLIENTS: usize = 200;
    let list = (0..500).map(|index| certificate(&format!("cert_{index}")).named(&"x".repeat(400)));
    let exporter = Api::listing(list.collect()).await.once().start().await;
    assert!(exporter.page_after_polls(1).await.is_up(), "{}", exporter.log());
    for path in ["/", "/api/v1/certificates", "/metrics"] {
        let page = exporter.get(path).await.bytes().await.unwrap().len();
        let (before, mut clients) = (exporter.peak_memory_kib(), Vec::new());
        for _ in 0..CLIENTS {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(16 << 10).unwrap();
            let mut client = socket.connect(exporter.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'H');
            clients.push(client);
        }
        let more = usize::try_from(exporter.peak_memory_kib() - before).unwrap() << 10;
        assert!(more < CLIENTS * page / 4, "{path}, of {page} bytes: {more} bytes more");
    }
}

#[tokio::test]
async fn web_configuration_that_is_refused_ends_the_start() {
    let folder = Folder::with("nonsense: 1");
    let path = folder.web_config().display().to_string();
    let fault =
        "nonsense: unknown key; there are: tls_server_config, http_server_config, basic_auth_users";
    let expected = format!("openai-cert-exporter: {fault} (file {path})\n");
    let run = || Launch::once("http://127.0.0.1:9/v1");
    let check_config = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", "any");
    for launch in [
        run().web_config(&folder),
        run().set("web.config_file", &path),
        check_config.web_config(&folder),
    ] {
        let ended = launch.until_it_ends().await;
        assert_eq!((ended.code(), ended.stdout.as_str(), &ended.stderr), (Some(1), "", &expected));
    }
    let ended = run().arg("--web.probe-listen-address=nowhere").until_it_ends().await;
    assert_eq!(
        ended.stderr,
        "openai-cert-exporter: web.probe_listen_address: must be an address such as \"0.0.0.0:10098\" or \":10098\" \
         (flag --web.probe-listen-address)\n"
    );
}

#[tokio::test]
async fn shipped_web_configuration_is_valid() {
    let folder = Folder::with(include_str!("../../config/web.example.yml"));
    let authority = Authority::new();
    let server = authority.server();
    folder.write("tls.crt", &server.certificate);
    folder.write("tls.key", &server.key);
    folder.write("ca.crt", &authority.certificate);
    let launch = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", "any").web_config(&folder);
    let ended = launch.until_it_ends().await;
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn expiry_of_the_certificate_that_is_served_is_a_metric() {
    let authority = Authority::new();
    let folder = Folder::with("tls_server_config: {cert_file: server.pem, key_file: server.key}");
    let ending = |year| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.not_after = date_time_ymd(year, 1, 1);
        folder.write_pair(
            "server",
            &authority.sign_with(params, ExtendedKeyUsagePurpose::ServerAuth),
        );
    };
    let name = "openai_cert_exporter_web_certificate_not_after_timestamp_seconds";
    ending(2040);
    let exporter = Launch::demo().web_config(&folder).start().await;
    let http = authority.trusting().build().unwrap();
    let value = async || {
        let url = format!("https://{}/metrics", exporter.address);
        let text = http.get(url).send().await.unwrap().text().await.unwrap();
        Page::parse(&text).unwrap().one(name)
    };
    assert_eq!(value().await, 2_208_988_800.0);
    ending(2050);
    until("the new one counts", async || (value().await == 2_524_608_000.0).then_some(())).await;
    let page = api().await.once().start().await.page().await;
    assert!(page.series(name).is_empty(), "there is no TLS");
}

#[tokio::test]
async fn refused_clients_are_logged_with_address_and_reason_once_a_minute() {
    let authority = Authority::new();
    let folder = Folder::with(&format!("tls_server_config: {{{SERVER}, {VERIFIED}}}"));
    folder.write_pair("server", &authority.server());
    folder.write("ca.pem", &authority.certificate);
    let launch = Launch::demo().web_config(&folder).arg("--log.level=debug");
    let exporter = launch.start().await;
    // It only looks whether somebody listens.
    drop(connect(exporter.address, b"").await);
    let http = authority.trusting().build().unwrap();
    let url = format!("https://{}/metrics", exporter.address);
    for _ in 0..3 {
        assert!(http.get(&url).send().await.is_err());
    }
    let lines = until("each is logged", async || {
        Some(exporter.log_lines("a TLS handshake failed")).filter(|lines| lines.len() >= 3)
    })
    .await;
    for line in &lines {
        assert!(line.contains("peer sent no certificates"), "{line}");
        assert!(line.contains("client=127.0.0.1:"), "{line}");
    }
    let levels = ["WARN", "DEBUG", "DEBUG"];
    assert!(lines.iter().zip(levels).all(|(line, level)| line.contains(level)), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("not_logged=0"), "{}", lines[0]);
    // What is listed is let in itself.
    let http = authority.trusting().identity(authority.pair().identity()).build().unwrap();
    assert_eq!(http.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn web_configuration_may_be_swapped_as_kubernetes_does() {
    let folder = Folder::with("");
    let version = |name: &str, header: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let file = format!("http_server_config: {{headers: {{X-XSS-Protection: {header}}}}}");
        std::fs::write(folder.join("web.yml"), file).unwrap();
    };
    let swap = |name: &str| {
        symlink(name, folder.path().join("..data_tmp")).unwrap();
        std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    version("..1", "0");
    swap("..1");
    std::fs::remove_file(folder.web_config()).unwrap();
    symlink("..data/web.yml", folder.web_config()).unwrap();
    let exporter = Launch::demo().web_config(&folder).start().await;
    let header = async || {
        exporter.get("/healthz").await.headers()["x-xss-protection"].to_str().unwrap().to_owned()
    };
    assert_eq!(header().await, "0");
    version("..2", "1");
    swap("..2");
    until("the new file counts", async || (header().await == "1").then_some(())).await;
}

const SERVER: &str = "cert_file: server.pem, key_file: server.key";
const VERIFIED: &str = "client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert";
const USERS: &str = "basic_auth_users: {alice: <hash>}\n";

#[tokio::test]
async fn web_configuration_that_is_invalid_or_opens_the_port_is_kept_out_and_named_once() {
    let first = format!(
        "tls_server_config: {{{SERVER}, {VERIFIED}, client_allowed_sans: [scraper]}}\n{USERS}"
    );
    let no_tls = "tls_server_config: TLS would be gone, which takes a restart";
    let not_verified = "tls_server_config.client_auth_type: the verification of clients would be gone, which takes a restart";
    let no_names = "tls_server_config.client_allowed_sans: the names that clients must have would be gone, which takes a restart";
    let if_given = VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven");
    let successors = [
        [
            (String::new(), no_tls),
            (first.replace("<hash>", "oops"), "basic_auth_users.alice: must be a bcrypt hash"),
        ],
        [(USERS.to_owned(), no_tls), ("{".to_owned(), "is not valid YAML")],
        [
            (format!("tls_server_config: {{{SERVER}}}\n{USERS}"), not_verified),
            (
                first.replace("server.key", "ca.pem"),
                "ca.pem holds no private key, but: certificate",
            ),
        ],
        [
            (format!("tls_server_config: {{{SERVER}, {if_given}}}\n{USERS}"), not_verified),
            (
                first.replace("ca.pem", "server.key"),
                "server.key holds no certificate, but: private key",
            ),
        ],
        [
            (format!("tls_server_config: {{{SERVER}, {VERIFIED}}}\n{USERS}"), no_names),
            (
                first.replace("alice: <hash>", ""),
                "basic_auth_users: the last user would be gone, which takes a restart",
            ),
        ],
    ];
    let (authority, hash) = (Authority::new(), hash("secret"));
    all(successors, async |successors| {
        let folder = Folder::with(&first.replace("<hash>", &hash));
        folder.write_pair("server", &authority.server());
        folder.write("ca.pem", &authority.certificate);
        let exporter = Launch::demo().web_config(&folder).start().await;
        let scraper = authority.client(vec![SanType::DnsName("scraper".try_into().unwrap())]);
        let stranger = authority.trusting().build().unwrap();
        let http = authority.trusting().identity(scraper.identity()).build().unwrap();
        let scrape = async |http: &reqwest::Client, password| {
            let url = format!("https://{}/metrics", exporter.address);
            http.get(url)
                .basic_auth("alice", Some(password))
                .send()
                .await
                .map(|response| response.status().as_u16())
        };
        let write = |file: &str| folder.write("web.yml", &file.replace("<hash>", &hash));
        assert_eq!(scrape(&http, "secret").await.unwrap(), 200);
        for (successor, fault) in &successors {
            write(successor);
            exporter.line_saying(fault).await;
            assert_eq!(scrape(&http, "secret").await.unwrap(), 200, "{fault}");
            assert_eq!(scrape(&http, "wrong").await.unwrap(), 401, "{fault}");
            assert!(scrape(&stranger, "secret").await.is_err(), "{fault}");
        }
        // Changed back, and again: it is named for each change, not for each look.
        write(&first);
        exporter.line_saying("has changed and is in force").await;
        let (successor, again) = &successors[0];
        write(successor);
        until("it is named again", async || (exporter.log_lines(again).len() == 2).then_some(()))
            .await;
        let log = exporter.stop().await.stderr;
        assert_eq!(log.matches(again).count(), 2, "{log}");
        assert_eq!(log.matches(successors[1].1).count(), 1, "{log}");
        assert!(log.contains("what was in force before stays so"), "{log}");
        assert!(!log.contains("$2b$") && !log.contains("PRIVATE"), "{log}");
    })
    .await;
}
