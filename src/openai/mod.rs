//! Everything that knows the upstream API: how a request is sent and tried again, what a page looks like, and when a list
//! is whole. What leaves this module is a whole list, or an error that says why there is none.

mod error;
mod metrics;
mod pages;
mod retry;
mod transport;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use url::Url;

pub use error::{Error, RequestId};
pub use metrics::Metrics;
pub use pages::{MAX_PAGES, PageError, Step, Walk};
pub use transport::TlsFileError;
pub use wire::{Entry, FieldCheck};

use crate::config::Api;
use crate::inventory::{Certificate, FailureReason, Listing, Project};
use error::Fault;
use transport::Transport;

/// An answer larger than this after decompression is refused. A full page of the largest documented size takes some 30 KiB.
const MAX_BODY_BYTES: usize = 8 << 20;
/// As good as for ever: no poll lasts longer.
const LONGEST_POLL: Duration = Duration::from_secs(86_400);
/// What is escaped in a segment of a path: everything but the characters that never need it.
const NOT_IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Of an answer that is an error, as much is read as its code may need.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// What is asked of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/organization/certificates`
    Certificates,
    /// `/organization/projects`
    Projects,
    /// `/organization/projects/{project_id}/certificates`
    ProjectCertificates,
}

impl Endpoint {
    /// As labels and logs name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Projects => "projects",
            Self::ProjectCertificates => "project_certificates",
        }
    }

    /// Whether its place among the requests under way is kept from page to page and from try to try. Projects are read
    /// while their list is walked, and all of that is in vain without the whole list: it must not stand in their queue.
    const fn keeps_place(self) -> bool {
        matches!(self, Self::Projects)
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up, for want of trusted roots for example.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(String),
    /// A file that TLS is made of cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
}

/// The connection pool to one upstream, and how to use it.
#[derive(Debug)]
pub struct Client {
    transport: Arc<Transport>,
    base_url: Url,
    page_size: u32,
    request_timeout: Duration,
    max_retries: u32,
    /// Requests that may be under way at once.
    concurrency: usize,
    metrics: Arc<Metrics>,
    /// Pages read so far, of all lists, for those who wait.
    pages: Arc<AtomicU64>,
}

impl Client {
    /// Prepares a client that has at most `concurrency` requests under way; nothing is sent yet.
    pub fn new(api: &Api, concurrency: usize, metrics: Arc<Metrics>) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Arc::new(Transport::new(api, &metrics)?),
            base_url: api.base_url.clone(),
            page_size: api.page_size,
            request_timeout: api.request_timeout,
            max_retries: api.max_retries,
            concurrency,
            metrics,
            pages: Arc::default(),
        })
    }

    /// How many pages have been read, counted on while a poll is under way.
    #[must_use]
    pub fn pages(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.pages)
    }

    /// What one poll may use: this key, until this deadline. Reads the files for TLS again, where there are any.
    pub async fn session(&self, key: SecretString, deadline: Instant) -> Session<'_> {
        let http = if self.transport.has_files() {
            let (transport, metrics) = (Arc::clone(&self.transport), Arc::clone(&self.metrics));
            let reading = tokio::task::spawn_blocking(move || transport.current(&metrics));
            // Where the file system hangs, the poll's time is over, and it fails for that.
            timeout_at(deadline, reading).await.ok().and_then(Result::ok)
        } else {
            None
        };
        let http = http.unwrap_or_else(|| self.transport.last());
        Session {
            client: self,
            http,
            key,
            deadline,
            places: Semaphore::new(self.concurrency),
            held_until: Mutex::new(None),
            rejected: OnceLock::new(),
        }
    }
}

/// One poll's use of the client. What one request learns of the server holds for all of them.
#[derive(Debug)]
pub struct Session<'a> {
    client: &'a Client,
    http: reqwest::Client,
    key: SecretString,
    deadline: Instant,
    /// One for each request that may be under way.
    places: Semaphore,
    /// After a 429, until when nothing is sent.
    held_until: Mutex<Option<Instant>>,
    /// Why a request was answered with 401, if one was; then nothing more is sent.
    rejected: OnceLock<FailureReason>,
}

