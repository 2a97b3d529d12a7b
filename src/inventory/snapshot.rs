use std::sync::Arc;

use super::listing::Since;
use super::rotation::{Known, Lists, RotationGroup, known, known_after};
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
    group: RotationGroup,
    scope: Arc<Scope>,
    /// In the order of the projects.
    project_scopes: Box<[Arc<Scope>]>,
    known: Box<[Known]>,
    /// What of `known` has changed since conclusions from lists of the same certificates.
    since: Option<Since<Self>>,
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

/// So many changes are worked in one by one. Each looks at all certificates for those of the same authority; from more of
/// them everything is concluded anew.
const FEW: usize = 64;

impl Conclusions {
    fn draw(organization: &Listing<Certificate>, projects: &Projects, group: &RotationGroup) -> Self {
        let scope = |project: &ProjectCertificates| Scope::new(in_effect(&project.certificates, organization)).into();
        Self {
            group: group.clone(),
            scope: Scope::new(active(organization)).into(),
            project_scopes: projects.items.iter().map(scope).collect(),
            known: known(group, Lists(&lists(organization, projects))),
            since: None,
        }
    }

    /// Draws conclusions only from what has changed since a snapshot of the same certificates in the same projects, if that
    /// is what `before` is of.
    fn follow(
        before: &Snapshot,
        organization: &Arc<Listing<Certificate>>,
        projects: &Projects,
        group: &RotationGroup,
    ) -> Option<Self> {
        let Self { scope, project_scopes, known, .. } = &*before.conclusions;
        if before.conclusions.group != *group || before.projects.items.len() != projects.items.len() {
            return None;
        }
        let at_organization = organization.changed_since(&before.organization)?;
        let at_project = |(new, old): (&'_ ProjectCertificates, &ProjectCertificates)| {
            let is_same = new.project.id == old.project.id;
            new.certificates.changed_since(&old.certificates).filter(|_| is_same).map(<[u32]>::to_vec)
        };
        let at_projects: Vec<Vec<u32>> =
            projects.items.iter().zip(&before.projects.items).map(at_project).collect::<Option<_>>()?;
        if at_projects.iter().map(Vec::len).sum::<usize>() + at_organization.len() > FEW {
            return None;
        }

        let scope = if at_organization.is_empty() {
            Arc::clone(scope)
        } else {
            let of = |list: &Arc<Listing<Certificate>>| {
                let changed = at_organization.iter().map(|position| Arc::clone(&list.items[*position as usize]));
                changed.filter(|certificate| certificate.active).collect::<Vec<_>>()
            };
            let (gone, come) = (of(&before.organization), of(organization));
            scope.following(gone.iter().map(|gone| &**gone), come.iter().map(|come| &**come)).into()
        };
        let project_scope = |((project, changed), scope): ((&ProjectCertificates, &Vec<u32>), &Arc<Scope>)| {
            if at_organization.is_empty() && changed.is_empty() {
                Arc::clone(scope)
            } else {
                Scope::new(in_effect(&project.certificates, organization)).into()
            }
        };
        let project_scopes = projects.items.iter().zip(&at_projects).zip(project_scopes).map(project_scope).collect();
        let at_projects = (1..).zip(&at_projects).flat_map(|(list, changed)| changed.iter().map(move |at| (list, *at)));
        let changed = at_organization.iter().map(|at| (0, *at)).chain(at_projects);
        let (lists, lists_before) = (lists(organization, projects), lists(&before.organization, &before.projects));
        let (known, changed) = known_after(group, Lists(&lists), (known, Lists(&lists_before)), changed);
        let since = Some(Since::new(&before.conclusions, changed));
        Some(Self { group: group.clone(), scope, project_scopes, known, since })
    }
}

