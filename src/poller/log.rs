//! What the log says of a poll: a line for the poll, and one for each change that it found.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::project_filter::UnmatchedPatterns;
use crate::inventory::{
    Certificate, Change, Inventory, Listing, Malformed, ProjectList, Snapshot, Thresholds,
};
use crate::openai::Endpoint;
use crate::poll_state::{FailedList, FailureReason, ListName, PollResult, PollState};
use crate::presentation::Status;

pub(super) fn restored(snapshot: &Snapshot, last_success_unix_seconds: Option<f64>) {
    let (certificates, scopes) =
        (snapshot.inventory.certificates().len(), scopes(&snapshot.inventory));
    let message = "serving the snapshot of an earlier run until a poll succeeds";
    tracing::info!(certificates, scopes, last_success_unix_seconds, "{message}");
}

/// The last poll of `state`, whose snapshot is `snapshot`.
pub(super) fn poll(state: &PollState, snapshot: Option<&Snapshot>, before: Option<&Snapshot>) {
    let Some(PollResult { ended_at, duration, failed }) = &state.last_poll else { return };
    let duration_seconds = duration.as_secs_f64();
    let verdict = Status::of(state, *ended_at, Thresholds::default()).to_string().to_lowercase();
    let Some(snapshot) = snapshot else {
        for FailedList { list, reason, status, request_id, message } in failed {
            // Without a key, nothing was requested.
            let endpoint = (*reason != FailureReason::Credentials).then(|| endpoint(list));
            let (reason, request_id) =
                (reason.into_str(), request_id.as_deref().map(tracing::field::display));
            tracing::warn!(
                reason,
                endpoint,
                status,
                request_id,
                verdict,
                duration_seconds,
                "poll failed: {message}"
            );
        }
        return;
    };
    let inventory = &snapshot.inventory;
    let listed_none = before.is_some_and(Snapshot::lists_no_project);
    let before = before.map(|before| &before.inventory);
    if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, inventory)) {
        list_changes(inventory.organization(), before.organization(), None);
        project_changes(inventory, before);
    }
    list_faults(inventory, before);
    if state.projects && snapshot.lists_no_project() && !listed_none {
        tracing::warn!("poll.projects is set, but the API lists no project");
    }
    failures(failed);

    let (certificates, active) = (inventory.certificates().len(), inventory.active());
    // Nobody knows how many while the projects themselves are not known.
    let is_listed = !state.projects || snapshot.projects_listed_at.is_some();
    let unread = is_listed.then(|| inventory.unread_projects().len());
    let scopes = scopes(inventory);
    let (malformed, duplicates) = (inventory.malformed().count(), inventory.duplicates());
    if failed.is_empty() {
        tracing::info!(
            verdict,
            certificates,
            active,
            scopes,
            malformed,
            duplicates,
            duration_seconds,
            "poll succeeded"
        );
    } else {
        let (missed, message) =
            (failed.len(), "poll failed in part: previous data kept where available");
        tracing::warn!(
            verdict,
            certificates,
            active,
            scopes,
            unread,
            missed,
            malformed,
            duplicates,
            duration_seconds,
            "{message}"
        );
    }
}

/// As many as the status page counts.
fn scopes(inventory: &Inventory) -> usize {
    1 + inventory.projects().len() + inventory.unread_projects().len()
}

/// Patterns that match no project, if they did `before`.
pub(super) fn unmatched_patterns(now: &UnmatchedPatterns, before: &UnmatchedPatterns) {
    for (key, pattern) in now.difference(before) {
        tracing::warn!(key, pattern = &**pattern, "a pattern matches no project that is listed");
    }
}

/// Whether this machine's clock differs from that of the API, if that has changed.
pub(super) fn clock(error: Option<f64>, was_wrong: bool) {
    if let Some(offset_seconds) = error.filter(|_| !was_wrong) {
        tracing::warn!(
            offset_seconds,
            "this machine's clock differs from the API's: times until expiry are off by as much"
        );
    } else if was_wrong && error.is_none() {
        tracing::info!("this machine's clock agrees with the API's again");
    }
}

