//! What to do first about a state, in a sentence.

use super::client_rows::ClientRow;
use super::client_sentences;
use super::deactivation::Safety;
use super::harms::Subject;
use super::links::{Link, Marked};
use super::rows::{CertificateRow, ScopeRow};
use super::text::format_date;
use crate::inventory::{Coverage, Severity, Snapshot, UnixSeconds, whole_second};
use crate::poll_state::{FailedList, FailureReason, ListName, PollState};

/// As many are said at once.
const MAX_STEPS: usize = 2;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NextStep {
    pub text: Marked,
    /// The section of the runbook that says more, if there is one. It has the name of the alert.
    pub runbook: Option<&'static str>,
    pub aim: Aim,
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// It keeps the first scope from stopping.
    FirstScope,
    /// It lets the exporter see everything.
    Poll,
    Other,
}

impl NextStep {
    /// Empty if nobody has to do anything. What the headline is about, `first`, comes first. Rows come sorted by what ends
    /// first; `is_end_told`: it has been said when the first of them does.
    pub(super) fn all(
        state: &PollState,
        first: Option<Subject>,
        is_end_told: bool,
        scopes: &[ScopeRow<'_>],
        certificates: &[CertificateRow<'_>],
        clients: &[ClientRow<'_>],
        now: f64,
    ) -> Vec<Self> {
        let api_time = state.earliest_time(now);
        let of_clients = |severity| client_sentences::next_step(clients, severity, api_time);
        let of_scopes = of_scopes(scopes, certificates, clients, is_end_told, api_time);
        // What a scope's step says of a certificate is enough, unless the headline is about another.
        let is_needed = of_scopes.is_empty() || first == Some(Subject::Certificates);
        let certificate = of_certificates(certificates, of_scopes.is_empty(), api_time);
        let certificate = certificate.filter(|_| is_needed).map(Self::new);
        let of_scopes = of_scopes.into_iter().map(|step| (Subject::Scopes, step));
        let client = of_clients(Severity::Critical).map(|step| (Subject::Clients, Self::new(step)));
        let certificate = certificate.map(|step| (Subject::Certificates, step));
        let mut steps: Vec<_> = of_scopes.chain(client).chain(certificate).collect();
        steps.sort_by_key(|(subject, _)| Some(*subject) != first);
        let mut steps: Vec<_> = steps.into_iter().map(|(_, step)| step).take(MAX_STEPS).collect();
        if steps.is_empty() && !state.is_failing() {
            steps.extend(of_clients(Severity::Warning).map(Self::new));
        }
        if steps.len() < MAX_STEPS && (steps.is_empty() || state.is_failing()) {
            let aim = if state.is_failing() { Aim::Poll } else { Aim::Other };
            let of_polls = of_polls(state, now).into_iter();
            steps.extend(of_polls.map(|(text, runbook)| Self { runbook, aim, ..Self::of(text) }));
        }
        steps
    }

    fn new((text, alert): Step) -> Self {
        Self { runbook: Some(alert), ..Self::of(text) }
    }

    fn of(text: String) -> Self {
        Self { text: Marked(text), runbook: None, aim: Aim::Other }
    }
}

/// What to do, with its names marked, and the alert that says the same.
type Step = (String, &'static str);

const CHECK_BY_HAND: &str =
    "check by hand, in OpenAI's console, the entries that could not be read";

/// About the first scope that needs it and, if its requests are refused already, about the first whose will be.
fn of_scopes(
    scopes: &[ScopeRow<'_>],
    certificates: &[CertificateRow<'_>],
    clients: &[ClientRow<'_>],
    is_end_told: bool,
    now: f64,
) -> Vec<NextStep> {
    let to_act_on = scopes.iter().filter(|row| row.severity >= Severity::Warning);
    let mut rows = to_act_on
        .filter_map(|row| Some((row, row.coverage.filter(|it| *it != Coverage::Unknown)?)));
    let first = rows.next();
    let is_refused = matches!(first, Some((_, Coverage::Refused { .. })));
    let is_covered = |coverage| matches!(coverage, Coverage::Covered { .. });
    let next = rows.find(|(_, coverage)| is_refused && is_covered(*coverage));
    let step = |(row, coverage)| {
        let step = of_scope(row, coverage, certificates, clients, is_end_told, now);
        let aim = if is_covered(coverage) { Aim::FirstScope } else { Aim::Other };
        NextStep { aim, ..NextStep::new(step) }
    };
    first.into_iter().chain(next).map(step).collect()
}

fn of_scope(
    row: &ScopeRow<'_>,
    coverage: Coverage,
    certificates: &[CertificateRow<'_>],
    clients: &[ClientRow<'_>],
    is_end_told: bool,
    now: f64,
) -> Step {
    if coverage == Coverage::InDoubt {
        return (CHECK_BY_HAND.into(), "OpenAICertExporterMalformed");
    }
    let place = row.in_words();
    if coverage == (Coverage::Undated { since: None }) {
        let text = format!(
            "look in OpenAI's console when the certificates active at {place} expire, since the API does not say"
        );
        return (text, "OpenAIMTLSExpiryUnknown");
    }
    let second = whole_second(now);
    let end = coverage.end().filter(|_| matches!(coverage, Coverage::Covered { .. }));
    let from = end.unwrap_or(second);
    let before = end.filter(|_| !is_end_told);
    let before =
        before.map_or_else(String::new, |end| format!(" before {}", format_date(end, now)));
    let text = match (uploaded(certificates, row, from), row.last_to_end()) {
        (Some(link), _) => {
            let is_waited_for = clients.iter().any(|it| it.waits_for(&link, row.project));
            let when = if is_waited_for { " now" } else { &*before };
            format!("activate {} (already uploaded) at {place}{when}", link.mark())
        }
        (None, Some(last)) => {
            format!("upload a successor of {} and activate it at {place}{before}", last.mark())
        }
        (None, None) => format!("upload a new certificate and activate it at {place}{before}"),
    };
    match coverage {
        Coverage::Refused { .. } => (text, "OpenAIMTLSNotCovered"),
        _ => (text, "OpenAIMTLSRunwayShort"),
    }
}

/// The certificate of the scope's authority that is not in effect there, is valid at `instant` and ends last: one of another
/// authority lets none of its clients in. One without a known end prolongs no runway.
fn uploaded(
    certificates: &[CertificateRow<'_>],
    scope: &ScopeRow<'_>,
    instant: UnixSeconds,
) -> Option<Link> {
    let is_valid = |row: &&CertificateRow<'_>| {
        let (begin, end) = row.spans[0];
        begin <= instant && instant < end && end < UnixSeconds::MAX
    };
    let others = certificates.iter().filter(|row| !scope.has_in_effect(row) && !row.is_unusable);
    let usable = others.filter(is_valid);
    let usable = usable.filter(|row| scope.is_continued_by(&row.used.certificate));
    usable.max_by_key(|row| row.spans[0].1).map(CertificateRow::link)
}

/// About a certificate; one that has expired only if nothing ends soon for any scope, since that may rest on it.
fn of_certificates(
    certificates: &[CertificateRow<'_>],
    are_scopes_covered: bool,
    now: f64,
) -> Option<Step> {
    let active = certificates.iter().filter(|row| row.used.is_active());
    let is_safe = |row: &&CertificateRow<'_>| {
        row.deactivation.as_ref().is_some_and(|it| it.safety == Safety::Safe)
    };
    let concerned = active.filter(|row| row.severity >= Severity::Warning);
    let concerned = concerned.filter(|row| !row.used.is_never_valid() || is_safe(row));
    // What has expired does no further harm.
    let row = concerned.min_by_key(|row| row.used.has_expired(now))?;
    if row.used.has_expired(now) && !(are_scopes_covered && is_safe(&row)) {
        return None;
    }
    let (name, certificate) = (row.link().mark(), &row.used.certificate);
    if row.used.is_never_valid() {
        let text = format!("deactivate {name}, which is never valid");
        return Some((text, "OpenAICertificateNotYetValid"));
    }
    if row.used.is_not_yet_valid(now) {
        let begin = format_date(certificate.valid_at?, now);
        let text = format!("keep another certificate active until {name} begins on {begin}");
        return Some((text, "OpenAICertificateNotYetValid"));
    }
    let date = format_date(certificate.expires_at?, now);
    let text = match row.successor_link() {
        _ if row.used.has_expired(now) => {
            format!("deactivate {name}: it has expired, and nothing depends on it")
        }
        Some(successor) => {
            let to = successor.mark();
            format!("move the clients of {name} to {to} before {date}, then deactivate {name}")
        }
        None => {
            let place = row.places_in_words();
            format!("upload a successor of {name} and activate it at {place} before {date}")
        }
    };
    Some((text, "OpenAICertificateExpiry"))
}

/// About what keeps the exporter from seeing everything.
fn of_polls(state: &PollState, now: f64) -> Option<(String, Option<&'static str>)> {
    const POLL_FAILING: Option<&str> = Some("OpenAICertExporterPollFailing");
    let snapshot = state.snapshot.as_deref();
    let inventory = snapshot.map(|Snapshot { inventory, .. }| inventory);
    if let Some(failed) = state.failed().first() {
        return Some((of_failure(failed).into(), POLL_FAILING));
    }
    let (text, runbook) = if state.is_stale(now) {
        ("look into the exporter's log: no poll ends", POLL_FAILING)
    } else if state.clock_error().is_some() {
        ("correct the clock of this machine", None)
    } else if inventory.is_some_and(|inventory| inventory.selects_no_project()) {
        ("correct poll.project_include or poll.project_exclude", None)
    } else if state.projects && snapshot.is_some_and(Snapshot::lists_no_project) {
        (
            "check that the admin key may list the organization's projects, or unset poll.projects",
            None,
        )
    } else if inventory.is_some_and(|inventory| inventory.malformed().count() > 0) {
        (CHECK_BY_HAND, Some("OpenAICertExporterMalformed"))
    } else {
        return None;
    };
    Some((text.into(), runbook))
}

fn of_failure(FailedList { list, reason, .. }: &FailedList) -> &'static str {
    match reason {
        FailureReason::Unauthorized => "replace the admin key (api.admin_key_file)",
        FailureReason::Credentials => {
            "put the admin key into the file that api.admin_key_file names"
        }
        FailureReason::Forbidden if *list == ListName::Projects => {
            "check that the admin key may list the organization's projects, and that no proxy or firewall answers \
             in the API's place"
        }
        FailureReason::Forbidden => {
            "check that the admin key has the permission api.mtls.read, and that no proxy or firewall answers in \
             the API's place"
        }
        FailureReason::MtlsRequired => "check api.client_cert_file and api.client_key_file",
        FailureReason::Timeout => "check the connection to the API: DNS, proxy, firewall",
        FailureReason::Network => {
            "check the connection to the API: DNS, proxy, firewall, and TLS (api.ca_file, api.client_cert_file)"
        }
        FailureReason::RateLimited => {
            "wait; if it lasts, find out what else uses this key, or raise poll.interval"
        }
        FailureReason::Server => "wait; if it lasts, check OpenAI's status page and your proxy",
        FailureReason::Client | FailureReason::Decode | FailureReason::Pagination => {
            "check api.base_url, and any proxy between here and the API"
        }
        FailureReason::Projects => {
            "look the project up in OpenAI's console; if it was deleted, wait"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fixture::{DAY, NOW, certificate, group, lists, snapshot};
    use crate::inventory::{Certificate, Inventory, Thresholds};
    use crate::poll_state::{PollResult, PollTiming};
    use crate::presentation::Summary;

    fn state(read: Option<&[Vec<Certificate>]>, failed: &[FailureReason]) -> PollState {
        let (interval, timeout) = (Duration::from_secs(300), Duration::from_secs(240));
        let mut state = PollState::new(Instant::now(), PollTiming { interval, timeout });
        let failed = failed.iter().map(|reason| FailedList {
            list: ListName::Organization,
            reason: *reason,
            status: None,
            request_id: None,
            message: "".into(),
        });
        let failed = failed.collect();
        let result = PollResult { ended_at: NOW as f64, duration: Duration::ZERO, failed };
        state.record(read.map(snapshot), result);
        state.projects = !state.snapshot.as_deref().is_some_and(Snapshot::lists_no_project);
        state
    }

    #[test]
    fn each_state_says_what_to_do_first() {
        let ending = |id: &str, days: i64| certificate(id).valid(-300..days);
        let named = |id: &str, name: &str, span| certificate(id).named(name).valid(span);
        let covered = || ending("far", 300);
        let undated = || certificate("undated").dated(Some(NOW - DAY), None);
        let scopes = |organization: Vec<Certificate>| vec![organization];
        for (read, text, runbook) in [
            (scopes(vec![]), None, None),
            (scopes(vec![covered()]), None, None),
            // A scope comes before any certificate.
            (
                scopes(vec![ending("a", -1)]),
                Some("upload a successor of a and activate it at the organization"),
                Some("OpenAIMTLSNotCovered"),
            ),
            (
                scopes(vec![certificate("a").dated(Some(NOW), Some(NOW - DAY))]),
                Some("upload a new certificate and activate it at the organization"),
                Some("OpenAIMTLSNotCovered"),
            ),
            (
                scopes(vec![
                    ending("a", -1).named("edge-1"),
                    certificate("z").named("edge-z").inactive(),
                    ending("b", 90).named("edge-2").inactive(),
                    ending("c", 80).named("edge-3").inactive(),
                    // Of another authority, which lets none of these clients in.
                    ending("d", 900).named("other-1").inactive(),
                ]),
                Some("activate edge-2 (already uploaded) at the organization"),
                Some("OpenAIMTLSNotCovered"),
            ),
            (
                scopes(vec![ending("a", 8), ending("b", 7).inactive()]),
                Some(
                    "upload a successor of a and activate it at the organization before 23 January 2027",
                ),
                Some("OpenAIMTLSRunwayShort"),
            ),
            (
                vec![vec![], vec![ending("a", 8)], vec![covered()]],
                Some(
                    "upload a successor of a and activate it at project proj_0 before 23 January 2027",
                ),
                Some("OpenAIMTLSRunwayShort"),
            ),
            (
                scopes(vec![undated()]),
                Some(
                    "look in OpenAI's console when the certificates active at the organization expire, since the API does not say",
                ),
                Some("OpenAIMTLSExpiryUnknown"),
            ),
            // What expires comes before what has expired.
            (
                scopes(vec![covered(), ending("a", -1)]),
                Some("deactivate a: it has expired, and nothing depends on it"),
                Some("OpenAICertificateExpiry"),
            ),
            (
                scopes(vec![covered(), ending("a", -1), ending("b", 8)]),
                Some(
                    "upload a successor of b and activate it at the organization before 23 January 2027",
                ),
                Some("OpenAICertificateExpiry"),
            ),
            (
                scopes(vec![named("a", "edge-2026", -300..8), named("b", "edge-2027", -3..300)]),
                Some(
                    "move the clients of edge-2026 to edge-2027 before 23 January 2027, then deactivate edge-2026",
                ),
                Some("OpenAICertificateExpiry"),
            ),
            (
                scopes(vec![covered(), certificate("a").valid(3..300)]),
                Some("keep another certificate active until a begins on 18 January, 08:00 UTC"),
                Some("OpenAICertificateNotYetValid"),
            ),
            (
                scopes(vec![
                    undated(),
                    certificate("a").dated(Some(NOW + 3 * DAY), Some(NOW + DAY)),
                ]),
                Some("deactivate a, which is never valid"),
                Some("OpenAICertificateNotYetValid"),
            ),
        ] {
            let state = state(Some(&read), &[]);
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            let next = summary.next_steps.first();
            assert_eq!(
                next.map(|next| next.text.to_string()).as_deref(),
                text,
                "{}",
                summary.headline
            );
            assert_eq!(next.and_then(|next| next.runbook), runbook);
        }
    }

    #[test]
    fn nothing_is_advised_that_rests_on_an_entry_that_cannot_be_read() {
        let mut lists = lists(&[vec![certificate("a").valid(-300..-1)]]);
        Arc::make_mut(&mut lists.organization).hidden = 1;
        let read = Snapshot {
            inventory: Inventory::new_or_unchanged(None, lists, &group("^$")),
            ..Snapshot::clone(&snapshot(&[vec![]]))
        };
        let mut state = state(None, &[]);
        state.snapshot = Some(Arc::new(read));
        let next = Summary::new(&state, NOW as f64, Thresholds::default()).next_steps.remove(0);
        assert_eq!(
            (&*next.text.to_string(), next.runbook),
            (CHECK_BY_HAND, Some("OpenAICertExporterMalformed"))
        );
    }

    #[test]
    fn what_ends_soon_comes_before_a_failed_poll() {
        let first = |state: &PollState| {
            let summary = Summary::new(state, NOW as f64, Thresholds::default());
            summary.next_steps.into_iter().next().map(|next| next.text.to_string())
        };
        let failed = [FailureReason::Unauthorized];
        let replace = Some("replace the admin key (api.admin_key_file)");
        assert_eq!(first(&state(None, &failed)).as_deref(), replace);
        let far = [vec![certificate("far").valid(-300..300)]];
        assert_eq!(first(&state(Some(&far), &failed)).as_deref(), replace);
        let near = [vec![certificate("near").valid(-300..3)]];
        assert!(first(&state(Some(&near), &failed)).unwrap().starts_with("upload"));
        let state_of_both = state(Some(&near), &failed);
        let summary = Summary::new(&state_of_both, NOW as f64, Thresholds::default());
        let then = summary.next_steps.into_iter().nth(1).map(|next| next.text.to_string());
        assert_eq!(then.as_deref(), replace);
        let mut wrong = state(Some(&far), &[]);
        wrong.clock_offset = Some(-(DAY as f64));
        assert_eq!(first(&wrong).as_deref(), Some("correct the clock of this machine"));
    }
}
