//! Where mutual TLS is enforced, and until when: the rules of OpenAI's mutual-TLS guide.
//!
//! - Anchors are active at the organization or at a project. In effect for a project are its own **and** the
//!   organization's; a request passes on either.
//! - If no anchor is active, mutual TLS is not enforced. If some are active, but none is valid, every request is refused.
//! - An anchor is valid from `valid_at` (missing: always) inclusive to `expires_at` (missing: for ever) exclusive. If one of
//!   them cannot be read, it may be valid while the other allows it.
//! - The runway of a scope ends at the first instant from now on at which no active anchor with a known end is valid.

use super::{Certificate, Listing, UnixSeconds};

/// The certificates that are active in a list.
pub(super) fn active(list: &Listing<Certificate>) -> impl Iterator<Item = &Certificate> {
    list.items.iter().filter(|certificate| certificate.active)
}

/// The certificates in effect for a project: those active in its own list and those active at the organization, each
/// once.
pub(super) fn in_effect<'a>(
    own: &'a Listing<Certificate>,
    organization: &'a Listing<Certificate>,
) -> impl Iterator<Item = &'a Certificate> {
    let only_at_organization =
        |certificate: &&Certificate| !own.get(&certificate.id).is_some_and(|own| own.active);
    active(own).chain(active(organization).filter(only_at_organization))
}

/// When an anchor is valid: from the first instant (inclusive) to the second (exclusive; `None`: for ever). A missing
/// begin is `UnixSeconds::MIN`. `None` if it ends before it begins.
pub(super) fn validity(certificate: &Certificate) -> Option<(UnixSeconds, Option<UnixSeconds>)> {
    let begin = certificate.valid_at.unwrap_or(UnixSeconds::MIN);
    certificate.expires_at.is_none_or(|end| begin < end).then_some((begin, certificate.expires_at))
}

/// The anchors in effect in one scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Whether any anchor is active, valid or not. None if none is known to be while an entry that cannot be read may be.
    enforced: Option<bool>,
    /// How many anchors have no known end.
    unknown_expiry: usize,
    /// When anchors may be valid that cannot be read, or a date of which cannot be.
    doubtful: Box<[(UnixSeconds, UnixSeconds)]>,
    /// When anchors with a known end are valid, sorted.
    dated: Box<[(UnixSeconds, UnixSeconds)]>,
    /// When anchors without a known end begin.
    undated: Box<[UnixSeconds]>,
    /// When at least one anchor with a known end is valid: spans from begin to end, sorted, none touching another.
    coverage: Box<[(UnixSeconds, UnixSeconds)]>,
}

