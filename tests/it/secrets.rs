//! The admin key is shown to nobody but the upstream, even where the upstream repeats it in every place there is.
//!
//! Each exporter of these tests says everything it can say. That the key is not in it, nor on the metrics page, is
//! checked wherever the harness reads one of them.

use serde_json::json;
use wiremock::ResponseTemplate;

use crate::harness::{KEY, Launch, all, assert_no_key, until};
use crate::upstream::{RawServer, Then, Upstream, answer, certificate, certificate_with, page, text_answer};

/// Two polls, by logs of both formats, with a retry where there is one.
async fn assert_untold(what: &str, base_url: &str) {
    for format in ["text", "json"] {
        let launch = Launch::often(base_url).set("log.format", format).set("api.max_retries", "1");
        let exporter = launch.start().await;
        exporter.page_after_polls(2).await;
        for path in ["/", "/healthz", "/readyz", "/nonsense"] {
            assert_no_key(path, &exporter.get(path).await.text().await.unwrap());
        }
        let ended = exporter.stop().await;
        assert!(ended.stderr.contains("poll "), "{what}: nothing was said at all");
    }
}

/// An answer with the key in every header that a client may look at.
fn telling(status: u16, body: &str) -> ResponseTemplate {
    let headers = [
        "x-request-id",
        "location",
        "www-authenticate",
        "server",
        "via",
        "x-should-retry",
        "etag",
        "set-cookie",
        "openai-organization",
        "retry-after",
        "link",
    ];
    let answer = ResponseTemplate::new(status).set_body_raw(body, KEY).insert_header("retry-after-ms", "1");
    headers.into_iter().fold(answer, |answer, name| answer.insert_header(name, KEY))
}

#[tokio::test]
async fn errors_that_repeat_the_key() {
    let bodies = [
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "type": KEY, "param": KEY, "code": KEY}}),
        json!({"error": KEY}),
        json!(KEY),
        json!({KEY: {KEY: [KEY]}}),
    ];
    let statuses = [302, 400, 401, 403, 404, 429, 500, 503];
    let cases = statuses.iter().flat_map(|status| bodies.iter().map(move |body| (*status, body.to_string())));
    all(cases, async |(status, body)| {
        let upstream = Upstream::always(telling(status, &body)).await;
        assert_untold(&format!("{status} {body}"), &upstream.base_url()).await;
    })
    .await;
}

#[tokio::test]
async fn pages_that_repeat_the_key() {
    let good = page(&[certificate("cert_a")], false).to_string();
    let field = |field: &str| page(&[certificate_with("cert_a", json!({field: KEY}))], false).to_string();
    all(
        [
            KEY.to_owned(),
            format!("\"{KEY}\""),
            format!("<html>{KEY}"),
            format!("{good}{KEY}"),
            format!("{{\"{KEY}\": 1}}"),
            format!("{{\"data\": \"{KEY}\", \"has_more\": false}}"),
            format!("{{\"data\": [], \"has_more\": \"{KEY}\"}}"),
            format!("{{\"data\": [], \"has_more\": {KEY}}}"),
            format!("{{\"data\": [], \"has_more\": true, \"last_id\": \"{KEY}\"}}"),
            format!("{{\"data\": [\"{KEY}\", {{\"{KEY}\": \"{KEY}\"}}], \"has_more\": false}}"),
            field("id"),
            field("name"),
            field("active"),
            field("created_at"),
            field("certificate_details"),
            field(KEY),
            page(&[certificate_with("cert_a", json!({"certificate_details": {"valid_at": KEY}}))], false).to_string(),
            page(&[certificate(KEY), certificate("b")], true).to_string(),
        ],
        async |body| {
            let upstream = Upstream::always(telling(200, &body)).await;
            assert_untold(&body, &upstream.base_url()).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_name_that_repeats_the_key_is_shown_without_it() {
    let names = [KEY.to_owned(), format!("it is {KEY}, twice {KEY}!"), format!("{KEY}{KEY}"), format!("\"\n{KEY}\\")];
    let list: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| certificate_with(&format!("cert_{index}"), json!({"name": name})))
        .chain([certificate(&format!("cert_{KEY}"))])
        .collect();
    // Escaped, so that it is not to be found in the body as it stands.
    let escaped = KEY.replacen('k', "\\u006b", 1);
    let body = page(&list, false).to_string().replace(&format!("it is {KEY}"), &format!("it is {escaped}"));
    let upstream = Upstream::scripted(move |number, _| match number % 2 {
        0 => text_answer(&body),
        // So that each change of a name is told as well.
        _ => answer(&page(&[certificate("cert_0"), certificate("cert_1")], false)),
    })
    .await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
    let shown = exporter.page_when("the names are there", |page| page.certificates().len() == names.len()).await;
    for (index, name) in names.iter().enumerate() {
        let redacted = name.replace(KEY, "[redacted]");
        let labels = [("certificate_id", format!("cert_{index}")), ("certificate_name", redacted)];
        let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        assert_eq!(shown.find("openai_certificate_active", &labels), Some(1.0), "{labels:?}");
    }
    assert_eq!(shown.one("openai_cert_exporter_malformed_certificates"), 1.0, "an identifier cannot be cut");
    until("renaming is told", async || exporter.log_lines("certificate renamed").pop()).await;
    exporter.stop().await;
}

#[tokio::test]
async fn broken_http_that_repeats_the_key() {
    all(
        [
            format!("{KEY}\r\n\r\n"),
            format!("HTTP/1.1 200 {KEY}\r\ncontent-length: 5\r\n\r\n{{"),
            format!("HTTP/1.1 500 {KEY}\r\ncontent-length: 0\r\n\r\n"),
            format!("HTTP/1.1 {KEY}\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n{KEY} {KEY}: {KEY}\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\ncontent-length: {KEY}\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {KEY}\r\n\r\n{KEY}"),
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{KEY}\r\n{KEY}"),
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;{KEY}={KEY}\r\n[\r\n0\r\n{KEY}: {KEY}\r\n"),
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n{KEY}", KEY.len()),
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: {KEY}\r\ncontent-length: {}\r\n\r\n{KEY}", KEY.len()),
            format!("HTTP/1.1 101 {KEY}\r\nupgrade: {KEY}\r\nconnection: upgrade\r\n\r\n{KEY}"),
            format!("HTTP/1.1 401 {KEY}\r\nwww-authenticate: {KEY}\r\ncontent-length: 900\r\n\r\n{KEY}"),
            format!("HTTP/1.1 200 OK\r\nx-request-id: {KEY}\r\ncontent-length: 900\r\n\r\n{KEY}"),
        ],
        async |answer| {
            let upstream = RawServer::start(answer.as_str(), Then::Close).await;
            assert_untold(&answer, &upstream.base_url()).await;
        },
    )
    .await;
}

#[tokio::test]
async fn what_the_upstream_says_besides_its_codes_is_not_repeated() {
    // An upstream may know of other secrets than the key.
    let secret = "another-secret-9Qx";
    let body = json!({"error": {"message": secret, "type": secret, "param": secret, "code": secret}}).to_string();
    for status in [302, 401, 500] {
        let upstream = Upstream::always(telling(status, &body).insert_header("x-request-id", "req_ok")).await;
        let exporter = Launch::once(&upstream.base_url()).start().await;
        exporter.page_after_polls(1).await;
        let log = exporter.stop().await.stderr;
        assert!(!log.contains(secret), "{log}");
    }
}
