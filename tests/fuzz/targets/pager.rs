//! The pager as a state machine, against a model: any sequence of pages, with any cursors.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use openai_cert_exporter::inventory::Certificate;
use openai_cert_exporter::openai::{Next, PageError, Pager};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

/// A page, of three bytes: which identifiers it holds, what it says of more, and of the cursor.
struct Page {
    ids: Vec<String>,
    /// An entry that cannot be read comes last.
    ends_badly: bool,
    has_more: Option<bool>,
    last_id: Option<String>,
}

impl Page {
    fn of(&[items, more, cursor]: &[u8; 3]) -> Self {
        // Few of them, so that they come again.
        let ids =
            (0..items % 4).map(|position| format!("id_{}", (items >> 2) % 16 + position)).collect();
        let has_more = [Some(true), Some(true), Some(false), None][usize::from(more % 4)];
        let last_id = match cursor % 4 {
            0 => None,
            1 => Some(String::new()),
            _ => Some(format!("id_{}", cursor >> 2)),
        };
        Self { ids, ends_badly: more & 4 != 0, has_more, last_id }
    }

    fn body(&self) -> Vec<u8> {
        let mut data: Vec<_> = self
            .ids
            .iter()
            .map(|id| json!({"id": id, "name": null, "active": true, "certificate_details": {}}))
            .collect();
        data.extend(self.ends_badly.then(|| json!(7)));
        let mut page = Map::from_iter([
            ("data".to_owned(), Value::from(data)),
            ("last_id".to_owned(), json!(self.last_id)),
        ]);
        page.extend(self.has_more.map(|more| ("has_more".to_owned(), more.into())));
        Value::from(page).to_string().into()
    }

    /// What must follow from it, after pages with these `cursors`, and with this one's identifiers if `is_shifted`.
    fn expected(
        &self,
        is_first: bool,
        is_shifted: bool,
        cursors: &mut BTreeSet<String>,
    ) -> Result<Next, PageError> {
        if !self.has_more.ok_or(PageError::NoHasMore)? {
            if is_shifted {
                return Ok(Next::CompleteShifted);
            }
            let is_empty = self.ids.is_empty() && !self.ends_badly;
            let is_proven = is_first || !is_empty;
            return Ok(if is_proven { Next::Complete } else { Next::CompleteUnproven });
        }
        let given = self.last_id.clone().filter(|id| !id.is_empty());
        let last = self.ids.last().cloned().filter(|_| !self.ends_badly);
        let cursor = given.or(last).ok_or(PageError::NoCursor)?;
        if cursors.insert(cursor.clone()) { Ok(Next::After(cursor)) } else { Err(PageError::Cycle) }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let secret = SecretString::default();
    let mut pager = Pager::<Certificate>::new(&secret);
    let (mut cursors, mut ids, mut malformed) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut is_shifted = false;
    for (index, page) in bytes.as_chunks::<3>().0.iter().map(Page::of).enumerate() {
        let next = pager.push(&page.body());
        is_shifted |= page.ids.iter().any(|id| ids.contains(id));
        assert_eq!(next, page.expected(index == 0, is_shifted, &mut cursors));
        if next.is_ok() {
            ids.extend(page.ids.iter().cloned());
            malformed += u64::from(page.ends_badly);
        }
        match next {
            Ok(Next::After(_)) => {}
            Ok(Next::Complete | Next::CompleteUnproven | Next::CompleteShifted) => {
                let list = pager.finish(None);
                assert_eq!(
                    list.items.iter().map(|item| item.id.to_string()).collect::<BTreeSet<_>>(),
                    ids
                );
                assert_eq!(list.malformed.count(), malformed);
                return;
            }
            Err(_) => return,
        }
    }
});
