use serde::Serialize;

use super::caveats::caveats;
use super::client_rows::{ClientRow, worst as worst_client};
use super::client_sentences::{annotate, clauses as client_clauses};
use super::deactivation;
use super::first_to_stop::FirstToStop;
use super::links::Marked;
use super::next_step::NextStep;
use super::rows::{CertificateRow, ScopeRow};
use super::sentences::{Finding, Sentences, nothing_known, sentences};
use crate::inventory::{Coverage, Severity, Snapshot, Thresholds, whole_second};
use crate::poll_state::PollState;

/// The verdict, in the words of monitoring plugins and in the order of their exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Status {
    Ok,
    Warning,
    Critical,
    /// Nothing has been read yet.
    Unknown,
}

/// What a state comes to at a moment: the only place that judges it and puts it into words.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub status: Status,
    pub color: Severity,
    /// The status for people, in a few words.
    pub badge: &'static str,
    /// Why the badge may be wrong, to be added to it; empty if it is not.
    pub doubt: &'static str,
    /// What would change by what is assumed, a sentence each; empty unless something is.
    pub assumed: Vec<String>,
    /// What matters most, in a sentence.
    pub headline: Marked,
    /// None if the headline says it.
    pub first_to_stop: Option<FirstToStop>,
    /// What else somebody has to act on. What is worst comes first.
    pub findings: Vec<Finding>,
    /// What else matters, a sentence each.
    pub detail: Vec<Marked>,
    /// Empty if nobody has to do anything.
    pub next_steps: Vec<NextStep>,
    /// Why what is shown may not be the present state, a sentence each.
    pub caveats: Vec<String>,
    /// Whether `caveats` alone decide the status.
    is_doubt_decisive: bool,
    /// Active certificates first, then by end, the earliest first.
    pub certificates: Vec<CertificateRow<'a>>,
    /// What ends first comes first. Empty before the first snapshot.
    pub scopes: Vec<ScopeRow<'a>>,
    /// What is refused first comes first.
    pub clients: Vec<ClientRow<'a>>,
}

/// How a state is judged, without a word of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    status: Status,
    /// The worst of the scopes and of the active certificates that could be read.
    known: Severity,
    /// Whether anything could not be read, or no project is selected.
    is_incomplete: bool,
    /// Whether the last poll failed, what is shown is stale, or this machine's clock is wrong.
    is_doubtful: bool,
}

impl Verdict {
    fn of(state: &PollState, now: f64, thresholds: Thresholds) -> Self {
        let is_doubtful =
            state.is_failing() || state.is_stale(now) || state.clock_error().is_some();
        let Some(snapshot) = &state.snapshot else {
            let (status, known) = (Status::Unknown, Severity::Off);
            return Self { status, known, is_incomplete: true, is_doubtful };
        };
        let inventory = &snapshot.inventory;
        let (earliest, latest) = (state.earliest_time(now), state.latest_time(now));
        let coverages =
            |now| inventory.scopes().map(move |(_, scope)| Coverage::of(scope, whole_second(now)));
        let clients = state.clients.as_deref();
        let known = [earliest, latest].map(|now| {
            let scopes = coverages(now).filter(|coverage| coverage.is_known());
            let scopes = scopes.map(|coverage| coverage.severity(now, thresholds));
            let certificates = inventory.certificates().iter();
            let certificates = certificates.map(|used| used.severity(now, thresholds));
            let clients = clients.map(|all| worst_client(all, now, thresholds).0);
            scopes.chain(certificates).chain(clients).fold(Severity::Off, Severity::max)
        });
        let known = known[0].max(known[1]);
        let hides_clients = clients.is_some_and(|all| worst_client(all, earliest, thresholds).1);
        let is_incomplete = hides_clients
            || !coverages(earliest).all(Coverage::is_known)
            || !inventory.unread_projects().is_empty()
            || !gaps(state, snapshot).is_empty();
        let status = match known {
            Severity::Critical => Status::Critical,
            Severity::Warning => Status::Warning,
            _ if is_incomplete || is_doubtful => Status::Warning,
            Severity::Off | Severity::Ok => Status::Ok,
        };
        Self { status, known, is_incomplete, is_doubtful }
    }
}

