//! What a state and its rows say, in sentences.

use std::cmp::Reverse;

use super::rows::{CertificateRow, ScopeRow};
use super::sanitize::sanitize;
use super::text::{format_date, humanize, relative, within};
use crate::inventory::{Coverage, Severity, Thresholds, UnixSeconds};
use crate::poll_state::{FailedList, ListName, PollState};

/// Of the lists that could not be read, as many are named.
const NAMED_FAILURES: usize = 3;

/// What a scope or a certificate needs somebody for, in the order in which it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    /// Of a scope.
    Refused,
    Expired,
    /// Of a scope's coverage.
    Ends,
    /// Of a certificate, soon.
    Expires,
    /// Of a scope: covered only by certificates without a known end.
    Undated,
    NotYetValid,
    /// Whether a scope enforces mutual TLS.
    Unknown,
    Unread,
}

struct Item {
    harm: Harm,
    severity: Severity,
    /// When it comes, or came; `UnixSeconds::MAX` if that is not known.
    at: UnixSeconds,
    subject: String,
    /// When a scope is covered again.
    resumes_at: Option<UnixSeconds>,
}

/// The state in a sentence: what comes first, then how much else there is, the worst first. And what else matters, a
/// sentence each. Rows come sorted by what ends first; `gaps` are clauses about what no row shows.
pub(super) fn sentences(
    scopes: &[ScopeRow<'_>],
    certificates: &[CertificateRow<'_>],
    gaps: Vec<String>,
    now: f64,
    thresholds: Thresholds,
) -> (String, Vec<String>) {
    let of_certificates =
        certificates.iter().filter_map(|row| certificate_item(row, now, thresholds));
    let mut items: Vec<_> = scopes.iter().filter_map(scope_item).chain(of_certificates).collect();
    let is_of_scope = |item: &Item| matches!(item.harm, Harm::Refused | Harm::Ends | Harm::Undated);
    let is_dated = items.iter().any(|item| item.harm < Harm::Unknown);
    let (mut clauses, mut detail) = (Vec::new(), Vec::new());
    if !is_dated {
        let is_complete = gaps.is_empty() && items.is_empty();
        let (coverage, due) = healthy(scopes, certificates, is_complete, now);
        clauses.extend(coverage.map(|coverage| capitalized(&coverage)));
        detail.extend(due);
    } else if !items.iter().any(is_of_scope) {
        detail.extend(coverage(scopes, now).map(|coverage| capitalized(&coverage) + "."));
    }
    let first = take_first(&mut items);
    items.sort_by_key(|item| (Reverse(item.severity), item.harm));
    // A certificate's name stays as it is.
    let is_name_first = is_dated
        && first.iter().chain(&items).next().is_some_and(|item| {
            matches!(item.harm, Harm::Expired | Harm::Expires | Harm::NotYetValid)
        });
    clauses.extend(first_clause(&first, now));
    let mut said: Vec<_> = first.iter().map(|item| item.harm).collect();
    for alike in items.chunk_by(|a, b| (a.severity, a.harm) == (b.severity, b.harm)) {
        let more = if said.contains(&alike[0].harm) { " more" } else { "" };
        clauses.push(clause(alike, more, now));
        said.push(alike[0].harm);
    }
    clauses.extend(gaps);
    let headline = clauses.join("; ") + ".";
    (if is_name_first { headline } else { capitalized(&headline) }, detail)
}

/// Before the first snapshot.
pub(super) fn nothing_known(is_failing: bool) -> (String, Vec<String>) {
    let waiting = "Until a poll has read the whole list of certificates, their state is unknown.";
    if is_failing {
        ("Nothing is known: no poll has succeeded yet.".into(), Vec::new())
    } else {
        ("Waiting for the first poll to end.".into(), vec![waiting.into()])
    }
}

fn scope_item(row: &ScopeRow<'_>) -> Option<Item> {
    let (harm, at) = match row.coverage {
        _ if row.severity < Severity::Warning => return None,
        None => (Harm::Unread, None),
        Some(Coverage::Refused { since }) => (Harm::Refused, since),
        Some(Coverage::Undated { since }) => (Harm::Undated, since),
        Some(Coverage::Covered { until }) => (Harm::Ends, Some(until)),
        Some(Coverage::Unknown | Coverage::NotEnforced) => (Harm::Unknown, None),
    };
    let project = row.id.as_ref().map(|id| row.name.as_ref().unwrap_or(id));
    Some(Item {
        harm,
        severity: row.severity,
        at: at.unwrap_or(UnixSeconds::MAX),
        subject: project.map_or("the organization".into(), |name| format!("project {name}")),
        resumes_at: row.resumes_at,
    })
}

fn certificate_item(row: &CertificateRow<'_>, now: f64, thresholds: Thresholds) -> Option<Item> {
    let (begin, end) = (row.used.certificate.valid_at, row.used.certificate.expires_at);
    let (harm, at) = match end.filter(|end| thresholds.judge(*end, now) > Severity::Ok) {
        _ if row.severity < Severity::Warning => return None,
        Some(end) if row.used.has_expired(now) => (Harm::Expired, end),
        Some(end) => (Harm::Expires, end),
        None => (Harm::NotYetValid, begin.unwrap_or(UnixSeconds::MAX)),
    };
    Some(Item { harm, severity: row.severity, at, subject: title(row), resumes_at: None })
}

/// A certificate's name, or its identifier, with its successor.
fn title(row: &CertificateRow<'_>) -> String {
    let title = row.name.as_ref().unwrap_or(&row.id);
    match &row.successor {
        Some(successor) => format!("{title} (superseded by {successor})"),
        None => title.clone(),
    }
}

/// Takes the refused scopes or, if there are none, whatever ends or expires next.
fn take_first(items: &mut Vec<Item>) -> Vec<Item> {
    let is_to_come = |item: &Item| matches!(item.harm, Harm::Ends | Harm::Expires);
    let is_refused = |item: &Item| item.harm == Harm::Refused;
    let next = items.iter().filter(|item| is_to_come(item)).map(|item| item.at).min();
    let any_refused = items.iter().any(is_refused);
    items
        .extract_if(.., |item| {
            if any_refused { is_refused(item) } else { is_to_come(item) && Some(item.at) == next }
        })
        .collect()
}

/// Refused scopes, or scopes and certificates that end at one instant.
fn first_clause(first: &[Item], now: f64) -> Option<String> {
    let Item { harm, at, resumes_at, .. } = first.first()?;
    let at = (*at < UnixSeconds::MAX).then_some(*at);
    let ending = first.partition_point(|item| item.harm != Harm::Expires);
    let (scopes, certificates) = first.split_at(ending);
    let expire = |certificates: &[Item]| {
        let s = if certificates.len() == 1 { "s" } else { "" };
        format!("{} expire{s}", names(certificates, "certificates"))
    };
    let who = names(scopes, "scopes");
    // Several may end and begin at different times.
    let resumes_at = resumes_at.filter(|_| scopes.len() == 1).map(|at| format_date(at, now));
    let date = at.map(|at| format_date(at, now)).unwrap_or_default();
    if scopes.is_empty() {
        return Some(format!("{} {}", expire(certificates), relative(at, now)));
    }
    if *harm == Harm::Refused {
        let valid = match (resumes_at, at) {
            (Some(from), Some(_)) => {
                format!("has been valid since {date}; covered again from {from}")
            }
            (Some(from), None) => format!("is valid before {from}"),
            (None, Some(_)) if scopes.len() == 1 => format!("has been valid since {date}"),
            (None, _) => "is valid".into(),
        };
        return Some(format!("requests of {who} are refused: no active certificate {valid}"));
    }
    let is = if scopes.len() == 1 { "is" } else { "are" };
    let left = humanize(at? as f64 - now).replacen(' ', " more ", 1);
    let when = if certificates.is_empty() {
        String::new()
    } else {
        format!(", when {}", expire(certificates))
    };
    let again = resumes_at.map_or_else(String::new, |from| format!(", and again from {from}"));
    Some(format!("{who} {is} covered for only {left}, until {date}{when}{again}"))
}

/// One or two by name, otherwise how many.
fn names(items: &[Item], plural: &str) -> String {
    match items {
        [one] => one.subject.clone(),
        [one, other] => format!("{} and {}", one.subject, other.subject),
        many => format!("{} {plural}", many.len()),
    }
}

/// One harm: what it is if it is one, otherwise a count.
fn clause(alike: &[Item], more: &str, now: f64) -> String {
    let last = alike.iter().map(|item| item.at).max().unwrap_or(UnixSeconds::MAX);
    let (when, date) = (relative(Some(last), now), format_date(last, now));
    let together = alike.iter().all(|item| item.at == last);
    let soon =
        if together { when.clone() } else { format!("within {}", within(last as f64 - now)) };
    let (one, count) = (&alike[0].subject, format!("{}{more}", alike.len()));
    let (one, many) = match alike[0].harm {
        Harm::Expired => (
            format!("{one} is active but expired {when}"),
            format!("{count} certificates have expired"),
        ),
        Harm::Refused | Harm::Ends => {
            (format!("{one} is covered only until {date}"), format!("{count} scopes end {soon}"))
        }
        Harm::Expires => {
            (format!("{one} expires {when}"), format!("{count} certificates expire {soon}"))
        }
        Harm::Undated => (
            format!("{one} has been covered only by certificates without a known end since {date}"),
            format!("{count} scopes are covered only by certificates without a known end"),
        ),
        Harm::NotYetValid => (
            format!("{one} is active but not valid before {date}"),
            format!("{count} certificates are active but not yet valid"),
        ),
        Harm::Unknown => (
            format!("whether {one} enforces mutual TLS is not known"),
            format!("whether {count} scopes enforce mutual TLS is not known"),
        ),
        Harm::Unread => (
            format!("{one} has not been read yet"),
            format!("{count} projects have not been read yet"),
        ),
    };
    if alike.len() == 1 { one } else { many }
}

/// What covers the scopes, and what is due next.
fn healthy(
    scopes: &[ScopeRow<'_>],
    certificates: &[CertificateRow<'_>],
    is_complete: bool,
    now: f64,
) -> (Option<String>, Option<String>) {
    let covered = coverage(scopes, now);
    let active = certificates.iter().filter(|row| row.used.is_active());
    let ends = active.filter_map(|row| Some((row.used.certificate.expires_at?, title(row))));
    let Some(next) = ends.clone().map(|(end, _)| end).min() else { return (covered, None) };
    let expiring: Vec<_> = ends.filter(|(end, _)| *end == next).map(|(_, title)| title).collect();
    let when = match expiring.as_slice() {
        [one] => format!("when {one} expires"),
        many => format!("when {} certificates expire", many.len()),
    };
    let nothing = if is_complete { "Nothing" } else { "Nothing known" };
    if scopes.iter().filter_map(|row| row.coverage?.end()).min() == Some(next) {
        let covered = covered.map(|covered| format!("{covered}, {when}"));
        (covered, Some(format!("{nothing} is due before then.")))
    } else {
        let date = format_date(next, now);
        (covered, Some(format!("{nothing} is due until {date}, {when}.")))
    }
}

/// What covers the scopes of which none ends soon; none if that is not known of any.
fn coverage(scopes: &[ScopeRow<'_>], now: f64) -> Option<String> {
    let mut known: Vec<_> = scopes.iter().filter_map(|row| row.coverage).collect();
    known.retain(|coverage| *coverage != Coverage::Unknown);
    let is_partial = known.len() < scopes.len();
    let all = match known.as_slice() {
        [_] if !is_partial => "the organization",
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
        Coverage::Covered { until } => {
            format!("{all} is covered until {}", format_date(*until, now))
        }
        _ => format!("{all} is covered by certificates without a known end"),
    })
}

fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
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
