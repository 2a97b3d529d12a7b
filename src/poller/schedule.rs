//! When polls start.

use std::time::Duration;

use tokio::time::Instant;

/// Each start moves by up to this fraction of the interval or backoff, either way, so that replicas do not poll
/// simultaneously.
const JITTER: f64 = 0.1;
/// Delay before the first poll after a failed one; less only if the interval is shorter. Alerts then mean the same at every
/// interval.
const POLL_BACKOFF: Duration = Duration::from_secs(60);

/// Tick *n* is `start + n × interval`, moved by a jitter of its own. Nothing adds up, so nothing drifts; ticks that a long
/// poll has run past are skipped. Polls that fail are repeated sooner, after delays that double up to the interval; ticks are
/// counted anew from the repeated poll.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: Instant,
    interval: Duration,
    /// Number of the last tick; a whole number.
    last_tick: f64,
    /// Failed polls in a row.
    failures: u32,
}

impl Schedule {
    /// Poll 0 starts at `start`.
    pub(super) fn new(start: Instant, interval: Duration) -> Self {
        Self { start, interval, last_tick: 0.0, failures: 0 }
    }

    /// Restarts the ticks at `start`, when the last poll started, with a new interval; keeps the count of failures.
    pub(super) fn set_interval(&mut self, start: Instant, interval: Duration) {
        *self = Self { failures: self.failures, ..Self::new(start, interval) };
    }

    pub(super) fn poll_ended(&mut self, is_success: bool) {
        self.failures = if is_success { 0 } else { self.failures.saturating_add(1) };
    }

    /// The start of the next poll, not before `not_before`. `random` gives numbers uniform in 0..1.
    pub(super) fn next(
        &mut self,
        now: Instant,
        not_before: Instant,
        mut random: impl FnMut() -> f64,
    ) -> Instant {
        let tick = self.next_tick(not_before, &mut random);
        let Some(doublings) = self.failures.checked_sub(1) else { return tick };
        let backoff =
            POLL_BACKOFF.saturating_mul(2_u32.saturating_pow(doublings)).min(self.interval);
        let retry = not_before.max(now + backoff.mul_f64(jittered(&mut random)));
        if retry < tick {
            (self.start, self.last_tick) = (retry, 0.0);
        }
        retry.min(tick)
    }

    /// After the last tick, the earliest tick >= `not_before`.
    fn next_tick(&mut self, not_before: Instant, mut random: impl FnMut() -> f64) -> Instant {
        // The tick before `not_before` may be moved past it; any earlier one may not.
        let passed = not_before
            .saturating_duration_since(self.start)
            .div_duration_f64(self.interval)
            .floor();
        self.last_tick = (self.last_tick + 1.0).max(passed);
        loop {
            // One interval less the jitter's share, so that the duration never goes below zero.
            let tick =
                self.start + self.interval.mul_f64(self.last_tick - 1.0 + jittered(&mut random));
            if tick >= not_before {
                return tick;
            }
            self.last_tick += 1.0;
        }
    }
}

fn jittered(random: impl FnOnce() -> f64) -> f64 {
    1.0 + JITTER * (2.0 * random() - 1.0)
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
                let tick = schedule.next(now, now, || random);
                prop_assert!(tick >= now);
                // Within a tenth of a whole multiple of the interval.
                let place = (tick - start).div_duration_f64(interval);
                prop_assert!((place - place.round()).abs() <= JITTER + 1e-6, "tick at {place} intervals");
                // None is skipped without need: at most the ticks until the next whole one.
                prop_assert!((tick - now).div_duration_f64(interval) <= 1.0 + 2.0 * JITTER + 1e-6);
                now = tick;
            }
        }

        /// A model in seconds: the distances double from a minute, and none is longer than to the next tick.
        #[test]
        fn failed_polls_are_repeated_sooner(
            interval in 1..86_400_u64,
            pause in prop_oneof![Just(0), 0..3_600_u64],
            randoms in prop::collection::vec(0.0..1.0_f64, 2..12),
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(now, Duration::from_secs(interval));
            let mut distance = 60.0;
            for (n, random) in randoms.iter().enumerate() {
                schedule.poll_ended(false);
                // The API asks for a wait after the first poll only.
                let not_before = now + Duration::from_secs(if n == 0 { pause } else { 0 });
                let next = schedule.next(now, not_before, || *random);
                prop_assert!(next >= not_before);
                let wait = (next - now).as_secs_f64();
                let longest = f64::min(distance, interval as f64) * (1.0 + JITTER) + 1e-3;
                prop_assert!(wait <= longest || next == not_before || n == 0 && pause > 0, "{wait} s after {n} failures");
                let shortest = f64::min(distance, interval as f64) * (1.0 - 2.0 * JITTER) - 1e-3;
                prop_assert!(wait >= shortest || interval < 60, "{wait} s after {n} failures");
                distance *= 2.0;
                now = next;
            }
            schedule.poll_ended(true);
            let wait = (schedule.next(now, now, || 0.5) - now).as_secs_f64();
            prop_assert!(wait <= interval as f64 * (1.0 + 2.0 * JITTER) + 1e-3, "{wait} s after a success");
        }

        #[test]
        fn no_tick_comes_twice(random in prop::collection::vec(0.0..1.0_f64, 2..100)) {
            let (start, interval) = (Instant::now(), Duration::from_secs(1));
            let mut schedule = Schedule::new(start, interval);
            let mut now = start;
            for (n, random) in random.into_iter().enumerate() {
                let tick = schedule.next(now, now, || random);
                let place = (tick - start).div_duration_f64(interval);
                prop_assert!((place - (n + 1) as f64).abs() <= JITTER + 1e-6, "tick {} at {place} intervals", n + 1);
                now = tick;
            }
        }
    }
}
