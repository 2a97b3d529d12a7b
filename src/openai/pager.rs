//! From page to page: a state machine that is given the bodies of a list in their order and says where the list goes on.
//! It does no I/O.
//!
//! A monitor must not take an incomplete list for the whole: whatever does not prove that a list is complete is an error.

use std::collections::HashSet;

use secrecy::{ExposeSecret, SecretString};

use super::wire::{Decoded, Entry, Page, as_text};
use crate::inventory::{Listing, Malformed};

/// Pages of one list, at most.
const MAX_PAGES: usize = 2_000;
/// Objects of one list, at most: as many as that many pages of the largest documented size hold.
const MAX_ITEMS: usize = MAX_PAGES * 100;
/// Bytes of identifiers and names of one list, at most. An organization's 50 certificates have some 4 KiB of them.
const MAX_TEXT_BYTES: usize = 16 << 20;
/// No real key is shorter; cutting a shorter one out of names would only garble them.
const MIN_SECRET_LEN: usize = 8;

/// The fault of an entry whose end is as it was last read.
const END_WITHHELD: &str = "expires_at missing, but known from before";

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// With the page after the object of this identifier.
    After(String),
    /// Nowhere: it has been read whole.
    Complete,
    /// Nowhere, but an empty last page contradicts the one before, which said that more follow. An object may have been
    /// deleted while it was the cursor, or the server takes each full page for a sign of more: a second walk tells.
    CompleteUnproven,
    /// Nowhere, but an object came on more than one page: where pages have shifted while they were read, another may have come
    /// on none.
    CompleteShifted,
}

/// Why a page is refused, and its list with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("the response is not JSON")]
    NotJson,
    #[error("the response is not a list page")]
    NotAPage,
    /// With its documented code.
    #[error("the response is an error{}", named(*.0))]
    IsError(Option<&'static str>),
    /// With its documented object type.
    #[error("the response is not a list{}", named(*.0))]
    NotAList(Option<&'static str>),
    #[error("the response has no PEM of the requested certificate (certificate_details.content)")]
    NoContent,
    #[error("a page does not say whether more follow (has_more is missing)")]
    NoHasMore,
    #[error(
        "more pages follow, but there is no cursor (neither last_id nor the last object has an identifier that can be used)"
    )]
    NoCursor,
    #[error("a cursor came twice: the pages form a cycle")]
    Cycle,
    #[error("the list's names and identifiers take more than {} MiB", MAX_TEXT_BYTES >> 20)]
    TooLarge,
    #[error("the list does not end within {MAX_PAGES} pages of 100 objects")]
    TooLong,
}

fn named(what: Option<&str>) -> String {
    what.map(|what| format!(" ({what})")).unwrap_or_default()
}

/// A list, read up to some page.
#[derive(Debug)]
pub struct Pager<'a, T> {
    secret: &'a SecretString,
    items: Vec<T>,
    malformed: Malformed,
    /// Identifiers of entries that cannot be read but for these.
    unreadable: Vec<Box<str>>,
    /// How many entries have no readable identifier.
    unidentified: u64,
    text_bytes: usize,
    cursors: HashSet<String>,
    /// Identifiers of the pages before.
    earlier: HashSet<Box<str>>,
    /// Whether one of them came again.
    is_shifted: bool,
    /// Pages pushed so far.
    pub(super) pages: usize,
}

impl<'a, T: Entry> Pager<'a, T> {
    /// Before the first page. `secret` is cut out of every name: an upstream could repeat the key anywhere, and names
    /// are logged and exported.
    pub fn new(secret: &'a SecretString) -> Self {
        Self {
            secret,
            items: Vec::new(),
            malformed: Malformed::default(),
            unreadable: Vec::new(),
            unidentified: 0,
            text_bytes: 0,
            cursors: HashSet::new(),
            earlier: HashSet::new(),
            is_shifted: false,
            pages: 0,
        }
    }

