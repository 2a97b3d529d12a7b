//! TLS to the API: a private authority, a client certificate, and both of them rotated while the exporter runs.

use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::api::{Api, With as _, certificates};
use crate::binary::{KEY, Launch};
use crate::tls::{Authority, Folder, Pair};
use crate::wait::until;

const NOT_AFTER: &str = "openai_cert_exporter_client_certificate_not_after_timestamp_seconds";
const IN_USE: &str = "openai_cert_exporter_api_tls_last_reload_successful";
const OWN_NOT_AFTER: &str = "openai_client_certificate_not_after_timestamp_seconds";
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
/// 1 January 2031 and 2041, as Unix times.
const ENDS: [(i32, f64); 2] = [(2031, 1_924_992_000.0), (2041, 2_240_611_200.0)];

/// What a server with a certificate of this authority speaks, which asks for one of `clients` where there is one.
fn server(
    authority: &Authority,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let (pair, provider) = (authority.server(), Arc::new(default_provider()));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(vec![pair.der()], key).unwrap())
}

async fn api(tls: Arc<ServerConfig>) -> Api {
    // An exporter that has a certificate of its own asks for the anchors' PEM too.
    let pem = Authority::new().certificate;
    let certificates = certificates(3).into_iter().map(|certificate| certificate.holding(&pem));
    let api = Api::listing(certificates.collect()).await;
    api.speaks(tls);
    api
}

/// A client's certificate until the first day of `year`.
fn client_until(authority: &Authority, year: i32) -> Pair {
    let mut params = CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    authority.sign_with(params, ExtendedKeyUsagePurpose::ClientAuth)
}

/// The files of one exporter.
fn files(ca: &Authority, client: Option<&Pair>) -> Folder {
    let folder = Folder::with("");
    folder.write("ca.pem", &ca.certificate);
    if let Some(client) = client {
        folder.write_pair("client", client);
    }
    folder
}

fn with_ca(launch: Launch, folder: &Folder) -> Launch {
    launch.set("api.ca_file", &folder.name("ca.pem"))
}

fn with_client(launch: Launch, folder: &Folder) -> Launch {
    with_ca(launch, folder)
        .set("api.client_cert_file", &folder.name("client.pem"))
        .set("api.client_key_file", &folder.name("client.key"))
}

#[tokio::test]
async fn private_authority_is_trusted_where_its_file_is_given() {
    let (authority, other) = (Authority::new(), Authority::new());
    for versions in [&[&TLS12], &[&TLS13]] {
        let api = api(server(&authority, None, versions)).await;
        let folder = files(&authority, None);
        let page = with_ca(api.often(), &folder).start().await.page_when_up().await;
        assert_eq!((page.certificates().len(), page.find(NOT_AFTER, &[])), (3, None));

        let folder = files(&other, None);
        let page = with_ca(api.often(), &folder).start().await.page_after_polls(1).await;
        assert_eq!(page.reasons(), ["network"], "of another authority");
    }
}

#[tokio::test]
async fn client_certificate_is_shown_to_who_asks_and_its_end_is_exported() {
    let authority = Authority::new();
    let (year, end) = ENDS[0];
    let client = client_until(&authority, year);
    let api = api(server(&authority, Some(&authority), BOTH)).await;
    let folder = files(&authority, Some(&client));
    // Neither is a certificate that follows presented alone, nor a block of another kind read as one.
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let chain = [request, &client.certificate, &client.key, &authority.certificate];
    folder.write("client.pem", &chain.concat());
    let page = with_client(api.often(), &folder).start().await.page_when_up().await;
    assert_eq!(page.one(NOT_AFTER), end);
    assert_eq!(api.requests()[0].client, Some(client.der()));

    let page = with_ca(api.often(), &folder).start().await.page_after_polls(1).await;
    assert_eq!(page.reasons(), ["network"], "without one");
}

