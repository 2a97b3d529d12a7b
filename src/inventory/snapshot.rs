use std::sync::Arc;

use super::rotation::{Known, RotationGroup, known};
use super::scope::{Scope, active, in_effect};
use super::{Certificate, Listing, Malformed, Project, UnixSeconds};

/// The lists as they were last read, and what follows from them. Built whole, never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    organization: Listing<Certificate>,
    projects: Projects,
    scope: Scope,
    /// In the order of the projects.
    project_scopes: Box<[Scope]>,
    known: Box<[Known]>,
}

/// The projects as they were last read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projects {
    /// Each project whose list has been read at least once, sorted by identifier.
    pub items: Box<[ProjectCertificates]>,
    /// Entries of the list of projects that could not be read.
    pub malformed: Malformed,
    /// Entries of the list of projects that came twice.
    pub duplicates: u64,
    /// Projects that were listed, but gone when their certificates were asked for.
    pub vanished: u64,
}

impl Projects {
    /// The project with this identifier.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&ProjectCertificates> {
        let found = self.items.binary_search_by(|item| (*item.project.id).cmp(id)).ok()?;
        Some(&self.items[found])
    }
}

/// A project with the certificates that were last read whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectCertificates {
    /// The project as it was last listed.
    pub project: Project,
    /// Its list. Shared with the snapshot before where it could not be read anew.
    pub certificates: Arc<Listing<Certificate>>,
    /// When the last page of it had been read, in seconds since the epoch.
    pub read_at: f64,
}

impl Snapshot {
    /// Draws the conclusions from the lists.
    #[must_use]
    pub fn new(organization: Listing<Certificate>, projects: Projects, group: &RotationGroup) -> Self {
        let scope = Scope::new(active(&organization));
        let of_project = |project: &ProjectCertificates| Scope::new(in_effect(&project.certificates, &organization));
        let project_scopes = projects.items.iter().map(of_project).collect();
        let lists: Vec<_> = std::iter::once(&*organization.items)
            .chain(projects.items.iter().map(|project| &*project.certificates.items))
            .collect();
        let known = known(group, &lists);
        Self { organization, projects, scope, project_scopes, known }
    }

    /// The organization's list.
    #[must_use]
    pub fn organization(&self) -> &Listing<Certificate> {
        &self.organization
    }

    /// The projects; none where they are not polled.
    #[must_use]
    pub fn projects(&self) -> &Projects {
        &self.projects
    }

    /// The organization's scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Each project with its scope, sorted by identifier.
    pub fn project_scopes(&self) -> impl Iterator<Item = (&ProjectCertificates, &Scope)> {
        self.projects.items.iter().zip(&self.project_scopes)
    }

    /// The scope of the project at this position.
    #[must_use]
    pub fn project_scope(&self, position: usize) -> &Scope {
        &self.project_scopes[position]
    }

    /// The first instant after `now` at which an active certificate begins or ends in any scope.
    #[must_use]
    pub fn next_change(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        let projects = self.project_scopes.iter().filter_map(|scope| scope.next_change(now));
        self.scope.next_change(now).into_iter().chain(projects).min()
    }

    /// Every certificate of any list, once, sorted by identifier, with the one that supersedes it.
    pub fn certificates(&self) -> impl Iterator<Item = (&Certificate, Option<&Certificate>)> {
        (0..self.certificate_count()).map(|position| self.certificate(position))
    }

    /// How many of them there are.
    #[must_use]
    pub fn certificate_count(&self) -> usize {
        self.known.len()
    }

    /// The one at this position.
    #[must_use]
    pub fn certificate(&self, position: usize) -> (&Certificate, Option<&Certificate>) {
        let known = self.known[position];
        let at = |(list, index): (u32, u32)| match list {
            0 => &self.organization.items[index as usize],
            project => &self.projects.items[project as usize - 1].certificates.items[index as usize],
        };
        (at(known.at), known.successor.map(at))
    }

    /// List entries that could not be read, in all lists.
    #[must_use]
    pub fn malformed(&self) -> Malformed {
        let mut all = self.organization.malformed.clone();
        all.merge(&self.projects.malformed);
        for project in &self.projects.items {
            all.merge(&project.certificates.malformed);
        }
        all
    }

    /// List entries that came twice, in all lists.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        let of_projects: u64 = self.projects.items.iter().map(|project| project.certificates.duplicates).sum();
        self.organization.duplicates + self.projects.duplicates + of_projects
    }
}
