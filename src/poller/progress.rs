//! A sign of life in the log while a poll takes long.

use std::time::Duration;

use tokio::time::{Instant, interval_at};

use crate::openai::Progress;

/// Most polls are over before that, and one that is not has a line for each such time.
const PERIOD: Duration = Duration::from_secs(15);

/// Waits for a poll, and meanwhile logs how far it has come.
pub(super) async fn log_while<T>(poll: impl Future<Output = T>, progress: &Progress) -> T {
    let started = Instant::now();
    let mut ticks = interval_at(started + PERIOD, PERIOD);
    let mut poll = std::pin::pin!(poll);
    loop {
        tokio::select! {
            biased;
            ended = &mut poll => return ended,
            _ = ticks.tick() => {
                let elapsed_seconds = started.elapsed().as_secs();
                tracing::info!(elapsed_seconds, "still polling: {progress}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;

    /// The log of a poll of 400 projects that reads one a second, and takes so many seconds.
    async fn logged(seconds: u64) -> String {
        let (log, writer) = io::pipe().unwrap();
        let format = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        let subscriber = format.with_writer(Arc::new(writer)).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let progress = Progress::default();
        progress.projects_known(400);
        let poll = async {
            for _ in 0..seconds {
                sleep(Duration::from_secs(1)).await;
                progress.project_read();
            }
        };
        log_while(poll, &progress).await;
        drop(guard);
        io::read_to_string(log).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_poll_says_how_far_it_is() {
        assert_eq!(logged(15).await, "");
        assert_eq!(
            logged(31).await,
            " INFO still polling: 15 of 400 projects read, 0 pages elapsed_seconds=15\n \
             INFO still polling: 30 of 400 projects read, 0 pages elapsed_seconds=30\n"
        );
    }
}
