//! Whether a certificate can be deactivated: what would become of scopes and clients.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::rows::CertificateRow;
use super::sanitize::sanitize;
use super::scope_changes::{scope_in_words, tell_scope_changes};
use super::text::{format_date, names};
use crate::clients::{Assessment, Dependence};
use crate::config::OWN_CLIENT;
use crate::inventory::{Inventory, Project, ScopeChange, Snapshot, whole_second};
use crate::poll_state::PollState;

/// As many are named.
const NAMED: usize = 2;

/// In the order of what is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
pub(crate) enum Safety {
    #[strum(serialize = "Safe to deactivate")]
    Safe,
    #[strum(serialize = "May not be safe to deactivate")]
    Unknown,
    #[strum(serialize = "Not safe to deactivate")]
    Unsafe,
}

/// What would become of scopes and clients without a certificate.
#[derive(Debug)]
pub(crate) struct Deactivation {
    pub safety: Safety,
    /// What would change, or why nothing would. What is worst comes first.
    pub effects: String,
}

type Effect = (Safety, String);

/// Tells it of each active certificate of a snapshot. If no client is configured, only scopes are known.
pub(super) fn annotate(
    rows: &mut [CertificateRow<'_>],
    state: &PollState,
    snapshot: &Snapshot,
    now: f64,
) {
    let (inventory, is_stale) = (&snapshot.inventory, state.is_stale(now));
    let now = state.earliest_time(now);
    let losses = inventory.losses(now);
    let clients = Clients::new(state.clients.as_deref(), now);
    let old = if is_stale {
        Some((Safety::Unknown, "what is shown is stale".into()))
    } else {
        let is_wrong = state.clock_error().is_some();
        is_wrong.then(|| (Safety::Unknown, "this machine's clock is wrong".into()))
    };
    let unseen = unseen_projects(state, snapshot);
    let organization = inventory.scope(0).and_then(|(_, scope)| scope.enforced());
    let is_enforced_everywhere = organization == Some(true);
    for row in rows.iter_mut().filter(|row| row.used.is_active()) {
        let id = &*row.used.certificate.id;
        let losses = losses.get(id).map_or(&[][..], Vec::as_slice);
        let (first, last) = of_scopes(losses, inventory, now);
        let mut effects: Vec<_> = first.chain(clients.dependents_of(id)).chain(last).collect();
        // Where mutual TLS is not enforced, nobody is refused.
        let opened = losses.iter().filter(|(_, change)| *change == ScopeChange::NotEnforced);
        let in_effect = if row.used.active_at_organization {
            inventory.scopes().count()
        } else {
            row.active_projects().len()
        };
        if opened.count() < in_effect {
            effects.extend(of_others(row, &clients, !effects.is_empty(), now));
        }
        effects.sort_by_key(|(safety, _)| Reverse(*safety));
        if effects.first().is_none_or(|(safety, _)| *safety < Safety::Unsafe) {
            // What lets nobody in could only end enforcement, which an anchor of the organization keeps up everywhere.
            let is_idle = is_enforced_everywhere && lets_nobody_in(row, now);
            effects.extend(unseen.clone().filter(|_| !is_idle));
            effects.extend(old.clone());
            effects.sort_by_key(|(safety, _)| Reverse(*safety));
        }
        let safety = effects.first().map_or(Safety::Safe, |(safety, _)| *safety);
        let effects: Vec<_> = effects.into_iter().map(|(_, effect)| effect).collect();
        row.deactivation = Some(Deactivation { safety, effects: effects.join("; ") });
    }
}

/// An anchor may be in effect at projects that are not seen, too.
fn unseen_projects(state: &PollState, snapshot: &Snapshot) -> Option<Effect> {
    let faults = &snapshot.inventory.lists().project_faults;
    let unread = snapshot.inventory.unread_projects();
    let text = match unread.len() as u64 + faults.hidden + faults.unselected {
        _ if !state.projects => "projects are not monitored".into(),
        _ if snapshot.projects_listed_at.is_none() => {
            "the list of projects has not been read yet".into()
        }
        0 => return None,
        1 => {
            let which =
                unread.first().map_or("1 other project".into(), |it| scope_in_words(Some(it)));
            format!("what depends on it in {which} is not known")
        }
        many => format!("what depends on it in {many} other projects is not known"),
    };
    Some((Safety::Unknown, text))
}

/// What is known of clients.
struct Clients<'a> {
    /// Whether any is configured. The exporter is one itself, which says nothing of the others.
    is_any_configured: bool,
    /// The identifiers of the projects where one is (`None`: at the organization).
    configured_at: HashSet<Option<&'a str>>,
    /// By the identifier of each certificate: those that would be refused at once without it (`None`), and others.
    dependents: HashMap<&'a str, BTreeMap<Option<Dependence>, BTreeSet<&'a str>>>,
    /// Those that no project matches, and those with a file that cannot be used.
    failed: BTreeSet<&'a str>,
    /// Of these, those at each project, by its identifier.
    failed_at: HashMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Clients<'a> {
    fn new(known: Option<&'a Assessment>, now: f64) -> Self {
        let mut all = Self {
            is_any_configured: known
                .is_some_and(|it| it.clients().iter().any(|client| *client.name != *OWN_CLIENT)),
            configured_at: HashSet::new(),
            dependents: HashMap::new(),
            failed: BTreeSet::new(),
            failed_at: HashMap::new(),
        };
        let now = whole_second(now);
        let at_once = known.iter().flat_map(|it| it.dependents(now));
        let at_once = at_once.map(|(id, client, is_known)| {
            (id, client, if is_known { None } else { Some(Dependence::Perhaps) })
        });
        let weaker = known.iter().flat_map(|it| it.weaker_dependents(now));
        let weaker = weaker.map(|(id, client, dependence)| (id, client, Some(dependence)));
        for (id, client, dependence) in at_once.chain(weaker) {
            let of_certificate: &mut BTreeMap<_, BTreeSet<_>> =
                all.dependents.entry(id).or_default();
            if of_certificate.get(&None).is_none_or(|at_once| !at_once.contains(client)) {
                of_certificate.entry(dependence).or_default().insert(client);
            }
        }
        all.failed.extend(known.iter().flat_map(|it| it.unscoped()).map(|client| &*client.name));
        let clients = known.iter().flat_map(|it| it.clients_at_scopes());
        for (client, project) in clients {
            let project = project.map(|project| &*project.id);
            if *client.name != *OWN_CLIENT {
                all.configured_at.insert(project);
            }
            if !client.failed.is_empty() {
                all.failed.insert(&client.name);
                if let Some(project) = project {
                    all.failed_at.entry(project).or_default().insert(&client.name);
                }
            }
        }
        all
    }

    /// What is certain of those that depend on it.
    fn dependents_of(&self, id: &str) -> impl Iterator<Item = Effect> {
        let dependents = self.dependents.get(id).into_iter().flatten();
        dependents.filter_map(|(dependence, names)| {
            let names = clients(names);
            let effect = match dependence {
                None => format!("{names} would be refused"),
                Some(Dependence::Longer) => format!("{names} would be refused sooner"),
                Some(Dependence::Issuer) => format!("the issuer of {names} would not be trusted"),
                Some(Dependence::Perhaps) => return None,
            };
            Some((Safety::Unsafe, effect))
        })
    }

    fn perhaps_dependent_on(&self, row: &CertificateRow<'_>) -> Option<Effect> {
        let dependents = self.dependents.get(&*row.used.certificate.id)?;
        let names = dependents.get(&Some(Dependence::Perhaps))?;
        Some((Safety::Unknown, format!("{} may depend on it", clients(names))))
    }

    /// Who uses an anchor is not known where no client is configured: at the organization or, one by one, at its projects.
    fn missing_at(&self, row: &CertificateRow<'_>) -> Option<Effect> {
        if !self.is_any_configured {
            return Some((Safety::Unknown, format!("{UNKNOWN}: none are configured")));
        }
        if row.used.active_at_organization && self.configured_at.contains(&None) {
            return None;
        }
        let is_missing = |project: &&Project| !self.configured_at.contains(&Some(&project.id));
        let missing = projects_in_effect(row).into_iter().filter(is_missing);
        let missing: Vec<_> = missing.map(|project| scope_in_words(Some(project))).collect();
        let effect = || format!("no client of {} is configured", names(&missing, NAMED));
        (!missing.is_empty()).then(|| (Safety::Unknown, effect()))
    }

    /// What is in a file that cannot be used may depend on any certificate of the client's scopes.
    fn failed_at(&self, row: &CertificateRow<'_>) -> Option<Effect> {
        let at_projects = row.active_projects().filter_map(|it| self.failed_at.get(&*it.id));
        let names = if row.used.active_at_organization {
            self.failed.clone()
        } else {
            at_projects.flatten().copied().collect()
        };
        let have = if names.len() == 1 { "has" } else { "have" };
        let effect = format!("{} {have} a file or a pattern that cannot be used", clients(&names));
        (!names.is_empty()).then_some((Safety::Unknown, effect))
    }
}

