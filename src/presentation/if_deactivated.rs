//! What would become of scopes and clients if a certificate were deactivated.

use std::collections::{BTreeSet, HashMap};

use super::rows::CertificateRow;
use super::sanitize::{name_or_id, sanitize};
use super::text::{format_date, join_with_and};
use crate::clients::Assessment;
use crate::config::OWN_CLIENT;
use crate::inventory::{Inventory, Loss, UnixSeconds, whole_second};

/// As many are named.
const NAMED: usize = 2;

/// Tells it of each active certificate. If no client is configured, only scopes are known.
pub(super) fn annotate(
    rows: &mut [CertificateRow<'_>],
    inventory: &Inventory,
    clients: Option<&Assessment>,
    now: f64,
) {
    let losses = inventory.losses(now);
    // The exporter is a client itself, which says nothing of the others.
    let any_client =
        clients.is_some_and(|it| it.clients().iter().any(|client| *client.name != *OWN_CLIENT));
    let mut dependents: HashMap<_, (BTreeSet<_>, bool)> = HashMap::new();
    for (id, client, is_known) in clients.iter().flat_map(|it| it.dependents(whole_second(now))) {
        let (names, are_known) = dependents.entry(id).or_insert((BTreeSet::new(), true));
        names.insert(client);
        *are_known &= is_known;
    }
    let unread = match inventory.unread_projects().len() {
        0 => None,
        1 => Some("1 project could not be read".into()),
        many => Some(format!("{many} projects could not be read")),
    };
    for row in rows.iter_mut().filter(|row| row.used.is_active()) {
        let certificate = &row.used.certificate;
        let of_clients =
            dependents.get(&*certificate.id).map(|(names, are_known)| match are_known {
                true => {
                    let names: Vec<_> =
                        names.iter().map(|name| format!("client {}", sanitize(name))).collect();
                    format!("{} would be refused", listed(&names, "clients"))
                }
                false => UNKNOWN.into(),
            });
        let losses = losses.get(&*certificate.id).map_or(&[][..], Vec::as_slice);
        let mut effects: Vec<_> =
            of_clients.into_iter().chain(of_scopes(losses, inventory, now)).collect();
        // It lets nobody in, whoever the clients are.
        let lets_in = !row.used.has_expired(now) && !row.used.is_not_yet_valid(now);
        if effects.is_empty() {
            effects.push(
                match lets_in {
                    _ if certificate.has_unreadable_date => "what would change is not known",
                    true if any_client => "no scope and no configured client is affected",
                    true => "every scope stays covered",
                    false => "nothing changes now",
                }
                .into(),
            );
        }
        // Where it is not enforced, nobody is refused.
        let ends_enforcement = losses.iter().any(|(_, loss)| *loss == Loss::Enforcement);
        if lets_in && !any_client && !ends_enforcement {
            effects.push(format!("{UNKNOWN}, since no clients are configured"));
        }
        effects.extend(unread.clone().filter(|_| row.used.active_at_organization));
        row.if_deactivated = Some(effects.join("; "));
    }
}

const UNKNOWN: &str = "which clients would be refused is not known";

fn of_scopes(losses: &[(usize, Loss)], inventory: &Inventory, now: f64) -> Vec<String> {
    let places = |is: &dyn Fn(Loss) -> bool| -> Option<String> {
        let lost = losses.iter().filter(|(_, loss)| is(*loss));
        let names: Vec<_> = lost.map(|(position, _)| name(inventory, *position)).collect();
        (!names.is_empty()).then(|| listed(&names, "scopes"))
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
        open.map(|places| {
            format!(
                "mutual TLS would no longer be enforced for {places}, so any client would be let in"
            )
        }),
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

/// The first few by name, otherwise how many.
fn listed(names: &[String], plural: &str) -> String {
    if names.len() > NAMED { format!("{} {plural}", names.len()) } else { join_with_and(names) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, certificate, snapshot};
    use crate::inventory::{Certificate, Thresholds};

    #[test]
    fn what_is_lost_is_told_and_what_is_not_known() {
        let valid = |id: &str, days| certificate(id).valid(-9..days);
        let unknown =
            "which clients would be refused is not known, since no clients are configured";
        for (read, expected) in [
            (
                vec![vec![valid("a", 90)]],
                "mutual TLS would no longer be enforced for the organization, so any client would be let in".into(),
            ),
            (
                vec![vec![valid("a", 90), valid("ended", -2)]],
                format!("requests to the organization would be refused; {unknown}"),
            ),
            (
                vec![vec![valid("a", 90), valid("b", 20)]],
                format!("coverage of the organization would end sooner, on 4 February 2027; {unknown}"),
            ),
            (
                vec![vec![valid("a", 20), valid("b", 90)]],
                format!("every scope stays covered; {unknown}"),
            ),
            (vec![vec![valid("a", -2), valid("b", 90)]], "nothing changes now".into()),
            (
                vec![vec![
                    Certificate { has_unreadable_date: true, ..certificate("a") },
                    Certificate { has_unreadable_date: true, ..certificate("b") },
                ]],
                format!("what would change is not known; {unknown}"),
            ),
            (
                vec![vec![valid("a", -2)]],
                "mutual TLS would no longer be enforced for the organization, so any client would be let in".into(),
            ),
            (
                vec![vec![valid("a", 90)], vec![], vec![valid("b", 20)], vec![valid("b", 20)]],
                "mutual TLS would no longer be enforced for the organization and project proj_0, so any client would \
                 be let in; coverage of project proj_1 and project proj_2 would end sooner, on 4 February 2027"
                    .into(),
            ),
        ] {
            assert_eq!(said(&read), expected);
        }
    }

    /// Of the certificate `a`.
    fn said(read: &[Vec<Certificate>]) -> String {
        let snapshot = snapshot(read);
        let inventory = &snapshot.inventory;
        let mut rows = CertificateRow::all(inventory, NOW as f64, Thresholds::default());
        annotate(&mut rows, inventory, None, NOW as f64);
        rows.into_iter().find(|row| row.id == "a").unwrap().if_deactivated.unwrap()
    }
}
