//! Logs: to standard error, as text or JSON. Whoever reads them too slowly, or not at all, misses lines and stops nothing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, Sender, channel};
use std::thread;
use std::time::Duration;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use prometheus::IntCounter;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// How much may wait to be written: more than a thousand lines, since a poll may tell of as many changes.
const MAX_QUEUED_BYTES: usize = 256 << 10;
/// How long the end of the process waits for what is queued. With the time that responses under way have, it stays below
/// the two seconds that an orchestrator is promised.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Standard error, written by a thread of its own: a pipe that nobody reads blocks that thread alone.
#[derive(Clone)]
pub struct Logs {
    queue: Sender<Entry>,
    queued_bytes: Arc<AtomicUsize>,
    dropped: IntCounter,
}

enum Entry {
    Line(Vec<u8>),
    /// Dropped once everything before it has been written.
    Mark {
        _written: Sender<()>,
    },
}

impl Logs {
    /// Without a thread to be had (a limit on processes), lines are written at once.
    #[expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "see below")]
    pub fn start() -> Self {
        let (queue, entries) = channel();
        // Unwrap safety: the name is valid.
        let dropped = IntCounter::new(
            "openai_cert_exporter_log_lines_dropped_total",
            "Lines of the log that could not be written, since nobody read them or writing failed.",
        )
        .unwrap();
        let logs = Self { queue, queued_bytes: Arc::default(), dropped };
        let writer = logs.clone();
        let write = move || entries.iter().for_each(|entry| writer.write_entry(entry));
        let _ = thread::Builder::new().name("log".into()).spawn(write);
        logs
    }

    fn write_entry(&self, entry: Entry) {
        if let Entry::Line(line) = entry {
            if io::stderr().write_all(&line).is_err() {
                self.dropped.inc();
            }
            self.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        }
    }

    /// How many lines could not be written, as a metric.
    pub fn dropped(&self) -> &IntCounter {
        &self.dropped
    }

    /// Waits until all that was logged is written, within a bound.
    pub fn drain(&self) {
        let (mark, written) = channel();
        if self.queue.send(Entry::Mark { _written: mark }).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// A whole line a call, which never fails.
impl Write for Logs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let queued = self.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if queued + line.len() > MAX_QUEUED_BYTES {
            self.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.inc();
        } else if let Err(SendError(entry)) = self.queue.send(Entry::Line(line.into())) {
            self.write_entry(entry);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a panic in any task end the process, after a line in the log; otherwise the process would go on serving stale
/// pages after a task died. Only the location is logged: the message may hold anything.
pub fn end_on_panic(logs: Logs) {
    std::panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panic: this is a bug in openai-cert-exporter");
        logs.drain();
        std::process::abort();
    }));
}

/// Whether a stream is a terminal that takes colours, and nobody has said otherwise (`NO_COLOR`, `TERM=dumb`).
fn has_colors(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Starts logging for the whole process.
///
/// The level is this program's own. Libraries log at `warn` and above only: their debug output may contain
/// secrets.
pub fn init(log: Log, logs: Logs) -> Result<(), TryInitError> {
    let level = LevelFilter::from_level(log.level);
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let registry = tracing_subscriber::registry().with(filter);
    let writer = move || logs.clone();
    match log.format {
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(writer).with_ansi(has_colors(&io::stderr())))
            .try_init(),
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).try_init()
        }
    }
}
