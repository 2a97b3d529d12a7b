//! Instants and lengths of time as people write them.

use time::OffsetDateTime;

use crate::inventory::{SECONDS_PER_DAY, UnixSeconds, days_until};

const OUT_OF_RANGE: &str = "out of range";
/// 0000-01-01T00:00:00Z, before which RFC 3339 has no years.
const YEAR_ZERO: UnixSeconds = -62_167_219_200;

fn calendar(instant: UnixSeconds) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(instant).ok().filter(|_| instant >= YEAR_ZERO)
}

/// An instant as RFC 3339 in UTC, or `out of range` if its year is not one of 0 to 9999.
pub(super) fn rfc3339(instant: UnixSeconds) -> String {
    let Some(at) = calendar(instant) else { return OUT_OF_RANGE.into() };
    let ((year, month, day), (hour, minute, second)) = (at.to_calendar_date(), at.to_hms());
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// The instant in columns: `2026-03-14 09:30:00Z`.
pub(crate) fn format_timestamp(instant: UnixSeconds) -> String {
    rfc3339(instant).replacen('T', " ", 1)
}

/// The instant within a sentence: `14 March 2026`, or `14 March, 09:30 UTC` if it is less than a week from `now`.
pub(crate) fn format_date(instant: UnixSeconds, now: f64) -> String {
    let Some(at) = calendar(instant) else { return OUT_OF_RANGE.into() };
    let (day, month) = (at.day(), at.month());
    if days_until(instant, now).abs() < 7.0 {
        return format!("{day} {month}, {:02}:{:02} UTC", at.hour(), at.minute());
    }
    format!("{day} {month} {:04}", at.year())
}

/// The instant within a sentence, to the minute: `14 March 2026, 09:30 UTC`.
pub(crate) fn format_minute(instant: UnixSeconds) -> String {
    let Some(at) = calendar(instant) else { return OUT_OF_RANGE.into() };
    let (day, month, year) = (at.day(), at.month(), at.year());
    format!("{day} {month} {year:04}, {:02}:{:02} UTC", at.hour(), at.minute())
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn join_with_and(names: &[impl AsRef<str>]) -> String {
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.concat(),
    }
}

/// The first few, and how many more there are: `a, b and 3 more`.
pub(crate) fn names(all: &[impl AsRef<str>], max: usize) -> String {
    let mut named: Vec<_> = all.iter().take(max).map(|name| name.as_ref().to_owned()).collect();
    named.extend((all.len() > max).then(|| format!("{} more", all.len() - max)));
    join_with_and(&named)
}

/// One date in place of another; to the minute if they are of one day.
pub(crate) fn change_of_date(before: UnixSeconds, after: UnixSeconds, now: f64) -> String {
    let [old, new] = [before, after].map(|at| format_date(at, now));
    if old != new {
        return format!("{new} instead of {old}");
    }
    let [old, new] = [before, after].map(format_minute);
    format!("{new} instead of {old}")
}

/// A length of time in one unit, rounded down: `3 days`, `90 minutes`. The sign is left out.
pub(crate) fn humanize(seconds: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(SECONDS_PER_DAY, "day"), (3_600.0, "hour"), (60.0, "minute")];
    let seconds = seconds.abs();
    // Below two of a unit, the next smaller one is more exact.
    let (length, unit) =
        UNITS.into_iter().find(|(length, _)| seconds >= 2.0 * length).unwrap_or((1.0, "second"));
    let count = (seconds / length).floor();
    format!("{count} {unit}{}", if (count - 1.0).abs() < f64::EPSILON { "" } else { "s" })
}

/// How long ago an instant was that is not to come.
pub(crate) fn ago(instant: f64, now: f64) -> String {
    format!("{} ago", humanize((now - instant).max(0.0)))
}

/// How far an end is from `now`: `in 3 days`, `2 hours ago`, `no known end`.
pub(super) fn relative(end: Option<UnixSeconds>, now: f64) -> String {
    match end.map(|end| end as f64) {
        None => "no known end".into(),
        Some(end) if end > now => format!("in {}", humanize(end - now)),
        Some(end) => ago(end, now),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_as_people_write_them() {
        let at = 1_773_480_600;
        assert_eq!(rfc3339(at), "2026-03-14T09:30:00Z");
        assert_eq!(format_timestamp(at), "2026-03-14 09:30:00Z");
        assert_eq!(format_date(at, 1_770_000_000.0), "14 March 2026");
        assert_eq!(format_date(at, 1_773_400_000.0), "14 March, 09:30 UTC");
        assert_eq!(format_minute(at), "14 March 2026, 09:30 UTC");
    }

    #[test]
    fn a_calendar_has_four_digits_for_a_year() {
        assert_eq!(rfc3339(-62_167_219_200), "0000-01-01T00:00:00Z");
        assert_eq!(rfc3339(253_402_300_799), "9999-12-31T23:59:59Z");
        for instant in [-62_167_219_201, 253_402_300_800, i64::MIN, i64::MAX] {
            let shown = [rfc3339(instant), format_timestamp(instant), format_date(instant, 0.0)];
            assert_eq!(shown, [OUT_OF_RANGE; 3]);
        }
    }

    #[test]
    fn a_length_of_time_is_in_the_unit_that_fits() {
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
            assert_eq!(humanize(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn an_end_is_to_come_past_or_unknown() {
        for (end, words) in [
            (None, "no known end"),
            (Some(1_007), "in 7 seconds"),
            (Some(1_000), "0 seconds ago"),
            (Some(998), "2 seconds ago"),
        ] {
            assert_eq!(relative(end, 1_000.0), words);
        }
        assert_eq!(ago(1_005.0, 1_000.0), "0 seconds ago", "the clock was set back");
    }

    proptest! {
        #[test]
        fn any_instant_can_be_shown(instant: i64, now in -1e12..1e12_f64) {
            for text in [rfc3339(instant), format_timestamp(instant), format_date(instant, now)] {
                prop_assert!(text == OUT_OF_RANGE || text.is_ascii() && text.len() > 10, "{text}");
            }
        }
    }
}
