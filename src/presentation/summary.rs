use serde::Serialize;

use super::rows::{CertificateRow, ScopeRow};
use super::sentences::{caveats, sentences};
use crate::inventory::{Severity, Thresholds};
use crate::poll_state::{ListName, PollState};

/// The verdict, in the words of monitoring plugins and in the order of their exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Status {
    Ok,
    Warning,
    Critical,
    /// A list has never been read, and what was read is not critical.
    Unknown,
}

/// What a state comes to at a moment: the only place that judges it and puts it into words.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub status: Status,
    pub color: Severity,
    /// The status for people, in a few words.
    pub badge: String,
    /// The state in a sentence.
    pub headline: String,
    /// What else matters, a sentence each.
    pub detail: Vec<String>,
    /// Why what is shown may not be the present state, a sentence each.
    pub caveats: Vec<String>,
    /// Active certificates first, then by end, the earliest first.
    pub certificates: Vec<CertificateRow<'a>>,
    /// What ends first comes first. Empty before the first snapshot.
    pub scopes: Vec<ScopeRow<'a>>,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(state: &'a PollState, now: f64, thresholds: Thresholds) -> Self {
        let is_failing = state.is_failing();
        let (mut scopes, mut certificates, mut malformed) = (Vec::new(), Vec::new(), 0);
        if let Some(snapshot) = &state.snapshot {
            scopes = ScopeRow::all(state, snapshot, now, thresholds);
            certificates = CertificateRow::all(&snapshot.inventory, now, thresholds);
            malformed = snapshot.inventory.malformed().count();
        }
        let current =
            certificates.iter().filter(|row| row.used.is_current()).map(|row| row.severity);
        let of_malformed = if malformed > 0 { Severity::Warning } else { Severity::Off };
        let worst =
            scopes.iter().map(|row| row.severity).chain(current).fold(of_malformed, Severity::max);
        let no_project_is_known = scopes.len() == 1
            && state.failed().iter().any(|failed| failed.list == ListName::Projects);
        let is_unread = no_project_is_known || scopes.iter().any(|row| row.coverage.is_none());
        let doubt = match (state.is_stale(now), is_failing) {
            (true, _) => ", and what is shown is stale",
            (false, true) => ", and the last poll failed",
            (false, false) => "",
        };
        let (status, color, badge) = match worst {
            _ if scopes.is_empty() => {
                let color = if is_failing { Severity::Critical } else { Severity::Off };
                (Status::Unknown, color, "Nothing known yet".into())
            }
            Severity::Critical => (Status::Critical, worst, format!("Act now{doubt}")),
            _ if is_unread => {
                (Status::Unknown, Severity::Warning, "Not everything was read".into())
            }
            Severity::Warning => (Status::Warning, worst, format!("Act in time{doubt}")),
            // What was well once is not known to be well now.
            _ if !doubt.is_empty() => {
                (Status::Warning, Severity::Warning, "All was well when last seen".into())
            }
            Severity::Ok => (Status::Ok, worst, "All well".into()),
            Severity::Off => (Status::Ok, worst, "Not enforced".into()),
        };
        let (headline, detail) =
            sentences(&scopes, &certificates, malformed, is_failing, now, thresholds);
        Self {
            status,
            color,
            badge,
            headline,
            detail,
            caveats: caveats(state, now),
            certificates,
            scopes,
        }
    }

    /// How many certificates are active anywhere.
    pub(crate) fn active(&self) -> usize {
        self.certificates.iter().filter(|row| row.used.is_active()).count()
    }

    /// All of it in one line. What decides the status comes first.
    pub(crate) fn message(&self) -> String {
        let mut parts = [std::slice::from_ref(&self.headline), &self.detail, &self.caveats];
        if self.status == Status::Unknown {
            parts.rotate_right(1);
        }
        parts.concat().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fixture::{DAY, NOW, certificate, group, lists, snapshot};
    use crate::inventory::{Certificate, Inventory, Listing, Malformed, Snapshot};
    use crate::poll_state::{FailedList, FailureReason, PollResult, PollTiming};

    fn state(snapshot: Option<Arc<Snapshot>>, failed: Vec<FailedList>) -> PollState {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let mut state = PollState::new(Instant::now(), timing);
        state.record(
            snapshot,
            PollResult { ended_at: NOW as f64, duration: Duration::ZERO, failed },
        );
        state
    }

    fn failed(list: ListName, request_id: Option<&str>) -> FailedList {
        let (reason, message) = (FailureReason::Server, "answered 503".into());
        FailedList {
            list,
            reason,
            status: Some(503),
            request_id: request_id.map(Into::into),
            message,
        }
    }

    fn ending(id: &str, days: i64) -> Certificate {
        certificate(id).dated(None, Some(NOW + days * DAY))
    }

    /// What is said of lists that have just been read.
    fn said(read: &[Vec<Certificate>]) -> (Status, String) {
        let state = state(Some(snapshot(read)), vec![]);
        let summary = Summary::new(&state, NOW as f64, Thresholds::default());
        (summary.status, summary.message())
    }

    #[test]
    fn the_state_is_said_in_a_sentence() {
        use Status::{Critical, Ok, Warning};
        let future = certificate("a").valid(1..90);
        let edge = |id: &str, year: &str, days: i64| Certificate {
            valid_at: Some(NOW + (days - 365) * DAY),
            ..ending(id, days).named(&format!("edge-{year}"))
        };
        for (read, status, sentence) in [
            (
                vec![vec![]],
                Ok,
                "Mutual TLS is not enforced at the organization: no certificate is active there.",
            ),
            (vec![vec![], vec![]], Ok, "Mutual TLS is not enforced: no certificate is active."),
            (
                vec![vec![ending("a", 90)]],
                Ok,
                "The organization is covered until 15 April 2027. Next to expire: a, in 90 days, on 15 April 2027.",
            ),
            (
                vec![vec![ending("a", 90)], vec![]],
                Ok,
                "Everything is covered until 15 April 2027. Next to expire: a, in 90 days, on 15 April 2027.",
            ),
            (
                vec![vec![ending("a", 3).inactive()], vec![ending("b", 90)]],
                Ok,
                "Wherever mutual TLS is enforced, everything is covered until 15 April 2027. Next to expire: b, in 90 days, on 15 April 2027.",
            ),
            (
                vec![vec![ending("a", 20)]],
                Warning,
                "The organization is covered for 20 days only, until 4 February 2027. Next to expire: a, in 20 days, on 4 February 2027.",
            ),
            (
                vec![vec![ending("a", 90), ending("b", 6)]],
                Critical,
                "The organization is covered until 15 April 2027, but b expires in 6 days. Next to expire: b, in 6 days, on 21 January 2027, 08:00 UTC.",
            ),
            (
                vec![vec![ending("a", 90), ending("b", 8), ending("c", 9), ending("d", 29)]],
                Warning,
                "The organization is covered until 15 April 2027, but b expires in 8 days, and 2 more within 30 days. Next to expire: b, in 8 days, on 23 January 2027.",
            ),
            (
                vec![vec![ending("a", 90), ending("b", -2)]],
                Critical,
                "The organization is covered until 15 April 2027, but b is active and expired 2 days ago. Next to expire: a, in 90 days, on 15 April 2027.",
            ),
            (
                vec![vec![ending("a", -2)]],
                Critical,
                "Requests of the organization are refused: no active certificate is valid since 13 January 2027, 08:00 UTC. Active, but expired 2 days ago: a.",
            ),
            (
                vec![vec![], vec![ending("a", -2)], vec![ending("b", -4)]],
                Critical,
                "Requests of 2 projects are refused: no active certificate is valid. 2 active certificates have expired.",
            ),
            (
                vec![vec![ending("a", 5)], vec![], vec![ending("b", 90)]],
                Critical,
                "The organization and project proj_0 are covered for 5 days only, until 20 January 2027, 08:00 UTC. Next to expire: a, in 5 days, on 20 January 2027, 08:00 UTC.",
            ),
            (
                vec![vec![certificate("a")]],
                Ok,
                "The organization is covered, by certificates without a known end.",
            ),
            (
                vec![vec![certificate("a"), ending("b", -10)]],
                Critical,
                "The organization is covered only by certificates without a known end since 5 January 2027. Active, but expired 10 days ago: b.",
            ),
            (
                vec![vec![future, ending("b", 80)]],
                Warning,
                "The organization is covered until 15 April 2027, but a is active and not yet valid. Next to expire: b, in 80 days, on 5 April 2027.",
            ),
            (
                vec![vec![edge("a", "2026", 3), edge("b", "2027", 300)]],
                Ok,
                "The organization is covered until 11 November 2027. Next to expire: edge-2027, in 300 days, on 11 November 2027.",
            ),
        ] {
            assert_eq!(said(&read), (status, sentence.into()));
        }
    }

    #[test]
    fn entries_that_cannot_be_read_are_a_warning() {
        let of = |certificates: Vec<Certificate>, count: usize| {
            let mut malformed = Malformed::default();
            (0..count).for_each(|_| malformed.add("id"));
            let mut lists = lists(&[vec![]]);
            lists.organization = Arc::new(Listing::new(certificates, malformed));
            let inventory = Inventory::new_or_unchanged(None, lists, &group("^$"));
            let snapshot =
                Snapshot { inventory, organization_read_at: NOW as f64, projects_read_at: vec![] };
            let state = state(Some(Arc::new(snapshot)), vec![]);
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            (summary.status, summary.detail.last().cloned().unwrap_or_default())
        };
        assert_eq!(of(vec![], 0), (Status::Ok, String::new()));
        let one = "1 list entry could not be read and is watched by nobody.";
        assert_eq!(of(vec![], 1), (Status::Warning, one.into()));
        let many = "2 list entries could not be read and are watched by nobody.";
        assert_eq!(of(vec![ending("a", 3)], 2), (Status::Critical, many.into()));
    }

    #[test]
    fn what_was_never_read_is_not_well() {
        let (list, project) = (ListName::Projects, |id: &str| ListName::Project(id.into()));
        let well = "The organization is covered until 15 April 2027.";
        let known = "Wherever mutual TLS is known to be enforced, everything is covered until 15 April 2027.";
        for (read, failed, status, badge, headline) in [
            (
                vec![vec![ending("a", 90)]],
                list.clone(),
                Status::Unknown,
                "Not everything was read",
                well,
            ),
            (
                vec![vec![ending("a", 90)]],
                project("p"),
                Status::Unknown,
                "Not everything was read",
                known,
            ),
            (
                vec![vec![ending("a", 20)]],
                project("p"),
                Status::Unknown,
                "Not everything was read",
                "The organization is covered for 20 days only, until 4 February 2027.",
            ),
            (
                vec![vec![ending("a", 3)]],
                project("p"),
                Status::Critical,
                "Act now, and the last poll failed",
                "The organization is covered for 3 days only, until 18 January 2027, 08:00 UTC.",
            ),
            (
                vec![vec![]],
                project("p"),
                Status::Unknown,
                "Not everything was read",
                "Mutual TLS is not known to be enforced anywhere.",
            ),
            // Read before, and kept.
            (
                vec![vec![ending("a", 90)], vec![]],
                list,
                Status::Warning,
                "All was well when last seen",
                "Everything is covered until 15 April 2027.",
            ),
            (
                vec![vec![ending("a", 20)], vec![]],
                project("proj_0"),
                Status::Warning,
                "Act in time, and the last poll failed",
                "The organization and project proj_0 are covered for 20 days only, until 4 February 2027.",
            ),
        ] {
            let state = state(Some(snapshot(&read)), vec![self::failed(failed, None)]);
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            assert_eq!(
                (summary.status, summary.badge.as_str(), summary.headline.as_str()),
                (status, badge, headline)
            );
            let unread = summary.scopes.iter().find(|row| row.label == "Not read yet");
            assert_eq!(
                unread.map(|row| row.id.as_deref()),
                (summary.scopes.len() == 2 && read.len() == 1).then_some(Some("p"))
            );
        }
    }

    #[test]
    fn the_first_failed_lists_are_named() {
        let names = ["p", "q\n", "r"].map(|id| ListName::Project(id.into()));
        let mut lists = vec![failed(ListName::Projects, Some("req_1"))];
        lists.extend(names.map(|list| failed(list, None)));
        lists.push(failed(ListName::Organization, None));
        let said = "server (answered 503) for the list of projects, request ID req_1; server (answered 503) for project p; \
                    server (answered 503) for project q\\u{a}; 2 more";
        assert_eq!(super::super::name_failures(&lists), said);
        assert_eq!(
            super::super::name_failures(&lists[4..]),
            "server (answered 503) for the organization"
        );
    }

    #[test]
    fn what_decides_comes_first() {
        let message = |days: Option<i64>| {
            let snapshot = days.map(|days| snapshot(&[vec![ending("a", days)]]));
            let state = state(snapshot, vec![failed(ListName::Projects, None)]);
            Summary::new(&state, NOW as f64, Thresholds::default()).message()
        };
        let failed = "The last poll failed: server (answered 503) for the list of projects.";
        assert_eq!(message(None), format!("{failed} Nothing is known: no poll has succeeded yet."));
        assert!(message(Some(20)).starts_with(failed), "{}", message(Some(20)));
        assert!(message(Some(3)).ends_with(failed), "{}", message(Some(3)));
    }

    #[test]
    fn what_is_stale_is_not_well() {
        let mut state = state(Some(snapshot(&[vec![ending("a", 90)], vec![]])), vec![]);
        let at = |state: &PollState, seconds: i64| {
            let summary = Summary::new(state, (NOW + seconds) as f64, Thresholds::default());
            (summary.status, summary.badge, summary.caveats.join(" "))
        };
        assert_eq!(at(&state, 840), (Status::Ok, "All well".into(), String::new()));
        let seen = "All was well when last seen";
        let caveat = "Stale: what is shown is 14 minutes old. No poll has ended since.";
        assert_eq!(at(&state, 841), (Status::Warning, seen.into(), caveat.into()));
        let fresh = Snapshot {
            organization_read_at: (NOW + 840) as f64,
            ..Snapshot::clone(state.snapshot.as_ref().unwrap())
        };
        state.snapshot = Some(Arc::new(fresh));
        let (_, _, caveats) = at(&state, 841);
        assert!(
            caveats.starts_with("Stale: part of what is shown is 14 minutes old."),
            "{caveats}"
        );
    }
}
