//! The part of the Admin API that has to do with certificates, as it is documented.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::ADMIN_KEY;
use super::organization::{DemoCertificate, DemoProject, Organization};

/// Documented bounds of `limit`, and its default.
const LIMITS: RangeInclusive<usize> = 1..=100;
const DEFAULT_LIMIT: usize = 20;

/// The API of an organization, below `/v1`.
pub fn router(organization: Organization) -> Router {
    let paths = Router::new()
        .route("/organization/certificates", get(list_certificates))
        .route("/organization/certificates/{id}", get(get_certificate))
        .route("/organization/projects", get(list_projects))
        .route("/organization/projects/{id}/certificates", get(list_project_certificates))
        .fallback(async || ApiError::not_found("Unknown request URL"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "The simulated organization can only be read.")
        });
    Router::new()
        .nest("/v1", paths)
        .layer(from_fn_with_state(Arc::<AtomicU64>::default(), authenticate))
        .with_state(Arc::new(organization))
}

/// Checks the key of every request, and gives every answer an identifier.
async fn authenticate(State(requests): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    let number = requests.fetch_add(1, Ordering::Relaxed);
    let authorized = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .is_some_and(|key| key == ADMIN_KEY);
    let mut response = if authorized { next.run(request).await } else { ApiError::UNAUTHORIZED.into_response() };
    if let Ok(id) = format!("req_demo{number:08x}").parse() {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// An error as the API words it.
struct ApiError {
    status: StatusCode,
    message: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl ApiError {
    const UNAUTHORIZED: Self = Self {
        code: Some("invalid_api_key"),
        ..Self::new(
            StatusCode::UNAUTHORIZED,
            "Incorrect API key provided. The simulated organization takes the key \"demo\".",
        )
    };

    const fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message, param: None, code: None }
    }

    const fn not_found(message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    const fn invalid(param: &'static str, message: &'static str) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, message, param, code } = self;
        let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": code});
        (status, json_response(&json!({"error": error}))).into_response()
    }
}

fn json_response(body: &Value) -> impl IntoResponse + use<> {
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
    fn parse(query: Option<String>) -> Result<Self, ApiError> {
        let mut parsed = Self { limit: DEFAULT_LIMIT, after: None, ascending: false, include_archived: false };
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| LIMITS.contains(limit));
                    parsed.limit = limit.ok_or_else(|| ApiError::invalid("limit", "limit must be from 1 to 100"))?;
                }
                "after" => parsed.after = Some(value.into_owned()),
                "order" => {
                    parsed.ascending = match value.as_ref() {
                        "asc" => true,
                        "desc" => false,
                        _ => return Err(ApiError::invalid("order", "order must be asc or desc")),
                    }
                }
                "include_archived" => parsed.include_archived = value == "true",
                _ => {} // as the real API
            }
        }
        Ok(parsed)
    }

    /// The page that is asked for of a list in ascending order.
    fn page<T>(
        &self,
        mut list: Vec<&T>,
        id: impl Fn(&T) -> &str,
        show: impl Fn(&T) -> Value,
    ) -> Result<Response, ApiError> {
        if !self.ascending {
            list.reverse();
        }
        let start = match &self.after {
            None => 0,
            Some(after) => {
                let position = list.iter().position(|item| id(item) == after);
                1 + position.ok_or_else(|| ApiError::invalid("after", "after names no object of this list"))?
            }
        };
        let rest = &list[start..];
        let page = &rest[..rest.len().min(self.limit)];
        let page = json!({
            "object": "list",
            "data": page.iter().map(|item| show(item)).collect::<Vec<_>>(),
            "first_id": page.first().map(|item| id(item)),
            "last_id": page.last().map(|item| id(item)),
            "has_more": page.len() < rest.len(),
        });
        Ok(json_response(&page).into_response())
    }
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
fn list(certificates: &[DemoCertificate], object: &str, query: Option<String>) -> Result<Response, ApiError> {
    let show = |certificate: &DemoCertificate| {
        let mut value = shown(certificate, object);
        value["active"] = certificate.active.into();
        value
    };
    ListQuery::parse(query)?.page(certificates.iter().collect(), |certificate| &certificate.id, show)
}

type Shared = State<Arc<Organization>>;

async fn list_certificates(State(has): Shared, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    list(&has.certificates, "organization.certificate", query)
}

async fn get_certificate(State(has): Shared, Path(id): Path<String>) -> Result<Response, ApiError> {
    let found = has.certificates.iter().find(|certificate| certificate.id == id);
    let certificate = found.ok_or_else(|| ApiError::not_found("No such certificate"))?;
    Ok(json_response(&shown(certificate, "certificate")).into_response())
}

async fn list_projects(State(has): Shared, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let query = ListQuery::parse(query)?;
    let listed = has.projects.iter().filter(|project| query.include_archived || !project.is_archived()).collect();
    let show = |project: &DemoProject| {
        json!({
            "object": "organization.project",
            "id": project.id,
            "name": project.name,
            "created_at": project.created_at,
            "archived_at": project.archived_at,
            "status": if project.is_archived() { "archived" } else { "active" },
        })
    };
    query.page(listed, |project| &project.id, show)
}

async fn list_project_certificates(
    State(has): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let found = has.projects.iter().find(|project| project.id == id);
    let project = found.ok_or_else(|| ApiError::not_found("No such project"))?;
    list(&project.certificates, "organization.project.certificate", query)
}
