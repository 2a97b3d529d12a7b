//! Whether the poll loop is alive: what `/healthz` says once its heartbeat is late.

use std::time::{Duration, Instant};

use crate::client::client;
use crate::server::Exporter;

#[tokio::test]
async fn late_heartbeat_is_unhealthy_until_the_next() {
    let exporter = Exporter::start().await;
    let ask = async |path: &str| {
        let response = client().get(exporter.port.url("http", path)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(ask("/healthz").await, (200, "ok\n".into()));
    exporter.promises(Instant::now().checked_sub(Duration::from_secs(90)).unwrap());
    for path in ["/healthz", "/-/healthy"] {
        let (status, reason) = ask(path).await;
        assert_eq!(status, 503, "{path}");
        assert!(reason.contains("the poll loop's heartbeat is 9"), "{reason}");
    }
    // Pages are served on: what is known is as true as before.
    assert_eq!(ask("/metrics").await.0, 200);
    exporter.promises(Instant::now() + Duration::from_secs(3_600));
    assert_eq!(ask("/healthz").await.0, 200);
}
