//! Every kind of fault at every stage of a poll, and what must hold through all of them.
//!
//! The cases are pairs: each status with each kind of body, and each of both at each request that a poll makes; and each way
//! in which a connection can go wrong at each of these. An exporter that has had a good poll meets one after the other.
//! Whatever comes, it lives, shows what it knew, counts the one reason, asks no more often than it may, and recovers.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::json;
use strum::VariantArray;

use crate::answers::gzipped;
use crate::api::{
    Answer, Api, List, Organization, Request, Then, certificate, certificates, project,
};
use crate::binary::{Exporter, KEY};
use crate::page::Page;
use crate::wait::all;

/// The requests of a poll, in their order.
#[derive(Clone, Copy, Debug, PartialEq, VariantArray)]
enum Stage {
    FirstPage,
    SecondPage,
    Projects,
    Project,
}

impl Stage {
    fn of(request: &Request) -> Option<Self> {
        Some(match &request.list {
            List::Certificates if request.query("after").is_some() => Self::SecondPage,
            List::Certificates => Self::FirstPage,
            List::Projects => Self::Projects,
            List::Of(id) if id == "proj_a" => Self::Project,
            List::Of(_) | List::Certificate(_) => return None,
        })
    }
}

/// Each class, and each that is a reason or a way of its own.
const STATUSES: [u16; 9] = [200, 204, 304, 307, 401, 403, 404, 429, 503];

#[derive(Clone, Copy, Debug, PartialEq, VariantArray)]
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

/// What a connection does in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, VariantArray)]
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

fn cases() -> impl Iterator<Item = Case> {
    let answers = (0..).zip(STATUSES).flat_map(|(row, status)| {
        // In a Latin square every status and every body comes to every stage.
        let stages = Stage::VARIANTS.iter().cycle().skip(row);
        Body::VARIANTS.iter().map(move |body| Fault::Answer(status, *body)).zip(stages)
    });
    let wires = Wire::VARIANTS
        .iter()
        .flat_map(|wire| Stage::VARIANTS.iter().map(|stage| (Fault::Wire(*wire), stage)));
    answers.chain(wires).map(|(fault, stage)| Case { stage: *stage, fault })
}

impl Case {
    /// The reason that is counted.
    fn reason(self) -> &'static str {
        let (status, body) = match self.fault {
            Fault::Wire(Wire::SaysNothing | Wire::Drips) => return "timeout",
            Fault::Wire(Wire::NeverEndsBody) => return "decode",
            Fault::Wire(_) => return "network",
            Fault::Answer(status, body) => (status, body),
        };
        match (status, body) {
            // The API's own error; a project may be deleted after it was listed.
            (404, Body::Error | Body::ErrorOfClientCertificate) if self.stage == Stage::Project => {
                "projects"
            }
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
        }
    }

    fn is_a_matter_of_time(self) -> bool {
        self.reason() == "timeout"
    }

    fn answer(self) -> Answer {
        match self.fault {
            Fault::Answer(status, body) => Answer::Bytes(answer(status, body), Then::Close),
            Fault::Wire(wire) => wire.answer(),
        }
    }
}

/// Twice what is read of any answer, and little on the wire.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzipped(&vec![b' '; 16 << 20]));

