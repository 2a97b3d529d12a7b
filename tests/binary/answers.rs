//! What an answer other than a list's page is counted as, in a first poll. Tables of statuses and shapes are tested beside
//! `src/openai`, and each kind of fault in an exporter that has polled before by `faults`.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::api::{Api, Then, certificate, entry, list_page};
use crate::binary::{Ended, KEY, Launch};
use crate::page::Page;
use crate::script::{Script, bytes, error, text};
use crate::wait::all;

/// Polls once, whatever comes of it.
async fn one_poll(launch: Launch) -> (Page, Ended) {
    let exporter = launch.start().await;
    let page = exporter.page_after_polls(1).await;
    (page, exporter.stop().await)
}

/// Polls once and expects it to have failed for `reason`, once, with nothing shown.
async fn assert_fails(what: &str, launch: Launch, reason: &str) -> Ended {
    let (page, ended) = one_poll(launch).await;
    assert_eq!(page.failures(), [(reason, 1.0)].into(), "{what}\n{}", ended.stderr);
    assert_eq!((page.polls(), page.is_up()), (1.0, false), "{what}");
    assert_eq!(
        page.find("openai_cert_exporter_last_success_timestamp_seconds", &[]),
        None,
        "{what}"
    );
    assert_eq!(page.certificates(), [""; 0], "{what}");
    ended
}

async fn assert_answer_fails(what: &str, answer: ResponseTemplate, reason: &str) -> Ended {
    let api = Script::of([answer]).await;
    let ended = assert_fails(what, api.once(), reason).await;
    assert_eq!(api.count(), 1, "{what}: asked again");
    ended
}

fn whole_page() -> String {
    list_page(&[entry("cert_a")], false).to_string()
}

pub(crate) fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip_answer(body: &[u8]) -> ResponseTemplate {
    bytes(gzipped(body)).insert_header("content-encoding", "gzip")
}

#[tokio::test]
async fn error_is_counted_by_its_status_and_documented_code() {
    let statuses = [
        (401, None, "unauthorized"),
        (401, Some("invalid_api_key"), "unauthorized"),
        (403, Some("insufficient_permissions"), "forbidden"),
        (404, None, "client"),
        (429, Some("insufficient_quota"), "rate_limited"),
        (503, Some("authentication_temporarily_unavailable"), "server"),
        (401, Some("certificate_required"), "mtls_required"),
        (401, Some("invalid_certificate"), "mtls_required"),
        (403, Some("certificate_verification_failed"), "mtls_required"),
        (403, Some("certificate_attribute_verification_failed"), "mtls_required"),
    ];
    all(statuses, async |(status, code, reason)| {
        assert_answer_fails(&format!("{status} {code:?}"), error(status, code), reason).await;
    })
    .await;
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let target = Api::listing(vec![certificate("cert_a")]).await;
    all([301, 302, 303, 307, 308], async |status| {
        let elsewhere = format!("{}/organization/certificates?key={KEY}", target.base_url());
        let answer = ResponseTemplate::new(status).insert_header("location", elsewhere.as_str());
        assert_answer_fails(&status.to_string(), answer, "client").await;
    })
    .await;
    assert_eq!(target.count(), 0, "a redirect was followed");
}

#[tokio::test]
async fn only_a_200_is_a_whole_answer() {
    all([203, 204, 205, 206, 226], async |status| {
        let page = ResponseTemplate::new(status).set_body_raw(whole_page(), "application/json");
        let page = page.insert_header("content-range", "bytes 0-99/9999");
        let ended = assert_answer_fails(&status.to_string(), page, "decode").await;
        assert!(ended.stderr.contains(&format!("answered {status} ")), "{}", ended.stderr);
    })
    .await;
}

