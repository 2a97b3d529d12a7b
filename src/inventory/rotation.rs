//! Where each certificate is active, and which have a successor in place: a planned rotation warns, and pages nobody.

use std::collections::BTreeMap;

use regex::Regex;

use super::scope::validity;
use super::{Certificate, Lists};

/// The largest rotation group, since each of its certificates is compared with each. An organization has room for 50
/// certificates in all. In a larger group none counts as superseded, so that their alerts stay critical.
const MAX_GROUP: usize = 1_000;

/// Regex whose first capture group is the name of the CA, without its generation (`edge-2026` gives `edge`); certificates
/// with equal captures form one rotation group. OpenAI's guide asks for such names.
#[derive(Clone, Debug)]
pub struct RotationGroup(Regex);

impl RotationGroup {
    /// A `pattern` without capture groups forms no rotation group.
    pub fn new(pattern: Regex) -> Self {
        Self(pattern)
    }

    /// The name of the CA in a certificate's name; none if the pattern does not match or the capture is empty.
    pub(super) fn authority<'a>(&self, name: &'a str) -> Option<&'a str> {
        let authority = self.0.captures(name)?.get(1)?.as_str();
        (!authority.is_empty()).then_some(authority)
    }
}

impl PartialEq for RotationGroup {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// A certificate, and where it is active by all lists together. Called `used` in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateUse {
    /// From the first list that has it; its `active` is for that list alone.
    pub certificate: Certificate,
    pub active_at_organization: bool,
    /// Positions among the inventory's projects, ascending.
    pub(super) active_at_projects: Vec<u32>,
    /// Of those, the first whose list gives other dates than `certificate` has.
    pub(super) differs_at: Option<u32>,
    /// The position of the certificate that supersedes it; of several, of the one that ends last.
    pub(super) successor: Option<usize>,
}

impl CertificateUse {
    fn new(certificate: &Certificate) -> Self {
        Self {
            certificate: certificate.clone(),
            active_at_organization: false,
            active_at_projects: Vec::new(),
            differs_at: None,
            successor: None,
        }
    }

    /// Whether it is active anywhere.
    pub fn is_active(&self) -> bool {
        self.active_at_organization || !self.active_at_projects.is_empty()
    }

    /// Whether another certificate has taken over wherever it is active.
    pub fn is_superseded(&self) -> bool {
        self.successor.is_some()
    }

    /// Whether it is active, and not superseded.
    pub fn is_current(&self) -> bool {
        self.is_active() && !self.is_superseded()
    }

    pub fn has_expired(&self, now: f64) -> bool {
        self.certificate.expires_at.is_some_and(|end| end as f64 <= now)
    }

    /// Whether it ends before it begins.
    pub fn is_never_valid(&self) -> bool {
        validity(&self.certificate).is_none()
    }

    pub fn is_not_yet_valid(&self, now: f64) -> bool {
        self.certificate.valid_at.is_some_and(|begin| begin as f64 > now)
    }

    /// Whether `other` takes over wherever this one is active: it begins later, but before this one ends, ends later, and is
    /// active in each of the same scopes, there or at the organization.
    fn is_superseded_by(&self, other: &Self) -> bool {
        let (old, new) = (&self.certificate, &other.certificate);
        let Some(end) = old.expires_at else { return false };
        let is_active_at = |project| other.active_at_projects.binary_search(project).is_ok();
        begins_later(old, new)
            && !new.has_unreadable_date
            && new.valid_at.is_none_or(|begin| begin < end)
            && new.expires_at.is_some_and(|new_end| new_end > end)
            && (other.active_at_organization
                || !self.active_at_organization && self.active_at_projects.iter().all(is_active_at))
    }
}

/// Whether `new` is of a later generation than `old`: valid later or, if a begin is unknown, uploaded later.
fn begins_later(old: &Certificate, new: &Certificate) -> bool {
    let later = |old: Option<_>, new: Option<_>| Some(new? > old?);
    later(old.valid_at, new.valid_at)
        .or_else(|| later(old.created_at, new.created_at))
        .unwrap_or(false)
}

