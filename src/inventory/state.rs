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
    /// The poll that ended last; none before the first.
    pub last_attempt: Option<Attempt>,
    /// Polls that ended, whatever came of them.
    pub polls: u64,
    /// Of those, failed, in the order of [`FailureReason::ALL`].
    pub failures: [u64; FailureReason::ALL.len()],
    /// Snapshots that could not be kept on disk.
    pub store_failures: u64,
    /// The poll loop's promise.
    pub liveness: Liveness,
}

impl State {
    /// Before the first poll.
    #[must_use]
    pub fn new(liveness: Liveness) -> Self {
        Self {
            snapshot: None,
            last_success_at: None,
            last_attempt: None,
            polls: 0,
            failures: Default::default(),
            store_failures: 0,
            liveness,
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
        }
        if attempt.failures.is_empty() {
            self.last_success_at = Some(attempt.ended_at);
        }
        self.polls += 1;
        for reason in &attempt.failures {
            self.failures[*reason as usize] += 1;
        }
        self.last_attempt = Some(attempt);
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

    #[test]
    fn reasons_index_themselves() {
        for (index, reason) in FailureReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
