//! One request: sent, its response classified, and sent again if that can help. A 429 pauses every request of the poll,
//! a 401 ends them.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, HeaderMap};
use reqwest::{Response, StatusCode};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::error::{self, Error};
use super::{Endpoint, PageError, Session, retry};
use crate::inventory::unix_now;
use crate::poll_state::FailureReason;

/// A larger response is refused, after decompression. A full page of the largest documented size takes some 30 KiB.
const MAX_BODY_BYTES: usize = 8 << 20;
/// A larger body of an error is discarded: it is not the API's, and the status says enough.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;
/// Longer ones are not repeated in a message.
const MAX_CODINGS_LEN: usize = 32;
/// Caps a pause, since `Instant + Duration` may overflow. No poll is longer.
const MAX_POLL: Duration = Duration::from_secs(86_400);

/// A 200, read whole.
#[derive(Debug)]
pub(super) struct PageResponse {
    pub(super) body: Vec<u8>,
    status: StatusCode,
    request_id: Option<Box<str>>,
    /// What it is said to be, if not JSON.
    foreign: Option<String>,
    peer: Arc<str>,
}

impl PageResponse {
    /// Turns a rejected page into an error: `Decode` for the page itself, `Pagination` for its position in the list.
    pub(super) fn page_error(&self, fault: PageError) -> Error {
        let reason = match fault {
            PageError::NotJson
            | PageError::NotAPage
            | PageError::IsError(_)
            | PageError::NotAList(_)
            | PageError::NoContent
            | PageError::TooLarge => FailureReason::Decode,
            _ => FailureReason::Pagination,
        };
        let fault = match (fault, &self.foreign) {
            (PageError::NotJson, Some(foreign)) => foreign.clone(),
            _ => fault.to_string(),
        };
        let (status, request_id) = (Some(self.status.as_u16()), self.request_id.clone());
        Error { status, request_id, ..Error::new(reason, format!("{}: {fault}", self.peer)) }
    }
}

