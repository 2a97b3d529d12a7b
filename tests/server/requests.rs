//! Requests that are written to be read differently by different servers, and clients in a hurry.

use crate::client::exchange;
use crate::server::{Port, serving};
use crate::tls::{Folder, hash};
use crate::wait::all;

/// The status of each answer in what a server sent.
fn statuses(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.").map(|(start, _)| &answers[start + 9..start + 12]).collect()
}

/// A port that asks for credentials: alice and secret.
async fn guarded() -> Port {
    let folder = Folder::with(&format!("basic_auth_users: {{alice: {}}}", hash("secret")));
    serving().secured(&folder).start().await
}

#[tokio::test]
async fn smuggled_request_is_never_answered() {
    let port = serving().start().await;
    // In each of these, `GET /smuggled` is a request for one reader and none for another.
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = smuggled.len();
    let cases = [
        (
            "both lengths",
            format!(
                "content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "200|400",
        ),
        (
            "both lengths, reversed",
            format!("transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{smuggled}"),
            "200|400",
        ),
        (
            "two lengths",
            format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
            "400",
        ),
        ("a list of lengths", format!("content-length: 0, {length}\r\n\r\n{smuggled}"), "400"),
        ("a signed length", format!("content-length: +{length}\r\n\r\n{smuggled}"), "400"),
        ("a length in hexadecimal", format!("content-length: 0x0\r\n\r\n{smuggled}"), "400"),
        (
            "an unknown coding",
            format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "400|501",
        ),
        (
            "chunked, but not last",
            format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
            "400|501",
        ),
        (
            "chunked twice",
            format!(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "200|400",
        ),
        ("a space before the colon", format!("content-length : {length}\r\n\r\n{smuggled}"), "400"),
        (
            "a folded line",
            format!("transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "400",
        ),
        ("a folded line of no name", format!(" content-length: {length}\r\n\r\n{smuggled}"), "400"),
        (
            "a NUL in a value",
            format!("x: a\0b\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
            "400",
        ),
        ("a NUL in a name", format!("x\0: a\r\ncontent-length: {length}\r\n\r\n{smuggled}"), "400"),
        ("a bare CR", format!("x: a\rcontent-length: {length}\r\n\r\n{smuggled}"), "400"),
        ("a body of its length", format!("content-length: {length}\r\n\r\n{smuggled}"), "200"),
        (
            "a body in chunks",
            format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"),
            "200",
        ),
        (
            "a chunk of no length",
            format!("transfer-encoding: chunked\r\n\r\nz\r\n{smuggled}"),
            "200|400",
        ),
        (
            "a chunk with a lying length",
            format!("transfer-encoding: chunked\r\n\r\n1\r\n{smuggled}"),
            "200|400",
        ),
        (
            "an upgrade",
            format!(
                "connection: upgrade\r\nupgrade: h2c\r\ncontent-length: {length}\r\n\r\n{smuggled}"
            ),
            "200",
        ),
    ];
    all(cases, async |(what, rest, expected)| {
        let answers = exchange(
            port.address,
            format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{rest}").as_bytes(),
        )
        .await;
        let statuses = statuses(&answers);
        let is_expected =
            statuses.len() == 1 && expected.split('|').any(|status| status == statuses[0]);
        assert!(is_expected, "{what}: {expected} was expected, once:\n{answers}");
    })
    .await;
}

#[tokio::test]
async fn request_names_its_host_once_and_well() {
    let port = serving().start().await;
    let status = async |head: &str| {
        let answers = exchange(port.address, head.as_bytes()).await;
        statuses(&answers).join(" ")
    };
    let with_host =
        async |value: &str| status(&format!("GET /metrics HTTP/1.1\r\nhost:{value}\r\n\r\n")).await;
    for value in ["x", " x:80", " a_b.example", " 127.0.0.1:1", " [::1]", " [::1]:10099", " x:", ""]
    {
        assert_eq!(with_host(value).await, "200", "{value}");
    }
    for value in [
        "a b", "x/", "/", "x?y", "x#y", "user@x", "x@x", "x:y", "x:80:80", "x:-1", "::1", "[::1",
        "[::1]x", "[::1]80", "http://x", "x,y z", "\"x\"", "<x>", "\u{fc}", "%zz",
    ] {
        assert_eq!(with_host(value).await, "400", "{value}");
    }
    for (head, expected) in [
        ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
        ("GET http://x/metrics HTTP/1.1\r\n\r\n", "400"),
        ("GET /metrics HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\n\r\n", "400"),
        // What comes after it is not read.
        ("GET / HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", "400"),
        ("GET /metrics HTTP/1.0\r\n\r\n", "200"),
        ("GET /metrics HTTP/1.0\r\nhost: a b\r\n\r\n", "400"),
        ("GET /metrics HTTP/1.0\r\nhost: x\r\nhost: x\r\n\r\n", "400"),
    ] {
        assert_eq!(status(head).await, expected, "{head}");
    }
}

#[tokio::test]
async fn line_may_end_in_a_bare_lf_and_ends_the_head_all_the_same() {
    let port = serving().start().await;
    let answers = exchange(port.address, b"GET /metrics HTTP/1.1\nhost: x\n\n").await;
    assert_eq!(statuses(&answers), ["200"]);
    // The end of the head is found where it is, not where the first CRLF pair is.
    let answers = exchange(
        port.address,
        b"GET /metrics HTTP/1.1\nhost: x\n\nGET /none HTTP/1.1\r\nhost: x\r\n\r\n",
    )
    .await;
    assert_eq!(statuses(&answers), ["200", "404"]);
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let port = serving().start().await;
    let request = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let row = [
        request("GET", "/metrics"),
        request("HEAD", "/metrics"),
        request("GET", "/none"),
        request("PUT", "/metrics"),
    ];
    let answers = exchange(port.address, row.concat().repeat(100).as_bytes()).await;
    assert_eq!(statuses(&answers), ["200", "200", "404", "405"].repeat(100));
}

#[tokio::test]
async fn each_request_in_a_row_needs_credentials() {
    let port = guarded().await;
    let with = "GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n";
    let without = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let answers = exchange(port.address, [with, without, with, without].concat().as_bytes()).await;
    assert_eq!(statuses(&answers), ["200", "401", "200", "401"]);
}

#[tokio::test]
async fn path_that_is_guarded_is_the_path_that_is_served() {
    let port = guarded().await;
    let targets = [
        "/metrics",
        "//metrics",
        "/metrics/",
        "/metrics?/healthz",
        "/metrics#/healthz",
        "/healthz/../metrics",
        "/./metrics",
        "/%6detrics",
        "/healthz%2f..%2fmetrics",
        "/healthz;/metrics",
        "/healthz/",
        "/%68ealthz",
        "http://x/metrics",
        "http://healthz/metrics",
        "*",
        "/HEALTHZ",
    ];
    all(targets, async |target| {
        let answers =
            exchange(port.address, format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
                .await;
        let statuses = statuses(&answers);
        assert!(statuses == ["401"] || statuses == ["400"], "{target}: {answers}");
    })
    .await;
    for target in ["/healthz", "/healthz?x", "http://x/healthz"] {
        let answers =
            exchange(port.address, format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
                .await;
        assert_eq!(statuses(&answers), ["200"], "{target}");
    }
}
