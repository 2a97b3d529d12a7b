//! Every metric of the polls and of what they read, in one table. What else is on the page comes from the registry: the
//! API client's metrics, the process's, the build's.

use crate::clients::{Client, FileKind, Span, Verdict};
use crate::inventory::{Certificate, CertificateUse, Scope, UnixSeconds, days_until};
use crate::poll_state::PollState;

/// A metric family: its name, and where its series come from.
pub(super) struct Metric {
    pub(super) name: &'static str,
    /// Without a backslash or a line feed, which would have to be escaped.
    pub(super) help: &'static str,
    /// The word of the `TYPE` line.
    pub(super) kind: &'static str,
    pub(super) series: Series,
}

/// What has a series, and how its value is computed; `None`: no series.
pub(super) enum Series {
    /// The state of the polls, once.
    State(fn(&PollState) -> Option<f64>),
    /// Each reason of a failed poll, with the number of polls that failed for it.
    FailureReasons,
    /// Each certificate of the organization's list.
    Certificates(fn(&Certificate, UnixSeconds) -> Option<f64>),
    /// The same, with a value that changes with time.
    CertificatesNow(fn(&Certificate, UnixSeconds) -> Option<f64>),
    /// Each certificate of any list.
    CertificateUses(fn(&CertificateUse) -> f64),
    /// The organization and each project, as the scope of its requests.
    Scopes(fn(&Scope, UnixSeconds) -> Option<f64>),
    /// The same, with the instant at which the scope's own list was last read whole.
    ScopeReads,
    /// Each certificate of each project's list.
    ProjectCertificates(fn(&Certificate) -> f64),
    /// Each project, with the instant at which its list was last read whole.
    ProjectReads,
    /// Each client.
    Clients(fn(&Client) -> f64),
    /// The leaf of each certificate file of each client.
    ClientLeaves(fn(Span) -> UnixSeconds),
    /// Each file of this kind in each scope of its client.
    ClientScopes(FileKind, fn(&Verdict<'_>) -> Option<f64>),
    /// Each certificate file in each scope of its client, with the reason why it is refused, or will be.
    ClientRefusals,
    /// Each certificate of any list, if there are clients, with the number of those that depend on it.
    DependentClients,
    /// Each certificate of any list, with what is odd about its PEM.
    Problems,
}

/// How long the text of a family stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Until the state of the polls changes, as it does a few times with each poll.
    State,
    /// Until a list, a file of a client or an anchor's PEM holds something else, an active certificate begins or ends, or a
    /// client is let in or refused.
    Facts,
    /// Until the next second.
    Second,
}

impl Series {
    pub(super) const fn lifetime(&self) -> Lifetime {
        match self {
            Self::State(_) | Self::FailureReasons | Self::ScopeReads | Self::ProjectReads => {
                Lifetime::State
            }
            Self::Certificates(_)
            | Self::CertificateUses(_)
            | Self::Scopes(_)
            | Self::ProjectCertificates(_)
            | Self::Clients(_)
            | Self::ClientLeaves(_)
            | Self::ClientScopes(..)
            | Self::ClientRefusals
            | Self::DependentClients
            | Self::Problems => Lifetime::Facts,
            Self::CertificatesNow(_) => Lifetime::Second,
        }
    }

    pub(super) const fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::State(_) => &[],
            Self::FailureReasons => &["reason"],
            Self::Certificates(_)
            | Self::CertificatesNow(_)
            | Self::CertificateUses(_)
            | Self::DependentClients => &["certificate_id", "certificate_name"],
            Self::Problems => &["certificate_id", "certificate_name", "problem"],
            Self::Clients(_) => &["client"],
            Self::ClientLeaves(_) => &["client", "file"],
            Self::ClientScopes(..) => &["client", "file", "scope", "project_id", "project_name"],
            Self::ClientRefusals => {
                &["client", "file", "scope", "project_id", "project_name", "reason"]
            }
            Self::Scopes(_) | Self::ScopeReads => &["scope", "project_id", "project_name"],
            Self::ProjectCertificates(_) => {
                &["project_id", "project_name", "certificate_id", "certificate_name"]
            }
            Self::ProjectReads => &["project_id", "project_name"],
        }
    }
}

