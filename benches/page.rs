//! What a poll and a scrape cost, stage by stage and at three sizes: `cargo bench --bench page`.
//!
//! Compare within one run: the stages with each other, and the cost of a change with that of none.

#![expect(clippy::wildcard_imports, reason = "each module is a group of the report and uses all that the file has")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run says so by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use openai_cert_exporter::exposition::Exposition;
use openai_cert_exporter::inventory::{
    Attempt, Certificate, Listing, Liveness, Malformed, Pace, Projects, RotationGroup, Snapshot, State,
};
use openai_cert_exporter::openai::{Step, Walk};
use prometheus::Registry;
use regex::Regex;
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// An organization at its documented most; a fleet; a thousand projects of fifty.
const SIZES: [usize; 3] = [50, 5_000, 50_000];
/// Seconds for each benchmark at each size.
const LONG_ENOUGH: u64 = 2;
const PAGE_SIZE: usize = 100;

fn main() {
    divan::main();
}

/// Two generations of each authority; every third certificate is not active.
fn certificates(count: usize) -> Vec<Certificate> {
    let certificate = |number: usize| {
        let begin = 1_700_000_000 + i64::try_from(number).unwrap() * 3_601;
        Certificate {
            id: format!("cert_{:016x}", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).into(),
            name: Some(format!("service-{}-{}", number / 2, 2025 + number % 2).into()),
            active: !number.is_multiple_of(3),
            created_at: Some(begin - 60),
            valid_at: Some(begin),
            expires_at: Some(begin + 365 * 86_400),
        }
    };
    (0..count).map(certificate).collect()
}

