//! How long a poll of a thousand projects takes behind a server that takes its time: `cargo bench --bench projects`.
//!
//! With requests side by side, no poll can take less than `requests × pause ÷ concurrency`. What counts is how much more
//! it takes. The time goes by with waiting, so that the ratio hardly depends on the machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and one that cannot run says so by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use openai_cert_exporter::demo::{self, DemoCertificate, DemoProject, Organization};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// What the server takes for each request.
const PAUSE: Duration = Duration::from_millis(50);
const PROJECTS: usize = 1_000;
const CERTIFICATES: usize = 20;
/// A poll that takes more of what it takes at best leaves places idle.
const BOUND: f64 = 1.3;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let slow = from_fn(async |request: Request, next: Next| {
        sleep(PAUSE).await;
        next.run(request).await
    });
    let api = demo::router(organization()).layer(slow);
    tokio::spawn(async { axum::serve(listener, api).await.unwrap() });

    println!(
        "{PROJECTS} projects of {CERTIFICATES} certificates, {} ms a request",
        PAUSE.as_millis()
    );
    println!(
        "{:>11} {:>8} {:>9} {:>9} {:>6}",
        "concurrency", "requests", "at best", "taken", "ratio"
    );
    for concurrency in [4, 32] {
        let (requests, taken) = poll(&base_url, concurrency).await;
        let best = requests * PAUSE.as_secs_f64() / f64::from(concurrency);
        let ratio = taken / best;
        let verdict = if ratio <= BOUND { "" } else { "  too much" };
        println!(
            "{concurrency:>11} {requests:>8} {best:>7.2} s {taken:>7.2} s {ratio:>6.3}{verdict}"
        );
    }
}

/// The first poll of an exporter: its requests, and the seconds it took.
async fn poll(base_url: &str, concurrency: u32) -> (f64, f64) {
    let mut exporter = Exporter(
        Command::new(env!("CARGO_BIN_EXE_openai-cert-exporter"))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .env_clear()
            .env("OPENAI_ADMIN_KEY", demo::ADMIN_KEY)
            .env("OPENAI_BASE_URL", base_url)
            .env("OPENAI_CERT_EXPORTER__POLL__PROJECTS", "true")
            .env("OPENAI_CERT_EXPORTER__POLL__CONCURRENCY", concurrency.to_string())
            .env("OPENAI_CERT_EXPORTER__POLL__INTERVAL", "1h")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(exporter.0.stderr.take().unwrap());
    #[expect(clippy::disallowed_methods, reason = "a benchmark may panic")]
    let address = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let (_, rest) = line.split_once("\"address\":\"").unwrap();
        let address = rest.split('"').next().unwrap().to_owned();
        // Read on, so that the pipe never fills.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        address
    })
    .await
    .unwrap();

    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    loop {
        let page = http
            .get(format!("http://{address}/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let values = |name: &str| {
            let lines = page.lines().filter(|line| line.starts_with(name));
            lines
                .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
                .collect::<Vec<f64>>()
        };
        if values("openai_cert_exporter_polls_total") == [1.0] {
            assert_eq!(values("openai_cert_exporter_up "), [1.0]);
            assert_eq!(values("openai_project_certificate_active{").len(), PROJECTS * CERTIFICATES);
            let requests = values("openai_cert_exporter_api_requests_total{").into_iter().sum();
            return (requests, values("openai_cert_exporter_last_poll_duration_seconds")[0]);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// A process that ends with this value.
struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn organization() -> Organization {
    let project = |number| {
        let owner = format!("proj_{number}");
        let certificates = (0..CERTIFICATES).map(|number| certificate(&owner, number)).collect();
        let name = Some(format!("Project {number}"));
        DemoProject { id: owner, name, created_at: 1_700_000_000, archived_at: None, certificates }
    };
    let certificates =
        (0..CERTIFICATES).map(|number| certificate("organization", number)).collect();
    Organization { certificates, projects: (0..PROJECTS).map(project).collect() }
}

fn certificate(owner: &str, number: usize) -> DemoCertificate {
    DemoCertificate {
        id: format!("cert_{owner}_{number}"),
        name: Some(format!("{owner}-2026 {number}")),
        active: number.is_multiple_of(2),
        created_at: 1_700_000_000,
        valid_at: Some(1_700_000_000),
        expires_at: Some(4_000_000_000),
        content: None,
    }
}
