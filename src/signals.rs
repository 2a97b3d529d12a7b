//! What signals ask of the process.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking::{BoundedIo, IO_TIMEOUT};

/// Whether there are the descriptors that a runtime needs to receive signals: without them, building one panics.
pub fn require_descriptors() -> io::Result<()> {
    let pairs: io::Result<Vec<_>> = (0..4).map(|_| UnixStream::pair()).collect();
    pairs.map(drop)
}

/// The name of the first SIGTERM or SIGINT from now on.
pub fn termination() -> io::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Cancelled by the first SIGTERM or SIGINT.
pub fn shutdown() -> io::Result<CancellationToken> {
    let termination = termination()?;
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        let name = termination.await;
        tracing::info!(signal = name, "shutting down");
        signalled.cancel();
    });
    Ok(shutdown)
}

/// What `load` returns after each SIGHUP. It may block; where that takes too long, it is an error.
pub fn reloads<T: Send + 'static, E: From<io::Error> + Send + 'static>(
    load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
) -> io::Result<mpsc::Receiver<Result<T, E>>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    let load = Arc::new(load);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let load = Arc::clone(&load);
            // Of its own: what the next one reads may be elsewhere.
            let io = BoundedIo::default();
            let loaded = io.run(Instant::now() + IO_TIMEOUT, move || load()).await;
            if sender.send(loaded.unwrap_or_else(|error| Err(error.into()))).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Makes a write beyond the limit of a file's size fail like one on a full disk. By default SIGXFSZ ends the process.
pub fn survive_file_size_limit() -> io::Result<()> {
    // A handler stays for good, also without a listener.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
