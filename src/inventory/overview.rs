//! What people want to know of a snapshot: what ends first, where it is in use, how bad that is, and all of it in a
//! sentence.

use std::collections::HashMap;

use super::{Certificate, Project, Scope, Snapshot, UnixSeconds, date_in_words, legible_name, length_in_words};

/// How soon is too soon, in seconds before an end.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Less is a warning.
    pub warning: f64,
    /// Less is critical, and so is anything that has ended.
    pub critical: f64,
}

impl Default for Thresholds {
    /// 30 days and 7, as the alert rules have it.
    fn default() -> Self {
        Self { warning: 30.0 * super::SECONDS_PER_DAY, critical: 7.0 * super::SECONDS_PER_DAY }
    }
}

impl Thresholds {
    fn judge(self, end: UnixSeconds, now: f64) -> Severity {
        let left = end as f64 - now;
        if left <= 0.0 || left < self.critical {
            Severity::Critical
        } else if left < self.warning {
            Severity::Warning
        } else {
            Severity::Ok
        }
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to do.
    Ok,
    /// To be done in time.
    Warning,
    /// To be done now.
    Critical,
}

/// A certificate, with what all the lists together say of it.
#[derive(Clone, Debug)]
pub struct Anchor<'a> {
    /// As the first list that has it shows it; `active` is that list's.
    pub certificate: &'a Certificate,
    /// The one that supersedes it.
    pub successor: Option<&'a Certificate>,
    /// Whether it is active at the organization.
    pub at_organization: bool,
    /// The projects at which it is active, sorted by identifier.
    pub at_projects: Vec<&'a Project>,
}

impl Anchor<'_> {
    /// Whether it is active anywhere.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.at_organization || !self.at_projects.is_empty()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_expired(&self, now: f64) -> bool {
        self.certificate.expires_at.is_some_and(|end| end as f64 <= now)
    }

    /// Whether it begins later.
    #[must_use]
    pub fn is_not_yet_valid(&self, now: f64) -> bool {
        self.certificate.valid_at.is_some_and(|begin| begin as f64 > now)
    }

    /// Whether somebody has to do something about it, and how soon. What is active nowhere is nobody's trouble; what is
    /// superseded only warns, since a new anchor does not move the old one's clients.
    #[must_use]
    pub fn severity(&self, now: f64, thresholds: Thresholds) -> Severity {
        if !self.is_active() {
            return Severity::Ok;
        }
        let by_end = self.certificate.expires_at.map_or(Severity::Ok, |end| thresholds.judge(end, now));
        let by_begin = if self.is_not_yet_valid(now) { Severity::Warning } else { Severity::Ok };
        let worst = by_end.max(by_begin);
        if self.successor.is_some() { worst.min(Severity::Warning) } else { worst }
    }

    /// How it stands, in a word or two.
    #[must_use]
    pub fn label(&self, now: f64, thresholds: Thresholds) -> &'static str {
        match (self.is_active(), self.has_expired(now), self.successor.is_some()) {
            (false, true, _) => "Inactive, expired",
            (false, false, _) => "Inactive",
            (true, true, true) => "Expired, superseded",
            (true, true, false) => "Expired",
            (true, false, true) => "Superseded",
            _ if self.is_not_yet_valid(now) => "Not yet valid",
            _ if self.severity(now, thresholds) == Severity::Ok => "Valid",
            _ => "Expires soon",
        }
    }

    /// Where it is active, in words; of the projects, as many are named as there are places for.
    #[must_use]
    pub fn places(&self, named: usize) -> Option<String> {
        let organization = self.at_organization.then(|| "Organization".to_owned());
        let projects = self.at_projects.iter().take(named);
        let projects = projects.map(|project| legible_name(project.name.as_deref(), &project.id).into_owned());
        let more = self.at_projects.len().saturating_sub(named);
        let more = (more > 0).then(|| format!("{more} more"));
        let places: Vec<_> = organization.into_iter().chain(projects).chain(more).collect();
        (!places.is_empty()).then(|| places.join(", "))
    }

    /// Whether it stands for itself: active, and not superseded.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.is_active() && self.successor.is_none()
    }
}

