//! Several anchors, and what is known of them.

use super::super::{Assessment, Client, ClientFile, FileKind};
use super::issue::Kind;
use super::*;
use crate::fixture::{group, lists};
use crate::inventory::Inventory;

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
    assert_eq!(acceptance.at(day(17)).trust_path.unwrap().certificate_id(), "on_2");
    let names: Vec<_> = acceptance.at(day(17)).trust_path.unwrap().names().collect();
    assert_eq!(names, ["name 99", "name 2", "name 0"]);
}

#[test]
fn the_path_with_the_fewest_faults_is_told() {
    let ended = Plan::root(OTHER).days(0, 30);
    let anchors = [("on", root().days(0, 40)), ("on_other", ended)];
    let plans = [leaf(), middle(), Plan::ca(MIDDLE, OTHER).days(0, 9), root().days(0, 90)];
    let (acceptance, _) = judge(chain(&plans), &anchors, &[]);
    assert_eq!(at(&acceptance, day(50)), since(40, Refusal::AnchorExpired));
    let at_fault = acceptance.at(day(50)).trust_path.unwrap();
    assert_eq!(at_fault.certificate_id(), "on");
    assert_eq!(at_fault.names().count(), 3, "the root is presented too, which adds nothing");
}

#[test]
fn an_anchor_that_has_ended_may_stand_before_its_twin() {
    let anchors = [("on_1", root().days(0, 60)), ("on_2", root())];
    let (direct, _) = judge(chain(&[Plan::leaf(ROOT).days(0, 90)]), &anchors, &[]);
    let ended = (Some(day(60)), Some(Refusal::AnchorExpired));
    assert_eq!(at(&direct, day(50)), (Some(true), ended.0, ended.1));
    assert_eq!(at(&direct, day(60)), (None, ended.0, ended.1), "nobody knows");
    assert_eq!(direct.at(day(60)).trust_path.unwrap().certificate_id(), "on_1");
    assert_eq!(at(&direct, day(90)), (Some(false), ended.0, Some(Refusal::Expired)));
    let (through, _) = judge(chain(&[leaf().days(0, 90), middle()]), &anchors, &[]);
    assert_eq!(at(&through, day(60)), ALLOWED, "not the issuer of the leaf itself");
    let rekeyed = [("on_1", Plan::root(REKEYED).days(0, 60)), ("on_2", root())];
    let (direct, _) = judge(chain(&[Plan::leaf(ROOT).days(0, 90)]), &rekeyed, &[]);
    assert_eq!(at(&direct, day(60)), ALLOWED, "of another key");
}

#[test]
fn the_narrower_dates_count_and_what_is_unread_is_unknown() {
    let contents = contents(&[("read", root().days(0, 80))]);
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
        AnchorContent::from_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----");
    let contents = Contents::from([("bad".into(), Arc::new(bad))]);
    let (acceptance, _) = in_scope(chain(), &contents, &[certificate("bad")], &[]);
    assert_eq!(at(&acceptance, day(50)), (None, None, None), "unreadable");
    let scope = EnforcedScope::new([].iter(), &contents, true);
    let acceptance = Acceptance::new(&acceptance.candidates, &scope);
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
        let on = acceptance.depends_on(&scope, day(50));
        on.iter().find(|(_, is_known)| *is_known).map(|(id, _)| (*id).to_owned())
    };
    let (one, two) = (("on_1", root()), ("on_2", root().days(0, 70)));
    let other = ("on_other", Plan::root(OTHER));
    assert_eq!(depends(&[one.clone(), other.clone()]).as_deref(), Some("on_1"));
    assert_eq!(depends(&[one.clone(), two, other.clone()]), None, "either suffices");
    assert_eq!(
        depends(std::slice::from_ref(&one)),
        None,
        "the last one, without which nothing is enforced"
    );
    assert_eq!(depends(&[("off", root()), other]), None, "refused as it is");

    let (acceptance, scope) =
        judge(chain(&[leaf(), middle()]), &[one, ("on_2", Plan::root(OTHER))], &[]);
    let unread = [certificate("on_1"), certificate("unread")];
    let (doubtful, in_doubt) =
        in_scope(chain(&[leaf(), middle()]), &contents(&[("on_1", root())]), &unread, &[]);
    assert_eq!(doubtful.depends_on(&in_doubt, day(50)), [("on_1", false)], "it is not known");
    let (nothing_read, in_doubt) =
        in_scope(chain(&[leaf(), middle()]), &Contents::new(), &unread, &[]);
    let may_depend = [("on_1", false), ("unread", false)];
    assert_eq!(nothing_read.depends_on(&in_doubt, day(50)), may_depend);

    let without = Acceptance::new(&acceptance.candidates, &scope.without(&["on_1"]));
    assert_eq!(at(&without, day(50)), never(Refusal::AnchorInactive), "what if");
}

#[test]
fn certificates_that_depend_on_an_anchor_are_counted_by_file_and_issuers_are_not() {
    let chain = Arc::new(chain(&[leaf(), middle()]));
    let file = |kind| ClientFile { path: "".into(), kind, chain: Arc::clone(&chain) };
    let client = |name: &str| {
        let files = [FileKind::Certificate, FileKind::Issuer].map(file).into();
        Client { name: name.into(), projects: None, files, failed: Vec::new() }
    };
    let anchors = [("on_1", root()), ("on_2", Plan::root(OTHER))];
    let listed = anchors.iter().map(|(id, _)| certificate(id)).collect();
    let inventory = Arc::new(Inventory::new(lists(&[listed]), &group("(.*)")));
    let counts = |anchors: &[(&str, Plan)]| {
        let (clients, contents) = (["a", "b"].map(client).into(), Arc::new(contents(anchors)));
        let signatures = Signatures::default();
        let all =
            Assessment::new_or_unchanged(None, clients, &contents, Some(&inventory), &signatures);
        all.dependent_clients(day(50)).into_iter().map(|(_, count)| count).collect::<Vec<_>>()
    };
    assert_eq!(counts(&anchors), [Some(2), Some(0)]);
    assert_eq!(counts(&anchors[..1]), [None, Some(0)], "the other may let them in");
}
