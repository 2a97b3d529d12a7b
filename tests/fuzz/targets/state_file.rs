//! Any bytes as a state file, with and without a first line that fits them: they are served or set aside.

#![no_main]

use std::cell::OnceCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use openai_cert_exporter::config::{Layers, Loaded};
use openai_cert_exporter::exposition::Exposition;
use openai_cert_exporter::openai::{Client, Metrics};
use openai_cert_exporter::poller::{Poller, Settings};
use prometheus::Registry;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

struct Place {
    folder: TempDir,
    runtime: Runtime,
    loaded: Loaded,
}

impl Place {
    fn new() -> Self {
        let environment = [
            ("OPENAI_ADMIN_KEY", "sk-admin-fuzz"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
            ("OPENAI_CERT_EXPORTER__POLL__PROJECTS", "true"),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let layers = Layers::stack(None, environment, [], None).unwrap();
        Self {
            folder: TempDir::new().unwrap(),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            loaded: Loaded::new(&layers).unwrap(),
        }
    }
}

thread_local! {
    static PLACE: OnceCell<Place> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, content)) = bytes.split_first() else { return };
    PLACE.with(|place| {
        let Place { folder, runtime, loaded: Loaded { config, credentials } } = place.get_or_init(Place::new);
        let path = folder.path().join("state");
        let file = if choice % 2 == 0 {
            content.to_vec()
        } else {
            let crc32 = crc32fast::hash(content);
            let header = format!("{{\"version\":1,\"bytes\":{},\"crc32\":{crc32}}}\n", content.len());
            [header.as_bytes(), content].concat()
        };
        std::fs::write(&path, file).unwrap();
        let client = Client::new(&config.api, 1, Arc::new(Metrics::new().unwrap())).unwrap();
        let settings = Settings::new(client, config, credentials.clone());
        let (_poller, state) = runtime.block_on(Poller::new(settings, Some(&path), &config.api.base_url));
        let is_taken = state.borrow().snapshot.is_some();
        assert_eq!(path.exists(), is_taken, "set aside exactly where it is not used");
        // Whatever is taken can be shown.
        let exposition = Exposition::new(Registry::new(), state).unwrap();
        assert!(exposition.text().unwrap().count() > 0);
    });
});
