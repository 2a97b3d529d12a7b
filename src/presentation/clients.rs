//! Clients as rows, in clauses, and what to do about them.

use std::cmp::Reverse;

use super::links::Link;
use super::sanitize::{display_name, sanitize};
use super::text::{format_date, format_timestamp, relative};
use crate::clients::{
    Assessment, ClientFile, FailedFile, FileKind, HangsOn, Judgement, Refusal, Span, Verdict,
};
use crate::inventory::{Project, Severity, Thresholds, UnixSeconds, whole_second};

/// A file of a client in one of its scopes, or one that cannot be used.
#[derive(Debug)]
pub(crate) struct ClientRow<'a> {
    project: Option<&'a Project>,
    pub label: &'static str,
    pub severity: Severity,
    pub client: String,
    pub file: String,
    pub is_issuer: bool,
    /// "Organization", or the project's name, if it has one.
    pub scope: Option<String>,
    /// The project's.
    pub scope_id: Option<String>,
    /// From when on it is refused, or has been.
    pub end: Option<String>,
    /// How far that is from now.
    pub relative_end: Option<String>,
    /// Why it is refused, or will be; of a file that cannot be used: why not.
    pub reason: Option<String>,
    /// The names from its certificate to the anchor.
    pub path: Vec<String>,
    /// That anchor.
    pub anchor: Option<Link>,
    refusal: Option<Refusal>,
    refused_from: Option<UnixSeconds>,
    state: ClientState,
}

/// In the order in which rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ClientState {
    Refused,
    /// Nobody knows whether it is, but an anchor that has ended may be looked at first.
    Doubtful,
    IssuerNotTrusted,
    Accepted,
    Failed,
    Unknown,
    /// Let in whatever it presents.
    NotAsked,
}

impl<'a> ClientRow<'a> {
    /// What is refused first comes first.
    pub(super) fn all(assessment: &'a Assessment, now: f64, thresholds: Thresholds) -> Vec<Self> {
        let judged = assessment.iter().map(|it| Self::new(assessment, it, now, thresholds));
        let failed = assessment.clients().iter().flat_map(|client| {
            client.failed.iter().map(|failed| Self::failed(&client.name, failed))
        });
        let mut rows: Vec<_> = judged.chain(failed).collect();
        rows.sort_by_key(|row| {
            let end = row.refused_from.unwrap_or(UnixSeconds::MAX);
            (Reverse(row.severity), row.state, end)
        });
        rows
    }

    fn new(
        assessment: &'a Assessment,
        Judgement { client, file, project, acceptance }: Judgement<'a>,
        now: f64,
        thresholds: Thresholds,
    ) -> Self {
        let verdict = acceptance.at(whole_second(now));
        let (state, severity) = judge(file, &verdict, now, thresholds);
        let Verdict { refused_from, refusal, hangs_on, .. } = verdict;
        let is_issuer = file.kind == FileKind::Issuer;
        let names = hangs_on.iter().flat_map(HangsOn::names);
        let anchor = hangs_on
            .and_then(|hangs_on| assessment.certificate(hangs_on.certificate_id()))
            .map(Link::certificate);
        Self {
            project,
            label: match state {
                ClientState::Refused => "Refused",
                ClientState::Doubtful => "May be refused",
                ClientState::IssuerNotTrusted => "Not trusted",
                ClientState::Accepted if severity > Severity::Ok => "Refused soon",
                ClientState::Accepted if is_issuer => "Trusted",
                ClientState::Accepted => "Accepted",
                ClientState::Failed => "Not readable",
                ClientState::Unknown => "Not known",
                ClientState::NotAsked => "Not enforced",
            },
            severity,
            client: sanitize(&client.name),
            file: file.path.to_string(),
            is_issuer,
            scope: project.map_or(Some("Organization".into()), |project| {
                display_name(project.name.as_deref())
            }),
            scope_id: project.map(|project| sanitize(&project.id)),
            end: refused_from.map(format_timestamp),
            relative_end: refused_from.map(|end| relative(Some(end), now)),
            reason: refusal.map(|refusal| reason(refusal).into()),
            // The leaf of an issuer does not exist.
            path: names.skip(usize::from(is_issuer)).map(sanitize).collect(),
            anchor,
            refusal,
            refused_from,
            state,
        }
    }

