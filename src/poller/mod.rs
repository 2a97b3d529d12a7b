//! The loop: when a poll starts, how long it may take, and what is published of it.
//!
//! [`schedule`] says when, [`collect`] what one poll reads, [`state_file`] keeps it across restarts, [`log`] reports it, and
//! [`progress`] reports one that takes long.

mod clients;
mod collect;
mod log;
mod progress;
mod project_filter;
mod schedule;
mod state_file;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::blocking::BoundedIo;
use crate::clients::{Assessment, Contents};
use crate::config::{Config, Credentials};
use crate::inventory::{RotationGroup, Snapshot, unix_now};
use crate::openai::{Client, Error};
use crate::poll_state::{FailureReason, ListName, PollResult, PollState, PollTiming};
use clients::{ClientJudge, log_changes, own_client};
use collect::{CollectOptions, Collected, SlowFailures};
use project_filter::{ProjectFilter, UnmatchedPatterns};
use schedule::Schedule;
use state_file::StateFile;
pub use state_file::{StateFileError, check_state_file, state_file_damage};

/// The longest pause that the API may ask for: a mistake there must not stop polling for longer.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);
/// How far the poll loop may overrun its deadline before `/healthz` fails. Generous: a busy machine is not a dead loop.
const LIVENESS_GRACE: Duration = Duration::from_secs(30);

/// Polls on an interval and publishes what came of it.
#[derive(Debug)]
pub struct Poller {
    config: PollerConfig,
    state_file: Option<StateFile>,
    state: watch::Sender<Arc<PollState>>,
    slow_failures: SlowFailures,
    /// As they have been logged.
    unmatched: UnmatchedPatterns,
    /// The anchors' PEM as far as it has been read.
    contents: Arc<Contents>,
    /// The instant, by the API's clock, as of which the log says who is refused.
    logged_at: f64,
}

/// What a reload may change.
#[derive(Debug)]
pub struct PollerConfig {
    client: Arc<Client>,
    credentials: Credentials,
    /// Reads the admin key where it is in a file.
    key_io: BoundedIo,
    options: CollectOptions,
    /// None if neither clients nor the anchors' PEM are asked for.
    clients: Option<ClientJudge>,
    timing: PollTiming,
}

impl PollerConfig {
    pub fn new(client: Arc<Client>, config: &Config, credentials: Credentials) -> Self {
        let Config { poll, certificates, .. } = config;
        let (include, exclude) = (poll.project_include.clone(), poll.project_exclude.clone());
        let any_client = !config.clients.is_empty() || config.api.client_cert_file.is_some();
        let content = certificates.content || any_client;
        let options = CollectOptions {
            projects: poll.projects.then_some(ProjectFilter { include, exclude }),
            content,
            concurrency: poll.concurrency as usize,
            rotation_group: RotationGroup::new(certificates.rotation_group.clone()),
        };
        let timing = PollTiming { interval: poll.interval, timeout: poll.timeout };
        let clients = content.then(|| ClientJudge::new(config.clients.clone()));
        let key_io = BoundedIo::default();
        Self { client, credentials, key_io, options, clients, timing }
    }

    /// Follows `before`: what has been read of the same files is kept, and a read that hangs is not begun anew.
    fn follow(&mut self, before: Self) {
        if let (Credentials::File(path), Credentials::File(path_before)) =
            (&self.credentials, &before.credentials)
            && path == path_before
        {
            self.key_io = before.key_io;
        }
        if let (Some(judge), Some(before)) = (&mut self.clients, before.clients)
            && judge.configured == before.configured
        {
            *judge = before;
        }
    }

    /// The admin key as it is now.
    async fn read_key(&self, deadline: Instant) -> Result<SecretString, Error> {
        let credentials = self.credentials.clone();
        let key = match &self.credentials {
            // At hand, so that no thread is needed.
            Credentials::Key(_) => credentials.read(),
            Credentials::File(path) => {
                let read = self.key_io.run(deadline, move || credentials.read()).await;
                read.unwrap_or_else(|error| Err(Credentials::unreadable(path, &error)))
            }
        };
        key.map_err(|message| Error::new(FailureReason::Credentials, message))
    }
}

