//! How a list is walked: whole, or not at all. Which pages prove that it is whole is tested beside `src/openai`.

use serde_json::{Value, json};

use crate::api::{Api, certificate, certificates, entry, entry_with, list_page};
use crate::binary::{KEY, Launch};
use crate::page::Page;
use crate::script::{Script, query, text};

/// What one poll of this API shows.
async fn polled(api: &Script) -> Page {
    api.once().start().await.page_after_polls(1).await
}

#[tokio::test]
async fn two_hundred_and_fifty_arrive_in_three_requests() {
    let api = Api::listing(certificates(250)).await;
    let page = api.once().start().await.page_after_polls(1).await;
    let requests = api.requests();
    let afters: Vec<_> = requests.iter().map(|request| request.query("after")).collect();
    assert_eq!(afters, [None, Some("cert_0099"), Some("cert_0199")]);
    for request in &requests {
        let header = |name: &str| request.headers[name].to_str().unwrap();
        assert_eq!((request.query("limit"), request.query("order")), (Some("100"), Some("asc")));
        assert_eq!(
            header("user-agent"),
            concat!("openai-cert-exporter/", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(header("cache-control"), "no-cache");
        assert_eq!(request.headers.get_all("authorization").iter().count(), 1);
    }
    for name in [
        "days_until_expiry",
        "active",
        "not_after_timestamp_seconds",
        "not_before_timestamp_seconds",
        "created_timestamp_seconds",
    ] {
        assert_eq!(page.series(&format!("openai_certificate_{name}")).len(), 250, "{name}");
    }
    let answered = [("endpoint", "certificates"), ("code", "200")];
    assert_eq!(page.find("openai_cert_exporter_api_requests_total", &answered), Some(3.0));
    assert!(page.is_up());
}

#[tokio::test]
async fn page_size_is_asked_for_and_may_be_cut_by_the_server() {
    let entries: Vec<_> = (0..5).map(|number| entry(&format!("cert_{number}"))).collect();
    let pages = [
        list_page(&entries[..2], true),
        list_page(&entries[2..3], true),
        list_page(&entries[3..], false),
    ];
    let without_cursor = pages.clone().map(|mut page| {
        page["last_id"] = Value::Null;
        page
    });
    for pages in [pages, without_cursor] {
        let api = Script::of_pages(&pages).await;
        let page = api.once().set("api.page_size", "2").start().await.page_after_polls(1).await;
        assert_eq!(page.certificates().len(), 5);
        let requests = api.requests().await;
        let asked: Vec<_> = requests
            .iter()
            .map(|request| (query(request, "limit"), query(request, "after")))
            .collect();
        let after = |id: Option<&str>| (Some("2".to_owned()), id.map(str::to_owned));
        assert_eq!(asked, [after(None), after(Some("cert_1")), after(Some("cert_2"))]);
        assert!(requests.iter().all(|request| request.method == "GET" && request.body.is_empty()));
    }
}

#[tokio::test]
async fn base_url_with_a_path_keeps_it() {
    let api = Script::of_pages(&[list_page(&[entry("cert_a")], false)]).await;
    let exporter = Launch::once(&format!("{}/behind/a gateway/", api.base_url())).start().await;
    assert_eq!(exporter.page_after_polls(1).await.certificates(), ["cert_a"]);
    assert_eq!(
        api.requests().await[0].url.path(),
        "/v1/behind/a%20gateway/organization/certificates"
    );
}

#[tokio::test]
async fn empty_list_is_a_success() {
    for empty in [list_page(&[], false), json!({"data": [], "has_more": false})] {
        let page = polled(&Script::of_pages(&[empty]).await).await;
        assert_eq!((page.is_up(), page.certificates(), page.malformed()), (true, vec![], 0.0));
        assert!(page.find("openai_cert_exporter_last_success_timestamp_seconds", &[]).is_some());
    }
}

#[tokio::test]
async fn end_that_contradicts_the_page_before_is_taken_where_a_second_walk_agrees() {
    let more = |id: &str| list_page(&[entry(id)], true);
    let end = || list_page(&[], false);
    for (what, pages, ids) in [
        ("the same", vec![more("a"), end(), more("a"), end()], vec!["a"]),
        (
            "the same, and proven",
            vec![more("a"), end(), list_page(&[entry("a")], false)],
            vec!["a"],
        ),
        ("another", vec![more("a"), end(), more("b"), end()], vec![]),
        (
            "a longer one",
            vec![more("a"), end(), more("a"), list_page(&[entry("b")], false)],
            vec![],
        ),
        ("a shorter one", vec![more("a"), more("b"), end(), more("a"), end()], vec![]),
        ("none", vec![more("a"), end(), end()], vec![]),
    ] {
        let api = Script::of_pages(&pages).await;
        let page = polled(&api).await;
        assert_eq!((page.is_up(), page.certificates()), (!ids.is_empty(), ids.clone()), "{what}");
        let reasons = if ids.is_empty() { vec!["pagination"] } else { vec![] };
        assert_eq!((page.reasons(), api.count()), (reasons, pages.len()), "{what}");
    }
}

#[tokio::test]
async fn empty_page_with_a_new_cursor_leads_on() {
    let mut empty = list_page(&[], true);
    empty["last_id"] = "hidden".into();
    let pages = [list_page(&[entry("a")], true), empty, list_page(&[entry("b")], false)];
    let api = Script::of_pages(&pages).await;
    assert_eq!(polled(&api).await.certificates(), ["a", "b"]);
    let afters = api.requests().await.iter().map(|it| query(it, "after")).collect::<Vec<_>>();
    assert_eq!(afters, [None, Some("a".into()), Some("hidden".into())]);
}

#[tokio::test]
async fn identifier_is_escaped_on_its_way_back() {
    let hostile = "a b&limit=1#x/../%00+é\"'<>\\?\r\n=😀";
    let api = Api::listing(vec![certificate(hostile), certificate("cert_b")]).await;
    let page = api.once().set("api.page_size", "1").start().await.page_after_polls(1).await;
    assert_eq!(page.certificates(), [hostile, "cert_b"]);
    let second = &api.requests()[1];
    assert_eq!((second.query("after"), second.query("limit")), (Some(hostile), Some("1")));
}

#[tokio::test]
async fn pages_that_do_not_prove_a_whole_list_are_refused_and_nothing_of_them_is_shown() {
    let one = |id: &str| list_page(&[entry(id)], true);
    let with = |mut page: Value, field: &str, value: Value| {
        page[field] = value;
        page
    };
    for (what, pages) in [
        ("repeats", vec![one("a"), one("a")]),
        ("cycles", vec![one("a"), one("b"), one("c"), one("a")]),
        ("repeats with other objects", vec![one("a"), with(one("b"), "last_id", json!("a"))]),
        ("empty without a cursor", vec![one("a"), list_page(&[], true)]),
        ("empty again", vec![one("a"), with(list_page(&[], true), "last_id", json!("a"))]),
        ("no has_more later", vec![one("a"), with(one("b"), "has_more", Value::Null)]),
        ("no cursor", vec![with(list_page(&[json!({"id": 7})], true), "last_id", Value::Null)]),
    ] {
        let api = Script::of_pages(&pages).await;
        let page = polled(&api).await;
        assert_eq!(
            (page.failures(), page.certificates()),
            ([("pagination", 1.0)].into(), vec![]),
            "{what}"
        );
        assert_eq!(api.count(), pages.len(), "{what}: requests");
    }
}

#[tokio::test]
async fn endless_list_ends_after_two_thousand_pages() {
    let api =
        Script::by(|number| text(&list_page(&[entry(&format!("cert_{number}"))], true))).await;
    let page = polled(&api).await;
    assert_eq!((page.failures(), page.certificates()), ([("pagination", 1.0)].into(), vec![]));
    assert_eq!(api.count(), 2_000);
}

#[tokio::test]
async fn entry_that_comes_twice_is_shown_once_and_counted() {
    let renamed = entry_with("b", json!({"name": "the later one"}));
    let first = list_page(&[entry("a"), entry("b"), entry("a"), renamed], true);
    let last = list_page(&[entry("c")], false);
    let page = polled(&Script::of_pages(&[first, last]).await).await;
    assert_eq!((page.certificates(), page.malformed()), (vec!["a", "b", "c"], 0.0));
    assert_eq!(page.one("openai_cert_exporter_duplicate_certificates"), 2.0);
    let name = [("certificate_id", "b"), ("certificate_name", "the later one")];
    assert_eq!(page.find("openai_certificate_active", &name), Some(1.0));
}

#[tokio::test]
async fn entry_that_comes_again_on_a_later_page_is_the_sign_of_a_shift_and_takes_another_walk() {
    let more = |ids: &[&str]| list_page(&ids.iter().map(|id| entry(id)).collect::<Vec<_>>(), true);
    let last = |ids: &[&str]| list_page(&ids.iter().map(|id| entry(id)).collect::<Vec<_>>(), false);
    let odd = |id: &str| json!({"id": id, "active": 7});
    for (what, pages, ids) in [
        (
            "no shift again",
            vec![more(&["a"]), last(&["a"]), more(&["a"]), last(&["b"])],
            vec!["a", "b"],
        ),
        ("one page", vec![more(&["b"]), last(&["b"]), last(&["b", "c"])], vec!["b", "c"]),
        ("the same", vec![more(&["b"]), last(&["b"]), more(&["b"]), last(&["b"])], vec![]),
        ("another", vec![more(&["b"]), last(&["b"]), more(&["a", "b"]), last(&["b", "c"])], vec![]),
        ("no end", vec![more(&["b"]), last(&["b"]), more(&["b"]), last(&[])], vec![]),
        (
            "an entry that cannot be read",
            vec![more(&["b"]), list_page(&[odd("b")], false), more(&["b"]), last(&["c"])],
            vec!["b", "c"],
        ),
    ] {
        let api = Script::of_pages(&pages).await;
        let page = polled(&api).await;
        assert_eq!((page.is_up(), page.certificates()), (!ids.is_empty(), ids.clone()), "{what}");
        let reasons = if ids.is_empty() { vec!["pagination"] } else { vec![] };
        assert_eq!((page.reasons(), api.count()), (reasons, pages.len()), "{what}");
    }
}

#[tokio::test]
async fn unknown_fields_and_values_are_no_fault() {
    let body = r#"{"object":"list","first_id":"\ud800","surprise":[1e400,{"a":{"a":[]}}],"has_more":false,
        "data":[{"object":"organization.certificate.v2","id":"a","name":null,"active":false,"created_at":null,
                 "later":1e999,"certificate_details":{"valid_at":null,"content":"-----BEGIN","serial":7}}]}"#;
    let page = polled(&Script::of([text(body)]).await).await;
    assert_eq!(
        page.find(
            "openai_certificate_active",
            &[("certificate_id", "a"), ("certificate_name", "")]
        ),
        Some(0.0)
    );
    assert_eq!(page.malformed(), 0.0);
}
