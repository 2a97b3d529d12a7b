//! The page as the library writes it, from a collector of its own. Names, types and help texts stand here once more, so that
//! none of them changes unnoticed.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::clients::{FileKind, Judgement, Span};
use crate::inventory::{Certificate, Project, UnixSeconds, days_until};
use crate::poll_state::{FailureReason, PollState};

pub(super) const FAMILIES: [(&str, MetricType, &str); 35] = [
    (
        "openai_cert_exporter_clock_offset_seconds",
        MetricType::GAUGE,
        "The clock of this machine less that of the API, by the date of its answers; absent before the first.",
    ),
    (
        "openai_cert_exporter_duplicate_certificates",
        MetricType::GAUGE,
        "List entries that came again and are shown once; absent before the first success.",
    ),
    (
        "openai_cert_exporter_last_poll_duration_seconds",
        MetricType::GAUGE,
        "How long the last poll took, its retries and waits included; absent before the first.",
    ),
    (
        "openai_cert_exporter_last_poll_timestamp_seconds",
        MetricType::GAUGE,
        "When the last poll ended, as a Unix time; absent before the first.",
    ),
    (
        "openai_cert_exporter_last_success_timestamp_seconds",
        MetricType::GAUGE,
        "When a poll last read every list whole, as a Unix time; absent before the first such poll.",
    ),
    (
        "openai_cert_exporter_malformed_certificates",
        MetricType::GAUGE,
        "List entries of which a field could not be read; absent before the first success.",
    ),
    (
        "openai_cert_exporter_poll_failures_total",
        MetricType::COUNTER,
        "Polls that failed, in part or as a whole, by reason.",
    ),
    (
        "openai_cert_exporter_poll_interval_seconds",
        MetricType::GAUGE,
        "The interval between the starts of polls, as configured.",
    ),
    (
        "openai_cert_exporter_polls_total",
        MetricType::COUNTER,
        "Polls that ended, whatever came of them.",
    ),
    (
        "openai_cert_exporter_state_write_failures_total",
        MetricType::COUNTER,
        "Snapshots that could not be kept in the state file.",
    ),
    (
        "openai_cert_exporter_up",
        MetricType::GAUGE,
        "Whether the last poll got every list whole: 1, or 0, also before the first poll.",
    ),
    (
        "openai_cert_exporter_vanished_projects",
        MetricType::GAUGE,
        "Projects that are listed, but of which the API says that they do not exist; absent before the first success.",
    ),
    (
        "openai_certificate_active",
        MetricType::GAUGE,
        "Whether the certificate is active at the organization: 1 or 0.",
    ),
    (
        "openai_certificate_created_timestamp_seconds",
        MetricType::GAUGE,
        "When the certificate was uploaded, as a Unix time; absent where the API gives no date.",
    ),
    (
        "openai_certificate_days_until_expiry",
        MetricType::GAUGE,
        "Days from now until the certificate expires, negative once it has; absent where the API gives no date.",
    ),
    (
        "openai_certificate_dependent_clients",
        MetricType::GAUGE,
        "Pairs of a client's certificate file and a scope that would be refused at once if this certificate were deactivated everywhere; absent where no client is configured, or where it is not known.",
    ),
    (
        "openai_certificate_not_after_timestamp_seconds",
        MetricType::GAUGE,
        "When the certificate expires, as a Unix time; absent where the API gives no date.",
    ),
    (
        "openai_certificate_not_before_timestamp_seconds",
        MetricType::GAUGE,
        "When the certificate becomes valid, as a Unix time; absent where the API gives no date.",
    ),
    (
        "openai_certificate_problem",
        MetricType::GAUGE,
        "A constant 1 for each thing that is odd about the PEM of the certificate.",
    ),
    (
        "openai_certificate_superseded",
        MetricType::GAUGE,
        "Whether another certificate of the same rotation group has taken over wherever this one is active: 1 or 0.",
    ),
    (
        "openai_client_certificate_accepted",
        MetricType::GAUGE,
        "Whether the client would be let in now: 1, also where mutual TLS is not enforced, or 0; absent while it cannot be known. Attribute filters of anchors are not seen.",
    ),
    (
        "openai_client_certificate_not_after_timestamp_seconds",
        MetricType::GAUGE,
        "When the client's own certificate expires, as a Unix time.",
    ),
    (
        "openai_client_certificate_not_before_timestamp_seconds",
        MetricType::GAUGE,
        "When the client's own certificate becomes valid, as a Unix time.",
    ),
    (
        "openai_client_certificate_refusal",
        MetricType::GAUGE,
        "A constant 1 for the reason why the client is refused now or, where it is let in, at the instant from which it will be refused.",
    ),
    (
        "openai_client_certificate_refused_from_timestamp_seconds",
        MetricType::GAUGE,
        "The first instant from now on at which the client is refused, as a Unix time; where it is refused now, when acceptance ended; absent where it never was let in, or nothing known ends it.",
    ),
    (
        "openai_client_certificates",
        MetricType::GAUGE,
        "Certificate files of the client that could be read.",
    ),
    (
        "openai_client_files_failed",
        MetricType::GAUGE,
        "Files of the client that cannot be read or hold no certificate, and patterns that match no file.",
    ),
    (
        "openai_client_issuer_trusted",
        MetricType::GAUGE,
        "Whether a certificate that this issuer signs now would be let in: 1 or 0; absent while it cannot be known.",
    ),
    (
        "openai_mtls_active_certificates",
        MetricType::GAUGE,
        "Certificates that are active in the scope and valid now; absent where none is known to be and an entry whose id, \
         activity or dates cannot be read might be.",
    ),
    (
        "openai_mtls_enforced",
        MetricType::GAUGE,
        "Whether any certificate is active in the scope, valid or not, so that mutual TLS is enforced there: 1 or 0; absent where none is known to be and an entry whose id or activity cannot be read might be.",
    ),
    (
        "openai_mtls_read_timestamp_seconds",
        MetricType::GAUGE,
        "When the list of the scope itself was last read whole, as a Unix time.",
    ),
    (
        "openai_mtls_runway_end_timestamp_seconds",
        MetricType::GAUGE,
        "The first instant from now on at which no active certificate of the scope with a known expiry is valid, as a Unix \
         time; where none is valid now, when the last one ended; absent where none has been valid yet, and where that end is \
         past and an entry whose id, activity or dates cannot be read might be valid.",
    ),
    (
        "openai_mtls_unknown_expiry_certificates",
        MetricType::GAUGE,
        "Certificates that are active in the scope and whose expiry the API does not give; the runway leaves them out.",
    ),
    (
        "openai_project_certificate_active",
        MetricType::GAUGE,
        "Whether the certificate is active at the project: 1 or 0.",
    ),
    (
        "openai_project_last_success_timestamp_seconds",
        MetricType::GAUGE,
        "When the project's certificates were last read whole, as a Unix time.",
    ),
];

