//! A snapshot as JSON, for the API and for `check`. Its fields are described in `src/web/openapi.json`.
//!
//! It holds instants, never days left, so that it stays the same while the facts do.

use std::collections::HashMap;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::text::rfc3339;
use crate::clients::{
    Assessment, FailedFile, FileKind, Judgement, Problem, Refusal, TrustPath, Verdict,
};
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
    clients: Vec<ClientEntry<'a>>,
    client_files_failed: Vec<FailedFileEntry<'a>>,
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
    /// Whether `expires_at` is that of its PEM, since the list gives none.
    expires_at_from_pem: bool,
    /// What is odd about its PEM; none if that was not read.
    problems: Option<&'a [Problem]>,
    /// None if there are no clients.
    dependent_clients: Option<u64>,
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

/// A file of a client in one of its scopes.
#[derive(Debug, serde::Serialize)]
struct ClientEntry<'a> {
    client: &'a str,
    file: &'a str,
    /// Whether it is judged as a leaf that its issuer signs now.
    issuer: bool,
    scope: &'static str,
    project_id: Option<&'a str>,
    project_name: Option<&'a str>,
    /// None while it cannot be known.
    accepted: Option<bool>,
    refusal: Option<Refusal>,
    /// The names from the leaf to the anchor: the path that it is let in by, or the one that is at fault.
    path: Vec<&'a str>,
    /// That anchor.
    certificate_id: Option<&'a str>,
    #[serde(flatten)]
    dates: Instants<3>,
}

impl<'a> ClientEntry<'a> {
    fn new(judgement: Judgement<'a>, now: f64) -> Self {
        let Judgement { client, file, project, acceptance, .. } = judgement;
        let issuer = file.kind == FileKind::Issuer;
        let Verdict { accepted, refused_from, refusal, trust_path, .. } =
            acceptance.at(whole_second(now));
        let path: Vec<_> = trust_path.iter().flat_map(TrustPath::names).collect();
        // The leaf of an issuer does not exist.
        let valid = (!issuer).then(|| file.chain.valid());
        Self {
            client: &client.name,
            file: &file.path,
            issuer,
            scope: if project.is_some() { "project" } else { "organization" },
            project_id: project.map(|project| &*project.id),
            project_name: project.and_then(|project| project.name.as_deref()),
            accepted,
            refusal,
            path: path.into_iter().skip(usize::from(issuer)).collect(),
            certificate_id: trust_path.map(|trust_path| trust_path.certificate_id()),
            dates: Instants([
                ("refused_from", refused_from),
                ("not_before", valid.map(|valid| valid.begin)),
                ("not_after", valid.map(|valid| valid.end)),
            ]),
        }
    }
}

#[derive(Debug, serde::Serialize)]
struct FailedFileEntry<'a> {
    client: &'a str,
    file: &'a str,
    message: &'a str,
}

impl<'a> Document<'a> {
    /// What `inventory` and `clients` say. Of all of it, `runway_end` and the verdicts on clients alone depend on `now`, and
    /// change only with the epochs.
    pub(crate) fn new(inventory: &'a Inventory, clients: Option<&'a Assessment>, now: f64) -> Self {
        let problems: HashMap<_, _> = clients
            .iter()
            .flat_map(|clients| clients.problems())
            .map(|(certificate, problems)| (&*certificate.id, problems))
            .collect();
        let configured = clients.filter(|clients| !clients.clients().is_empty());
        let dependent = configured.map(|clients| clients.dependent_clients(whole_second(now)));
        let dependent: Option<HashMap<_, _>> = dependent
            .map(|counts| counts.into_iter().map(|(it, count)| (&*it.id, count)).collect());
        let project =
            |project: &'a Project| ProjectEntry { id: &project.id, name: project.name.as_deref() };
        let certificates = inventory.certificates().iter().map(|used| CertificateEntry {
            id: &used.certificate.id,
            name: used.certificate.name.as_deref(),
            active: used.active_at_organization,
            active_projects: inventory.active_projects(used).map(project).collect(),
            superseded_by: inventory.successor(used).map(|successor| &*successor.certificate.id),
            expires_at_from_pem: used.certificate.expires_at_from_pem,
            problems: problems.get(&*used.certificate.id).copied().flatten(),
            dependent_clients: dependent
                .as_ref()
                .and_then(|counts| counts.get(&*used.certificate.id).copied().flatten()),
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
        let failed = clients.iter().flat_map(|clients| clients.clients()).flat_map(|client| {
            client.failed.iter().map(|FailedFile { path, message }| FailedFileEntry {
                client: &client.name,
                file: path,
                message,
            })
        });
        let judged = clients.iter().flat_map(|clients| clients.iter());
        Self {
            certificates: certificates.collect(),
            scopes,
            clients: judged.map(|judgement| ClientEntry::new(judgement, now)).collect(),
            client_files_failed: failed.collect(),
            malformed_certificates: inventory.malformed().count(),
            duplicate_certificates: inventory.duplicates(),
            vanished_projects: inventory.lists().project_faults.vanished,
            unselected_projects: inventory.lists().project_faults.unselected,
        }
    }
}
