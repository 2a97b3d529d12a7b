use std::collections::HashMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::poll_state::FailureReason;

/// Why a list could not be read. It repeats nothing of a response's body but documented codes and types, since a body may
/// repeat the key that was sent; nor of its head but identifiers that do not.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub reason: FailureReason,
    /// The HTTP status, if a response came whole.
    pub status: Option<u16>,
    /// `x-request-id`, which OpenAI's support asks for.
    pub request_id: Option<Box<str>>,
    /// Whether the API itself says that the list does not exist; a 404 of a server in front of it says nothing.
    pub(super) not_found: bool,
    /// How long the API asks for no further requests.
    pub retry_after: Option<Duration>,
    /// For people.
    pub message: String,
    /// Whether another attempt may succeed.
    pub(super) retryable: bool,
}

impl Error {
    /// An error without a response, not retryable.
    pub(crate) fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            reason,
            status: None,
            request_id: None,
            not_found: false,
            retry_after: None,
            message,
            retryable: false,
        }
    }

    /// No response, or one that breaks off.
    pub(super) fn network(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let message = if error.is_connect() {
            // Two levels of the library say no more than that.
            let cause = sources(&error).nth(2).unwrap_or(&error);
            let cause = error_chain(cause);
            let hint = tunnel_hint(&cause).map(|hint| format!("; {hint}"));
            format!("cannot be reached: {cause}{}", hint.unwrap_or_default())
        } else {
            format!("did not send a complete response: {}", error_chain(&error))
        };
        Self { retryable: true, ..Self::new(FailureReason::Network, message) }
    }

    /// A response that is not a 200.
    pub(super) fn status(status: StatusCode, code: Option<&'static str>) -> Self {
        let code_suffix = code.map(|code| format!(", {code}")).unwrap_or_default();
        let expected = if status.is_success() { " instead of 200 OK" } else { "" };
        let (number, meaning) = (status.as_u16(), status.canonical_reason());
        let meaning = meaning.map(|it| format!(" {it}")).unwrap_or_default();
        let message = format!("answered {number}{meaning}{expected}{code_suffix}");
        Self { status: Some(status.as_u16()), ..Self::new(reason(status, code), message) }
    }

    /// The API says that a project does not exist, and lists it.
    pub(super) fn of_listed_project(self) -> Self {
        let message = "listed, but the API says that it does not exist (404 Not Found); if it was deleted, the next poll drops \
                       it, otherwise contact OpenAI's support";
        Self { reason: FailureReason::Projects, message: message.into(), ..self }
    }

    /// Whether the connection may be at fault, and others that were made with it.
    pub(super) fn is_of_connection(&self) -> bool {
        self.retryable && self.status.is_none_or(|status| status < 400)
    }

    /// What people can do about it.
    pub(super) fn next_step(&self, code: Option<&str>) -> Option<&'static str> {
        Some(match (self.reason, code) {
            (_, Some("ip_not_authorized")) => {
                "check the organization's IP allowlist, and whether requests should go through a proxy"
            }
            (_, Some("unsupported_country_region_territory")) => {
                "the API is not available in the region that the request came from"
            }
            (FailureReason::Unauthorized, _) => {
                "check the admin key (api.admin_key_file, api.admin_key or OPENAI_ADMIN_KEY)"
            }
            (FailureReason::Forbidden, _) => "the key needs the permission api.mtls.read",
            (FailureReason::MtlsRequired, _) => {
                "check api.client_cert_file and api.client_key_file"
            }
            _ => return None,
        })
    }

    /// Whether the response was a 429, or nothing was sent because of one. A 429 limits the key, and so every list.
    pub fn is_rate_limit(&self) -> bool {
        self.reason == FailureReason::RateLimited && self.status.is_none_or(|status| status == 429)
    }
}

/// What people can do about a proxy that lets no request through. The HTTP library tells no more of its answer.
fn tunnel_hint(cause: &str) -> Option<&'static str> {
    let fault = cause.rsplit_once("tunnel error: ")?.1;
    match fault {
        "unsuccessful" => Some(
            "the proxy refuses to connect (CONNECT): check whether it allows this host and port, and whether it needs a user and \
             password in its address (HTTPS_PROXY)",
        ),
        "proxy authorization required" => Some(
            "the proxy requires a valid user and password (407): check its address (HTTPS_PROXY)",
        ),
        _ => None,
    }
}

/// The server's identifier of a request.
pub(super) fn request_id(headers: &HeaderMap, secret: &str) -> Option<Box<str>> {
    identifier(headers.get("x-request-id")?.to_str().ok()?, secret)
}

/// What a response is said to be where that is not JSON, as the API's own are.
pub(super) fn foreign(headers: &HeaderMap, secret: &str) -> Option<String> {
    let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    let media_type = identifier(media_type, secret).filter(|it| !it.ends_with("json"))?;
    Some(format!("the response is not from the API ({media_type})"))
}

/// Where a response refers to.
pub(super) fn redirect(response: &Response, secret: &str) -> Option<String> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = response.url().join(location).ok()?;
    let host = identifier(target.host_str()?, secret)?;
    response
        .status()
        .is_redirection()
        .then(|| format!("a redirect to {host}, which is not followed"))
}

/// What a server calls something, unless it has a character that does not belong in one line of a log, or part of
/// `secret`.
pub(super) fn identifier(text: &str, secret: &str) -> Option<Box<str>> {
    /// Longer than any known one.
    const MAX_LEN: usize = 128;
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte));
    // A host comes in lower case.
    let (lower, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let is_secret = lower.contains(&secret) || secret.contains(&lower);
    (is_plain && !is_secret && !text.is_empty() && text.len() <= MAX_LEN).then(|| text.into())
}