fn clients(all: &BTreeSet<&str>) -> String {
    let all: Vec<_> = all.iter().map(|name| format!("client {}", sanitize(name))).collect();
    names(&all, NAMED)
}

const UNKNOWN: &str = "which clients would be refused is not known";

/// Whether it has expired or is never valid, in whatever list.
fn lets_nobody_in(row: &CertificateRow<'_>, now: f64) -> bool {
    let is_over = row.used.has_expired(now) || row.used.is_never_valid();
    is_over && row.inventory.differing_project(row.used).is_none()
}

/// The projects where it is in effect, of those whose list has been read.
fn projects_in_effect<'a>(row: &CertificateRow<'a>) -> Vec<&'a Project> {
    if row.used.active_at_organization {
        row.inventory.projects().iter().map(|listed| &listed.project).collect()
    } else {
        row.active_projects().collect()
    }
}

/// What is left to say of a certificate without which mutual TLS would still be enforced.
fn of_others(
    row: &CertificateRow<'_>,
    clients: &Clients<'_>,
    is_anything_lost: bool,
    now: f64,
) -> Option<Effect> {
    let certificate = &row.used.certificate;
    Some(if lets_nobody_in(row, now) {
        let is_never_valid = row.used.is_never_valid();
        let why = if is_never_valid { "is never valid" } else { "has expired" };
        (Safety::Safe, format!("it {why}, so no client can use it"))
    } else if certificate.has_unreadable_date && !is_anything_lost {
        (Safety::Unknown, "what would change is not known".into())
    } else if let Some(missing) = clients.missing_at(row) {
        missing
    } else if is_anything_lost {
        return None;
    } else if let Some(dependent) = clients.perhaps_dependent_on(row) {
        dependent
    } else if certificate.expires_at.is_none() {
        (Safety::Unknown, "what depends on it later is not known, since it has no known end".into())
    } else if let Some(begin) = certificate.valid_at.filter(|_| row.used.is_not_yet_valid(now)) {
        let begin = format_date(begin, now);
        (Safety::Unknown, format!("what will depend on it from {begin} on is not known"))
    } else if let Some(failed) = clients.failed_at(row) {
        failed
    } else {
        (Safety::Safe, "no scope and no configured client depends on it".into())
    })
}

