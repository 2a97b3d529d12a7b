//! Waiting for what should come to pass, and for many things side by side.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take that should come to pass. Generous: it is used up only where a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// So many cases of one test run side by side: most of their time is spent on waiting.
const SIDE_BY_SIDE: usize = 8;

/// Waits until `look` sees something; fails the test where it does not in time.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(LOOK_AGAIN).await;
    }
}

/// Runs every case of a test.
pub(crate) async fn all<T>(cases: impl IntoIterator<Item = T>, test: impl AsyncFn(T)) {
    let mut waiting = cases.into_iter().map(|case| Box::pin(test(case)));
    let mut running: Vec<_> = waiting.by_ref().take(SIDE_BY_SIDE).collect();
    poll_fn(|context| {
        let mut index = 0;
        while index < running.len() {
            if running[index].as_mut().poll(context).is_pending() {
                index += 1;
            } else {
                drop(running.swap_remove(index));
                // It comes last, so that it is polled in this round too.
                running.extend(waiting.next());
            }
        }
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
