use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::interval;

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const TURN: Duration = Duration::from_millis(100);
/// Goes to the start of the line and empties it.
const CLEAR: &str = "\r\x1b[2K";

/// Waits for `work`, and meanwhile shows on a terminal how many pages have been read. Nobody else is shown anything.
pub(super) async fn turn_until<T>(work: impl Future<Output = T>, pages: &AtomicU64) -> T {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if dumb || !io::stderr().is_terminal() {
        return work.await;
    }
    let mut work = std::pin::pin!(work);
    let mut turns = interval(TURN);
    let mut frames = FRAMES.iter().cycle();
    loop {
        tokio::select! {
            done = &mut work => {
                show(CLEAR);
                return done;
            }
            _ = turns.tick() => {
                let pages = pages.load(Ordering::Relaxed);
                let plural = if pages == 1 { "" } else { "s" };
                let frame = frames.next().unwrap_or(&"");
                show(&format!("{CLEAR}{frame} polling: {pages} page{plural} read"));
            }
        }
    }
}

fn show(text: &str) {
    // A terminal that has gone is told nothing more.
    let mut stderr = io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
