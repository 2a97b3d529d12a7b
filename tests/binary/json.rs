//! The snapshot as JSON: what it says, that it stays the same while the snapshot does, and that it is as described.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use jsonschema::Validator;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::api::{Api, DAY, certificates, entry_with, list_page, now};
use crate::binary::{Exporter, Launch};
use crate::client::client;
use crate::script::{Script, error, text};

const PATH: &str = "/api/v1/certificates";

async fn json_of(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

fn tag(response: &Response) -> String {
    response.headers()[ETAG].to_str().unwrap().to_owned()
}

async fn conditional(exporter: &Exporter, path: &str, known: &str) -> Response {
    client().get(exporter.url(path)).header(IF_NONE_MATCH, known).send().await.unwrap()
}

#[tokio::test]
async fn snapshot_has_every_fact() {
    let list = [
        entry_with(
            "a",
            json!({"name": null, "active": false, "created_at": 1, "certificate_details": {}}),
        ),
        entry_with(
            "b",
            json!({"certificate_details": {"valid_at": 1_700_000_000, "expires_at": 253_402_300_799_i64}}),
        ),
    ];
    let api = Script::of_pages(&[list_page(&list, false)]).await;
    let exporter = api.once().start().await;
    exporter.page_after_polls(1).await;
    let document = json_of(exporter.get(PATH).await).await;
    assert_eq!(
        document,
        json!({
            "certificates": [
                {
                    "id": "a", "name": null, "active": false, "active_projects": [], "superseded_by": null,
                    "expires_at_from_pem": false, "problems": null, "dependent_clients": null,
                    "created_at": "1970-01-01T00:00:01Z", "created_at_unix": 1,
                    "valid_at": null, "valid_at_unix": null, "expires_at": null, "expires_at_unix": null,
                },
                {
                    "id": "b", "name": "name of b", "active": true, "active_projects": [], "superseded_by": null,
                    "expires_at_from_pem": false, "problems": null, "dependent_clients": null,
                    "created_at": "2023-11-14T22:13:20Z", "created_at_unix": 1_700_000_000,
                    "valid_at": "2023-11-14T22:13:20Z", "valid_at_unix": 1_700_000_000,
                    "expires_at": "9999-12-31T23:59:59Z", "expires_at_unix": 253_402_300_799_i64,
                },
            ],
            "scopes": [{
                "scope": "organization", "project_id": null, "project_name": null, "enforced": true, "read": true,
                "unknown_expiry_certificates": 0, "runway_end": "9999-12-31T23:59:59Z", "runway_end_unix": 253_402_300_799_i64,
                "coverage": [{
                    "from": "2023-11-14T22:13:20Z", "from_unix": 1_700_000_000,
                    "until": "9999-12-31T23:59:59Z", "until_unix": 253_402_300_799_i64,
                }],
            }],
            "clients": [],
            "client_files_failed": [],
            "malformed_certificates": 0,
            "duplicate_certificates": 0,
            "vanished_projects": 0,
            "unselected_projects": 0,
        })
    );
}

#[tokio::test]
async fn same_snapshot_is_sent_once() {
    let api = Api::listing(certificates(3)).await;
    let exporter = api.often().start().await;
    exporter.page_after_polls(1).await;
    let first = exporter.get(PATH).await;
    let (etag, body) = (tag(&first), first.text().await.unwrap());
    exporter.page_after_more_polls(2).await;
    let again = exporter.get(PATH).await;
    assert_eq!(
        (tag(&again), again.text().await.unwrap()),
        (etag.clone(), body),
        "after more polls"
    );

    for known in [etag.clone(), format!("\"x\", W/{etag}")] {
        let response = conditional(&exporter, PATH, &known).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(tag(&response), etag, "{known}");
        assert_eq!(response.bytes().await.unwrap().len(), 0, "{known}");
    }
    assert_eq!(conditional(&exporter, PATH, "\"x\"").await.status(), StatusCode::OK);
    let head = client().head(exporter.url(PATH)).send().await.unwrap();
    assert_eq!((head.status(), tag(&head)), (StatusCode::OK, etag.clone()));

    api.now_lists(certificates(4));
    exporter.page_after_more_polls(2).await;
    let changed = conditional(&exporter, PATH, &etag).await;
    assert_eq!(changed.status(), StatusCode::OK);
    assert_ne!(tag(&changed), etag);
}

#[tokio::test]
async fn nothing_has_ended_that_only_one_of_two_clocks_shows() {
    let spans =
        [(-20, -5), (-1, 5), (8, 100)].map(|(begin, end)| (now() + begin * DAY, now() + end * DAY));
    let entry = |(begin, end): (i64, i64)| {
        entry_with(
            &format!("cert_{end}"),
            json!({"certificate_details": {"valid_at": begin, "expires_at": end}}),
        )
    };
    let list = list_page(&spans.map(entry), false);
    let days_ahead = Arc::new(AtomicI64::new(0));
    let ahead = Arc::clone(&days_ahead);
    let api = Script::by(move |_| {
        let date = (now() + ahead.load(Ordering::SeqCst) * DAY).cast_unsigned();
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(date));
        text(&list).insert_header("date", date.as_str())
    })
    .await;
    let exporter = api.often().start().await;
    exporter.page_after_polls(1).await;
    for (days, (_, end)) in [(0, spans[1]), (10, spans[1]), (-10, spans[0])] {
        days_ahead.store(days, Ordering::SeqCst);
        exporter.page_after_more_polls(2).await;
        let document = json_of(exporter.get(PATH).await).await;
        assert_eq!(document["scopes"][0]["runway_end_unix"], end, "{days} days ahead");
    }
}

