//! From addresses to connections, and never more of them than the process can bear.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::connection::{ConnectionState, Limits, serve_http};
use super::security::{ConnectionPolicy, Reload, Security};
use crate::config::ListenAddress;

/// More clients than this at once are no scrapers.
const MAX_CONNECTIONS: u64 = 4_096;
/// Kubelets and load balancers probe one at a time.
const MAX_PROBE_CONNECTIONS: usize = 32;
/// Descriptors kept for the rest: listeners, the upstream, files, the runtime.
const RESERVED_DESCRIPTORS: u64 = 64;
/// What the system takes of an answer before the client does: unbounded, a thousand scrapes would fill gigabytes of socket
/// buffers with large pages. The system doubles it.
const SEND_BUFFER_BYTES: u32 = 128 << 10;
/// Connections that wait to be accepted; as many as the standard library's own.
const BACKLOG: u32 = 4_096;
/// How long answers under way at the shutdown may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// After an accept that failed for want of descriptors or memory, others would too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: ListenAddress,
    source: io::Error,
}

/// Raises the soft limit of this process's descriptors where it is low, and returns how many connections the limit leaves
/// room for, in all servers together.
pub(crate) fn raise_descriptor_limit() -> usize {
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
    connections.try_into().unwrap_or(1)
}

/// Divides connections between the pages and a port for probes: with its own, a crowd of scrapers does not look like a
/// process that hangs.
pub(crate) fn share_with_probes(connections: usize) -> (usize, usize) {
    let probes = (connections / 4).clamp(1, MAX_PROBE_CONNECTIONS);
    (connections.saturating_sub(probes).max(1), probes)
}

/// Sockets that listen, before anybody is served.
pub struct Server {
    listeners: Vec<TcpListener>,
    limits: Limits,
    security: Option<(Security, Reload)>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on every address, or says on which one it cannot.
    pub async fn bind(addresses: &[ListenAddress], limits: Limits) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = listen(address).await.map_err(|source| BindError { address: address.clone(), source })?;
            listeners.push(listener);
        }
        Ok(Self { listeners, limits, security: None })
    }

    /// Serves under the rules of a web configuration file, and follows its changes.
    #[must_use]
    pub fn secured(mut self, security: Option<(Security, Reload)>) -> Self {
        self.security = security;
        self
    }

    /// Where it listens, with the ports that were free where port 0 was configured.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.security.as_ref().is_some_and(|(security, _)| security.speaks_tls()) { "https" } else { "http" }
    }

    /// Serves until `shutdown`, then lets the answers under way end for a moment.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let (security, reload) = self.security.unzip();
        let _reloading = reload.map(|reload| AbortOnDropHandle::new(tokio::spawn(reload.run())));
        let connections = Arc::new(Connections::new(self.limits, security));
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(accept(listener, router.clone(), Arc::clone(&connections), shutdown.clone()));
        }
        accepting.join_all().await;
        connections.tasks.close();
        if timeout(DRAIN_TIMEOUT, connections.tasks.wait()).await.is_err() {
            tracing::warn!(connections = connections.tasks.len(), "connections closed before their answers had ended");
        }
    }
}

/// Of several addresses of a name, the first that can be had.
async fn listen(address: &ListenAddress) -> io::Result<TcpListener> {
    let mut outcome = Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address"));
    for address in lookup_host(address.as_str()).await? {
        outcome = listen_on(address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, router: Router, connections: Arc<Connections>, shutdown: CancellationToken) {
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, _)) => {
                let Some(permit) = connections.acquire().await else { return };
                connections.tasks.spawn(serve(socket, router.clone(), permit, shutdown.clone()));
            }
            // The client left before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, router: Router, permit: ConnectionPermit, shutdown: CancellationToken) {
    // Answers are written whole, so there is nothing to gather for a fuller packet.
    let _ = socket.set_nodelay(true);
    let (state, connections) = (&permit.state, &permit.connections);
    // Below TLS, so that the handshake is timed too.
    let stream = state.track(socket);
    let serving = async {
        let policy = connections.security.as_ref().map(Security::policy);
        let Some(tls) = policy.as_ref().and_then(ConnectionPolicy::tls) else {
            return serve_http(stream, router, policy.as_ref(), state, &shutdown).await;
        };
        // Boxed, here and below, so that a connection without TLS takes no memory for what TLS needs. Before the handshake
        // is over nothing was requested, so a shutdown has no answer to wait for.
        match shutdown.run_until_cancelled(Box::pin(tls.accept(stream))).await {
            Some(Ok(stream)) => Box::pin(serve_http(stream, router, policy.as_ref(), state, &shutdown)).await,
            Some(Err(error)) => tracing::debug!("a client left or was refused before its first request: {error}"),
            None => {}
        }
    };
    tokio::select! {
        biased; // the time-outs follow from what was just read and written
        () = serving => {}
        () = state.expired(&connections.limits) => {}
    }
}

/// The connections that are open.
struct Connections {
    open: Mutex<Vec<Arc<ConnectionState>>>,
    permits: Arc<Semaphore>,
    limits: Limits,
    security: Option<Security>,
    tasks: TaskTracker,
}

/// One of the connections that may be open at once.
struct ConnectionPermit {
    state: Arc<ConnectionState>,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    fn new(limits: Limits, security: Option<Security>) -> Self {
        Self {
            open: Mutex::default(),
            permits: Arc::new(Semaphore::new(limits.connections)),
            limits,
            security,
            tasks: TaskTracker::new(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<ConnectionState>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit for one more connection; where there is none, the connection that has gone longest without a complete
    /// request makes way: clients that never finish one cannot keep the scraper out.
    async fn acquire(self: &Arc<Self>) -> Option<ConnectionPermit> {
        if self.permits.available_permits() == 0 {
            self.evict();
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let state = ConnectionState::new();
        self.open().push(Arc::clone(&state));
        Some(ConnectionPermit { state, connections: Arc::clone(self), _permit: permit })
    }

    fn evict(&self) {
        let mut open = self.open();
        let longest = (0..open.len()).min_by_key(|index| open[*index].last_request());
        if let Some(index) = longest {
            open.swap_remove(index).evict();
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        if let Some(index) = open.iter().position(|state| Arc::ptr_eq(state, &self.state)) {
            open.swap_remove(index);
        }
    }
}
