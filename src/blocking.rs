//! Work that blocks, on threads of its own. tokio's pool panics, and so ends the process, where the system starts no further
//! thread (a limit on processes, or too little memory).

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

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
    let take = move || lock(&work).take();
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

/// Locks, also after a panic, which leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long anything waits for files.
pub(crate) const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of file I/O for a caller that may block, at the start for instance. What takes longer than `timeout` goes on by
/// itself. Where no thread can be started, it is done here.
pub(crate) fn wait_for<T: Send + 'static>(
    timeout: Duration,
    io: impl Fn() -> T + Send + Sync + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    let io = Arc::new(io);
    let io_there = Arc::clone(&io);
    match thread::Builder::new().name("blocking".into()).spawn(move || sender.send(io_there())) {
        Ok(_) => receiver.recv_timeout(timeout).map_err(|_| timed_out()),
        Err(_) => Ok(io()),
    }
}

fn timed_out() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "the file system does not respond")
}

/// File I/O that a dead file system may block for ever. What takes too long goes on by itself, and nothing else is begun
/// before it ends, so that no more than one thread hangs.
#[derive(Clone, Debug, Default)]
pub(crate) struct BoundedIo(Arc<tokio::sync::Mutex<()>>);

impl BoundedIo {
    /// The result of `io`, unless that takes until `deadline` or longer than [`IO_TIMEOUT`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        io: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let under_way = Arc::clone(&self.0).try_lock_owned().map_err(|_| timed_out())?;
        let io = try_spawn(move || {
            let result = io();
            drop(under_way);
            result
        });
        let deadline = deadline.min(Instant::now() + IO_TIMEOUT);
        timeout_at(deadline, io).await.map_err(|_| timed_out())?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn io_that_hangs_is_given_up_and_no_more_is_begun_before_it_ends() {
        let (io, started) = (BoundedIo::default(), Instant::now());
        let ((release, disk), (other, never)) = (channel::<()>(), channel());
        let hung = io.run(started + IO_TIMEOUT * 2, move || disk.recv()).await;
        assert_eq!(
            (hung.unwrap_err().kind(), started.elapsed()),
            (ErrorKind::TimedOut, IO_TIMEOUT)
        );
        let refused = io.run(started + IO_TIMEOUT * 2, move || other.send(())).await;
        assert_eq!(
            (refused.unwrap_err().kind(), started.elapsed()),
            (ErrorKind::TimedOut, IO_TIMEOUT)
        );
        assert!(never.recv().is_err());
        tokio::time::resume();
        drop(release);
        while io.0.try_lock().is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(io.run(Instant::now() + IO_TIMEOUT, || 7).await.unwrap(), 7);
    }

    #[test]
    fn start_waits_for_a_file_but_not_for_ever() {
        let (release, disk) = channel::<()>();
        let disk = Mutex::new(disk);
        let hung = wait_for(Duration::from_millis(10), move || disk.lock().unwrap().recv());
        assert_eq!(hung.unwrap_err().to_string(), "the file system does not respond");
        drop(release);
        assert_eq!(wait_for(IO_TIMEOUT, || 7).unwrap(), 7);
    }

    #[tokio::test]
    async fn work_is_done_on_another_thread_also_if_nobody_waits() {
        let here = thread::current().id();
        assert_ne!(spawn_blocking(|| thread::current().id()).await.unwrap(), here);
        assert_ne!(try_spawn(|| thread::current().id()).await.unwrap(), here);
        let (sender, receiver) = channel();
        drop(try_spawn(move || sender.send("done")));
        assert_eq!(receiver.recv().unwrap(), "done");
    }
}
