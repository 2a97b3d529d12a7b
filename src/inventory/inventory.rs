use std::iter::once;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rotation::uses;
use super::scope::{active, in_effect, validity};
use super::{
    Certificate, CertificateUse, Listing, Malformed, Project, RotationGroup, Scope, UnixSeconds,
};

/// Every list as it was last read whole. Stored as it is in the state file: a changed field changes that format (`VERSION` in
/// `poller/state_file.rs`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lists {
    pub organization: Arc<Listing<Certificate>>,
    /// Each project whose list has been read at least once, sorted by identifier; empty if projects are not polled.
    pub projects: Vec<ProjectList>,
    /// Projects that are listed and selected, but whose list has never been read, sorted by identifier.
    #[serde(default)]
    pub unread: Vec<Project>,
    pub project_faults: ProjectFaults,
}

/// A project as it was last listed, with its certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectList {
    pub project: Project,
    /// Shared with the previous lists if unchanged, so that a comparison of the two compares pointers first.
    pub certificates: Arc<Listing<Certificate>>,
}

/// What was wrong with the list of projects, and with what followed from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectFaults {
    pub malformed: Malformed,
    /// Entries whose identifier had come before.
    pub duplicates: u64,
    /// Projects that were listed, but that the API said do not exist when their certificates were asked for.
    pub vanished: u64,
    /// Projects that were listed, but are left out by the filters.
    #[serde(default)]
    pub unselected: u64,
    /// Entries without a readable identifier that cannot be projects known from before.
    #[serde(default)]
    pub hidden: u64,
}

impl Lists {
    /// The organization's list, then the projects'.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Listing<Certificate>>> {
        once(&self.organization).chain(self.projects.iter().map(|list| &list.certificates))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Arc<Listing<Certificate>>> {
        let of_projects = self.projects.iter_mut().map(|list| &mut list.certificates);
        once(&mut self.organization).chain(of_projects)
    }

    /// The certificates in effect in the organization's scope (position 0) or a project's, and whether an entry that cannot
    /// be read may be one more.
    fn in_effect(&self, position: usize) -> (Vec<&Certificate>, bool) {
        let organization = &self.organization;
        let Some(project) = position.checked_sub(1) else {
            return (active(organization).collect(), organization.hidden > 0);
        };
        let own = &self.projects[project].certificates;
        (in_effect(own, organization).collect(), own.hidden > 0 || organization.hidden > 0)
    }

    /// Takes the dates that the lists do not give from the PEM of each certificate, as far as `dates_in_pem` has them.
    pub(crate) fn fill_dates(
        &mut self,
        dates_in_pem: impl Fn(&str) -> Option<(UnixSeconds, UnixSeconds)>,
    ) {
        for list in self.all_mut() {
            let missing = list.items.iter().enumerate().filter(|(_, it)| it.lacks_date());
            let found =
                missing.filter_map(|(position, it)| Some((position, dates_in_pem(&it.id)?)));
            // Changed only if there is something to change: readers share it.
            for (position, dates) in found.collect::<Vec<_>>() {
                Arc::make_mut(list).items[position].fill_dates(dates);
            }
        }
    }
}

/// The lists, and everything derived from them. Built whole, never changed.
#[derive(Debug)]
pub struct Inventory {
    lists: Lists,
    group: RotationGroup,
    /// The organization's, then the projects' in their order.
    scopes: Vec<Scope>,
    certificates: Vec<CertificateUse>,
    /// The instants at which an active certificate begins or ends in any scope, sorted.
    boundaries: Vec<UnixSeconds>,
    malformed: Malformed,
    duplicates: u64,
}

impl Inventory {
    pub fn new(lists: Lists, group: &RotationGroup) -> Self {
        let scope = |position| {
            let (in_effect, hides_anchors) = lists.in_effect(position);
            Scope::new(in_effect.into_iter(), hides_anchors)
        };
        let scopes: Vec<_> = (0..=lists.projects.len()).map(scope).collect();
        let mut boundaries: Vec<_> = scopes.iter().flat_map(Scope::boundaries).collect();
        boundaries.sort_unstable();
        boundaries.dedup();
        let (mut malformed, mut duplicates) =
            (lists.project_faults.malformed.clone(), lists.project_faults.duplicates);
        for list in lists.all() {
            malformed.merge(&list.malformed);
            duplicates = duplicates.saturating_add(list.duplicates);
        }
        let certificates = uses(&lists, group);
        Self {
            lists,
            group: group.clone(),
            scopes,
            certificates,
            boundaries,
            malformed,
            duplicates,
        }
    }