impl Scope {
    /// `hides_anchors`: a list of the scope has entries that may be active certificates and cannot be read.
    pub fn new<'a>(in_effect: impl Iterator<Item = &'a Certificate>, hides_anchors: bool) -> Self {
        let (mut has_active, mut unknown_expiry) = (false, 0);
        let (mut dated, mut undated, mut doubtful) = (Vec::new(), Vec::new(), Vec::new());
        for certificate in in_effect {
            has_active = true;
            unknown_expiry += usize::from(certificate.expires_at.is_none());
            match validity(certificate) {
                Some((begin, end)) if certificate.has_unreadable_date => {
                    doubtful.push((begin, end.unwrap_or(UnixSeconds::MAX)));
                }
                Some((begin, Some(end))) => dated.push((begin, end)),
                Some((begin, None)) => undated.push(begin),
                None => {}
            }
        }
        dated.sort_unstable();
        doubtful.extend(hides_anchors.then_some((UnixSeconds::MIN, UnixSeconds::MAX)));
        Self {
            enforced: (has_active || !hides_anchors).then_some(has_active),
            unknown_expiry,
            doubtful: doubtful.into(),
            coverage: merged(&dated).into(),
            dated: dated.into(),
            undated: undated.into(),
        }
    }

    /// Whether mutual TLS is enforced: whether any anchor is active, valid or not. None if no anchor is known to be active
    /// while an entry that cannot be read may be.
    pub fn enforced(&self) -> Option<bool> {
        self.enforced
    }

    /// How many anchors are valid at `now`. None if none is known to be while one that cannot be read, or a date of which
    /// cannot be, may be.
    pub fn valid(&self, now: UnixSeconds) -> Option<usize> {
        let count = |spans: &[(UnixSeconds, UnixSeconds)]| {
            spans.iter().filter(|(begin, end)| (*begin..*end).contains(&now)).count()
        };
        let undated = self.undated.iter().filter(|begin| **begin <= now).count();
        let valid = count(&self.dated) + undated;
        (valid > 0 || count(&self.doubtful) == 0).then_some(valid)
    }

    /// How many anchors have no known end. The runway is computed without them.
    pub fn unknown_expiry(&self) -> usize {
        self.unknown_expiry
    }

    /// When at least one anchor with a known end is valid: spans from begin to end, sorted, none touching another. A
    /// missing begin is `UnixSeconds::MIN`.
    pub fn coverage(&self) -> &[(UnixSeconds, UnixSeconds)] {
        &self.coverage
    }

    /// The instants at which one of the anchors begins or ends, in no order.
    pub(super) fn boundaries(&self) -> impl Iterator<Item = UnixSeconds> {
        self.dated
            .iter()
            .chain(&self.doubtful)
            .flat_map(|(begin, end)| [*begin, *end])
            .chain(self.undated.iter().copied())
    }

    /// The first instant from `now` on at which no anchor with a known end is valid; if none is valid at `now`, the
    /// instant at which the last one ended. `None` if none has been valid yet, or if that instant is past and an anchor that
    /// cannot be read, or a date of which cannot be, may have been valid since.
    ///
    /// An anchor that begins only after the others have ended does not cover the gap.
    pub fn runway_end(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        // The last span that has begun: either it lasts, or it was the last to end.
        let begun = self.coverage.partition_point(|(begin, _)| *begin <= now);
        let end = self.coverage[..begun].last().map(|(_, end)| *end);
        let is_doubtful_since = |end| {
            self.doubtful.iter().any(|(may_begin, may_end)| *may_begin <= now && *may_end > end)
        };
        end.filter(|end| *end > now || !is_doubtful_since(*end))
    }
}