/// Sorted by name. Neighbours of one [`Lifetime`] are compressed together.
pub(super) const METRICS: &[Metric] = &[
    gauge(
        "openai_cert_exporter_clock_offset_seconds",
        "The clock of this machine less that of the API, by the date of its answers; absent before the first.",
        Series::State(|state| state.clock_offset),
    ),
    gauge(
        "openai_cert_exporter_duplicate_certificates",
        "List entries that came again and are shown once; absent before the first success.",
        Series::State(|state| Some(state.snapshot.as_ref()?.inventory.duplicates() as f64)),
    ),
    gauge(
        "openai_cert_exporter_last_poll_duration_seconds",
        "How long the last poll took, its retries and waits included; absent before the first.",
        Series::State(|state| Some(state.last_poll.as_ref()?.duration.as_secs_f64())),
    ),
    gauge(
        "openai_cert_exporter_last_poll_timestamp_seconds",
        "When the last poll ended, as a Unix time; absent before the first.",
        Series::State(|state| Some(state.last_poll.as_ref()?.ended_at)),
    ),
    gauge(
        "openai_cert_exporter_last_success_timestamp_seconds",
        "When a poll last read every list whole, as a Unix time; absent before the first such poll.",
        Series::State(|state| state.last_success_at),
    ),
    gauge(
        "openai_cert_exporter_malformed_certificates",
        "List entries of which a field could not be read; absent before the first success.",
        Series::State(|state| Some(state.snapshot.as_ref()?.inventory.malformed().count() as f64)),
    ),
    counter(
        "openai_cert_exporter_poll_failures_total",
        "Polls that failed, in part or as a whole, by reason.",
        Series::FailureReasons,
    ),
    gauge(
        "openai_cert_exporter_poll_interval_seconds",
        "The interval between the starts of polls, as configured.",
        Series::State(|state| Some(state.timing.interval.as_secs_f64())),
    ),
    counter(
        "openai_cert_exporter_polls_total",
        "Polls that ended, whatever came of them.",
        Series::State(|state| Some(state.polls as f64)),
    ),
    counter(
        "openai_cert_exporter_state_write_failures_total",
        "Snapshots that could not be kept in the state file.",
        Series::State(|state| Some(state.state_write_failures as f64)),
    ),
    gauge(
        "openai_cert_exporter_up",
        "Whether the last poll got every list whole: 1, or 0, also before the first poll.",
        Series::State(|state| Some(f64::from(state.up()))),
    ),
    gauge(
        "openai_cert_exporter_vanished_projects",
        "Projects that are listed, but of which the API says that they do not exist; absent before the first success.",
        Series::State(|state| {
            Some(state.snapshot.as_ref()?.inventory.lists().project_faults.vanished as f64)
        }),
    ),
    gauge(
        "openai_certificate_active",
        "Whether the certificate is active at the organization: 1 or 0.",
        Series::Certificates(|certificate, _| Some(f64::from(certificate.active))),
    ),
    gauge(
        "openai_certificate_created_timestamp_seconds",
        "When the certificate was uploaded, as a Unix time; absent where the API gives no date.",
        Series::Certificates(|certificate, _| Some(certificate.created_at? as f64)),
    ),
    gauge(
        "openai_certificate_days_until_expiry",
        "Days from now until the certificate expires, negative once it has; absent where the API gives no date.",
        Series::CertificatesNow(|certificate, now| {
            Some(days_until(certificate.expires_at?, now as f64))
        }),
    ),
    gauge(
        "openai_certificate_dependent_clients",
        "Pairs of a client's certificate file and a scope that would be refused at once if this certificate were \
         deactivated everywhere; absent where no client is configured, or where it is not known.",
        Series::DependentClients,
    ),
    gauge(
        "openai_certificate_not_after_timestamp_seconds",
        "When the certificate expires, as a Unix time; absent where the API gives no date.",
        Series::Certificates(|certificate, _| Some(certificate.expires_at? as f64)),
    ),
    gauge(
        "openai_certificate_not_before_timestamp_seconds",
        "When the certificate becomes valid, as a Unix time; absent where the API gives no date.",
        Series::Certificates(|certificate, _| Some(certificate.valid_at? as f64)),
    ),
    gauge(
        "openai_certificate_problem",
        "A constant 1 for each thing that is odd about the PEM of the certificate.",
        Series::Problems,
    ),
    gauge(
        "openai_certificate_superseded",
        "Whether another certificate of the same rotation group has taken over wherever this one is active: 1 or 0.",
        Series::CertificateUses(|used| f64::from(used.is_superseded())),
    ),
    gauge(
        "openai_client_certificate_accepted",
        "Whether the client would be let in now: 1, also where mutual TLS is not enforced, or 0; absent while it cannot be \
         known. Attribute filters of anchors are not seen.",
        Series::ClientScopes(FileKind::Certificate, |verdict| Some(f64::from(verdict.accepted?))),
    ),
    gauge(
        "openai_client_certificate_not_after_timestamp_seconds",
        "When the client's own certificate expires, as a Unix time.",
        Series::ClientLeaves(|valid| valid.end),
    ),
    gauge(
        "openai_client_certificate_not_before_timestamp_seconds",
        "When the client's own certificate becomes valid, as a Unix time.",
        Series::ClientLeaves(|valid| valid.begin),
    ),
    gauge(
        "openai_client_certificate_refusal",
        "A constant 1 for the reason why the client is refused now or, where it is let in, at the instant from which it \
         will be refused.",
        Series::ClientRefusals,
    ),
    gauge(
        "openai_client_certificate_refused_from_timestamp_seconds",
        "The first instant from now on at which the client is refused, as a Unix time; where it is refused now, when \
         acceptance ended; absent where it never was let in, or nothing known ends it.",
        Series::ClientScopes(FileKind::Certificate, |verdict| Some(verdict.refused_from? as f64)),
    ),
    gauge(
        "openai_client_certificates",
        "Certificate files of the client that could be read.",
        Series::Clients(|client| client.certificates().count() as f64),
    ),
    gauge(
        "openai_client_files_failed",
        "Files of the client that cannot be read or hold no certificate, and patterns that match no file.",
        Series::Clients(|client| client.failed.len() as f64),
    ),
    gauge(
        "openai_client_issuer_trusted",
        "Whether a certificate that this issuer signs now would be let in: 1 or 0; absent while it cannot be known.",
        Series::ClientScopes(FileKind::Issuer, |verdict| Some(f64::from(verdict.accepted?))),
    ),
    gauge(
        "openai_mtls_active_certificates",
        "Certificates that are active in the scope and valid now; absent where none is known to be and an entry whose id, \
         activity or dates cannot be read might be.",
        Series::Scopes(|scope, now| Some(scope.valid(now)? as f64)),
    ),
    gauge(
        "openai_mtls_enforced",
        "Whether any certificate is active in the scope, valid or not, so that mutual TLS is enforced there: 1 or 0; \
         absent where none is known to be and an entry whose id or activity cannot be read might be.",
        Series::Scopes(|scope, _| scope.enforced().map(f64::from)),
    ),
    gauge(
        "openai_mtls_read_timestamp_seconds",
        "When the list of the scope itself was last read whole, as a Unix time.",
        Series::ScopeReads,
    ),
    gauge(
        "openai_mtls_runway_end_timestamp_seconds",
        "The first instant from now on at which no active certificate of the scope with a known expiry is valid, as a Unix \
         time; where none is valid now, when the last one ended; absent where none has been valid yet, and where that end is \
         past and an entry whose id, activity or dates cannot be read might be valid.",
        Series::Scopes(|scope, now| Some(scope.runway_end(now)? as f64)),
    ),
    gauge(
        "openai_mtls_unknown_expiry_certificates",
        "Certificates that are active in the scope and whose expiry the API does not give; the runway leaves them out.",
        Series::Scopes(|scope, _| Some(scope.unknown_expiry() as f64)),
    ),
    gauge(
        "openai_project_certificate_active",
        "Whether the certificate is active at the project: 1 or 0.",
        Series::ProjectCertificates(|certificate| f64::from(certificate.active)),
    ),
    gauge(
        "openai_project_last_success_timestamp_seconds",
        "When the project's certificates were last read whole, as a Unix time.",
        Series::ProjectReads,
    ),
];

const fn gauge(name: &'static str, help: &'static str, series: Series) -> Metric {
    Metric { name, help, kind: "gauge", series }
}

const fn counter(name: &'static str, help: &'static str, series: Series) -> Metric {
    Metric { name, help, kind: "counter", series }
}
