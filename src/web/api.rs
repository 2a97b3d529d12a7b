//! What is known, for programs: the snapshot, and the health of the polls. `openapi.json` describes both.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::cached::{CachedResponse, NotRendered};
use crate::exposition::Identity;
use crate::inventory::{Inventory, Thresholds, UnixSeconds, whole_second};
use crate::poll_state::{ApiConnection, FailedList, FailureReason, PollState};
use crate::presentation::{Document, Instants, Status};

pub(super) const JSON: &str = "application/json";

pub(super) async fn certificates(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, NotRendered> {
    let state = Arc::clone(&app.state.borrow());
    let Some(snapshot) = state.snapshot.clone() else {
        let body =
            CachedResponse::volatile(JSON, r#"{"error":{"message":"no poll has succeeded yet"}}"#);
        let response = body.with(RETRY_AFTER, "5").respond(&headers);
        return Ok((StatusCode::SERVICE_UNAVAILABLE, response).into_response());
    };
    let (clients, key) = (state.clients.clone(), state.clients.clone());
    let clock = Arc::clone(&state);
    let moment = move |inventory: &Inventory, now: UnixSeconds| {
        let now = whole_second(clock.earliest_time(now as f64));
        let epoch = key.as_ref().map_or(0, |clients| clients.epoch(now));
        (inventory.epoch(now), key.as_ref().map(Identity::of), epoch)
    };
    let render = move |inventory: &Inventory, now: f64| {
        let document = Document::new(inventory, clients.as_deref(), state.earliest_time(now));
        Some(CachedResponse::tagged(JSON, serde_json::to_vec(&document).ok()?))
    };
    let inventory = Arc::clone(&snapshot.inventory);
    Ok(app.responses.certificates.get(inventory, moment, render).await?.respond(&headers))
}

pub(super) async fn polls(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, NotRendered> {
    let render = |state: &PollState, now: f64| {
        Some(CachedResponse::volatile(JSON, serde_json::to_vec(&Polls::new(state, now)).ok()?))
    };
    let state = Arc::clone(&app.state.borrow());
    Ok(app.responses.polls.get(state, |_, second| second, render).await?.respond(&headers))
}

/// How the polls are. It changes with every poll, so it is no part of the snapshot's document.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the field is named in the API")]
pub(super) struct Polls<'a> {
    status: Status,
    up: bool,
    stale: bool,
    polls: u64,
    interval_seconds: f64,
    #[serde(flatten)]
    instants: Instants<3>,
    clock_offset_seconds: Option<f64>,
    connection: Option<&'a ApiConnection>,
    last_failure: Option<Failure<'a>>,
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    #[serde(flatten)]
    at: Instants<1>,
    reasons: BTreeSet<FailureReason>,
    message: Option<&'a str>,
    failed_lists: &'a [FailedList],
}

impl<'a> Polls<'a> {
    pub(super) fn new(state: &'a PollState, now: f64) -> Self {
        let second = |instant: Option<f64>| instant.map(whole_second);
        Self {
            status: Status::of(state, now, Thresholds::default()),
            up: state.up(),
            stale: state.is_stale(now),
            polls: state.polls,
            interval_seconds: state.timing.interval.as_secs_f64(),
            instants: Instants([
                ("oldest_read_at", second(state.oldest_read_at())),
                ("last_success_at", second(state.last_success_at)),
                ("next_poll_at", second(state.next_poll_at)),
            ]),
            clock_offset_seconds: state.clock_offset,
            connection: state.connection.as_deref(),
            last_failure: state.last_failure.as_ref().map(|poll| Failure {
                at: Instants([("at", Some(whole_second(poll.ended_at)))]),
                reasons: poll.reasons(),
                message: poll.failed.first().map(|failed| &*failed.message),
                failed_lists: &poll.failed,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};
    use strum::VariantArray as _;

    use super::*;
    use crate::fixture::{NOW, certificate, group, lists, snapshot};
    use crate::poll_state::{ListName, PollResult, PollTiming};

    fn assert_described(schema: &str, shown: &Value) {
        let description: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let root = json!({"$ref": format!("#/components/schemas/{schema}"), "components": description["components"]});
        let validator = jsonschema::draft202012::new(&root).unwrap();
        let reasons = &description["components"]["schemas"]["FailureReason"]["enum"];
        assert_eq!(*reasons, json!(FailureReason::VARIANTS));
        let faults: Vec<_> = validator.iter_errors(shown).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{schema}: {faults:#?}\n{shown:#}");
    }

    #[test]
    fn responses_are_as_described() {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let mut state = PollState::new(Instant::now(), timing);
        let polls =
            |state: &PollState| serde_json::to_value(Polls::new(state, NOW as f64)).unwrap();
        assert_described("Polls", &polls(&state));
        let failed = |list, status, request_id: Option<&str>| FailedList {
            list,
            reason: FailureReason::MtlsRequired,
            status,
            request_id: request_id.map(Into::into),
            message: "answered 401".into(),
        };
        let failed = vec![
            failed(ListName::Organization, Some(401), Some("req_1")),
            failed(ListName::Projects, None, None),
            failed(ListName::Project("proj_1".into()), None, None),
        ];
        let read = snapshot(&[
            vec![certificate("a").valid(-5..90)],
            vec![certificate("b").dated(Some(i64::MAX), None)],
        ]);
        state.record(
            Some(Arc::clone(&read)),
            PollResult { ended_at: NOW as f64, duration: Duration::ZERO, failed },
        );
        assert_described("Polls", &polls(&state));
        let failed_lists = &polls(&state)["last_failure"]["failed_lists"];
        assert_eq!(
            (&failed_lists[0]["list"], &failed_lists[2]["project_id"]),
            (&json!("organization"), &json!("proj_1"))
        );
        let document =
            serde_json::to_value(Document::new(&read.inventory, None, NOW as f64)).unwrap();
        assert_described("Snapshot", &document);
        assert_eq!(document["scopes"][0]["runway_end_unix"], NOW + 90 * 86_400);

        // A project that was never read stands among the others, and nothing is claimed of it.
        let mut unread = lists(&[vec![certificate("a")], vec![], vec![]]);
        unread.unread = vec![unread.projects.remove(0).project];
        let unread = Inventory::new(unread, &group("^$"));
        let document = serde_json::to_value(Document::new(&unread, None, NOW as f64)).unwrap();
        assert_described("Snapshot", &document);
        let said = |field: &str| -> Vec<_> {
            let scopes = document["scopes"].as_array().unwrap();
            scopes.iter().map(|scope| scope[field].clone()).collect()
        };
        assert_eq!(said("project_id"), [Value::Null, json!("proj_0"), json!("proj_1")]);
        assert_eq!(said("read"), [true, false, true]);
        assert_eq!(said("enforced"), [json!(true), Value::Null, json!(true)]);
    }
}
