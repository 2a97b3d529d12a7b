//! What would be, by `--without` and `--at`: before anybody deactivates anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::CheckError;
use crate::cli::Check;
use crate::inventory::{Coverage, whole_second};
use crate::poll_state::PollState;
use crate::presentation::{Summary, format_timestamp, sanitize};

/// Of what would be refused, as many are named.
const NAMED: usize = 5;

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

/// What is assumed, and what would be refused that is not refused now. None if nothing is assumed.
pub(super) fn sentences(check: &Check, before: &Summary<'_>, after: &Summary<'_>) -> Vec<String> {
    let at = check.at.map(|at| format!("at {}", format_timestamp(whole_second(at))));
    let ids = check.without.iter().map(|id| sanitize(id)).collect::<Vec<_>>().join(", ");
    let without = (!ids.is_empty()).then(|| format!("with {ids} deactivated everywhere"));
    let assumed = [at, without].into_iter().flatten().collect::<Vec<_>>();
    if assumed.is_empty() {
        return Vec::new();
    }
    let mut sentences = vec![format!("This is assumed: {}.", assumed.join(", "))];
    let (refused_before, refused) = (refused(before), refused(after));
    let new: Vec<_> = refused.difference(&refused_before).cloned().collect();
    if let Some(more) = new.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let named = new[..NAMED].join(", ");
        sentences.push(format!("Refused then, but not now: {named} and {more} more."));
    } else if !new.is_empty() {
        sentences.push(format!("Refused then, but not now: {}.", new.join(", ")));
    }
    match enforced(before).saturating_sub(enforced(after)) {
        0 => {}
        1 => sentences.push("Mutual TLS would no longer be enforced in 1 scope.".into()),
        many => sentences.push(format!("Mutual TLS would no longer be enforced in {many} scopes.")),
    }
    sentences
}

/// The scopes of which every request is refused, and the clients that are, by name.
fn refused(summary: &Summary<'_>) -> BTreeSet<String> {
    let scopes = summary.scopes.iter();
    let scopes = scopes.filter(|row| matches!(row.coverage, Some(Coverage::Refused { .. })));
    let scopes = scopes.filter_map(|row| row.name.clone().or_else(|| row.id.clone()));
    let clients = summary.clients.iter().filter(|row| row.is_refused());
    let clients = clients.map(|row| {
        let scope = row.scope.as_ref().or(row.scope_id.as_ref());
        let issuer = if row.is_issuer { "issuer of client" } else { "client" };
        format!("{issuer} {} at {}", row.client, scope.map_or("", |scope| scope))
    });
    scopes.chain(clients).collect()
}

fn enforced(summary: &Summary<'_>) -> usize {
    let scopes = summary.scopes.iter();
    scopes.filter(|row| row.coverage != Some(Coverage::NotEnforced)).count()
}
