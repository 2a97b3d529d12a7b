//! Time as a line: where an instant is on the axis that all rows share, and what a row draws there.
//!
//! The axis is drawn as SVG in percent of its width, so that it fits any screen, and stretched near the present: three
//! days and ten years can both be seen on it.

use std::fmt::Write as _;

use crate::inventory::{SECONDS_PER_DAY, UnixSeconds};

/// Fraction of the width left of now.
const PAST_SHARE: f64 = 0.24;
/// Up to about here the axis is linear, beyond it logarithmic.
const LINEAR_DAYS: f64 = 2.0;
/// How far the axis reaches at least and at most, in days.
const PAST_DAYS: (f64, f64) = (30.0, 3_650.0);
const FUTURE_DAYS: (f64, f64) = (120.0, 5_475.0);
/// Spans that are drawn of one row; more would only be a line.
const MAX_SPANS: usize = 16;
/// Labels of the axis, in days from now. Two of them are never closer than their texts are long.
const TICKS: [(f64, &str); 6] = [
    (-365.0, "−1 y"),
    (7.0, "7 d"),
    (30.0, "30 d"),
    (90.0, "90 d"),
    (365.0, "1 y"),
    (1_826.0, "5 y"),
];

/// Where an instant is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    now: f64,
    past_days: f64,
    future_days: f64,
}

impl Axis {
    /// An axis on which all of `instants` can be seen, if that is possible.
    pub(super) fn new(now: f64, instants: impl Iterator<Item = UnixSeconds>) -> Self {
        let days = instants.map(|instant| (instant as f64 - now) / SECONDS_PER_DAY);
        let (first, last) =
            days.fold((0.0_f64, 0.0_f64), |(first, last), days| (first.min(days), last.max(days)));
        Self {
            now,
            past_days: (-first).clamp(PAST_DAYS.0, PAST_DAYS.1),
            future_days: (last * 1.05).clamp(FUTURE_DAYS.0, FUTURE_DAYS.1),
        }
    }

    /// Percent of the width, within it.
    fn place(&self, days: f64) -> f64 {
        let stretch = |days: f64| (days / LINEAR_DAYS).ln_1p();
        let stretched = |days: f64, range: f64| stretch(days) / stretch(range);
        let share = if days < 0.0 {
            PAST_SHARE * (1.0 - stretched(-days, self.past_days))
        } else {
            PAST_SHARE + (1.0 - PAST_SHARE) * stretched(days, self.future_days)
        };
        (share * 100.0).clamp(0.0, 100.0)
    }

    fn at(&self, instant: UnixSeconds) -> f64 {
        self.place((instant as f64 - self.now) / SECONDS_PER_DAY)
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, &'static str)> {
        // A label at the very edge would be cut.
        let inside = |place: &f64| (4.0..=94.0).contains(place);
        TICKS
            .into_iter()
            .map(|(days, label)| (self.place(days), label))
            .filter(move |(place, _)| inside(place))
    }

    /// What lies behind every row: the next 7 and 30 days, the ticks, now.
    pub(super) fn grid(&self) -> String {
        let (now, week, month) = (self.place(0.0), self.place(7.0), self.place(30.0));
        let mut svg = format!(
            r#"<rect class="z7" x="{now:.2}%" width="{:.2}%"/><rect class="z30" x="{week:.2}%" width="{:.2}%"/>"#,
            week - now,
            month - week
        );
        for (place, _) in self.ticks() {
            // Writing to a string cannot fail, here and below.
            let _ = write!(svg, r#"<line class="k" x1="{place:.2}%" x2="{place:.2}%" y2="100%"/>"#);
        }
        let _ = write!(svg, r#"<line class="n" x1="{now:.2}%" x2="{now:.2}%" y2="100%"/>"#);
        svg
    }

    /// The axis itself, for the head of a table.
    pub(super) fn scale(&self) -> String {
        let mut svg = format!(r#"<text class="n" x="{:.2}%" y="12">now</text>"#, self.place(0.0));
        for (place, label) in self.ticks() {
            let _ = write!(svg, r#"<text x="{place:.2}%" y="12">{label}</text>"#);
        }
        svg
    }

    /// What a row draws: for each span its past and its future, and a mark at each end that is on the axis. The future part
    /// of spans after the current coverage, or after the next one in a gap, has its own class (`g`).
    pub(super) fn line(&self, spans: &[(UnixSeconds, UnixSeconds)]) -> String {
        let mut svg = String::from(r##"<svg class="t" aria-hidden="true"><use href="#g"/>"##);
        let now = self.place(0.0);
        let mut future = "f";
        for (begin, end) in spans.iter().take(MAX_SPANS) {
            let (from, to) = (self.at(*begin), self.at(*end));
            for (class, from, to) in [("p", from, to.min(now)), (future, from.max(now), to)] {
                if to > from {
                    let _ = write!(
                        svg,
                        r#"<rect class="{class}" x="{from:.2}%" width="{:.2}%"/>"#,
                        to - from
                    );
                }
            }
            if (0.01..99.99).contains(&to) {
                let class = if *end as f64 <= self.now { "o" } else { "d" };
                let _ = write!(svg, r#"<circle class="{class}" cx="{to:.2}%"/>"#);
            }
            if to > now {
                future = "f g";
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn now_is_where_past_and_future_meet() {
        let axis = Axis::new(0.0, [-400 * DAY, 3_700 * DAY].into_iter());
        let places: Vec<_> = [-400, -1, 0, 1, 7, 30, 365, 3_700]
            .map(|days| axis.at(days * DAY).round())
            .into_iter()
            .collect();
        assert_eq!(places, [0.0, 22.0, 24.0, 28.0, 39.0, 52.0, 76.0, 100.0]);
    }

    #[test]
    fn a_row_is_cut_where_the_axis_ends() {
        let axis = Axis::new(0.0, [0].into_iter());
        let line = axis.line(&[(i64::MIN, i64::MAX), (i64::MIN + 1, i64::MAX - 1), (5, -5)]);
        assert_eq!(line.matches("<rect").count(), 4, "{line}");
        // Only what ends on the axis has a mark: the span that ends before it begins.
        assert_eq!(line.matches("<circle").count(), 1, "{line}");
    }

    proptest! {
        #[test]
        fn later_is_further_right(a: i64, b: i64, instants in prop::collection::vec(any::<i64>(), 0..5), now in -1e11..1e11_f64) {
            let axis = Axis::new(now, instants.into_iter());
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(0.0 <= axis.at(a) && axis.at(a) <= axis.at(b) && axis.at(b) <= 100.0);
        }
    }
}
