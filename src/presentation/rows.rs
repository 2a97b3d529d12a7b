//! Scopes and certificates as rows, in whatever layout they are shown.

use super::sanitize::{display_name, name_or_id, sanitize};
use super::text::{ago, format_date, format_timestamp, relative};
use crate::inventory::{
    CertificateUse, Coverage, Inventory, Project, Scope, Severity, Snapshot, Thresholds,
    UnixSeconds, whole_second,
};
use crate::poll_state::PollState;

/// Of the projects at which a certificate is active, as many are named.
const NAMED_PROJECTS: usize = 2;

#[derive(Debug)]
pub(crate) struct ScopeRow<'a> {
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
        let (inventory, api_time) = (&snapshot.inventory, state.api_time(now));
        let reads = std::iter::once(snapshot.organization_read_at)
            .chain(snapshot.projects_read_at.iter().copied());
        let read = inventory.scopes().zip(reads).map(|((project, scope), read_at)| {
            let age =
                state.is_late(read_at, now).then(|| format!("as it was {}", ago(read_at, now)));
            Self::new(project, Some(scope), age, api_time, thresholds)
        });
        let unread = inventory
            .unread_projects()
            .iter()
            .map(|project| Self::new(Some(project), None, None, api_time, thresholds));
        let mut rows: Vec<_> = read.chain(unread).collect();
        rows.sort_by_key(|row| row.coverage.unwrap_or(Coverage::Unknown).order());
        rows
    }

    fn new(
        project: Option<&Project>,
        scope: Option<&'a Scope>,
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
            resumes_at,
            spans: scope.map_or(&[], Scope::coverage),
        }
    }
}

#[derive(Debug)]
pub(crate) struct CertificateRow<'a> {
    pub used: &'a CertificateUse,
    pub label: &'static str,
    pub severity: Severity,
    /// None if the certificate has no name.
    pub name: Option<String>,
    pub id: String,
    pub end: Option<String>,
    pub relative_end: String,
    /// None if the certificate is active nowhere.
    pub active_at: Option<String>,
    /// The name of what supersedes it.
    pub successor: Option<String>,
    /// When the certificate is valid; an unknown begin or end counts as always.
    pub spans: [(UnixSeconds, UnixSeconds); 1],
}

impl<'a> CertificateRow<'a> {
    pub(super) fn name_or_id(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.id)
    }

    /// Every certificate: those that are active before the others, and what ends first first.
    pub(super) fn all(inventory: &'a Inventory, now: f64, thresholds: Thresholds) -> Vec<Self> {
        let uses = inventory.certificates().iter();
        let mut rows: Vec<_> =
            uses.map(|used| Self::new(inventory, used, now, thresholds)).collect();
        rows.sort_by_key(|row| {
            (!row.used.is_active(), row.used.certificate.expires_at.unwrap_or(UnixSeconds::MAX))
        });
        rows
    }

    fn new(
        inventory: &'a Inventory,
        used: &'a CertificateUse,
        now: f64,
        thresholds: Thresholds,
    ) -> Self {
        let certificate = &used.certificate;
        let severity = used.severity(now, thresholds);
        let successor = inventory.successor(used).map(|successor| &successor.certificate);
        Self {
            used,
            label: match (used.is_active(), used.has_expired(now), used.is_superseded()) {
                (false, true, _) => "Inactive, expired",
                (false, false, _) => "Inactive",
                _ if used.is_never_valid() => "Never valid",
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
            active_at: active_at(inventory, used),
            successor: successor
                .map(|successor| name_or_id(successor.name.as_deref(), &successor.id)),
            spans: [(
                certificate.valid_at.unwrap_or(UnixSeconds::MIN),
                certificate.expires_at.unwrap_or(UnixSeconds::MAX),
            )],
        }
    }
}

/// Where it is active, in words; the first few projects are named.
fn active_at(inventory: &Inventory, used: &CertificateUse) -> Option<String> {
    let organization = used.active_at_organization.then(|| "Organization".into());
    let projects = inventory.active_projects(used);
    let more = projects.len().saturating_sub(NAMED_PROJECTS);
    let named = projects
        .take(NAMED_PROJECTS)
        .map(|project| name_or_id(project.name.as_deref(), &project.id));
    let more = (more > 0).then(|| format!("{more} more"));
    let scopes: Vec<_> = organization.into_iter().chain(named).chain(more).collect();
    (!scopes.is_empty()).then(|| scopes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{DAY, NOW, certificate, snapshot};

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
