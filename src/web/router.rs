//! Which handler serves which path, and the handlers that are too small for a file of their own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use futures_util::stream;
use prometheus::IntGauge;
use tokio::sync::watch;

use super::cached::{CachedResponse, accepts_gzip};
use super::{AppState, HEALTH_PATHS, Metrics, api, status};
use crate::exposition::{self, Exposition};
use crate::inventory::unix_now;
use crate::poll_state::PollState;

/// Every path that is served. `config_in_force` is 0 while a new configuration is refused.
pub fn router(
    exposition: Arc<Exposition>,
    state: watch::Receiver<Arc<PollState>>,
    metrics: Metrics,
    config_in_force: IntGauge,
) -> Router {
    let (watched, responses) = (state.clone(), Arc::default());
    let app = AppState { exposition, state: watched, metrics, config_in_force, responses };
    Router::new()
        .route("/", get(status::page))
        .route("/status.css", file("text/css", include_str!("status.css")))
        .route("/status.js", file("text/javascript", include_str!("status.js")))
        .route("/status.svg", file("image/svg+xml", include_str!("status.svg")))
        .route("/lost.svg", get(lost_icon))
        .route("/api/v1/certificates", get(api::certificates))
        .route("/api/v1/polls", get(api::polls))
        .route("/api/v1/openapi.json", file(api::JSON, include_str!("openapi.json")))
        .route("/metrics", get(metrics_page))
        .with_state(app)
        .merge(probes(state))
}

/// The health endpoints alone.
pub fn probes(state: watch::Receiver<Arc<PollState>>) -> Router {
    let [healthz, dash_healthy, readyz, dash_ready] = HEALTH_PATHS;
    Router::new()
        .route(healthz, get(healthy))
        .route(dash_healthy, get(healthy))
        .route(readyz, get(ready))
        .route(dash_ready, get(ready))
        .with_state(state)
}

/// A file that stays the same for as long as the process runs.
fn file<S: Clone + Send + Sync + 'static>(
    content_type: &'static str,
    content: &'static str,
) -> MethodRouter<S> {
    let response = CachedResponse::tagged(content_type, content);
    get(async move |headers: HeaderMap| response.respond(&headers))
}

/// The icon of a page that nobody answers any more. By then it must be in the browser's cache.
async fn lost_icon(headers: HeaderMap) -> Response {
    let icon = CachedResponse::tagged("image/svg+xml", include_str!("lost.svg"));
    icon.with(CACHE_CONTROL, "max-age=2592000").respond(&headers)
}

async fn metrics_page(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let (state, now) = (Arc::clone(&app.state.borrow()), unix_now());
    let gzip = accepts_gzip(&headers);
    let page = if gzip {
        app.exposition.gzip(&state, now).map(Body::from)
    } else {
        app.exposition
            .text(&state, now)
            .map(|page| Body::from_stream(stream::iter(page.map(Ok::<_, Infallible>))))
    };
    match page {
        Ok(page) => {
            let headers = [(CONTENT_TYPE, exposition::CONTENT_TYPE), (VARY, "accept-encoding")];
            (headers, gzip.then_some([(CONTENT_ENCODING, "gzip")]), page).into_response()
        }
        Err(error) => {
            tracing::error!("{error}");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

/// Whether the poll loop is alive. It never depends on OpenAI: a restart would not end an outage there, and would lose what
/// was read before it.
async fn healthy(State(state): State<watch::Receiver<Arc<PollState>>>) -> Response {
    let due = state.borrow().liveness_deadline;
    let late = Instant::now().saturating_duration_since(due);
    health(
        (!late.is_zero())
            .then(|| format!("the poll loop's heartbeat is {} s late\n", late.as_secs())),
    )
}

/// Whether there is a snapshot to show, also while polls fail.
async fn ready(State(state): State<watch::Receiver<Arc<PollState>>>) -> Response {
    health(state.borrow().snapshot.is_none().then(|| "no poll has succeeded yet\n".into()))
}

fn health(fault: Option<String>) -> Response {
    let status = if fault.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let text = fault.unwrap_or_else(|| "ok\n".into());
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}
