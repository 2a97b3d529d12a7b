//! The rules once more, step by step and with OpenSSL for the paths, against the program.
//!
//! `CLIENT_WORLDS=500 cargo test --lib clients::` looks at as many random organizations, `CLIENT_SEED` at one of them.

use std::sync::Arc;

use fastrand::Rng;
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};

use super::super::*;
use super::issue::{Authority, Kind, day};
use super::world::{Client, Made, STEPS, World};
use crate::fixture::certificate;

/// Dates by the API, in steps.
type Dates = (Option<i64>, Option<i64>);

/// A scope: of each anchor of a world its dates by the API if it is in effect there, and those of which the PEM is not
/// read.
struct Activation {
    in_effect: Vec<Option<Dates>>,
    unread: Vec<bool>,
}

/// A client in a scope.
struct Case<'a> {
    world: &'a World,
    scope: &'a Activation,
    client: usize,
}

impl Activation {
    fn random(rng: &mut Rng, anchors: usize) -> Self {
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

    fn without(&self, anchor: usize) -> Self {
        let mut in_effect = self.in_effect.clone();
        in_effect[anchor] = None;
        Self { in_effect, unread: self.unread.clone() }
    }

    fn active(&self) -> impl Iterator<Item = (usize, Dates)> {
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
    fn ways_in(&self, step: i64) -> Vec<usize> {
        let lets_in = |(anchor, (begin, end)): &(usize, Dates)| {
            !self.scope.unread[*anchor]
                && begin.is_none_or(|begin| begin <= step)
                && end.is_none_or(|end| step < end)
                && self.client().leaf.plan.has_authority_key_id
                && self.world.is_accepted(self.client, *anchor, step.clamp(0, STEPS) as usize)
        };
        let anchors = self.scope.active().filter(lets_in).map(|(anchor, _)| anchor);
        if (0..=STEPS).contains(&step) { anchors.collect() } else { vec![] }
    }

    /// Whether an anchor of the name and key of the leaf's issuer has ended.
    fn is_shadowed(&self, step: i64) -> bool {
        self.scope.active().any(|(anchor, (_, end))| {
            let plan = &self.world.anchors[anchor].plan;
            let end = end.unwrap_or(i64::MAX).min(plan.days.1 / 10);
            !self.scope.unread[anchor]
                && plan.subject == self.client().leaf.plan.signer
                && end <= step
        })
    }

    fn is_certain(&self, step: i64) -> bool {
        !self.ways_in(step).is_empty() && !self.is_shadowed(step)
    }

    fn accepted(&self, step: i64) -> Option<bool> {
        if self.scope.active().next().is_none() || self.is_certain(step) {
            return Some(true);
        }
        let is_known = !self.scope.has_unread() && self.ways_in(step).is_empty();
        is_known.then_some(false)
    }

    fn refused_from(&self, now: i64) -> Option<i64> {
        if self.scope.active().next().is_none() || self.scope.has_unread() {
            return None;
        }
        if self.is_certain(now) {
            return (now..).find(|step| !self.is_certain(*step));
        }
        (-1..now).rev().find(|step| self.is_certain(*step)).map(|last| last + 1)
    }

    fn refusal(&self, now: i64) -> Option<Refusal> {
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
            () if !self.ways_in(step).is_empty() => Refusal::AnchorExpired,
            () => self.refusal_of_paths(step),
        })
    }