/// As the metrics of requests name it.
fn endpoint(list: &ListName) -> &'static str {
    match list {
        ListName::Organization => Endpoint::Certificates,
        ListName::Projects => Endpoint::Projects,
        ListName::Project(_) => Endpoint::ProjectCertificates,
        ListName::Content(_) => Endpoint::Certificate,
    }
    .into_str()
}

/// Each reason once, with an example: a thousand projects may fail for the same one.
fn failures(failed: &[FailedList]) {
    let mut by_reason: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for failed in failed {
        by_reason.entry((failed.reason, failed.status)).or_default().push(failed);
    }
    for alike in by_reason.values() {
        let FailedList { list, reason, status, request_id, message } = alike[0];
        let project_id = if let ListName::Project(id) = list { Some(&**id) } else { None };
        let certificate_id = if let ListName::Content(id) = list { Some(&**id) } else { None };
        let what = if certificate_id.is_some() { "PEM of certificates" } else { "lists" };
        let (reason, lists, endpoint) = (reason.into_str(), alike.len(), endpoint(list));
        let request_id = request_id.as_deref().map(tracing::field::display);
        tracing::warn!(
            reason,
            lists,
            endpoint,
            project_id,
            certificate_id,
            status,
            request_id,
            "{what} not read: {message}"
        );
    }
}

/// What is wrong with the lists, if that has changed.
fn list_faults(now: &Inventory, before: Option<&Arc<Inventory>>) {
    malformed_entries(now, before);
    let duplicates = now.duplicates();
    if duplicates != before.map_or(0, |before| before.duplicates()) {
        tracing::warn!(count = duplicates, "list entries that came twice, each shown once");
    }
    if now.selects_no_project() && !before.is_some_and(|before| before.selects_no_project()) {
        let count = now.lists().project_faults.unselected;
        tracing::warn!(
            count,
            "poll.project_include and poll.project_exclude leave out every project"
        );
    }
}

/// What could not be read, if that has changed: the first few entries, and how many there are by fault.
fn malformed_entries(now: &Inventory, before: Option<&Arc<Inventory>>) {
    let (malformed, named) = (now.malformed(), MalformedEntry::first_few(now));
    if malformed.count() == 0 {
        if before.is_some_and(|before| before.malformed().count() > 0) {
            tracing::info!("all list entries can be read again");
        }
        return;
    }
    if before.is_some_and(|before| {
        before.malformed() == malformed && MalformedEntry::first_few(before) == named
    }) {
        return;
    }
    for MalformedEntry { list, project_id, entry_id, fault } in named {
        tracing::warn!(list, project_id, entry_id, fault, "a list entry cannot be read in full");
    }
    tracing::warn!(
        count = malformed.count(),
        "list entries that could not be read in full, by fault: {malformed}"
    );
}

/// An entry that could not be read in full.
#[derive(PartialEq)]
struct MalformedEntry<'a> {
    list: &'static str,
    /// Of a list of a project.
    project_id: Option<&'a str>,
    /// Missing if it cannot be read.
    entry_id: Option<&'a str>,
    fault: &'static str,
}

impl<'a> MalformedEntry<'a> {
    /// The first few of all lists.
    fn first_few(inventory: &'a Inventory) -> Vec<Self> {
        let of = |list, project_id, malformed: &'a Malformed| {
            let entry = move |(entry_id, fault)| Self { list, project_id, entry_id, fault };
            malformed.named().map(entry)
        };
        let of_projects =
            inventory.projects().iter().flat_map(|ProjectList { project, certificates }| {
                of("project", Some(&*project.id), &certificates.malformed)
            });
        of("organization", None, &inventory.organization().malformed)
            .chain(of("projects", None, &inventory.lists().project_faults.malformed))
            .chain(of_projects)
            .take(Malformed::MAX_NAMED)
            .collect()
    }
}

