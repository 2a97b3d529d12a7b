//! The last good snapshot across restarts, whatever has become of its file.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::harness::{DEADLINE, Exporter, KEY, Launch, all, assert_no_key, until};
use crate::page::Page;
use crate::upstream::{Upstream, answer, certificate, certificates, error_answer, page};

const LAST_SUCCESS: &str = "openai_cert_exporter_last_success_timestamp_seconds";
const WRITE_FAILURES: &str = "openai_cert_exporter_state_write_failures_total";

/// An upstream that can be made to answer no more.
struct Outage {
    upstream: Upstream,
    is_out: Arc<AtomicBool>,
}

impl Outage {
    /// Before it, there are three certificates, and a project with one.
    async fn of(during: wiremock::ResponseTemplate) -> Self {
        let is_out = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&is_out);
        let project = json!({"object": "organization.project", "id": "proj_a", "name": "A", "status": "active"});
        let upstream = Upstream::scripted(move |_, request| {
            if switch.load(Ordering::SeqCst) {
                return during.clone();
            }
            answer(&match request.url.path() {
                "/v1/organization/certificates" => page(&certificates(3), false),
                "/v1/organization/projects" => page(std::slice::from_ref(&project), false),
                _ => page(&[certificate("cert_of_project")], false),
            })
        })
        .await;
        Self { upstream, is_out }
    }

    fn begins(&self) {
        self.is_out.store(true, Ordering::SeqCst);
    }

    fn ends(&self) {
        self.is_out.store(false, Ordering::SeqCst);
    }
}

/// A folder for the file, and how to start an exporter with it.
struct State {
    folder: TempDir,
}

impl State {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn aside(&self) -> PathBuf {
        self.folder.path().join("state.bad")
    }

    fn launch(&self, base_url: &str) -> Launch {
        Launch::often(base_url).set("poll.state_file", self.path().to_str().unwrap())
    }

    /// Names of all files in the folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A file as an exporter has left it after a poll of this upstream.
    async fn left_by_a_run(outage: &Outage) -> Self {
        let state = Self::new();
        let exporter = state.launch(&outage.upstream.base_url()).start().await;
        exporter.page_after_polls(1).await;
        exporter.stop().await;
        state
    }
}

/// All that a page says of certificates, but for what changes with time alone.
fn about_certificates(page: &Page) -> Vec<String> {
    let is_of_these = |line: &&str| line.starts_with("openai_") && !line.starts_with("openai_cert_exporter_");
    let is_steady = |line: &&str| !line.starts_with("openai_certificate_days_until_expiry");
    page.text.lines().filter(is_of_these).filter(is_steady).map(str::to_owned).collect()
}

async fn last_success_is_written(exporter: &Exporter) -> Page {
    exporter.page_when("a poll succeeds", |page| page.one("openai_cert_exporter_up") == 1.0).await
}

#[tokio::test]
async fn a_restart_in_an_outage_serves_what_was_known() {
    // Nothing comes of the first poll for as long as this test runs.
    let outage = Outage::of(error_answer(500, None).set_delay(10 * DEADLINE)).await;
    let state = State::new();
    let launch = || state.launch(&outage.upstream.base_url()).set("poll.projects", "true");
    let exporter = launch().start().await;
    let before = last_success_is_written(&exporter).await;
    assert_eq!(before.find("openai_project_certificate_active", &[("certificate_id", "cert_of_project")]), Some(1.0));
    outage.begins();
    exporter.stop().await;

    let exporter = launch().start().await;
    let after = exporter.page().await;
    assert_eq!(after.one("openai_cert_exporter_polls_total"), 0.0, "at once");
    assert_eq!(after.one("openai_cert_exporter_up"), 0.0);
    assert_eq!(after.certificates(), before.certificates());
    assert_eq!(
        after.of("cert_0000", "openai_certificate_days_until_expiry").map(f64::round),
        before.of("cert_0000", "openai_certificate_days_until_expiry").map(f64::round)
    );
    // The polls of the first run went on after its page was read.
    let (then, now) = (before.one(LAST_SUCCESS), after.one(LAST_SUCCESS));
    assert!((then..then + DEADLINE.as_secs_f64()).contains(&now), "{then} {now}");
    assert_eq!(exporter.status("/readyz").await, 200);
    assert_eq!(exporter.status("/healthz").await, 200);
    assert_eq!(exporter.log_lines("serving the snapshot of an earlier run").len(), 1, "{}", exporter.log());

    // A third start, from a file that the second has not touched, says the same.
    exporter.stop().await;
    let again = launch().start().await.page().await;
    assert_eq!(about_certificates(&again), about_certificates(&after));
    assert_eq!(again.one(LAST_SUCCESS), now);
}

