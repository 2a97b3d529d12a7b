//! What is said of clients: in clauses of a sentence, at the certificates that they depend on, and what to do.

use std::collections::HashMap;

use super::client_rows::{ClientRow, ClientState, no_readable_pem};
use super::harms::{Clause, Subject, Urgency};
use super::links::Link;
use super::rows::CertificateRow;
use super::text::{format_date, relative};
use crate::clients::{Assessment, Problem, Refusal};
use crate::inventory::{SECONDS_PER_DAY, Severity, UnixSeconds};

/// Tells of each certificate what is odd about its PEM.
pub(super) fn annotate(rows: &mut [CertificateRow<'_>], assessment: &Assessment) {
    let problems: HashMap<_, _> =
        assessment.problems().map(|(it, problems)| (&*it.id, problems)).collect();
    for row in rows {
        let certificate = &row.used.certificate;
        if certificate.expires_at_from_pem {
            row.add_note("its expiry is taken from its PEM, since the API gives none");
        }
        for problem in problems.get(&*certificate.id).copied().flatten().unwrap_or_default() {
            row.add_note(odd(*problem));
            row.is_unusable |=
                matches!(problem, Problem::NotACa | Problem::NoKeyCertSign | Problem::Unreadable);
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
            "its PEM has several certificates, and only the first counts"
        }
        Problem::Unreadable => "its PEM cannot be read",
    }
}

/// What somebody has to act on. Rows come sorted.
pub(super) fn clauses(rows: &[ClientRow<'_>], now: f64) -> Vec<Clause> {
    let to_act_on: Vec<_> = rows.iter().filter(|row| row.severity >= Severity::Warning).collect();
    let alike = to_act_on.chunk_by(|a, b| a.state == b.state);
    let clause = |alike: &[&ClientRow<'_>]| Clause {
        subject: Subject::Clients,
        severity: alike[0].severity,
        urgency: match (alike[0].state, first(alike).refused_from) {
            (ClientState::Refused, _) => Urgency::ClientRefused,
            (ClientState::Accepted, Some(at)) => Urgency::At(at),
            _ => Urgency::Undated,
        },
        last: UnixSeconds::MAX,
        begins_with_name: false,
        text: text(alike, now),
    };
    alike.map(clause).collect()
}

/// What is refused first. That need not be the worst: a certificate made for a day is renewed in its last hours.
fn first<'a, 'b>(alike: &[&'b ClientRow<'a>]) -> &'b ClientRow<'a> {
    let dated = alike.iter().filter(|row| row.state == ClientState::Accepted);
    dated.min_by_key(|row| row.refused_from.unwrap_or(UnixSeconds::MAX)).unwrap_or(&alike[0])
}

const CERTIFICATES: &str = "client certificates";

/// Rows of one state: one by name, otherwise how many. The rest is in the rows.
fn text(alike: &[&ClientRow<'_>], now: f64) -> String {
    let row = first(alike);
    let when = row.refused_from.map_or_else(String::new, |at| match at as f64 - now {
        left if left < SECONDS_PER_DAY => relative(Some(at), now),
        _ => format!("from {}", format_date(at, now)),
    });
    let (one, kind, many) = match row.state {
        ClientState::Refused => (
            format!("is refused at {}: {}", row.place(), row.reason.as_deref().unwrap_or_default()),
            CERTIFICATES,
            "are refused".into(),
        ),
        ClientState::Doubtful => ("may be refused".into(), CERTIFICATES, "may be refused".into()),
        ClientState::IssuerNotTrusted => (
            "has an issuer that is not trusted".into(),
            "issuers of clients",
            "are not trusted".into(),
        ),
        ClientState::Accepted => (
            format!("will be refused {when}"),
            CERTIFICATES,
            format!("will be refused, the first ({}) {when}", row.link().mark()),
        ),
        ClientState::Failed => {
            ("has a file that cannot be used".into(), "files of clients", "cannot be used".into())
        }
        ClientState::Unscoped => (
            "is judged nowhere, since no project matches its patterns".into(),
            "clients",
            "are judged nowhere, since no project matches their patterns".into(),
        ),
        ClientState::Unknown | ClientState::NotAsked => {
            let unread = row.unread.as_ref().map(Link::mark);
            let since = unread.map(|anchor| no_readable_pem(&anchor)).unwrap_or_default();
            let one = format!("is not known to be let in{since}");
            (one, CERTIFICATES, "are not known to be let in".into())
        }
    };
    match alike.len() {
        1 => format!("client {} {one}", row.link().mark()),
        count => format!("{} {many}", Link::count("clients", format!("{count} {kind}")).mark()),
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
            let text =
                format!("correct {}, or the files of client {}", row.file, row.link().mark());
            return Some((text, "OpenAIClientFilesFailed"));
        }
        ClientState::Unscoped | ClientState::Unknown | ClientState::NotAsked => return None,
    };
    let (client, place, anchor) = (row.link().mark(), row.place(), row.anchor_name());
    let by = row.refused_from.filter(|at| *at as f64 > now);
    let by = by.map_or_else(String::new, |at| format!(" before {}", format_date(at, now)));
    let text = match row.refusal? {
        Refusal::UnknownIssuer if row.is_issuer => {
            format!(
                "upload the CA certificate in {} and activate it at {place}, before client {client} renews",
                row.file
            )
        }
        Refusal::AnchorInactive if !row.anchor_has_expired => {
            format!("activate {anchor} (already uploaded) at {place}")
        }
        Refusal::AnchorInactive => {
            format!("give client {client} a certificate of a valid anchor: {anchor} has expired")
        }
        Refusal::AnchorExpired => match &row.hidden_by {
            Some(hidden_by) => format!(
                "deactivate {}{by}: once it has expired, it may hide its successor from client {client}",
                hidden_by.mark()
            ),
            None if row.anchor_begins_later => {
                format!(
                    "give client {client} a certificate of a valid anchor: {anchor} begins later"
                )
            }
            None => format!(
                "give client {client} a certificate of an anchor that stays valid{by}: {anchor} does not"
            ),
        },
        Refusal::Expired if by.is_empty() => {
            format!("renew the certificate of client {client}, which has expired")
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use regex::Regex;

    use super::super::{Status, Summary};
    use super::*;
    use crate::clients::{
        AnchorContent, Chain, Client, ClientFile, Contents, FailedFile, FileKind, Signatures,
    };
    use crate::config::OWN_CLIENT;
    use crate::fixture::{DAY, NOW, authority, certificate, snapshot};
    use crate::inventory::{Certificate, Thresholds};
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
            .next_steps
            .first()
            .map(|next| format!("{} ({})", next.text, next.runbook.unwrap_or_default()));
        (summary.status, summary.message(), next)
    }

    const UNREAD: &str =
        "Client edge is not known to be let in, since there is no readable PEM of root.";

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
                "an anchor that was not read, and a certificate that ends by itself",
                edge(vec![leaf(-1)]),
                None,
                Status::Critical,
                format!(
                    "Client edge is refused at the organization: its certificate has expired. {nothing}"
                ),
                Some(
                    "renew the certificate of client edge, which has expired (OpenAIClientCertificateRefused)",
                ),
            ),
            (
                "an anchor that was not read",
                edge(vec![leaf(300)]),
                None,
                Status::Warning,
                format!("{UNREAD} {nothing}"),
                None,
            ),
        ] {
            let pems: Vec<_> = root.into_iter().map(|pem| ("root", &**pem)).collect();
            let state = state(&[vec![active(404)]], &pems, clients);
            let expected = (status, message, next.map(str::to_owned));
            assert_eq!(said(&state, 0), expected, "{why}");
        }
        let both = state(&[vec![active(20)]], &[("root", &root)], edge(vec![stranger.clone()]));
        let summary = Summary::new(&both, NOW as f64, Thresholds::default());
        let runbooks: Vec<_> = summary.next_steps.iter().map(|next| next.runbook).collect();
        assert_eq!(
            runbooks,
            [Some("OpenAIClientCertificateRefused"), Some("OpenAIMTLSRunwayShort")]
        );
        let files = edge(vec![leaf(300), stranger]);
        let ending = state(&[vec![active(40)]], &[("root", &root)], files);
        let (status, message, next) = said(&ending, 41);
        assert_eq!(status, Status::Critical);
        assert!(message.starts_with("Requests from the organization are refused: "), "{message}");
        assert!(message.contains(". 2 client certificates are refused."), "{message}");
        assert!(next.unwrap().starts_with("upload a successor of root"));
    }

    #[test]
    fn the_exporter_itself_says_nothing_of_other_clients() {
        let (root, issue) = authority("root");
        let own = |name| {
            vec![client(name, None, vec![file("/leaf", FileKind::Certificate, &issue(300))])]
        };
        let others = [certificate("root"), certificate("other").dated(None, Some(NOW + 90 * DAY))];
        for (name, says_so) in [(OWN_CLIENT, true), ("edge", false)] {
            let state = state(&[others.to_vec()], &[("root", &root)], own(name));
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            let row = summary.certificates.iter().find(|row| row.id == "other").unwrap();
            let said = &row.deactivation.as_ref().unwrap().effects;
            assert_eq!(said.contains("none are configured"), says_so, "{said}");
        }
    }

    #[test]
    fn a_certificate_is_safe_to_deactivate_only_where_its_clients_are_known() {
        let ((root, issue), (other, issue_other)) = (authority("root"), authority("other"));
        let leaf = |path: &str| file(path, FileKind::Certificate, &issue(300));
        let unreadable = || FailedFile { path: "/odd".into(), message: "is odd".into() };
        let edge =
            |projects, failed| Client { failed, ..client("edge", projects, vec![leaf("/leaf")]) };
        let renewing = || {
            let files = vec![leaf("/leaf"), file("/ca", FileKind::Issuer, &other)];
            client("edge", Some("proj_0"), files)
        };
        let expired = || {
            let leaf = file("/leaf", FileKind::Certificate, &issue_other(-1));
            client("edge", Some("proj_0"), vec![leaf])
        };
        let ends = || certificate("other").dated(None, Some(NOW + 90 * DAY));
        let undated = certificate("other");
        let at_0 = Some("proj_0");
        for (place, anchor, client, told) in [
            (1, ends(), expired(), "May not be safe to deactivate: client edge may depend on it"),
            (
                1,
                undated,
                edge(at_0, vec![]),
                "May not be safe to deactivate: what depends on it later is not known, since it has no known end",
            ),
            (
                1,
                ends(),
                edge(at_0, vec![]),
                "Safe to deactivate: no scope and no configured client depends on it",
            ),
            (
                1,
                ends(),
                renewing(),
                "Not safe to deactivate: the issuer of client edge would not be trusted",
            ),
            (
                1,
                ends(),
                edge(at_0, vec![unreadable()]),
                "May not be safe to deactivate: client edge has a file or a pattern that cannot be used",
            ),
            (
                1,
                ends(),
                edge(Some("proj_[01]|none"), vec![]),
                "Safe to deactivate: no scope and no configured client depends on it",
            ),
            (
                0,
                ends(),
                edge(at_0, vec![]),
                "May not be safe to deactivate: no client of project proj_1 is configured",
            ),
            (
                0,
                ends(),
                edge(None, vec![]),
                "Safe to deactivate: no scope and no configured client depends on it",
            ),
            (
                2,
                ends(),
                edge(at_0, vec![unreadable()]),
                "May not be safe to deactivate: no client of project proj_1 is configured",
            ),
        ] {
            let mut read = [vec![certificate("root").valid(-9..300)], vec![], vec![]];
            read[place].push(anchor);
            let pems = [("root", &*root), ("other", &*other)];
            let state = state(&read, &pems, vec![client]);
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            let row = summary.certificates.iter().find(|row| row.id == "other").unwrap();
            let it = row.deactivation.as_ref().unwrap();
            assert_eq!(format!("{}: {}", it.safety, it.effects), told);
        }
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
        let summary = Summary::new(&state, NOW as f64, Thresholds::default());
        let root = summary.certificates.iter().find(|row| row.id == "root").unwrap();
        let deactivation = root.deactivation.as_ref().unwrap();
        let said = (&*deactivation.effects, root.note.as_deref().unwrap());
        assert_eq!(
            said,
            (
                "client edge would be refused",
                "its key usage is not for signing certificates; its PEM has several certificates, and only the first counts"
            )
        );
    }
}
