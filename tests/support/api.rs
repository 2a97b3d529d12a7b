//! The API that is polled: the demo's, over an organization that the test makes. Every request is recorded, and answered
//! otherwise where the test says so, if need be with bytes that are no HTTP.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Uri};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use openai_cert_exporter::demo;
pub(crate) use openai_cert_exporter::demo::{DemoCertificate, DemoProject, Organization};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite,
    AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use url::form_urlencoded;

use crate::binary::Launch;

pub(crate) const DAY: i64 = 86_400;

/// The wall clock, as Unix time.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// An active certificate that is valid for decades.
pub(crate) fn certificate(id: &str) -> DemoCertificate {
    DemoCertificate {
        id: id.into(),
        name: Some(format!("name of {id}")),
        active: true,
        created_at: 1_700_000_000,
        valid_at: Some(1_700_000_001),
        expires_at: Some(4_000_000_000),
        content: None,
    }
}

/// `count` certificates in the order of their upload.
pub(crate) fn certificates(count: usize) -> Vec<DemoCertificate> {
    (0..count).map(|number| certificate(&format!("cert_{number:04}"))).collect()
}

/// What a certificate has in place of its own.
pub(crate) trait With: Into<DemoCertificate> {
    fn named(self, name: &str) -> DemoCertificate {
        DemoCertificate { name: Some(name.into()), ..self.into() }
    }

    fn inactive(self) -> DemoCertificate {
        DemoCertificate { active: false, ..self.into() }
    }

    fn dated(self, valid_at: Option<i64>, expires_at: Option<i64>) -> DemoCertificate {
        DemoCertificate { valid_at, expires_at, ..self.into() }
    }

    /// With this PEM.
    fn holding(self, pem: &str) -> DemoCertificate {
        DemoCertificate { content: Some(pem.into()), ..self.into() }
    }

    /// Valid from and to these days, counted from now.
    fn valid(self, days: Range<i64>) -> DemoCertificate {
        self.dated(Some(now() + days.start * DAY), Some(now() + days.end * DAY))
    }
}

impl With for DemoCertificate {}

/// An organization without projects.
pub(crate) fn organization(certificates: Vec<DemoCertificate>) -> Organization {
    Organization { certificates, ..Organization::default() }
}

/// An organization of `count` projects, each with a certificate of its own that is active there.
pub(crate) fn projects(count: usize) -> Organization {
    let project = |id: String| project(&id, vec![certificate(&format!("cert_of_{id}"))]);
    let projects = (0..count).map(|number| project(format!("proj_{number:03}"))).collect();
    Organization { projects, ..Organization::default() }
}

pub(crate) fn project(id: &str, certificates: Vec<DemoCertificate>) -> DemoProject {
    let name = Some(format!("name of {id}"));
    DemoProject { id: id.into(), name, created_at: 1_700_000_000, archived_at: None, certificates }
}

/// A certificate as a list shows it.
pub(crate) fn entry(id: &str) -> Value {
    entry_with(id, json!({}))
}

/// The same, with what is given in place of its own.
pub(crate) fn entry_with(id: &str, mut other: Value) -> Value {
    let mut entry = json!({
        "object": "organization.certificate",
        "id": id,
        "name": format!("name of {id}"),
        "active": true,
        "created_at": 1_700_000_000,
        "certificate_details": {"valid_at": 1_700_000_001, "expires_at": 4_000_000_000_i64},
    });
    entry.as_object_mut().unwrap().append(other.as_object_mut().unwrap());
    entry
}

/// A page of a list, whatever its entries are.
pub(crate) fn list_page(data: &[Value], has_more: bool) -> Value {
    let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
    json!({
        "object": "list",
        "data": data,
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": has_more,
    })
}

/// A list, or an entry of one, that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum List {
    Certificates,
    Projects,
    /// The certificates of this project.
    Of(String),
    /// This certificate alone.
    Certificate(String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Counted from 0.
    pub(crate) number: usize,
    pub(crate) at: Instant,
    pub(crate) list: List,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    /// The client's certificate, where TLS has brought one.
    pub(crate) client: Option<CertificateDer<'static>>,
}

impl Request {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_of(&self, project: &str) -> bool {
        matches!(&self.list, List::Of(id) if id == project)
    }

    /// Whether it asks for certificates of any project.
    pub(crate) fn is_of_a_project(&self) -> bool {
        matches!(self.list, List::Of(_))
    }
}

