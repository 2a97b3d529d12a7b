use std::cmp::Ordering;

use super::{Certificate, Listing};

/// One difference in one certificate between two reads of the same list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    Added(&'a Certificate),
    Removed(&'a Certificate),
    Activated(&'a Certificate),
    Deactivated(&'a Certificate),
    Renamed {
        from: &'a Certificate,
        to: &'a Certificate,
    },
    /// One of its dates differs. No documented request changes a date, so people should know.
    Redated(&'a Certificate),
}

impl Listing<Certificate> {
    /// Every change since `earlier`, in the order of identifiers; several for a certificate that changed in several ways.
    pub fn changes_since<'a>(&'a self, earlier: &'a Self) -> Vec<Change<'a>> {
        let mut changes = Vec::new();
        let (mut old, mut new) = (earlier.items.iter().peekable(), self.items.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => before.id.cmp(&after.id),
            };
            match order {
                Ordering::Less => changes.extend(old.next().map(Change::Removed)),
                Ordering::Greater => changes.extend(new.next().map(Change::Added)),
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
    match (before.active, after.active) {
        (false, true) => changes.push(Change::Activated(after)),
        (true, false) => changes.push(Change::Deactivated(after)),
        _ => {}
    }
    if before.name != after.name {
        changes.push(Change::Renamed { from: before, to: after });
    }
    let dates = |certificate: &Certificate| {
        (certificate.created_at, certificate.valid_at, certificate.expires_at)
    };
    if dates(before) != dates(after) {
        changes.push(Change::Redated(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{certificate, list};

    #[test]
    fn each_kind_of_change_is_found() {
        let of = |id| certificate(id).named("ca").dated(Some(2), Some(3));
        let inactive = of("b").inactive();
        let renamed = Certificate { name: None, expires_at: Some(4), ..of("c") };
        let before = list(vec![of("a"), of("b"), of("c"), of("d")]);
        let after = list(vec![inactive.clone(), renamed.clone(), of("d"), of("e")]);
        assert_eq!(
            after.changes_since(&before),
            [
                Change::Removed(&of("a")),
                Change::Deactivated(&inactive),
                Change::Renamed { from: &of("c"), to: &renamed },
                Change::Redated(&renamed),
                Change::Added(&of("e")),
            ]
        );
        assert_eq!(before.changes_since(&after)[1], Change::Activated(&of("b")));
        assert_eq!(after.changes_since(&after.clone()), []);
    }
}
