//! A wall clock that jumps, as after a pause of the machine or a correction: what is told follows it at once, both ways.
//!
//! The process sees the system's clock through a function of this test's own, which adds what stands in a file.
#![cfg(target_os = "linux")]

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Exporter, Launch};
use crate::page::Page;
use crate::upstream::{Upstream, answer, certificate_with, page};

const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    static volatile long long *offset;
    if (!real) {
        int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
        offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int outcome = real(clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += *offset;
    return outcome;
}
"#;

/// A clock that can be set off from the system's.
struct Clock {
    folder: TempDir,
    offset: std::fs::File,
}

impl Clock {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let source = folder.path().join("clock.c");
        std::fs::write(&source, CLOCK).unwrap();
        // The linker of every Rust toolchain here.
        let compiled = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&folder.path().join("clock.so"), &source])
            .arg("-ldl")
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let offset = std::fs::File::create(folder.path().join("offset")).unwrap();
        offset.write_all_at(&[0; 8], 0).unwrap();
        Self { folder, offset }
    }

    fn launch(&self, base_url: &str) -> Launch {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        Launch::often(base_url).env("LD_PRELOAD", &path("clock.so")).env("CLOCK_OFFSET", &path("offset"))
    }

    /// It is this many days off from now on.
    fn is_off_by(&self, days: i64) {
        self.offset.write_all_at(&(days * DAY).to_ne_bytes(), 0).unwrap();
    }
}

const DAY: i64 = 86_400;
const POLLS: &str = "openai_cert_exporter_polls_total";

/// The page as a scraper asks for it.
async fn compressed(exporter: &Exporter) -> Page {
    let request = reqwest::Client::builder().no_proxy().no_gzip().tls_certs_only([]).build().unwrap();
    let answer = request.get(exporter.url("/metrics")).header("accept-encoding", "gzip").send().await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*answer.bytes().await.unwrap()).read_to_string(&mut text).unwrap();
    Page::parse(&text).unwrap()
}

#[tokio::test]
async fn a_clock_that_jumps_is_followed_both_ways() {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let valid = |id, from: i64, to: i64| {
        certificate_with(
            id,
            json!({"certificate_details": {"valid_at": now + from * DAY, "expires_at": now + to * DAY}}),
        )
    };
    let list = [valid("first", -100, 10), valid("second", 20, 40)];
    let upstream = Upstream::always(answer(&page(&list, false))).await;
    let clock = Clock::new();
    let exporter = clock.launch(&upstream.base_url()).start().await;
    exporter.page_after_polls(1).await;
    // (Days off, days left of the first, anchors that are valid, days from now to the end of the runway.)
    for (off, left, anchors, runway) in [
        (0, 10.0, 1.0, Some(10)),
        (15, -5.0, 0.0, Some(10)),
        (30, -20.0, 1.0, Some(40)),
        (0, 10.0, 1.0, Some(10)),
        (-50, 60.0, 1.0, Some(10)),
        (-200, 210.0, 0.0, None),
        (36_500, -36_490.0, 0.0, Some(40)),
        (-10_000, 10_010.0, 0.0, None),
        (0, 10.0, 1.0, Some(10)),
    ] {
        clock.is_off_by(off);
        let polls = exporter.page().await.one(POLLS);
        for (how, page) in [("as text", exporter.page().await), ("compressed", compressed(&exporter).await)] {
            let what = format!("{off} days off, {how}");
            let days = page.of("first", "openai_certificate_days_until_expiry").unwrap();
            assert!((days - left).abs() < 0.01, "{what}: {days}");
            assert_eq!(page.one("openai_mtls_active_certificates"), anchors, "{what}");
            let end = page.find("openai_mtls_runway_end_timestamp_seconds", &[]);
            #[expect(clippy::cast_precision_loss, reason = "seconds of these years")]
            let expected = runway.map(|days| (now + days * DAY) as f64);
            assert_eq!(end, expected, "{what}");
        }
        // Polls go by another clock.
        let after = exporter.page_when("polls go on", |page| page.one(POLLS) >= polls + 2.0).await;
        assert_eq!(after.one("openai_cert_exporter_up"), 1.0);
        #[expect(clippy::cast_precision_loss, reason = "seconds of these years")]
        let late = after.one("openai_cert_exporter_last_success_timestamp_seconds") - (now + off * DAY) as f64;
        assert!((-1.0..120.0).contains(&late), "{off} days off: {late}");
        assert_eq!((exporter.status("/healthz").await, exporter.status("/readyz").await), (200, 200), "{off} days off");
    }
}
