//! What would be, by `--without` and `--at`: before anybody deactivates anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{CheckError, Status};
use crate::cli::Check;
use crate::config::OWN_CLIENT;
use crate::inventory::{Coverage, Severity, UnixSeconds, whole_second};
use crate::poll_state::PollState;
use crate::presentation::{
    CertificateRow, ClientRow, ScopeRow, Summary, format_date, join_with_and, sanitize,
};

/// Of what changes alike, as much is named.
const NAMED: usize = 3;

/// The state as if certificates were deactivated everywhere, and as of `now`.
pub(super) fn apply(
    mut state: Arc<PollState>,
    check: &Check,
    now: f64,
) -> Result<Arc<PollState>, CheckError> {
    let changed = Arc::make_mut(&mut state);
    let Some(mut snapshot) = changed.snapshot.as_deref().cloned() else { return Ok(state) };
    let ids: Vec<_> = check.without.iter().map(String::as_str).collect();
    let is_listed = |id: &&str| {
        snapshot.inventory.certificates().iter().any(|used| *used.certificate.id == **id)
    };
    if let Some(unknown) = ids.iter().find(|id| !is_listed(id)) {
        return Err(CheckError::UnknownCertificate(sanitize(unknown)));
    }
    if !ids.is_empty() {
        snapshot.inventory = Arc::new(snapshot.inventory.without(&ids));
        let clients = changed.clients.as_deref();
        changed.clients = clients.map(|clients| Arc::new(clients.over(&snapshot.inventory)));
    }
    if check.at.is_some() {
        // The instant is by the clock of the API, and nothing grows old until then.
        changed.clock_offset = None;
        snapshot = snapshot.assumed_read_at(now);
    }
    changed.snapshot = Some(Arc::new(snapshot));
    Ok(state)
}

/// Something that would be another, in the order in which it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    NotEnforced,
    MayNotBeEnforced,
    AllRefused,
    AnyMayBeRefused,
    Refused,
    NotKnown,
    NotValid,
    Ends { before: UnixSeconds, after: UnixSeconds },
    NoKnownEnd,
    RefusedFrom { before: UnixSeconds, after: UnixSeconds },
    NoLongerRefused,
}

impl Change {
    fn of_scope(before: Option<Coverage>, after: Option<Coverage>) -> Option<Self> {
        Some(match (before?, after?) {
            (before, after) if before == after => return None,
            (_, Coverage::NotEnforced) => Self::NotEnforced,
            (_, Coverage::Unknown) => Self::MayNotBeEnforced,
            // Only since when is another.
            (Coverage::Refused { .. }, Coverage::Refused { .. }) => return None,
            (_, Coverage::Refused { .. }) => Self::AllRefused,
            (_, Coverage::InDoubt) => Self::AnyMayBeRefused,
            (Coverage::Refused { .. }, _) => Self::NoLongerRefused,
            (Coverage::Covered { until: before }, Coverage::Covered { until: after }) => {
                Self::Ends { before, after }
            }
            (Coverage::Covered { .. }, Coverage::Undated { .. }) => Self::NoKnownEnd,
            _ => return None,
        })
    }

    fn of_client(before: &ClientRow<'_>, after: &ClientRow<'_>) -> Option<Self> {
        match (before.refused_from, after.refused_from) {
            _ if before.is_refused() && after.is_refused() => None,
            _ if before.is_refused() => Some(Self::NoLongerRefused),
            _ if after.is_refused() => Some(Self::Refused),
            _ if before.is_known() && !after.is_known() => Some(Self::NotKnown),
            (Some(before), Some(after)) if before != after => {
                Some(Self::RefusedFrom { before, after })
            }
            _ => None,
        }
    }

    /// As a clause about `who`.
    fn clause(self, who: &str, now: f64) -> String {
        match self {
            Self::NotEnforced => format!("mutual TLS would no longer be enforced for {who}"),
            Self::MayNotBeEnforced => {
                format!("it would not be known whether mutual TLS is enforced for {who}")
            }
            Self::AllRefused => format!("every request of {who} would newly be refused"),
            Self::AnyMayBeRefused => format!("every request of {who} might be refused"),
            Self::Refused => format!("{who} would newly be refused"),
            Self::NotKnown => format!("{who} would not be known to be let in"),
            Self::NotValid => format!("{who} would not be valid"),
            Self::Ends { before, after } => {
                format!("coverage of {who} would end on {}", dates(before, after, now))
            }
            Self::NoKnownEnd => format!("coverage of {who} would have no known end"),
            Self::RefusedFrom { before, after } => {
                format!("{who} would be refused from {}", dates(before, after, now))
            }
            Self::NoLongerRefused => format!("{who} would no longer be refused"),
        }
    }
}