impl Session<'_> {
    /// Sends a request, and again as often as that can help and the poll has time.
    pub(super) async fn send<F: Future<Output = Result<PageResponse, Error>>>(
        &self,
        endpoint: Endpoint,
        send_once: impl Fn() -> F,
    ) -> Result<PageResponse, Error> {
        let mut retries = 0;
        loop {
            self.wait_until_allowed().await?;
            let error = match send_once().await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if error.status == Some(401) {
                // The first 401 gives the reason for all requests.
                let _ = self.unauthorized.set(error.reason);
            }
            if !error.retryable {
                return Err(error);
            }
            let wait =
                error.retry_after.unwrap_or_else(|| retry::backoff(retries, fastrand::f64()));
            if error.is_rate_limit() {
                self.pause(wait);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if error.retry_after.is_some_and(|wait| wait >= left) {
                let wait = if wait > MAX_POLL {
                    "more than a day".into()
                } else {
                    format!("{} s", wait.as_secs())
                };
                let message =
                    format!("{error}, with a Retry-After of {wait}, longer than the poll has left");
                return Err(Error { reason: FailureReason::RateLimited, message, ..error });
            }
            if wait >= left || retries == self.client.api.max_retries {
                return Err(error);
            }
            let (request_id, wait_seconds) = (error.request_id.as_deref(), wait.as_secs_f64());
            tracing::debug!(
                endpoint = endpoint.into_str(),
                request_id,
                wait_seconds,
                "trying again: {error}"
            );
            sleep(wait).await;
            retries += 1;
            self.client.metrics.retries.inc();
        }
    }

    /// Waits for the end of a pause; fails if the poll may send nothing more.
    async fn wait_until_allowed(&self) -> Result<(), Error> {
        loop {
            let until = self.paused_until.get();
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            if until >= self.deadline {
                let message =
                    "not sent: a 429 pauses all requests for longer than the poll has left";
                return Err(Error {
                    retry_after: Some(wait),
                    ..Error::new(FailureReason::RateLimited, message)
                });
            }
            sleep(wait).await;
        }
        match self.unauthorized.get() {
            Some(reason) => {
                Err(Error::new(*reason, "not sent: another request was answered with 401"))
            }
            None if Instant::now() >= self.deadline => {
                let message = format!("the poll timed out ({})", self.client.deadline_setting);
                Err(Error::new(FailureReason::Timeout, message))
            }
            None => Ok(()),
        }
    }

    /// Pauses every request; an earlier pause that lasts longer stays.
    fn pause(&self, wait: Duration) {
        self.paused_until.set(self.paused_until.get().max(Instant::now() + wait.min(MAX_POLL)));
    }

    /// One attempt, counted.
    pub(super) async fn send_once(
        &self,
        endpoint: Endpoint,
        url: &Url,
    ) -> Result<PageResponse, Error> {
        let started = Instant::now();
        let result = self.exchange(url, started + self.client.api.request_timeout).await;
        let code = match &result {
            Ok(response) => response.status.as_str().to_owned(),
            Err(Error { status: Some(status), .. }) => status.to_string(),
            Err(Error { reason: FailureReason::Timeout, .. }) => "timeout".to_owned(),
            Err(_) => "network".to_owned(),
        };
        self.client.metrics.requested(endpoint, &code, started.elapsed());
        result
    }

    /// Sends a request and reads its response, both until `own_deadline` or the poll's, whichever is earlier.
    async fn exchange(&self, url: &Url, own_deadline: Instant) -> Result<PageResponse, Error> {
        let http = self.http().map_err(Error::network)?;
        let error = match self.exchange_over(&http, url, own_deadline).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if error.is_of_connection() {
            self.abandon(&http);
        }
        Err(Error { message: format!("{} {}", self.client.peer, error.message), ..error })
    }

    async fn exchange_over(
        &self,
        http: &reqwest::Client,
        url: &Url,
        own_deadline: Instant,
    ) -> Result<PageResponse, Error> {
        let deadline = own_deadline.min(self.deadline);
        let timed_out = |_| self.timed_out(own_deadline);
        let secret = self.key.expose_secret();
        let request = http.get(url.clone()).bearer_auth(secret).header(ACCEPT_ENCODING, "gzip");
        // A cache on the way must not answer with what it has kept.
        let request = request.header(CACHE_CONTROL, "no-cache");
        let sent = timeout_at(deadline, request.send()).await.map_err(timed_out)?;
        let mut response = sent.map_err(Error::network)?;
        let date = retry::date(response.headers(), SystemTime::now());
        let status = response.status();
        self.compare_clocks(date);
        let request_id = error::request_id(response.headers(), secret);
        let foreign = error::foreign(response.headers(), secret);
        let body = if status == StatusCode::OK {
            timeout_at(deadline, read(&mut response, MAX_BODY_BYTES, secret))
                .await
                .map_err(timed_out)
                .and_then(|read| read)
        } else {
            Err(classify(&mut response, date, secret, deadline).await)
        };
        match body {
            Ok(body) => {
                let peer = Arc::clone(&self.client.peer);
                Ok(PageResponse { body, status, request_id, foreign, peer })
            }
            Err(error) => Err(Error { request_id, ..error }),
        }
    }

    fn timed_out(&self, own_deadline: Instant) -> Error {
        let (is_poll_over, timeout) =
            (own_deadline >= self.deadline, self.client.api.request_timeout);
        let limit = if is_poll_over {
            format!("before the poll timed out ({})", self.client.deadline_setting)
        } else {
            format!("within {} (api.request_timeout)", humantime::format_duration(timeout))
        };
        let message = format!("did not send a complete response {limit}");
        let retryable = !is_poll_over;
        Error { retryable, ..Error::new(FailureReason::Timeout, message) }
    }

    fn compare_clocks(&self, date: Option<SystemTime>) {
        let Some(date) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else { return };
        // A `Date` has no fractions: it is half a second old on average.
        let offset = unix_now() - date.as_secs_f64() - 0.5;
        if self.clock_offset.get().is_none_or(|known| offset.abs() < known.abs()) {
            self.clock_offset.set(Some(offset));
        }
    }
}

