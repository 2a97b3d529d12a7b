//! The metrics that come from the state: name, help and type in one place, and what each says of a state at a moment.

use std::borrow::Cow;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::inventory::{Certificate, FailureReason, Project, Scope, Snapshot, State, UnixSeconds, days_until};

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
const SUPERSEDED: Family = gauge(
    "openai_certificate_superseded",
    "Whether another certificate of the same rotation group has taken over wherever this one is active: 1 or 0.",
);
const PROJECT_ACTIVE: Family =
    gauge("openai_project_certificate_active", "Whether the certificate is active at the project: 1 or 0.");
const PROJECT_LAST_SUCCESS: Family = gauge(
    "openai_project_last_success_timestamp_seconds",
    "When the project's certificates were last read whole, as a Unix time.",
);
const ENFORCED: Family = gauge(
    "openai_mtls_enforced",
    "Whether any certificate is active in the scope, valid or not, so that mutual TLS is enforced there: 1 or 0.",
);
const ACTIVE_CERTIFICATES: Family =
    gauge("openai_mtls_active_certificates", "Certificates that are active in the scope and valid now.");
const RUNWAY_END: Family = gauge(
    "openai_mtls_runway_end_timestamp_seconds",
    "The first instant from now on at which no active certificate of the scope is valid, as a Unix time; where none is \
     valid now, when the last one ended; absent where none has been valid yet.",
);
const UNKNOWN_EXPIRY: Family = gauge(
    "openai_mtls_unknown_expiry_certificates",
    "Certificates that are active in the scope and whose expiry the API does not give; the runway leaves them out.",
);
const VANISHED: Family = gauge(
    "openai_cert_exporter_vanished_projects",
    "Projects that were listed, but gone (404) when their certificates were asked for; absent before the first success.",
);
const UP: Family = gauge(
    "openai_cert_exporter_up",
    "Whether the last poll got every list whole: 1, or 0, also before the first poll.",
);
const POLLS: Family = counter("openai_cert_exporter_polls_total", "Polls that ended, whatever came of them.");
const POLL_FAILURES: Family =
    counter("openai_cert_exporter_poll_failures_total", "Polls that failed, in part or as a whole, by reason.");
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
    "When a poll last read every list whole, as a Unix time; absent before the first such poll.",
);
const MALFORMED: Family = gauge(
    "openai_cert_exporter_malformed_certificates",
    "List entries that could not be read and are not shown; absent before the first success.",
);
const DUPLICATES: Family = gauge(
    "openai_cert_exporter_duplicate_certificates",
    "List entries that came again and are shown once; absent before the first success.",
);

/// Every family that a state can fill.
pub(super) const ALL: [Family; 21] = [
    DAYS_UNTIL_EXPIRY,
    ACTIVE,
    NOT_AFTER,
    NOT_BEFORE,
    CREATED,
    SUPERSEDED,
    PROJECT_ACTIVE,
    PROJECT_LAST_SUCCESS,
    ENFORCED,
    ACTIVE_CERTIFICATES,
    RUNWAY_END,
    UNKNOWN_EXPIRY,
    VANISHED,
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
type Labels<'a> = &'a [(&'static str, Cow<'a, str>)];

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
        let pair = |(name, value): &(&'static str, Cow<'_, str>)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.clone().into_owned());
            pair
        };
        let mut metric = Metric::from_label(labels.iter().map(pair).collect());
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
        let metrics = certificates
            .iter()
            .filter_map(|certificate| Some(self.metric(&certificate_labels(certificate), value(certificate)?)));
        self.filled(metrics.collect())
    }
}

fn certificate_labels(certificate: &Certificate) -> [(&'static str, Cow<'_, str>); 2] {
    [("certificate_id", (&*certificate.id).into()), ("certificate_name", label_text(certificate.name.as_deref()))]
}

fn project_labels(project: &Project) -> [(&'static str, Cow<'_, str>); 2] {
    [("project_id", (&*project.id).into()), ("project_name", label_text(project.name.as_deref()))]
}

fn scope_labels(project: Option<&Project>) -> [(&'static str, Cow<'_, str>); 3] {
    match project {
        None => [("scope", "organization".into()), ("project_id", "".into()), ("project_name", "".into())],
        Some(project) => {
            let [id, name] = project_labels(project);
            [("scope", "project".into()), id, name]
        }
    }
}

