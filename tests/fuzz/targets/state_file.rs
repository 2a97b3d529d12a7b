//! Any bytes as a state file, with and without a first line that fits them: they are served or set aside.

#![no_main]

use std::cell::OnceCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use openai_cert_exporter::config::{Layers, Loaded};
use openai_cert_exporter::exposition::Exposition;
use openai_cert_exporter::inventory::unix_now;
use openai_cert_exporter::openai::{Client, Metrics};
use openai_cert_exporter::poller::{Poller, PollerConfig};
use prometheus::Registry;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

struct Setup {
    folder: TempDir,
    runtime: Runtime,
    loaded: Loaded,
    client: Arc<Client>,
}

impl Setup {
    fn new() -> Self {
        let environment = [
            ("OPENAI_ADMIN_KEY", "sk-admin-fuzz"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
            ("OPENAI_CERT_EXPORTER__POLL__PROJECTS", "true"),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let loaded = Loaded::new(&Layers::stack(None, environment, [], None).unwrap()).unwrap();
        let client = Arc::new(
            Client::new(&loaded.config.api, Arc::new(Metrics::new(&Registry::new()).unwrap()))
                .unwrap(),
        );
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { folder: TempDir::new().unwrap(), runtime, loaded, client }
    }
}

thread_local! {
    static SETUP: OnceCell<Setup> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, content)) = bytes.split_first() else { return };
    SETUP.with(|setup| {
        let Setup { folder, runtime, loaded: Loaded { config, credentials }, client } =
            setup.get_or_init(Setup::new);
        let path = folder.path().join("state");
        let file = if choice % 2 == 0 {
            content.to_vec()
        } else {
            let crc32 = crc32fast::hash(content);
            let header =
                format!("{{\"version\":2,\"bytes\":{},\"crc32\":{crc32}}}\n", content.len());
            [header.as_bytes(), content].concat()
        };
        std::fs::write(&path, file).unwrap();
        let poller_config = PollerConfig::new(Arc::clone(client), config, credentials.clone());
        let poller = Poller::new(poller_config, Some(&path), &config.api.base_url);
        let (_poller, state) = runtime.block_on(poller).unwrap();
        let state = state.borrow().clone();
        assert_eq!(
            path.exists(),
            state.snapshot.is_some(),
            "set aside exactly where it is not used"
        );
        // Whatever is taken can be shown.
        assert!(Exposition::of_state_only().text(&state, unix_now()).unwrap().count() > 0);
    });
});
