//! From addresses to connections, and never more of them than the process can bear.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Activity, Answer, Patience, Timed};
use super::security::{Security, Terms};
use crate::config::ListenAddress;

/// More scrapers than this at once are no scrapers.
const MAX_CONNECTIONS: u64 = 4_096;
/// Kubelets and load balancers ask one at a time.
const MAX_PROBE_CONNECTIONS: usize = 32;
/// Descriptors kept for the rest: listeners, the upstream, files, the runtime.
const RESERVED_DESCRIPTORS: u64 = 64;
/// A request's head larger than this is refused with 431.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// What the system takes of an answer before the client does, as far as it may choose: unbounded, a thousand scrapes would fill
/// gigabytes of sockets with pages of several seconds. The system doubles it.
const SEND_BUFFER_BYTES: u32 = 128 << 10;
/// Connections that wait to be accepted; as many as the standard library's own.
const BACKLOG: u32 = 4_096;
/// How long answers under way at the shutdown may take to end.
const DRAIN: Duration = Duration::from_secs(1);
/// After an accept that failed for want of descriptors or memory, others would too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: ListenAddress,
    source: io::Error,
}

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// For the whole head of a request.
    pub head_timeout: Duration,
    /// Without a byte read or written.
    pub idle_timeout: Duration,
    /// For the whole of an answer.
    pub answer_timeout: Duration,
}

impl Limits {
    /// As many connections as the descriptor limit allows, whose soft limit is raised first where that helps.
    #[must_use]
    pub fn of_this_process() -> Self {
        let wanted = MAX_CONNECTIONS + RESERVED_DESCRIPTORS;
        let limit = getrlimit(Resource::Nofile);
        let mut allowed = limit.current.unwrap_or(u64::MAX);
        if allowed < wanted {
            let raised = limit.maximum.unwrap_or(u64::MAX).min(wanted);
            if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).is_ok() {
                allowed = raised;
            }
        }
        let connections = allowed.saturating_sub(RESERVED_DESCRIPTORS).clamp(1, MAX_CONNECTIONS);
        Self {
            connections: connections.try_into().unwrap_or(1),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            // Far more than any scrape's own time-out.
            answer_timeout: Duration::from_secs(300),
        }
    }

    /// Shared with a port of its own for probes, whose limits come second: apart from the others, so that a crowd there
    /// does not look like a process that hangs.
    #[must_use]
    pub fn shared_with_probes(self) -> (Self, Self) {
        let probes = (self.connections / 4).clamp(1, MAX_PROBE_CONNECTIONS);
        let rest = self.connections.saturating_sub(probes).max(1);
        (Self { connections: rest, ..self }, Self { connections: probes, ..self })
    }
}

/// Sockets that listen, before anybody is served.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    limits: Limits,
    security: Option<Arc<Security>>,
}