/// Every certificate of any of the lists once, sorted by identifier.
pub(super) fn uses(lists: &Lists, group: &RotationGroup) -> Vec<CertificateUse> {
    let mut by_id: BTreeMap<&str, CertificateUse> = BTreeMap::new();
    for certificate in &lists.organization.items {
        let used = by_id.entry(&certificate.id).or_insert_with(|| CertificateUse::new(certificate));
        used.active_at_organization = certificate.active;
    }
    for (project, list) in (0..).zip(&lists.projects) {
        for certificate in &list.certificates.items {
            let used =
                by_id.entry(&certificate.id).or_insert_with(|| CertificateUse::new(certificate));
            if certificate.active {
                used.active_at_projects.push(project);
                let dates = |it: &Certificate| (it.valid_at, it.expires_at);
                if dates(certificate) != dates(&used.certificate) {
                    used.differs_at.get_or_insert(project);
                }
            }
        }
    }
    let mut uses: Vec<_> = by_id.into_values().collect();
    for (position, successor) in successors(&uses, group) {
        uses[position].successor = Some(successor);
    }
    uses
}

/// The position of each superseded certificate, with that of its successor.
fn successors(uses: &[CertificateUse], group: &RotationGroup) -> Vec<(usize, usize)> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, used) in uses.iter().enumerate().filter(|(_, used)| used.is_active()) {
        if let Some(authority) =
            used.certificate.name.as_deref().and_then(|name| group.authority(name))
        {
            groups.entry(authority).or_default().push(position);
        }
    }
    let mut successors = Vec::new();
    for members in groups.values().filter(|members| members.len() <= MAX_GROUP) {
        for old in members {
            let following = members.iter().filter(|new| uses[*old].is_superseded_by(&uses[**new]));
            let last_to_end = following.max_by_key(|new| uses[**new].certificate.expires_at);
            successors.extend(last_to_end.map(|new| (*old, *new)));
        }
    }
    successors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{certificate, group, lists};

    #[test]
    fn the_first_group_names_the_authority() {
        assert_eq!(group("^(.*)/").authority("edge/1"), Some("edge"));
        for (pattern, name) in [("^(.*)/", "edge"), ("^(.*)/", "/1"), ("^edge", "edge")] {
            assert_eq!(group(pattern).authority(name), None, "{pattern} {name}");
        }
    }

    fn edge(id: &str, name: &str, begin: i64, end: i64) -> Certificate {
        certificate(id).named(name).dated(Some(begin), Some(end))
    }

    /// Identifiers of superseded certificates with those of their successors.
    fn superseded(read: &[&[Certificate]]) -> Vec<(String, String)> {
        let read: Vec<_> = read.iter().map(|list| list.to_vec()).collect();
        let uses = uses(&lists(&read), &group("^([a-z]+)"));
        let id = |used: &CertificateUse| used.certificate.id.to_string();
        uses.iter().filter_map(|old| Some((id(old), id(&uses[old.successor?])))).collect()
    }

    fn pair(old: &str, new: &str) -> Vec<(String, String)> {
        vec![(old.into(), new.into())]
    }

    #[test]
    fn a_successor_begins_later_overlaps_ends_later_and_is_active() {
        let old = Certificate { created_at: Some(5), ..edge("a", "edge-2025", 10, 100) };
        let undated = |created_at| Certificate {
            valid_at: None,
            created_at,
            ..edge("b", "edge-2026", 0, 200)
        };
        for (other, expected) in [
            (edge("b", "edge-2026", 50, 200), true),
            (edge("b", "edge-2026", 99, 101), true),
            (edge("b", "edge-2024", 9, 200), false), // an older generation that lives on
            (edge("b", "edge-2026", 10, 200), false), // neither is the later one
            (edge("b", "edge-2026", 100, 200), false), // begins as the old one ends
            (edge("b", "edge-2026", 50, 100), false), // ends with it
            (edge("b", "mesh-2026", 50, 200), false),
            (edge("b", "edge-2026", 50, 200).inactive(), false),
            (Certificate { expires_at: None, ..edge("b", "edge-2026", 50, 0) }, false), // nobody knows
            (undated(Some(6)), true),
            (undated(Some(5)), false),
            (undated(None), false),
            (Certificate { has_unreadable_date: true, ..undated(Some(6)) }, false), // it may begin too late
            (Certificate { name: None, ..edge("b", "", 50, 200) }, false),
        ] {
            let found = superseded(&[&[old.clone(), other.clone()]]);
            assert_eq!(found, if expected { pair("a", "b") } else { vec![] }, "{other:?}");
        }
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "two are never valid")]
    fn only_what_is_newer_supersedes_whatever_the_names_say() {
        let named = |id: &str, name: &str, days| certificate(id).named(name).valid(days);
        for (first, second, expected) in [
            (("edge-2025", -363..2), ("edge-2026", -30..335), pair("a", "b")),
            // Authorities that live shorter and shorter: the older one ends last.
            (("edge-2024", -700..2_900), ("edge-2026", -58..2), vec![]),
            (("edge-2026", -58..2), ("edge-2024", -700..2_900), vec![]),
            (("edge-2024", -700..2_900), ("edge-2026", -58..3_000), pair("a", "b")),
            (("edge-2026", -363..2), ("edge-2025", -30..335), pair("a", "b")),
            // Without a generation, dates alone tell whether one follows the other.
            (("edge", -363..2), ("edge", -30..335), pair("a", "b")),
            (("edge", -30..335), ("edge", -363..2), pair("b", "a")),
            (("edge", -30..2), ("edge", -30..335), vec![]),
            (("edge", -363..335), ("edge", -30..335), vec![]),
            (("edge", -363..2), ("edge", 2..335), vec![]),
            (("edge", -363..2), ("edge", 3..335), vec![]),
            // Never valid.
            (("edge", 9..2), ("edge", -30..335), vec![]),
            (("edge", -363..2), ("edge", 9..3), vec![]),
        ] {
            let both =
                [named("a", first.0, first.1.clone()), named("b", second.0, second.1.clone())];
            assert_eq!(superseded(&[&both]), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn where_a_begin_is_missing_the_later_upload_is_newer() {
        let created = |id: &str, created_at: Option<i64>, begin: Option<i64>, end| Certificate {
            created_at,
            ..certificate(id).named("edge").dated(begin, Some(end))
        };
        for (old, new, is_superseded) in [
            ((Some(1), None), (Some(2), None), true),
            ((Some(1), Some(50)), (Some(2), None), true),
            ((Some(1), None), (Some(2), Some(0)), true),
            ((Some(2), None), (Some(1), Some(50)), false),
            ((Some(2), None), (Some(2), None), false),
            ((None, None), (Some(2), Some(50)), false),
            ((Some(1), None), (None, Some(50)), false),
            ((None, None), (None, None), false),
            // Both begins are known, so uploads do not matter.
            ((Some(2), Some(0)), (Some(1), Some(50)), true),
            ((Some(1), Some(50)), (Some(2), Some(0)), false),
        ] {
            let both = [created("a", old.0, old.1, 100), created("b", new.0, new.1, 200)];
            let expected = if is_superseded { pair("a", "b") } else { vec![] };
            assert_eq!(superseded(&[&both]), expected, "{old:?} {new:?}");
        }
    }

    #[test]
    fn what_has_no_known_end_or_is_not_active_is_not_superseded() {
        let new = edge("b", "edge-2026", 50, 200);
        let undated = Certificate { expires_at: None, ..edge("a", "edge-2025", 0, 0) };
        assert_eq!(superseded(&[&[undated, new.clone()]]), []);
        assert_eq!(superseded(&[&[edge("a", "edge-2025", 0, 100).inactive(), new]]), []);
    }

    #[test]
    fn a_successor_is_active_in_every_scope() {
        let (old, new) = (edge("a", "edge-2025", 0, 100), edge("b", "edge-2026", 50, 200));
        let both = [old.clone(), new.clone()];
        let (old, new) = (&[old][..], &[new][..]);
        // At the organization it covers every project.
        assert_eq!(superseded(&[new, old]), pair("a", "b"));
        // At a project it covers that project, and neither another one nor the organization.
        assert_eq!(superseded(&[&[], &both]), pair("a", "b"));
        assert_eq!(superseded(&[&[], &both, old]), []);
        assert_eq!(superseded(&[old, new]), []);
        // Active at two projects, and so is the new one; the organization lists both without activating them.
        let listed = both.clone().map(Certificate::inactive);
        assert_eq!(superseded(&[&listed, &both, &both]), pair("a", "b"));
    }

    #[test]
    fn of_several_successors_the_last_to_end_is_named() {
        let chain = [
            edge("a", "edge-2024", 0, 100),
            edge("b", "edge-2025", 50, 200),
            edge("c", "edge-2026", 90, 300),
        ];
        assert_eq!(superseded(&[&chain]), [("a".into(), "c".into()), ("b".into(), "c".into())]);
    }

    #[test]
    fn a_group_too_large_for_a_rotation_has_no_successors() {
        let same: Vec<_> =
            (0..=1_000).map(|n| edge(&format!("c{n:05}"), "edge", n, 2_000 + n)).collect();
        assert_eq!(superseded(&[&same]), []);
        assert_eq!(superseded(&[&same[1..]]).len(), MAX_GROUP - 1);
    }
}