    /// The inventory of these lists: `before` itself if its lists and group are equal.
    pub fn new_or_unchanged(
        before: Option<&Arc<Self>>,
        lists: Lists,
        group: &RotationGroup,
    ) -> Arc<Self> {
        match before {
            Some(before) if before.lists == lists && before.group == *group => Arc::clone(before),
            _ => Arc::new(Self::new(lists, group)),
        }
    }

    /// As if these certificates were deactivated everywhere.
    #[must_use]
    pub fn without(&self, ids: &[&str]) -> Self {
        let mut lists = self.lists.clone();
        for list in lists.all_mut() {
            for certificate in &mut Arc::make_mut(list).items {
                certificate.active &= !ids.contains(&&*certificate.id);
            }
        }
        Self::new(lists, &self.group)
    }

    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    pub fn organization(&self) -> &Arc<Listing<Certificate>> {
        &self.lists.organization
    }

    pub fn projects(&self) -> &[ProjectList] {
        &self.lists.projects
    }

    /// Projects that are listed and selected, but whose list has never been read, sorted by identifier.
    pub fn unread_projects(&self) -> &[Project] {
        &self.lists.unread
    }

    /// The project with this identifier, and its position among the projects.
    pub fn project(&self, id: &str) -> Option<(usize, &ProjectList)> {
        let position =
            self.lists.projects.binary_search_by(|list| (*list.project.id).cmp(id)).ok()?;
        Some((position, &self.lists.projects[position]))
    }

    /// The project with this identifier, whether its list has been read or not.
    pub(crate) fn listed_project(&self, id: &str) -> Option<&Project> {
        let read = self.project(id).map(|(_, list)| &list.project);
        read.or_else(|| self.lists.unread.iter().find(|project| *project.id == *id))
    }

    pub(crate) fn certificate(&self, id: &str) -> Option<&Certificate> {
        let position = self.certificates.binary_search_by(|used| (*used.certificate.id).cmp(id));
        Some(&self.certificates[position.ok()?].certificate)
    }

    /// The organization's scope (without a project), then the projects' by identifier.
    pub fn scopes(&self) -> impl Iterator<Item = (Option<&Project>, &Scope)> {
        let projects = self.lists.projects.iter().map(|list| Some(&list.project));
        once(None).chain(projects).zip(&self.scopes)
    }

    /// The scope at a position among [`Self::scopes`].
    pub fn scope(&self, position: usize) -> Option<(Option<&Project>, &Scope)> {
        let scope = self.scopes.get(position)?;
        Some((position.checked_sub(1).map(|project| &self.lists.projects[project].project), scope))
    }

    /// The certificates in effect in the scope at a position among [`Self::scopes`], and whether an entry that cannot be
    /// read may be one more.
    pub fn in_effect(&self, position: usize) -> (Vec<&Certificate>, bool) {
        self.lists.in_effect(position)
    }

    /// A certificate in effect at a project, or at the organization, that expires at `end`.
    pub(crate) fn ending_at(
        &self,
        project: Option<&str>,
        end: UnixSeconds,
    ) -> Option<&Certificate> {
        let organization = &self.lists.organization;
        let ends = |certificate: &&Certificate| {
            certificate.expires_at == Some(end) && validity(certificate).is_some()
        };
        match project {
            None => active(organization).find(ends),
            Some(id) => in_effect(&self.project(id)?.1.certificates, organization).find(ends),
        }
    }

    /// Every certificate of any list once, sorted by identifier.
    pub fn certificates(&self) -> &[CertificateUse] {
        &self.certificates
    }

    /// The certificate that supersedes `of`, a certificate of this inventory.
    pub fn successor(&self, of: &CertificateUse) -> Option<&CertificateUse> {
        Some(&self.certificates[of.successor?])
    }

    /// Whether two certificates are of one authority, by their names.
    pub(crate) fn is_of_same_authority(&self, one: &Certificate, other: &Certificate) -> bool {
        let authority =
            |it: &'_ Certificate| self.group.authority(it.name.as_deref()?).map(str::to_owned);
        authority(one).is_some_and(|own| authority(other).is_some_and(|other| own == other))
    }

