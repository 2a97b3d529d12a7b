use std::collections::BTreeMap;
use std::sync::Arc;

use super::pem::{blocks, certificates};
use super::{Span, X509};

/// The contents of the anchors, by certificate id. One that is not here has not been read.
pub type Contents = BTreeMap<Arc<str>, Arc<AnchorContent>>;

/// What stands in an anchor's PEM.
#[derive(Debug, PartialEq, Eq)]
pub struct AnchorContent {
    /// The first certificate, which alone is the anchor; `None` if it cannot be read.
    certificate: Option<Arc<X509>>,
    pub(super) has_several: bool,
}

impl AnchorContent {
    pub fn from_pem(pem: &[u8]) -> Self {
        Self {
            certificate: certificates(pem).next().flatten().map(Arc::new),
            has_several: blocks(pem).nth(1).is_some(),
        }
    }

    pub fn certificate(&self) -> Option<&Arc<X509>> {
        self.certificate.as_ref()
    }

    /// From the `notBefore` to the `notAfter` of its certificate; `None` if that cannot be read.
    pub fn valid(&self) -> Option<Span> {
        Some(self.certificate()?.valid())
    }
}
