use std::cmp::Ordering;
use std::sync::Arc;

use super::{Certificate, Listing, is_same};

/// What became of one certificate between two reads of the same list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// It was not there before.
    Added(&'a Certificate),
    /// It is there no longer.
    Removed(&'a Certificate),
    /// It became active.
    Activated(&'a Certificate),
    /// It is active no longer.
    Deactivated(&'a Certificate),
    /// It has another name.
    Renamed {
        /// As it was.
        from: &'a Certificate,
        /// As it is.
        to: &'a Certificate,
    },
    /// One of its dates is another. Nothing documented does that, which is why somebody should know.
    Redated(&'a Certificate),
}

impl Listing<Certificate> {
    /// Every change since `earlier`, in the order of identifiers; several for a certificate that changed in several ways.
    #[must_use]
    pub fn changes_since<'a>(self: &'a Arc<Self>, earlier: &'a Arc<Self>) -> Vec<Change<'a>> {
        let mut changes = Vec::new();
        if let Some(changed) = self.changed_since(earlier) {
            for place in changed.iter().map(|place| *place as usize) {
                compare(&earlier.items[place], &self.items[place], &mut changes);
            }
            return changes;
        }
        let (mut old, mut new) = (earlier.items.iter().peekable(), self.items.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => before.id.cmp(&after.id),
            };
            match order {
                Ordering::Less => changes.extend(old.next().map(|gone| Change::Removed(gone))),
                Ordering::Greater => changes.extend(new.next().map(|come| Change::Added(come))),
                Ordering::Equal => {
                    if let (Some(before), Some(after)) = (old.next(), new.next()) {
                        compare(before, after, &mut changes);
                    }
                }
            }
        }
    }
}

fn compare<'a>(before: &'a Certificate, after: &'a Certificate, changes: &mut Vec<Change<'a>>) {
    if is_same(before, after) {
        return;
    }
    match (before.active, after.active) {
        (false, true) => changes.push(Change::Activated(after)),
        (true, false) => changes.push(Change::Deactivated(after)),
        _ => {}
    }
    if before.name != after.name {
        changes.push(Change::Renamed { from: before, to: after });
    }
    let dates = |certificate: &Certificate| (certificate.created_at, certificate.valid_at, certificate.expires_at);
    if dates(before) != dates(after) {
        changes.push(Change::Redated(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Malformed;

    fn certificate(id: &str) -> Certificate {
        Certificate {
            id: id.into(),
            name: Some("ca".into()),
            active: true,
            created_at: Some(1),
            valid_at: Some(2),
            expires_at: Some(3),
        }
    }

    fn list(certificates: Vec<Certificate>) -> Arc<Listing<Certificate>> {
        Arc::new(Listing::new(certificates, Malformed::default()))
    }

    #[test]
    fn each_kind_is_told() {
        let inactive = Certificate { active: false, ..certificate("b") };
        let renamed = Certificate { name: None, expires_at: Some(4), ..certificate("c") };
        let before = list(vec![certificate("a"), certificate("b"), certificate("c"), certificate("d")]);
        let after = list(vec![inactive.clone(), renamed.clone(), certificate("d"), certificate("e")]);
        assert_eq!(
            after.changes_since(&before),
            [
                Change::Removed(&certificate("a")),
                Change::Deactivated(&inactive),
                Change::Renamed { from: &certificate("c"), to: &renamed },
                Change::Redated(&renamed),
                Change::Added(&certificate("e")),
            ]
        );
        assert_eq!(before.changes_since(&after)[1], Change::Activated(&certificate("b")));
    }

    #[test]
    fn equal_lists_have_none() {
        let certificates = vec![certificate("a"), certificate("b")];
        let (one, other) = (list(certificates.clone()), list(certificates));
        assert_eq!((one.changes_since(&one), one.changes_since(&other)), (vec![], vec![]));
    }

    #[test]
    fn it_makes_no_difference_whether_a_list_follows_on_the_other() {
        let before = list(vec![certificate("b"), certificate("a"), certificate("c")]);
        let inactive = Certificate { active: false, ..certificate("c") };
        let renamed = Certificate { name: None, ..certificate("b") };
        let read = vec![renamed, certificate("a"), inactive];
        let following =
            Listing::following(Some(&before), read.iter().cloned().map(Arc::new), Malformed::default(), Box::default());
        assert_eq!(following.changes_since(&before), list(read).changes_since(&before));
        assert_eq!(following.changes_since(&before).len(), 2);
    }
}
