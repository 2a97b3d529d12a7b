//! Which certificates are superseded: a planned rotation should warn, and page nobody. What makes a successor is tested beside
//! `src/inventory`; here is what follows from names and from several lists.

use crate::api::{
    Api, DemoCertificate, Organization, With as _, certificate, organization, project,
};
use crate::binary::Launch;
use crate::page::Page;

fn old(id: &str) -> DemoCertificate {
    certificate(id).named(id).valid(-300..5)
}

fn new(id: &str) -> DemoCertificate {
    certificate(id).named(id).valid(-3..362)
}

/// Identifiers of those that are superseded.
fn superseded(page: &Page) -> Vec<&str> {
    let all = page.series("openai_certificate_superseded");
    all.into_iter()
        .filter(|sample| sample.value == 1.0)
        .map(|sample| sample.label("certificate_id"))
        .collect()
}

async fn polled(has: Organization, set: impl Fn(Launch) -> Launch) -> Page {
    let api = Api::of(has).await;
    set(api.once().projects()).start().await.page_after_polls(1).await
}

#[tokio::test]
async fn generations_are_told_by_the_end_of_their_names() {
    let pairs = [
        ("edge-2025", "edge-2026", true),
        ("edge gateway 2025", "edge gateway 2026", true),
        ("mesh_v3", "mesh_v4", true),
        ("mesh two gen 4", "mesh two gen 5", true),
        ("Mixed-v1", "Mixed-2026", true),
        ("dotted.2025-11", "dotted.2026-01", true),
        ("bare", "bare-2026", true),
        ("us-east-1", "us-east-2", false), // a region, not a generation
        ("node 7", "node 8", false),
        ("left-2025", "right-2026", false),
        ("2025", "2026", false),
    ];
    let mut certificates: Vec<_> =
        pairs.iter().flat_map(|(first, second, _)| [old(first), new(second)]).collect();
    let unnamed = |certificate: DemoCertificate| DemoCertificate { name: None, ..certificate };
    certificates.extend([unnamed(old("unnamed old")), unnamed(new("unnamed new"))]);
    certificates.extend([old("alike old").named("alike"), new("alike new").named("alike")]);
    let count = certificates.len();
    let page = polled(organization(certificates), |launch| launch).await;
    let same = pairs.iter().filter(|(.., same)| *same).map(|(first, ..)| *first);
    let mut expected: Vec<_> = same.chain(["alike old"]).collect();
    expected.sort_unstable();
    assert_eq!(superseded(&page), expected);
    assert_eq!(page.series("openai_certificate_superseded").len(), count, "0 for all others");
}

#[tokio::test]
async fn pattern_of_the_user_names_the_authority() {
    let list = vec![old("team-a/one"), new("team-a/two"), old("edge-2025"), new("edge-2026")];
    let page =
        polled(organization(list), |launch| launch.set("certificates.rotation_group", "^([^/]+)/"))
            .await;
    assert_eq!(superseded(&page), ["team-a/one"], "what does not match is in no group");
}

/// The old and the new one in a list: active (1), not active (-1), not listed (0).
type Pair = (i8, i8);
/// A name, the pair at the organization and at two projects, and whether the old one is superseded.
type Case = (&'static str, Pair, Pair, Pair, bool);

#[tokio::test]
async fn successor_is_active_wherever_the_old_one_is() {
    // Each case is an authority of its own.
    let [both, none, only_old, only_new, not_yet] = [(1, 1), (0, 0), (1, 0), (0, 1), (1, -1)];
    let cases: [Case; 8] = [
        ("both at one project", none, both, none, true),
        ("the new one at another project", none, only_old, only_new, false),
        ("the new one at one of two", none, both, not_yet, false),
        ("the new one at both", none, both, both, true),
        ("the new one at the organization", only_new, only_old, only_old, true),
        ("the old one at the organization", only_old, only_new, only_new, false),
        ("both listed there, active here", (-1, -1), both, none, true),
        ("the old one nowhere active", (-1, 1), (-1, 0), none, false),
    ];
    let listed = |of: fn(&Case) -> Pair| -> Vec<DemoCertificate> {
        let each = cases.iter().flat_map(|case| {
            let (first, second) = of(case);
            [(old(&format!("{} 2025", case.0)), first), (new(&format!("{} 2026", case.0)), second)]
        });
        each.filter(|(_, at)| *at != 0)
            .map(|(certificate, at)| if at == 1 { certificate } else { certificate.inactive() })
            .collect()
    };
    let projects =
        vec![project("one", listed(|case| case.2)), project("two", listed(|case| case.3))];
    let page =
        polled(Organization { certificates: listed(|case| case.1), projects }, |launch| launch)
            .await;
    for (case, .., expected) in cases {
        let superseded = page.of(&format!("{case} 2025"), "openai_certificate_superseded");
        assert_eq!(superseded, Some(f64::from(u8::from(expected))), "{case}: of any list");
    }
}
