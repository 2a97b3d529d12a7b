//! The admin key is shown to nobody but the API, even where the API repeats it in every place there is.
//!
//! Each exporter of these tests says everything it can say. That the key is not in it, nor on the metrics page, is
//! checked wherever [`crate::binary`] reads one of them.

use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::api::{Api, Then, entry, entry_with, list_page};
use crate::binary::{KEY, Launch, assert_no_key};
use crate::script::{Script, text};
use crate::wait::all;

/// Two polls, with a retry where there is one. One exporter logs text, the next JSON.
async fn assert_untold(number: usize, what: &str, launch: Launch) {
    let format = ["text", "json"][number % 2];
    let exporter = launch.set("log.format", format).set("api.max_retries", "1").start().await;
    exporter.page_after_polls(2).await;
    for path in ["/", "/healthz", "/readyz", "/nonsense", "/api/v1/certificates", "/api/v1/polls"] {
        assert_no_key(path, &exporter.get(path).await.text().await.unwrap());
    }
    let ended = exporter.stop().await;
    assert!(ended.stderr.contains("poll "), "{what}: nothing was said at all");
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
    let answer =
        ResponseTemplate::new(status).set_body_raw(body, KEY).insert_header("retry-after-ms", "1");
    headers.into_iter().fold(answer, |answer, name| answer.insert_header(name, KEY))
}

#[tokio::test]
async fn error_that_repeats_the_key_tells_nobody() {
    let bodies = [
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "type": KEY, "param": KEY, "code": KEY}}),
        json!({"error": KEY}),
        json!(KEY),
        json!({KEY: {KEY: [KEY]}}),
    ];
    let statuses = [302, 400, 403, 404, 429, 500, 503].into_iter().zip(bodies.iter().cycle());
    let cases = statuses.chain(bodies.iter().map(|body| (401, body)));
    all(cases.enumerate(), async |(number, (status, body))| {
        let api = Script::of([telling(status, &body.to_string())]).await;
        assert_untold(number, &format!("{status} {body}"), api.often()).await;
    })
    .await;
}

#[tokio::test]
async fn page_that_repeats_the_key_tells_nobody() {
    let good = list_page(&[entry("cert_a")], false).to_string();
    let with = |fields: Value| list_page(&[entry_with("cert_a", fields)], false).to_string();
    let bodies = [
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
        with(json!({"id": KEY})),
        with(json!({"name": KEY})),
        with(json!({"active": KEY})),
        with(json!({"created_at": KEY})),
        with(json!({"certificate_details": KEY})),
        with(json!({KEY: KEY})),
        with(json!({"certificate_details": {"valid_at": KEY}})),
        list_page(&[entry(KEY), entry("b")], true).to_string(),
    ];
    all(bodies.iter().enumerate(), async |(number, body)| {
        let api = Script::of([telling(200, body)]).await;
        assert_untold(number, body, api.often()).await;
    })
    .await;
}

#[tokio::test]
async fn broken_http_that_repeats_the_key_tells_nobody() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let answers = [
        format!("{KEY}\r\n\r\n"),
        format!("HTTP/1.1 200 {KEY}\r\ncontent-length: 5\r\n\r\n{{"),
        format!("HTTP/1.1 500 {KEY}\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 {KEY}\r\n\r\n"),
        format!("{ok}{KEY} {KEY}: {KEY}\r\n\r\n"),
        format!("{ok}content-length: {KEY}\r\n\r\n"),
        format!("{ok}transfer-encoding: {KEY}\r\n\r\n{KEY}"),
        format!("{ok}transfer-encoding: chunked\r\n\r\n{KEY}\r\n{KEY}"),
        format!(
            "{ok}transfer-encoding: chunked\r\n\r\n1;{KEY}={KEY}\r\n[\r\n0\r\n{KEY}: {KEY}\r\n"
        ),
        format!("{ok}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n{KEY}", KEY.len()),
        format!("{ok}content-encoding: {KEY}\r\ncontent-length: {}\r\n\r\n{KEY}", KEY.len()),
        format!("HTTP/1.1 101 {KEY}\r\nupgrade: {KEY}\r\nconnection: upgrade\r\n\r\n{KEY}"),
        format!(
            "HTTP/1.1 401 {KEY}\r\nwww-authenticate: {KEY}\r\ncontent-length: 900\r\n\r\n{KEY}"
        ),
        format!("{ok}x-request-id: {KEY}\r\ncontent-length: 900\r\n\r\n{KEY}"),
    ];
    all(answers.iter().enumerate(), async |(number, answer)| {
        let api = Api::of_bytes(answer.as_str(), Then::Close).await;
        assert_untold(number, answer, api.often()).await;
    })
    .await;
}

#[tokio::test]
async fn name_that_repeats_the_key_is_shown_without_it() {
    let names = [
        KEY.to_owned(),
        format!("it is {KEY}, twice {KEY}!"),
        format!("{KEY}{KEY}"),
        format!("\"\n{KEY}\\"),
    ];
    let with_name = |(index, name): (usize, &String)| {
        entry_with(&format!("cert_{index}"), json!({"name": name}))
    };
    let list: Vec<_> =
        names.iter().enumerate().map(with_name).chain([entry(&format!("cert_{KEY}"))]).collect();
    // Escaped, so that it is not to be found in the body as it stands.
    let escaped = KEY.replacen('k', "\\u006b", 1);
    let telling = list_page(&list, false)
        .to_string()
        .replace(&format!("it is {KEY}"), &format!("it is {escaped}"));
    // Other names by turns, so that each change of a name is told as well.
    let other = list_page(&[entry("cert_0"), entry("cert_1")], false).to_string();
    let api = Script::by(move |number| text(if number % 2 == 0 { &telling } else { &other })).await;
    let exporter = api.often().start().await;
    let shown = exporter
        .page_when("the names are there", |page| page.certificates().len() == names.len())
        .await;
    for (index, name) in names.iter().enumerate() {
        let (id, redacted) = (format!("cert_{index}"), name.replace(KEY, "[redacted]"));
        let labels = [("certificate_id", id.as_str()), ("certificate_name", redacted.as_str())];
        assert_eq!(shown.find("openai_certificate_active", &labels), Some(1.0), "{labels:?}");
    }
    assert_eq!(shown.malformed(), 1.0, "an identifier cannot be cut");
    exporter.line_saying("certificate renamed").await;
    exporter.stop().await;
}

#[tokio::test]
async fn secret_that_only_the_api_knows_is_not_repeated_either() {
    let secret = "another-secret-9Qx";
    let body =
        json!({"error": {"message": secret, "type": secret, "param": secret, "code": secret}})
            .to_string();
    for status in [302, 401, 500] {
        let api =
            Script::of([telling(status, &body).insert_header("x-request-id", "req_ok")]).await;
        let exporter = api.once().start().await;
        exporter.page_after_polls(1).await;
        let log = exporter.stop().await.stderr;
        assert!(!log.contains(secret), "{log}");
    }
}
