//! What becomes of a scope in time, or if certificates are deactivated.

use std::collections::HashMap;

use super::scope::validity;
use super::{Certificate, Coverage, Inventory, Scope, UnixSeconds, whole_second};

/// What is known of a scope at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlook {
    pub coverage: Coverage,
    /// When coverage begins again after it has ended, if that is known.
    pub resumes_at: Option<UnixSeconds>,
}

/// In the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ScopeChange {
    /// No certificate is active any more: any client is let in.
    NotEnforced,
    MayNotBeEnforced,
    /// No active certificate is valid any more: every request is refused.
    Refused,
    MayBeRefused,
    /// Coverage ends at another instant than `before`.
    Ends {
        after: UnixSeconds,
        before: UnixSeconds,
    },
    /// After its end, coverage does not begin again at this instant.
    NotResumed(UnixSeconds),
    /// It is covered only by certificates without a known end.
    NoKnownEnd,
    NoLongerRefused,
}

impl Outlook {
    pub(super) fn of(scope: &Scope, now: UnixSeconds) -> Self {
        let coverage = Coverage::of(scope, now);
        Self { coverage, resumes_at: coverage.resumes_at(scope, now) }
    }

    /// None if nothing changes that matters to its clients.
    pub(crate) fn change(self, after: Self) -> Option<ScopeChange> {
        use Coverage::{Covered, InDoubt, NotEnforced, Refused, Undated, Unknown};
        let again_at = self.resumes_at.filter(|at| after.resumes_at.is_none_or(|then| *at < then));
        let not_resumed = again_at.map(ScopeChange::NotResumed);
        match (self.coverage, after.coverage) {
            (Refused { .. }, Refused { .. }) => not_resumed,
            (before, after) if before == after => not_resumed,
            (_, NotEnforced) => Some(ScopeChange::NotEnforced),
            (_, Unknown) => Some(ScopeChange::MayNotBeEnforced),
            (_, Refused { .. }) => Some(ScopeChange::Refused),
            (_, InDoubt) => Some(ScopeChange::MayBeRefused),
            (Refused { .. }, _) => Some(ScopeChange::NoLongerRefused),
            (Covered { until: before }, Covered { until: after }) => {
                Some(ScopeChange::Ends { after, before })
            }
            (Covered { .. }, Undated { .. }) => Some(ScopeChange::NoKnownEnd),
            (NotEnforced | Unknown | InDoubt | Undated { .. }, Covered { .. } | Undated { .. }) => {
                None
            }
        }
    }
}

impl Inventory {
    /// By the identifier of each certificate on which a scope rests: what would change without it, the scopes by their
    /// positions among [`Self::scopes`].
    pub(crate) fn losses(&self, now: f64) -> HashMap<&str, Vec<(usize, ScopeChange)>> {
        let now = whole_second(now);
        let mut losses: HashMap<_, Vec<_>> = HashMap::new();
        for (position, (_, scope)) in self.scopes().enumerate() {
            let (in_effect, hides_anchors) = self.in_effect(position);
            let before = Outlook::of(scope, now);
            for without in essential(&in_effect, before.resumes_at, now) {
                let others = in_effect.iter().filter(|it| it.id != without.id).copied();
                let after = Outlook::of(&Scope::new(others, hides_anchors), now);
                if let Some(change) = before.change(after) {
                    losses.entry(&*without.id).or_default().push((position, change));
                }
            }
        }
        losses
    }
}

/// The only active certificate, the only valid one, those with a date that cannot be read, those with which coverage begins
/// again, and those that prolong it from `now` on, one after the other: without any of the others nothing changes.
fn essential<'a>(
    in_effect: &[&'a Certificate],
    resumes_at: Option<UnixSeconds>,
    now: UnixSeconds,
) -> Vec<&'a Certificate> {
    let mut essential: Vec<&Certificate> = Vec::new();
    let mut add = |one: &'a Certificate| {
        if essential.iter().all(|it| it.id != one.id) {
            essential.push(one);
        }
    };
    if let [only] = in_effect {
        add(only);
    }
    let resumes = |it: &Certificate| resumes_at.is_some() && it.valid_at == resumes_at;
    in_effect.iter().filter(|it| it.has_unreadable_date || resumes(it)).for_each(|one| add(one));
    let certain = || in_effect.iter().filter(|it| !it.has_unreadable_date);
    let ends_after = |certificate: &Certificate, instant: UnixSeconds| {
        let (begin, end) = validity(certificate)?;
        let end = end.unwrap_or(UnixSeconds::MAX);
        (begin <= instant && instant < end).then_some(end)
    };
    let mut valid = certain().filter(|it| ends_after(it, now).is_some());
    if let (Some(only), None) = (valid.next(), valid.next()) {
        add(only);
    }
    let dated = || certain().filter(|it| it.expires_at.is_some());
    let mut reached = now;
    while let Some((end, next)) =
        dated().filter_map(|it| Some((ends_after(it, reached)?, *it))).max_by_key(|(end, _)| *end)
    {
        add(next);
        reached = end;
    }
    essential
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{certificate, group, lists};

    #[test]
    fn the_last_certificate_that_is_known_beside_one_that_cannot_be_read_leaves_doubt() {
        let undated = certificate("undated").dated(Some(0), None);
        for known in [certificate("dated").dated(Some(0), Some(9)), undated] {
            let mut lists = lists(&[vec![known]]);
            Arc::make_mut(&mut lists.organization).hidden = 1;
            let inventory = Inventory::new(lists, &group("^$"));
            let lost: Vec<_> = inventory.losses(5.0).into_values().collect();
            assert_eq!(lost, [[(0, ScopeChange::MayNotBeEnforced)]]);
        }
    }

    /// By a number: whether it is active and whether a missing date cannot be read, and both dates.
    type Facts = BTreeMap<u8, ([bool; 2], Option<i64>, Option<i64>)>;

    proptest! {
        #[test]
        fn what_is_lost_is_what_changes_without_it(
            read in prop::collection::vec(
                prop::collection::btree_map(
                    0..9_u8,
                    (any::<[bool; 2]>(), prop::option::of(0..12_i64), prop::option::of(0..12_i64)),
                    0..6,
                ),
                1..4,
            ),
            now in 0..12_i64,
        ) {
            let list = |facts: &Facts| {
                let listed = facts.iter().map(|(id, ([active, is_unreadable], begin, end))| Certificate {
                    active: *active,
                    has_unreadable_date: *is_unreadable && (begin.is_none() || end.is_none()),
                    ..certificate(&format!("cert_{id}")).dated(*begin, *end)
                });
                listed.collect::<Vec<_>>()
            };
            let read: Vec<_> = read.iter().map(list).collect();
            let inventory = Inventory::new(lists(&read), &group("^$"));
            let losses = inventory.losses(now as f64);
            for used in inventory.certificates() {
                let id = &*used.certificate.id;
                let without = inventory.without(&[id]);
                let expected: Vec<_> = inventory
                    .scopes()
                    .zip(without.scopes())
                    .enumerate()
                    .filter_map(|(position, ((_, before), (_, after)))| {
                        let [before, after] = [before, after].map(|scope| Outlook::of(scope, now));
                        Some((position, before.change(after)?))
                    })
                    .collect();
                prop_assert_eq!(losses.get(id).cloned().unwrap_or_default(), expected, "{}", id);
            }
        }
    }
}
