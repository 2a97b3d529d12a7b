//! What the simulated organization has: certificates of every kind, dated from the moment it was made.

use crate::inventory::UnixSeconds;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// An organization that exists while the process does.
#[derive(Debug)]
pub struct Organization {
    certificates: Vec<Uploaded>,
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

/// Name, whether it is active, and from when until when it is valid, in seconds from now.
type Kind = (Option<&'static str>, bool, Option<i64>, Option<i64>);

/// One of each kind that somebody on call may meet.
const KINDS: [Kind; 18] = [
    (Some("batch-pipeline-2024"), false, Some(-700 * DAY), Some(-335 * DAY)),
    (Some("batch-pipeline-2025"), true, Some(-368 * DAY), Some(-3 * DAY)),
    (Some("webhook-relay-2025"), true, Some(-365 * DAY), Some(-40 * MINUTE)),
    (Some("ci-runners-2025"), true, Some(-365 * DAY), Some(25 * MINUTE)),
    (Some("support-tools-2025"), true, Some(-364 * DAY), Some(9 * HOUR)),
    (Some("edge-gateway-2025"), true, Some(-361 * DAY), Some(4 * DAY)),
    (Some("edge-gateway-2026"), true, Some(-10 * DAY), Some(355 * DAY)),
    (Some("search-indexer gen 3"), true, Some(-344 * DAY), Some(21 * DAY)),
    (Some("search-indexer gen 4"), false, Some(-DAY), Some(364 * DAY)),
    (Some("mobile-backend_v2"), true, Some(-300 * DAY), Some(65 * DAY)),
    (Some("data-platform-2027"), true, Some(12 * DAY), Some(377 * DAY)),
    (Some("partner-portal-2027"), false, Some(30 * DAY), Some(395 * DAY)),
    (Some("organization-root-2020"), true, Some(-2_000 * DAY), Some(1_650 * DAY)),
    (Some("offline-root-2016"), false, Some(-3_600 * DAY), Some(3_700 * DAY)),
    (None, true, Some(-90 * DAY), Some(275 * DAY)),
    (None, false, Some(-500 * DAY), Some(-135 * DAY)),
    (Some("imported-without-dates"), false, None, None),
    (Some("imported-without-end"), false, Some(-30 * DAY), None),
];

/// The rest: a fleet of authorities, a few days apart.
const FLEET: [&str; 6] = ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1", "ap-northeast-1"];
const FLEET_GENERATIONS: i64 = 5;

impl Organization {
    /// An organization as of `now`.
    #[must_use]
    pub fn new(now: UnixSeconds) -> Self {
        let fleet = (0..FLEET_GENERATIONS).flat_map(|generation| {
            (0..).zip(FLEET).map(move |(region, name)| {
                let begin = (generation - 4) * 180 * DAY - (30 + 7 * region) * DAY;
                let name = format!("inference-clients-{name} gen {}", generation + 1);
                // The two newest generations are in use; the older ones wait to be deleted.
                (Some(name), generation >= 3, Some(begin), Some(begin + 365 * DAY))
            })
        });
        let kinds = KINDS.into_iter().map(|(name, active, begin, end)| (name.map(str::to_owned), active, begin, end));
        let mut certificates: Vec<_> = kinds
            .chain(fleet)
            .enumerate()
            .map(|(index, (name, active, begin, end))| Uploaded {
                id: identifier("cert", index as u64),
                name,
                active,
                // Uploaded a little after it was issued, and never in the future.
                created_at: now + begin.unwrap_or(-60 * DAY).min(-2 * DAY) + 3 * HOUR,
                valid_at: begin.map(|begin| now + begin),
                expires_at: end.map(|end| now + end),
            })
            .collect();
        certificates.sort_by_key(|certificate| certificate.created_at);
        Self { certificates }
    }

    /// Every certificate, oldest upload first.
    #[must_use]
    pub fn certificates(&self) -> &[Uploaded] {
        &self.certificates
    }
}

/// An opaque identifier that is the same in every run.
fn identifier(prefix: &str, number: u64) -> String {
    // The finalizer of SplitMix64, which gives no two numbers the same result.
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{prefix}_{:016x}{:08x}", bits ^ (bits >> 31), bits >> 32)
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
