//! Where mutual TLS holds and until when, against calculations that know nothing of how the exporter reckons.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::fleet::{Dates, Fleet, Has, anchor};
use crate::harness::all;
use crate::page::Page;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// What a page says of a scope: enforced, active, runway, of unknown expiry.
type Said = (Option<f64>, Option<f64>, Option<f64>, Option<f64>);

/// Of the organization, where `project` is empty.
fn said(page: &Page, project: &str) -> Said {
    let scope = if project.is_empty() { "organization" } else { "project" };
    let of = |family: &str| page.find(&format!("openai_mtls_{family}"), &[("scope", scope), ("project_id", project)]);
    (of("enforced"), of("active_certificates"), of("runway_end_timestamp_seconds"), of("unknown_expiry_certificates"))
}

#[expect(clippy::cast_precision_loss, reason = "instants of this century, and small counts")]
fn expected(enforced: bool, active: usize, runway: Option<i64>, unknown: usize) -> Said {
    (Some(f64::from(u8::from(enforced))), Some(active as f64), runway.map(|end| end as f64), Some(unknown as f64))
}

fn anchors(owner: &str, dates: &[Dates]) -> Vec<Value> {
    dates.iter().enumerate().map(|(number, dates)| anchor(&format!("{owner}_{number}"), true, *dates)).collect()
}

const DAY: i64 = 86_400;

#[tokio::test]
async fn each_case_without_the_organization() {
    let now = now();
    let at = |days: i64| Some(now + days * DAY);
    let span = |begin, end| (at(begin), at(end));
    let cases: Vec<(&str, Vec<Dates>, Said)> = vec![
        ("none", vec![], expected(false, 0, None, 0)),
        ("one", vec![span(-1, 3)], expected(true, 1, at(3), 0)),
        ("an overlap", vec![span(-1, 3), span(2, 9)], expected(true, 1, at(9), 0)),
        ("one begins as the other ends", vec![span(-1, 3), span(3, 9)], expected(true, 1, at(9), 0)),
        ("a gap", vec![span(-1, 3), span(4, 9)], expected(true, 1, at(3), 0)),
        ("a gap of a second", vec![span(-1, 3), (at(3).map(|end| end + 1), at(9))], expected(true, 1, at(3), 0)),
        ("a bridge", vec![span(4, 9), span(-1, 3), span(2, 5)], expected(true, 1, at(9), 0)),
        ("two now", vec![span(-1, 3), span(-2, 2)], expected(true, 2, at(3), 0)),
        ("past", vec![span(-9, -3), span(-9, -5)], expected(true, 0, at(-3), 0)),
        ("within a gap", vec![span(-9, -3), span(2, 5)], expected(true, 0, at(-3), 0)),
        ("never so far", vec![span(2, 5)], expected(true, 0, None, 0)),
        ("without a begin", vec![(None, at(3))], expected(true, 1, at(3), 0)),
        ("without an end", vec![(at(-1), None)], expected(true, 1, None, 1)),
        ("without dates", vec![(None, None)], expected(true, 1, None, 1)),
        ("one without an end besides", vec![span(-1, 3), (at(-1), None)], expected(true, 2, at(3), 1)),
        ("without an end, later", vec![span(-1, 3), (at(1), None)], expected(true, 1, at(3), 1)),
        ("backwards", vec![span(3, -1)], expected(true, 0, None, 0)),
        ("nothing long", vec![span(-1, -1)], expected(true, 0, None, 0)),
        ("for all time", vec![(Some(i64::MIN), Some(4_000_000_000))], expected(true, 1, Some(4_000_000_000), 0)),
    ];
    let has = cases.iter().fold(Has::default(), |has, (name, dates, _)| has.with(name, anchors(name, dates)));
    let fleet = Fleet::of(has).await;
    let page = fleet.once().start().await.page_after_polls(1).await;
    for (name, _, expected) in cases {
        assert_eq!(said(&page, name), expected, "{name}");
    }
    assert_eq!(said(&page, ""), expected(false, 0, None, 0), "nothing is active at the organization");
}

#[tokio::test]
async fn the_organizations_anchors_count_everywhere() {
    let now = now();
    let span = |begin: i64, end: i64| (Some(now + begin * DAY), Some(now + end * DAY));
    let organization = [
        anchor("org", true, span(-5, 4)),
        anchor("shared", true, span(-5, 2)),
        anchor("only at a project", false, span(-5, 20)),
    ];
    let has = Has { certificates: organization.into(), ..Has::default() }
        .with("nothing of its own", vec![])
        .with("nothing active of its own", vec![anchor("only at a project", false, span(-5, 20))])
        .with("longer", vec![anchor("only at a project", true, span(-5, 20))])
        .with("shorter", vec![anchor("own", true, span(-5, 1))])
        .with("joined on", vec![anchor("own", true, span(4, 6))])
        .with("a gap", vec![anchor("own", true, span(5, 6))])
        // Active in both places it is one anchor; not active at the project, it still is at the organization.
        .with("the same", vec![anchor("shared", true, span(-5, 2))])
        .with("the same, not active", vec![anchor("shared", false, span(-5, 2))])
        // A project's list carries its own dates, and need not appear in the organization's.
        .with("its own dates", vec![anchor("elsewhere", true, span(-5, 9))]);
    let fleet = Fleet::of(has).await;
    let page = fleet.once().start().await.page_after_polls(1).await;
    for (project, active, end) in [
        ("", 2, 4),
        ("nothing of its own", 2, 4),
        ("nothing active of its own", 2, 4),
        ("longer", 3, 20),
        ("shorter", 3, 4),
        ("joined on", 2, 6),
        ("a gap", 2, 4),
        ("the same", 2, 4),
        ("the same, not active", 2, 4),
        ("its own dates", 3, 9),
    ] {
        assert_eq!(said(&page, project), expected(true, active, Some(now + end * DAY), 0), "{project:?}");
    }
    assert_eq!(page.series("openai_mtls_enforced").len(), 10);
    // What is active there, not what is in effect there.
    let active = |project, certificate| {
        page.find("openai_project_certificate_active", &[("project_id", project), ("certificate_id", certificate)])
    };
    assert_eq!(active("the same, not active", "shared"), Some(0.0));
    assert_eq!(active("longer", "only at a project"), Some(1.0));
    assert_eq!(active("nothing of its own", "org"), None);
}

