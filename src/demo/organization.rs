//! What an organization has, as plain data, and what the simulated one has: certificates of every kind, dated from the
//! moment it was made.

use crate::inventory::UnixSeconds;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

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
    /// Opaque, unique in its list.
    pub id: String,
    /// Null where nobody has named it.
    pub name: Option<String>,
    /// Where it is listed: at the organization, or at a project.
    pub active: bool,
    /// The upload.
    pub created_at: UnixSeconds,
    /// Left out where there is none, as the documentation allows.
    pub valid_at: Option<UnixSeconds>,
    /// Likewise.
    pub expires_at: Option<UnixSeconds>,
}

/// A project, and the certificates that it lists.
#[derive(Clone, Debug)]
pub struct DemoProject {
    /// Opaque.
    pub id: String,
    /// Null where nobody has named it.
    pub name: Option<String>,
    /// Its place in the list.
    pub created_at: UnixSeconds,
    /// An archived project is listed only where such are asked for.
    pub archived_at: Option<UnixSeconds>,
    /// Oldest upload first.
    pub certificates: Vec<DemoCertificate>,
}

impl DemoProject {
    pub(super) fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }
}

/// Name, whether it is active at the organization, and from when until when it is valid, in seconds from now.
type CertificateSpec = (Option<&'static str>, bool, Option<i64>, Option<i64>);

/// One of each kind that somebody on call may meet. The organization's own anchors last for four days more, so that
/// projects show what becomes of those that have, and have not, others besides.
const CERTIFICATES: [CertificateSpec; 18] = [
    (Some("batch-pipeline-2024"), false, Some(-700 * DAY), Some(-335 * DAY)),
    (Some("batch-pipeline-2025"), true, Some(-368 * DAY), Some(-3 * DAY)),
    (Some("webhook-relay-2025"), true, Some(-365 * DAY), Some(-40 * MINUTE)),
    (Some("ci-runners-2025"), true, Some(-365 * DAY), Some(25 * MINUTE)),
    (Some("support-tools-2025"), true, Some(-364 * DAY), Some(9 * HOUR)),
    (Some("support-tools-2026"), true, Some(-2 * DAY), Some(3 * DAY)),
    (Some("edge-gateway-2025"), true, Some(-361 * DAY), Some(4 * DAY)),
    (Some("data-platform-2027"), true, Some(12 * DAY), Some(377 * DAY)),
    (Some("edge-gateway-2026"), false, Some(-10 * DAY), Some(355 * DAY)),
    (Some("ledger-2026"), false, Some(-355 * DAY), Some(10 * DAY)),
    (Some("search-indexer gen 3"), false, Some(-344 * DAY), Some(21 * DAY)),
    (Some("search-indexer gen 4"), false, Some(-DAY), Some(364 * DAY)),
    (Some("mobile-backend_v2"), false, Some(-300 * DAY), Some(65 * DAY)),
    (Some("offline-root-2016"), false, Some(-3_600 * DAY), Some(3_700 * DAY)),
    (None, true, Some(-90 * DAY), Some(2 * DAY)),
    (None, false, Some(-500 * DAY), Some(-135 * DAY)),
    (Some("imported-without-dates"), true, None, None),
    (Some("imported-without-end"), false, Some(-30 * DAY), None),
];

/// The rest: the same authority for each region, five generations of it.
const REGIONS: [&str; 6] = ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1", "ap-northeast-1"];
const GENERATIONS: i64 = 5;

/// Name, and the names of its certificates: those that are active, and one that no longer is.
type ProjectSpec = (Option<&'static str>, &'static [&'static str], Option<&'static str>);

/// A project for each thing that can be the matter with one. Enforcement that is off cannot be shown beside the others:
/// one anchor active at the organization enforces mutual TLS everywhere.
const PROJECTS: [ProjectSpec; 5] = [
    // Covered twice, for years.
    (Some("Checkout"), &["edge-gateway-2026", "offline-root-2016"], None),
    // Covered by the organization only.
    (Some("Internal tools"), &[], None),
    // Its own anchor has gone, the organization's are about to.
    (Some("Batch pipeline"), &["batch-pipeline-2025"], Some("batch-pipeline-2024")),
    // A gap of two days between its own anchor and the organization's next.
    (Some("Ledger"), &["ledger-2026"], None),
    // A rotation under way, in a project that nobody has named.
    (None, &["search-indexer gen 3", "search-indexer gen 4"], None),
];

impl Organization {
    /// The demo's, as of `now`.
    pub fn simulated(now: UnixSeconds) -> Self {
        let mut certificates = uploads(now);
        certificates.sort_by_key(|certificate| certificate.created_at);
        let listed = |active: &[&str], inactive: &[&str]| -> Vec<_> {
            let shown = certificates.iter().filter_map(|certificate| {
                let name = certificate.name.as_deref()?;
                let active = active.contains(&name);
                (active || inactive.contains(&name)).then(|| DemoCertificate { active, ..certificate.clone() })
            });
            shown.collect()
        };
        let cases = PROJECTS
            .map(|(name, active, inactive)| (name.map(str::to_owned), listed(active, inactive.as_slice()), None));
        let regions = REGIONS.map(|region| {
            let names: Vec<_> = (1..=GENERATIONS).map(|number| generation(region, number)).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            // The two newest are in use.
            let (old, new) = names.split_at(names.len() - 2);
            (Some(format!("Inference {region}")), listed(new, old), None)
        });
        let archived = (Some("Prototype (archived)".to_owned()), Vec::new(), Some(now - 100 * DAY));
        let projects = (0_u64..)
            .zip(cases.into_iter().chain(regions).chain([archived]))
            .map(|(number, (name, certificates, archived_at))| DemoProject {
                id: identifier("proj", 1_000 + number),
                name,
                created_at: now + (number.cast_signed() - 800) * DAY,
                archived_at,
                certificates,
            })
            .collect();
        Self { certificates, projects }
    }
}

fn uploads(now: UnixSeconds) -> Vec<DemoCertificate> {
    let each = CERTIFICATES.into_iter().map(|(name, active, begin, end)| (name.map(str::to_owned), active, begin, end));
    let fleet = (1..=GENERATIONS).flat_map(|number| {
        (0..).zip(REGIONS).map(move |(position, region)| {
            let begin = (number - GENERATIONS) * 180 * DAY - (30 + 7 * position) * DAY;
            (Some(generation(region, number)), false, Some(begin), Some(begin + 365 * DAY))
        })
    });
    (0..)
        .zip(each.chain(fleet))
        .map(|(number, (name, active, begin, end))| DemoCertificate {
            id: identifier("cert", number),
            name,
            active,
            // Uploaded a little after it was issued, and never in the future.
            created_at: now + begin.unwrap_or(-60 * DAY).min(-2 * DAY) + 3 * HOUR,
            valid_at: begin.map(|begin| now + begin),
            expires_at: end.map(|end| now + end),
        })
        .collect()
}

fn generation(region: &str, number: i64) -> String {
    format!("inference-clients-{region} gen {number}")
}

/// An opaque identifier that is the same in every run.
fn identifier(prefix: &str, number: u64) -> String {
    // The finalizer of SplitMix64, which gives no two numbers the same result.
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{prefix}_{:016x}{:08x}", bits ^ (bits >> 31), bits.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32)
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
            all.iter().any(|c| c.expires_at.is_some_and(|end| (now + from..now + to).contains(&end)))
        };
        assert!(ends_within(-400 * DAY, 0), "expired");
        assert!(ends_within(0, HOUR), "minutes left");
        assert!(ends_within(DAY, 30 * DAY), "days left");
        assert!(ends_within(365 * DAY, 4_000 * DAY), "years left");
        assert!(all.iter().any(|c| c.valid_at > Some(now)), "not yet valid");
        assert!(all.iter().any(|c| c.name.is_none()), "unnamed");
        assert!(all.iter().any(|c| c.valid_at.is_none() && c.expires_at.is_none()), "without dates");
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
        assert_eq!(shown(5).iter().map(|(_, active)| *active).collect::<Vec<_>>(), [false, false, false, true, true]);
        assert_eq!(organization.projects.iter().filter(|project| !project.is_archived()).count(), 11);
    }
}