/// A free text as a label's value, empty where there is none. Prometheus gives up the whole scrape at a NUL, for which the
/// format has no escape.
fn label_text(text: Option<&str>) -> Cow<'_, str> {
    match text {
        None => "".into(),
        Some(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").into(),
        Some(text) => text.into(),
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// What a state says at the moment `now`, in seconds since the epoch.
pub(super) fn families(state: &State, now: f64) -> Vec<MetricFamily> {
    let mut families = state.snapshot.as_deref().map(|snapshot| of_snapshot(snapshot, now)).unwrap_or_default();
    families.extend(of_polls(state));
    families
}

fn of_snapshot(snapshot: &Snapshot, now: f64) -> Vec<MetricFamily> {
    let certificates = &*snapshot.organization().items;
    let superseded = snapshot
        .certificates()
        .map(|(certificate, successor)| SUPERSEDED.metric(&certificate_labels(certificate), flag(successor.is_some())));
    let projects = &*snapshot.projects().items;
    let project_active = projects.iter().flat_map(|read| {
        let project = project_labels(&read.project);
        read.certificates.items.iter().map(move |certificate| {
            let labels = [project.as_slice(), &certificate_labels(certificate)].concat();
            PROJECT_ACTIVE.metric(&labels, flag(certificate.active))
        })
    });
    let project_reads =
        projects.iter().map(|read| PROJECT_LAST_SUCCESS.metric(&project_labels(&read.project), read.read_at));
    let scopes = || {
        let of_projects = snapshot.project_scopes().map(|(read, scope)| (Some(&read.project), scope));
        std::iter::once((None, snapshot.scope())).chain(of_projects)
    };
    let each_scope = |family: Family, value: &dyn Fn(&Scope) -> Option<f64>| {
        family.filled(
            scopes()
                .filter_map(|(project, scope)| Some(family.metric(&scope_labels(project), value(scope)?)))
                .collect(),
        )
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the whole second that has begun; validity changes on whole ones"
    )]
    let second = now.floor() as UnixSeconds;
    vec![
        DAYS_UNTIL_EXPIRY.each(certificates, |certificate| Some(days_until(certificate.expires_at?, now))),
        ACTIVE.each(certificates, |certificate| Some(flag(certificate.active))),
        NOT_AFTER.each(certificates, |certificate| Some(certificate.expires_at? as f64)),
        NOT_BEFORE.each(certificates, |certificate| Some(certificate.valid_at? as f64)),
        CREATED.each(certificates, |certificate| Some(certificate.created_at? as f64)),
        SUPERSEDED.filled(superseded.collect()),
        PROJECT_ACTIVE.filled(project_active.collect()),
        PROJECT_LAST_SUCCESS.filled(project_reads.collect()),
        each_scope(ENFORCED, &|scope| Some(flag(scope.is_enforced()))),
        each_scope(ACTIVE_CERTIFICATES, &|scope| Some(scope.valid(second) as f64)),
        each_scope(RUNWAY_END, &|scope| Some(scope.runway_end(second)? as f64)),
        each_scope(UNKNOWN_EXPIRY, &|scope| Some(scope.of_unknown_expiry() as f64)),
        VANISHED.one(Some(snapshot.projects().vanished as f64)),
        MALFORMED.one(Some(snapshot.malformed().count as f64)),
        DUPLICATES.one(Some(snapshot.duplicates() as f64)),
    ]
}

fn of_polls(state: &State) -> Vec<MetricFamily> {
    let attempt = state.last_attempt.as_ref();
    let failures = FailureReason::ALL
        .into_iter()
        .zip(state.failures)
        .map(|(reason, count)| POLL_FAILURES.metric(&[("reason", reason.as_str().into())], count as f64));
    vec![
        UP.one(Some(flag(state.up()))),
        POLLS.one(Some(state.polls as f64)),
        POLL_FAILURES.filled(failures.collect()),
        LAST_POLL_DURATION.one(attempt.map(|attempt| attempt.duration.as_secs_f64())),
        LAST_POLL.one(attempt.map(|attempt| attempt.ended_at)),
        LAST_SUCCESS.one(state.last_success_at),
    ]
}
