//! What an organization has, as plain data, and what the simulated one has: certificates of every kind, dated from the
//! moment it was made.

use std::sync::Arc;

use crate::inventory::UnixSeconds;

const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// What the API lists.
#[derive(Clone, Debug, Default)]
pub struct Organization {
    /// Oldest upload first.
    pub certificates: Vec<DemoCertificate>,
    /// In the order of their creation.
    pub projects: Vec<DemoProject>,
}

/// A certificate as a list shows it.
#[derive(Clone, Debug)]
pub struct DemoCertificate {
    pub id: String,
    /// Null if nobody has named it.
    pub name: Option<String>,
    /// Where it is listed: at the organization, or at a project.
    pub active: bool,
    /// Its upload.
    pub created_at: UnixSeconds,
    /// Left out if there is none, as the documentation allows; so is the end.
    pub valid_at: Option<UnixSeconds>,
    pub expires_at: Option<UnixSeconds>,
    /// Its PEM, which is shown where a client asks for it.
    pub content: Option<Arc<str>>,
}

/// A project, and the certificates that it lists.
#[derive(Clone, Debug)]
pub struct DemoProject {
    pub id: String,
    /// Null if nobody has named it.
    pub name: Option<String>,
    /// Its place in the list.
    pub created_at: UnixSeconds,
    /// An archived project is listed only if a client asks for archived ones.
    pub archived_at: Option<UnixSeconds>,
    /// Oldest upload first.
    pub certificates: Vec<DemoCertificate>,
}

impl DemoProject {
    pub(super) fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }
}

/// Regions whose authorities are the same, each in five generations.
const REGIONS: [&str; 6] =
    ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1", "ap-northeast-1"];
const GENERATIONS: i64 = 5;

impl Organization {
    /// The demo's, as of `now`, without contents.
    pub fn simulated(now: UnixSeconds) -> Self {
        let certificates = certificates(now);
        // `listed` are names of certificates, and whether they are active in the project.
        let project = |number: i64, name: Option<&str>, listed: &[(&str, bool)]| DemoProject {
            id: identifier("proj", 1_000 + number.cast_unsigned()),
            name: name.map(str::to_owned),
            created_at: now + (number - 800) * DAY,
            archived_at: None,
            certificates: (certificates.iter())
                .filter_map(|certificate| {
                    let (_, active) = listed
                        .iter()
                        .find(|(name, _)| certificate.name.as_deref() == Some(name))?;
                    Some(DemoCertificate { active: *active, ..certificate.clone() })
                })
                .collect(),
        };
        // A project for each thing that can be the matter with one. Enforcement that is off cannot be shown beside the
        // others: one anchor active at the organization enforces mutual TLS everywhere.
        let mut projects = vec![
            // Covered twice, for years.
            project(
                0,
                Some("Checkout"),
                &[("edge-gateway-2026", true), ("offline-root-2016", true)],
            ),
            // Covered by the organization only.
            project(1, Some("Internal tools"), &[]),
            // Its own anchor has gone, the organization's are about to.
            project(
                2,
                Some("Batch pipeline"),
                &[("batch-pipeline-2025", true), ("batch-pipeline-2024", false)],
            ),
            // A gap of two days between its own anchor and the organization's next.
            project(3, Some("Ledger"), &[("ledger-2026", true)]),
            // A rotation under way, in a project that nobody has named.
            project(4, None, &[("search-indexer gen 3", true), ("search-indexer gen 4", true)]),
        ];
        projects.extend((5..).zip(REGIONS).map(|(number, region)| {
            let names: Vec<_> =
                (1..=GENERATIONS).map(|generation| authority(region, generation)).collect();
            // The two newest are in use.
            let listed: Vec<_> =
                (1..).zip(&names).map(|(at, name)| (name.as_str(), at > GENERATIONS - 2)).collect();
            project(number, Some(&format!("Inference {region}")), &listed)
        }));
        let prototype = project(11, Some("Prototype (archived)"), &[]);
        projects.push(DemoProject { archived_at: Some(now - 100 * DAY), ..prototype });
        Self { certificates, projects }
    }

