use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, State as Shared};
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::watch;

use super::{json, status};
use crate::exposition::{self, Exposition};
use crate::inventory::State;

/// What handlers may see: they can read, and nothing else.
#[derive(Clone)]
pub(super) struct View {
    exposition: Arc<Exposition>,
    pub(super) state: watch::Receiver<State>,
    pub(super) documents: Arc<json::Documents>,
}

/// Paths of [`probes`], which are open to everybody.
pub(super) const HEALTH_PATHS: [&str; 4] = ["/healthz", "/-/healthy", "/readyz", "/-/ready"];

impl FromRef<View> for watch::Receiver<State> {
    fn from_ref(view: &View) -> Self {
        view.state.clone()
    }
}

/// Every path that is served.
pub fn router(exposition: Arc<Exposition>, state: watch::Receiver<State>) -> Router {
    Router::new()
        .route("/", get(status::page))
        .route("/status.css", get(status::stylesheet))
        .route("/status.js", get(status::script))
        .route("/status.svg", get(status::icon))
        .route("/api/v1/certificates", get(json::certificates))
        .route("/api/v1/polls", get(json::polls))
        .route("/api/v1/openapi.json", get(json::openapi))
        .route("/metrics", get(metrics))
        .merge(health())
        .with_state(View { exposition, state, documents: Arc::default() })
}

/// The health endpoints alone.
pub fn probes(state: watch::Receiver<State>) -> Router {
    health().with_state(state)
}

fn health<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    watch::Receiver<State>: FromRef<S>,
{
    let [healthz, dash_healthy, readyz, dash_ready] = HEALTH_PATHS;
    Router::new()
        .route(healthz, get(healthy))
        .route(dash_healthy, get(healthy))
        .route(readyz, get(ready))
        .route(dash_ready, get(ready))
}

async fn metrics(Shared(view): Shared<View>, headers: HeaderMap) -> Response {
    let gzip = accepts_gzip(&headers);
    let page = if gzip {
        view.exposition.gzip().await.map(Body::new)
    } else {
        view.exposition.text().map(|page| Body::from_stream(stream::iter(page.map(Ok::<_, Infallible>))))
    };
    match page {
        Ok(page) => {
            let mut response = Response::new(page);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
            if gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Err(error) => {
            tracing::error!("{error}");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

/// Whether a client takes gzip, by RFC 9110, section 12.5.3: named with a weight above 0, or not named and `*` is.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for coding in headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
            .map_or(Some(1.0), |weight| weight.trim().parse::<f32>().ok());
        let accepted = weight.is_some_and(|weight| weight > 0.0);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return accepted;
        }
        if name == "*" {
            any = accepted;
        }
    }
    any
}

/// Whether the poll loop is alive. It says nothing about OpenAI: a restart would not mend an outage there, and would lose
/// what is known.
async fn healthy(Shared(state): Shared<watch::Receiver<State>>) -> Response {
    let due = state.borrow().liveness.due;
    let late = Instant::now().saturating_duration_since(due);
    if late.is_zero() {
        plain(StatusCode::OK, "ok\n".into())
    } else {
        plain(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the poll loop is {} s late with a sign of life\n", late.as_secs()),
        )
    }
}

/// Whether there is something to show.
async fn ready(Shared(state): Shared<watch::Receiver<State>>) -> Response {
    if state.borrow().snapshot.is_some() {
        plain(StatusCode::OK, "ok\n".into())
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "no poll has succeeded yet\n".into())
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_where_it_is_taken() {
        for (value, expected) in [
            ("gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip; q=0", false),
            ("gzip;q=0.000, *", false),
            ("*", true),
            ("*;q=0", false),
            ("identity", false),
            ("gzip;q=x", false),
            ("gzipped", false),
            ("", false),
        ] {
            let headers = [(ACCEPT_ENCODING, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
