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

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::sleep;
use url::form_urlencoded;

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
    tokio::spawn(async { axum::serve(listener, api()).await.unwrap() });

    println!("{PROJECTS} projects of {CERTIFICATES} certificates, {} ms a request", PAUSE.as_millis());
    println!("{:>11} {:>8} {:>9} {:>9} {:>6}", "concurrency", "requests", "at best", "taken", "ratio");
    for concurrency in [4, 32] {
        let (requests, taken) = poll(&base_url, concurrency).await;
        let best = requests * PAUSE.as_secs_f64() / f64::from(concurrency);
        let ratio = taken / best;
        let verdict = if ratio <= BOUND { "" } else { "  too much" };
        println!("{concurrency:>11} {requests:>8} {best:>7.2} s {taken:>7.2} s {ratio:>6.3}{verdict}");
    }
}

/// The first poll of an exporter: its requests, and the seconds it took.
async fn poll(base_url: &str, concurrency: u32) -> (f64, f64) {
    let mut exporter = Exporter(
        Command::new(env!("CARGO_BIN_EXE_openai-cert-exporter"))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .env_clear()
            .env("OPENAI_ADMIN_KEY", "sk-admin-benchmark")
            .env("OPENAI_BASE_URL", base_url)
            .env("OPENAI_CERT_EXPORTER__POLL__PROJECTS", "true")
            .env("OPENAI_CERT_EXPORTER__POLL__CONCURRENCY", concurrency.to_string())
            .env("OPENAI_CERT_EXPORTER__POLL__INTERVAL", "1h")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(exporter.0.stderr.take().unwrap());
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
        let page = http.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
        let values = |name: &str| {
            let lines = page.lines().filter(|line| line.starts_with(name));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect::<Vec<f64>>()
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

/// The API as far as a poll needs it.
fn api() -> Router {
    let organization = async |RawQuery(query)| page(query, CERTIFICATES, |n| certificate("organization", n)).await;
    let projects = async |RawQuery(query)| page(query, PROJECTS, project).await;
    let project_certificates = async |Path(project): Path<String>, RawQuery(query)| {
        page(query, CERTIFICATES, |n| certificate(&project, n)).await
    };
    Router::new()
        .route("/v1/organization/certificates", get(organization))
        .route("/v1/organization/projects", get(projects))
        .route("/v1/organization/projects/{project}/certificates", get(project_certificates))
}

/// A page of a list of `count` objects, whose identifiers end with their numbers.
async fn page(query: Option<String>, count: usize, object: impl Fn(usize) -> String) -> Response {
    sleep(PAUSE).await;
    let query = query.unwrap_or_default();
    let value = |name| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
    let start = value("after").map_or(0, |id| 1 + id.rsplit('_').next().unwrap().parse::<usize>().unwrap());
    let end = count.min(start + value("limit").unwrap().parse::<usize>().unwrap());
    let data: Vec<_> = (start..end).map(object).collect();
    let body = format!(r#"{{"object":"list","data":[{}],"has_more":{}}}"#, data.join(","), end < count);
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn project(number: usize) -> String {
    format!(
        r#"{{"object":"organization.project","id":"proj_{number}","name":"Project {number}","created_at":1700000000,"archived_at":null,"status":"active"}}"#
    )
}

fn certificate(owner: &str, number: usize) -> String {
    let active = number.is_multiple_of(2);
    format!(
        r#"{{"object":"organization.project.certificate","id":"cert_{owner}_{number}","name":"{owner}-2026 {number}","active":{active},"created_at":1700000000,"certificate_details":{{"valid_at":1700000000,"expires_at":4000000000}}}}"#
    )
}
