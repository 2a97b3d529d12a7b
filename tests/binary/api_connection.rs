//! How the API is reached: through which proxy, with which threads, and whose clock is right.

use std::time::{Duration, SystemTime};

use headers::Authorization;
use headers::authorization::Credentials as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use crate::api::{Api, certificates, entry, list_page};
use crate::binary::{KEY, Launch};
use crate::script::{Script, error, text};
use crate::wait::all;

const OFFSET: &str = "openai_cert_exporter_clock_offset_seconds";

#[tokio::test]
async fn proxy_of_the_environment_is_used_and_told() {
    let password = r"p@s:s^w\r/d";
    let proxy = Api::listing(certificates(2)).await;
    let through = |launch: Launch| {
        launch
            .set("api.insecure_http", "true")
            .env("http_proxy", &format!(" http://svc:{password}@{}\n", proxy.address))
    };
    let exporter = through(Launch::often("http://api.test/v1")).start().await;
    assert_eq!(exporter.page_when_up().await.certificates().len(), 2);
    let expected = Authorization::basic("svc", password).0.encode();
    assert_eq!(proxy.requests()[0].headers["proxy-authorization"], expected);

    let address = format!("http://{}", proxy.address);
    let polls = exporter.get("/api/v1/polls").await.bytes().await.unwrap();
    let polls: Value = serde_json::from_slice(&polls).unwrap();
    let roots = "none, since there is no TLS";
    let connection = json!({
        "api": "api.test:80", "proxy": address, "roots": roots, "client_certificate": null,
    });
    assert_eq!(polls["connection"], connection);
    let told = exporter.line_saying("how the API is reached").await;
    assert!(told.contains("api.test:80") && told.contains(&address), "{told}");
    proxy.answers(|_| Some(crate::api::Answer::status(503)));
    exporter.line_saying(&format!("api.test:80 through the proxy {address} answered 503")).await;
    assert!(!exporter.log().contains("p@s"), "{}", exporter.log());

    let check = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", KEY);
    let ended = through(check.env("OPENAI_BASE_URL", "http://api.test/v1")).until_it_ends().await;
    let line = format!(
        "# API: api.test:80 through the proxy {address}; trusted roots: {roots}; client certificate: none\n"
    );
    assert!(ended.stdout.contains(&line), "{}", ended.stdout);
}

#[tokio::test]
async fn proxy_that_cannot_be_used_ends_the_start() {
    for command in ["check-config", "run", "check"] {
        let launch = Launch::bare(&[command, "--web.listen-address=127.0.0.1:0"])
            .env("OPENAI_ADMIN_KEY", KEY)
            .env("ALL_PROXY", "socks5://svc:s3cr3t@127.0.0.1:1");
        let ended = launch.until_it_ends().await;
        let fault =
            "must begin with http:// or https://, since no other kind of proxy is supported";
        let message = format!("openai-cert-exporter: ALL_PROXY: {fault} (environment variable)\n");
        assert_eq!((ended.stderr, ended.stdout.as_str()), (message, ""), "{command}");
    }
}

