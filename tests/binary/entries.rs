//! What becomes of a single entry of a list: shown as it is, or counted as malformed; never the others' loss.

use serde_json::{Value, json};

use crate::api::{entry, entry_with, list_page};
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

/// Entries that cannot be read.
fn bad_entries() -> Vec<Vec<u8>> {
    let with = |field: &str, value: Value| entry_with("bad", json!({field: value}));
    let without = |field: &str| {
        let mut entry = entry("bad");
        entry.as_object_mut().unwrap().remove(field);
        entry
    };
    let entries = [
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
    let good = entry("bad").to_string();
    let edits: [(&str, &[u8]); 13] = [
        ("4000000000", b"1e400"),
        ("4000000000", b"9223372036854775808"),
        ("4000000000", b"-9223372036854775809"),
        ("4000000000", b"4e99"),
        ("name of bad", b"lone \\ud800 surrogate"),
        ("name of bad", b"reversed \\udc00\\ud800 surrogates"),
        ("\"active\":true", b"\"active\":true,\"active\":false"),
        // Bytes that are no text.
        ("name of bad", b"\xff"),
        ("name of bad", b"\xc3("),
        ("name of bad", b"\xed\xa0\x80"),
        ("name of bad", b"\xf0\x9f\x98"),
        ("name of bad", b"\xc0\x80 overlong"),
        ("name of bad", b"half \xe2\x82"),
    ];
    let edited = edits.map(|(from, to)| {
        let (start, end) = good.split_once(from).unwrap();
        [start.as_bytes(), to, end.as_bytes()].concat()
    });
    let others =
        ["null", "7", "true", "[]", "\"bad\"", r#"["bad",null,true,1,{}]"#, "{}"].map(Vec::from);
    entries
        .map(|entry| entry.to_string().into_bytes())
        .into_iter()
        .chain(edited)
        .chain(others)
        .collect()
}

#[tokio::test]
async fn entry_that_cannot_be_read_is_counted_and_the_others_are_shown() {
    // Each stands between two good ones.
    let (bad, good) =
        (bad_entries(), |number| entry(&format!("good {number:02}")).to_string().into_bytes());
    let entries: Vec<_> = bad
        .iter()
        .enumerate()
        .flat_map(|(number, entry)| [good(number), entry.clone()])
        .chain([good(bad.len())])
        .collect();
    let page =
        polled([br#"{"data":["#, &entries.join(&b","[..])[..], br#"],"has_more":false}"#].concat())
            .await;
    let expected: Vec<_> = (0..=bad.len()).map(|number| format!("good {number:02}")).collect();
    assert_eq!(
        (page.certificates(), page.is_up()),
        (expected.iter().map(String::as_str).collect(), true)
    );
    assert_eq!((page.malformed(), bad.len()), (42.0, 42));
}

#[tokio::test]
async fn list_of_nothing_but_faults_is_still_a_whole_list() {
    let page = polled_page(&[json!({}), json!(7), Value::Null]).await;
    assert_eq!((page.is_up(), page.malformed(), page.certificates()), (true, 3.0, vec![]));
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
async fn any_64_bit_instant_is_exported_as_given() {
    let instants = [i64::MIN, -62_135_596_801, -1, 253_402_300_800, i64::MAX];
    let page = polled_page(&instants.map(|instant| {
        let details = json!({"valid_at": instant, "expires_at": instant});
        entry_with(
            &instant.to_string(),
            json!({"created_at": instant, "certificate_details": details}),
        )
    }))
    .await;
    for instant in instants {
        #[expect(clippy::cast_precision_loss, reason = "the page's numbers are such")]
        let expected = Some(instant as f64);
        for name in ["not_after", "not_before", "created"] {
            let name = format!("openai_certificate_{name}_timestamp_seconds");
            assert_eq!(page.of(&instant.to_string(), &name), expected, "{name}");
        }
    }
    assert_eq!(page.series("openai_certificate_days_until_expiry").len(), instants.len());
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
