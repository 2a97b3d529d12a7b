//! What somebody has to act on: found in the rows, one by one, and put into clauses, many at once.

use std::cmp::Reverse;

use super::links::Link;
use super::rows::{CertificateRow, ScopeRow};
use super::text::{format_date, humanize, join_with_and, relative};
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

    pub(super) fn is_of_certificate(self) -> bool {
        matches!(self, Self::Expired | Self::Expires | Self::NotYetValid)
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
        None if row.used.certificate.has_unreadable_date => return None,
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

/// What a clause is about. Of what is as bad and as urgent, the first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Scopes,
    Clients,
    Certificates,
    /// What no row shows, such as a list that was not read.
    Gaps,
}

/// In the order in which it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// All requests of a scope are refused.
    ScopeRefused,
    ClientRefused,
    /// Something ends then.
    At(UnixSeconds),
    Undated,
}

/// A part of a sentence.
pub(super) struct Clause {
    pub subject: Subject,
    pub severity: Severity,
    pub urgency: Urgency,
    /// When the last that it is about comes.
    pub last: UnixSeconds,
    /// Whether it begins with a certificate's name, which stays as it is.
    pub begins_with_name: bool,
    /// With its names marked.
    pub text: String,
}

impl Clause {
    /// Whether it says whose requests are refused, or from when on.
    pub(super) fn tells_who_stops(&self) -> bool {
        let is_dated = matches!(self.urgency, Urgency::ScopeRefused | Urgency::At(_));
        self.subject == Subject::Scopes && is_dated
    }

    /// About what no row shows.
    pub(super) fn gap(text: String) -> Self {
        Self {
            subject: Subject::Gaps,
            severity: Severity::Warning,
            urgency: Urgency::Undated,
            last: UnixSeconds::MAX,
            begins_with_name: false,
            text,
        }
    }

    fn of(alike: &[Item], text: String) -> Self {
        let severity = alike.iter().map(|item| item.severity).max().unwrap_or(Severity::Off);
        let harm = alike[0].harm;
        // Items come sorted by time.
        let worst = alike.iter().find(|item| item.severity == severity);
        let at = worst.map_or(UnixSeconds::MAX, |item| item.at);
        let begins_with_name = harm.is_of_certificate();
        let urgency = match harm {
            Harm::Refused => Urgency::ScopeRefused,
            Harm::Ends | Harm::Expires => Urgency::At(at),
            _ => Urgency::Undated,
        };
        let subject = if begins_with_name { Subject::Certificates } else { Subject::Scopes };
        let last = alike.iter().map(|item| item.at).max().unwrap_or(UnixSeconds::MAX);
        Self { subject, severity, urgency, last, begins_with_name, text }
    }
}

/// About scopes, then about clients, which come as clauses, then about certificates. Items come sorted by time.
pub(super) fn clauses(
    mut scopes: Vec<Item>,
    mut certificates: Vec<Item>,
    clients: Vec<Clause>,
    now: f64,
) -> Vec<Clause> {
    let mut first = take_first(&mut scopes);
    // A certificate that expires when a scope's coverage ends is named with it.
    if let Some(Item { harm: Harm::Ends, at, .. }) = first.first() {
        let at = *at;
        let expire = |item: &mut Item| item.harm == Harm::Expires && item.at == at;
        first.extend(certificates.extract_if(.., expire));
    }
    let mut said = Vec::new();
    let mut all = about(&first, scopes, &mut said, now);
    all.extend(clients);
    let first = take_first(&mut certificates);
    all.extend(about(&first, certificates, &mut said, now));
    all
}

/// About the `first` items together, then about the rest by harm, the worst first.
fn about(first: &[Item], mut rest: Vec<Item>, said: &mut Vec<Harm>, now: f64) -> Vec<Clause> {
    let text = first_clause(first, now);
    let mut clauses: Vec<_> = text.map(|text| Clause::of(first, text)).into_iter().collect();
    said.extend(first.iter().map(|item| item.harm));
    // A superseded certificate is a warning, however soon it expires: ranges of time would overlap.
    let kind = |item: &Item| {
        (item.harm, Some(Reverse(item.severity)).filter(|_| !item.harm.is_of_certificate()))
    };
    rest.sort_by_key(kind);
    let mut alike: Vec<_> = rest.chunk_by(|a, b| kind(a) == kind(b)).collect();
    alike.sort_by_key(|alike| alike.iter().map(|item| Reverse(item.severity)).min());
    for alike in alike {
        let more = if said.contains(&alike[0].harm) { " more" } else { "" };
        clauses.push(Clause::of(alike, clause(alike, more, now)));
        said.push(alike[0].harm);
    }
    clauses
}