/// A whole answer, head included.
fn answer(status: u16, body: Body) -> Vec<u8> {
    let (content, header, missing): (Vec<u8>, &str, usize) = match body {
        Body::Nothing => (Vec::new(), "", 0),
        Body::Error => (json!({"error": {"message": KEY, "code": "no"}}).to_string().into(), "", 0),
        Body::ErrorOfClientCertificate => {
            (json!({"error": {"code": "invalid_certificate"}}).to_string().into(), "", 0)
        }
        Body::Enormous => (vec![b' '; 9 << 20], "", 0),
        Body::Bomb => (BOMB.clone(), "content-encoding: gzip\r\n", 0),
        Body::BrokenGzip => (gzipped(b"{}")[..15].into(), "content-encoding: gzip\r\n", 0),
        Body::CutShort => (br#"{"object":"list","data":["#.into(), "", 100),
        Body::AlmostAPage => (br#"{"object":"list","data":{},"has_more":false}"#.into(), "", 0),
        Body::WithoutCursor => {
            (br#"{"object":"list","data":[7],"last_id":null,"has_more":true}"#.into(), "", 0)
        }
    };
    let length = content.len() + missing;
    // So that a retry costs no time; a redirect leads nowhere.
    let more = "retry-after-ms: 1\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n";
    let head =
        format!("HTTP/1.1 {status} Reason\r\ncontent-length: {length}\r\n{header}{more}\r\n");
    // These end with their head.
    let content = if matches!(status, 204 | 304) { Vec::new() } else { content };
    [head.into_bytes(), content].concat()
}

impl Wire {
    fn answer(self) -> Answer {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let repeat =
            |bytes: String, pause| Then::Repeat(bytes.into(), Duration::from_millis(pause));
        let (bytes, then) = match self {
            Self::Closes => ("", Then::Close),
            Self::Resets => ("", Then::Reset),
            Self::ResetsInHead => ("HTTP/1.1 200 OK\r\ncontent-le", Then::Reset),
            Self::ResetsInBody => {
                ("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"data\":[", Then::Reset)
            }
            Self::SaysNothing => ("", Then::Hold),
            Self::Drips => (chunked, repeat("1\r\n \r\n".into(), 50)),
            Self::NeverEndsHead => {
                ("HTTP/1.1 200 OK\r\n", repeat(format!("x: {}\r\n", "y".repeat(1_000)), 0))
            }
            Self::NeverEndsBody => {
                (chunked, repeat(format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16)), 0))
            }
            Self::SpeaksAnotherProtocol => ("SSH-2.0-OpenSSH_9.2\r\n", Then::Close),
            Self::OnlyAnnounces => ("HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n", Then::Close),
            Self::ContradictsItself => {
                ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", Then::Close)
            }
            Self::ChunksBadly => (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
                Then::Close,
            ),
        };
        Answer::Bytes(bytes.into(), then)
    }
}

/// Requests for one page in one poll: the first and one retry.
const TRIES: usize = 2;
/// What the process may take, whatever comes.
const PEAK_KIB: u64 = 64 << 10;
const VANISHED: &str = "openai_cert_exporter_vanished_projects";

/// Everything that must hold in one case.
async fn assert_borne(exporter: &Exporter, api: &Api, case: Case) {
    let before =
        exporter.page_when("all is well", |page| page.is_up() && page.one(VANISHED) == 0.0).await;
    let sent = api.count();
    let is_hit = move |request: &Request| Stage::of(request) == Some(case.stage);
    api.answers(move |request| is_hit(request).then(|| case.answer()));
    let reason = case.reason();
    let count = |page: &Page| page.failures().get(reason).copied().unwrap_or_default();
    let what = format!("{case:?} is counted as {reason}");
    let page = exporter.page_when(&what, |page| !page.is_up()).await;
    let mut others = page.failures();
    assert!(count(&page) > count(&before), "{what}, but there are {others:?}");
    others.remove(reason);
    let mut others_before = before.failures();
    others_before.remove(reason);
    assert_eq!(others, others_before, "{what}, and as nothing else");
    assert_eq!(page.facts(), before.facts(), "{case:?}: what was known stays");
    assert_eq!(
        (exporter.status("/healthz").await, exporter.status("/readyz").await),
        (200, 200),
        "{case:?}"
    );
    let hits = api.requests()[sent..].iter().filter(|request| is_hit(request)).count();
    // The one under way has asked too.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let polls = (exporter.page().await.polls() - before.polls()) as usize + 1;
    assert!(hits <= polls * TRIES, "{case:?}: {hits} requests in {polls} polls");

    api.answers_well();
    let after =
        exporter.page_when("it recovers", |page| page.is_up() && page.one(VANISHED) == 0.0).await;
    assert_eq!(after.facts(), before.facts(), "{case:?}");
}

#[tokio::test]
async fn no_fault_at_any_stage_takes_away_what_was_known() {
    // Before anybody waits: the tests are not optimized.
    LazyLock::force(&BOMB);
    // Where time is the matter there is little of it, elsewhere so much that a slow machine can unpack a bomb. Each exporter
    // takes every so manieth case.
    let of_time = (0..2).map(|number| (number, 2, "300ms", true));
    let others = (0..6).map(|number| (number, 6, "20s", false));
    all(of_time.chain(others), async |(number, exporters, request_timeout, is_of_time)| {
        let projects = vec![
            project("proj_a", vec![certificate("of_a")]),
            project("proj_b", vec![certificate("of_b")]),
        ];
        let api = Api::of(Organization { certificates: certificates(2), projects }).await;
        let exporter = api
            .often()
            .projects()
            // So that there is a second page.
            .set("api.page_size", "1")
            .set("api.max_retries", &(TRIES - 1).to_string())
            .set("api.request_timeout", request_timeout)
            .start()
            .await;
        let cases = cases().filter(|case| case.is_a_matter_of_time() == is_of_time);
        for case in cases.skip(number).step_by(exporters) {
            assert_borne(&exporter, &api, case).await;
        }
        let peak = exporter.peak_memory_kib();
        assert!(peak <= PEAK_KIB, "{peak} KiB");
        exporter.stop().await;
    })
    .await;
}
