use std::collections::BTreeMap;
use std::sync::Arc;

use memchr::memmem;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Span, X509};
use crate::pem;

/// The contents of the anchors, by certificate id. One that is not here has not been read.
pub type Contents = BTreeMap<Arc<str>, Arc<AnchorContent>>;

/// An anchor's PEM, and what stands in it. Stored as its PEM.
#[derive(Debug, PartialEq, Eq)]
pub struct AnchorContent {
    pem: Box<str>,
    /// The first certificate, which alone is the anchor; `None` if it cannot be read.
    certificate: Option<Arc<X509>>,
    pub(super) has_several: bool,
}

impl AnchorContent {
    pub fn from_pem(pem: &str) -> Self {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        const END: &str = "-----END CERTIFICATE-----";
        let mut begins = memmem::find_iter(pem.as_bytes(), BEGIN);
        // What follows the first certificate may be damaged: it counts for nothing.
        let first = begins.next().map(|begin| {
            let length = pem[begin..].find(END).map_or(pem.len() - begin, |end| end + END.len());
            &pem[begin..begin + length]
        });
        let certificate = first.and_then(|first| {
            let read = pem::certificates(first.as_bytes()).ok()?;
            X509::new(read.into_iter().next()?.der).map(Arc::new)
        });
        Self { pem: pem.into(), certificate, has_several: begins.next().is_some() }
    }

    pub fn certificate(&self) -> Option<&Arc<X509>> {
        self.certificate.as_ref()
    }

    /// From the `notBefore` to the `notAfter` of its certificate; `None` if that cannot be read.
    pub fn valid(&self) -> Option<Span> {
        Some(self.certificate()?.valid())
    }
}

impl Serialize for AnchorContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pem.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnchorContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_pem(&Box::<str>::deserialize(deserializer)?))
    }
}
