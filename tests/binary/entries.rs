//! What becomes of a single entry of a list: shown as it is, without a field that cannot be read, or not at all; counted as
//! malformed then, and never the others' loss.

use serde_json::{Value, json};

use crate::api::{DAY, entry, entry_with, list_page, now};
use crate::page::Page;
use crate::script::{Script, bytes};

/// What one poll of this list shows.
async fn polled(body: impl Into<Vec<u8>>) -> Page {
    let api = Script::of([bytes(body)]).await;
    api.once().start().await.page_after_polls(1).await
}

async fn polled_page(entries: &[Value]) -> Page {
    polled(list_page(entries, false).to_string()).await
}

/// Entries of the identifier "bad": those that cannot be shown, and those that are shown without one of their fields.
fn bad_entries() -> [Vec<Vec<u8>>; 2] {
    let with = |field: &str, value: Value| entry_with("bad", json!({field: value}));
    let without = |field: &str| {
        let mut entry = entry("bad");
        entry.as_object_mut().unwrap().remove(field);
        entry
    };
    let hidden = [
        without("id"),
        without("active"),
        with("id", Value::Null),
        with("id", json!("")),
        with("id", json!(7)),
        with("id", json!("nul \0 within")),
        with("active", json!("true")),
        with("active", json!(1)),
        with("active", Value::Null),
        Value::Null,
        json!(7),
        json!(true),
        json!([]),
        json!("bad"),
        json!(["bad", null, true, 1, {}]),
        json!({}),
    ];
    let odd = [
        without("certificate_details"),
        with("name", json!(7)),
        with("name", json!(["a"])),
        with("created_at", json!("2024-01-01T00:00:00Z")),
        with("created_at", json!(1.5)),
        with("created_at", json!(u64::MAX)),
        with("created_at", json!(1_700_000_000_000_i64)),
        with("certificate_details", Value::Null),
        with("certificate_details", json!([])),
        with("certificate_details", json!([1, 2])),
        with("certificate_details", json!("none")),
        with("certificate_details", json!({"valid_at": "1", "expires_at": 2})),
        with("certificate_details", json!({"valid_at": 1, "expires_at": {}})),
        with("certificate_details", json!({"expires_at": true})),
    ];
    let odd_bytes: [(&str, &[u8]); 12] = [
        ("4000000000", b"1e400"),
        ("4000000000", b"9223372036854775808"),
        ("4000000000", b"-9223372036854775809"),
        ("4000000000", b"4e99"),
        ("name of bad", b"lone \\ud800 surrogate"),
        ("name of bad", b"reversed \\udc00\\ud800 surrogates"),
        // Bytes that are no text.
        ("name of bad", b"\xff"),
        ("name of bad", b"\xc3("),
        ("name of bad", b"\xed\xa0\x80"),
        ("name of bad", b"\xf0\x9f\x98"),
        ("name of bad", b"\xc0\x80 overlong"),
        ("name of bad", b"half \xe2\x82"),
    ];
    let good = entry("bad").to_string().into_bytes();
    let edited = |(from, to): (&str, &[u8])| replaced(&good, from, to);
    let twice = edited(("\"active\":true", b"\"active\":true,\"active\":false"));
    let bytes = |entry: Value| entry.to_string().into_bytes();
    [
        hidden.map(bytes).into_iter().chain([twice]).collect(),
        odd.map(bytes).into_iter().chain(odd_bytes.map(edited)).collect(),
    ]
}

fn replaced(text: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let at = text.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    [&text[..at], to, &text[at + from.len()..]].concat()
}

