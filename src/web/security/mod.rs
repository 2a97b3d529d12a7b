//! `--web.config.file`: TLS, users, headers and a rate for the port, in the format of the Prometheus exporter-toolkit.
//!
//! What the file says becomes [`Rules`], whole or not at all. It is read again when it or a file that it names has
//! changed, which is looked for when somebody connects or asks, at most once a second: a process that nobody asks
//! sleeps. Rules that cannot be read, or would open the port wider than it was, never replace those in force.

mod document;
mod rate;
mod sources;
mod tls;
mod users;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::rustls::ServerConfig;

use self::document::{Fault, Section};
use self::rate::{Bucket, Rate};
use self::sources::Sources;
use self::tls::Tls;
use self::users::{Doorkeeper, Users, Verdict};
use super::router::HEALTH_PATHS;

/// Between two looks at the files.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A file system that takes longer than this is not waited for: what is in force goes on being so meanwhile.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// Why a web configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("web configuration file {}{fault}", file.display())]
pub struct WebConfigError {
    file: PathBuf,
    fault: Fault,
}

/// Why the port cannot be secured.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The file is at fault.
    #[error(transparent)]
    Config(#[from] WebConfigError),
    /// The system has no random numbers.
    #[error("credentials cannot be checked, since the system gives no random numbers")]
    Random,
}

/// What holds for everybody who connects or asks.
struct Rules {
    tls: Option<Tls>,
    users: Users,
    headers: Vec<(HeaderName, HeaderValue)>,
    rate: Option<Rate>,
}

impl Rules {
    fn read(file: &Path, sources: &mut Sources) -> Result<Self, Fault> {
        let text = sources.read(file)?;
        let text = std::str::from_utf8(&text).map_err(|_| Fault::Syntax("it is not UTF-8".into()))?;
        let known = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];
        let mut document = Section::document(text, &known)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let tls = Tls::read(document.section("tls_server_config", &tls::KEYS)?, folder, sources)?;
        let mut http = document.section("http_server_config", &["http2", "headers"])?;
        if http.flag("http2")? == Some(true) {
            return Err(http.fault("http2", "true is not supported; HTTP/1.1 is what is served"));
        }
        Ok(Self {
            tls,
            headers: response_headers(&mut http)?,
            users: Users::read(&mut document)?,
            rate: Rate::read(&mut document)?,
        })
    }

    /// Refuses rules that would open the port wider than these do, as a file that is being written, or was emptied by
    /// accident, would.
    fn admit_successor(&self, successor: &Self) -> Result<(), Fault> {
        let refuse = |key: &str, what: &str| {
            let fault = format!("{what} would be gone, which takes a restart");
            Err(Fault::Key { key: key.into(), fault })
        };
        match (&self.tls, &successor.tls) {
            (Some(_), None) => return refuse("tls_server_config", "TLS"),
            (Some(before), Some(after)) if after.clients < before.clients => {
                return refuse("tls_server_config.client_auth_type", "the verification of clients");
            }
            (Some(before), Some(after)) if before.names_matter && !after.names_matter => {
                return refuse("tls_server_config.client_allowed_sans", "the names that clients must have");
            }
            _ => {}
        }
        if successor.users.is_empty() && !self.users.is_empty() {
            return refuse("basic_auth_users", "the last user");
        }
        Ok(())
    }
}

/// `http_server_config.headers`: the reference allows these, some of them with certain values only.
fn response_headers(http: &mut Section) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    const ALLOWED: [(&str, HeaderName, &[&str]); 5] = [
        ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY, &[]),
        ("X-Frame-Options", header::X_FRAME_OPTIONS, &["deny", "sameorigin"]),
        ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
        ("X-XSS-Protection", header::X_XSS_PROTECTION, &[]),
        ("Strict-Transport-Security", header::STRICT_TRANSPORT_SECURITY, &[]),
    ];
    let mut section = http.section("headers", &ALLOWED.each_ref().map(|(name, ..)| *name))?;
    let mut headers = Vec::new();
    for (key, name, values) in ALLOWED {
        let Some(value) = section.text(key)? else { continue };
        if !values.is_empty() && !values.contains(&value.as_str()) {
            return Err(section.fault(key, format!("must be {}", values.join(" or "))));
        }
        let value = HeaderValue::from_str(&value)
            .map_err(|_| section.fault(key, "has a character that an HTTP header cannot carry"))?;
        headers.push((name, value));
    }
    Ok(headers)
}

/// Guards a port.
pub struct Security {
    /// `None` where there is no file: then nothing is asked of anybody.
    watch: Option<Watch>,
    rules: RwLock<Arc<Rules>>,
    /// There is one where there is a file, which may come to name users.
    doorkeeper: Option<Arc<Doorkeeper>>,
    bucket: Bucket,
}

/// The files behind the rules.
struct Watch {
    file: PathBuf,
    /// What was read last, whether or not it is in force.
    read: Mutex<Sources>,
    started: Instant,
    /// Milliseconds from the start to the next look.
    next_look: AtomicU64,
    /// A file system that hangs is to hold one thread, not one more every second.
    is_looking: AtomicBool,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").finish_non_exhaustive()
    }
}

