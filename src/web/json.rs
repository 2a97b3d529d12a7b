//! What is known, for programs: the snapshot, the health of the polls, and the description of both.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::extract::State as Shared;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::AppState;
use super::entity::{CLOSED, Entity, NOSNIFF};
use crate::exposition::Document;
use crate::inventory::{Attempt, Snapshot, State, UnixSeconds, rfc3339, unix_now};

const JSON: &str = "application/json";

static OPENAPI: LazyLock<Entity> = LazyLock::new(|| Entity::new(JSON, include_str!("openapi.json")));

/// The document that was served last. It is made once for a snapshot, and again where a runway ends elsewhere because
/// time has passed.
#[derive(Debug, Default)]
pub(super) struct Documents(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    snapshot: Arc<Snapshot>,
    runway_ends: Vec<Option<UnixSeconds>>,
    entity: Entity,
}

impl Documents {
    fn entity(&self, snapshot: Arc<Snapshot>, now: f64) -> Result<Entity, serde_json::Error> {
        #[expect(clippy::cast_possible_truncation, reason = "the whole second that has begun")]
        let second = now.floor() as UnixSeconds;
        let scopes = std::iter::once(snapshot.scope()).chain(snapshot.project_scopes().map(|(_, scope)| scope));
        let runway_ends: Vec<_> = scopes.map(|scope| scope.runway_end(second)).collect();
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && Arc::ptr_eq(&made.snapshot, &snapshot)
            && made.runway_ends == runway_ends
        {
            return Ok(made.entity.clone());
        }
        let entity = Entity::new(JSON, serde_json::to_vec(&Document::new(&snapshot, now))?);
        *made = Some(Made { snapshot, runway_ends, entity: entity.clone() });
        Ok(entity)
    }
}

pub(super) async fn certificates(Shared(app): Shared<AppState>, headers: HeaderMap) -> Response {
    let Some(snapshot) = app.state.borrow().snapshot.clone() else {
        let mut response = error(StatusCode::SERVICE_UNAVAILABLE, "no poll has succeeded yet");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    // Making it takes long for many certificates, and others wait for this thread.
    match spawn_blocking(move || app.documents.entity(snapshot, unix_now())).await {
        Ok(Ok(entity)) => entity.answer(&headers),
        Ok(Err(_)) | Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the snapshot cannot be encoded"),
    }
}

pub(super) async fn polls(Shared(app): Shared<AppState>) -> Response {
    let health = Health::new(&app.state.borrow(), unix_now());
    plain(StatusCode::OK, &health)
}

pub(super) async fn openapi(headers: HeaderMap) -> Response {
    OPENAPI.answer(&headers)
}

/// How the polls are. It changes with every one of them, which is why it is not part of the snapshot's document.
#[derive(Debug, Serialize)]
struct Health {
    up: bool,
    stale: bool,
    polls: u64,
    interval_seconds: f64,
    /// When the list that was not read for longest was read.
    oldest_read_at: Option<String>,
    oldest_read_at_unix: Option<UnixSeconds>,
    last_success_at: Option<String>,
    last_success_at_unix: Option<UnixSeconds>,
    next_poll_at: Option<String>,
    next_poll_at_unix: Option<UnixSeconds>,
    last_failure: Option<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    at: String,
    at_unix: UnixSeconds,
    reasons: Vec<&'static str>,
    message: Option<Box<str>>,
}

#[expect(clippy::cast_possible_truncation, reason = "the whole second that has begun")]
fn second(instant: f64) -> UnixSeconds {
    instant.floor() as UnixSeconds
}

impl Health {
    fn new(state: &State, now: f64) -> Self {
        let [read, success, next] =
            [state.oldest_read_at(), state.last_success_at, state.next_poll_at].map(|instant| instant.map(second));
        Self {
            up: state.up(),
            stale: state.is_stale(now),
            polls: state.polls,
            interval_seconds: state.pace.interval.as_secs_f64(),
            oldest_read_at: read.map(rfc3339),
            oldest_read_at_unix: read,
            last_success_at: success.map(rfc3339),
            last_success_at_unix: success,
            next_poll_at: next.map(rfc3339),
            next_poll_at_unix: next,
            last_failure: state.last_failure.as_ref().map(Failure::new),
        }
    }
}

impl Failure {
    fn new(attempt: &Attempt) -> Self {
        let at = second(attempt.ended_at);
        Self {
            at: rfc3339(at),
            at_unix: at,
            reasons: attempt.failures.iter().map(|reason| reason.as_str()).collect(),
            message: attempt.fault.clone(),
        }
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    plain(status, &serde_json::json!({"error": {"message": message}}))
}

/// What is different at every moment, so that nobody keeps it.
fn plain(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(JSON)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, CLOSED),
        (X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    ];
    (status, headers, serde_json::to_vec(body).unwrap_or_default()).into_response()
}
