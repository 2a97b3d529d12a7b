//! How a list is walked: whole, or not at all.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{KEY, Launch};
use crate::page::Page;
use crate::upstream::{Organization, Upstream, answer, certificate, certificates, page, query, text_answer};

/// What one poll of this upstream shows.
async fn polled(upstream: &Upstream) -> Page {
    let exporter = Launch::once(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await
}

/// Polls these bodies, one a page, and expects the list to be refused after all of them, once.
async fn assert_refused(what: &str, bodies: Vec<Value>, reason: &str) {
    let count = bodies.len();
    let upstream = Upstream::bodies(bodies.iter().map(Value::to_string).collect()).await;
    let page = polled(&upstream).await;
    assert_eq!(page.failures(), [(reason, 1.0)].into(), "{what}");
    assert_eq!(page.certificates(), [""; 0], "{what}: a part of a list is shown");
    assert_eq!(upstream.count(), count, "{what}: requests");
}

#[tokio::test]
async fn two_hundred_and_fifty_arrive_in_three_requests() {
    let organization = Arc::new(Organization::of(certificates(250)));
    let upstream = Upstream::organization(&organization).await;
    let page = polled(&upstream).await;

    let requests = upstream.requests().await;
    assert_eq!(requests.len(), 3);
    let afters: Vec<_> = requests.iter().map(|request| query(request, "after")).collect();
    assert_eq!(afters, [None, Some("cert_0099".into()), Some("cert_0199".into())]);
    for request in &requests {
        let header = |name: &str| request.headers[name].to_str().unwrap();
        assert_eq!(request.method, "GET");
        assert_eq!(request.url.path(), "/v1/organization/certificates");
        assert_eq!(query(request, "limit").as_deref(), Some("100"));
        assert_eq!(query(request, "order").as_deref(), Some("asc"));
        assert_eq!(header("user-agent"), concat!("openai-cert-exporter/", env!("CARGO_PKG_VERSION")));
        assert_eq!(header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(request.headers.get_all("authorization").iter().count(), 1);
        assert!(request.body.is_empty());
    }

    assert_eq!(page.certificates().len(), 250);
    for name in [
        "days_until_expiry",
        "active",
        "not_after_timestamp_seconds",
        "not_before_timestamp_seconds",
        "created_timestamp_seconds",
    ] {
        assert_eq!(page.series(&format!("openai_certificate_{name}")).len(), 250, "{name}");
    }
    assert_eq!(
        page.find("openai_cert_exporter_api_requests_total", &[("endpoint", "certificates"), ("code", "200")]),
        Some(3.0)
    );
    assert_eq!(page.one("openai_cert_exporter_up"), 1.0);
}

#[tokio::test]
async fn a_list_that_the_server_cuts_smaller_arrives_whole() {
    let organization = || Organization::of(certificates(100)).cut_into(7);
    for organization in [organization(), organization().without_last_id()] {
        let upstream = Upstream::organization(&Arc::new(organization)).await;
        let page = polled(&upstream).await;
        assert_eq!(page.certificates().len(), 100);
        assert_eq!(upstream.count(), 15);
    }
}

#[tokio::test]
async fn the_page_size_is_asked_for() {
    let upstream = Upstream::organization(&Arc::new(Organization::of(certificates(5)))).await;
    let exporter = Launch::once(&upstream.base_url()).set("api.page_size", "2").start().await;
    assert_eq!(exporter.page_after_polls(1).await.certificates().len(), 5);
    let limits: Vec<_> = upstream.requests().await.iter().map(|request| query(request, "limit")).collect();
    assert_eq!(limits, vec![Some("2".into()); 3]);
}

#[tokio::test]
async fn a_base_url_with_a_path_keeps_it() {
    let upstream = Upstream::always(answer(&page(&[certificate("cert_a")], false))).await;
    let exporter = Launch::once(&format!("{}/behind/a gateway/", upstream.base_url())).start().await;
    assert_eq!(exporter.page_after_polls(1).await.certificates(), ["cert_a"]);
    assert_eq!(upstream.requests().await[0].url.path(), "/v1/behind/a%20gateway/organization/certificates");
}

#[tokio::test]
async fn an_empty_list_is_a_success() {
    for empty in [page(&[], false), json!({"data": [], "has_more": false})] {
        let upstream = Upstream::bodies(vec![empty.to_string()]).await;
        let page = polled(&upstream).await;
        assert_eq!(page.one("openai_cert_exporter_up"), 1.0);
        assert_eq!(page.certificates(), [""; 0]);
        assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 0.0);
        assert!(page.find("openai_cert_exporter_last_success_timestamp_seconds", &[]).is_some());
    }
}

#[tokio::test]
async fn an_empty_last_page_is_an_end() {
    let pages = [page(&[certificate("cert_a")], true), page(&[], false)];
    let upstream = Upstream::bodies(pages.iter().map(Value::to_string).collect()).await;
    assert_eq!(polled(&upstream).await.certificates(), ["cert_a"]);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn an_identifier_is_escaped_on_its_way_back() {
    let hostile = "a b&limit=1#x/../%00+é\"'<>\\?\r\n=😀";
    let list = vec![certificate(hostile), certificate("cert_b")];
    let upstream = Upstream::organization(&Arc::new(Organization::of(list).cut_into(1))).await;
    let page = polled(&upstream).await;
    let mut shown = page.certificates();
    shown.sort_unstable();
    assert_eq!(shown, [hostile, "cert_b"]);
    let second = &upstream.requests().await[1];
    assert_eq!(query(second, "after").as_deref(), Some(hostile));
    assert_eq!(query(second, "limit").as_deref(), Some("100"));
}

#[tokio::test]
async fn pages_that_go_round_in_a_circle_are_refused() {
    let one = |id: &str| page(&[certificate(id)], true);
    assert_refused("repeats", vec![one("a"), one("a")], "pagination").await;
    assert_refused("cycles", vec![one("a"), one("b"), one("c"), one("a")], "pagination").await;
    let mut other = one("b");
    other["last_id"] = "a".into();
    assert_refused("repeats with other objects", vec![one("a"), other], "pagination").await;
}

#[tokio::test]
async fn a_list_that_does_not_say_how_it_goes_on_is_refused() {
    let mut nothing = page(&[], true);
    assert_refused("empty", vec![nothing.clone()], "pagination").await;
    nothing["last_id"] = "a".into();
    assert_refused("empty with a cursor", vec![nothing], "pagination").await;
    let whole = page(&[certificate("a")], false);
    for has_more in [None, Some(Value::Null)] {
        let mut silent = whole.clone();
        match has_more {
            None => drop(silent.as_object_mut().unwrap().remove("has_more")),
            Some(value) => silent["has_more"] = value,
        }
        assert_refused("no has_more", vec![silent.clone()], "pagination").await;
        assert_refused("no has_more later", vec![page(&[certificate("b")], true), silent], "pagination").await;
    }
    let mut dead_end = page(&[certificate("a"), json!({"id": 7})], true);
    dead_end["last_id"] = Value::Null;
    assert_refused("no cursor", vec![dead_end], "pagination").await;
}

#[tokio::test]
async fn an_endless_list_ends_after_two_thousand_pages() {
    let upstream = Upstream::scripted(|number, _| answer(&page(&[certificate(&format!("cert_{number}"))], true))).await;
    let page = polled(&upstream).await;
    assert_eq!(page.failures(), [("pagination", 1.0)].into());
    assert_eq!(upstream.count(), 2_000);
    assert_eq!(page.certificates(), [""; 0]);
}

#[tokio::test]
async fn a_list_of_two_thousand_pages_is_taken() {
    let body = |number: usize| page(&[certificate(&format!("cert_{number}"))], number < 1_999);
    let upstream = Upstream::scripted(move |number, _| answer(&body(number))).await;
    let page = polled(&upstream).await;
    assert_eq!(page.certificates().len(), 2_000);
    assert_eq!(upstream.count(), 2_000);
}

#[tokio::test]
async fn what_comes_twice_is_shown_once_and_counted() {
    let mut renamed = certificate("b");
    renamed["name"] = "the later one".into();
    let first = page(&[certificate("a"), certificate("b"), certificate("a")], true);
    let mut last = page(&[renamed, certificate("c")], false);
    last["last_id"] = "c".into();
    let mut first = first;
    first["last_id"] = "b".into();
    let upstream = Upstream::bodies(vec![first.to_string(), last.to_string()]).await;
    let page = polled(&upstream).await;
    assert_eq!(page.certificates(), ["a", "b", "c"]);
    assert_eq!(page.one("openai_cert_exporter_duplicate_certificates"), 2.0);
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 0.0);
    let name = [("certificate_id", "b"), ("certificate_name", "the later one")];
    assert_eq!(page.find("openai_certificate_active", &name), Some(1.0));
}

#[tokio::test]
async fn unknown_fields_and_values_are_no_fault() {
    let body = r#"{"object":"list of the future","first_id":"\ud800","surprise":[1e400,{"a":{"a":[]}}],"has_more":false,
        "data":[{"object":"organization.certificate.v2","id":"a","name":null,"active":false,"created_at":null,
                 "later":1e999,"certificate_details":{"valid_at":null,"content":"-----BEGIN","serial":7}}]}"#;
    let upstream = Upstream::always(text_answer(body)).await;
    let page = polled(&upstream).await;
    assert_eq!(page.find("openai_certificate_active", &[("certificate_id", "a"), ("certificate_name", "")]), Some(0.0));
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 0.0);
}
