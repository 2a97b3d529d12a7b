use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Snapshot;

/// All that readers know: the last good snapshot, and what became of the polls. Replaced whole after every poll, so that
/// nobody sees half of one.
#[derive(Clone, Debug)]
pub struct State {
    /// The last good snapshot; none before the first.
    pub snapshot: Option<Arc<Snapshot>>,
    /// When a poll last read every list, in seconds since the epoch.
    pub last_success_at: Option<f64>,
    /// When the snapshot's list of the organization was read, in seconds since the epoch. Later than the last success
    /// where projects' lists are missed.
    pub snapshot_at: Option<f64>,
    /// The poll that ended last; none before the first.
    pub last_attempt: Option<Attempt>,
    /// The poll that failed last, in part or as a whole.
    pub last_failure: Option<Attempt>,
    /// Polls that ended, whatever came of them.
    pub polls: u64,
    /// Of those, failed, in the order of [`FailureReason::ALL`].
    pub failures: [u64; FailureReason::ALL.len()],
    /// Snapshots that could not be kept on disk.
    pub store_failures: u64,
    /// The poll loop's promise.
    pub liveness: Liveness,
    /// How often polls come.
    pub pace: Pace,
    /// When the next poll starts, in seconds since the epoch; none while one is under way.
    pub next_poll_at: Option<f64>,
}

impl State {
    /// Before the first poll.
    #[must_use]
    pub fn new(liveness: Liveness, pace: Pace) -> Self {
        Self {
            snapshot: None,
            last_success_at: None,
            snapshot_at: None,
            last_attempt: None,
            last_failure: None,
            polls: 0,
            failures: Default::default(),
            store_failures: 0,
            liveness,
            pace,
            next_poll_at: None,
        }
    }

    /// Whether the last poll read every list.
    #[must_use]
    pub fn up(&self) -> bool {
        self.last_attempt.as_ref().is_some_and(|attempt| attempt.failures.is_empty())
    }

    /// Takes over what became of a poll: its snapshot where it has one, else the last good one stays.
    pub fn record(&mut self, snapshot: Option<Arc<Snapshot>>, attempt: Attempt) {
        if let Some(snapshot) = snapshot {
            self.snapshot = Some(snapshot);
            self.snapshot_at = Some(attempt.ended_at);
        }
        if attempt.failures.is_empty() {
            self.last_success_at = Some(attempt.ended_at);
        } else {
            self.last_failure = Some(attempt.clone());
        }
        self.polls += 1;
        for reason in &attempt.failures {
            self.failures[*reason as usize] += 1;
        }
        self.last_attempt = Some(attempt);
    }

    /// When the list that was not read for longest was read, in seconds since the epoch: everything that is shown is at
    /// least as fresh. `None` before the first snapshot.
    #[must_use]
    pub fn oldest_read_at(&self) -> Option<f64> {
        let snapshot = self.snapshot.as_deref()?;
        let organization = self.snapshot_at.or(self.last_success_at)?;
        let projects = snapshot.projects().items.iter().map(|read| read.read_at);
        Some(projects.fold(organization, f64::min))
    }

    /// Whether what is shown is older at `now` than it would be if polls were well: than two intervals where the last poll
    /// failed, and otherwise, since one may be under way, than two intervals and the longest poll.
    #[must_use]
    pub fn is_stale(&self, now: f64) -> bool {
        let bound = self.pace.interval * 2 + if self.failing() { Duration::ZERO } else { self.pace.timeout };
        self.oldest_read_at().is_some_and(|read_at| now - read_at > bound.as_secs_f64())
    }

    /// Whether the last poll missed a list; before the first it did not.
    #[must_use]
    pub fn failing(&self) -> bool {
        self.last_attempt.is_some() && !self.up()
    }
}

/// A poll that ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it ended, in seconds since the epoch.
    pub ended_at: f64,
    /// How long it took.
    pub duration: Duration,
    /// Why it failed; empty where it did not.
    pub failures: BTreeSet<FailureReason>,
    /// The same for people, of one of the lists that were missed. It repeats nothing that an upstream said.
    pub fault: Option<Box<str>>,
}

/// How often polls come, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From start to start.
    pub interval: Duration,
    /// From start to end.
    pub timeout: Duration,
}

/// Until when the poll loop will have shown a sign of life, at the latest. Past it, the loop has died or hangs.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    /// On the monotonic clock, so that a changed wall clock raises no alarm.
    pub due: Instant,
}

/// Why a poll failed. Closed, so that it can be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureReason {
    /// 401: the key is not accepted.
    Unauthorized,
    /// 403: the key may not read this.
    Forbidden,
    /// The upstream asks for a client certificate, or refuses ours.
    MtlsRequired,
    /// 429, or a longer wait was asked for than the poll had left.
    RateLimited,
    /// A request's or the poll's deadline passed.
    Timeout,
    /// DNS, connect, TLS, reset, or a body that broke off.
    Network,
    /// 5xx.
    Server,
    /// Another 4xx, or a redirect.
    Client,
    /// An answer that is not JSON, has the wrong shape or is too large.
    Decode,
    /// A list that cannot be proven complete.
    Pagination,
    /// The admin key's file is missing, empty or unreadable.
    Credentials,
}

impl FailureReason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 11] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::MtlsRequired,
        Self::RateLimited,
        Self::Timeout,
        Self::Network,
        Self::Server,
        Self::Client,
        Self::Decode,
        Self::Pagination,
        Self::Credentials,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::MtlsRequired => "mtls_required",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Server => "server",
            Self::Client => "client",
            Self::Decode => "decode",
            Self::Pagination => "pagination",
            Self::Credentials => "credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Listing, Malformed, Projects, RotationGroup};

    fn attempt(ended_at: f64, failures: &[FailureReason]) -> Attempt {
        Attempt { ended_at, duration: Duration::ZERO, failures: failures.iter().copied().collect(), fault: None }
    }

    #[test]
    fn stale_is_older_than_two_intervals() {
        let pace = Pace { interval: Duration::from_secs(100), timeout: Duration::from_secs(50) };
        let mut state = State::new(Liveness { due: Instant::now() }, pace);
        assert!(!state.is_stale(1e9), "nothing is shown yet");
        let nothing = Listing::new(Vec::<crate::inventory::Certificate>::new(), Malformed::default());
        let group = RotationGroup::new(regex::Regex::new("(.*)").unwrap());
        let snapshot = Snapshot::new(Arc::new(nothing), Projects::default(), &group, None);
        state.record(Some(Arc::new(snapshot)), attempt(1_000.0, &[]));
        assert_eq!((state.is_stale(1_250.0), state.is_stale(1_251.0)), (false, true), "a poll may be under way");
        state.record(None, attempt(1_100.0, &[FailureReason::Network]));
        assert_eq!((state.is_stale(1_200.0), state.is_stale(1_201.0)), (false, true), "it has failed");
    }

    #[test]
    fn reasons_index_themselves() {
        for (index, reason) in FailureReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
