//! Which responses are retried, and when: by the rules of the official clients.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{AGE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};

/// The longest wait before the first retry. It doubles with each further one, up to [`MAX_BACKOFF`].
const REQUEST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// Each wait is shorter than its longest one by up to this fraction.
const JITTER: f64 = 0.25;

/// Whether a response that is not a success is worth another attempt: `x-should-retry` says so, else its status. A
/// rejected key stays rejected, whatever the header says.
pub(super) fn is_retryable(status: StatusCode, headers: &HeaderMap) -> bool {
    if status == StatusCode::UNAUTHORIZED {
        return false;
    }
    match headers.get("x-should-retry").map(HeaderValue::as_bytes) {
        Some(b"true") => true,
        Some(b"false") => false,
        _ => matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error(),
    }
}

/// A `Date` further than this from the clock of this machine is no clock's: TLS would have failed with such a clock.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(366 * 86_400);

/// What the clock of the server shows at `now` by that of this machine: `Date`, and `Age` later if a cache has kept the
/// response. `None` if it is missing or absurd.
pub(super) fn date(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse::<u32>().ok());
    let date = date + Duration::from_secs(age.unwrap_or_default().into());
    let offset = date.duration_since(now).unwrap_or_else(|earlier| earlier.duration());
    if offset > MAX_CLOCK_OFFSET {
        tracing::debug!("the Date of a response is ignored, since it is more than a year away");
        return None;
    }
    Some(date)
}

/// `retry-after-ms` first, then `Retry-After` as seconds, which may have a fraction, or as an HTTP date. `None` if they
/// cannot be read, or are not in the future. `now` is by the server's clock.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str, unit: f64| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let seconds = text.parse::<f64>().ok().filter(|_| plain)? * unit;
        // More than a duration holds is longer than any poll.
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
            .filter(|wait| !wait.is_zero())
    };
    let date = |text: &str| {
        httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .ok()
            .filter(|wait| !wait.is_zero())
    };

    text("retry-after-ms").and_then(|text| seconds(text, 1e-3)).or_else(|| {
        text(RETRY_AFTER.as_str()).and_then(|text| seconds(text, 1.0).or_else(|| date(text)))
    })
}

/// The wait before retry number `retry`, which counts from 0. `random` is uniform in 0..1.
pub(super) fn backoff(retry: u32, random: f64) -> Duration {
    let longest = REQUEST_BACKOFF.saturating_mul(2_u32.saturating_pow(retry)).min(MAX_BACKOFF);
    longest.mul_f64(1.0 - JITTER * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn retryable_statuses_are_those_of_the_official_clients() {
        for (status, expected) in [
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (408, true),
            (409, true),
            (410, false),
            (422, false),
            (429, true),
            (500, true),
            (501, true),
            (503, true),
            (302, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_retryable(status, &HeaderMap::new()), expected, "{status}");
            assert!(!is_retryable(status, &headers(&[("x-should-retry", "false")])), "{status}");
            let overridden = is_retryable(status, &headers(&[("x-should-retry", "true")]));
            assert_eq!(overridden, status != StatusCode::UNAUTHORIZED, "{status}");
        }
    }

    #[test]
    fn clock_of_the_server_is_ahead_of_the_date_of_a_kept_response() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let date =
            |pairs: &[_]| {
                let offset = date(&headers(pairs), now)?.duration_since(now);
                Some(offset.map_or_else(
                    |earlier| -earlier.duration().as_secs_f64(),
                    |it| it.as_secs_f64(),
                ))
            };
        let ten = ("date", "Sun, 06 Nov 1994 08:49:27 GMT");
        for (pairs, offset) in [
            (&[][..], None),
            (&[("date", "now")], None),
            (&[ten], Some(-10.0)),
            (&[ten, ("age", " 10 ")], Some(0.0)),
            (&[ten, ("age", "-10")], Some(-10.0)),
            (&[ten, ("age", "4294967296")], Some(-10.0)),
            (&[ten, ("age", "4294967295")], None),
            (&[("date", "Sat, 06 Nov 1993 08:49:37 GMT")], Some(-365.0 * 86_400.0)),
            (
                &[("date", "Sat, 06 Nov 1993 08:49:37 GMT"), ("age", "60")],
                Some(60.0 - 365.0 * 86_400.0),
            ),
            (&[("date", "Thu, 04 Nov 1993 08:49:37 GMT")], None),
            (&[("date", "Fri, 31 Dec 9999 23:59:59 GMT"), ("age", "4294967295")], None),
        ] {
            assert_eq!(date(pairs), offset, "{pairs:?}");
        }
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let wait = |pairs: &[_]| retry_after(&headers(pairs), now);
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", " 1.5 ")]), Some(Duration::from_millis(1500)));
        assert_eq!(
            wait(&[("retry-after", "7"), ("retry-after-ms", "250")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            wait(&[("retry-after", "7"), ("retry-after-ms", "x")]),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]),
            Some(Duration::from_secs(60))
        );
        assert_eq!(wait(&[("retry-after", "99999999999999999999999999")]), Some(Duration::MAX));
        for nothing in
            ["0", "-1", "", "soon", "NaN", "inf", "1e3", "0.0", "Sun, 06 Nov 1994 08:49:36 GMT"]
        {
            assert_eq!(wait(&[("retry-after", nothing)]), None, "{nothing}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        assert_eq!(backoff(0, 0.0), Duration::from_millis(500));
        assert_eq!(backoff(0, 1.0), Duration::from_millis(375));
        assert_eq!(backoff(2, 0.0), Duration::from_secs(2));
        assert_eq!(backoff(4, 0.5), Duration::from_secs(7));
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_secs(6));
    }
}
