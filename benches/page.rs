//! What a poll and a scrape cost, stage by stage and at three sizes: `cargo bench --bench page`.
//!
//! Compare within one run: the stages with each other, and the cost of a change with that of none.

#![expect(
    clippy::wildcard_imports,
    reason = "each module is a group of the report and uses all that the file has"
)]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run says so by panicking")]

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use openai_cert_exporter::exposition::Exposition;
use openai_cert_exporter::inventory::{
    Certificate, Inventory, Listing, Lists, Malformed, Project, ProjectFaults, ProjectList,
    RotationGroup, Snapshot, UnixSeconds,
};
use openai_cert_exporter::openai::{Next, Pager};
use openai_cert_exporter::poll_state::{PollResult, PollState, PollTiming};
use prometheus::Registry;
use regex::Regex;
use secrecy::SecretString;

/// An organization at its documented most, and projects that have some of its certificates.
#[derive(Clone, Copy)]
struct Size {
    projects: usize,
    /// Of each project.
    certificates: usize,
}

/// An organization alone, with a fleet, and with the largest fleet.
const SIZES: [Size; 3] = [
    Size { projects: 0, certificates: 0 },
    Size { projects: 400, certificates: 20 },
    Size { projects: 2_000, certificates: 50 },
];
/// Certificates of the organization.
const CERTIFICATES: usize = 50;
/// Seconds for each benchmark at each size.
const LONG_ENOUGH: u64 = 2;
const PAGE_SIZE: usize = 100;
/// When the first certificate begins.
const BEGIN: UnixSeconds = 1_700_000_000;
const NOW: f64 = 1_710_000_000.0;

fn main() {
    divan::main();
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CERTIFICATES}+{}x{}", self.projects, self.certificates)
    }
}

impl Size {
    /// Entries of all lists.
    fn entries(self) -> ItemsCount {
        ItemsCount::new(CERTIFICATES + self.projects * self.certificates)
    }
}

/// Two generations of each authority; every third certificate is not active.
fn certificates() -> Vec<Certificate> {
    let certificate = |number: usize| {
        let begin = BEGIN + i64::try_from(number).unwrap() * 3_601;
        Certificate {
            id: format!("cert_{:016x}", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).into(),
            name: Some(format!("service-{}-{}", number / 2, 2025 + number % 2).into()),
            active: !number.is_multiple_of(3),
            created_at: Some(begin - 60),
            valid_at: Some(begin),
            expires_at: Some(begin + 365 * 86_400),
            expires_at_from_pem: false,
            has_unreadable_date: false,
        }
    };
    (0..CERTIFICATES).map(certificate).collect()
}

/// Those of a project: other ones active than at the organization.
fn of_project(project: usize, size: Size) -> Vec<Certificate> {
    let certificate = |(number, certificate): (usize, Certificate)| Certificate {
        active: (project + number).is_multiple_of(2),
        ..certificate
    };
    certificates()
        .into_iter()
        .cycle()
        .skip(project)
        .take(size.certificates)
        .enumerate()
        .map(certificate)
        .collect()
}

fn list(certificates: Vec<Certificate>) -> Arc<Listing<Certificate>> {
    Arc::new(Listing::new(certificates, Malformed::default()))
}

fn lists(size: Size) -> Lists {
    let project = |number: usize| ProjectList {
        project: Project {
            id: format!("proj_{number:08}").into(),
            name: Some(format!("team-{number}").into()),
            archived: false,
        },
        certificates: list(of_project(number, size)),
    };
    Lists {
        organization: list(certificates()),
        projects: (0..size.projects).map(project).collect(),
        unread: Vec::new(),
        project_faults: ProjectFaults::default(),
    }
}

/// The lists as a poll finds them once one certificate has been deactivated.
fn lists_with_one_changed(size: Size) -> Lists {
    let mut certificates = certificates();
    certificates[CERTIFICATES / 2].active ^= true;
    Lists { organization: list(certificates), ..lists(size) }
}

/// Compiled once, as in the program.
static ROTATION_GROUP: LazyLock<RotationGroup> =
    LazyLock::new(|| RotationGroup::new(Regex::new("(?s)^(.+?)(?:-20[0-9]{2})*$").unwrap()));

/// The pages of a list, from bytes to a sorted list.
mod parse {
    use super::*;

