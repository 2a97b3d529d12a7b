//! Whose coverage ends first, and when: what everybody asks first.

use super::harms::{CERTIFICATES, SCOPES, names, title};
use super::links::Marked;
use super::rows::{CertificateRow, ScopeRow};
use super::text::{format_date, relative};
use crate::inventory::{Coverage, UnixSeconds};

/// The scopes whose coverage ends first.
#[derive(Debug)]
pub(crate) struct FirstToStop {
    /// What stands before the text.
    pub label: &'static str,
    pub text: Marked,
    pub(super) until: UnixSeconds,
    /// Whether all that is covered ends then.
    pub(super) is_all: bool,
}

impl FirstToStop {
    /// None if it goes without saying: unless several scopes are covered. Rows come sorted by what ends first.
    pub(super) fn new(
        scopes: &[ScopeRow<'_>],
        certificates: &[CertificateRow<'_>],
        is_partial: bool,
        now: f64,
    ) -> Option<Self> {
        let covered = scopes.iter().filter_map(|row| match row.coverage? {
            Coverage::Covered { until } => Some((until, row)),
            _ => None,
        });
        let covered: Vec<_> = covered.collect();
        let (until, first) = *covered.first().filter(|_| covered.len() > 1)?;
        let ending = covered.iter().filter(|(end, _)| *end == until).map(|(_, row)| row);
        let (resumes, places): (Vec<_>, Vec<_>) =
            ending.map(|row| (row.resumes_at, row.in_words())).unzip();
        let expiring = certificates
            .iter()
            .filter(|row| row.used.is_active() && row.used.certificate.expires_at == Some(until));
        let expiring: Vec<_> = expiring.map(title).collect();
        let s = if expiring.len() == 1 { "s" } else { "" };
        let when = if expiring.is_empty() {
            String::new()
        } else {
            format!(", when {} expire{s}", names(&expiring, CERTIFICATES))
        };
        let again = first.resumes_at.filter(|_| resumes.iter().all(|at| *at == first.resumes_at));
        let again = again.map(|at| format!("; covered again from {}", format_date(at, now)));
        let (who, again) = (names(&places, SCOPES), again.unwrap_or_default());
        let (relative, date) = (relative(Some(until), now), format_date(until, now));
        Some(Self {
            label: if is_partial { "First known to stop" } else { "First to stop" },
            text: Marked(format!("{who}, {relative} ({date}){when}{again}")),
            until,
            is_all: places.len() == covered.len(),
        })
    }
}
