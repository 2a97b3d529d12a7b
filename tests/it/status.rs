//! The status page as the server sends it. What a browser makes of it is tested in `tests/browser`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{Exporter, Launch, assert_no_key, until};
use crate::upstream::{Organization, Upstream, certificate_with, certificates, error_answer, text_answer};

const HOSTILE: &str = "</title></table><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u{202e}\n\u{1b}[31m";

async fn page(exporter: &Exporter) -> String {
    let response = exporter.get("/").await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let text = response.text().await.unwrap();
    assert_no_key("the status page", &text);
    let header = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("x-frame-options"), "DENY");
    let policy = header("content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    text
}

async fn page_with(exporter: &Exporter, text: &str) -> String {
    until(&format!("the page says {text:?}"), async || {
        let page = page(exporter).await;
        page.contains(text).then_some(page)
    })
    .await
}

async fn showing(list: Vec<Value>) -> String {
    let upstream = Upstream::organization(&Arc::new(Organization::of(list))).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await;
    page(&exporter).await
}

fn rows(page: &str) -> usize {
    page.matches("<tr role=\"row\" class=").count()
}

#[tokio::test]
async fn it_shows_every_certificate_and_scope() {
    let exporter = Launch::bare(&["demo", "--web.listen-address=127.0.0.1:0"]).start().await;
    exporter.page_after_polls(1).await;
    let page = page(&exporter).await;
    assert_eq!(rows(&page), 48 + 12);
    for text in ["The organization and 2 projects are covered for 3 days only, until ", "ci-runners-2025", "Checkout"] {
        assert!(page.contains(text), "{text}");
    }
    // What ends first comes first.
    let at = |name: &str| page.find(&format!("<bdi>{name}</bdi>")).unwrap();
    assert!(at("batch-pipeline-2025") < at("webhook-relay-2025") && at("webhook-relay-2025") < at("ci-runners-2025"));
    for link in
        ["metrics", "api/v1/certificates", "api/v1/openapi.json", "healthz", "readyz", "status.css", "status.js"]
    {
        assert!(page.contains(&format!("\"{link}\"")), "{link}");
        assert_eq!(exporter.status(&format!("/{link}")).await, 200, "{link}");
    }
}

#[tokio::test]
async fn names_cannot_leave_their_place() {
    let page = showing(vec![certificate_with("<script>\"'&", json!({"name": HOSTILE}))]).await;
    assert_eq!(page.matches("<script").count(), 1, "its own");
    assert!(!page.contains("<img") && !page.contains('\u{202e}') && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("\\u{202e}"), "what cannot be seen is spelled out");
    // Nothing within the page that its own policy would refuse.
    assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"), "{page}");
}

#[tokio::test]
async fn a_thousand_rows_are_less_than_a_megabyte() {
    let plain = showing(certificates(1_000)).await;
    assert_eq!(rows(&plain), 1_000 + 1);
    assert!(plain.len() < 1_000_000, "{}", plain.len());

    let many = showing(certificates(1_003)).await;
    assert_eq!(rows(&many), 1_000 + 1);
    assert!(many.contains("3 more are not shown here"), "what is left out is counted");
}

#[tokio::test]
async fn an_empty_organization_is_said_to_be_one() {
    let page = showing(Vec::new()).await;
    assert!(page.contains("Mutual TLS is not enforced at the organization: no certificate is active there."), "{page}");
}

#[tokio::test]
async fn a_date_that_no_calendar_has_is_out_of_range() {
    let dates = json!({"certificate_details": {"valid_at": i64::MIN, "expires_at": i64::MAX}});
    let page = showing(vec![certificate_with("a", dates)]).await;
    assert!(page.contains("The organization is covered until out of range."), "{page}");
    assert!(page.contains("<time>out of range</time>"), "{page}");
}

#[tokio::test]
async fn before_the_first_success_nothing_is_claimed() {
    let upstream = Upstream::always(error_answer(503, None)).await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
    let page = page_with(&exporter, "no poll has succeeded yet").await;
    assert!(page.contains("server (answered 503 Service Unavailable)"), "{page}");
    assert!(page.contains("The last poll failed"), "{page}");
    assert_eq!(rows(&page), 0);
}

#[tokio::test]
async fn it_says_when_what_it_shows_is_stale() {
    let upstream = Upstream::scripted(|number, _| match number {
        0 => text_answer(crate::upstream::page(&certificates(1), false).to_string()),
        _ => error_answer(500, None),
    })
    .await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
    let page = page_with(&exporter, "Stale: what is shown is ").await;
    assert!(page.contains("class=\"banner critical\"") && page.contains("server (answered 500"), "{page}");
    assert_eq!(rows(&page), 2, "what was known is still shown");
}

#[tokio::test]
async fn a_poll_that_is_well_raises_no_banner() {
    let page = showing(certificates(1)).await;
    assert!(!page.contains("Stale") && !page.contains("failed"), "{page}");
    assert!(page.contains("The organization is covered until 2 October 2096."), "{page}");
}