    /// The pages in which the API lists certificates.
    fn bodies(certificates: &[Certificate]) -> Vec<String> {
        let pages = certificates.len().div_ceil(PAGE_SIZE);
        let body = |(number, page): (usize, &[Certificate])| {
            let mut body = String::from(r#"{"object":"list","data":["#);
            for (index, certificate) in page.iter().enumerate() {
                let Certificate { id, name, active, created_at, valid_at, expires_at, .. } =
                    certificate;
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
            write!(
                body,
                r#"],"first_id":"{first}","last_id":"{last}","has_more":{}}}"#,
                number + 1 < pages
            )
            .unwrap();
            body
        };
        certificates.chunks(PAGE_SIZE).enumerate().map(body).collect()
    }

    fn read(secret: &SecretString, bodies: &[String]) -> Listing<Certificate> {
        let mut pager = Pager::new(secret);
        let mut next = None;
        for body in bodies {
            next = Some(pager.push(body.as_bytes()).unwrap());
        }
        assert_eq!(next, Some(Next::Complete));
        pager.finish(None)
    }

    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn every_list(bencher: Bencher<'_, '_>, size: Size) {
        let secret = SecretString::from("sk-admin-benchmark");
        let projects = (0..size.projects).map(|project| of_project(project, size));
        let lists: Vec<_> =
            std::iter::once(certificates()).chain(projects).map(|list| bodies(&list)).collect();
        bencher
            .counter(size.entries())
            .counter(BytesCount::new(lists.iter().flatten().map(String::len).sum::<usize>()))
            .bench(|| {
                lists
                    .iter()
                    .map(|bodies| read(&secret, black_box(bodies)).items.len())
                    .sum::<usize>()
            });
    }
}

/// What follows from the lists.
mod conclude {
    use super::*;

    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn changed(bencher: Bencher<'_, '_>, size: Size) {
        let lists = lists(size);
        let input = || lists.clone();
        bencher
            .counter(size.entries())
            .with_inputs(input)
            .bench_values(|lists| Inventory::new(lists, &ROTATION_GROUP));
    }

    /// Each list has been compared with the one before already.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn unchanged(bencher: Bencher<'_, '_>, size: Size) {
        let before = Inventory::new_or_unchanged(None, lists(size), &ROTATION_GROUP);
        let input = || before.lists().clone();
        bencher.counter(size.entries()).with_inputs(input).bench_values(|lists| {
            Inventory::new_or_unchanged(Some(&before), lists, &ROTATION_GROUP)
        });
    }
}

/// The page.
mod page {
    use super::*;

    /// An exposition, and what it is asked for.
    struct Scraped {
        exposition: Exposition,
        state: Arc<PollState>,
        now: f64,
    }

    impl Scraped {
        fn new(size: Size) -> Self {
            let timing = PollTiming {
                interval: Duration::from_secs(300),
                timeout: Duration::from_secs(240),
            };
            let mut scraped = Self {
                exposition: Exposition::new(Registry::new()).unwrap(),
                state: Arc::new(PollState::new(
                    Instant::now() + Duration::from_secs(3_600),
                    timing,
                )),
                now: NOW,
            };
            scraped.read(Inventory::new_or_unchanged(None, lists(size), &ROTATION_GROUP));
            scraped
        }

        /// A poll has read every list.
        fn read(&mut self, inventory: Arc<Inventory>) {
            let projects_read_at = vec![self.now; inventory.projects().len()];
            let snapshot = Snapshot {
                inventory,
                organization_read_at: self.now,
                projects_listed_at: Some(self.now),
                projects_read_at,
            };
            let result = PollResult {
                ended_at: self.now,
                duration: Duration::from_secs(1),
                failed: Vec::new(),
            };
            Arc::make_mut(&mut self.state).record(Some(Arc::new(snapshot)), result);
        }

        fn inventory(&self) -> Arc<Inventory> {
            Arc::clone(&self.state.snapshot.as_ref().unwrap().inventory)
        }

        fn gzip(&self) -> usize {
            self.exposition.gzip(&self.state, self.now).unwrap().len()
        }

        fn text(&self) -> usize {
            self.exposition
                .text(&self.state, self.now)
                .unwrap()
                .map(|piece| black_box(piece).len())
                .sum()
        }

        /// Compresses the page again and again, each time after `change`.
        fn bench(mut self, bencher: Bencher<'_, '_>, mut change: impl FnMut(&mut Self)) {
            let bytes = self.gzip();
            bencher.counter(BytesCount::new(bytes)).bench_local(|| {
                change(&mut self);
                black_box(self.gzip())
            });
        }
    }

    /// A poll has found one certificate changed.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_changed(bencher: Bencher<'_, '_>, size: Size) {
        let scraped = Scraped::new(size);
        let changed =
            Inventory::new_or_unchanged(None, lists_with_one_changed(size), &ROTATION_GROUP);
        let mut inventories = [changed, scraped.inventory()].into_iter().cycle();
        scraped.bench(bencher, |scraped| {
            scraped.now += 1.0;
            inventories.by_ref().take(1).for_each(|inventory| scraped.read(inventory));
        });
    }

    /// A certificate has begun, or had not yet.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_epoch(bencher: Bencher<'_, '_>, size: Size) {
        let mut moments = [BEGIN as f64 - 1.0, NOW].into_iter().cycle();
        Scraped::new(size).bench(bencher, |scraped| {
            moments.by_ref().take(1).for_each(|moment| scraped.now = moment);
        });
    }

    /// A poll has read everything again and found it the same.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_read(bencher: Bencher<'_, '_>, size: Size) {
        Scraped::new(size).bench(bencher, |scraped| {
            scraped.now += 1.0;
            scraped.read(scraped.inventory());
        });
    }

    /// A second has passed.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_second(bencher: Bencher<'_, '_>, size: Size) {
        Scraped::new(size).bench(bencher, |scraped| scraped.now += 1.0);
    }

    /// Somebody else scrapes within the second.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn gzip_shared(bencher: Bencher<'_, '_>, size: Size) {
        Scraped::new(size).bench(bencher, |_| {});
    }

    /// Written as text, which nothing is kept of.
    #[divan::bench(args = SIZES, max_time = LONG_ENOUGH)]
    fn text(bencher: Bencher<'_, '_>, size: Size) {
        let scraped = Scraped::new(size);
        let bytes = scraped.text();
        bencher.counter(BytesCount::new(bytes)).bench_local(|| scraped.text());
    }
}