impl Server {
    /// Listens on every address, or says on which one it cannot.
    pub async fn bind(addresses: &[ListenAddress], limits: Limits) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let error = |source| BindError { address: address.clone(), source };
            let resolved = lookup_host(address.as_str()).await.map_err(error)?;
            let mut outcome = Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address"));
            // Of several addresses of a name, the first that can be had.
            for address in resolved {
                outcome = listen(address);
                if outcome.is_ok() {
                    break;
                }
            }
            listeners.push(outcome.map_err(error)?);
        }
        Ok(Self { listeners, limits, security: None })
    }

    /// Serves under the rules of `security`.
    #[must_use]
    pub fn secured(mut self, security: Arc<Security>) -> Self {
        self.security = Some(security);
        self
    }

    /// Where it listens, with the ports that were free where port 0 was asked for.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// How clients are to speak: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.security.as_ref().is_some_and(|security| security.speaks_tls()) { "https" } else { "http" }
    }

    /// Serves until `shutdown`, then lets the answers under way end for a moment.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let connections = Arc::new(Connections::new(self.limits, self.security));
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(accept(listener, router.clone(), Arc::clone(&connections), shutdown.clone()));
        }
        accepting.join_all().await;
        connections.tasks.close();
        if timeout(DRAIN, connections.tasks.wait()).await.is_err() {
            tracing::warn!(connections = connections.tasks.len(), "connections closed before their answers had ended");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    // Its connections have the same.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, router: Router, connections: Arc<Connections>, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                let Some(place) = connections.place().await else { return };
                let serving = serve(socket, router.clone(), Arc::clone(&connections), place, shutdown.clone());
                connections.tasks.spawn(serving);
            }
            // The client went before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    socket: TcpStream,
    router: Router,
    connections: Arc<Connections>,
    place: Place,
    shutdown: CancellationToken,
) {
    // Answers are written whole, so there is nothing to gather for a fuller packet.
    let _ = socket.set_nodelay(true);
    // Below TLS, so that the handshake is a part of what there is a time for.
    let socket = Timed::new(socket, Arc::clone(&place.activity), connections.patience);
    let conversation = async {
        let terms = match &connections.security {
            Some(security) => Some(security.admit_connection().await),
            None => None,
        };
        let Some(config) = terms.as_ref().and_then(Terms::tls) else {
            return converse(socket, router, terms, &place.activity, &shutdown).await;
        };
        // Apart, here and below, so that a connection without TLS takes no room for what TLS needs.
        let handshake = Box::pin(TlsAcceptor::from(config).accept(socket));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            // Nothing was asked yet, so there is no answer to wait for.
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok(socket) => Box::pin(converse(socket, router, terms, &place.activity, &shutdown)).await,
            Err(error) => tracing::debug!("a client gave up or was refused before it could ask: {error}"),
        }
    };
    tokio::select! {
        () = conversation => {}
        () = place.evicted.cancelled() => {}
    }
}

/// Answers requests until the client leaves, takes too long, or `shutdown` finds nothing under way.
async fn converse(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    terms: Option<Terms>,
    activity: &Arc<Activity>,
    shutdown: &CancellationToken,
) {
    let (router, terms) = (TowerToHyperService::new(router), &terms);
    let service = service_fn(|request: Request<Incoming>| {
        activity.request_complete();
        let router = &router;
        async move {
            let has_body = !request.body().is_end_stream();
            let request = request.map(Body::new);
            let mut response: Response<Body> = match terms {
                Some(terms) => terms.answer(request, async |request| router.call(request).await).await?,
                None => router.call(request).await?,
            };
            // Nothing here takes a body. Where one ends, and what comes after, is what a smuggler lies about: so nothing
            // that comes after is read.
            if has_body {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, Arc::clone(activity))))
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None) // `Timed` does that
        .half_close(true) // who has said all that there is to say may still listen
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that breaks off or takes too long is no event.
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The connections there are.
struct Connections {
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
    free: Arc<Semaphore>,
    patience: Patience,
    security: Option<Arc<Security>>,
    tasks: TaskTracker,
}

struct Open {
    activity: Arc<Activity>,
    evicted: CancellationToken,
}

/// A connection's place among them, given back when it goes.
struct Place {
    id: u64,
    activity: Arc<Activity>,
    evicted: CancellationToken,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    fn new(limits: Limits, security: Option<Arc<Security>>) -> Self {
        Self {
            next_id: AtomicU64::new(0),
            open: Mutex::default(),
            free: Arc::new(Semaphore::new(limits.connections)),
            patience: Patience { head: limits.head_timeout, idle: limits.idle_timeout, answer: limits.answer_timeout },
            security,
            tasks: TaskTracker::new(),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more. Where there is none, the connection that has gone longest without a complete request makes
    /// way: clients that never finish one then cannot keep the scraper out.
    async fn place(self: &Arc<Self>) -> Option<Place> {
        if self.free.available_permits() == 0 {
            self.evict();
        }
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::new());
        let evicted = CancellationToken::new();
        self.open().insert(id, Open { activity: Arc::clone(&activity), evicted: evicted.clone() });
        Some(Place { id, activity, evicted, connections: Arc::clone(self), _permit: permit })
    }

    fn evict(&self) {
        let mut open = self.open();
        let longest = open.iter().min_by_key(|(_, open)| open.activity.last_request()).map(|(id, _)| *id);
        if let Some(open) = longest.and_then(|id| open.remove(&id)) {
            open.evicted.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
    }
}