#[tokio::test]
async fn a_scope_changes_with_time_and_without_a_poll() {
    // Nothing is read again: what begins and ends does so between two scrapes.
    let now = now();
    let has = Has { certificates: vec![anchor("first", true, (None, Some(now + 4)))], ..Has::default() }
        .with("covered on", vec![anchor("own", true, (Some(now + 4), Some(now + 8)))]);
    let fleet = Fleet::of(has).await;
    let exporter = fleet.once().start().await;
    exporter.page_after_polls(1).await;
    let [at_first, at_last] = [Some(now + 4), Some(now + 8)];
    let over = exporter.page_when("all is over", |page| said(page, "covered on").1 == Some(0.0)).await;
    assert_eq!(said(&over, ""), expected(true, 0, at_first, 0));
    assert_eq!(said(&over, "covered on"), expected(true, 0, at_last, 0));
    assert_eq!(over.one("openai_cert_exporter_polls_total"), 1.0);
}

/// Whether any of these is valid at an instant.
fn is_covered(anchors: &[Dates], instant: i64) -> bool {
    anchors.iter().any(|(begin, end)| begin.is_none_or(|begin| begin <= instant) && end.is_none_or(|end| instant < end))
}

/// The runway by its definition: coverage can only change where an anchor begins or ends, so these are the instants to
/// look at.
fn runway(anchors: &[Dates], now: i64) -> Option<i64> {
    let dated: Vec<Dates> = anchors.iter().copied().filter(|(_, end)| end.is_some()).collect();
    let mut instants: Vec<i64> = dated.iter().flat_map(|(begin, end)| [*begin, *end]).flatten().collect();
    instants.sort_unstable();
    if is_covered(&dated, now) {
        return instants.into_iter().find(|instant| *instant > now && !is_covered(&dated, *instant));
    }
    let ended = |instant: &i64| *instant <= now && is_covered(&dated, instant - 1) && !is_covered(&dated, *instant);
    instants.into_iter().rev().find(ended)
}

/// An organization in which anything may stand beside anything.
fn random_organization(random: &mut fastrand::Rng, now: i64) -> Has {
    // Far enough from now that nothing happens while the test runs; few enough that spans often touch.
    let mut instant = || {
        let hours = random.i64(1..=12) * if random.bool() { 1 } else { -1 };
        (random.u8(..) > 30).then_some(now + hours * 3_600 + i64::from(random.bool()))
    };
    let pool: Vec<(String, Dates)> =
        (0..40).map(|number| (format!("cert_{number:02}"), (instant(), instant()))).collect();
    let mut some = |most: usize| -> Vec<Value> {
        let mut chosen = BTreeMap::new();
        for _ in 0..random.usize(..=most) {
            let (id, dates) = &pool[random.usize(..pool.len())];
            chosen.insert(id, anchor(id, random.u8(..) > 80, *dates));
        }
        chosen.into_values().collect()
    };
    let certificates = some(4);
    let has = Has { certificates, ..Has::default() };
    (0..60).fold(has, |has, number| has.with(&format!("proj_{number:02}"), some(6)))
}

/// Of each of them that is active: identifier and dates.
fn active(list: &[Value]) -> BTreeMap<&str, Dates> {
    let dates = |certificate: &Value| {
        let details = &certificate["certificate_details"];
        (details["valid_at"].as_i64(), details["expires_at"].as_i64())
    };
    let active = list.iter().filter(|certificate| certificate["active"] == true);
    active.map(|certificate| (certificate["id"].as_str().unwrap(), dates(certificate))).collect()
}

#[tokio::test]
async fn random_organizations_agree_with_the_definition() {
    let base = fastrand::u64(..);
    all((0..8).map(|number| base.wrapping_add(number)), async |seed| {
        let (mut random, now) = (fastrand::Rng::with_seed(seed), now());
        let has = random_organization(&mut random, now);
        let fleet = Fleet::of(has.clone()).await;
        let page = fleet.once().start().await.page_after_polls(1).await;
        let organization = active(&has.certificates);
        let nothing = Vec::new();
        let scopes = has.of_projects.iter().map(|(id, own)| (id.as_str(), own)).chain([("", &nothing)]);
        for (id, own) in scopes {
            let in_effect: BTreeMap<&str, Dates> = organization.clone().into_iter().chain(active(own)).collect();
            let anchors: Vec<Dates> = in_effect.into_values().collect();
            let valid = anchors.iter().filter(|dates| is_covered(&[**dates], now)).count();
            let unknown = anchors.iter().filter(|dates| dates.1.is_none()).count();
            let expected = expected(!anchors.is_empty(), valid, runway(&anchors, now), unknown);
            assert_eq!(said(&page, id), expected, "seed {seed}, {id:?}: {anchors:?} at {now}");
        }
        assert_eq!(page.series("openai_mtls_enforced").len(), 61);
    })
    .await;
}
