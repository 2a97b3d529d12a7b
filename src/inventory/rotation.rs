//! Which certificates have a successor in place: a planned rotation should warn, and page nobody.

use std::collections::{HashMap, hash_map};

use regex::Regex;

use super::{Certificate, UnixSeconds};

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
}

/// A certificate of any list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The list (0 is the organization's), and the position in it. A certificate that is in several lists is described by
    /// the first of them.
    pub(super) at: (u32, u32),
    /// Where what supersedes it is described: of several certificates, the one that ends last.
    pub(super) successor: Option<(u32, u32)>,
}

/// A certificate wherever it is listed.
struct Everywhere<'a> {
    certificate: &'a Certificate,
    at: (u32, u32),
    active_at_organization: bool,
    /// Numbers of the projects' lists, ascending.
    active_at_projects: Vec<u32>,
}

impl Everywhere<'_> {
    fn is_active(&self) -> bool {
        self.active_at_organization || !self.active_at_projects.is_empty()
    }

    /// Whether `other` takes over wherever this one is active: it begins before this one ends, ends later, and is active
    /// in each of the same scopes, there or at the organization.
    fn is_superseded_by(&self, other: &Self) -> bool {
        let Some(end) = self.certificate.expires_at else { return false };
        let is_active_in = |scope| other.active_at_projects.binary_search(scope).is_ok();
        self.at != other.at
            && other.certificate.valid_at.is_none_or(|begin| begin < end)
            && other.certificate.expires_at.is_none_or(|other_end| other_end > end)
            && (other.active_at_organization
                || !self.active_at_organization && self.active_at_projects.iter().all(is_active_in))
    }
}

/// Every certificate of any of the lists, each of which is sorted by identifier; so is what comes back.
pub(super) fn known(group: &RotationGroup, lists: &[&[Certificate]]) -> Box<[Known]> {
    let all = merge(lists);
    let authority = |index: usize| group.of(all[index].certificate.name.as_deref()?);
    let mut named: Vec<(&str, usize)> = (0..all.len())
        .filter(|index| all[*index].is_active())
        .filter_map(|index| Some((authority(index)?, index)))
        .collect();
    named.sort_unstable();

    let mut known: Box<[Known]> = all.iter().map(|everywhere| Known { at: everywhere.at, successor: None }).collect();
    for members in named.chunk_by(|a, b| a.0 == b.0).filter(|members| members.len() <= MAX_GROUP) {
        for (_, member) in members {
            let successors = members.iter().map(|(_, other)| &all[*other]).filter(|o| all[*member].is_superseded_by(o));
            let longest = successors.max_by_key(|other| other.certificate.expires_at.unwrap_or(UnixSeconds::MAX));
            known[*member].successor = longest.map(|other| other.at);
        }
    }
    known
}

/// Each certificate once, sorted by identifier, with everything that the lists say of it.
fn merge<'a>(lists: &[&'a [Certificate]]) -> Vec<Everywhere<'a>> {
    let everywhere = |certificate: &'a Certificate, at| Everywhere {
        certificate,
        at,
        active_at_organization: false,
        active_at_projects: Vec::new(),
    };
    let mut all: Vec<Everywhere<'a>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (number, list) in (0_u32..).zip(lists) {
        for (index, certificate) in (0_u32..).zip(*list) {
            let place = match places.entry(&certificate.id) {
                hash_map::Entry::Occupied(place) => *place.get(),
                hash_map::Entry::Vacant(place) => {
                    all.push(everywhere(certificate, (number, index)));
                    *place.insert(all.len() - 1)
                }
            };
            match (certificate.active, number) {
                (false, _) => {}
                (true, 0) => all[place].active_at_organization = true,
                (true, project) => all[place].active_at_projects.push(project),
            }
        }
    }
    all.sort_by(|a, b| a.certificate.id.cmp(&b.certificate.id));
    all
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
        let known = known(&group("^([a-z]+)"), lists);
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
            (Certificate { expires_at: None, ..certificate("b", "edge-2026", 50, 0) }, true),
            (Certificate { valid_at: None, ..certificate("b", "edge-2026", 0, 200) }, true),
            (Certificate { name: None, ..certificate("b", "", 50, 200) }, false),
        ] {
            let found = superseded(&[&[old.clone(), other.clone()]]);
            assert_eq!(found, if expected { pair("a", "b") } else { vec![] }, "{other:?}");
        }
    }

    #[test]
    fn what_never_ends_or_is_not_active_is_not_superseded() {
        let new = certificate("b", "edge-2026", 50, 200);
        let endless = Certificate { expires_at: None, ..certificate("a", "edge-2025", 0, 0) };
        // It is the other that ends first.
        assert_eq!(superseded(&[&[endless, new.clone()]]), pair("b", "a"));
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
