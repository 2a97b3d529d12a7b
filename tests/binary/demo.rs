//! The simulated organization: what newcomers see, and what any client of the API may rely on.

use std::collections::HashSet;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::parse_x509_certificate;

use crate::api::now;
use crate::binary::{Exporter, KEY, Launch, assert_no_key, free_address};
use crate::client::client;
use crate::page::Page;
use crate::tls::Folder;
use crate::wait::until;

async fn demo() -> (Exporter, String) {
    let exporter = Launch::demo().start().await;
    let welcome = until("it says where to look", async || {
        let said = exporter.stdout();
        said.ends_with("Press Ctrl-C to stop.\n").then_some(said)
    })
    .await;
    let api = welcome.strip_prefix("Simulated API:  ").unwrap();
    let base_url = api.split(' ').next().unwrap().to_owned();
    assert!(welcome.contains(&exporter.url("/metrics")), "{welcome}");
    (exporter, base_url)
}

async fn ask(url: &str, key: &str) -> (u16, Value) {
    let response = client().get(url).bearer_auth(key).send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json", "{url}");
    assert!(response.headers().contains_key("x-request-id"), "{url}");
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

/// Every page of the list in this order, in pages of this size.
async fn walk(list: &str, limit: usize, order: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let (status, page) =
            ask(&format!("{list}?limit={limit}&order={order}{after}"), "demo").await;
        assert_eq!(status, 200);
        assert_is_list(&page);
        pages.push(page["data"].as_array().unwrap().clone());
        if page["has_more"] == false {
            return pages;
        }
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
}

fn fields(object: &Value) -> HashSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The documented shape of a list page.
fn assert_is_list(page: &Value) {
    assert_eq!(fields(page), ["object", "data", "first_id", "last_id", "has_more"].into());
    assert_eq!(page["object"], "list");
    assert!(page["has_more"].is_boolean());
    let data = page["data"].as_array().unwrap();
    for (field, entry) in [("first_id", data.first()), ("last_id", data.last())] {
        assert_eq!(page[field], entry.map_or(Value::Null, |entry| entry["id"].clone()), "{field}");
    }
    for certificate in data {
        assert_is_certificate(certificate, "organization.certificate");
        assert!(certificate["active"].is_boolean(), "required in lists: {certificate}");
    }
}

/// The documented shape of a certificate.
fn assert_is_certificate(certificate: &Value, object: &str) {
    let mut expected: HashSet<_> =
        ["object", "id", "name", "created_at", "certificate_details"].into();
    if object != "certificate" {
        expected.insert("active");
    }
    assert_eq!(fields(certificate), expected, "{certificate}");
    assert_eq!(certificate["object"], object);
    assert!(certificate["id"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(certificate["name"].is_string() || certificate["name"].is_null());
    assert!(certificate["created_at"].is_i64());
    // Optional, but integers where they are there; the certificate itself only where it is asked for.
    let details = &certificate["certificate_details"];
    assert!(fields(details).is_subset(&["valid_at", "expires_at"].into()), "{details}");
    assert!(details.as_object().unwrap().values().all(Value::is_i64), "{details}");
}

#[tokio::test]
async fn demo_shows_48_certificates_of_every_kind() {
    let (exporter, base_url) = demo().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!((page.is_up(), page.certificates().len(), page.malformed()), (true, 48, 0.0));
    let requests = [("endpoint", "certificates"), ("code", "200")];
    assert_eq!(
        page.find("openai_cert_exporter_api_requests_total", &requests),
        Some(3.0),
        "pages of 20"
    );

    let days: Vec<_> = page
        .series("openai_certificate_days_until_expiry")
        .iter()
        .map(|sample| sample.value)
        .collect();
    let some = |from: f64, to: f64| days.iter().any(|days| (from..to).contains(days));
    assert!(some(-1000.0, 0.0), "expired");
    assert!(some(0.0, 1.0 / 24.0), "minutes left");
    assert!(some(1.0, 30.0), "days left");
    assert!(some(365.0, 10_000.0), "years left");
    assert_eq!(days.len(), 47, "one has no end that could be read");
    let begins = page.series("openai_certificate_not_before_timestamp_seconds");
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let now = now() as f64;
    assert!(begins.iter().any(|sample| sample.value > now), "not yet valid");
    assert_eq!(begins.len(), 48, "where the list has no begin, that of the PEM is shown");
    let actives = page.series("openai_certificate_active");
    assert!(
        actives.iter().any(|sample| sample.value == 0.0)
            && actives.iter().any(|sample| sample.value == 1.0)
    );
    assert!(actives.iter().any(|sample| sample.label("certificate_name").is_empty()), "unnamed");
    let said = exporter.stdout();
    let lines: Vec<_> = said.lines().collect();
    let api = format!("{base_url} (admin key demo; 48 certificates, 11 projects)");
    assert_eq!((lines.len(), lines[0]), (5, &*format!("Simulated API:  {api}")), "{said}");
    assert!(lines[1].ends_with(&exporter.url("/")), "{said}");
    assert!(lines[2].contains(&format!(" {} |", exporter.url("/metrics"))), "{said}");
    // What it says to try works as it stands.
    let command = lines[3].strip_prefix("Check:").unwrap();
    let ran = std::process::Command::new("/bin/sh").args(["-c", command]).output().unwrap();
    assert!(String::from_utf8_lossy(&ran.stdout).contains("\nCRITICAL  "), "{command}: {ran:?}");
}

#[tokio::test]
async fn list_is_paged_as_documented() {
    let (exporter, base_url) = demo().await;
    exporter.page_after_polls(1).await;
    let list = format!("{base_url}/organization/certificates");
    let pages = walk(&list, 20, "asc").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 8]);
    let ascending = pages.concat();
    let uploads: Vec<_> =
        ascending.iter().map(|certificate| certificate["created_at"].as_i64().unwrap()).collect();
    assert!(uploads.is_sorted());
    let ids: HashSet<_> =
        ascending.iter().map(|certificate| certificate["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 48);

    let mut reversed = walk(&list, 7, "desc").await.concat();
    reversed.reverse();
    assert_eq!(reversed, ascending);
    assert_eq!(walk(&list, 100, "asc").await, std::slice::from_ref(&ascending));
    assert_eq!(walk(&list, 48, "asc").await.len(), 1, "a full last page is the last");
    // By default twenty, the latest first.
    let (_, default) = ask(&list, "demo").await;
    let newest: Vec<_> = ascending.iter().rev().take(20).cloned().collect();
    assert_eq!(default["data"].as_array().unwrap(), &newest);
    // After the last there is nothing.
    let end = ascending.last().unwrap()["id"].as_str().unwrap();
    let (status, nothing) = ask(&format!("{list}?order=asc&after={end}"), "demo").await;
    assert_eq!(status, 200);
    assert_is_list(&nothing);
    assert_eq!(
        (nothing["data"].as_array().unwrap().len(), &nothing["has_more"]),
        (0, &Value::Bool(false))
    );
}

#[tokio::test]
async fn single_certificate_can_be_asked_for() {
    let (_exporter, base_url) = demo().await;
    let list = format!("{base_url}/organization/certificates");
    let (_, page) = ask(&list, "demo").await;
    let listed = &page["data"][0];
    let (status, single) = ask(&format!("{list}/{}", listed["id"].as_str().unwrap()), "demo").await;
    assert_eq!(status, 200);
    assert_is_certificate(&single, "certificate");
    for field in ["id", "name", "created_at", "certificate_details"] {
        assert_eq!(single[field], listed[field], "{field}");
    }
}

#[tokio::test]
async fn each_certificate_has_the_dates_that_are_listed() {
    let (_exporter, base_url) = demo().await;
    let list = format!("{base_url}/organization/certificates");
    let (_, projects) = ask(&format!("{base_url}/organization/projects?limit=100"), "demo").await;
    let mut listed = walk(&list, 100, "asc").await.concat();
    for project in projects["data"].as_array().unwrap() {
        let id = project["id"].as_str().unwrap();
        let (_, of_project) =
            ask(&format!("{base_url}/organization/projects/{id}/certificates"), "demo").await;
        listed.extend(of_project["data"].as_array().unwrap().iter().cloned());
    }
    assert!(listed.len() > 60, "of projects too");
    let (mut keys, mut damaged) = (HashSet::new(), Vec::new());
    for certificate in &listed[..48] {
        let id = certificate["id"].as_str().unwrap();
        let (status, single) = ask(&format!("{list}/{id}?include[]=content"), "demo").await;
        assert_eq!(status, 200);
        let name = certificate["name"].as_str().unwrap_or("Example Corp clients");
        let pem = single["certificate_details"]["content"].as_str().unwrap();
        let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
            damaged.push(name.to_owned());
            continue;
        };
        let (_, parsed) = parse_x509_certificate(&der).unwrap();
        assert_eq!(parsed.subject().iter_common_name().next().unwrap().as_str(), Ok(name));
        assert!(keys.insert(parsed.public_key().raw.to_owned()), "{name} has a key of its own");
        let (validity, details) = (parsed.validity(), &certificate["certificate_details"]);
        for (field, instant) in
            [("valid_at", validity.not_before), ("expires_at", validity.not_after)]
        {
            let has = details[field].as_i64().unwrap_or(instant.timestamp());
            assert_eq!(instant.timestamp(), has, "{name} {field}");
        }
    }
    assert_eq!(damaged, ["imported-without-end"]);
    // In projects they are the same.
    let ids: HashSet<_> = listed[..48].iter().map(|certificate| &certificate["id"]).collect();
    assert!(listed.iter().all(|certificate| ids.contains(&certificate["id"])));
}

/// What is shown of a client's file: its folder and name, whether it is let in, and why it is refused now or first.
fn shown_clients(page: &Page) -> Vec<(String, f64, &str)> {
    let refusals = page.series("openai_client_certificate_refusal").into_iter();
    refusals
        .map(|refusal| {
            let file = refusal.label("file");
            let accepted = page.find("openai_client_certificate_accepted", &[("file", file)]);
            let mut names = file.rsplit('/');
            let (name, folder) = (names.next().unwrap(), names.next().unwrap());
            assert_eq!(folder, refusal.label("client"));
            (format!("{folder}/{name}"), accepted.unwrap(), refusal.label("reason"))
        })
        .collect()
}

#[tokio::test]
async fn demo_shows_every_reason_for_which_a_client_is_refused() {
    let (exporter, _) = demo().await;
    let page = exporter.page_after_polls(1).await;
    let expected = [
        ("analytics/tls.crt", 0.0, "unknown_issuer"),
        ("checkout/tls.crt", 1.0, "expired"),
        ("ci-runners/tls.crt", 1.0, "anchor_expired"),
        ("data-platform/tls.crt", 0.0, "not_yet_valid"),
        ("edge-gateway/tls.crt", 0.0, "anchor_inactive"),
        ("inference-eu-west-1/tls.crt", 1.0, "expired"),
        ("inference-us-east-1/tls.crt", 1.0, "expired"),
        ("legacy-crm/tls.crt", 0.0, "authority_key_identifier"),
        ("mobile-backend/canary.crt", 0.0, "chain"),
        ("mobile-backend/tls.crt", 1.0, "anchor_expired"),
        ("partner-portal/tls.crt", 0.0, "usage"),
        ("reporting/tls.crt", 0.0, "expired"),
        ("support-tools/tls.crt", 1.0, "anchor_expired"),
        ("webhook-relay/tls.crt", 0.0, "anchor_expired"),
    ];
    let shown = shown_clients(&page);
    let mut shown: Vec<_> =
        shown.iter().map(|(file, is, why)| (file.as_str(), *is, *why)).collect();
    shown.sort_unstable_by_key(|(file, ..)| *file);
    assert_eq!(shown, expected);

    let of = |name: &str, client: &str| page.find(name, &[("client", client)]);
    let issuer = "openai_client_issuer_trusted";
    assert_eq!(of(issuer, "inference-eu-west-1"), Some(1.0));
    assert_eq!(of(issuer, "inference-us-east-1"), Some(0.0), "it has a new key");
    assert_eq!(of("openai_client_files_failed", "ci-runners"), Some(1.0), "a file is in DER");
    let until = |client: &str| {
        let [leaf, refused] = ["not_after", "refused_from"]
            .map(|what| format!("openai_client_certificate_{what}_timestamp_seconds"))
            .map(|name| of(&name, client).unwrap());
        (refused - leaf) / 86_400.0
    };
    assert!(until("support-tools") < -10.0, "its anchor ends before it does");
    assert!(until("checkout") == 0.0);
    let problems = page.series("openai_certificate_problem").into_iter();
    let problems: HashSet<_> = problems
        .map(|sample| (sample.label("certificate_name"), sample.label("problem")))
        .collect();
    let expected = [
        ("imported-without-end", "unreadable"),
        ("edge-gateway-2025", "several_certificates"),
        ("offline-root-2016", "no_key_cert_sign"),
    ];
    assert_eq!(problems, expected.into());
}

#[tokio::test]
async fn clients_files_go_with_the_demo() {
    for (signal, place) in [(Signal::TERM, env!("CARGO_TARGET_TMPDIR")), (Signal::INT, "/dev/shm")]
    {
        // Where the usual place cannot be written, as in a container, memory can.
        let usual = if place == "/dev/shm" { "/nonexistent" } else { place };
        let exporter = Launch::demo().env("TMPDIR", usual).start().await;
        let page = exporter.page_after_polls(1).await;
        let file = page.labels("openai_client_certificate_accepted", "file")[0];
        assert!(file.starts_with(place), "{file}");
        let folder = Path::new(file).ancestors().nth(2).unwrap();
        assert!(folder.join("checkout/tls.crt").exists());
        exporter.signal(signal);
        assert_eq!(exporter.ended().await.code(), Some(0));
        assert!(!folder.exists(), "{}", folder.display());
    }
}

#[tokio::test]
async fn demo_without_projects_has_only_clients_of_the_organization() {
    let exporter = Launch::demo().set("poll.projects", "false").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!((page.is_up(), shown_clients(&page).len()), (true, 11));
}

#[tokio::test]
async fn request_that_the_real_api_would_refuse_is_refused() {
    let (_exporter, base_url) = demo().await;
    let list = format!("{base_url}/organization/certificates");
    for (url, key, status, param, code) in [
        (list.clone(), "another", 401, None, Some("invalid_api_key")),
        (list.clone(), "demo2", 401, None, Some("invalid_api_key")),
        (format!("{base_url}/nonsense"), "another", 401, None, Some("invalid_api_key")),
        (format!("{list}?limit=0"), "demo", 400, Some("limit"), None),
        (format!("{list}?limit=101"), "demo", 400, Some("limit"), None),
        (format!("{list}?limit=ten"), "demo", 400, Some("limit"), None),
        (format!("{list}?order=up"), "demo", 400, Some("order"), None),
        (format!("{list}?after=nobody"), "demo", 400, Some("after"), None),
        (format!("{list}/nobody"), "demo", 404, None, None),
        (format!("{list}/nobody?include[]=content"), "demo", 404, None, None),
        (format!("{base_url}/nonsense"), "demo", 404, None, None),
    ] {
        let (answered, body) = ask(&url, key).await;
        assert_eq!(answered, status, "{url}");
        let error = &body["error"];
        assert_eq!(fields(error), ["message", "type", "param", "code"].into(), "{url}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty() && !message.contains("another"))
        );
        assert_eq!(error["type"], "invalid_request_error", "{url}");
        assert_eq!(error["param"].as_str(), param, "{url}");
        assert_eq!(error["code"].as_str(), code, "{url}");
    }
    let nobody = client().get(&list).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    let writing = client().post(&list).bearer_auth("demo").send().await.unwrap();
    assert_eq!(writing.status(), 405);
}

#[tokio::test]
async fn api_listens_where_it_is_told_to() {
    let address = free_address(102);
    let exporter = Launch::demo().arg(&format!("--api.listen-address={address}")).start().await;
    assert_eq!(exporter.page_after_polls(1).await.certificates().len(), 48);
    let (status, _) = ask(&format!("http://{address}/v1/organization/certificates"), "demo").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn real_key_and_clients_stay_out_of_the_demo() {
    // Somebody who tries the demo has perhaps set up the real thing already.
    let folder = Folder::with("");
    folder.write("real.toml", "[[clients]]\nname = 'real'\ncertificate_files = '/nonexistent'\n");
    let launch = Launch::demo()
        .arg(&format!("--config.file={}", folder.name("real.toml")))
        .arg("--log.level=trace")
        .env("OPENAI_ADMIN_KEY", KEY)
        .env("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        .set("api.admin_key_file", "/nonexistent")
        .set("poll.interval", "100ms");
    let exporter = launch.start().await;
    assert_eq!(exporter.page_after_polls(2).await.certificates().len(), 48);
    let page = exporter.page().await;
    assert_eq!(page.failures(), [].into());
    let clients = page.labels("openai_client_files_failed", "client");
    assert!(clients.len() == 13 && !clients.contains(&"real"), "{clients:?}");
    assert_no_key("what the demo prints", &exporter.stdout());
    exporter.stop().await;
}
