//! Instants and the days between them.

use std::ops::RangeInclusive;
use std::time::SystemTime;

/// Whole seconds since 1970-01-01T00:00:00Z, as the API gives them. Any 64-bit value is valid.
pub type UnixSeconds = i64;

/// The years 1 to 9999, which a certificate's dates can express. What the API gives beyond them is unreadable: milliseconds,
/// say.
pub(crate) const INSTANTS: RangeInclusive<UnixSeconds> = -62_135_596_800..=253_402_300_799;

/// Unix time has no leap seconds, so every day is as long.
pub(crate) const SECONDS_PER_DAY: f64 = 86_400.0;

/// Days from `now` (seconds since the epoch, with fraction) to `instant`, negative once it is past, rounded to 1e-5 day
/// (0.9 s): more digits would only be noise, and cost bytes in every scrape.
pub(crate) fn days_until(instant: UnixSeconds, now: f64) -> f64 {
    let days = (instant as f64 - now) / SECONDS_PER_DAY;
    // Adding 0.0 turns -0.0, which would be printed as "-0", into 0.0.
    (days * 1e5).round() / 1e5 + 0.0
}

/// The whole second that has begun at `now`. Validity changes on whole seconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float beyond the range becomes the nearest bound"
)]
pub(crate) fn whole_second(now: f64) -> UnixSeconds {
    now.floor() as UnixSeconds
}

/// The wall clock as seconds since the epoch, with fraction; negative before 1970.
///
/// The only reader of the wall clock; `inventory` takes `now` as an argument.
pub fn unix_now() -> f64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_counted_from_now() {
        for (instant, now, days) in [
            (86_400, 0.0, "1"),
            (0, 86_400.0, "-1"),
            (1_000, 1_000.0, "0"),
            (1_000, 1_000.1, "0"), // and not "-0"
            (100, 0.0, "0.00116"),
        ] {
            assert_eq!(days_until(instant, now).to_string(), days);
        }
    }

    proptest! {
        /// Exact integer arithmetic as the independent model.
        #[test]
        fn agrees_with_whole_seconds(now in -10_000_000_000_i64..10_000_000_000, left in -10_000_000_000_i64..10_000_000_000) {
            let days = days_until(now + left, now as f64);
            prop_assert!((days * 86_400.0 - left as f64).abs() <= 0.4321, "{days} days for {left} s");
        }

        #[test]
        fn never_rises_as_time_passes(instant: i32, now in 0.0..4e9_f64, passed in 0.0..1e6_f64) {
            prop_assert!(days_until(instant.into(), now + passed) <= days_until(instant.into(), now));
        }
    }
}
