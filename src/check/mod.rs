//! One poll, a verdict and an exit code, for those who have no Prometheus: people at a terminal, cron, monitoring plugins.

mod output;
mod spinner;
mod table;
mod textfile;
mod what_if;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;

use crate::atomic_file;
use crate::cli::{Check, Format, Report};
use crate::config::{Loaded, values};
use crate::exposition::ExpositionError;
use crate::inventory::{Thresholds, unix_now};
use crate::openai::{self, Client, ClientError};
use crate::poll_state::{FailedList, FailureReason, ListName, PollResult, PollState, PollTiming};
use crate::poller::{Poller, PollerConfig, StateFileError};
pub use crate::presentation::Status;
use crate::presentation::Summary;
use crate::signals;
use crate::terminal::Size;

/// Readable to all, less the process's umask: the node exporter is another user.
const OUTPUT_FILE_MODE: u32 = 0o666;
/// Monitoring systems wait a minute for a plugin.
const MAX_DEFAULT_TIMEOUT: Duration = Duration::from_secs(50);

/// Why there is no verdict, or nowhere to put it.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("--critical must not be longer than --warning")]
    Thresholds,
    #[error("--without and --at cannot be combined with --output prometheus")]
    AssumptionAsSeries,
    #[error("--without: no list has a certificate with the id {0}")]
    UnknownCertificate(String),
    #[error("--label needs --output prometheus")]
    LabelWithoutSeries,
    #[error(
        "--label must be NAME=VALUE, with a name of letters, digits and underscores that no series has yet"
    )]
    Label,
    #[error("--output-file {}", values::SECRET_AS_PATH)]
    SecretAsPath,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    #[error("a metric of the client cannot be made: {0}")]
    ClientMetrics(#[from] prometheus::Error),
    #[error(transparent)]
    Metrics(#[from] ExpositionError),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
    #[error("the check cannot be encoded: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the output file {} cannot be written: {source}", path.display())]
    File { path: Box<Path>, source: io::Error },
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

impl Status {
    /// The exit code of monitoring plugins: the variant's position in [`Status`].
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Refuses what cannot hold whatever is configured, before anything is read.
pub fn verify(check: &Check) -> Result<(), CheckError> {
    textfile::constant_labels(&check.report)?;
    let is_assumed = check.at.is_some() || !check.without.is_empty();
    if is_assumed && check.report.output == Format::Prometheus {
        return Err(CheckError::AssumptionAsSeries);
    }
    if check.critical > check.warning { Err(CheckError::Thresholds) } else { Ok(()) }
}

/// Polls once and prints what came of it.
pub async fn run(
    Loaded { mut config, credentials }: Loaded,
    check: &Check,
) -> Result<Status, CheckError> {
    verify(check)?;
    let labels = textfile::constant_labels(&check.report)?;
    let thresholds =
        Thresholds { warning: check.warning.as_secs_f64(), critical: check.critical.as_secs_f64() };
    let (timeout, deadline_setting) = match check.timeout {
        Some(timeout) => (timeout, "--timeout"),
        None if config.poll.timeout > MAX_DEFAULT_TIMEOUT => {
            (MAX_DEFAULT_TIMEOUT, "50s by default; --timeout sets another limit")
        }
        None => (config.poll.timeout, "poll.timeout"),
    };
    config.poll.timeout = timeout;
    let mut client = Client::new(&config.api, Arc::new(openai::Metrics::new(&Registry::new())?))?;
    client.deadline_setting = deadline_setting;
    let progress = Arc::clone(&client.progress);
    let poller = PollerConfig::new(Arc::new(client), &config, credentials);
    // The state file is the daemon's: a check reports what it has read itself, and keeps nothing.
    let (poller, _) = Poller::new(poller, None, &config.api.base_url).await?;
    let termination = signals::termination().map_err(CheckError::Signals)?;
    let state = tokio::select! {
        state = spinner::with_spinner(poller.once(), &progress) => state,
        signal = termination => return Err(CheckError::Interrupted(signal)),
    };
    let read_at = unix_now();
    let now = check.at.unwrap_or(read_at);
    let read = Arc::clone(&state);
    let state = what_if::apply(state, check, now)?;
    let mut summary = Summary::new(&state, now, thresholds);
    let before = Summary::new(&read, read_at, thresholds);
    what_if::tell(check, &before, &mut summary, read_at);
    let text = match check.report.output {
        Format::Prometheus => {
            textfile::page(&state, check.report.output_file.as_deref(), &labels, now)?
        }
        Format::Table => table::table(&summary, room(check)),
        format => report(format, &summary, &state, thresholds, now)?,
    };
    deliver(&check.report, &text)?;
    if !state.up() && !is_printed(&check.report) {
        output::eprint(&summary.message());
    }
    Ok(summary.status)
}

/// What a table may take.
fn room(check: &Check) -> Size {
    let terminal = match check.report.output_file {
        None => Size::of(io::stdout()),
        Some(_) => Size::UNLIMITED,
    };
    if check.all { Size { rows: usize::MAX, ..terminal } } else { terminal }
}

/// What is printed of a state.
pub(crate) fn report(
    format: Format,
    summary: &Summary<'_>,
    state: &Arc<PollState>,
    thresholds: Thresholds,
    now: f64,
) -> Result<String, CheckError> {
    Ok(match format {
        Format::Table => table::table(summary, Size::UNLIMITED),
        Format::Json => output::json(summary, state, now)?,
        // By the same clock as the summary's words.
        Format::Nagios => output::nagios(summary, thresholds, state.earliest_time(now)),
        Format::Prometheus => textfile::page(state, None, "", now)?,
    })
}

/// Whether standard output says what has failed.
fn is_printed(report: &Report) -> bool {
    report.output_file.is_none() && report.output != Format::Prometheus
}

fn deliver(report: &Report, text: &str) -> Result<(), CheckError> {
    match &report.output_file {
        Some(path) if values::is_secret(&path.to_string_lossy()) => Err(CheckError::SecretAsPath),
        Some(path) => {
            let plain = anstream::adapter::strip_str(text).to_string();
            atomic_file::replace(path, &[plain.as_bytes()], OUTPUT_FILE_MODE)
                .map_err(|source| CheckError::File { path: path.as_path().into(), source })
        }
        None => output::print(text).map_err(CheckError::Output),
    }
}

/// Tells, in the form that is asked for, that there is no verdict.
pub fn tell_failure(report: &Report, message: &str) {
    let now = unix_now();
    let text = match (report.output, textfile::constant_labels(report)) {
        (Format::Nagios, _) => Some(output::nagios_line(Status::Unknown, message, "")),
        (Format::Json, _) => output::json_failure(message, now).ok(),
        (Format::Prometheus, Ok(labels)) => {
            let file = report.output_file.as_deref();
            textfile::page(&failed_poll(message, now), file, &labels, now).ok()
        }
        (Format::Table, _) if report.output_file.is_some() => {
            Some(format!("{}  {message}\n", Status::Unknown))
        }
        // Series without their labels could be those of another organization.
        (Format::Table, _) | (Format::Prometheus, Err(_)) => None,
    };
    let is_told = text.is_some_and(|text| deliver(report, &text).is_ok());
    match &report.output_file {
        Some(_) if !is_told => {
            output::eprint(&format!("{message}; the output file was not updated"));
        }
        None if is_told && is_printed(report) => {}
        _ => output::eprint(message),
    }
}

/// The state after a poll that could not even begin.
fn failed_poll(message: &str, now: f64) -> Arc<PollState> {
    // What is configured is not known.
    let timing = PollTiming { interval: Duration::from_secs(300), timeout: MAX_DEFAULT_TIMEOUT };
    let mut state = PollState::new(Instant::now(), timing);
    let failed = FailedList {
        list: ListName::Organization,
        reason: FailureReason::Credentials,
        status: None,
        request_id: None,
        message: message.into(),
    };
    state
        .record(None, PollResult { ended_at: now, duration: Duration::ZERO, failed: vec![failed] });
    Arc::new(state)
}
