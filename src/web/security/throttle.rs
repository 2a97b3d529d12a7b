use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::web::lock;

const INTERVAL: Duration = Duration::from_secs(60);

/// Lets through one event a minute, and counts those in between.
#[derive(Default)]
pub(super) struct Throttle(Mutex<Last>);

#[derive(Default)]
struct Last {
    at: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// How many events were held back since the one that was let through last; `None` if this one is held back too.
    pub(super) fn admit(&self) -> Option<u64> {
        let (mut last, now) = (lock(&self.0), Instant::now());
        if last.at.is_some_and(|at| now - at < INTERVAL) {
            last.held_back += 1;
            return None;
        }
        let held_back = last.held_back;
        *last = Last { at: Some(now), held_back: 0 };
        Some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_event_a_minute_is_let_through_and_the_others_are_counted() {
        let throttle = Throttle::default();
        let mut admitted = Vec::new();
        for _ in 0..130 {
            admitted.extend(throttle.admit());
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(admitted, [0, 59, 59]);
    }
}
