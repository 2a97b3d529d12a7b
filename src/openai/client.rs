//! The client, and the lists that a session of it reads.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::transport::{Connector, Transport};
use super::{ClientError, Endpoint, Entry, Error, Metrics, Next, Pager, Progress, wire};
use crate::config::Api;
use crate::inventory::{Certificate, Listing, Project};
use crate::poll_state::FailureReason;

/// Escaped in a segment of a path: everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One upstream, and how to reach it.
#[derive(Debug)]
pub struct Client {
    pub(super) api: Api,
    pub(super) metrics: Arc<Metrics>,
    pub(super) transport: Transport,
    /// The other side as messages name it: `HOST:PORT`, and the proxy before it.
    pub(super) peer: Arc<str>,
    /// Of the session under way.
    pub(crate) progress: Arc<Progress>,
    /// What sets a session's deadline, as messages name it.
    pub(crate) deadline_setting: &'static str,
}

impl Client {
    /// Reads the TLS files and the environment's proxy; sends nothing. A file that takes too long is an error. Blocks.
    pub fn new(api: &Api, metrics: Arc<Metrics>) -> Result<Self, ClientError> {
        let transport = Transport::new(api)?;
        let peer = transport.connection(api).peer().into();
        let (progress, deadline_setting) = (Arc::default(), "poll.timeout");
        Ok(Self { api: api.clone(), metrics, transport, peer, progress, deadline_setting })
    }

    /// What one poll needs: this key, until this deadline, with the TLS files as they are now.
    pub async fn session(self: &Arc<Self>, key: SecretString, deadline: Instant) -> Session<'_> {
        self.progress.reset();
        Session {
            client: self,
            connector: self.connector(deadline).await,
            http: RefCell::default(),
            key,
            deadline,
            paused_until: Cell::new(Instant::now()),
            unauthorized: OnceCell::new(),
            clock_offset: Cell::new(None),
        }
    }
}

/// One poll's use of the client, on one thread. What a 429 or a 401 says holds for all requests of the poll.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) client: &'a Client,
    connector: Connector,
    /// The connections in use; none before the first request, and after one of them has failed.
    http: RefCell<Option<Rc<reqwest::Client>>>,
    pub(super) key: SecretString,
    pub(super) deadline: Instant,
    /// Until when nothing is sent; a 429 moves it.
    pub(super) paused_until: Cell<Instant>,
    /// The reason of a 401, after which nothing is sent.
    pub(super) unauthorized: OnceCell<FailureReason>,
    /// This machine's clock less that of the server that agrees with it most, in seconds.
    pub(super) clock_offset: Cell<Option<f64>>,
}

/// Oldest upload first, so that a certificate that is uploaded meanwhile lands at the end of the list.
const BY_UPLOAD: (&str, &str) = ("order", "asc");

