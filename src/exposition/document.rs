//! A snapshot as JSON, for the API and for `check`. Its fields are described in `src/web/openapi.json`.
//!
//! It holds instants, never days left, so that it stays the same while what it tells does.

use serde::Serialize;

use crate::inventory::{
    Anchor, Certificate, Project, ScopeState, Severity, Snapshot, Standing, Thresholds, UnixSeconds, rfc3339,
};

/// A snapshot.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    certificates: Vec<CertificateEntry<'a>>,
    scopes: Vec<ScopeEntry<'a>>,
    malformed_certificates: u64,
    duplicate_certificates: u64,
    vanished_projects: u64,
}

#[derive(Debug, Serialize)]
struct CertificateEntry<'a> {
    id: &'a str,
    name: Option<&'a str>,
    active: bool,
    active_projects: Vec<ProjectEntry<'a>>,
    superseded_by: Option<&'a str>,
    created_at: Option<String>,
    created_at_unix: Option<UnixSeconds>,
    valid_at: Option<String>,
    valid_at_unix: Option<UnixSeconds>,
    expires_at: Option<String>,
    expires_at_unix: Option<UnixSeconds>,
}

#[derive(Debug, Serialize)]
struct ProjectEntry<'a> {
    id: &'a str,
    name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ScopeEntry<'a> {
    scope: &'static str,
    project_id: Option<&'a str>,
    project_name: Option<&'a str>,
    enforced: bool,
    unknown_expiry_certificates: usize,
    runway_end: Option<String>,
    runway_end_unix: Option<UnixSeconds>,
    coverage: Vec<SpanEntry>,
}

#[derive(Debug, Serialize)]
struct SpanEntry {
    from: Option<String>,
    from_unix: Option<UnixSeconds>,
    until: String,
    until_unix: UnixSeconds,
}

impl<'a> Document<'a> {
    /// What `snapshot` says. Of all of it, `runway_end` alone depends on `now`: past a gap, it is the next span's.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, now: f64) -> Self {
        Self {
            certificates: snapshot.anchors().into_iter().map(CertificateEntry::from).collect(),
            scopes: snapshot.scope_states(now, Thresholds::default()).map(ScopeEntry::from).collect(),
            malformed_certificates: snapshot.malformed().count,
            duplicate_certificates: snapshot.duplicates(),
            vanished_projects: snapshot.projects().vanished,
        }
    }
}

impl<'a> From<Anchor<'a>> for CertificateEntry<'a> {
    fn from(Anchor { certificate, successor, at_organization, at_projects }: Anchor<'a>) -> Self {
        let Certificate { id, name, created_at, valid_at, expires_at, .. } = certificate;
        Self {
            id,
            name: name.as_deref(),
            active: at_organization,
            active_projects: at_projects.into_iter().map(ProjectEntry::from).collect(),
            superseded_by: successor.map(|successor| &*successor.id),
            created_at: created_at.map(rfc3339),
            created_at_unix: *created_at,
            valid_at: valid_at.map(rfc3339),
            valid_at_unix: *valid_at,
            expires_at: expires_at.map(rfc3339),
            expires_at_unix: *expires_at,
        }
    }
}

impl<'a> From<&'a Project> for ProjectEntry<'a> {
    fn from(project: &'a Project) -> Self {
        Self { id: &project.id, name: project.name.as_deref() }
    }
}

impl<'a> From<ScopeState<'a>> for ScopeEntry<'a> {
    fn from(ScopeState { project, scope, standing, .. }: ScopeState<'a>) -> Self {
        let end = standing.runway_end();
        let spans = scope.coverage().iter().map(|(begin, end)| {
            let from = (*begin > UnixSeconds::MIN).then_some(*begin);
            SpanEntry { from: from.map(rfc3339), from_unix: from, until: rfc3339(*end), until_unix: *end }
        });
        Self {
            scope: if project.is_some() { "project" } else { "organization" },
            project_id: project.map(|project| &*project.id),
            project_name: project.and_then(|project| project.name.as_deref()),
            enforced: standing != Standing::NotEnforced,
            unknown_expiry_certificates: scope.of_unknown_expiry(),
            runway_end: end.map(rfc3339),
            runway_end_unix: end,
            coverage: spans.collect(),
        }
    }
}

/// A severity as a word, the same wherever machines read it.
#[must_use]
pub const fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
