//! Every kind of fault at every stage of a poll, and what must hold through all of them.
//!
//! The cases are a product: each status with each kind of body, and each way in which a connection can go wrong, at each
//! request that a poll makes. An exporter that has had a good poll meets one after the other. Whatever comes, it lives,
//! shows what it knew, counts the one reason, asks no more often than it may, and recovers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::{Exporter, KEY, Launch, all};
use crate::page::Page;
use crate::upstream::{certificate, page};

/// The requests of a poll, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FirstPage,
    SecondPage,
    Projects,
    Project,
}

const STAGES: [Stage; 4] = [Stage::FirstPage, Stage::SecondPage, Stage::Projects, Stage::Project];

/// Each class, and each that is a reason or a way of its own.
const STATUSES: [u16; 9] = [200, 204, 304, 307, 401, 403, 404, 429, 503];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Nothing,
    Error,
    ErrorOfClientCertificate,
    /// More than is read of any answer.
    Enormous,
    /// Little on the wire, and more than fits.
    Bomb,
    BrokenGzip,
    /// Shorter than it was said to be.
    CutShort,
    /// Of a shape that is almost a list's.
    AlmostAPage,
    /// More are said to follow, but not after which.
    WithoutCursor,
}

const BODIES: [Body; 9] = [
    Body::Nothing,
    Body::Error,
    Body::ErrorOfClientCertificate,
    Body::Enormous,
    Body::Bomb,
    Body::BrokenGzip,
    Body::CutShort,
    Body::AlmostAPage,
    Body::WithoutCursor,
];

/// What a connection does in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Closes,
    Resets,
    ResetsInHead,
    ResetsInBody,
    SaysNothing,
    Drips,
    NeverEndsHead,
    NeverEndsBody,
    SpeaksAnotherProtocol,
    OnlyAnnounces,
    ContradictsItself,
    ChunksBadly,
}

const WIRES: [Wire; 12] = [
    Wire::Closes,
    Wire::Resets,
    Wire::ResetsInHead,
    Wire::ResetsInBody,
    Wire::SaysNothing,
    Wire::Drips,
    Wire::NeverEndsHead,
    Wire::NeverEndsBody,
    Wire::SpeaksAnotherProtocol,
    Wire::OnlyAnnounces,
    Wire::ContradictsItself,
    Wire::ChunksBadly,
];

#[derive(Clone, Copy, Debug)]
enum Fault {
    Answer(u16, Body),
    Wire(Wire),
}

#[derive(Clone, Copy, Debug)]
struct Case {
    stage: Stage,
    fault: Fault,
}

impl Case {
    /// The reason that is counted; none where it is no fault.
    fn reason(self) -> Option<&'static str> {
        let (status, body) = match self.fault {
            Fault::Wire(Wire::SaysNothing | Wire::Drips) => return Some("timeout"),
            Fault::Wire(Wire::NeverEndsBody) => return Some("decode"),
            Fault::Wire(_) => return Some("network"),
            Fault::Answer(status, body) => (status, body),
        };
        Some(match (status, body) {
            // A project may be deleted after it was listed.
            (404, _) if self.stage == Stage::Project => return None,
            // No body may follow.
            (204, _) => "decode",
            (200..300, Body::CutShort) => "network",
            (200..300, Body::WithoutCursor) => "pagination",
            (200..300, _) => "decode",
            (401 | 403, Body::ErrorOfClientCertificate) => "mtls_required",
            (401, _) => "unauthorized",
            (403, _) => "forbidden",
            (429, _) => "rate_limited",
            (500.., _) => "server",
            _ => "client",
        })
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let answers = STATUSES.into_iter().flat_map(|status| BODIES.map(|body| Fault::Answer(status, body)));
    let faults = answers.chain(WIRES.map(Fault::Wire));
    faults.flat_map(|fault| STAGES.map(|stage| Case { stage, fault }))
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Twice what is read of any answer, and little on the wire.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzipped(&vec![b' '; 16 << 20]));

