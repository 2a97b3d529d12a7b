//! Whose coverage ends first, and when: what everybody asks first.

use super::harms::{CERTIFICATES, SCOPES, names, title};
use super::links::Marked;
use super::rows::{CertificateRow, ScopeRow};
use super::text::{format_date, join_with_and, relative};
use crate::inventory::{Coverage, UnixSeconds};

/// Of the scopes whose coverage does not end first, as many are named in place of those that do.
const EXCEPT: usize = 2;

/// The scopes whose coverage ends first.
#[derive(Debug)]
pub(crate) struct FirstToStop {
    /// What stands before the text.
    pub label: &'static str,
    pub text: Marked,
    who: Marked,
    pub(super) until: UnixSeconds,
    /// Whether all that is covered ends then.
    pub(super) is_all: bool,
    /// Whether a certificate activated at the first of them covers them all.
    pub is_one_place: bool,
}

impl FirstToStop {
    /// None if it goes without saying: unless several scopes are covered. Rows come sorted by what ends first. `is_known`: no
    /// other may end sooner.
    pub(super) fn new(
        scopes: &[ScopeRow<'_>],
        certificates: &[CertificateRow<'_>],
        is_known: bool,
        now: f64,
    ) -> Option<Self> {
        let covered = scopes.iter().filter_map(|row| match row.coverage? {
            Coverage::Covered { until } => Some((until, row)),
            _ => None,
        });
        let covered: Vec<_> = covered.collect();
        let until = covered.first().filter(|_| covered.len() > 1)?.0;
        let (ending, others) = covered.split_at(covered.partition_point(|(end, _)| *end == until));
        let is_all_covered = covered.len() == scopes.len();
        let who = who(ending, others, is_all_covered);
        Some(Self {
            label: match (is_known, ending.len()) {
                (true, 1) => "First scope to stop",
                (true, _) => "First scopes to stop",
                (false, 1) => "First scope known to stop",
                (false, _) => "First scopes known to stop",
            },
            text: Marked(format!("{who}{}", when(until, certificates, now))),
            who: Marked(who),
            until,
            is_all: others.is_empty(),
            is_one_place: ending.len() == 1 || !ending[0].1.is_project(),
        })
    }

    /// Where the headline says when.
    pub(super) fn without_date(self) -> Self {
        Self { text: self.who.clone(), ..self }
    }
}

type Covered<'a, 'b> = (UnixSeconds, &'b ScopeRow<'a>);

fn who(ending: &[Covered<'_, '_>], others: &[Covered<'_, '_>], is_all_covered: bool) -> String {
    let in_words =
        |rows: &[Covered<'_, '_>]| rows.iter().map(|(_, row)| row.in_words()).collect::<Vec<_>>();
    let who = names(&in_words(ending), SCOPES);
    // A count tells little.
    match others.len() {
        1..=EXCEPT if is_all_covered && ending.len() > EXCEPT + 1 => {
            format!("{who} (all but {})", join_with_and(&in_words(others)))
        }
        _ => who,
    }
}

fn when(until: UnixSeconds, certificates: &[CertificateRow<'_>], now: f64) -> String {
    let expiring = certificates
        .iter()
        .filter(|row| row.used.is_active() && row.used.certificate.expires_at == Some(until));
    let expiring: Vec<_> = expiring.map(title).collect();
    let s = if expiring.len() == 1 { "s" } else { "" };
    let certificates = if expiring.is_empty() {
        String::new()
    } else {
        format!(", when {} expire{s}", names(&expiring, CERTIFICATES))
    };
    let (relative, date) = (relative(Some(until), now), format_date(until, now));
    format!(", {relative} ({date}){certificates}")
}
