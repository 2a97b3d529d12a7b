//! The API to be polled: as it is documented, and as it should never be.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// A certificate as a list shows it.
pub(crate) fn certificate(id: &str) -> Value {
    json!({
        "object": "organization.certificate",
        "id": id,
        "name": format!("name of {id}"),
        "active": true,
        "created_at": 1_700_000_000,
        "certificate_details": {"valid_at": 1_700_000_001, "expires_at": 4_000_000_000_i64},
    })
}

/// The same, with what is given in place of its own.
pub(crate) fn certificate_with(id: &str, other: Value) -> Value {
    let mut certificate = certificate(id);
    let Value::Object(other) = other else { panic!("fields are given as an object") };
    certificate.as_object_mut().unwrap().extend(other);
    certificate
}

/// `count` certificates in the order of their upload.
pub(crate) fn certificates(count: usize) -> Vec<Value> {
    (0..count).map(|number| certificate(&format!("cert_{number:04}"))).collect()
}

/// A page of a list.
pub(crate) fn page(data: &[Value], has_more: bool) -> Value {
    let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
    json!({
        "object": "list",
        "data": data,
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": has_more,
    })
}

/// An answer with this page.
pub(crate) fn answer(page: &Value) -> ResponseTemplate {
    text_answer(page.to_string())
}

/// An answer with a body that says it is JSON, whatever it is.
pub(crate) fn text_answer(body: impl AsRef<[u8]>) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body.as_ref().to_vec(), "application/json")
}

/// An error as the API words it.
pub(crate) fn error_answer(status: u16, code: Option<&str>) -> ResponseTemplate {
    let body = json!({"error": {"message": "it says no", "type": "error", "param": null, "code": code}});
    ResponseTemplate::new(status).set_body_json(body)
}

pub(crate) fn query(request: &Request, name: &str) -> Option<String> {
    request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// An upstream over real HTTP.
pub(crate) struct Upstream {
    server: MockServer,
    arrivals: Arc<Mutex<Vec<Instant>>>,
}

impl Upstream {
    /// Answers each request by what `script` says of its number, counted from 0, and of the request itself.
    pub(crate) async fn scripted(script: impl Fn(usize, &Request) -> ResponseTemplate + Send + Sync + 'static) -> Self {
        let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let seen = Arc::clone(&arrivals);
        let respond = move |request: &Request| {
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(Instant::now());
                seen.len() - 1
            };
            script(number, request)
        };
        // Not from the pool: a server that another test is given must not be known to this one's exporter.
        let server = MockServer::builder().start().await;
        Mock::given(any()).respond_with(respond).mount(&server).await;
        Self { server, arrivals }
    }

    /// Answers every request alike.
    pub(crate) async fn always(answer: ResponseTemplate) -> Self {
        Self::scripted(move |_, _| answer.clone()).await
    }

    /// Answers with these bodies one after the other, the last one for ever.
    pub(crate) async fn bodies<B: AsRef<[u8]> + Send + Sync + 'static>(bodies: Vec<B>) -> Self {
        Self::scripted(move |number, _| text_answer(&bodies[number.min(bodies.len() - 1)])).await
    }

    /// Answers as documented.
    pub(crate) async fn organization(organization: &Arc<Organization>) -> Self {
        let organization = Arc::clone(organization);
        Self::scripted(move |_, request| organization.respond(request)).await
    }

    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.server.uri())
    }

    /// Every request so far.
    pub(crate) async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }

    /// When each request came.
    pub(crate) fn arrivals(&self) -> Vec<Instant> {
        self.arrivals.lock().unwrap().clone()
    }
}

/// An organization whose list is served as documented, except where it is told to be otherwise.
#[derive(Default)]
pub(crate) struct Organization {
    certificates: Mutex<Vec<Value>>,
    /// Pages no larger than this, whatever was asked for.
    cut: Option<usize>,
    /// `last_id` is null, as the schema allows.
    without_last_id: bool,
    /// In place of every page but the first.
    later_pages: Mutex<Option<ResponseTemplate>>,
}

impl Organization {
    pub(crate) fn of(certificates: Vec<Value>) -> Self {
        Self { certificates: Mutex::new(certificates), ..Self::default() }
    }

    pub(crate) fn cut_into(self, size: usize) -> Self {
        Self { cut: Some(size), ..self }
    }

    pub(crate) fn without_last_id(self) -> Self {
        Self { without_last_id: true, ..self }
    }

    /// From now on it has these.
    pub(crate) fn now_has(&self, certificates: Vec<Value>) {
        *self.certificates.lock().unwrap() = certificates;
    }

    /// From now on every page but the first is this answer.
    pub(crate) fn later_pages_are(&self, answer: Option<ResponseTemplate>) {
        *self.later_pages.lock().unwrap() = answer;
    }
}

impl Respond for Organization {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        if request.url.path() != "/v1/organization/certificates" || request.method != "GET" {
            return error_answer(404, None);
        }
        let limit: usize = query(request, "limit").map_or(20, |limit| limit.parse().unwrap());
        let certificates = self.certificates.lock().unwrap();
        let start = match query(request, "after") {
            None => 0,
            Some(_) if self.later_pages.lock().unwrap().is_some() => {
                return self.later_pages.lock().unwrap().clone().unwrap();
            }
            Some(after) => match certificates.iter().position(|certificate| certificate["id"] == after) {
                Some(position) => position + 1,
                None => return error_answer(400, None),
            },
        };
        let end = certificates.len().min(start + limit.min(self.cut.unwrap_or(limit)));
        let mut page = page(&certificates[start..end], end < certificates.len());
        if self.without_last_id {
            page["last_id"] = Value::Null;
        }
        answer(&page)
    }
}

/// What a raw server does once it has sent what it had to send.
#[derive(Clone)]
pub(crate) enum Then {
    /// Closes the connection.
    Close,
    /// Keeps it open and says nothing.
    Hold,
    /// Sends this again and again, for ever.
    Repeat(Vec<u8>, Duration),
}

/// A server that answers every request with the bytes it was given, right or wrong.
pub(crate) struct RawServer {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl RawServer {
    pub(crate) async fn start(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (seen, answer) = (Arc::clone(&requests), answer.into());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_raw(stream, answer.clone(), then.clone(), Arc::clone(&seen)));
            }
        });
        Self { address, requests, accepting }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve_raw(mut stream: TcpStream, answer: Vec<u8>, then: Then, seen: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return Ok(()) };
        head.push(byte);
    }
    seen.fetch_add(1, Ordering::SeqCst);
    stream.write_all(&answer).await?;
    match then {
        Then::Close => stream.shutdown().await,
        Then::Hold => {
            // Until the client has gone.
            while stream.read(&mut [0; 64]).await? > 0 {}
            Ok(())
        }
        Then::Repeat(bytes, pause) => loop {
            stream.write_all(&bytes).await?;
            sleep(pause).await;
        },
    }
}
