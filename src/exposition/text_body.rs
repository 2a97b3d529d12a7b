use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use super::metrics::Metric;
use crate::inventory::UnixSeconds;
use crate::poll_state::PollState;

/// A family of the registry: its name, and its text as the library writes it.
pub(super) type Registered = (String, String);

/// Bytes of a chunk, at least: it ends with the row that reaches this length.
const PIECE: usize = 16 << 10;

/// Metrics as text in chunks, each written when it is read: only one is in memory for each reader, however long the text
/// is.
pub struct TextBody {
    metrics: &'static [Metric],
    registered: Peekable<IntoIter<Registered>>,
    state: Arc<PollState>,
    now: UnixSeconds,
    /// The next row of the first metric.
    row: usize,
    /// Whether that metric has its `HELP` and `TYPE`. They come with the first series: without one there is no family.
    has_head: bool,
}

impl TextBody {
    /// Families of both kinds, each sorted by name.
    pub(super) fn new(
        metrics: &'static [Metric],
        registered: Vec<Registered>,
        state: &Arc<PollState>,
        now: UnixSeconds,
    ) -> Self {
        let registered = registered.into_iter().peekable();
        Self { metrics, registered, state: Arc::clone(state), now, row: 0, has_head: false }
    }

    /// Appends a family of the registry, or one row of a metric. `None` at the end.
    fn write_next(&mut self, text: &mut String) -> Option<()> {
        let metric = self.metrics.first();
        let is_next =
            |(name, _): &Registered| metric.is_none_or(|metric| name.as_str() < metric.name);
        if let Some((_, family)) = self.registered.next_if(is_next) {
            text.push_str(&family);
            return Some(());
        }
        let metric = metric?;
        let row = metric.for_each_series(self.row, &self.state, self.now, |labels, value| {
            if !std::mem::replace(&mut self.has_head, true) {
                metric.write_head(text);
            }
            metric.write_series(labels, value, text);
        });
        if row.is_some() {
            self.row += 1;
        } else {
            (self.metrics, self.row, self.has_head) = (&self.metrics[1..], 0, false);
        }
        Some(())
    }
}

impl Iterator for TextBody {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        while text.len() < PIECE && self.write_next(&mut text).is_some() {}
        // A reader that takes its time holds it for long.
        text.shrink_to_fit();
        (!text.is_empty()).then_some(text)
    }
}
