//! What is asked again, how often and when.

use std::time::{Duration, SystemTime};

use wiremock::ResponseTemplate;

use crate::harness::{DEADLINE, Launch, all, until};
use crate::upstream::{RawServer, Then, Upstream, answer, certificate, error_answer, page};

/// So short that retries cost a test nothing.
fn at_once(status: u16) -> ResponseTemplate {
    error_answer(status, None).insert_header("retry-after-ms", "1")
}

fn good() -> ResponseTemplate {
    answer(&page(&[certificate("cert_a")], false))
}

async fn assert_requests(what: &str, bad: ResponseTemplate, max_retries: usize, expected: usize) {
    let upstream = Upstream::always(bad).await;
    let exporter = Launch::once(&upstream.base_url()).set("api.max_retries", &max_retries.to_string()).start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(upstream.count(), expected, "{what}");
    assert_eq!(page.failures().values().sum::<f64>(), 1.0, "{what}: a poll fails once");
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let retries = (expected - 1) as f64;
    assert_eq!(page.one("openai_cert_exporter_api_retries_total"), retries, "{what}");
    let counted: f64 = page.series("openai_cert_exporter_api_requests_total").iter().map(|sample| sample.value).sum();
    assert_eq!(counted, retries + 1.0, "{what}");
    assert_eq!(page.one("openai_cert_exporter_api_request_duration_seconds_count"), counted, "{what}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let again = [408, 409, 429, 500, 502, 503, 504, 529].map(|status| (status, 3));
    let never = [301, 400, 401, 403, 404, 410, 422].map(|status| (status, 1));
    all(again.into_iter().chain(never), async |(status, requests)| {
        assert_requests(&status.to_string(), at_once(status), 2, requests).await;
    })
    .await;
    assert_requests("never", at_once(503), 0, 1).await;
    assert_requests("often", at_once(503), 10, 11).await;
}

#[tokio::test]
async fn the_server_says_whether_to_try_again() {
    let told = |status: u16, value: &str| at_once(status).insert_header("x-should-retry", value);
    assert_requests("500 false", told(500, "false"), 2, 1).await;
    assert_requests("429 false", told(429, "false"), 2, 1).await;
    assert_requests("400 true", told(400, "true"), 2, 3).await;
    assert_requests("403 true", told(403, "true"), 2, 3).await;
    assert_requests("503 maybe", told(503, "maybe"), 2, 3).await;
    assert_requests("a rejected key stays rejected", told(401, "true"), 2, 1).await;
}

#[tokio::test]
async fn a_retry_that_works_saves_the_poll() {
    let upstream = Upstream::scripted(|number, _| if number < 2 { at_once(500) } else { good() }).await;
    let exporter = Launch::once(&upstream.base_url()).set("api.max_retries", "3").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(page.certificates(), ["cert_a"]);
    assert_eq!(page.failures(), [].into());
    assert_eq!(page.one("openai_cert_exporter_api_retries_total"), 2.0);
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":[";
    for answer in [half, ""] {
        let upstream = RawServer::start(answer, Then::Close).await;
        let exporter = Launch::once(&upstream.base_url()).set("api.max_retries", "1").start().await;
        let page = exporter.page_after_polls(1).await;
        assert_eq!(upstream.count(), 2);
        assert_eq!(page.failures(), [("network", 1.0)].into());
    }
}

#[tokio::test]
async fn a_request_that_times_out_is_tried_again() {
    let upstream = RawServer::start("", Then::Hold).await;
    let launch = Launch::once(&upstream.base_url()).set("api.max_retries", "1").set("api.request_timeout", "200ms");
    let page = launch.start().await.page_after_polls(1).await;
    assert_eq!(upstream.count(), 2);
    assert_eq!(page.failures(), [("timeout", 1.0)].into());
    let timeouts = [("endpoint", "certificates"), ("code", "timeout")];
    assert_eq!(page.find("openai_cert_exporter_api_requests_total", &timeouts), Some(2.0));
}

/// The pause between the first request, answered with these headers, and the second.
async fn pause_after(status: u16, headers: Vec<(&'static str, String)>) -> Duration {
    let upstream = Upstream::scripted(move |number, _| {
        if number == 0 {
            let answer = ResponseTemplate::new(status);
            headers.iter().fold(answer, |answer, (name, value)| answer.insert_header(*name, value.as_str()))
        } else {
            good()
        }
    })
    .await;
    let exporter = Launch::once(&upstream.base_url()).set("api.max_retries", "1").start().await;
    assert_eq!(exporter.page_after_polls(1).await.certificates(), ["cert_a"]);
    let arrivals = upstream.arrivals();
    assert_eq!(arrivals.len(), 2);
    arrivals[1] - arrivals[0]
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept() {
    // A date has whole seconds, so it is up to one sooner than what it was made of.
    let due = SystemTime::now() + Duration::from_secs(5);
    let until_date = async {
        let pause = pause_after(429, vec![("retry-after", httpdate(due))]).await;
        assert!(SystemTime::now() > due - Duration::from_secs(1), "asked again before the date, after {pause:?}");
        pause
    };
    let (seconds, fraction, millis, first, date) = tokio::join!(
        pause_after(429, vec![("retry-after", "1".into())]),
        pause_after(503, vec![("retry-after", "1.2".into())]),
        pause_after(500, vec![("retry-after-ms", "1100".into())]),
        pause_after(429, vec![("retry-after-ms", "900".into()), ("retry-after", "60".into())]),
        until_date,
    );
    for (what, pause, least) in [
        ("seconds", seconds, 1_000),
        ("a fraction", fraction, 1_200),
        ("milliseconds", millis, 1_100),
        ("milliseconds first", first, 900),
        ("a date", date, 0),
    ] {
        assert!(pause >= Duration::from_millis(least), "{what}: asked again after {pause:?}");
        assert!(pause < DEADLINE, "{what}: asked again after {pause:?}");
    }
}

/// An HTTP date, made by the system's own tool.
fn httpdate(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let date = std::process::Command::new("date")
        .env("LC_ALL", "C")
        .args(["--utc", &format!("--date=@{seconds}"), "+%a, %d %b %Y %H:%M:%S GMT"])
        .output()
        .unwrap();
    String::from_utf8(date.stdout).unwrap().trim().into()
}

#[tokio::test]
async fn a_wait_that_cannot_be_read_asks_for_nothing() {
    all(["soon", "-5", "NaN", "inf", "", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "1e9"], async |value| {
        assert!(pause_after(429, vec![("retry-after", value.into())]).await < DEADLINE, "{value}");
    })
    .await;
}

#[tokio::test]
async fn a_wait_longer_than_the_poll_ends_it_and_holds_the_next() {
    all([429, 503], async |status| {
        let upstream = Upstream::scripted(move |number, _| match number {
            0 => ResponseTemplate::new(status).insert_header("retry-after", "2"),
            _ => good(),
        })
        .await;
        let launch = Launch::often(&upstream.base_url()).set("api.max_retries", "5").set("poll.timeout", "1s");
        let exporter = launch.start().await;
        let page = exporter.page_after_polls(1).await;
        assert_eq!(page.failures(), [("rate_limited", 1.0)].into(), "{status}");
        assert!(page.one("openai_cert_exporter_last_poll_duration_seconds") < 1.0, "it waits for nothing");
        until("the next poll", async || (upstream.count() >= 2).then_some(())).await;
        let arrivals = upstream.arrivals();
        assert!(arrivals[1] - arrivals[0] >= Duration::from_secs(2), "{:?}", arrivals[1] - arrivals[0]);
        assert_eq!(exporter.status("/healthz").await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_wait_is_kept_between_polls_too() {
    // No retry is left, so the poll ends; the wish holds for the next one all the same.
    let upstream = Upstream::scripted(|number, _| match number {
        0 => ResponseTemplate::new(429).insert_header("retry-after", "2"),
        _ => good(),
    })
    .await;
    let _exporter = Launch::often(&upstream.base_url()).start().await;
    until("the next poll", async || (upstream.count() >= 2).then_some(())).await;
    let arrivals = upstream.arrivals();
    assert!(arrivals[1] - arrivals[0] >= Duration::from_secs(2), "{:?}", arrivals[1] - arrivals[0]);
}

#[tokio::test]
async fn no_wait_holds_polls_for_more_than_an_hour() {
    all(["86400", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"], async |absurd| {
        let upstream = Upstream::always(ResponseTemplate::new(429).insert_header("retry-after", absurd)).await;
        let exporter = Launch::often(&upstream.base_url()).start().await;
        assert_eq!(exporter.page_after_polls(1).await.failures(), [("rate_limited", 1.0)].into());
        let line = until("the next poll is told", async || exporter.log_lines("next poll").pop()).await;
        let seconds: f64 = line.rsplit_once("in_seconds=").unwrap().1.parse().unwrap();
        assert!((3_599.0..3_602.0).contains(&seconds), "{absurd}: {line}");
        assert_eq!(exporter.status("/healthz").await, 200, "a loop that was told to wait is alive");
    })
    .await;
}
