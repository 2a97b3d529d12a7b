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
    /// The first instant at which it is valid. Missing: it always has been, unless `has_unreadable_date`.
    pub valid_at: Option<UnixSeconds>,
    /// The first instant at which it is no longer valid. Missing: it stays valid, unless `has_unreadable_date`.
    pub expires_at: Option<UnixSeconds>,
    /// Whether `expires_at` is that of its PEM, since the list gives none.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub expires_at_from_pem: bool,
    /// Whether the list gives `valid_at` or `expires_at`, but not so that it can be read, and nothing else tells it.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub has_unreadable_date: bool,
}

impl Certificate {
    /// Takes the dates of its PEM where the list gives none.
    pub(super) fn fill_dates(&mut self, (valid_at, expires_at): (UnixSeconds, UnixSeconds)) {
        self.expires_at_from_pem |= self.expires_at.is_none();
        self.valid_at.get_or_insert(valid_at);
        self.expires_at.get_or_insert(expires_at);
        self.has_unreadable_date = false;
    }

    /// Takes the dates of an earlier read where this one's cannot be read or are missing, since no request changes a date.
    /// Returns whether the list has stopped giving `expires_at`.
    pub(crate) fn keep_dates(&mut self, before: &Self) -> bool {
        let is_missing = self.expires_at.is_none() && !self.has_unreadable_date;
        let was_listed = before.expires_at.is_some() && !before.expires_at_from_pem;
        self.expires_at_from_pem = self.expires_at.is_none() && before.expires_at_from_pem;
        self.valid_at = self.valid_at.or(before.valid_at);
        self.expires_at = self.expires_at.or(before.expires_at);
        self.has_unreadable_date &= before.has_unreadable_date && self.lacks_date();
        is_missing && was_listed
    }

    pub(super) fn lacks_date(&self) -> bool {
        self.valid_at.is_none() || self.expires_at.is_none()
    }
}

impl Identified for Certificate {
    fn id(&self) -> &str {
        &self.id
    }

    fn take_worse(&mut self, other: &Self) -> bool {
        let facts = |it: &Self| (it.active, it.valid_at, it.expires_at, it.has_unreadable_date);
        let contradicts = facts(self) != facts(other);
        self.active |= other.active;
        self.valid_at = self.valid_at.max(other.valid_at);
        self.expires_at = [self.expires_at, other.expires_at].into_iter().flatten().min();
        self.has_unreadable_date |= other.has_unreadable_date;
        self.has_unreadable_date &= self.lacks_date();
        contradicts
    }
}