    /// The projects at which a certificate of this inventory is active.
    pub fn active_projects<'a>(
        &'a self,
        of: &'a CertificateUse,
    ) -> impl ExactSizeIterator<Item = &'a Project> {
        of.active_at_projects
            .iter()
            .map(|position| &self.lists.projects[*position as usize].project)
    }

    /// A project at which a certificate of this inventory is active, and whose list gives it other dates. They count there.
    pub fn differing_project(&self, of: &CertificateUse) -> Option<&Project> {
        Some(&self.lists.projects[of.differs_at? as usize].project)
    }

    /// Whether projects were listed, but the filters leave out every one.
    pub fn selects_no_project(&self) -> bool {
        let Lists { projects, unread, project_faults, .. } = &self.lists;
        project_faults.unselected > 0 && projects.is_empty() && unread.is_empty()
    }

    /// How many certificates are active anywhere.
    pub fn active(&self) -> usize {
        self.certificates.iter().filter(|used| used.is_active()).count()
    }

    /// Entries that could not be read in full, of all lists.
    pub fn malformed(&self) -> &Malformed {
        &self.malformed
    }

    /// Entries that came twice, of all lists.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Number of validity boundaries passed at `now`: a cache key. Equal epochs give equal results from every scope, also
    /// when the clock is set back.
    pub fn epoch(&self, now: UnixSeconds) -> usize {
        self.boundaries.partition_point(|boundary| *boundary <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::fixture::{certificate, group, lists};

    fn some_list() -> impl Strategy<Value = Vec<Certificate>> {
        let instant = || prop::option::of(0..40_i64);
        let facts = (0..3_u8, any::<[bool; 2]>(), instant(), instant());
        let named = |(id, (authority, [active, is_odd], begin, end)): (
            u8,
            (u8, [bool; 2], Option<_>, Option<_>),
        )| Certificate {
            active,
            has_unreadable_date: is_odd && (begin.is_none() || end.is_none()),
            ..certificate(&format!("cert_{id}"))
                .named(&format!("{}-{id}", char::from(b'a' + authority)))
                .dated(begin, end)
        };
        prop::collection::btree_map(0..12_u8, facts, 0..8)
            .prop_map(move |facts| facts.into_iter().map(named).collect())
    }

    proptest! {
        #[test]
        fn an_equal_inventory_is_the_one_before(
            before in prop::collection::vec(some_list(), 1..5),
            other in prop::collection::vec(some_list(), 1..5),
        ) {
            let group = group("^([a-z])");
            let first = Inventory::new_or_unchanged(None, lists(&before), &group);
            prop_assert!(Arc::ptr_eq(&first, &Inventory::new_or_unchanged(Some(&first), lists(&before), &group)));
            let second = Inventory::new_or_unchanged(Some(&first), lists(&other), &group);
            prop_assert_eq!(Arc::ptr_eq(&first, &second), before == other);
            let anew = Inventory::new(lists(&other), &group);
            prop_assert_eq!(second.certificates(), anew.certificates());
        }

        #[test]
        fn scopes_answer_alike_within_an_epoch(read in prop::collection::vec(some_list(), 1..4)) {
            let inventory = Inventory::new(lists(&read), &group("(.*)"));
            let answers = |now| -> Vec<_> {
                inventory.scopes().map(|(_, scope)| (scope.valid(now), scope.runway_end(now))).collect()
            };
            for now in -1..41 {
                if inventory.epoch(now) == inventory.epoch(now + 1) {
                    prop_assert_eq!(answers(now), answers(now + 1), "{}", now);
                }
            }
        }
    }

    #[test]
    fn another_rotation_group_makes_another_inventory() {
        let read = [vec![
            certificate("a").named("a-1").dated(Some(0), Some(10)),
            certificate("b").named("b-2").dated(Some(1), Some(20)),
        ]];
        let group = |pattern| RotationGroup::new(Regex::new(pattern).unwrap());
        let superseded = |inventory: &Inventory| {
            inventory.certificates().iter().filter(|c| c.is_superseded()).count()
        };
        let before = Arc::new(Inventory::new(lists(&read), &group("^([a-z])")));
        assert_eq!(superseded(&before), 0);
        let after = Inventory::new_or_unchanged(Some(&before), lists(&read), &group("(-)"));
        assert_eq!(superseded(&after), 1);
    }

    #[test]
    fn the_faults_of_all_lists_are_added_up() {
        let mut lists = lists(&[vec![], vec![]]);
        let mut malformed = Malformed::default();
        malformed.add("id");
        let list =
            Arc::new(Listing { duplicates: 2, malformed: malformed.clone(), ..Listing::default() });
        lists.organization = Arc::clone(&list);
        lists.projects[0].certificates = list;
        lists.project_faults =
            ProjectFaults { malformed, duplicates: 1, vanished: 7, ..ProjectFaults::default() };
        let inventory = Inventory::new(lists, &group("(.*)"));
        assert_eq!((inventory.malformed().count(), inventory.duplicates()), (3, 5));
    }
}
