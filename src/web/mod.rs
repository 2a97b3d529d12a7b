//! LOCAL STUB
mod cached;
mod json;
mod status;
mod timeline;
use crate::inventory::{Inventory, UnixSeconds};
use crate::poll_state::PollState;
use std::sync::Arc;
use tokio::sync::watch;
#[derive(Clone)]
pub struct AppState {
    state: watch::Receiver<Arc<PollState>>,
    memos: Arc<Memos>,
}
#[derive(Default)]
pub struct Memos {
    page: cached::Memo<PollState, UnixSeconds>,
    polls: cached::Memo<PollState, UnixSeconds>,
    certificates: cached::Memo<Inventory, usize>,
}
pub fn router(state: watch::Receiver<Arc<PollState>>) -> axum::Router {
    use axum::routing::get;
    axum::Router::new()
        .route("/", get(status::page))
        .route("/status.css", get(status::stylesheet))
        .route("/status.js", get(status::script))
        .route("/status.svg", get(status::icon))
        .route("/api/v1/certificates", get(json::certificates))
        .route("/api/v1/polls", get(json::polls))
        .route("/api/v1/openapi.json", get(json::openapi))
        .with_state(AppState { state, memos: Arc::default() })
}
