//! From page to page: a state machine that takes the bodies of a list in their order and says where to go on. It does
//! no I/O, so any split of any list can be tried on it.
//!
//! A monitor must not take a part for the whole: whatever does not prove that the list is complete is an error.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};

use secrecy::{ExposeSecret, SecretString};

use super::wire::{Entries, Entry, Page};
use crate::inventory::{Batch, Fault, Listing, Malformed};

/// Pages of one list, at most.
pub const MAX_PAGES: usize = 2_000;
/// Objects of one list, at most: as many as that many pages of the largest documented size hold.
const MAX_ITEMS: usize = MAX_PAGES * 100;
/// Bytes of identifiers and names of one list, at most. An organization's 50 certificates have some 4 KiB of them.
const MAX_TEXT_BYTES: usize = 16 << 20;
/// A key shorter than this is no real one, and cutting it out of every name would only garble names.
const SHORTEST_SECRET: usize = 8;
/// Pages are known again by a hash under a key of this process, so that nobody can make one that is taken for another.
static FINGERPRINTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// With the page after this object.
    After(String),
    /// Nowhere: it has been read whole.
    Complete,
}

/// Why a list is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not JSON.
    #[error("the answer is not JSON")]
    NotJson,
    /// JSON, but no list.
    #[error("the answer is not a list page")]
    NotAPage,
    /// `has_more` is missing.
    #[error("a page does not say whether more follow (has_more is missing)")]
    NoHasMore,
    /// `has_more` with nothing in the page.
    #[error("a page is empty, and yet more are said to follow")]
    EmptyPage,
    /// `has_more` without `last_id` or a readable last object.
    #[error("more pages are said to follow, but not after which object")]
    NoCursor,
    /// A cursor that came before.
    #[error("the pages go round in a circle")]
    Cycle,
    /// Names and identifiers take more than a list may.
    #[error("the list's names and identifiers take more than {} MiB", MAX_TEXT_BYTES >> 20)]
    TooLarge,
    /// [`MAX_PAGES`] passed, and still more follow.
    #[error("the list does not end within {MAX_PAGES} pages of 100 objects")]
    TooLong,
}

impl PageError {
    /// Whether the page itself was at fault, not what it says of the others.
    #[must_use]
    pub fn is_decode(self) -> bool {
        matches!(self, Self::NotJson | Self::NotAPage | Self::TooLarge)
    }
}

/// A list, half read.
pub struct Walk<'a, T> {
    secret: &'a SecretString,
    before: Option<&'a Arc<Listing<T>>>,
    /// Each page taken so far.
    batches: Vec<Batch>,
    /// What was read in each of them; none where it is the same page in the list before.
    read: Vec<Option<Vec<Arc<T>>>>,
    malformed: Malformed,
    text_bytes: usize,
    cursors: HashSet<String>,
}

impl<'a, T: Entry> Walk<'a, T> {
    /// Before the first page. `secret` is cut out of every name: an upstream could repeat the key anywhere, and names
    /// are logged and exported. What is the same in the list `before` is not kept twice.
    #[must_use]
    pub fn new(secret: &'a SecretString, before: Option<&'a Arc<Listing<T>>>) -> Self {
        Self {
            secret,
            before,
            batches: Vec::new(),
            read: Vec::new(),
            malformed: Malformed::default(),
            text_bytes: 0,
            cursors: HashSet::new(),
        }
    }

