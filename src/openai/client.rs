//! The client, and the lists that a session of it reads.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::transport::{Connector, Transport};
use super::{ClientError, Endpoint, Entry, Error, Metrics, Next, Pager};
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
    /// How many pages of any list have been read so far; shows the progress of a poll.
    pub(crate) pages: Arc<AtomicU64>,
}

impl Client {
    /// Reads the TLS files and the environment's proxy; sends nothing.
    pub fn new(api: &Api, metrics: Arc<Metrics>) -> Result<Self, ClientError> {
        let transport = Transport::new(api, &metrics)?;
        let peer = transport.connection(api).peer().into();
        Ok(Self { api: api.clone(), metrics, transport, peer, pages: Arc::default() })
    }

    /// What one poll needs: this key, until this deadline, with the TLS files as they are now.
    pub async fn session(self: &Arc<Self>, key: SecretString, deadline: Instant) -> Session<'_> {
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

    pub async fn organization_certificates(&self) -> Result<Listing<Certificate>, Error> {
        self.list(Endpoint::Certificates, &["organization", "certificates"], BY_UPLOAD).await
    }

    /// Without archived projects. The API has no order for this list.
    pub async fn projects(&self) -> Result<Listing<Project>, Error> {
        self.list(Endpoint::Projects, &["organization", "projects"], ("include_archived", "false"))
            .await
    }

    pub async fn project_certificates(
        &self,
        project_id: &str,
    ) -> Result<Listing<Certificate>, Error> {
        let path = ["organization", "projects", project_id, "certificates"];
        self.list(Endpoint::ProjectCertificates, &path, BY_UPLOAD).await
    }

    async fn list<T: Entry>(
        &self,
        endpoint: Endpoint,
        path: &[&str],
        query: (&str, &str),
    ) -> Result<Listing<T>, Error> {
        let mut pager = Pager::new(&self.key);
        let mut after = None;
        loop {
            let url = self.url(path, query, after.as_deref());
            let page = self.send(endpoint, || self.send_once(endpoint, &url)).await?;
            let next = pager.push(&page.body).map_err(|error| page.page_error(error))?;
            self.client.pages.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(
                endpoint = endpoint.into_str(),
                page = pager.pages,
                bytes = page.body.len(),
                "page read"
            );
            match next {
                Next::After(id) => after = Some(id),
                Next::Complete => return Ok(pager.finish()),
            }
        }
    }

    fn url(&self, path: &[&str], query: (&str, &str), after: Option<&str>) -> Url {
        let mut url = self.client.api.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let path = path.iter().fold(base.to_owned(), |path, segment| {
            // Escaped here, since `Url` drops tabs and line feeds: the path could become that of another project.
            path + "/" + &utf8_percent_encode(segment, RESERVED).to_string()
        });
        url.set_path(&path);
        url.query_pairs_mut()
            .append_pair("limit", &self.client.api.page_size.to_string())
            .append_pair(query.0, query.1)
            .extend_pairs(after.map(|id| ("after", id)));
        url
    }
}
