//! Where mutual TLS holds, and until when: the rules of OpenAI's mutual-TLS guide.
//!
//! - Anchors are active at the organization or at a project. In effect for a project are its own **and** the
//!   organization's; a request passes on either.
//! - Where none is active, mutual TLS is not enforced. Where some are, but none is valid, every request is refused.
//! - An anchor is valid from `valid_at` (missing: always) inclusive to `expires_at` (missing: for ever) exclusive.
//! - The runway of a scope ends at the first instant from now on at which no active anchor is valid.

use super::{Certificate, Listing, UnixSeconds};

/// The certificates that are active in a list.
pub(super) fn active(list: &Listing<Certificate>) -> impl Iterator<Item = &Certificate> {
    list.items.iter().map(|certificate| &**certificate).filter(|certificate| certificate.active)
}

/// The certificates in effect for a project: those active in its own list and those active at the organization, each
/// once.
pub(super) fn in_effect<'a>(
    own: &'a Listing<Certificate>,
    organization: &'a Listing<Certificate>,
) -> impl Iterator<Item = &'a Certificate> {
    let only_at_organization = |certificate: &&Certificate| !own.get(&certificate.id).is_some_and(|own| own.active);
    active(own).chain(active(organization).filter(only_at_organization))
}

/// The anchors in effect in one scope, kept so that any instant can be asked for at the cost of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Valid at some time or never.
    anchors: usize,
    /// When anchors begin and when they end, both sorted, of those that are ever valid and end; without a known begin, at the
    /// beginning of time.
    begins: Box<[UnixSeconds]>,
    ends: Box<[UnixSeconds]>,
    /// When anchors without a known end begin, sorted.
    undated: Box<[UnixSeconds]>,
    /// Where at least one anchor with a known end is valid: spans from begin to end, sorted, none touching another.
    covered: Box<[(UnixSeconds, UnixSeconds)]>,
}

impl Scope {
    /// A scope in which these certificates are the anchors in effect.
    pub fn new<'a>(in_effect: impl Iterator<Item = &'a Certificate>) -> Self {
        Self::default().following(std::iter::empty(), in_effect)
    }

    /// The same scope once these anchors, which are in effect, are `gone`, and others have `come`.
    pub(super) fn following<'a>(
        &self,
        gone: impl Iterator<Item = &'a Certificate>,
        come: impl Iterator<Item = &'a Certificate>,
    ) -> Self {
        let mut anchors = self.anchors;
        let [mut begins, mut ends, mut undated] =
            [&self.begins, &self.ends, &self.undated].map(|sorted| sorted.to_vec());
        for certificate in gone {
            anchors -= 1;
            match Validity::of(certificate) {
                Validity::Never => {}
                Validity::From(begin) => remove(&mut undated, begin),
                Validity::Within(begin, end) => {
                    remove(&mut begins, begin);
                    remove(&mut ends, end);
                }
            }
        }
        for certificate in come {
            anchors += 1;
            match Validity::of(certificate) {
                Validity::Never => {}
                Validity::From(begin) => undated.push(begin),
                Validity::Within(begin, end) => {
                    begins.push(begin);
                    ends.push(end);
                }
            }
        }
        #[expect(clippy::stable_sort_primitive, reason = "it makes use of what is sorted already")]
        for instants in [&mut begins, &mut ends, &mut undated] {
            instants.sort();
        }
        let covered = covered(&begins, &ends);
        Self { anchors, begins: begins.into(), ends: ends.into(), undated: undated.into(), covered }
    }

    /// Whether mutual TLS is enforced: whether any anchor is active, valid or not.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.anchors > 0
    }

    /// How many anchors are valid at `now`.
    #[must_use]
    pub fn valid(&self, now: UnixSeconds) -> usize {
        let until_now = |instants: &[UnixSeconds]| instants.partition_point(|instant| *instant <= now);
        until_now(&self.begins) - until_now(&self.ends) + until_now(&self.undated)
    }

    /// How many anchors have no known end. The runway is reckoned without them.
    #[must_use]
    pub fn of_unknown_expiry(&self) -> usize {
        self.undated.len()
    }

    /// When at least one anchor with a known end is valid: spans from begin to end, sorted, none touching another. What has
    /// no known begin begins at the beginning of time.
    #[must_use]
    pub fn coverage(&self) -> &[(UnixSeconds, UnixSeconds)] {
        &self.covered
    }

    /// The first instant from `now` on at which no anchor with a known end is valid; where none is valid at `now`, the
    /// instant at which the last one ended. `None` where none has ever been valid.
    ///
    /// An anchor that begins only after the others have ended does not cover the gap.
    #[must_use]
    pub fn runway_end(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        // The last span that has begun: either it lasts, or it was the last to end.
        let begun = self.covered.partition_point(|(begin, _)| *begin <= now);
        self.covered[..begun].last().map(|(_, end)| *end)
    }

    /// The first instant after `now` at which an anchor begins or ends.
    #[must_use]
    pub fn next_change(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        let after =
            |instants: &[UnixSeconds]| instants.get(instants.partition_point(|instant| *instant <= now)).copied();
        [&self.begins, &self.ends, &self.undated].into_iter().filter_map(|instants| after(instants)).min()
    }
}

/// When an anchor is valid.
enum Validity {
    /// It ends before it begins.
    Never,
    From(UnixSeconds),
    Within(UnixSeconds, UnixSeconds),
}

impl Validity {
    fn of(certificate: &Certificate) -> Self {
        let begin = certificate.valid_at.unwrap_or(UnixSeconds::MIN);
        match certificate.expires_at {
            None => Self::From(begin),
            Some(end) if begin < end => Self::Within(begin, end),
            Some(_) => Self::Never,
        }
    }
}

