//! How the process ends when it is told to.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Exporter, Launch, until};
use crate::page::Page;
use crate::upstream::{Organization, RawServer, Then, Upstream, certificate_with, certificates, error_answer};

/// What an orchestrator is promised.
const PROMISE: Duration = Duration::from_secs(2);

async fn assert_ends(what: &str, exporter: Exporter, signal: Signal) {
    exporter.signal(signal);
    let ended = timeout(PROMISE, exporter.ended()).await.unwrap_or_else(|_| panic!("{what}: still there"));
    assert_eq!(ended.code(), Some(0), "{what}\n{}", ended.stderr);
    let name = if signal == Signal::TERM { "SIGTERM" } else { "SIGINT" };
    assert!(ended.stderr.contains(&format!("signal=\"{name}\"")), "{what}\n{}", ended.stderr);
}

/// An organization whose metrics are more than the sockets of both sides hold, so that a scrape is long under way.
fn with_a_large_page() -> Organization {
    let name = "x".repeat(20_000);
    let list = (0..150).map(|index| certificate_with(&format!("cert_{index}"), serde_json::json!({"name": name})));
    Organization::of(list.collect())
}

#[tokio::test]
async fn it_ends_between_polls() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(1)))).await;
    for signal in [Signal::TERM, Signal::INT] {
        let exporter = Launch::once(&upstream.base_url()).start().await;
        exporter.page_after_polls(1).await;
        assert_ends("between polls", exporter, signal).await;
    }
}

#[tokio::test]
async fn it_ends_while_the_upstream_hangs() {
    for signal in [Signal::TERM, Signal::INT] {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"] {
            let upstream = RawServer::start(answer, Then::Hold).await;
            let exporter = Launch::once(&upstream.base_url()).start().await;
            until("the request is there", async || (upstream.count() > 0).then_some(())).await;
            assert_ends("the upstream hangs", exporter, signal).await;
        }
    }
}

#[tokio::test]
async fn it_ends_while_it_waits_to_try_again() {
    let upstream = Upstream::always(error_answer(503, None).insert_header("retry-after", "60")).await;
    let exporter = Launch::once(&upstream.base_url()).set("api.max_retries", "1").start().await;
    until("it waits", async || exporter.log_lines("trying again").pop()).await;
    assert_ends("waiting", exporter, Signal::TERM).await;
}

#[tokio::test]
async fn it_ends_while_clients_are_there() {
    let upstream = Upstream::organization(&Arc::new(with_a_large_page())).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await;
    let connect = async |request: &str| {
        let mut client = TcpStream::connect(exporter.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client
    };
    // One says nothing, one has half a head, one sits idle after an answer, one reads a byte of a long page.
    let silent = connect("").await;
    let half = connect("GET /metrics HT").await;
    let mut idle = connect("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.read_u8().await.unwrap();
    let mut slow = connect("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    slow.read_u8().await.unwrap();
    assert_ends("clients are there", exporter, Signal::TERM).await;
    drop((silent, half, idle, slow));
}

#[tokio::test]
async fn an_answer_under_way_is_finished() {
    let upstream = Upstream::organization(&Arc::new(with_a_large_page())).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await;
    let answer = exporter.get("/metrics").await;
    exporter.signal(Signal::TERM);
    until("it has the signal", async || exporter.log_lines("ending").pop()).await;
    let text = answer.text().await.expect("the whole answer");
    assert_eq!(Page::parse(&text).unwrap().certificates().len(), 150);
    assert_eq!(exporter.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_demo_ends_too() {
    for signal in [Signal::TERM, Signal::INT] {
        let exporter = Launch::bare(&["demo", "--web.listen-address=127.0.0.1:0"]).start().await;
        exporter.page_after_polls(1).await;
        assert_ends("demo", exporter, signal).await;
    }
}
