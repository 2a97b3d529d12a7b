//! What a state and its rows say, in sentences.

use std::cmp::Reverse;

use super::harms::{
    Harm, Item, certificate_item, clause, first_clause, scope_item, take_first, title,
};
use super::links::capitalize;
use super::rows::{CertificateRow, ScopeRow};
use super::sanitize::sanitize;
use super::text::{format_date, humanize};
use crate::inventory::{Coverage, Severity, Thresholds};
use crate::poll_state::{FailedList, ListName, PollState};

/// Of the lists that could not be read, as many are named.
const NAMED_FAILURES: usize = 3;

/// A part of a sentence.
struct Clause {
    severity: Severity,
    /// Whether it begins with a certificate's name, which stays as it is.
    begins_with_name: bool,
    text: String,
}

impl Clause {
    /// Of what is not known, or of nothing at all.
    fn new(text: String) -> Self {
        Self { severity: Severity::Warning, begins_with_name: false, text }
    }

    fn of(alike: &[Item], text: String) -> Self {
        let Item { harm, severity, .. } = alike[0];
        let begins_with_name = matches!(harm, Harm::Expired | Harm::Expires | Harm::NotYetValid);
        Self { severity, begins_with_name, text }
    }
}

/// The state in a sentence: what comes first, then how much else there is that is as bad; if there is nothing of the kind,
/// what covers the scopes. And what else matters, a sentence each. Rows come sorted by what ends first; `clients` are
/// clauses about clients, `gaps` about what no row shows. `hides_projects`: there may be projects without a row. All of it is marked.
pub(super) fn sentences(
    scopes: &[ScopeRow<'_>],
    certificates: &[CertificateRow<'_>],
    clients: Vec<(Severity, String)>,
    gaps: Vec<String>,
    hides_projects: bool,
    now: f64,
    thresholds: Thresholds,
) -> (String, Vec<String>) {
    let of_certificates =
        certificates.iter().filter_map(|row| certificate_item(row, now, thresholds));
    let mut items: Vec<_> = scopes.iter().filter_map(scope_item).chain(of_certificates).collect();
    let is_dated = items.iter().any(|item| item.harm < Harm::InDoubt);
    let names_coverage = items.iter().any(|item| item.harm.is_of_coverage());
    let first = take_first(&mut items);
    items.sort_by_key(|item| (Reverse(item.severity), item.harm));
    let mut clauses: Vec<_> =
        first_clause(&first, now).map(|text| Clause::of(&first, text)).into_iter().collect();
    let mut said: Vec<_> = first.iter().map(|item| item.harm).collect();
    for alike in items.chunk_by(|a, b| (a.severity, a.harm) == (b.severity, b.harm)) {
        let more = if said.contains(&alike[0].harm) { " more" } else { "" };
        clauses.push(Clause::of(alike, clause(alike, more, now)));
        said.push(alike[0].harm);
    }
    let is_dated = is_dated || !clients.is_empty();
    let of_clients = clients.into_iter();
    clauses.extend(of_clients.map(|(severity, text)| Clause { severity, ..Clause::new(text) }));
    clauses.extend(gaps.into_iter().map(Clause::new));
    let after_first = usize::from(!first.is_empty()).min(clauses.len());
    clauses[after_first..].sort_by_key(|clause| Reverse(clause.severity));
    let covered = coverage(scopes, hides_projects, now);
    let (covered, due) = healthy(scopes, certificates, covered, clauses.is_empty(), now);
    let covered = covered.filter(|_| !names_coverage).map(Clause::new);
    let due = due.filter(|_| !is_dated);
    let worst = clauses.first().map(|first| first.severity);
    let (headline, lesser): (Vec<_>, Vec<_>) =
        clauses.into_iter().partition(|clause| Some(clause.severity) >= worst);
    let covered = sentence(covered.as_slice());
    let mut all = [sentence(&headline), sentence(&lesser), covered, due].into_iter().flatten();
    (all.next().unwrap_or_default(), all.collect())
}

/// None without clauses.
fn sentence(clauses: &[Clause]) -> Option<String> {
    let first = clauses.first()?;
    let texts: Vec<_> = clauses.iter().map(|clause| &*clause.text).collect();
    let mut sentence = texts.join("; ") + ".";
    if !first.begins_with_name {
        capitalize(&mut sentence);
    }
    Some(sentence)
}

/// Before the first snapshot.
pub(super) fn nothing_known(is_failing: bool) -> (String, Vec<String>) {
    let waiting = "Until a poll has read the whole list of certificates, their state is unknown.";
    if is_failing {
        ("Nothing is known: the list of certificates has not been read.".into(), Vec::new())
    } else {
        ("Waiting for the first poll to end.".into(), vec![waiting.into()])
    }
}

/// What covers the scopes, `covered`, and what is due next.
fn healthy(
    scopes: &[ScopeRow<'_>],
    certificates: &[CertificateRow<'_>],
    covered: Option<String>,
    is_complete: bool,
    now: f64,
) -> (Option<String>, Option<String>) {
    let active = certificates.iter().filter(|row| row.used.is_active());
    let is_dated = active.clone().all(|row| row.used.certificate.expires_at.is_some());
    let nothing = if is_complete && is_dated { "Nothing" } else { "Nothing known" };
    let ends = active.filter_map(|row| Some((row.used.certificate.expires_at?, row)));
    let next = ends.clone().map(|(end, _)| end).min();
    let expiring: Vec<_> = ends.filter(|(end, _)| Some(*end) == next).collect();
    let when = match expiring.as_slice() {
        [(_, one)] => format!("when {} expires", title(one)),
        many => format!("when {} certificates expire", many.len()),
    };
    match (scopes.iter().filter_map(|row| row.coverage?.end()).min(), next) {
        (Some(until), Some(next)) if until == next => (
            covered.map(|covered| format!("{covered}, {when}")),
            Some(format!("{nothing} is due before then.")),
        ),
        (until, Some(next)) if until.is_none_or(|until| next < until) => {
            let date = format_date(next, now);
            (covered, Some(format!("{nothing} is due until {date}, {when}.")))
        }
        // A project's list may have other dates than the organization's.
        (until, _) => (covered, until.map(|_| format!("{nothing} is due before then."))),
    }
}

/// What covers the scopes of which none ends soon; none if that is not known of any.
fn coverage(scopes: &[ScopeRow<'_>], hides_projects: bool, now: f64) -> Option<String> {
    let mut known: Vec<_> = scopes.iter().filter_map(|row| row.coverage).collect();
    known.retain(|coverage| coverage.is_known());
    let is_partial = known.len() < scopes.len() || hides_projects;
    let all = match known.as_slice() {
        [_] if scopes.len() == 1 => "the organization",
        _ if is_partial => "wherever mutual TLS is known to be enforced, everything",
        _ if known.contains(&Coverage::NotEnforced) => {
            "wherever mutual TLS is enforced, everything"
        }
        _ => "everything",
    };
    // Rows come sorted: the first says the least of all.
    Some(match known.first()? {
        Coverage::NotEnforced if is_partial => "mutual TLS is not known to be enforced".into(),
        Coverage::NotEnforced if scopes.len() == 1 => {
            "mutual TLS is not enforced at the organization: no certificate is active there".into()
        }
        Coverage::NotEnforced => "mutual TLS is not enforced: no certificate is active".into(),
        first @ Coverage::Covered { until } => {
            let row = scopes.iter().find(|row| row.coverage == Some(*first));
            let again = row.and_then(|row| row.resumes_at).map_or_else(String::new, |at| {
                format!(", and again only from {}", format_date(at, now))
            });
            format!("{all} is covered until {}{again}", format_date(*until, now))
        }
        _ => format!("{all} is covered by certificates without a known end"),
    })
}

/// Why what is shown may not be the present state.
pub(super) fn caveats(state: &PollState, now: f64) -> Vec<String> {
    let mut caveats = Vec::new();
    if let Some(snapshot) = state.snapshot.as_deref().filter(|_| state.is_stale(now)) {
        let read_at = snapshot.oldest_read_at();
        let what = if snapshot.organization_read_at > read_at { "part of what" } else { "what" };
        caveats.push(format!("Stale: {what} is shown is {} old.", humanize(now - read_at)));
        if !state.is_failing() {
            caveats.push("No poll has ended since.".into());
        }
    }
    if state.is_failing() {
        caveats.push(format!("The last poll failed: {}.", name_failures(state.failed())));
    }
    if let Some(offset) = state.clock_error() {
        let relation = if offset > 0.0 { "ahead of" } else { "behind" };
        let by = humanize(offset.abs());
        caveats.push(format!("This machine's clock is {by} {relation} that of the API."));
    }
    caveats
}

/// Which lists could not be read and why: the first few, then a count.
pub(crate) fn name_failures(failed: &[FailedList]) -> String {
    let named = failed.iter().take(NAMED_FAILURES).map(
        |FailedList { list, reason, request_id, message, .. }| {
            let list = match list {
                ListName::Organization => "the organization".into(),
                ListName::Projects => "the list of projects".into(),
                ListName::Project(id) => format!("project {}", sanitize(id)),
                ListName::Content(id) => format!("the PEM of {}", sanitize(id)),
            };
            let request_id =
                request_id.as_deref().map_or_else(String::new, |id| format!(", request ID {id}"));
            format!("{reason} ({message}) for {list}{request_id}")
        },
    );
    let more = failed.len().saturating_sub(NAMED_FAILURES);
    let more = (more > 0).then(|| format!("{more} more"));
    named.chain(more).collect::<Vec<_>>().join("; ")
}
