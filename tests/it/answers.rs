//! What an answer other than a page is counted as, and what is asked after it.

use std::io::Write as _;
use std::time::Duration;

use wiremock::ResponseTemplate;

use crate::harness::{Ended, KEY, Launch, all};
use crate::page::Page;
use crate::upstream::{RawServer, Then, Upstream, certificate, error_answer, page, text_answer};

/// One poll of `base_url`, whatever comes of it.
async fn one_poll(launch: Launch) -> (Page, Ended) {
    let exporter = launch.start().await;
    let page = exporter.page_after_polls(1).await;
    (page, exporter.stop().await)
}

/// Polls once and expects it to have failed for `reason`, once, with nothing shown.
async fn assert_fails(what: &str, launch: Launch, reason: &str) -> Ended {
    let (page, ended) = one_poll(launch).await;
    assert_eq!(page.failures(), [(reason, 1.0)].into(), "{what}\n{}", ended.stderr);
    assert_eq!(page.one("openai_cert_exporter_polls_total"), 1.0, "{what}");
    assert_eq!(page.one("openai_cert_exporter_up"), 0.0, "{what}");
    assert_eq!(page.find("openai_cert_exporter_last_success_timestamp_seconds", &[]), None, "{what}");
    assert_eq!(page.certificates(), [""; 0], "{what}");
    ended
}

async fn assert_answer_fails(what: &str, answer: ResponseTemplate, reason: &str) {
    let upstream = Upstream::always(answer).await;
    assert_fails(what, Launch::once(&upstream.base_url()), reason).await;
    assert_eq!(upstream.count(), 1, "{what}: asked again");
}

fn whole_page() -> String {
    page(&[certificate("cert_a")], false).to_string()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip_answer(body: &[u8]) -> ResponseTemplate {
    text_answer(gzipped(body)).insert_header("content-encoding", "gzip")
}

#[tokio::test]
async fn each_status_has_its_reason() {
    all(
        [
            (400, "client"),
            (401, "unauthorized"),
            (403, "forbidden"),
            (404, "client"),
            (408, "client"),
            (409, "client"),
            (410, "client"),
            (418, "client"),
            (422, "client"),
            (429, "rate_limited"),
            (500, "server"),
            (501, "server"),
            (502, "server"),
            (503, "server"),
            (504, "server"),
            (599, "server"),
            (204, "decode"),
            (300, "client"),
            (304, "client"),
        ],
        async |(status, reason)| {
            assert_answer_fails(&status.to_string(), ResponseTemplate::new(status), reason).await;
        },
    )
    .await;
}

#[tokio::test]
async fn certificate_error_codes_are_told_apart() {
    let codes = [
        "certificate_required",
        "invalid_certificate",
        "certificate_verification_failed",
        "certificate_attribute_verification_failed",
    ];
    let certificate_codes = codes.into_iter().flat_map(|code| [(401, Some(code)), (403, Some(code))]);
    let others = [
        (401, Some("invalid_api_key"), "unauthorized"),
        (403, Some("insufficient_permissions"), "forbidden"),
        (403, None, "forbidden"),
        (429, Some("insufficient_quota"), "rate_limited"),
        (503, Some("authentication_temporarily_unavailable"), "server"),
    ];
    let cases = certificate_codes.map(|(status, code)| (status, code, "mtls_required")).chain(others);
    all(cases, async |(status, code, reason)| {
        assert_answer_fails(&format!("{status} {code:?}"), error_answer(status, code), reason).await;
    })
    .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Upstream::always(text_answer(whole_page())).await;
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = format!("{}/organization/certificates?key={KEY}", target.base_url());
        let answer = ResponseTemplate::new(status).insert_header("location", elsewhere.as_str());
        assert_answer_fails(&status.to_string(), answer, "client").await;
    }
    assert_eq!(target.count(), 0, "a redirect was followed");
}

