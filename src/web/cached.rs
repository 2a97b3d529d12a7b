//! Responses that are rendered once and shared by all readers.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::{Compression, write::GzEncoder};
use headers::{ETag, HeaderMapExt as _, IfNoneMatch};
use tokio::sync::Mutex;

use crate::blocking::spawn_blocking;
use crate::exposition::{Identity, Memo};
use crate::inventory::{UnixSeconds, unix_now, whole_second};

#[derive(Clone, Debug)]
pub(super) struct CachedResponse {
    headers: HeaderMap,
    body: Bytes,
    /// What clients that accept it are sent instead, if there is one.
    gzip: Option<Bytes>,
}

/// Of the megabyte of a page with 1,000 certificates and 400 projects this leaves 37 kB, in 2 ms; the highest level leaves
/// 35 kB, in 11 ms.
const LEVEL: u32 = 4;

impl CachedResponse {
    /// Clients ask for it again with its tag, and are sent it only if it has changed.
    pub(super) fn tagged(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = Self::volatile(content_type, body);
        // Nobody gains anything by a collision, so the hash need not resist one. It is the same in each process.
        let mut hasher = DefaultHasher::new();
        response.body.hash(&mut hasher);
        let etag = HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())).ok();
        response.headers.extend(etag.map(|etag| (ETAG, etag)));
        response.with(CACHE_CONTROL, "no-cache")
    }

    /// Not cacheable (`no-store`).
    pub(super) fn volatile(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // Default CSP for responses that are not HTML: load nothing, no framing.
            (
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
            ),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { headers: headers.into_iter().collect(), body: body.into(), gzip: None }
    }

    /// Compressed as well. Only for responses without a tag: both bodies would have the same.
    pub(super) fn with_gzip(mut self) -> io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
        encoder.write_all(&self.body)?;
        self.gzip = Some(encoder.finish()?.into());
        Ok(self.with(VARY, "accept-encoding"))
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The body, or 304 for a client that has it.
    pub(super) fn respond(self, request: &HeaderMap) -> Response {
        let tags = self.headers.typed_get::<ETag>().zip(request.typed_get::<IfNoneMatch>());
        let is_known = tags.is_some_and(|(etag, known)| !known.precondition_passes(&etag));
        let gzip = self.gzip.filter(|_| accepts_gzip(request));
        let body = match gzip {
            _ if is_known => StatusCode::NOT_MODIFIED.into_response(),
            Some(gzip) => ([(CONTENT_ENCODING, "gzip")], gzip).into_response(),
            None => self.body.into_response(),
        };
        (self.headers, body).into_response()
    }
}

/// Whether the client accepts gzip, by RFC 9110, section 12.5.3: it is listed with a weight above 0, or is not listed and
/// `*` is.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight =
            parts.find_map(|parameter| parameter.strip_prefix(['q', 'Q'])?.strip_prefix('='));
        let accepted =
            weight.is_none_or(|weight| weight.trim().parse().is_ok_and(|weight: f32| weight > 0.0));
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return accepted;
        }
        if name == "*" {
            any = accepted;
        }
    }
    any
}

/// A response that all readers share until its source or its moment is another.
#[derive(Default)]
pub(super) struct Shared<M>(Arc<Mutex<Memo<(Identity, M), CachedResponse>>>);

impl<M: PartialEq + Send + 'static> Shared<M> {
    /// Renders on another thread, since many certificates take long; whoever asks meanwhile waits for the same rendering.
    /// `moment` is what a rendering knows of the time.
    pub(super) async fn get<T: Send + Sync + 'static>(
        &self,
        source: Arc<T>,
        moment: impl FnOnce(&T, UnixSeconds) -> M,
        render: impl FnOnce(&T, f64) -> Option<CachedResponse> + Send + 'static,
    ) -> Result<CachedResponse, NotRendered> {
        let mut last = Arc::clone(&self.0).lock_owned().await;
        let now = unix_now();
        let key = (Identity::of(&source), moment(&source, whole_second(now)));
        let rendered = spawn_blocking(move || {
            last.get_or_make(key, || render(&source, now).ok_or(NOT_RENDERED))
        });
        rendered.await.unwrap_or(Err(NOT_RENDERED))
    }
}