fn project_changes(now: &Inventory, before: &Inventory) {
    for ProjectList { project, certificates } in now.projects() {
        let (project_id, project_name) = (&*project.id, project.name.as_deref());
        let Some((_, earlier)) = before.project(project_id) else {
            tracing::info!(
                project_id,
                project_name,
                certificates = certificates.items.len(),
                "project added"
            );
            continue;
        };
        if earlier.project.name != project.name {
            let old_name = earlier.project.name.as_deref();
            tracing::info!(project_id, project_name, old_name, "project renamed");
        }
        list_changes(certificates, &earlier.certificates, Some(project_id));
    }
    for ProjectList { project, .. } in before.projects() {
        let (project_id, project_name) = (&*project.id, project.name.as_deref());
        if now.project(project_id).is_none() {
            tracing::info!(project_id, project_name, "project removed");
        }
    }
}

fn list_changes(
    now: &Listing<Certificate>,
    before: &Listing<Certificate>,
    project_id: Option<&str>,
) {
    for change in now.changes_since(before) {
        let (what, certificate, old_name) = match change {
            Change::Added(certificate) => ("added", certificate, None),
            Change::Removed(certificate) => ("removed", certificate, None),
            Change::Activated(certificate) => ("activated", certificate, None),
            Change::Deactivated(certificate) => ("deactivated", certificate, None),
            Change::Renamed { from, to } => {
                ("renamed", to, Some(from.name.as_deref().unwrap_or_default()))
            }
            Change::Redated(certificate) => ("given other dates", certificate, None),
        };
        tracing::info!(
            project_id,
            certificate_id = &*certificate.id,
            certificate_name = certificate.name.as_deref(),
            old_name,
            active = certificate.active,
            expires_at_unix_seconds = certificate.expires_at,
            "certificate {what}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::{NOW, certificate, group, lists, snapshot};
    use crate::inventory::Lists;
    use crate::poll_state::PollTiming;

    /// What is logged of a poll, without what every line has. Projects are monitored if it has any.
    fn logged(
        snapshot: Option<&Arc<Snapshot>>,
        before: Option<&Snapshot>,
        failed: Vec<FailedList>,
    ) -> Vec<Value> {
        let has_projects = snapshot.is_some_and(|snapshot| !snapshot.lists_no_project());
        logged_by(has_projects, snapshot, before, failed)
    }

    fn logged_by(
        monitors_projects: bool,
        snapshot: Option<&Arc<Snapshot>>,
        before: Option<&Snapshot>,
        failed: Vec<FailedList>,
    ) -> Vec<Value> {
        let (log, writer) = io::pipe().unwrap();
        let format =
            tracing_subscriber::fmt().json().flatten_event(true).without_time().with_target(false);
        let subscriber = format.with_writer(Arc::new(writer)).finish();
        let result =
            PollResult { ended_at: NOW as f64, duration: Duration::from_millis(1_500), failed };
        let [interval, timeout] = [300, 240].map(Duration::from_secs);
        let mut state = PollState::new(Instant::now(), PollTiming { interval, timeout });
        state.record(snapshot.cloned(), result);
        state.projects = monitors_projects;
        let snapshot = snapshot.map(|snapshot| &**snapshot);
        tracing::subscriber::with_default(subscriber, || poll(&state, snapshot, before));
        let text = io::read_to_string(log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn failed(list: ListName, reason: FailureReason, status: Option<u16>) -> FailedList {
        FailedList { list, reason, status, request_id: Some("req_1".into()), message: "why".into() }
    }

    #[test]
    fn certificates_of_all_lists_are_counted_once() {
        let shared = certificate("shared").valid(-90..90);
        let snapshot = snapshot(&[
            vec![shared.clone().inactive(), certificate("unused").inactive()],
            vec![shared.clone()],
            vec![shared, certificate("own")],
        ]);
        let expected = json!({
            "level": "INFO", "message": "poll succeeded", "certificates": 3, "active": 2, "scopes": 3, "malformed": 0,
            "duplicates": 0, "duration_seconds": 1.5, "verdict": "ok",
        });
        assert_eq!(logged(Some(&snapshot), Some(&snapshot), vec![]), [expected]);
    }

    #[test]
    fn lists_that_fail_alike_are_one_line() {
        let of = |id: &str, status| {
            failed(ListName::Project(id.into()), FailureReason::Server, Some(status))
        };
        let failed = vec![
            failed(ListName::Projects, FailureReason::Timeout, None),
            of("a", 500),
            of("b", 502),
            of("c", 500),
        ];
        let lines = logged(Some(&snapshot(&[vec![]])), None, failed);
        let line = |reason: &str, lists: u64, endpoint: &str| {
            json!({
                "level": "WARN", "message": "lists not read: why", "reason": reason, "lists": lists, "endpoint": endpoint,
                "request_id": "req_1",
            })
        };
        let mut expected = [
            line("timeout", 1, "projects"),
            line("server", 2, "project_certificates"),
            line("server", 1, "project_certificates"),
        ];
        for (line, (id, status)) in expected[1..].iter_mut().zip([("a", 500), ("b", 502)]) {
            line["project_id"] = id.into();
            line["status"] = status.into();
        }
        assert_eq!(lines[..3], expected);
        assert_eq!(
            (&lines[3]["message"], &lines[3]["missed"], &lines[3]["verdict"]),
            (
                &json!("poll failed in part: previous data kept where available"),
                &json!(4),
                &json!("warning")
            )
        );
    }

    #[test]
    fn filters_that_leave_nothing_are_told_once() {
        let read = |unselected: u64, projects: usize| {
            let mut lists: Lists = lists(&vec![vec![]; 1 + projects]);
            lists.project_faults.unselected = unselected;
            let inventory = Inventory::new_or_unchanged(None, lists, &group("^$"));
            let read = snapshot(&vec![vec![]; 1 + projects]);
            Arc::new(Snapshot { inventory, ..Snapshot::clone(&read) })
        };
        let told = |now: &Arc<Snapshot>, before: Option<&Snapshot>| {
            let mut lines = logged(Some(now), before, vec![]);
            lines.pop();
            lines
        };
        let (all, none, few) = (read(0, 2), read(2, 0), read(1, 1));
        let expected = json!({
            "level": "WARN", "count": 2,
            "message": "poll.project_include and poll.project_exclude leave out every project",
        });
        assert_eq!(told(&none, None), [expected]);
        assert_eq!(told(&none, Some(&none)), [json!(null); 0]);
        assert_eq!(told(&all, None), [json!(null); 0]);
        assert_eq!(told(&few, None), [json!(null); 0]);
    }

    #[test]
    fn an_empty_list_of_projects_is_told_once() {
        let (none, one) = (snapshot(&[vec![]]), snapshot(&[vec![], vec![]]));
        for (before, told) in [(None, true), (Some(&one), true), (Some(&none), false)] {
            let lines = logged_by(true, Some(&none), before.map(Arc::as_ref), vec![]);
            let message = json!("poll.projects is set, but the API lists no project");
            assert_eq!(lines.iter().any(|line| line["message"] == message), told, "{lines:?}");
        }
    }

    #[test]
    fn failed_poll_is_one_line() {
        for (reason, endpoint) in
            [(FailureReason::Server, Some("certificates")), (FailureReason::Credentials, None)]
        {
            let lines = logged(None, None, vec![failed(ListName::Organization, reason, None)]);
            let mut expected = json!({
                "level": "WARN", "message": "poll failed: why", "reason": reason.into_str(), "request_id": "req_1",
                "duration_seconds": 1.5, "verdict": "unknown",
            });
            if let Some(endpoint) = endpoint {
                expected["endpoint"] = endpoint.into();
            }
            assert_eq!(lines, [expected]);
        }
    }
}
