use std::collections::BTreeMap;
use std::fmt;

/// Something that a list holds under an identifier of its own.
pub trait Identified {
    /// The identifier, opaque and never empty.
    fn id(&self) -> &str;
}

/// A whole list as it was read: each object once, sorted by identifier, and what could not be taken over as it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// Each object once, sorted by identifier.
    pub items: Box<[T]>,
    /// Entries whose identifier had come before in the same list.
    pub duplicates: u64,
    /// Entries that could not be read.
    pub malformed: Malformed,
}

impl<T: Identified> Listing<T> {
    /// Sorts what was read, in the order in which it came. Of two objects with one identifier the later one stays: it
    /// was read later, so it is the fresher one.
    #[must_use]
    pub fn new(read: Vec<T>, malformed: Malformed) -> Self {
        let total = read.len();
        let mut items = read;
        // Stable, so objects with one identifier keep their order; the later one then takes the earlier one's place.
        items.sort_by(|a, b| a.id().cmp(b.id()));
        items.dedup_by(|later, kept| {
            let same = later.id() == kept.id();
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        let duplicates = (total - items.len()) as u64;
        Self { items: items.into_boxed_slice(), duplicates, malformed }
    }

    /// The object with this identifier.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&T> {
        self.items.binary_search_by(|item| item.id().cmp(id)).ok().map(|index| &self.items[index])
    }
}

/// Entries of a list that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Malformed {
    /// How many there were.
    pub count: u64,
    /// The same by kind of fault, for the log.
    pub faults: BTreeMap<Fault, u64>,
}

impl Malformed {
    /// Counts one more.
    pub fn add(&mut self, fault: Fault) {
        self.count += 1;
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Counts those of another part, or list, too.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults.is_empty() {
            return f.write_str("none");
        }
        for (index, (fault, count)) in self.faults.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{fault} ({count})")?;
        }
        Ok(())
    }
}

/// Which part of a list entry was at fault: missing where it is required, of the wrong type, out of range, or a string
/// that is not Unicode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The entry is no object, or names a field twice.
    Entry,
    /// One of its fields.
    Field(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry => f.write_str("not an object"),
            Self::Field(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(&'static str, u8);

    impl Identified for Item {
        fn id(&self) -> &str {
            self.0
        }
    }

    #[test]
    fn the_later_of_two_stays() {
        let list = Listing::new(vec![Item("b", 1), Item("a", 2), Item("b", 3), Item("b", 4)], Malformed::default());
        assert_eq!(*list.items, [Item("a", 2), Item("b", 4)]);
        assert_eq!(list.duplicates, 2);
        assert_eq!(list.get("b"), Some(&Item("b", 4)));
        assert_eq!(list.get("c"), None);
    }
}
