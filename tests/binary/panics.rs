//! A bug in one task ends the process: what still served pages with a dead task behind it would be believed.

use std::os::unix::process::ExitStatusExt as _;

use openai_cert_exporter::config::{Log, LogFormat};
use openai_cert_exporter::telemetry;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::binary::{KEY, assert_no_key};
use crate::wait::DEADLINE;

/// Set in the process that panics.
const PANICS: &str = "OPENAI_CERT_EXPORTER_TEST_PANICS";
const SIGABRT: i32 = 6;

/// It starts itself once more, as the process in which a task panics.
#[tokio::test]
async fn panic_in_a_task_is_logged_and_ends_the_process() {
    if std::env::var_os(PANICS).is_some() {
        let (log, logs) = (
            Log { level: tracing::Level::INFO, format: LogFormat::Text },
            telemetry::Logs::start(),
        );
        telemetry::init(log, logs.clone()).unwrap();
        telemetry::end_on_panic(logs);
        tokio::spawn(async { panic!("{KEY}") });
        sleep(DEADLINE).await;
        return;
    }
    let test = "panics::panic_in_a_task_is_logged_and_ends_the_process";
    let child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(PANICS, "1")
        .kill_on_drop(true)
        .output();
    let ended = timeout(DEADLINE / 2, child).await.expect("it ends at once").unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.signal(), Some(SIGABRT), "{log}");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("panic: this is a bug")).collect();
    assert!(
        matches!(&*lines, [line] if line.contains("ERROR") && line.contains("tests/binary/panics.rs:")),
        "{log}"
    );
    // Its message may hold anything.
    assert_no_key("the log", &log);
}
