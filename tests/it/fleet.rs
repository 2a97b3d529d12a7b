//! An organization with projects, served as documented except where it is told to be otherwise. It answers requests side
//! by side, and sees how many are under way at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, Uri};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use url::form_urlencoded;

use crate::harness::Launch;
use crate::upstream::{certificate_with, page};

/// A project as a list shows it.
pub(crate) fn project(id: &str) -> Value {
    project_with(id, json!({}))
}

/// The same, with what is given in place of its own.
pub(crate) fn project_with(id: &str, other: Value) -> Value {
    let mut project = json!({
        "object": "organization.project",
        "id": id,
        "name": format!("name of {id}"),
        "created_at": 1_700_000_000,
        "archived_at": null,
        "status": "active",
    });
    let Value::Object(other) = other else { panic!("fields are given as an object") };
    project.as_object_mut().unwrap().extend(other);
    project
}

/// From when until when a certificate is valid.
pub(crate) type Dates = (Option<i64>, Option<i64>);

/// A certificate with these dates, active or not where it is listed.
pub(crate) fn anchor(id: &str, active: bool, (valid_at, expires_at): Dates) -> Value {
    certificate_with(
        id,
        json!({"active": active, "certificate_details": {"valid_at": valid_at, "expires_at": expires_at}}),
    )
}

/// What an organization has. A project that is not among `of_projects` has no certificates.
#[derive(Clone, Default)]
pub(crate) struct Has {
    pub(crate) certificates: Vec<Value>,
    pub(crate) projects: Vec<Value>,
    pub(crate) of_projects: BTreeMap<String, Vec<Value>>,
}

impl Has {
    /// `count` projects, each with a certificate of its own that is active there.
    pub(crate) fn projects(count: usize) -> Self {
        let mut has = Self::default();
        for number in 0..count {
            let id = format!("proj_{number:03}");
            has = has.with(&id, vec![certificate_with(&format!("cert_of_{id}"), json!({}))]);
        }
        has
    }

    /// And a project with these certificates.
    pub(crate) fn with(mut self, id: &str, certificates: Vec<Value>) -> Self {
        self.projects.push(project(id));
        self.of_projects.insert(id.into(), certificates);
        self
    }
}

/// A list that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum List {
    Certificates,
    Projects,
    /// The certificates of this project.
    Of(String),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) list: List,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) at: Instant,
    /// Counted from 0.
    pub(crate) number: usize,
}

impl Asked {
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

/// In place of the documented answer.
#[derive(Clone)]
pub(crate) enum Instead {
    /// This status, with these headers and this body.
    Status(u16, Vec<(&'static str, String)>),
    Body(String),
    /// A 401 with this code.
    Unauthorized(&'static str),
    /// The documented answer, this much later.
    Late(Duration),
    /// The documented answer, once so many requests are under way.
    Together(usize),
}

pub(crate) fn status(status: u16) -> Instead {
    Instead::Status(status, Vec::new())
}

type Rule = Box<dyn Fn(&Asked) -> Option<Instead> + Send + Sync>;

struct Shared {
    has: Mutex<Has>,
    rule: Mutex<Option<Rule>>,
    asked: Mutex<Vec<Asked>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    arrived: Notify,
}

/// The server.
pub(crate) struct Fleet {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Fleet {
    pub(crate) async fn of(has: Has) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            has: Mutex::new(has),
            rule: Mutex::new(None),
            asked: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            arrived: Notify::new(),
        });
        let state = Arc::clone(&shared);
        let router = axum::Router::new().fallback(async move |uri: Uri| state.exchange(&uri).await);
        let serving = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, serving }
    }

    /// The same, but it answers by this rule where that says something.
    pub(crate) async fn ruled(has: Has, rule: impl Fn(&Asked) -> Option<Instead> + Send + Sync + 'static) -> Self {
        let fleet = Self::of(has).await;
        fleet.rule(rule);
        fleet
    }

    /// From now on it answers by this rule.
    pub(crate) fn rule(&self, rule: impl Fn(&Asked) -> Option<Instead> + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Some(Box::new(rule));
    }

    /// From now on it answers as documented.
    pub(crate) fn no_rule(&self) {
        *self.shared.rule.lock().unwrap() = None;
    }

    /// From now on it has something else.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Has)) {
        change(&mut self.shared.has.lock().unwrap());
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// An exporter that polls it once, projects included.
    pub(crate) fn once(&self) -> Launch {
        Launch::once(&self.base_url()).set("poll.projects", "true")
    }

    /// An exporter that polls it again and again, projects included.
    pub(crate) fn often(&self) -> Launch {
        Launch::often(&self.base_url()).set("poll.projects", "true")
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The most requests that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A request that is under way for as long as this lives.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let now = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(now, Ordering::SeqCst);
        shared.arrived.notify_waiters();
        Self(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    async fn exchange(&self, uri: &Uri) -> Response<Body> {
        let _under_way = UnderWay::begin(self);
        let segments: Vec<_> =
            uri.path().split('/').map(|segment| percent_decode_str(segment).decode_utf8().unwrap()).collect();
        let list = match segments.iter().map(AsRef::as_ref).collect::<Vec<_>>()[..] {
            ["", "v1", "organization", "certificates"] => List::Certificates,
            ["", "v1", "organization", "projects"] => List::Projects,
            ["", "v1", "organization", "projects", id, "certificates"] => List::Of(id.into()),
            _ => panic!("asked for {uri}"),
        };
        let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let asked = {
            let mut all = self.asked.lock().unwrap();
            let asked = Asked { list, query, at: Instant::now(), number: all.len() };
            all.push(asked.clone());
            asked
        };
        let instead = self.rule.lock().unwrap().as_ref().and_then(|rule| rule(&asked));
        match instead {
            None => self.documented(&asked),
            Some(Instead::Status(status, headers)) => {
                let body = json!({"error": {"message": "it says no", "type": "error", "param": null, "code": null}});
                let response = Response::builder().status(status);
                let response =
                    headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
                response.body(body.to_string().into()).unwrap()
            }
            Some(Instead::Unauthorized(code)) => {
                let body = json!({"error": {"message": "it says no", "type": "error", "param": null, "code": code}});
                Response::builder().status(401).body(body.to_string().into()).unwrap()
            }
            Some(Instead::Body(body)) => Response::new(body.into()),
            Some(Instead::Late(delay)) => {
                sleep(delay).await;
                self.documented(&asked)
            }
            Some(Instead::Together(count)) => {
                loop {
                    let arrived = self.arrived.notified();
                    if self.most.load(Ordering::SeqCst) >= count {
                        break;
                    }
                    arrived.await;
                }
                self.documented(&asked)
            }
        }
    }

    fn documented(&self, asked: &Asked) -> Response<Body> {
        let has = self.has.lock().unwrap();
        let no = |status| Response::builder().status(status).body(Body::empty()).unwrap();
        let listed: Vec<Value> = match &asked.list {
            List::Certificates => has.certificates.clone(),
            List::Projects => has.projects.clone(),
            List::Of(id) if has.projects.iter().any(|project| project["id"] == **id) => {
                has.of_projects.get(id).cloned().unwrap_or_default()
            }
            List::Of(_) => return no(404),
        };
        let start = match asked.query("after") {
            None => 0,
            Some(after) => match listed.iter().rposition(|entry| entry["id"] == after) {
                Some(position) => position + 1,
                None => return no(400),
            },
        };
        let end = listed.len().min(start + asked.query("limit").map_or(20, |limit| limit.parse().unwrap()));
        Response::new(page(&listed[start..end], end < listed.len()).to_string().into())
    }
}