/// A list of these entries, each between two good ones.
fn between_good_ones(entries: &[Vec<u8>]) -> Vec<u8> {
    let good = |number| entry(&format!("good {number:02}")).to_string().into_bytes();
    let entries: Vec<_> = entries
        .iter()
        .enumerate()
        .flat_map(|(number, entry)| [good(number), entry.clone()])
        .chain([good(entries.len())])
        .collect();
    [br#"{"data":["#, &entries.join(&b","[..])[..], br#"],"has_more":false}"#].concat()
}

fn numbered(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{what} {number:02}")).collect()
}

#[tokio::test]
async fn entry_without_readable_identifier_or_activity_is_counted_and_the_others_are_shown() {
    let [hidden, _] = bad_entries();
    let page = polled(between_good_ones(&hidden)).await;
    assert_eq!(
        (page.certificates(), page.is_up()),
        (numbered("good", 18).iter().map(String::as_str).collect(), true)
    );
    assert_eq!(page.malformed(), 17.0);
    assert_eq!(page.find(ENFORCED, &ORGANIZATION), Some(1.0), "a good one is active");
}

#[tokio::test]
async fn entry_with_an_odd_field_is_shown_without_it_and_counted() {
    let [_, odd] = bad_entries();
    let named: Vec<_> = odd
        .iter()
        .enumerate()
        .map(|(number, entry)| {
            replaced(entry, "\"id\":\"bad\"", format!("\"id\":\"odd {number:02}\"").as_bytes())
        })
        .collect();
    let page = polled(between_good_ones(&named)).await;
    let expected = [numbered("good", 27), numbered("odd", 26)].concat();
    assert_eq!(
        (page.certificates(), page.is_up()),
        (expected.iter().map(String::as_str).collect(), true)
    );
    assert_eq!(page.malformed(), 26.0);
    let name_of = |id: &str| {
        let series = page.series("openai_certificate_active");
        let found = series.into_iter().find(|sample| sample.label("certificate_id") == id);
        found.unwrap().label("certificate_name").to_owned()
    };
    assert_eq!(name_of("odd 01"), "");
    assert_eq!(name_of("odd 18"), "lone \u{fffd} surrogate");
    assert_eq!(name_of("odd 24"), "\u{fffd}\u{fffd} overlong");
    assert_eq!(page.of("odd 11", "openai_certificate_not_after_timestamp_seconds"), Some(2.0));
    assert_eq!(page.of("odd 11", "openai_certificate_not_before_timestamp_seconds"), None);
    for (id, created) in [("odd 02", true), ("odd 03", false), ("odd 06", false)] {
        let instant = page.of(id, "openai_certificate_created_timestamp_seconds");
        assert_eq!(instant, created.then_some(1_700_000_000.0), "{id}");
    }
}

const ENFORCED: &str = "openai_mtls_enforced";
const ORGANIZATION: [(&str, &str); 1] = [("scope", "organization")];

#[tokio::test]
async fn enforcement_is_not_claimed_where_only_an_unreadable_entry_may_be_active() {
    let page = polled_page(&[json!({}), json!(7), Value::Null]).await;
    assert_eq!((page.is_up(), page.malformed(), page.certificates()), (true, 3.0, vec![]));
    assert_eq!(page.find(ENFORCED, &ORGANIZATION), None);
    let inactive = entry_with("a", json!({"active": false}));
    assert_eq!(polled_page(&[inactive, json!(7)]).await.find(ENFORCED, &ORGANIZATION), None);
}

#[tokio::test]
async fn nothing_is_claimed_to_be_refused_while_an_unreadable_entry_may_be_valid() {
    let expired = entry_with("a", json!({"certificate_details": {"valid_at": 1, "expires_at": 2}}));
    let page = polled_page(&[expired.clone(), json!(7)]).await;
    assert_eq!(page.find(ENFORCED, &ORGANIZATION), Some(1.0));
    for name in ["openai_mtls_active_certificates", "openai_mtls_runway_end_timestamp_seconds"] {
        assert_eq!(page.find(name, &ORGANIZATION), None, "{name}");
    }
    let page = polled_page(&[expired]).await;
    assert_eq!(page.find("openai_mtls_active_certificates", &ORGANIZATION), Some(0.0));
    assert_eq!(page.find("openai_mtls_runway_end_timestamp_seconds", &ORGANIZATION), Some(2.0));
}

#[tokio::test]
async fn known_entry_keeps_its_last_good_facts() {
    let odd = entry_with("a", json!({"active": "yes", "name": "another name"}));
    let pages = [list_page(&[entry("a")], false), list_page(&[odd, json!({"id": "b"})], false)];
    let api = Script::of_pages(&pages).await;
    let exporter = api.often().start().await;
    exporter.page_after_polls(1).await;
    let page = exporter.page_when("an entry turns odd", |page| page.malformed() == 2.0).await;
    let labels = [("certificate_id", "a"), ("certificate_name", "name of a")];
    assert_eq!(page.find("openai_certificate_active", &labels), Some(1.0));
    assert_eq!((page.certificates(), page.is_up()), (vec!["a"], true));
    assert_eq!(page.find(ENFORCED, &ORGANIZATION), Some(1.0));
}

fn expiring(expires_at: &Value) -> Value {
    entry_with("a", json!({"certificate_details": {"valid_at": 1, "expires_at": expires_at}}))
}

const VALID: &str = "openai_mtls_active_certificates";
const RUNWAY_END: &str = "openai_mtls_runway_end_timestamp_seconds";
const UNKNOWN_EXPIRY: &str = "openai_mtls_unknown_expiry_certificates";
const NOT_AFTER: &str = "openai_certificate_not_after_timestamp_seconds";

#[tokio::test]
async fn known_entry_keeps_a_date_that_cannot_be_read() {
    let expired = expiring(&json!(2));
    let odd = expiring(&json!("soon"));
    let api = Script::of_pages(&[list_page(&[expired], false), list_page(&[odd], false)]).await;
    let exporter = api.often().start().await;
    exporter.page_after_polls(1).await;
    let page = exporter.page_when("a date turns odd", |page| page.malformed() == 1.0).await;
    assert_eq!(page.of("a", NOT_AFTER), Some(2.0));
    for (name, value) in [(ENFORCED, 1.0), (VALID, 0.0), (RUNWAY_END, 2.0), (UNKNOWN_EXPIRY, 0.0)] {
        assert_eq!(page.find(name, &ORGANIZATION), Some(value), "{name}");
    }
    exporter.line_saying("by fault: expires_at (1)").await;
    assert_eq!(exporter.log_lines("certificate given other dates"), [""; 0]);
}

#[tokio::test]
async fn known_entry_keeps_an_end_that_is_not_given_any_more() {
    let expired = expiring(&json!(2));
    let without = entry_with("a", json!({"certificate_details": {}}));
    let pages = [list_page(&[expired], false), list_page(&[without], false)];
    let api = Script::of_pages(&pages).await;
    let exporter = api.often().start().await;
    exporter.page_after_polls(1).await;
    let page = exporter.page_after_more_polls(3).await;
    assert_eq!((page.of("a", NOT_AFTER), page.malformed(), page.is_up()), (Some(2.0), 1.0, true));
    for (name, value) in [(ENFORCED, 1.0), (VALID, 0.0), (RUNWAY_END, 2.0), (UNKNOWN_EXPIRY, 0.0)] {
        assert_eq!(page.find(name, &ORGANIZATION), Some(value), "{name}");
    }
    let named = exporter.log_lines("a list entry cannot be read in full");
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(named[0].contains("\"a\"") && named[0].contains("expires_at"), "{named:?}");
}

#[tokio::test]
async fn worse_facts_count_of_an_entry_that_comes_twice_and_contradicts_itself() {
    let certificate = |active: bool, begin: Value, end: Value| {
        let details = json!({"valid_at": begin, "expires_at": end});
        entry_with("a", json!({"active": active, "certificate_details": details}))
    };
    let (near, far) = (json!(now() + 3 * DAY), json!(now() + 300 * DAY));
    let cases = [
        ("the end", true, json!(5), json!(5), near.clone(), far.clone()),
        ("whether it is active", false, json!(5), json!(5), near.clone(), near.clone()),
        ("whether it ends", true, json!(5), json!(5), near.clone(), Value::Null),
        ("the begin", true, json!(4), json!(5), near.clone(), near.clone()),
        ("whether it begins", true, Value::Null, json!(5), near.clone(), near.clone()),
    ];
    for (what, active, begin, other_begin, end, other_end) in cases {
        let one = certificate(active, begin, end);
        let other = certificate(true, other_begin, other_end);
        for twice in [[one.clone(), other.clone()], [other, one]] {
            let api = Script::of_pages(&[list_page(&twice, false)]).await;
            let exporter = api.once().start().await;
            let page = exporter.page_after_polls(1).await;
            assert_eq!((page.malformed(), page.is_up()), (1.0, true), "{what}");
            assert_eq!(page.of("a", "openai_certificate_active"), Some(1.0), "{what}");
            assert_eq!(page.of("a", NOT_AFTER), near.as_f64(), "{what}");
            let begin = page.of("a", "openai_certificate_not_before_timestamp_seconds");
            assert_eq!(begin, Some(5.0), "{what}");
            let line = exporter.line_saying("a list entry cannot be read in full").await;
            assert!(line.contains("\"a\"") && line.contains("contradict"), "{line}");
        }
    }
}

#[tokio::test]
async fn nobody_is_said_to_be_covered_by_a_certificate_whose_dates_were_never_readable() {
    let page = polled_page(&[expiring(&json!("soon"))]).await;
    assert_eq!(page.of("a", "openai_certificate_active"), Some(1.0));
    assert_eq!((page.of("a", NOT_AFTER), page.malformed()), (None, 1.0));
    for (name, value) in
        [(ENFORCED, Some(1.0)), (VALID, None), (RUNWAY_END, None), (UNKNOWN_EXPIRY, Some(1.0))]
    {
        assert_eq!(page.find(name, &ORGANIZATION), value, "{name}");
    }
}

#[tokio::test]
async fn malformed_last_entry_leads_on_to_the_next_page() {
    let first = list_page(&[entry("a"), json!({"id": "bad", "active": "maybe"})], true);
    let api = Script::of_pages(&[first, list_page(&[entry("b")], false)]).await;
    assert_eq!(api.once().start().await.page_after_polls(1).await.certificates(), ["a", "b"]);
    let requests = api.requests().await;
    assert!(requests[1].url.query().unwrap().contains("after=bad"), "{:?}", requests[1].url);
}

#[tokio::test]
async fn date_that_is_not_given_is_no_series() {
    let details =
        |id: &str, details: Value| entry_with(id, json!({"certificate_details": details}));
    let page = polled_page(&[
        entry_with("none", json!({"created_at": null, "certificate_details": {}})),
        details("nulls", json!({"valid_at": null, "expires_at": null})),
        details("begin", json!({"valid_at": 5})),
        details("end", json!({"expires_at": 6})),
        details("zero", json!({"valid_at": 0, "expires_at": 0})),
    ])
    .await;
    assert_eq!(page.malformed(), 0.0);
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
        assert_eq!(
            page.of(id, "openai_certificate_days_until_expiry").is_some(),
            end.is_some(),
            "{id}"
        );
    }
    assert_eq!(page.of("none", "openai_certificate_created_timestamp_seconds"), None);
    assert_eq!(
        page.of("end", "openai_certificate_created_timestamp_seconds"),
        Some(1_700_000_000.0)
    );
}

