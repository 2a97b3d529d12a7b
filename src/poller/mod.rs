//! The loop: when a poll starts, how long it may take, and what is published of it.
//!
//! [`schedule`] says when, [`collect`] what one poll reads, [`store`] what a restart finds of it,
//! [`report`] what the log says of it.

mod collect;
mod report;
mod schedule;
mod store;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::{Config, Credentials, CredentialsError};
use crate::inventory::{Attempt, FailureReason, Liveness, Pace, RotationGroup, Snapshot, State, unix_now};
use crate::openai::{self, Client};
use collect::{Harvest, Plan, ProjectFilter};
use schedule::Schedule;
use store::Store;

/// A server's wish to be left alone is followed up to this long; beyond it, a typing error there would blind us.
const LONGEST_HOLD: Duration = Duration::from_secs(3_600);
/// How late a promised sign of life may be before the loop counts as dead. Generous: a busy machine is not a dead loop.
const GRACE: Duration = Duration::from_secs(30);

/// Polls on an interval and publishes what came of it.
#[derive(Debug)]
pub struct Poller {
    settings: Settings,
    store: Option<Store>,
    state: watch::Sender<State>,
}

/// What a reload of the configuration may change.
#[derive(Debug)]
pub struct Settings {
    client: Client,
    credentials: Arc<Credentials>,
    plan: Plan,
    interval: Duration,
    timeout: Duration,
}

impl Settings {
    /// As the configuration has it, with a client made for it.
    #[must_use]
    pub fn new(client: Client, config: &Config, credentials: Credentials) -> Self {
        let Config { poll, certificates, .. } = config;
        let plan = Plan {
            projects: poll.projects.then_some(ProjectFilter {
                include: poll.project_include.clone(),
                exclude: poll.project_exclude.clone(),
            }),
            concurrency: poll.concurrency as usize,
            rotation_group: RotationGroup::new(certificates.rotation_group.clone()),
        };
        let credentials = Arc::new(credentials);
        Self { client, credentials, plan, interval: poll.interval, timeout: poll.timeout }
    }

    fn pace(&self) -> Pace {
        Pace { interval: self.interval, timeout: self.timeout }
    }
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
    /// A poller, and where it publishes: at first what an earlier run has kept. No poll happens before [`Poller::run`].
    pub async fn new(settings: Settings, state_file: Option<&Path>, base_url: &Url) -> (Self, watch::Receiver<State>) {
        let liveness = Liveness { due: std::time::Instant::now() + settings.timeout + GRACE };
        let mut state = State::new(liveness, settings.pace());
        let store = state_file.map(|path| Store::new(path, base_url.as_str()));
        if let Some(stored) = OptionFuture::from(store.as_ref().map(Store::load)).await.flatten() {
            report::restored(&stored);
            state.last_success_at = stored.last_success_at;
            state.snapshot = Some(Arc::new(settings.plan.restore(stored)));
        }
        let (state, receiver) = watch::channel(state);
        (Self { settings, store, state }, receiver)
    }

