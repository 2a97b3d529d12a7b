//! One connection: its requests and responses, and how long its client may take over them.
//!
//! hyper has a time-out for request heads, but it runs between requests too, and it has none for a client that does not
//! read.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::uri::Authority;
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::io::{InspectReader, InspectWriter};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::lock;
use super::security::ConnectionPolicy;

/// A request with a larger head is refused with 431.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// How many connections there may be, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many may be open at once.
    pub connections: usize,
    /// For the whole head of a request, from its first byte; for the first one from the start of the connection, so that
    /// a TLS handshake counts too.
    pub head_timeout: Duration,
    /// Without a byte read or written.
    pub idle_timeout: Duration,
    /// For the whole of a response, from the end of the request's head. A client that reads a byte at a time would
    /// otherwise hold on to a page for ever.
    pub response_timeout: Duration,
}

impl Limits {
    /// That many connections, with time-outs far beyond those of any scraper.
    pub const fn new(connections: usize) -> Self {
        Self {
            connections,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(300),
        }
    }
}

/// What a connection is doing: its stream sees bytes, its service requests, and its time-outs follow from both.
pub(super) struct ConnectionState {
    progress: Mutex<Progress>,
    /// Cancelled to close the connection, whatever it is doing.
    pub(super) evicted: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

struct Progress {
    phase: Phase,
    /// When the head of the last request was complete; before the first, when the connection was opened.
    last_request: Instant,
    last_byte: Instant,
}

enum Phase {
    /// A head is due.
    Head { since: Instant },
    /// A response is produced (until `produced` is cancelled), then written; the connection then stays idle in this phase.
    Response { produced: CancellationToken },
}

impl ConnectionState {
    /// For a connection that begins now, and holds the permit as long as it lasts.
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        let now = Instant::now();
        let progress =
            Progress { phase: Phase::Head { since: now }, last_request: now, last_byte: now };
        Self { progress: Mutex::new(progress), evicted: CancellationToken::new(), _permit: permit }
    }

    /// The stream, whose bytes are noted here.
    pub(super) fn track(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite,
    ) -> impl AsyncRead + AsyncWrite {
        let writing = Arc::clone(&self);
        let stream = InspectWriter::new(stream, move |_: &[u8]| writing.bytes_written());
        InspectReader::new(stream, move |bytes: &[u8]| {
            if !bytes.is_empty() {
                self.bytes_read();
            }
        })
    }

    /// What comes of `work` for the connection; `None` if the connection is evicted or has used up its time before.
    pub(super) async fn in_time<T>(
        &self,
        limits: &Limits,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased; // the time-outs follow from what was just read and written, and no waker fires when a deadline moves
            done = work => Some(done),
            () = self.expired(limits) => None,
        }
    }

    /// Waits until the connection is evicted or has used up its time.
    async fn expired(&self, limits: &Limits) {
        let mut timer = pin!(sleep_until(self.deadline(limits)));
        let timed_out = poll_fn(|cx| {
            let deadline = self.deadline(limits);
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(cx)
        });
        self.evicted.run_until_cancelled(timed_out).await;
    }

    fn deadline(&self, limits: &Limits) -> Instant {
        let Progress { phase, last_request, last_byte } = &*lock(&self.progress);
        match phase {
            Phase::Head { since } => *since + limits.head_timeout,
            Phase::Response { .. } => {
                (*last_byte + limits.idle_timeout).min(*last_request + limits.response_timeout)
            }
        }
    }

    pub(super) fn last_request(&self) -> Instant {
        lock(&self.progress).last_request
    }

    /// Whether the client has sent anything, before its first request.
    pub(super) fn has_read(&self) -> bool {
        let Progress { last_request, last_byte, .. } = &*lock(&self.progress);
        last_byte > last_request
    }

    fn bytes_written(&self) {
        lock(&self.progress).last_byte = Instant::now();
    }

    fn bytes_read(&self) {
        let (mut progress, now) = (lock(&self.progress), Instant::now());
        progress.last_byte = now;
        // While a response is produced, bytes read belong to a pipelined request.
        if matches!(&progress.phase, Phase::Response { produced } if produced.is_cancelled()) {
            progress.phase = Phase::Head { since: now };
        }
    }

    /// The head of a request is complete. The guard goes with the body of the response, which is produced, or given up, when
    /// the guard is dropped.
    fn begin_response(&self) -> DropGuard {
        let produced = CancellationToken::new();
        let mut progress = lock(&self.progress);
        progress.last_request = Instant::now();
        progress.phase = Phase::Response { produced: produced.clone() };
        produced.drop_guard()
    }
}

