use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::Endpoint;
use super::pages::PageError;
use crate::inventory::FailureReason;

/// Why a list could not be had. It holds nothing of an answer's body but documented error codes, since a body may
/// repeat the key it was sent.
#[derive(Debug)]
pub struct Error {
    /// As counted.
    pub reason: FailureReason,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// The answer's status, where there was a whole answer.
    pub status: Option<StatusCode>,
    /// What `x-request-id` said, which is what OpenAI's support asks for.
    pub request_id: Option<RequestId>,
    /// How long the server asked to be left alone.
    pub asked_wait: Option<Duration>,
    pub(super) fault: Fault,
    pub(super) retryable: bool,
}

/// What went wrong, for people.
#[derive(Debug)]
pub(super) enum Fault {
    /// No whole answer: the chain of causes.
    Transport(String),
    /// The request's own deadline.
    RequestTimeout(Duration),
    /// The poll's deadline.
    PollTimeout,
    /// An answer that is not a success, with its error code where that is a documented one.
    Status(Option<&'static str>),
    /// An answer that is too large after decompression.
    TooLarge(usize),
    /// An answer that cannot be decompressed.
    Encoding(String),
    /// A page that does not belong to a whole list.
    Page(PageError),
    /// A wait that the poll has no time for.
    Wait(Duration),
    /// Another request was told to wait longer than the poll has left.
    Held,
    /// Another request was answered with 401.
    Rejected,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(status), Fault::Status(_) | Fault::Wait(_)) = (self.status, &self.fault) {
            write!(f, "answered {status}")?;
        }
        match &self.fault {
            Fault::Transport(causes) => f.write_str(causes),
            Fault::RequestTimeout(after) => {
                write!(f, "no whole answer within {} (api.request_timeout)", humantime::format_duration(*after))
            }
            Fault::PollTimeout => f.write_str("the poll's time was over (poll.timeout)"),
            Fault::Status(None) => Ok(()),
            Fault::Status(Some(code)) => write!(f, ", {code}"),
            Fault::TooLarge(limit) => write!(f, "an answer is larger than {} MiB", limit >> 20),
            Fault::Encoding(causes) => write!(f, "an answer cannot be decompressed: {causes}"),
            Fault::Page(error) => error.fmt(f),
            Fault::Wait(wait) => {
                write!(f, ", to be asked again in {} s, which is later than the poll may end", wait.as_secs())
            }
            Fault::Held => f.write_str("not asked: the API wants to be left alone for longer than the poll has left"),
            Fault::Rejected => f.write_str("not asked: another request was answered with 401"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// An error of which there is no more to say.
    pub(super) fn new(reason: FailureReason, endpoint: Endpoint, fault: Fault) -> Self {
        Self { reason, endpoint, status: None, request_id: None, asked_wait: None, fault, retryable: false }
    }

    /// Whether the answer was a 429, or there was none because of one.
    #[must_use]
    pub fn is_rate_limit(&self) -> bool {
        self.status == Some(StatusCode::TOO_MANY_REQUESTS) || matches!(self.fault, Fault::Held)
    }
}

/// The identifier that the server gave an exchange, cut to what an identifier is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Longer than any that is known; the rest would be no identifier.
    const MAX_LEN: usize = 128;

    /// From the header, unless it holds `secret` or a character that does not belong in one line of a log.
    pub(super) fn from_headers(headers: &HeaderMap, secret: &str) -> Option<Self> {
        let id = headers.get("x-request-id")?.to_str().ok()?;
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte));
        (plain && !id.is_empty() && id.len() <= Self::MAX_LEN && !id.contains(secret) && !secret.contains(id))
            .then(|| Self(id.into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Error codes that may be repeated, because they are documented and so cannot be part of a key.
const KNOWN_CODES: [&str; 12] = [
    "certificate_required",
    "invalid_certificate",
    "certificate_verification_failed",
    "certificate_attribute_verification_failed",
    "authentication_temporarily_unavailable",
    "invalid_api_key",
    "insufficient_permissions",
    "insufficient_quota",
    "rate_limit_exceeded",
    "organization_not_found",
    "project_not_found",
    "server_error",
];
/// The first of them say that the caller's own client certificate is the problem.
const MTLS_CODES: usize = 4;

/// The documented code in an error's body.
pub(super) fn known_code(body: &[u8]) -> Option<&'static str> {
    #[derive(serde::Deserialize)]
    struct Wire {
        error: WireError,
    }
    #[derive(serde::Deserialize)]
    struct WireError {
        code: String,
    }
    let code = serde_json::from_slice::<Wire>(body).ok()?.error.code;
    KNOWN_CODES.into_iter().find(|known| *known == code)
}

/// The reason as counted for an answer that is not a success.
pub(super) fn reason(status: StatusCode, code: Option<&'static str>) -> FailureReason {
    match status.as_u16() {
        401 | 403 if code.is_some_and(|code| KNOWN_CODES[..MTLS_CODES].contains(&code)) => FailureReason::MtlsRequired,
        401 => FailureReason::Unauthorized,
        403 => FailureReason::Forbidden,
        429 => FailureReason::RateLimited,
        500..=599 => FailureReason::Server,
        _ => FailureReason::Client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_by_status_and_code() {
        for (status, body, expected) in [
            (401, "", FailureReason::Unauthorized),
            (401, r#"{"error":{"code":"invalid_api_key"}}"#, FailureReason::Unauthorized),
            (401, r#"{"error":{"code":"certificate_required"}}"#, FailureReason::MtlsRequired),
            (403, r#"{"error":{"code":"certificate_attribute_verification_failed"}}"#, FailureReason::MtlsRequired),
            (403, r#"{"error":{"code":null}}"#, FailureReason::Forbidden),
            (400, r#"{"error":{"code":"certificate_required"}}"#, FailureReason::Client),
            (302, "", FailureReason::Client),
            (404, "", FailureReason::Client),
            (429, "", FailureReason::RateLimited),
            (599, "", FailureReason::Server),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(reason(status, known_code(body.as_bytes())), expected, "{status} {body}");
        }
    }

    #[test]
    fn only_documented_codes_are_repeated() {
        assert_eq!(known_code(br#"{"error":{"code":"sk-admin-123"}}"#), None);
    }

    #[test]
    fn a_request_id_is_an_identifier() {
        let id = |text: &str| {
            RequestId::from_headers(
                &[("x-request-id".parse().unwrap(), text.parse().unwrap())].into_iter().collect(),
                "sk-admin-123",
            )
        };
        assert_eq!(id("req_0af3-9").unwrap().to_string(), "req_0af3-9");
        for bad in ["", "a b", "x\tinjected=1", "was-sk-admin-123", "admin-12", &"x".repeat(129)] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}