#[tokio::test]
async fn before_the_first_snapshot_there_is_none_and_no_empty_one() {
    let api = Script::of([error(500, None)]).await;
    let exporter = api.often().start().await;
    exporter.page_after_polls(1).await;
    let description = json_of(exporter.get("/api/v1/openapi.json").await).await;
    let response = exporter.get(PATH).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_described(&description, "Error", &json_of(response).await);
    let polls = json_of(exporter.get("/api/v1/polls").await).await;
    assert_described(&description, "Polls", &polls);
    assert_eq!(
        (&polls["up"], &polls["last_failure"]["reasons"]),
        (&json!(false), &json!(["server"]))
    );
}

/// Fails where `answer` is not what the description says of a schema. Nothing more than what is described is allowed.
fn assert_described(description: &Value, schema: &str, answer: &Value) {
    let root = json!({"$ref": format!("#/components/schemas/{schema}"), "components": description["components"]});
    let validator: Validator = jsonschema::draft202012::new(&root).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(answer)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{schema}: {faults:#?}\n{answer:#}");
}

#[tokio::test]
async fn answers_are_as_described() {
    let exporter = Launch::demo().start().await;
    exporter.page_after_polls(1).await;
    let response = exporter.get("/api/v1/openapi.json").await;
    let etag = tag(&response);
    let description = json_of(response).await;
    assert_eq!(description["openapi"], "3.1.0");
    let known = conditional(&exporter, "/api/v1/openapi.json", &etag).await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);

    let snapshot = json_of(exporter.get(PATH).await).await;
    assert_eq!(snapshot["certificates"].as_array().unwrap().len(), 48);
    assert_eq!(snapshot["scopes"].as_array().unwrap().len(), 12);
    assert_described(&description, "Snapshot", &snapshot);
    assert_described(&description, "Polls", &json_of(exporter.get("/api/v1/polls").await).await);

    // Every path that is described is served, and only with the methods that are.
    for path in description["paths"].as_object().unwrap().keys() {
        assert_eq!(exporter.status(path).await, 200, "{path}");
        let posted = client().post(exporter.url(path)).send().await.unwrap();
        assert_eq!(
            (posted.status(), &posted.headers()["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET,HEAD".parse().unwrap())
        );
    }
}