#[tokio::test]
async fn body_that_is_no_page_is_a_decode_failure() {
    let page = whole_page();
    all(
        [
            ("empty", ""),
            ("markup", "<html><body>Welcome to this hotel</body></html>"),
            ("an error in a success", r#"{"error":{"message":"no","code":"server_error"}}"#),
            ("a list and more", &format!("{page}{page}")),
            ("a page cut short", &page[..page.len() - 2]),
            ("deeper than any stack", &"[".repeat(1 << 20)),
        ],
        async |(what, body)| drop(assert_answer_fails(what, text(body), "decode").await),
    )
    .await;
}

#[tokio::test]
async fn list_that_is_said_to_be_something_else_deletes_nothing() {
    let last = |mut page: Value, field: &str, value: Value| {
        page[field] = value;
        text(&page)
    };
    let empty = || list_page(&[], false);
    all(
        [
            (last(empty(), "error", json!({"code": "server_error"})), "an error (server_error)"),
            (last(empty(), "error", json!({"code": KEY})), "an error reason="),
            (last(empty(), "error", json!("no")), "an error reason="),
            (last(empty(), "object", json!("page")), "not a list (page)"),
            (last(empty(), "object", json!(KEY)), "not a list reason="),
            (last(empty(), "object", json!(7)), "not a list reason="),
            (text(r#"{"error":{"code":"server_error"}}"#), "an error (server_error)"),
        ],
        async |(answer, fault)| {
            let api = Script::of([text(&whole_page()), answer]).await;
            let exporter = api.often().start().await;
            let page = exporter.page_after_polls(2).await;
            assert!(!page.is_up(), "{fault}");
            assert_eq!((page.certificates(), page.reasons()), (vec!["cert_a"], vec!["decode"]));
            exporter.line_saying(fault).await;
        },
    )
    .await;
    for (field, value) in [("error", Value::Null), ("object", Value::Null)] {
        let (page, _) = one_poll(Script::of([last(empty(), field, value)]).await.once()).await;
        assert!(page.is_up(), "{field}");
    }
}

#[tokio::test]
async fn page_is_read_in_whatever_coding_it_is_said_to_be() {
    let (plain, gzip) = (whole_page().into_bytes(), gzipped(whole_page().as_bytes()));
    let marked = [b"\xef\xbb\xbf", &*plain].concat();
    let gzip_marked = gzipped(&marked);
    let codings = [
        (&marked, ""),
        (&gzip_marked, "gzip"),
        (&gzip, "gzip"),
        (&gzip, "GZip"),
        (&gzip, "x-gzip"),
        (&gzip, "identity, gzip"),
        (&plain, "identity"),
        (&plain, ""),
    ];
    all(codings, async |(body, coding)| {
        let answer = bytes(body.clone()).insert_header("content-encoding", coding);
        let api = Script::of([answer]).await;
        let (page, _) = one_poll(api.once()).await;
        assert_eq!(page.certificates(), ["cert_a"], "{coding}");
        assert_eq!(api.requests().await[0].headers["accept-encoding"], "gzip");
    })
    .await;
    let long = "x".repeat(33);
    for (coding, named) in [
        ("br", "Content-Encoding br;"),
        ("identity, gzip, zstd", "Content-Encoding gzip+zstd;"),
        ("gzip, gzip", "Content-Encoding gzip+gzip;"),
        (&long, "a Content-Encoding other"),
        ("\"br\"", "a Content-Encoding other"),
        (KEY, "a Content-Encoding other"),
    ] {
        let answer = bytes(gzip.clone()).insert_header("content-encoding", coding);
        let ended = assert_answer_fails(coding, answer, "decode").await;
        assert!(ended.stderr.contains(named), "{coding}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn body_that_is_damaged_on_its_way_is_asked_for_again() {
    let whole = gzipped(whole_page().as_bytes());
    let damaged = bytes(&whole[..whole.len() / 2]).insert_header("content-encoding", "gzip");
    let api = Script::of([damaged, gzip_answer(whole_page().as_bytes())]).await;
    let (page, _) = one_poll(api.once().set("api.max_retries", "1")).await;
    assert_eq!((page.certificates(), page.failures()), (vec!["cert_a"], [].into()));
}

#[tokio::test]
async fn answer_may_have_200_headers() {
    let answer = (0..200).fold(text(&whole_page()), |answer, number| {
        answer.insert_header(format!("x-{number}"), "value")
    });
    let (page, _) = one_poll(Script::of([answer]).await.once()).await;
    assert_eq!(page.certificates(), ["cert_a"]);
}

#[tokio::test]
async fn message_says_who_answered_and_what_to_do() {
    let markup = |status| ResponseTemplate::new(status).set_body_raw("<html>", "text/html");
    let redirect = |location: &str| ResponseTemplate::new(302).insert_header("location", location);
    let key_as_host = format!("https://{KEY}.test/");
    let key_as_type = format!("text/{KEY}");
    let cases = [
        (markup(200), ": the response is not from the API (text/html)"),
        (text("<html>"), ": the response is not JSON"),
        (
            ResponseTemplate::new(200).set_body_raw("<html>", &key_as_type),
            ": the response is not JSON",
        ),
        (markup(404), " answered 404 Not Found; the response is not from the API (text/html)"),
        (error(404, None), " answered 404 Not Found"),
        (error(520, None), " answered 520"),
        (
            redirect("https://login.test/?next=/"),
            " answered 302 Found; a redirect to login.test, which is not followed",
        ),
        (redirect(&key_as_host), " answered 302 Found"),
        (
            error(401, Some("invalid_api_key")),
            " answered 401 Unauthorized, invalid_api_key; check the admin key (api.admin_key_file, api.admin_key or OPENAI_ADMIN_KEY)",
        ),
        (
            error(401, Some("ip_not_authorized")),
            " answered 401 Unauthorized, ip_not_authorized; check the organization's IP allowlist, and whether requests should go through a proxy",
        ),
        (
            error(403, Some("unsupported_country_region_territory")),
            " answered 403 Forbidden, unsupported_country_region_territory; the API is not available in the region that the request came from",
        ),
        (error(403, None), " answered 403 Forbidden; the key needs the permission api.mtls.read"),
        (
            error(401, Some("certificate_required")),
            " answered 401 Unauthorized, certificate_required; check api.client_cert_file and api.client_key_file",
        ),
    ];
    all(cases, async |(answer, expected)| {
        let api = Script::of([answer]).await;
        let (_, ended) = one_poll(api.once()).await;
        let message = format!("poll failed: {}{expected} reason=", api.address());
        assert!(ended.stderr.contains(&message), "{message}\n{}", ended.stderr);
    })
    .await;
}

#[tokio::test]
async fn body_that_cannot_be_decompressed_is_a_decode_failure() {
    let whole = gzipped(whole_page().as_bytes());
    let flawed = [&whole[..whole.len() - 8], &[0; 8]].concat();
    for (what, body) in [
        ("not compressed", whole_page().into_bytes()),
        ("cut short by its sender", whole[..whole.len() / 2].to_vec()),
        ("of another checksum", flawed),
    ] {
        assert_answer_fails(what, bytes(body).insert_header("content-encoding", "gzip"), "decode")
            .await;
    }
}

#[tokio::test]
async fn body_may_have_8_mib_and_not_a_byte_more() {
    all([false, true], async |is_compressed| {
        let answers = [8 << 20, (8 << 20) + 1].map(|length: usize| {
            let page = whole_page().into_bytes();
            let body = [vec![b' '; length - page.len()], page].concat();
            if is_compressed { gzip_answer(&body) } else { bytes(body) }
        });
        let api = Script::of(answers).await;
        let exporter = api.often().start().await;
        assert_eq!(
            exporter.page_after_polls(1).await.certificates(),
            ["cert_a"],
            "{}",
            exporter.log()
        );
        let page = exporter.page_after_more_polls(1).await;
        assert_eq!((page.reasons(), page.is_up()), (vec!["decode"], false));
    })
    .await;
}

#[tokio::test]
async fn body_that_breaks_off_is_a_network_failure() {
    let page = whole_page().into_bytes();
    let packed = gzipped(&page);
    let plain = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let gzip = &format!("{plain}content-encoding: gzip\r\n");
    let with_length = |head: &str, body: &[u8]| {
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), &body[..body.len() / 2]].concat()
    };
    // The whole body, but not the chunk that says so.
    let chunked = |head: &str, body: &[u8]| {
        let head = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len());
        [head.as_bytes(), body, b"\r\n"].concat()
    };
    all(
        [
            ("plain, with a length", with_length(plain, &page)),
            ("gzip, with a length", with_length(gzip, &packed)),
            ("plain, in chunks", chunked(plain, &page)),
            ("gzip, in chunks", chunked(gzip, &packed)),
            ("gzip, in chunks, cut within", chunked(gzip, &packed)[..gzip.len() + 60].to_vec()),
        ],
        async |(what, answer)| {
            let api = Api::of_bytes(answer, Then::Close).await;
            assert_fails(what, api.once(), "network").await;
            assert_eq!(api.count(), 1, "{what}");
        },
    )
    .await;
}

#[tokio::test]
async fn connection_that_cannot_be_made_is_a_network_failure() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ended =
        assert_fails("refused", Launch::once(&format!("http://{nobody}/v1")), "network").await;
    assert!(ended.stderr.contains("Connection refused"), "the cause is told:\n{}", ended.stderr);
    // No TLS where TLS is spoken.
    let plain = Script::of([ResponseTemplate::new(200)]).await;
    let launch = Launch::once(&plain.base_url().replace("http:", "https:"));
    assert_fails(
        "no TLS",
        launch.env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
        "network",
    )
    .await;
}

#[tokio::test]
async fn answer_that_does_not_come_is_a_timeout_that_names_its_key() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let slow_body = Then::Repeat(b"1\r\n \r\n".into(), Duration::from_millis(20));
    let cases = [("nothing", "", Then::Hold), ("a slow body", chunked, slow_body)];
    let cases = cases
        .iter()
        .flat_map(|case| ["api.request_timeout", "poll.timeout"].map(|key| (case, key)));
    all(cases, async |((what, answer, then), key)| {
        let api = Api::of_bytes(*answer, then.clone()).await;
        let ended = assert_fails(what, api.once().set(key, "300ms"), "timeout").await;
        assert!(ended.stderr.contains(&format!("({key})")), "{what}:\n{}", ended.stderr);
    })
    .await;
}

#[tokio::test]
async fn error_whose_body_never_ends_keeps_its_reason() {
    let slow = Then::Repeat(b"1\r\n \r\n".into(), Duration::from_millis(20));
    let cases = [
        (401, "unauthorized", Then::Hold),
        (503, "server", slow),
        (429, "rate_limited", Then::Close),
    ];
    all(cases, async |(status, reason, then)| {
        let head = format!("HTTP/1.1 {status} No\r\ntransfer-encoding: chunked\r\n\r\n");
        let api = Api::of_bytes(head, then).await;
        assert_fails(&status.to_string(), api.once().set("api.request_timeout", "300ms"), reason)
            .await;
    })
    .await;
}
