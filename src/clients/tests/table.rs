//! The rules one by one, at day 50.

use std::sync::Arc;

use rcgen::{
    ExtendedKeyUsagePurpose as Extended, GeneralSubtree, KeyUsagePurpose, NameConstraints,
};

use super::super::*;
use super::issue::{Authority, Kind, Plan, day};
use crate::fixture::{DAY, NOW, certificate};
use crate::inventory::{Certificate, UnixSeconds};

const ROOT: Authority = Authority { name: 0, key: 0 };
/// The root after it has made itself a new key.
const REKEYED: Authority = Authority { name: 0, key: 1 };
const OTHER: Authority = Authority { name: 1, key: 2 };
const MIDDLE: Authority = Authority { name: 2, key: 3 };
const LOWER: Authority = Authority { name: 3, key: 4 };

fn contents(anchors: &[(&str, Plan)]) -> Contents {
    let read = |(id, plan): &(&str, Plan)| {
        (Arc::from(*id), Arc::new(AnchorContent::from_pem(plan.pem().as_bytes())))
    };
    anchors.iter().map(read).collect()
}

fn chain(plans: &[Plan]) -> Chain {
    let file: String = plans.iter().map(Plan::pem).collect();
    Chain::from_pem(file.as_bytes()).unwrap()
}

fn issuer(plans: &[Plan]) -> Chain {
    let file: String = plans.iter().map(Plan::pem).collect();
    Chain::of_issuer_pem(file.as_bytes()).unwrap()
}

/// Of these anchors, those whose id begins with `on` are in effect.
fn judge(chain: Chain, anchors: &[(&str, Plan)], known: &[Chain]) -> (Acceptance, EnforcedScope) {
    let contents = contents(anchors);
    let listed: Vec<_> = anchors
        .iter()
        .filter(|(id, _)| id.starts_with("on"))
        .map(|(id, _)| certificate(id))
        .collect();
    in_scope(chain, &contents, &listed, known)
}

fn in_scope(
    chain: Chain,
    contents: &Contents,
    listed: &[Certificate],
    known: &[Chain],
) -> (Acceptance, EnforcedScope) {
    let scope = EnforcedScope::new(listed.iter(), contents, false);
    let known = KnownIssuers::new(known.iter());
    let reach = Reach::new(&Arc::new(chain), contents, &known, &Signatures::default());
    (Acceptance::new(&Arc::new(reach), &scope), scope)
}

type Answer = (Option<bool>, Option<UnixSeconds>, Option<Refusal>);

fn at(acceptance: &Acceptance, instant: UnixSeconds) -> Answer {
    let verdict = acceptance.at(instant);
    (verdict.accepted, verdict.refused_from, verdict.refusal)
}

fn leaf() -> Plan {
    Plan::leaf(MIDDLE)
}

fn middle() -> Plan {
    Plan::ca(MIDDLE, ROOT)
}

fn root() -> Plan {
    Plan::root(ROOT)
}

const ALLOWED: Answer = until(90, Refusal::Expired);

const fn until(end: i64, refusal: Refusal) -> Answer {
    (Some(true), Some(NOW + end * DAY), Some(refusal))
}

const fn since(end: i64, refusal: Refusal) -> Answer {
    (Some(false), Some(NOW + end * DAY), Some(refusal))
}

const fn never(refusal: Refusal) -> Answer {
    (Some(false), None, Some(refusal))
}

fn assert_answer(why: &str, plans: &[Plan], anchors: &[(&str, Plan)], answer: Answer) {
    let (acceptance, _) = judge(chain(plans), anchors, &[]);
    assert_eq!(at(&acceptance, day(50)), answer, "{why}");
}

#[test]
fn a_leaf_must_be_right_itself() {
    let of = |extended: &[Extended]| Plan { extended: extended.to_vec(), ..leaf().days(0, 90) };
    let by = |usage| Plan { usages: vec![usage], ..leaf().days(0, 90) };
    let unnamed = Plan { has_authority_key_id: false, ..leaf() };
    for (why, leaf, answer) in [
        ("valid", leaf().days(0, 90), ALLOWED),
        ("ended", leaf().days(0, 40), since(40, Refusal::Expired)),
        ("ends as we look", leaf().days(0, 50), since(50, Refusal::Expired)),
        ("begins as we look", leaf().days(50, 90), ALLOWED),
        ("begins later", leaf().days(60, 90), never(Refusal::NotYetValid)),
        ("no key identifier", unnamed.clone(), never(Refusal::AuthorityKeyIdentifier)),
        ("nor valid", unnamed.days(0, 9), never(Refusal::AuthorityKeyIdentifier)),
        ("for servers", of(&[Extended::ServerAuth]), never(Refusal::Usage)),
        ("for servers, ended", of(&[Extended::ServerAuth]).days(0, 9), never(Refusal::Expired)),
        ("for any use", of(&[Extended::Any]), never(Refusal::Usage)),
        ("for both", of(&[Extended::ServerAuth, Extended::ClientAuth]), ALLOWED),
        ("for no use in particular", of(&[]), ALLOWED),
        ("encipherment only", by(KeyUsagePurpose::KeyEncipherment), never(Refusal::Usage)),
        ("key agreement only", by(KeyUsagePurpose::KeyAgreement), ALLOWED),
        ("an authority", Plan { kind: Kind::Ca, ..leaf() }, never(Refusal::Usage)),
    ] {
        assert_answer(why, &[leaf.clone(), middle()], &[("on", root())], answer);
        assert_answer(why, &[middle(), leaf], &[("on", root())], answer);
    }
}