impl Status {
    /// The status alone, for those who show nothing else.
    pub(crate) fn of(state: &PollState, now: f64, thresholds: Thresholds) -> Self {
        Verdict::of(state, now, thresholds).status
    }
}

/// What no row shows though it is a warning, as clauses of a sentence.
fn gaps(state: &PollState, snapshot: &Snapshot) -> Vec<String> {
    let unlisted = state.projects && snapshot.projects_listed_at.is_none();
    let unlisted = unlisted.then(|| "the list of projects has not been read yet".into());
    let inventory = &snapshot.inventory;
    let unselected = inventory.selects_no_project().then(|| {
        let all = match inventory.lists().project_faults.unselected {
            1 => "the only project".into(),
            many => format!("all {many} projects"),
        };
        format!("the filters poll.project_include and poll.project_exclude leave out {all}")
    });
    let no_project = state.projects && snapshot.lists_no_project();
    let no_project = no_project.then(|| "the API lists no project (poll.projects)".into());
    let malformed = match inventory.malformed().count() {
        0 => None,
        1 => Some("1 list entry could not be read in full".into()),
        many => Some(format!("{many} list entries could not be read in full")),
    };
    [unlisted, unselected, no_project, malformed].into_iter().flatten().collect()
}

impl<'a> Summary<'a> {
    pub(crate) fn new(state: &'a PollState, now: f64, thresholds: Thresholds) -> Self {
        let Verdict { status, known, is_incomplete, is_doubtful } =
            Verdict::of(state, now, thresholds);
        let is_old = state.is_stale(now) || state.is_failing();
        let doubt = match (state.is_stale(now), state.is_failing()) {
            (true, _) => ", and what is shown is stale",
            (false, true) => ", and the last poll failed",
            (false, false) if is_doubtful => ", but this machine's clock is wrong",
            (false, false) => "",
        };
        let (well, well_once) = match known {
            Severity::Off => ("Not enforced", "Not enforced when last seen"),
            _ => ("Healthy", "Healthy when last seen"),
        };
        let (color, badge, doubt) = match (status, known) {
            (Status::Unknown, _) if is_doubtful => (Severity::Critical, "Nothing known yet", ""),
            (Status::Unknown, _) => (Severity::Off, "Nothing known yet", ""),
            (_, Severity::Critical) => (known, "Act now", doubt),
            (_, Severity::Warning) => (known, "Act soon", doubt),
            _ if is_incomplete => (Severity::Warning, "Not everything is known", ""),
            // What was well once is not known to be well now.
            _ if is_old => (Severity::Warning, well_once, ""),
            _ if is_doubtful => (Severity::Warning, well, doubt),
            _ => (known, well, ""),
        };
        let (mut scopes, mut certificates) = (Vec::new(), Vec::new());
        let clients = state.clients.as_deref();
        let clients = clients.map(|all| ClientRow::all(all, state.earliest_time(now), thresholds));
        let clients = clients.unwrap_or_default();
        let Sentences { headline, subject, first_to_stop, findings, mut detail, due } = match &state
            .snapshot
        {
            None => nothing_known(state.is_failing()),
            Some(snapshot) => {
                let inventory = &snapshot.inventory;
                scopes = ScopeRow::all(state, snapshot, now, thresholds);
                certificates = CertificateRow::all(inventory, state.earliest_time(now), thresholds);
                deactivation::annotate(&mut certificates, state, snapshot, now);
                if let Some(clients) = state.clients.as_deref() {
                    annotate(&mut certificates, clients);
                }
                let now = state.earliest_time(now);
                let (clauses, gaps) = (client_clauses(&clients, now), gaps(state, snapshot));
                let hides_projects = snapshot.inventory.lists().project_faults.hidden > 0;
                sentences(&scopes, &certificates, clauses, gaps, hides_projects, now, thresholds)
            }
        };
        // What was last known says nothing of what was uploaded or activated since.
        detail.extend(due.filter(|_| !is_old));
        if !state.projects {
            let how = "set poll.projects = true to include them";
            detail.push(Marked(format!("Projects are not monitored ({how}).")));
        }
        Self {
            status,
            color,
            badge,
            doubt,
            assumed: Vec::new(),
            headline,
            findings,
            detail,
            next_steps: NextStep::all(
                state,
                subject,
                first_to_stop.is_some(),
                &scopes,
                &certificates,
                &clients,
                now,
            ),
            caveats: caveats(state, now),
            first_to_stop,
            is_doubt_decisive: status == Status::Unknown
                || is_doubtful && !is_incomplete && known < Severity::Warning,
            certificates,
            scopes,
            clients,
        }
    }

