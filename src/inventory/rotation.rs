//! Which certificates have a successor in place: a planned rotation should warn, and page nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;

use super::Certificate;

/// Certificates of one authority, at most, to look for successors among. An organization has room for 50 in all; a larger
/// group is no rotation, and its certificates count as not superseded, which is the side that pages.
const MAX_GROUP: usize = 1_000;

/// How a certificate's name tells its authority from its rotation generation, as OpenAI's guide asks names to do.
#[derive(Clone, Debug)]
pub struct RotationGroup(Regex);

impl RotationGroup {
    /// The first group of `pattern` names the authority. A pattern without groups names none.
    #[must_use]
    pub fn new(pattern: Regex) -> Self {
        Self(pattern)
    }

    /// The authority that a name speaks of. A name that does not match speaks of none.
    #[must_use]
    pub fn of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let authority = self.0.captures(name)?.get(1)?.as_str();
        (!authority.is_empty()).then_some(authority)
    }

    fn of_certificate<'a>(&self, certificate: &'a Certificate) -> Option<&'a str> {
        self.of(certificate.name.as_deref()?)
    }
}

impl PartialEq for RotationGroup {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// To find certificates of one authority by.
fn checksum(authority: Option<&str>) -> u32 {
    authority.map_or(0, |authority| crc32fast::hash(authority.as_bytes()))
}

/// Where a certificate is described: the list (0 is the organization's), and the position in it.
pub(super) type At = (u32, u32);

/// A certificate of any list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Of several lists that it is in, the first.
    pub(super) at: At,
    /// What supersedes it; of several certificates, the one that ends last.
    pub(super) successor: Option<At>,
    /// A checksum of the name of its authority, to find the others by.
    authority: u32,
}

/// The lists, each of which is sorted by identifier. The first is the organization's.
#[derive(Clone, Copy)]
pub(super) struct Lists<'a, 'b>(pub(super) &'b [&'a [Arc<Certificate>]]);

impl<'a> Lists<'a, '_> {
    fn at(self, (list, index): At) -> &'a Certificate {
        &self.0[list as usize][index as usize]
    }

    /// The certificate that is described there, wherever it is listed.
    fn everywhere(self, at: At) -> Everywhere<'a> {
        let mut everywhere = Everywhere::new(self.at(at), at);
        for (number, list) in (0_u32..).zip(self.0) {
            let found = list.binary_search_by(|listed| listed.id.cmp(&everywhere.certificate.id));
            everywhere.add(number, found.is_ok_and(|index| list[index].active));
        }
        everywhere
    }
}

/// A certificate wherever it is listed.
struct Everywhere<'a> {
    certificate: &'a Certificate,
    at: At,
    active_at_organization: bool,
    /// Numbers of the projects' lists, ascending.
    active_at_projects: Vec<u32>,
}

impl<'a> Everywhere<'a> {
    fn new(certificate: &'a Certificate, at: At) -> Self {
        Self { certificate, at, active_at_organization: false, active_at_projects: Vec::new() }
    }

    /// It is in this list too.
    fn add(&mut self, number: u32, active: bool) {
        match (active, number) {
            (false, _) => {}
            (true, 0) => self.active_at_organization = true,
            (true, project) => self.active_at_projects.push(project),
        }
    }

    fn is_active(&self) -> bool {
        self.active_at_organization || !self.active_at_projects.is_empty()
    }

    /// Whether `other` takes over wherever this one is active: it begins before this one ends, is known to end later, and is
    /// active in each of the same scopes, there or at the organization.
    fn is_superseded_by(&self, other: &Self) -> bool {
        let Some(end) = self.certificate.expires_at else { return false };
        let is_active_in = |scope| other.active_at_projects.binary_search(scope).is_ok();
        self.at != other.at
            && other.certificate.valid_at.is_none_or(|begin| begin < end)
            && other.certificate.expires_at.is_some_and(|other_end| other_end > end)
            && (other.active_at_organization
                || !self.active_at_organization && self.active_at_projects.iter().all(is_active_in))
    }

    /// The one of `members`, which are all active certificates of its authority, that supersedes it.
    fn successor(&self, members: &[&Self]) -> Option<At> {
        if members.len() > MAX_GROUP {
            return None;
        }
        let successors = members.iter().filter(|other| self.is_superseded_by(other));
        successors.max_by_key(|other| other.certificate.expires_at).map(|other| other.at)
    }
}