#[test]
fn intermediates_must_be_there_and_right() {
    let by = |usages: &[KeyUsagePurpose]| Plan { usages: usages.to_vec(), ..middle() };
    let made_for = |extended| Plan { extended: vec![extended], ..middle() };
    let path_length = |length| Plan { path_length: Some(length), ..middle() };
    let excluded = NameConstraints {
        permitted_subtrees: vec![],
        excluded_subtrees: vec![GeneralSubtree::DirectoryName(leaf().subject.distinguished_name())],
    };
    let (leaf, low_leaf, lower) =
        (leaf().days(0, 90), Plan::leaf(LOWER).days(0, 90), Plan::ca(LOWER, MIDDLE));
    for (why, leaf, intermediates, answer) in [
        ("ends first", &leaf, vec![middle().days(0, 70)], until(70, Refusal::Chain)),
        ("ended", &leaf, vec![middle().days(0, 40)], since(40, Refusal::Chain)),
        ("begins later", &leaf, vec![middle().days(60, 90)], never(Refusal::Chain)),
        ("renewed", &leaf, vec![middle().days(0, 40), middle().days(40, 95)], ALLOWED),
        ("no authority", &leaf, vec![Plan { kind: Kind::NoCa, ..middle() }], never(Refusal::Chain)),
        ("V1", &leaf, vec![Plan { kind: Kind::V1, ..middle() }], never(Refusal::Chain)),
        ("may not sign", &leaf, vec![by(&[KeyUsagePurpose::CrlSign])], never(Refusal::Chain)),
        ("no key usage", &leaf, vec![by(&[])], ALLOWED),
        ("for servers", &leaf, vec![made_for(Extended::ServerAuth)], never(Refusal::Chain)),
        ("for clients", &leaf, vec![made_for(Extended::ClientAuth)], ALLOWED),
        ("two", &low_leaf, vec![middle(), lower.clone()], ALLOWED),
        ("too long", &low_leaf, vec![lower.clone(), path_length(0)], never(Refusal::Chain)),
        ("long enough", &low_leaf, vec![lower, path_length(1)], ALLOWED),
        ("one is missing", &low_leaf, vec![middle()], never(Refusal::Chain)),
        (
            "re-keyed",
            &leaf,
            vec![Plan::ca(Authority { key: 9, ..MIDDLE }, ROOT)],
            never(Refusal::Chain),
        ),
        (
            "name excluded",
            &leaf,
            vec![Plan { name_constraints: Some(excluded), ..middle() }],
            never(Refusal::Chain),
        ),
        ("all missing", &leaf, vec![], never(Refusal::UnknownIssuer)),
    ] {
        let plans = [vec![leaf.clone()], intermediates].concat();
        assert_answer(why, &plans, &[("on", root())], answer);
    }
    let others = [chain(&[Plan::leaf(LOWER), Plan::ca(LOWER, MIDDLE), middle()])];
    let (acceptance, _) = judge(chain(&[leaf]), &[("on", root())], &others);
    assert_eq!(at(&acceptance, day(50)), never(Refusal::Chain), "others present it");
}