/// The error of a response that is not a 200.
async fn classify(
    response: &mut Response,
    date: Option<SystemTime>,
    secret: &str,
    deadline: Instant,
) -> Error {
    let status = response.status();
    let retryable = retry::is_retryable(status, response.headers());
    let now = date.unwrap_or_else(SystemTime::now);
    // What no wait mends puts nothing off: once people have mended it, the next poll should see that at once.
    let retry_after = retry::retry_after(response.headers(), now).filter(|_| retryable);
    let redirect = error::redirect(response, secret);
    let foreign = error::foreign(response.headers(), secret);
    // The code only refines what the status says, so a body that cannot be read is no error of its own.
    let body = timeout_at(deadline, read(response, MAX_ERROR_BODY_BYTES, secret)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let (code, not_found) =
        (error::known_code(&body), status == StatusCode::NOT_FOUND && error::is_of_api(&body));
    let error = Error::status(status, code);
    let detail = redirect.or(foreign).or_else(|| error.next_step(code).map(Into::into));
    let message =
        [Some(error.message), detail].into_iter().flatten().collect::<Vec<_>>().join("; ");
    Error { not_found, retry_after, message, retryable, ..error }
}

/// A body, decompressed, of at most `limit` bytes.
async fn read(response: &mut Response, limit: usize, secret: &str) -> Result<Vec<u8>, Error> {
    let status = Some(response.status().as_u16());
    let undecodable =
        |message: String| Error { status, ..Error::new(FailureReason::Decode, message) };
    let too_large = || undecodable(format!("sent a response larger than {} MiB", limit >> 20));
    let is_gzip = is_gzip(response.headers()).map_err(|codings| {
        let named = error::identifier(&codings, secret).filter(|it| it.len() <= MAX_CODINGS_LEN);
        undecodable(match named {
            Some(codings) => {
                format!("sent a response with Content-Encoding {codings}; only gzip is supported")
            }
            None => "sent a response with a Content-Encoding other than gzip".into(),
        })
    })?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::network)? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    if !is_gzip {
        return Ok(without_byte_order_mark(body));
    }
    let mut unpacked = Vec::new();
    match MultiGzDecoder::new(&*body).take(limit as u64 + 1).read_to_end(&mut unpacked) {
        Ok(length) if length > limit => Err(too_large()),
        Ok(_) => Ok(without_byte_order_mark(unpacked)),
        // Damaged or cut short on its way: whoever asks again may get it whole.
        Err(error) => Err(Error {
            retryable: true,
            ..undecodable(format!("sent a response that cannot be decompressed: {error}"))
        }),
    }
}

/// Readers of JSON may ignore the mark rather than treat it as an error (RFC 8259, section 8.1).
fn without_byte_order_mark(mut body: Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if body.starts_with(MARK) {
        body.drain(..MARK.len());
    }
    body
}

