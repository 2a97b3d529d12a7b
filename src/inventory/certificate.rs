use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::{Identified, UnixSeconds};

/// One trust anchor as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Opaque identifier, never empty.
    pub id: Box<str>,
    /// The only field that can be changed after the upload.
    pub name: Option<Box<str>>,
    /// Whether it is activated in the scope whose list this is.
    pub active: bool,
    /// When it was uploaded.
    pub created_at: Option<UnixSeconds>,
    /// The first instant at which it is valid. Missing: it always has been.
    pub valid_at: Option<UnixSeconds>,
    /// The first instant at which it is no longer valid. Missing: it stays valid.
    pub expires_at: Option<UnixSeconds>,
    /// Whether `expires_at` is that of its PEM, since the list gives none.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub expires_at_from_pem: bool,
}

impl Certificate {
    /// Takes the dates of its PEM where the list gives none.
    pub(super) fn fill_dates(&mut self, (valid_at, expires_at): (UnixSeconds, UnixSeconds)) {
        self.expires_at_from_pem |= self.expires_at.is_none();
        self.valid_at.get_or_insert(valid_at);
        self.expires_at.get_or_insert(expires_at);
    }
}

impl Identified for Certificate {
    fn id(&self) -> &str {
        &self.id
    }
}
