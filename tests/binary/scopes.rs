//! Where mutual TLS holds and until when. Dates and their combinations are tested beside `src/inventory`; here is what comes
//! together from two lists.

use crate::api::{Api, DAY, DemoCertificate, With as _, certificate, now, organization, project};
use crate::page::Page;

/// What a page says of a scope: enforced, active, runway, of unknown expiry.
type Said = (Option<f64>, Option<f64>, Option<f64>, Option<f64>);

/// Of the organization, where `project` is empty.
fn said(page: &Page, project: &str) -> Said {
    let scope = if project.is_empty() { "organization" } else { "project" };
    let of = |family: &str| {
        page.find(&format!("openai_mtls_{family}"), &[("scope", scope), ("project_id", project)])
    };
    (
        of("enforced"),
        of("active_certificates"),
        of("runway_end_timestamp_seconds"),
        of("unknown_expiry_certificates"),
    )
}

fn expected(enforced: bool, active: u32, runway: Option<i64>, unknown: u32) -> Said {
    #[expect(clippy::cast_precision_loss, reason = "instants of this century")]
    let runway = runway.map(|end| end as f64);
    (Some(f64::from(u8::from(enforced))), Some(active.into()), runway, Some(unknown.into()))
}

#[tokio::test]
async fn project_without_the_organizations_anchors_stands_on_its_own() {
    let now = now();
    let at = |days: i64| Some(now + days * DAY);
    let dated = |id: &str, valid_at, expires_at| certificate(id).dated(valid_at, expires_at);
    let cases = [
        ("none", vec![], expected(false, 0, None, 0)),
        (
            "an overlap",
            vec![dated("a", at(-1), at(3)), dated("b", at(2), at(9))],
            expected(true, 1, at(9), 0),
        ),
        (
            "a gap",
            vec![dated("a", at(-1), at(3)), dated("b", at(4), at(9))],
            expected(true, 1, at(3), 0),
        ),
        (
            "past",
            vec![dated("a", at(-9), at(-3)), dated("b", at(-9), at(-5))],
            expected(true, 0, at(-3), 0),
        ),
        ("never so far", vec![dated("a", at(2), at(5))], expected(true, 0, None, 0)),
        ("without an end", vec![dated("a", at(-1), None)], expected(true, 1, None, 1)),
        (
            "one without an end besides",
            vec![dated("a", None, at(3)), dated("b", None, None)],
            expected(true, 2, at(3), 1),
        ),
        ("not active", vec![dated("a", at(-1), at(3)).inactive()], expected(false, 0, None, 0)),
    ];
    let mut has = organization(vec![certificate("not active").inactive()]);
    has.projects = cases.iter().map(|(name, own, _)| project(name, own.clone())).collect();
    let api = Api::of(has).await;
    let page = api.once().projects().start().await.page_after_polls(1).await;
    for (name, _, expected) in cases {
        assert_eq!(said(&page, name), expected, "{name}");
    }
    assert_eq!(
        said(&page, ""),
        expected(false, 0, None, 0),
        "nothing is active at the organization"
    );
}

#[tokio::test]
async fn anchors_of_the_organization_count_everywhere() {
    let now = now();
    let spanning = |id: &str, from: i64, to: i64| {
        certificate(id).dated(Some(now + from * DAY), Some(now + to * DAY))
    };
    let inactive = DemoCertificate::inactive;
    let mut has = organization(vec![
        spanning("org", -5, 4),
        spanning("shared", -5, 2),
        inactive(spanning("only at a project", -5, 20)),
    ]);
    // Name, its own list, and what is in effect there: anchors that are valid, and the days to the end of the runway.
    let cases = [
        ("nothing of its own", vec![], 2, 4),
        ("nothing active of its own", vec![inactive(spanning("only at a project", -5, 20))], 2, 4),
        ("longer", vec![spanning("only at a project", -5, 20)], 3, 20),
        ("shorter", vec![spanning("own", -5, 1)], 3, 4),
        ("joined on", vec![spanning("own", 4, 6)], 2, 6),
        ("a gap", vec![spanning("own", 5, 6)], 2, 4),
        // Active in both places it is one anchor; not active at the project, it still is at the organization.
        ("the same", vec![spanning("shared", -5, 2)], 2, 4),
        ("the same, not active", vec![inactive(spanning("shared", -5, 2))], 2, 4),
        // A project's list carries its own dates, and need not appear in the organization's.
        ("its own dates", vec![spanning("elsewhere", -5, 9)], 3, 9),
    ];
    has.projects = cases.iter().map(|(name, own, ..)| project(name, own.clone())).collect();
    let api = Api::of(has).await;
    let page = api.once().projects().start().await.page_after_polls(1).await;
    for (project, _, active, end) in cases.into_iter().chain([("", vec![], 2, 4)]) {
        assert_eq!(
            said(&page, project),
            expected(true, active, Some(now + end * DAY), 0),
            "{project:?}"
        );
    }
    assert_eq!(page.series("openai_mtls_enforced").len(), 10);
    // What is active there, not what is in effect there.
    let active = |project, certificate| {
        page.find(
            "openai_project_certificate_active",
            &[("project_id", project), ("certificate_id", certificate)],
        )
    };
    assert_eq!(active("the same, not active", "shared"), Some(0.0));
    assert_eq!(active("longer", "only at a project"), Some(1.0));
    assert_eq!(active("nothing of its own", "org"), None);
}
