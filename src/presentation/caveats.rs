//! Why what is shown may not be the present state.

use std::collections::{BTreeSet, HashSet};

use super::sanitize::name_or_id;
use super::text::{ago, humanize, join_with_and};
use crate::inventory::{Severity, Snapshot};
use crate::poll_state::{FailedList, ListName, PollState};

/// Of the lists that could not be read, as many are named.
const NAMED: usize = 3;

/// In sentences that say all of it, for where nothing else is shown.
pub(super) fn caveats(state: &PollState, now: f64) -> Vec<String> {
    let snapshot = state.snapshot.as_deref();
    let failed = state.is_failing().then(|| {
        let (what, why) = total_failure(state).map_or_else(
            || ("could not read everything", name_failures(state.failed(), snapshot)),
            |failed| ("failed", why(failed)),
        );
        format!("The last poll {what}: {why}.")
    });
    let mut caveats: Vec<_> = old(state, now).into_iter().collect();
    if failed.is_none() && !caveats.is_empty() {
        caveats.push(NO_POLL.into());
    }
    caveats.into_iter().chain(failed).chain(wrong_clock(state)).collect()
}

/// The same at the top of the status page, which says elsewhere what exactly has failed.
pub(crate) struct Banner {
    pub severity: Severity,
    pub lead: String,
    pub text: String,
}

impl Banner {
    /// None if there is nothing to warn of.
    pub(crate) fn new(state: &PollState, now: f64) -> Option<Self> {
        let snapshot = state.snapshot.as_deref();
        let old = old(state, now);
        let failed = state.is_failing().then(|| failed_briefly(state));
        let is_current = snapshot.is_some() && old.is_none();
        let severity = if is_current { Severity::Warning } else { Severity::Critical };
        let since = match (snapshot, &failed) {
            (Some(snapshot), Some(_)) if is_current => Some(read_otherwise(state, snapshot, now)),
            (Some(_), None) if !is_current => Some(NO_POLL.into()),
            _ => None,
        };
        let mut all = [old, failed, since, wrong_clock(state)].into_iter().flatten();
        Some(Self { severity, lead: all.next()?, text: all.collect::<Vec<_>>().join(" ") })
    }
}

const NO_POLL: &str = "No poll has ended since.";

/// Without the organization's list nothing is updated.
fn total_failure(state: &PollState) -> Option<&FailedList> {
    state.failed().iter().find(|failed| failed.list == ListName::Organization)
}

fn old(state: &PollState, now: f64) -> Option<String> {
    let snapshot = state.snapshot.as_deref().filter(|_| state.is_stale(now))?;
    let read_at = snapshot.oldest_read_at();
    let what = if snapshot.organization_read_at > read_at { "part of what" } else { "what" };
    Some(format!("Stale: {what} is shown is {} old.", humanize(now - read_at)))
}

fn wrong_clock(state: &PollState) -> Option<String> {
    let offset = state.clock_error()?;
    let relation = if offset > 0.0 { "ahead of" } else { "behind" };
    Some(format!("This machine's clock is {} {relation} that of the API.", humanize(offset.abs())))
}

fn failed_briefly(state: &PollState) -> String {
    let failed = state.failed();
    let whys: BTreeSet<_> = failed.iter().map(|failed| &*failed.message).collect();
    let why = match whys.first() {
        Some(why) if whys.len() == 1 => format!(": {why}"),
        _ => " for several reasons".into(),
    };
    if total_failure(state).is_some() {
        return format!("The last poll failed{why}.");
    }
    let snapshot = state.snapshot.as_deref();
    let lists: Vec<_> = failed.iter().take(NAMED).map(|it| name(&it.list, snapshot)).collect();
    let lists = match failed.len() {
        0..=NAMED => join_with_and(&lists),
        many => format!("{many} lists"),
    };
    format!("The last poll could not read {lists}{why}.")
}

/// When that was read which the last poll did not fail to read.
fn read_otherwise(state: &PollState, snapshot: &Snapshot, now: f64) -> String {
    if total_failure(state).is_some() {
        return format!("What is shown was read {}.", ago(snapshot.oldest_read_at(), now));
    }
    let failed: HashSet<_> = state.failed().iter().filter_map(|it| it.list.project()).collect();
    let read = snapshot.inventory.lists().projects.iter().zip(&snapshot.projects_read_at);
    let read = read.filter(|(listed, _)| !failed.contains(&*listed.project.id));
    let is_listed = state.failed().iter().all(|it| it.list != ListName::Projects);
    let listed_at = snapshot.projects_listed_at.filter(|_| is_listed);
    let read = read.map(|(_, read_at)| *read_at).chain(listed_at);
    let oldest = read.fold(snapshot.organization_read_at, f64::min);
    format!("Everything else was read {}.", ago(oldest, now))
}

/// Which lists could not be read and why: the first few, then a count.
pub(crate) fn name_failures(failed: &[FailedList], snapshot: Option<&Snapshot>) -> String {
    let named = failed.iter().take(NAMED);
    let named = named.map(|failed| format!("{} ({})", name(&failed.list, snapshot), why(failed)));
    let more = failed.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    named.chain(more).collect::<Vec<_>>().join("; ")
}

fn why(FailedList { message, request_id, .. }: &FailedList) -> String {
    let request_id = request_id.as_deref().map(|id| format!("; request ID {id}"));
    format!("{message}{}", request_id.unwrap_or_default())
}

fn name(list: &ListName, snapshot: Option<&Snapshot>) -> String {
    let inventory = snapshot.map(|snapshot| &snapshot.inventory);
    match list {
        ListName::Organization => "the organization".into(),
        ListName::Projects => "the list of projects".into(),
        ListName::Project(id) => {
            let project = inventory.and_then(|inventory| inventory.listed_project(id));
            format!("project {}", name_or_id(project.and_then(|it| it.name.as_deref()), id))
        }
        ListName::Content(id) => {
            let certificate = inventory.and_then(|inventory| inventory.certificate(id));
            let name = certificate.and_then(|it| it.name.as_deref());
            format!("the PEM of {}", name_or_id(name, id))
        }
    }
}
