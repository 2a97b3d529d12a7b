//! All that readers know: the last good snapshot, and what became of the polls. The poller publishes it whole over a
//! `watch` channel as an `Arc<PollState>`; readers cannot write.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use strum::{Display, EnumCount, IntoStaticStr, VariantArray};

use crate::clients::Assessment;
use crate::inventory::Snapshot;

#[derive(Clone, Debug)]
pub struct PollState {
    /// The last good snapshot; none before the first.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What is known of the clients and of the anchors' PEM; none if neither is asked for.
    pub clients: Option<Arc<Assessment>>,
    /// When a poll last read every list, in seconds since the epoch.
    pub last_success_at: Option<f64>,
    /// The poll that ended last; none before the first.
    pub last_poll: Option<PollResult>,
    /// The poll that failed last, in part or as a whole.
    pub last_failure: Option<PollResult>,
    /// Polls that ended, whatever came of them.
    pub polls: u64,
    /// Polls that failed, in the order of `FailureReason::VARIANTS`.
    pub failures: [u64; FailureReason::COUNT],
    pub state_write_failures: u64,
    /// If this instant passes without being moved, the poll loop has died or hangs; `/healthz` then fails. On the
    /// monotonic clock, so that a changed wall clock raises no alarm.
    pub liveness_deadline: Instant,
    pub timing: PollTiming,
    /// Whether projects are polled, or only the organization's own list.
    pub projects: bool,
    /// When the next poll starts, in seconds since the epoch; none while one is under way.
    pub next_poll_at: Option<f64>,
    /// This machine's clock less the API's, in seconds; none before a response.
    pub clock_offset: Option<f64>,
    /// How the API is reached; none without a poller.
    pub connection: Option<Arc<ApiConnection>>,
    /// Why the files for TLS to the API, as they are, are not in use, but those before; none if they are.
    pub tls_fault: Option<Box<str>>,
    /// Why the last snapshot is not in the state file; none if it is, or is not to be.
    pub state_file_fault: Option<Box<str>>,
}

/// An offset that matters beside ends that are given to the second, and that no network explains, in seconds.
const MAX_CLOCK_OFFSET: f64 = 300.0;

impl PollState {
    pub fn new(liveness_deadline: Instant, timing: PollTiming) -> Self {
        Self {
            snapshot: None,
            clients: None,
            last_success_at: None,
            last_poll: None,
            last_failure: None,
            polls: 0,
            failures: [0; FailureReason::COUNT],
            state_write_failures: 0,
            liveness_deadline,
            timing,
            projects: true,
            next_poll_at: None,
            clock_offset: None,
            connection: None,
            tls_fault: None,
            state_file_fault: None,
        }
    }

    /// Records a poll. Its snapshot replaces the last good one, which stays if the poll has none.
    pub fn record(&mut self, snapshot: Option<Arc<Snapshot>>, result: PollResult) {
        self.snapshot = snapshot.or_else(|| self.snapshot.take());
        self.polls += 1;
        for reason in result.reasons() {
            self.failures[reason as usize] += 1;
        }
        if result.failed.is_empty() {
            self.last_success_at = Some(result.ended_at);
        } else {
            self.last_failure = Some(result.clone());
        }
        self.last_poll = Some(result);
    }

    /// Whether the last poll read every list.
    pub fn up(&self) -> bool {
        self.last_poll.as_ref().is_some_and(|poll| poll.failed.is_empty())
    }

    /// The lists that the last poll could not read.
    pub fn failed(&self) -> &[FailedList] {
        self.last_poll.as_ref().map_or(&[], |poll| &poll.failed)
    }

    /// Whether the last poll missed a list; before the first it did not.
    pub fn is_failing(&self) -> bool {
        !self.failed().is_empty()
    }

    /// The clock's offset if it is more than [`MAX_CLOCK_OFFSET`].
    pub fn clock_error(&self) -> Option<f64> {
        self.clock_offset.filter(|offset| offset.abs() > MAX_CLOCK_OFFSET)
    }

    /// `now` by this machine's clock or by the API's, whichever is behind, where they differ by more than
    /// [`MAX_CLOCK_OFFSET`]: nothing is said to have ended by a clock that may be wrong.
    pub fn earliest_time(&self, now: f64) -> f64 {
        now - self.clock_error().unwrap_or_default().max(0.0)
    }

    /// By whichever is ahead: no severity rests on a clock that may be behind.
    pub fn latest_time(&self, now: f64) -> f64 {
        now - self.clock_error().unwrap_or_default().min(0.0)
    }

    /// When the least recently read list was read, in seconds since the epoch; none before the first snapshot.
    pub fn oldest_read_at(&self) -> Option<f64> {
        self.snapshot.as_deref().map(Snapshot::oldest_read_at)
    }

    /// Whether something that is shown is older at `now` than it would be if polls succeeded.
    pub fn is_stale(&self, now: f64) -> bool {
        self.oldest_read_at().is_some_and(|read_at| self.is_late(read_at, now))
    }

    /// Whether a list that was read at `read_at` is older at `now` than it would be if polls succeeded: than two intervals
    /// if the last poll failed, otherwise, since a poll may be under way, than two intervals and the longest poll.
    pub fn is_late(&self, read_at: f64, now: f64) -> bool {
        let poll = if self.is_failing() { Duration::ZERO } else { self.timing.timeout };
        now - read_at > (self.timing.interval * 2 + poll).as_secs_f64()
    }
}

#[derive(Clone, Debug)]
pub struct PollResult {
    /// In seconds since the epoch.
    pub ended_at: f64,
    pub duration: Duration,
    /// The lists that could not be read; empty if the poll succeeded.
    pub failed: Vec<FailedList>,
}

