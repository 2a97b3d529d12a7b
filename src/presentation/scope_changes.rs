//! What becomes of scopes, in clauses.

use std::mem::discriminant;

use super::rows::ScopeRow;
use super::sanitize::name_or_id;
use super::text::{change_of_date, format_date, names};
use crate::inventory::{Project, ScopeChange};

/// A scope within a sentence, without a mark.
pub(super) fn scope_in_words(project: Option<&Project>) -> String {
    project.map_or_else(
        || "the organization".into(),
        |project| format!("project {}", name_or_id(project.name.as_deref(), &project.id)),
    )
}

/// How scopes change from one time, or assumption, to another; those that are in both.
pub(crate) fn scope_changes(
    before: &[ScopeRow<'_>],
    after: &[ScopeRow<'_>],
) -> Vec<(ScopeChange, String)> {
    let before: std::collections::HashMap<_, _> =
        before.iter().map(|row| (row.anchor(), row.outlook())).collect();
    let change = |row: &ScopeRow<'_>| {
        let before = before.get(&row.anchor()).copied().flatten()?;
        Some((before.change(row.outlook()?)?, scope_in_words(row.project)))
    };
    after.iter().filter_map(change).collect()
}

/// One clause for each kind of change, the worst first. Of what changes alike, so many are named.
pub(crate) fn tell_scope_changes(
    mut changes: Vec<(ScopeChange, String)>,
    named: usize,
    now: f64,
) -> Vec<(ScopeChange, String)> {
    changes.sort_by_key(|(change, _)| *change);
    let kinds = changes.chunk_by(|(a, _), (b, _)| discriminant(a) == discriminant(b));
    let tell = |alike: &[(ScopeChange, String)]| {
        let (first, all): (Vec<_>, Vec<_>) = alike.iter().cloned().unzip();
        let is_one = first.iter().all(|change| *change == first[0]);
        (first[0], clause(first[0], is_one, &names(&all, named), now))
    };
    kinds.map(tell).collect()
}

/// `is_one`: all change at one instant; otherwise `change` is the first of them.
fn clause(change: ScopeChange, is_one: bool, who: &str, now: f64) -> String {
    match change {
        ScopeChange::NotEnforced => {
            format!(
                "mutual TLS would no longer be enforced for {who}, so no client certificate would be needed"
            )
        }
        ScopeChange::MayNotBeEnforced => {
            format!("it would not be known whether mutual TLS is enforced for {who}")
        }
        ScopeChange::Refused => format!("every request from {who} would newly be refused"),
        ScopeChange::MayBeRefused => format!("every request from {who} might be refused"),
        ScopeChange::Ends { after, before } if is_one => {
            format!("coverage of {who} would end on {}", change_of_date(before, after, now))
        }
        ScopeChange::Ends { after, .. } => {
            let first = format_date(after, now);
            format!("coverage of {who} would end at other times, the first on {first}")
        }
        ScopeChange::NotResumed(at) => {
            let date = format_date(at, now);
            let when = if is_one {
                format!("after {date}")
            } else {
                format!("longer, the first after {date}")
            };
            format!("{who} would stay uncovered {when}")
        }
        ScopeChange::NoKnownEnd => format!("coverage of {who} would have no known end"),
        ScopeChange::NoLongerRefused => {
            format!("requests from {who} would no longer be refused")
        }
    }
}