#[tokio::test]
async fn instant_is_exported_as_given_within_the_years_1_to_9999() {
    let with_instant = |json: &str| {
        let instant: Value = serde_json::from_str(json).unwrap();
        let details = json!({"valid_at": instant, "expires_at": instant});
        entry_with(json, json!({"created_at": instant, "certificate_details": details}))
    };
    let good = ["-62135596800", "-1", "253402300799", "1.7e9", "1700000000.0"];
    let beyond = ["-62135596801", "253402300800", "1700000000000", "9223372036854775807"];
    let entries: Vec<_> = good.iter().chain(&beyond).map(|json| with_instant(json)).collect();
    let page = polled_page(&entries).await;
    assert_eq!((page.certificates().len(), page.malformed()), (9, 4.0));
    for json in good.iter().chain(&beyond) {
        let expected = good.contains(json).then(|| json.parse::<f64>().unwrap());
        for name in ["not_after", "not_before", "created"] {
            let name = format!("openai_certificate_{name}_timestamp_seconds");
            assert_eq!(page.of(json, &name), expected, "{name} of {json}");
        }
    }
    assert_eq!(page.series("openai_certificate_days_until_expiry").len(), good.len());
}

#[tokio::test]
async fn name_is_one_valid_series_whatever_is_in_it() {
    let names = [
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
        "NUL, which the format cannot hold: \0",
        &"x".repeat(20_000),
        &"\"\\\n".repeat(5_000),
    ];
    let with_name =
        |(index, name): (usize, &&str)| entry_with(&format!("cert_{index}"), json!({"name": name}));
    let page = polled_page(&names.iter().enumerate().map(with_name).collect::<Vec<_>>()).await;
    assert_eq!((page.malformed(), page.certificates().len()), (0.0, names.len()));
    for (index, name) in names.iter().enumerate() {
        let (id, mut name) = (format!("cert_{index}"), name.replace('\0', "\u{fffd}"));
        // These are of characters of one byte.
        if name.len() > 512 {
            name = format!("{}…", &name[..509]);
        }
        let labels = [("certificate_id", id.as_str()), ("certificate_name", name.as_str())];
        for metric in [
            "active",
            "days_until_expiry",
            "not_after_timestamp_seconds",
            "created_timestamp_seconds",
        ] {
            assert!(
                page.find(&format!("openai_certificate_{metric}"), &labels).is_some(),
                "{metric} of {name:?}"
            );
        }
    }
    assert!(!page.text.contains("\ninjected"), "a name has broken out of its line");
}

#[tokio::test]
async fn identifier_and_name_that_run_together_alike_stay_apart() {
    let list = [("ab", json!("c")), ("a", json!("bc")), ("abc", Value::Null), ("ABC", json!(""))];
    let page = polled_page(&list.map(|(id, name)| entry_with(id, json!({"name": name})))).await;
    assert_eq!(page.certificates(), ["ABC", "a", "ab", "abc"]);
}
