//! Clients that take their time, or never finish: they are closed, and never keep the scraper out.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{SCRAPE, client, connect, read_to_close};
use crate::server::{LARGE, own_timeouts, serving};
use crate::wait::{DEADLINE, until};

const GET_LARGE: &[u8] = b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

async fn assert_scrape(address: SocketAddr) {
    let response = client().get(format!("http://{address}/metrics")).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

/// A scrape on a connection that is kept.
async fn scrape(client: &mut TcpStream) {
    client.write_all(SCRAPE).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"metrics\n") {
        answer.push(client.read_u8().await.expect("the connection is kept"));
    }
}

#[test]
fn exporter_waits_ten_seconds_for_a_head_a_minute_idle_and_five_for_an_answer() {
    assert_eq!(own_timeouts(), [10, 60, 300].map(Duration::from_secs));
}

#[tokio::test]
async fn head_that_does_not_arrive_in_time_closes_the_connection() {
    let head_timeout = Duration::from_millis(400);
    let server = serving().head_timeout(head_timeout).start().await;
    let closed_after = async |sent: &[u8], drips: bool| {
        let opened = Instant::now();
        let mut client = connect(server.address, sent).await;
        let (mut read, mut write) = client.split();
        let drip = async {
            while drips && write.write_all(b"x").await.is_ok() {
                sleep(head_timeout / 8).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = read_to_close(&mut read) => assert_eq!(answer, b""),
            () = drip => {}
        }
        opened.elapsed()
    };
    let (silent, half, dripped) = tokio::join!(
        closed_after(b"", false),
        closed_after(b"GET /metrics HTTP/1.1\r\nhost: x\r\n", false),
        closed_after(b"GET /metrics HTTP/1.1\r\nx-drip: ", true),
    );
    for (what, after) in [("silent", silent), ("half", half), ("dripped", dripped)] {
        assert!((head_timeout..DEADLINE / 2).contains(&after), "{what}: closed after {after:?}");
    }
    assert_scrape(server.address).await;
}

#[tokio::test]
async fn half_a_second_head_is_waited_for_no_longer_than_half_a_first() {
    let server = serving().head_timeout(Duration::from_millis(300)).start().await;
    let mut client = connect(server.address, b"").await;
    scrape(&mut client).await;
    client.write_all(b"GET /metr").await.unwrap();
    let asked = Instant::now();
    read_to_close(&mut client).await;
    assert!(asked.elapsed() < DEADLINE / 2, "only the idle limit has closed it");
}

#[tokio::test]
async fn idle_connection_is_closed() {
    let idle_timeout = Duration::from_millis(300);
    let server = serving().idle_timeout(idle_timeout).start().await;
    let opened = Instant::now();
    let mut client = connect(server.address, SCRAPE).await;
    let answer = read_to_close(&mut client).await;
    assert!(answer.ends_with(b"metrics\n"), "{}", answer.escape_ascii());
    assert!((idle_timeout..DEADLINE / 2).contains(&opened.elapsed()));
}

#[tokio::test]
async fn connection_in_use_is_kept_past_the_timeouts() {
    let timeout = Duration::from_millis(600);
    let server = serving().head_timeout(timeout).idle_timeout(timeout).start().await;
    let mut client = connect(server.address, b"").await;
    let started = Instant::now();
    while started.elapsed() < timeout.mul_f64(1.5) {
        scrape(&mut client).await;
        sleep(timeout / 12).await;
    }
}

#[tokio::test]
async fn client_that_does_not_read_is_closed() {
    let server = serving().idle_timeout(Duration::from_millis(300)).start().await;
    let mut client = connect(server.address, GET_LARGE).await;
    // It is told by what it sends afterwards, and the page is more than what the sockets hold.
    until("the server closes the connection", async || client.write_all(b"\r\n").await.err()).await;
}

#[tokio::test]
async fn client_that_reads_a_little_at_a_time_is_closed_after_the_response_timeout() {
    let response_timeout = Duration::from_millis(500);
    let server = serving().response_timeout(response_timeout).start().await;
    let mut client = connect(server.address, GET_LARGE).await;
    let (asked, mut read) = (Instant::now(), 0);
    let mut chunk = vec![0; 64 << 10];
    // It reads all the time, and would take a minute for the whole.
    while let Ok(length @ 1..) = client.read(&mut chunk).await {
        read += length;
        assert!(asked.elapsed() < DEADLINE, "it is still read");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(asked.elapsed() >= response_timeout && read < LARGE, "{:?}, {read}", asked.elapsed());
}

#[tokio::test]
async fn client_that_reads_slowly_gets_the_whole_page() {
    let server = serving().idle_timeout(Duration::from_secs(5)).start().await;
    let mut client = connect(server.address, GET_LARGE).await;
    let mut read = 0;
    let mut chunk = vec![0; 4 << 20];
    while let Ok(length @ 1..) = client.read(&mut chunk).await {
        read += length;
        sleep(Duration::from_millis(2)).await;
    }
    assert!(read > LARGE, "{read} bytes");
}

#[tokio::test]
async fn clients_that_never_finish_make_way_for_the_scraper() {
    let server = serving().connections(4).start().await;
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
    // None but the last few is still there.
    let mut closed = 0;
    for client in &mut never {
        if let Ok(Ok(0) | Err(_)) =
            timeout(Duration::from_millis(10), client.read(&mut [0; 1])).await
        {
            closed += 1;
        }
    }
    assert!(closed >= never.len() - 4, "{closed} of {} are closed", never.len());
}

#[tokio::test]
async fn client_that_has_just_made_a_request_stays() {
    let server = serving().connections(4).start().await;
    let mut scraper = connect(server.address, b"").await;
    let mut never = Vec::new();
    for _ in 0..20 {
        scrape(&mut scraper).await;
        // One more comes, and of the four there are at least two that came before the scraper's last request.
        never.push(connect(server.address, b"GET /metrics HT").await);
    }
}

#[tokio::test]
async fn head_that_is_too_large_or_no_http_is_refused() {
    let server = serving().start().await;
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
        let mut client = connect(server.address, head.as_bytes()).await;
        let answer = read_to_close(&mut client).await;
        let text = String::from_utf8_lossy(&answer);
        let refused =
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 505");
        assert!(refused, "{text}");
    }
    assert_scrape(server.address).await;
}

#[tokio::test]
async fn client_of_http_1_0_is_answered() {
    let server = serving().start().await;
    let mut client = connect(server.address, b"GET /metrics HTTP/1.0\r\n\r\n").await;
    let answer = read_to_close(&mut client).await;
    assert!(
        answer.starts_with(b"HTTP/1.0 200 OK\r\n") && answer.ends_with(b"\r\n\r\nmetrics\n"),
        "{}",
        answer.escape_ascii()
    );
}

#[tokio::test]
async fn port_without_a_host_is_served_over_ipv4_and_ipv6() {
    for address in [":0", "[::]:0"] {
        let server = serving().listening_on(address).start().await;
        for host in ["127.0.0.1", "::1"] {
            assert_scrape(SocketAddr::new(host.parse().unwrap(), server.address.port())).await;
        }
    }
}

#[tokio::test]
async fn request_whose_body_never_comes_is_answered() {
    let server = serving().start().await;
    for length in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let head = format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n");
        let mut client = connect(server.address, head.as_bytes()).await;
        let mut start = [0; 12];
        timeout(DEADLINE, client.read_exact(&mut start)).await.unwrap().unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }
    assert_scrape(server.address).await;
}