/// What holds for the requests of a scope at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No certificate is active: any client is let in.
    NotEnforced,
    /// None that is active is valid: every request is refused.
    Refused {
        /// The end of the last one whose end is known.
        since: Option<UnixSeconds>,
    },
    /// There is one that is valid, and one that will be, until this instant.
    Covered {
        /// The runway's end.
        until: UnixSeconds,
    },
    /// Only certificates without a known end are valid.
    Undated {
        /// The end of the last one whose end is known.
        since: Option<UnixSeconds>,
    },
}

impl Standing {
    fn of(scope: &Scope, second: UnixSeconds) -> Self {
        match scope.runway_end(second) {
            _ if !scope.is_enforced() => Self::NotEnforced,
            since if scope.valid(second) == 0 => Self::Refused { since },
            Some(until) if until > second => Self::Covered { until },
            since => Self::Undated { since },
        }
    }

    /// When its runway ends, or ended.
    #[must_use]
    pub fn runway_end(self) -> Option<UnixSeconds> {
        match self {
            Self::NotEnforced => None,
            Self::Covered { until } => Some(until),
            Self::Refused { since } | Self::Undated { since } => since,
        }
    }

    fn severity(self, now: f64, thresholds: Thresholds) -> Severity {
        match self {
            Self::NotEnforced | Self::Undated { since: None } => Severity::Ok,
            // Anchors without a known end do not count towards a runway, here as in the alert rules.
            Self::Refused { .. } | Self::Undated { since: Some(_) } => Severity::Critical,
            Self::Covered { until } => thresholds.judge(until, now),
        }
    }

    /// What ends first, or has ended, comes first; what is not enforced comes last.
    fn order(self) -> (u8, UnixSeconds) {
        match self {
            Self::Refused { since } => (0, since.unwrap_or(UnixSeconds::MIN)),
            Self::Undated { since: Some(since) } => (1, since),
            Self::Covered { until } => (1, until),
            Self::Undated { since: None } => (2, UnixSeconds::MAX),
            Self::NotEnforced => (3, UnixSeconds::MAX),
        }
    }
}

/// A scope at a moment.
#[derive(Clone, Copy, Debug)]
pub struct ScopeState<'a> {
    /// The project; none where it is the organization.
    pub project: Option<&'a Project>,
    /// When the project's list was read, in seconds since the epoch.
    pub read_at: Option<f64>,
    /// Its anchors in effect.
    pub scope: &'a Scope,
    /// What holds there.
    pub standing: Standing,
    /// How bad that is.
    pub severity: Severity,
}

impl ScopeState<'_> {
    /// How it stands, in a word or two.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.standing {
            Standing::NotEnforced => "Not enforced",
            Standing::Refused { .. } => "Refused",
            Standing::Undated { .. } => "End unknown",
            Standing::Covered { .. } if self.severity == Severity::Ok => "Covered",
            Standing::Covered { .. } => "Ends soon",
        }
    }

    fn title(&self) -> String {
        self.project.map_or_else(
            || "the organization".into(),
            |project| format!("project {}", legible_name(project.name.as_deref(), &project.id)),
        )
    }
}

/// A snapshot at a moment.
#[derive(Debug)]
pub struct Overview<'a> {
    /// Every certificate once, what ends first first.
    pub anchors: Vec<Anchor<'a>>,
    /// Every scope, what ends first first.
    pub scopes: Vec<ScopeState<'a>>,
    /// How bad the worst scope is, and the worst certificate that is active and not superseded; at least a warning where
    /// list entries could not be read.
    pub severity: Severity,
    /// The state in a sentence.
    pub headline: String,
    /// What else matters, in another one or two; empty where there is nothing.
    pub detail: String,
}

