use std::sync::Arc;

use super::{Contents, Span};
use crate::inventory::Certificate;

/// The anchors in effect in one scope, as far as they decide who is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EnforcedScope {
    /// By certificate id, sorted.
    anchors: Box<[InEffect]>,
    may_hold_more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct InEffect {
    id: Arc<str>,
    /// What the API says.
    dates: Span,
    is_read: bool,
}

impl EnforcedScope {
    /// `may_hold_more`: whether an entry that could not be read might be one more anchor in effect.
    pub(super) fn new<'a>(
        in_effect: impl Iterator<Item = &'a Certificate>,
        contents: &Contents,
        may_hold_more: bool,
    ) -> Self {
        let anchor = |listed: &Certificate| {
            let read = contents.get_key_value(&*listed.id);
            InEffect {
                id: read.map_or_else(|| (*listed.id).into(), |(id, _)| Arc::clone(id)),
                dates: Span::new(listed.valid_at, listed.expires_at),
                is_read: read.is_some_and(|(_, content)| content.certificate().is_some()),
            }
        };
        let mut anchors: Box<[_]> = in_effect.map(anchor).collect();
        anchors.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Self { anchors, may_hold_more }
    }

    /// As if these certificates were deactivated everywhere.
    #[must_use]
    pub(super) fn without(&self, ids: &[&str]) -> Self {
        let left = self.anchors.iter().filter(|anchor| !ids.contains(&&*anchor.id));
        Self { anchors: left.cloned().collect(), ..*self }
    }

    /// Whether a certificate is asked for; `None` if no anchor is known to be in effect, but one may be.
    pub(super) fn enforced(&self) -> Option<bool> {
        if self.anchors.is_empty() && self.may_hold_more {
            return None;
        }
        Some(!self.anchors.is_empty())
    }

    /// Whether there may be an anchor in effect of which the certificate has not been read.
    pub(super) fn has_unread(&self) -> bool {
        self.may_hold_more || self.anchors.iter().any(|anchor| !anchor.is_read)
    }

    /// The anchors in effect of which the certificate has not been read.
    pub(super) fn unread(&self) -> impl Iterator<Item = &str> {
        self.anchors.iter().filter(|anchor| !anchor.is_read).map(|anchor| &*anchor.id)
    }

    /// When an anchor is valid by the API; `None` if it is not in effect.
    pub(super) fn dates(&self, id: &str) -> Option<Span> {
        let position = self.anchors.binary_search_by(|anchor| (*anchor.id).cmp(id)).ok()?;
        Some(self.anchors[position].dates)
    }
}
