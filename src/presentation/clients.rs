//! Clients as rows, in clauses, and what to do about them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::links::Link;
use super::rows::CertificateRow;
use super::sanitize::{display_name, sanitize};
use super::text::{format_date, format_timestamp, relative};
use crate::clients::{
    Assessment, ClientFile, FailedFile, FileKind, HangsOn, Judgement, Problem, Refusal, Span,
    Verdict,
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
    /// The names from its certificate to the anchor's, which is not among them.
    pub path: Vec<String>,
    /// That anchor.
    pub anchor: Option<Link>,
    /// When it is let in for certain.
    pub spans: &'a [(UnixSeconds, UnixSeconds)],
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
        // The leaf of an issuer does not exist.
        let mut path: Vec<_> = names.skip(usize::from(is_issuer)).map(sanitize).collect();
        path.pop();
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
            reason: refusal.map(|refusal| reason(refusal, state).into()),
            path,
            anchor,
            spans: acceptance.spans(),
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
            spans: &[],
            refusal: None,
            refused_from: None,
            state: ClientState::Failed,
        }
    }

    /// The HTML identifier of its row. Names and paths are too free to be one.
    pub(crate) fn anchor(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.client, &self.file, self.is_issuer, &self.scope_id).hash(&mut hasher);
        format!("client_{:016x}", hasher.finish())
    }

    /// None of a file that cannot be used.
    pub(crate) fn scope_link(&self) -> Option<Link> {
        let link = |project| Link::project(project);
        let of_organization = || Link::organization("Organization");
        (self.state != ClientState::Failed).then(|| self.project.map_or_else(of_organization, link))
    }

    pub(crate) fn kind_of_scope(&self) -> Option<&'static str> {
        let kind = if self.project.is_some() { "project" } else { "organization" };
        (self.state != ClientState::Failed).then_some(kind)
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

/// Tells of each certificate how many clients depend on it, and what is odd about its PEM.
pub(super) fn annotate(rows: &mut [CertificateRow<'_>], assessment: &Assessment, now: f64) {
    let dependent = assessment.dependent_clients(whole_second(now)).into_iter();
    let counts: HashMap<_, _> = dependent.map(|(it, count)| (&*it.id, count)).collect();
    let problems: HashMap<_, _> =
        assessment.problems().map(|(it, problems)| (&*it.id, problems)).collect();
    for row in rows {
        let certificate = &row.used.certificate;
        match counts.get(&*certificate.id) {
            None | Some(0) => {}
            Some(1) => row.add_note("1 client depends on it"),
            Some(count) => row.add_note(&format!("{count} clients depend on it")),
        }
        if certificate.expires_at_from_pem {
            row.add_note("its end is that of its PEM, since the API gives none");
        }
        for problem in problems.get(&*certificate.id).copied().flatten().unwrap_or_default() {
            row.add_note(odd(*problem));
        }
    }
}

/// Advice: none of it decides who is let in.
fn odd(problem: Problem) -> &'static str {
    match problem {
        Problem::DatesDiffer => "its PEM has other dates than the API",
        Problem::NoKeyCertSign => "its key usage is not for signing certificates",
        Problem::NoSubjectKeyIdentifier => "it has no Subject Key Identifier",
        Problem::NotACa => "it is not a CA certificate",
        Problem::SameKey => "another active certificate has the same key",
        Problem::SeveralCertificates => {
            "its PEM has several certificates, of which the first counts"
        }
        Problem::Unreadable => "its PEM cannot be read",
    }
}

