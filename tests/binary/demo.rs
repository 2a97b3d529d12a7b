//! The simulated organization: what newcomers see, and what any client of the API may rely on.

use std::collections::HashSet;

use serde_json::Value;

use crate::api::now;
use crate::binary::{Exporter, KEY, Launch, assert_no_key, free_address};
use crate::client::client;
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
    assert!(days.len() < 48, "without an end");
    let begins = page.series("openai_certificate_not_before_timestamp_seconds");
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let now = now() as f64;
    assert!(begins.iter().any(|sample| sample.value > now), "not yet valid");
    assert!(begins.len() < 48, "without a begin");
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
async fn real_key_stays_out_of_the_demo() {
    // Somebody who tries the demo has perhaps set up the real thing already.
    let launch = Launch::demo()
        .arg("--log.level=trace")
        .env("OPENAI_ADMIN_KEY", KEY)
        .env("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        .set("api.admin_key_file", "/nonexistent")
        .set("poll.interval", "100ms");
    let exporter = launch.start().await;
    assert_eq!(exporter.page_after_polls(2).await.certificates().len(), 48);
    assert_eq!(exporter.page().await.failures(), [].into());
    assert_no_key("what the demo prints", &exporter.stdout());
    exporter.stop().await;
}
