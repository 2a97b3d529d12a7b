//! SIGHUP: what a new configuration changes at once, and what it cannot.

use rustix::process::Signal;
use tempfile::TempDir;

use crate::api::{Api, DemoCertificate, With as _, certificate, certificates};
use crate::binary::{Exporter, KEY, Launch};
use crate::client::client;
use crate::page::Page;
use crate::tls::{Authority, Folder, hash, users};
use crate::wait::until;

const SUCCESSFUL: &str = "openai_cert_exporter_config_last_reload_successful";
const SUCCEEDED_AT: &str = "openai_cert_exporter_config_last_reload_success_timestamp_seconds";
const HOURLY: &str = "[poll]\ninterval = \"1h\"\n";
const OFTEN: &str = "[poll]\ninterval = \"100ms\"\n";

/// An exporter, and the configuration file that it reads.
struct Reloadable {
    folder: TempDir,
    exporter: Exporter,
    _api: Option<Api>,
}

impl Reloadable {
    async fn start(config: &str, certificates: Vec<DemoCertificate>) -> Self {
        let api = Api::listing(certificates).await;
        let launch = Launch::bare(&[]).env("OPENAI_ADMIN_KEY", KEY);
        let started = Self::launch(launch.env("OPENAI_BASE_URL", &api.base_url()), config).await;
        Self { _api: Some(api), ..started }
    }

    async fn launch(launch: Launch, config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("exporter.toml");
        std::fs::write(&path, config).unwrap();
        let flags = ["--web.listen-address=127.0.0.1:0".into(), "--log.level=debug".into()];
        let flags = flags.into_iter().chain([format!("--config.file={}", path.display())]);
        let exporter = flags.fold(launch, |launch, flag: String| launch.arg(&flag)).start().await;
        exporter.page_after_polls(1).await;
        Self { folder, exporter, _api: None }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("exporter.toml")
    }

    /// Reads this configuration, and waits until the log says what has come of it.
    async fn reload(&self, config: &str) -> Page {
        std::fs::write(self.path(), config).unwrap();
        let count = || self.exporter.log_lines("the configuration ").len();
        let before = count();
        self.exporter.signal(Signal::HUP);
        until("the configuration is read anew", async || (count() > before).then_some(())).await;
        self.exporter.page().await
    }
}

