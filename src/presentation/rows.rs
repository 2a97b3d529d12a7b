//! Scopes and certificates as rows, in whatever layout they are shown.

use std::cmp::Reverse;

use super::deactivation::Deactivation;
use super::links::{Link, certificate_anchor, project_anchor};
use super::sanitize::{display_name, name_or_id, sanitize};
use super::text::{ago, format_date, format_timestamp, relative};
use crate::inventory::{
    Certificate, CertificateUse, Coverage, Inventory, Outlook, Project, Scope, Severity, Snapshot,
    Thresholds, UnixSeconds, whole_second,
};
use crate::poll_state::PollState;

/// Of the projects at which a certificate is active, as many are named.
const NAMED_PROJECTS: usize = 2;

#[derive(Debug)]
pub(crate) struct ScopeRow<'a> {
    inventory: &'a Inventory,
    /// None if the scope is the organization's.
    pub(super) project: Option<&'a Project>,
    pub label: &'static str,
    pub severity: Severity,
    /// None if the project has no name.
    pub name: Option<String>,
    /// The project's; the organization's row has none.
    pub id: Option<String>,
    /// When coverage by certificates with a known end ends, or ended.
    pub end: Option<String>,
    /// How far `end` is from now; none if there is no end to come.
    pub relative_end: Option<String>,
    /// What else to know of the row.
    pub note: Option<String>,
    /// None if the project's list was never read.
    pub coverage: Option<Coverage>,
    /// Whether it may be covered for longer, by a certificate without a known end.
    pub(super) may_last: bool,
    /// When coverage begins again after it has ended, if that is known.
    pub resumes_at: Option<UnixSeconds>,
    /// When the scope is covered by certificates with a known end.
    pub spans: &'a [(UnixSeconds, UnixSeconds)],
}

impl<'a> ScopeRow<'a> {
    /// Every scope of a snapshot and every project whose list was never read: what ends first comes first.
    pub(super) fn all(
        state: &'a PollState,
        snapshot: &'a Snapshot,
        now: f64,
        thresholds: Thresholds,
    ) -> Vec<Self> {
        let (inventory, api_time) = (&snapshot.inventory, state.earliest_time(now));
        let reads = std::iter::once(snapshot.organization_read_at)
            .chain(snapshot.projects_read_at.iter().copied());
        let read = inventory.scopes().zip(reads).map(|((project, scope), read_at)| {
            let age =
                state.is_late(read_at, now).then(|| format!("as it was {}", ago(read_at, now)));
            Self::new(inventory, (project, Some(scope)), age, api_time, thresholds)
        });
        // Each project has the organization's certificates in effect as well as its own.
        let organization = inventory.scope(0).map(|(_, scope)| scope);
        let at_least = organization.map(|scope| Coverage::of(scope, whole_second(api_time)));
        let at_least = at_least.and_then(|coverage| match coverage {
            Coverage::Covered { until } => Some(format_date(until, api_time)),
            _ => None,
        });
        let at_least =
            at_least.map(|date| format!("covered by the organization until {date} at least"));
        let unread = inventory.unread_projects().iter().map(|project| {
            Self::new(inventory, (Some(project), None), at_least.clone(), api_time, thresholds)
        });
        let mut rows: Vec<_> = read.chain(unread).collect();
        rows.sort_by_key(|row| row.coverage.unwrap_or(Coverage::Unknown).order());
        rows
    }