/// What refuses every request of a scope or ends enforcement, and what only moves a scope's end.
fn of_scopes(
    losses: &[(usize, ScopeChange)],
    inventory: &Inventory,
    now: f64,
) -> (impl Iterator<Item = Effect>, impl Iterator<Item = Effect>) {
    let named = losses.iter().filter_map(|(position, change)| {
        Some((*change, scope_in_words(inventory.scope(*position)?.0)))
    });
    let clauses = tell_scope_changes(named.collect(), NAMED, now).into_iter();
    let (first, last): (Vec<_>, Vec<_>) =
        clauses.partition(|(change, _)| *change <= ScopeChange::MayBeRefused);
    let effect = |(change, clause)| (safety(change), clause);
    (first.into_iter().map(effect), last.into_iter().map(effect))
}

fn safety(change: ScopeChange) -> Safety {
    match change {
        ScopeChange::NotEnforced
        | ScopeChange::Refused
        | ScopeChange::Ends { .. }
        | ScopeChange::NotResumed(_) => Safety::Unsafe,
        ScopeChange::MayNotBeEnforced | ScopeChange::MayBeRefused | ScopeChange::NoKnownEnd => {
            Safety::Unknown
        }
        ScopeChange::NoLongerRefused => Safety::Safe,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::super::Summary;
    use super::*;
    use crate::fixture::{DAY, NOW, certificate, group, lists, snapshot};
    use crate::inventory::{Certificate, Lists, Project, Thresholds};
    use crate::poll_state::PollTiming;

    #[test]
    fn what_is_not_seen_may_depend_on_it() {
        let valid = |id: &str, days| certificate(id).valid(-9..days);
        let read = [vec![valid("a", 20), valid("b", 90)]];
        let unread = Project { id: "p".into(), name: None, archived: false };
        let with = |fault: fn(&mut Lists, Project)| {
            let mut state = state(&read);
            let mut lists = lists(&read);
            fault(&mut lists, unread.clone());
            let read = Snapshot {
                inventory: Inventory::new_or_unchanged(None, lists, &group("^$")),
                ..Snapshot::clone(&snapshot(&read))
            };
            (state.projects, state.snapshot) = (true, Some(Arc::new(read)));
            state
        };
        let not_monitored = PollState { projects: false, ..state(&read) };
        let expired = |organization| {
            let read = [organization, vec![valid("a", -2), valid("c", 90)]];
            let mut lists = lists(&read);
            lists.unread = vec![unread.clone()];
            let read = Snapshot {
                inventory: Inventory::new_or_unchanged(None, lists, &group("^$")),
                ..Snapshot::clone(&snapshot(&read))
            };
            PollState { snapshot: Some(Arc::new(read)), ..state(&[vec![]]) }
        };
        for (organization, safety) in
            [(vec![valid("b", 90)], Safety::Safe), (vec![], Safety::Unknown)]
        {
            assert_eq!(of_first(&expired(organization), 0).safety, safety);
        }
        let ahead = PollState { clock_offset: Some(900.0), ..with(|_, _| ()) };
        for (state, age, expected) in [
            (with(|_, _| ()), 0, None),
            (with(|_, _| ()), 900, Some("what is shown is stale")),
            (ahead, 0, Some("this machine's clock is wrong")),
            (not_monitored, 0, Some("projects are not monitored")),
            (
                with(|lists, project| lists.unread = vec![project]),
                0,
                Some("what depends on it in project p is not known"),
            ),
            (
                with(|lists, _| lists.project_faults.unselected = 3),
                0,
                Some("what depends on it in 3 other projects is not known"),
            ),
        ] {
            let Deactivation { safety, effects } = of_first(&state, age);
            let rest = "which clients would be refused is not known: none are configured";
            assert_eq!(safety, Safety::Unknown);
            assert_eq!(effects, expected.map_or(rest.into(), |it| format!("{rest}; {it}")));
        }
    }

    #[test]
    fn what_is_lost_is_told_and_what_is_not_known() {
        let valid = |id: &str, days| certificate(id).valid(-9..days);
        let unknown = "which clients would be refused is not known: none are configured";
        let open = "mutual TLS would no longer be enforced for the organization, so no client certificate would be needed";
        let unreadable = |id: &str| Certificate { has_unreadable_date: true, ..certificate(id) };
        for (read, safety, effects) in [
            (vec![vec![valid("a", 90)]], "Not safe", open.into()),
            (
                vec![vec![valid("a", 90), valid("ended", -2)]],
                "Not safe",
                format!("every request from the organization would newly be refused; {unknown}"),
            ),
            (
                vec![vec![valid("a", 90), valid("b", 20)]],
                "Not safe",
                format!(
                    "coverage of the organization would end on 4 February 2027 instead of 15 April 2027; {unknown}"
                ),
            ),
            (vec![vec![valid("a", 20), valid("b", 90)]], "May not be safe", unknown.into()),
            (
                vec![vec![valid("a", -2), valid("b", 90)]],
                "Safe",
                "it has expired, so no client can use it".into(),
            ),
            (
                vec![vec![certificate("a").dated(Some(NOW), Some(NOW - DAY)), valid("b", 90)]],
                "Safe",
                "it is never valid, so no client can use it".into(),
            ),
            (
                vec![vec![certificate("a").valid(30..90), valid("b", 20)]],
                "Not safe",
                format!("the organization would stay uncovered after 14 February 2027; {unknown}"),
            ),
            (
                vec![vec![certificate("a").valid(30..90), valid("b", 99)]],
                "May not be safe",
                unknown.into(),
            ),
            (
                vec![vec![unreadable("a"), unreadable("b")]],
                "May not be safe",
                "what would change is not known".into(),
            ),
            (vec![vec![valid("a", -2)]], "Not safe", open.into()),
            (
                vec![vec![valid("a", 90)], vec![], vec![valid("b", 20)], vec![valid("b", 20)]],
                "Not safe",
                "mutual TLS would no longer be enforced for the organization and project proj_0, so no client \
                 certificate would be needed; coverage of project proj_1 and project proj_2 would end on 4 February 2027 instead of 15 April 2027; \
                 which clients would be refused is not known: none are configured"
                    .into(),
            ),
        ] {
            let Deactivation { safety: judged, effects: told } = of_first(&state(&read), 0);
            assert_eq!((judged.to_string(), told), (format!("{safety} to deactivate"), effects));
        }
    }

    fn state(read: &[Vec<Certificate>]) -> PollState {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        PollState { snapshot: Some(snapshot(read)), ..PollState::new(Instant::now(), timing) }
    }

    /// Of the certificate `a`, so many seconds after everything was read.
    fn of_first(state: &PollState, age: i64) -> Deactivation {
        let summary = Summary::new(state, (NOW + age) as f64, Thresholds::default());
        summary.certificates.into_iter().find(|row| row.id == "a").unwrap().deactivation.unwrap()
    }
}
