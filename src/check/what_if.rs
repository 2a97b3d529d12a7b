//! What would be, by `--without` and `--at`: before anybody deactivates anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{CheckError, Status};
use crate::cli::Check;
use crate::config::OWN_CLIENT;
use crate::inventory::{Coverage, ScopeChange, Severity, UnixSeconds, whole_second};
use crate::poll_state::PollState;
use crate::presentation::{
    CertificateRow, ClientRow, ScopeRow, Summary, change_of_date, format_minute, names, sanitize,
    scope_changes, tell_scope_changes,
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

/// What becomes of a client or a certificate, in the order in which it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Refused,
    NotKnown,
    NotValid,
    RefusedFrom { before: UnixSeconds, after: UnixSeconds },
    NoLongerRefused,
}

impl Change {
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
            Self::Refused => format!("{who} would newly be refused"),
            Self::NotKnown => format!("{who} would not be known to be let in"),
            Self::NotValid => format!("{who} would not be valid"),
            Self::RefusedFrom { before, after } => {
                format!("{who} would be refused from {}", change_of_date(before, after, now))
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
    let of_scopes = scope_changes(&before.scopes, &after.scopes);
    let ends_enforcement = of_scopes.iter().any(|(it, _)| *it == ScopeChange::NotEnforced);
    let mut what = clauses(of_scopes, &changes, now);
    if what.is_empty() {
        let is_known = !are_users_unknown && is_known(check, before, after);
        let nothing = if is_known { "nothing" } else { "nothing that is known" };
        what.push(format!("{nothing} would change"));
    }
    after.assumed.push(format!("{assumption}: {}.", what.join("; ")));
    if are_users_unknown {
        let unknown = "No clients are configured, so who would be refused is not known.";
        after.assumed.push(unknown.into());
    }
    let is_well = !are_users_unknown && !ends_enforcement;
    if after.status == Status::Ok && !is_well {
        (after.status, after.color) = (Status::Warning, Severity::Warning);
    }
}

/// What refuses every request of a scope comes first, what only moves a scope's end last.
fn clauses(
    of_scopes: Vec<(ScopeChange, String)>,
    others: &BTreeMap<Change, Vec<String>>,
    now: f64,
) -> Vec<String> {
    let of_scopes = tell_scope_changes(of_scopes, NAMED, now).into_iter();
    let (first, last): (Vec<_>, Vec<_>) =
        of_scopes.partition(|(change, _)| *change <= ScopeChange::MayBeRefused);
    let others = others.iter().map(|(change, who)| change.clause(&names(who, NAMED), now));
    let [first, last] = [first, last].map(|it| it.into_iter().map(|(_, clause)| clause));
    first.chain(others).chain(last).collect()
}

fn is_deactivated(check: &Check, id: &str) -> bool {
    check.without.iter().any(|deactivated| deactivated == id)
}

/// None if nothing is assumed.
fn assumption(check: &Check) -> Option<String> {
    let at = check.at.map(|at| format_minute(whole_second(at)));
    let ids: Vec<_> = check.without.iter().map(|id| sanitize(id)).collect();
    let deactivated =
        (!ids.is_empty()).then(|| format!("{} were deactivated everywhere", names(&ids, NAMED)));
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
        used.is_active() && !used.has_expired(now) && !used.is_never_valid()
    });
    let named = |row: &'a CertificateRow<'_>| row.name.as_ref().unwrap_or(&row.id).clone();
    in_use.map(|row| (&*row.used.certificate.id, named(row))).collect()
}

/// What becomes of clients, and of which.
fn changes<'a>(before: &Summary<'_>, after: &'a Summary<'_>) -> BTreeMap<Change, Vec<String>> {
    let mut changes = BTreeMap::<_, Vec<_>>::new();
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
