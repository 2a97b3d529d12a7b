//! The rules once more, from OpenAI's guide alone: step by step, and with OpenSSL for the paths.

use fastrand::Rng;
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};

use super::Refusal;
use super::issue::{Kind, Plan};
use super::world::{Client, Made, STEPS, World};

/// Dates by the API, in steps.
pub(super) type Dates = (Option<i64>, Option<i64>);

/// A scope: of each anchor of a world its dates by the API if it is in effect there, and those of which the PEM is not
/// read.
pub(super) struct Activation {
    pub(super) in_effect: Vec<Option<Dates>>,
    pub(super) unread: Vec<bool>,
}

/// A client in a scope.
pub(super) struct Case<'a> {
    pub(super) world: &'a World,
    pub(super) scope: &'a Activation,
    pub(super) client: usize,
}

impl Activation {
    pub(super) fn random(rng: &mut Rng, anchors: usize) -> Self {
        let date = |rng: &mut Rng, steps| (rng.u8(0..3) == 0).then(|| rng.i64(steps));
        let mut dates = || (date(rng, 0..STEPS / 2), date(rng, 1..STEPS + 1));
        let all: Vec<_> = (0..anchors).map(|_| dates()).collect();
        let share = rng.u8(0..=4);
        let in_effect = all.into_iter().map(|dates| (rng.u8(0..4) < share).then_some(dates));
        let in_effect = in_effect.collect();
        let any_unread = rng.u8(0..6) == 0;
        let unread = (0..anchors).map(|_| any_unread && rng.bool()).collect();
        Self { in_effect, unread }
    }

    pub(super) fn without(&self, anchor: usize) -> Self {
        let mut in_effect = self.in_effect.clone();
        in_effect[anchor] = None;
        Self { in_effect, unread: self.unread.clone() }
    }

    pub(super) fn active(&self) -> impl Iterator<Item = (usize, Dates)> {
        let all = self.in_effect.iter().enumerate();
        all.filter_map(|(anchor, dates)| Some((anchor, (*dates)?)))
    }

    fn has_unread(&self) -> bool {
        self.active().any(|(anchor, _)| self.unread[anchor])
    }
}

