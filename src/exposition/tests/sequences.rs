//! Whatever happens between two scrapes.

use std::sync::Arc;

use prometheus::IntCounter;
use proptest::prelude::*;
use proptest::sample::Index;

use super::Scraped;
use crate::fixture::{NOW, list};
use crate::inventory::{
    Certificate, Listing, Lists, Malformed, Project, ProjectFaults, ProjectList,
};
use crate::poll_state::FailureReason;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Read(Lists, Vec<f64>),
    ReadAgain(Vec<f64>),
    Fail(Vec<FailureReason>),
    /// Reloads the configuration with another rotation group, and reads the same again.
    Regroup(&'static str),
    /// Seconds, backwards too.
    Pass(f64),
    /// To an instant at which a certificate begins or ends, or next to it.
    Turn(Index, f64),
    /// Counts something in the registry; every second time for the first time.
    Count(bool),
}

impl Scraped {
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Read(lists, ago) => self.read(lists, &ago),
            Step::ReadAgain(ago) => {
                if let Some(lists) = self.lists() {
                    self.read(lists, &ago);
                }
            }
            Step::Fail(reasons) => self.polled(None, &reasons),
            Step::Regroup(pattern) => {
                self.pattern = pattern;
                self.lists().into_iter().for_each(|lists| self.read(lists, &[]));
            }
            Step::Pass(seconds) => self.now += seconds,
            Step::Turn(which, offset) => {
                let lists = self.lists().unwrap_or_default();
                let projects = lists.projects.iter().map(|list| &list.certificates);
                let certificates =
                    projects.chain([&lists.organization]).flat_map(|list| &list.items);
                let turns = certificates.flat_map(|c| [c.valid_at, c.expires_at]).flatten();
                // A float has no fractions of a second beyond these.
                let turns: Vec<_> = turns.filter(|turn| turn.abs() < 1 << 40).collect();
                if !turns.is_empty() {
                    self.now = *which.get(&turns) as f64 + offset;
                }
            }
            Step::Count(is_first) => {
                // Within the second, the page is the one that was made.
                self.now += 1.0;
                [&self.lines, &self.process].into_iter().for_each(IntCounter::inc);
                self.requests.with_label_values(&["200"]).inc();
                if is_first {
                    self.between.with_label_values(&["\"\\\n"]).inc();
                }
            }
        }
    }
}

fn some_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-b]-[a-c]",
        "[ -~]{1,40}",
        "\\PC{1,10}",
        "[\\\\\"\n\r\t]{1,6}",
        Just("a\0b".to_owned()),
        "[aé🔒]{200,600}",
    ]
}

fn some_list() -> impl Strategy<Value = Listing<Certificate>> {
    let instant =
        || prop_oneof![8 => prop::option::of(NOW..NOW + 100), 1 => prop::option::of(any::<i64>())];
    let facts = (prop::option::of(some_text()), any::<bool>(), [instant(), instant(), instant()]);
    let named = |(id, (name, active, [created_at, valid_at, expires_at])): (
        String,
        (Option<String>, bool, [_; 3]),
    )| {
        Certificate {
            id: id.into(),
            name: name.map(Into::into),
            active,
            created_at,
            valid_at,
            expires_at,
            expires_at_from_pem: false,
            has_unreadable_date: false,
        }
    };
    let hidden = prop_oneof![3 => Just(0), 1 => 1..3_u64];
    (prop::collection::btree_map("[a-d\"\\\\]{1,2}", facts, 0..6), hidden).prop_map(
        move |(facts, hidden)| Listing { hidden, ..list(facts.into_iter().map(named).collect()) },
    )
}

fn some_lists() -> impl Strategy<Value = Lists> {
    let project = (prop::option::of(some_text()), some_list());
    let faults = prop_oneof![3 => Just(0), 1 => 1..3_u64];
    (some_list(), prop::collection::btree_map("[p-s]", project, 0..4), faults).prop_map(
        |(organization, projects, faults)| {
            let list = |(id, (name, list)): (String, (Option<String>, _))| ProjectList {
                project: Project { id: id.into(), name: name.map(Into::into), archived: false },
                certificates: Arc::new(list),
            };
            let mut malformed = Malformed::default();
            (0..faults).for_each(|_| malformed.add("id"));
            Lists {
                organization: Arc::new(organization),
                projects: projects.into_iter().map(list).collect(),
                unread: Vec::new(),
                project_faults: ProjectFaults {
                    malformed,
                    duplicates: faults,
                    vanished: faults,
                    unselected: 0,
                    hidden: 0,
                },
            }
        },
    )
}

fn some_step() -> impl Strategy<Value = Step> {
    let ago = || prop::collection::vec(0.0..300.0_f64, 0..4);
    prop_oneof![
        3 => (some_lists(), ago()).prop_map(|(lists, ago)| Step::Read(lists, ago)),
        1 => ago().prop_map(Step::ReadAgain),
        1 => prop::sample::subsequence(vec![FailureReason::Server, FailureReason::Decode], 0..=2).prop_map(Step::Fail),
        1 => prop::sample::select(vec!["^([a-z])", "(-)", "none"]).prop_map(Step::Regroup),
        2 => prop_oneof![0.0..2.0, -100.0..100.0, -4e9..4e9_f64].prop_map(Step::Pass),
        2 => (any::<Index>(), -1.0..1.0_f64).prop_map(|(which, offset)| Step::Turn(which, offset)),
        1 => any::<bool>().prop_map(Step::Count),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn page_is_what_the_library_writes_whatever_came_before(steps in prop::collection::vec(some_step(), 1..16)) {
        let mut scraped = Scraped::new();
        scraped.check();
        for step in steps {
            scraped.take(step);
            scraped.check();
        }
    }
}
