//! Responses that are rendered once and shared by all readers.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt as _, IfNoneMatch};
use tokio::sync::Mutex;

use crate::blocking::spawn_blocking;
use crate::exposition::{Identity, Memo};
use crate::inventory::{UnixSeconds, unix_now, whole_second};

#[derive(Clone, Debug)]
pub(super) struct CachedResponse {
    headers: HeaderMap,
    body: Bytes,
}

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
        Self { headers: headers.into_iter().collect(), body: body.into() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The body, or 304 for a client that has it.
    pub(super) fn respond(self, request: &HeaderMap) -> Response {
        let tags = self.headers.typed_get::<ETag>().zip(request.typed_get::<IfNoneMatch>());
        let is_known = tags.is_some_and(|(etag, known)| !known.precondition_passes(&etag));
        let body = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.body.into_response()
        };
        (self.headers, body).into_response()
    }
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
    use axum::http::header::IF_NONE_MATCH;

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
