use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An object of a list, identified within it.
pub trait Identified {
    /// Opaque and never empty.
    fn id(&self) -> &str;

    /// Takes the worse facts of another entry of the same list that has the same identifier. Returns whether the two
    /// contradict each other.
    fn take_worse(&mut self, other: &Self) -> bool;
}

/// A whole list as it was read. Equality is of contents, not of when they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// Each object once, sorted by identifier.
    pub items: Vec<T>,
    /// Entries whose identifier had come before in the same list.
    pub duplicates: u64,
    /// Entries of which a field, or everything, could not be read.
    pub malformed: Malformed,
    /// Of those, entries without a readable `id` or `active` that no earlier read knows by their `id`. They are not among
    /// `items`, and any of them may be an active certificate.
    #[serde(default)]
    pub hidden: u64,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), duplicates: 0, malformed: Malformed::default(), hidden: 0 }
    }
}

/// The fault of an entry that came twice and not alike.
const CONTRADICTION: &str = "listed twice with contradicting facts";

impl<T: Identified> Listing<T> {
    /// Sorts `read`, which is in the order of arrival. Of two objects with one identifier the later is kept, since it
    /// is fresher, with the worse facts of both. If they contradict each other, it is malformed: nobody knows which is true.
    pub fn new(mut read: Vec<T>, mut malformed: Malformed) -> Self {
        let total = read.len();
        // A stable sort of the reversed list puts the later of two first, and `dedup` keeps the first.
        read.reverse();
        read.sort_by(|a, b| a.id().cmp(b.id()));
        read.dedup_by(|earlier, later| {
            let is_same = earlier.id() == later.id();
            if is_same && later.take_worse(earlier) {
                malformed.add_entry(Some(later.id()), CONTRADICTION);
            }
            is_same
        });
        read.shrink_to_fit();
        let duplicates = (total - read.len()) as u64;
        Self { items: read, duplicates, malformed, hidden: 0 }
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.items.binary_search_by(|item| item.id().cmp(id)).ok().map(|index| &self.items[index])
    }
}

/// `before` itself if `now` equals it, so that later comparisons of the two are of pointers.
pub(crate) fn unchanged_or<T: PartialEq>(before: Option<&Arc<T>>, now: T) -> Arc<T> {
    match before {
        Some(before) if **before == now => Arc::clone(before),
        _ => Arc::new(now),
    }
}

/// How many entries of a list could not be read in full, each by its first field at fault. Sums saturate: the counts of a
/// state file may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Malformed {
    counts: BTreeMap<Cow<'static, str>, u64>,
    /// The first few by their identifiers, for the log. Not kept across restarts.
    #[serde(skip)]
    first: BTreeSet<(Option<Box<str>>, &'static str)>,
}

impl Malformed {
    /// As many entries are named, at most.
    pub(crate) const MAX_NAMED: usize = 5;

    /// Counts one more entry. Field names come from this program, never from a response: they are logged.
    pub fn add(&mut self, field: &'static str) {
        *self.counts.entry(Cow::Borrowed(field)).or_default() += 1;
    }

