//! Clients of what is served: one that speaks HTTP well, and bare sockets for those that do not.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// A scrape, as it goes over the wire.
pub(crate) const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";

/// A client that goes straight to where it is told, and shows bodies as they came. Each request has a connection of its
/// own: one that is used again may just have been closed to make way for others.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .no_proxy()
        .no_gzip()
        .tls_certs_only([])
        .timeout(DEADLINE)
        .build()
        .unwrap()
}

/// A connection on which these bytes were sent.
pub(crate) async fn connect(address: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before all of it is sent.
    let _ = client.write_all(sent).await;
    client
}

/// Reads until the server closes, and returns what came; a reset is a close too.
pub(crate) async fn read_to_close(client: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
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

/// Sends all of it, and the end, and returns all that comes back.
pub(crate) async fn exchange(address: SocketAddr, sent: &[u8]) -> String {
    let mut client = connect(address, sent).await;
    let _ = client.shutdown().await;
    String::from_utf8(read_to_close(&mut client).await).unwrap()
}
