use super::{Identified, UnixSeconds};

/// One trust anchor as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Opaque identifier, never empty.
    pub id: Box<str>,
    /// What people call it; the only field that can be changed later.
    pub name: Option<Box<str>>,
    /// Whether it is activated in the scope whose list this is.
    pub active: bool,
    /// When it was uploaded.
    pub created_at: Option<UnixSeconds>,
    /// The first instant at which it is valid; without it, it has always been.
    pub valid_at: Option<UnixSeconds>,
    /// The first instant at which it is no longer valid; without it, it stays valid.
    pub expires_at: Option<UnixSeconds>,
}

impl Identified for Certificate {
    fn id(&self) -> &str {
        &self.id
    }
}
