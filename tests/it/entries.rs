//! What becomes of a single entry of a list: shown as it is, or counted as malformed; never the others' loss.

use serde_json::{Value, json};

use crate::harness::{Launch, all};
use crate::page::Page;
use crate::upstream::{Upstream, answer, certificate, certificate_with, page, text_answer};

/// What one poll of this list shows.
async fn polled(body: impl AsRef<[u8]>) -> Page {
    let upstream = Upstream::always(text_answer(body)).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await
}

/// A list in which `entry` stands between two good ones.
fn around(entry: &[u8]) -> Vec<u8> {
    let good = |id: &str| certificate(id).to_string().into_bytes();
    [
        br#"{"data":["#.as_slice(),
        &good("before"),
        b",",
        entry,
        b",",
        &good("past"),
        br#"],"has_more":false,"last_id":"past"}"#,
    ]
    .concat()
}

async fn assert_malformed(what: &str, entry: &[u8]) {
    let page = polled(around(entry)).await;
    assert_eq!(page.one("openai_cert_exporter_up"), 1.0, "{what}");
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 1.0, "{what}");
    assert_eq!(page.certificates(), ["before", "past"], "{what}");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_counted_and_the_others_are_shown() {
    let with = |field: &str, value: Value| {
        let mut entry = certificate("bad");
        entry[field] = value;
        (format!("{field} in {entry}"), entry.to_string())
    };
    let without = |field: &str| {
        let mut entry = certificate("bad");
        entry.as_object_mut().unwrap().remove(field);
        (format!("no {field}"), entry.to_string())
    };
    let mut cases: Vec<(String, String)> = vec![
        without("id"),
        without("active"),
        without("certificate_details"),
        with("id", Value::Null),
        with("id", json!("")),
        with("id", json!(7)),
        with("id", json!("nul \0 within")),
        with("name", json!(7)),
        with("name", json!(["a"])),
        with("active", json!("true")),
        with("active", json!(1)),
        with("active", Value::Null),
        with("created_at", json!("2024-01-01T00:00:00Z")),
        with("created_at", json!(1.5)),
        with("created_at", json!(u64::MAX)),
        with("certificate_details", Value::Null),
        with("certificate_details", json!([])),
        with("certificate_details", json!([1, 2])),
        with("certificate_details", json!("none")),
        with("certificate_details", json!({"valid_at": "1", "expires_at": 2})),
        with("certificate_details", json!({"valid_at": 1, "expires_at": {}})),
        with("certificate_details", json!({"expires_at": true})),
    ];
    let bad = certificate("bad").to_string();
    for (from, to) in [
        ("4000000000", "1e400"),
        ("4000000000", "9223372036854775808"),
        ("4000000000", "-9223372036854775809"),
        ("4000000000", "4e99"),
        ("name of bad", "lone \\ud800 surrogate"),
        ("name of bad", "reversed \\udc00\\ud800 surrogates"),
        ("\"active\":true", "\"active\":true,\"active\":false"),
    ] {
        cases.push((to.into(), bad.replace(from, to)));
    }
    for other in ["null", "7", "true", "[]", "\"bad\"", r#"["bad",null,true,1,{}]"#, "{}"] {
        cases.push((other.into(), other.into()));
    }
    all(cases, async |(what, entry)| {
        assert_ne!(entry, bad, "{what}");
        assert_malformed(&what, entry.as_bytes()).await;
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_no_text_cost_their_entry_alone() {
    let raw = |name: &[u8]| {
        let entry = certificate("bad").to_string();
        let (start, end) = entry.split_once("name of bad").unwrap();
        [start.as_bytes(), name, end.as_bytes()].concat()
    };
    for name in [b"\xff".as_slice(), b"\xc3(", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\x80 overlong", b"half \xe2\x82"]
    {
        assert_malformed(&name.escape_ascii().to_string(), &raw(name)).await;
    }
    assert_eq!(polled(around(&raw("whole €".as_bytes()))).await.certificates(), ["bad", "before", "past"]);
}

#[tokio::test]
async fn a_list_of_nothing_but_faults_is_still_a_whole_list() {
    let page = polled(page(&[json!({}), json!(7), Value::Null], false).to_string()).await;
    assert_eq!(page.one("openai_cert_exporter_up"), 1.0);
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 3.0);
    assert_eq!(page.certificates(), [""; 0]);
}

#[tokio::test]
async fn a_malformed_last_entry_does_not_end_the_walk() {
    let first = page(&[certificate("a"), json!({"id": "bad", "active": "maybe"})], true);
    let second = page(&[certificate("b")], false);
    let upstream = Upstream::bodies(vec![first.to_string(), second.to_string()]).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    assert_eq!(exporter.page_after_polls(1).await.certificates(), ["a", "b"]);
    let requests = upstream.requests().await;
    assert!(requests[1].url.query().unwrap().contains("after=bad"), "{:?}", requests[1].url);
}

#[tokio::test]
async fn a_date_that_is_not_given_is_no_series() {
    let details = |details: Value| json!({"certificate_details": details});
    let list = [
        certificate_with("none", json!({"created_at": null, "certificate_details": {}})),
        certificate_with("nulls", details(json!({"valid_at": null, "expires_at": null}))),
        certificate_with("begin", details(json!({"valid_at": 5}))),
        certificate_with("end", details(json!({"expires_at": 6}))),
        certificate_with("zero", details(json!({"valid_at": 0, "expires_at": 0}))),
    ];
    let page = polled(page(&list, false).to_string()).await;
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 0.0);
    for (id, begin, end) in [
        ("none", None, None),
        ("nulls", None, None),
        ("begin", Some(5.0), None),
        ("end", None, Some(6.0)),
        ("zero", Some(0.0), Some(0.0)),
    ] {
        assert_eq!(page.of(id, "openai_certificate_active"), Some(1.0), "{id}");
        assert_eq!(page.of(id, "openai_certificate_not_before_timestamp_seconds"), begin, "{id}");
        assert_eq!(page.of(id, "openai_certificate_not_after_timestamp_seconds"), end, "{id}");
        assert_eq!(page.of(id, "openai_certificate_days_until_expiry").is_some(), end.is_some(), "{id}");
    }
    assert_eq!(page.of("none", "openai_certificate_created_timestamp_seconds"), None);
    assert_eq!(page.of("end", "openai_certificate_created_timestamp_seconds"), Some(1_700_000_000.0));
}

#[tokio::test]
async fn any_64_bit_instant_is_exported_as_given() {
    let list: Vec<_> = [i64::MIN, -62_135_596_801, -1, 253_402_300_800, i64::MAX]
        .into_iter()
        .map(|instant| {
            let details = json!({"valid_at": instant, "expires_at": instant});
            certificate_with(&instant.to_string(), json!({"created_at": instant, "certificate_details": details}))
        })
        .collect();
    let page = polled(page(&list, false).to_string()).await;
    for name in ["not_after", "not_before", "created"] {
        let series = page
            .series(&format!("openai_certificate_{name}_timestamp_seconds"))
            .into_iter()
            .cloned()
            .collect::<Vec<_>>();
        assert_eq!(series.len(), list.len());
        for sample in series {
            #[expect(clippy::cast_precision_loss, reason = "the page's numbers are such")]
            let instant = sample.label("certificate_id").parse::<i64>().unwrap() as f64;
            assert_eq!(sample.value, instant, "{name}");
        }
    }
    assert_eq!(page.series("openai_certificate_days_until_expiry").len(), list.len());
}

/// Names as nobody should choose them, but may.
fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        " ",
        "\"quoted\" and {braces=\"x\"} 1",
        "two\nlines\n# TYPE injected counter\ninjected 1",
        "\n",
        "carriage\rreturn\r\n",
        "back\\slash \\n \\\" \\",
        "\\",
        "😀 grüße 漢字 e\u{301} \u{202e}right to left\u{2028}line\u{feff}",
        "<script>alert('x')</script> &amp; ]]>",
        "tab\t, bell \u{7}, escape \u{1b}[31m, delete \u{7f}, next \u{85}",
        "},openai_cert_exporter_up 1",
        "\u{fffd}\u{ffff}\u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    names.push("x".repeat(20_000));
    names.push("\"\\\n".repeat(5_000));
    names
}

#[tokio::test]
async fn a_hostile_name_is_one_valid_series() {
    let names = hostile_names();
    let list: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| certificate_with(&format!("cert_{index}"), json!({"name": name})))
        .collect();
    let upstream = Upstream::always(answer(&page(&list, false))).await;
    let exporter = Launch::once(&upstream.base_url()).start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 0.0);
    for (index, name) in names.iter().enumerate() {
        let labels = [("certificate_id", format!("cert_{index}")), ("certificate_name", name.clone())];
        let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        for metric in ["active", "days_until_expiry", "not_after_timestamp_seconds", "created_timestamp_seconds"] {
            assert!(page.find(&format!("openai_certificate_{metric}"), &labels).is_some(), "{metric} of {name:?}");
        }
    }
    assert_eq!(page.certificates().len(), names.len());
    assert!(!page.text.contains("\ninjected"), "a name has broken out of its line");
}

#[tokio::test]
async fn names_that_run_together_alike_stay_apart() {
    let list = [
        certificate_with("ab", json!({"name": "c"})),
        certificate_with("a", json!({"name": "bc"})),
        certificate_with("abc", json!({"name": null})),
        certificate_with("ABC", json!({"name": ""})),
    ];
    let page = polled(page(&list, false).to_string()).await;
    let mut shown = page.certificates();
    shown.sort_unstable();
    assert_eq!(shown, ["ABC", "a", "ab", "abc"]);
}

#[tokio::test]
async fn nul_in_a_name_is_replaced_since_the_format_cannot_hold_it() {
    let page = polled(page(&[certificate_with("a", json!({"name": "x\0y"}))], false).to_string()).await;
    let labels = [("certificate_id", "a"), ("certificate_name", "x\u{fffd}y")];
    assert_eq!(page.find("openai_certificate_active", &labels), Some(1.0));
}
