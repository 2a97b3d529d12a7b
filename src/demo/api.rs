//! The part of the Admin API that has to do with certificates, as it is documented.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::ADMIN_KEY;
use super::organization::{DemoCertificate, Organization};

/// Documented bounds of `limit`, and its default.
const LIMITS: RangeInclusive<usize> = 1..=100;
const DEFAULT_LIMIT: usize = 20;

type ApiResult = Result<Json<Value>, ApiError>;
type Shared = State<Arc<Organization>>;

/// The API of an organization, below `/v1`.
pub fn router(organization: Organization) -> Router {
    let paths = Router::new()
        .route("/organization/certificates", get(list_certificates))
        .route("/organization/certificates/{id}", get(get_certificate))
        .route("/organization/projects", get(list_projects))
        .route("/organization/projects/{id}/certificates", get(list_project_certificates))
        .fallback(async || ApiError(StatusCode::NOT_FOUND, "Unknown request URL", None))
        .method_not_allowed_fallback(async || {
            ApiError(
                StatusCode::METHOD_NOT_ALLOWED,
                "The simulated organization can only be read.",
                None,
            )
        });
    Router::new()
        .nest("/v1", paths)
        .layer(from_fn_with_state(Arc::<AtomicU64>::default(), authenticate))
        .with_state(Arc::new(organization))
}

/// Checks the key of every request, and gives every response an identifier.
async fn authenticate(
    State(requests): State<Arc<AtomicU64>>,
    request: Request,
    next: Next,
) -> Response {
    let number = requests.fetch_add(1, Ordering::Relaxed);
    let authorized = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .is_some_and(|key| key == ADMIN_KEY);
    let mut response = if authorized {
        next.run(request).await
    } else {
        let message =
            "Incorrect API key provided. The simulated organization takes the key \"demo\".";
        ApiError(StatusCode::UNAUTHORIZED, message, None).into_response()
    };
    if let Ok(id) = format!("req_demo{number:08x}").parse() {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// An error as the API words it; last the parameter at fault.
struct ApiError(StatusCode, &'static str, Option<&'static str>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(status, message, param) = self;
        let code = (status == StatusCode::UNAUTHORIZED).then_some("invalid_api_key");
        let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": code});
        (status, Json(json!({"error": error}))).into_response()
    }
}

/// The documented query of a list; what else it has is left alone, as the real API does.
type Query = HashMap<String, String>;

fn parse(query: Option<String>) -> Query {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// The page that is asked for of a list in ascending order.
fn page(mut list: Vec<Value>, query: &Query) -> ApiResult {
    let invalid = |param, message| ApiError(StatusCode::BAD_REQUEST, message, Some(param));
    let limit = query.get("limit").map_or(Some(DEFAULT_LIMIT), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| LIMITS.contains(limit));
    let limit = limit.ok_or_else(|| invalid("limit", "limit must be from 1 to 100"))?;
    match query.get("order").map(String::as_str) {
        Some("asc") => {}
        Some("desc") | None => list.reverse(),
        Some(_) => return Err(invalid("order", "order must be asc or desc")),
    }
    if let Some(after) = query.get("after") {
        let position = list.iter().position(|item| item["id"] == **after);
        list.drain(
            ..=position.ok_or_else(|| invalid("after", "after names no object of this list"))?,
        );
    }
    let has_more = list.len() > limit;
    list.truncate(limit);
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    let (first_id, last_id) = (id(list.first()), id(list.last()));
    Ok(Json(
        json!({"object": "list", "data": list, "first_id": first_id, "last_id": last_id, "has_more": has_more}),
    ))
}

fn shown(certificate: &DemoCertificate, object: &str) -> Value {
    let mut details = Map::new();
    details.extend(certificate.valid_at.map(|at| ("valid_at".to_owned(), at.into())));
    details.extend(certificate.expires_at.map(|at| ("expires_at".to_owned(), at.into())));
    json!({
        "object": object,
        "id": certificate.id,
        "name": certificate.name,
        "created_at": certificate.created_at,
        "certificate_details": details,
    })
}

/// A page of certificates, as the organization's list or as a project's.
fn certificates(
    certificates: &[DemoCertificate],
    object: &str,
    query: Option<String>,
) -> ApiResult {
    let show = |certificate: &DemoCertificate| {
        let mut value = shown(certificate, object);
        value["active"] = certificate.active.into();
        value
    };
    page(certificates.iter().map(show).collect(), &parse(query))
}

async fn list_certificates(State(has): Shared, RawQuery(query): RawQuery) -> ApiResult {
    certificates(&has.certificates, "organization.certificate", query)
}

async fn get_certificate(
    State(has): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let found = has.all().find(|certificate| certificate.id == id);
    let certificate = found.ok_or(ApiError(StatusCode::NOT_FOUND, "No such certificate", None))?;
    let mut shown = shown(certificate, "certificate");
    let query = query.unwrap_or_default();
    let mut included = form_urlencoded::parse(query.as_bytes());
    if included.any(|(name, value)| name == "include[]" && value == "content")
        && let Some(pem) = &certificate.content
    {
        shown["certificate_details"]["content"] = (**pem).into();
    }
    Ok(Json(shown))
}

async fn list_projects(State(has): Shared, RawQuery(query): RawQuery) -> ApiResult {
    let query = parse(query);
    let archived_too = query.get("include_archived").is_some_and(|value| value == "true");
    let listed = has.projects.iter().filter(|project| archived_too || !project.is_archived());
    let shown = listed.map(|project| {
        json!({
            "object": "organization.project",
            "id": project.id,
            "name": project.name,
            "created_at": project.created_at,
            "archived_at": project.archived_at,
            "status": if project.is_archived() { "archived" } else { "active" },
        })
    });
    page(shown.collect(), &query)
}

async fn list_project_certificates(
    State(has): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let found = has.projects.iter().find(|project| project.id == id);
    let project = found.ok_or(ApiError(StatusCode::NOT_FOUND, "No such project", None))?;
    certificates(&project.certificates, "organization.project.certificate", query)
}
