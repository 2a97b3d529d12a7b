//! Leaf, intermediates and anchor one by one, at day 50.

use rcgen::{
    ExtendedKeyUsagePurpose as Extended, GeneralSubtree, KeyUsagePurpose, NameConstraints,
};

use super::issue::Kind;
use super::*;

#[test]
fn a_leaf_must_be_right_itself() {
    let of = |extended: &[Extended]| Plan { extended: extended.to_vec(), ..leaf().days(0, 90) };
    let by = |usage| Plan { usages: vec![usage], ..leaf().days(0, 90) };
    let other_key = Plan { names_other_key: true, ..leaf() };
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
        ("names another key", other_key, never(Refusal::Chain)),
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

/// By name and key identifier, without the signature.
#[test]
fn no_certificate_may_be_taken_for_the_issuer_of_another() {
    let unnamed = |plan: Plan| Plan { kind: Kind::UnnamedCa, ..plan };
    let leaf = Plan::leaf(REKEYED).days(0, 90);
    let (rekeyed, below_other) = (Plan::ca(REKEYED, ROOT), Plan::ca(REKEYED, OTHER));
    let (lower_leaf, lower) = (Plan::leaf(LOWER).days(0, 90), Plan::ca(LOWER, REKEYED));
    let named_as_root = Plan { subject: Authority { key: 15, ..ROOT }, ..Plan::leaf(ROOT) };
    let named_as_root = named_as_root.days(0, 90);
    let other = ("on_other", Plan::root(OTHER));
    for (why, plans, anchors, answer) in [
        (
            "no key identifiers",
            vec![leaf.clone(), below_other],
            vec![("on", unnamed(Plan::root(OTHER)))],
            ALLOWED,
        ),
        (
            "the anchor for the leaf's",
            vec![leaf.clone(), rekeyed.clone()],
            vec![("on", unnamed(root()))],
            never(Refusal::Chain),
        ),
        (
            "the anchor for one further up",
            vec![lower_leaf, lower, rekeyed.clone()],
            vec![("on", unnamed(root()))],
            never(Refusal::Chain),
        ),
        (
            "an intermediate for its own",
            vec![leaf.clone(), unnamed(rekeyed.clone())],
            vec![("on", root())],
            never(Refusal::Chain),
        ),
        (
            "an intermediate for the leaf's",
            vec![leaf.clone(), rekeyed, unnamed(Plan::ca(ROOT, OTHER))],
            vec![other],
            never(Refusal::Chain),
        ),
        ("a leaf of its issuer's name", vec![named_as_root], vec![("on", root())], ALLOWED),
    ] {
        assert_answer(why, &plans, &anchors, answer);
    }
}
