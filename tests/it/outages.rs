//! What users see while the upstream fails after it had worked, and when it works again.

use std::sync::Arc;

use serde_json::json;

use crate::harness::Launch;
use crate::upstream::{Organization, Upstream, certificate, certificate_with, certificates, error_answer};

#[tokio::test]
async fn a_page_that_fails_for_good_leaves_the_last_snapshot_in_place() {
    let organization = Arc::new(Organization::of(certificates(150)));
    let upstream = Upstream::organization(&organization).await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
    let before = exporter.page_after_polls(1).await;
    assert_eq!(before.certificates().len(), 150);
    assert_eq!(before.one("openai_cert_exporter_up"), 1.0);

    organization.later_pages_are(Some(error_answer(500, None)));
    let failing = exporter.page_when("a poll fails", |page| page.one("openai_cert_exporter_up") == 0.0).await;
    // A change on a page that can still be read is not shown either: nobody sees half of a list.
    organization.now_has(certificates(101));
    let enough = failing.one("openai_cert_exporter_polls_total") + 3.0;
    let days = failing.of("cert_0000", "openai_certificate_days_until_expiry").unwrap();
    let later = exporter
        .page_when("polls fail on while days fall", |page| {
            page.one("openai_cert_exporter_polls_total") >= enough
                && page.of("cert_0000", "openai_certificate_days_until_expiry").unwrap() < days
        })
        .await;

    assert_eq!(later.one("openai_cert_exporter_up"), 0.0);
    assert_eq!(later.certificates(), before.certificates());
    let success = "openai_cert_exporter_last_success_timestamp_seconds";
    assert_eq!(later.one(success), failing.one(success), "it stands still");
    assert!(later.one("openai_cert_exporter_last_poll_timestamp_seconds") > later.one(success));
    assert_eq!(exporter.status("/readyz").await, 200);
    assert_eq!(exporter.status("/healthz").await, 200);
    // Each failed poll has counted its reason once, and no other.
    let polls = |page: &crate::page::Page| page.one("openai_cert_exporter_polls_total");
    let failures = |page: &crate::page::Page| page.failures().get("server").copied().unwrap_or_default();
    assert_eq!(polls(&later) - polls(&failing), failures(&later) - failures(&failing));
    assert_eq!(later.failures().len(), 1, "{:?}", later.failures());

    organization.later_pages_are(None);
    let after = exporter.page_when("a poll succeeds", |page| page.one("openai_cert_exporter_up") == 1.0).await;
    assert_eq!(after.certificates().len(), 101, "what is gone is gone from the next whole list");
    assert!(after.one(success) > later.one(success));
}

#[tokio::test]
async fn before_the_first_snapshot_there_is_nothing_to_show() {
    let upstream = Upstream::always(error_answer(503, None)).await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
    let page = exporter.page_after_polls(2).await;
    assert_eq!(page.one("openai_cert_exporter_up"), 0.0);
    for absent in ["last_success_timestamp_seconds", "malformed_certificates", "duplicate_certificates"] {
        assert_eq!(page.find(&format!("openai_cert_exporter_{absent}"), &[]), None, "{absent}");
    }
    assert_eq!(exporter.status("/healthz").await, 200);
    assert_eq!(exporter.status("/readyz").await, 503);
}

#[tokio::test]
async fn days_are_counted_at_the_moment_of_the_scrape() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let details = |expires_at: u64| json!({"certificate_details": {"expires_at": expires_at}});
    let list = vec![
        certificate_with("tomorrow", details(now + 86_400)),
        certificate_with("yesterday", details(now - 86_400)),
        certificate("far"),
    ];
    let upstream = Upstream::organization(&Arc::new(Organization::of(list))).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    let page = exporter.page_after_polls(1).await;
    let days = |id: &str| page.of(id, "openai_certificate_days_until_expiry").unwrap();
    // Within a minute, in which any machine gets this far.
    let minute = 60.0 / 86_400.0;
    assert!((1.0 - minute..=1.0).contains(&days("tomorrow")), "{}", days("tomorrow"));
    assert!((-1.0 - minute..=-1.0).contains(&days("yesterday")), "{}", days("yesterday"));
    for sample in page.series("openai_certificate_days_until_expiry") {
        let rounded = (sample.value * 1e5).round() / 1e5;
        assert_eq!(sample.value, rounded, "five digits");
    }
}
