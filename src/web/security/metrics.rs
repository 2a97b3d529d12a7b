use prometheus::{
    IntGauge, IntGaugeVec, Registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};

use super::Rules;

/// What became of the web configuration file. All is well while there is none.
#[derive(Clone)]
pub struct Metrics {
    successful: IntGauge,
    /// A vector without labels: a plain gauge would export 0 where there is no TLS.
    certificate_not_after: IntGaugeVec,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let successful = register_int_gauge_with_registry!(
            "openai_cert_exporter_web_config_last_reload_successful",
            "Whether the web configuration file and those that it names, as they were read last, are in force: 1, also without \
             such a file, or 0.",
            registry
        )?;
        successful.set(1);
        let certificate_not_after = register_int_gauge_vec_with_registry!(
            "openai_cert_exporter_web_certificate_not_after_timestamp_seconds",
            "When the certificate that this port presents expires, as a Unix time; absent without TLS.",
            &[],
            registry
        )?;
        Ok(Self { successful, certificate_not_after })
    }

    pub(super) fn taken(&self, rules: &Rules) {
        self.successful.set(1);
        if let Some(not_after) = rules.tls.as_ref().and_then(|tls| tls.not_after) {
            self.certificate_not_after.with_label_values::<&str>(&[]).set(not_after);
        }
    }

    pub(super) fn refused(&self) {
        self.successful.set(0);
    }

    /// Whether the last version was refused, and an earlier one is in force.
    pub fn is_refused(&self) -> bool {
        self.successful.get() == 0
    }
}