impl Session<'_> {
    /// This machine's clock less the API's, in seconds; none before a response with a `Date`. If servers disagree, the
    /// offset that is nearest to 0 counts: one server with a wrong clock proves nothing of this machine's.
    pub fn clock_offset(&self) -> Option<f64> {
        self.clock_offset.get()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.client.progress
    }

    /// The connections of this poll.
    pub(super) fn http(&self) -> reqwest::Result<Rc<reqwest::Client>> {
        let mut http = self.http.borrow_mut();
        match &*http {
            Some(http) => Ok(Rc::clone(http)),
            None => Ok(Rc::clone(http.insert(Rc::new(self.connector.connect()?)))),
        }
    }

    /// Lets further requests make new connections: what has broken one of these may have broken all.
    pub(super) fn abandon(&self, http: &Rc<reqwest::Client>) {
        self.http.borrow_mut().take_if(|current| Rc::ptr_eq(current, http));
    }

    /// Entries that cannot be read are as they were `before`.
    pub async fn organization_certificates(
        &self,
        before: Option<&Listing<Certificate>>,
    ) -> Result<Listing<Certificate>, Error> {
        let path = ["organization", "certificates"];
        self.list(Endpoint::Certificates, &path, BY_UPLOAD, before).await
    }

    /// Without archived projects. The API has no order for this list.
    pub async fn projects(
        &self,
        before: Option<&Listing<Project>>,
    ) -> Result<Listing<Project>, Error> {
        let path = ["organization", "projects"];
        self.list(Endpoint::Projects, &path, ("include_archived", "false"), before).await
    }

    /// For a project that is listed. Entries that cannot be read are as they were `before`.
    pub async fn project_certificates(
        &self,
        project_id: &str,
        before: Option<&Listing<Certificate>>,
    ) -> Result<Listing<Certificate>, Error> {
        let path = ["organization", "projects", project_id, "certificates"];
        let list = self.list(Endpoint::ProjectCertificates, &path, BY_UPLOAD, before).await;
        list.map_err(|error| if error.not_found { error.of_listed_project() } else { error })
    }

    /// The PEM of a certificate that is listed.
    pub async fn certificate_content(&self, id: &str) -> Result<Box<str>, Error> {
        let mut url = self.url(&["organization", "certificates", id]);
        url.query_pairs_mut().append_pair("include[]", "content");
        let endpoint = Endpoint::Certificate;
        let response = self.send(endpoint, || self.send_once(endpoint, &url)).await?;
        let content = wire::content(&wire::as_text(&response.body), id);
        content.map_err(|fault| response.page_error(fault))
    }

    /// A list that is not proven to be whole is read again.
    async fn list<T: Entry>(
        &self,
        endpoint: Endpoint,
        path: &[&str],
        query: (&str, &str),
        before: Option<&Listing<T>>,
    ) -> Result<Listing<T>, Error> {
        let (list, end) = self.walk(endpoint, path, query, before).await?;
        if end == Next::Complete {
            return Ok(list);
        }
        let (again, end_again) = self.walk(endpoint, path, query, before).await?;
        let message = match (end, end_again) {
            (Next::CompleteShifted, Next::Complete) => return Ok(again),
            (Next::CompleteUnproven, Next::Complete | Next::CompleteUnproven) => {
                if again == list {
                    return Ok(list);
                }
                "the last page is empty, although the page before it said that more follow (has_more was true), and reading \
                 the list again gave another list"
            }
            _ => {
                "an object came on more than one page, so another may be missing, and reading the list again did not give a \
                 complete list either"
            }
        };
        Err(Error::new(FailureReason::Pagination, message))
    }

    /// Reads a list once, from its first page to its last, and how it ends.
    async fn walk<T: Entry>(
        &self,
        endpoint: Endpoint,
        path: &[&str],
        query: (&str, &str),
        before: Option<&Listing<T>>,
    ) -> Result<(Listing<T>, Next), Error> {
        let mut pager = Pager::new(&self.key);
        let mut after = None;
        loop {
            let mut url = self.url(path);
            url.query_pairs_mut()
                .append_pair("limit", &self.client.api.page_size.to_string())
                .append_pair(query.0, query.1)
                .extend_pairs(after.as_deref().map(|id| ("after", id)));
            let page = self.send(endpoint, || self.send_once(endpoint, &url)).await;
            // Of a later page, a 404 says that its cursor is gone, not the list.
            let page = page.map_err(|error| Error {
                not_found: error.not_found && after.is_none(),
                ..error
            })?;
            let next = pager.push(&page.body).map_err(|error| page.page_error(error))?;
            self.client.progress.page_read();
            tracing::debug!(
                endpoint = endpoint.into_str(),
                page = pager.pages,
                bytes = page.body.len(),
                "page read"
            );
            match next {
                Next::After(id) => after = Some(id),
                end => return Ok((pager.finish(before), end)),
            }
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.client.api.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let path = path.iter().fold(base.to_owned(), |path, segment| {
            // Escaped here, since `Url` drops tabs and line feeds: the path could become that of another project.
            path + "/" + &utf8_percent_encode(segment, RESERVED).to_string()
        });
        url.set_path(&path);
        url
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use prometheus::Registry;
    use proptest::prelude::*;
    use serde_json::json;
    use tokio::runtime::Builder;
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;

    /// One walk through a list: the certificates on each page.
    type Walk = Vec<Vec<u8>>;

    /// Whether its end is proven: no empty page stands where more were promised.
    fn is_proven(walk: &Walk) -> bool {
        walk.len() == 1 || !walk[walk.len() - 1].is_empty()
    }

    /// Whether an identifier is on two of its pages.
    fn is_shifted(walk: &Walk) -> bool {
        let pages = || walk.iter().enumerate();
        pages().any(|(one, ids)| {
            pages().any(|(other, others)| one != other && ids.iter().any(|id| others.contains(id)))
        })
    }

    fn is_whole(walk: &Walk) -> bool {
        is_proven(walk) && !is_shifted(walk)
    }

    /// The model: identifiers with their counts, since a list knows how many came twice.
    fn read(walk: &Walk) -> (Vec<u8>, usize) {
        let mut ids = walk.concat();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        let duplicates = count - ids.len();
        (ids, duplicates)
    }

    fn expected([first, second]: &[Walk; 2]) -> Option<Vec<u8>> {
        let is_good = if is_shifted(first) {
            is_whole(second)
        } else {
            is_whole(first) || !is_shifted(second) && read(first) == read(second)
        };
        let good = if is_shifted(first) { second } else { first };
        is_good.then(|| read(good).0)
    }

    /// The response to the request of this number, where every walk is through other pages.
    fn page(walks: &[Walk], number: usize) -> serde_json::Value {
        let pages =
            walks.iter().flat_map(|walk| (1..).zip(walk).map(|(n, ids)| (n < walk.len(), ids)));
        let (has_more, ids) = pages.into_iter().nth(number).unwrap();
        let data: Vec<_> = ids
            .iter()
            .map(|id| json!({"id": id.to_string(), "active": true, "certificate_details": {}}))
            .collect();
        json!({"data": data, "has_more": has_more, "last_id": format!("cursor {number}")})
    }

    fn some_walk() -> impl Strategy<Value = Walk> {
        let page = prop::collection::vec(0..6_u8, 0..3);
        (prop::collection::vec(page, 1..4), proptest::bool::ANY).prop_map(
            |(mut pages, ends_empty)| {
                pages.extend(ends_empty.then(Vec::new));
                pages
            },
        )
    }

    fn some_walks() -> impl Strategy<Value = [Walk; 2]> {
        prop_oneof![some_walk().prop_map(|walk| [walk.clone(), walk]), [some_walk(), some_walk()],]
    }

    async fn list_of(walks: [Walk; 2]) -> (Result<Listing<Certificate>, Error>, usize) {
        let server = MockServer::start().await;
        let requests = AtomicUsize::new(0);
        let respond = move |_: &Request| {
            let number = requests.fetch_add(1, Ordering::Relaxed);
            ResponseTemplate::new(200).set_body_json(page(&walks, number))
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        let api = format!(
            "base_url = '{}'\npage_size = 100\nrequest_timeout = '10s'\nmax_retries = 0\ninsecure_http = false",
            server.uri()
        );
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let client = Arc::new(Client::new(&toml::from_str(&api).unwrap(), metrics).unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let session = client.session("sk-admin-abc".into(), deadline).await;
        let list = session.organization_certificates(None).await;
        (list, server.received_requests().await.unwrap().len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn list_that_is_not_proven_whole_takes_two_walks(walks in some_walks()) {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let (list, requests) = runtime.block_on(list_of(walks.clone()));
            let ids = list.as_ref().ok().map(|list| list.items.iter().map(|item| item.id.parse().unwrap()).collect());
            prop_assert_eq!(ids, expected(&walks));
            prop_assert!(list.is_ok() || list.is_err_and(|error| error.reason == FailureReason::Pagination));
            let walked = if is_whole(&walks[0]) { &walks[..1] } else { &walks[..] };
            prop_assert_eq!(requests, walked.iter().map(Vec::len).sum::<usize>());
        }
    }
}
