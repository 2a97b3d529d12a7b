//! What is told on standard error, in which words, and how often.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::api::{Answer, Api, List, With as _, certificate, entry, entry_with, list_page};
use crate::binary::{Exporter, KEY, Launch, free_address};
use crate::script::{Script, error, text};

/// An exporter that logs as it does by default, but in this format.
fn logging(launch: Launch, format: &str) -> Launch {
    launch.without_arg("--log.level=trace").arg(&format!("--log.format={format}"))
}

/// Every line as JSON, which it must be.
fn parsed(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

/// The fields of a line but for those that every line has.
fn told(line: &Value) -> Value {
    let mut line = line.clone();
    for field in ["timestamp", "target"] {
        assert!(line.as_object_mut().unwrap().remove(field).is_some(), "no {field} in {line}");
    }
    line
}

/// Lines with this message.
fn lines_saying(log: &str, message: &str) -> Vec<Value> {
    parsed(log)
        .iter()
        .filter(|line| line["message"].as_str().unwrap().starts_with(message))
        .map(told)
        .collect()
}

/// One that listens where it was told to, since its log may not say where that is.
async fn start_at_a_known_address(launch: Launch, user: u8) -> Exporter {
    let address = free_address(user);
    let launch = launch.without_arg("--web.listen-address=127.0.0.1:0");
    launch.arg(&format!("--web.listen-address={address}")).start_at(address).await
}

#[tokio::test]
async fn each_poll_is_one_line() {
    let list = [entry("a"), entry_with("b", json!({"active": false})), entry("a"), json!(7)];
    let api = Script::of([text(&list_page(&list, false))]).await;
    let exporter = logging(api.often(), "json").start().await;
    exporter.page_after_polls(3).await;
    let ended = exporter.stop().await;
    assert_eq!(ended.stdout, "", "logs go to standard error");
    let polls = lines_saying(&ended.stderr, "poll ");
    assert!(polls.len() >= 3);
    for mut line in polls {
        let duration = line.as_object_mut().unwrap().remove("duration_seconds").unwrap();
        assert!(duration.as_f64().unwrap() > 0.0);
        let expected = json!({
            "level": "INFO", "message": "poll succeeded", "certificates": 2, "active": 1, "malformed": 1, "duplicates": 1,
            "scopes": 1, "verdict": "warning",
        });
        assert_eq!(line, expected);
    }
    // Besides: where it serves and what it asks, what was odd about the list, once, and the end.
    let others: Vec<_> = parsed(&ended.stderr)
        .iter()
        .filter(|line| line["message"] != "poll succeeded")
        .map(told)
        .collect();
    let messages: Vec<_> = others.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(
        messages,
        [
            "serving /metrics",
            "how the API is reached",
            "a list entry cannot be read in full",
            "list entries that could not be read in full, by fault: not an object (1)",
            "list entries that came twice, each shown once",
            "shutting down",
        ]
    );
    let expected = json!({
        "level": "WARN", "message": "a list entry cannot be read in full", "list": "organization", "fault": "not an object",
    });
    assert_eq!(others[2], expected);
    assert_eq!((&others[3]["level"], &others[3]["count"]), (&json!("WARN"), &json!(1)));
    assert_eq!((&others[4]["level"], &others[4]["count"]), (&json!("WARN"), &json!(1)));
}

#[tokio::test]
async fn each_change_is_one_line() {
    let api = Api::listing(vec![
        certificate("stays"),
        certificate("goes"),
        certificate("wakes").inactive(),
        certificate("sleeps"),
        certificate("renamed"),
        certificate("redated"),
    ])
    .await;
    let exporter = logging(api.often(), "json").start().await;
    exporter.page_after_polls(1).await;
    api.now_lists(vec![
        certificate("stays"),
        certificate("wakes"),
        certificate("sleeps").inactive(),
        certificate("renamed").named("other\nname"),
        certificate("redated").dated(None, Some(5)),
        certificate("comes"),
    ]);
    exporter.page_after_more_polls(2).await;
    let ended = exporter.stop().await;
    let change = |what: &str, id: &str, name: &str, active: bool, expires: i64| {
        json!({
            "level": "INFO", "message": format!("certificate {what}"), "certificate_id": id, "certificate_name": name,
            "active": active, "expires_at_unix_seconds": expires,
        })
    };
    let far = 4_000_000_000;
    let mut renamed = change("renamed", "renamed", "other\nname", true, far);
    renamed["old_name"] = "name of renamed".into();
    assert_eq!(
        lines_saying(&ended.stderr, "certificate "),
        [
            change("added", "comes", "name of comes", true, far),
            change("removed", "goes", "name of goes", true, far),
            change("given other dates", "redated", "name of redated", true, 5),
            renamed,
            change("deactivated", "sleeps", "name of sleeps", false, far),
            change("activated", "wakes", "name of wakes", true, far),
        ]
    );
}

#[tokio::test]
async fn failed_poll_is_one_line_with_what_support_asks_for() {
    let api = Script::by(|number| {
        error(503, Some("server_error"))
            .insert_header("x-request-id", format!("req_{number}").as_str())
            .insert_header("retry-after-ms", "1")
    })
    .await;
    let exporter = logging(api.once().set("api.max_retries", "2"), "json").start().await;
    exporter.page_after_polls(1).await;
    let ended = exporter.stop().await;
    let failed = lines_saying(&ended.stderr, "poll ");
    assert_eq!(failed.len(), 1, "{}", ended.stderr);
    for (field, value) in [
        ("level", json!("WARN")),
        (
            "message",
            format!(
                "poll failed: {} answered 503 Service Unavailable, server_error",
                api.address()
            )
            .into(),
        ),
        ("reason", json!("server")),
        ("endpoint", json!("certificates")),
        ("status", json!(503)),
        ("request_id", json!("req_2")),
    ] {
        assert_eq!(failed[0][field], value, "{field}");
    }
    assert!(failed[0]["duration_seconds"].is_f64());
    assert_eq!(
        parsed(&ended.stderr).len(),
        4,
        "serving, the API, the poll, the end:\n{}",
        ended.stderr
    );
}

#[tokio::test]
async fn retry_is_told_for_those_who_look_closer() {
    let answer = error(500, None)
        .insert_header("x-request-id", "req_7")
        .insert_header("retry-after-ms", "250");
    let api = Script::of([answer]).await;
    let exporter = api.once().set("api.max_retries", "1").set("log.format", "json").start().await;
    exporter.page_after_polls(1).await;
    let retry = json!({
        "level": "DEBUG", "message": format!("trying again: {} answered 500 Internal Server Error", api.address()),
        "endpoint": "certificates", "request_id": "req_7", "wait_seconds": 0.25,
    });
    assert_eq!(lines_saying(&exporter.stop().await.stderr, "trying again"), [retry]);
}

#[tokio::test]
async fn malformed_entries_are_told_once_per_change() {
    let api = Api::listing(vec![certificate("a")]).await;
    let lists = |entries: &[Value]| {
        let answer = Answer::body(&list_page(entries, false));
        move |_: &crate::api::Request| Some(answer.clone())
    };
    api.answers(lists(&[entry("a"), json!({"id": "b"}), json!({"id": "c"})]));
    let exporter = logging(api.often(), "json").start().await;
    exporter.page_after_polls(2).await;
    api.answers(lists(&[entry("a"), json!({"id": "b"}), entry_with("c", json!({"name": 7}))]));
    exporter.page_after_more_polls(2).await;
    api.answers_well();
    exporter.page_after_more_polls(2).await;
    let log = exporter.stop().await.stderr;
    let counted = |count: u64, faults: &str| {
        let message = format!("list entries that could not be read in full, by fault: {faults}");
        json!({"level": "WARN", "message": message, "count": count})
    };
    let told = lines_saying(&log, "list entries");
    assert_eq!(told, [counted(2, "active (2)"), counted(2, "active (1), name (1)")]);
    let named = |id: &str, fault: &str| {
        json!({
            "level": "WARN", "message": "a list entry cannot be read in full", "list": "organization", "entry_id": id,
            "fault": fault,
        })
    };
    assert_eq!(
        lines_saying(&log, "a list entry"),
        [named("b", "active"), named("c", "active"), named("b", "active"), named("c", "name")]
    );
    let well = json!({"level": "INFO", "message": "all list entries can be read again"});
    assert_eq!(lines_saying(&log, "all list entries"), [well]);
}

#[tokio::test]
async fn malformed_entries_are_named_with_their_list_and_few_of_many() {
    let odd = |id: &str| json!({"id": id, "name": 7, "active": true, "certificate_details": {}});
    let many: Vec<_> = (0..20).map(|number| odd(&format!("{number:02}"))).collect();
    let project = |id: &str| json!({"id": id, "name": "P"});
    let api = Api::listing(vec![]).await.answering(move |request| {
        Some(Answer::body(&match &request.list {
            List::Certificates => list_page(
                &[
                    odd(KEY),
                    entry_with("soon", json!({"certificate_details": {"expires_at": "soon"}})),
                ],
                false,
            ),
            List::Projects => list_page(&[project("p"), json!({"id": "q", "name": []})], false),
            List::Of(id) if id == "p" => list_page(&many, false),
            _ => list_page(&[], false),
        }))
    });
    let exporter = logging(api.often().projects(), "json").start().await;
    exporter.page_after_polls(3).await;
    let log = exporter.stop().await.stderr;
    let mut named = lines_saying(&log, "a list entry");
    for line in &mut named {
        line.as_object_mut()
            .unwrap()
            .retain(|field, _| !["level", "message"].contains(&field.as_str()));
    }
    let of_p =
        |id: &str| json!({"list": "project", "project_id": "p", "entry_id": id, "fault": "name"});
    assert_eq!(
        named,
        [
            json!({"list": "organization", "fault": "id"}),
            json!({"list": "organization", "entry_id": "soon", "fault": "expires_at"}),
            json!({"list": "projects", "entry_id": "q", "fault": "name"}),
            of_p("00"),
            of_p("01"),
        ]
    );
    let counts =
        "list entries that could not be read in full, by fault: expires_at (1), id (1), name (21)";
    assert_eq!(lines_saying(&log, "list entries")[0]["message"], counts);
}

#[tokio::test]
async fn text_is_one_line_an_event_whatever_the_names_are() {
    let hostile = "two\nlines \u{1b}[31m \r\"quoted\" \u{202e}";
    let api = Api::listing(vec![certificate("a")]).await;
    let exporter = logging(api.often(), "text").start().await;
    exporter.page_after_polls(1).await;
    api.now_lists(vec![certificate("a").named(hostile), certificate("b\nc")]);
    exporter.line_saying("certificate added").await;
    let log = exporter.stop().await.stderr;
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.starts_with("20"), "no line of its own: {line:?}");
        assert!(rest.starts_with(" INFO") || rest.starts_with(" WARN"), "{line:?}");
    }
    assert!(!log.contains(['\u{1b}', '\r', '\u{202e}']), "{log:?}");
}