impl Snapshot {
    /// Every certificate once, sorted by identifier, with where it is active.
    #[must_use]
    pub fn anchors(&self) -> Vec<Anchor<'_>> {
        let mut at_projects: HashMap<&str, Vec<&Project>> = HashMap::new();
        for read in &self.projects().items {
            for certificate in read.certificates.items.iter().filter(|certificate| certificate.active) {
                at_projects.entry(&certificate.id).or_default().push(&read.project);
            }
        }
        self.certificates()
            .map(|(certificate, successor)| Anchor {
                certificate,
                successor,
                at_organization: self.organization().get(&certificate.id).is_some_and(|listed| listed.active),
                at_projects: at_projects.remove(&*certificate.id).unwrap_or_default(),
            })
            .collect()
    }

    /// Every scope as it is at `now`, the organization first, then the projects by identifier.
    pub fn scope_states(&self, now: f64, thresholds: Thresholds) -> impl Iterator<Item = ScopeState<'_>> {
        #[expect(clippy::cast_possible_truncation, reason = "the whole second that has begun")]
        let second = now.floor() as UnixSeconds;
        let projects = self.project_scopes().map(|(read, scope)| (Some(&read.project), Some(read.read_at), scope));
        std::iter::once((None, None, self.scope())).chain(projects).map(move |(project, read_at, scope)| {
            let standing = Standing::of(scope, second);
            ScopeState { project, read_at, scope, standing, severity: standing.severity(now, thresholds) }
        })
    }
}

impl<'a> Overview<'a> {
    /// What `snapshot` says at `now`, in seconds since the epoch.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, now: f64, thresholds: Thresholds) -> Self {
        let mut anchors = snapshot.anchors();
        anchors.sort_by_key(|anchor| anchor.certificate.expires_at.unwrap_or(UnixSeconds::MAX));
        let mut scopes: Vec<_> = snapshot.scope_states(now, thresholds).collect();
        scopes.sort_by_key(|scope| scope.standing.order());

        let of_scopes = scopes.iter().map(|scope| scope.severity).max().unwrap_or(Severity::Ok);
        let counted = || anchors.iter().filter(|anchor| anchor.counts());
        let severity = counted().map(|anchor| anchor.severity(now, thresholds)).fold(of_scopes, Severity::max);

        let expired: Vec<_> = counted().filter(|anchor| anchor.has_expired(now)).collect();
        let next = counted().find(|anchor| anchor.certificate.expires_at.is_some() && !anchor.has_expired(now));
        let mut headline = scopes_in_words(&scopes, now);
        let mut detail = Vec::new();
        if severity > of_scopes {
            headline.push_str(", but ");
            headline.push_str(&trouble_in_words(&expired, next, counted(), now, thresholds));
        } else if !expired.is_empty() {
            detail.push(match expired.as_slice() {
                [one] => format!("Active, but expired {} ago: {}.", expired_for(one, now), name(one)),
                many => format!("{} active certificates have expired.", many.len()),
            });
        }
        headline.push('.');
        detail.extend(next.and_then(|next| {
            let end = next.certificate.expires_at?;
            let left = length_in_words(end as f64 - now);
            Some(format!("Next to expire: {}, in {left}, on {}.", name(next), date_in_words(end, now)))
        }));
        // Whatever else is well, nobody knows of these.
        let malformed = snapshot.malformed().count;
        let of_malformed = if malformed > 0 { Severity::Warning } else { Severity::Ok };
        detail.extend(match malformed {
            0 => None,
            1 => Some("1 list entry could not be read and is watched by nobody.".to_owned()),
            many => Some(format!("{many} list entries could not be read and are watched by nobody.")),
        });
        let severity = severity.max(of_malformed);
        Self { severity, headline: capitalized(&headline), detail: detail.join(" "), anchors, scopes }
    }

    /// The first end, past or to come, of a certificate that is active and not superseded.
    #[must_use]
    pub fn first_expiry(&self) -> Option<UnixSeconds> {
        self.anchors.iter().filter(|anchor| anchor.counts()).find_map(|anchor| anchor.certificate.expires_at)
    }

    /// The end, past or to come, of the shortest runway.
    #[must_use]
    pub fn first_runway_end(&self) -> Option<UnixSeconds> {
        self.scopes.iter().filter_map(|scope| scope.standing.runway_end()).min()
    }
}