/// What comes in place of the documented answer.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The documented one, this much later.
    Late(Duration),
    /// The documented one, once so many requests are under way.
    Together(usize),
    /// Status, headers and body.
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and what becomes of the connection.
    Bytes(Vec<u8>, Then),
}

impl Answer {
    /// An error as the API words it.
    pub(crate) fn status(status: u16) -> Self {
        Self::error(status, None)
    }

    pub(crate) fn error(status: u16, code: Option<&str>) -> Self {
        let body = json!({"error": {"message": "it says no", "type": "error", "param": null, "code": code}});
        Self::Http(status, Vec::new(), body.to_string().into())
    }

    pub(crate) fn body(body: &(impl ToString + ?Sized)) -> Self {
        Self::Http(200, Vec::new(), body.to_string().into())
    }

    pub(crate) fn header(self, name: &'static str, value: &str) -> Self {
        let Self::Http(status, mut headers, body) = self else { panic!("there is no head") };
        headers.push((name, value.into()));
        Self::Http(status, headers, body)
    }
}

/// What becomes of a connection once the bytes are sent.
#[derive(Clone)]
pub(crate) enum Then {
    Close,
    Reset,
    /// Nothing more comes until the client leaves.
    Hold,
    /// This again and again, for ever.
    Repeat(Vec<u8>, Duration),
}

type Rule = Box<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;

/// The API, which takes any key. It answers until the test ends, also where nothing holds on to it.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    organization: Mutex<Organization>,
    router: Mutex<Router>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    rule: Mutex<Option<Rule>>,
    requests: Mutex<Vec<Request>>,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
    arrived: Notify,
}

