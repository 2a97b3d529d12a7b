//! One poll, a verdict and an exit code, for those who have no Prometheus: people at a terminal, cron, monitoring plugins.

mod output;
mod spinner;

use std::io;
use std::path::Path;
use std::sync::Arc;

use prometheus::Registry;

use crate::atomic_file;
use crate::cli::{Check, Format};
use crate::config::Loaded;
use crate::exposition::{Exposition, ExpositionError};
use crate::inventory::{Thresholds, unix_now};
use crate::openai::{self, Client, ClientError};
use crate::poll_state::PollState;
use crate::poller::{Poller, PollerConfig, StateFileError};
pub use crate::presentation::Status;
use crate::presentation::Summary;

/// Readable to all, less the process's umask: the node exporter is another user.
const OUTPUT_FILE_MODE: u32 = 0o666;

/// Why there is no verdict, or nowhere to put it.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("--critical must not be longer than --warning")]
    Thresholds,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    #[error("a metric of the client cannot be made: {0}")]
    ClientMetrics(#[from] prometheus::Error),
    #[error(transparent)]
    Metrics(#[from] ExpositionError),
    #[error("the check cannot be encoded: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the output file {} cannot be written: {source}", path.display())]
    File { path: Box<Path>, source: io::Error },
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

impl Status {
    /// The exit code, as monitoring plugins have it.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Polls once and prints what came of it.
pub async fn run(
    Loaded { config, credentials }: Loaded,
    check: &Check,
) -> Result<Status, CheckError> {
    if check.critical > check.warning {
        return Err(CheckError::Thresholds);
    }
    let thresholds =
        Thresholds { warning: check.warning.as_secs_f64(), critical: check.critical.as_secs_f64() };
    let client = Client::new(&config.api, Arc::new(openai::Metrics::new(&Registry::new())?))?;
    let pages = Arc::clone(&client.pages);
    let poller = PollerConfig::new(Arc::new(client), &config, credentials);
    // The state file is the daemon's: a check reports what it has read itself, and keeps nothing.
    let (poller, _) = Poller::new(poller, None, &config.api.base_url).await?;
    let state = spinner::with_spinner(poller.once(), &pages).await;
    let now = unix_now();
    let summary = Summary::new(&state, now, thresholds);
    let text = report(check.output, &summary, &state, thresholds, now)?;
    match &check.output_file {
        // Keep the previous complete file rather than write a partial one.
        Some(_) if !state.up() => {}
        Some(path) => {
            let plain = anstream::adapter::strip_str(&text).to_string();
            atomic_file::replace(path, &[plain.as_bytes()], OUTPUT_FILE_MODE)
                .map_err(|source| CheckError::File { path: path.as_path().into(), source })?;
        }
        None => output::print(&text).map_err(CheckError::Output)?,
    }
    // Report the failure on stderr when nothing on stdout does.
    if !state.up() && (check.output_file.is_some() || check.output == Format::Prometheus) {
        output::eprint(&summary.message());
    }
    Ok(summary.status)
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
        Format::Table => output::table(summary),
        Format::Json => output::json(summary, state, now)?,
        Format::Nagios => output::nagios(summary, thresholds, now),
        // Without a snapshot there is nothing to measure.
        Format::Prometheus if state.snapshot.is_none() => String::new(),
        Format::Prometheus => Exposition::of_state_only().text(state, now)?.collect(),
    })
}

/// The line that a monitoring plugin prints if it cannot even begin.
pub fn unknown(check: &Check, error: &dyn std::error::Error) -> Option<String> {
    (check.output == Format::Nagios)
        .then(|| output::nagios_line(Status::Unknown, &error.to_string(), ""))
}
