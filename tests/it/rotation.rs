//! Which certificates are superseded: a planned rotation should warn, and page nobody.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::fleet::{Fleet, Has, anchor};
use crate::harness::Launch;
use crate::page::Page;

const DAY: i64 = 86_400;

/// A certificate of this name, valid from one day to another.
fn named(id: &str, name: &str, active: bool, (begin, end): (i64, i64)) -> Value {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut certificate = anchor(id, active, (Some(now + begin * DAY), Some(now + end * DAY)));
    certificate["name"] = name.into();
    certificate
}

/// Identifiers of those that are superseded.
fn superseded(page: &Page) -> Vec<&str> {
    let all = page.series("openai_certificate_superseded");
    all.into_iter().filter(|sample| sample.value == 1.0).map(|sample| sample.label("certificate_id")).collect()
}

async fn polled(has: Has, set: impl Fn(Launch) -> Launch) -> Page {
    let fleet = Fleet::of(has).await;
    set(fleet.once()).start().await.page_after_polls(1).await
}

const OLD: (i64, i64) = (-300, 5);
const NEW: (i64, i64) = (-3, 362);

#[tokio::test]
async fn generations_are_told_by_their_names() {
    let mut certificates = Vec::new();
    let mut expected = Vec::new();
    for (number, (old, new, same)) in [
        ("edge-2025", "edge-2026", true),
        ("edge gateway 2025", "edge gateway 2026", true),
        ("mesh_v3", "mesh_v4", true),
        ("mesh two gen 4", "mesh two gen 5", true),
        ("Mixed-v1", "Mixed-2026", true),
        ("dotted.2025-11", "dotted.2026-01", true),
        ("bare", "bare-2026", true),
        ("alike", "alike", true),
        ("us-east-1", "us-east-2", false), // a region, not a generation
        ("node 7", "node 8", false),
        ("left-2025", "right-2026", false),
        ("2025", "2026", false),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{number:02} old");
        certificates.push(named(&id, old, true, OLD));
        certificates.push(named(&format!("{number:02} new"), new, true, NEW));
        if same {
            expected.push(id);
        }
    }
    for id in ["unnamed old", "unnamed new"] {
        let mut unnamed = named(id, "", true, if id.ends_with("old") { OLD } else { NEW });
        unnamed["name"] = json!(null);
        certificates.push(unnamed);
    }
    let count = certificates.len();
    let page = polled(Has { certificates, ..Has::default() }, |launch| launch).await;
    assert_eq!(superseded(&page), expected);
    assert_eq!(page.series("openai_certificate_superseded").len(), count, "0 for all others");
}

#[tokio::test]
async fn a_pattern_may_name_the_authority_otherwise() {
    let certificates = || {
        vec![
            named("a", "team-a/one", true, OLD),
            named("b", "team-a/two", true, NEW),
            named("c", "edge-2025", true, OLD),
            named("d", "edge-2026", true, NEW),
        ]
    };
    let has = Has { certificates: certificates(), ..Has::default() };
    let page = polled(has, |launch| launch.set("certificates.rotation_group", "^([^/]+)/")).await;
    assert_eq!(superseded(&page), ["a"], "what does not match is in no group");
    let has = Has { certificates: certificates(), ..Has::default() };
    assert_eq!(superseded(&polled(has, |launch| launch).await), ["c"]);
}

#[tokio::test]
async fn a_successor_begins_in_time_ends_later_and_is_active() {
    for (what, new, active, expected) in [
        ("an overlap", (4, 300), true, true),
        ("begins as the other ends", (5, 300), true, false),
        ("ends with it", (-3, 5), true, false),
        ("ends later, but not yet active", NEW, false, false),
    ] {
        let certificates = vec![named("old", "edge-1 v1", true, OLD), named("new", "edge-1 v2", active, new)];
        let page = polled(Has { certificates, ..Has::default() }, |launch| launch).await;
        assert_eq!(superseded(&page), if expected { vec!["old"] } else { vec![] }, "{what}");
    }
}

#[tokio::test]
async fn a_successor_is_active_wherever_the_old_one_is() {
    let old = |active| named("old", "edge-2025", active, OLD);
    let new = |active| named("new", "edge-2026", active, NEW);
    let none = Vec::<Value>::new;
    for (what, organization, first, second, expected) in [
        ("both at one project", none(), vec![old(true), new(true)], none(), true),
        ("the new one at another project", none(), vec![old(true)], vec![new(true)], false),
        ("the new one at one of two", none(), vec![old(true), new(true)], vec![old(true), new(false)], false),
        ("the new one at both", none(), vec![old(true), new(true)], vec![old(true), new(true)], true),
        ("the new one at the organization", vec![new(true)], vec![old(true)], vec![old(true)], true),
        ("the old one at the organization", vec![old(true)], vec![new(true)], vec![new(true)], false),
        ("both listed there, active here", vec![old(false), new(false)], vec![old(true), new(true)], none(), true),
        ("the old one nowhere active", vec![old(false), new(true)], vec![old(false)], none(), false),
    ] {
        let has = Has { certificates: organization, ..Has::default() }.with("one", first).with("two", second);
        let page = polled(has, |launch| launch).await;
        assert_eq!(superseded(&page), if expected { vec!["old"] } else { vec![] }, "{what}");
        let old = page.of("old", "openai_certificate_superseded");
        assert!(old.is_some(), "{what}: there is a series for each certificate of any list");
    }
}
