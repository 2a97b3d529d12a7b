//! One connection's time: how long it may take over a request's head and over an answer, and how long it may do nothing.
//!
//! hyper has a time-out for heads, but it runs between requests too, and it has none for a client that does not read.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may take over what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the whole head of a request, from its first byte, or from the start of the connection.
    pub(super) head: Duration,
    /// For doing nothing: no byte read, none written.
    pub(super) idle: Duration,
    /// For the whole of an answer, from the end of the request's head. Who reads a byte at a time would otherwise hold on to a
    /// page for ever.
    pub(super) answer: Duration,
}

/// What a connection is doing. Shared between its socket, which sees bytes, and its service, which sees requests.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    phase: Mutex<Phase>,
    /// Nanoseconds from `opened` to the last complete request head; coarser ones would make a request look older than a
    /// connection that came before it.
    last_request: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A head is due.
    Head { since: Instant },
    /// A request is being answered.
    Answering,
    /// Between requests.
    Idle,
}

impl Activity {
    pub(super) fn new() -> Self {
        let opened = Instant::now();
        Self { opened, phase: Mutex::new(Phase::Head { since: opened }), last_request: AtomicU64::new(0) }
    }

    /// When the last request was complete; where there was none, when the connection was opened.
    pub(super) fn last_request(&self) -> Instant {
        self.opened + Duration::from_nanos(self.last_request.load(Ordering::Relaxed))
    }

    pub(super) fn request_complete(&self) {
        let elapsed = self.opened.elapsed().as_nanos().try_into().unwrap_or(u64::MAX);
        self.last_request.store(elapsed, Ordering::Relaxed);
        self.enter(Phase::Answering);
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that fails once its client has used up its time.
pub(super) struct Timed<S> {
    socket: S,
    activity: Arc<Activity>,
    patience: Patience,
    last_byte: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> Timed<S> {
    pub(super) fn new(socket: S, activity: Arc<Activity>, patience: Patience) -> Self {
        let now = Instant::now();
        Self { socket, activity, patience, last_byte: now, timer: Box::pin(sleep_until(now + patience.head)) }
    }

    fn deadline(&self) -> Instant {
        match self.activity.phase() {
            Phase::Head { since } => since + self.patience.head,
            Phase::Answering | Phase::Idle => self.last_byte + self.patience.idle,
        }
    }

    fn bytes_moved(&mut self) {
        self.last_byte = Instant::now();
    }

    fn bytes_read(&mut self) {
        self.bytes_moved();
        if matches!(self.activity.phase(), Phase::Idle) {
            self.activity.enter(Phase::Head { since: self.last_byte });
        }
    }

    /// For when the socket has to wait: waits for the deadline too, and for another one that is given.
    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>, other: Option<Instant>) -> Poll<io::Result<T>> {
        loop {
            let deadline = other.into_iter().fold(self.deadline(), Instant::min);
            // One that has become later is found when the timer runs out.
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buffer) {
            Poll::Pending => self.poll_deadline(cx, None),
            ready @ Poll::Ready(_) => {
                if buffer.filled().len() > before {
                    self.bytes_read();
                }
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Timed<S> {
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            // An answer has not ended when its body has, but when it is written.
            Poll::Pending => {
                let answered = self.activity.last_request() + self.patience.answer;
                self.poll_deadline(cx, Some(answered))
            }
            ready @ Poll::Ready(_) => {
                self.bytes_moved();
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A response's body, which ends the answer when it goes.
pub(super) struct Answer<B> {
    body: B,
    activity: Arc<Activity>,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.activity.enter(Phase::Idle);
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
