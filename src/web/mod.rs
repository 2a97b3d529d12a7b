//! What is served: the metrics page, the status page and the state of health, to clients of any kind in any number.

mod cached;
mod connection;
mod json;
mod router;
mod security;
mod server;
mod status;
mod timeline;

use std::sync::Arc;

use tokio::sync::watch;

use crate::exposition::Exposition;
use crate::inventory::{Inventory, UnixSeconds};
use crate::poll_state::PollState;

pub use connection::Limits;
pub use router::{probes, router};
pub use security::{Reload, Security};
pub use server::Server;
pub(crate) use server::{raise_descriptor_limit, share_with_probes};

/// What handlers read. None of it can be written through this.
#[derive(Clone)]
struct AppState {
    exposition: Arc<Exposition>,
    state: watch::Receiver<Arc<PollState>>,
    memos: Arc<Memos>,
}

/// Responses that all readers share.
#[derive(Default)]
struct Memos {
    page: cached::Memo<PollState, UnixSeconds>,
    polls: cached::Memo<PollState, UnixSeconds>,
    certificates: cached::Memo<Inventory, usize>,
}

/// The paths of [`probes`], which need no credentials anywhere.
const HEALTH_PATHS: [&str; 4] = ["/healthz", "/-/healthy", "/readyz", "/-/ready"];
