//! The status page as the server sends it. What a browser makes of it is tested in `tests/browser`.

use crate::api::{Answer, Api, DemoCertificate, With as _, certificate, certificates};
use crate::binary::{Exporter, Launch, assert_no_key};
use crate::script::{Script, error};
use crate::wait::until;

const HOSTILE: &str =
    "</title></table><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u{202e}\n\u{1b}[31m";

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
    for rule in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]
    {
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

async fn showing(list: Vec<DemoCertificate>) -> String {
    let api = Api::listing(list).await;
    let exporter = api.once().start().await;
    exporter.page_after_polls(1).await;
    page(&exporter).await
}

/// The page as it would be if names were not links.
pub(crate) fn without_links(page: &str) -> String {
    let is_of_link = |tag: &str| tag.starts_with("a ") || ["/a", "bdi", "/bdi"].contains(&tag);
    let (first, parts) = page.split_once('<').unwrap();
    let parts = parts.split('<').map(|part| match part.split_once('>') {
        Some((tag, text)) if is_of_link(tag) => text.to_string(),
        _ => format!("<{part}"),
    });
    std::iter::once(first.to_string()).chain(parts).collect()
}

fn rows(page: &str) -> usize {
    page.matches("<tr role=\"row\" id=").count()
}

#[tokio::test]
async fn page_shows_every_certificate_and_scope() {
    let exporter = Launch::demo().start().await;
    exporter.page_after_polls(1).await;
    let page = page(&exporter).await;
    assert_eq!(rows(&page), 48 + 12 + 17, "certificates, scopes, clients");
    for expected in [
        "8 client certificates are refused.",
        "<dt>First scopes to stop</dt><dd>the organization, project Internal tools and project Batch pipeline, in 3 days (",
        "ci-runners-2025 expires in ",
        "Checkout",
    ] {
        assert!(without_links(&page).contains(expected), "{expected}");
    }
    // What ends first comes first.
    let at = |name: &str| page.find(&format!("scope=\"row\"><bdi>{name}</bdi>")).unwrap();
    assert!(
        at("batch-pipeline-2025") < at("webhook-relay-2025")
            && at("webhook-relay-2025") < at("ci-runners-2025")
    );
    for link in [
        "metrics",
        "api/v1/certificates",
        "api/v1/openapi.json",
        "healthz",
        "readyz",
        "status.css",
        "status.js",
        "status.svg",
    ] {
        assert!(page.contains(&format!("\"{link}\"")), "{link}");
        assert_eq!(exporter.status(&format!("/{link}")).await, 200, "{link}");
    }
    // Shown when nobody answers any more, so that it must be in the browser's cache by then.
    let icon = exporter.get("/lost.svg").await;
    assert_eq!(icon.headers()["cache-control"], "max-age=2592000");
}

#[tokio::test]
async fn names_cannot_leave_their_place() {
    let page = showing(vec![certificate("<script>\"'&").named(HOSTILE)]).await;
    assert_eq!(page.matches("<script").count(), 1, "its own");
    assert!(
        !page.contains("<img") && !page.contains('\u{202e}') && !page.contains('\u{1b}'),
        "{page}"
    );
    assert!(page.contains("\\u{202e}"), "what cannot be seen is spelled out");
    // Nothing within the page that its own policy would refuse.
    assert!(
        !page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"),
        "{page}"
    );
}

#[tokio::test]
async fn thousand_rows_are_less_than_a_megabyte() {
    let plain = showing(certificates(1_000)).await;
    assert_eq!(rows(&plain), 1_000 + 1);
    assert!(plain.len() < 1_000_000, "{}", plain.len());

    let many = showing(certificates(1_003)).await;
    assert_eq!(rows(&many), 1_000 + 1);
    assert!(
        many.contains("3 more are neither shown here nor found"),
        "what is left out is counted"
    );
}

#[tokio::test]
async fn organization_without_certificates_is_said_to_be_one() {
    let page = showing(Vec::new()).await;
    assert!(
        without_links(&page).contains(
            "Mutual TLS is not enforced at the organization: no certificate is active there."
        ),
        "{page}"
    );
}

#[tokio::test]
async fn date_that_no_calendar_has_is_not_shown() {
    let page = showing(vec![certificate("a").dated(Some(i64::MIN), Some(i64::MAX))]).await;
    assert!(page.contains("1 list entry could not be read in full."), "{page}");
    assert!(
        without_links(&page)
            .contains("Whether requests from the organization are refused is not known."),
        "{page}"
    );
    assert!(page.contains("</svg>Dates unknown</td>"), "{page}");
}

#[tokio::test]
async fn before_the_first_success_nothing_is_claimed() {
    let api = Script::of([error(503, None)]).await;
    let exporter = api.often().start().await;
    let page = page_with(&exporter, "the list of certificates has not been read").await;
    let failure = format!("{} answered 503 Service Unavailable", api.address());
    assert!(page.contains(&failure), "{page}");
    assert!(page.contains("The last poll failed"), "{page}");
    assert_eq!(rows(&page), 0);
}

#[tokio::test]
async fn page_says_when_what_it_shows_is_stale() {
    let api = Api::listing(certificates(1)).await;
    let exporter = api.often().start().await;
    exporter.page_after_polls(1).await;
    api.answers(|_| Some(Answer::status(500)));
    let page = page_with(&exporter, "Stale: what is shown is ").await;
    assert!(
        page.contains("class=\"banner critical\"") && page.contains(" answered 500 "),
        "{page}"
    );
    assert_eq!(rows(&page), 2, "what was known is still shown");
}

#[tokio::test]
async fn poll_that_is_well_raises_no_banner() {
    let page = showing(certificates(1)).await;
    assert!(!page.contains("Stale") && !page.contains("failed"), "{page}");
    assert!(
        without_links(&page).contains(
            "The organization is covered until 2 October 2096, when name of cert_0000 expires."
        ),
        "{page}"
    );
}
