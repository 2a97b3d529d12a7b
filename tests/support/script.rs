//! An API that answers by a script: one answer for each request, whatever is asked for, and the last one for ever.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::binary::Launch;
use crate::wait::until;

pub(crate) struct Script {
    server: MockServer,
    arrivals: Arc<Mutex<Vec<Instant>>>,
}

impl Script {
    pub(crate) async fn of(answers: impl Into<Vec<ResponseTemplate>>) -> Self {
        let answers = answers.into();
        Self::by(move |number| answers[number.min(answers.len() - 1)].clone()).await
    }

    /// Pages of a list.
    pub(crate) async fn of_pages(pages: &[Value]) -> Self {
        Self::of(pages.iter().map(text).collect::<Vec<_>>()).await
    }

    /// Answers each request by its number, counted from 0.
    pub(crate) async fn by(
        answer: impl Fn(usize) -> ResponseTemplate + Send + Sync + 'static,
    ) -> Self {
        let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let seen = Arc::clone(&arrivals);
        let respond = move |_: &Request| {
            let mut seen = seen.lock().unwrap();
            seen.push(Instant::now());
            answer(seen.len() - 1)
        };
        // Not from the pool: a server that another test is given must not be known to this one's exporter.
        let server = MockServer::builder().start().await;
        Mock::given(any()).respond_with(respond).mount(&server).await;
        Self { server, arrivals }
    }

    /// As messages name it.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.server.address()
    }

    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.server.uri())
    }

    /// An exporter that polls it once.
    pub(crate) fn once(&self) -> Launch {
        Launch::once(&self.base_url())
    }

    /// An exporter that polls it again and again.
    pub(crate) fn often(&self) -> Launch {
        Launch::often(&self.base_url())
    }

    /// Every request so far.
    pub(crate) async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }

    pub(crate) fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }

    /// Between one request and the next, once both have come.
    pub(crate) async fn pause_after(&self, number: usize) -> Duration {
        until("the next request", async || (self.count() > number + 1).then_some(())).await;
        let arrivals = self.arrivals.lock().unwrap();
        arrivals[number + 1] - arrivals[number]
    }
}

/// A success with this body, which says that it is JSON, whatever it is.
pub(crate) fn text(body: &(impl ToString + ?Sized)) -> ResponseTemplate {
    bytes(body.to_string())
}

pub(crate) fn bytes(body: impl Into<Vec<u8>>) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body, "application/json")
}

/// An error as the API words it.
pub(crate) fn error(status: u16, code: Option<&str>) -> ResponseTemplate {
    let body =
        json!({"error": {"message": "it says no", "type": "error", "param": null, "code": code}});
    ResponseTemplate::new(status).set_body_json(body)
}

pub(crate) fn query(request: &Request, name: &str) -> Option<String> {
    request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
