//! The metrics that are one series, or a few: those of the polls, written by the library.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::large::flag;
use crate::inventory::{FailureReason, Snapshot, State};

/// What a state says of itself, in no particular order.
pub(super) fn families(state: &State) -> Vec<MetricFamily> {
    let snapshot = state.snapshot.as_deref();
    let attempt = state.last_attempt.as_ref();
    // Sorted by label, as everything in the page is.
    let failures: BTreeMap<_, _> =
        FailureReason::ALL.map(FailureReason::as_str).into_iter().zip(state.failures).collect();
    vec![
        gauge(
            "openai_cert_exporter_up",
            "Whether the last poll got every list whole: 1, or 0, also before the first poll.",
            Some(flag(state.up())),
        ),
        counter(
            "openai_cert_exporter_polls_total",
            "Polls that ended, whatever came of them.",
            vec![count(&[], state.polls)],
        ),
        counter(
            "openai_cert_exporter_poll_failures_total",
            "Polls that failed, in part or as a whole, by reason.",
            failures.into_iter().map(|(reason, polls)| count(&[("reason", reason)], polls)).collect(),
        ),
        gauge(
            "openai_cert_exporter_last_poll_duration_seconds",
            "How long the last poll took, its retries and waits included; absent before the first.",
            attempt.map(|attempt| attempt.duration.as_secs_f64()),
        ),
        gauge(
            "openai_cert_exporter_last_poll_timestamp_seconds",
            "When the last poll ended, as a Unix time; absent before the first.",
            attempt.map(|attempt| attempt.ended_at),
        ),
        gauge(
            "openai_cert_exporter_last_success_timestamp_seconds",
            "When a poll last read every list whole, as a Unix time; absent before the first such poll.",
            state.last_success_at,
        ),
        counter(
            "openai_cert_exporter_state_write_failures_total",
            "Snapshots that could not be kept in the state file.",
            vec![count(&[], state.store_failures)],
        ),
        gauge(
            "openai_cert_exporter_malformed_certificates",
            "List entries that could not be read and are not shown; absent before the first success.",
            snapshot.map(|snapshot| snapshot.malformed().count as f64),
        ),
        gauge(
            "openai_cert_exporter_duplicate_certificates",
            "List entries that came again and are shown once; absent before the first success.",
            snapshot.map(|snapshot| snapshot.duplicates() as f64),
        ),
        gauge(
            "openai_cert_exporter_vanished_projects",
            "Projects that were listed, but gone (404) when their certificates were asked for; absent before the first \
             success.",
            snapshot.map(Snapshot::projects).map(|projects| projects.vanished as f64),
        ),
    ]
}

fn gauge(name: &str, help: &str, value: Option<f64>) -> MetricFamily {
    let metric = |value| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        Metric::from_gauge(gauge)
    };
    family(name, help, MetricType::GAUGE, value.map(metric).into_iter().collect())
}

fn counter(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, metrics)
}

fn count(labels: &[(&str, &str)], value: u64) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels.iter().map(pair).collect());
    metric.set_counter(counter);
    metric
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