    fn failed(client: &str, FailedFile { path, message }: &FailedFile) -> Self {
        Self {
            project: None,
            label: "Not readable",
            severity: Severity::Warning,
            client: sanitize(client),
            file: path.to_string(),
            is_issuer: false,
            scope: None,
            scope_id: None,
            end: None,
            relative_end: None,
            reason: Some(format!("the file {message}")),
            path: Vec::new(),
            anchor: None,
            refusal: None,
            refused_from: None,
            state: ClientState::Failed,
        }
    }

    /// The client with its scope, within a sentence.
    fn in_words(&self) -> String {
        format!("client {} at {}", self.client, self.place())
    }

    fn place(&self) -> String {
        match self.project {
            None => Link::organization("the organization").mark(),
            Some(project) => format!("project {}", Link::project(project).mark()),
        }
    }

    fn anchor_name(&self) -> String {
        self.anchor.as_ref().map_or_else(|| "an anchor".into(), Link::mark)
    }
}

fn judge(
    file: &ClientFile,
    verdict: &Verdict<'_>,
    now: f64,
    thresholds: Thresholds,
) -> (ClientState, Severity) {
    let is_issuer = file.kind == FileKind::Issuer;
    match *verdict {
        // A certificate is not even asked for.
        Verdict { accepted: Some(true), refusal: None, hangs_on: None, .. } => {
            (ClientState::NotAsked, Severity::Off)
        }
        Verdict { accepted: Some(true), refused_from: Some(end), .. } if !is_issuer => {
            (ClientState::Accepted, of_lifetime(thresholds, file.chain.valid()).judge(end, now))
        }
        Verdict { accepted: Some(true), .. } => (ClientState::Accepted, Severity::Ok),
        Verdict { accepted: Some(false), .. } if is_issuer => {
            (ClientState::IssuerNotTrusted, Severity::Critical)
        }
        Verdict { accepted: Some(false), .. } => (ClientState::Refused, Severity::Critical),
        Verdict { accepted: None, refused_from: Some(_), .. } => {
            (ClientState::Doubtful, Severity::Critical)
        }
        Verdict { accepted: None, refused_from: None, .. } => {
            (ClientState::Unknown, Severity::Warning)
        }
    }
}

/// As the alert has it: less where a certificate is made for a short time.
fn of_lifetime(thresholds: Thresholds, valid: Span) -> Thresholds {
    let lifetime = valid.end as f64 - valid.begin as f64;
    Thresholds {
        warning: thresholds.warning.min(lifetime / 3.0),
        critical: thresholds.critical.min(lifetime / 10.0),
    }
}

/// The worst of the clients, and whether anything of them is not known.
pub(super) fn worst(assessment: &Assessment, now: f64, thresholds: Thresholds) -> (Severity, bool) {
    let any_failed = assessment.clients().iter().any(|client| !client.failed.is_empty());
    let judged = assessment.iter().map(|Judgement { file, acceptance, .. }| {
        judge(file, &acceptance.at(whole_second(now)), now, thresholds)
    });
    judged.fold(
        (Severity::Off, any_failed),
        |(worst, is_incomplete), (state, severity)| match state {
            ClientState::Unknown => (worst, true),
            _ => (worst.max(severity), is_incomplete),
        },
    )
}

