use std::time::Duration;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_histogram_with_registry, register_int_counter_vec_with_registry,
    register_int_counter_with_registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};

use super::Endpoint;

/// What the client counts about its requests. The metrics of certificates are in [`crate::exposition`].
#[derive(Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    pub(super) retries: IntCounter,
    duration: Histogram,
    /// A vector without labels: a plain gauge would export 0 where no client certificate is configured.
    client_certificate_not_after: IntGaugeVec,
    tls_in_use: IntGauge,
}

/// In seconds: from a fast response nearby to twice the default of `api.request_timeout`.
const DURATION_BUCKETS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let tls_in_use = register_int_gauge_with_registry!(
            "openai_cert_exporter_api_tls_last_reload_successful",
            "Whether the files for TLS to the OpenAI API, as they were read last, are in use: 1, also without such files, \
             or 0.",
            registry
        )?;
        tls_in_use.set(1);
        Ok(Self {
            tls_in_use,
            // The library hashes label values joined without a separator. Endpoint names and codes are few and fixed, and
            // no two pairs join to the same text.
            requests: register_int_counter_vec_with_registry!(
                "openai_cert_exporter_api_requests_total",
                "Requests to the OpenAI API, by endpoint and status code; the code is \"timeout\" or \"network\" if \
                 there was no response.",
                &["endpoint", "code"],
                registry
            )?,
            retries: register_int_counter_with_registry!(
                "openai_cert_exporter_api_retries_total",
                "Retried requests to the OpenAI API.",
                registry
            )?,
            duration: register_histogram_with_registry!(
                "openai_cert_exporter_api_request_duration_seconds",
                "Time from sending a request to the OpenAI API to receiving its complete response, or giving up.",
                DURATION_BUCKETS.to_vec(),
                registry
            )?,
            client_certificate_not_after: register_int_gauge_vec_with_registry!(
                "openai_cert_exporter_client_certificate_not_after_timestamp_seconds",
                "When the client certificate that is presented to the OpenAI API expires, as a Unix time.",
                &[],
                registry
            )?,
        })
    }

    /// The end of the client certificate in use (none without one), and whether the files that were read last are in use.
    pub(super) fn tls(&self, not_after: Option<i64>, is_last_in_use: bool) {
        self.tls_in_use.set(is_last_in_use.into());
        let gauge = &self.client_certificate_not_after;
        match not_after {
            Some(not_after) => gauge.with_label_values::<&str>(&[]).set(not_after),
            None => gauge.reset(),
        }
    }

    pub(super) fn requested(&self, endpoint: Endpoint, code: &str, took: Duration) {
        self.requests.with_label_values(&[endpoint.into_str(), code]).inc();
        self.duration.observe(took.as_secs_f64());
    }
}
