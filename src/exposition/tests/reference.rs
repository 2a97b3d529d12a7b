//! The page as the library writes it, from a collector of its own. Each series stands here once more, without its family's
//! help text.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::METRICS;
use crate::clients::{FileKind, Judgement, Span};
use crate::inventory::{Certificate, Project, UnixSeconds, days_until};
use crate::poll_state::{FailureReason, PollState};

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
        let descs = METRICS.iter().map(|metric| desc(metric.name)).collect();
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

fn kind(name: &str) -> MetricType {
    if name.ends_with("_total") { MetricType::COUNTER } else { MetricType::GAUGE }
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
        let mut metrics: HashMap<_, Vec<_>> = HashMap::new();
        for (name, labels, value) in self.series() {
            let series = value.map(|value| metric(labels, kind(name), value));
            metrics.entry(name).or_default().extend(series);
        }
        let families = METRICS.iter().map(|metric| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(kind(metric.name));
            family.set_metric(metrics.remove(metric.name).unwrap_or_default());
            family
        });
        let families = families.collect();
        assert!(metrics.is_empty(), "{metrics:?}");
        families
    }
}