    /// Polls until `shutdown`, first at once. Polls never overlap; one that fails leaves the last good snapshot in place.
    /// Settings that come in through `reloads` hold from the end of the poll under way on.
    pub async fn run(mut self, mut reloads: mpsc::Receiver<Settings>, shutdown: CancellationToken) {
        let mut schedule = Schedule::new(Instant::now(), self.settings.interval);
        loop {
            let started = Instant::now();
            let Some(hold) = shutdown.run_until_cancelled(self.poll()).await else { return };
            let not_before = Instant::now() + hold;
            let mut next = schedule.next(not_before, fastrand::f64);
            loop {
                self.promise(next);
                self.announce(next);
                tracing::debug!(in_seconds = (next - Instant::now()).as_secs_f64(), "next poll");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep_until(next) => break,
                    Some(settings) = reloads.recv() => {
                        if settings.interval != self.settings.interval {
                            // As if it had been so from the last poll on.
                            schedule = Schedule::new(started, settings.interval);
                            next = schedule.next(not_before.max(Instant::now()), fastrand::f64);
                        }
                        self.settings = settings;
                    }
                }
            }
        }
    }

    /// Polls once, for those who do not stay, and says what came of it.
    pub async fn once(mut self) -> State {
        self.poll().await;
        self.state.borrow().clone()
    }

    /// Says when the next poll starts, and how often polls come.
    fn announce(&self, next: Instant) {
        let next_poll_at = unix_now() + next.saturating_duration_since(Instant::now()).as_secs_f64();
        self.state.send_modify(|state| {
            state.next_poll_at = Some(next_poll_at);
            state.pace = self.settings.pace();
        });
    }

    /// Says until when there will be a sign of life.
    fn promise(&self, instant: Instant) {
        let due = (instant + GRACE).into_std();
        self.state.send_modify(|state| state.liveness = Liveness { due });
    }

    /// One poll, published. Returns how long the upstream wants to be left alone.
    async fn poll(&mut self) -> Duration {
        let started = Instant::now();
        let deadline = started + self.settings.timeout;
        self.promise(deadline);
        self.state.send_modify(|state| state.next_poll_at = None);
        let before = self.state.borrow().snapshot.clone();
        let outcome = self.harvest(deadline, before.as_ref()).await;
        let duration = started.elapsed();
        let (snapshot, failures, fault, hold) = match outcome {
            Ok(harvest) => {
                report::harvest(&harvest, before.as_deref(), duration);
                let failures = harvest.missed.iter().map(|missed| missed.error.reason).collect();
                // Only a 429 speaks of the key, and so of every list; trouble of one project must not hold the others.
                let of_all = harvest.missed.iter().filter(|missed| missed.error.is_rate_limit());
                let hold = of_all.filter_map(|missed| missed.error.asked_wait).max();
                let fault = harvest.missed.first().map(|missed| missed.error.to_string().into());
                (Some(harvest.snapshot), failures, fault, hold)
            }
            Err(error) => {
                report::failure(&error, duration);
                (None, BTreeSet::from([error.reason()]), Some(error.to_string().into()), error.asked_wait())
            }
        };
        let attempt = Attempt { ended_at: unix_now(), duration, failures, fault };
        // On disk before it is told: who sees a success may restart us.
        let is_kept = self.keep(snapshot.as_ref(), &attempt).await;
        self.state.send_modify(|state| {
            state.record(snapshot, attempt);
            state.store_failures += u64::from(!is_kept);
        });
        hold.unwrap_or_default().min(LONGEST_HOLD)
    }

    /// Keeps a snapshot on disk, where there is one and that is wanted; says whether nothing has gone wrong.
    async fn keep(&mut self, snapshot: Option<&Arc<Snapshot>>, attempt: &Attempt) -> bool {
        let (Some(store), Some(snapshot)) = (&mut self.store, snapshot) else { return true };
        let is_success = attempt.failures.is_empty();
        let last_success_at = is_success.then_some(attempt.ended_at).or(self.state.borrow().last_success_at);
        match store.save(Arc::clone(snapshot), last_success_at).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(path = %store.path().display(), "the state file cannot be written: {error}");
                false
            }
        }
    }

    async fn harvest(&self, deadline: Instant, before: Option<&Arc<Snapshot>>) -> Result<Harvest, PollError> {
        let session = self.settings.client.session(self.read_key(deadline).await?, deadline).await;
        Ok(self.settings.plan.collect(&session, before).await?)
    }

    async fn read_key(&self, deadline: Instant) -> Result<SecretString, PollError> {
        let credentials = Arc::clone(&self.settings.credentials);
        if let Credentials::Key(_) = *credentials {
            // At hand, so that no thread has to wait for it.
            return Ok(credentials.read()?);
        }
        let read = tokio::task::spawn_blocking(move || credentials.read());
        match timeout_at(deadline, read).await {
            Ok(Ok(key)) => Ok(key?),
            // A file system that hangs; or the runtime is going down, in which case nobody reads this.
            Ok(Err(_)) | Err(_) => Err(PollError::CredentialsTimeout),
        }
    }
}