#[tokio::test]
async fn new_interval_holds_at_once() {
    let reloadable = Reloadable::start(HOURLY, certificates(3)).await;
    let before = reloadable.exporter.page().await;
    assert_eq!(before.one(SUCCESSFUL), 1.0, "from the start");
    let after = reloadable.reload(OFTEN).await;
    assert_eq!(after.one(SUCCESSFUL), 1.0);
    assert!(after.one(SUCCEEDED_AT) > before.one(SUCCEEDED_AT));
    reloadable.exporter.page_after_polls(4).await;

    reloadable.reload(HOURLY).await;
    until("the next poll is far off", async || {
        let planned = reloadable.exporter.log_lines("next poll");
        let (_, seconds) = planned.last()?.rsplit_once("in_seconds=")?;
        (seconds.parse::<f64>().unwrap() > 1_000.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn invalid_configuration_changes_nothing_and_shows() {
    let reloadable = Reloadable::start(OFTEN, certificates(3)).await;
    let mut succeeded_at = reloadable.exporter.page().await.one(SUCCEEDED_AT);
    let status_page_says = async |is_refused| {
        until("the status page says so", async || {
            let page = reloadable.exporter.get("/").await.text().await.unwrap();
            (page.contains("A new configuration was refused.") == is_refused).then_some(())
        })
        .await;
    };
    for (config, fault) in [
        ("[poll]\ninterval = \"1h\"\nintervall = \"1h\"\n", "poll.intervall"),
        ("[poll]\ninterval = \"1h\"\n[api]\nca_file = \"/nonexistent/ca.pem\"\n", "api.ca_file"),
        ("[poll\ninterval = \"1h\"\n", "exporter.toml"),
    ] {
        let page = reloadable.reload(config).await;
        assert_eq!((page.one(SUCCESSFUL), page.one(SUCCEEDED_AT)), (0.0, succeeded_at), "{config}");
        let errors = reloadable
            .exporter
            .log_lines("the configuration cannot be used; keeping the previous one");
        let last = errors.last().unwrap();
        assert!(last.contains("ERROR") && last.contains(fault), "{config}: {last}");
        status_page_says(true).await;
        // Still at the interval from before.
        reloadable.exporter.page_after_more_polls(3).await;

        let mended = reloadable.reload(OFTEN).await;
        assert_eq!(mended.one(SUCCESSFUL), 1.0, "{config}");
        assert!(mended.one(SUCCEEDED_AT) > succeeded_at, "{config}");
        status_page_says(false).await;
        succeeded_at = mended.one(SUCCEEDED_AT);
    }
    // A file that is gone is no empty one.
    std::fs::remove_file(reloadable.path()).unwrap();
    reloadable.exporter.signal(Signal::HUP);
    reloadable.exporter.page_when("its absence shows", |page| page.one(SUCCESSFUL) == 0.0).await;
}

#[tokio::test]
async fn key_of_another_api_is_never_sent_to_the_one_before() {
    let [old, new] = [Api::listing(certificates(3)).await, Api::listing(certificates(3)).await];
    let keys = Folder::with("");
    keys.write("old", "key-of-old");
    keys.write("new", KEY);
    let config = |api: &Api, key: &str| {
        let (url, file) = (api.base_url(), keys.name(key));
        format!("{OFTEN}[api]\nbase_url = \"{url}\"\nadmin_key_file = \"{file}\"\n")
    };
    let reloadable = Reloadable::launch(Launch::bare(&[]), &config(&old, "old")).await;
    let page = reloadable.reload(&config(&new, "new")).await;
    assert_eq!(page.one(SUCCESSFUL), 0.0, "nothing of it is taken");
    let line = reloadable.exporter.line_saying("keeping the previous one").await;
    assert!(line.contains("api.base_url: cannot be changed by a reload"), "{line}");
    reloadable.exporter.page_after_more_polls(2).await;
    assert!(old.requests().iter().all(|it| it.headers["authorization"] == "Bearer key-of-old"));
    assert_eq!(new.count(), 0, "only a restart goes there");

    let page = reloadable.reload(&config(&old, "new")).await;
    assert_eq!(page.one(SUCCESSFUL), 1.0, "a key of the same API is taken");
    until("it is sent", async || {
        let requests = old.requests();
        (requests.last()?.headers["authorization"] == format!("Bearer {KEY}")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn key_that_needs_a_restart_is_named_and_the_rest_is_taken() {
    let reloadable = Reloadable::start(HOURLY, certificates(3)).await;
    let config = format!("{OFTEN}state_file = \"/nonexistent/state\"\n[log]\nformat = \"json\"\n");
    for _ in 0..2 {
        let page = reloadable.reload(&config).await;
        assert_eq!(page.one(SUCCESSFUL), 1.0);
    }
    let named = reloadable.exporter.log_lines("these keys take effect only after a restart");
    assert_eq!(named.len(), 2, "as long as it is so: {named:?}");
    assert!(named.iter().all(|line| line.contains("poll.state_file, log.format")), "{named:?}");
    let page = reloadable.exporter.page_after_polls(3).await;
    assert_eq!(
        page.one("openai_cert_exporter_state_write_failures_total"),
        0.0,
        "nothing is written there yet"
    );
}

#[tokio::test]
async fn client_certificate_that_is_configured_no_more_is_exported_no_more() {
    const NOT_AFTER: &str = "openai_cert_exporter_client_certificate_not_after_timestamp_seconds";
    let (authority, folder) = (Authority::new(), Folder::with(""));
    folder.write_pair("client", &authority.client(Vec::new()));
    let [cert, key] = ["client.pem", "client.key"].map(|name| folder.name(name));
    let config =
        format!("{OFTEN}[api]\nclient_cert_file = \"{cert}\"\nclient_key_file = \"{key}\"\n");
    let reloadable = Reloadable::start(&config, certificates(3)).await;
    assert!(reloadable.exporter.page().await.find(NOT_AFTER, &[]).is_some());
    reloadable.reload(OFTEN).await;
    let page = reloadable.exporter.page_after_more_polls(2).await;
    assert_eq!(page.find(NOT_AFTER, &[]), None);
    reloadable.reload(&config).await;
    let page = reloadable.exporter.page_after_more_polls(2).await;
    assert!(page.find(NOT_AFTER, &[]).is_some());
}

/// A pipe has its content once; read again, it would be an empty file of defaults, or keep the reload waiting.
#[tokio::test]
async fn configuration_from_a_pipe_is_read_at_startup_and_refused_on_reload() {
    let api = Api::listing(certificates(3)).await;
    let folder = Folder::with("");
    let named = folder.name("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&named).status().unwrap().success());
    let writer = std::thread::spawn({
        let named = named.clone();
        move || std::fs::write(named, OFTEN).unwrap()
    });
    let anonymous = format!("exec 3<<END\n{OFTEN}\nEND\ntrue");
    for (path, shell) in [(&*named, "true"), ("/dev/fd/3", &anonymous)] {
        let launch = Launch::bare(&["--web.listen-address=127.0.0.1:0", "--config.file", path]);
        let launch = launch.env("OPENAI_ADMIN_KEY", KEY).env("OPENAI_BASE_URL", &api.base_url());
        let exporter = launch.under(shell).start().await;
        exporter.page_after_polls(3).await;
        for round in 1..=2 {
            exporter.signal(Signal::HUP);
            let lines = until("it is told", async || {
                let lines = exporter.log_lines("keeping the previous one");
                (lines.len() == round).then_some(lines)
            })
            .await;
            let fault = format!(
                "configuration file {path} cannot be read again: it is not a regular file; restart the exporter"
            );
            assert!(lines[0].ends_with(&fault), "{lines:?}");
        }
        assert_eq!(exporter.page().await.one(SUCCESSFUL), 0.0);
        exporter.page_after_more_polls(3).await;
    }
    writer.join().unwrap();
}

#[tokio::test]
async fn new_rotation_group_holds_for_lists_that_stay_the_same() {
    let named =
        |name: &str, begin, end| certificate(name).named(name).dated(Some(begin), Some(end));
    let list = vec![named("edge old", 1, 4_000_000_000), named("edge new", 2, 4_100_000_000)];
    let reloadable = Reloadable::start(OFTEN, list).await;
    let superseded = |page: &Page| page.of("edge old", "openai_certificate_superseded").unwrap();
    assert_eq!(superseded(&reloadable.exporter.page().await), 0.0);
    let page =
        reloadable.reload(&format!("{OFTEN}[certificates]\nrotation_group = \"^(.+) \"\n")).await;
    assert_eq!(page.one(SUCCESSFUL), 1.0, "{}", reloadable.exporter.log());
    reloadable
        .exporter
        .page_when("the new one supersedes the old one", |page| superseded(page) == 1.0)
        .await;
    reloadable.reload(OFTEN).await;
    reloadable.exporter.page_when("it does so no longer", |page| superseded(page) == 0.0).await;
}

#[tokio::test]
async fn refused_web_configuration_shows_until_it_is_mended() {
    let users = |hash: &str| users(&[("alice", hash)]);
    let (right, api) = (hash("secret"), Api::listing(certificates(3)).await);
    let folder = Folder::with(&users(&right));
    let exporter = api.often().web_config(&folder).start().await;
    let http = client();
    let get = async |path: &str| {
        let request = http.get(exporter.url(path)).basic_auth("alice", Some("secret"));
        request.send().await.unwrap().text().await.unwrap()
    };
    let successful = async || {
        let page = Page::parse(&get("/metrics").await).unwrap();
        page.one("openai_cert_exporter_web_config_last_reload_successful")
    };
    let refused = "A change to the web configuration was refused.";
    // At once, and whether SIGHUP or its own look at the files comes first.
    for (file, is_refused, said) in [
        (right.as_str(), false, "applies from the next poll on"),
        (
            "oops",
            true,
            "applies from the next poll on, except for web.config_file: keeping its previous version",
        ),
        (right.as_str(), false, "applies from the next poll on"),
    ] {
        folder.write("web.yml", &users(file));
        let before = exporter.log_lines("the configuration was reloaded").len();
        exporter.signal(Signal::HUP);
        let line = until("the configuration is read anew", async || {
            exporter.log_lines("the configuration was reloaded").get(before).cloned()
        })
        .await;
        assert!(line.trim_end().ends_with(said), "{line}");
        assert_eq!(successful().await, f64::from(u8::from(!is_refused)));
        until("the status page says so", async || {
            (get("/").await.contains(refused) == is_refused).then_some(())
        })
        .await;
    }
}
