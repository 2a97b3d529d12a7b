//! The loop: when a poll starts, how long it may take, what is published and what is told of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Credentials, CredentialsError};
use crate::inventory::{Attempt, Change, FailureReason, Liveness, Malformed, Snapshot, State, unix_now};
use crate::openai::{self, Client};
use crate::schedule::Schedule;

/// A server's wish to be left alone is followed up to this long; beyond it, a typing error there would blind us.
const LONGEST_HOLD: Duration = Duration::from_secs(3_600);
/// How late a promised sign of life may be before the loop counts as dead. Generous: a busy machine is not a dead loop.
const GRACE: Duration = Duration::from_secs(30);

/// Polls on an interval and publishes what came of it.
#[derive(Debug)]
pub struct Poller {
    client: Client,
    credentials: Arc<Credentials>,
    interval: Duration,
    timeout: Duration,
    state: watch::Sender<State>,
}

/// Why a poll failed.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("the admin key could not be read in time")]
    CredentialsTimeout,
    #[error(transparent)]
    Upstream(#[from] openai::Error),
}

impl PollError {
    fn reason(&self) -> FailureReason {
        match self {
            Self::Credentials(_) | Self::CredentialsTimeout => FailureReason::Credentials,
            Self::Upstream(error) => error.reason,
        }
    }

    /// Tells it once, with what support asks for.
    fn log(&self, duration: Duration) {
        let upstream = match self {
            Self::Upstream(error) => Some(error),
            Self::Credentials(_) | Self::CredentialsTimeout => None,
        };
        tracing::warn!(
            reason = self.reason().as_str(),
            endpoint = upstream.map(|error| error.endpoint.as_str()),
            status = upstream.and_then(|error| error.status).map(|status| status.as_u16()),
            request_id = upstream.and_then(|error| error.request_id.as_ref()).map(tracing::field::display),
            duration_seconds = duration.as_secs_f64(),
            "poll failed: {self}"
        );
    }
}

impl Poller {
    /// A poller, and where it publishes. Nothing happens before [`Poller::run`].
    #[must_use]
    pub fn new(client: Client, config: Config) -> (Self, watch::Receiver<State>) {
        let liveness = Liveness { due: std::time::Instant::now() + config.poll.timeout + GRACE };
        let (state, receiver) = watch::channel(State::new(liveness));
        let Config { api, poll, .. } = config;
        let credentials = Arc::new(api.credentials);
        (Self { client, credentials, interval: poll.interval, timeout: poll.timeout, state }, receiver)
    }

    /// Polls until `shutdown`, first at once. Polls never overlap; one that fails leaves the last good snapshot in place.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut schedule = Schedule::new(Instant::now(), self.interval);
        loop {
            let Some(hold) = shutdown.run_until_cancelled(self.poll()).await else { return };
            let now = Instant::now();
            let next = schedule.next(now + hold, fastrand::f64);
            self.promise(next);
            tracing::debug!(in_seconds = (next - now).as_secs_f64(), "next poll");
            if shutdown.run_until_cancelled(sleep_until(next)).await.is_none() {
                return;
            }
        }
    }

    /// Says until when there will be a sign of life.
    fn promise(&self, instant: Instant) {
        let due = (instant + GRACE).into_std();
        self.state.send_modify(|state| state.liveness = Liveness { due });
    }

    /// One poll, published. Returns how long the upstream wants to be left alone.
    async fn poll(&self) -> Duration {
        let started = Instant::now();
        let deadline = started + self.timeout;
        self.promise(deadline);
        let outcome = self.snapshot(deadline).await;
        let duration = started.elapsed();
        let mut attempt = Attempt { ended_at: unix_now(), duration, failures: BTreeSet::new() };
        match outcome {
            Ok(snapshot) => {
                self.log_success(&snapshot, duration);
                self.state.send_modify(|state| state.record(Some(snapshot), attempt));
                Duration::ZERO
            }
            Err(error) => {
                error.log(duration);
                attempt.failures.insert(error.reason());
                self.state.send_modify(|state| state.record(None, attempt));
                match error {
                    PollError::Upstream(error) => error.asked_wait.unwrap_or_default().min(LONGEST_HOLD),
                    PollError::Credentials(_) | PollError::CredentialsTimeout => Duration::ZERO,
                }
            }
        }
    }

    async fn snapshot(&self, deadline: Instant) -> Result<Snapshot, PollError> {
        let session = self.client.session(self.read_key(deadline).await?, deadline);
        let organization = session.organization_certificates().await?;
        Ok(Snapshot { organization, completed_at: unix_now() })
    }

    async fn read_key(&self, deadline: Instant) -> Result<SecretString, PollError> {
        let credentials = Arc::clone(&self.credentials);
        let read = tokio::task::spawn_blocking(move || credentials.read());
        match timeout_at(deadline, read).await {
            Ok(Ok(key)) => Ok(key?),
            // A file system that hangs; or the runtime is going down, in which case nobody reads this.
            Ok(Err(_)) | Err(_) => Err(PollError::CredentialsTimeout),
        }
    }

    fn log_success(&self, snapshot: &Snapshot, duration: Duration) {
        let state = self.state.borrow();
        let list = &snapshot.organization;
        let before = state.snapshot.as_deref();
        if let Some(before) = before {
            list.changes_since(&before.organization).iter().for_each(log_change);
        }
        let malformed_before = before.map(|before| &before.organization.malformed);
        if *malformed_before.unwrap_or(&Malformed::default()) != list.malformed {
            tracing::warn!(
                count = list.malformed.count,
                "list entries that cannot be read, by fault: {}",
                list.malformed
            );
        }
        if before.map_or(0, |before| before.organization.duplicates) != list.duplicates {
            tracing::warn!(count = list.duplicates, "list entries that came twice, each shown once");
        }
        let active = list.items.iter().filter(|certificate| certificate.active).count();
        tracing::info!(
            certificates = list.items.len(),
            active,
            malformed = list.malformed.count,
            duplicates = list.duplicates,
            duration_seconds = duration.as_secs_f64(),
            "poll succeeded"
        );
    }
}

fn log_change(change: &Change<'_>) {
    let (what, certificate) = match change {
        Change::Added(certificate) => ("added", certificate),
        Change::Removed(certificate) => ("removed", certificate),
        Change::Activated(certificate) => ("activated", certificate),
        Change::Deactivated(certificate) => ("deactivated", certificate),
        Change::Renamed { to, .. } => ("renamed", to),
        Change::Redated(certificate) => ("given other dates", certificate),
    };
    let old_name = match change {
        Change::Renamed { from, .. } => from.name.as_deref(),
        _ => None,
    };
    tracing::info!(
        certificate_id = certificate.id.as_ref(),
        certificate_name = certificate.name.as_deref(),
        old_name,
        active = certificate.active,
        expires_at_unix_seconds = certificate.expires_at,
        "certificate {what}"
    );
}