    /// The organization's certificates, and what projects list.
    pub(super) fn all(&self) -> impl Iterator<Item = &DemoCertificate> {
        let listed = self.projects.iter().flat_map(|project| &project.certificates);
        self.certificates.iter().chain(listed)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut DemoCertificate> {
        let listed = self.projects.iter_mut().flat_map(|project| &mut project.certificates);
        self.certificates.iter_mut().chain(listed)
    }
}

/// One of each kind that somebody on call may meet, and those of the regions. The organization's own anchors last for four
/// days more, so that projects show what becomes of those that have, and have not, others besides.
fn certificates(now: UnixSeconds) -> Vec<DemoCertificate> {
    let mut certificates = Vec::new();
    // Valid from `begin` to `end`, in seconds from now.
    let mut upload = |name: Option<&str>, active, begin: Option<i64>, end: Option<i64>| {
        certificates.push(DemoCertificate {
            id: identifier("cert", certificates.len() as u64),
            name: name.map(str::to_owned),
            active,
            // Uploaded a little after it was issued, and never in the future.
            created_at: now + begin.unwrap_or(-60 * DAY).min(-2 * DAY) + 3 * HOUR,
            valid_at: begin.map(|begin| now + begin),
            expires_at: end.map(|end| now + end),
            content: None,
        });
    };
    upload(Some("batch-pipeline-2024"), false, Some(-700 * DAY), Some(-335 * DAY));
    upload(Some("batch-pipeline-2025"), true, Some(-368 * DAY), Some(-3 * DAY));
    upload(Some("webhook-relay-2025"), true, Some(-365 * DAY), Some(-40 * MINUTE));
    upload(Some("ci-runners-2025"), true, Some(-365 * DAY), Some(25 * MINUTE));
    upload(Some("support-tools-2025"), true, Some(-364 * DAY), Some(9 * HOUR));
    upload(Some("support-tools-2026"), true, Some(-2 * DAY), Some(3 * DAY));
    upload(Some("edge-gateway-2025"), true, Some(-361 * DAY), Some(4 * DAY));
    upload(Some("data-platform-2027"), true, Some(12 * DAY), Some(377 * DAY));
    upload(Some("edge-gateway-2026"), false, Some(-10 * DAY), Some(355 * DAY));
    upload(Some("ledger-2026"), false, Some(-355 * DAY), Some(10 * DAY));
    upload(Some("search-indexer gen 3"), false, Some(-344 * DAY), Some(21 * DAY));
    upload(Some("search-indexer gen 4"), false, Some(-DAY), Some(364 * DAY));
    upload(Some("mobile-backend_v2"), false, Some(-300 * DAY), Some(65 * DAY));
    upload(Some("offline-root-2016"), false, Some(-3_600 * DAY), Some(3_700 * DAY));
    upload(None, true, Some(-90 * DAY), Some(2 * DAY));
    upload(None, false, Some(-500 * DAY), Some(-135 * DAY));
    upload(Some("imported-without-dates"), true, None, None);
    upload(Some("imported-without-end"), false, Some(-30 * DAY), None);
    for generation in 1..=GENERATIONS {
        for (position, region) in (0..).zip(REGIONS) {
            let begin = (generation - GENERATIONS) * 180 * DAY - (30 + 7 * position) * DAY;
            upload(
                Some(&authority(region, generation)),
                false,
                Some(begin),
                Some(begin + 365 * DAY),
            );
        }
    }
    certificates.sort_by_key(|certificate| certificate.created_at);
    certificates
}

/// Its name.
pub(super) fn authority(region: &str, generation: i64) -> String {
    format!("inference-clients-{region} gen {generation}")
}

/// An opaque identifier that is the same in every run.
fn identifier(prefix: &str, number: u64) -> String {
    // The finalizer of SplitMix64, which gives no two numbers the same result.
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!(
        "{prefix}_{:016x}{:08x}",
        bits ^ (bits >> 31),
        bits.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn simulated_organization_has_48_certificates_of_every_kind() {
        let now = 1_800_000_000;
        let all = Organization::simulated(now).certificates;
        assert_eq!(all.iter().map(|certificate| &certificate.id).collect::<HashSet<_>>().len(), 48);
        let ends_within = |from: i64, to: i64| {
            all.iter()
                .any(|c| c.expires_at.is_some_and(|end| (now + from..now + to).contains(&end)))
        };
        assert!(ends_within(-400 * DAY, 0), "expired");
        assert!(ends_within(0, HOUR), "minutes left");
        assert!(ends_within(DAY, 30 * DAY), "days left");
        assert!(ends_within(365 * DAY, 4_000 * DAY), "years left");
        assert!(all.iter().any(|c| c.valid_at > Some(now)), "not yet valid");
        assert!(all.iter().any(|c| c.name.is_none()), "unnamed");
        assert!(
            all.iter().any(|c| c.valid_at.is_none() && c.expires_at.is_none()),
            "without dates"
        );
        assert!(all.iter().any(|c| !c.active), "inactive");
        assert!(all.iter().all(|c| c.created_at < now), "none uploaded in the future");
    }

    #[test]
    fn simulated_projects_list_the_organizations_certificates() {
        let organization = Organization::simulated(1_800_000_000);
        let shown = |project: usize| -> Vec<_> {
            let listed = organization.projects[project].certificates.iter();
            listed.map(|c| (c.name.as_deref().unwrap_or_default(), c.active)).collect()
        };
        assert_eq!(shown(0), [("offline-root-2016", true), ("edge-gateway-2026", true)]);
        assert_eq!(shown(1), []);
        assert_eq!(shown(2), [("batch-pipeline-2024", false), ("batch-pipeline-2025", true)]);
        assert_eq!(
            shown(5).iter().map(|(_, active)| *active).collect::<Vec<_>>(),
            [false, false, false, true, true]
        );
        assert_eq!(
            organization.projects.iter().filter(|project| !project.is_archived()).count(),
            11
        );
    }
}
