//! From page to page: a state machine that takes the bodies of a list in their order and says where to go on. It does
//! no I/O, so any split of any list can be tried on it.
//!
//! A monitor must not take a part for the whole: whatever does not prove that the list is complete is an error.

use std::collections::HashSet;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::wire::{Entries, Entry, Page};
use crate::inventory::{Fault, Listing, Malformed};

/// Pages of one list, at most.
pub const MAX_PAGES: usize = 2_000;
/// Objects of one list, at most: as many as that many pages of the largest documented size hold.
const MAX_ITEMS: usize = MAX_PAGES * 100;
/// Bytes of identifiers and names of one list, at most. An organization's 50 certificates have some 4 KiB of them.
const MAX_TEXT_BYTES: usize = 16 << 20;
/// A key shorter than this is no real one, and cutting it out of every name would only garble names.
const SHORTEST_SECRET: usize = 8;

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
    items: Vec<Arc<T>>,
    malformed: Malformed,
    pages: usize,
    text_bytes: usize,
    cursors: HashSet<String>,
}

impl<'a, T: Entry + PartialEq> Walk<'a, T> {
    /// Before the first page. `secret` is cut out of every name: an upstream could repeat the key anywhere, and names
    /// are logged and exported. What is the same in the list `before` is not kept twice.
    #[must_use]
    pub fn new(secret: &'a SecretString, before: Option<&'a Arc<Listing<T>>>) -> Self {
        Self {
            secret,
            before,
            items: Vec::new(),
            malformed: Malformed::default(),
            pages: 0,
            text_bytes: 0,
            cursors: HashSet::new(),
        }
    }

    /// Pages taken so far.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Objects taken so far, in the order in which they came.
    #[must_use]
    pub fn items(&self) -> &[Arc<T>] {
        &self.items
    }

    /// Takes the next page's body.
    pub fn take(&mut self, body: &[u8]) -> Result<Step, PageError> {
        let page = Page::<Entries<T>>::parse(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => PageError::NotAPage,
            _ => PageError::NotJson,
        })?;
        self.pages += 1;

        let has_more = page.has_more.ok_or(PageError::NoHasMore)?;
        let step = if has_more { Step::After(self.cursor(&page)?) } else { Step::Complete };
        self.malformed.merge(&page.data.malformed);
        for item in page.data.items {
            self.keep(item);
        }
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(PageError::TooLarge);
        }
        if self.items.len() > MAX_ITEMS || (has_more && self.pages == MAX_PAGES) {
            return Err(PageError::TooLong);
        }
        Ok(step)
    }

    fn cursor(&mut self, page: &Page<Entries<T>>) -> Result<String, PageError> {
        if page.data.is_empty() {
            return Err(PageError::EmptyPage);
        }
        let given = page.last_id.as_deref().filter(|id| !id.is_empty());
        let last = page.data.items.last().filter(|_| page.data.last_is_item).map(T::id);
        let cursor = given.or(last).ok_or(PageError::NoCursor)?.to_owned();
        if self.cursors.insert(cursor.clone()) { Ok(cursor) } else { Err(PageError::Cycle) }
    }

    fn keep(&mut self, mut item: T) {
        let secret = self.secret.expose_secret();
        if secret.len() >= SHORTEST_SECRET {
            if item.id().contains(secret) {
                self.malformed.add(Fault::Field("id"));
                return;
            }
            let name = item.name_mut();
            if let Some(telling) = name.as_mut().filter(|name| name.contains(secret)) {
                *telling = telling.replace(secret, "[redacted]").into();
            }
        }
        self.text_bytes += item.id().len() + item.name_mut().as_ref().map_or(0, |name| name.len());
        // At the place where it came the last time; elsewhere it is only not shared.
        let known = self.before.and_then(|before| before.nth(self.items.len())).filter(|known| ***known == item);
        self.items.push(known.map_or_else(|| Arc::new(item), Arc::clone));
    }

    /// The whole list, once [`Walk::take`] has said that it is complete; the one before where nothing has changed.
    #[must_use]
    pub fn finish(self) -> Arc<Listing<T>> {
        Listing::following(self.before, self.items, self.malformed)
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