/// Error codes that may be repeated, because they are documented and so cannot be part of a key.
const KNOWN_CODES: [&str; 14] = [
    "certificate_required",
    "invalid_certificate",
    "certificate_verification_failed",
    "certificate_attribute_verification_failed",
    "authentication_temporarily_unavailable",
    "invalid_api_key",
    "insufficient_permissions",
    "insufficient_quota",
    "ip_not_authorized",
    "rate_limit_exceeded",
    "organization_not_found",
    "project_not_found",
    "server_error",
    "unsupported_country_region_territory",
];
/// The first `MTLS_CODES` of `KNOWN_CODES` concern the caller's own client certificate.
const MTLS_CODES: usize = 4;

/// The documented code in an error's body.
pub(super) fn known_code(body: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Body {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        code: String,
    }
    let code = serde_json::from_slice::<Body>(body).ok()?.error.code;
    KNOWN_CODES.into_iter().find(|known| *known == code)
}

/// Whether a body is the API's own error, not a page of a server in front of it.
pub(super) fn is_of_api(body: &[u8]) -> bool {
    let fields = serde_json::from_slice::<HashMap<Box<str>, &RawValue>>(body);
    let is_object = |error: &&RawValue| error.get().starts_with('{');
    fields.is_ok_and(|fields| fields.get("error").is_some_and(is_object))
}

fn reason(status: StatusCode, code: Option<&'static str>) -> FailureReason {
    match status.as_u16() {
        401 | 403 if code.is_some_and(|code| KNOWN_CODES[..MTLS_CODES].contains(&code)) => {
            FailureReason::MtlsRequired
        }
        // A part, a copy that something in between has changed, or nothing.
        200..=299 => FailureReason::Decode,
        401 => FailureReason::Unauthorized,
        403 => FailureReason::Forbidden,
        429 => FailureReason::RateLimited,
        500..=599 => FailureReason::Server,
        _ => FailureReason::Client,
    }
}

/// An error and its sources in one line, without repetition.
pub(super) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    for source in sources(error).map(ToString::to_string) {
        if !line.ends_with(&source) {
            line += if line.is_empty() { "" } else { ": " };
            line += &source;
        }
    }
    line
}

/// An error, its source, the source of that, and so on.
pub(super) fn sources<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_follows_from_status_and_code() {
        for (status, body, expected) in [
            (401, "", FailureReason::Unauthorized),
            (401, r#"{"error":{"code":"invalid_api_key"}}"#, FailureReason::Unauthorized),
            (401, r#"{"error":{"code":"certificate_required"}}"#, FailureReason::MtlsRequired),
            (
                401,
                r#"{"error":{"message":"\ud800","code":"certificate_required"}}"#,
                FailureReason::MtlsRequired,
            ),
            (
                403,
                r#"{"error":{"code":"certificate_attribute_verification_failed"}}"#,
                FailureReason::MtlsRequired,
            ),
            (
                403,
                r#"{"error":{"code":"authentication_temporarily_unavailable"}}"#,
                FailureReason::Forbidden,
            ),
            (403, r#"{"error":{"code":null}}"#, FailureReason::Forbidden),
            (400, r#"{"error":{"code":"certificate_required"}}"#, FailureReason::Client),
            (206, "", FailureReason::Decode),
            (302, "", FailureReason::Client),
            (404, "", FailureReason::Client),
            (429, "", FailureReason::RateLimited),
            (500, "", FailureReason::Server),
            (599, "", FailureReason::Server),
        ] {
            let error =
                Error::status(StatusCode::from_u16(status).unwrap(), known_code(body.as_bytes()));
            assert_eq!((error.reason, error.status), (expected, Some(status)), "{status} {body}");
            assert_eq!(error.is_rate_limit(), status == 429, "{status}");
        }
    }

    #[test]
    fn message_repeats_documented_codes_only() {
        let message =
            |body: &[u8]| Error::status(StatusCode::FORBIDDEN, known_code(body)).to_string();
        let nameless = StatusCode::from_u16(520).unwrap();
        assert_eq!(Error::status(nameless, None).to_string(), "answered 520");
        assert_eq!(
            message(br#"{"error":{"code":"insufficient_permissions"}}"#),
            "answered 403 Forbidden, insufficient_permissions"
        );
        for unknown in
            [r#"{"error":{"code":"sk-admin-123"}}"#, r#"{"error":"server_error"}"#, "<html>", ""]
        {
            assert_eq!(message(unknown.as_bytes()), "answered 403 Forbidden", "{unknown}");
        }
    }

    #[test]
    fn error_of_the_api_is_json_with_an_error_object() {
        for (body, expected) in [
            (r#"{"error":{"message":"\ud800","type":"x","param":null,"code":null}}"#, true),
            (r#"{"error":{}}"#, true),
            (r#"{"error":null}"#, false),
            (r#"{"error":"not found"}"#, false),
            (r#"{"message":"no Route matched with those values"}"#, false),
            (r#"[{"error":{}}]"#, false),
            ("<html>default backend - 404</html>", false),
            ("", false),
        ] {
            assert_eq!(is_of_api(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn request_id_is_taken_where_it_is_an_identifier() {
        let id = |text: &str| {
            let headers =
                [("x-request-id".parse().unwrap(), text.parse().unwrap())].into_iter().collect();
            request_id(&headers, "sk-admin-123")
        };
        assert_eq!(id("req_0af3-9").as_deref(), Some("req_0af3-9"));
        assert_eq!(id(&"x".repeat(128)).as_deref(), Some(&*"x".repeat(128)));
        for bad in ["", "a b", "x\tinjected=1", "was-sk-admin-123", "admin-12", &"x".repeat(129)] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}
