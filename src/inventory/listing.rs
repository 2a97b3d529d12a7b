use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

/// Something that a list holds under an identifier of its own.
pub trait Identified {
    /// The identifier, opaque and never empty.
    fn id(&self) -> &str;
}

/// A whole list as it was read: each object once, sorted by identifier, and what could not be taken over as it stood.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// Each object once, sorted by identifier. One that is the same in the list before is shared with it.
    pub items: Box<[Arc<T>]>,
    /// Entries whose identifier had come before in the same list.
    pub duplicates: u64,
    /// Entries that could not be read.
    pub malformed: Malformed,
    /// The position in `items` of each object that was read, in the order in which they came.
    places: Box<[u32]>,
    /// The same order, cut as it was read.
    batches: Box<[Batch]>,
    /// What has changed in a list of the same objects.
    since: Option<Since<Self>>,
}

/// Objects that were read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What to know again by that the same is read; none where more is to be had from it than its objects.
    pub fingerprint: Option<u64>,
    /// How many objects had been read by its end.
    pub end: usize,
    /// Bytes of identifiers and names in it.
    pub text_bytes: usize,
}

/// What has become another since something that was the same otherwise.
#[derive(Clone, Debug)]
pub(super) struct Since<T> {
    before: Weak<T>,
    /// Positions, ascending.
    changed: Box<[u32]>,
}

impl<T> Since<T> {
    pub(super) fn new(before: &Arc<T>, changed: Box<[u32]>) -> Self {
        Self { before: Arc::downgrade(before), changed }
    }

    /// The positions, where it was since `before`.
    pub(super) fn changed(&self, before: &Arc<T>) -> Option<&[u32]> {
        // The pointer is compared with one that cannot be given to anybody else: the weak one keeps its place.
        std::ptr::eq(self.before.as_ptr(), Arc::as_ptr(before)).then_some(&*self.changed)
    }
}

/// How it came about makes no difference.
impl<T: PartialEq> PartialEq for Listing<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
            && (self.duplicates, &self.malformed, &self.places) == (other.duplicates, &other.malformed, &other.places)
    }
}

impl<T: Clone + Identified + PartialEq> Listing<T> {
    /// Sorts what was read, in the order in which it came. Of two objects with one identifier the later one stays: it
    /// was read later, so it is the fresher one.
    #[must_use]
    pub fn new(read: impl IntoIterator<Item = impl Into<Arc<T>>>, malformed: Malformed) -> Self {
        let mut numbered: Vec<(Arc<T>, usize)> = read.into_iter().map(Into::into).zip(0..).collect();
        numbered.sort_by(|(a, a_number), (b, b_number)| a.id().cmp(b.id()).then(a_number.cmp(b_number)));
        let mut places = vec![0; numbered.len()].into_boxed_slice();
        let mut items: Vec<Arc<T>> = Vec::with_capacity(numbered.len());
        for (item, number) in numbered {
            match items.last_mut().filter(|last| last.id() == item.id()) {
                Some(earlier) => *earlier = item,
                None => items.push(item),
            }
            places[number] = u32::try_from(items.len() - 1).unwrap_or(u32::MAX);
        }
        let duplicates = (places.len() - items.len()) as u64;
        Self { items: in_order(&items), duplicates, malformed, places, batches: Box::default(), since: None }
    }

    /// A list whose duplicates have been counted already, and left out.
    #[must_use]
    pub fn with_duplicates(self, duplicates: u64) -> Self {
        Self { duplicates, ..self }
    }

    /// The same, after a list that was read before: where the same objects have come in the same order, they are not
    /// sorted again, and where nothing has changed, that list itself is the result. `None` stands for what came as the
    /// object of the same number before.
    #[must_use]
    pub fn following(
        before: Option<&Arc<Self>>,
        read: impl IntoIterator<Item = impl Into<Option<Arc<T>>>>,
        malformed: Malformed,
        batches: Box<[Batch]>,
    ) -> Arc<Self> {
        let read: Vec<Option<Arc<T>>> = read.into_iter().map(Into::into).collect();
        let anew = |read: Vec<Option<Arc<T>>>, malformed, batches| {
            let again = |number| Arc::clone(before?.nth(number)?).into();
            let all = read.into_iter().enumerate().filter_map(|(number, new)| new.or_else(|| again(number)));
            Arc::new(Self { batches, ..Self::new(all, malformed) })
        };
        let Some(before) = before.filter(|before| before.duplicates == 0 && before.places.len() == read.len()) else {
            return anew(read, malformed, batches);
        };
        let mut changed = Vec::new();
        for (new, place) in read.iter().zip(&before.places) {
            let (Some(new), known) = (new, &before.items[*place as usize]) else { continue };
            if is_same(&**new, known) {
                continue;
            }
            if new.id() != known.id() {
                return anew(read, malformed, batches);
            }
            changed.push((*place, Arc::clone(new)));
        }
        if changed.is_empty() && before.malformed == malformed && before.batches == batches {
            return Arc::clone(before);
        }
        let (mut items, places) = (before.items.clone(), before.places.clone());
        changed.sort_unstable_by_key(|(place, _)| *place);
        let place = |(place, new): (u32, Arc<T>)| {
            items[place as usize] = new;
            place
        };
        let changed: Vec<u32> = changed.into_iter().map(place).collect();
        let since = Some(Since::new(before, changed.into()));
        Arc::new(Self { items, duplicates: 0, malformed, places, batches, since })
    }

