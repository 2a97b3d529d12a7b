//! What signals ask of the process.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::blocking::spawn_blocking;

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

/// What `load` returns after each SIGHUP. It may block.
pub fn reloads<T: Send + 'static>(
    load: impl Fn() -> T + Send + Sync + 'static,
) -> io::Result<mpsc::Receiver<T>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    let load = Arc::new(load);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let load = Arc::clone(&load);
            let Ok(loaded) = spawn_blocking(move || load()).await else { return };
            if sender.send(loaded).await.is_err() {
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