    /// Pages taken so far.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.batches.len()
    }

    /// Objects taken so far.
    fn count(&self) -> usize {
        self.batches.last().map_or(0, |batch| batch.end)
    }

    /// What was read in the page that was taken last; nothing where it is known from the list before.
    #[must_use]
    pub fn last_read(&self) -> &[Arc<T>] {
        self.read.last().and_then(Option::as_deref).unwrap_or_default()
    }

    /// Takes the next page's body.
    pub fn take(&mut self, body: &[u8]) -> Result<Step, PageError> {
        // What is made of a page depends on the key, too.
        let fingerprint = FINGERPRINTS.hash_one((self.secret.expose_secret(), body));
        let step = match self.take_again(fingerprint) {
            Some(step) => step?,
            None => self.read(body, fingerprint)?,
        };
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(PageError::TooLarge);
        }
        if self.count() > MAX_ITEMS || (step != Step::Complete && self.pages() == MAX_PAGES) {
            return Err(PageError::TooLong);
        }
        Ok(step)
    }

    /// Takes a page that has come at this place before, byte for byte, without reading it.
    fn take_again(&mut self, fingerprint: u64) -> Option<Result<Step, PageError>> {
        let (batch, mut objects, is_last) = self.before?.batch(self.pages())?;
        if batch.fingerprint != Some(fingerprint) {
            return None;
        }
        self.batches.push(Batch { end: self.count() + objects.len(), ..batch });
        self.read.push(None);
        self.text_bytes += batch.text_bytes;
        let last = objects.next_back().filter(|_| !is_last).map(|last| last.id().to_owned());
        Some(last.map_or(Ok(Step::Complete), |last| self.go_on_after(last)))
    }

    fn read(&mut self, body: &[u8], fingerprint: u64) -> Result<Step, PageError> {
        let Page { data, has_more, last_id } =
            Page::<Entries<T>>::parse(body).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => PageError::NotAPage,
                _ => PageError::NotJson,
            })?;
        let has_more = has_more.ok_or(PageError::NoHasMore)?;
        if has_more && data.is_empty() {
            return Err(PageError::EmptyPage);
        }
        let last = data.items.last().filter(|_| data.last_is_item).map(|last| last.id().to_owned());
        let cursor = last_id.filter(|id| !id.is_empty()).or_else(|| last.clone());
        let (malformed_before, text_bytes_before) = (self.malformed.count, self.text_bytes);
        self.malformed.merge(&data.malformed);
        let mut items = Vec::with_capacity(data.items.len());
        for item in data.items {
            items.extend(self.keep(item, self.count() + items.len()));
        }
        let leads_on_by_itself = !has_more || cursor == last;
        let is_nothing_but_items = leads_on_by_itself && self.malformed.count == malformed_before;
        self.batches.push(Batch {
            fingerprint: is_nothing_but_items.then_some(fingerprint),
            end: self.count() + items.len(),
            text_bytes: self.text_bytes - text_bytes_before,
        });
        self.read.push(Some(items));
        if has_more { self.go_on_after(cursor.ok_or(PageError::NoCursor)?) } else { Ok(Step::Complete) }
    }

    fn go_on_after(&mut self, cursor: String) -> Result<Step, PageError> {
        if self.cursors.insert(cursor.clone()) { Ok(Step::After(cursor)) } else { Err(PageError::Cycle) }
    }

    /// The object as it is kept, if it is.
    fn keep(&mut self, mut item: T, number: usize) -> Option<Arc<T>> {
        let secret = self.secret.expose_secret();
        if secret.len() >= SHORTEST_SECRET {
            if item.id().contains(secret) {
                self.malformed.add(Fault::Field("id"));
                return None;
            }
            let name = item.name_mut();
            if let Some(telling) = name.as_mut().filter(|name| name.contains(secret)) {
                *telling = telling.replace(secret, "[redacted]").into();
            }
        }
        self.text_bytes += item.id().len() + item.name_mut().as_ref().map_or(0, |name| name.len());
        // At the place where it came the last time; elsewhere it is only not shared.
        let known = self.before.and_then(|before| before.nth(number)).filter(|known| ***known == item);
        Some(known.map_or_else(|| Arc::new(item), Arc::clone))
    }

    /// The whole list, once [`Walk::take`] has said that it is complete; the one before where nothing has changed.
    #[must_use]
    pub fn finish(self) -> Arc<Listing<T>> {
        if let Some(before) = self.before.filter(|before| before.is_of(&self.batches)) {
            return Arc::clone(before);
        }
        let mut items = Vec::with_capacity(self.count());
        for (number, (read, taken)) in self.read.into_iter().zip(&self.batches).enumerate() {
            let known = || self.before?.batch(number);
            match (read, known()) {
                (Some(read), _) => items.extend(read.into_iter().map(Some)),
                // Where it was, or elsewhere because there are more or fewer before it.
                (None, Some((known, ..))) if known.end == taken.end => items.resize(known.end, None),
                (None, known) => items.extend(known.into_iter().flat_map(|(_, objects, _)| objects.cloned().map(Some))),
            }
        }
        Listing::following(self.before, items, self.malformed, self.batches.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inventory::Certificate;

    fn entry(id: &str) -> String {
        format!(r#"{{"id":"{id}","name":"{id}","active":true,"certificate_details":{{"expires_at":1}}}}"#)
    }

    fn page(ids: &[&str], rest: &str) -> String {
        let data: Vec<_> = ids.iter().map(|id| entry(id)).collect();
        format!(r#"{{"data":[{}],{rest}}}"#, data.join(","))
    }

    fn take_all(bodies: &[String]) -> Result<Step, PageError> {
        let secret = SecretString::default();
        let mut walk = Walk::<Certificate>::new(&secret, None);
        bodies.iter().try_fold(Step::Complete, |_, body| walk.take(body.as_bytes()))
    }

    #[test]
    fn what_does_not_prove_completeness_is_refused() {
        let more = r#""has_more":true,"last_id":null"#;
        for (bodies, error) in [
            (vec![page(&["a"], r#""last_id":"a""#)], PageError::NoHasMore),
            (vec![page(&["a"], r#""has_more":null"#)], PageError::NoHasMore),
            (vec![page(&[], r#""has_more":true,"last_id":"a""#)], PageError::EmptyPage),
            (vec![format!(r#"{{"data":[7],{more}}}"#)], PageError::NoCursor),
            (vec![page(&["a"], more), page(&["a"], more)], PageError::Cycle),
            (vec![page(&["a"], more), page(&["b"], more), page(&["a"], more)], PageError::Cycle),
            (vec!["<html>".into()], PageError::NotJson),
            (vec![r#"{"error":{}}"#.into()], PageError::NotAPage),
        ] {
            assert_eq!(take_all(&bodies), Err(error), "{bodies:?}");
        }
    }

    #[test]
    fn without_last_id_the_last_object_leads_on() {
        assert_eq!(take_all(&[page(&["a", "b"], r#""has_more":true"#)]), Ok(Step::After("b".into())));
        assert_eq!(take_all(&[page(&["a", "b"], r#""has_more":true,"last_id":"""#)]), Ok(Step::After("b".into())));
        assert_eq!(take_all(&[r#"{"data":[7],"has_more":true,"last_id":"c"}"#.into()]), Ok(Step::After("c".into())));
    }

    #[test]
    fn the_bound_is_stated_and_kept() {
        let pages = |count: usize, last_has_more: bool| -> Vec<String> {
            (1..=count)
                .map(|n| page(&[&format!("c{n}")], &format!(r#""has_more":{}"#, n < count || last_has_more)))
                .collect()
        };
        assert_eq!(take_all(&pages(MAX_PAGES, false)), Ok(Step::Complete));
        assert_eq!(take_all(&pages(MAX_PAGES, true)), Err(PageError::TooLong));
    }

    #[test]
    fn names_without_end_are_refused() {
        let huge = |n: usize| {
            let name = "x".repeat(4 << 20);
            page(&[&format!("c{n}")], r#""has_more":true"#)
                .replace(&format!(r#""name":"c{n}""#), &format!(r#""name":"{name}""#))
        };
        assert_eq!(take_all(&[huge(1), huge(2), huge(3)]), Ok(Step::After("c3".into())));
        assert_eq!(take_all(&[huge(1), huge(2), huge(3), huge(4)]), Err(PageError::TooLarge));
    }

    #[test]
    fn the_key_never_becomes_a_name() {
        let secret = SecretString::from("sk-admin-abc");
        let mut walk = Walk::<Certificate>::new(&secret, None);
        let body = page(&["a"], r#""has_more":false"#).replace(r#""name":"a""#, r#""name":"<sk-admin-\u0061bc>""#);
        walk.take(body.as_bytes()).unwrap();
        walk.take(page(&["x-sk-admin-abc"], r#""has_more":false"#).as_bytes()).unwrap();
        let list = walk.finish();
        assert_eq!(list.items[0].name.as_deref(), Some("<[redacted]>"));
        assert_eq!((list.items.len(), list.malformed.count), (1, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        /// Any split of a list into pages gives the same list.
        #[test]
        fn any_split_is_the_same_list(
            ids in prop::collection::btree_set("[a-z]{1,6}", 1..60),
            sizes in prop::collection::vec(1..20_usize, 1..60),
            with_last_id: bool,
        ) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let whole = take_pages(&[&ids], with_last_id);
            let mut rest = ids.as_slice();
            let mut parts = Vec::new();
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() { break; }
                let (part, remaining) = rest.split_at(size.min(rest.len()));
                parts.push(part);
                rest = remaining;
            }
            prop_assert_eq!(take_pages(&parts, with_last_id), whole);
        }

        /// Pages that are known from the last time lead to the same as if they were not.
        #[test]
        fn what_came_before_makes_no_difference(
            before in prop::collection::vec(some_page(), 1..6),
            changes in prop::collection::vec((any::<prop::sample::Index>(), some_page()), 0..3),
            keys in (0..2_usize, 0..2_usize),
        ) {
            let mut after = before.clone();
            for (index, page) in changes {
                let index = index.index(after.len());
                after[index] = page;
            }
            let keys = [keys.0, keys.1].map(|key| SecretString::from(["sk-admin-abc", "another-key"][key]));
            let list = walk(&keys[0], &before, None).1;
            prop_assert_eq!(walk(&keys[1], &after, list.as_ref()), walk(&keys[1], &after, None));
        }

        /// Whatever comes, it ends in a step or an error, never in a panic.
        #[test]
        fn any_bytes_are_survived(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4)) {
            let secret = SecretString::default();
            let mut walk = Walk::<Certificate>::new(&secret, None);
            for body in bodies {
                let _ = walk.take(&body);
            }
        }
    }

    /// The body of a page, but for `has_more`: entries right or not, some that come twice, and wherever it leads on to.
    fn some_page() -> impl Strategy<Value = String> {
        let entry = prop_oneof![
            16 => "[a-z]{2}".prop_map(|id| entry(&id)),
            1 => "[a-c]".prop_map(|id| entry(&id)),
            1 => "[a-c]".prop_map(|id| entry(&id).replace("true", "false")),
            1 => Just(entry("x").replace(r#""name":"x""#, r#""name":"of sk-admin-abc""#)),
            1 => Just(entry("x-sk-admin-abc")),
            1 => Just(r#"{"id":7}"#.to_owned()),
        ];
        (prop::collection::vec(entry, 0..4), prop_oneof![Just(String::new()), r#","last_id":"[a-c]?""#])
            .prop_map(|(entries, last_id)| format!(r#"{{"data":[{}]{last_id}"#, entries.join(",")))
    }

    type Outcome = (Vec<Result<Step, PageError>>, Option<Arc<Listing<Certificate>>>);

    /// Where each page led to, and the list, if it has come to its end.
    fn walk(key: &SecretString, pages: &[String], before: Option<&Arc<Listing<Certificate>>>) -> Outcome {
        let mut walk = Walk::<Certificate>::new(key, before);
        let mut steps = Vec::new();
        for (index, page) in pages.iter().enumerate() {
            steps.push(walk.take(format!(r#"{page},"has_more":{}}}"#, index + 1 < pages.len()).as_bytes()));
            if steps[index].is_err() {
                return (steps, None);
            }
        }
        (steps, Some(walk.finish()))
    }

    fn take_pages(parts: &[&[&str]], with_last_id: bool) -> Arc<Listing<Certificate>> {
        let secret = SecretString::default();
        let mut walk = Walk::<Certificate>::new(&secret, None);
        for (index, ids) in parts.iter().enumerate() {
            let has_more = index + 1 < parts.len();
            let last = ids[ids.len() - 1];
            let last_id = if with_last_id { format!(r#","last_id":"{last}""#) } else { String::new() };
            let step = walk.take(page(ids, &format!(r#""has_more":{has_more}{last_id}"#)).as_bytes()).unwrap();
            assert_eq!(step, if has_more { Step::After(last.into()) } else { Step::Complete });
        }
        walk.finish()
    }
}
