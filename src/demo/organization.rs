//! What the simulated organization has: certificates of every kind, dated from the moment it was made.

use crate::inventory::UnixSeconds;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// An organization that exists while the process does.
#[derive(Debug)]
pub struct Organization {
    certificates: Vec<Uploaded>,
    projects: Vec<Project>,
}

/// A certificate as it was uploaded; the exporter sees it only over HTTP.
#[derive(Clone, Debug)]
pub struct Uploaded {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) active: bool,
    pub(super) created_at: UnixSeconds,
    pub(super) valid_at: Option<UnixSeconds>,
    pub(super) expires_at: Option<UnixSeconds>,
}

/// A project, and the certificates that it has, each with whether it is active there.
#[derive(Clone, Debug)]
pub struct Project {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) created_at: UnixSeconds,
    pub(super) archived_at: Option<UnixSeconds>,
    pub(super) certificates: Vec<Uploaded>,
}

/// Name, whether it is active at the organization, and from when until when it is valid, in seconds from now.
type Kind = (Option<&'static str>, bool, Option<i64>, Option<i64>);

/// One of each kind that somebody on call may meet. The organization's own anchors last for four days more, so that
/// projects show what becomes of those that have, and have not, others besides.
const KINDS: [Kind; 18] = [
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
type Case = (Option<&'static str>, &'static [&'static str], Option<&'static str>);

/// A project for each thing that can be the matter with one. Enforcement that is off cannot be shown beside the others:
/// one anchor active at the organization enforces mutual TLS everywhere.
const CASES: [Case; 5] = [
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

impl Project {
    /// Whether it is listed only where archived projects are asked for.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }
}

impl Organization {
    /// An organization as of `now`.
    #[must_use]
    pub fn new(now: UnixSeconds) -> Self {
        let mut certificates = uploads(now);
        let named = |name: &str, active| {
            let found = certificates.iter().find(|certificate| certificate.name.as_deref() == Some(name));
            found.map(|certificate| Uploaded { active, ..certificate.clone() })
        };
        let cases = CASES.into_iter().map(|(name, active, inactive)| {
            let own =
                active.iter().filter_map(|name| named(name, true)).chain(inactive.and_then(|name| named(name, false)));
            (name.map(str::to_owned), own.collect::<Vec<_>>())
        });
        let regions = REGIONS.into_iter().map(|region| {
            // The two newest generations are in use.
            let own =
                (1..=GENERATIONS).filter_map(|number| named(&fleet_name(region, number), number + 2 > GENERATIONS));
            (Some(format!("Inference {region}")), own.collect())
        });
        let mut projects: Vec<_> = (0_u64..)
            .zip(cases.chain(regions))
            .map(|(number, (name, certificates))| Project {
                id: identifier("proj", 1_000 + number),
                name,
                created_at: now - 800 * DAY + DAY * number.cast_signed(),
                archived_at: None,
                certificates,
            })
            .collect();
        projects.push(Project {
            id: identifier("proj", 2_000),
            name: Some("Prototype (archived)".to_owned()),
            created_at: now - 900 * DAY,
            archived_at: Some(now - 100 * DAY),
            certificates: Vec::new(),
        });
        certificates.sort_by_key(|certificate| certificate.created_at);
        for project in &mut projects {
            project.certificates.sort_by_key(|certificate| certificate.created_at);
        }
        Self { certificates, projects }
    }

    /// Every certificate, oldest upload first.
    #[must_use]
    pub fn certificates(&self) -> &[Uploaded] {
        &self.certificates
    }

    /// Every project.
    #[must_use]
    pub fn projects(&self) -> &[Project] {
        &self.projects
    }
}

fn uploads(now: UnixSeconds) -> Vec<Uploaded> {
    let kinds = KINDS.into_iter().map(|(name, active, begin, end)| (name.map(str::to_owned), active, begin, end));
    let fleet = (1..=GENERATIONS).flat_map(|number| {
        (0..).zip(REGIONS).map(move |(position, region)| {
            let begin = (number - GENERATIONS) * 180 * DAY - (30 + 7 * position) * DAY;
            (Some(fleet_name(region, number)), false, Some(begin), Some(begin + 365 * DAY))
        })
    });
    (0..)
        .zip(kinds.chain(fleet))
        .map(|(number, (name, active, begin, end))| Uploaded {
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

fn fleet_name(region: &str, generation: i64) -> String {
    format!("inference-clients-{region} gen {generation}")
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
    fn it_has_48_certificates_of_every_kind() {
        let now = 1_800_000_000;
        let organization = Organization::new(now);
        let all = organization.certificates();
        assert_eq!(all.len(), 48);
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
}
