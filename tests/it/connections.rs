//! Clients that take their time, or never finish: they are closed, and never keep the scraper out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use openai_cert_exporter::web::{Limits, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{DEADLINE, Launch, client};
use crate::upstream::{Organization, Upstream, certificates};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
/// More than the sockets of both sides hold.
const LARGE: usize = 64 << 20;

/// The server that the exporter serves with, with limits that a test can wait for.
struct Served {
    address: SocketAddr,
    _end: DropGuard,
}

async fn serve(limits: Limits) -> Served {
    let router =
        Router::new().route("/metrics", get(async || "metrics\n")).route("/large", get(async || vec![b'x'; LARGE]));
    let server = Server::bind(&["127.0.0.1:0".parse().unwrap()], limits).await.unwrap();
    let address = server.addresses().unwrap()[0];
    let end = CancellationToken::new();
    tokio::spawn(server.run(router, end.clone()));
    Served { address, _end: end.drop_guard() }
}

fn patient() -> Limits {
    Limits { connections: 100, head_timeout: DEADLINE, idle_timeout: DEADLINE, answer_timeout: DEADLINE }
}

fn impatient(timeout: Duration) -> Limits {
    Limits { head_timeout: timeout, idle_timeout: timeout, ..patient() }
}

async fn connect(address: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(sent).await.unwrap();
    client
}

/// Reads until the server closes, and returns what came; a reset is a close too.
async fn read_to_close(client: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let closed = async {
        while let Ok(length @ 1..) = client.read(&mut chunk).await {
            read.extend_from_slice(&chunk[..length]);
        }
    };
    timeout(DEADLINE, closed).await.expect("the server closes the connection");
    read
}

async fn assert_scrape(address: SocketAddr) {
    let response = client().get(format!("http://{address}/metrics")).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_head_that_does_not_arrive_is_waited_for_ten_seconds() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(1)))).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    let closed_after = async |sent: &'static [u8], drip: bool| {
        let opened = Instant::now();
        let mut client = connect(exporter.address, sent).await;
        let (mut read, mut write) = client.split();
        let answered = async {
            let mut byte = [0];
            while let Ok(1) = read.read(&mut byte).await {}
        };
        let dripping = async {
            while drip && write.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(500)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = answered => {}
            () = dripping => {}
            () = sleep(DEADLINE) => panic!("it is still open"),
        }
        opened.elapsed()
    };
    let (silent, half, dripped) = tokio::join!(
        closed_after(b"", false),
        closed_after(b"GET /metrics HTTP/1.1\r\nhost: x\r\n", false),
        closed_after(b"GET /metrics HTTP/1.1\r\nx-drip: ", true),
    );
    for (what, after) in [("silent", silent), ("half", half), ("dripped", dripped)] {
        assert!((10..20).contains(&after.as_secs()), "{what}: closed after {after:?}");
    }
    assert_scrape(exporter.address).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let idle_timeout = Duration::from_millis(300);
    let server = serve(impatient(idle_timeout)).await;
    let opened = Instant::now();
    let mut client = connect(server.address, REQUEST).await;
    let answer = read_to_close(&mut client).await;
    assert!(answer.ends_with(b"metrics\n"), "{}", answer.escape_ascii());
    assert!(opened.elapsed() >= idle_timeout);
}

