//! Everything that knows the upstream API: how a request is sent and tried again, what a page looks like, and when a list
//! is whole. What leaves this module is a whole list, or an error that says why there is none.

mod error;
mod metrics;
mod pages;
mod retry;
mod wire;

use std::time::{Duration, SystemTime};

use prometheus::Registry;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

pub use error::{Error, RequestId};
pub use pages::{MAX_PAGES, PageError, Step, Walk};
pub use wire::Entry;

use crate::config::{Api, is_loopback};
use crate::inventory::{Certificate, FailureReason, Listing};
use error::Fault;
use metrics::Metrics;

/// An answer larger than this after decompression is refused. A full page of the largest documented size takes some 30 KiB.
const MAX_BODY_BYTES: usize = 8 << 20;
/// Of an answer that is an error, as much is read as its code may need.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// What is asked of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/organization/certificates`
    Certificates,
}

impl Endpoint {
    /// As labels and logs name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
        }
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up, for want of trusted roots for example.
    #[error("the HTTP client cannot be set up: {}", causes(.0))]
    Http(reqwest::Error),
    /// A metric cannot be made.
    #[error("a metric of the client cannot be made: {0}")]
    Metric(#[from] prometheus::Error),
}

/// The connection pool to one upstream, and how to use it.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: Url,
    page_size: u32,
    request_timeout: Duration,
    max_retries: u32,
    metrics: Metrics,
}

impl Client {
    /// Prepares a client; nothing is sent yet.
    pub fn new(api: &Api) -> Result<Self, ClientError> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("openai-cert-exporter/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // This module retries; a layer below that does too would multiply the tries.
            .retry(reqwest::retry::never());
        if is_loopback(&api.base_url) {
            http = http.no_proxy();
        }
        if api.base_url.scheme() == "http" {
            // No TLS, so no roots are needed; a bare container may have none.
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            http: http.build().map_err(ClientError::Http)?,
            base_url: api.base_url.clone(),
            page_size: api.page_size,
            request_timeout: api.request_timeout,
            max_retries: api.max_retries,
            metrics: Metrics::new()?,
        })
    }

    /// Registers what the client counts.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        self.metrics.register(registry)
    }

    /// What one poll may use: this key, until this deadline.
    #[must_use]
    pub fn session(&self, key: SecretString, deadline: Instant) -> Session<'_> {
        Session { client: self, key, deadline }
    }
}

/// One poll's use of the client.
#[derive(Debug)]
pub struct Session<'a> {
    client: &'a Client,
    key: SecretString,
    deadline: Instant,
}

impl Session<'_> {
    /// The organization's whole list of certificates.
    pub async fn organization_certificates(&self) -> Result<Listing<Certificate>, Error> {
        self.list(Endpoint::Certificates, &["organization", "certificates"]).await
    }

    /// Every page of a list. Ascending by upload, so that what is uploaded during the walk lands at its end.
    async fn list<T: Entry>(&self, endpoint: Endpoint, path: &[&str]) -> Result<Listing<T>, Error> {
        let mut walk = Walk::new(&self.key);
        let mut after = None;
        loop {
            let url = self.url(path, after.as_deref());
            let answer = self.get(endpoint, &url).await?;
            let step = walk.take(&answer.body).map_err(|error| {
                let reason = if error.is_decode() { FailureReason::Decode } else { FailureReason::Pagination };
                Error {
                    reason,
                    endpoint,
                    status: Some(answer.status),
                    request_id: answer.request_id,
                    asked_wait: None,
                    retryable: false,
                    fault: Fault::Page(error),
                }
            })?;
            tracing::debug!(endpoint = endpoint.as_str(), page = walk.pages(), bytes = answer.body.len(), "page read");
            match step {
                Step::After(id) => after = Some(id),
                Step::Complete => return Ok(walk.finish()),
            }
        }
    }

    fn url(&self, path: &[&str], after: Option<&str>) -> Url {
        let mut url = self.client.base_url.clone();
        // A URL with a host always has path segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut query = url.query_pairs_mut();
        query.append_pair("limit", &self.client.page_size.to_string()).append_pair("order", "asc");
        if let Some(id) = after {
            query.append_pair("after", id);
        }
        drop(query);
        url
    }

    /// One request, tried again as often as it is worth it and the poll has time.
    async fn get(&self, endpoint: Endpoint, url: &Url) -> Result<Answer, Error> {
        let mut retries = 0;
        loop {
            let error = match self.attempt(endpoint, url).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.retryable => error,
                Err(error) => return Err(error),
            };
            let left = self.deadline.saturating_duration_since(Instant::now());
            if let Some(wait) = error.asked_wait.filter(|wait| *wait >= left) {
                return Err(Error { reason: FailureReason::RateLimited, fault: Fault::Wait(wait), ..error });
            }
            let wait = error.asked_wait.unwrap_or_else(|| retry::backoff(retries, fastrand::f64()));
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
        let plain = |reason, fault| Error {
            reason,
            endpoint,
            status: None,
            request_id: None,
            asked_wait: None,
            retryable: false,
            fault,
        };
        let elapsed = || {
            let retryable = own_deadline < self.deadline;
            let fault = if retryable { Fault::RequestTimeout(self.client.request_timeout) } else { Fault::PollTimeout };
            Error { retryable, ..plain(FailureReason::Timeout, fault) }
        };
        let broken = |error: reqwest::Error| {
            let fault = Fault::Transport(causes(&error.without_url()));
            Error { retryable: true, ..plain(FailureReason::Network, fault) }
        };

        let request = self.client.http.get(url.clone()).header(AUTHORIZATION, self.authorization());
        let mut response = timeout_at(deadline, request.send()).await.map_err(|_| elapsed())?.map_err(broken)?;
        let status = response.status();
        let request_id = RequestId::from_headers(response.headers(), self.key.expose_secret());
        if !status.is_success() {
            let retryable = retry::is_retryable(status, response.headers());
            let asked_wait = retry::asked_wait(response.headers(), SystemTime::now());
            // The code only refines what the status says, so a body that cannot be had is no fault of its own.
            let body = timeout_at(deadline, read(&mut response, MAX_ERROR_BODY_BYTES)).await;
            let code = body.ok().and_then(Result::ok).and_then(|body| error::known_code(&body));
            let (reason, fault) = (error::reason(status, code), Fault::Status(code));
            return Err(Error { reason, endpoint, status: Some(status), request_id, asked_wait, retryable, fault });
        }
        let error = match timeout_at(deadline, read(&mut response, MAX_BODY_BYTES)).await {
            Ok(Ok(body)) => return Ok(Answer { status, body, request_id }),
            Ok(Err(ReadError::Broken(error))) => broken(error),
            Ok(Err(ReadError::TooLarge)) => {
                Error { status: Some(status), ..plain(FailureReason::Decode, Fault::TooLarge(MAX_BODY_BYTES)) }
            }
            Ok(Err(ReadError::Encoding(causes))) => {
                Error { status: Some(status), ..plain(FailureReason::Decode, Fault::Undecodable(causes)) }
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
    TooLarge,
    Encoding(String),
    Broken(reqwest::Error),
}

/// A body, decompressed, up to a limit.
async fn read(response: &mut Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(ReadError::TooLarge),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) if is_transport(&error) => return Err(ReadError::Broken(error)),
            Err(error) => return Err(ReadError::Encoding(causes(&error.without_url()))),
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