#[tokio::test]
async fn authority_and_client_certificate_are_rotated_between_polls() {
    let (old, new) = (Authority::new(), Authority::new());
    let [(first_year, first_end), (second_year, second_end)] = ENDS;
    let (first, second) = (client_until(&old, first_year), client_until(&new, second_year));
    let api = api(server(&old, Some(&old), BOTH)).await;
    let folder = files(&old, Some(&first));
    let exporter = with_client(api.often(), &folder).start().await;
    assert_eq!(exporter.page_when_up().await.one(NOT_AFTER), first_end);

    api.speaks(server(&new, Some(&new), BOTH));
    exporter.page_when("the server is strange", |page| !page.is_up()).await;
    folder.write("ca.pem", &new.certificate);
    folder.write_pair("client", &second);
    let page = exporter.page_when_up().await;
    assert_eq!(page.one(NOT_AFTER), second_end);
    assert_eq!(api.requests().last().unwrap().client, Some(second.der()));
}

#[tokio::test]
async fn configuration_check_counts_certificates_and_names_what_is_at_fault() {
    let (authority, other) = (Authority::new(), Authority::new());
    let client = client_until(&authority, ENDS[0].0);
    let folder = files(&authority, Some(&client));
    folder.write("ca.pem", &format!("{}{}", authority.certificate, other.certificate));
    let check = async || {
        let launch = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", KEY);
        with_client(launch, &folder).until_it_ends().await
    };
    let good = check().await;
    for (key, file, held) in [
        ("api.ca_file", "ca.pem", "2 certificates"),
        ("api.client_cert_file", "client.pem", "1 certificate"),
    ] {
        let line = format!("# {key}: {} holds {held}\n", folder.name(file));
        assert!(good.stdout.contains(&line), "{}", good.stdout);
    }
    let [ca, chain, key] = ["ca.pem", "client.pem", "client.key"].map(|name| folder.name(name));
    let lines = authority.certificate.lines().count();
    let glued = format!("{}{}", authority.certificate.trim_end(), other.certificate);
    let stranger = client_until(&authority, ENDS[0].0).key;
    for (name, content, fault) in [
        (
            "ca.pem",
            glued.as_str(),
            format!(
                "api.ca_file: {ca} cannot be used: block 1 (line 1) has a BEGIN or END in line {lines} \
                 that is not the whole line; a line break may be missing there"
            ),
        ),
        (
            "client.pem",
            &client.key,
            format!(
                "api.client_cert_file: {chain} holds no certificate, but: private key; it may be swapped \
                 with the file of the key"
            ),
        ),
        (
            "client.key",
            &stranger,
            format!(
                "api.client_key_file: {key} is not the key of the first certificate in {chain}"
            ),
        ),
        (
            "client.key",
            &"x".repeat(5 << 20),
            format!("api.client_key_file: {key} cannot be read: it is larger than 4096 KiB"),
        ),
    ] {
        let before = std::fs::read_to_string(folder.name(name)).unwrap();
        folder.write(name, content);
        let ended = check().await;
        assert_eq!(ended.stderr, format!("openai-cert-exporter: {fault}\n"));
        assert_eq!(ended.code(), Some(1));
        folder.write(name, &before);
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_those_before_in_force() {
    let authority = Authority::new();
    let (year, end) = ENDS[0];
    let client = client_until(&authority, year);
    let api = api(server(&authority, Some(&authority), BOTH)).await;
    let folder = files(&authority, Some(&client));
    let exporter = with_client(api.often(), &folder).start().await;
    assert_eq!(exporter.page_when_up().await.one(IN_USE), 1.0);
    let status_page = async || exporter.get("/").await.text().await.unwrap();
    let refused = "The files for TLS to the API cannot be used.";
    assert!(!status_page().await.contains(refused));
    let other = client_until(&Authority::new(), ENDS[1].0);
    let empty_bundle = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    for (round, (name, content)) in [
        ("client.pem", "not PEM"),
        // Half of a rotation.
        ("client.pem", other.certificate.as_str()),
        ("client.key", ""),
        ("client.key", other.key.as_str()),
        ("ca.pem", "not PEM"),
        ("ca.pem", empty_bundle),
    ]
    .into_iter()
    .enumerate()
    {
        folder.write(name, content);
        let warnings = || exporter.log_lines("cannot be used; keeping the previous ones");
        until("it is told", async || (warnings().len() > round).then_some(())).await;
        let page = exporter.page_after_more_polls(2).await;
        assert!(page.is_up(), "{name}: {content}\n{}", exporter.log());
        assert_eq!(page.one(NOT_AFTER), end, "{name}: {content}");
        let own = [("client", "openai-cert-exporter")];
        assert_eq!(page.find(OWN_NOT_AFTER, &own), Some(end), "{name}: {content}");
        assert_eq!(page.one(IN_USE), 0.0, "{name}: {content}");
        let shown = status_page().await;
        let at_fault = shown.split_once(refused).map(|(_, text)| text);
        assert!(
            at_fault.is_some_and(|text| text.contains(&folder.name(name))),
            "{name}: {content}: {shown}"
        );
        assert_eq!(
            warnings().len(),
            round + 1,
            "once for {name}, not for each poll: {:?}",
            warnings()
        );
        assert!(!exporter.log().contains("PRIVATE KEY"));
        folder.write("ca.pem", &authority.certificate);
        folder.write_pair("client", &client);
        assert_eq!(exporter.page_after_more_polls(2).await.one(IN_USE), 1.0, "{name}: {content}");
    }
    until("the banner is gone", async || (!status_page().await.contains(refused)).then_some(()))
        .await;
    assert!(exporter.page().await.failures().is_empty());
}

#[tokio::test]
async fn roots_of_the_system_are_read_again_when_their_files_change() {
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let (old, new) = (Authority::new(), Authority::new());
        let api = api(server(&old, None, BOTH)).await;
        let folder = files(&old, None);
        let place = match variable {
            "SSL_CERT_FILE" => folder.name("ca.pem"),
            _ => folder.path().display().to_string(),
        };
        let exporter = api.often().env(variable, &place).start().await;
        exporter.page_when_up().await;
        api.speaks(server(&new, None, BOTH));
        exporter.page_when("the server is strange", |page| !page.is_up()).await;
        folder.write("ca.pem", &new.certificate);
        exporter.page_when_up().await;
        let told = exporter.log_lines("the files for TLS to the API have changed and are in use");
        assert_eq!(told.len(), 1, "{variable}: {told:?}");
    }
    let ended = Launch::once("https://127.0.0.1:1/v1")
        .env("SSL_CERT_FILE", "/nonexistent")
        .until_it_ends()
        .await;
    assert_eq!(ended.code(), Some(1));
    let faults = ["no trusted roots", "/nonexistent", "set api.ca_file or SSL_CERT_FILE"];
    assert!(faults.iter().all(|fault| ended.stderr.contains(fault)), "{}", ended.stderr);
}

#[tokio::test]
async fn roots_of_the_system_are_whole_regular_files_or_refused_without_a_secret() {
    let authority = Authority::new();
    let folder = files(&authority, None);
    let good = &authority.certificate;
    folder.write("cut.pem", &format!("{good}{}", &good[..good.len() / 2]));
    let made = std::process::Command::new("mkfifo").arg(folder.name("pipe")).status().unwrap();
    assert!(made.success());
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwPLANTED\n-----END PRIVATE KEY-----\n";
    for (variable, value, fault) in [
        ("SSL_CERT_FILE", folder.name("cut.pem"), "block 2 (line "),
        ("SSL_CERT_FILE", folder.name("pipe"), "pipe cannot be read: it is not a regular file"),
        ("SSL_CERT_FILE", "/dev/zero".into(), "/dev/zero cannot be read: it is not a regular file"),
        ("SSL_CERT_FILE", key.into(), "SSL_CERT_FILE: must be the path of a file, but looks like"),
        ("SSL_CERT_DIR", key.into(), "SSL_CERT_DIR: must be the path of a file, but looks like"),
    ] {
        let launch = Launch::once("https://127.0.0.1:1/v1").env(variable, &value);
        let ended = launch.until_it_ends().await;
        assert_eq!(ended.code(), Some(1), "{value}");
        assert!(ended.stderr.contains(fault), "{value}: {}", ended.stderr);
        assert!(!ended.stderr.contains("PLANTED"));
    }
    // In a folder they are left out.
    let api = api(server(&authority, None, BOTH)).await;
    let place = folder.path().display().to_string();
    let exporter = api.once().env("SSL_CERT_DIR", &place).start().await;
    exporter.page_when_up().await;
    exporter.line_saying("1 left out: ").await;
}