impl PollResult {
    /// Why it failed; a poll that misses many lists fails once for each reason.
    pub fn reasons(&self) -> BTreeSet<FailureReason> {
        self.failed.iter().map(|failed| failed.reason).collect()
    }
}

/// A list that could not be read. The API shows it as it is serialized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedList {
    #[serde(flatten)]
    pub list: ListName,
    pub reason: FailureReason,
    /// The HTTP status, if there was a response.
    pub status: Option<u16>,
    /// What OpenAI's support asks for.
    pub request_id: Option<Box<str>>,
    /// For people. Of what an upstream said it repeats documented names, a media type, a coding and a redirect's host alone.
    pub message: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListName {
    Organization,
    Projects,
    /// The certificates of the project with this identifier.
    Project(Box<str>),
    /// No list, but the PEM of the certificate with this identifier.
    Content(Box<str>),
}

impl ListName {
    /// The identifier of the project whose certificates it lists.
    pub fn project(&self) -> Option<&str> {
        match self {
            Self::Project(id) => Some(id),
            Self::Organization | Self::Projects | Self::Content(_) => None,
        }
    }
}

impl Serialize for ListName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (list, id) = match self {
            Self::Organization => ("organization", None),
            Self::Projects => ("projects", None),
            Self::Project(id) => ("project", Some(("project_id", id))),
            Self::Content(id) => ("content", Some(("certificate_id", id))),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("list", list)?;
        if let Some((name, id)) = id {
            map.serialize_entry(name, id)?;
        }
        map.end()
    }
}

/// How the API is reached, for people. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiConnection {
    /// `HOST:PORT`
    pub api: String,
    /// `SCHEME://HOST:PORT`; none if requests go to the API directly.
    pub proxy: Option<String>,
    /// How many trusted roots there are, and where they come from.
    pub roots: String,
    /// The file of the certificate that the API is shown if it asks for one.
    pub client_certificate: Option<String>,
}

impl ApiConnection {
    /// The other side as messages name it.
    pub fn peer(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("{} through the proxy {proxy}", self.api),
            None => self.api.clone(),
        }
    }
}

impl fmt::Display for ApiConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directly = if self.proxy.is_none() { " directly" } else { "" };
        let certificate = self.client_certificate.as_deref().unwrap_or("none");
        let (peer, roots) = (self.peer(), &self.roots);
        write!(f, "{peer}{directly}; trusted roots: {roots}; client certificate: {certificate}")
    }
}

/// How often polls start, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct PollTiming {
    /// From start to start.
    pub interval: Duration,
    /// From start to end.
    pub timeout: Duration,
}

/// Why a poll failed. Closed, so that its name can be a label.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Display,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum FailureReason {
    /// 401: the key is not accepted.
    Unauthorized,
    /// 403: the key may not read this.
    Forbidden,
    /// The upstream requires a client certificate, or refuses ours.
    MtlsRequired,
    /// 429, or a requested wait is longer than the poll has left.
    RateLimited,
    /// A request's or the poll's deadline passed.
    Timeout,
    /// DNS, connect, TLS, reset, or a body that broke off.
    Network,
    /// 5xx.
    Server,
    /// Another 4xx, or a redirect.
    Client,
    /// A response that is not JSON, has the wrong shape or is too large.
    Decode,
    /// A list that cannot be proven complete.
    Pagination,
    /// The admin key's file is missing, empty or unreadable.
    Credentials,
    /// A project is listed, but the API says that it does not exist.
    Projects,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, snapshot};

    fn result(seconds_after_now: f64, reasons: &[FailureReason]) -> PollResult {
        let failed = |reason: &FailureReason| FailedList {
            list: ListName::Projects,
            reason: *reason,
            status: None,
            request_id: None,
            message: "".into(),
        };
        let failed = reasons.iter().map(failed).collect();
        PollResult { ended_at: NOW as f64 + seconds_after_now, duration: Duration::ZERO, failed }
    }

    fn state() -> PollState {
        let timing =
            PollTiming { interval: Duration::from_secs(100), timeout: Duration::from_secs(50) };
        PollState::new(Instant::now(), timing)
    }

    #[test]
    fn stale_is_older_than_two_intervals() {
        let mut state = state();
        let is_stale = |state: &PollState, seconds: f64| state.is_stale(NOW as f64 + seconds);
        assert!(!is_stale(&state, 1e9), "nothing is shown yet");
        state.record(Some(snapshot(&[vec![]])), result(0.0, &[]));
        assert_eq!(
            (is_stale(&state, 250.0), is_stale(&state, 251.0)),
            (false, true),
            "a poll may be under way"
        );
        state.record(None, result(100.0, &[FailureReason::Network]));
        assert_eq!(
            (is_stale(&state, 200.0), is_stale(&state, 201.0)),
            (false, true),
            "it has failed"
        );
    }

    #[test]
    fn a_poll_fails_once_for_each_reason() {
        let mut state = state();
        let reasons = [FailureReason::Server, FailureReason::Timeout, FailureReason::Server];
        state.record(None, result(0.0, &reasons));
        assert_eq!((state.polls, state.up(), state.is_failing()), (1, false, true));
        let count = |reason: FailureReason| state.failures[reason as usize];
        assert_eq!(
            (
                count(FailureReason::Server),
                count(FailureReason::Timeout),
                count(FailureReason::Client)
            ),
            (1, 1, 0)
        );
        assert_eq!(FailureReason::MtlsRequired.into_str(), "mtls_required");
    }
}
