//! What a state and its rows say, in sentences.

use super::rows::{CertificateRow, ScopeRow};
use super::sanitize::sanitize;
use super::text::{format_date, humanize};
use crate::inventory::{Coverage, Severity, Thresholds};
use crate::poll_state::{FailedList, ListName, PollState};

/// Of the lists that could not be read, as many are named.
const NAMED_FAILURES: usize = 3;

/// The state in a sentence, and what else matters, a sentence each. Rows come sorted by what ends first.
pub(super) fn sentences(
    scopes: &[ScopeRow<'_>],
    certificates: &[CertificateRow<'_>],
    malformed: u64,
    is_failing: bool,
    now: f64,
    thresholds: Thresholds,
) -> (String, Vec<String>) {
    let current: Vec<_> = certificates.iter().filter(|row| row.used.is_current()).collect();
    let (expired, other): (Vec<_>, Vec<_>) =
        current.iter().copied().partition(|row| row.used.has_expired(now));
    let of_scopes =
        scopes.iter().filter(|row| row.coverage.is_some()).map(|row| row.severity).max();
    let mut headline = coverage(scopes, is_failing, now);
    let mut detail = Vec::new();
    if scopes.is_empty() && !is_failing {
        detail.push(
            "Until a poll has read the whole list of certificates, nothing can be said of them."
                .into(),
        );
    }
    if current.iter().map(|row| row.severity).max() > of_scopes {
        headline.push_str(", but ");
        headline.push_str(&certificate_problem(&expired, &other, now, thresholds));
    } else if !expired.is_empty() {
        detail.push(match expired.as_slice() {
            [one] => format!("Active, but expired {}: {}.", one.relative_end, title(one)),
            many => format!("{} active certificates have expired.", many.len()),
        });
    }
    if let Some((next, end)) =
        other.first().and_then(|next| Some((next, next.used.certificate.expires_at?)))
    {
        detail.push(format!(
            "Next to expire: {}, {}, on {}.",
            title(next),
            next.relative_end,
            format_date(end, now)
        ));
    }
    detail.extend(match malformed {
        0 => None,
        1 => Some("1 list entry could not be read and is watched by nobody.".into()),
        many => Some(format!("{many} list entries could not be read and are watched by nobody.")),
    });
    (capitalized(&headline) + ".", detail)
}

fn title<'a>(row: &'a CertificateRow<'_>) -> &'a str {
    row.name.as_deref().unwrap_or(&row.id)
}

/// What covers the scopes, in a sentence without its full stop.
fn coverage(scopes: &[ScopeRow<'_>], is_failing: bool, now: f64) -> String {
    let read = || scopes.iter().filter_map(|row| Some((row, row.coverage?)));
    let Some((first, coverage)) = read().next() else {
        // Before the first snapshot.
        let (failing, waiting) =
            ("nothing is known: no poll has succeeded yet", "waiting for the first poll to end");
        return if is_failing { failing.into() } else { waiting.into() };
    };
    let is_refused = |coverage| matches!(coverage, Coverage::Refused { .. });
    let shares_fate =
        |other: Coverage| other == coverage || is_refused(other) && is_refused(coverage);
    let concerned: Vec<_> =
        read().filter(|(_, other)| shares_fate(*other)).map(|(row, _)| row).collect();
    let (subjects, is) = (subjects(&concerned), if concerned.len() == 1 { "is" } else { "are" });
    // Nothing is said of projects that were not read.
    let is_unread = scopes.iter().any(|row| row.coverage.is_none());
    let all = if scopes.len() == 1 {
        "the organization"
    } else if is_unread {
        "wherever mutual TLS is known to be enforced, everything"
    } else if read().any(|(_, coverage)| coverage == Coverage::NotEnforced) {
        "wherever mutual TLS is enforced, everything"
    } else {
        "everything"
    };
    match coverage {
        Coverage::NotEnforced if scopes.len() == 1 => {
            "mutual TLS is not enforced at the organization: no certificate is active there".into()
        }
        Coverage::NotEnforced if is_unread => {
            "mutual TLS is not known to be enforced anywhere".into()
        }
        Coverage::NotEnforced => "mutual TLS is not enforced: no certificate is active".into(),
        Coverage::Refused { since } => {
            // The others may have ended at other times.
            let since = since.filter(|_| concerned.len() == 1);
            let since = since
                .map_or_else(String::new, |since| format!(" since {}", format_date(since, now)));
            format!("requests of {subjects} are refused: no active certificate is valid{since}")
        }
        Coverage::Undated { since: None } => {
            format!("{all} is covered, by certificates without a known end")
        }
        Coverage::Undated { since: Some(since) } => {
            let since = format_date(since, now);
            format!(
                "{subjects} {is} covered only by certificates without a known end since {since}"
            )
        }
        Coverage::Covered { until } if first.severity == Severity::Ok => {
            format!("{all} is covered until {}", format_date(until, now))
        }
        Coverage::Covered { until } => {
            let (left, until) = (humanize(until as f64 - now), format_date(until, now));
            format!("{subjects} {is} covered for {left} only, until {until}")
        }
    }
}

fn subjects(scopes: &[&ScopeRow<'_>]) -> String {
    let projects: Vec<_> = scopes
        .iter()
        .filter_map(|row| Some(row.name.as_ref().unwrap_or(row.id.as_ref()?)))
        .collect();
    let named = match projects.as_slice() {
        [] => return "the organization".into(),
        [project] => format!("project {project}"),
        many => format!("{} projects", many.len()),
    };
    if projects.len() < scopes.len() { format!("the organization and {named}") } else { named }
}

/// What makes certificates worse than the scopes in which they are active.
fn certificate_problem(
    expired: &[&CertificateRow<'_>],
    other: &[&CertificateRow<'_>],
    now: f64,
    thresholds: Thresholds,
) -> String {
    let is_soon = |end| thresholds.judge(end, now) > Severity::Ok;
    let soon: Vec<_> =
        other.iter().filter(|row| row.used.certificate.expires_at.is_some_and(is_soon)).collect();
    let not_yet: Vec<_> = other.iter().filter(|row| row.used.is_not_yet_valid(now)).collect();
    match (expired, soon.as_slice(), not_yet.as_slice()) {
        ([one], ..) => format!("{} is active and expired {}", title(one), one.relative_end),
        ([_, ..], ..) => format!("{} active certificates have expired", expired.len()),
        ([], [one], _) => format!("{} expires {}", title(one), one.relative_end),
        ([], [first, rest @ ..], _) => {
            let (count, within) = (rest.len(), humanize(thresholds.warning));
            format!(
                "{} expires {}, and {count} more within {within}",
                title(first),
                first.relative_end
            )
        }
        ([], [], [one]) => format!("{} is active and not yet valid", title(one)),
        ([], [], many) => format!("{} active certificates are not yet valid", many.len()),
    }
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
