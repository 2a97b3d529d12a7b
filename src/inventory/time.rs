//! Instants and the days between them.

use std::time::SystemTime;

use time::OffsetDateTime;

/// Whole seconds since 1970-01-01T00:00:00Z, as the API gives them. Any 64-bit value is valid.
pub type UnixSeconds = i64;

/// Length of a day in seconds. Unix time has no leap seconds, so every day has as many.
pub const SECONDS_PER_DAY: f64 = 86_400.0;

/// Days from `now` (seconds since the epoch, with fraction) to `instant`, negative once it is past, rounded to 1e-5 day
/// (0.9 s): more digits would only be noise, and cost bytes in every scrape.
#[must_use]
pub fn days_until(instant: UnixSeconds, now: f64) -> f64 {
    let days = (instant as f64 - now) / SECONDS_PER_DAY;
    // Adding 0.0 turns -0.0, which would be printed as "-0", into 0.0.
    (days * 1e5).round() / 1e5 + 0.0
}

/// The wall clock as seconds since the epoch, with fraction; negative before 1970.
///
/// It stands here so that it is read in one way; only the outer modules call it.
#[must_use]
pub fn unix_now() -> f64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// What stands in the place of a date that no calendar can show.
pub const OUT_OF_RANGE: &str = "out of range";

/// 0000-01-01T00:00:00Z, before which RFC 3339 has no years.
const YEAR_ZERO: UnixSeconds = -62_167_219_200;

/// The instant in a calendar, in UTC, from the year 0 to the year 9999.
fn calendar(instant: UnixSeconds) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(instant).ok().filter(|_| instant >= YEAR_ZERO)
}

/// The instant as RFC 3339 has it, in UTC.
#[must_use]
pub fn rfc3339(instant: UnixSeconds) -> String {
    in_numbers(instant, 'T')
}

/// The instant in columns: `2026-03-14 09:30:00Z`.
#[must_use]
pub fn date_and_time(instant: UnixSeconds) -> String {
    in_numbers(instant, ' ')
}

fn in_numbers(instant: UnixSeconds, separator: char) -> String {
    let Some(at) = calendar(instant) else { return OUT_OF_RANGE.into() };
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}Z")
}

/// The instant within a sentence, to the minute where it is near enough to matter: `14 March 2026`.
#[must_use]
pub fn date_in_words(instant: UnixSeconds, now: f64) -> String {
    let Some(at) = calendar(instant) else { return OUT_OF_RANGE.into() };
    let date = format!("{} {} {:04}", at.day(), at.month(), at.year());
    let is_near = days_until(instant, now).abs() < 7.0;
    if is_near { format!("{date}, {:02}:{:02} UTC", at.hour(), at.minute()) } else { date }
}

/// A length of time in the unit that people would take, rounded down: `3 days`, `1 hour`. The sign is left out.
#[must_use]
pub fn length_in_words(seconds: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(SECONDS_PER_DAY, "day"), (3_600.0, "hour"), (60.0, "minute")];
    let seconds = seconds.abs();
    // Two of a larger unit, or the smaller one says it better.
    let (length, unit) = UNITS.into_iter().find(|(length, _)| seconds >= 2.0 * length).unwrap_or((1.0, "second"));
    let count = (seconds / length).floor();
    format!("{count} {unit}{}", if (count - 1.0).abs() < f64::EPSILON { "" } else { "s" })
}

/// How far an end is from `now`, in words.
#[must_use]
pub fn end_in_words(end: Option<UnixSeconds>, now: f64) -> String {
    match end.map(|end| end as f64 - now) {
        None => "no known end".into(),
        Some(left) if left > 0.0 => format!("in {}", length_in_words(left)),
        Some(left) => format!("{} ago", length_in_words(left)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_is_a_day() {
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

    #[test]
    fn dates_as_people_write_them() {
        let at = 1_773_480_600;
        assert_eq!(rfc3339(at), "2026-03-14T09:30:00Z");
        assert_eq!(date_and_time(at), "2026-03-14 09:30:00Z");
        assert_eq!(date_in_words(at, 1_770_000_000.0), "14 March 2026");
        assert_eq!(date_in_words(at, 1_773_400_000.0), "14 March 2026, 09:30 UTC");
    }

    #[test]
    fn a_calendar_has_four_digits_for_a_year() {
        assert_eq!(rfc3339(-62_167_219_200), "0000-01-01T00:00:00Z");
        assert_eq!(rfc3339(253_402_300_799), "9999-12-31T23:59:59Z");
        for instant in [-62_167_219_201, 253_402_300_800, i64::MIN, i64::MAX] {
            assert_eq!((rfc3339(instant).as_str(), date_and_time(instant).as_str()), (OUT_OF_RANGE, OUT_OF_RANGE));
        }
    }

    #[test]
    fn lengths_in_the_unit_that_fits() {
        for (seconds, words) in [
            (0.0, "0 seconds"),
            (1.5, "1 second"),
            (119.9, "119 seconds"),
            (-120.0, "2 minutes"),
            (7_199.0, "119 minutes"),
            (7_200.0, "2 hours"),
            (172_799.0, "47 hours"),
            (172_800.0, "2 days"),
            (3_700.0 * 86_400.0, "3700 days"),
        ] {
            assert_eq!(length_in_words(seconds), words, "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn any_instant_can_be_shown(instant: i64, now in -1e12..1e12_f64) {
            for text in [rfc3339(instant), date_and_time(instant), date_in_words(instant, now)] {
                prop_assert!(text == OUT_OF_RANGE || text.is_ascii() && text.len() > 10, "{text}");
            }
        }

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

        #[test]
        fn any_instant_is_finite(instant: i64, now in -1e12..1e12_f64) {
            prop_assert!(days_until(instant, now).is_finite());
        }
    }
}