    /// The positions of the objects that have become others since `before`, where both lists are of the same objects and
    /// that is known without a comparison.
    #[must_use]
    pub fn changed_since(self: &Arc<Self>, before: &Arc<Self>) -> Option<&[u32]> {
        if Arc::ptr_eq(self, before) { Some(&[]) } else { self.since.as_ref()?.changed(before) }
    }

    /// The object with this identifier.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.items.binary_search_by(|item| item.id().cmp(id)).ok().map(|index| &self.items[index])
    }

    /// What came as the object of this number, counted from 0.
    #[must_use]
    pub fn nth(&self, number: usize) -> Option<&Arc<T>> {
        self.places.get(number).map(|place| &self.items[*place as usize])
    }

    /// What was read as the batch of this number, counted from 0, and whether it was the last one. None is told of where an
    /// object came twice, of which only the later one is known still.
    #[must_use]
    pub fn batch(
        &self,
        number: usize,
    ) -> Option<(Batch, impl DoubleEndedIterator<Item = &Arc<T>> + ExactSizeIterator, bool)> {
        let batch = self.batches.get(number).filter(|_| self.duplicates == 0)?;
        let start = number.checked_sub(1).map_or(0, |before| self.batches[before].end);
        let objects = self.places.get(start..batch.end)?.iter().map(|place| &self.items[*place as usize]);
        Some((*batch, objects, number + 1 == self.batches.len()))
    }

    /// Whether these are its batches, and there is nothing more to any of them than its objects.
    #[must_use]
    pub fn is_of(&self, batches: &[Batch]) -> bool {
        *self.batches == *batches && batches.iter().all(|batch| batch.fingerprint.is_some())
    }
}

/// Those that nobody else holds, where their neighbours in the list are in memory too: who goes through a long list need
/// not wait for each of them then.
fn in_order<T: Clone>(items: &[Arc<T>]) -> Box<[Arc<T>]> {
    let moved = |item: &Arc<T>| if Arc::strong_count(item) == 1 { Arc::new(T::clone(item)) } else { Arc::clone(item) };
    items.iter().map(moved).collect()
}

/// Whether two are equal; one and the same is not looked into.
pub fn is_same<T: PartialEq>(a: &T, b: &T) -> bool {
    std::ptr::eq(a, b) || a == b
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
    /// As many, of faults that are not known any more.
    #[must_use]
    pub fn of_count(count: u64) -> Self {
        Self { count, faults: BTreeMap::new() }
    }

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
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item(String, u8);

    impl Identified for Item {
        fn id(&self) -> &str {
            &self.0
        }
    }

    fn item(id: &str, value: u8) -> Item {
        Item(id.into(), value)
    }

    #[test]
    fn the_later_of_two_stays() {
        let list = Listing::new(vec![item("b", 1), item("a", 2), item("b", 3), item("b", 4)], Malformed::default());
        assert_eq!(*list.items, [item("a", 2).into(), item("b", 4).into()]);
        assert_eq!(list.duplicates, 2);
        assert_eq!(list.get("b"), Some(&item("b", 4).into()));
        assert_eq!(list.get("c"), None);
    }

    #[test]
    fn an_unchanged_list_is_the_one_before() {
        let read = vec![Arc::new(item("b", 1)), item("a", 2).into(), item("c", 3).into()];
        let before = Arc::new(Listing::new(read.clone(), Malformed::default()));
        assert!(Arc::ptr_eq(
            &before,
            &Listing::following(Some(&before), read.clone(), Malformed::default(), Box::default())
        ));
        let mut malformed = Malformed::default();
        malformed.add(Fault::Entry);
        assert_eq!(Listing::following(Some(&before), read, malformed.clone(), Box::default()).malformed, malformed);
    }

    proptest! {
        #[test]
        fn what_came_before_makes_no_difference(
            before in prop::collection::vec(("[a-e]{1,2}", 0..3_u8), 0..20),
            change in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8), 0..4),
            after in prop::option::of(prop::collection::vec(("[a-e]{1,2}", 0..3_u8), 0..20)),
            refers: bool,
        ) {
            let items =
                |read: &[(String, u8)]| read.iter().map(|(id, value)| Arc::new(item(id, *value))).collect::<Vec<_>>();
            // Another list, or the same with other values.
            let after = after.unwrap_or_else(|| {
                let mut after = before.clone();
                for (index, value) in change {
                    if !after.is_empty() { let index = index.index(after.len()); after[index].1 = value; }
                }
                after
            });
            let known = Arc::new(Listing::new(items(&before), Malformed::default()));
            let is_known = |number, item: &Arc<Item>| refers && known.nth(number) == Some(item);
            let read = items(&after).into_iter().enumerate();
            let read = read.map(|(number, item)| (!is_known(number, &item)).then_some(item));
            let following = Listing::following(Some(&known), read, Malformed::default(), Box::default());
            prop_assert_eq!(&*following, &Listing::new(items(&after), Malformed::default()));
            if let Some(changed) = following.changed_since(&known) {
                let places = known.items.iter().zip(&following.items).zip(0..);
                let differing: Vec<u32> =
                    places.filter(|((before, after), _)| before != after).map(|(_, place)| place).collect();
                prop_assert_eq!(changed, differing);
            }
        }
    }
}
