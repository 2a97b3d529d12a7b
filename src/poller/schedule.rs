//! When polls start.

use std::time::Duration;

use tokio::time::Instant;

/// Each start moves by up to this share of the interval, either way, so that many replicas do not strike together.
const JITTER: f64 = 0.1;

/// Tick *n* is `start + n × interval`, moved by a jitter of its own. Nothing adds up, so nothing drifts; ticks that a long
/// poll has run past are skipped.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: Instant,
    interval: Duration,
    /// A whole number.
    last: f64,
}

impl Schedule {
    /// Poll 0 starts at `start`.
    pub(super) fn new(start: Instant, interval: Duration) -> Self {
        Self { start, interval, last: 0.0 }
    }

    /// The start of the next poll: after the last tick, the earliest tick >= `not_before`. `random` gives numbers uniform in
    /// 0..1.
    pub(super) fn next(&mut self, not_before: Instant, mut random: impl FnMut() -> f64) -> Instant {
        // The tick before `not_before` may be moved past it; any earlier one may not.
        let passed = not_before.saturating_duration_since(self.start).div_duration_f64(self.interval).floor();
        self.last = (self.last + 1.0).max(passed);
        loop {
            let shift = 1.0 + JITTER * (2.0 * random() - 1.0);
            // One interval less the jitter's share, so that the duration never goes below zero.
            let tick = self.start + self.interval.mul_f64(self.last - 1.0 + shift);
            if tick >= not_before {
                return tick;
            }
            self.last += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ticks_keep_their_places(
            interval_ms in 100..86_400_000_u64,
            polls in prop::collection::vec((0.0..1.0_f64, 0.0..5.0_f64), 1..50),
        ) {
            let (start, interval) = (Instant::now(), Duration::from_millis(interval_ms));
            let mut schedule = Schedule::new(start, interval);
            let mut now = start;
            for (random, poll_takes) in polls {
                now += interval.mul_f64(poll_takes);
                let tick = schedule.next(now, || random);
                prop_assert!(tick >= now);
                // Within a tenth of a whole multiple of the interval.
                let place = (tick - start).div_duration_f64(interval);
                prop_assert!((place - place.round()).abs() <= JITTER + 1e-6, "tick at {place} intervals");
                // None is skipped without need: at most the ticks until the next whole one.
                prop_assert!((tick - now).div_duration_f64(interval) <= 1.0 + 2.0 * JITTER + 1e-6);
                now = tick;
            }
        }

        #[test]
        fn no_tick_comes_twice(random in prop::collection::vec(0.0..1.0_f64, 2..100)) {
            let (start, interval) = (Instant::now(), Duration::from_secs(1));
            let mut schedule = Schedule::new(start, interval);
            let mut now = start;
            for (n, random) in random.into_iter().enumerate() {
                let tick = schedule.next(now, || random);
                let place = (tick - start).div_duration_f64(interval);
                prop_assert!((place - (n + 1) as f64).abs() <= JITTER + 1e-6, "tick {} at {place} intervals", n + 1);
                now = tick;
            }
        }
    }
}
