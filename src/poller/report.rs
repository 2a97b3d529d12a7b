//! What the log says of a poll: a line for the poll, and one for each change that it found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::PollError;
use super::collect::{Harvest, Missed};
use super::store::Stored;
use crate::inventory::{
    Certificate, Change, FailureReason, Listing, Malformed, ProjectCertificates, Projects, Snapshot,
};
use crate::openai;

/// A snapshot that an earlier run has kept.
pub(super) fn restored(stored: &Stored) {
    let certificates = stored.organization.items.len();
    let (projects, last_success_unix_seconds) = (stored.projects.items.len(), stored.last_success_at);
    tracing::info!(
        certificates,
        projects,
        last_success_unix_seconds,
        "serving the snapshot of an earlier run until a poll succeeds"
    );
}

/// A poll that brought nothing.
pub(super) fn failure(error: &PollError, duration: Duration) {
    let (reason, duration_seconds) = (error.reason().as_str(), duration.as_secs_f64());
    match error {
        PollError::Upstream(upstream) => {
            let (endpoint, status, request_id) = of_upstream(upstream);
            tracing::warn!(reason, endpoint, status, request_id, duration_seconds, "poll failed: {error}");
        }
        PollError::Credentials(_) | PollError::CredentialsTimeout => {
            tracing::warn!(reason, duration_seconds, "poll failed: {error}");
        }
    }
}

/// A poll that brought at least the organization's list.
pub(super) fn harvest(harvest: &Harvest, before: Option<&Snapshot>, duration: Duration) {
    let Harvest { snapshot, missed } = harvest;
    if let Some(before) = before {
        list_changes(snapshot.organization(), before.organization(), None);
        project_changes(snapshot.projects(), before.projects());
    }
    faults(snapshot, before);
    misses(missed);

    let list = snapshot.organization();
    let certificates = list.items.len();
    let active = list.items.iter().filter(|certificate| certificate.active).count();
    let projects = snapshot.projects().items.len();
    let (malformed, duplicates) = (snapshot.malformed().count, snapshot.duplicates());
    let duration_seconds = duration.as_secs_f64();
    if missed.is_empty() {
        tracing::info!(certificates, active, projects, malformed, duplicates, duration_seconds, "poll succeeded");
    } else {
        let missed = missed.len();
        tracing::warn!(
            certificates,
            active,
            projects,
            missed,
            malformed,
            duplicates,
            duration_seconds,
            "poll failed in part: some lists stay as they were"
        );
    }
}

fn of_upstream(
    error: &openai::Error,
) -> (&'static str, Option<u16>, Option<tracing::field::DisplayValue<&openai::RequestId>>) {
    let status = error.status.map(|status| status.as_u16());
    (error.endpoint.as_str(), status, error.request_id.as_ref().map(tracing::field::display))
}

/// Says each reason once, with an example: a thousand projects may fail for the same one.
fn misses(missed: &[Missed]) {
    let mut by_reason: BTreeMap<(FailureReason, Option<u16>), Vec<&Missed>> = BTreeMap::new();
    for miss in missed {
        let status = miss.error.status.map(|status| status.as_u16());
        by_reason.entry((miss.error.reason, status)).or_default().push(miss);
    }
    for misses in by_reason.values() {
        let Missed { project_id, error } = misses[0];
        let (endpoint, status, request_id) = of_upstream(error);
        let (reason, lists, project_id) = (error.reason.as_str(), misses.len(), project_id.as_deref());
        tracing::warn!(reason, lists, endpoint, project_id, status, request_id, "lists not read: {error}");
    }
}

fn faults(snapshot: &Snapshot, before: Option<&Snapshot>) {
    let malformed = snapshot.malformed();
    if malformed != before.map_or_else(Malformed::default, Snapshot::malformed) {
        tracing::warn!(count = malformed.count, "list entries that cannot be read, by fault: {malformed}");
    }
    let duplicates = snapshot.duplicates();
    if duplicates != before.map_or(0, Snapshot::duplicates) {
        tracing::warn!(count = duplicates, "list entries that came twice, each shown once");
    }
    let vanished = snapshot.projects().vanished;
    if vanished != before.map_or(0, |before| before.projects().vanished) {
        tracing::info!(count = vanished, "projects that were listed, but gone when asked");
    }
}

fn project_changes(now: &Projects, before: &Projects) {
    for ProjectCertificates { project, certificates, .. } in &now.items {
        let (project_id, project_name) = (project.id.as_ref(), project.name.as_deref());
        match before.get(&project.id) {
            None => tracing::info!(project_id, project_name, certificates = certificates.items.len(), "project added"),
            Some(known) => {
                if known.project.name != project.name {
                    let old_name = known.project.name.as_deref();
                    tracing::info!(project_id, project_name, old_name, "project renamed");
                }
                list_changes(certificates, &known.certificates, Some(project_id));
            }
        }
    }
    for ProjectCertificates { project, .. } in before.items.iter().filter(|known| now.get(&known.project.id).is_none())
    {
        tracing::info!(project_id = project.id.as_ref(), project_name = project.name.as_deref(), "project removed");
    }
}

fn list_changes(now: &Arc<Listing<Certificate>>, before: &Arc<Listing<Certificate>>, project_id: Option<&str>) {
    for change in now.changes_since(before) {
        let (what, certificate, old_name) = match change {
            Change::Added(certificate) => ("added", certificate, None),
            Change::Removed(certificate) => ("removed", certificate, None),
            Change::Activated(certificate) => ("activated", certificate, None),
            Change::Deactivated(certificate) => ("deactivated", certificate, None),
            Change::Renamed { from, to } => ("renamed", to, Some(from.name.as_deref().unwrap_or_default())),
            Change::Redated(certificate) => ("given other dates", certificate, None),
        };
        tracing::info!(
            project_id,
            certificate_id = certificate.id.as_ref(),
            certificate_name = certificate.name.as_deref(),
            old_name,
            active = certificate.active,
            expires_at_unix_seconds = certificate.expires_at,
            "certificate {what}"
        );
    }
}