/// The response when rendering fails.
pub(super) type NotRendered = (StatusCode, &'static str);
const NOT_RENDERED: NotRendered =
    (StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be rendered\n");

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::http::header::IF_NONE_MATCH;
    use flate2::read::GzDecoder;

    use super::*;

    fn status(response: &CachedResponse, if_none_match: &str) -> u16 {
        let request =
            [(IF_NONE_MATCH, HeaderValue::from_str(if_none_match).unwrap())].into_iter().collect();
        response.clone().respond(&request).status().as_u16()
    }

    #[test]
    fn a_tag_is_found_in_any_list() {
        let response = CachedResponse::tagged("text/plain", "content");
        let etag = response.headers[ETAG].to_str().unwrap();
        for known in [etag, &format!("W/{etag}"), "*", &format!("\"x\", W/\"y,z\" ,{etag}")] {
            assert_eq!(status(&response, known), 304, "{known}");
        }
        for other in ["\"x\"", &etag.replace('"', ""), &etag[..17], &etag.replace('"', "\"0"), ""] {
            assert_eq!(status(&response, other), 200, "{other}");
        }
        assert_eq!(response.clone().respond(&HeaderMap::new()).status(), 200);
        assert_eq!(
            status(&CachedResponse::volatile("text/plain", "content"), "*"),
            200,
            "it has no tag"
        );
    }

    #[test]
    fn gzip_is_sent_only_where_it_is_accepted() {
        for (value, expected) in [
            ("gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip; q=0", false),
            ("gzip;q=0.000, *", false),
            ("*", true),
            ("*;q=0", false),
            ("identity", false),
            ("gzip;q=x", false),
            ("gzipped", false),
            ("", false),
        ] {
            let headers =
                [(ACCEPT_ENCODING, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_body_is_compressed_for_those_who_accept_it() {
        let text = "row ".repeat(1_000);
        let response = CachedResponse::volatile("text/plain", text.clone()).with_gzip().unwrap();
        for (accepted, is_smaller) in [("gzip", true), ("identity", false)] {
            let request =
                [(ACCEPT_ENCODING, HeaderValue::from_static(accepted))].into_iter().collect();
            let answer = response.clone().respond(&request);
            assert_eq!(answer.headers().get(CONTENT_ENCODING).is_some(), is_smaller);
            assert_eq!(answer.headers()[VARY], "accept-encoding");
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert_eq!(body.len() < 100, is_smaller, "{accepted}");
            let mut read = String::new();
            if is_smaller {
                GzDecoder::new(&body[..]).read_to_string(&mut read).unwrap();
            } else {
                read = String::from_utf8(body.to_vec()).unwrap();
            }
            assert_eq!(read, text);
        }
    }

    #[tokio::test]
    async fn a_rendering_is_shared_until_its_source_or_moment_is_another() {
        let shared = Shared::default();
        let sources = ["a", "b"].map(Arc::new);
        let render = async |source: &Arc<&'static str>, moment: fn(&&str, i64) -> u8| {
            let render =
                |_: &&str, now: f64| Some(CachedResponse::tagged("text/plain", now.to_string()));
            shared.get(Arc::clone(source), moment, render).await.unwrap().body
        };
        let first = render(&sources[0], |_, _| 0).await;
        assert_eq!(render(&sources[0], |_, _| 0).await, first);
        assert_ne!(render(&sources[0], |_, _| 1).await, first);
        let second = render(&sources[0], |_, _| 0).await;
        assert_ne!(render(&sources[1], |_, _| 0).await, second);
    }
}