/// What a state says at a second.
pub(super) struct Reference {
    state: Arc<PollState>,
    now: UnixSeconds,
    descs: Vec<Desc>,
}

type Labels = Vec<(&'static str, String)>;

impl Reference {
    pub(super) fn new(state: &Arc<PollState>, now: UnixSeconds) -> Self {
        let desc =
            |name: &str| Desc::new(name.into(), "help".into(), Vec::new(), HashMap::new()).unwrap();
        let descs = FAMILIES.iter().map(|(name, ..)| desc(name)).collect();
        Self { state: Arc::clone(state), now, descs }
    }

    /// Each series, in no order.
    #[expect(clippy::too_many_lines, reason = "a list of every family")]
    fn series(&self) -> Vec<(&'static str, Labels, Option<f64>)> {
        let Self { state, now, .. } = self;
        let mut series = Vec::new();
        let mut add = |name, labels, value| series.push((name, labels, value));

        let poll = state.last_poll.as_ref();
        let last_poll = poll.map(|poll| poll.duration.as_secs_f64());
        add("openai_cert_exporter_last_poll_duration_seconds", vec![], last_poll);
        add(
            "openai_cert_exporter_last_poll_timestamp_seconds",
            vec![],
            poll.map(|poll| poll.ended_at),
        );
        add("openai_cert_exporter_last_success_timestamp_seconds", vec![], state.last_success_at);
        add("openai_cert_exporter_clock_offset_seconds", vec![], state.clock_offset);
        let interval = state.timing.interval.as_secs_f64();
        add("openai_cert_exporter_poll_interval_seconds", vec![], Some(interval));
        add("openai_cert_exporter_polls_total", vec![], Some(state.polls as f64));
        add(
            "openai_cert_exporter_state_write_failures_total",
            vec![],
            Some(state.state_write_failures as f64),
        );
        let up = poll.is_some_and(|poll| poll.failed.is_empty());
        add("openai_cert_exporter_up", vec![], Some(number(up)));
        for reason in [
            FailureReason::Unauthorized,
            FailureReason::Forbidden,
            FailureReason::MtlsRequired,
            FailureReason::RateLimited,
            FailureReason::Timeout,
            FailureReason::Network,
            FailureReason::Server,
            FailureReason::Client,
            FailureReason::Decode,
            FailureReason::Pagination,
            FailureReason::Credentials,
            FailureReason::Projects,
        ] {
            let polls = state.failures[reason as usize] as f64;
            add(
                "openai_cert_exporter_poll_failures_total",
                vec![("reason", reason.to_string())],
                Some(polls),
            );
        }

        let Some(snapshot) = &state.snapshot else { return series };
        let inventory = &snapshot.inventory;
        add(
            "openai_cert_exporter_duplicate_certificates",
            vec![],
            Some(inventory.duplicates() as f64),
        );
        add(
            "openai_cert_exporter_malformed_certificates",
            vec![],
            Some(inventory.malformed().count() as f64),
        );
        let vanished = inventory.lists().project_faults.vanished;
        add("openai_cert_exporter_vanished_projects", vec![], Some(vanished as f64));
        let instant = |at: Option<UnixSeconds>| at.map(|at| at as f64);
        for c in &inventory.organization().items {
            add("openai_certificate_active", certificate(c), Some(number(c.active)));
            add(
                "openai_certificate_created_timestamp_seconds",
                certificate(c),
                instant(c.created_at),
            );
            let days = c.expires_at.map(|at| days_until(at, *now as f64));
            add("openai_certificate_days_until_expiry", certificate(c), days);
            add(
                "openai_certificate_not_after_timestamp_seconds",
                certificate(c),
                instant(c.expires_at),
            );
            add(
                "openai_certificate_not_before_timestamp_seconds",
                certificate(c),
                instant(c.valid_at),
            );
        }
        for used in inventory.certificates() {
            let is_superseded = inventory.successor(used).is_some();
            add(
                "openai_certificate_superseded",
                certificate(&used.certificate),
                Some(number(is_superseded)),
            );
        }
        let reads =
            std::iter::once(&snapshot.organization_read_at).chain(&snapshot.projects_read_at);
        for ((p, scope), read_at) in inventory.scopes().zip(reads) {
            let none = vec![("project_id", String::new()), ("project_name", String::new())];
            let kind = if p.is_some() { "project" } else { "organization" };
            let labels = [vec![("scope", kind.to_owned())], p.map_or(none, project)].concat();
            let valid = scope.valid(*now).map(|valid| valid as f64);
            add("openai_mtls_active_certificates", labels.clone(), valid);
            add("openai_mtls_enforced", labels.clone(), scope.enforced().map(number));
            add("openai_mtls_read_timestamp_seconds", labels.clone(), Some(*read_at));
            add(
                "openai_mtls_runway_end_timestamp_seconds",
                labels.clone(),
                instant(scope.runway_end(*now)),
            );
            add(
                "openai_mtls_unknown_expiry_certificates",
                labels,
                Some(scope.unknown_expiry() as f64),
            );
        }
        for (p, read_at) in inventory.projects().iter().zip(&snapshot.projects_read_at) {
            add(
                "openai_project_last_success_timestamp_seconds",
                project(&p.project),
                Some(*read_at),
            );
            for c in &p.certificates.items {
                let labels = [project(&p.project), certificate(c)].concat();
                add("openai_project_certificate_active", labels, Some(number(c.active)));
            }
        }
        self.add_clients(&mut series);
        series
    }

    fn add_clients(&self, series: &mut Vec<(&'static str, Labels, Option<f64>)>) {
        let (Some(clients), now) = (&self.state.clients, self.now) else { return };
        let mut add = |name, labels, value| series.push((name, labels, value));
        for client in clients.clients() {
            let of = vec![("client", client.name.to_string())];
            let leaves = client.files.iter().filter(|file| file.kind == FileKind::Certificate);
            add("openai_client_certificates", of.clone(), Some(leaves.clone().count() as f64));
            add("openai_client_files_failed", of.clone(), Some(client.failed.len() as f64));
            for file in leaves {
                let labels = [of.clone(), vec![("file", file.path.to_string())]].concat();
                let Span { begin, end } = file.chain.leaf().valid();
                add(
                    "openai_client_certificate_not_before_timestamp_seconds",
                    labels.clone(),
                    Some(begin as f64),
                );
                add(
                    "openai_client_certificate_not_after_timestamp_seconds",
                    labels,
                    Some(end as f64),
                );
            }
        }
        for Judgement { client, file, project: of, acceptance, .. } in clients.iter() {
            let none = vec![("project_id", String::new()), ("project_name", String::new())];
            let scope = if of.is_some() { "project" } else { "organization" };
            let file_labels =
                vec![("client", client.name.to_string()), ("file", file.path.to_string())];
            let scope = vec![("scope", scope.to_owned())];
            let labels = [file_labels, scope, of.map_or(none, project)].concat();
            let verdict = acceptance.at(now);
            if file.kind == FileKind::Issuer {
                add("openai_client_issuer_trusted", labels, verdict.accepted.map(number));
                continue;
            }
            add("openai_client_certificate_accepted", labels.clone(), verdict.accepted.map(number));
            add(
                "openai_client_certificate_refused_from_timestamp_seconds",
                labels.clone(),
                verdict.refused_from.map(|at| at as f64),
            );
            if let Some(refusal) = verdict.refusal {
                let reason: &str = refusal.into();
                let labels = [labels, vec![("reason", reason.to_owned())]].concat();
                add("openai_client_certificate_refusal", labels, Some(1.0));
            }
        }
        for (listed, count) in clients.dependent_clients(now) {
            add(
                "openai_certificate_dependent_clients",
                certificate(listed),
                count.map(|count| count as f64),
            );
        }
        for (listed, problems) in clients.problems() {
            for problem in problems.unwrap_or_default() {
                let problem: &str = problem.into();
                let labels = [certificate(listed), vec![("problem", problem.to_owned())]].concat();
                add("openai_certificate_problem", labels, Some(1.0));
            }
        }
    }
}

fn number(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn certificate(certificate: &Certificate) -> Labels {
    let name = certificate.name.as_deref().unwrap_or("");
    vec![("certificate_id", certificate.id.to_string()), ("certificate_name", name.to_owned())]
}

fn project(project: &Project) -> Labels {
    let name = project.name.as_deref().unwrap_or("");
    vec![("project_id", project.id.to_string()), ("project_name", name.to_owned())]
}

fn label_value(value: &str) -> String {
    let mut value = value.replace('\0', "\u{fffd}");
    if value.len() > 512 {
        while value.len() > 509 {
            value.pop();
        }
        value.push('…');
    }
    value
}

fn metric(labels: Labels, kind: MetricType, value: f64) -> Metric {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(label_value(&value));
        pair
    };
    let mut metric = Metric::from_label(labels.into_iter().map(pair).collect());
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

impl Collector for Reference {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut metrics: HashMap<&str, Vec<Metric>> = HashMap::new();
        for (name, labels, value) in self.series() {
            let (_, kind, _) = *FAMILIES.iter().find(|(known, ..)| *known == name).unwrap();
            metrics.entry(name).or_default().extend(value.map(|value| metric(labels, kind, value)));
        }
        let mut families = Vec::new();
        for (name, kind, help) in FAMILIES {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics.remove(name).unwrap_or_default());
            families.push(family);
        }
        families
    }
}
