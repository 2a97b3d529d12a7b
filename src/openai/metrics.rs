use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::Endpoint;

#[derive(Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    retries: IntCounter,
    duration: Histogram,
    /// No series until there is a client certificate.
    client_certificate_not_after: IntGaugeVec,
}

/// In seconds: from a fast answer nearby to twice the default of `api.request_timeout`.
const DURATION_BUCKETS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            // The library tells series apart by a hash over their label values joined without a separator; no two pairs
            // of these two closed sets join to the same text.
            requests: IntCounterVec::new(
                Opts::new(
                    "openai_cert_exporter_api_requests_total",
                    "Requests to the OpenAI API, by endpoint and status code; the code is \"timeout\" or \"network\" where \
                     there was no answer.",
                ),
                &["endpoint", "code"],
            )?,
            retries: IntCounter::new(
                "openai_cert_exporter_api_retries_total",
                "Requests to the OpenAI API that were a repetition of one that had failed.",
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "openai_cert_exporter_api_request_duration_seconds",
                    "Time from sending a request to the OpenAI API to having its whole answer, or giving up.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
            )?,
            client_certificate_not_after: IntGaugeVec::new(
                Opts::new(
                    "openai_cert_exporter_client_certificate_not_after_timestamp_seconds",
                    "When the client certificate that is presented to the OpenAI API expires, as a Unix time.",
                ),
                &[],
            )?,
        })
    }

    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let collectors: [Box<dyn Collector>; 4] = [
            Box::new(self.requests.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.client_certificate_not_after.clone()),
        ];
        collectors.into_iter().try_for_each(|collector| registry.register(collector))
    }

    pub(super) fn requested(&self, endpoint: Endpoint, code: &str, took: Duration) {
        self.requests.with_label_values(&[endpoint.as_str(), code]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn client_certificate_ends(&self, at: i64) {
        self.client_certificate_not_after.with_label_values::<&str>(&[]).set(at);
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }
}