#[tokio::test]
async fn what_is_no_page_is_a_decode_failure() {
    let page = whole_page();
    all(
        [
            ("empty", ""),
            ("markup", "<html><body>Welcome to this hotel</body></html>"),
            ("an error in a success", r#"{"error":{"message":"no","code":"server_error"}}"#),
            ("a list and more", &format!("{page}{page}")),
            ("null", "null"),
            ("a list without its object", "[]"),
            ("fields without their names", "[[],false,null]"),
            ("data that is no list", r#"{"data":{},"has_more":false}"#),
            ("data that is null", r#"{"data":null,"has_more":false}"#),
            ("has_more that is text", r#"{"data":[],"has_more":"false"}"#),
            ("last_id that is a number", r#"{"data":[],"has_more":false,"last_id":7}"#),
            ("a page cut short", &page[..page.len() - 2]),
            ("deeper than any stack", &"[".repeat(1 << 20)),
        ],
        async |(what, body)| {
            assert_answer_fails(what, text_answer(body), "decode").await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_compressed_page_is_read() {
    let upstream = Upstream::always(gzip_answer(whole_page().as_bytes())).await;
    let (page, _) = one_poll(Launch::once(&upstream.base_url())).await;
    assert_eq!(page.certificates(), ["cert_a"]);
    let accepted = upstream.requests().await[0].headers["accept-encoding"].to_str().unwrap().to_owned();
    assert!(accepted.contains("gzip"), "{accepted}");
}

#[tokio::test]
async fn what_cannot_be_decompressed_is_a_decode_failure() {
    let whole = gzipped(whole_page().as_bytes());
    let flawed = [&whole[..whole.len() - 8], &[0; 8]].concat();
    for (what, body) in [
        ("not compressed", whole_page().into_bytes()),
        ("cut short by its sender", whole[..whole.len() / 2].to_vec()),
        ("of another checksum", flawed),
    ] {
        let answer = text_answer(body).insert_header("content-encoding", "gzip");
        assert_answer_fails(what, answer, "decode").await;
    }
}

#[tokio::test]
async fn an_answer_may_have_8_mib_and_not_a_byte_more() {
    let limit = 8 << 20;
    let padded = |length: usize| {
        let page = whole_page();
        let mut body = vec![b' '; length - page.len()];
        body.extend_from_slice(page.as_bytes());
        body
    };
    for answer in [text_answer(padded(limit)), gzip_answer(&padded(limit))] {
        let upstream = Upstream::always(answer).await;
        let (page, ended) = one_poll(Launch::once(&upstream.base_url())).await;
        assert_eq!(page.certificates(), ["cert_a"], "{}", ended.stderr);
    }
    assert_answer_fails("plain", text_answer(padded(limit + 1)), "decode").await;
    assert_answer_fails("compressed", gzip_answer(&padded(limit + 1)), "decode").await;
    assert_answer_fails("a bomb", gzip_answer(&vec![b' '; 32 << 20]), "decode").await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_network_failure() {
    let page = whole_page();
    let packed = gzipped(page.as_bytes());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let gzip = format!("{head}content-encoding: gzip\r\n");
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
            ("plain, with a length", with_length(head, page.as_bytes())),
            ("gzip, with a length", with_length(&gzip, &packed)),
            ("plain, in chunks", chunked(head, page.as_bytes())),
            ("gzip, in chunks", chunked(&gzip, &packed)),
            ("gzip, in chunks, cut within", chunked(&gzip, &packed)[..gzip.len() + 60].to_vec()),
            ("nothing at all", Vec::new()),
            ("half a head", head.as_bytes().to_vec()),
            ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ],
        async |(what, answer)| {
            let upstream = RawServer::start(answer, Then::Close).await;
            assert_fails(what, Launch::once(&upstream.base_url()), "network").await;
            assert_eq!(upstream.count(), 1, "{what}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let filler = format!("x-filler: {}\r\n", "x".repeat(8_000)).into_bytes();
    let upstream = RawServer::start("HTTP/1.1 200 OK\r\n", Then::Repeat(filler, Duration::ZERO)).await;
    assert_fails("long before its time is over", Launch::once(&upstream.base_url()), "network").await;
}

#[tokio::test]
async fn a_connection_that_is_refused_is_a_network_failure() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ended = assert_fails("refused", Launch::once(&format!("http://{nobody}/v1")), "network").await;
    assert!(ended.stderr.contains("Connection refused"), "the cause is told:\n{}", ended.stderr);
    // No TLS where TLS is spoken.
    let plain = Upstream::always(ResponseTemplate::new(200)).await;
    let https = plain.base_url().replace("http:", "https:");
    assert_fails("no TLS", Launch::once(&https).env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"), "network")
        .await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let endless = format!("{head}transfer-encoding: chunked\r\n\r\n");
    all(
        [
            ("nothing", String::new(), Then::Hold),
            ("half a head", head.into(), Then::Hold),
            ("half a body", format!("{head}content-length: 100\r\n\r\n{{"), Then::Hold),
            ("a slow body", endless.clone(), Then::Repeat(b"1\r\n \r\n".into(), Duration::from_millis(20))),
            ("a slow head", head.into(), Then::Repeat(b"x-filler: 1\r\n".into(), Duration::from_millis(20))),
        ],
        async |(what, answer, then)| {
            for key in ["api.request_timeout", "poll.timeout"] {
                let upstream = RawServer::start(answer.as_str(), then.clone()).await;
                let ended = assert_fails(what, Launch::once(&upstream.base_url()).set(key, "300ms"), "timeout").await;
                assert!(
                    ended.stderr.contains(&format!("({key})")),
                    "{what}: the message names the key:\n{}",
                    ended.stderr
                );
            }
        },
    )
    .await;
}

#[tokio::test]
async fn an_error_whose_body_never_ends_keeps_its_reason() {
    let reasons = [(401, "unauthorized"), (403, "forbidden"), (404, "client"), (429, "rate_limited"), (500, "server")];
    all(reasons, async |(status, reason)| {
        let head = format!("HTTP/1.1 {status} No\r\ntransfer-encoding: chunked\r\n\r\n");
        for then in [Then::Hold, Then::Repeat(b"1\r\n \r\n".into(), Duration::from_millis(20)), Then::Close] {
            let upstream = RawServer::start(head.as_str(), then).await;
            let launch = Launch::once(&upstream.base_url()).set("api.request_timeout", "300ms");
            assert_fails(&status.to_string(), launch, reason).await;
        }
    })
    .await;
}
