//! How the process ends when it is told to.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::api::{Api, Then, With as _, certificate, certificates};
use crate::binary::{Exporter, Launch};
use crate::client::{SCRAPE, connect, read_to_close};
use crate::page::Page;
use crate::script::{Script, error};
use crate::wait::until;

/// What an orchestrator is promised.
const PROMISE: Duration = Duration::from_secs(2);

async fn assert_ends(what: &str, exporter: Exporter, signal: Signal) {
    exporter.signal(signal);
    let ended =
        timeout(PROMISE, exporter.ended()).await.unwrap_or_else(|_| panic!("{what}: still there"));
    assert_eq!(ended.code(), Some(0), "{what}\n{}", ended.stderr);
    let name = if signal == Signal::TERM { "SIGTERM" } else { "SIGINT" };
    assert!(ended.stderr.contains(&format!("signal=\"{name}\"")), "{what}\n{}", ended.stderr);
}

/// An exporter whose page is far more than the sockets of both sides hold.
async fn with_a_large_page() -> (Api, Exporter) {
    let name = "x".repeat(400);
    let list = (0..400).map(|index| certificate(&format!("cert_{index}")).named(&name)).collect();
    let api = Api::listing(list).await;
    let exporter = api.once().start().await;
    exporter.page_after_polls(1).await;
    (api, exporter)
}

/// A scrape of which hardly anything is read, and little fits between the two.
async fn slow_scrape(exporter: &Exporter) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut scrape = socket.connect(exporter.address).await.unwrap();
    scrape.write_all(SCRAPE).await.unwrap();
    assert_eq!(scrape.read_u8().await.unwrap(), b'H');
    scrape
}

#[tokio::test]
async fn start_without_descriptors_ends_with_a_message() {
    let demo = Launch::bare(&["demo", "--web.listen-address=127.0.0.1:0"]).under("ulimit -n 7");
    let ended = demo.until_it_ends().await;
    let message =
        "openai-cert-exporter: there can be no runtime: Too many open files (os error 24)\n";
    assert_eq!((ended.code(), &*ended.stderr), (Some(1), message));
}

#[tokio::test]
async fn exporter_and_demo_end_between_polls() {
    let api = Api::listing(certificates(1)).await;
    for signal in [Signal::TERM, Signal::INT] {
        for launch in [api.once(), Launch::demo()] {
            let exporter = launch.start().await;
            exporter.page_after_polls(1).await;
            assert_ends("between polls", exporter, signal).await;
        }
    }
}

#[tokio::test]
async fn exporter_ends_while_the_api_hangs() {
    for (signal, answer) in
        [(Signal::TERM, ""), (Signal::INT, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{")]
    {
        let api = Api::of_bytes(answer, Then::Hold).await;
        let exporter = api.once().start().await;
        until("the request is there", async || (api.count() > 0).then_some(())).await;
        assert_ends("the API hangs", exporter, signal).await;
    }
}

#[tokio::test]
async fn exporter_ends_while_it_waits_to_try_again() {
    let api = Script::of([error(503, None).insert_header("retry-after", "60")]).await;
    let exporter = api.once().set("api.max_retries", "1").start().await;
    exporter.line_saying("trying again").await;
    assert_ends("waiting", exporter, Signal::TERM).await;
}

#[tokio::test]
async fn exporter_ends_while_clients_are_there() {
    let (_api, exporter) = with_a_large_page().await;
    // One says nothing, one has half a head, one sits idle after an answer, one reads a byte of a long page.
    let silent = connect(exporter.address, b"").await;
    let half = connect(exporter.address, b"GET /metrics HT").await;
    let mut idle = connect(exporter.address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.read_u8().await.unwrap();
    let slow = slow_scrape(&exporter).await;
    assert_ends("clients are there", exporter, Signal::TERM).await;
    drop((silent, half, idle, slow));
}

#[tokio::test]
async fn answer_under_way_is_finished() {
    let (_api, exporter) = with_a_large_page().await;
    let mut scrape = slow_scrape(&exporter).await;
    exporter.signal(Signal::TERM);
    exporter.line_saying("shutting down").await;
    let answer = read_to_close(&mut scrape).await;
    assert_eq!(
        Page::parse(&unchunked(&answer)).unwrap().certificates().len(),
        400,
        "the whole answer"
    );
    assert_eq!(exporter.ended().await.code(), Some(0));
}

/// The body of an answer in chunks, whose last chunk it must have.
fn unchunked(answer: &[u8]) -> String {
    let start = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (&answer[start..], Vec::new());
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let length =
            usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return String::from_utf8(body).unwrap();
        }
        let content = line + 2;
        body.extend_from_slice(&rest[content..content + length]);
        rest = &rest[content + length + 2..];
    }
}