/// The pages in which the API lists them.
fn bodies(certificates: &[Certificate]) -> Vec<String> {
    let pages = certificates.len().div_ceil(PAGE_SIZE);
    let body = |(number, page): (usize, &[Certificate])| {
        let mut body = String::from(r#"{"object":"list","data":["#);
        for (index, certificate) in page.iter().enumerate() {
            let Certificate { id, name, active, created_at, valid_at, expires_at } = certificate;
            let comma = if index == 0 { "" } else { "," };
            write!(
                body,
                r#"{comma}{{"object":"organization.certificate","id":"{id}","name":"{}","active":{active},"created_at":{},"certificate_details":{{"valid_at":{},"expires_at":{}}}}}"#,
                name.as_deref().unwrap(),
                created_at.unwrap(),
                valid_at.unwrap(),
                expires_at.unwrap(),
            )
            .unwrap();
        }
        let (first, last) = (&page[0].id, &page[page.len() - 1].id);
        write!(body, r#"],"first_id":"{first}","last_id":"{last}","has_more":{}}}"#, number + 1 < pages).unwrap();
        body
    };
    certificates.chunks(PAGE_SIZE).enumerate().map(body).collect()
}

type List = Arc<Listing<Certificate>>;

fn list(certificates: Vec<Certificate>) -> List {
    Arc::new(Listing::new(certificates, Malformed::default()))
}

/// The list as a poll finds it once one certificate has been deactivated.
fn with_one_changed(certificates: &[Certificate], before: &List) -> List {
    // In the order in which they came, each shared with the list before but the one.
    let mut changed: Vec<_> = (0..certificates.len()).map(|number| Arc::clone(before.nth(number).unwrap())).collect();
    let middle = changed.len() / 2;
    let certificate = Certificate { active: !certificates[middle].active, ..certificates[middle].clone() };
    changed[middle] = Arc::new(certificate);
    Listing::following(Some(before), changed, Malformed::default(), Box::default())
}

/// Compiled once, as in the program.
static ROTATION_GROUP: LazyLock<RotationGroup> =
    LazyLock::new(|| RotationGroup::new(Regex::new("(?s)^(.+?)(?:-20[0-9]{2})*$").unwrap()));

fn snapshot(list: &List, before: Option<&Snapshot>) -> Snapshot {
    Snapshot::new(Arc::clone(list), Projects::default(), &ROTATION_GROUP, before)
}

/// Every page of a list, from bytes to a sorted list.
mod parse {
    use super::*;

    fn walk(secret: &SecretString, bodies: &[String], before: Option<&List>) -> List {
        let mut walk = Walk::new(secret, before);
        let mut last = None;
        for body in bodies {
            last = Some(walk.take(body.as_bytes()).unwrap());
        }
        assert_eq!(last, Some(Step::Complete));
        walk.finish()
    }

    fn run(bencher: Bencher<'_, '_>, size: usize, again: bool) {
        let secret = SecretString::from("sk-admin-benchmark");
        let bodies = bodies(&certificates(size));
        let before = again.then(|| walk(&secret, &bodies, None));
        bencher
            .counter(ItemsCount::new(size))
            .counter(BytesCount::new(bodies.iter().map(String::len).sum::<usize>()))
            .bench(|| walk(&secret, black_box(&bodies), before.as_ref()));
    }

    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn first(bencher: Bencher<'_, '_>, size: usize) {
        run(bencher, size, false);
    }

    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn unchanged(bencher: Bencher<'_, '_>, size: usize) {
        run(bencher, size, true);
    }
}

/// What follows from a list.
mod conclude {
    use super::*;

    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn first(bencher: Bencher<'_, '_>, size: usize) {
        let list = list(certificates(size));
        bencher.counter(ItemsCount::new(size)).bench(|| snapshot(black_box(&list), None));
    }

    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn unchanged(bencher: Bencher<'_, '_>, size: usize) {
        let list = list(certificates(size));
        let before = snapshot(&list, None);
        bencher.counter(ItemsCount::new(size)).bench(|| snapshot(black_box(&list), Some(&before)));
    }

    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn one_changed(bencher: Bencher<'_, '_>, size: usize) {
        let certificates = certificates(size);
        let list = list(certificates.clone());
        let before = snapshot(&list, None);
        let changed = with_one_changed(&certificates, &list);
        bencher.counter(ItemsCount::new(size)).bench(|| snapshot(black_box(&changed), Some(&before)));
    }
}

/// The page.
mod page {
    use super::*;

    /// An exposition, and how it comes to know of polls.
    struct Shown {
        runtime: Runtime,
        sender: watch::Sender<State>,
        exposition: Exposition,
    }

    impl Shown {
        fn new() -> Self {
            let liveness = Liveness { due: Instant::now() + Duration::from_secs(3_600) };
            let pace = Pace { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
            let (sender, receiver) = watch::channel(State::new(liveness, pace));
            let exposition = Exposition::new(Registry::new(), receiver).unwrap();
            Self { runtime: Builder::new_current_thread().build().unwrap(), sender, exposition }
        }

        /// A poll has ended; without a snapshot, the last one stays. The next page is another one, as it is when the
        /// second is another.
        fn polled(&self, snapshot: Option<&Arc<Snapshot>>) {
            let (failures, fault) = (BTreeSet::new(), None);
            let attempt = Attempt { ended_at: 1.7e9, duration: Duration::from_secs(1), failures, fault };
            self.sender.send_modify(|state| state.record(snapshot.map(Arc::clone), attempt));
        }

        fn gzip(&self) {
            black_box(self.runtime.block_on(self.exposition.gzip()).unwrap());
        }
    }

    fn shared(list: &List) -> Arc<Snapshot> {
        Arc::new(snapshot(list, None))
    }

    /// Compressed for the first time.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_first(bencher: Bencher<'_, '_>, size: usize) {
        let snapshot = shared(&list(certificates(size)));
        let shown = || {
            let shown = Shown::new();
            shown.polled(Some(&snapshot));
            shown
        };
        bencher.counter(ItemsCount::new(size)).with_inputs(shown).bench_local_refs(|shown| shown.gzip());
    }

    /// Compressed after a poll that found one certificate changed.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_one_changed(bencher: Bencher<'_, '_>, size: usize) {
        let certificates = certificates(size);
        let list = list(certificates.clone());
        let changed = with_one_changed(&certificates, &list);
        let snapshots = [shared(&list), shared(&changed)];
        let shown = Shown::new();
        let mut polls = 0;
        shown.polled(Some(&snapshots[1]));
        shown.gzip();
        bencher
            .counter(ItemsCount::new(size))
            .with_inputs(|| {
                shown.polled(Some(&snapshots[polls % 2]));
                polls += 1;
            })
            .bench_local_values(|()| shown.gzip());
    }

    /// Compressed in another second, or after a poll that found nothing changed: only the days are written anew.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_later(bencher: Bencher<'_, '_>, size: usize) {
        let shown = Shown::new();
        shown.polled(Some(&shared(&list(certificates(size)))));
        shown.gzip();
        bencher.counter(ItemsCount::new(size)).with_inputs(|| shown.polled(None)).bench_local_values(|()| shown.gzip());
    }

    /// Written as text, which nothing is kept of.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn text(bencher: Bencher<'_, '_>, size: usize) {
        let shown = Shown::new();
        shown.polled(Some(&shared(&list(certificates(size)))));
        let bytes: usize = shown.exposition.text().unwrap().map(|piece| piece.len()).sum();
        bencher
            .counter(ItemsCount::new(size))
            .counter(BytesCount::new(bytes))
            .bench_local(|| shown.exposition.text().unwrap().map(|piece| black_box(piece).len()).sum::<usize>());
    }
}
