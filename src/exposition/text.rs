//! The text format, as the library's encoder writes it: byte for byte, but without a tree of owned strings in between.

use std::fmt::Write as _;

/// Appends a label's value, escaped as the text format 0.0.4 wants it: backslash, double quote and line feed.
pub(super) fn push_label_value(out: &mut String, value: &str) {
    let mut rest = value;
    while let Some(position) = memchr::memchr3(b'\\', b'"', b'\n', rest.as_bytes()) {
        let (plain, special) = rest.split_at(position);
        out.push_str(plain);
        out.push_str(match special.as_bytes()[0] {
            b'\\' => r"\\",
            b'"' => "\\\"",
            _ => r"\n",
        });
        rest = &special[1..];
    }
    out.push_str(rest);
}

/// Digits after the point that [`push_number`] writes without the general algorithm.
const DECIMALS: usize = 5;
const SCALE: f64 = 1e5;
/// Below this many units of 1e-5, a double tells every number of units from the next, so that writing the number of units
/// gives the shortest digits that read back as the same double.
const EXACT: f64 = 1e15;

/// Appends a number as `f64`'s own formatting does.
pub(super) fn push_number(out: &mut String, number: f64) {
    let scaled = (number * SCALE).round();
    // A negative zero has a sign that whole units would lose.
    #[expect(clippy::float_cmp, reason = "the very same double is what is asked for")]
    let is_units = scaled / SCALE == number;
    if scaled.abs() >= EXACT || !is_units || (number == 0.0 && number.is_sign_negative()) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{number}");
        return;
    }
    if number < 0.0 {
        out.push('-');
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, whole and below 1e15")]
    let units = scaled.abs() as u64;
    let (whole, fraction) = (units / 100_000, units % 100_000);
    push_digits(out, whole, 1);
    if fraction != 0 {
        out.push('.');
        let start = out.len();
        push_digits(out, fraction, DECIMALS);
        let significant = out[start..].trim_end_matches('0').len();
        out.truncate(start + significant);
    }
}

/// Appends a whole number, with zeros before it up to `width` digits.
fn push_digits(out: &mut String, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    // They are ASCII, so this never falls back.
    out.push_str(str::from_utf8(&digits[start..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inventory::days_until;

    fn number(number: f64) -> String {
        let mut out = String::new();
        push_number(&mut out, number);
        out
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(value: f64) {
            prop_assert_eq!(number(value), value.to_string());
        }

        #[test]
        fn so_are_whole_ones(value: i64) {
            prop_assert_eq!(number(value as f64), (value as f64).to_string());
        }

        #[test]
        fn and_days(instant in -100_000_000_000_i64..100_000_000_000, now in 0.0..4e9_f64) {
            let days = days_until(instant, now);
            prop_assert_eq!(number(days), days.to_string());
        }

        #[test]
        fn and_instants_with_fractions(value in 0.0..4e9_f64) {
            prop_assert_eq!(number(value), value.to_string());
        }

        #[test]
        fn label_values_are_escaped(value in "[a-z\\\\\"\n\r\t\u{0}ü🔒]{0,20}") {
            let mut out = String::new();
            push_label_value(&mut out, &value);
            prop_assert_eq!(out, value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"));
        }
    }

    #[test]
    fn zeros_and_edges() {
        for value in [0.0, -0.0, 1e-5, -1e-5, 0.1, 1e10, 1e15, 9_007_199_254_740_993.0, f64::NAN, f64::INFINITY] {
            assert_eq!(number(value), value.to_string());
        }
    }
}