/// Whether a body is compressed with gzip; the error is the other codings that it is in.
fn is_gzip(headers: &HeaderMap) -> Result<bool, String> {
    let values =
        headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?"));
    let codings =
        values.flat_map(|value| value.split(',')).map(|it| it.trim().to_ascii_lowercase());
    let codings: Vec<_> = codings.filter(|coding| !matches!(&**coding, "" | "identity")).collect();
    match codings.join("+").as_str() {
        "" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        other => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use prometheus::Registry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Barrier;

    use super::*;
    use crate::openai::{Client, Metrics};

    const POLL_TIMEOUT: Duration = Duration::from_secs(240);

    fn client() -> Arc<Client> {
        let api = "base_url = 'http://127.0.0.1:1'\npage_size = 100\nrequest_timeout = '10s'\nmax_retries = 3\ninsecure_http = false";
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        Arc::new(Client::new(&toml::from_str(api).unwrap(), metrics).unwrap())
    }

    /// A response with this status, and the `Retry-After` that came with it, in seconds.
    fn response(status: u16, retry_after: impl Into<Option<u64>>) -> Result<PageResponse, Error> {
        let status = StatusCode::from_u16(status).unwrap();
        if status.is_success() {
            let (body, peer) = (Vec::new(), "".into());
            return Ok(PageResponse { body, status, request_id: None, foreign: None, peer });
        }
        let retry_after = retry_after.into().map(Duration::from_secs);
        let retryable = retry::is_retryable(status, &HeaderMap::new());
        Err(Error { retry_after, retryable, ..Error::status(status, None) })
    }

    /// A poll of an API that gives these responses in turn, then successes; and when it sent each request, in seconds.
    struct Script<'a> {
        session: Session<'a>,
        start: Instant,
        responses: RefCell<VecDeque<Result<PageResponse, Error>>>,
        sent_at: RefCell<Vec<u64>>,
    }

    impl<'a> Script<'a> {
        async fn new(
            client: &'a Arc<Client>,
            responses: impl IntoIterator<Item = Result<PageResponse, Error>>,
        ) -> Self {
            let (start, responses) =
                (Instant::now(), RefCell::new(responses.into_iter().collect()));
            let session = client.session("sk-admin-abc".into(), start + POLL_TIMEOUT).await;
            Self { session, start, responses, sent_at: RefCell::default() }
        }

        async fn send(&self) -> Result<(), Error> {
            let send_once = || async {
                self.sent_at.borrow_mut().push(self.start.elapsed().as_secs());
                // Requests of one moment are all sent before the first response comes.
                tokio::task::yield_now().await;
                self.responses.borrow_mut().pop_front().unwrap_or_else(|| response(200, None))
            };
            self.session.send(Endpoint::Certificates, send_once).await.map(drop)
        }

        fn sent_at(&self) -> Vec<u64> {
            self.sent_at.borrow().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_waits_as_long_as_it_is_told_to() {
        let client = client();
        let script = Script::new(&client, [response(503, 7), response(429, 20)]).await;
        script.send().await.unwrap();
        assert_eq!(script.sent_at(), [0, 7, 27]);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_bounded_and_back_off() {
        let client = client();
        let script = Script::new(&client, (0..9).map(|_| response(500, None))).await;
        let error = script.send().await.unwrap_err();
        assert_eq!((error.reason, error.status), (FailureReason::Server, Some(500)));
        assert_eq!(script.sent_at().len(), 1 + client.api.max_retries as usize);
        let waited = script.start.elapsed().as_millis();
        assert!((375 + 750 + 1_500..=500 + 1_000 + 2_000).contains(&waited), "{waited} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn error_that_a_retry_cannot_mend_is_final() {
        let client = client();
        for status in [302, 400, 401, 403, 404] {
            let script = Script::new(&client, [response(status, 1)]).await;
            assert_eq!(script.send().await.unwrap_err().status, Some(status));
            assert_eq!(script.sent_at(), [0], "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_beyond_the_deadline_fails_at_once() {
        let client = client();
        for (status, is_rate_limit) in [(429, true), (503, false)] {
            let script = Script::new(&client, [response(status, POLL_TIMEOUT.as_secs())]).await;
            let error = script.send().await.unwrap_err();
            assert_eq!(
                (error.reason, error.retry_after),
                (FailureReason::RateLimited, Some(POLL_TIMEOUT))
            );
            assert_eq!(error.is_rate_limit(), is_rate_limit, "{status}");
            assert!(
                error
                    .to_string()
                    .ends_with(", with a Retry-After of 240 s, longer than the poll has left"),
                "{error}"
            );
            assert_eq!((script.sent_at(), script.start.elapsed()), (vec![0], Duration::ZERO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limit_pauses_every_request_and_another_wait_only_its_own() {
        let client = client();
        for (status, sent_at) in [(429, [0, 30, 30]), (503, [0, 1, 30])] {
            let script = Script::new(&client, [response(status, 30)]).await;
            let later = async {
                sleep(Duration::from_secs(1)).await;
                script.send().await
            };
            let (first, second) = tokio::join!(script.send(), later);
            assert!(first.is_ok() && second.is_ok());
            assert_eq!(script.sent_at(), sent_at, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shorter_pause_does_not_end_a_longer_one() {
        let client = client();
        let script = Script::new(&client, [response(429, 60), response(429, 5)]).await;
        let (first, second) = tokio::join!(script.send(), script.send());
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(script.sent_at(), [0, 0, 60, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn pause_beyond_the_deadline_fails_the_others_unsent() {
        let client = client();
        for wait in [POLL_TIMEOUT, Duration::MAX] {
            let script = Script::new(&client, [response(429, wait.as_secs())]).await;
            assert!(script.send().await.is_err());
            let error = script.send().await.unwrap_err();
            assert!(error.is_rate_limit() && error.status.is_none(), "{error:?}");
            assert_eq!(error.retry_after, Some(wait.min(MAX_POLL)));
            assert_eq!(script.sent_at(), [0]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_key_ends_the_poll() {
        let client = client();
        let script = Script::new(&client, [response(401, None)]).await;
        assert_eq!(script.send().await.unwrap_err().status, Some(401));
        let error = script.send().await.unwrap_err();
        assert_eq!((error.reason, error.status), (FailureReason::Unauthorized, None));
        assert_eq!(script.sent_at(), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_past_the_deadline() {
        let client = client();
        let script = Script::new(&client, []).await;
        sleep(POLL_TIMEOUT).await;
        assert_eq!(script.send().await.unwrap_err().reason, FailureReason::Timeout);
        assert_eq!(script.sent_at(), [0; 0]);
    }

    /// An API with empty lists. It makes the first four requests wait for each other, so that each has a connection.
    struct Connections {
        address: SocketAddr,
        accepted: AtomicUsize,
        /// A connection that is older ends with its next request.
        oldest: AtomicUsize,
        first: Barrier,
    }

    impl Connections {
        async fn serve() -> Arc<Self> {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let shared = Arc::new(Self {
                address: listener.local_addr().unwrap(),
                accepted: AtomicUsize::new(0),
                oldest: AtomicUsize::new(0),
                first: Barrier::new(4),
            });
            let serving = Arc::clone(&shared);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(Arc::clone(&serving).answer(stream));
                }
            });
            shared
        }

        async fn answer(self: Arc<Self>, mut stream: TcpStream) {
            const BODY: &str = r#"{"data":[],"has_more":false}"#;
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                if number < self.oldest.load(Ordering::SeqCst) {
                    return;
                }
                if number < 4 {
                    self.first.wait().await;
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn retry_makes_a_new_connection_and_none_outlives_the_poll() {
        let api = Connections::serve().await;
        let config = format!(
            "base_url = 'http://{}'\npage_size = 100\nrequest_timeout = '10s'\nmax_retries = 1\ninsecure_http = false",
            api.address
        );
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let client = Arc::new(Client::new(&toml::from_str(&config).unwrap(), metrics).unwrap());
        let session = client.session("key".into(), Instant::now() + POLL_TIMEOUT).await;
        let list = || session.projects(None);
        let (a, b, c, d) = tokio::join!(list(), list(), list(), list());
        assert!([a, b, c, d].iter().all(Result::is_ok));
        assert_eq!(api.accepted.load(Ordering::SeqCst), 4);

        api.oldest.store(4, Ordering::SeqCst);
        assert!(list().await.is_ok(), "the retry took another of the four");
        assert!(list().await.is_ok());
        assert_eq!(api.accepted.load(Ordering::SeqCst), 5, "a good connection is used again");

        drop(session);
        let session = client.session("key".into(), Instant::now() + POLL_TIMEOUT).await;
        assert!(session.projects(None).await.is_ok());
        assert_eq!(api.accepted.load(Ordering::SeqCst), 6);
    }
}