#[test]
fn an_anchor_in_effect_must_vouch() {
    let (leaf, direct) = (leaf().days(0, 90), Plan::leaf(ROOT).days(0, 90));
    let root_as = |kind| Plan { kind, ..root() };
    let short = Plan { path_length: Some(0), usages: vec![], ..root() };
    let (valid, early) = (root(), root().days(0, 70));
    let other = ("on_other", Plan::root(OTHER));
    for (why, plans, anchors, answer) in [
        (
            "ends first",
            vec![leaf.clone(), middle()],
            vec![("on", early.clone())],
            until(70, Refusal::AnchorExpired),
        ),
        (
            "presented too",
            vec![leaf.clone(), middle(), root().days(0, 9)],
            vec![("on", early)],
            until(70, Refusal::AnchorExpired),
        ),
        (
            "ended",
            vec![leaf.clone(), middle()],
            vec![("on", root().days(0, 9))],
            since(9, Refusal::AnchorExpired),
        ),
        (
            "begins later",
            vec![leaf.clone(), middle()],
            vec![("on", root().days(60, 90))],
            never(Refusal::AnchorExpired),
        ),
        (
            "inactive",
            vec![leaf.clone(), middle()],
            vec![("off", valid.clone()), other.clone()],
            never(Refusal::AnchorInactive),
        ),
        (
            "inactive and ended",
            vec![leaf.clone(), middle()],
            vec![("off", root().days(0, 9)), other.clone()],
            never(Refusal::AnchorInactive),
        ),
        ("nowhere", vec![leaf.clone(), middle()], vec![other], never(Refusal::UnknownIssuer)),
        (
            "re-keyed",
            vec![Plan::leaf(REKEYED)],
            vec![("on", valid.clone())],
            never(Refusal::UnknownIssuer),
        ),
        (
            "re-keyed, cross-signed",
            vec![Plan::leaf(REKEYED).days(0, 90), Plan::ca(REKEYED, ROOT)],
            vec![("on", valid.clone())],
            ALLOWED,
        ),
        ("V1", vec![direct.clone()], vec![("on", root_as(Kind::V1))], ALLOWED),
        ("no authority", vec![direct], vec![("on", root_as(Kind::NoCa))], ALLOWED),
        ("short", vec![leaf.clone(), middle()], vec![("on", short)], ALLOWED),
        ("an intermediate", vec![leaf.clone()], vec![("on", middle())], ALLOWED),
        (
            "the leaf itself",
            vec![Plan::leaf(leaf.subject).days(0, 90)],
            vec![("on", Plan::leaf(leaf.subject))],
            ALLOWED,
        ),
        ("not enforced", vec![Plan::leaf(OTHER)], vec![("off", valid)], (Some(true), None, None)),
    ] {
        assert_answer(why, &plans, &anchors, answer);
    }
}

#[test]
fn paths_count_each_in_its_time() {
    let leaf = [leaf(), middle()];
    let anchors = [
        ("on_1", root().days(0, 20)),
        ("on_2", root().days(15, 30)),
        ("on_3", root().days(40, 60)),
    ];
    let (acceptance, _) = judge(chain(&leaf), &anchors, &[]);
    for (instant, answer) in [
        (-1, never(Refusal::NotYetValid)),
        (10, until(30, Refusal::AnchorExpired)),
        (35, since(30, Refusal::AnchorExpired)),
        (40, until(60, Refusal::AnchorExpired)),
        (60, since(60, Refusal::AnchorExpired)),
        (200, since(60, Refusal::Expired)),
    ] {
        assert_eq!(at(&acceptance, day(instant)), answer, "day {instant}");
    }
    assert_eq!(acceptance.at(day(17)).hangs_on.unwrap().certificate_id(), "on_2");
    let names: Vec<_> = acceptance.at(day(17)).hangs_on.unwrap().names().collect();
    assert_eq!(names, ["name 99", "name 2", "name 0"]);
}

#[test]
fn an_anchor_that_has_ended_may_stand_before_its_twin() {
    let anchors = [("on_1", root().days(0, 60)), ("on_2", root())];
    let (direct, _) = judge(chain(&[Plan::leaf(ROOT).days(0, 90)]), &anchors, &[]);
    let ended = (Some(day(60)), Some(Refusal::AnchorExpired));
    assert_eq!(at(&direct, day(50)), (Some(true), ended.0, ended.1));
    assert_eq!(at(&direct, day(60)), (None, ended.0, ended.1), "nobody knows");
    assert_eq!(direct.at(day(60)).hangs_on.unwrap().certificate_id(), "on_1");
    assert_eq!(at(&direct, day(90)), (Some(false), ended.0, Some(Refusal::Expired)));
    let (through, _) = judge(chain(&[leaf().days(0, 90), middle()]), &anchors, &[]);
    assert_eq!(at(&through, day(60)), ALLOWED, "not the issuer of the leaf itself");
    let rekeyed = [("on_1", Plan::root(REKEYED).days(0, 60)), ("on_2", root())];
    let (direct, _) = judge(chain(&[Plan::leaf(ROOT).days(0, 90)]), &rekeyed, &[]);
    assert_eq!(at(&direct, day(60)), ALLOWED, "of another key");
}

