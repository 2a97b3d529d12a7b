//! Starts the real binary, watches what it says, and ends it.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::client;
use crate::page::Page;
use crate::tls::Folder;
use crate::wait::{DEADLINE, until};

/// The admin key of every test: unlike anything else, so that it can be searched for.
pub(crate) const KEY: &str = "sk-admin-PLANTED7f3Qz9xK2mW8";
/// How the binary is to be started: by default with an empty environment but for the key, and all logs.
pub(crate) struct Launch {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    shell: Option<String>,
}

impl Launch {
    /// With these arguments and nothing else: no key, no address, the default logs.
    pub(crate) fn bare(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            shell: None,
        }
    }

    /// The demo, with the default logs.
    pub(crate) fn demo() -> Self {
        let launch = Self::bare(&["demo", "--web.listen-address=127.0.0.1:0"]);
        // One that is killed leaves its clients' files.
        launch.env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
    }

    /// An exporter that polls `base_url` once, retries nothing, and says everything there is to say.
    pub(crate) fn once(base_url: &str) -> Self {
        Self::bare(&["--web.listen-address=127.0.0.1:0", "--log.level=trace"])
            .env("OPENAI_ADMIN_KEY", KEY)
            .env("OPENAI_BASE_URL", base_url)
            .set("api.max_retries", "0")
            .set("poll.interval", "1h")
    }

    /// The same, but polls again and again.
    pub(crate) fn often(base_url: &str) -> Self {
        Self::once(base_url).set("poll.interval", "100ms")
    }

    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn without_arg(mut self, argument: &str) -> Self {
        self.arguments.retain(|other| other != argument);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// Sets a key of the configuration through its environment variable.
    pub(crate) fn set(self, key: &str, value: &str) -> Self {
        self.env(&variable(key), value)
    }

    /// Projects are polled too.
    pub(crate) fn projects(self) -> Self {
        self.set("poll.projects", "true")
    }

    /// Under the folder's web configuration.
    pub(crate) fn web_config(self, folder: &Folder) -> Self {
        self.arg(&format!("--web.config.file={}", folder.web_config().display()))
    }

    /// In the place of a shell that has run this.
    pub(crate) fn under(mut self, shell: &str) -> Self {
        self.shell = Some(format!("{shell} && exec \"$0\" \"$@\""));
        self
    }

    fn spawn(self) -> Process {
        let binary = env!("CARGO_BIN_EXE_openai-cert-exporter");
        let mut command = match self.shell {
            None => Command::new(binary),
            Some(script) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &script, binary]);
                shell
            }
        };
        let mut child = command
            .args(self.arguments)
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = Output::collect(child.stdout.take().unwrap());
        let stderr = Output::collect(child.stderr.take().unwrap());
        Process { child, stdout, stderr }
    }

    /// Starts a process that is to end by itself.
    pub(crate) async fn until_it_ends(self) -> Ended {
        self.spawn().ended().await
    }

    /// Starts a process that `signal` ends once it is `ready`.
    pub(crate) async fn until_signal(self, signal: Signal, ready: impl Future) -> Ended {
        let process = self.spawn();
        ready.await;
        process.signal(signal);
        process.ended().await
    }

    /// Starts an exporter that listens where it was told to, and waits until it does.
    pub(crate) async fn start_at(self, address: SocketAddr) -> Exporter {
        let process = self.spawn();
        until("the exporter listens", async || tokio::net::TcpStream::connect(address).await.ok())
            .await;
        Exporter { process, address, http: client() }
    }

    /// Starts an exporter and waits until it says where it listens.
    pub(crate) async fn start(self) -> Exporter {
        let mut process = self.spawn();
        let address = until("the exporter listens", async || {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("ended at the start with {status}:\n{}", process.stderr.text());
            }
            address_in(&process.stderr.text())
        })
        .await;
        let http = client();
        Exporter { process, address, http }
    }
}

/// The environment variable of a key of the configuration.
pub(crate) fn variable(key: &str) -> String {
    format!("OPENAI_CERT_EXPORTER__{}", key.to_uppercase().replace('.', "__"))
}

/// Where the log says that metrics are served: in a line of text or of JSON.
fn address_in(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("serving /metrics"))?;
    let rest = ["address=", "\"address\":\""].iter().find_map(|mark| line.split_once(mark))?.1;
    rest.split([' ', '"']).next()?.parse().ok()
}