/// Tells, before all else, what would change between `now` and then. It is not ok that mutual TLS would end, nor that nobody
/// knows who uses what would be lost.
pub(super) fn tell(check: &Check, before: &Summary<'_>, after: &mut Summary<'_>, now: f64) {
    let Some(assumption) = assumption(check) else { return };
    let (mut lost, still) = (in_use(before, now), in_use(after, check.at.unwrap_or(now)));
    lost.retain(|id, _| !still.contains_key(id));
    let any_enforced = after.scopes.iter().any(|row| row.coverage != Some(Coverage::NotEnforced));
    let any_client = after.clients.iter().any(|row| row.client != OWN_CLIENT);
    let are_users_unknown = !lost.is_empty() && any_enforced && !any_client;

    let mut changes = changes(before, after);
    let ended = lost.into_iter().filter(|(id, _)| !is_deactivated(check, id));
    for (_, name) in ended {
        changes.entry(Change::NotValid).or_default().push(name);
    }
    let what = match changes.is_empty() {
        false => changes.iter().map(|(change, who)| change.clause(&names(who), now)).collect(),
        true if are_users_unknown || !is_known(check, before, after) => {
            vec!["nothing that is known would change".to_owned()]
        }
        true => vec!["nothing would change".to_owned()],
    };
    after.assumed.push(format!("{assumption}: {}.", what.join("; ")));
    if are_users_unknown {
        let unknown = "No clients are configured, so who would be refused is not known.";
        after.assumed.push(unknown.into());
    }
    let is_well = !are_users_unknown && !changes.contains_key(&Change::NotEnforced);
    if after.status == Status::Ok && !is_well {
        (after.status, after.color) = (Status::Warning, Severity::Warning);
    }
}

fn is_deactivated(check: &Check, id: &str) -> bool {
    check.without.iter().any(|deactivated| deactivated == id)
}

/// None if nothing is assumed.
fn assumption(check: &Check) -> Option<String> {
    let at = check.at.map(|at| format_date(whole_second(at), at));
    let ids: Vec<_> = check.without.iter().map(|id| sanitize(id)).collect();
    let deactivated =
        (!ids.is_empty()).then(|| format!("{} were deactivated everywhere", names(&ids)));
    match (at, deactivated) {
        (None, None) => None,
        (None, Some(deactivated)) => Some(format!("If {deactivated}")),
        (Some(at), None) => Some(format!("On {at}")),
        (Some(at), Some(deactivated)) => Some(format!("On {at}, if {deactivated}")),
    }
}

/// The certificates that clients may use, by identifier: their names.
fn in_use<'a>(summary: &'a Summary<'_>, now: f64) -> BTreeMap<&'a str, String> {
    let in_use = summary.certificates.iter().filter(|CertificateRow { used, .. }| {
        used.is_active() && !used.has_expired(now) && !used.is_not_yet_valid(now)
    });
    let named = |row: &'a CertificateRow<'_>| row.name.as_ref().unwrap_or(&row.id).clone();
    in_use.map(|row| (&*row.used.certificate.id, named(row))).collect()
}

/// What changes, and of whom.
fn changes<'a>(before: &Summary<'_>, after: &'a Summary<'_>) -> BTreeMap<Change, Vec<String>> {
    let mut changes = BTreeMap::<_, Vec<_>>::new();
    let scopes = before.scopes.iter().map(|row| (row.anchor(), row));
    let scopes: HashMap<_, _> = scopes.collect();
    for row in &after.scopes {
        let before = scopes.get(&row.anchor()).and_then(|before| before.coverage);
        if let Some(change) = Change::of_scope(before, row.coverage) {
            changes.entry(change).or_default().push(scope(row.name.as_ref(), row.id.as_ref()));
        }
    }
    let clients: HashMap<_, _> = before.clients.iter().map(|row| (row.anchor(), row)).collect();
    let of_client =
        |row: &'a ClientRow<'_>| (&row.client, row.is_issuer, &row.scope, &row.scope_id);
    let mut files = HashMap::<_, usize>::new();
    after.clients.iter().for_each(|row| *files.entry(of_client(row)).or_default() += 1);
    for row in &after.clients {
        let before = clients.get(&row.anchor());
        if let Some(change) = before.and_then(|before| Change::of_client(before, row)) {
            changes.entry(change).or_default().push(client(row, files[&of_client(row)] > 1));
        }
    }
    changes
}

/// Whether nothing is open that may change as well: no client rests on what is inactive already. Without a snapshot there is
/// no scope.
fn is_known(check: &Check, before: &Summary<'_>, after: &Summary<'_>) -> bool {
    let is_known = |row: &ScopeRow<'_>| row.coverage.is_some_and(Coverage::is_known);
    let mut active = before.certificates.iter().filter(|row| row.used.is_active());
    let may_matter =
        check.at.is_some() || active.any(|row| is_deactivated(check, &row.used.certificate.id));
    !after.scopes.is_empty()
        && after.scopes.iter().all(is_known)
        && (!may_matter || after.clients.iter().all(ClientRow::is_known))
}

/// A scope within a sentence; the organization's has no identifier.
fn scope(name: Option<&String>, id: Option<&String>) -> String {
    id.map_or_else(|| "the organization".into(), |id| format!("project {}", name.unwrap_or(id)))
}

/// A client within a sentence.
fn client(row: &ClientRow<'_>, has_others: bool) -> String {
    let file = if has_others { format!(" ({})", row.file) } else { String::new() };
    let place = scope(row.scope.as_ref(), row.scope_id.as_ref());
    let client = format!("client {} in {place}{file}", row.client);
    if row.is_issuer { format!("what the issuer of {client} signs") } else { client }
}

/// One date in place of another; to the minute if they are of one day.
fn dates(before: UnixSeconds, after: UnixSeconds, now: f64) -> String {
    let [old, new] = [before, after].map(|at| format_date(at, now));
    if old != new {
        return format!("{new} instead of {old}");
    }
    let [old, new] = [before, after].map(|at| format_date(at, at as f64));
    format!("{new} instead of {old}")
}

/// The first few, and how many more there are.
fn names(all: &[String]) -> String {
    match all.split_at_checked(NAMED) {
        Some((first, more @ [_, ..])) => format!("{} and {} more", first.join(", "), more.len()),
        _ => join_with_and(all),
    }
}
