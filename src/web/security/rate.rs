//! `rate_limit`: a token bucket for all requests together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::document::{Fault, Section};

/// At most `burst` requests at once, and one more for every `interval`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    pub(super) fn read(document: &mut Section) -> Result<Option<Self>, Fault> {
        let mut section = document.section("rate_limit", &["interval", "burst"])?;
        let interval = match section.text("interval")?.as_deref() {
            None | Some("0") => Duration::ZERO,
            Some(text) => humantime::parse_duration(text)
                .map_err(|_| section.fault("interval", "must be a duration such as 100ms or 1s, or 0"))?,
        };
        let burst = match section.text("burst")?.as_deref() {
            None => 0,
            Some(text) => text.parse().map_err(|_| section.fault("burst", "must be a whole number"))?,
        };
        match (interval.is_zero(), burst) {
            (true, _) => Ok(None),
            (false, 0) => Err(section.fault("burst", "must be 1 or more, or no request would ever be answered")),
            (false, burst) => Ok(Some(Self { interval, burst })),
        }
    }
}

/// What is left of a [`Rate`].
#[derive(Default)]
pub(super) struct Bucket(Mutex<Option<Level>>);

struct Level {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Takes a token, where there is one. A bucket of another rate starts full.
    pub(super) fn take(&self, rate: Rate, now: Instant) -> bool {
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = f64::from(rate.burst);
        let (mut tokens, at) = match level.as_ref().filter(|level| level.rate == rate) {
            Some(level) => {
                let passed = now.saturating_duration_since(level.at).as_secs_f64();
                (full.min(level.tokens + passed / rate.interval.as_secs_f64()), level.at.max(now))
            }
            None => (full, now),
        };
        let taken = tokens >= 1.0;
        if taken {
            tokens -= 1.0;
        }
        *level = Some(Level { rate, tokens, at });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_time_and_never_exceed_the_burst() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        let rate = Rate { interval: Duration::from_secs(2), burst: 3 };
        let take = |seconds| bucket.take(rate, start + Duration::from_secs(seconds));
        assert_eq!([0, 0, 0, 0].map(take), [true, true, true, false]);
        assert_eq!([1, 2, 2].map(take), [false, true, false]);
        assert_eq!([100, 100, 100, 100].map(take), [true, true, true, false]);
        // Threads may come with their times in any order.
        assert_eq!([50, 100].map(take), [false, false]);
    }
}