fn name(anchor: &Anchor<'_>) -> String {
    legible_name(anchor.certificate.name.as_deref(), &anchor.certificate.id).into_owned()
}

/// The scopes, sorted by what ends first, in a sentence without its full stop.
fn scopes_in_words(scopes: &[ScopeState<'_>], now: f64) -> String {
    let Some(first) = scopes.first() else { return String::new() };
    // Those that share the first one's fate.
    let same = |scope: &&ScopeState<'_>| match first.standing {
        Standing::Refused { .. } => matches!(scope.standing, Standing::Refused { .. }),
        standing => scope.standing == standing,
    };
    let concerned: Vec<_> = scopes.iter().filter(same).collect();
    let enforced_everywhere = scopes.iter().all(|scope| scope.scope.is_enforced());
    let all = if enforced_everywhere { "everything" } else { "wherever mutual TLS is enforced, everything" };
    let is = if concerned.len() == 1 { "is" } else { "are" };
    match first.standing {
        Standing::NotEnforced => "mutual TLS is not enforced: no certificate is active".into(),
        Standing::Refused { since } => {
            // The others may have ended at other times.
            let since = since.filter(|_| concerned.len() == 1);
            let since = since.map_or_else(String::new, |since| format!(" since {}", date_in_words(since, now)));
            format!("requests of {} are refused: no active certificate is valid{since}", subjects(&concerned))
        }
        Standing::Undated { since: None } => format!("{all} is covered, by certificates without a known end"),
        Standing::Undated { since: Some(since) } => format!(
            "{} {is} covered only by certificates without a known end since {}",
            subjects(&concerned),
            date_in_words(since, now)
        ),
        Standing::Covered { until } if first.severity == Severity::Ok => {
            format!("{all} is covered until {}", date_in_words(until, now))
        }
        Standing::Covered { until } => format!(
            "{} {is} covered for {} only, until {}",
            subjects(&concerned),
            length_in_words(until as f64 - now),
            date_in_words(until, now)
        ),
    }
}