fn lists<'a>(organization: &'a Listing<Certificate>, projects: &'a Projects) -> Vec<&'a [Arc<Certificate>]> {
    let of_projects = projects.items.iter().map(|project| &*project.certificates.items);
    std::iter::once(&*organization.items).chain(of_projects).collect()
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
    /// Draws the conclusions from the lists: all of them, or what follows from the changes since a snapshot before.
    #[must_use]
    pub fn new(
        organization: Arc<Listing<Certificate>>,
        projects: Projects,
        group: &RotationGroup,
        before: Option<&Self>,
    ) -> Self {
        let conclusions = match before {
            Some(before) if before.concludes(&organization, &projects, group) => Arc::clone(&before.conclusions),
            _ => before
                .and_then(|before| Conclusions::follow(before, &organization, &projects, group))
                .unwrap_or_else(|| Conclusions::draw(&organization, &projects, group))
                .into(),
        };
        Self { organization, projects, conclusions }
    }

    /// Whether its conclusions are those from these lists.
    fn concludes(&self, organization: &Arc<Listing<Certificate>>, projects: &Projects, group: &RotationGroup) -> bool {
        let is_same_list = |(a, b): (&ProjectCertificates, &ProjectCertificates)| {
            Arc::ptr_eq(&a.certificates, &b.certificates) && a.project.id == b.project.id
        };
        self.conclusions.group == *group
            && Arc::ptr_eq(&self.organization, organization)
            && self.projects.items.len() == projects.items.len()
            && self.projects.items.iter().zip(&projects.items).all(is_same_list)
    }

    /// Whether it is what a snapshot of these would be.
    #[must_use]
    pub fn is_of(&self, organization: &Arc<Listing<Certificate>>, projects: &Projects, group: &RotationGroup) -> bool {
        self.concludes(organization, projects, group) && self.projects == *projects
    }

    /// The positions of the certificates that are others than in `before`, or that another one supersedes, where both
    /// snapshots are of the same certificates and that is known without a comparison.
    #[must_use]
    pub fn certificates_changed_since(&self, before: &Self) -> Option<&[u32]> {
        if Arc::ptr_eq(&self.conclusions, &before.conclusions) {
            return Some(&[]);
        }
        self.conclusions.since.as_ref()?.changed(&before.conclusions)
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
        self.projects.items.iter().zip(self.conclusions.project_scopes.iter().map(|scope| &**scope))
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
            0 => &*self.organization.items[index as usize],
            project => &*self.projects.items[project as usize - 1].certificates.items[index as usize],
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn certificate(id: u8, (authority, active, begin, end): (u8, bool, i64, Option<i64>)) -> Certificate {
        Certificate {
            id: format!("cert_{id}").into(),
            name: Some(format!("{}-{id}", char::from(b'a' + authority)).into()),
            active,
            created_at: None,
            valid_at: Some(begin),
            expires_at: end,
        }
    }

    fn some_facts() -> impl Strategy<Value = (u8, bool, i64, Option<i64>)> {
        (0..3_u8, any::<bool>(), 0..40_i64, prop::option::of(0..40_i64))
    }

    fn some_list() -> impl Strategy<Value = Vec<Certificate>> {
        prop::collection::btree_map(0..12_u8, some_facts(), 0..8)
            .prop_map(|facts| facts.into_iter().map(|(id, facts)| certificate(id, facts)).collect())
    }

    fn snapshot(lists: &[Arc<Listing<Certificate>>], group: &RotationGroup, before: Option<&Snapshot>) -> Snapshot {
        let project = |(number, certificates): (usize, &Arc<Listing<Certificate>>)| ProjectCertificates {
            project: Project { id: format!("proj_{number}").into(), name: None, archived: false },
            certificates: Arc::clone(certificates),
            read_at: 0.0,
        };
        let projects = Projects { items: lists[1..].iter().enumerate().map(project).collect(), ..Projects::default() };
        Snapshot::new(Arc::clone(&lists[0]), projects, group, before)
    }

    type Said<'a> = (Vec<(&'a Certificate, Option<&'a Certificate>)>, Vec<&'a Scope>);

    fn said(snapshot: &Snapshot) -> Said<'_> {
        let of_projects = snapshot.project_scopes().map(|(_, scope)| scope);
        (snapshot.certificates().collect(), std::iter::once(snapshot.scope()).chain(of_projects).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_came_before_makes_no_difference(
            lists in prop::collection::vec(some_list(), 1..5),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), some_facts()), 0..4),
        ) {
            let group = RotationGroup::new(Regex::new("^([a-z])").unwrap());
            let listed = |list: &Vec<Certificate>| Arc::new(Listing::new(list.clone(), Malformed::default()));
            let before: Vec<_> = lists.iter().map(listed).collect();
            let mut changed = lists.clone();
            for (list, index, facts) in changes {
                let list = list.index(lists.len());
                if !lists[list].is_empty() {
                    let index = index.index(lists[list].len());
                    let id = lists[list][index].id["cert_".len()..].parse().unwrap();
                    changed[list][index] = certificate(id, facts);
                }
            }
            let after: Vec<_> = before
                .iter()
                .zip(changed)
                .map(|(before, read)| {
                    Listing::following(Some(before), read.into_iter().map(Arc::new), Malformed::default(), Box::default())
                })
                .collect();
            let before = snapshot(&before, &group, None);
            let (following, anew) = (snapshot(&after, &group, Some(&before)), snapshot(&after, &group, None));
            prop_assert_eq!(said(&following), said(&anew));

            // Nothing but what is told to have changed has.
            let changed = following.certificates_changed_since(&before).unwrap();
            let named = |(certificate, successor): (&'_ Certificate, Option<&Certificate>)| {
                (certificate.clone(), successor.map(|successor| successor.id.clone()))
            };
            for (position, (old, new)) in (0..).zip(before.certificates().zip(following.certificates())) {
                prop_assert!(named(old) == named(new) || changed.contains(&position), "{position}");
            }
        }
    }

    #[test]
    fn another_rotation_group_is_another_conclusion() {
        let list = vec![certificate(1, (0, true, 0, Some(10))), certificate(2, (1, true, 0, Some(20)))];
        let lists = [Arc::new(Listing::new(list, Malformed::default()))];
        let group = |pattern| RotationGroup::new(Regex::new(pattern).unwrap());
        let before = snapshot(&lists, &group("^([a-z])"), None);
        let superseded =
            |snapshot: &Snapshot| snapshot.certificates().filter(|(_, successor)| successor.is_some()).count();
        assert_eq!(superseded(&before), 0);
        assert!(!before.is_of(before.organization(), before.projects(), &group("(-)")));
        assert_eq!(superseded(&snapshot(&lists, &group("(-)"), Some(&before))), 1);
    }
}