    fn new(
        inventory: &'a Inventory,
        (project, scope): (Option<&'a Project>, Option<&'a Scope>),
        age: Option<String>,
        now: f64,
        thresholds: Thresholds,
    ) -> Self {
        let second = whole_second(now);
        let coverage = scope.map(|scope| Coverage::of(scope, second));
        let resumes_at =
            scope.zip(coverage).and_then(|(scope, coverage)| coverage.resumes_at(scope, second));
        let severity =
            coverage.map_or(Severity::Warning, |coverage| coverage.severity(now, thresholds));
        let ends_at = coverage.and_then(Coverage::end);
        let resumes = resumes_at.map(|at| {
            let again = if ends_at.is_some() { " again" } else { "" };
            format!("covered{again} from {}", format_date(at, now))
        });
        let undated = matches!(coverage, Some(Coverage::Undated { .. }))
            .then(|| "by certificates without a known end".into());
        let notes: Vec<_> = [resumes, undated, age].into_iter().flatten().collect();
        Self {
            inventory,
            project,
            label: match coverage {
                None => "Not read yet",
                Some(Coverage::NotEnforced) => "Not enforced",
                Some(Coverage::Unknown) => "Enforcement unknown",
                Some(Coverage::InDoubt) => "Coverage unknown",
                Some(Coverage::Refused { .. }) => "Refused",
                Some(Coverage::Undated { .. }) => "End unknown",
                Some(Coverage::Covered { .. }) if severity == Severity::Ok => "Covered",
                Some(Coverage::Covered { .. }) => "Ends soon",
            },
            severity,
            name: project.map_or(Some("Organization".into()), |project| {
                display_name(project.name.as_deref())
            }),
            id: project.map(|project| sanitize(&project.id)),
            end: ends_at.map(format_timestamp),
            relative_end: (ends_at.is_some()
                || coverage == Some(Coverage::Undated { since: None }))
            .then(|| relative(ends_at, now)),
            note: (!notes.is_empty()).then(|| notes.join(", ")),
            coverage,
            may_last: scope.is_some_and(|scope| scope.unknown_expiry() > 0),
            resumes_at,
            spans: scope.map_or(&[], Scope::coverage),
        }
    }

    pub(crate) fn anchor(&self) -> String {
        self.id.as_deref().map_or(Link::organization("").anchor, project_anchor)
    }

    pub(crate) fn is_project(&self) -> bool {
        self.project.is_some()
    }

    /// None if the project's list was never read.
    pub(super) fn outlook(&self) -> Option<Outlook> {
        Some(Outlook { coverage: self.coverage?, resumes_at: self.resumes_at })
    }

    /// The scope within a sentence, with its name marked.
    pub(super) fn in_words(&self) -> String {
        match self.project {
            None => Link::organization("the organization").mark(),
            Some(project) => format!("project {}", Link::project(project).mark()),
        }
    }

    /// The certificate with which coverage ends, or ended.
    pub(crate) fn last_to_end(&self) -> Option<Link> {
        self.last_certificate().map(Link::certificate)
    }

    fn last_certificate(&self) -> Option<&'a Certificate> {
        let end = self.coverage?.end()?;
        self.inventory.ending_at(self.project.map(|project| &*project.id), end)
    }

    pub(super) fn has_in_effect(&self, row: &CertificateRow<'_>) -> bool {
        let own = self.project.map(|project| &project.id);
        let mut projects = self.inventory.active_projects(row.used);
        row.used.active_at_organization || projects.any(|project| Some(&project.id) == own)
    }

    /// Whether a certificate is of the authority with which coverage ends, or ended: others do not let its clients in.
    pub(super) fn is_continued_by(&self, certificate: &Certificate) -> bool {
        let last = self.last_certificate();
        last.is_some_and(|last| self.inventory.is_of_same_authority(last, certificate))
    }
}

#[derive(Debug)]
pub(crate) struct CertificateRow<'a> {
    pub(super) inventory: &'a Inventory,
    pub used: &'a CertificateUse,
    pub label: &'static str,
    pub severity: Severity,
    /// None if the certificate has no name.
    pub name: Option<String>,
    pub id: String,
    pub end: Option<String>,
    pub relative_end: String,
    /// What would become of scopes and clients if it were deactivated; none if it is active nowhere.
    pub deactivation: Option<Deactivation>,
    /// What else to know of the row.
    pub note: Option<String>,
    /// None if the certificate is active nowhere.
    pub active_at: Option<String>,
    /// The name of what supersedes it.
    pub successor: Option<String>,
    /// Whether its PEM shows that it is no authority.
    pub(super) is_unusable: bool,
    /// When the certificate is valid; an unknown begin or end counts as always.
    pub spans: [(UnixSeconds, UnixSeconds); 1],
}