/// Sorted spans, with those that overlap or touch made one.
pub(crate) fn merged(spans: &[(UnixSeconds, UnixSeconds)]) -> Vec<(UnixSeconds, UnixSeconds)> {
    let mut merged: Vec<(UnixSeconds, UnixSeconds)> = Vec::new();
    for (begin, end) in spans {
        match merged.last_mut().filter(|(_, last_end)| begin <= last_end) {
            Some((_, last_end)) => *last_end = (*last_end).max(*end),
            None => merged.push((*begin, *end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{certificate, list};

    type Dates = (Option<i64>, Option<i64>);

    fn certificates(dates: &[Dates]) -> Vec<Certificate> {
        let numbered = dates.iter().enumerate();
        numbered
            .map(|(n, (begin, end))| certificate(&format!("cert_{n}")).dated(*begin, *end))
            .collect()
    }

    fn scope(dates: &[Dates]) -> Scope {
        Scope::new(certificates(dates).iter(), false)
    }

    fn from_to(begin: i64, end: i64) -> Dates {
        (Some(begin), Some(end))
    }

    #[test]
    fn overlaps_carry_on_and_gaps_do_not() {
        let first = from_to(0, 100);
        for (others, end, why) in [
            (vec![], 100, "alone"),
            (vec![from_to(90, 200)], 200, "an overlap"),
            (vec![from_to(100, 200)], 200, "one begins as the other ends"),
            (vec![from_to(101, 200)], 100, "a gap of a second"),
            (vec![(None, Some(80))], 100, "the later end counts"),
        ] {
            assert_eq!(scope(&[vec![first], others].concat()).runway_end(50), Some(end), "{why}");
        }
    }

    #[test]
    fn a_past_runway_end_is_when_coverage_ended() {
        assert_eq!(scope(&[from_to(0, 100), from_to(0, 120)]).runway_end(130), Some(120));
        assert_eq!(scope(&[from_to(0, 100)]).runway_end(100), Some(100), "the end itself is past");
        assert_eq!(
            scope(&[from_to(0, 100), from_to(200, 300)]).runway_end(150),
            Some(100),
            "within a gap"
        );
    }

    #[test]
    fn a_scope_without_coverage_has_no_runway_end() {
        assert_eq!(scope(&[]).runway_end(50), None);
        assert_eq!(scope(&[]).enforced(), Some(false));
        assert_eq!(scope(&[from_to(60, 100)]).runway_end(50), None, "never covered so far");
        assert_eq!(scope(&[(Some(0), None)]).runway_end(50), None, "nothing dated");
        let reversed = scope(&[from_to(40, 30)]);
        assert_eq!(
            (reversed.enforced(), reversed.valid(35), reversed.runway_end(35)),
            (Some(true), Some(0), None)
        );
    }

    #[test]
    fn enforcement_is_unknown_where_only_an_unreadable_entry_may_be_active() {
        for (dates, hides_anchors, enforced) in [
            (&[][..], true, None),
            (&[], false, Some(false)),
            (&[from_to(0, 100)], true, Some(true)),
            (&[from_to(40, 30)], true, Some(true)),
        ] {
            let scope = Scope::new(certificates(dates).iter(), hides_anchors);
            assert_eq!(scope.enforced(), enforced, "{dates:?} {hides_anchors}");
        }
    }

    #[test]
    fn anchors_without_a_known_end_are_counted_apart() {
        let scope = scope(&[from_to(0, 100), (None, None), (Some(70), None)]);
        assert_eq!(
            (scope.valid(50), scope.unknown_expiry(), scope.runway_end(50)),
            (Some(2), 2, Some(100))
        );
        assert_eq!((scope.valid(200), scope.runway_end(200)), (Some(2), Some(100)));
    }

    #[test]
    fn an_unreadable_entry_may_cover_what_nothing_else_does() {
        for (dates, valid, runway_end) in [
            (vec![from_to(0, 40)], None, None),
            (vec![from_to(60, 90)], None, None),
            (vec![from_to(40, 30)], None, None),
            (vec![], None, None),
            (vec![from_to(0, 100)], Some(1), Some(100)),
            (vec![from_to(0, 40), (None, None)], Some(1), None),
        ] {
            let scope = Scope::new(certificates(&dates).iter(), true);
            assert_eq!((scope.valid(50), scope.runway_end(50)), (valid, runway_end), "{dates:?}");
        }
    }

    #[test]
    fn an_anchor_whose_date_cannot_be_read_may_be_valid_as_far_as_the_other_says() {
        for (dates, valid, runway_end, unknown_expiry) in [
            (&[(None, None)][..], None, None, 1),
            (&[(Some(40), None)], None, None, 1),
            (&[(None, Some(60))], None, None, 0),
            (&[(Some(60), None)], Some(0), None, 1),
            (&[(None, Some(50))], Some(0), None, 0),
            (&[(None, None), from_to(0, 100)], Some(1), Some(100), 1),
            (&[(None, None), from_to(0, 40)], None, None, 1),
            (&[(None, Some(40)), from_to(0, 40)], Some(0), Some(40), 0),
            (&[(None, Some(45)), from_to(0, 40)], Some(0), None, 0),
            (&[(Some(60), None), from_to(0, 40)], Some(0), Some(40), 1),
        ] {
            let mut certificates = certificates(dates);
            certificates[0].has_unreadable_date = true;
            let scope = Scope::new(certificates.iter(), false);
            assert_eq!(
                (scope.valid(50), scope.runway_end(50), scope.unknown_expiry()),
                (valid, runway_end, unknown_expiry),
                "{dates:?}"
            );
            assert_eq!(scope.enforced(), Some(true), "{dates:?}");
        }
    }

    #[test]
    fn extreme_instants_are_instants() {
        let always = scope(&[from_to(i64::MIN, i64::MAX)]);
        assert_eq!((always.valid(0), always.runway_end(0)), (Some(1), Some(i64::MAX)));
        assert_eq!(
            (always.valid(i64::MAX), always.runway_end(i64::MAX)),
            (Some(0), Some(i64::MAX))
        );
    }

    #[test]
    fn an_anchor_active_in_both_places_counts_once() {
        let active_of = |active: [bool; 3]| {
            let mut certificates =
                certificates(&[from_to(0, 100), from_to(0, 200), from_to(0, 300)]);
            certificates
                .iter_mut()
                .zip(active)
                .for_each(|(certificate, active)| certificate.active = active);
            list(certificates)
        };
        let (organization, own) = (active_of([true, true, false]), active_of([true, false, true]));
        assert_eq!(Scope::new(active(&organization), false).valid(50), Some(2));
        assert_eq!(Scope::new(in_effect(&own, &organization), false).valid(50), Some(3));
    }

    /// The models walk time second by second over this range, and know nothing of spans.
    const RANGE: i64 = 40;

    fn is_valid(dates: &Dates, instant: i64) -> bool {
        dates.0.is_none_or(|begin| begin <= instant) && dates.1.is_none_or(|end| instant < end)
    }

    fn walk(anchors: &[Dates], now: i64) -> Option<i64> {
        let covered =
            |instant| anchors.iter().any(|dates| dates.1.is_some() && is_valid(dates, instant));
        if covered(now) {
            return (now..=RANGE).find(|instant| !covered(*instant));
        }
        // An anchor without a begin was valid before 0 too.
        (-1..now).rev().find(|instant| covered(*instant)).map(|instant| instant + 1)
    }

    /// Whether any instant in place of a date that cannot be read makes the anchor valid.
    fn may_be_valid(dates: &Dates, instant: i64) -> bool {
        let any_of = |date: Option<i64>| date.map_or(-2..=RANGE + 1, |date| date..=date);
        any_of(dates.0)
            .any(|begin| any_of(dates.1).any(|end| is_valid(&from_to(begin, end), instant)))
    }

    fn some_anchors() -> impl Strategy<Value = Vec<Dates>> {
        prop::collection::vec((prop::option::of(0..=RANGE), prop::option::of(0..=RANGE)), 0..7)
    }

    proptest! {
        #[test]
        fn runway_agrees_with_walking_time(anchors in some_anchors(), now in 0..=RANGE) {
            prop_assert_eq!(scope(&anchors).runway_end(now), walk(&anchors, now));
        }

        #[test]
        fn valid_agrees_with_asking_each(anchors in some_anchors(), now in -1..=RANGE) {
            let valid = anchors.iter().filter(|dates| is_valid(dates, now)).count();
            prop_assert_eq!(scope(&anchors).valid(now), Some(valid));
        }

        #[test]
        fn nothing_is_claimed_that_an_unreadable_date_may_contradict(
            odd in some_anchors(), known in some_anchors(), now in 0..=RANGE,
        ) {
            let odd: Vec<_> = odd.into_iter().filter(|(begin, end)| begin.is_none() || end.is_none()).collect();
            let mut certificates = certificates(&[&odd[..], &known].concat());
            certificates[..odd.len()].iter_mut().for_each(|certificate| certificate.has_unreadable_date = true);
            let scope = Scope::new(certificates.iter(), false);
            let may_be_valid = |mut span: RangeInclusive<i64>| {
                span.any(|instant| odd.iter().any(|dates| may_be_valid(dates, instant)))
            };
            let valid = known.iter().filter(|dates| is_valid(dates, now)).count();
            prop_assert_eq!(scope.valid(now), (valid > 0 || !may_be_valid(now..=now)).then_some(valid));
            let end = walk(&known, now).filter(|end| *end > now || !may_be_valid(*end..=now));
            prop_assert_eq!(scope.runway_end(now), end);
        }
    }
}
