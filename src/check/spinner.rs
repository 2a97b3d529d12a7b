use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::interval;

use crate::openai::Progress;
use crate::terminal::{Size, cut};

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_TIME: Duration = Duration::from_millis(100);
/// Goes to the start of the line and empties it.
const CLEAR: &str = "\r\x1b[2K";

/// Waits for `work`, and meanwhile shows on a terminal how far it has come.
pub(super) async fn with_spinner<T>(work: impl Future<Output = T>, progress: &Progress) -> T {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if is_dumb || !io::stderr().is_terminal() {
        return work.await;
    }
    let mut work = std::pin::pin!(work);
    let mut ticks = interval(FRAME_TIME);
    let mut frames = 0;
    loop {
        tokio::select! {
            done = &mut work => {
                show(CLEAR);
                return done;
            }
            _ = ticks.tick() => {
                let line = format!("{} polling: {progress}", FRAMES[frames % FRAMES.len()]);
                // A line that the terminal breaks could not be emptied.
                let columns = Size::of(io::stderr()).columns.saturating_sub(1);
                show(&format!("{CLEAR}{}", cut(&line, columns)));
                frames += 1;
            }
        }
    }
}

fn show(text: &str) {
    // A terminal that is gone does not stop the check.
    let mut stderr = io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