impl<'a> CertificateRow<'a> {
    pub(crate) fn anchor(&self) -> String {
        certificate_anchor(&self.id)
    }

    /// Adds to what else to know of it.
    pub(super) fn add_note(&mut self, more: &str) {
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {more}"),
            None => more.into(),
        });
    }

    pub(super) fn link(&self) -> Link {
        Link { anchor: self.anchor(), name: self.name.as_ref().unwrap_or(&self.id).clone() }
    }

    pub(crate) fn successor_link(&self) -> Option<Link> {
        self.inventory.successor(self.used).map(|used| Link::certificate(&used.certificate))
    }

    pub(super) fn active_projects(&self) -> impl ExactSizeIterator<Item = &'a Project> {
        self.inventory.active_projects(self.used)
    }

    /// The kinds of scopes at which it is active, separated by a space.
    pub(crate) fn kinds_of_scope(&self) -> Option<&'static str> {
        let at_projects = self.active_projects().len() > 0;
        match (self.used.active_at_organization, at_projects) {
            (true, true) => Some("organization project"),
            (true, false) => Some("organization"),
            (false, true) => Some("project"),
            (false, false) => None,
        }
    }

    /// Where it is active: the first few scopes, and how many more there are.
    pub(crate) fn places(&self) -> (Vec<Link>, usize) {
        let project = |project: Option<&Project>| {
            project.map_or(Link::organization("Organization"), Link::project)
        };
        active_at(self.inventory, self.used, project)
    }

    /// The same within a sentence, with its names marked.
    pub(super) fn places_in_words(&self) -> String {
        let (links, more) = active_at(self.inventory, self.used, |project| match project {
            None => Link::organization("the organization").mark(),
            Some(project) => format!("project {}", Link::project(project).mark()),
        });
        enumerate(links, more)
    }

    /// Every certificate: those that are active before the others, and what ends first first. Of the others, what could be
    /// activated comes first, and what ends last first.
    pub(super) fn all(inventory: &'a Inventory, now: f64, thresholds: Thresholds) -> Vec<Self> {
        let uses = inventory.certificates().iter();
        let mut rows: Vec<_> =
            uses.map(|used| Self::new(inventory, used, now, thresholds)).collect();
        rows.sort_by_key(|row| row.order(now));
        rows
    }

    fn order(&self, now: f64) -> (u8, UnixSeconds, Reverse<UnixSeconds>) {
        let (used, end) = (self.used, self.used.certificate.expires_at);
        let inactive = |rank| (rank, 0, Reverse(end.unwrap_or(UnixSeconds::MIN)));
        match used.is_active() {
            true => (0, end.unwrap_or(UnixSeconds::MAX), Reverse(0)),
            false if used.has_expired(now) => inactive(4),
            false if used.is_never_valid() => inactive(3),
            false if used.is_not_yet_valid(now) => inactive(2),
            false => inactive(1),
        }
    }

    fn new(
        inventory: &'a Inventory,
        used: &'a CertificateUse,
        now: f64,
        thresholds: Thresholds,
    ) -> Self {
        let certificate = &used.certificate;
        // What is unknown of an active certificate is a warning in its row. By itself it is no harm.
        let is_unknown = used.is_active() && certificate.has_unreadable_date;
        let least = if is_unknown { Severity::Warning } else { Severity::Off };
        let severity = used.severity(now, thresholds).max(least);
        let successor = inventory.successor(used).map(|successor| &successor.certificate);
        let begin =
            certificate.valid_at.filter(|_| used.is_not_yet_valid(now) && !used.is_never_valid());
        let begins = begin.map(|begin| format!("begins on {}", format_date(begin, now)));
        let name = |project: Option<&Project>| match project {
            None => "Organization".into(),
            Some(project) => name_or_id(project.name.as_deref(), &project.id),
        };
        let differs = inventory.differing_project(used).map(|project| {
            format!("project {} lists it with other dates, which count there", name(Some(project)))
        });
        let (scopes, more) = active_at(inventory, used, name);
        Self {
            inventory,
            used,
            label: match (used.is_active(), used.has_expired(now), used.is_superseded()) {
                (false, true, _) => "Inactive, expired",
                (false, ..) if used.is_never_valid() => "Inactive, never valid",
                (false, ..) if used.is_not_yet_valid(now) => "Inactive, not yet valid",
                (false, false, _) => "Inactive",
                _ if used.is_never_valid() => "Never valid",
                (true, false, _) if is_unknown => "Dates unknown",
                (true, true, true) => "Expired, superseded",
                (true, true, false) => "Expired",
                (true, false, true) => "Superseded",
                _ if used.is_not_yet_valid(now) => "Not yet valid",
                _ if severity == Severity::Ok => "Valid",
                _ => "Expires soon",
            },
            severity,
            name: display_name(certificate.name.as_deref()),
            id: sanitize(&certificate.id),
            end: certificate.expires_at.map(format_timestamp),
            relative_end: relative(certificate.expires_at, now),
            deactivation: None,
            note: begins.into_iter().chain(differs).reduce(|note, more| format!("{note}; {more}")),
            active_at: (!scopes.is_empty()).then(|| enumerate(scopes, more)),
            successor: successor
                .map(|successor| name_or_id(successor.name.as_deref(), &successor.id)),
            is_unusable: false,
            spans: [(
                certificate.valid_at.unwrap_or(UnixSeconds::MIN),
                certificate.expires_at.unwrap_or(UnixSeconds::MAX),
            )],
        }
    }
}