/// A whole answer, head included.
fn answer(status: u16, body: Body) -> Vec<u8> {
    let (content, header, missing): (Vec<u8>, &str, usize) = match body {
        Body::Nothing => (Vec::new(), "", 0),
        Body::Error => (json!({"error": {"message": KEY, "code": "no"}}).to_string().into(), "", 0),
        Body::ErrorOfClientCertificate => (json!({"error": {"code": "invalid_certificate"}}).to_string().into(), "", 0),
        Body::Enormous => (vec![b' '; 9 << 20], "", 0),
        Body::Bomb => (BOMB.clone(), "content-encoding: gzip\r\n", 0),
        Body::BrokenGzip => (gzipped(b"{}")[..15].into(), "content-encoding: gzip\r\n", 0),
        Body::CutShort => (br#"{"object":"list","data":["#.into(), "", 100),
        Body::AlmostAPage => (br#"{"object":"list","data":{},"has_more":false}"#.into(), "", 0),
        Body::WithoutCursor => (br#"{"object":"list","data":[7],"last_id":null,"has_more":true}"#.into(), "", 0),
    };
    let length = content.len() + missing;
    // So that a retry costs no time; a redirect leads nowhere.
    let more = "retry-after-ms: 1\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n";
    let head = format!("HTTP/1.1 {status} Reason\r\ncontent-length: {length}\r\n{header}{more}\r\n");
    // These end with their head.
    let content = if matches!(status, 204 | 304) { Vec::new() } else { content };
    [head.into_bytes(), content].concat()
}

/// The API, which has a fault at one stage at a time.
struct Api {
    address: SocketAddr,
    case: Arc<Mutex<Option<Case>>>,
    /// Requests that met the fault.
    hits: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (case, hits) = (Arc::<Mutex<Option<Case>>>::default(), Arc::<AtomicUsize>::default());
        let (current, seen) = (Arc::clone(&case), Arc::clone(&hits));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&current), Arc::clone(&seen)));
            }
        });
        Self { address, case, hits, accepting }
    }

    fn now_has(&self, case: Option<Case>) {
        *self.case.lock().unwrap() = case;
        self.hits.store(0, Ordering::SeqCst);
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One request, and the end of the connection.
async fn serve(mut stream: TcpStream, case: Arc<Mutex<Option<Case>>>, hits: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap();
    let path = target.split('?').next().unwrap();
    let (stage, good) = match path {
        "/v1/organization/certificates" if target.contains("after=") => (Stage::SecondPage, list(&["b"], false)),
        "/v1/organization/certificates" => (Stage::FirstPage, list(&["a"], true)),
        "/v1/organization/projects" => {
            let project =
                |id: &str| json!({"object": "organization.project", "id": id, "name": id, "status": "active"});
            (Stage::Projects, page(&[project("proj_a"), project("proj_b")], false))
        }
        "/v1/organization/projects/proj_a/certificates" => (Stage::Project, list(&["of_a"], false)),
        "/v1/organization/projects/proj_b/certificates" => {
            let answer = text(&list(&["of_b"], false));
            return stream.write_all(&answer).await;
        }
        other => panic!("there is no {other}"),
    };
    let case = case.lock().unwrap().filter(|case| case.stage == stage);
    let Some(Case { fault, .. }) = case else { return stream.write_all(&text(&good)).await };
    hits.fetch_add(1, Ordering::SeqCst);
    match fault {
        Fault::Answer(status, body) => stream.write_all(&answer(status, body)).await,
        Fault::Wire(wire) => misbehave(stream, wire).await,
    }
}

fn list(ids: &[&str], has_more: bool) -> Value {
    let certificates: Vec<_> = ids.iter().map(|id| certificate(id)).collect();
    page(&certificates, has_more)
}

fn text(page: &Value) -> Vec<u8> {
    let body = page.to_string();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn misbehave(mut stream: TcpStream, wire: Wire) -> std::io::Result<()> {
    let reset = |stream: TcpStream| stream.set_zero_linger();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    match wire {
        Wire::Closes => Ok(()),
        Wire::Resets => reset(stream),
        Wire::ResetsInHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?;
            reset(stream)
        }
        Wire::ResetsInBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"data\":[").await?;
            reset(stream)
        }
        Wire::SaysNothing => {
            // Until the client has gone.
            stream.read_u8().await?;
            Ok(())
        }
        Wire::Drips => {
            stream.write_all(chunked).await?;
            repeat(stream, b"1\r\n \r\n", Duration::from_millis(50)).await
        }
        Wire::NeverEndsHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            repeat(stream, format!("x: {}\r\n", "y".repeat(1_000)).as_bytes(), Duration::ZERO).await
        }
        Wire::NeverEndsBody => {
            stream.write_all(chunked).await?;
            let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
            repeat(stream, chunk.as_bytes(), Duration::ZERO).await
        }
        Wire::SpeaksAnotherProtocol => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await,
        Wire::OnlyAnnounces => stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n").await,
        Wire::ContradictsItself => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}").await
        }
        Wire::ChunksBadly => stream.write_all(&[chunked, b"zz\r\n{}\r\n0\r\n\r\n".as_slice()].concat()).await,
    }
}