impl Case<'_> {
    fn client(&self) -> &Client {
        &self.world.clients[self.client]
    }

    /// The anchors in effect that let the client in, if no other stands before them.
    pub(super) fn accepting_anchors(&self, step: i64) -> Vec<usize> {
        let lets_in = |(anchor, (begin, end)): &(usize, Dates)| {
            !self.scope.unread[*anchor]
                && begin.is_none_or(|begin| begin <= step)
                && end.is_none_or(|end| step < end)
                && self.client().leaf.plan.has_authority_key_id
                && self.world.is_accepted(self.client, *anchor, step)
        };
        self.scope.active().filter(lets_in).map(|(anchor, _)| anchor).collect()
    }

    /// Whether an anchor of the name and key of the leaf's issuer has ended.
    fn is_shadowed(&self, step: i64) -> bool {
        self.scope.active().any(|(anchor, (_, end))| {
            let plan = &self.world.anchors[anchor].plan;
            let end = end.unwrap_or(i64::MAX).min(plan.days.1 / 10);
            !self.scope.unread[anchor] && has_signed(plan, &self.client().leaf.plan) && end <= step
        })
    }

    fn is_certain(&self, step: i64) -> bool {
        !self.accepting_anchors(step).is_empty() && !self.is_shadowed(step)
    }

    pub(super) fn accepted(&self, step: i64) -> Option<bool> {
        if self.scope.active().next().is_none() || self.is_certain(step) {
            return Some(true);
        }
        let is_known = !self.scope.has_unread() && self.accepting_anchors(step).is_empty();
        is_known.then_some(false)
    }

    pub(super) fn refused_from(&self, now: i64) -> Option<i64> {
        if self.scope.active().next().is_none() || self.scope.has_unread() {
            return None;
        }
        if self.is_certain(now) {
            return (now..=STEPS).find(|step| !self.is_certain(*step));
        }
        (-1..now).rev().find(|step| self.is_certain(*step)).map(|last| last + 1)
    }

    /// The anchors without which it would be refused sooner, though another one lets it in.
    pub(super) fn prolonged_by(&self, now: i64) -> Vec<usize> {
        let lasts = |is_so: &dyn Fn(i64) -> bool| {
            is_so(now).then(|| (now..=STEPS).take_while(|step| is_so(*step)).count())
        };
        let certain = |case: &Case<'_>| lasts(&|step| case.is_certain(step));
        let open = |case: &Case<'_>| lasts(&|step| !case.accepting_anchors(step).is_empty());
        let is_prolonging = |anchor: &usize| {
            let scope = self.scope.without(*anchor);
            let without = Case { world: self.world, scope: &scope, client: self.client };
            let is_sooner = certain(&without) < certain(self) || open(&without) < open(self);
            is_sooner && !without.accepting_anchors(now).is_empty()
        };
        self.scope.active().map(|(anchor, _)| anchor).filter(is_prolonging).collect()
    }

    pub(super) fn refusal(&self, now: i64) -> Option<Refusal> {
        if self.scope.active().next().is_none() || self.scope.has_unread() {
            return None;
        }
        let step = if self.is_certain(now) { self.refused_from(now)? } else { now };
        let leaf = &self.client().leaf.plan;
        let (from, to) = (leaf.days.0 / 10, leaf.days.1 / 10);
        let is_for_clients = leaf.extended.is_empty()
            || leaf.extended.contains(&ExtendedKeyUsagePurpose::ClientAuth);
        let can_sign = leaf.usages != [KeyUsagePurpose::KeyEncipherment];
        Some(match () {
            () if !leaf.has_authority_key_id => Refusal::AuthorityKeyIdentifier,
            () if to <= step => Refusal::Expired,
            () if step < from => Refusal::NotYetValid,
            () if !is_for_clients || !can_sign => Refusal::Usage,
            () if !self.accepting_anchors(step).is_empty() => Refusal::AnchorExpired,
            () => self.refusal_of_paths(step),
        })
    }

    fn refusal_of_paths(&self, step: i64) -> Refusal {
        let mut faults = Vec::new();
        self.for_each_partial_path(&mut Vec::new(), &mut |passed, top| {
            for (anchor, Made { plan, .. }) in self.world.anchors.iter().enumerate() {
                let is_detour = passed.iter().any(|made| made.plan.subject == plan.subject);
                if has_signed(plan, top) && !is_detour && !self.scope.unread[anchor] {
                    faults.push(self.faults(passed, anchor, step));
                }
            }
        });
        let nearest = |faults: &&Vec<Refusal>| {
            (faults.contains(&Refusal::AnchorInactive), faults.len(), faults[0])
        };
        if let Some(faults) = faults.iter().min_by_key(nearest) {
            return faults[0];
        }
        let is_unconnected = self.client().presented.iter().any(|position| {
            let intermediate = &self.world.intermediates[*position].plan;
            let mut active = self.scope.active();
            active.any(|(anchor, _)| has_signed(&self.world.anchors[anchor].plan, intermediate))
        });
        if is_unconnected { Refusal::Chain } else { Refusal::UnknownIssuer }
    }

    /// Looks at every partial path, with what was passed, and the last.
    fn for_each_partial_path<'a>(
        &'a self,
        passed: &mut Vec<&'a Made>,
        look: &mut impl FnMut(&[&Made], &Plan),
    ) {
        let top = passed.last().map_or(&self.client().leaf.plan, |top| &top.plan);
        look(passed, top);
        for position in &self.client().presented {
            let next = &self.world.intermediates[*position];
            let is_new = passed.iter().all(|made| made.plan.subject != next.plan.subject);
            if has_signed(&next.plan, top) && is_new {
                passed.push(next);
                self.for_each_partial_path(passed, look);
                passed.pop();
            }
        }
    }

    fn faults(&self, passed: &[&Made], anchor: usize, step: i64) -> Vec<Refusal> {
        let is_broken = passed.iter().enumerate().any(|(below, Made { plan, .. })| {
            !(plan.days.0..plan.days.1).contains(&(step * 10))
                || !matches!(plan.kind, Kind::Ca | Kind::UnnamedCa)
                || plan.usages == [KeyUsagePurpose::CrlSign]
                || (!plan.extended.is_empty()
                    && !plan.extended.contains(&ExtendedKeyUsagePurpose::ClientAuth))
                || plan.path_length.is_some_and(|length| usize::from(length) < below)
        });
        let dates = self.scope.in_effect[anchor];
        let plan = &self.world.anchors[anchor].plan;
        let above: Vec<_> = passed.iter().map(|made| &made.plan).chain([plan]).collect();
        let below = [&self.client().leaf.plan].into_iter().chain(above.iter().copied());
        let has_ambiguous_issuer = below.take(above.len()).enumerate().any(|(issuer, below)| {
            let itself_and_above = above.iter().enumerate().skip(issuer.saturating_sub(1));
            let mut others = itself_and_above.filter(|(other, _)| *other != issuer);
            others.any(|(_, other)| is_named(other, below))
        });
        let (from, to) = plan.days;
        let is_valid = dates.is_some_and(|(begin, end)| {
            (from / 10).max(begin.unwrap_or(0)) <= step && step < (to / 10).min(end.unwrap_or(99))
        });
        let faults = [
            (is_broken || has_ambiguous_issuer, Refusal::Chain),
            (dates.is_some() && !is_valid, Refusal::AnchorExpired),
            (dates.is_none(), Refusal::AnchorInactive),
        ];
        faults.into_iter().filter(|(holds, _)| *holds).map(|(_, refusal)| refusal).collect()
    }
}

/// Whether the one has signed the other, and the other names no other key.
fn has_signed(issuer: &Plan, plan: &Plan) -> bool {
    let has_key_id = issuer.kind == Kind::Ca;
    let is_named = !(has_key_id && plan.names_other_key && plan.has_authority_key_id);
    issuer.subject == plan.signer && is_named
}

/// Whether the other may name the one as its issuer, as far as can be seen without the signature.
fn is_named(issuer: &Plan, plan: &Plan) -> bool {
    let has_key_id = issuer.kind == Kind::Ca;
    issuer.subject.name == plan.signer.name && (!has_key_id || has_signed(issuer, plan))
}