impl Security {
    /// The rules of a file; without one, none.
    pub fn load(file: Option<&Path>) -> Result<Arc<Self>, SecurityError> {
        let mut read = Sources::default();
        let rules = match file {
            Some(file) => {
                Rules::read(file, &mut read).map_err(|fault| WebConfigError { file: file.to_owned(), fault })?
            }
            None => Rules { tls: None, users: Users::default(), headers: Vec::new(), rate: None },
        };
        let watch = file.map(|file| Watch {
            file: file.to_owned(),
            read: Mutex::new(read),
            started: Instant::now(),
            next_look: AtomicU64::new(0),
            is_looking: AtomicBool::new(false),
        });
        let doorkeeper = file.map(|_| Doorkeeper::new()).transpose().map_err(|_| SecurityError::Random)?;
        Ok(Arc::new(Self {
            watch,
            rules: RwLock::new(Arc::new(rules)),
            doorkeeper: doorkeeper.map(Arc::new),
            bucket: Bucket::default(),
        }))
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether TLS is spoken.
    pub(super) fn speaks_tls(&self) -> bool {
        self.rules().tls.is_some()
    }

    /// The rules as the files have them now, give or take a second.
    async fn rules_now(self: &Arc<Self>) -> Arc<Rules> {
        if self.watch.as_ref().is_some_and(Watch::is_due) {
            let security = Arc::clone(self);
            // Whoever comes meanwhile goes by the rules in force.
            let _ = timeout(LOOK_PATIENCE, spawn_blocking(move || security.look())).await;
        }
        self.rules()
    }

    fn look(&self) {
        let Some(watch) = &self.watch else { return };
        let _looking = Looking(watch);
        let mut read = watch.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !read.may_have_changed() {
            return;
        }
        let mut sources = Sources::after(&read);
        let rules = Rules::read(&watch.file, &mut sources);
        if sources.have_contents_of(&read) {
            sources.watch_too(std::mem::take(&mut read));
        } else {
            match rules.and_then(|rules| self.rules().admit_successor(&rules).map(|()| rules)) {
                Ok(rules) => {
                    if let Some(doorkeeper) = &self.doorkeeper {
                        doorkeeper.forget_all_but(&rules.users);
                    }
                    *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
                    tracing::info!(file = %watch.file.display(), "the web configuration has changed and is in force");
                }
                Err(fault) => {
                    let error = WebConfigError { file: watch.file.clone(), fault };
                    tracing::error!("{error}; what was in force before stays so");
                    sources.watch_too(std::mem::take(&mut read));
                }
            }
        }
        *read = sources;
    }

    /// The rules for somebody who connects.
    pub(super) async fn admit_connection(self: &Arc<Self>) -> Terms {
        Terms { security: Arc::clone(self), rules: self.rules_now().await }
    }

    /// Why a request is not answered, where it is not.
    async fn refusal(&self, rules: &Rules, headers: &HeaderMap) -> Option<Response<Body>> {
        if let Some(rate) = rules.rate
            && !self.bucket.take(rate, Instant::now())
        {
            return Some((StatusCode::TOO_MANY_REQUESTS, "too many requests\n").into_response());
        }
        let doorkeeper = self.doorkeeper.as_ref().filter(|_| !rules.users.is_empty())?;
        match doorkeeper.check(&rules.users, headers).await {
            Verdict::Admitted => None,
            Verdict::Refused => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"openai-cert-exporter\"")];
                Some((StatusCode::UNAUTHORIZED, challenge, "unauthorized\n").into_response())
            }
            Verdict::Busy => {
                let later = [(header::RETRY_AFTER, "1")];
                Some((StatusCode::SERVICE_UNAVAILABLE, later, "too many passwords are being checked\n").into_response())
            }
        }
    }
}

impl Watch {
    fn is_due(&self) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        now >= self.next_look.load(Ordering::Relaxed) && !self.is_looking.swap(true, Ordering::AcqRel)
    }
}

/// A look at the files, which ends whatever becomes of it.
struct Looking<'a>(&'a Watch);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let next = self.0.started.elapsed() + LOOK_AGAIN;
        self.0.next_look.store(u64::try_from(next.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.is_looking.store(false, Ordering::Release);
    }
}

/// What a connection was accepted under.
pub(super) struct Terms {
    security: Arc<Security>,
    rules: Arc<Rules>,
}

impl Terms {
    /// How TLS is spoken, where it is.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.rules.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Answers a request: with `answer` where the rules admit it.
    pub(super) async fn answer<E>(
        &self,
        request: Request<Body>,
        answer: impl AsyncFnOnce(Request<Body>) -> Result<Response<Body>, E>,
    ) -> Result<Response<Body>, E> {
        let security = &self.security;
        let rules = security.rules_now().await;
        let is_open = HEALTH_PATHS.contains(&request.uri().path());
        let refusal = if is_open { None } else { security.refusal(&rules, request.headers()).await };
        let mut response = match refusal {
            Some(refusal) => refusal,
            None => answer(request).await?,
        };
        let headers = response.headers_mut();
        for (name, value) in &rules.headers {
            headers.insert(name, value.clone());
        }
        // Who was verified by rules that are no longer in force is verified anew.
        if !Arc::ptr_eq(&rules, &self.rules) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
