//! What a state and its rows say, in sentences.

use std::cmp::Reverse;

use super::first_to_stop::FirstToStop;
use super::harms::{Clause, Harm, Subject, Urgency, certificate_item, clauses, scope_item, title};
use super::links::{Marked, capitalize};
use super::rows::{CertificateRow, ScopeRow};
use super::text::format_date;
use crate::inventory::{Coverage, Severity, Thresholds};

/// A sentence about one kind of thing, as bad as the worst of what it says.
#[derive(Debug)]
pub(crate) struct Finding {
    pub severity: Severity,
    pub text: Marked,
}

/// The state in sentences.
pub(super) struct Sentences {
    /// What matters most or, if nobody has to act, what covers the scopes.
    pub headline: Marked,
    /// What the headline is about, if somebody has to act.
    pub subject: Option<Subject>,
    /// None if the headline says it.
    pub first_to_stop: Option<FirstToStop>,
    /// What else somebody has to act on. What is worst comes first.
    pub findings: Vec<Finding>,
    /// What is well.
    pub detail: Vec<Marked>,
    /// What is due next.
    pub due: Option<Marked>,
}

/// Rows come sorted by what ends first; `clients` are clauses about clients, `gaps` about what no row shows.
/// `hides_projects`: there may be projects without a row.
pub(super) fn sentences(
    scopes: &[ScopeRow<'_>],
    certificates: &[CertificateRow<'_>],
    clients: Vec<Clause>,
    gaps: Vec<String>,
    hides_projects: bool,
    now: f64,
    thresholds: Thresholds,
) -> Sentences {
    let of_scopes: Vec<_> = scopes.iter().filter_map(scope_item).collect();
    let of_certificates =
        certificates.iter().filter_map(|row| certificate_item(row, now, thresholds));
    let of_certificates: Vec<_> = of_certificates.collect();
    let names_coverage = of_scopes.iter().any(|item| item.harm.is_of_coverage());
    let mut items = of_scopes.iter().chain(&of_certificates);
    let is_any_dated = items.any(|item| item.harm < Harm::InDoubt) || !clients.is_empty();
    let mut clauses = clauses(of_scopes, of_certificates, clients, now);
    clauses.extend(gaps.into_iter().map(Clause::gap));
    let is_known = |row: &ScopeRow<'_>| row.coverage.is_some_and(Coverage::is_known);
    let is_partial = hides_projects || !scopes.iter().all(is_known);
    // What covers the organization covers every project, also one that is not seen.
    let is_covered = |row: &ScopeRow<'_>| matches!(row.coverage, Some(Coverage::Covered { .. }));
    let covers_all = scopes.iter().any(|row| !row.is_project() && is_covered(row));
    let is_first_known = !is_partial && !scopes.iter().any(|row| row.may_last);
    let first_to_stop = FirstToStop::new(scopes, certificates, is_first_known, now);
    // Otherwise what is said of everything says it.
    let mut first_to_stop = first_to_stop.filter(|it| !it.is_all || names_coverage);
    let covered = coverage(scopes, is_partial && !covers_all, now);
    let (covered, due) = healthy(scopes, certificates, covered, clauses.is_empty(), now);
    let covered = covered.filter(|_| !names_coverage).map(|text| sentence(&[Clause::gap(text)]));
    let due = due.filter(|_| !is_any_dated).map(Marked);
    let rank = |clause: &Clause| (Reverse(clause.severity), clause.urgency);
    let Some(first) = (0..clauses.len()).min_by_key(|position| rank(&clauses[*position])) else {
        let headline = covered.unwrap_or_else(|| Marked(String::new()));
        let first_to_stop = first_to_stop.map(FirstToStop::without_date);
        let (findings, detail) = (Vec::new(), Vec::new());
        return Sentences { headline, subject: None, first_to_stop, findings, detail, due };
    };
    let mut first = clauses.remove(first);
    first_to_stop.take_if(|_| first.tells_who_stops());
    if let Some(FirstToStop { until, .. }) = first_to_stop {
        let says_more = |it: &Clause| it.urgency != Urgency::At(until) || it.last != until;
        clauses.retain(|it| !it.tells_who_stops() || says_more(it));
    }
    let [covered, due] = [covered, due].map(|text| text.filter(|_| first_to_stop.is_none()));
    let detail = covered.into_iter().collect();
    let by_subject = clauses.chunk_by(|a, b| a.subject == b.subject);
    let mut findings: Vec<_> = by_subject
        .map(|alike| {
            let severity =
                alike.iter().map(|clause| clause.severity).max().unwrap_or(Severity::Off);
            Finding { severity, text: sentence(alike) }
        })
        .collect();
    findings.sort_by_key(|finding| Reverse(finding.severity));
    if first_to_stop.is_some() && covers_all && is_harmless(&first, scopes) {
        first.text.push_str("; no scope stops then");
    }
    let subject = Some(first.subject);
    let headline = sentence(&[first]);
    Sentences { headline, subject, first_to_stop, findings, detail, due }
}

/// Whether it is about certificates that expire before the coverage of any scope ends.
fn is_harmless(clause: &Clause, scopes: &[ScopeRow<'_>]) -> bool {
    let Urgency::At(at) = clause.urgency else { return false };
    let mut known = scopes.iter().filter_map(|row| row.coverage);
    clause.subject == Subject::Certificates
        && known.all(|coverage| match coverage {
            Coverage::Covered { until } => until > at,
            coverage => coverage == Coverage::NotEnforced,
        })
}

fn sentence(clauses: &[Clause]) -> Marked {
    let texts: Vec<_> = clauses.iter().map(|clause| &*clause.text).collect();
    let mut sentence = texts.join("; ") + ".";
    if clauses.first().is_some_and(|first| !first.begins_with_name) {
        capitalize(&mut sentence);
    }
    Marked(sentence)
}

/// Before the first snapshot.
pub(super) fn nothing_known(is_failing: bool) -> Sentences {
    let waiting = "Until a poll has read the whole list of certificates, their state is unknown.";
    let (headline, detail) = if is_failing {
        ("Nothing is known: the list of certificates has not been read.", None)
    } else {
        ("Waiting for the first poll to end.", Some(waiting))
    };
    let marked = |text: &str| Marked(text.into());
    let detail = detail.map(marked).into_iter().collect();
    let (headline, findings) = (marked(headline), Vec::new());
    Sentences { headline, subject: None, first_to_stop: None, findings, detail, due: None }
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
    let (when, first) = match expiring.as_slice() {
        [(_, one)] => (
            format!("when {} expires", title(one)),
            format!("certificate to expire is {}", title(one)),
        ),
        many => (
            format!("when {} certificates expire", many.len()),
            format!("{} certificates expire together", many.len()),
        ),
    };
    match (scopes.iter().filter_map(|row| row.coverage?.end()).min(), next) {
        (Some(until), Some(next)) if until == next => (
            covered.map(|covered| format!("{covered}, {when}")),
            Some(format!("{nothing} is due before then.")),
        ),
        (until, Some(next)) if until.is_none_or(|until| next < until) => {
            let date = format_date(next, now);
            (covered, Some(format!("The first {first}, on {date}.")))
        }
        // A project's list may have other dates than the organization's.
        (until, _) => (covered, until.map(|_| format!("{nothing} is due before then."))),
    }
}

/// What covers the scopes of which none ends soon; none if that is not known of any. `is_partial`: there are others.
fn coverage(scopes: &[ScopeRow<'_>], is_partial: bool, now: f64) -> Option<String> {
    let mut known: Vec<_> = scopes.iter().filter_map(|row| row.coverage).collect();
    known.retain(|coverage| coverage.is_known());
    let all = match known.as_slice() {
        [_] if scopes.len() == 1 => "the organization",
        _ if !known.contains(&Coverage::NotEnforced) => {
            if is_partial {
                "everything that is known"
            } else {
                "everything"
            }
        }
        _ if is_partial => "wherever mutual TLS is known to be enforced, everything",
        _ => "wherever mutual TLS is enforced, everything",
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
        // Somebody has to act on any other, and it is said with that.
        _ => return None,
    })
}
