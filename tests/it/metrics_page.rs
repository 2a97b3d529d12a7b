//! How the pages are served, and what they look like.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use crate::harness::{DEADLINE, Exporter, Launch, client, until};
use crate::page::Page;
use crate::upstream::{
    Organization, RawServer, Then, Upstream, certificate, certificate_with, certificates, error_answer,
};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An exporter that has polled these certificates.
async fn showing(list: Vec<serde_json::Value>) -> (Upstream, Exporter) {
    let upstream = Upstream::organization(&Arc::new(Organization::of(list))).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await;
    (upstream, exporter)
}

#[tokio::test]
async fn it_is_compressed_only_where_that_is_asked_for() {
    let (_upstream, exporter) = showing(certificates(50)).await;
    for (accepted, gzip) in [
        (None, false),
        (Some("gzip"), true),
        (Some("gzip, deflate, br"), true),
        (Some("GZIP;q=0.1"), true),
        (Some("*"), true),
        (Some("identity"), false),
        (Some("gzip;q=0"), false),
        (Some("gzip; q=0.0, *"), false),
        (Some("*;q=0"), false),
        (Some("deflate, br"), false),
        (Some(""), false),
    ] {
        let mut request = client().get(exporter.url("/metrics"));
        if let Some(accepted) = accepted {
            request = request.header("accept-encoding", accepted);
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        assert_eq!(headers["content-type"], CONTENT_TYPE, "{accepted:?}");
        assert_eq!(headers["vary"], "accept-encoding", "{accepted:?}");
        assert_eq!(headers.get("content-encoding").is_some_and(|coding| coding == "gzip"), gzip, "{accepted:?}");
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
    let (_upstream, exporter) = showing(certificates(3)).await;
    for path in ["/metrics", "/healthz", "/readyz", "/-/healthy", "/-/ready", "/"] {
        let get = exporter.get(path).await;
        let head = client().head(exporter.url(path)).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
        assert_eq!(head.headers().get("content-type"), get.headers().get("content-type"), "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn nothing_else_is_served() {
    let (_upstream, exporter) = showing(certificates(3)).await;
    for path in
        ["/nonsense", "/metrics/", "/metrics/x", "/Metrics", "//metrics", "/healthz/", "/-/", "/-/reload", "/-/quit"]
    {
        assert_eq!(exporter.status(path).await, 404, "{path}");
    }
    for path in ["/metrics", "/healthz", "/readyz", "/-/healthy", "/-/ready"] {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let request = client().request(method.clone(), exporter.url(path)).body("x");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(response.headers()["allow"], "GET,HEAD", "{method} {path}");
        }
    }
    assert_eq!(exporter.status("/metrics?name[]=x").await, 200, "a query is no other page");
}

#[tokio::test]
async fn ready_means_that_there_is_something_to_show() {
    let hanging = RawServer::start("", Then::Hold).await;
    let exporter = Launch::once(&hanging.base_url()).start().await;
    until("the first poll is under way", async || (hanging.count() > 0).then_some(())).await;
    for (path, status) in [("/healthz", 200), ("/-/healthy", 200), ("/readyz", 503), ("/-/ready", 503)] {
        assert_eq!(exporter.status(path).await, status, "{path} before the first snapshot");
    }
    let page = exporter.page().await;
    assert_eq!((page.one("openai_cert_exporter_up"), page.one("openai_cert_exporter_polls_total")), (0.0, 0.0));
    for absent in ["last_poll_timestamp_seconds", "last_success_timestamp_seconds", "last_poll_duration_seconds"] {
        assert_eq!(page.find(&format!("openai_cert_exporter_{absent}"), &[]), None, "{absent}");
    }

    let upstream = Upstream::scripted(|number, _| match number {
        1 => crate::upstream::answer(&crate::upstream::page(&[certificate("a")], false)),
        _ => error_answer(500, None),
    })
    .await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
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
async fn every_reason_is_there_from_the_start() {
    let hanging = RawServer::start("", Then::Hold).await;
    let page = Launch::once(&hanging.base_url()).start().await.page().await;
    let mut reasons = page.labels("openai_cert_exporter_poll_failures_total", "reason");
    reasons.sort_unstable();
    let all = [
        "client",
        "credentials",
        "decode",
        "forbidden",
        "mtls_required",
        "network",
        "pagination",
        "rate_limited",
        "server",
        "timeout",
        "unauthorized",
    ];
    assert_eq!(reasons, all);
    assert_eq!(page.failures(), [].into());
}

#[tokio::test]
async fn it_is_sorted_and_the_same_from_scrape_to_scrape() {
    // In another order than the page's.
    let list = ["c", "B", "a", "ab", "a b", "é", "10", "9"].map(certificate);
    let (_upstream, exporter) = showing(list.into()).await;
    let (one, other) = (exporter.page().await, exporter.page().await);
    let families = |page: &Page| -> Vec<String> {
        page.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect()
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
async fn several_addresses_are_served() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(2)))).await;
    let exporter = Launch::once(&upstream.base_url()).arg("--web.listen-address=[::1]:0").start().await;
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
async fn a_whole_page() {
    let list = vec![
        certificate("cert_plain"),
        certificate_with("cert_inactive", json!({"active": false})),
        certificate_with("cert_unnamed", json!({"name": null})),
        certificate_with("cert_odd", json!({"name": "a \"quoted\" \\ and\nbroken 😀 <b>name</b>"})),
        certificate_with("cert_undated", json!({"created_at": null, "certificate_details": {}})),
        certificate_with("cert_old", json!({"certificate_details": {"valid_at": -1, "expires_at": 0}})),
        json!({"id": "cert_malformed"}),
        certificate("cert_plain"),
    ];
    let (_upstream, exporter) = showing(list).await;
    insta::assert_snapshot!(masked(&exporter.page().await.text));
}

/// The page without what is another in every run: its place says only that there was something.
fn masked(text: &str) -> String {
    const VOLATILE: [&str; 7] = [
        "openai_certificate_days_until_expiry{",
        "openai_cert_exporter_last_",
        "openai_cert_exporter_config_last_reload_success_timestamp_seconds",
        "openai_cert_exporter_api_request_duration_seconds_bucket{",
        "openai_cert_exporter_api_request_duration_seconds_sum",
        "process_",
        "openai_cert_exporter_build_info{",
    ];
    let mut page = String::new();
    for line in text.lines() {
        match line.rsplit_once(' ') {
            Some((series, _)) if VOLATILE.iter().any(|name| series.starts_with(name)) => {
                let series =
                    if series.contains("_build_info{") { "openai_cert_exporter_build_info{…}" } else { series };
                writeln!(page, "{series} [value]").unwrap();
            }
            _ => writeln!(page, "{line}").unwrap(),
        }
    }
    page
}

#[tokio::test]
async fn many_scrapers_at_once_get_whole_pages() {
    let (_upstream, exporter) = showing(certificates(200)).await;
    let scrapes = (0..50).map(|_| {
        let request = client().get(exporter.url("/metrics")).header("accept-encoding", "gzip").send();
        tokio::spawn(async move { request.await.unwrap().bytes().await.unwrap() })
    });
    for scrape in scrapes.collect::<Vec<_>>() {
        let body = tokio::time::timeout(DEADLINE, scrape).await.unwrap().unwrap();
        assert_eq!(Page::parse(&unpacked(&body)).unwrap().certificates().len(), 200);
    }
}