/// A free address on loopback that nobody else takes before it is used: its host is made of this process's identifier
/// and of a number that each user of this function has of its own.
pub(crate) fn free_address(user: u8) -> SocketAddr {
    let [.., middle, low] = std::process::id().to_be_bytes();
    let host = std::net::Ipv4Addr::new(127, user, middle, low);
    std::net::TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

/// What comes out of a pipe, as it comes.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn collect(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = tokio::spawn(async move {
            let mut chunk = [0; 16 << 10];
            while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
                sink.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
            .into_owned()
    }

    async fn whole(&mut self) -> String {
        timeout(DEADLINE, &mut self.reader).await.expect("the pipe is closed").unwrap();
        self.text()
    }
}

/// A process of the binary. Whatever it says, the admin key is not in it.
struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap()));
        kill_process(pid.expect("the process runs"), signal).unwrap();
    }

    async fn ended(mut self) -> Ended {
        let status = timeout(DEADLINE, self.child.wait()).await.expect("the process ends").unwrap();
        let ended =
            Ended { status, stdout: self.stdout.whole().await, stderr: self.stderr.whole().await };
        assert_no_key("standard output", &ended.stdout);
        assert_no_key("standard error", &ended.stderr);
        ended
    }
}

/// Fails where `text` holds the admin key.
pub(crate) fn assert_no_key(place: &str, text: &str) {
    assert!(!text.contains(KEY), "the admin key is in {place}:\n{text}");
}

/// A process that is over.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// An exporter that serves.
pub(crate) struct Exporter {
    process: Process,
    pub(crate) address: SocketAddr,
    http: reqwest::Client,
}

impl Exporter {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        match self.http.get(self.url(path)).send().await {
            Ok(response) => response,
            Err(error) => {
                let log = self.log();
                let last: Vec<_> = log.lines().rev().take(20).collect();
                panic!("{path}: {error:?}, after it had said, the last first:\n{}", last.join("\n"))
            }
        }
    }

    pub(crate) async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }

    /// The metrics page, which must be valid and free of the key.
    pub(crate) async fn page(&self) -> Page {
        let response = self.get("/metrics").await;
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        assert_no_key("the metrics page", &text);
        Page::parse(&text).unwrap_or_else(|fault| panic!("the metrics page is not valid: {fault}"))
    }

    /// The metrics page, once `condition` holds for it.
    pub(crate) async fn page_when(&self, what: &str, condition: impl Fn(&Page) -> bool) -> Page {
        until(what, async || {
            let page = self.page().await;
            condition(&page).then_some(page)
        })
        .await
    }

    /// The metrics page after at least `count` polls.
    pub(crate) async fn page_after_polls(&self, count: u32) -> Page {
        let what = format!("{count} polls are over; so far it said:\n{}", self.log());
        self.page_when(&what, |page| page.polls() >= f64::from(count)).await
    }

    /// The metrics page once `count` more polls are over than are now. Two tell of all that was changed before.
    pub(crate) async fn page_after_more_polls(&self, count: u32) -> Page {
        let enough = self.page().await.polls() + f64::from(count);
        self.page_when("more polls are over", |page| page.polls() >= enough).await
    }

    /// The metrics page, once a poll has succeeded and none has failed since.
    pub(crate) async fn page_when_up(&self) -> Page {
        self.page_when("a poll succeeds", Page::is_up).await
    }

    /// What stands in the log so far.
    pub(crate) fn log(&self) -> String {
        self.process.stderr.text()
    }

    /// Lines of the log so far that contain `text`.
    pub(crate) fn log_lines(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// A line of the log that contains `text`, once there is one.
    pub(crate) async fn line_saying(&self, text: &str) -> String {
        until(&format!("it says: {text}"), async || self.log_lines(text).pop()).await
    }

    pub(crate) fn stdout(&self) -> String {
        self.process.stdout.text()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The most memory that the process has had so far.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id().unwrap()))
                .unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The milliseconds that the process has taken of the processors so far, in steps of ten.
    pub(crate) fn cpu_time_ms(&self) -> u64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.process.child.id().unwrap()))
                .unwrap();
        // The fields after the name in parentheses: the twelfth and thirteenth are the times in user and system mode.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        10 * fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()
    }

    /// Waits for the end of a process that was told to end.
    pub(crate) async fn ended(self) -> Ended {
        self.process.ended().await
    }

    /// Ends it, and searches all that it said for the key.
    pub(crate) async fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_no_key("standard output", &self.stdout.text());
            assert_no_key("standard error", &self.stderr.text());
        }
    }
}