/// Removes one of the instants that are `instant`.
fn remove(sorted: &mut Vec<UnixSeconds>, instant: UnixSeconds) {
    if let Ok(position) = sorted.binary_search(&instant) {
        sorted.remove(position);
    }
}

/// What is covered by spans that begin and end at these instants, both sorted; those that overlap or touch are one.
fn covered(begins: &[UnixSeconds], ends: &[UnixSeconds]) -> Box<[(UnixSeconds, UnixSeconds)]> {
    let (mut covered, mut first, mut begun) = (Vec::new(), 0, 0);
    for (end, ended) in ends.iter().zip(1..) {
        begun += begins[begun..].iter().take_while(|begin| *begin <= end).count();
        if begun == ended {
            covered.push((begins[first], *end));
            first = begun;
        }
    }
    covered.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inventory::Malformed;

    type Dates = (Option<i64>, Option<i64>);

    fn certificates(dates: &[Dates]) -> Vec<Certificate> {
        let certificate = |(number, (valid_at, expires_at)): (usize, &Dates)| Certificate {
            id: format!("cert_{number}").into(),
            name: None,
            active: true,
            created_at: None,
            valid_at: *valid_at,
            expires_at: *expires_at,
        };
        dates.iter().enumerate().map(certificate).collect()
    }

    fn scope(dates: &[Dates]) -> Scope {
        Scope::new(certificates(dates).iter())
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
    fn past_is_when_it_ended() {
        assert_eq!(scope(&[from_to(0, 100), from_to(0, 120)]).runway_end(130), Some(120));
        assert_eq!(scope(&[from_to(0, 100)]).runway_end(100), Some(100), "the end itself is past");
        assert_eq!(scope(&[from_to(0, 100), from_to(200, 300)]).runway_end(150), Some(100), "within a gap");
    }

    #[test]
    fn nothing_to_say() {
        assert_eq!(scope(&[]).runway_end(50), None);
        assert!(!scope(&[]).is_enforced());
        assert_eq!(scope(&[from_to(60, 100)]).runway_end(50), None, "never covered so far");
        assert_eq!(scope(&[(Some(0), None)]).runway_end(50), None, "nothing dated");
        let reversed = scope(&[from_to(40, 30)]);
        assert_eq!((reversed.is_enforced(), reversed.valid(35), reversed.runway_end(35)), (true, 0, None));
    }

    #[test]
    fn unknown_ends_are_counted_apart() {
        let scope = scope(&[from_to(0, 100), (None, None), (Some(70), None)]);
        assert_eq!((scope.valid(50), scope.of_unknown_expiry(), scope.runway_end(50)), (2, 2, Some(100)));
        assert_eq!((scope.valid(200), scope.runway_end(200)), (2, Some(100)));
    }

    #[test]
    fn extreme_instants_are_instants() {
        let always = scope(&[from_to(i64::MIN, i64::MAX)]);
        assert_eq!((always.valid(0), always.runway_end(0)), (1, Some(i64::MAX)));
        assert_eq!((always.valid(i64::MAX), always.runway_end(i64::MAX)), (0, Some(i64::MAX)));
    }

    #[test]
    fn an_anchor_active_in_both_places_counts_once() {
        let list = |active: [bool; 3]| {
            let mut certificates = certificates(&[from_to(0, 100), from_to(0, 200), from_to(0, 300)]);
            certificates.iter_mut().zip(active).for_each(|(certificate, active)| certificate.active = active);
            Listing::new(certificates, Malformed::default())
        };
        let (organization, own) = (list([true, true, false]), list([true, false, true]));
        assert_eq!(Scope::new(active(&organization)).valid(50), 2);
        assert_eq!(Scope::new(in_effect(&own, &organization)).valid(50), 3);
    }

    /// The models walk time second by second over this range, and know nothing of spans.
    const RANGE: i64 = 40;

    fn is_valid(dates: &Dates, instant: i64) -> bool {
        dates.0.is_none_or(|begin| begin <= instant) && dates.1.is_none_or(|end| instant < end)
    }

    fn walk(anchors: &[Dates], now: i64) -> Option<i64> {
        let covered = |instant| anchors.iter().any(|dates| dates.1.is_some() && is_valid(dates, instant));
        if covered(now) {
            return (now..=RANGE).find(|instant| !covered(*instant));
        }
        // An anchor without a begin was valid before 0 too.
        (-1..now).rev().find(|instant| covered(*instant)).map(|instant| instant + 1)
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
        fn nothing_changes_before_the_next_change(anchors in some_anchors(), now in -1..=RANGE) {
            let scope = scope(&anchors);
            let says = |instant| (scope.valid(instant), scope.runway_end(instant));
            let next = scope.next_change(now);
            for instant in now..next.unwrap_or(RANGE + 2) {
                prop_assert_eq!(says(instant), says(now));
            }
            if let Some(next) = next {
                prop_assert!(anchors.iter().any(|dates| dates.0 == Some(next) || dates.1 == Some(next)));
            }
        }

        #[test]
        fn what_came_before_makes_no_difference(gone in some_anchors(), stay in some_anchors(), come in some_anchors()) {
            let before = scope(&[gone.clone(), stay.clone()].concat());
            let following = before.following(certificates(&gone).iter(), certificates(&come).iter());
            prop_assert_eq!(following, scope(&[stay, come].concat()));
        }

        #[test]
        fn valid_agrees_with_asking_each(anchors in some_anchors(), now in -1..=RANGE) {
            let valid = anchors.iter().filter(|dates| is_valid(dates, now)).count();
            prop_assert_eq!(scope(&anchors).valid(now), valid);
        }
    }
}
