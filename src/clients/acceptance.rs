use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use super::candidate_paths::{CandidateAnchor, CandidatePath};
use super::{CandidatePaths, EnforcedScope, Refusal, Span, X509};
use crate::inventory::{UnixSeconds, merged};

/// When one chain is let in in one scope.
#[derive(Debug)]
pub struct Acceptance {
    pub(super) candidates: Arc<CandidatePaths>,
    /// Whether a certificate is asked for; none if that is not known.
    enforced: Option<bool>,
    has_unread: bool,
    /// Of each anchor of the candidate paths: when it is valid, by the API and its PEM; `None` if it is not in effect.
    in_effect: Box<[Option<Span>]>,
    /// When the chain is let in for certain: sorted, none touching another.
    certain: Box<[(UnixSeconds, UnixSeconds)]>,
    /// Whether an anchor in effect has signed an intermediate of a chain without a path to any.
    has_unconnected_anchor: bool,
}

/// What is known of a chain in a scope at an instant.
#[derive(Debug, Default)]
pub struct Verdict<'a> {
    /// `None` while it cannot be known.
    pub accepted: Option<bool>,
    /// The first instant from this one on at which it is refused, or the one at which acceptance ended. `None` if it
    /// never was let in, nothing known ends it, or it cannot be known.
    pub refused_from: Option<UnixSeconds>,
    /// Why: at that instant, or at this one if it is refused at this one.
    pub refusal: Option<Refusal>,
    /// The path that it is let in by (the one that lasts longest), or the one that is at fault.
    pub trust_path: Option<TrustPath<'a>>,
    /// The anchor that has ended by the instant of the refusal and may be looked at before its valid twin, if that is why.
    pub hidden_by: Option<&'a str>,
    /// While an anchor in effect has not been read: from when on it is refused in any case, and why.
    pub at_the_latest: Option<(UnixSeconds, Refusal)>,
}

/// A path to an anchor.
#[derive(Clone, Copy, Debug)]
pub struct TrustPath<'a> {
    chain: &'a X509,
    intermediates: &'a [Arc<X509>],
    anchor: &'a CandidateAnchor,
}

impl<'a> TrustPath<'a> {
    pub fn certificate_id(&self) -> &'a str {
        &self.anchor.id
    }

    /// From the leaf to the anchor.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        let intermediates = self.intermediates.iter().map(|passed| passed.name());
        iter::once(self.chain.name()).chain(intermediates).chain([self.anchor.certificate.name()])
    }
}

fn is_left(anchor: &CandidateAnchor, without: Option<&str>) -> bool {
    without.is_none_or(|id| *anchor.id != *id)
}

impl Acceptance {
    pub(super) fn new(candidates: &Arc<CandidatePaths>, scope: &EnforcedScope) -> Self {
        let dates = |anchor: &CandidateAnchor| {
            Some(scope.dates(&anchor.id)?.and(anchor.certificate.valid()))
        };
        let mut acceptance = Self {
            enforced: scope.enforced(),
            has_unread: scope.has_unread(),
            in_effect: candidates.anchors.iter().map(dates).collect(),
            certain: Box::default(),
            has_unconnected_anchor: candidates
                .unconnected_anchors
                .iter()
                .any(|id| scope.dates(id).is_some()),
            candidates: Arc::clone(candidates),
        };
        acceptance.certain = acceptance.certain(None).into();
        acceptance
    }

    /// When the chain is let in for certain, where a certificate is asked for: from begin to end, sorted.
    pub fn spans(&self) -> &[(UnixSeconds, UnixSeconds)] {
        &self.certain
    }

