//! What is asked again, how often and when. Which statuses and which waits are tested beside `src/openai`.

use std::time::Duration;

use wiremock::ResponseTemplate;

use crate::api::{Api, Then, entry, list_page};
use crate::script::{Script, error, text};
use crate::wait::all;

/// So short a wait that retries cost a test nothing.
fn at_once(status: u16) -> ResponseTemplate {
    error(status, None).insert_header("retry-after-ms", "1")
}

fn good() -> ResponseTemplate {
    text(&list_page(&[entry("cert_a")], false))
}

#[tokio::test]
async fn poll_asks_again_as_often_as_it_may_and_counts_that() {
    let told = |status: u16, value: &str| at_once(status).insert_header("x-should-retry", value);
    let cases = [
        ("a status that may pass", at_once(503), 2, 3),
        ("one that does not pass", at_once(404), 2, 1),
        ("no retries are allowed", at_once(503), 0, 1),
        ("many are", at_once(503), 10, 11),
        ("the server knows better", told(400, "true"), 2, 3),
        ("the server advises against it", told(429, "false"), 2, 1),
        ("a rejected key stays rejected", told(401, "true"), 2, 1),
    ];
    all(cases, async |(what, answer, max_retries, requests)| {
        let api = Script::of([answer]).await;
        let page = api
            .once()
            .set("api.max_retries", &max_retries.to_string())
            .start()
            .await
            .page_after_polls(1)
            .await;
        assert_eq!(api.count(), requests, "{what}");
        assert_eq!(page.failures().values().sum::<f64>(), 1.0, "{what}: a poll fails once");
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let requests = requests as f64;
        assert_eq!(page.one("openai_cert_exporter_api_retries_total"), requests - 1.0, "{what}");
        let counted = page
            .series("openai_cert_exporter_api_requests_total")
            .iter()
            .map(|sample| sample.value)
            .sum();
        assert_eq!(
            (requests, page.one("openai_cert_exporter_api_request_duration_seconds_count")),
            (counted, counted)
        );
    })
    .await;
}

#[tokio::test]
async fn retry_that_works_saves_the_poll() {
    let api = Script::of([at_once(500), at_once(500), good()]).await;
    let page = api.once().set("api.max_retries", "3").start().await.page_after_polls(1).await;
    assert_eq!((page.certificates(), page.failures()), (vec!["cert_a"], [].into()));
    assert_eq!(page.one("openai_cert_exporter_api_retries_total"), 2.0);
}

#[tokio::test]
async fn connection_that_breaks_or_says_nothing_is_tried_again() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":[";
    let cases =
        [(half, Then::Close, "network"), ("", Then::Close, "network"), ("", Then::Hold, "timeout")];
    all(cases, async |(answer, then, reason)| {
        let api = Api::of_bytes(answer, then).await;
        let launch = api.once().set("api.max_retries", "1").set("api.request_timeout", "300ms");
        let page = launch.start().await.page_after_polls(1).await;
        assert_eq!((api.count(), page.failures()), (2, [(reason, 1.0)].into()), "{answer}");
        let labels = [("endpoint", "certificates"), ("code", reason)];
        assert_eq!(
            page.find("openai_cert_exporter_api_requests_total", &labels),
            Some(2.0),
            "{answer}"
        );
    })
    .await;
}

#[tokio::test]
async fn wait_that_is_asked_for_is_kept() {
    let asked = |name: &'static str, value: &str| error(429, None).insert_header(name, value);
    let cases = [
        (asked("retry-after-ms", "600"), 600..30_000),
        (asked("retry-after", "0.6"), 600..30_000),
        // What cannot be read asks for nothing: then it backs off, by half a second less a quarter at first.
        (asked("retry-after", "soon"), 375..30_000),
        (asked("retry-after", "1e9"), 375..30_000),
    ];
    all(cases, async |(answer, milliseconds)| {
        let api = Script::of([answer, good()]).await;
        let exporter = api.once().set("api.max_retries", "1").start().await;
        assert_eq!(exporter.page_after_polls(1).await.certificates(), ["cert_a"]);
        let pause = api.pause_after(0).await.as_millis();
        assert!(milliseconds.contains(&pause), "asked again after {pause} ms");
    })
    .await;
}

#[tokio::test]
async fn wait_longer_than_the_poll_ends_it_at_once_and_holds_the_next() {
    // With no retry left, the wish holds for the next poll all the same.
    all([(429, "5"), (503, "5"), (429, "0")], async |(status, max_retries)| {
        let api =
            Script::of([error(status, None).insert_header("retry-after-ms", "1500"), good()]).await;
        let exporter =
            api.often().set("api.max_retries", max_retries).set("poll.timeout", "1s").start().await;
        let page = exporter.page_after_polls(1).await;
        assert_eq!(page.failures(), [("rate_limited", 1.0)].into(), "{status}");
        assert!(
            page.one("openai_cert_exporter_last_poll_duration_seconds") < 1.0,
            "it waits for nothing"
        );
        let pause = api.pause_after(0).await;
        assert!(pause >= Duration::from_millis(1_500), "{status}: {pause:?}");
        assert_eq!(exporter.status("/healthz").await, 200);
    })
    .await;
}

#[tokio::test]
async fn no_wait_holds_polls_for_more_than_an_hour() {
    all(["86401", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"], async |absurd| {
        let api =
            Script::of([ResponseTemplate::new(429).insert_header("retry-after", absurd)]).await;
        let exporter = api.often().start().await;
        assert_eq!(exporter.page_after_polls(1).await.failures(), [("rate_limited", 1.0)].into());
        exporter.line_saying("with a Retry-After of more than a day, longer than").await;
        let line = exporter.line_saying("next poll").await;
        let seconds: f64 = line.rsplit_once("in_seconds=").unwrap().1.parse().unwrap();
        assert!((3_599.0..3_602.0).contains(&seconds), "{absurd}: {line}");
        assert_eq!(exporter.status("/healthz").await, 200, "a loop that was told to wait is alive");
    })
    .await;
}