/// Serves requests until the client leaves, or until `shutdown` finds nothing under way.
pub(super) async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    policy: Option<&ConnectionPolicy>,
    state: &ConnectionState,
    shutdown: &CancellationToken,
) {
    let router = &TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        let response_guard = state.begin_response();
        async move {
            let has_body = !request.body().is_end_stream();
            let request = request.map(Body::new);
            let mut response = match policy {
                _ if !names_its_host(&request) => {
                    let (close, text) = ([(CONNECTION, "close")], "a valid Host is required\n");
                    (StatusCode::BAD_REQUEST, close, text).into_response()
                }
                Some(policy) => policy.respond(request, router).await?,
                None => router.call(request).await?,
            };
            // No endpoint takes a body. Close after a request that has one, so that no smuggled request behind it is
            // parsed.
            if has_body {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let held_by_the_body = move |error| {
                let _ = &response_guard;
                error
            };
            Ok::<_, Infallible>(response.map(|body| body.map_err(held_by_the_body)))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .header_read_timeout(None) // `ConnectionState` has one
            .half_close(true) // a client that has sent all it has to say may still be reading
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    // An error means that the client broke off, which is no event.
    if shutdown.run_until_cancelled(connection.as_mut()).await.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Whether a request says which host it is for as RFC 9112, section 3.2, wants it: once, and in the form of `host:port`. The
/// port may be missing; in HTTP/1.0 the whole header may. An empty value is a valid one.
fn names_its_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || is_host_and_port(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

fn is_host_and_port(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else { return false };
    // What is no host may be a user before it.
    authority.as_str().strip_prefix(authority.host()).is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use tokio::time::sleep;

    use super::*;

    /// What a client does, a second before the next.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Sends,
        Completes,
        GetsBody,
        Reads,
        Waits(u64),
    }
    use Event::{Completes, GetsBody, Reads, Sends, Waits};

    const LIMITS: Limits = Limits::new(1);

    fn opened() -> (Arc<ConnectionState>, Instant) {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Arc::new(ConnectionState::new(permit)), Instant::now())
    }

    /// How many seconds the connection is open.
    async fn lifetime(events: impl IntoIterator<Item = Event>) -> u64 {
        let (state, opened) = opened();
        let client = async {
            let mut response = None;
            for event in events {
                match event {
                    Sends => state.bytes_read(),
                    Completes => response = Some(state.begin_response()),
                    GetsBody => response = None,
                    Reads => state.bytes_written(),
                    Waits(seconds) => sleep(Duration::from_secs(seconds)).await,
                }
                sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
            drop(response);
        };
        state.in_time(&LIMITS, client).await;
        opened.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_closed_when_its_client_takes_too_long() {
        let drip = || std::iter::repeat_n(Sends, 1_000);
        let slow_reader = || std::iter::repeat_n(Reads, 1_000);
        let served = [Sends, Completes, GetsBody, Reads]; // within four seconds
        // A head, however it drips; a later head from its first byte.
        assert_eq!(lifetime([]).await, 10);
        assert_eq!(lifetime(drip()).await, 10);
        assert_eq!(
            lifetime(served.into_iter().chain([Waits(29)]).chain(drip())).await,
            4 + 30 + 10
        );
        // Nothing to do, and a response that does not come.
        assert_eq!(lifetime(served).await, 3 + 60);
        assert_eq!(lifetime([Sends, Completes]).await, 60);
        // A response, however slowly it is read; its body may have been handed over long before.
        assert_eq!(lifetime([Sends, Completes].into_iter().chain(slow_reader())).await, 1 + 300);
        assert_eq!(
            lifetime([Sends, Completes, GetsBody].into_iter().chain(slow_reader())).await,
            1 + 300
        );
        // The next request's head, sent early, does not cut a response short.
        assert_eq!(
            lifetime([Sends, Completes, Sends, Sends].into_iter().chain(slow_reader())).await,
            1 + 300
        );
        // A connection that is used stays.
        let used = std::iter::repeat_n(served.into_iter().chain([Waits(50)]), 100).flatten();
        assert_eq!(lifetime(used).await, 100 * 55 - 52 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn evicted_connection_is_closed_at_once() {
        let (state, opened) = opened();
        state.evicted.cancel();
        state.expired(&LIMITS).await;
        assert!(opened.elapsed().is_zero());
    }
}