#[test]
fn the_narrower_dates_count_and_what_is_unread_is_unknown() {
    let contents = contents(&[("read", root().days(0, 80)), ("broken", root())]);
    let chain = || chain(&[leaf().days(0, 90), middle()]);
    let judged = |listed: &[Certificate]| {
        let (acceptance, _) = in_scope(chain(), &contents, listed, &[]);
        at(&acceptance, day(50))
    };
    let listed = |begin, end| certificate("read").dated(begin, end);
    for (begin, end, answer) in [
        (None, None, until(80, Refusal::AnchorExpired)),
        (Some(day(10)), Some(day(70)), until(70, Refusal::AnchorExpired)),
        (Some(day(-10)), Some(day(90)), until(80, Refusal::AnchorExpired)),
        (Some(day(60)), None, never(Refusal::AnchorExpired)),
        (None, Some(day(40)), since(40, Refusal::AnchorExpired)),
    ] {
        assert_eq!(judged(&[listed(begin, end)]), answer, "{begin:?} {end:?}");
    }
    let unread = certificate("unread");
    assert_eq!(judged(&[listed(None, None), unread.clone()]), (Some(true), None, None));
    assert_eq!(judged(&[listed(None, Some(day(40))), unread]), (None, None, None));
    let bad =
        AnchorContent::from_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----");
    let contents = Contents::from([("bad".into(), Arc::new(bad))]);
    let (acceptance, _) = in_scope(chain(), &contents, &[certificate("bad")], &[]);
    assert_eq!(at(&acceptance, day(50)), (None, None, None), "unreadable");
    let scope = EnforcedScope::new([].iter(), &contents, true);
    let acceptance = Acceptance::new(acceptance.reach(), &scope);
    assert_eq!(at(&acceptance, day(50)), (None, None, None), "an entry may be an anchor");
}

#[test]
fn an_issuer_is_judged_by_what_it_will_sign() {
    let trusted = |plans: &[Plan], anchors: &[(&str, Plan)]| {
        judge(issuer(plans), anchors, &[]).0.at(day(50)).accepted
    };
    let on = |plan| [("on", plan)];
    for (why, plans, anchor, answer) in [
        ("the anchor itself", vec![root()], root(), Some(true)),
        ("below the anchor", vec![middle()], root(), Some(true)),
        ("two below", vec![Plan::ca(LOWER, MIDDLE), middle()], root(), Some(true)),
        ("without its chain", vec![Plan::ca(LOWER, MIDDLE)], root(), Some(false)),
        ("re-keyed", vec![Plan::root(REKEYED)], root(), Some(false)),
        ("re-keyed, cross-signed", vec![Plan::ca(REKEYED, ROOT)], root(), Some(true)),
        ("ended", vec![middle().days(0, 40)], root(), Some(false)),
        ("anchor ended", vec![middle()], root().days(0, 40), Some(false)),
        ("no authority", vec![Plan { kind: Kind::NoCa, ..middle() }], root(), Some(false)),
    ] {
        assert_eq!(trusted(&plans, &on(anchor)), answer, "{why}");
    }
    let anchors = [("on_1", root().days(0, 40)), ("on_2", root())];
    assert_eq!(trusted(&[root()], &anchors), None, "in the shadow of its twin");
}

#[test]
fn clients_depend_on_an_anchor_without_which_they_are_refused() {
    let depends = |anchors: &[(&str, Plan)]| {
        let (acceptance, scope) = judge(chain(&[leaf().days(0, 90), middle()]), anchors, &[]);
        acceptance.depends_on(&scope, day(50)).map(ToString::to_string)
    };
    let (one, two) = (("on_1", root()), ("on_2", root().days(0, 70)));
    let other = ("on_other", Plan::root(OTHER));
    assert_eq!(depends(&[one.clone(), other.clone()]).as_deref(), Some("on_1"));
    assert_eq!(depends(&[one.clone(), two, other.clone()]), None, "either suffices");
    assert_eq!(depends(&[one.clone()]), None, "the last one, without which nothing is enforced");
    assert_eq!(depends(&[("off", root()), other]), None, "refused as it is");

    let (acceptance, scope) =
        judge(chain(&[leaf(), middle()]), &[one, ("on_2", Plan::root(OTHER))], &[]);
    let pairs = [(&acceptance, &scope), (&acceptance, &scope)];
    assert_eq!(dependent_clients(pairs.into_iter(), day(50)), [("on_1", 2)].into());
    let without = Acceptance::new(acceptance.reach(), &scope.without(&["on_1"]));
    assert_eq!(at(&without, day(50)), never(Refusal::AnchorInactive), "what if");
}
