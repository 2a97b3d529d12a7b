//! What somebody has to act on: found in the rows, one by one, and put into clauses, many at once.

use super::rows::{CertificateRow, ScopeRow};
use super::text::{format_date, humanize, relative, within};
use crate::inventory::{Coverage, Severity, Thresholds, UnixSeconds};

/// What somebody has to act on, in the order in which it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Harm {
    /// The requests of a scope are refused.
    Refused,
    /// A certificate is active, but has expired.
    Expired,
    /// A scope's coverage ends soon.
    Ends,
    /// An active certificate expires soon.
    Expires,
    /// A scope is covered only by certificates without a known end.
    Undated,
    /// A certificate is active, but not yet valid or never.
    NotYetValid,
    /// It is not known whether the requests of a scope are refused. Here and below nothing has a date.
    InDoubt,
    /// It is not known whether a scope enforces mutual TLS.
    Unknown,
    /// A project's list was never read.
    Unread,
}

impl Harm {
    pub(super) fn is_of_coverage(self) -> bool {
        matches!(self, Self::Refused | Self::Ends | Self::Undated | Self::InDoubt)
    }
}

/// One scope or certificate to act on.
pub(super) struct Item {
    pub harm: Harm,
    pub severity: Severity,
    /// When it comes, or came; `UnixSeconds::MAX` if that is not known.
    at: UnixSeconds,
    /// Marked, as all texts that are made of it.
    subject: String,
    /// When a scope is covered again.
    resumes_at: Option<UnixSeconds>,
}

pub(super) fn scope_item(row: &ScopeRow<'_>) -> Option<Item> {
    let (harm, at) = match row.coverage {
        _ if row.severity < Severity::Warning => return None,
        None => (Harm::Unread, None),
        Some(Coverage::Refused { since }) => (Harm::Refused, since),
        Some(Coverage::Undated { since }) => (Harm::Undated, since),
        Some(Coverage::Covered { until }) => (Harm::Ends, Some(until)),
        Some(Coverage::InDoubt) => (Harm::InDoubt, None),
        Some(Coverage::Unknown | Coverage::NotEnforced) => (Harm::Unknown, None),
    };
    Some(Item {
        harm,
        severity: row.severity,
        at: at.unwrap_or(UnixSeconds::MAX),
        subject: row.in_words(),
        resumes_at: row.resumes_at,
    })
}

pub(super) fn certificate_item(
    row: &CertificateRow<'_>,
    now: f64,
    thresholds: Thresholds,
) -> Option<Item> {
    let (begin, end) = (row.used.certificate.valid_at, row.used.certificate.expires_at);
    let (harm, at) = match end.filter(|end| thresholds.judge(*end, now) > Severity::Ok) {
        _ if row.severity < Severity::Warning => return None,
        _ if row.used.is_never_valid() => (Harm::NotYetValid, UnixSeconds::MAX),
        Some(end) if row.used.has_expired(now) => (Harm::Expired, end),
        Some(end) => (Harm::Expires, end),
        None => (Harm::NotYetValid, begin.unwrap_or(UnixSeconds::MAX)),
    };
    Some(Item { harm, severity: row.severity, at, subject: title(row), resumes_at: None })
}

/// A certificate's name, or its identifier, with its successor.
pub(super) fn title(row: &CertificateRow<'_>) -> String {
    let title = row.link().mark();
    match row.successor_link() {
        Some(successor) => format!("{title} (superseded by {})", successor.mark()),
        None => title,
    }
}

/// Takes the refused scopes or, if there are none, whatever ends or expires next.
pub(super) fn take_first(items: &mut Vec<Item>) -> Vec<Item> {
    let is_to_come = |item: &Item| matches!(item.harm, Harm::Ends | Harm::Expires);
    let is_refused = |item: &Item| item.harm == Harm::Refused;
    let next = items.iter().filter(|item| is_to_come(item)).map(|item| item.at).min();
    let any_refused = items.iter().any(is_refused);
    items
        .extract_if(.., |item| {
            if any_refused { is_refused(item) } else { is_to_come(item) && Some(item.at) == next }
        })
        .collect()
}

