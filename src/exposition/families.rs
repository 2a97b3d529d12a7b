//! The metrics that come from the state: name, help and type in one place, and what each says of a state at a moment.

use std::borrow::Cow;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::inventory::{Certificate, FailureReason, State, days_until};

/// What is fixed about a metric family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    kind: MetricType,
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::GAUGE }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::COUNTER }
}

const DAYS_UNTIL_EXPIRY: Family = gauge(
    "openai_certificate_days_until_expiry",
    "Days from now until the certificate expires, negative once it has; absent where the API gives no date.",
);
const ACTIVE: Family =
    gauge("openai_certificate_active", "Whether the certificate is active at the organization: 1 or 0.");
const NOT_AFTER: Family = gauge(
    "openai_certificate_not_after_timestamp_seconds",
    "When the certificate expires, as a Unix time; absent where the API gives no date.",
);
const NOT_BEFORE: Family = gauge(
    "openai_certificate_not_before_timestamp_seconds",
    "When the certificate becomes valid, as a Unix time; absent where the API gives no date.",
);
const CREATED: Family = gauge(
    "openai_certificate_created_timestamp_seconds",
    "When the certificate was uploaded, as a Unix time; absent where the API gives no date.",
);
const UP: Family =
    gauge("openai_cert_exporter_up", "Whether the last poll got the whole list: 1, or 0, also before the first poll.");
const POLLS: Family = counter("openai_cert_exporter_polls_total", "Polls that ended, whatever came of them.");
const POLL_FAILURES: Family = counter("openai_cert_exporter_poll_failures_total", "Polls that failed, by reason.");
const LAST_POLL_DURATION: Family = gauge(
    "openai_cert_exporter_last_poll_duration_seconds",
    "How long the last poll took, its retries and waits included; absent before the first.",
);
const LAST_POLL: Family = gauge(
    "openai_cert_exporter_last_poll_timestamp_seconds",
    "When the last poll ended, as a Unix time; absent before the first.",
);
const LAST_SUCCESS: Family = gauge(
    "openai_cert_exporter_last_success_timestamp_seconds",
    "When the certificates shown were read whole, as a Unix time; absent before the first success.",
);
const MALFORMED: Family = gauge(
    "openai_cert_exporter_malformed_certificates",
    "Entries of the last whole list that could not be read and are not shown; absent before the first success.",
);
const DUPLICATES: Family = gauge(
    "openai_cert_exporter_duplicate_certificates",
    "Entries of the last whole list that came again and are shown once; absent before the first success.",
);

/// Every family that a state can fill.
pub(super) const ALL: [Family; 13] = [
    DAYS_UNTIL_EXPIRY,
    ACTIVE,
    NOT_AFTER,
    NOT_BEFORE,
    CREATED,
    UP,
    POLLS,
    POLL_FAILURES,
    LAST_POLL_DURATION,
    LAST_POLL,
    LAST_SUCCESS,
    MALFORMED,
    DUPLICATES,
];

/// Label names and values.
type Labels<'a> = &'a [(&'static str, &'a str)];

impl Family {
    fn filled(self, metrics: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    fn metric(self, labels: Labels<'_>, value: f64) -> Metric {
        let mut metric = Metric::from_label(labels.iter().map(|(name, value)| label(name, value)).collect());
        if self.kind == MetricType::COUNTER {
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

    /// One series without labels, or none.
    fn one(self, value: Option<f64>) -> MetricFamily {
        self.filled(value.map(|value| self.metric(&[], value)).into_iter().collect())
    }

    /// A series for each certificate that has a value.
    fn each(self, certificates: &[Certificate], value: impl Fn(&Certificate) -> Option<f64>) -> MetricFamily {
        let metrics = certificates.iter().filter_map(|certificate| {
            let name = label_text(certificate.name.as_deref().unwrap_or_default());
            let labels = [("certificate_id", certificate.id.as_ref()), ("certificate_name", name.as_ref())];
            Some(self.metric(&labels, value(certificate)?))
        });
        self.filled(metrics.collect())
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// A free text as a label's value. Prometheus gives up the whole scrape at a NUL, for which the format has no escape.
fn label_text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// What a state says at the moment `now`, in seconds since the epoch.
pub(super) fn families(state: &State, now: f64) -> Vec<MetricFamily> {
    let snapshot = state.snapshot.as_deref();
    let list = snapshot.map(|snapshot| &snapshot.organization);
    let certificates = list.map_or(&[][..], |list| &list.items);
    let attempt = state.last_attempt.as_ref();
    let failures = FailureReason::ALL
        .into_iter()
        .zip(state.failures)
        .map(|(reason, count)| POLL_FAILURES.metric(&[("reason", reason.as_str())], count as f64));
    vec![
        DAYS_UNTIL_EXPIRY.each(certificates, |certificate| Some(days_until(certificate.expires_at?, now))),
        ACTIVE.each(certificates, |certificate| Some(f64::from(u8::from(certificate.active)))),
        NOT_AFTER.each(certificates, |certificate| Some(certificate.expires_at? as f64)),
        NOT_BEFORE.each(certificates, |certificate| Some(certificate.valid_at? as f64)),
        CREATED.each(certificates, |certificate| Some(certificate.created_at? as f64)),
        UP.one(Some(f64::from(u8::from(state.up())))),
        POLLS.one(Some(state.polls as f64)),
        POLL_FAILURES.filled(failures.collect()),
        LAST_POLL_DURATION.one(attempt.map(|attempt| attempt.duration.as_secs_f64())),
        LAST_POLL.one(attempt.map(|attempt| attempt.ended_at)),
        LAST_SUCCESS.one(snapshot.map(|snapshot| snapshot.completed_at)),
        MALFORMED.one(list.map(|list| list.malformed.count as f64)),
        DUPLICATES.one(list.map(|list| list.duplicates as f64)),
    ]
}
