//! Answers that stay the same until their content changes, and are sent again only then.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::body::Bytes;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// For what is no page: it loads nothing and is shown within nothing.
pub(super) const CLOSED: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// A browser takes an answer for what it says it is.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// A content with its type and its tag.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    content_type: HeaderValue,
    content: Bytes,
    etag: Option<HeaderValue>,
}

impl Entity {
    pub(super) fn new(content_type: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        // Nobody gains anything by a collision, so the hash need not resist one. It is the same in each process.
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let etag = HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())).ok();
        Self { content_type: HeaderValue::from_static(content_type), content, etag }
    }

    /// The content, or 304 for a client that has it.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        let known = self.etag.as_ref().is_some_and(|etag| is_known(request, etag.as_bytes()));
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = self.content.clone().into_response();
            response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
            response
        };
        let headers = response.headers_mut();
        headers.extend(self.etag.clone().map(|etag| (ETAG, etag)));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, CLOSED);
        headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        response
    }
}

/// Whether `If-None-Match` names `etag`, by RFC 9110, section 13.1.2: `*`, or a list that has it, weak or not.
fn is_known(request: &HeaderMap, etag: &[u8]) -> bool {
    request.get_all(IF_NONE_MATCH).iter().any(|value| {
        let mut rest = value.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        // A tag may hold a comma, so the list cannot be split at them.
        while let Some(open) = rest.iter().position(|byte| *byte == b'"') {
            let Some(length) = rest[open + 1..].iter().position(|byte| *byte == b'"') else { return false };
            let close = open + 1 + length;
            if &rest[open..=close] == etag {
                return true;
            }
            rest = &rest[close + 1..];
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_any_list() {
        for (value, expected) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("*", true),
            ("\"x\", W/\"y,z\" ,\"abc\"", true),
            ("\"x\",\"abc,\"", false),
            ("\"abcd\"", false),
            ("abc", false),
            ("\"abc", false),
            ("", false),
        ] {
            let headers = [(IF_NONE_MATCH, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(is_known(&headers, b"\"abc\""), expected, "{value}");
        }
        assert!(!is_known(&HeaderMap::new(), b"\"abc\""));
    }
}