/// Takes the refused scopes or, if there are none, what ends or expires next of what is worst.
fn take_first(items: &mut Vec<Item>) -> Vec<Item> {
    let worst = items.iter().map(|item| item.severity).max();
    let is_to_come = |item: &Item| {
        matches!(item.harm, Harm::Ends | Harm::Expires) && Some(item.severity) == worst
    };
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
fn first_clause(first: &[Item], now: f64) -> Option<String> {
    let Item { harm, at, resumes_at, .. } = first.first()?;
    let at = (*at < UnixSeconds::MAX).then_some(*at);
    let ending = first.partition_point(|item| item.harm != Harm::Expires);
    let (scopes, certificates) = first.split_at(ending);
    let expire = |certificates: &[Item]| {
        let s = if certificates.len() == 1 { "s" } else { "" };
        format!("{} expire{s}", names(&subjects(certificates), CERTIFICATES))
    };
    let who = names(&subjects(scopes), SCOPES);
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
        return Some(format!("requests from {who} are refused: no active certificate {valid}"));
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

fn subjects(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| &*item.subject).collect()
}

/// The section of the status page, and the plural.
pub(super) const SCOPES: (&str, &str) = ("scopes", "scopes");
pub(super) const CERTIFICATES: (&str, &str) = ("active", "certificates");

/// As many scopes or certificates are named.
const NAMED: usize = 3;

/// The first few of these marked names, otherwise how many there are.
pub(super) fn names(all: &[impl AsRef<str>], (section, plural): (&str, &str)) -> String {
    if all.len() > NAMED {
        return Link::count(section, format!("{} {plural}", all.len())).mark();
    }
    join_with_and(all)
}

/// Items of one harm, of which `more` says that others were named before: one by name, otherwise how many.
fn clause(alike: &[Item], more: &str, now: f64) -> String {
    let last = alike.iter().map(|item| item.at).max().unwrap_or(UnixSeconds::MAX);
    let (when, date) = (relative(Some(last), now), format_date(last, now));
    let span = [alike[0].at, last].map(|at| humanize(at as f64 - now));
    let soon = if span[0] == span[1] { when.clone() } else { format!("in {}", span.join(" to ")) };
    let (section, plural) = if alike[0].harm.is_of_certificate() { CERTIFICATES } else { SCOPES };
    let plural = if alike[0].harm == Harm::Unread { "projects" } else { plural };
    let count = Link::count(section, format!("{}{more} {plural}", alike.len())).mark();
    let one = &alike[0].subject;
    let (one, many) = match alike[0].harm {
        Harm::Expired => {
            (format!("{one} is active but expired {when}"), format!("{count} have expired"))
        }
        Harm::Refused | Harm::Ends => {
            (format!("{one} is covered only until {date}"), format!("{count} end {soon}"))
        }
        Harm::Expires => (format!("{one} expires {when}"), format!("{count} expire {soon}")),
        Harm::Undated => (
            match last {
                UnixSeconds::MAX => {
                    format!("{one} is covered only by certificates without a known end")
                }
                _ => format!(
                    "{one} has been covered only by certificates without a known end since {date}"
                ),
            },
            format!("{count} are covered only by certificates without a known end"),
        ),
        Harm::NotYetValid => (
            match last {
                UnixSeconds::MAX => format!("{one} is active but never valid"),
                _ => format!("{one} is active but not valid before {date}"),
            },
            format!("{count} are active but not yet valid"),
        ),
        Harm::InDoubt => (
            format!("whether requests from {one} are refused is not known"),
            format!("whether requests from {count} are refused is not known"),
        ),
        Harm::Unknown => (
            format!("whether {one} enforces mutual TLS is not known"),
            format!("whether {count} enforce mutual TLS is not known"),
        ),
        Harm::Unread => (format!("{one} could not be read"), format!("{count} could not be read")),
    };
    if alike.len() == 1 { one } else { many }
}
