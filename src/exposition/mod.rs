//! The metrics page, made from the state of the polls and the second of a scrape.
//!
//! [`METRICS`] is the table of what is shown, `series` writes a metric's series, and [`TextBody`] is the page as text, written
//! as it is read. Compressed, the page is one gzip member made of a [`Fragment`] for each run of neighbouring families with
//! one lifetime; a [`Memo`] keeps each fragment until its lifetime is over. Scrapes within a second share a page.

mod facts;
mod fragment;
mod memo;
mod metrics;
mod series;
mod text_body;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder, register_gauge_vec_with_registry};

use crate::inventory::{UnixSeconds, whole_second};
use crate::poll_state::PollState;
pub(crate) use facts::facts;
use fragment::{Compressor, Fragment, gzip_member};
pub(crate) use memo::{Identity, Memo};
use metrics::{Lifetime, METRICS, Metric};
pub(crate) use series::push_label;
use text_body::Registered;
pub use text_body::TextBody;

/// The media type of the page: the text format 0.0.4, which is UTF-8.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why there is no page. Nothing that an upstream sends can cause it.
#[derive(Debug, thiserror::Error)]
pub enum ExpositionError {
    #[error("the metrics cannot be encoded: {0}")]
    Encode(#[from] prometheus::Error),
    #[error("the metrics page cannot be compressed: {0}")]
    Compress(#[from] std::io::Error),
}

pub struct Exposition {
    registry: Registry,
    cache: Mutex<Cache>,
}

impl Exposition {
    /// A page of the state of the polls, of what `registry` holds, and of this process's own metrics.
    pub fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build_info = register_gauge_vec_with_registry!(
            "openai_cert_exporter_build_info",
            "A constant 1, with what this program was built from as labels.",
            &["version", "revision", "rustc"],
            registry
        )?;
        let built_from = [env!("CARGO_PKG_VERSION"), env!("BUILD_REVISION"), env!("BUILD_RUSTC")];
        build_info.with_label_values(&built_from).set(1.0);
        Ok(Self { registry, cache: Mutex::default() })
    }

    /// A page of the state of the polls alone: for the node exporter's textfile collector, which has `process_*` of its own.
    pub fn of_state_only() -> Self {
        Self { registry: Registry::new(), cache: Mutex::default() }
    }

    /// The page as of the second of `now`, in pieces.
    pub fn text(&self, state: &Arc<PollState>, now: f64) -> Result<TextBody, ExpositionError> {
        Ok(TextBody::new(METRICS, registered(&self.registry)?, state, whole_second(now)))
    }

    /// The page as of the second of `now`, compressed. If a certificate has changed, this takes a tenth of a second for
    /// 100,000 series, during which the thread serves nothing else.
    pub fn gzip(&self, state: &Arc<PollState>, now: f64) -> Result<Bytes, ExpositionError> {
        let now = whole_second(now);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let Cache { compressor, fragments, page } = &mut *cache;
        page.get_or_make((now, Identity::of(state)), || {
            let mut registered = registered(&self.registry)?;
            fragments.resize_with(runs().count(), Memo::default);
            let fragments = runs().zip(fragments).map(|(run, fragment)| {
                let is_before = |(name, _): &Registered| {
                    run.last().is_none_or(|last| name.as_str() < last.name)
                };
                let end = registered.partition_point(is_before);
                let registered: Vec<_> = registered.drain(..end).collect();
                fragment.get_or_make(key(run, &registered, state, now), || {
                    compressor.compress(TextBody::new(run, registered, state, now)).map(Arc::new)
                })
            });
            Ok(gzip_member(&fragments.collect::<Result<Vec<_>, _>>()?))
        })
    }
}

/// The labels of any series of the polls.
pub(crate) fn label_names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().flat_map(|metric| metric.series.labels()).copied()
}

/// The families of the registry, sorted by name.
fn registered(registry: &Registry) -> Result<Vec<Registered>, prometheus::Error> {
    let encoder = TextEncoder::new();
    let families = registry.gather().into_iter();
    families
        .map(|family| Ok((family.name().to_owned(), encoder.encode_to_string(&[family])?)))
        .collect()
}

/// Neighbouring metrics with one lifetime, and an empty last run for families of the registry that sort after all of them.
fn runs() -> impl Iterator<Item = &'static [Metric]> {
    METRICS.chunk_by(|a, b| a.series.lifetime() == b.series.lifetime()).chain([&[][..]])
}

/// The page that was compressed last, and its runs.
#[derive(Default)]
struct Cache {
    compressor: Compressor,
    fragments: Vec<Memo<Key, Arc<Fragment>>>,
    page: Memo<(UnixSeconds, Identity), Bytes>,
}

/// What the text of a run is made from.
type Key = (Vec<Registered>, [Option<Identity>; 3], [Option<usize>; 2], Option<UnixSeconds>);

fn key(
    run: &'static [Metric],
    registered: &[Registered],
    state: &Arc<PollState>,
    now: UnixSeconds,
) -> Key {
    let lifetime = run.first().map_or(Lifetime::State, |metric| metric.series.lifetime());
    let source = (lifetime == Lifetime::State).then(|| Identity::of(state));
    let second = (lifetime == Lifetime::Second).then_some(now);
    let inventory = state.snapshot.as_ref().map(|snapshot| &snapshot.inventory);
    let clients = state.clients.as_ref();
    let sources = [source, inventory.map(Identity::of), clients.map(Identity::of)];
    let epochs = [inventory.map(|it| it.epoch(now)), clients.map(|it| it.epoch(now))];
    (registered.to_vec(), sources, epochs, second)
}