    /// The same for an entry that is to be named. Its identifier is missing if it cannot be read.
    pub fn add_entry(&mut self, id: Option<&str>, field: &'static str) {
        self.add(field);
        self.first.insert((id.map(Into::into), field));
        if self.first.len() > Self::MAX_NAMED {
            self.first.pop_last();
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.values().copied().fold(0, u64::saturating_add)
    }

    /// The identifiers of the first few, and the field at fault of each.
    pub(crate) fn named(&self) -> impl Iterator<Item = (Option<&str>, &'static str)> {
        self.first.iter().map(|(id, field)| (id.as_deref(), *field))
    }

    /// Adds the counts of another list.
    pub fn merge(&mut self, other: &Self) {
        for (field, count) in &other.counts {
            let sum = self.counts.entry(field.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

/// `active (2), id (1)`, or `none`.
impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.counts.is_empty() {
            return f.write_str("none");
        }
        for (index, (field, count)) in self.counts.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{field} ({count})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::certificate;
    use crate::inventory::Project;

    #[test]
    fn the_later_of_two_objects_with_one_identifier_stays() {
        let read = ["b", "a", "b", "b"].into_iter().zip(["1", "2", "3", "4"]);
        let read = read.map(|(id, name)| certificate(id).named(name)).collect();
        let list = Listing::new(read, Malformed::default());
        assert_eq!(list.items, [certificate("a").named("2"), certificate("b").named("4")]);
        assert_eq!((list.duplicates, list.malformed.count()), (2, 0));
        assert_eq!(list.get("b"), Some(&certificate("b").named("4")));
        assert_eq!(list.get("c"), None);
    }

    #[test]
    fn the_worse_facts_count_of_objects_that_contradict_each_other() {
        let read = vec![
            certificate("a").named("1").dated(Some(1), Some(5)),
            certificate("a").named("2").dated(Some(2), Some(9)),
            certificate("a").named("3").dated(None, None).inactive(),
            certificate("b").inactive(),
        ];
        let Listing { items, duplicates, malformed, .. } = Listing::new(read, Malformed::default());
        let worst = certificate("a").named("3").dated(Some(2), Some(5));
        assert_eq!((items, duplicates), (vec![worst, certificate("b").inactive()], 2));
        let contradiction = || (Some("a"), "listed twice with contradicting facts");
        assert_eq!(malformed.named().collect::<Vec<_>>(), [contradiction()]);
        let project = |archived| Project { id: "p".into(), name: None, archived };
        for [one, other, archived] in [[true, false, false], [false, true, false], [true; 3]] {
            let read = vec![project(one), project(other)];
            let Listing { items, malformed, .. } = Listing::new(read, Malformed::default());
            assert_eq!(items, [project(archived)]);
            assert_eq!(malformed.count(), u64::from(one != other));
        }
    }

    #[test]
    fn an_unchanged_list_is_the_one_before() {
        let list = |names: [&str; 2]| {
            Listing::new(
                names.map(|name| certificate(name).named(name)).to_vec(),
                Malformed::default(),
            )
        };
        let before = Arc::new(list(["a", "b"]));
        assert!(
            Arc::ptr_eq(&unchanged_or(Some(&before), list(["b", "a"])), &before),
            "the order is not part of it"
        );
        for other in [list(["a", "c"]), Listing { duplicates: 1, ..list(["a", "b"]) }] {
            assert_eq!(*unchanged_or(Some(&before), other.clone()), other);
        }
    }

    #[test]
    fn malformed_entries_are_counted_by_field() {
        let mut malformed = Malformed::default();
        assert_eq!((malformed.count(), malformed.to_string().as_str()), (0, "none"));
        for field in ["id", "active", "id"] {
            malformed.add(field);
        }
        malformed.merge(&malformed.clone());
        assert_eq!((malformed.count(), malformed.to_string().as_str()), (6, "active (2), id (4)"));
    }

    #[test]
    fn the_first_few_malformed_entries_are_named_in_whatever_order_they_come() {
        let ids: Vec<_> = (0..9).map(|number: u8| number.to_string()).collect();
        let malformed = |ids: &mut dyn Iterator<Item = &String>| {
            let mut malformed = Malformed::default();
            ids.for_each(|id| malformed.add_entry(Some(id), "name"));
            malformed.add_entry(None, "id");
            malformed
        };
        let one = malformed(&mut ids.iter());
        assert_eq!(one, malformed(&mut ids.iter().rev()));
        let id = |id| (Some(id), "name");
        let named: Vec<_> = one.named().collect();
        assert_eq!(named, [(None, "id"), id("0"), id("1"), id("2"), id("3")]);
        assert_eq!(one.count(), 10);
    }
}