    fn refusal_of_paths(&self, step: i64) -> Refusal {
        let mut faults = Vec::new();
        self.climb(&mut Vec::new(), &mut |passed, signer| {
            for (anchor, Made { plan, .. }) in self.world.anchors.iter().enumerate() {
                let is_detour = passed.iter().any(|made| made.plan.subject == plan.subject);
                if plan.subject == signer && !is_detour && !self.scope.unread[anchor] {
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
        let hangs_loose = self.client().presented.iter().any(|position| {
            let signer = self.world.intermediates[*position].plan.signer;
            let mut active = self.scope.active();
            active.any(|(anchor, _)| self.world.anchors[anchor].plan.subject == signer)
        });
        if hangs_loose { Refusal::Chain } else { Refusal::UnknownIssuer }
    }

    /// Looks at every way up, with what was passed, and who signed the last.
    fn climb<'a>(&'a self, passed: &mut Vec<&'a Made>, look: &mut impl FnMut(&[&Made], Authority)) {
        let signer = passed.last().map_or(self.client().leaf.plan.signer, |top| top.plan.signer);
        look(passed, signer);
        for position in &self.client().presented {
            let next = &self.world.intermediates[*position];
            let is_new = passed.iter().all(|made| made.plan.subject != next.plan.subject);
            if next.plan.subject == signer && is_new {
                passed.push(next);
                self.climb(passed, look);
                passed.pop();
            }
        }
    }

    fn faults(&self, passed: &[&Made], anchor: usize, step: i64) -> Vec<Refusal> {
        let is_broken = passed.iter().enumerate().any(|(below, Made { plan, .. })| {
            !(plan.days.0..plan.days.1).contains(&(step * 10))
                || plan.kind != Kind::Ca
                || plan.usages == [KeyUsagePurpose::CrlSign]
                || (!plan.extended.is_empty()
                    && !plan.extended.contains(&ExtendedKeyUsagePurpose::ClientAuth))
                || plan.path_length.is_some_and(|length| usize::from(length) < below)
        });
        let dates = self.scope.in_effect[anchor];
        let (from, to) = self.world.anchors[anchor].plan.days;
        let is_valid = dates.is_some_and(|(begin, end)| {
            (from / 10).max(begin.unwrap_or(0)) <= step && step < (to / 10).min(end.unwrap_or(99))
        });
        let faults = [
            (is_broken, Refusal::Chain),
            (dates.is_some() && !is_valid, Refusal::AnchorExpired),
            (dates.is_none(), Refusal::AnchorInactive),
        ];
        faults.into_iter().filter(|(holds, _)| *holds).map(|(_, refusal)| refusal).collect()
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn clients_are_let_in_as_openssl_and_the_rules_say() {
    let seed = setting("CLIENT_SEED").unwrap_or_else(|| fastrand::u64(..));
    for seed in (0..setting("CLIENT_WORLDS").unwrap_or(2)).map(|n| seed.wrapping_add(n)) {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(&mut rng);
        let read = Read::new(&world);
        for _ in 0..8 {
            let scope = Activation::random(&mut rng, world.anchors.len());
            for client in 0..world.clients.len() {
                compare(&Case { world: &world, scope: &scope, client }, &read, seed);
            }
        }
    }
}

/// A world as the program reads it.
struct Read {
    anchors: Vec<Arc<AnchorContent>>,
    chains: Vec<Arc<Chain>>,
    signatures: Signatures,
}

impl Read {
    fn new(world: &World) -> Self {
        let anchor = |made: &Made| Arc::new(AnchorContent::from_pem(made.pem.as_bytes()));
        let chain = |client: &Client| {
            let intermediates = client.presented.iter();
            let intermediates: String =
                intermediates.map(|position| &*world.intermediates[*position].pem).collect();
            let whole = [&client.leaf.pem, &*intermediates].concat();
            Arc::new(if client.is_fresh {
                Chain::of_issuer_pem(intermediates.as_bytes()).unwrap()
            } else {
                Chain::from_pem(whole.as_bytes()).unwrap()
            })
        };
        Self {
            anchors: world.anchors.iter().map(anchor).collect(),
            chains: world.clients.iter().map(chain).collect(),
            signatures: Signatures::default(),
        }
    }
}

fn id(anchor: usize) -> String {
    format!("cert_{anchor}")
}

fn compare(case: &Case<'_>, read: &Read, seed: u64) {
    let Case { world, scope, client } = case;
    let contents = read.anchors.iter().enumerate().filter(|(anchor, _)| !scope.unread[*anchor]);
    let contents = contents.map(|(anchor, content)| (id(anchor).into(), Arc::clone(content)));
    let contents: Contents = contents.collect();
    let listed = |(anchor, (begin, end)): (usize, Dates)| {
        let instant = |step: Option<i64>| step.map(|step| day(step * 10));
        certificate(&id(anchor)).dated(instant(begin), instant(end))
    };
    let listed: Vec<_> = scope.active().map(listed).collect();
    let enforced = EnforcedScope::new(listed.iter(), &contents, false);
    let known = KnownIssuers::default();
    let reach = Reach::new(&read.chains[*client], &contents, &known, &read.signatures);
    let acceptance = Acceptance::new(&Arc::new(reach), &enforced);
    let about = |what, step| {
        let (client, scope) = (&world.clients[*client], &scope.in_effect);
        format!("{what} at step {step} of seed {seed}: {client:#?} {scope:?} {world:#?}")
    };
    for step in -1..=STEPS {
        let now = day(step * 10);
        let verdict = acceptance.at(now);
        assert_eq!(verdict.accepted, case.accepted(step), "{}", about("accepted", step));
        let refused_without = |anchor: &usize| {
            let without = scope.without(*anchor);
            Case { world, scope: &without, client: *client }.accepted(step) == Some(false)
        };
        let depends_on = acceptance.depends_on(&enforced, now).map(ToString::to_string);
        let expected = case.ways_in(step).into_iter().find(refused_without).map(id);
        assert_eq!(depends_on, expected, "{}", about("dependent", step));
        // The dates of a fresh leaf are for ever.
        if !world.clients[*client].is_fresh {
            let expected = case.refused_from(step).map(|step| day(step * 10));
            assert_eq!(verdict.refused_from, expected, "{}", about("refused from", step));
            assert_eq!(verdict.refusal, case.refusal(step), "{}", about("reason", step));
        }
    }
    let mut boundaries: Vec<_> = acceptance.boundaries().collect();
    boundaries.sort_unstable();
    for (begin, end) in boundaries.iter().zip(&boundaries[1..]).filter(|(a, b)| a < b) {
        let summary = |instant| {
            let verdict = acceptance.at(instant);
            let (accepted, refusal) = (verdict.accepted, verdict.refusal);
            (
                accepted,
                verdict.refused_from,
                refusal,
                verdict.hangs_on.map(|on| on.certificate_id().to_owned()),
            )
        };
        assert_eq!(summary(*begin), summary(end - 1), "{}", about("boundary", *begin));
    }
}
