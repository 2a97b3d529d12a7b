//! What users see while the API fails after it had worked, and when it works again.

use crate::api::{Answer, Api, DAY, With as _, certificate, certificates, now};
use crate::page::Page;
use crate::script::{Script, error};

#[tokio::test]
async fn page_that_fails_for_good_leaves_the_last_snapshot_in_place() {
    let api = Api::listing(certificates(150)).await;
    let exporter = api.often().start().await;
    let before = exporter.page_after_polls(1).await;
    assert_eq!((before.certificates().len(), before.is_up()), (150, true));

    api.answers(|request| request.query("after").map(|_| Answer::status(500)));
    let failing = exporter.page_when("a poll fails", |page| !page.is_up()).await;
    // A change on a page that can still be read is not shown either: nobody sees half of a list.
    api.now_lists(certificates(101));
    let days = |page: &Page| page.of("cert_0000", "openai_certificate_days_until_expiry").unwrap();
    let enough = failing.polls() + 3.0;
    let later = exporter
        .page_when("polls fail on while days fall", |page| {
            page.polls() >= enough && days(page) < days(&failing)
        })
        .await;
    assert!(!later.is_up());
    assert_eq!(later.certificates(), before.certificates());
    let success = "openai_cert_exporter_last_success_timestamp_seconds";
    assert_eq!(later.one(success), failing.one(success), "it stands still");
    assert!(later.one("openai_cert_exporter_last_poll_timestamp_seconds") > later.one(success));
    assert_eq!((exporter.status("/readyz").await, exporter.status("/healthz").await), (200, 200));
    // Each failed poll has counted its reason once, and no other.
    let failures = |page: &Page| page.failures()["server"];
    assert_eq!(later.polls() - failing.polls(), failures(&later) - failures(&failing));
    assert_eq!(later.reasons(), ["server"]);

    api.answers_well();
    let after = exporter.page_when_up().await;
    assert_eq!(after.certificates().len(), 101, "what is gone is gone from the next whole list");
    assert!(after.one(success) > later.one(success));
}

#[tokio::test]
async fn before_the_first_snapshot_there_is_nothing_to_show() {
    let api = Script::of([error(503, None)]).await;
    let exporter = api.often().start().await;
    let page = exporter.page_after_polls(2).await;
    assert!(!page.is_up());
    for absent in
        ["last_success_timestamp_seconds", "malformed_certificates", "duplicate_certificates"]
    {
        assert_eq!(page.find(&format!("openai_cert_exporter_{absent}"), &[]), None, "{absent}");
    }
    assert_eq!((exporter.status("/healthz").await, exporter.status("/readyz").await), (200, 503));
}

#[tokio::test]
async fn days_are_counted_at_the_moment_of_the_scrape() {
    let ending = |id: &str, days: i64| certificate(id).dated(None, Some(now() + days * DAY));
    let api =
        Api::listing(vec![ending("tomorrow", 1), ending("yesterday", -1), certificate("far")])
            .await;
    let page = api.once().start().await.page_after_polls(1).await;
    let days = |id: &str| page.of(id, "openai_certificate_days_until_expiry").unwrap();
    // Within a minute, in which any machine gets this far.
    let minute = 60.0 / 86_400.0;
    assert!((1.0 - minute..=1.0).contains(&days("tomorrow")), "{}", days("tomorrow"));
    assert!((-1.0 - minute..=-1.0).contains(&days("yesterday")), "{}", days("yesterday"));
    for sample in page.series("openai_certificate_days_until_expiry") {
        assert_eq!(sample.value, (sample.value * 1e5).round() / 1e5, "five digits");
    }
}
