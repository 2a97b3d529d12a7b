//! Clients as rows, in clauses, and what to do about them.

use std::cmp::Reverse;

use super::next_step::NextStep;
use super::sanitize::{display_name, name_or_id, sanitize};
use super::text::{format_date, format_timestamp, relative};
use crate::clients::{Assessment, FailedFile, FileKind, HangsOn, Judgement, Refusal, Verdict};
use crate::inventory::{Severity, Thresholds, UnixSeconds, whole_second};

/// A file of a client in one of its scopes, or one that cannot be used.
#[derive(Debug)]
pub(crate) struct ClientRow {
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
    /// That anchor: its identifier and its name.
    pub anchor: Option<(String, String)>,
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

impl ClientRow {
    /// What is refused first comes first.
    pub(super) fn all(assessment: &Assessment, now: f64, thresholds: Thresholds) -> Vec<Self> {
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
        assessment: &Assessment,
        Judgement { client, file, project, acceptance }: Judgement<'_>,
        now: f64,
        thresholds: Thresholds,
    ) -> Self {
        let Verdict { accepted, refused_from, refusal, hangs_on } =
            acceptance.at(whole_second(now));
        let is_issuer = file.kind == FileKind::Issuer;
        let state = match (accepted, refused_from, refusal) {
            (Some(true), _, None) => ClientState::NotAsked,
            (Some(true), ..) => ClientState::Accepted,
            (Some(false), ..) if is_issuer => ClientState::IssuerNotTrusted,
            (Some(false), ..) => ClientState::Refused,
            (None, Some(_), _) => ClientState::Doubtful,
            (None, None, _) => ClientState::Unknown,
        };
        let thresholds = of_lifetime(thresholds, file.chain.valid());
        let severity = severity(state, is_issuer, refused_from, now, thresholds);
        let names = hangs_on.iter().flat_map(HangsOn::names);
        let anchor = hangs_on.map(|hangs_on| {
            let id = hangs_on.certificate_id();
            let name = assessment.certificate(id).and_then(|listed| listed.name.as_deref());
            (sanitize(id), name_or_id(name, id))
        });
        Self {
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

    fn place(&self) -> String {
        match &self.scope_id {
            None => "the organization".into(),
            Some(id) => format!("project {}", self.scope.as_ref().unwrap_or(id)),
        }
    }

    fn anchor_name(&self) -> &str {
        self.anchor.as_ref().map_or("an anchor", |(_, name)| name)
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

fn severity(
    state: ClientState,
    is_issuer: bool,
    refused_from: Option<UnixSeconds>,
    now: f64,
    thresholds: Thresholds,
) -> Severity {
    match (state, refused_from) {
        (ClientState::Refused | ClientState::Doubtful | ClientState::IssuerNotTrusted, _) => {
            Severity::Critical
        }
        (ClientState::Accepted, Some(end)) if !is_issuer => thresholds.judge(end, now),
        (ClientState::Accepted, _) => Severity::Ok,
        (ClientState::Failed | ClientState::Unknown, _) => Severity::Warning,
        (ClientState::NotAsked, _) => Severity::Off,
    }
}

/// The worst of the clients, and whether anything of them is not known, without a row of them.
pub(super) fn worst(assessment: &Assessment, now: f64, thresholds: Thresholds) -> (Severity, bool) {
    let (mut worst, mut is_incomplete) = (Severity::Off, false);
    for row in ClientRow::all(assessment, now, thresholds) {
        if matches!(row.state, ClientState::Failed | ClientState::Unknown) {
            is_incomplete = true;
        } else {
            worst = worst.max(row.severity);
        }
    }
    (worst, is_incomplete)
}

/// What stands after "refused:".
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::AuthorityKeyIdentifier => "its certificate has no Authority Key Identifier",
        Refusal::Expired => "its certificate expires",
        Refusal::NotYetValid => "its certificate is not yet valid",
        Refusal::Usage => "its certificate is not for client authentication",
        Refusal::Chain => "its chain breaks: an intermediate is missing, expired or not a CA",
        Refusal::AnchorExpired => "the anchor that it hangs on is not valid",
        Refusal::AnchorInactive => "the anchor that it hangs on is not active in this scope",
        Refusal::UnknownIssuer => "no uploaded anchor has issued its certificate",
    }
}