/// What somebody has to act on, as clauses of a sentence, each with its severity. Rows come sorted.
pub(super) fn clauses(rows: &[ClientRow<'_>], now: f64) -> Vec<(Severity, String)> {
    let to_act_on: Vec<_> = rows.iter().filter(|row| row.severity >= Severity::Warning).collect();
    let alike = to_act_on.chunk_by(|a, b| (a.severity, a.state) == (b.severity, b.state));
    alike.map(|alike| (alike[0].severity, clause(alike, now))).collect()
}

/// Rows of one state: one by name, otherwise how many. The rest is in the rows.
fn clause(alike: &[&ClientRow<'_>], now: f64) -> String {
    let (row, count) = (alike[0], alike.len());
    let (one, many) = match row.state {
        ClientState::Refused => (
            format!("is refused at {}: {}", row.place(), row.reason.as_deref().unwrap_or_default()),
            "client certificates are refused".into(),
        ),
        ClientState::Doubtful => {
            ("may be refused".into(), "client certificates may be refused".into())
        }
        ClientState::IssuerNotTrusted => (
            "has an issuer that is not trusted".into(),
            "issuers of clients are not trusted".into(),
        ),
        ClientState::Accepted => {
            let from = row.refused_from.map(|at| format_date(at, now)).unwrap_or_default();
            (
                format!("will be refused from {from}"),
                format!("client certificates will be refused, the first from {from}"),
            )
        }
        ClientState::Failed => {
            ("has a file that cannot be used".into(), "files of clients cannot be used".into())
        }
        ClientState::Unknown | ClientState::NotAsked => (
            "is not known to be let in".into(),
            "client certificates are not known to be let in".into(),
        ),
    };
    if count == 1 { format!("client {} {one}", row.client) } else { format!("{count} {many}") }
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
fn reason(refusal: Refusal, state: ClientState) -> &'static str {
    let is_to_come = state == ClientState::Accepted;
    match refusal {
        Refusal::AuthorityKeyIdentifier => "its certificate has no Authority Key Identifier",
        Refusal::Expired if is_to_come => "its certificate expires",
        Refusal::Expired => "its certificate has expired",
        Refusal::NotYetValid => "its certificate is not yet valid",
        Refusal::Usage => "its certificate is not made for client authentication",
        Refusal::Chain if is_to_come => "an intermediate expires",
        Refusal::Chain => "an intermediate is missing, not valid or not a CA",
        Refusal::AnchorExpired if is_to_come => "its anchor expires",
        Refusal::AnchorExpired => "its anchor is not valid",
        Refusal::AnchorInactive => "its anchor is not active here",
        Refusal::UnknownIssuer => "no uploaded anchor has issued it",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use regex::Regex;

    use super::super::{Status, Summary};
    use super::*;
    use crate::clients::{AnchorContent, Chain, Client, Contents, Signatures};
    use crate::fixture::{DAY, NOW, authority, certificate, snapshot};
    use crate::inventory::Certificate;
    use crate::poll_state::{PollResult, PollState, PollTiming};

    fn file(path: &str, kind: FileKind, pem: &str) -> ClientFile {
        let chain = match kind {
            FileKind::Certificate => Chain::from_pem(pem.as_bytes()),
            FileKind::Issuer => Chain::of_issuer_pem(pem.as_bytes()),
        };
        ClientFile { path: path.into(), kind, chain: Arc::new(chain.unwrap()) }
    }

    fn client(name: &str, projects: Option<&str>, files: Vec<ClientFile>) -> Client {
        let projects = projects.map(|pattern| vec![Regex::new(pattern).unwrap()]);
        Client { name: name.into(), projects, files, failed: Vec::new() }
    }

    /// After a poll that has read these lists and PEMs.
    fn state(read: &[Vec<Certificate>], pems: &[(&str, &str)], clients: Vec<Client>) -> PollState {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let mut state = PollState::new(Instant::now(), timing);
        let failed = Vec::new();
        let result = PollResult { ended_at: NOW as f64, duration: Duration::ZERO, failed };
        state.record(Some(snapshot(read)), result);
        state.projects = read.len() > 1;
        let content =
            |(id, pem): &(&str, &str)| ((*id).into(), Arc::new(AnchorContent::from_pem(pem)));
        let contents: Arc<Contents> = Arc::new(pems.iter().map(content).collect());
        let inventory = state.snapshot.as_ref().map(|snapshot| &snapshot.inventory);
        let signatures = Signatures::default();
        let assessment =
            Assessment::new_or_unchanged(None, clients, &contents, inventory, &signatures);
        state.clients = Some(assessment);
        state
    }

    fn said(state: &PollState, days: i64) -> (Status, String, Option<String>) {
        let now = (NOW + days * DAY) as f64;
        let mut state = state.clone();
        state.snapshot = state.snapshot.map(|snapshot| {
            Arc::new(crate::inventory::Snapshot::clone(&snapshot).assumed_read_at(now))
        });
        let summary = Summary::new(&state, now, Thresholds::default());
        let next = summary
            .next_step
            .as_ref()
            .map(|next| format!("{} ({})", next.text, next.runbook.unwrap_or_default()));
        (summary.status, summary.message(), next)
    }

    #[test]
    fn clients_are_said_with_the_rest() {
        let ((root, issue), (other, issue_otherwise)) = (authority("root"), authority("other"));
        let active = |days| certificate("root").dated(None, Some(NOW + days * DAY));
        let leaf = |days| file("/leaf", FileKind::Certificate, &issue(days));
        let stranger = file("/leaf", FileKind::Certificate, &issue_otherwise(400));
        let rekeyed = file("/ca", FileKind::Issuer, &other);
        let edge = |files| vec![client("edge", None, files)];
        let failed = FailedFile { path: "/x".into(), message: "is empty".into() };
        let failing = Client { failed: vec![failed], ..client("edge", None, vec![]) };
        let healthy = "The organization is covered until 23 February 2028, when root expires.";
        let off = "Projects are not monitored (set poll.projects = true to include them).";
        let nothing = format!("{healthy} {off}");
        for (why, clients, root, status, message, next) in [
            (
                "fine",
                edge(vec![leaf(300)]),
                Some(&root),
                Status::Ok,
                format!("{healthy} Nothing is due before then. {off}"),
                None,
            ),
            (
                "soon",
                edge(vec![leaf(20)]),
                Some(&root),
                Status::Warning,
                format!("Client edge will be refused from 4 February 2027. {nothing}"),
                Some(
                    "renew the certificate of client edge before 4 February 2027 (OpenAIClientCertificateRefusedSoon)",
                ),
            ),
            (
                "unknown issuer",
                edge(vec![stranger.clone()]),
                Some(&root),
                Status::Critical,
                format!(
                    "Client edge is refused at the organization: no uploaded anchor has issued it. {nothing}"
                ),
                Some(
                    "upload the CA certificate that issues for client edge and activate it at the organization (OpenAIClientCertificateRefused)",
                ),
            ),
            (
                "re-keyed issuer",
                edge(vec![leaf(300), rekeyed]),
                Some(&root),
                Status::Critical,
                format!("Client edge has an issuer that is not trusted. {nothing}"),
                Some(
                    "upload the CA certificate in /ca and activate it at the organization, before client edge renews (OpenAIClientIssuerNotTrusted)",
                ),
            ),
            (
                "a file that cannot be used",
                vec![failing],
                Some(&root),
                Status::Warning,
                format!("Client edge has a file that cannot be used. {nothing}"),
                Some("correct /x, or the files of client edge (OpenAIClientFilesFailed)"),
            ),
            (
                "an anchor that was not read",
                edge(vec![leaf(300)]),
                None,
                Status::Warning,
                format!("Client edge is not known to be let in. {nothing}"),
                None,
            ),
        ] {
            let pems: Vec<_> = root.into_iter().map(|pem| ("root", &**pem)).collect();
            let state = state(&[vec![active(404)]], &pems, clients);
            let expected = (status, message, next.map(str::to_owned));
            assert_eq!(said(&state, 0), expected, "{why}");
        }
        let files = edge(vec![leaf(300), stranger]);
        let ending = state(&[vec![active(40)]], &[("root", &root)], files);
        let (status, message, next) = said(&ending, 41);
        assert_eq!(status, Status::Critical);
        assert!(message.starts_with("Requests of the organization are refused: "), "{message}");
        assert!(message.contains("; 2 client certificates are refused"), "{message}");
        assert!(next.unwrap().starts_with("upload a new certificate"));
    }

    #[test]
    fn a_certificate_tells_who_depends_on_it_and_what_is_odd() {
        let ((root, issue), (other, _)) = (authority("root"), authority("other"));
        let leaf = file("/leaf", FileKind::Certificate, &issue(300));
        let clients = vec![client("edge", Some("proj_[01]"), vec![leaf])];
        let read =
            [vec![certificate("root"), certificate("other")], vec![certificate("other")], vec![]];
        let pems = [("root", &*[&*root, &root].concat()), ("other", &*other)];
        let state = state(&read, &pems, clients);
        let mut rows = CertificateRow::all(
            &state.snapshot.as_ref().unwrap().inventory,
            NOW as f64,
            Thresholds::default(),
        );
        annotate(&mut rows, state.clients.as_deref().unwrap(), NOW as f64);
        let root = rows.iter().find(|row| row.id == "root").unwrap();
        let note = root.note.as_deref().unwrap();
        assert_eq!(
            note,
            "2 clients depend on it; its key usage is not for signing certificates; its PEM has several certificates, of which the first counts"
        );
    }
}
