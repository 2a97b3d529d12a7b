//! The loop: when a poll starts, how long it may take, and what is published of it.
//!
//! [`schedule`] says when, [`collect`] what one poll reads, [`report`] what the log says of it.

mod collect;
mod report;
mod schedule;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Credentials, CredentialsError};
use crate::inventory::{Attempt, FailureReason, Liveness, RotationGroup, Snapshot, State, unix_now};
use crate::openai::{self, Client};
use collect::{Harvest, Plan, ProjectFilter};
use schedule::Schedule;

/// A server's wish to be left alone is followed up to this long; beyond it, a typing error there would blind us.
const LONGEST_HOLD: Duration = Duration::from_secs(3_600);
/// How late a promised sign of life may be before the loop counts as dead. Generous: a busy machine is not a dead loop.
const GRACE: Duration = Duration::from_secs(30);

/// Polls on an interval and publishes what came of it.
#[derive(Debug)]
pub struct Poller {
    client: Client,
    credentials: Arc<Credentials>,
    plan: Plan,
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

    fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Credentials(_) | Self::CredentialsTimeout => None,
            Self::Upstream(error) => error.asked_wait,
        }
    }
}

impl Poller {
    /// A poller, and where it publishes. Nothing happens before [`Poller::run`].
    #[must_use]
    pub fn new(client: Client, config: Config) -> (Self, watch::Receiver<State>) {
        let liveness = Liveness { due: std::time::Instant::now() + config.poll.timeout + GRACE };
        let (state, receiver) = watch::channel(State::new(liveness));
        let Config { api, poll, certificates, .. } = config;
        let plan = Plan {
            projects: poll
                .projects
                .then_some(ProjectFilter { include: poll.project_include, exclude: poll.project_exclude }),
            concurrency: poll.concurrency as usize,
            rotation_group: RotationGroup::new(certificates.rotation_group),
        };
        let credentials = Arc::new(api.credentials);
        (Self { client, credentials, plan, interval: poll.interval, timeout: poll.timeout, state }, receiver)
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
        let before = self.state.borrow().snapshot.clone();
        let outcome = self.harvest(deadline, before.as_ref()).await;
        let duration = started.elapsed();
        let (snapshot, failures, hold) = match outcome {
            Ok(harvest) => {
                report::harvest(&harvest, before.as_deref(), duration);
                let failures = harvest.missed.iter().map(|missed| missed.error.reason).collect();
                // Only a 429 speaks of the key, and so of every list; trouble of one project must not hold the others.
                let of_all = harvest.missed.iter().filter(|missed| missed.error.is_rate_limit());
                let hold = of_all.filter_map(|missed| missed.error.asked_wait).max();
                (Some(harvest.snapshot), failures, hold)
            }
            Err(error) => {
                report::failure(&error, duration);
                (None, BTreeSet::from([error.reason()]), error.asked_wait())
            }
        };
        let attempt = Attempt { ended_at: unix_now(), duration, failures };
        self.state.send_modify(|state| state.record(snapshot, attempt));
        hold.unwrap_or_default().min(LONGEST_HOLD)
    }

    async fn harvest(&self, deadline: Instant, before: Option<&Arc<Snapshot>>) -> Result<Harvest, PollError> {
        let session = self.client.session(self.read_key(deadline).await?, deadline);
        Ok(self.plan.collect(&session, before).await?)
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
}