/// What somebody has to act on, as clauses of a sentence, each with its severity. Rows come sorted.
pub(super) fn clauses(rows: &[ClientRow<'_>], now: f64) -> Vec<(Severity, String)> {
    let to_act_on: Vec<_> = rows.iter().filter(|row| row.severity >= Severity::Warning).collect();
    let alike = to_act_on.chunk_by(|a, b| (a.severity, a.state) == (b.severity, b.state));
    alike.map(|alike| (alike[0].severity, clause(alike, now))).collect()
}

/// Rows of one state: one by name, otherwise how many.
fn clause(alike: &[&ClientRow<'_>], now: f64) -> String {
    let (row, count) = (alike[0], alike.len());
    let one = count == 1;
    let reason = row.reason.as_deref().unwrap_or_default();
    let from = row.refused_from.map(|at| format_date(at, now)).unwrap_or_default();
    match row.state {
        ClientState::Refused if one => format!("{} is refused: {reason}", row.in_words()),
        ClientState::Refused => format!("{count} client certificates are refused"),
        ClientState::Doubtful if one => {
            format!("{} may be refused since {from}: {reason}", row.in_words())
        }
        ClientState::Doubtful => format!("{count} client certificates may be refused"),
        ClientState::IssuerNotTrusted if one => {
            format!("what the issuer of {} signs now would be refused: {reason}", row.in_words())
        }
        ClientState::IssuerNotTrusted => {
            format!("what {count} issuers of clients sign now would be refused")
        }
        ClientState::Accepted if one => {
            format!("{} will be refused from {from}: {reason}", row.in_words())
        }
        ClientState::Accepted => {
            format!("{count} client certificates will be refused, the first from {from}")
        }
        ClientState::Failed if one => {
            format!("a file of client {} cannot be used: {} {reason}", row.client, row.file)
        }
        ClientState::Failed => format!("{count} files of clients cannot be used"),
        ClientState::Unknown | ClientState::NotAsked if one => {
            format!("whether {} is let in is not known", row.in_words())
        }
        ClientState::Unknown | ClientState::NotAsked => {
            format!("whether {count} client certificates are let in is not known")
        }
    }
}

/// What to do about the first row, if it is as bad as `severity`. Rows come sorted.
pub(super) fn next_step(
    rows: &[ClientRow<'_>],
    severity: Severity,
    now: f64,
) -> Option<(String, &'static str)> {
    let row = rows.first().filter(|row| row.severity >= severity)?;
    let alert = match row.state {
        ClientState::Refused => "OpenAIClientCertificateRefused",
        ClientState::Doubtful | ClientState::Accepted => "OpenAIClientCertificateRefusedSoon",
        ClientState::IssuerNotTrusted => "OpenAIClientIssuerNotTrusted",
        ClientState::Failed => {
            let text = format!("correct {}, or the files of client {}", row.file, row.client);
            return Some((text, "OpenAIClientFilesFailed"));
        }
        ClientState::Unknown | ClientState::NotAsked => return None,
    };
    let (client, place, anchor) = (&row.client, row.place(), row.anchor_name());
    let by = row.refused_from.filter(|at| *at as f64 > now);
    let by = by.map_or_else(String::new, |at| format!(" before {}", format_date(at, now)));
    let text = match row.refusal? {
        Refusal::UnknownIssuer if row.is_issuer => {
            format!(
                "upload the CA certificate in {} and activate it at {place}, before client {client} renews",
                row.file
            )
        }
        Refusal::AnchorInactive => format!("activate {anchor}, which is uploaded, at {place}"),
        Refusal::AnchorExpired => {
            format!("move client {client} to an anchor that stays valid{by}: {anchor} does not")
        }
        Refusal::Expired => format!("renew the certificate of client {client}{by}"),
        Refusal::NotYetValid => {
            format!("give client {client} a certificate that is valid already")
        }
        Refusal::Usage => format!(
            "have the certificate of client {client} issued for client authentication (clientAuth)"
        ),
        Refusal::AuthorityKeyIdentifier => format!(
            "have the certificate of client {client} issued with an Authority Key Identifier"
        ),
        Refusal::Chain => {
            format!("let client {client} present every intermediate, each of them valid{by}")
        }
        Refusal::UnknownIssuer => format!(
            "upload the CA certificate that issues for client {client} and activate it at {place}"
        ),
    };
    Some((text, alert))
}

/// What stands after "refused:".
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::AuthorityKeyIdentifier => "its certificate has no Authority Key Identifier",
        Refusal::Expired => "its certificate has ended",
        Refusal::NotYetValid => "its certificate is not yet valid",
        Refusal::Usage => "its certificate is not made for client authentication",
        Refusal::Chain => "an intermediate is missing, expired or not a CA",
        Refusal::AnchorExpired => "its anchor is not valid",
        Refusal::AnchorInactive => "its anchor is not active here",
        Refusal::UnknownIssuer => "no uploaded anchor has issued it",
    }
}
