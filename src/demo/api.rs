//! The part of the Admin API that has to do with certificates, as it is documented.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::organization::{Project, Uploaded};
use super::{ADMIN_KEY, Organization};

/// Documented bounds of `limit`, and its default.
const LIMITS: std::ops::RangeInclusive<usize> = 1..=100;
const DEFAULT_LIMIT: usize = 20;

struct Api {
    organization: Organization,
    requests: AtomicU64,
}

/// The API of an organization, below `/v1`.
pub fn router(organization: Organization) -> Router {
    let api = Arc::new(Api { organization, requests: AtomicU64::new(0) });
    let paths = Router::new()
        .route("/organization/certificates", get(list_certificates))
        .route("/organization/certificates/{id}", get(get_certificate))
        .route("/organization/projects", get(list_projects))
        .route("/organization/projects/{id}/certificates", get(list_project_certificates))
        .fallback(|| async { Refusal::not_found("Unknown request URL") })
        .method_not_allowed_fallback(|| async { Refusal::read_only() });
    Router::new().nest("/v1", paths).layer(from_fn_with_state(Arc::clone(&api), exchange)).with_state(api)
}

/// What every exchange has: a key that is checked, and an identifier.
async fn exchange(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let number = api.requests.fetch_add(1, Ordering::Relaxed);
    let authorized = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .is_some_and(|key| key == ADMIN_KEY);
    let mut response = if authorized { next.run(request).await } else { Refusal::unauthorized().into_response() };
    if let Ok(id) = format!("req_demo{number:08x}").parse() {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// An error as the API words it.
struct Refusal {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl Refusal {
    fn unauthorized() -> Self {
        let message = "Incorrect API key provided. The simulated organization takes the key \"demo\".".into();
        Self { status: StatusCode::UNAUTHORIZED, message, param: None, code: Some("invalid_api_key") }
    }

    fn not_found(message: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into(), param: None, code: None }
    }

    fn read_only() -> Self {
        let message = "The simulated organization can only be read.".into();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, message, param: None, code: None }
    }

    fn invalid(param: &'static str, message: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param: Some(param), code: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": {
            "message": self.message,
            "type": "invalid_request_error",
            "param": self.param,
            "code": self.code,
        }});
        (self.status, json_response(&body)).into_response()
    }
}

fn json_response(body: &Value) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body.to_string())
}

/// The documented query of a list.
struct ListQuery {
    limit: usize,
    after: Option<String>,
    ascending: bool,
    include_archived: bool,
}

impl ListQuery {
    fn parse(query: Option<String>) -> Result<Self, Refusal> {
        let mut parsed = Self { limit: DEFAULT_LIMIT, after: None, ascending: false, include_archived: false };
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| LIMITS.contains(limit));
                    parsed.limit = limit.ok_or_else(|| Refusal::invalid("limit", "limit must be from 1 to 100"))?;
                }
                "after" => parsed.after = Some(value.into_owned()),
                "order" => {
                    parsed.ascending = match value.as_ref() {
                        "asc" => true,
                        "desc" => false,
                        _ => return Err(Refusal::invalid("order", "order must be asc or desc")),
                    }
                }
                "include_archived" => parsed.include_archived = value == "true",
                _ => {} // as the real API
            }
        }
        Ok(parsed)
    }

    /// The page of a list in ascending order that is asked for.
    fn page<T>(&self, list: &[T], id: impl Fn(&T) -> &str, show: impl Fn(&T) -> Value) -> Result<Value, Refusal> {
        let mut ordered: Vec<&T> = list.iter().collect();
        if !self.ascending {
            ordered.reverse();
        }
        let start = match &self.after {
            None => 0,
            Some(after) => {
                let position = ordered.iter().position(|item| id(item) == after);
                1 + position.ok_or_else(|| Refusal::invalid("after", "after names no object of this list"))?
            }
        };
        let rest = &ordered[start..];
        let page = &rest[..rest.len().min(self.limit)];
        Ok(json!({
            "object": "list",
            "data": page.iter().map(|item| show(item)).collect::<Vec<_>>(),
            "first_id": page.first().map(|item| id(item)),
            "last_id": page.last().map(|item| id(item)),
            "has_more": page.len() < rest.len(),
        }))
    }
}

fn shown(certificate: &Uploaded, object: &str) -> Value {
    let mut details = serde_json::Map::new();
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
fn list(certificates: &[Uploaded], object: &str, query: Option<String>) -> Result<Response, Refusal> {
    let show = |certificate: &Uploaded| {
        let mut value = shown(certificate, object);
        value["active"] = certificate.active.into();
        value
    };
    let page = ListQuery::parse(query)?.page(certificates, |certificate| &certificate.id, show)?;
    Ok(json_response(&page).into_response())
}

async fn list_certificates(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    list(api.organization.certificates(), "organization.certificate", query)
}

async fn get_certificate(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let found = api.organization.certificates().iter().find(|certificate| certificate.id == id);
    let certificate = found.ok_or_else(|| Refusal::not_found("No such certificate"))?;
    Ok(json_response(&shown(certificate, "certificate")).into_response())
}

async fn list_projects(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let query = ListQuery::parse(query)?;
    let all = api.organization.projects().iter();
    let listed: Vec<_> = all.filter(|project| query.include_archived || !project.is_archived()).collect();
    let show = |project: &&Project| {
        json!({
            "object": "organization.project",
            "id": project.id,
            "name": project.name,
            "created_at": project.created_at,
            "archived_at": project.archived_at,
            "status": if project.is_archived() { "archived" } else { "active" },
        })
    };
    let page = query.page(&listed, |project| &project.id, show)?;
    Ok(json_response(&page).into_response())
}

async fn list_project_certificates(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let found = api.organization.projects().iter().find(|project| project.id == id);
    let project = found.ok_or_else(|| Refusal::not_found("No such project"))?;
    list(&project.certificates, "organization.project.certificate", query)
}
