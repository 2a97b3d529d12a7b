//! From what is known, and the moment of the scrape, to the metrics page.
//!
//! The page is made of two kinds of families, sorted by name. [`small`] ones are a few series each; they are written anew by
//! the library's encoder, and compressed anew when they say something else. [`large`] ones have a series for each
//! certificate, project or scope: what changes only with the snapshot is compressed once and [`kept`], days are compressed
//! by [`deflate`] at the scrape, and [`gzip`] joins the pieces. Scrapes within one second share a page. Uncompressed, the
//! page is written as it is read and never held whole.

mod deflate;
mod document;
mod gzip;
mod kept;
mod large;
mod page;
mod small;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Opts, Registry, TextEncoder};
use tokio::sync::{Mutex, watch};

use crate::inventory::{Snapshot, State, UnixSeconds, unix_now};
pub use document::{Document, severity_word};
use gzip::{Compressor, Fragment};
use kept::Kept;
pub use page::{GzipPage, TextPage};

/// The media type of the page: the text format 0.0.4, which is UTF-8.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why there is no page. Nothing that an upstream sends can bring it about.
#[derive(Debug, thiserror::Error)]
pub enum ExpositionError {
    /// The library refuses a family.
    #[error("the metrics cannot be encoded: {0}")]
    Encode(#[from] prometheus::Error),
    /// The thread that compresses ended early.
    #[error("the metrics page cannot be compressed: {0}")]
    Compress(#[from] tokio::task::JoinError),
}

/// Everything that is exported.
pub struct Exposition {
    registry: Registry,
    state: watch::Receiver<State>,
    cache: Mutex<Cache>,
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposition").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What was compressed last.
#[derive(Default)]
struct Cache {
    /// Kept, because what is allocated and freed at each scrape would stay with the process all the same. Made for the
    /// first page that is compressed.
    compressor: Option<Compressor>,
    kept: Option<Kept>,
    head: Small,
    tail: Small,
    page: Option<Shared>,
}

/// Small families, and what became of them.
#[derive(Default)]
struct Small(Option<(String, Fragment)>);

/// A page that scrapes share.
struct Shared {
    /// The second in which it was made.
    second: UnixSeconds,
    /// Polls that it tells of.
    polls: u64,
    pieces: Arc<[Bytes]>,
}

impl Exposition {
    /// What `state` says, what `registry` holds already, and this process's own figures.
    pub fn new(registry: Registry, state: watch::Receiver<State>) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build_info = prometheus::Gauge::with_opts(
            Opts::new(
                "openai_cert_exporter_build_info",
                "A constant 1, with what this program was built from as labels.",
            )
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("revision", env!("BUILD_REVISION"))
            .const_label("rustc", env!("BUILD_RUSTC")),
        )?;
        build_info.set(1.0);
        registry.register(Box::new(build_info))?;
        Ok(Self::of(registry, state))
    }

    /// What `state` says, and nothing of this process: for a file that another exporter serves beside its own figures.
    #[must_use]
    pub fn of_state(state: watch::Receiver<State>) -> Self {
        Self::of(Registry::new(), state)
    }

    fn of(registry: Registry, state: watch::Receiver<State>) -> Self {
        Self { registry, state, cache: Mutex::default() }
    }

    /// The page as of now, as text.
    pub fn text(&self) -> Result<TextPage, ExpositionError> {
        let state = self.state.borrow().clone();
        let (head, tail) = self.small(&state)?;
        Ok(TextPage::new(head, state.snapshot, tail, unix_now()))
    }

    /// The page as of this second, compressed.
    pub async fn gzip(&self) -> Result<GzipPage, ExpositionError> {
        let mut cache = self.cache.lock().await;
        let (state, now) = (self.state.borrow().clone(), unix_now());
        let second = large::second(now);
        if let Some(page) = cache.page.as_ref().filter(|page| (page.second, page.polls) == (second, state.polls)) {
            return Ok(GzipPage::new(Arc::clone(&page.pieces)));
        }
        cache.follow(state.snapshot.as_ref(), now).await?;
        let Cache { compressor, kept, head, tail, page } = &mut *cache;
        let compressor = compressor.get_or_insert_default();
        // What nobody reads any more is let go before there is a new one.
        *page = None;
        let small = self.small(&state)?;
        let mut fragments = vec![head.compress(compressor, small.0)];
        if let Some(kept) = kept {
            kept.keep_up(compressor, now);
            fragments.extend(kept.fragments(now));
        }
        fragments.push(tail.compress(compressor, small.1));
        let pieces: Arc<[Bytes]> = gzip::member(fragments).into();
        let answer = GzipPage::new(Arc::clone(&pieces));
        *page = Some(Shared { second, polls: state.polls, pieces });
        Ok(answer)
    }

    /// The families that are written by the library: those before the large ones, and those after them.
    fn small(&self, state: &State) -> Result<(String, String), ExpositionError> {
        let mut families = self.registry.gather();
        families.extend(small::families(state).into_iter().filter(|family| !family.get_metric().is_empty()));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let head = families.partition_point(|family| family.name() < large::GROUPS[0][0].name);
        let encoder = TextEncoder::new();
        Ok((encoder.encode_to_string(&families[..head])?, encoder.encode_to_string(&families[head..])?))
    }
}

impl Small {
    /// Compresses a text, unless it is the last one still.
    fn compress(&mut self, compressor: &mut Compressor, text: String) -> Fragment {
        match &self.0 {
            Some((known, fragment)) if *known == text => fragment.clone(),
            _ => {
                let fragment = compressor.compress(&text);
                self.0.insert((text, fragment)).1.clone()
            }
        }
    }
}

impl Cache {
    /// Compresses a snapshot, unless that has been done.
    async fn follow(&mut self, snapshot: Option<&Arc<Snapshot>>, now: f64) -> Result<(), ExpositionError> {
        let Some(snapshot) = snapshot else { return Ok(()) };
        if self.kept.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.snapshot, snapshot)) {
            return Ok(());
        }
        let (snapshot, before) = (Arc::clone(snapshot), self.kept.take());
        let kept = if Kept::is_quick(&snapshot) {
            Kept::new(self.compressor.get_or_insert_default(), snapshot, before.as_ref(), now)
        } else {
            let made = move || Kept::new(&mut Compressor::default(), snapshot, before.as_ref(), now);
            tokio::task::spawn_blocking(made).await?
        };
        self.kept = Some(kept);
        Ok(())
    }
}