/// Refused scopes, or scopes and certificates that end at one instant.
pub(super) fn first_clause(first: &[Item], now: f64) -> Option<String> {
    let Item { harm, at, resumes_at, .. } = first.first()?;
    let at = (*at < UnixSeconds::MAX).then_some(*at);
    let ending = first.partition_point(|item| item.harm != Harm::Expires);
    let (scopes, certificates) = first.split_at(ending);
    let expire = |certificates: &[Item]| {
        let s = if certificates.len() == 1 { "s" } else { "" };
        format!("{} expire{s}", names(certificates, "certificates"))
    };
    let who = names(scopes, "scopes");
    // Several may end and begin at different times.
    let resumes_at = resumes_at.filter(|_| scopes.len() == 1).map(|at| format_date(at, now));
    let date = at.map(|at| format_date(at, now)).unwrap_or_default();
    if scopes.is_empty() {
        return Some(format!("{} {}", expire(certificates), relative(at, now)));
    }
    if *harm == Harm::Refused {
        let valid = match (resumes_at, at) {
            (Some(from), Some(_)) => {
                format!("has been valid since {date}; covered again from {from}")
            }
            (Some(from), None) => format!("is valid before {from}"),
            (None, Some(_)) if scopes.len() == 1 => format!("has been valid since {date}"),
            (None, _) => "is valid".into(),
        };
        return Some(format!("requests of {who} are refused: no active certificate {valid}"));
    }
    let is = if scopes.len() == 1 { "is" } else { "are" };
    let left = humanize(at? as f64 - now).replacen(' ', " more ", 1);
    let when = if certificates.is_empty() {
        String::new()
    } else {
        format!(", when {}", expire(certificates))
    };
    let again = resumes_at.map_or_else(String::new, |from| format!(", and again from {from}"));
    Some(format!("{who} {is} covered for only {left}, until {date}{when}{again}"))
}

/// One or two by name, otherwise how many.
fn names(items: &[Item], plural: &str) -> String {
    match items {
        [one] => one.subject.clone(),
        [one, other] => format!("{} and {}", one.subject, other.subject),
        many => format!("{} {plural}", many.len()),
    }
}

/// Items of one harm, of which `more` says that others were named before: one by name, otherwise how many.
pub(super) fn clause(alike: &[Item], more: &str, now: f64) -> String {
    let last = alike.iter().map(|item| item.at).max().unwrap_or(UnixSeconds::MAX);
    let (when, date) = (relative(Some(last), now), format_date(last, now));
    let together = alike.iter().all(|item| item.at == last);
    let soon =
        if together { when.clone() } else { format!("within {}", within(last as f64 - now)) };
    let (one, count) = (&alike[0].subject, format!("{}{more}", alike.len()));
    let (one, many) = match alike[0].harm {
        Harm::Expired => (
            format!("{one} is active but expired {when}"),
            format!("{count} certificates have expired"),
        ),
        Harm::Refused | Harm::Ends => {
            (format!("{one} is covered only until {date}"), format!("{count} scopes end {soon}"))
        }
        Harm::Expires => {
            (format!("{one} expires {when}"), format!("{count} certificates expire {soon}"))
        }
        Harm::Undated => (
            format!("{one} has been covered only by certificates without a known end since {date}"),
            format!("{count} scopes are covered only by certificates without a known end"),
        ),
        Harm::NotYetValid => (
            match last {
                UnixSeconds::MAX => format!("{one} is active but never valid"),
                _ => format!("{one} is active but not valid before {date}"),
            },
            format!("{count} certificates are active but not yet valid"),
        ),
        Harm::InDoubt => (
            format!("whether requests of {one} are refused is not known"),
            format!("whether requests of {count} scopes are refused is not known"),
        ),
        Harm::Unknown => (
            format!("whether {one} enforces mutual TLS is not known"),
            format!("whether {count} scopes enforce mutual TLS is not known"),
        ),
        Harm::Unread => (
            format!("{one} has not been read yet"),
            format!("{count} projects have not been read yet"),
        ),
    };
    if alike.len() == 1 { one } else { many }
}
