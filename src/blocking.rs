//! Work that blocks, on threads of its own. tokio's pool panics, and so ends the process, where the system starts no further
//! thread (a limit on processes, or too little memory).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// Begins `work` at once, also if nobody awaits its result. An error: no thread could be started.
pub(crate) fn try_spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = io::Result<T>> + Send {
    let (sender, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name("blocking".into());
    let started = thread.spawn(move || {
        // Whoever asked may have given up.
        let _ = sender.send(work());
    });
    async move {
        if let Err(error) = started {
            let cause =
                format!("no thread can be started ({error}); is there a limit on processes?");
            return Err(io::Error::new(error.kind(), cause));
        }
        // A panic ends the process, so there is a result.
        receiver.await.map_err(io::Error::other)
    }
}

/// The same for work that ends soon and never hangs: where no thread can be started, it is done here, and everything else
/// waits. An error: the work has panicked.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = io::Result<T>> + Send {
    let work = Arc::new(Mutex::new(Some(work)));
    let take = move || work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let take_there = take.clone();
    let done = try_spawn(move || take_there().map(|work| work()));
    async move {
        match done.await {
            Ok(Some(result)) => Ok(result),
            // The thread that should have taken it was never there.
            _ => take().map(|work| work()).ok_or_else(|| io::Error::other("it has panicked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_on_another_thread_also_if_nobody_waits() {
        let here = thread::current().id();
        assert_ne!(spawn_blocking(|| thread::current().id()).await.unwrap(), here);
        assert_ne!(try_spawn(|| thread::current().id()).await.unwrap(), here);
        let (sender, receiver) = std::sync::mpsc::channel();
        drop(try_spawn(move || sender.send("done")));
        assert_eq!(receiver.recv().unwrap(), "done");
    }
}