    pub fn at(&self, now: UnixSeconds) -> Verdict<'_> {
        if self.enforced == Some(false) {
            return Verdict { accepted: Some(true), ..Verdict::default() };
        }
        let begun = self.certain.partition_point(|(begin, _)| *begin <= now);
        let end = self.certain[..begun].last().map(|(_, end)| *end);
        let is_accepted = end.is_some_and(|end| now < end);
        let accepting_path = self.accepting_path(now);
        if self.has_unread {
            return Verdict {
                accepted: is_accepted.then_some(true),
                trust_path: accepting_path,
                at_the_latest: self.at_the_latest(now),
                ..Verdict::default()
            };
        }
        let refused_at = end.filter(|_| is_accepted).unwrap_or(now);
        let (refusal, at_fault) = self.refusal(refused_at);
        Verdict {
            // Where there is an accepting path that is not certain, an anchor that has ended may stand before it.
            accepted: (is_accepted || accepting_path.is_none()).then_some(is_accepted),
            refused_from: end,
            refusal: Some(refusal),
            trust_path: if is_accepted { accepting_path } else { at_fault },
            hidden_by: self.shadow(refused_at).map(|(anchor, ..)| &*anchor.id),
            at_the_latest: None,
        }
    }

    /// By the leaf alone, whatever the anchors are.
    fn at_the_latest(&self, now: UnixSeconds) -> Option<(UnixSeconds, Refusal)> {
        let chain = &self.candidates.chain;
        let refused = Refusal::of_leaf(chain, now).map(|refusal| (now, refusal));
        let latest = refused.unwrap_or((chain.valid().end, Refusal::Expired));
        (self.enforced == Some(true)).then_some(latest)
    }

    /// The instants at which the verdict changes, in no order: between them it is the same.
    pub(super) fn boundaries(&self) -> impl Iterator<Item = UnixSeconds> {
        let spans = self.paths().flat_map(|(_, path, in_effect)| [Some(path.valid), in_effect]);
        let spans = spans.flatten().chain([self.candidates.chain.valid()]);
        spans.flat_map(|span| [span.begin, span.end])
    }

    /// The anchors of which the deactivation everywhere would have the client refused at once, each with `true`, or might,
    /// as far as it is known: with `false`.
    pub(super) fn depends_on<'a>(
        &'a self,
        scope: &'a EnforcedScope,
        now: UnixSeconds,
    ) -> Vec<(&'a str, bool)> {
        let mut accepting_paths =
            self.accepting_paths().filter(|(_, _, valid)| valid.contains(now));
        let Some((only, ..)) = accepting_paths.next() else {
            // An anchor that has not been read may let it in.
            let may_be_let_in = Refusal::of_leaf(&self.candidates.chain, now).is_none();
            return scope.unread().filter(|_| may_be_let_in).map(|id| (id, false)).collect();
        };
        if accepting_paths.any(|(anchor, ..)| anchor.id != only.id) {
            return Vec::new();
        }
        let without = Self::new(&self.candidates, &scope.without(&[&only.id]));
        match without.at(now).accepted {
            Some(true) => Vec::new(),
            refused => vec![(&only.id, refused.is_some())],
        }
    }

    /// The anchors of which the deactivation everywhere would have the client, let in at `now`, refused sooner, though not
    /// at once: for certain, or if no anchor that has ended is in the way.
    pub(super) fn prolonged_by(&self, now: UnixSeconds) -> Vec<&str> {
        let open = self.accepting_paths().filter(|(_, _, valid)| valid.contains(now));
        let open: BTreeSet<_> = open.map(|(anchor, ..)| &*anchor.id).collect();
        let ids = self.accepting_paths().map(|(anchor, ..)| &*anchor.id).collect::<BTreeSet<_>>();
        if ids.len() < 2 {
            return Vec::new();
        }
        let end = |spans: Vec<(UnixSeconds, UnixSeconds)>| {
            let mut spans = spans.into_iter();
            spans.find(|(begin, end)| (*begin..*end).contains(&now)).map(|(_, end)| end)
        };
        let ends =
            |without| (end(self.certain(without)), end(self.open(without, UnixSeconds::MAX)));
        let (certain, open_until) = ends(None);
        let mut prolonging = Vec::new();
        for id in ids {
            let without = ends(Some(id));
            let is_sooner = without.0 < certain || without.1 < open_until;
            if is_sooner && open.iter().any(|other| *other != id) {
                prolonging.push(id);
            }
        }
        prolonging
    }

    /// The anchors on which it may rest later: those that have not been read and, if it is refused at `now`, those in effect
    /// to which a path leads.
    pub(super) fn may_rest_on<'a>(
        &'a self,
        scope: &'a EnforcedScope,
        now: UnixSeconds,
    ) -> impl Iterator<Item = &'a str> {
        let is_refused = !self.accepting_paths().any(|(_, _, valid)| valid.contains(now));
        let anchors = self.candidates.anchors.iter().zip(&self.in_effect);
        let lasting = anchors.filter(move |(_, in_effect)| {
            is_refused && in_effect.is_some_and(|in_effect| now < in_effect.end)
        });
        scope.unread().chain(lasting.map(|(anchor, _)| &*anchor.id))
    }

    fn paths(&self) -> impl Iterator<Item = (&CandidateAnchor, &CandidatePath, Option<Span>)> {
        let anchors = self.candidates.anchors.iter().zip(&self.in_effect);
        anchors.flat_map(|(anchor, in_effect)| {
            anchor.paths.iter().map(move |path| (anchor, path, *in_effect))
        })
    }

    /// The paths by which the chain is let in, and when, whatever other anchors may be in the way.
    fn accepting_paths(&self) -> impl Iterator<Item = (&CandidateAnchor, &CandidatePath, Span)> {
        let leaf = &self.candidates.chain.leaf;
        let is_right = leaf.has_authority_key_id && leaf.may_authenticate_clients;
        let sound = self.paths().filter(move |(_, path, _)| is_right && path.is_sound);
        sound.filter_map(|(anchor, path, in_effect)| {
            Some((anchor, path, path.valid.and(in_effect?)))
        })
    }

    /// When there is an accepting path, and no anchor with the name and key of the leaf's issuer has ended yet; without one
    /// of the anchors, if one is given.
    fn certain(&self, without: Option<&str>) -> Vec<(UnixSeconds, UnixSeconds)> {
        let shadows = self.shadows().filter(|(anchor, ..)| is_left(anchor, without));
        let until = shadows.map(|(_, _, end)| end).min().unwrap_or(UnixSeconds::MAX);
        self.open(without, until)
    }

    /// When there is an accepting path, up to an instant.
    fn open(&self, without: Option<&str>, until: UnixSeconds) -> Vec<(UnixSeconds, UnixSeconds)> {
        let spans = self.accepting_paths().filter(|(anchor, ..)| is_left(anchor, without));
        let spans = spans.map(|(_, _, valid)| valid.and(Span::new(None, Some(until))));
        let mut spans: Vec<_> =
            spans.filter(|span| !span.is_empty()).map(|span| (span.begin, span.end)).collect();
        spans.sort_unstable();
        merged(&spans)
    }

    /// The anchors in effect that have signed the leaf itself, each with its end.
    fn shadows(&self) -> impl Iterator<Item = (&CandidateAnchor, &CandidatePath, UnixSeconds)> {
        let direct = self.paths().filter(|(_, path, _)| path.intermediates.is_empty());
        direct.filter_map(|(anchor, path, in_effect)| Some((anchor, path, in_effect?.end)))
    }

    /// The anchor that has ended at an instant at which there is an accepting path to another.
    fn shadow(
        &self,
        instant: UnixSeconds,
    ) -> Option<(&CandidateAnchor, &CandidatePath, UnixSeconds)> {
        let is_hidden = self.accepting_path(instant).is_some();
        self.shadows().find(|(_, _, end)| is_hidden && *end <= instant)
    }

    fn accepting_path(&self, now: UnixSeconds) -> Option<TrustPath<'_>> {
        let open = self.accepting_paths().filter(|(_, _, valid)| valid.contains(now));
        // Of two that last as long the first is the shorter.
        let (anchor, path, _) = open.min_by_key(|(_, _, valid)| Reverse(valid.end))?;
        Some(self.trust_path(anchor, path))
    }

    fn trust_path<'a>(
        &'a self,
        anchor: &'a CandidateAnchor,
        path: &'a CandidatePath,
    ) -> TrustPath<'a> {
        TrustPath { chain: &self.candidates.chain.leaf, intermediates: &path.intermediates, anchor }
    }

    /// Why the chain is refused at an instant, and the path that is at fault.
    fn refusal(&self, instant: UnixSeconds) -> (Refusal, Option<TrustPath<'_>>) {
        if let Some((anchor, path, _)) = self.shadow(instant) {
            return (Refusal::AnchorExpired, Some(self.trust_path(anchor, path)));
        }
        let ranked = self.paths().map(|(anchor, path, in_effect)| {
            (Rank::new(path, in_effect, instant), self.trust_path(anchor, path))
        });
        let (rank, at_fault) = ranked.min_by_key(|(rank, _)| *rank).unzip();
        let of_leaf = Refusal::of_leaf(&self.candidates.chain, instant);
        let of_path = rank.and_then(|rank| rank.first_fault);
        let of_rest =
            if self.has_unconnected_anchor { Refusal::Chain } else { Refusal::UnknownIssuer };
        (of_leaf.or(of_path).unwrap_or(of_rest), at_fault)
    }
}

/// How near to acceptance a path is: one to an anchor in effect before any other, then the one with fewer faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_inactive: bool,
    faults: usize,
    first_fault: Option<Refusal>,
}

impl Rank {
    fn new(path: &CandidatePath, in_effect: Option<Span>, instant: UnixSeconds) -> Self {
        let faults = [
            (!path.is_sound || !path.valid.contains(instant), Refusal::Chain),
            (in_effect.is_some_and(|span| !span.contains(instant)), Refusal::AnchorExpired),
            (in_effect.is_none(), Refusal::AnchorInactive),
        ];
        let faults = faults.into_iter().filter(|(holds, _)| *holds).map(|(_, refusal)| refusal);
        Self {
            is_inactive: in_effect.is_none(),
            faults: faults.clone().count(),
            first_fault: faults.min(),
        }
    }
}