impl Poller {
    /// Publishes at first what an earlier process saved. No poll happens before [`Poller::run`]. Fails only where the path
    /// of the state file is that of something else.
    pub async fn new(
        config: PollerConfig,
        state_file: Option<&Path>,
        base_url: &Url,
    ) -> Result<(Self, watch::Receiver<Arc<PollState>>), StateFileError> {
        let liveness_deadline = std::time::Instant::now() + config.timing.timeout + LIVENESS_GRACE;
        let mut state = PollState::new(liveness_deadline, config.timing);
        state.projects = config.options.projects.is_some();
        state.connection = Some(Arc::new(config.client.connection()));
        let state_file = state_file.map(|path| StateFile::new(path, base_url.as_str()));
        let mut contents = Arc::default();
        if let Some(file) = &state_file
            && let Some(mut saved) = file.load().await?
        {
            state.last_success_at = saved.last_success_at;
            if config.options.content {
                contents = std::mem::take(&mut saved.contents);
            }
            let snapshot = config.options.restore(saved);
            log::restored(&snapshot, state.last_success_at);
            state.snapshot = Some(Arc::new(snapshot));
        }
        let logged_at = unix_now();
        if let Some(judge) = &config.clients {
            let inventory = state.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.inventory));
            let (own, now) = (config.client.presented().map(own_client), Instant::now());
            state.clients = judge.judge(None, own, Arc::clone(&contents), inventory, now).await;
            log_changes(state.clients.as_deref(), logged_at, None);
        }
        let (state, receiver) = watch::channel(Arc::new(state));
        let (slow_failures, unmatched) = (SlowFailures::new(), UnmatchedPatterns::new());
        let poller =
            Self { config, state_file, state, slow_failures, unmatched, contents, logged_at };
        Ok((poller, receiver))
    }

    /// Polls until `shutdown`, first at once. Polls never overlap. A configuration that comes in through `reloads` holds from
    /// the end of the poll under way on.
    pub async fn run(
        mut self,
        mut reloads: mpsc::Receiver<PollerConfig>,
        shutdown: CancellationToken,
    ) {
        let mut schedule = Schedule::new(Instant::now(), self.config.timing.interval);
        loop {
            let started = Instant::now();
            let Some(pause) = shutdown.run_until_cancelled(self.poll()).await else { return };
            let now = Instant::now();
            let not_before = now + pause;
            schedule.poll_ended(self.state.borrow().up());
            let mut next = schedule.next(now, not_before, fastrand::f64);
            loop {
                self.publish_next_poll(next);
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep_until(next) => break,
                    Some(mut config) = reloads.recv() => {
                        if config.timing.interval != self.config.timing.interval {
                            let now = Instant::now();
                            schedule.set_interval(started, config.timing.interval);
                            next = schedule.next(now, not_before.max(now), fastrand::f64);
                        }
                        std::mem::swap(&mut self.config, &mut config);
                        self.config.follow(config);
                    }
                }
            }
        }
    }

    /// One poll, and the state after it.
    pub async fn once(mut self) -> Arc<PollState> {
        self.poll().await;
        self.state.borrow().clone()
    }

    /// One poll, published. Returns how long the API asks for no further requests.
    async fn poll(&mut self) -> Duration {
        let started = Instant::now();
        let deadline = started + self.config.timing.timeout;
        self.set_liveness_deadline(deadline);
        self.publish(|state| state.next_poll_at = None);
        let before = self.state.borrow().snapshot.clone();
        let Collected { snapshot, contents, failed, unmatched, pause } =
            self.collect(deadline, before.as_deref()).await;
        self.contents = contents;
        if let Some(unmatched) = unmatched {
            log::unmatched_patterns(&unmatched, &self.unmatched);
            self.unmatched = unmatched;
        }
        let clients = self.judge_clients(snapshot.as_ref().or(before.as_ref()), deadline).await;
        let result = PollResult { ended_at: unix_now(), duration: started.elapsed(), failed };
        self.record(snapshot, clients, result).await;
        pause.min(MAX_PAUSE)
    }

    async fn collect(&mut self, deadline: Instant, before: Option<&Snapshot>) -> Collected {
        let PollerConfig { client, options, .. } = &self.config;
        match self.config.read_key(deadline).await {
            Ok(key) => {
                let session = client.session(key, deadline).await;
                let (contents, slow_failures) = (&self.contents, &mut self.slow_failures);
                let collecting = options.collect(&session, before, contents, slow_failures);
                let collected = progress::log_while(collecting, &client.progress).await;
                let was_wrong = self.state.borrow().clock_error().is_some();
                self.publish(|state| {
                    state.clock_offset = session.clock_offset().or(state.clock_offset);
                    state.connection = Some(Arc::new(client.connection()));
                    state.tls_fault = client.tls_fault();
                });
                log::clock(self.state.borrow().clock_error(), was_wrong);
                collected
            }
            // Nothing was requested.
            Err(error) => {
                let contents = Arc::clone(&self.contents);
                Collected::new(None, contents, vec![(ListName::Organization, error)])
            }
        }
    }

    /// The clients as their files are, by the lists of the last good snapshot.
    async fn judge_clients(
        &mut self,
        snapshot: Option<&Arc<Snapshot>>,
        deadline: Instant,
    ) -> Option<Arc<Assessment>> {
        let PollerConfig { client, clients: judge, .. } = &self.config;
        let (judge, own) = (judge.as_ref()?, client.presented().map(own_client));
        let (before, contents) = (self.state.borrow().clients.clone(), Arc::clone(&self.contents));
        let inventory = snapshot.map(|snapshot| Arc::clone(&snapshot.inventory));
        let clients = judge.judge(before.clone(), own, contents, inventory, deadline).await;
        let now = self.state.borrow().earliest_time(unix_now());
        let seen_at = std::mem::replace(&mut self.logged_at, now);
        log_changes(clients.as_deref(), now, before.as_deref().map(|before| (before, seen_at)));
        clients
    }

    /// On disk before it is published: whoever sees a success may restart the process.
    async fn record(
        &mut self,
        snapshot: Option<Arc<Snapshot>>,
        clients: Option<Arc<Assessment>>,
        result: PollResult,
    ) {
        let mut state = PollState::clone(&self.state.borrow());
        let before = state.snapshot.clone();
        state.projects = self.config.options.projects.is_some();
        state.clients = clients;
        state.record(snapshot.clone(), result);
        log::poll(&state, snapshot.as_deref(), before.as_deref());
        if let (Some(file), Some(snapshot)) = (&self.state_file, snapshot) {
            let contents = &self.contents;
            let saved = file.save(&snapshot, contents, state.last_success_at).await;
            state.state_write_failures += u64::from(saved.is_err());
            state.state_file_fault = saved.err();
        }
        self.state.send_replace(Arc::new(state));
    }

    fn publish_next_poll(&self, next: Instant) {
        self.set_liveness_deadline(next);
        let in_seconds = next.saturating_duration_since(Instant::now()).as_secs_f64();
        tracing::debug!(in_seconds, "next poll");
        self.publish(|state| {
            state.next_poll_at = Some(unix_now() + in_seconds);
            state.timing = self.config.timing;
        });
    }

    /// Sets the liveness deadline to `instant` plus [`LIVENESS_GRACE`].
    fn set_liveness_deadline(&self, instant: Instant) {
        self.publish(|state| state.liveness_deadline = (instant + LIVENESS_GRACE).into_std());
    }

    /// Changes a copy: readers keep the state that they have.
    fn publish(&self, change: impl FnOnce(&mut PollState)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use prometheus::Registry;

    use super::*;
    use crate::blocking::IO_TIMEOUT;
    use crate::config::{ConfigFile, Layers, Loaded};
    use crate::fixture::{authority, certificate, snapshot};
    use crate::openai::Metrics;
    use crate::poll_state::FailedList;

    fn config(key: (&str, &str)) -> PollerConfig {
        config_with(key, None)
    }

    fn config_with(key: (&str, &str), file: Option<&ConfigFile>) -> PollerConfig {
        let environment = [key, ("OPENAI_CERT_EXPORTER__POLL__PROJECTS", "true")];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let layers = Layers::stack(file, environment, Vec::new(), None).unwrap();
        let Loaded { config, credentials } = Loaded::new(&layers).unwrap();
        let client =
            Client::new(&config.api, Arc::new(Metrics::new(&Registry::new()).unwrap())).unwrap();
        PollerConfig::new(Arc::new(client), &config, credentials)
    }

    async fn poller(state_file: &Path) -> (Poller, watch::Receiver<Arc<PollState>>) {
        let base_url = Url::parse("https://api.openai.com/v1").unwrap();
        let config = config(("OPENAI_ADMIN_KEY", "key"));
        Poller::new(config, Some(state_file), &base_url).await.unwrap()
    }

    #[tokio::test]
    async fn key_file_that_is_still_being_read_is_not_read_again_but_another_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let config = |name| {
            let file = folder.path().join(name);
            std::fs::write(&file, "key").unwrap();
            config(("OPENAI_CERT_EXPORTER__API__ADMIN_KEY_FILE", file.to_str().unwrap()))
        };
        let deadline = Instant::now() + IO_TIMEOUT;
        let before = config("key");
        assert!(before.read_key(deadline).await.is_ok());
        let (_release, disk) = channel::<()>();
        assert!(before.key_io.run(Instant::now(), move || disk.recv()).await.is_err());
        let [mut same, mut other] = ["key", "other"].map(config);
        same.follow(before);
        let error = same.read_key(deadline).await.unwrap_err();
        let file = folder.path().join("key").display().to_string();
        let fault = "cannot be read: the file system does not respond";
        assert_eq!(error.to_string(), format!("the admin key file {file} {fault}"));
        assert_eq!(error.reason, FailureReason::Credentials);
        other.follow(same);
        assert!(other.read_key(deadline).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_known_of_clients_stays_while_they_are_configured_alike() {
        let folder = tempfile::tempdir().unwrap();
        let leaf = folder.path().join("leaf.pem");
        std::fs::write(&leaf, authority("edge").0).unwrap();
        let config = |projects: &str| {
            let file = folder.path().join("exporter.toml");
            let files = format!("name = 'edge'\ncertificate_files = '{}'", leaf.display());
            std::fs::write(&file, format!("[[clients]]\n{files}\n{projects}")).unwrap();
            config_with(("OPENAI_ADMIN_KEY", "key"), Some(&ConfigFile::new(file)))
        };
        let known = |config: &PollerConfig| format!("{:?}", config.clients);
        let before = config("projects = '^prod-'");
        let judge = before.clients.as_ref().unwrap();
        judge.judge(None, None, Arc::default(), None, Instant::now()).await;
        let (read, mut same, mut other) =
            (known(&before), config("projects = '^prod-'"), config("projects = '^test-'"));
        assert_ne!(known(&same), read);
        same.follow(before);
        assert_eq!(known(&same), read);
        let fresh = known(&other);
        other.follow(same);
        assert_eq!(known(&other), fresh);
    }

    #[tokio::test]
    async fn restart_knows_when_each_list_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut first, state) = poller(&path).await;
        assert!(state.borrow().snapshot.is_none());

        let failed = FailedList {
            list: ListName::Project("proj_1".into()),
            reason: FailureReason::Server,
            status: None,
            request_id: None,
            message: "".into(),
        };
        let then = unix_now().floor() - 1_000.0;
        let result = |failed| PollResult { ended_at: then + 0.5, duration: Duration::ZERO, failed };
        let mut read = Snapshot::clone(&snapshot(&[vec![certificate("a")], vec![], vec![]]));
        read.organization_read_at = then;
        (read.projects_listed_at, read.projects_read_at) = (Some(then), vec![then; 2]);
        first.record(Some(Arc::new(read.clone())), None, result(vec![])).await;
        // The same lists again, but for one that cannot be read.
        read.organization_read_at += 300.0;
        read.projects_read_at[0] += 301.0;
        first.record(Some(Arc::new(read.clone())), None, result(vec![failed.clone()])).await;
        first.record(None, None, result(vec![failed])).await;
        assert_eq!(state.borrow().state_write_failures, 0);

        let (_, state) = poller(&path).await;
        let state = state.borrow().clone();
        let restored = state.snapshot.as_ref().unwrap();
        assert_eq!(restored.inventory.lists(), read.inventory.lists());
        assert_eq!(
            (restored.organization_read_at, &restored.projects_read_at),
            (then + 300.0, &read.projects_read_at)
        );
        assert_eq!((state.last_success_at, state.oldest_read_at()), (Some(then + 0.5), Some(then)));
    }

    #[tokio::test]
    async fn readers_keep_the_state_that_they_have() {
        let folder = tempfile::tempdir().unwrap();
        let (poller, receiver) = poller(&folder.path().join("state")).await;
        let before = receiver.borrow().clone();
        poller.publish(|state| state.polls = 7);
        assert_eq!((before.polls, receiver.borrow().polls), (0, 7));
    }
}