    /// Takes the next page's body.
    pub fn push(&mut self, body: &[u8]) -> Result<Next, PageError> {
        let text = as_text(body);
        let page = Page::parse(&text)?;
        let has_more = page.has_more.ok_or(PageError::NoHasMore)?;
        let (items, unreadable) = (self.items.len(), self.unreadable.len());
        page.entries().iter().for_each(|entry| self.keep(T::decode(entry)));
        let (items, unreadable) = (&self.items[items..], &self.unreadable[unreadable..]);
        let ids = items.iter().map(T::id).chain(unreadable.iter().map(|id| &**id));
        self.is_shifted |= ids.clone().any(|id| self.earlier.contains(id));
        if has_more {
            self.earlier.extend(ids.map(Into::into));
        }
        self.pages += 1;
        let next = if has_more {
            Next::After(self.cursor(&page)?)
        } else if self.is_shifted {
            Next::CompleteShifted
        } else if page.entries().is_empty() && self.pages > 1 {
            Next::CompleteUnproven
        } else {
            Next::Complete
        };
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(PageError::TooLarge);
        }
        if self.items.len() + self.unreadable.len() > MAX_ITEMS
            || (has_more && self.pages == MAX_PAGES)
        {
            return Err(PageError::TooLong);
        }
        Ok(next)
    }

    /// The whole list, once [`Pager::push`] has returned that it goes on nowhere. An entry that cannot be read, or a certificate's
    /// date, is as the list had it `before`, if it did. While more entries are hidden than before, and some of them have no readable identifier, nothing
    /// is gone: they may be what is missing.
    pub fn finish(self, before: Option<&Listing<T>>) -> Listing<T> {
        let unreadable: HashSet<&str> = self.unreadable.iter().map(|id| &**id).collect();
        let came_again = self.items.iter().map(T::id).filter(|id| unreadable.contains(id));
        let came_again: HashSet<&str> = came_again.collect();
        let known: Vec<_> = self.unreadable.iter().filter_map(|id| before?.get(id)).collect();
        let mut hidden = self.unidentified + (self.unreadable.len() - known.len()) as u64;
        // What came again whole is as it came.
        let last_good = known.iter().filter(|item| !came_again.contains(item.id()));
        let mut read: Vec<T> = last_good.copied().cloned().collect();
        let duplicates = (known.len() - read.len()) as u64;
        let mut malformed = self.malformed;
        read.extend(self.items.into_iter().map(|mut item| {
            let earlier = before.and_then(|before| before.get(item.id()));
            if earlier.is_some_and(|earlier| item.keep_dates(earlier)) {
                malformed.add_entry(Some(item.id()), END_WITHHELD);
            }
            item
        }));
        let hidden_before = before.map_or(0, |before| before.hidden);
        let more = self.unidentified.min(hidden.saturating_sub(hidden_before));
        if let Some(before) = before.filter(|_| more > 0) {
            let listed: HashSet<&str> = read.iter().map(T::id).collect();
            let missing = before.items.iter().filter(|item| !listed.contains(item.id()));
            let missing: Vec<_> = missing.cloned().collect();
            hidden -= more.min(missing.len() as u64);
            read.extend(missing);
        }
        let list = Listing::new(read, malformed);
        Listing { hidden, duplicates: list.duplicates + duplicates, ..list }
    }

    /// Keeps an entry, with the key redacted from its name. An identifier that holds the key counts as unreadable.
    fn keep(&mut self, Decoded { item, fault }: Decoded<T>) {
        let secret = self.secret.expose_secret();
        let has_secret = |text: &str| secret.len() >= MIN_SECRET_LEN && text.contains(secret);
        let has_secret_id = match &item {
            Ok(item) => has_secret(item.id()),
            Err(id) => id.as_deref().is_some_and(has_secret),
        };
        let (item, fault) = if has_secret_id { (Err(None), Some("id")) } else { (item, fault) };
        if let Some(fault) = fault {
            let id = item.as_ref().map_or_else(Option::as_deref, |item| Some(item.id()));
            self.malformed.add_entry(id, fault);
        }
        match item {
            Ok(mut item) => {
                if let Some(name) = item.name_mut().as_mut().filter(|name| has_secret(name)) {
                    *name = name.replace(secret, "[redacted]").into();
                }
                self.text_bytes +=
                    item.id().len() + item.name_mut().as_ref().map_or(0, |name| name.len());
                self.items.push(item);
            }
            Err(Some(id)) => {
                self.text_bytes += id.len();
                self.unreadable.push(id);
            }
            Err(None) => self.unidentified += 1,
        }
    }

    /// After which object the list goes on: `last_id`, or the last object of the page.
    fn cursor(&mut self, page: &Page<'_>) -> Result<String, PageError> {
        let last = || match T::decode(page.entries().last()?).item {
            Ok(last) => Some(last.id().into()),
            Err(id) => id,
        };
        let cursor: String = page.last_id().or_else(last).ok_or(PageError::NoCursor)?.into();
        if self.cursors.insert(cursor.clone()) { Ok(cursor) } else { Err(PageError::Cycle) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde::de::IgnoredAny;

    use super::*;
    use crate::inventory::{Certificate, Project};

    const KEY: &str = "sk-admin-abc";

    fn entry(id: &str) -> String {
        format!(
            r#"{{"id":"{id}","name":"{id}","active":true,"certificate_details":{{"expires_at":1}}}}"#
        )
    }

    fn page(ids: &[&str], rest: &str) -> String {
        let data: Vec<_> = ids.iter().map(|id| entry(id)).collect();
        format!(r#"{{"data":[{}],{rest}}}"#, data.join(","))
    }

    fn push_all(bodies: &[String]) -> Result<Next, PageError> {
        let secret = SecretString::default();
        let mut pager = Pager::<Certificate>::new(&secret);
        bodies.iter().try_fold(Next::Complete, |_, body| pager.push(body.as_bytes()))
    }

    fn list(body: &[u8]) -> Result<Listing<Certificate>, PageError> {
        let secret = SecretString::from(KEY);
        let mut pager = Pager::new(&secret);
        pager.push(body).map(|_| pager.finish(None))
    }

    /// What is read of a page that can be read, after it has been read before.
    fn list_after_itself(body: &[u8]) -> Listing<Certificate> {
        let (secret, before) = (SecretString::from(KEY), list(body).unwrap());
        let mut pager = Pager::new(&secret);
        pager.push(body).unwrap();
        pager.finish(Some(&before))
    }

    fn odd(id: &str) -> String {
        format!(r#"{{"id":"{id}","active":"yes"}}"#)
    }

    fn nameless() -> String {
        "7".into()
    }

    fn list_after(entries: &[String], before: &Listing<Certificate>) -> Listing<Certificate> {
        let secret = SecretString::default();
        let mut pager = Pager::new(&secret);
        let body = format!(r#"{{"data":[{}],"has_more":false}}"#, entries.join(","));
        assert_eq!(pager.push(body.as_bytes()), Ok(Next::Complete));
        pager.finish(Some(before))
    }

    #[test]
    fn pager_refuses_what_does_not_prove_completeness() {
        let more = r#""has_more":true,"last_id":null"#;
        let after = |id: &str| page(&[], &format!(r#""has_more":true,"last_id":"{id}""#));
        for (bodies, error) in [
            (vec![page(&["a"], r#""last_id":"a""#)], PageError::NoHasMore),
            (vec![page(&["a"], r#""has_more":null"#)], PageError::NoHasMore),
            (vec![page(&[], r#""has_more":true"#)], PageError::NoCursor),
            (vec![page(&["a"], more), page(&[], more)], PageError::NoCursor),
            (vec![after(&"x".repeat(513))], PageError::NoCursor),
            (vec![after(r"a\u0000")], PageError::NoCursor),
            (
                vec![page(&["a"], more), page(&[], r#""has_more":true,"last_id":"a""#)],
                PageError::Cycle,
            ),
            (vec![format!(r#"{{"data":[7],{more}}}"#)], PageError::NoCursor),
            (vec![page(&["a"], more), page(&["a"], more)], PageError::Cycle),
            (vec![page(&["a"], more), page(&["b"], more), page(&["a"], more)], PageError::Cycle),
            (vec!["<html>".into()], PageError::NotJson),
            (vec![r#"{"error":{}}"#.into()], PageError::IsError(None)),
        ] {
            assert_eq!(push_all(&bodies), Err(error), "{bodies:?}");
        }
    }

    #[test]
    fn empty_page_leads_on_and_an_empty_end_proves_nothing() {
        let more = |id: &str| page(&[], &format!(r#""has_more":true,"last_id":"{id}""#));
        let (one, end) = (page(&["a"], r#""has_more":true"#), page(&[], r#""has_more":false"#));
        for (bodies, next) in [
            (vec![end.clone()], Next::Complete),
            (vec![more("a")], Next::After("a".into())),
            (vec![one.clone(), more("b")], Next::After("b".into())),
            (vec![one.clone(), more("b"), page(&["c"], r#""has_more":false"#)], Next::Complete),
            (vec![one.clone(), end.clone()], Next::CompleteUnproven),
            (vec![more("a"), end.clone()], Next::CompleteUnproven),
            (vec![one, more("b"), end], Next::CompleteUnproven),
        ] {
            assert_eq!(push_all(&bodies), Ok(next), "{bodies:?}");
        }
    }

    #[test]
    fn object_that_comes_on_two_pages_is_the_sign_of_a_shift() {
        let more = |ids: &[&str], cursor: &str| {
            page(ids, &format!(r#""has_more":true,"last_id":"{cursor}""#))
        };
        let last = |ids: &[&str]| page(ids, r#""has_more":false"#);
        let odd = |body: String| body.replace(r#""active":true"#, r#""active":7"#);
        for (bodies, next) in [
            (vec![last(&["a", "a"])], Next::Complete),
            (vec![more(&["a", "a"], "1"), last(&["b", "b"])], Next::Complete),
            (vec![more(&["a"], "1"), last(&["b", "a"])], Next::CompleteShifted),
            (vec![more(&["a"], "1"), more(&["a"], "2"), last(&["b"])], Next::CompleteShifted),
            (vec![more(&["a"], "1"), more(&["a"], "2"), last(&[])], Next::CompleteShifted),
            (vec![odd(more(&["a"], "1")), last(&["a"])], Next::CompleteShifted),
            (vec![more(&["a"], "1"), odd(last(&["a"]))], Next::CompleteShifted),
        ] {
            assert_eq!(push_all(&bodies), Ok(next), "{bodies:?}");
        }
    }

    #[test]
    fn last_object_is_the_cursor_where_last_id_is_missing() {
        let after = |id: &str| Ok(Next::After(id.into()));
        assert_eq!(push_all(&[page(&["a", "b"], r#""has_more":true"#)]), after("b"));
        let long = format!(r#""{}""#, "x".repeat(513));
        for odd in [r#""""#, "7", r#""\ud800""#, "null", &long] {
            let page = page(&["a", "b"], &format!(r#""has_more":true,"last_id":{odd}"#));
            assert_eq!(push_all(&[page]), after("b"), "{odd}");
        }
        let inactive = page(&["a", "b"], r#""has_more":true"#).replacen(
            r#""active":true"#,
            r#""active":7"#,
            2,
        );
        assert_eq!(push_all(&[inactive]), after("b"), "an identifier will do");
        assert_eq!(push_all(&[r#"{"data":[7],"has_more":true,"last_id":"c"}"#.into()]), after("c"));
        assert_eq!(push_all(&[page(&["a", "b"], r#""has_more":true,"last_id":"a""#)]), after("a"));
    }

    #[test]
    fn pages_are_bounded() {
        let pages = |count: usize, last_has_more: bool| -> Vec<String> {
            (1..=count)
                .map(|n| {
                    page(
                        &[&format!("c{n}")],
                        &format!(r#""has_more":{}"#, n < count || last_has_more),
                    )
                })
                .collect()
        };
        assert_eq!(push_all(&pages(MAX_PAGES, false)), Ok(Next::Complete));
        assert_eq!(push_all(&pages(MAX_PAGES, true)), Err(PageError::TooLong));
    }

    #[test]
    fn objects_are_bounded() {
        let page = |count: usize| {
            let data = vec![r#"{"id":"a"}"#; count].join(",");
            format!(r#"{{"data":[{data}],"has_more":true,"last_id":"{count}"}}"#).into_bytes()
        };
        let secret = SecretString::default();
        let mut pager = Pager::<Project>::new(&secret);
        assert_eq!(pager.push(&page(MAX_ITEMS)), Ok(Next::After(MAX_ITEMS.to_string())));
        assert_eq!(pager.push(&page(1)), Err(PageError::TooLong));
    }

    #[test]
    fn names_are_bounded() {
        let huge = |n: usize| {
            let name = "x".repeat(4 << 20);
            page(&[&format!("c{n}")], r#""has_more":true"#)
                .replace(&format!(r#""name":"c{n}""#), &format!(r#""name":"{name}""#))
        };
        assert_eq!(push_all(&[huge(1), huge(2), huge(3)]), Ok(Next::After("c3".into())));
        assert_eq!(push_all(&[huge(1), huge(2), huge(3), huge(4)]), Err(PageError::TooLarge));
    }

    #[test]
    fn key_is_cut_out_of_names_and_is_no_identifier() {
        let body = page(&["a", "x-sk-admin-abc"], r#""has_more":false"#)
            .replace(r#""name":"a""#, r#""name":"<sk-admin-\u0061bc>""#)
            .replace(r#""data":["#, &format!(r#""data":[{},"#, odd("y-sk-admin-abc")));
        let Listing { items, malformed, hidden, .. } = list(body.as_bytes()).unwrap();
        assert_eq!(items[0].name.as_deref(), Some("<[redacted]>"));
        assert_eq!((items.len(), hidden, malformed.to_string().as_str()), (1, 2, "id (2)"));
        assert_eq!(malformed.named().collect::<Vec<_>>(), [(None, "id")]);
    }

    #[test]
    fn entry_that_cannot_be_read_is_as_it_was_before() {
        let before = list(page(&["a", "b"], r#""has_more":false"#).as_bytes()).unwrap();
        for (hidden_before, entries, ids, hidden) in [
            (0, vec![odd("a")], vec!["a"], 0),
            (0, vec![odd("a"), odd("c")], vec!["a"], 1),
            (0, vec![odd("a"), entry("c")], vec!["a", "c"], 0),
            // It may be what is missing.
            (0, vec![nameless()], vec!["a", "b"], 0),
            (0, vec![entry("a"), nameless()], vec!["a", "b"], 0),
            (0, vec![entry("a"), nameless(), nameless()], vec!["a", "b"], 1),
            (0, vec![odd("c"), nameless()], vec!["a", "b"], 1),
            (1, vec![entry("a"), nameless(), nameless()], vec!["a", "b"], 1),
            // The one with an identifier is the one that was hidden before.
            (1, vec![entry("a"), odd("c"), nameless()], vec!["a", "b"], 1),
            // As many were there before, beside what is missing.
            (1, vec![entry("a"), nameless()], vec!["a"], 1),
            (2, vec![entry("a"), odd("c"), nameless()], vec!["a"], 2),
        ] {
            let before = Listing { hidden: hidden_before, ..before.clone() };
            let list = list_after(&entries, &before);
            assert_eq!(list.items.iter().map(|item| &*item.id).collect::<Vec<_>>(), ids);
            assert_eq!(
                (list.hidden, list.get("a")),
                (hidden, before.get("a").filter(|_| ids.contains(&"a")))
            );
        }
    }

    #[test]
    fn entry_that_comes_again_whole_counts_as_it_came() {
        let before = list(page(&["a"], r#""has_more":false"#).as_bytes()).unwrap();
        let secret = SecretString::default();
        let mut pager = Pager::new(&secret);
        let body = format!(
            r#"{{"data":[{},{{"id":"a","active":7}}],"has_more":false}}"#,
            entry("a").replace("true", "false")
        );
        pager.push(body.as_bytes()).unwrap();
        let list = pager.finish(Some(&before));
        assert_eq!((list.items.len(), list.items[0].active, list.hidden), (1, false, 0));
    }

    #[test]
    fn date_that_cannot_be_read_is_as_it_was_before() {
        let dated = |details: &str| {
            format!(r#"{{"id":"a","active":true,"certificate_details":{details}}}"#)
        };
        let read = |details: &[&str]| {
            let lists = details.iter().map(|details| [dated(details)]);
            let list = lists.fold(Listing::default(), |list, entry| list_after(&entry, &list));
            let Certificate { valid_at, expires_at, has_unreadable_date, .. } = list.items[0];
            (valid_at, expires_at, has_unreadable_date)
        };
        let (both, none) = (r#"{"valid_at":2,"expires_at":3}"#, "{}");
        let soon = r#"{"valid_at":2,"expires_at":"soon"}"#;
        for (details, expected) in [
            (&[soon][..], (Some(2), None, true)),
            (&[soon, soon], (Some(2), None, true)),
            (&[soon, none], (Some(2), None, false)),
            (&[soon, both, soon], (Some(2), Some(3), false)),
            (&[both, soon, "null", "7"], (Some(2), Some(3), false)),
            (&[both, r#"{"valid_at":"now","expires_at":4}"#], (Some(2), Some(4), false)),
            (&[soon, r#"{"valid_at":"now","expires_at":4}"#], (Some(2), Some(4), false)),
            // What was missing is missing still.
            (&[none, soon], (Some(2), None, false)),
            // What was there is there still.
            (&[both, none], (Some(2), Some(3), false)),
            (&[both, none, none], (Some(2), Some(3), false)),
            (&[none, both], (Some(2), Some(3), false)),
        ] {
            assert_eq!(read(details), expected, "{details:?}");
        }
    }

    #[test]
    fn end_that_is_not_given_any_more_is_malformed_unless_the_list_never_gave_it() {
        let entry = |details: &str| {
            format!(r#"{{"id":"a","active":true,"certificate_details":{details}}}"#)
        };
        let ends = list_after(&[entry(r#"{"valid_at":2,"expires_at":3}"#)], &Listing::default());
        let mut ends_by_pem = ends.clone();
        ends_by_pem.items[0].expires_at_from_pem = true;
        for (before, details, faults) in [
            (&ends, "{}", "expires_at missing, but known from before (1)"),
            (&ends, r#"{"expires_at":"soon"}"#, "expires_at (1)"),
            (&ends, r#"{"expires_at":3}"#, "none"),
            (&ends_by_pem, "{}", "none"),
        ] {
            let Listing { items, malformed, .. } = list_after(&[entry(details)], before);
            assert_eq!(
                (&items, malformed.to_string().as_str()),
                (&before.items, faults),
                "{details}"
            );
        }
    }

    /// With a space between any two tokens.
    const ENTRY: &str = r#"{ "id" : "bad" , "name" : "of-sk-admin-abc" , "active" : true , "created_at" : 7 , "certificate_details" : { "valid_at" : 1 , "expires_at" : 20 } }"#;

    /// A valid text, damaged in a few places.
    fn damaged(text: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let tokens: Vec<Vec<u8>> = text.split(' ').map(Into::into).collect();
        let damage = (0..4, any::<Index>(), any::<Index>(), 0..8_u8);
        prop::collection::vec(damage, 1..4).prop_map(move |damages| {
            let mut tokens = tokens.clone();
            for (kind, first, second, bit) in damages {
                let (a, b) = (first.index(tokens.len()), second.index(tokens.len()));
                match kind {
                    0 => {
                        let byte = second.index(tokens[a].len());
                        tokens[a][byte] ^= 1_u8 << bit;
                    }
                    1 => drop(tokens.remove(a)),
                    2 => tokens.insert(b, tokens[a].clone()),
                    _ => tokens.swap(a, b),
                }
            }
            tokens.concat()
        })
    }

    /// How a poll shows an entry: as a whole, by its identifier alone, or without one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Shown {
        Whole,
        Odd,
        Nameless,
    }

    fn shown() -> impl Strategy<Value = Shown> {
        prop::sample::select(vec![Shown::Whole, Shown::Odd, Shown::Nameless])
    }

    /// Reads entries by their numbers.
    fn read_shown(shown: &[(usize, Shown)], before: &Listing<Certificate>) -> Listing<Certificate> {
        let entry = |(number, shown): &(usize, Shown)| match shown {
            Shown::Whole => entry(&number.to_string()),
            Shown::Odd => odd(&number.to_string()),
            Shown::Nameless => nameless(),
        };
        list_after(&shown.iter().map(entry).collect::<Vec<_>>(), before)
    }

    /// Which entries a list has, and how many it hides.
    fn numbers_and_hidden(list: &Listing<Certificate>) -> (Vec<usize>, u64) {
        (list.items.iter().map(|item| item.id.parse().unwrap()).collect(), list.hidden)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        /// Entries come, and none goes. Each is whole when it comes, and shown in any way later; or it never is whole.
        #[test]
        fn what_is_still_listed_stays(
            entries in prop::collection::vec((0..6_usize, any::<bool>(), prop::collection::vec(shown(), 6)), 0..8),
        ) {
            let mut list = Listing::default();
            for poll in 0..6 {
                let listed = entries.iter().enumerate().filter(|(_, (comes, ..))| *comes <= poll);
                let shown = listed.clone().map(|(number, (comes, is_ever_whole, shown))| {
                    (number, match (is_ever_whole, shown[poll]) {
                        (true, _) if *comes == poll => Shown::Whole,
                        (false, Shown::Whole) => Shown::Nameless,
                        (_, shown) => shown,
                    })
                });
                list = read_shown(&shown.collect::<Vec<_>>(), &list);
                let (known, hidden): (Vec<_>, Vec<_>) = listed.partition(|(_, (_, is_ever_whole, _))| *is_ever_whole);
                let known = known.into_iter().map(|(number, _)| number).collect();
                prop_assert_eq!(numbers_and_hidden(&list), (known, hidden.len() as u64));
            }
        }

        /// Of two polls. Any entry may be gone in the second one; what is new there is whole.
        #[test]
        fn what_is_no_longer_listed_goes(
            entries in prop::collection::vec((shown(), any::<bool>(), any::<bool>()), 0..8),
        ) {
            let poll = |is_listed: fn(&(Shown, bool, bool)) -> bool| -> Vec<_> {
                let listed = entries.iter().enumerate().filter(|(_, entry)| is_listed(entry));
                listed.map(|(number, (shown, ..))| (number, *shown)).collect()
            };
            let first = poll(|(shown, is_new, _)| !is_new || *shown != Shown::Whole);
            let second = poll(|(_, _, is_there)| *is_there);
            let list = read_shown(&second, &read_shown(&first, &Listing::default()));
            let (whole, hidden): (Vec<_>, Vec<_>) = second.into_iter().partition(|(_, shown)| *shown == Shown::Whole);
            let whole = whole.into_iter().map(|(number, _)| number).collect();
            prop_assert_eq!(numbers_and_hidden(&list), (whole, hidden.len() as u64));
        }

        #[test]
        fn any_split_into_pages_is_the_same_list(
            ids in prop::collection::btree_set("[a-z]{1,6}", 1..60),
            sizes in prop::collection::vec(1..20_usize, 1..60),
            with_last_id: bool,
        ) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let whole = push_pages(&[&ids], with_last_id);
            let mut rest = ids.as_slice();
            let mut parts = Vec::new();
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() { break; }
                let (part, remaining) = rest.split_at(size.min(rest.len()));
                parts.push(part);
                rest = remaining;
            }
            prop_assert_eq!(push_pages(&parts, with_last_id), whole);
        }

        #[test]
        fn damaged_page_is_refused_or_each_of_its_entries_counted(
            body in damaged(&format!(r#"{{ "data" : [ {ENTRY} , {ENTRY} , 7 ] , "has_more" : false , "last_id" : "bad" }}"#)),
        ) {
            #[derive(serde::Deserialize)]
            struct Shape { data: Vec<IgnoredAny> }
            match list(&body) {
                Ok(Listing { items, duplicates, hidden, .. }) => {
                    let shape: Shape = serde_json::from_str(&as_text(&body)).unwrap();
                    prop_assert_eq!(items.len() as u64 + duplicates + hidden, shape.data.len() as u64);
                    let again = list_after_itself(&body);
                    prop_assert_eq!(&again.items, &items, "read once more, it changes nothing");
                    for item in &items {
                        prop_assert!(!item.id.is_empty() && !item.id.contains(KEY), "{:?}", item);
                        prop_assert!(!item.name.as_deref().unwrap_or_default().contains(KEY), "{:?}", item);
                    }
                }
                Err(PageError::NotJson) => {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_err());
                }
                Err(_) => {}
            }
        }

        #[test]
        fn damaged_entry_costs_at_most_itself(damaged in damaged(ENTRY)) {
            let is_json = serde_json::from_str::<IgnoredAny>(&as_text(&damaged)).is_ok();
            let [before, past] = ["before", "past"].map(entry);
            let body = [br#"{"data":["#, before.as_bytes(), b",", &damaged, b",", past.as_bytes(), br#"],"has_more":false}"#];
            let list = list(&body.concat());
            if is_json {
                let list = list.unwrap();
                prop_assert!(list.get("before").is_some() && list.get("past").is_some(), "{:?}", list);
                prop_assert_eq!(list.items.len() as u64 + list.hidden, 3);
                prop_assert!(list.malformed.count() <= 1 && list.hidden <= list.malformed.count());
            }
        }
    }

    fn push_pages(parts: &[&[&str]], with_last_id: bool) -> Listing<Certificate> {
        let secret = SecretString::default();
        let mut pager = Pager::new(&secret);
        for (index, ids) in parts.iter().enumerate() {
            let has_more = index + 1 < parts.len();
            let last = ids[ids.len() - 1];
            let last_id =
                if with_last_id { format!(r#","last_id":"{last}""#) } else { String::new() };
            let next = pager
                .push(page(ids, &format!(r#""has_more":{has_more}{last_id}"#)).as_bytes())
                .unwrap();
            assert_eq!(next, if has_more { Next::After(last.into()) } else { Next::Complete });
        }
        pager.finish(None)
    }
}