    /// How many certificates are active anywhere.
    pub(crate) fn active(&self) -> usize {
        self.certificates.iter().filter(|row| row.used.is_active()).count()
    }

    /// All of it in one line. What is assumed comes first, then what decides the status.
    pub(crate) fn message(&self) -> String {
        self.parts().concat().join(" ")
    }

    /// What decides the status alone, in one line.
    pub(crate) fn short_message(&self) -> String {
        self.parts()[0].join(" ")
    }

    fn parts(&self) -> [Vec<String>; 3] {
        let first = self.first_to_stop.iter().map(|it| format!("{}: {}.", it.label, it.text));
        let findings = self.findings.iter().map(|finding| &finding.text);
        let rest = first.chain(findings.chain(&self.detail).map(Marked::to_string)).collect();
        let mut parts = [vec![self.headline.to_string()], rest, self.caveats.clone()];
        if self.is_doubt_decisive {
            parts.rotate_right(1);
        }
        parts[0].splice(0..0, self.assumed.iter().cloned());
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fixture::{DAY, NOW, certificate, group, lists, snapshot};
    use crate::inventory::{Certificate, Inventory, Lists, Project};
    use crate::poll_state::{FailedList, FailureReason, ListName, PollResult, PollTiming};

    fn state(snapshot: Option<Arc<Snapshot>>, failed: Vec<FailedList>) -> PollState {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let mut state = PollState::new(Instant::now(), timing);
        state.projects = !snapshot.as_deref().is_some_and(Snapshot::lists_no_project);
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

    const NOT_MONITORED: &str =
        " Projects are not monitored (set poll.projects = true to include them).";

    fn ending(id: &str, days: i64) -> Certificate {
        certificate(id).dated(None, Some(NOW + days * DAY))
    }

    /// What is said of lists that have just been read.
    fn said(read: &[Vec<Certificate>]) -> (Status, String) {
        let state = state(Some(snapshot(read)), vec![]);
        let summary = Summary::new(&state, NOW as f64, Thresholds::default());
        (summary.status, summary.message().replace(NOT_MONITORED, ""))
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of sentences")]
    fn the_state_is_said_in_a_sentence() {
        use Status::{Critical, Ok, Warning};
        let edge = |id: &str, year: &str, days: i64| Certificate {
            valid_at: Some(NOW + (days - 365) * DAY),
            ..ending(id, days).named(&format!("edge-{year}"))
        };
        let minutes =
            |id: &str, minutes: i64| certificate(id).dated(None, Some(NOW + minutes * 60));
        let (gap, new) = (certificate("a").valid(-9..3), certificate("b").valid(5..90));
        let covered = "The organization is covered until 15 April 2027";
        for (read, status, sentence) in [
            (
                vec![vec![]],
                Ok,
                "Mutual TLS is not enforced at the organization: no certificate is active there.",
            ),
            (vec![vec![], vec![]], Ok, "Mutual TLS is not enforced: no certificate is active."),
            // Until when nothing is due, and what is due then.
            (
                vec![vec![ending("a", 90)]],
                Ok,
                &format!("{covered}, when a expires. Nothing is due before then."),
            ),
            (
                vec![vec![ending("a", 90), ending("b", 40), ending("c", 40)]],
                Ok,
                &format!(
                    "{covered}. The first 2 certificates expire together, on 24 February 2027."
                ),
            ),
            (
                vec![vec![ending("a", 90)], vec![]],
                Ok,
                "Everything is covered until 15 April 2027, when a expires. Nothing is due before then.",
            ),
            (
                vec![vec![ending("a", 3).inactive()], vec![ending("b", 90)]],
                Ok,
                "Wherever mutual TLS is enforced, everything is covered until 15 April 2027, when b expires. \
                 Nothing is due before then.",
            ),
            (
                vec![vec![certificate("a")]],
                Warning,
                "The organization is covered only by certificates without a known end.",
            ),
            // A project's list may have other dates than the organization's.
            (
                vec![vec![ending("a", 90).inactive()], vec![ending("a", 80)]],
                Ok,
                "Wherever mutual TLS is enforced, everything is covered until 5 April 2027. Nothing is due before then.",
            ),
            // What comes first, then how much else there is, the worst first.
            (
                vec![vec![ending("a", 20)]],
                Warning,
                "The organization is covered for only 20 more days, until 4 February 2027, when a expires.",
            ),
            (
                vec![vec![ending("a", 90), ending("b", 6)]],
                Critical,
                &format!("b expires in 6 days. {covered}."),
            ),
            (
                vec![vec![ending("a", 90), ending("b", 8), ending("c", 9), ending("d", 29)]],
                Warning,
                &format!(
                    "b expires in 8 days. 2 more certificates expire in 9 days to 29 days. {covered}."
                ),
            ),
            (
                vec![vec![ending("a", 90), ending("b", 3), ending("c", 4), ending("d", 29)]],
                Critical,
                &format!(
                    "b expires in 3 days. 2 more certificates expire in 4 days to 29 days. {covered}."
                ),
            ),
            (
                vec![vec![ending("a", 90), ending("b", -2)]],
                Critical,
                &format!("b is active but expired 2 days ago. {covered}."),
            ),
            (
                vec![
                    vec![minutes("ci", 23), ending("x", -1), ending("y", -2), ending("z", 3)],
                    vec![],
                    vec![],
                ],
                Critical,
                "ci expires in 23 minutes; no scope stops then. First scopes to stop: the organization, project proj_0 and project proj_1, in 3 days \
                 (18 January, 08:00 UTC), when z expires. 2 certificates have expired.",
            ),
            (
                vec![vec![ending("a", 5)], vec![], vec![ending("b", 90)]],
                Critical,
                "The organization and project proj_0 are covered for only 5 more days, until \
                 20 January, 08:00 UTC, when a expires.",
            ),
            (
                vec![vec![], vec![ending("a", 3)], vec![ending("b", 5)], vec![ending("c", 20)]],
                Critical,
                "Project proj_0 is covered for only 3 more days, until 18 January, 08:00 UTC, when a expires. \
                 Project proj_1 is covered only until 20 January, 08:00 UTC; project proj_2 is covered only until \
                 4 February 2027. b expires in 5 days; c expires in 20 days.",
            ),
            // Refused requests come before all that is to come.
            (
                vec![vec![ending("a", -2)]],
                Critical,
                "Requests from the organization are refused: no active certificate has been valid since \
                 13 January, 08:00 UTC. a is active but expired 2 days ago.",
            ),
            (
                vec![vec![], vec![ending("a", -2)], vec![ending("b", -4)], vec![minutes("c", 5)]],
                Critical,
                "Requests from project proj_1 and project proj_0 are refused: no active certificate is valid. \
                 Project proj_2 is covered only until 15 January, 08:05 UTC. \
                 c expires in 5 minutes; 2 certificates have expired.",
            ),
            // Gaps, and what is not yet valid.
            (
                vec![vec![certificate("a").valid(1..90)]],
                Critical,
                "Requests from the organization are refused: no active certificate is valid before \
                 16 January, 08:00 UTC. a is active but not valid before 16 January, 08:00 UTC.",
            ),
            (
                vec![vec![certificate("a").dated(Some(NOW + DAY), None)]],
                Critical,
                "Requests from the organization are refused: no active certificate is valid before \
                 16 January, 08:00 UTC. a is active but not valid before 16 January, 08:00 UTC.",
            ),
            (
                vec![vec![certificate("a").valid(-9..-2), new.clone()]],
                Critical,
                "Requests from the organization are refused: no active certificate has been valid since \
                 13 January, 08:00 UTC; covered again from 20 January, 08:00 UTC. a is active but expired \
                 2 days ago; b is active but not valid before 20 January, 08:00 UTC.",
            ),
            (
                vec![vec![gap, new]],
                Critical,
                "The organization is covered for only 3 more days, until 18 January, 08:00 UTC, when a expires, \
                 and again from 20 January, 08:00 UTC. b is active but not valid before 20 January, 08:00 UTC.",
            ),
            (
                vec![vec![certificate("a").dated(Some(NOW + 90 * DAY), Some(NOW + DAY))]],
                Critical,
                "Requests from the organization are refused: no active certificate is valid. \
                 a is active but never valid.",
            ),
            (
                vec![vec![certificate("a").valid(1..90), ending("b", 80)]],
                Warning,
                &format!("a is active but not valid before 16 January, 08:00 UTC. {covered}."),
            ),
            (
                vec![vec![certificate("a"), ending("b", -10)]],
                Critical,
                "The organization has been covered only by certificates without a known end since 5 January 2027. \
                 b is active but expired 10 days ago.",
            ),
            (
                vec![
                    vec![
                        edge("a", "2026", 2),
                        edge("b", "2027", 300),
                        ending("x", 3),
                        ending("y", 5),
                    ],
                    vec![],
                    vec![ending("z", 400)],
                ],
                Critical,
                "x expires in 3 days; no scope stops then. First scopes to stop: the organization and project proj_0, \
                 in 300 days (11 November 2027), when edge-2027 expires. 2 more certificates expire in 2 days to 5 days.",
            ),
            // Nobody knows whether what has no known end stops first.
            (
                vec![
                    vec![certificate("u"), ending("old", -3)],
                    vec![ending("p", 20)],
                    vec![ending("q", 25)],
                ],
                Critical,
                "The organization has been covered only by certificates without a known end since 12 January, 08:00 UTC. First scope known to stop: project proj_0, in 20 days (4 February 2027), when p expires. old is active but expired 3 days ago; 2 certificates expire in 20 days to 25 days. 2 scopes end in 20 days to 25 days.",
            ),
            (
                vec![vec![certificate("u")], vec![ending("p", 90)], vec![ending("q", 200)], vec![]],
                Warning,
                "2 scopes are covered only by certificates without a known end. First scope known to stop: project proj_0, in 90 days (15 April 2027), when p expires.",
            ),
            (
                vec![
                    vec![],
                    vec![ending("p", 5)],
                    vec![ending("q", 5)],
                    vec![ending("r", 90)],
                    vec![],
                ],
                Critical,
                "Project proj_0 and project proj_1 are covered for only 5 more days, until 20 January, 08:00 UTC, when p and q expire.",
            ),
            // A superseded certificate is a warning: clients may still use it.
            (
                vec![vec![edge("a", "2026", 3), edge("b", "2027", 300)]],
                Warning,
                "edge-2026 (superseded by edge-2027) expires in 3 days. \
                 The organization is covered until 11 November 2027.",
            ),
            (
                vec![vec![edge("a", "2026", -3), edge("b", "2027", 300)]],
                Warning,
                "edge-2026 (superseded by edge-2027) is active but expired 3 days ago. \
                 The organization is covered until 11 November 2027.",
            ),
            (
                vec![vec![edge("a", "2026", 40), edge("b", "2027", 300)]],
                Ok,
                "The organization is covered until 11 November 2027. The first certificate to expire is \
                 edge-2026 (superseded by edge-2027), on 24 February 2027.",
            ),
        ] {
            assert_eq!(said(&read), (status, sentence.into()));
        }
    }

    /// The state of `lists`, read just now.
    fn state_of(lists: Lists, failed: Vec<FailedList>) -> PollState {
        let projects_read_at = vec![NOW as f64; lists.projects.len()];
        let read = Snapshot {
            inventory: Inventory::new_or_unchanged(None, lists, &group("^$")),
            projects_read_at,
            ..Snapshot::clone(&snapshot(&[vec![]]))
        };
        state(Some(Arc::new(read)), failed)
    }

    /// What is said of these lists, read just now, but that projects are not monitored.
    fn said_of(lists: Lists) -> (Status, String, String) {
        let state = state_of(lists, vec![]);
        let summary = Summary::new(&state, NOW as f64, Thresholds::default());
        (summary.status, summary.badge.to_owned(), summary.message().replace(NOT_MONITORED, ""))
    }

    #[test]
    fn what_is_not_known_is_not_well() {
        let well = |days| lists(&[vec![ending("a", days)]]);
        let project = |id: &str| Project { id: id.into(), name: None, archived: false };
        let unread = |days, ids: &[&str]| Lists {
            unread: ids.iter().map(|id| project(id)).collect(),
            ..well(days)
        };
        let mut malformed = well(90);
        Arc::make_mut(&mut malformed.organization).malformed.add("name");
        let mut hidden = lists(&[vec![], vec![ending("b", 90)]]);
        Arc::make_mut(&mut hidden.organization).malformed.add("active");
        Arc::make_mut(&mut hidden.organization).hidden = 1;
        let mut unselected = well(90);
        unselected.project_faults.unselected = 3;
        let mut selected = lists(&[vec![ending("a", 90)], vec![]]);
        selected.project_faults.unselected = 3;
        let incomplete = "Not everything is known";
        let covered = "until 15 April 2027, when a expires";
        let known = "Everything is covered";
        let due = "Nothing known is due before then.";
        for (lists, status, badge, message) in [
            (
                well(90),
                Status::Ok,
                "Healthy",
                format!("The organization is covered {covered}. Nothing is due before then."),
            ),
            (
                unread(90, &["p"]),
                Status::Warning,
                incomplete,
                format!("Project p could not be read. {known} {covered}. {due}"),
            ),
            (
                unread(90, &["p", "q"]),
                Status::Warning,
                incomplete,
                format!("2 projects could not be read. {known} {covered}. {due}"),
            ),
            (
                unread(20, &["p"]),
                Status::Warning,
                "Act soon",
                "The organization is covered for only 20 more days, until 4 February 2027, when a expires. \
                 Project p could not be read."
                    .into(),
            ),
            (
                unread(3, &["p"]),
                Status::Critical,
                "Act now",
                "The organization is covered for only 3 more days, until 18 January, 08:00 UTC, when a expires. \
                 Project p could not be read."
                    .into(),
            ),
            (
                Lists { unread: vec![project("p")], ..lists(&[vec![]]) },
                Status::Warning,
                incomplete,
                "Project p could not be read. Mutual TLS is not known to be enforced.".into(),
            ),
            (
                malformed,
                Status::Warning,
                incomplete,
                format!(
                    "1 list entry could not be read in full. The organization is covered {covered}. {due}"
                ),
            ),
            (
                hidden,
                Status::Warning,
                incomplete,
                format!(
                    "Whether the organization enforces mutual TLS is not known. 1 list entry could not be read in full. \
                     Everything that is known is covered until 15 April 2027, when b expires. {due}"
                ),
            ),
            (
                unselected,
                Status::Warning,
                incomplete,
                format!(
                    "The filters poll.project_include and poll.project_exclude leave out all 3 projects. \
                     The organization is covered {covered}. {due}"
                ),
            ),
            (
                selected,
                Status::Ok,
                "Healthy",
                format!("Everything is covered {covered}. Nothing is due before then."),
            ),
        ] {
            assert_eq!(said_of(lists), (status, badge.into(), message));
        }
    }

    #[test]
    fn nothing_is_said_that_rests_on_an_entry_that_cannot_be_read() {
        let hiding = |read: &[Vec<Certificate>]| {
            let mut lists = lists(read);
            Arc::make_mut(&mut lists.organization).malformed.add("id");
            Arc::make_mut(&mut lists.organization).hidden = 1;
            lists
        };
        let mut hidden_project = lists(&[vec![ending("a", 90)], vec![]]);
        hidden_project.project_faults.malformed.add("id");
        hidden_project.project_faults.hidden = 1;
        let incomplete = "Not everything is known";
        let covered = "covered until 15 April 2027, when a expires";
        let known = "Everything is";
        let due = "Nothing known is due before then.";
        for (lists, status, badge, message) in [
            (
                hiding(&[vec![ending("a", -2)]]),
                Status::Critical,
                "Act now",
                "a is active but expired 2 days ago. Whether requests from the organization are refused is not known. \
                 1 list entry could not be read in full."
                    .into(),
            ),
            (
                hiding(&[vec![certificate("a").valid(1..90)], vec![]]),
                Status::Warning,
                "Act soon",
                "Whether requests from 2 scopes are refused is not known. a is active but not valid before \
                 16 January, 08:00 UTC. 1 list entry could not be read in full."
                    .into(),
            ),
            (
                hiding(&[vec![ending("a", 90)]]),
                Status::Warning,
                incomplete,
                format!(
                    "1 list entry could not be read in full. The organization is {covered}. {due}"
                ),
            ),
            (
                hidden_project,
                Status::Warning,
                incomplete,
                format!("1 list entry could not be read in full. {known} {covered}. {due}"),
            ),
        ] {
            assert_eq!(said_of(lists), (status, badge.into(), message));
        }
    }

    #[test]
    fn projects_are_known_to_be_unread_or_not_monitored() {
        let mut state = state(Some(snapshot(&[vec![ending("a", 90)]])), vec![]);
        let mut read = Snapshot::clone(state.snapshot.as_ref().unwrap());
        read.projects_listed_at = None;
        state.projects = true;
        state.snapshot = Some(Arc::new(read));
        let said = |state: &PollState| {
            let summary = Summary::new(state, NOW as f64, Thresholds::default());
            (summary.status, summary.badge.to_owned(), summary.message())
        };
        let covered = "The organization is covered until 15 April 2027, when a expires";
        assert_eq!(
            said(&state),
            (
                Status::Warning,
                "Not everything is known".into(),
                format!(
                    "The list of projects has not been read yet. {covered}. Nothing known is due before then."
                )
            )
        );
        state.projects = false;
        assert_eq!(
            said(&state),
            (
                Status::Ok,
                "Healthy".into(),
                format!("{covered}. Nothing is due before then.{NOT_MONITORED}")
            )
        );
    }

    #[test]
    fn an_empty_list_of_projects_is_a_warning_where_they_are_monitored() {
        let mut state = state(Some(snapshot(&[vec![ending("a", 90)]])), vec![]);
        state.projects = true;
        let summary = Summary::new(&state, NOW as f64, Thresholds::default());
        let said = "The API lists no project (poll.projects).";
        assert_eq!((summary.status, summary.headline.to_string()), (Status::Warning, said.into()));
        let next = summary.next_steps[0].text.to_string();
        assert!(next.starts_with("check that the admin key may list"), "{next}");
    }

    #[test]
    fn what_was_read_before_stays_in_doubt() {
        let of_projects = ListName::Projects;
        let of_project = ListName::Project("proj_0".into());
        for (days, failed, badge) in [
            (90, of_projects, "Healthy when last seen"),
            (20, of_project.clone(), "Act soon, and the last poll failed"),
            (3, of_project, "Act now, and the last poll failed"),
        ] {
            let state = state(
                Some(snapshot(&[vec![ending("a", days)], vec![]])),
                vec![self::failed(failed, None)],
            );
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            assert_eq!([summary.badge, summary.doubt].concat(), badge);
            let status = if days == 3 { Status::Critical } else { Status::Warning };
            assert_eq!(summary.status, status);
        }
    }

    #[test]
    fn a_wrong_clock_hides_no_end_and_claims_none() {
        for (ahead, days, status, badge, headline) in [
            (10, -3, Status::Critical, "Act now, but", "The organization is covered for only 7 "),
            (-10, 5, Status::Critical, "Act now, but", "The organization is covered for only 5 "),
            (10, 12, Status::Warning, "Act soon, but", "The organization is covered for only 22 "),
            (
                -10,
                -3,
                Status::Critical,
                "Act now, but",
                "Requests from the organization are refused",
            ),
            (10, 90, Status::Warning, "Healthy, but", "The organization is covered until 15 April"),
        ] {
            let mut state = state(Some(snapshot(&[vec![ending("a", days)]])), Vec::new());
            state.clock_offset = Some((ahead * DAY) as f64);
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            assert_eq!(summary.status, status);
            let doubt = format!("{badge} this machine's clock is wrong");
            assert_eq!([summary.badge, summary.doubt].concat(), doubt);
            assert!(summary.headline.to_string().starts_with(headline), "{}", summary.headline);
            assert!(summary.message().contains("This machine's clock is 10 days "));
        }
    }

    #[test]
    fn the_first_failed_lists_are_named() {
        let names = ["p", "q\n", "r"].map(|id| ListName::Project(id.into()));
        let mut lists = vec![failed(ListName::Projects, Some("req_1"))];
        lists.extend(names.map(|list| failed(list, None)));
        lists.push(failed(ListName::Organization, None));
        let project = |id: &str, name: &str| Project {
            id: id.into(),
            name: Some(name.into()),
            archived: false,
        };
        let known =
            Lists { unread: vec![project("p", "Prod")], ..crate::fixture::lists(&[vec![]]) };
        let known = state_of(known, vec![]).snapshot.unwrap();
        let said = "the list of projects (answered 503; request ID req_1); project Prod (answered 503); \
                    project q\\u{a} (answered 503); 2 more";
        assert_eq!(super::super::name_failures(&lists, Some(&known)), said);
        assert_eq!(
            super::super::name_failures(&lists[4..], None),
            "the organization (answered 503)"
        );
    }

    #[test]
    fn what_decides_comes_first() {
        let message = |days: Option<i64>| {
            let snapshot = days.map(|days| snapshot(&[vec![ending("a", days)]]));
            let state = state(snapshot, vec![failed(ListName::Projects, None)]);
            Summary::new(&state, NOW as f64, Thresholds::default()).message()
        };
        let failed =
            "The last poll could not read everything: the list of projects (answered 503).";
        assert_eq!(
            message(None),
            format!("{failed} Nothing is known: the list of certificates has not been read.")
        );
        assert!(message(Some(90)).starts_with(failed), "{}", message(Some(90)));
        assert!(message(Some(20)).ends_with(failed), "{}", message(Some(20)));
        assert!(message(Some(3)).ends_with(failed), "{}", message(Some(3)));
    }

    #[test]
    fn what_is_stale_is_not_well() {
        let mut state = state(Some(snapshot(&[vec![ending("a", 90)], vec![]])), vec![]);
        let at = |state: &PollState, seconds: i64| {
            let summary = Summary::new(state, (NOW + seconds) as f64, Thresholds::default());
            (summary.status, summary.badge.to_owned(), summary.caveats.join(" "))
        };
        assert_eq!(at(&state, 840), (Status::Ok, "Healthy".into(), String::new()));
        let seen = "Healthy when last seen";
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
