//! Listens, accepts and serves, with no more connections at once than the limit of descriptors allows.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use axum::Router;
use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::connection::{ConnectionState, Limits, serve_http};
use super::lock;
use super::security::{RulesWatcher, Security};
use crate::config::ListenAddress;

/// More clients than this at once are no scrapers. One that does not read costs up to 40 KiB of a container's 64 MiB.
const MAX_CONNECTIONS: u64 = 1_024;
/// Kubelets and load balancers probe one at a time.
const MAX_PROBE_CONNECTIONS: usize = 32;
/// Descriptors kept for the rest: listeners, the upstream, files, the runtime.
const RESERVED_DESCRIPTORS: u64 = 64;
/// The socket's send buffer. With an unbounded one, a thousand scrapes of large pages would fill gigabytes. The system
/// doubles it.
const SEND_BUFFER_BYTES: u32 = 128 << 10;
/// Connections that wait to be accepted. Linux allows as many unless told otherwise (`net.core.somaxconn`).
const BACKLOG: u32 = 4_096;
/// How long responses under way at the shutdown may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed accept, so that EMFILE or ENOMEM does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Raises the soft limit of this process's descriptors if it is low, and returns how many connections the limit leaves
/// room for, in all servers together.
pub(crate) fn raise_descriptor_limit() -> usize {
    let wanted = MAX_CONNECTIONS + RESERVED_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let mut allowed = limit.current.unwrap_or(u64::MAX);
    if allowed < wanted {
        let raised = limit.maximum.unwrap_or(u64::MAX).min(wanted);
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum })
            .is_ok()
        {
            allowed = raised;
        }
    }
    let connections = allowed.saturating_sub(RESERVED_DESCRIPTORS).clamp(1, MAX_CONNECTIONS);
    connections.try_into().unwrap_or(1)
}

/// Divides connections between the pages and a port for probes, so that a crowd of scrapers does not look like a process
/// that hangs.
pub(crate) fn share_with_probes(connections: usize) -> (usize, usize) {
    let probes = (connections / 4).clamp(1, MAX_PROBE_CONNECTIONS);
    (connections.saturating_sub(probes).max(1), probes)
}

/// Sockets that listen, before anybody is served.
pub struct Server {
    listeners: Vec<TcpListener>,
    limits: Limits,
    security: Option<(Security, RulesWatcher)>,
}

impl Server {
    /// Listens on every address, or says on which one it cannot. With `security` it will serve under the rules of a web
    /// configuration file, and follow its changes.
    pub async fn bind(
        addresses: &[ListenAddress],
        limits: Limits,
        security: Option<(Security, RulesWatcher)>,
    ) -> io::Result<Self> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = listen(address).await;
            listeners.push(listener.map_err(|error| {
                io::Error::other(format!("cannot listen on {address}: {error}"))
            })?);
        }
        Ok(Self { listeners, limits, security })
    }

    /// Where it listens; for port 0, with the port that the system chose.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.security.as_ref().map_or("http", |(security, _)| security.scheme())
    }

    /// Serves until `shutdown`, then lets the responses under way end for a moment.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let (security, watcher) = self.security.unzip();
        let _watching = watcher.map(|watcher| AbortOnDropHandle::new(tokio::spawn(watcher.run())));
        let tasks = TaskTracker::new();
        let connections = Arc::new(Connections {
            open: Mutex::default(),
            permits: Arc::new(Semaphore::new(self.limits.connections)),
            limits: self.limits,
            security,
            router,
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        });
        for listener in self.listeners {
            tasks.spawn(Arc::clone(&connections).accept(listener));
        }
        shutdown.cancelled().await;
        tasks.close();
        if timeout(DRAIN_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "connections closed before their answers had ended"
            );
        }
    }
}

/// Of several addresses of a name, the first that can be had.
async fn listen(address: &ListenAddress) -> io::Result<TcpListener> {
    let mut outcome = Err(io::Error::new(ErrorKind::AddrNotAvailable, "the name has no address"));
    for address in lookup_host(address.to_string()).await? {
        outcome = listen_on(address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// `[::]` means every IPv4 address too and, where there is no IPv6, those alone.
fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let means_every_address = address.is_ipv6() && address.ip().is_unspecified();
    listen_on_one(address).or_else(|error| match Errno::from_io_error(&error) {
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if means_every_address => {
            listen_on_one((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        _ => Err(error),
    })
}

fn listen_on_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if address.is_ipv6() {
        // The system's default may be to serve IPv6 alone.
        set_ipv6_v6only(&socket, false)?;
    }
    // A restart need not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The connections that are open, and what they have in common.
struct Connections {
    /// Connections that have ended are dropped when the next one comes.
    open: Mutex<Vec<Weak<ConnectionState>>>,
    permits: Arc<Semaphore>,
    limits: Limits,
    security: Option<Security>,
    router: Router,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Connections {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Some(accepted) = self.shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((socket, client)) => {
                    let Some(state) = self.admit().await else { return };
                    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                    self.tasks.spawn(Arc::clone(&self).serve(socket, client, state));
                }
                // The client left before it was accepted.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// One more connection. If the limit is reached, the connection that has gone longest without a complete request makes
    /// way: clients that never finish a request cannot keep the scraper out.
    async fn admit(&self) -> Option<Arc<ConnectionState>> {
        if self.permits.available_permits() == 0 {
            let open = lock(&self.open);
            let staying =
                open.iter().filter_map(Weak::upgrade).filter(|state| !state.evicted.is_cancelled());
            if let Some(longest) = staying.min_by_key(|state| state.last_request()) {
                longest.evicted.cancel();
            }
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let state = Arc::new(ConnectionState::new(permit));
        let mut open = lock(&self.open);
        open.retain(|state| state.strong_count() > 0);
        open.push(Arc::downgrade(&state));
        Some(state)
    }

    async fn serve(
        self: Arc<Self>,
        socket: TcpStream,
        client: SocketAddr,
        state: Arc<ConnectionState>,
    ) {
        // Responses are written whole, so Nagle's algorithm would only delay them.
        let _ = socket.set_nodelay(true);
        // Below TLS, so that the handshake is timed too.
        let stream = Arc::clone(&state).track(socket);
        let policy = self.security.as_ref().map(|security| security.policy(client));
        let (router, policy, limits) = (self.router.clone(), policy.as_ref(), &self.limits);
        let Some((policy, tls)) = policy.and_then(|policy| Some((policy, policy.tls()?))) else {
            // Pinned here: handed over whole, it would take its memory twice.
            let serving = pin!(serve_http(stream, router, policy, &state, &self.shutdown));
            state.in_time(limits, serving).await;
            return;
        };
        // Boxed, here and below, so that a connection without TLS takes no memory for what TLS needs. Before the
        // handshake is over nothing was requested, so a shutdown has no response to wait for.
        let handshake = state.in_time(limits, Box::pin(tls.accept(stream)));
        match self.shutdown.run_until_cancelled(handshake).await {
            Some(Some(Ok(stream))) => {
                let serving = serve_http(stream, router, Some(policy), &state, &self.shutdown);
                state.in_time(limits, Box::pin(serving)).await;
            }
            // Whoever sends nothing only looks whether somebody listens.
            Some(failed) if state.has_read() => {
                let late = || io::Error::new(ErrorKind::TimedOut, "it was not complete in time");
                policy.log_failed_handshake(&failed.and_then(Result::err).unwrap_or_else(late));
            }
            Some(_) | None => {}
        }
    }
}
