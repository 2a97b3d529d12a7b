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

use std::sync::Arc;

use bytes::Bytes;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder, register_gauge_vec_with_registry};
use tokio::sync::Mutex;

use crate::blocking::spawn_blocking;
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

/// A new inventory with more project-certificate series than this is compressed on a blocking thread, not on the one that
/// serves requests: a thousand series take half a millisecond.
const BLOCKING_THRESHOLD: usize = 20_000;

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
    cache: Arc<Mutex<Cache>>,
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
        Ok(Self { registry, cache: Arc::default() })
    }

    /// A page of the state of the polls alone: for the node exporter's textfile collector, which has `process_*` of its own.
    pub fn of_state_only() -> Self {
        Self { registry: Registry::new(), cache: Arc::default() }
    }

    /// The page as of the second of `now`, in pieces.
    pub fn text(&self, state: &Arc<PollState>, now: f64) -> Result<TextBody, ExpositionError> {
        Ok(TextBody::new(METRICS, registered(&self.registry)?, state, whole_second(now)))
    }

    /// The page as of the second of `now`, compressed.
    pub async fn gzip(&self, state: &Arc<PollState>, now: f64) -> Result<Bytes, ExpositionError> {
        let (registry, state, now) = (self.registry.clone(), Arc::clone(state), whole_second(now));
        let mut cache = Arc::clone(&self.cache).lock_owned().await;
        let is_long = cache.is_long(&state);
        let mut page = move || cache.page(&registry, &state, now);
        if is_long { spawn_blocking(page).await? } else { page() }
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

/// The page that was compressed last, and what it was made of.
#[derive(Default)]
struct Cache {
    compressor: Compressor,
    /// Of each run.
    fragments: Vec<Memo<Key, Arc<Fragment>>>,
    page: Memo<(UnixSeconds, Identity), Bytes>,
    /// The inventory that the page shows.
    inventory: Option<Identity>,
}

impl Cache {
    fn page(
        &mut self,
        registry: &Registry,
        state: &Arc<PollState>,
        now: UnixSeconds,
    ) -> Result<Bytes, ExpositionError> {
        let Self { compressor, fragments, page, inventory } = self;
        page.get_or_make((now, Identity::of(state)), || {
            let mut registered = registered(registry)?;
            fragments.resize_with(runs().count(), Memo::default);
            let fragments = runs().zip(fragments).map(|(run, fragment)| {
                let is_before = |(name, _): &Registered| {
                    run.last().is_none_or(|last| name.as_str() < last.name)
                };
                let beyond = registered.split_off(registered.partition_point(is_before));
                let registered = std::mem::replace(&mut registered, beyond);
                let key = key(run, &registered, state, now);
                fragment.get_or_make(key, || {
                    compressor.compress(TextBody::new(run, registered, state, now)).map(Arc::new)
                })
            });
            let page = gzip_member(&fragments.collect::<Result<Vec<_>, _>>()?);
            *inventory = state.snapshot.as_ref().map(|snapshot| Identity::of(&snapshot.inventory));
            Ok(page)
        })
    }

    /// Whether the next page takes long, since its inventory is large and was not compressed yet.
    fn is_long(&self, state: &PollState) -> bool {
        state.snapshot.as_ref().is_some_and(|snapshot| {
            let inventory = &snapshot.inventory;
            let series = inventory.projects().iter().map(|list| list.certificates.items.len());
            self.inventory != Some(Identity::of(inventory))
                && series.sum::<usize>() > BLOCKING_THRESHOLD
        })
    }
}

/// Cache key of a fragment: the text that is rendered for every page, the identities of its sources, and the second or
/// epochs.
type Key = (String, [Option<Identity>; 2], [Option<i64>; 2]);

fn key(
    run: &'static [Metric],
    registered: &[Registered],
    state: &Arc<PollState>,
    now: UnixSeconds,
) -> Key {
    let lifetime = run.first().map_or(Lifetime::Poll, |metric| metric.series.lifetime());
    let written = if lifetime == Lifetime::Poll { run } else { &[] };
    let text = TextBody::new(written, registered.to_vec(), state, now).collect();
    let snapshot = state.snapshot.as_ref();
    let clients = state.clients.as_ref();
    let facts = || [snapshot.map(|it| Identity::of(&it.inventory)), clients.map(Identity::of)];
    let epoch = |epoch: Option<usize>| epoch.and_then(|epoch| i64::try_from(epoch).ok());
    let (objects, moments) = match lifetime {
        Lifetime::Poll => ([None, None], [None, None]),
        Lifetime::Inventory => (facts(), [None, None]),
        Lifetime::Epoch => {
            let of_clients = clients.map(|clients| clients.epoch(now));
            let of_scopes = snapshot.map(|snapshot| snapshot.inventory.epoch(now));
            (facts(), [epoch(of_scopes), epoch(of_clients)])
        }
        Lifetime::Reads => ([snapshot.map(Identity::of), None], [None, None]),
        Lifetime::Second => (facts(), [Some(now), None]),
    };
    (text, objects, moments)
}
