use std::sync::Arc;

use super::rotation::{Known, RotationGroup, known};
use super::scope::{Scope, active, in_effect};
use super::{Certificate, Listing, Malformed, Project, UnixSeconds};

/// The lists as they were last read, and what follows from them. Built whole, never changed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    organization: Arc<Listing<Certificate>>,
    projects: Projects,
    conclusions: Arc<Conclusions>,
}

/// What follows from the lists. Shared by snapshots of the same lists.
#[derive(Debug)]
struct Conclusions {
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

impl Conclusions {
    fn draw(organization: &Listing<Certificate>, projects: &Projects, group: &RotationGroup) -> Self {
        let of_project = |project: &ProjectCertificates| Scope::new(in_effect(&project.certificates, organization));
        let lists: Vec<_> = std::iter::once(&*organization.items)
            .chain(projects.items.iter().map(|project| &*project.certificates.items))
            .collect();
        Self {
            scope: Scope::new(active(organization)),
            project_scopes: projects.items.iter().map(of_project).collect(),
            known: known(group, &lists),
        }
    }
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
    /// Draws the conclusions from the lists, or takes them over from a snapshot of the same lists.
    #[must_use]
    pub fn new(
        organization: Arc<Listing<Certificate>>,
        projects: Projects,
        group: &RotationGroup,
        before: Option<&Self>,
    ) -> Self {
        let conclusions = match before {
            Some(before) if before.has_lists(&organization, &projects) => Arc::clone(&before.conclusions),
            _ => Arc::new(Conclusions::draw(&organization, &projects, group)),
        };
        Self { organization, projects, conclusions }
    }

    /// Whether it was built of these very lists.
    fn has_lists(&self, organization: &Arc<Listing<Certificate>>, projects: &Projects) -> bool {
        let same_list = |(a, b): (&ProjectCertificates, &ProjectCertificates)| {
            Arc::ptr_eq(&a.certificates, &b.certificates) && a.project == b.project
        };
        Arc::ptr_eq(&self.organization, organization)
            && self.projects.items.len() == projects.items.len()
            && self.projects.items.iter().zip(&projects.items).all(same_list)
    }

    /// Whether it is what a snapshot of these would be.
    #[must_use]
    pub fn is_of(&self, organization: &Arc<Listing<Certificate>>, projects: &Projects) -> bool {
        Arc::ptr_eq(&self.organization, organization) && self.projects == *projects
    }

    /// Whether both say the same of every certificate and scope; projects may have been read at other times.
    #[must_use]
    pub fn has_lists_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.conclusions, &other.conclusions)
    }

    /// The organization's list.
    #[must_use]
    pub fn organization(&self) -> &Arc<Listing<Certificate>> {
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
        &self.conclusions.scope
    }

    /// Each project with its scope, sorted by identifier.
    pub fn project_scopes(&self) -> impl Iterator<Item = (&ProjectCertificates, &Scope)> {
        self.projects.items.iter().zip(&self.conclusions.project_scopes)
    }

    /// The scope of the project at this position.
    #[must_use]
    pub fn project_scope(&self, position: usize) -> &Scope {
        &self.conclusions.project_scopes[position]
    }

    /// The first instant after `now` at which an active certificate begins or ends in any scope.
    #[must_use]
    pub fn next_change(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        let projects = self.conclusions.project_scopes.iter().filter_map(|scope| scope.next_change(now));
        self.conclusions.scope.next_change(now).into_iter().chain(projects).min()
    }

    /// Every certificate of any list, once, sorted by identifier, with the one that supersedes it.
    pub fn certificates(&self) -> impl Iterator<Item = (&Certificate, Option<&Certificate>)> {
        (0..self.certificate_count()).map(|position| self.certificate(position))
    }

    /// How many of them there are.
    #[must_use]
    pub fn certificate_count(&self) -> usize {
        self.conclusions.known.len()
    }

    /// The one at this position.
    #[must_use]
    pub fn certificate(&self, position: usize) -> (&Certificate, Option<&Certificate>) {
        let known = self.conclusions.known[position];
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
