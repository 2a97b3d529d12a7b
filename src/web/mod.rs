//! What is served: the metrics page, the status page and the state of health, to clients of any kind in any number.

mod api;
mod cached;
mod connection;
mod router;
mod security;
mod server;
mod status;
mod timeline;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::watch;

use crate::exposition::{Exposition, Identity};
use crate::inventory::UnixSeconds;
use crate::poll_state::PollState;

pub use connection::Limits;
pub use router::{probes, router};
pub use security::{Metrics, RulesWatcher, Security};
pub use server::Server;
pub(crate) use server::{raise_descriptor_limit, share_with_probes};

/// What handlers read. None of it can be written through this.
#[derive(Clone)]
struct AppState {
    exposition: Arc<Exposition>,
    state: watch::Receiver<Arc<PollState>>,
    metrics: Metrics,
    /// 0 while a new configuration is refused.
    config_in_force: IntGauge,
    responses: Arc<SharedResponses>,
}

/// Responses that all readers share.
#[derive(Default)]
struct SharedResponses {
    page: cached::Shared<UnixSeconds>,
    polls: cached::Shared<UnixSeconds>,
    /// By epoch, and by clients and theirs.
    certificates: cached::Shared<(usize, Option<Identity>, usize)>,
}

/// The paths of [`probes`], which need no credentials anywhere.
const HEALTH_PATHS: [&str; 4] = ["/healthz", "/-/healthy", "/readyz", "/-/ready"];

/// The guarded value, also after a panic elsewhere: outside of tests a panic ends the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