impl Session<'_> {
    /// The organization's whole list of certificates; `before` itself where nothing has changed since.
    pub async fn organization_certificates(
        &self,
        before: Option<&Arc<Listing<Certificate>>>,
    ) -> Result<Arc<Listing<Certificate>>, Error> {
        // Ascending by upload, so that what is uploaded during the walk lands at its end.
        self.list(Endpoint::Certificates, &["organization", "certificates"], &[("order", "asc")], before, |_| {}).await
    }

    /// The organization's whole list of projects, archived ones left out. The API has no order for it. Each page is
    /// handed to `found` as it comes; whether they are a whole list shows only at the end.
    pub async fn projects(&self, found: impl FnMut(&[Arc<Project>])) -> Result<Arc<Listing<Project>>, Error> {
        self.list(Endpoint::Projects, &["organization", "projects"], &[("include_archived", "false")], None, found)
            .await
    }

    /// A project's whole list of certificates; `before` itself where nothing has changed since.
    pub async fn project_certificates(
        &self,
        project_id: &str,
        before: Option<&Arc<Listing<Certificate>>>,
    ) -> Result<Arc<Listing<Certificate>>, Error> {
        let path = ["organization", "projects", project_id, "certificates"];
        self.list(Endpoint::ProjectCertificates, &path, &[("order", "asc")], before, |_| {}).await
    }

    /// Every page of a list.
    async fn list<T: Entry>(
        &self,
        endpoint: Endpoint,
        path: &[&str],
        query: &[(&str, &str)],
        before: Option<&Arc<Listing<T>>>,
        mut found: impl FnMut(&[Arc<T>]),
    ) -> Result<Arc<Listing<T>>, Error> {
        let mut walk = Walk::new(&self.key, before);
        let (mut after, mut kept) = (None, None);
        loop {
            let url = self.url(path, query, after.as_deref());
            let answer = self.get(endpoint, &url, &mut kept).await?;
            let step = walk.take(&answer.body).map_err(|error| {
                let reason = if error.is_decode() { FailureReason::Decode } else { FailureReason::Pagination };
                let (status, request_id) = (Some(answer.status), answer.request_id);
                Error { status, request_id, ..Error::new(reason, endpoint, Fault::Page(error)) }
            })?;
            self.client.pages.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(endpoint = endpoint.as_str(), page = walk.pages(), bytes = answer.body.len(), "page read");
            found(walk.last_read());
            match step {
                Step::After(id) => after = Some(id),
                Step::Complete => return Ok(walk.finish()),
            }
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)], after: Option<&str>) -> Url {
        let mut url = self.client.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let path = path.iter().fold(base.to_owned(), |path, segment| {
            // Escaped here, since `Url` drops tabs and line feeds, and so could ask for another project.
            path + "/" + &utf8_percent_encode(segment, NOT_IN_A_SEGMENT).to_string()
        });
        url.set_path(&path);
        url.query_pairs_mut()
            .append_pair("limit", &self.client.page_size.to_string())
            .extend_pairs(query)
            .extend_pairs(after.map(|id| ("after", id)));
        url
    }

    /// One request, tried again as often as it is worth it and the poll has time. It takes the place that was `kept`, and
    /// leaves its own there where that is to be kept.
    async fn get<'s>(
        &'s self,
        endpoint: Endpoint,
        url: &Url,
        kept: &mut Option<SemaphorePermit<'s>>,
    ) -> Result<Answer, Error> {
        let mut retries = 0;
        loop {
            let place = self.admission(endpoint, kept.take()).await?;
            let error = match self.attempt(endpoint, url).await {
                Ok(answer) => {
                    *kept = endpoint.keeps_place().then_some(place);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if error.status == Some(StatusCode::UNAUTHORIZED) {
                // The first one's reason stands for all.
                let _ = self.rejected.set(error.reason);
            }
            if !error.retryable {
                return Err(error);
            }
            let wait = error.asked_wait.unwrap_or_else(|| retry::backoff(retries, fastrand::f64()));
            let left = self.deadline.saturating_duration_since(Instant::now());
            if error.is_rate_limit() {
                self.hold(wait);
            }
            // After a 429 nobody else may send before the wait is over, and then this one goes first: at the end of the
            // queue it could be turned away time and again.
            *kept = (error.is_rate_limit() || endpoint.keeps_place()).then_some(place);
            if let Some(asked) = error.asked_wait.filter(|asked| *asked >= left) {
                return Err(Error { reason: FailureReason::RateLimited, fault: Fault::Wait(asked), ..error });
            }
            if retries == self.client.max_retries || wait >= left {
                return Err(error);
            }
            let request_id = error.request_id.as_ref().map(tracing::field::display);
            let wait_seconds = wait.as_secs_f64();
            tracing::debug!(endpoint = endpoint.as_str(), request_id, wait_seconds, "trying again: {error}");
            sleep(wait).await;
            retries += 1;
            self.client.metrics.retried();
        }
    }

    /// Sends nothing for a while; an earlier hold that lasts longer stays.
    fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_POLL);
        let mut held_until = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held_until = (*held_until).max(Some(until));
    }

    fn held_until(&self) -> Option<Instant> {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place among the requests under way, unless one was `kept`, and for the end of a hold.
    async fn admission<'s>(
        &'s self,
        endpoint: Endpoint,
        kept: Option<SemaphorePermit<'s>>,
    ) -> Result<SemaphorePermit<'s>, Error> {
        let over = || Error::new(FailureReason::Timeout, endpoint, Fault::PollTimeout);
        let place = match kept {
            Some(place) => place,
            None => match timeout_at(self.deadline, self.places.acquire()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) | Err(_) => return Err(over()),
            },
        };
        while let Some(until) = self.held_until().filter(|until| *until > Instant::now()) {
            if until >= self.deadline {
                let asked_wait = Some(until - Instant::now());
                return Err(Error { asked_wait, ..Error::new(FailureReason::RateLimited, endpoint, Fault::Held) });
            }
            sleep_until(until).await;
        }
        if let Some(reason) = self.rejected.get() {
            return Err(Error::new(*reason, endpoint, Fault::Rejected));
        }
        Ok(place)
    }

    /// One try.
    async fn attempt(&self, endpoint: Endpoint, url: &Url) -> Result<Answer, Error> {
        let started = Instant::now();
        let outcome = self.exchange(endpoint, url, started + self.client.request_timeout).await;
        let (Ok(Answer { status, .. }) | Err(Error { status: Some(status), .. })) = &outcome else {
            let code = match &outcome {
                Err(Error { reason: FailureReason::Timeout, .. }) => "timeout",
                _ => "network",
            };
            self.client.metrics.requested(endpoint, code, started.elapsed());
            return outcome;
        };
        self.client.metrics.requested(endpoint, status.as_str(), started.elapsed());
        outcome
    }

    /// Sends a request and reads its answer, both until `own_deadline` or the poll's, whichever comes first.
    async fn exchange(&self, endpoint: Endpoint, url: &Url, own_deadline: Instant) -> Result<Answer, Error> {
        let deadline = own_deadline.min(self.deadline);
        let elapsed = || {
            let retryable = own_deadline < self.deadline;
            let fault = if retryable { Fault::RequestTimeout(self.client.request_timeout) } else { Fault::PollTimeout };
            Error { retryable, ..Error::new(FailureReason::Timeout, endpoint, fault) }
        };
        let broken = |error: reqwest::Error| {
            let fault = Fault::Transport(causes(&error.without_url()));
            Error { retryable: true, ..Error::new(FailureReason::Network, endpoint, fault) }
        };

        let request = self.http.get(url.clone()).header(AUTHORIZATION, self.authorization());
        let mut response = timeout_at(deadline, request.send()).await.map_err(|_| elapsed())?.map_err(broken)?;
        let status = response.status();
        let request_id = RequestId::from_headers(response.headers(), self.key.expose_secret());
        if !status.is_success() {
            let retryable = retry::is_retryable(status, response.headers());
            // A key that is not accepted, or may not read this, is for people to mend, who should not have to wait after it.
            let asks = !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            let asked_wait = retry::asked_wait(response.headers(), SystemTime::now()).filter(|_| asks);
            // The code only refines what the status says, so a body that cannot be had is no fault of its own.
            let body = timeout_at(deadline, read(&mut response, MAX_ERROR_BODY_BYTES)).await;
            let code = body.ok().and_then(Result::ok).and_then(|body| error::known_code(&body));
            let (reason, fault) = (error::reason(status, code), Fault::Status(code));
            return Err(Error { reason, endpoint, status: Some(status), request_id, asked_wait, retryable, fault });
        }
        let error = match timeout_at(deadline, read(&mut response, MAX_BODY_BYTES)).await {
            Ok(Ok(body)) => return Ok(Answer { status, body, request_id }),
            Ok(Err(ReadError::Broken(error))) => broken(error),
            Ok(Err(ReadError::Undecodable(fault))) => {
                Error { status: Some(status), ..Error::new(FailureReason::Decode, endpoint, fault) }
            }
            Err(_) => elapsed(),
        };
        Err(Error { request_id, ..error })
    }

    fn authorization(&self) -> HeaderValue {
        // The key was checked to be a header value when it was read; an empty header would be answered with 401.
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.key.expose_secret()))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// A success, whole.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    request_id: Option<RequestId>,
}

enum ReadError {
    /// It breaks off.
    Broken(reqwest::Error),
    /// It is whole, and yet of no use.
    Undecodable(Fault),
}

/// A body, decompressed, up to a limit.
async fn read(response: &mut Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                return Err(ReadError::Undecodable(Fault::TooLarge(limit)));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) if is_transport(&error) => return Err(ReadError::Broken(error)),
            Err(error) => return Err(ReadError::Undecodable(Fault::Encoding(causes(&error.without_url())))),
        }
    }
}

/// Whether a body broke off below the content encoding: the library files both under "decode".
fn is_transport(error: &reqwest::Error) -> bool {
    successors(error).any(<dyn std::error::Error>::is::<hyper::Error>)
}

fn successors<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// An error and its causes in one line, each said once.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    for cause in successors(error).map(ToString::to_string) {
        if !line.ends_with(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
    }
    line
}