#[tokio::test]
async fn polls_that_fail_leave_it_and_one_that_succeeds_moves_it_on() {
    let outage = Outage::of(error_answer(503, None)).await;
    let state = State::left_by_a_run(&outage).await;
    let kept = std::fs::read(state.path()).unwrap();
    outage.begins();
    let exporter = state.launch(&outage.upstream.base_url()).start().await;
    let failing = exporter.page_after_polls(3).await;
    assert_eq!(failing.one("openai_cert_exporter_up"), 0.0);
    assert_eq!(failing.certificates().len(), 3);
    assert_eq!(std::fs::read(state.path()).unwrap(), kept);

    outage.ends();
    let success = last_success_is_written(&exporter).await;
    assert!(success.one(LAST_SUCCESS) > failing.one(LAST_SUCCESS));
    // Who saw the success finds it on disk.
    assert_ne!(std::fs::read(state.path()).unwrap(), kept);
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_holds_no_key() {
    let named = crate::upstream::certificate_with("cert_telling", json!({"name": format!("it is {KEY}")}));
    let upstream = Upstream::always(answer(&page(&[named], false))).await;
    let state = State::new();
    // What a write that was killed has left behind, open to everybody.
    let leftover = state.folder.path().join("state.tmp");
    std::fs::write(&leftover, "half").unwrap();
    std::fs::set_permissions(&leftover, std::fs::Permissions::from_mode(0o666)).unwrap();
    let exporter = state.launch(&upstream.base_url()).under("umask 0").start().await;
    exporter.page_after_polls(2).await;
    exporter.stop().await;
    assert_eq!(std::fs::metadata(state.path()).unwrap().mode() & 0o7777, 0o600);
    assert_no_key("the state file", &String::from_utf8_lossy(&std::fs::read(state.path()).unwrap()));
    // The stop may come in the middle of a write.
    assert!(state.names().iter().all(|name| name == "state" || name == "state.tmp"), "{:?}", state.names());
}

#[tokio::test]
async fn a_file_of_no_use_is_set_aside_and_stops_nothing() {
    let outage = Outage::of(error_answer(500, None)).await;
    let good = std::fs::read(State::left_by_a_run(&outage).await.path()).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let middle = good.len() / 2;
    let flipped = [&good[..middle], &[good[middle] ^ 1], &good[middle + 1..]].concat();
    let other_url = {
        let other = Outage::of(error_answer(500, None)).await;
        std::fs::read(State::left_by_a_run(&other).await.path()).unwrap()
    };
    let cases = [
        ("empty", Vec::new(), "no valid first line"),
        ("cut within the first line", good[..10].to_vec(), "no valid first line"),
        ("cut in the middle", good[..middle].to_vec(), "truncated or damaged"),
        ("cut by a byte", good[..good.len() - 1].to_vec(), "truncated or damaged"),
        ("longer by a byte", [&good[..], b"\n"].concat(), "truncated or damaged"),
        ("one bit another", flipped, "truncated or damaged"),
        ("zeros, as after a crash of the machine", vec![0; good.len()], "no valid first line"),
        ("another format", b"[certificates]\nnone = true\n".to_vec(), "no valid first line"),
        ("a later version", text.replacen("\"version\":2", "\"version\":3", 1).into_bytes(), "it has version 3"),
        ("another API's", other_url, "it is of another api.base_url"),
        ("a key in it", format!("{KEY}\n").into_bytes(), "no valid first line"),
    ];
    outage.begins();
    all(cases, async |(what, content, fault)| {
        let state = State::new();
        std::fs::write(state.path(), &content).unwrap();
        // As of an earlier time; there is one name, so it makes way.
        std::fs::write(state.aside(), "older").unwrap();
        let exporter = state.launch(&outage.upstream.base_url()).start().await;
        let warnings = exporter.log_lines("the state file is not used and is set aside");
        assert_eq!(warnings.len(), 1, "{what}: {}", exporter.log());
        assert!(warnings[0].contains("WARN") && warnings[0].contains(fault), "{what}: {warnings:?}");
        assert_eq!(std::fs::read(state.aside()).unwrap(), content, "{what}");
        let page = exporter.page_after_polls(1).await;
        assert_eq!((page.certificates().len(), page.find(LAST_SUCCESS, &[])), (0, None), "{what}");
        assert_eq!(exporter.status("/readyz").await, 503, "{what}");
        exporter.stop().await;
        assert_eq!(state.names(), ["state.bad"], "{what}");
    })
    .await;
}

#[tokio::test]
async fn a_path_that_cannot_be_written_stops_no_poll_and_is_counted() {
    let upstream = Upstream::always(answer(&page(&certificates(3), false))).await;
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a_file"), "").unwrap();
    std::fs::create_dir(path("a_folder")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path("a_pipe")).status().unwrap();
    assert!(made.success());
    // A file system that is read-only for everybody.
    let sealed = Path::new("/proc/state").to_owned();
    let cases = [path("missing/state"), path("a_file/state"), path("a_folder"), path("a_pipe"), sealed];
    all(cases, async |state_file| {
        let what = state_file.display().to_string();
        let exporter = Launch::often(&upstream.base_url()).set("poll.state_file", &what).start().await;
        let page = exporter.page_when("writes fail, and polls do not", |page| page.one(WRITE_FAILURES) >= 3.0).await;
        assert_eq!(page.one("openai_cert_exporter_up"), 1.0, "{what}");
        assert_eq!(page.one(WRITE_FAILURES), page.one("openai_cert_exporter_polls_total"), "{what}");
        assert_eq!(page.certificates().len(), 3, "{what}");
        assert!(!exporter.log_lines("the state file cannot be written").is_empty(), "{what}");
        assert_eq!(exporter.status("/healthz").await, 200, "{what}");
    })
    .await;
    assert!(!std::fs::metadata(path("a_pipe")).unwrap().is_file(), "a pipe is neither waited for nor replaced");
}

#[tokio::test]
async fn a_write_that_breaks_off_for_want_of_room_leaves_the_file_before_it() {
    let organization = Arc::new(crate::upstream::Organization::of(certificates(3)));
    let upstream = Upstream::organization(&organization).await;
    let state = State::new();
    let exporter = state.launch(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await;
    exporter.stop().await;

    // Files may grow to a megabyte at most, in units of 512 or 1,024 bytes, and the next snapshot is larger.
    organization.now_has((0..2_000).map(|n| certificate(&format!("cert_{n:01000}"))).collect());
    let exporter =
        state.launch(&upstream.base_url()).without_arg("--log.level=trace").under("ulimit -f 1024").start().await;
    let page = exporter.page_when("writes fail, and polls do not", |page| page.one(WRITE_FAILURES) >= 2.0).await;
    assert_eq!((page.one("openai_cert_exporter_up"), page.certificates().len()), (1.0, 2_000));
    exporter.stop().await;
    assert!(state.names().iter().all(|name| name == "state" || name == "state.tmp"), "{:?}", state.names());

    organization.later_pages_are(Some(error_answer(500, None)));
    let exporter = state.launch(&upstream.base_url()).start().await;
    assert_eq!(exporter.page().await.certificates().len(), 3, "as it was written last");
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_leaves_what_was_known() {
    let outage = Outage::of(error_answer(500, None)).await;
    let state = State::left_by_a_run(&outage).await;
    // The same, as if it came from a host that has had a name.
    let unnamed = "http://exporter-test.invalid/v1";
    let kept = String::from_utf8(std::fs::read(state.path()).unwrap()).unwrap();
    let (_, content) = kept.split_once('\n').unwrap();
    let mut content: serde_json::Value = serde_json::from_str(content).unwrap();
    content["base_url"] = json!(unnamed);
    let content = content.to_string();
    let header = json!({"version": 2, "bytes": content.len(), "crc32": crc32fast::hash(content.as_bytes())});
    std::fs::write(state.path(), format!("{header}\n{content}")).unwrap();

    let launch = state.launch(unnamed).set("api.insecure_http", "true").set("api.request_timeout", "5s");
    // Whoever is asked for names may not answer.
    let exporter = launch.set("api.max_retries", "2").env("RES_OPTIONS", "timeout:1 attempts:1").start().await;
    let page = exporter.page_when("a poll fails", |page| page.one("openai_cert_exporter_polls_total") >= 1.0).await;
    assert_eq!(page.failures().get("network"), Some(&1.0), "{:?}", page.failures());
    let tries = page.series("openai_cert_exporter_api_requests_total").iter().map(|sample| sample.value).sum::<f64>();
    assert!(tries <= 3.0 * 2.0, "{tries} tries in the poll that is over and the one under way");
    assert_eq!((page.one("openai_cert_exporter_up"), page.certificates().len()), (0.0, 3));
    assert_eq!((exporter.status("/healthz").await, exporter.status("/readyz").await), (200, 200));
    assert!(
        exporter.log().contains("exporter-test.invalid") || exporter.log().contains("dns error"),
        "{}",
        exporter.log()
    );
}

#[tokio::test]
async fn a_folder_that_comes_back_is_written_to_again() {
    let upstream = Upstream::always(answer(&page(&certificates(3), false))).await;
    let state = State::new();
    let (folder, away) = (state.folder.path().join("inner"), state.folder.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("state");
    let exporter = Launch::often(&upstream.base_url()).set("poll.state_file", path.to_str().unwrap()).start().await;
    exporter.page_after_polls(1).await;
    std::fs::rename(&folder, &away).unwrap();
    exporter.page_when("a write fails", |page| page.one(WRITE_FAILURES) >= 1.0).await;
    std::fs::rename(&away, &folder).unwrap();
    std::fs::remove_file(&path).unwrap();
    until("it is written again", async || path.is_file().then_some(())).await;
}

#[tokio::test]
async fn kill_at_any_moment_loses_nothing() {
    const SERIES: u64 = 8;
    const KILLS: u64 = 7;
    // Large enough for a write to take its time.
    let organization = Arc::new(crate::upstream::Organization::of(certificates(400)));
    let upstream = Upstream::organization(&organization).await;
    all(0..SERIES, async |series| {
        let state = State::new();
        let exporter = state.launch(&upstream.base_url()).without_arg("--log.level=trace").start().await;
        let mut last_success = last_success_is_written(&exporter).await.one(LAST_SUCCESS);
        let mut running = exporter;
        for kill in 0..KILLS {
            // Spread over a poll and the write after it.
            sleep(Duration::from_millis((series * KILLS + kill) * 37 % 160)).await;
            running.signal(Signal::KILL);
            running.ended().await;
            running = state.launch(&upstream.base_url()).without_arg("--log.level=trace").start().await;
            assert_eq!(running.status("/readyz").await, 200, "{}", running.log());
            let page = running.page().await;
            assert_eq!(page.certificates().len(), 400);
            assert!(page.one(LAST_SUCCESS) >= last_success, "{} after {last_success}", page.one(LAST_SUCCESS));
            last_success = page.one(LAST_SUCCESS);
            assert_eq!(running.log_lines("is set aside"), [""; 0]);
            assert_eq!(running.log_lines("serving the snapshot of an earlier run").len(), 1, "{}", running.log());
        }
        running.stop().await;
        assert!(state.names().iter().all(|name| name == "state" || name == "state.tmp"), "{:?}", state.names());
    })
    .await;
}
