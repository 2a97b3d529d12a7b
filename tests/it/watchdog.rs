//! Whether the poll loop is alive: what `/healthz` says once the loop has broken its promise of a sign of life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openai_cert_exporter::exposition::Exposition;
use openai_cert_exporter::poll_state::{PollState, PollTiming};
use openai_cert_exporter::web::{self, Server};
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::harness::client;
use crate::port::patient;

#[tokio::test]
async fn a_broken_promise_is_unhealthy_until_it_is_renewed() {
    let timing = PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
    let initial = PollState::new(Instant::now() + Duration::from_secs(3_600), timing);
    let (sender, state) = watch::channel(Arc::new(initial));
    let exposition = Arc::new(Exposition::new(Registry::new()).unwrap());
    let server = Server::bind(&["127.0.0.1:0".parse().unwrap()], patient()).await.unwrap();
    let address = server.addresses().unwrap()[0];
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    tokio::spawn(server.run(web::router(exposition, state), end));
    let ask = async |path: &str| {
        let response = client().get(format!("http://{address}{path}")).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };

    assert_eq!(ask("/healthz").await, (200, "ok\n".into()));
    let promise = |due| sender.send_modify(|state| Arc::make_mut(state).liveness_deadline = due);
    promise(Instant::now().checked_sub(Duration::from_secs(90)).unwrap());
    for path in ["/healthz", "/-/healthy"] {
        let (status, reason) = ask(path).await;
        assert_eq!(status, 503, "{path}");
        assert!(reason.contains("the poll loop's heartbeat is 9"), "{reason}");
    }
    // Pages are served on: what is known is as true as before.
    assert_eq!(ask("/metrics").await.0, 200);
    promise(Instant::now() + Duration::from_secs(3_600));
    assert_eq!(ask("/healthz").await.0, 200);
}
