use crate::inventory::UnixSeconds;

/// From one instant (inclusive) to another (exclusive); empty if the end is not after the begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub begin: UnixSeconds,
    pub end: UnixSeconds,
}

impl Span {
    /// Where a date is missing, it bounds nothing.
    pub(super) fn new(begin: Option<UnixSeconds>, end: Option<UnixSeconds>) -> Self {
        Self { begin: begin.unwrap_or(UnixSeconds::MIN), end: end.unwrap_or(UnixSeconds::MAX) }
    }

    pub fn contains(&self, instant: UnixSeconds) -> bool {
        (self.begin..self.end).contains(&instant)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end <= self.begin
    }

    /// What lies in both.
    pub(super) fn and(self, other: Self) -> Self {
        Self { begin: self.begin.max(other.begin), end: self.end.min(other.end) }
    }
}
