//! From what is known, and the moment of the scrape, to the metrics page.

mod collector;
mod families;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Opts, Registry, TextEncoder};
use tokio::sync::watch;

use crate::inventory::State;
use collector::StateCollector;

/// The media type of the page: the text format 0.0.4, which is UTF-8.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why there is no page. Neither can happen by what an upstream sends.
#[derive(Debug, thiserror::Error)]
pub enum ExpositionError {
    /// The library refuses a family.
    #[error("the metrics cannot be encoded: {0}")]
    Encode(#[from] prometheus::Error),
    /// Writing to memory failed.
    #[error("the metrics page cannot be compressed: {0}")]
    Compress(#[from] std::io::Error),
}

/// Everything that is exported.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// What `state` says, what `registry` holds already, and this process's own figures.
    pub fn new(registry: Registry, state: watch::Receiver<State>) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(StateCollector::new(state)))?;
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
        Ok(Self { registry })
    }

    /// The page as of now: families sorted by name, series by labels.
    pub fn page(&self) -> Result<Vec<u8>, ExpositionError> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(page)
    }

    /// The page as of now, compressed.
    pub fn gzip_page(&self) -> Result<Vec<u8>, ExpositionError> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.page()?)?;
        Ok(encoder.finish()?)
    }
}