/// Where it is active: the organization (none) and the first few projects, as `shown`, and how many more there are.
fn active_at<T>(
    inventory: &Inventory,
    used: &CertificateUse,
    shown: impl Fn(Option<&Project>) -> T,
) -> (Vec<T>, usize) {
    let organization = used.active_at_organization.then_some(None);
    let projects = inventory.active_projects(used);
    let more = projects.len().saturating_sub(NAMED_PROJECTS);
    let named = projects.take(NAMED_PROJECTS).map(Some);
    (organization.into_iter().chain(named).map(shown).collect(), more)
}

fn enumerate(mut named: Vec<String>, more: usize) -> String {
    named.extend((more > 0).then(|| format!("{more} more")));
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fixture::{DAY, NOW, certificate, snapshot};
    use crate::poll_state::PollTiming;

    #[test]
    fn of_inactive_certificates_what_can_be_activated_comes_first() {
        let inactive = |id, days| certificate(id).valid(days).inactive();
        let snapshot = snapshot(&[vec![
            inactive("a", -9..-2),
            inactive("b", -9..-1),
            inactive("c", 3..90),
            inactive("d", -9..20),
            inactive("e", -9..90),
            certificate("f").inactive(),
            certificate("g").dated(Some(NOW + 3 * DAY), Some(NOW + DAY)).inactive(),
        ]]);
        let rows = CertificateRow::all(&snapshot.inventory, NOW as f64, Thresholds::default());
        let shown: Vec<_> =
            rows.iter().map(|row| (&*row.id, row.label, row.note.as_deref())).collect();
        let begins = Some("begins on 18 January, 08:00 UTC");
        assert_eq!(
            shown,
            [
                ("e", "Inactive", None),
                ("d", "Inactive", None),
                ("f", "Inactive", None),
                ("c", "Inactive, not yet valid", begins),
                ("g", "Inactive, never valid", None),
                ("b", "Inactive, expired", None),
                ("a", "Inactive, expired", None),
            ]
        );
    }

    #[test]
    fn a_scope_names_the_certificate_with_which_its_coverage_ends() {
        let organization = vec![
            certificate("a").valid(-9..30),
            certificate("b").valid(-9..20),
            certificate("c").valid(40..90),
            certificate("d").valid(-9..99).inactive(),
        ];
        let own = vec![certificate("e").valid(20..50), certificate("c").valid(35..80)];
        let (interval, timeout) = (Duration::from_secs(300), Duration::from_secs(240));
        let timing = PollTiming { interval, timeout };
        let state = PollState {
            snapshot: Some(snapshot(&[organization, own, vec![]])),
            ..PollState::new(Instant::now(), timing)
        };
        let snapshot = state.snapshot.as_ref().unwrap();
        let rows = ScopeRow::all(&state, snapshot, NOW as f64, Thresholds::default());
        let ends = rows.iter().map(|row| (row.anchor(), row.last_to_end().unwrap().name));
        let ends: Vec<_> = ends.collect();
        let pair = |scope: &str, name: &str| (scope.into(), name.into());
        // The project's own entry of c counts, so that it has no gap.
        assert_eq!(ends, [pair("organization", "a"), pair("proj_1", "a"), pair("proj_0", "c")]);
    }

    #[test]
    fn a_certificate_names_a_project_in_which_other_dates_count() {
        let note = |organization: Certificate, own: Certificate| {
            let snapshot = snapshot(&[vec![organization], vec![], vec![own.clone()], vec![own]]);
            let inventory = &snapshot.inventory;
            CertificateRow::all(inventory, NOW as f64, Thresholds::default()).remove(0).note
        };
        let (begins, differs) = (
            "begins on 16 January, 08:00 UTC",
            "project proj_1 lists it with other dates, which count there",
        );
        let of = |days| certificate("a").valid(days);
        for (organization, own, expected) in [
            (of(-9..90), of(-9..90), None),
            (of(-9..90), of(-9..80), Some(differs.to_owned())),
            (of(-9..90).inactive(), of(-8..90), Some(differs.to_owned())),
            (certificate("a"), of(-9..90), Some(differs.to_owned())),
            (of(1..90), of(1..80), Some(format!("{begins}; {differs}"))),
            // Where it is inactive, the organization's dates count.
            (of(-9..90), of(-9..80).inactive(), None),
        ] {
            assert_eq!(note(organization, own), expected);
        }
    }

    #[test]
    fn what_ends_first_comes_first_and_what_is_inactive_last() {
        let ending = |id, days: i64| certificate(id).dated(None, Some(NOW + days * DAY));
        let of_many = ending("b", 50);
        let snapshot = snapshot(&[
            vec![
                certificate("a"),
                of_many.clone(),
                ending("c", 60).inactive(),
                ending("d", -1),
                ending("e", 1).inactive(),
                certificate("g").dated(Some(NOW + 90 * DAY), Some(NOW + 80 * DAY)),
            ],
            vec![of_many.clone(), ending("f", 55)],
            vec![of_many.clone(), ending("c", 60)],
            vec![of_many],
        ]);
        let rows = CertificateRow::all(&snapshot.inventory, NOW as f64, Thresholds::default());
        let shown: Vec<_> =
            rows.iter().map(|row| (&*row.id, row.label, row.active_at.as_deref())).collect();
        assert_eq!(
            shown,
            [
                ("d", "Expired", Some("Organization")),
                ("b", "Valid", Some("Organization, proj_0, proj_1, 1 more")),
                ("f", "Valid", Some("proj_0")),
                ("c", "Valid", Some("proj_1")),
                ("g", "Never valid", Some("Organization")),
                ("a", "Valid", Some("Organization")),
                ("e", "Inactive", None),
            ]
        );
    }
}
