//! When polls happen, and with which key.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use crate::harness::{KEY, Launch, until};
use crate::upstream::{Organization, RawServer, Then, Upstream, answer, certificate, certificates, page};

#[tokio::test]
async fn polls_go_on_after_failures() {
    let whole = answer(&page(&certificates(1), false));
    let upstream = Upstream::scripted(move |number, _| match number {
        0 => ResponseTemplate::new(500),
        1 => ResponseTemplate::new(200).set_body_string("<html>"),
        2 => ResponseTemplate::new(401),
        _ => whole.clone(),
    })
    .await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
    let page = exporter.page_when("a poll succeeds", |page| page.one("openai_cert_exporter_up") == 1.0).await;
    assert_eq!(page.failures(), [("decode", 1.0), ("server", 1.0), ("unauthorized", 1.0)].into());
}

#[tokio::test]
async fn polls_never_overlap() {
    // Each takes three intervals, so that an overlapping one would come early.
    let takes = Duration::from_millis(300);
    let whole = answer(&page(&certificates(1), false)).set_delay(takes);
    let upstream = Upstream::always(whole).await;
    let exporter = Launch::often(&upstream.base_url()).start().await;
    let page = exporter.page_after_polls(5).await;
    assert!(page.one("openai_cert_exporter_last_poll_duration_seconds") >= 0.3);
    let arrivals = upstream.arrivals();
    for pair in arrivals.windows(2) {
        assert!(pair[1] - pair[0] >= takes, "{:?} apart", pair[1] - pair[0]);
    }
}

#[tokio::test]
async fn a_poll_ends_at_its_own_deadline() {
    // Each page comes in good time, but there are too many.
    let upstream = Upstream::scripted(|number, _| {
        let page = page(&[certificate(&format!("cert_{number}"))], true);
        answer(&page).set_delay(Duration::from_millis(100))
    })
    .await;
    let exporter = Launch::once(&upstream.base_url()).set("poll.timeout", "500ms").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(page.failures(), [("timeout", 1.0)].into());
    assert!(page.one("openai_cert_exporter_last_poll_duration_seconds") >= 0.5);
    assert!(upstream.count() <= 6, "{} requests", upstream.count());
}

#[tokio::test]
async fn polls_keep_their_interval() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(1)))).await;
    let exporter = Launch::once(&upstream.base_url()).set("poll.interval", "500ms").start().await;
    exporter.page_after_polls(4).await;
    // Poll n starts n intervals after the first, give or take a tenth of one; a busy machine may only be late.
    let arrivals = upstream.arrivals();
    for (number, arrival) in (0..).zip(&arrivals) {
        let least = Duration::from_millis(500).mul_f64(f64::from(number) - 0.1_f64.min(f64::from(number)));
        // The first request is as late as its connection takes, the later ones reuse it.
        let slack = Duration::from_millis(150);
        assert!(*arrival - arrivals[0] + slack >= least, "poll {number} came after {:?}", *arrival - arrivals[0]);
    }
}

#[tokio::test]
async fn the_key_file_is_read_for_each_poll() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, format!("  {KEY}-1\r\n\n")).unwrap();
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(2)))).await;
    let launch = Launch::often(&upstream.base_url())
        .without_env("OPENAI_ADMIN_KEY")
        .set("api.admin_key_file", file.to_str().unwrap());
    let exporter = launch.start().await;
    let used = async |key: String| {
        let header = format!("Bearer {key}");
        until("the key is used", async || {
            upstream.requests().await.iter().any(|request| request.headers["authorization"] == header).then_some(())
        })
        .await;
    };
    used(format!("{KEY}-1")).await;
    // As Kubernetes does: another file takes its place.
    std::fs::write(folder.path().join("next"), format!("{KEY}-2")).unwrap();
    std::fs::rename(folder.path().join("next"), &file).unwrap();
    used(format!("{KEY}-2")).await;

    for fault in ["missing", "empty", "white space", "two lines", "no text", "no ASCII"] {
        match fault {
            "missing" => std::fs::remove_file(&file).unwrap(),
            "empty" => std::fs::write(&file, "").unwrap(),
            "white space" => std::fs::write(&file, " \n\t\n").unwrap(),
            "two lines" => std::fs::write(&file, format!("{KEY}\n{KEY}\n")).unwrap(),
            "no text" => std::fs::write(&file, [KEY.as_bytes(), b"\xff"].concat()).unwrap(),
            _ => std::fs::write(&file, format!("{KEY}é")).unwrap(),
        }
        let seen = |page: &crate::page::Page| page.failures().get("credentials").copied().unwrap_or_default();
        let before = seen(&exporter.page().await);
        let page = exporter.page_when(fault, |page| seen(page) >= before + 2.0).await;
        assert_eq!(page.failures().len(), 1, "{fault}: {:?}", page.failures());
        assert_eq!(page.one("openai_cert_exporter_up"), 0.0, "{fault}");
        assert_eq!(page.certificates().len(), 2, "{fault}: the last snapshot stays");
    }
    let sent = upstream.count();
    exporter.page_after_polls(3).await;
    assert_eq!(upstream.count(), sent, "nothing is sent without a key");

    std::fs::write(&file, format!("{KEY}-3")).unwrap();
    used(format!("{KEY}-3")).await;
    exporter.page_when("a poll succeeds", |page| page.one("openai_cert_exporter_up") == 1.0).await;
    let log = exporter.stop().await.stderr;
    assert!(log.contains(&format!("the admin key file {} cannot be read: No such file", file.display())), "{log}");
    assert!(log.contains(&format!("the admin key file {} is empty", file.display())), "{log}");
}

#[tokio::test]
async fn loopback_is_never_proxied() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let proxied = |mut launch: Launch| {
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            launch = launch.env(name, &address);
        }
        launch
    };
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(2)))).await;
    let port = upstream.base_url().replace("127.0.0.1", "localhost");
    for base_url in [upstream.base_url(), port] {
        let page = proxied(Launch::once(&base_url)).start().await.page_after_polls(1).await;
        assert_eq!(page.certificates().len(), 2, "{base_url}");
    }
    let nothing = tokio::time::timeout(Duration::ZERO, proxy.accept()).await;
    assert!(nothing.is_err(), "the proxy was asked");
    drop(proxy);

    // A proxy is used for any other host: so it would have been seen above.
    let proxy = RawServer::start("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", Then::Close).await;
    let launch = Launch::once("http://openai.invalid/v1")
        .set("api.insecure_http", "true")
        .env("HTTP_PROXY", &format!("http://{}", proxy.address));
    let page = launch.start().await.page_after_polls(1).await;
    assert_eq!(page.failures(), [("server", 1.0)].into());
    assert_eq!(proxy.count(), 1);
}
