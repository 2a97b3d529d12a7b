//! Keeps the rules up to date with their files, a second behind at most. No request waits for a file system.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::files::WatchedFiles;
use super::{Metrics, Rules, Tls};
use crate::blocking::spawn_blocking;
use crate::config::ConfigError;

const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Rereads the web configuration file when it or a file that it names changes. SIGHUP only makes it look at once. Nothing
/// else writes the rules in force.
pub struct RulesWatcher {
    /// As last read, also if the rules in them were rejected.
    pub(super) files: WatchedFiles,
    pub(super) rules: watch::Sender<Arc<Rules>>,
    /// Each is answered once the files were looked at: whether what was read last is in force.
    pub(super) requests: mpsc::Receiver<oneshot::Sender<bool>>,
    pub(super) metrics: Metrics,
}

impl RulesWatcher {
    /// Ends with the port. A file system that hangs holds one thread, not one more every second.
    pub(in crate::web) async fn run(mut self) {
        loop {
            // Without anybody to ask, the port is no longer served.
            let request = match timeout(WATCH_INTERVAL, self.requests.recv()).await {
                Ok(None) => return,
                Ok(request) => request,
                Err(_) => None,
            };
            let reloading = spawn_blocking(move || {
                self.reload();
                self
            });
            // An error means that the runtime is shutting down.
            let Ok(watcher) = reloading.await else { return };
            self = watcher;
            if let Some(request) = request {
                let _ = request.send(!self.metrics.is_refused());
            }
        }
    }

    /// Rules that cannot be read, or would open the port wider, never replace those in force.
    fn reload(&mut self) {
        if !self.files.have_changed() {
            return;
        }
        self.files = WatchedFiles::of(&self.files.config);
        let in_force = Arc::clone(&self.rules.borrow());
        let rules = Rules::read(&mut self.files)
            .and_then(|rules| reject_weaker(rules, &in_force, &self.files));
        match rules {
            Ok(rules) => {
                self.metrics.taken(&rules);
                self.rules.send_replace(Arc::new(rules));
                tracing::info!(file = %self.files.config.display(), "the web configuration has changed and is in force");
            }
            Err(error) => {
                self.metrics.refused();
                tracing::error!("{error}; what was in force before stays so");
            }
        }
    }
}

/// Refuses rules that open the port wider than those `in_force`, as a file that is being written, or was emptied by
/// accident, would.
fn reject_weaker(
    rules: Rules,
    in_force: &Rules,
    files: &WatchedFiles,
) -> Result<Rules, ConfigError> {
    let is_lost = |has: fn(&Rules) -> bool| has(in_force) && !has(&rules);
    let client_auth = |rules: &Rules| rules.tls.as_ref().map(|tls| tls.client_auth);
    let verifies_less = client_auth(&rules) < client_auth(in_force);
    let needs_no_name = is_lost(|rules| rules.tls.as_ref().is_some_and(Tls::has_san_allowlist));
    let weaker = [
        (is_lost(|rules| rules.tls.is_some()), "tls_server_config", "TLS"),
        (verifies_less, "tls_server_config.client_auth_type", "the verification of clients"),
        (
            needs_no_name,
            "tls_server_config.client_allowed_sans",
            "the names that clients must have",
        ),
        (is_lost(|rules| !rules.users.is_empty()), "basic_auth_users", "the last user"),
    ];
    match weaker.into_iter().find(|(is_weaker, ..)| *is_weaker) {
        Some((_, key, what)) => {
            Err(files.refuse(key, format!("{what} would be gone, which takes a restart")))
        }
        None => Ok(rules),
    }
}
