//! How urgent it is: certificates by their own dates, scopes by their coverage.

use super::{CertificateUse, SECONDS_PER_DAY, Scope, UnixSeconds};

/// How much time must be left before an end, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Less time left is a warning.
    pub warning: f64,
    /// Less time left is critical, and so is anything that has ended.
    pub critical: f64,
}

impl Default for Thresholds {
    /// 30 days and 7, as the alert rules have it.
    fn default() -> Self {
        Self { warning: 30.0 * SECONDS_PER_DAY, critical: 7.0 * SECONDS_PER_DAY }
    }
}

impl Thresholds {
    /// The severity of an end at `end`.
    pub fn judge(self, end: UnixSeconds, now: f64) -> Severity {
        let left = end as f64 - now;
        if left <= 0.0 || left < self.critical {
            Severity::Critical
        } else if left < self.warning {
            Severity::Warning
        } else {
            Severity::Ok
        }
    }
}

/// How soon somebody has to act. It is shown as a colour with an icon; the state is always in words beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Severity {
    /// Neither good nor bad: no request depends on it, or it is not known.
    Off,
    Ok,
    Warning,
    Critical,
}

impl CertificateUse {
    /// A superseded certificate is at most a warning, not silent: clients that still use the old CA will be refused when it
    /// expires.
    pub fn severity(&self, now: f64, thresholds: Thresholds) -> Severity {
        if !self.is_active() {
            return Severity::Off;
        }
        let by_end =
            self.certificate.expires_at.map_or(Severity::Ok, |end| thresholds.judge(end, now));
        let by_begin = if self.is_not_yet_valid(now) { Severity::Warning } else { Severity::Ok };
        let worst = by_end.max(by_begin);
        if self.is_superseded() { worst.min(Severity::Warning) } else { worst }
    }
}

/// What mutual TLS means for the requests of a scope at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// No certificate is active: any client is let in.
    NotEnforced,
    /// No certificate is known to be active, but an entry that cannot be read may be.
    Unknown,
    /// No active certificate is known to be valid, but an entry that cannot be read in full may be: requests may be refused.
    InDoubt,
    /// No active certificate is valid: every request is refused. `since` is the end of the last one whose end is known.
    Refused { since: Option<UnixSeconds> },
    /// An active certificate is valid without a gap until this instant.
    Covered { until: UnixSeconds },
    /// Only certificates without a known end are valid. `since` is the end of the last one whose end is known.
    Undated { since: Option<UnixSeconds> },
}

impl Coverage {
    pub(crate) fn of(scope: &Scope, now: UnixSeconds) -> Self {
        match scope.runway_end(now) {
            _ if scope.enforced() == Some(false) => Self::NotEnforced,
            _ if scope.enforced().is_none() => Self::Unknown,
            _ if scope.valid(now).is_none() => Self::InDoubt,
            since if scope.valid(now) == Some(0) => Self::Refused { since },
            Some(until) if until > now => Self::Covered { until },
            since => Self::Undated { since },
        }
    }

    /// Whether nothing that cannot be read may make it another one.
    pub(crate) fn is_known(self) -> bool {
        !matches!(self, Self::Unknown | Self::InDoubt)
    }

    /// When coverage by certificates with a known end ends, or ended.
    pub(crate) fn end(self) -> Option<UnixSeconds> {
        match self {
            Self::NotEnforced | Self::Unknown | Self::InDoubt => None,
            Self::Covered { until } => Some(until),
            Self::Refused { since } | Self::Undated { since } => since,
        }
    }

    /// When an active certificate of `scope` is valid again after coverage has ended; none if that is not known.
    pub(crate) fn resumes_at(self, scope: &Scope, now: UnixSeconds) -> Option<UnixSeconds> {
        match self {
            Self::Covered { until } => {
                scope.coverage().iter().map(|(begin, _)| *begin).find(|begin| *begin > until)
            }
            Self::Refused { .. } => {
                let begins = scope.boundaries().filter(|begin| *begin > now);
                begins.filter(|begin| scope.valid(*begin) > Some(0)).min()
            }
            Self::NotEnforced | Self::Unknown | Self::InDoubt | Self::Undated { .. } => None,
        }
    }

    pub(crate) fn severity(self, now: f64, thresholds: Thresholds) -> Severity {
        match self {
            Self::NotEnforced => Severity::Off,
            // Somebody must look, but nobody is known to be refused; what has expired is critical by itself.
            Self::Unknown | Self::InDoubt | Self::Undated { since: None } => Severity::Warning,
            // Anchors without a known end do not count towards a runway, here as in the alert rules.
            Self::Refused { .. } | Self::Undated { since: Some(_) } => Severity::Critical,
            Self::Covered { until } => thresholds.judge(until, now),
        }
    }

    /// Sorts what is refused first, then what is not known, then by what ends first, what is not enforced last.
    pub(crate) fn order(self) -> (u8, UnixSeconds) {
        match self {
            Self::Refused { since } => (0, since.unwrap_or(UnixSeconds::MIN)),
            Self::Unknown | Self::InDoubt => (1, UnixSeconds::MIN),
            Self::Undated { since: Some(since) } => (2, since),
            Self::Covered { until } => (2, until),
            Self::Undated { since: None } => (3, UnixSeconds::MAX),
            Self::NotEnforced => (4, UnixSeconds::MAX),
        }
    }
}