async fn repeat(mut stream: TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
        tokio::time::sleep(pause).await;
    }
}

const POLLS: &str = "openai_cert_exporter_polls_total";
/// Requests for one page in one poll: the first and one retry.
const TRIES: usize = 2;
/// What the process may take, whatever comes.
const PEAK_KIB: u64 = 64 << 10;

/// All that a page says of certificates, but for what changes with time.
fn about_certificates(page: &Page) -> Vec<String> {
    let changes = ["openai_cert_exporter_", "openai_certificate_days_until_expiry", "openai_project_last_success"];
    let is_steady = |line: &&str| line.starts_with("openai_") && !changes.iter().any(|name| line.starts_with(name));
    page.text.lines().filter(is_steady).map(str::to_owned).collect()
}

fn is_up(page: &Page) -> bool {
    page.one("openai_cert_exporter_up") == 1.0
}

/// Everything that must hold in one case.
async fn assert_borne(exporter: &Exporter, api: &Api, case: Case) {
    let before = exporter.page_when("all is well", is_up).await;
    api.now_has(Some(case));
    let page = if let Some(reason) = case.reason() {
        let count = |page: &Page| page.failures().get(reason).copied().unwrap_or_default();
        let what = format!("{case:?} is counted as {reason}");
        let page = exporter.page_when(&what, |page| !is_up(page)).await;
        let mut others = page.failures();
        assert!(count(&page) > count(&before), "{what}, but there are {others:?}");
        others.remove(reason);
        let mut others_before = before.failures();
        others_before.remove(reason);
        assert_eq!(others, others_before, "{what}, and as nothing else");
        assert_eq!(about_certificates(&page), about_certificates(&before), "{case:?}: what was known stays");
        page
    } else {
        let gone = |page: &Page| page.one("openai_cert_exporter_vanished_projects") == 1.0;
        let page = exporter.page_when(&format!("{case:?}: the project is gone"), gone).await;
        assert!(is_up(&page), "{case:?}");
        assert_eq!(page.failures(), before.failures(), "{case:?}");
        assert!(!page.text.contains("\"of_a\""), "{case:?}: and all that was known of it");
        page
    };
    let hits = api.hits.load(Ordering::SeqCst);
    // The one under way has asked too.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let polls = (exporter.page().await.one(POLLS) - before.one(POLLS)) as usize + 1;
    assert!(hits <= polls * TRIES, "{case:?}: {hits} requests in {polls} polls");
    assert_eq!(exporter.status("/healthz").await, 200, "{case:?}");
    assert_eq!(exporter.status("/readyz").await, 200, "{case:?}");

    api.now_has(None);
    let polls = page.one(POLLS);
    let after = exporter.page_when("it recovers", |page| is_up(page) && page.one(POLLS) > polls).await;
    let recovered = if after.one("openai_cert_exporter_vanished_projects") == 0.0 {
        after
    } else {
        exporter
            .page_when("the project is back", |page| page.one("openai_cert_exporter_vanished_projects") == 0.0)
            .await
    };
    assert_eq!(about_certificates(&recovered), about_certificates(&before), "{case:?}");
}

#[tokio::test]
async fn no_fault_at_any_stage_takes_away_what_was_known() {
    // Each takes every so manieth case, so that the slow ones are spread over all.
    const EXPORTERS: usize = 8;
    // Before anybody waits: the tests are not optimized.
    LazyLock::force(&BOMB);
    all(0..EXPORTERS, async |first| {
        let api = Api::start().await;
        let exporter = Launch::often(&format!("http://{}/v1", api.address))
            .set("poll.projects", "true")
            .set("api.max_retries", &(TRIES - 1).to_string())
            // Long enough for a slow machine to unpack a bomb; who waits for it to pass is spread over all exporters.
            .set("api.request_timeout", "4s")
            .start()
            .await;
        for case in cases().skip(first).step_by(EXPORTERS) {
            assert_borne(&exporter, &api, case).await;
        }
        let peak = exporter.peak_memory_kib();
        assert!(peak <= PEAK_KIB, "{peak} KiB");
        exporter.stop().await;
    })
    .await;
}