impl Api {
    pub(crate) async fn of(organization: Organization) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            router: Mutex::new(demo::router(organization.clone())),
            organization: Mutex::new(organization),
            tls: Mutex::default(),
            rule: Mutex::default(),
            requests: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            arrived: Notify::new(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).accept(stream));
            }
        });
        Self { address, shared }
    }

    /// The API of an organization without projects.
    pub(crate) async fn listing(certificates: Vec<DemoCertificate>) -> Self {
        Self::of(organization(certificates)).await
    }

    /// An API that answers every request with these bytes.
    pub(crate) async fn of_bytes(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        let bytes = bytes.into();
        Self::of(Organization::default())
            .await
            .answering(move |_| Some(Answer::Bytes(bytes.clone(), then.clone())))
    }

    /// From the start on it answers by this rule, where that says something.
    pub(crate) fn answering(
        self,
        rule: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        self.answers(rule);
        self
    }

    /// From now on.
    pub(crate) fn answers(
        &self,
        rule: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) {
        *self.shared.rule.lock().unwrap() = Some(Box::new(rule));
    }

    /// From now on it answers as documented.
    pub(crate) fn answers_well(&self) {
        *self.shared.rule.lock().unwrap() = None;
    }

    /// From now on it has something else.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Organization)) {
        let mut organization = self.shared.organization.lock().unwrap();
        change(&mut organization);
        *self.shared.router.lock().unwrap() = demo::router(organization.clone());
    }

    pub(crate) fn now_lists(&self, certificates: Vec<DemoCertificate>) {
        self.change(|organization| organization.certificates = certificates);
    }

    /// From now on it speaks TLS, with a connection for each request.
    pub(crate) fn speaks(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.lock().unwrap() = Some(tls);
    }

    pub(crate) fn base_url(&self) -> String {
        let scheme = if self.shared.tls.lock().unwrap().is_some() { "https" } else { "http" };
        format!("{scheme}://{}/v1", self.address)
    }

    /// An exporter that polls it once.
    pub(crate) fn once(&self) -> Launch {
        Launch::once(&self.base_url())
    }

    /// An exporter that polls it again and again.
    pub(crate) fn often(&self) -> Launch {
        Launch::often(&self.base_url())
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// The most requests that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let tls = self.tls.lock().unwrap().clone();
        let Some(tls) = tls else {
            let reset = self.serve(stream, None, true).await?;
            return reset.map_or(Ok(()), |stream| stream.set_zero_linger());
        };
        let stream = TlsAcceptor::from(tls).accept(stream).await?;
        let client =
            stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned());
        self.serve(stream, client, false).await.map(drop)
    }

    /// Answers requests until the client leaves, or an answer ends the connection; one that is to be reset is given back.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        client: Option<CertificateDer<'static>>,
        is_kept: bool,
    ) -> io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        while let Some((uri, headers)) = read_head(&mut stream).await? {
            match self.answer(uri, headers, client.clone()).await {
                Answer::Bytes(bytes, then) => {
                    stream.write_all(&bytes).await?;
                    match then {
                        Then::Close => break,
                        Then::Reset => return Ok(Some(stream.into_inner())),
                        Then::Hold => while stream.read(&mut [0; 64]).await? > 0 {},
                        Then::Repeat(bytes, pause) => loop {
                            stream.write_all(&bytes).await?;
                            sleep(pause).await;
                        },
                    }
                }
                Answer::Http(status, headers, body) => {
                    let close = (!is_kept).then_some(("connection", "close".to_owned()));
                    let headers = headers
                        .iter()
                        .chain(&close)
                        .map(|(name, value)| format!("{name}: {value}\r\n"));
                    let (headers, length) = (headers.collect::<Vec<_>>().concat(), body.len());
                    let head = format!(
                        "HTTP/1.1 {status} Reason\r\n{headers}content-length: {length}\r\n\r\n"
                    );
                    stream.write_all(&[head.as_bytes(), &body].concat()).await?;
                    if !is_kept {
                        break;
                    }
                }
                Answer::Late(_) | Answer::Together(_) => {
                    unreachable!("they have become documented answers")
                }
            }
        }
        stream.shutdown().await?;
        Ok(None)
    }

    async fn answer(
        &self,
        uri: Uri,
        headers: HeaderMap,
        client: Option<CertificateDer<'static>>,
    ) -> Answer {
        let _under_way = UnderWay::begin(self);
        let request = {
            let mut requests = self.requests.lock().unwrap();
            let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
            let number = requests.len();
            requests.push(Request {
                number,
                at: Instant::now(),
                list: list(&uri),
                query,
                headers,
                client,
            });
            requests[number].clone()
        };
        let answer = self.rule.lock().unwrap().as_ref().and_then(|rule| rule(&request));
        match answer {
            None => {}
            Some(Answer::Late(delay)) => sleep(delay).await,
            Some(Answer::Together(count)) => loop {
                let arrived = self.arrived.notified();
                if self.most_at_once.load(Ordering::SeqCst) >= count {
                    break;
                }
                arrived.await;
            },
            Some(answer) => return answer,
        }
        self.documented(uri, &request).await
    }

    async fn documented(&self, uri: Uri, request: &Request) -> Answer {
        let mut asked = axum::http::Request::new(Body::empty());
        *asked.uri_mut() = uri;
        if request.headers.contains_key(AUTHORIZATION) {
            let demo = HeaderValue::from_str(&format!("Bearer {}", demo::ADMIN_KEY)).unwrap();
            asked.headers_mut().insert(AUTHORIZATION, demo);
        }
        let router = self.router.lock().unwrap().clone();
        let (head, body) = TowerToHyperService::new(router).call(asked).await.unwrap().into_parts();
        Answer::Http(
            head.status.as_u16(),
            Vec::new(),
            to_bytes(body, usize::MAX).await.unwrap().into(),
        )
    }
}

/// The target of a request and its headers; none where the client has left.
async fn read_head(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<(Uri, HeaderMap)>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let uri = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &String| -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = line.split_once(": ")?;
        Some((name.parse().ok()?, value.parse().ok()?))
    };
    Ok(Some((uri, lines[1..].iter().map(|line| header(line).unwrap()).collect())))
}

fn list(uri: &Uri) -> List {
    let segments =
        uri.path().split('/').map(|segment| percent_decode_str(segment).decode_utf8().unwrap());
    match segments.collect::<Vec<_>>().iter().map(AsRef::as_ref).collect::<Vec<_>>()[..] {
        ["", "v1", "organization", "certificates"] => List::Certificates,
        ["", "v1", "organization", "certificates", id] => List::Certificate(id.into()),
        ["", "v1", "organization", "projects"] => List::Projects,
        ["", "v1", "organization", "projects", id, "certificates"] => List::Of(id.into()),
        _ => panic!("asked for {uri}"),
    }
}

/// A request that is under way for as long as this lives.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let now = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_at_once.fetch_max(now, Ordering::SeqCst);
        shared.arrived.notify_waiters();
        Self(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
