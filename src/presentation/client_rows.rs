//! Clients as rows, in whatever layout they are shown.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::links::Link;
use super::sanitize::{display_name, escaped, sanitize};
use super::text::{format_timestamp, relative};
use crate::clients::{
    Assessment, ClientFile, FailedFile, FileKind, Judgement, Refusal, Span, TrustPath, Verdict,
};
use crate::inventory::{Certificate, Project, Severity, Thresholds, UnixSeconds, whole_second};

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
    pub(super) anchor_begins_later: bool,
    pub(super) anchor_has_expired: bool,
    /// The anchor that, once it has ended, may be looked at before a valid one of its name and key.
    pub(super) hidden_by: Option<Link>,
    /// The anchor without whose certificate it is not known whether it is let in.
    pub(super) unread: Option<Link>,
    /// When it is let in for certain.
    pub spans: &'a [(UnixSeconds, UnixSeconds)],
    pub(super) refusal: Option<Refusal>,
    pub refused_from: Option<UnixSeconds>,
    pub(super) state: ClientState,
}

/// In the order in which rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientState {
    Refused,
    /// Nobody knows whether it is, but an anchor that has ended may be looked at first.
    Doubtful,
    IssuerNotTrusted,
    Accepted,
    Failed,
    /// It is in no scope.
    Unscoped,
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
        let any_project = assessment.any_project();
        let unscoped =
            assessment.unscoped().map(|client| Self::unscoped(&client.name, any_project));
        let mut rows: Vec<_> = judged.chain(failed).chain(unscoped).collect();
        rows.sort_by_key(|row| {
            let end = row.refused_from.unwrap_or(UnixSeconds::MAX);
            (Reverse(row.severity), row.state, end)
        });
        rows
    }

    fn new(
        assessment: &'a Assessment,
        Judgement { client, file, project, acceptance, unread }: Judgement<'a>,
        now: f64,
        thresholds: Thresholds,
    ) -> Self {
        let verdict = acceptance.at(whole_second(now));
        let (state, severity) = judge(file, &verdict, now, thresholds);
        let Verdict { refused_from, refusal, trust_path, hidden_by, at_the_latest, .. } = verdict;
        let is_issuer = file.kind == FileKind::Issuer;
        // The leaf of an issuer does not exist: it has no end.
        let at_the_latest = at_the_latest.filter(|_| !is_issuer);
        let refused_from = refused_from.or(at_the_latest.map(|(at, _)| at));
        let refusal = refusal.or(at_the_latest.map(|(_, refusal)| refusal));
        let unread = unread.and_then(|id| assessment.certificate(id)).map(Link::certificate);
        let is_unknown = state == ClientState::Unknown;
        let is_to_come = state == ClientState::Accepted || is_unknown && at_the_latest.is_some();
        let reason = refusal.map(|refusal| reason(refusal, is_to_come));
        let doubt = (is_unknown && (is_to_come || reason.is_none()))
            .then(|| doubt(reason, unread.as_ref().map(|anchor| &*anchor.name)));
        let hidden_by = hidden_by.and_then(|id| assessment.certificate(id));
        let begins_later = |listed: &Certificate| listed.valid_at.is_some_and(|at| at as f64 > now);
        let has_expired =
            |listed: &Certificate| listed.expires_at.is_some_and(|at| at as f64 <= now);
        let names = trust_path.iter().flat_map(TrustPath::names);
        let mut path: Vec<_> = names.skip(usize::from(is_issuer)).map(sanitize).collect();
        path.pop();
        let anchor =
            trust_path.and_then(|trust_path| assessment.certificate(trust_path.certificate_id()));
        Self {
            project,
            label: label(state, severity, is_issuer),
            severity,
            client: sanitize(&client.name),
            file: escaped(&file.path),
            is_issuer,
            scope: project.map_or(Some("Organization".into()), |project| {
                display_name(project.name.as_deref())
            }),
            scope_id: project.map(|project| sanitize(&project.id)),
            end: refused_from.map(format_timestamp),
            relative_end: refused_from.map(|end| relative(Some(end), now)),
            reason: doubt.or(reason.map(str::to_owned)),
            path,
            anchor_begins_later: anchor.is_some_and(begins_later),
            anchor_has_expired: anchor.is_some_and(has_expired),
            anchor: anchor.map(Link::certificate),
            hidden_by: hidden_by.map(Link::certificate),
            unread: unread.filter(|_| is_unknown),
            spans: acceptance.spans(),
            refusal,
            refused_from,
            state,
        }
    }

    fn failed(client: &str, FailedFile { path, message }: &FailedFile) -> Self {
        let reason = format!("the file {message}");
        Self::without_verdict(client, escaped(path), reason, ClientState::Failed)
    }

    fn unscoped(client: &str, any_project: bool) -> Self {
        let (reason, state) = if any_project {
            ("no project that is monitored matches its patterns", ClientState::Unscoped)
        } else {
            ("the projects are not known", ClientState::Unknown)
        };
        Self::without_verdict(client, String::new(), reason.into(), state)
    }

    fn without_verdict(client: &str, file: String, reason: String, state: ClientState) -> Self {
        Self {
            project: None,
            label: label(state, Severity::Warning, false),
            severity: Severity::Warning,
            client: sanitize(client),
            file,
            is_issuer: false,
            scope: None,
            scope_id: None,
            end: None,
            relative_end: None,
            reason: Some(reason),
            path: Vec::new(),
            anchor_begins_later: false,
            anchor_has_expired: false,
            anchor: None,
            hidden_by: None,
            unread: None,
            spans: &[],
            refusal: None,
            refused_from: None,
            state,
        }
    }

    /// The HTML identifier of its row. Names and paths are too free to be one.
    pub(crate) fn anchor(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.client, &self.file, self.is_issuer, &self.scope_id).hash(&mut hasher);
        format!("client_{:016x}", hasher.finish())
    }

    pub(super) fn link(&self) -> Link {
        Link { anchor: self.anchor(), name: self.client.clone() }
    }

    /// Whether it is refused, or may be; of an issuer: whether what it signs now would be.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(
            self.state,
            ClientState::Refused | ClientState::Doubtful | ClientState::IssuerNotTrusted
        )
    }

    /// Whether it is refused only until this anchor is activated at a project or, if there is none, at the organization.
    pub(super) fn waits_for(&self, anchor: &Link, at: Option<&Project>) -> bool {
        let is_reached = at.is_none_or(|at| self.project.is_some_and(|own| own.id == at.id));
        let is_inactive = self.refusal == Some(Refusal::AnchorInactive) && !self.anchor_has_expired;
        self.is_refused() && is_inactive && is_reached && self.anchor.as_ref() == Some(anchor)
    }

    /// Whether it is known if it is let in.
    pub(crate) fn is_known(&self) -> bool {
        use ClientState::{Failed, Unknown, Unscoped};
        !matches!(self.state, Failed | Unscoped | Unknown)
    }

    /// None of a file that cannot be used.
    pub(crate) fn scope_link(&self) -> Option<Link> {
        let link = |project| Link::project(project);
        let of_organization = || Link::organization("Organization");
        self.has_verdict().then(|| self.project.map_or_else(of_organization, link))
    }

    pub(crate) fn kind_of_scope(&self) -> Option<&'static str> {
        let kind = if self.project.is_some() { "project" } else { "organization" };
        self.has_verdict().then_some(kind)
    }

    fn has_verdict(&self) -> bool {
        self.scope.is_some() || self.scope_id.is_some()
    }

    pub(super) fn place(&self) -> String {
        match self.project {
            None => Link::organization("the organization").mark(),
            Some(project) => format!("project {}", Link::project(project).mark()),
        }
    }

    pub(super) fn anchor_name(&self) -> String {
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
        Verdict { accepted: Some(true), refusal: None, trust_path: None, .. } => {
            (ClientState::NotAsked, Severity::Off)
        }
        Verdict { accepted: Some(true), refused_from: Some(end), .. } if !is_issuer => {
            (ClientState::Accepted, of_lifetime(thresholds, file.chain.valid()).judge(end, now))
        }
        Verdict { at_the_latest: Some((at, _)), .. } if at as f64 <= now => {
            (ClientState::Refused, Severity::Critical)
        }
        Verdict { accepted: Some(true), at_the_latest: Some((end, _)), .. } if !is_issuer => {
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

fn label(state: ClientState, severity: Severity, is_issuer: bool) -> &'static str {
    match state {
        ClientState::Refused => "Refused",
        ClientState::Doubtful => "May be refused",
        ClientState::IssuerNotTrusted => "Not trusted",
        ClientState::Accepted if severity > Severity::Ok => "Refused soon",
        ClientState::Accepted if is_issuer => "Trusted",
        ClientState::Accepted => "Accepted",
        ClientState::Failed => "Not readable",
        ClientState::Unscoped => "Judged nowhere",
        ClientState::Unknown => "Not known",
        ClientState::NotAsked => "Not enforced",
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
    let any_failed = assessment.clients().iter().any(|client| !client.failed.is_empty())
        || assessment.unscoped().next().is_some();
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

/// Of what is not known: `end` is why it is refused from some instant on, `unread` the anchor that would tell.
fn doubt(end: Option<&str>, unread: Option<&str>) -> String {
    let since = unread.map(no_readable_pem).unwrap_or_default();
    match end {
        Some(end) => format!("{end}; whether it is let in until then is not known{since}"),
        None => format!("whether it is let in is not known{since}"),
    }
}

pub(super) fn no_readable_pem(anchor: &str) -> String {
    format!(", since there is no readable PEM of {anchor}")
}

/// What stands after "refused:".
fn reason(refusal: Refusal, is_to_come: bool) -> &'static str {
    match refusal {
        Refusal::AuthorityKeyIdentifier => "its certificate has no Authority Key Identifier",
        Refusal::Expired if is_to_come => "its certificate expires",
        Refusal::Expired => "its certificate has expired",
        Refusal::NotYetValid => "its certificate is not yet valid",
        Refusal::Usage => "its certificate is not made for client authentication",
        Refusal::Chain if is_to_come => "an intermediate expires",
        Refusal::Chain => {
            "its path to the anchor is broken: an intermediate is missing, not valid or not allowed"
        }
        Refusal::AnchorExpired if is_to_come => "an anchor expires",
        Refusal::AnchorExpired => "its anchor is not valid",
        Refusal::AnchorInactive => "its anchor is not active here",
        Refusal::UnknownIssuer => "no uploaded anchor has issued it",
    }
}
