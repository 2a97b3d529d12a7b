//! The client, and the lists that a session of it reads.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::transport::Transport;
use super::{ClientError, Endpoint, Entry, Error, Metrics, Next, Pager};
use crate::config::Api;
use crate::inventory::{Certificate, Listing, Project};
use crate::poll_state::FailureReason;

/// Escaped in a segment of a path: everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The connection pool to one upstream, and how to use it.
#[derive(Debug)]
pub struct Client {
    pub(super) api: Api,
    pub(super) metrics: Arc<Metrics>,
    pub(super) transport: Mutex<Transport>,
    /// How many pages of any list have been read so far; shows the progress of a poll.
    pub(crate) pages: Arc<AtomicU64>,
}

impl Client {
    /// Reads the TLS files, if there are any; sends nothing.
    pub fn new(api: &Api, metrics: Arc<Metrics>) -> Result<Self, ClientError> {
        let transport = Mutex::new(Transport::new(api, &metrics)?);
        Ok(Self { api: api.clone(), metrics, transport, pages: Arc::default() })
    }

    /// What one poll needs: this key, until this deadline, with the TLS files as they are now.
    pub async fn session(self: &Arc<Self>, key: SecretString, deadline: Instant) -> Session<'_> {
        let http = self.http(deadline).await;
        let (paused_until, unauthorized) = (Cell::new(Instant::now()), OnceCell::new());
        Session { client: self, http, key, deadline, paused_until, unauthorized }
    }
}

/// One poll's use of the client, on one thread. What a 429 or a 401 says holds for all requests of the poll.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) client: &'a Client,
    pub(super) http: reqwest::Client,
    pub(super) key: SecretString,
    pub(super) deadline: Instant,
    /// Until when nothing is sent; a 429 moves it.
    pub(super) paused_until: Cell<Instant>,
    /// The reason of a 401, after which nothing is sent.
    pub(super) unauthorized: OnceCell<FailureReason>,
}

/// Oldest upload first, so that a certificate that is uploaded meanwhile lands at the end of the list.
const BY_UPLOAD: (&str, &str) = ("order", "asc");

impl Session<'_> {
    /// Entries that cannot be read are as they were `before`.
    pub async fn organization_certificates(
        &self,
        before: Option<&Listing<Certificate>>,
    ) -> Result<Listing<Certificate>, Error> {
        let path = ["organization", "certificates"];
        self.list(Endpoint::Certificates, &path, BY_UPLOAD, before).await
    }

    /// Without archived projects. The API has no order for this list.
    pub async fn projects(&self) -> Result<Listing<Project>, Error> {
        let path = ["organization", "projects"];
        // The only field that a project cannot do without is its identifier, so none is known from before.
        self.list(Endpoint::Projects, &path, ("include_archived", "false"), None).await
    }

    /// Entries that cannot be read are as they were `before`.
    pub async fn project_certificates(
        &self,
        project_id: &str,
        before: Option<&Listing<Certificate>>,
    ) -> Result<Listing<Certificate>, Error> {
        let path = ["organization", "projects", project_id, "certificates"];
        self.list(Endpoint::ProjectCertificates, &path, BY_UPLOAD, before).await
    }

    async fn list<T: Entry>(
        &self,
        endpoint: Endpoint,
        path: &[&str],
        query: (&str, &str),
        before: Option<&Listing<T>>,
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
                Next::Complete => return Ok(pager.finish(before)),
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
