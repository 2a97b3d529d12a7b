//! When polls happen, and with which key.

use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use crate::api::{Answer, Api, certificate, certificates, entry, list_page};
use crate::binary::{KEY, Launch};
use crate::page::Page;
use crate::script::{Script, error, text};
use crate::wait::until;

#[tokio::test]
async fn polls_go_on_after_failures() {
    let answers = [
        error(500, None),
        text("<html>"),
        error(401, None),
        text(&list_page(&[entry("cert_a")], false)),
    ];
    let api = Script::of(answers).await;
    let exporter = api.often().start().await;
    let page = exporter.page_when_up().await;
    assert_eq!(page.failures(), [("decode", 1.0), ("server", 1.0), ("unauthorized", 1.0)].into());
}

#[tokio::test]
async fn polls_never_overlap() {
    // Each takes three intervals, so that an overlapping one would come early.
    let takes = Duration::from_millis(300);
    let api = Api::listing(certificates(1)).await.answering(move |_| Some(Answer::Late(takes)));
    let page = api.often().start().await.page_after_polls(3).await;
    assert!(page.one("openai_cert_exporter_last_poll_duration_seconds") >= 0.3);
    for pair in api.requests().windows(2) {
        assert!(pair[1].at - pair[0].at >= takes, "{:?} apart", pair[1].at - pair[0].at);
    }
}

#[tokio::test]
async fn poll_ends_at_its_own_deadline() {
    // Each page comes in good time, but there are too many.
    let api = Script::by(|number| {
        text(&list_page(&[entry(&format!("cert_{number}"))], true))
            .set_delay(Duration::from_millis(100))
    })
    .await;
    let page = api.once().set("poll.timeout", "500ms").start().await.page_after_polls(1).await;
    assert_eq!(page.failures(), [("timeout", 1.0)].into());
    assert!(page.one("openai_cert_exporter_last_poll_duration_seconds") >= 0.5);
    assert!(api.count() <= 6, "{} requests", api.count());
}

#[tokio::test]
async fn polls_keep_their_interval() {
    let interval = Duration::from_millis(400);
    let api = Api::listing(certificates(1)).await;
    api.once().set("poll.interval", "400ms").start().await.page_after_polls(4).await;
    // Poll n starts n intervals after the first, give or take a tenth of one. The first request is as late as its
    // connection takes, the later ones reuse it; a busy machine may be later still, but not by an interval.
    let requests = api.requests();
    for (number, request) in (1..).zip(&requests[1..]) {
        let (passed, due) = (request.at - requests[0].at, interval * number);
        assert!(passed + Duration::from_millis(190) >= due, "poll {number} came after {passed:?}");
        assert!(passed < due + interval * 9 / 10, "poll {number} came after {passed:?}");
    }
}

#[tokio::test]
async fn key_file_is_read_for_each_poll() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, format!("  {KEY}-1\r\n\n")).unwrap();
    let api = Api::listing(certificates(2)).await;
    let launch = api
        .often()
        .without_env("OPENAI_ADMIN_KEY")
        .set("api.admin_key_file", file.to_str().unwrap());
    let exporter = launch.start().await;
    let used = async |key: String| {
        let header = format!("Bearer {key}");
        until("the key is used", async || {
            api.requests()
                .iter()
                .any(|request| request.headers["authorization"] == header)
                .then_some(())
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
        let counted = |page: &Page| page.failures().get("credentials").copied().unwrap_or_default();
        let before = counted(&exporter.page().await);
        let page = exporter.page_when(fault, |page| counted(page) >= before + 2.0).await;
        assert_eq!((page.reasons(), page.is_up()), (vec!["credentials"], false), "{fault}");
        assert_eq!(page.certificates().len(), 2, "{fault}: the last snapshot stays");
    }
    let sent = api.count();
    exporter.page_after_more_polls(2).await;
    assert_eq!(api.count(), sent, "nothing is sent without a key");

    std::fs::write(&file, format!("{KEY}-3")).unwrap();
    used(format!("{KEY}-3")).await;
    exporter.page_when_up().await;
    let log = exporter.stop().await.stderr;
    assert!(
        log.contains(&format!(
            "the admin key file {} cannot be read: No such file",
            file.display()
        )),
        "{log}"
    );
    assert!(log.contains(&format!("the admin key file {} is empty", file.display())), "{log}");
}

#[tokio::test]
async fn loopback_is_never_proxied() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let proxied = |mut launch: Launch| {
        for name in
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        {
            launch = launch.env(name, &address);
        }
        launch
    };
    let api = Api::listing(vec![certificate("cert_a")]).await;
    for base_url in [api.base_url(), api.base_url().replace("127.0.0.1", "localhost")] {
        let page = proxied(Launch::once(&base_url)).start().await.page_after_polls(1).await;
        assert_eq!(page.certificates(), ["cert_a"], "{base_url}");
    }
    let nothing = tokio::time::timeout(Duration::ZERO, proxy.accept()).await;
    assert!(nothing.is_err(), "the proxy was asked");

    // A proxy is used for any other host: so it would have been seen above.
    let proxy = Script::of([ResponseTemplate::new(503)]).await;
    let launch = Launch::once("http://openai.invalid/v1").set("api.insecure_http", "true");
    let page = launch.env("HTTP_PROXY", &proxy.base_url()).start().await.page_after_polls(1).await;
    assert_eq!((page.failures(), proxy.count()), ([("server", 1.0)].into(), 1));
}