#[tokio::test]
async fn a_connection_in_use_is_kept() {
    let server = serve(impatient(Duration::from_secs(2))).await;
    let mut client = connect(server.address, b"").await;
    let started = Instant::now();
    // Well past both limits, but never near one of them.
    while started.elapsed() < Duration::from_secs(3) {
        client.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"metrics\n") {
            answer.push(client.read_u8().await.unwrap());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn half_a_second_head_is_not_waited_for_longer_than_half_a_first() {
    let server = serve(Limits { head_timeout: Duration::from_millis(300), ..patient() }).await;
    let mut client = connect(server.address, REQUEST).await;
    while client.read_u8().await.unwrap() != b'm' {}
    client.write_all(b"GET /metr").await.unwrap();
    let asked = Instant::now();
    read_to_close(&mut client).await;
    assert!(asked.elapsed() < DEADLINE / 2, "only the idle limit has closed it");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let server = serve(impatient(Duration::from_millis(500))).await;
    let mut client = connect(server.address, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(2)).await;
    let read = read_to_close(&mut client).await;
    assert!(read.len() < LARGE, "the server has waited");
}

#[tokio::test]
async fn a_client_that_reads_a_little_at_a_time_is_not_waited_for_for_ever() {
    let answer_timeout = Duration::from_secs(1);
    let server = serve(Limits { answer_timeout, ..patient() }).await;
    let mut client = connect(server.address, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (asked, mut read) = (Instant::now(), 0);
    let mut chunk = vec![0; 64 << 10];
    // It reads all the time, and would take a minute for the whole.
    while let Ok(length @ 1..) = client.read(&mut chunk).await {
        read += length;
        assert!(asked.elapsed() < DEADLINE, "it is still read");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(asked.elapsed() >= answer_timeout && read < LARGE, "{:?}, {read}", asked.elapsed());
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_the_whole_page() {
    let server = serve(Limits { idle_timeout: Duration::from_secs(5), ..patient() }).await;
    let mut client = connect(server.address, b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let mut read = 0;
    let mut chunk = vec![0; 4 << 20];
    while let Ok(length @ 1..) = client.read(&mut chunk).await {
        read += length;
        sleep(Duration::from_millis(2)).await;
    }
    assert!(read > LARGE, "{read} bytes");
}

#[tokio::test]
async fn clients_that_never_finish_do_not_keep_the_scraper_out() {
    let server = serve(Limits { connections: 4, ..patient() }).await;
    let mut never = Vec::new();
    for round in 0..20 {
        for sent in [&b""[..], b"GET /metrics HT", b"GET /metrics HTTP/1.1\r\nx: "] {
            never.push(connect(server.address, sent).await);
        }
        if round % 5 == 0 {
            assert_scrape(server.address).await;
        }
    }
    assert_scrape(server.address).await;
    // They have made way; none but the last few is still there.
    let mut closed = 0;
    for client in &mut never {
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(10), client.read(&mut [0; 1])).await {
            closed += 1;
        }
    }
    assert!(closed >= never.len() - 4, "{closed} of {} are closed", never.len());
}

#[tokio::test]
async fn who_has_just_made_a_request_stays() {
    let server = serve(Limits { connections: 4, ..patient() }).await;
    let mut scraper = connect(server.address, b"").await;
    let mut never = Vec::new();
    for _ in 0..20 {
        scraper.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"metrics\n") {
            answer.push(scraper.read_u8().await.expect("the scraper's connection is kept"));
        }
        // One more comes, and of the four there are at least two that came before the scraper's last request.
        never.push(connect(server.address, b"GET /metrics HT").await);
    }
}

#[tokio::test]
async fn few_descriptors_do_not_keep_the_scraper_out() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(1)))).await;
    // 64 are kept for the rest, so this leaves 16 connections.
    let exporter = Launch::often(&upstream.base_url()).under("ulimit -n 80").start().await;
    exporter.page_after_polls(1).await;
    let mut never = Vec::new();
    for _ in 0..100 {
        never.push(connect(exporter.address, b"GET /metr").await);
    }
    let polls = exporter.page().await.one("openai_cert_exporter_polls_total");
    let page =
        exporter.page_when("polls go on", |page| page.one("openai_cert_exporter_polls_total") > polls + 2.0).await;
    assert_eq!(page.one("openai_cert_exporter_up"), 1.0);
    assert_eq!(page.one("process_max_fds"), 80.0);
    assert!(page.one("process_open_fds") <= 80.0 - 32.0, "{} are open", page.one("process_open_fds"));
    assert!(!exporter.log().contains("cannot be accepted"), "{}", exporter.log());
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(1)))).await;
    let exporter = Launch::once(&upstream.base_url()).under("ulimit -Sn 80").start().await;
    let mut clients = Vec::new();
    for _ in 0..150 {
        clients.push(connect(exporter.address, b"GET /healthz HTTP/1.1\r\n").await);
    }
    for client in &mut clients {
        client.write_all(b"host: x\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(read_to_close(client).await.starts_with(b"HTTP/1.1 200 "), "none had to make way");
    }
    assert!(exporter.page().await.one("process_max_fds") >= 4_096.0);
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(1)))).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    let filler = "x".repeat(20 << 10);
    let many = "a: b\r\n".repeat(2_000);
    for head in [
        format!("GET /metrics HTTP/1.1\r\nhost: x\r\nx-filler: {filler}\r\n\r\n"),
        format!("GET /metrics HTTP/1.1\r\n{many}\r\n"),
        format!("GET /{filler} HTTP/1.1\r\nhost: x\r\n\r\n"),
        "x".repeat(1 << 20),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".into(), // how TLS begins
        "GET /metrics HTTP/9.9\r\n\r\n".into(),
    ] {
        let mut client = TcpStream::connect(exporter.address).await.unwrap();
        // The server may answer and close before all of it is sent.
        let _ = client.write_all(head.as_bytes()).await;
        let answer = read_to_close(&mut client).await;
        let text = String::from_utf8_lossy(&answer);
        let refused = text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 505");
        assert!(refused, "{text}");
    }
    assert_scrape(exporter.address).await;
}

#[tokio::test]
async fn an_old_client_is_answered() {
    let server = serve(patient()).await;
    let mut client = connect(server.address, b"GET /metrics HTTP/1.0\r\n\r\n").await;
    let answer = read_to_close(&mut client).await;
    assert!(
        answer.starts_with(b"HTTP/1.0 200 OK\r\n") && answer.ends_with(b"\r\n\r\nmetrics\n"),
        "{}",
        answer.escape_ascii()
    );
}

#[tokio::test]
async fn a_request_with_a_body_that_never_comes_is_answered() {
    let server = serve(patient()).await;
    for length in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let head = format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n");
        let mut client = connect(server.address, head.as_bytes()).await;
        let mut start = [0; 12];
        timeout(DEADLINE, client.read_exact(&mut start)).await.unwrap().unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }
    assert_scrape(server.address).await;
}