/// Every certificate of any of the lists, sorted by identifier.
pub(super) fn known(group: &RotationGroup, lists: Lists<'_, '_>) -> Box<[Known]> {
    let all = merge(lists);
    let authorities: Vec<Option<&str>> = all.iter().map(|one| group.of_certificate(one.certificate)).collect();
    let known = |(one, authority): (&Everywhere<'_>, &Option<_>)| Known {
        at: one.at,
        successor: None,
        authority: checksum(*authority),
    };
    let mut known: Box<[Known]> = all.iter().zip(&authorities).map(known).collect();
    let mut named: Vec<(&str, usize)> = (0..all.len())
        .filter(|index| all[*index].is_active())
        .filter_map(|index| Some((authorities[index]?, index)))
        .collect();
    named.sort_unstable();
    for named in named.chunk_by(|a, b| a.0 == b.0) {
        let members: Vec<_> = named.iter().map(|(_, member)| &all[*member]).collect();
        for (_, member) in named {
            known[*member].successor = all[*member].successor(&members);
        }
    }
    known
}

/// The same after `before`, which was known of lists of the same certificates, where those at `changed` have become
/// others. Says at which positions something is known now that was not before.
pub(super) fn known_after(
    group: &RotationGroup,
    lists: Lists<'_, '_>,
    before: (&[Known], Lists<'_, '_>),
    changed: impl Iterator<Item = At>,
) -> (Box<[Known]>, Box<[u32]>) {
    let (known_before, lists_before) = before;
    let mut known: Box<[Known]> = known_before.into();
    let (mut positions, mut authorities) = (BTreeSet::new(), BTreeSet::new());
    for id in changed.map(|at| &lists.at(at).id) {
        let Ok(position) = known.binary_search_by(|known| lists.at(known.at).id.cmp(id)) else { continue };
        let (new, old) = (lists.at(known[position].at), lists_before.at(known[position].at));
        let authority = group.of_certificate(new);
        authorities.extend(authority.into_iter().chain(group.of_certificate(old)));
        known[position] = Known { successor: None, authority: checksum(authority), ..known[position] };
        positions.insert(position);
    }
    for authority in authorities {
        let checksum = checksum(Some(authority));
        let candidates = (0..known.len()).filter(|position| known[*position].authority == checksum);
        let all: Vec<(usize, Everywhere<'_>)> = candidates
            .map(|position| (position, lists.everywhere(known[position].at)))
            .filter(|(_, one)| one.is_active() && group.of_certificate(one.certificate) == Some(authority))
            .collect();
        let members: Vec<_> = all.iter().map(|(_, member)| member).collect();
        for (position, member) in &all {
            known[*position].successor = member.successor(&members);
            if known[*position].successor != known_before[*position].successor {
                positions.insert(*position);
            }
        }
    }
    // There are no more of them than an identifier of a list can count.
    let positions = positions.into_iter().filter_map(|position| u32::try_from(position).ok());
    (known, positions.collect())
}

/// Each certificate once, sorted by identifier, with everything that the lists say of it.
fn merge<'a>(lists: Lists<'a, '_>) -> Vec<Everywhere<'a>> {
    let in_list = |(number, list): (u32, &&'a [Arc<Certificate>])| {
        (0_u32..).zip(*list).map(move |(index, certificate)| (&**certificate, (number, index)))
    };
    let mut listed: Vec<(&Certificate, At)> = (0_u32..).zip(lists.0).flat_map(in_list).collect();
    // Of one certificate the first list stays first. The lists are sorted, which this sort makes use of.
    listed.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    let same = listed.chunk_by(|a, b| a.0.id == b.0.id);
    let everywhere = same.map(|same| {
        let mut one = Everywhere::new(same[0].0, same[0].1);
        for (listed, (number, _)) in same {
            one.add(*number, listed.active);
        }
        one
    });
    everywhere.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(pattern: &str) -> RotationGroup {
        RotationGroup::new(Regex::new(pattern).unwrap())
    }

    #[test]
    fn the_first_group_names_the_authority() {
        assert_eq!((group("^(.*)/").of("edge/1"), group("^(.*)/").of("edge")), (Some("edge"), None));
        assert_eq!(group("^(.*)/").of("/1"), None);
        assert_eq!(group("^edge").of("edge"), None);
    }

    fn certificate(id: &str, name: &str, begin: i64, end: i64) -> Certificate {
        Certificate {
            id: id.into(),
            name: Some(name.into()),
            active: true,
            created_at: None,
            valid_at: Some(begin),
            expires_at: Some(end),
        }
    }

    fn inactive(certificate: Certificate) -> Certificate {
        Certificate { active: false, ..certificate }
    }

    /// Identifiers of superseded certificates with those of their successors.
    fn superseded(lists: &[&[Certificate]]) -> Vec<(String, String)> {
        let id = |(list, index): (u32, u32)| lists[list as usize][index as usize].id.to_string();
        let shared: Vec<Vec<_>> = lists.iter().map(|list| list.iter().cloned().map(Arc::new).collect()).collect();
        let known = known(&group("^([a-z]+)"), Lists(&shared.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        known.iter().filter_map(|known| Some((id(known.at), id(known.successor?)))).collect()
    }

    fn pair(old: &str, new: &str) -> Vec<(String, String)> {
        vec![(old.into(), new.into())]
    }

    #[test]
    fn a_successor_overlaps_ends_later_and_is_active() {
        let old = certificate("a", "edge-2025", 0, 100);
        for (other, expected) in [
            (certificate("b", "edge-2026", 50, 200), true),
            (certificate("b", "edge-2026", 99, 101), true),
            (certificate("b", "edge-2026", 100, 200), false), // begins as the old one ends
            (certificate("b", "edge-2026", 50, 100), false),  // ends with it
            (certificate("b", "mesh-2026", 50, 200), false),
            (inactive(certificate("b", "edge-2026", 50, 200)), false),
            (Certificate { expires_at: None, ..certificate("b", "edge-2026", 50, 0) }, false), // nobody knows
            (Certificate { valid_at: None, ..certificate("b", "edge-2026", 0, 200) }, true),
            (Certificate { name: None, ..certificate("b", "", 50, 200) }, false),
        ] {
            let found = superseded(&[&[old.clone(), other.clone()]]);
            assert_eq!(found, if expected { pair("a", "b") } else { vec![] }, "{other:?}");
        }
    }

    #[test]
    fn what_has_no_known_end_or_is_not_active_is_not_superseded() {
        let new = certificate("b", "edge-2026", 50, 200);
        let undated = Certificate { expires_at: None, ..certificate("a", "edge-2025", 0, 0) };
        // Nobody knows which of them ends first.
        assert_eq!(superseded(&[&[undated, new.clone()]]), []);
        assert_eq!(superseded(&[&[inactive(certificate("a", "edge-2025", 0, 100)), new]]), []);
    }

    #[test]
    fn a_successor_is_active_in_every_scope() {
        let (old, new) = (certificate("a", "edge-2025", 0, 100), certificate("b", "edge-2026", 50, 200));
        let both = [old.clone(), new.clone()];
        let (old, new) = (&[old][..], &[new][..]);
        // At the organization it covers every project.
        assert_eq!(superseded(&[new, old]), pair("a", "b"));
        // At a project it covers that project, and neither another one nor the organization.
        assert_eq!(superseded(&[&[], &both]), pair("a", "b"));
        assert_eq!(superseded(&[&[], &both, old]), []);
        assert_eq!(superseded(&[old, new]), []);
        // Active at two projects, and so is the new one; the organization lists both without activating them.
        let listed = both.clone().map(inactive);
        assert_eq!(superseded(&[&listed, &both, &both]), pair("a", "b"));
    }

    #[test]
    fn of_several_the_last_to_end_is_named() {
        let chain = [
            certificate("a", "edge-2024", 0, 100),
            certificate("b", "edge-2025", 50, 200),
            certificate("c", "edge-2026", 90, 300),
        ];
        assert_eq!(superseded(&[&chain]), [("a".into(), "c".into()), ("b".into(), "c".into())]);
    }

    #[test]
    fn a_group_too_large_for_a_rotation_is_none() {
        let same: Vec<_> = (0..=1_000).map(|n| certificate(&format!("c{n:05}"), "edge", 0, 100 + n)).collect();
        assert_eq!(superseded(&[&same]), []);
        assert_eq!(superseded(&[&same[1..]]).len(), MAX_GROUP - 1);
    }
}