#[tokio::test]
async fn logs_that_cannot_be_written_end_nothing() {
    let api = Script::of([error(500, None)]).await;
    // A full disk, or a reader of the log that has gone.
    let exporter = start_at_a_known_address(api.often().under("exec 2>/dev/full"), 103).await;
    let page = exporter.page_after_polls(3).await;
    assert!(page.one(DROPPED) >= 3.0, "{}", page.one(DROPPED));
    assert_eq!(exporter.stop().await.code(), Some(0));

    let refused = Launch::bare(&["check-config"]).under("exec 2>/dev/full").until_it_ends().await;
    assert_eq!(refused.code(), Some(1), "a bad configuration, not a panic");
}

const DROPPED: &str = "openai_cert_exporter_log_lines_dropped_total";

#[tokio::test]
async fn pipe_that_nobody_reads_stops_nothing_and_lines_that_do_not_fit_are_counted() {
    let api = Api::listing(vec![]).await;
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe").display().to_string();
    // Full at the start, of both streams: what a stuck collector of logs leaves of a pipe.
    let full = format!(
        "mkfifo {pipe} && exec 1<>{pipe} 2>&1 && dd if=/dev/zero bs=65536 count=1 status=none"
    );
    let exporter = start_at_a_known_address(api.often().under(&full), 104).await;
    let page = exporter.page_after_polls(3).await;
    assert_eq!(page.one(DROPPED), 0.0, "there is room for some");
    let long = "x".repeat(200_000);
    let added = (0..10).map(|number| certificate(&format!("cert_{number}")).named(&long));
    api.now_lists(added.collect());
    let page = exporter.page_when("lines are dropped", |page| page.one(DROPPED) > 0.0).await;
    exporter.page_after_more_polls(2).await;
    assert!(page.is_up() && page.one(DROPPED) < 10.0);
    assert_eq!(exporter.status("/healthz").await, 200);
    exporter.signal(Signal::TERM);
    let ended = timeout(Duration::from_secs(2), exporter.ended()).await;
    assert_eq!(ended.expect("it ends in time").code(), Some(0));
}

#[tokio::test]
async fn level_is_kept() {
    let order = ["trace", "debug", "info", "warn", "error"];
    for (least, level) in order.into_iter().enumerate() {
        let api = Script::of([error(500, None)]).await;
        let launch = api
            .often()
            .without_arg("--log.level=trace")
            .set("log.level", level)
            .set("log.format", "json");
        let exporter = start_at_a_known_address(launch, 101).await;
        exporter.page_after_polls(2).await;
        let log = exporter.stop().await.stderr;
        assert_eq!(log.contains("serving /metrics"), least <= 2, "{level}");
        assert_eq!(log.contains("poll failed"), least <= 3, "{level}");
        for line in parsed(&log) {
            let level_of_line = line["level"].as_str().unwrap().to_lowercase();
            assert!(order[least..].contains(&level_of_line.as_str()), "{level}: {line}");
        }
    }
}