#[tokio::test]
async fn proxy_that_refuses_the_tunnel_is_told_with_what_to_do() {
    for (status, hint) in [
        ("403 Forbidden", "check whether it allows this host and port"),
        ("407 Proxy Authentication Required", "the proxy requires a valid user and password (407)"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let launch = Launch::once("https://api.test/v1").env("https_proxy", &proxy);
        let exporter = launch.set("api.max_retries", "0").start().await;
        let line = exporter.line_saying("poll failed").await;
        let peer = format!("api.test:443 through the proxy {proxy} cannot be reached");
        assert!(line.contains(&peer) && line.contains(hint), "{line}");
    }
}

#[tokio::test]
async fn clock_is_compared_with_that_of_the_api() {
    // So much more than a day that nothing which takes time makes it less.
    const DAY: u64 = 86_410;
    let dated = |days_ahead: u64, days_behind: u64| {
        let seconds = |days| Duration::from_secs(days * DAY);
        let date = SystemTime::now() + seconds(days_ahead) - seconds(days_behind);
        text(&list_page(&[entry("a")], false))
            .insert_header("date", httpdate::fmt_http_date(date).as_str())
    };
    let cases = [
        (dated(10, 0), -864_100.0, Some("10 days behind")),
        (dated(0, 10), 864_100.0, Some("10 days ahead of")),
        (dated(0, 0), 0.0, None),
    ];
    all(cases, async |(answer, offset, told)| {
        let api = Script::of([answer]).await;
        let exporter = api.often().start().await;
        let page = exporter.page_after_polls(3).await;
        // The answer's date stands still while the test goes on.
        assert!((page.one(OFFSET) - offset).abs() < 60.0, "{}", page.one(OFFSET));
        let warnings = exporter.log_lines("this machine's clock differs from the API's");
        assert_eq!(warnings.len(), usize::from(told.is_some()), "{warnings:?}");
        let said = exporter.get("/").await.text().await.unwrap();
        let check = Launch::bare(&["check"]).env("OPENAI_ADMIN_KEY", KEY);
        let check = check.env("OPENAI_BASE_URL", &api.base_url()).until_it_ends().await;
        for said in [said, check.stdout] {
            let sentence = told.map(|told| format!("machine's clock is {told} that of the API"));
            let sentence = sentence.as_deref().unwrap_or("clock");
            let said = said.replace("&#39;", "'");
            assert_eq!(said.contains(sentence), told.is_some(), "{sentence}: {said}");
        }
    })
    .await;
    // Kept by a cache for ten days; of a year that no clock shows.
    let aged = |age: &str| dated(0, 10).insert_header("age", age);
    let cases = [
        (aged("864100"), Some(0.0)),
        (aged("-864100"), Some(864_100.0)),
        (aged("99999999999999999999"), Some(864_100.0)),
        (dated(400, 0), None),
        (dated(0, 400), None),
        (dated(0, 0).insert_header("age", "4294967295"), None),
    ];
    all(cases, async |(answer, offset)| {
        let page = Script::of([answer]).await.once().start().await.page_after_polls(1).await;
        let seen = page.find(OFFSET, &[]);
        assert_eq!(seen.is_some(), offset.is_some(), "{seen:?} instead of {offset:?}");
        assert!((seen.unwrap_or_default() - offset.unwrap_or_default()).abs() < 60.0, "{seen:?}");
    })
    .await;
    let nobody = Launch::once("http://127.0.0.1:1/v1").start().await;
    assert_eq!(nobody.page_after_polls(1).await.find(OFFSET, &[]), None);
}

#[tokio::test]
async fn date_to_wait_for_is_by_the_clock_of_the_api() {
    let date = |ahead: u64| {
        let date = SystemTime::now() + Duration::from_secs(864_000 + ahead);
        httpdate::fmt_http_date(date)
    };
    let answer = error(429, None)
        .insert_header("date", date(0).as_str())
        .insert_header("retry-after", date(2).as_str());
    let api = Script::of([answer, text(&list_page(&[entry("a")], false))]).await;
    let exporter = api.once().set("api.max_retries", "1").start().await;
    assert!(exporter.page_after_polls(1).await.is_up());
    let pause = api.pause_after(0).await.as_secs_f64();
    assert!((0.9..10.0).contains(&pause), "{pause} s");
}

#[tokio::test]
async fn answer_that_is_final_puts_no_poll_off() {
    let wait = |status| ResponseTemplate::new(status).insert_header("retry-after", "3000");
    let final_by_header = wait(503).insert_header("x-should-retry", "false");
    all([wait(302), wait(401), wait(403), wait(404), final_by_header], async |answer| {
        let api = Script::of([answer]).await;
        api.often().start().await.page_after_polls(2).await;
    })
    .await;
}

/// Under a limit on processes, which root does not have.
#[tokio::test]
async fn poll_fails_and_nothing_else_where_no_thread_can_be_started() {
    let unprivileged = "setpriv --reuid=54321 --regid=54321 --clear-groups";
    let limited = format!(
        "if [ $(id -u) = 0 ]; then exec {unprivileged} prlimit --nproc=1 \"$0\" \"$@\"; fi; ulimit -u 1"
    );
    let api = Api::listing(certificates(1)).await;
    let url = |host| format!("http://{host}:{}/v1", api.address.port());
    let exporter = Launch::often(&url("localhost")).under(&limited).start().await;
    let page = exporter.page_after_polls(2).await;
    assert_eq!((page.reasons(), page.is_up()), (vec!["network"], false));
    exporter.line_saying("no thread can be started").await;
    for path in ["/", "/api/v1/polls", "/healthz"] {
        assert_eq!(exporter.status(path).await, 200, "{path}");
    }
    let exporter = Launch::often(&url("127.0.0.1")).under(&limited).start().await;
    assert_eq!(exporter.page_when_up().await.certificates().len(), 1, "an address needs no thread");
}
