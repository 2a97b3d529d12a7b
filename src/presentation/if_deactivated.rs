//! What would become of scopes and clients if a certificate were deactivated.

use std::collections::{BTreeSet, HashMap};

use super::rows::CertificateRow;
use super::sanitize::{name_or_id, sanitize};
use super::text::format_date;
use crate::clients::Assessment;
use crate::inventory::{Inventory, Loss, UnixSeconds, whole_second};

/// As many are named.
const NAMED: usize = 2;

/// Tells it of each active certificate. Without `clients`, or if none is configured, only scopes are known.
pub(super) fn annotate(
    rows: &mut [CertificateRow<'_>],
    inventory: &Inventory,
    clients: Option<&Assessment>,
    now: f64,
) {
    let losses = inventory.losses(now);
    let clients = clients.filter(|it| !it.clients().is_empty());
    let mut dependents: HashMap<_, (BTreeSet<_>, bool)> = HashMap::new();
    for (id, client, is_known) in clients.iter().flat_map(|it| it.dependents(whole_second(now))) {
        let (names, are_known) = dependents.entry(id).or_insert((BTreeSet::new(), true));
        names.insert(client);
        *are_known &= is_known;
    }
    for row in rows.iter_mut().filter(|row| row.used.is_active()) {
        let id = &*row.used.certificate.id;
        let of_scopes = losses.get(id).map(|losses| of_scopes(losses, inventory, now));
        let of_clients = dependents.get(id).map(|(names, are_known)| match are_known {
            true => format!(
                "{} would be refused",
                listed(names.iter().map(|it| sanitize(it)), "client ", "clients")
            ),
            false => "which clients would be refused is not known".into(),
        });
        let harms: Vec<_> = of_scopes.into_iter().flatten().chain(of_clients).collect();
        row.if_deactivated = Some(match clients {
            _ if !harms.is_empty() => harms.join("; "),
            Some(_) => "no scope and no configured client is affected".into(),
            None => "no scope is affected; no clients are configured".into(),
        });
    }
}

fn of_scopes(losses: &[(usize, Loss)], inventory: &Inventory, now: f64) -> Vec<String> {
    let places = |is: &dyn Fn(Loss) -> bool| -> Option<String> {
        let lost = losses.iter().filter(|(_, loss)| is(*loss));
        let names: Vec<_> = lost.map(|(position, _)| name(inventory, *position)).collect();
        (!names.is_empty()).then(|| listed(names.into_iter(), "", "scopes"))
    };
    let refused = places(&|loss| loss == Loss::Requests);
    let open = places(&|loss| loss == Loss::Enforcement);
    let unknown = places(&|loss| loss == Loss::Certainty);
    let sooner = places(&|loss| matches!(loss, Loss::CoveredUntil(_)));
    let ends = losses.iter().filter_map(|(_, loss)| match loss {
        Loss::CoveredUntil(end) => Some(*end),
        _ => None,
    });
    let first = format_date(ends.min().unwrap_or(UnixSeconds::MAX), now);
    [
        refused.map(|places| format!("requests to {places} would be refused")),
        open.map(|places| format!("mutual TLS would no longer be enforced for {places}")),
        unknown.map(|places| format!("it would not be known until when {places} can be used")),
        sooner.map(|places| format!("coverage of {places} would end sooner, on {first}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn name(inventory: &Inventory, position: usize) -> String {
    match inventory.scope(position) {
        Some((Some(project), _)) => {
            format!("project {}", name_or_id(project.name.as_deref(), &project.id))
        }
        _ => "the organization".into(),
    }
}

/// One or two by name, otherwise how many.
fn listed(names: impl ExactSizeIterator<Item = String>, one: &str, many: &str) -> String {
    match names.len() {
        count if count > NAMED => format!("{count} {many}"),
        1 => format!("{one}{}", names.collect::<String>()),
        _ => {
            let kind = if one.is_empty() { String::new() } else { format!("{many} ") };
            format!("{kind}{}", names.collect::<Vec<_>>().join(" and "))
        }
    }
}
