//! How the pages are served, and what they look like.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use crate::api::{Api, Then, certificate, certificates, entry, entry_with, list_page};
use crate::binary::Exporter;
use crate::client::{client, exchange};
use crate::page::Page;
use crate::script::{Script, error, text};
use crate::wait::until;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An exporter that has polled so many certificates.
async fn showing(count: usize) -> (Api, Exporter) {
    let api = Api::listing(certificates(count)).await;
    let exporter = api.once().start().await;
    exporter.page_after_polls(1).await;
    (api, exporter)
}

/// What a scraper that takes gzip is sent.
async fn compressed(exporter: &Exporter) -> Vec<u8> {
    let request = client().get(exporter.url("/metrics")).header("accept-encoding", "gzip");
    request.send().await.unwrap().bytes().await.unwrap().into()
}

#[tokio::test]
async fn page_is_compressed_only_where_that_is_asked_for() {
    let (_api, exporter) = showing(50).await;
    for (accepted, gzip) in [
        (None, false),
        (Some("gzip"), true),
        (Some("GZIP;q=0.1, br"), true),
        (Some("gzip;q=0, *"), false),
        (Some("identity"), false),
    ] {
        let mut request = client().get(exporter.url("/metrics"));
        if let Some(accepted) = accepted {
            request = request.header("accept-encoding", accepted);
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        assert_eq!(headers["content-type"], CONTENT_TYPE, "{accepted:?}");
        assert_eq!(headers["vary"], "accept-encoding", "{accepted:?}");
        assert_eq!(
            headers.get("content-encoding").is_some_and(|coding| coding == "gzip"),
            gzip,
            "{accepted:?}"
        );
        let body = response.bytes().await.unwrap();
        // Text is written as it is read, so its length is not known before its end.
        let length = gzip.then(|| body.len().to_string());
        assert_eq!(
            headers.get("content-length").map(|length| length.to_str().unwrap()),
            length.as_deref(),
            "{accepted:?}"
        );
        let text = if gzip { unpacked(&body) } else { String::from_utf8(body.to_vec()).unwrap() };
        assert_eq!(Page::parse(&text).unwrap().certificates().len(), 50, "{accepted:?}");
    }
}

/// What a gzip body holds; more than one member would not be read everywhere.
fn unpacked(body: &[u8]) -> String {
    let mut decoder = flate2::bufread::GzDecoder::new(body);
    let mut text = String::new();
    decoder.read_to_string(&mut text).unwrap();
    assert!(decoder.into_inner().is_empty(), "more than one gzip member");
    text
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let (_api, exporter) = showing(3).await;
    for path in
        ["/metrics", "/healthz", "/readyz", "/-/healthy", "/-/ready", "/", "/api/v1/certificates"]
    {
        let get = exporter.get(path).await;
        let content_type =
            format!("content-type: {}\r\n", get.headers()["content-type"].to_str().unwrap());
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(exporter.address, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(&content_type),
            "{path}: {head}"
        );
        assert_eq!(body, "", "{path}");
    }
}

#[tokio::test]
async fn path_or_method_that_there_is_not_is_refused() {
    let (_api, exporter) = showing(3).await;
    for path in [
        "/nonsense",
        "/metrics/",
        "/metrics/x",
        "/Metrics",
        "//metrics",
        "/healthz/",
        "/-/",
        "/-/reload",
        "/-/quit",
    ] {
        assert_eq!(exporter.status(path).await, 404, "{path}");
    }
    for path in ["/metrics", "/healthz", "/readyz", "/-/healthy", "/-/ready"] {
        for method in [
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ] {
            let request = client().request(method.clone(), exporter.url(path)).body("x");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(response.headers()["allow"], "GET,HEAD", "{method} {path}");
        }
    }
    assert_eq!(exporter.status("/metrics?name[]=x").await, 200, "a query is no other page");
}

/// All that a poll can fail for: each has a series from the start.
const REASONS: [&str; 12] = [
    "client",
    "credentials",
    "decode",
    "forbidden",
    "mtls_required",
    "network",
    "pagination",
    "projects",
    "rate_limited",
    "server",
    "timeout",
    "unauthorized",
];

#[tokio::test]
async fn ready_means_that_there_is_something_to_show() {
    let hanging = Api::of_bytes("", Then::Hold).await;
    let exporter = hanging.once().start().await;
    until("the first poll is under way", async || (hanging.count() > 0).then_some(())).await;
    for (path, status) in
        [("/healthz", 200), ("/-/healthy", 200), ("/readyz", 503), ("/-/ready", 503)]
    {
        assert_eq!(exporter.status(path).await, status, "{path} before the first snapshot");
    }
    let page = exporter.page().await;
    assert_eq!((page.is_up(), page.polls(), page.failures()), (false, 0.0, [].into()));
    assert_eq!(page.labels("openai_cert_exporter_poll_failures_total", "reason"), REASONS);
    for absent in [
        "last_poll_timestamp_seconds",
        "last_success_timestamp_seconds",
        "last_poll_duration_seconds",
    ] {
        assert_eq!(page.find(&format!("openai_cert_exporter_{absent}"), &[]), None, "{absent}");
    }

    let api =
        Script::of([error(500, None), text(&list_page(&[entry("a")], false)), error(500, None)])
            .await;
    let exporter = api.often().start().await;
    exporter
        .page_when("polls fail after one that did not", |page| {
            page.failures().get("server").is_some_and(|count| *count >= 3.0)
        })
        .await;
    for path in ["/healthz", "/-/healthy", "/readyz", "/-/ready"] {
        assert_eq!(exporter.status(path).await, 200, "{path} after a snapshot, while polls fail");
    }
}

#[tokio::test]
async fn page_is_sorted_and_the_same_from_scrape_to_scrape() {
    // In another order than the page's.
    let api =
        Api::listing(["c", "B", "a", "ab", "a b", "é", "10", "9"].map(certificate).into()).await;
    let exporter = api.once().start().await;
    exporter.page_after_polls(1).await;
    let (one, other) = (exporter.page().await, exporter.page().await);
    let families = |page: &Page| -> Vec<String> {
        page.text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(str::to_owned)
            .collect()
    };
    assert!(families(&one).is_sorted(), "{:?}", families(&one));
    assert_eq!(families(&one), families(&other));
    for family in ["active", "created_timestamp_seconds", "days_until_expiry"] {
        let ids = |page: &Page| -> Vec<String> {
            let labels = page.labels(&format!("openai_certificate_{family}"), "certificate_id");
            labels.into_iter().map(str::to_owned).collect()
        };
        assert!(ids(&one).is_sorted(), "{:?}", ids(&one));
        assert_eq!(ids(&one), ids(&other));
    }
}

#[tokio::test]
async fn page_as_a_whole() {
    let list = [
        entry("cert_plain"),
        entry_with("cert_inactive", json!({"active": false})),
        entry_with("cert_unnamed", json!({"name": null})),
        entry_with("cert_odd", json!({"name": "a \"quoted\" \\ and\nbroken 😀 <b>name</b>"})),
        entry_with("cert_undated", json!({"created_at": null, "certificate_details": {}})),
        entry_with("cert_old", json!({"certificate_details": {"valid_at": -1, "expires_at": 0}})),
        json!({"id": "cert_malformed"}),
        entry("cert_plain"),
    ];
    let api = Script::of_pages(&[list_page(&list, false)]).await;
    let exporter = api.once().start().await;
    insta::assert_snapshot!(masked(&exporter.page_after_polls(1).await.text));
}

/// The page without what is another in every run: its place says only that there was something.
fn masked(text: &str) -> String {
    const VOLATILE: [&str; 9] = [
        "openai_cert_exporter_clock_offset_seconds",
        "openai_certificate_days_until_expiry{",
        "openai_cert_exporter_last_",
        "openai_cert_exporter_config_last_reload_success_timestamp_seconds",
        "openai_mtls_read_timestamp_seconds{",
        "openai_cert_exporter_api_request_duration_seconds_bucket{",
        "openai_cert_exporter_api_request_duration_seconds_sum",
        "process_",
        "openai_cert_exporter_build_info{",
    ];
    let mut page = String::new();
    for line in text.lines() {
        match line.rsplit_once(' ') {
            Some((series, _)) if VOLATILE.iter().any(|name| series.starts_with(name)) => {
                let series = if series.contains("_build_info{") {
                    "openai_cert_exporter_build_info{…}"
                } else {
                    series
                };
                writeln!(page, "{series} [value]").unwrap();
            }
            _ => writeln!(page, "{line}").unwrap(),
        }
    }
    page
}

#[tokio::test]
async fn many_scrapers_at_once_share_the_work_and_get_the_same_whole_page() {
    const SCRAPERS: u64 = 50;
    let (_api, exporter) = showing(400).await;
    let before = exporter.cpu_time_ms();
    let first = compressed(&exporter).await;
    let alone = exporter.cpu_time_ms() - before;
    let started = Instant::now();
    let scrapes = (0..SCRAPERS)
        .map(|_| client().get(exporter.url("/metrics")).header("accept-encoding", "gzip").send());
    let scrapes: Vec<_> = scrapes.map(tokio::spawn).collect();
    let mut pages = BTreeSet::new();
    for scrape in scrapes {
        pages.insert(scrape.await.unwrap().unwrap().bytes().await.unwrap());
    }
    let together = exporter.cpu_time_ms() - before - alone;
    assert!(
        together < alone * SCRAPERS / 5,
        "{SCRAPERS} scrapes took {together} ms, and the first one {alone} ms"
    );
    // A page is made for each second.
    let seconds = started.elapsed().as_secs() + 2;
    assert!(pages.len() as u64 <= seconds, "{} pages in {seconds} seconds", pages.len());
    let first = Page::parse(&unpacked(&first)).unwrap();
    assert_eq!(first.certificates().len(), 400);
    for page in pages {
        assert_eq!(Page::parse(&unpacked(&page)).unwrap().facts(), first.facts());
    }
}
