//! One poll, a verdict and an exit code, for those who have no Prometheus: people at a terminal, cron, monitoring plugins.
//!
//! [`poll`] asks, [`Verdict`] judges, [`output`] says it in each of the formats, and [`mod@file`]
//! puts it where another program reads it.

mod file;
mod output;
mod spinner;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Check, Format};
use crate::config::Loaded;
use crate::inventory::{Overview, Severity, State, Thresholds, unix_now};
use crate::openai::{self, Client, ClientError};
use crate::poller::{Poller, Settings};

/// Why there is no verdict, or nowhere to put it.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The thresholds contradict each other.
    #[error("--critical must not be longer than --warning")]
    Thresholds,
    /// The upstream client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A metric of the client cannot be made.
    #[error("a metric of the client cannot be made: {0}")]
    ClientMetrics(#[from] prometheus::Error),
    /// The metrics cannot be written.
    #[error(transparent)]
    Metrics(#[from] crate::exposition::ExpositionError),
    /// The document cannot be written.
    #[error("the check cannot be encoded: {0}")]
    Json(#[from] serde_json::Error),
    /// The file cannot be replaced.
    #[error("the output file {} cannot be written: {source}", path.display())]
    File {
        /// The file.
        path: Box<Path>,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody takes what is printed.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

/// How a check ends, as monitoring plugins do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Ok = 0,
    /// To be done in time.
    Warning = 1,
    /// To be done now.
    Critical = 2,
    /// Nobody knows.
    Unknown = 3,
}

impl Status {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl From<Severity> for Status {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Ok => Self::Ok,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

/// What a poll comes to.
#[derive(Debug)]
struct Verdict<'a> {
    status: Status,
    /// In one or a few sentences, on one line.
    message: String,
    /// None where the poll brought nothing.
    overview: Option<Overview<'a>>,
    thresholds: Thresholds,
    now: f64,
}

impl<'a> Verdict<'a> {
    fn new(state: &'a State, thresholds: Thresholds, now: f64) -> Self {
        let overview = state.snapshot.as_deref().map(|snapshot| Overview::new(snapshot, now, thresholds));
        let fault = state.last_failure.as_ref().map(|failure| {
            let reasons: Vec<_> = failure.failures.iter().map(|reason| reason.as_str()).collect();
            let fault = failure.fault.as_deref().map_or_else(String::new, |fault| format!(" ({fault})"));
            format!("{}{fault}", reasons.join(", "))
        });
        let said = overview.as_ref().map(|overview| {
            let space = if overview.detail.is_empty() { "" } else { " " };
            format!("{}{space}{}", overview.headline, overview.detail)
        });
        let severity = overview.as_ref().map(|overview| overview.severity);
        let (status, message) = match (severity, fault, said) {
            (Some(severity), None, Some(said)) => (severity.into(), said),
            // What was read is bad enough, whatever was not.
            (Some(Severity::Critical), Some(fault), Some(said)) => {
                (Status::Critical, format!("{said} Not every list could be read: {fault}."))
            }
            (_, Some(fault), Some(said)) => (Status::Unknown, format!("Not every list could be read: {fault}. {said}")),
            (_, fault, None) => (Status::Unknown, format!("The poll failed: {}.", fault.unwrap_or_default())),
            (None, None, Some(said)) => (Status::Unknown, said),
        };
        Self { status, message, overview, thresholds, now }
    }
}

/// Polls once and tells what came of it.
pub async fn run(loaded: Loaded, check: &Check) -> Result<Status, CheckError> {
    if check.critical > check.warning {
        return Err(CheckError::Thresholds);
    }
    let thresholds = Thresholds { warning: check.warning.as_secs_f64(), critical: check.critical.as_secs_f64() };
    let state = poll(loaded).await?;
    let verdict = Verdict::new(&state, thresholds, unix_now());
    let text = match check.output {
        Format::Table => output::table(&verdict),
        Format::Json => output::json(&verdict, &state)?,
        Format::Nagios => output::nagios(&verdict),
        // A failed poll knows nothing that a metric could say.
        Format::Prometheus if state.snapshot.is_none() => String::new(),
        Format::Prometheus => output::prometheus(&state)?,
    };
    match &check.output_file {
        // What was read before, as a whole, is worth more than a part.
        Some(_) if !state.up() => {}
        Some(path) => file::replace(path, &anstream::adapter::strip_str(&text).to_string())
            .map_err(|source| CheckError::File { path: path.as_path().into(), source })?,
        None => output::print(&text).map_err(CheckError::Output)?,
    }
    // A person, or cron's mail, is told where nothing else says it.
    if !state.up() && (check.output_file.is_some() || check.output == Format::Prometheus) {
        output::complain(&verdict.message);
    }
    Ok(verdict.status)
}

/// The line that a monitoring plugin prints where it cannot even begin.
#[must_use]
pub fn unknown(check: &Check, error: &dyn std::error::Error) -> Option<String> {
    (check.output == Format::Nagios).then(|| output::plugin_line(Status::Unknown, &error.to_string(), ""))
}

async fn poll(Loaded { config, credentials }: Loaded) -> Result<State, CheckError> {
    let metrics = Arc::new(openai::Metrics::new()?);
    let client = Client::new(&config.api, config.poll.concurrency as usize, metrics)?;
    let pages = client.pages();
    // The state file is the daemon's: a check tells what it has seen itself, and keeps nothing.
    let (poller, _) = Poller::new(Settings::new(client, &config, credentials), None, &config.api.base_url).await;
    Ok(spinner::turn_until(poller.once(), &pages).await)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::inventory::{
        Attempt, Certificate, FailureReason, Listing, Liveness, Malformed, Pace, Projects, RotationGroup, Snapshot,
    };

    const NOW: i64 = 1_767_225_600;

    fn state(ends_in_days: Option<i64>, failures: &[FailureReason]) -> State {
        let pace = Pace { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let mut state = State::new(Liveness { due: Instant::now() }, pace);
        let snapshot = ends_in_days.map(|days| {
            let certificate = Certificate {
                id: "cert_1".into(),
                name: Some("a|b\n'c'".into()),
                active: true,
                created_at: None,
                valid_at: None,
                expires_at: Some(NOW + days * 86_400),
            };
            let list = Listing::new(vec![certificate], Malformed::default());
            let group = RotationGroup::new(regex::Regex::new("(.*)").unwrap());
            Arc::new(Snapshot::new(Arc::new(list), Projects::default(), &group, None))
        });
        let failures: BTreeSet<_> = failures.iter().copied().collect();
        let fault = (!failures.is_empty()).then(|| "answered 503|".into());
        state.record(snapshot, Attempt { ended_at: NOW as f64, duration: Duration::ZERO, failures, fault });
        state
    }

    #[test]
    fn a_plugin_prints_one_line() {
        let thresholds = Thresholds::default();
        for (state, line) in [
            (
                state(Some(90), &[]),
                "OK - Everything is covered until 1 April 2026. Next to expire: a/b\\u{a}'c', in 90 days, on 1 April 2026. | runway_days=90;30:;7: expiry_days=90;30:;7: certificates=1;;;0 active=1;;;0 expired=0;;;0\n",
            ),
            (
                state(Some(3), &[FailureReason::Server]),
                "CRITICAL - The organization is covered for 3 days only, until 4 January 2026, 00:00 UTC. Next to expire: a/b\\u{a}'c', in 3 days, on 4 January 2026, 00:00 UTC. Not every list could be read: server (answered 503/). | runway_days=3;30:;7: expiry_days=3;30:;7: certificates=1;;;0 active=1;;;0 expired=0;;;0\n",
            ),
            (state(None, &[FailureReason::Server]), "UNKNOWN - The poll failed: server (answered 503/).\n"),
        ] {
            assert_eq!(output::nagios(&Verdict::new(&state, thresholds, NOW as f64)), line);
        }
    }

    #[test]
    fn a_part_is_not_enough_to_be_well() {
        for (days, status) in [(90, Status::Unknown), (20, Status::Unknown), (3, Status::Critical)] {
            let state = state(Some(days), &[FailureReason::Timeout]);
            assert_eq!(Verdict::new(&state, Thresholds::default(), NOW as f64).status, status, "{days}");
        }
    }
}