fn subjects(scopes: &[&ScopeState<'_>]) -> String {
    let (organization, projects): (Vec<&ScopeState<'_>>, Vec<_>) =
        scopes.iter().partition(|scope| scope.project.is_none());
    let projects = match projects.as_slice() {
        [] => None,
        [project] => Some(project.title()),
        many => Some(format!("{} projects", many.len())),
    };
    organization.first().map(|scope| scope.title()).into_iter().chain(projects).collect::<Vec<_>>().join(" and ")
}

/// What makes certificates worse than the scopes they are active in.
fn trouble_in_words<'a>(
    expired: &[&Anchor<'_>],
    next: Option<&Anchor<'_>>,
    counted: impl Iterator<Item = &'a Anchor<'a>>,
    now: f64,
    thresholds: Thresholds,
) -> String {
    match expired {
        [] => {}
        [one] => return format!("{} is active and expired {} ago", name(one), expired_for(one, now)),
        many => return format!("{} active certificates have expired", many.len()),
    }
    let soon =
        next.filter(|next| next.certificate.expires_at.is_some_and(|end| thresholds.judge(end, now) > Severity::Ok));
    if let Some((next, end)) = soon.and_then(|next| Some((next, next.certificate.expires_at?))) {
        return format!("{} expires in {}", name(next), length_in_words(end as f64 - now));
    }
    let not_yet: Vec<_> = counted.filter(|anchor| anchor.is_not_yet_valid(now)).collect();
    match not_yet.as_slice() {
        [one] => format!("{} is active and not yet valid", name(one)),
        many => format!("{} active certificates are not yet valid", many.len()),
    }
}

fn expired_for(anchor: &Anchor<'_>, now: f64) -> String {
    length_in_words(now - anchor.certificate.expires_at.map_or(now, |end| end as f64))
}

fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::inventory::{Listing, Malformed, ProjectCertificates, Projects, RotationGroup};

    const DAY: i64 = 86_400;
    /// 1 January 2026.
    const NOW: i64 = 1_767_225_600;

    fn certificate(id: &str, end: i64) -> Certificate {
        Certificate {
            id: id.into(),
            name: None,
            active: true,
            created_at: None,
            valid_at: None,
            expires_at: Some(NOW + end * DAY),
        }
    }

    fn inactive(certificate: Certificate) -> Certificate {
        Certificate { active: false, ..certificate }
    }

    fn undated(id: &str) -> Certificate {
        Certificate { expires_at: None, ..certificate(id, 0) }
    }

    fn list(certificates: Vec<Certificate>) -> Listing<Certificate> {
        Listing::new(certificates, Malformed::default())
    }

    fn snapshot(organization: Vec<Certificate>, projects: Vec<(&str, Vec<Certificate>)>) -> Snapshot {
        let items = projects.into_iter().map(|(id, certificates)| ProjectCertificates {
            project: Project { id: id.into(), name: None, archived: false },
            certificates: Arc::new(list(certificates)),
            read_at: 0.0,
        });
        let projects = Projects { items: items.collect(), ..Projects::default() };
        let group = RotationGroup::new(regex::Regex::new(r"^(\w+)-\d+$").unwrap());
        Snapshot::new(Arc::new(list(organization)), projects, &group, None)
    }

    fn said(organization: Vec<Certificate>, projects: Vec<(&str, Vec<Certificate>)>) -> (Severity, String) {
        let snapshot = snapshot(organization, projects);
        let overview = Overview::new(&snapshot, NOW as f64, Thresholds::default());
        (overview.severity, format!("{} {}", overview.headline, overview.detail).trim_end().into())
    }

    #[test]
    fn what_could_not_be_read_is_not_well() {
        let of = |certificates, count| {
            let list = Arc::new(Listing::new(certificates, Malformed::of_count(count)));
            let group = RotationGroup::new(regex::Regex::new("^$").unwrap());
            let snapshot = Snapshot::new(list, Projects::default(), &group, None);
            let overview = Overview::new(&snapshot, NOW as f64, Thresholds::default());
            (overview.severity, overview.detail)
        };
        assert_eq!(of(vec![], 0), (Severity::Ok, String::new()));
        let one = "1 list entry could not be read and is watched by nobody.";
        assert_eq!(of(vec![], 1), (Severity::Warning, one.into()));
        let (severity, detail) = of(vec![certificate("a", 3)], 2);
        assert_eq!(severity, Severity::Critical);
        assert!(detail.ends_with(" 2 list entries could not be read and are watched by nobody."), "{detail}");
    }

    #[test]
    fn the_state_in_a_sentence() {
        use Severity::{Critical, Ok, Warning};
        for (organization, projects, severity, sentence) in [
            (vec![], vec![], Ok, "Mutual TLS is not enforced: no certificate is active."),
            (
                vec![certificate("a", 90)],
                vec![],
                Ok,
                "Everything is covered until 1 April 2026. Next to expire: a, in 90 days, on 1 April 2026.",
            ),
            (
                vec![inactive(certificate("a", 3))],
                vec![("p", vec![certificate("b", 90)])],
                Ok,
                "Wherever mutual TLS is enforced, everything is covered until 1 April 2026. Next to expire: b, in 90 days, on 1 April 2026.",
            ),
            (
                vec![certificate("a", 20)],
                vec![],
                Warning,
                "The organization is covered for 20 days only, until 21 January 2026. Next to expire: a, in 20 days, on 21 January 2026.",
            ),
            (
                vec![certificate("a", 90), certificate("b", 6)],
                vec![],
                Critical,
                "Everything is covered until 1 April 2026, but b expires in 6 days. Next to expire: b, in 6 days, on 7 January 2026, 00:00 UTC.",
            ),
            (
                vec![certificate("a", 90), certificate("b", -2)],
                vec![],
                Critical,
                "Everything is covered until 1 April 2026, but b is active and expired 2 days ago. Next to expire: a, in 90 days, on 1 April 2026.",
            ),
            (
                vec![certificate("a", -2)],
                vec![],
                Critical,
                "Requests of the organization are refused: no active certificate is valid since 30 December 2025, 00:00 UTC. Active, but expired 2 days ago: a.",
            ),
            (
                vec![],
                vec![("p", vec![certificate("a", -2)]), ("q", vec![certificate("b", -4)])],
                Critical,
                "Requests of 2 projects are refused: no active certificate is valid. 2 active certificates have expired.",
            ),
            (
                vec![certificate("a", 5)],
                vec![("p", vec![]), ("q", vec![certificate("b", 90)])],
                Critical,
                "The organization and project p are covered for 5 days only, until 6 January 2026, 00:00 UTC. Next to expire: a, in 5 days, on 6 January 2026, 00:00 UTC.",
            ),
            (vec![undated("a")], vec![], Ok, "Everything is covered, by certificates without a known end."),
            (
                vec![undated("a"), certificate("b", -10)],
                vec![],
                Critical,
                "The organization is covered only by certificates without a known end since 22 December 2025. Active, but expired 10 days ago: b.",
            ),
            (
                vec![Certificate { valid_at: Some(NOW + DAY), ..certificate("a", 90) }, certificate("b", 80)],
                vec![],
                Warning,
                "Everything is covered until 1 April 2026, but a is active and not yet valid. Next to expire: b, in 80 days, on 22 March 2026.",
            ),
        ] {
            assert_eq!(said(organization, projects), (severity, sentence.into()));
        }
    }

    #[test]
    fn what_is_superseded_is_nobodys_emergency() {
        let old = Certificate { name: Some("edge-1".into()), ..certificate("a", 3) };
        let new = Certificate { name: Some("edge-2".into()), ..certificate("b", 300) };
        let snapshot = snapshot(vec![old, new], vec![]);
        let overview = Overview::new(&snapshot, NOW as f64, Thresholds::default());
        assert_eq!((overview.severity, overview.first_expiry()), (Severity::Ok, Some(NOW + 300 * DAY)));
        assert_eq!(overview.anchors[0].severity(NOW as f64, Thresholds::default()), Severity::Warning);
    }

    #[test]
    fn what_ends_first_comes_first() {
        let snapshot = snapshot(
            vec![undated("a"), certificate("b", 50), inactive(certificate("c", 60)), certificate("d", -1)],
            vec![("p", vec![certificate("b", 50), certificate("e", 55)]), ("q", vec![certificate("c", 60)])],
        );
        let overview = Overview::new(&snapshot, NOW as f64, Thresholds::default());
        let places = overview.anchors.iter().map(|anchor| {
            let projects: Vec<&str> = anchor.at_projects.iter().map(|project| &*project.id).collect();
            (&*anchor.certificate.id, anchor.at_organization, projects)
        });
        assert_eq!(
            places.collect::<Vec<_>>(),
            [
                ("d", true, vec![]),
                ("b", true, vec!["p"]),
                ("e", false, vec!["p"]),
                ("c", false, vec!["q"]),
                ("a", true, vec![])
            ]
        );
        let ends: Vec<_> = overview.scopes.iter().map(|scope| scope.standing.runway_end()).collect();
        assert_eq!(ends, [50, 55, 60].map(|days| Some(NOW + days * DAY)));
    }

    #[test]
    fn thresholds_exclude_themselves() {
        let thresholds = Thresholds { warning: 20.0, critical: 10.0 };
        for (left, severity) in
            [(20, Severity::Ok), (19, Severity::Warning), (10, Severity::Warning), (9, Severity::Critical)]
        {
            assert_eq!(thresholds.judge(NOW + left, NOW as f64), severity, "{left}");
        }
        assert_eq!(Thresholds { warning: 0.0, critical: 0.0 }.judge(NOW, NOW as f64), Severity::Critical);
    }
}
