//! A snapshot as JSON, for the API and for `check`. Its fields are described in `src/web/openapi.json`.
//!
//! It holds instants, never days left, so that it stays the same while the facts do.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::text::rfc3339;
use crate::inventory::{Inventory, Project, UnixSeconds, whole_second};

/// Instants by name, to be flattened into an object. Each comes twice: `x` as RFC 3339 and `x_unix` in seconds, both null
/// if the instant is not known.
#[derive(Debug)]
pub(crate) struct Instants<const N: usize>(pub [(&'static str, Option<UnixSeconds>); N]);

impl<const N: usize> Serialize for Instants<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2 * N))?;
        for (name, instant) in &self.0 {
            map.serialize_entry(name, &instant.map(rfc3339))?;
            map.serialize_entry(&format!("{name}_unix"), instant)?;
        }
        map.end()
    }
}

#[derive(Debug, serde::Serialize)]
pub(crate) struct Document<'a> {
    certificates: Vec<CertificateEntry<'a>>,
    scopes: Vec<ScopeEntry<'a>>,
    malformed_certificates: u64,
    duplicate_certificates: u64,
    vanished_projects: u64,
    unselected_projects: u64,
}

#[derive(Debug, serde::Serialize)]
struct CertificateEntry<'a> {
    id: &'a str,
    name: Option<&'a str>,
    active: bool,
    active_projects: Vec<ProjectEntry<'a>>,
    superseded_by: Option<&'a str>,
    #[serde(flatten)]
    dates: Instants<3>,
}

#[derive(Debug, serde::Serialize)]
struct ProjectEntry<'a> {
    id: &'a str,
    name: Option<&'a str>,
}

#[derive(Debug, serde::Serialize)]
struct ScopeEntry<'a> {
    scope: &'static str,
    project_id: Option<&'a str>,
    project_name: Option<&'a str>,
    /// None if it is not known.
    enforced: Option<bool>,
    /// Whether the scope's own list was ever read.
    read: bool,
    unknown_expiry_certificates: usize,
    #[serde(flatten)]
    runway_end: Instants<1>,
    coverage: Vec<Instants<2>>,
}

impl<'a> Document<'a> {
    /// What `inventory` says. Of all of it, `runway_end` alone depends on `now`, and changes only with the epoch.
    pub(crate) fn new(inventory: &'a Inventory, now: f64) -> Self {
        let project =
            |project: &'a Project| ProjectEntry { id: &project.id, name: project.name.as_deref() };
        let certificates = inventory.certificates().iter().map(|used| CertificateEntry {
            id: &used.certificate.id,
            name: used.certificate.name.as_deref(),
            active: used.active_at_organization,
            active_projects: inventory.active_projects(used).map(project).collect(),
            superseded_by: inventory.successor(used).map(|successor| &*successor.certificate.id),
            dates: Instants([
                ("created_at", used.certificate.created_at),
                ("valid_at", used.certificate.valid_at),
                ("expires_at", used.certificate.expires_at),
            ]),
        });
        // What has no known begin has been valid since the beginning of time.
        let known = |begin: UnixSeconds| (begin > UnixSeconds::MIN).then_some(begin);
        let span = |(begin, end): &_| Instants([("from", known(*begin)), ("until", Some(*end))]);
        let read = inventory.scopes().map(|(project, scope)| ScopeEntry {
            scope: if project.is_some() { "project" } else { "organization" },
            project_id: project.map(|project| &*project.id),
            project_name: project.and_then(|project| project.name.as_deref()),
            enforced: scope.enforced(),
            read: true,
            unknown_expiry_certificates: scope.unknown_expiry(),
            runway_end: Instants([("runway_end", scope.runway_end(whole_second(now)))]),
            coverage: scope.coverage().iter().map(span).collect(),
        });
        let unread = inventory.unread_projects().iter().map(|project| ScopeEntry {
            scope: "project",
            project_id: Some(&project.id),
            project_name: project.name.as_deref(),
            enforced: None,
            read: false,
            unknown_expiry_certificates: 0,
            runway_end: Instants([("runway_end", None)]),
            coverage: Vec::new(),
        });
        let mut scopes: Vec<_> = read.chain(unread).collect();
        scopes.sort_by_key(|entry| entry.project_id);
        Self {
            certificates: certificates.collect(),
            scopes,
            malformed_certificates: inventory.malformed().count(),
            duplicate_certificates: inventory.duplicates(),
            vanished_projects: inventory.lists().project_faults.vanished,
            unselected_projects: inventory.lists().project_faults.unselected,
        }
    }
}
