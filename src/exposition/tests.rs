//! The page against the library: what is written here by hand, and compressed in parts, must be byte for byte what a
//! collector in a registry gives for the same snapshot and instant.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;

use flate2::read::GzDecoder;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};
use proptest::prelude::*;
use regex::Regex;

use super::TextPage;
use super::gzip::{self, Compressor};
use super::kept::Kept;
use super::large::{GROUPS, second};
use crate::inventory::{
    Certificate, Listing, Malformed, Project, ProjectCertificates, Projects, RotationGroup, Snapshot, days_until,
};

/// The same facts through the library. It asks the snapshot on its own, and shares only names and help texts.
struct Reference {
    snapshot: Arc<Snapshot>,
    now: f64,
    descs: Vec<Desc>,
}

type Labels = Vec<(&'static str, String)>;
type Series = Vec<(Labels, Option<f64>)>;

impl Reference {
    fn page(snapshot: &Arc<Snapshot>, now: f64) -> String {
        let desc = |name: &str| Desc::new(name.into(), "help".into(), Vec::new(), HashMap::new()).unwrap();
        let descs = GROUPS.concat().iter().map(|family| desc(family.name)).collect();
        let registry = Registry::new();
        registry.register(Box::new(Self { snapshot: Arc::clone(snapshot), now, descs })).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    fn family(name: &'static str, series: &Series) -> MetricFamily {
        let metric = |(labels, value): &(Labels, Option<f64>)| {
            let pair = |(name, value): &(&str, String)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value.replace('\0', "\u{fffd}"));
                pair
            };
            let mut gauge = Gauge::default();
            gauge.set_value((*value)?);
            let mut metric = Metric::from_label(labels.iter().map(pair).collect());
            metric.set_gauge(gauge);
            Some(metric)
        };
        let help = GROUPS.concat().iter().find(|family| family.name == name).unwrap().help;
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(series.iter().filter_map(metric).collect());
        family
    }
}

impl Collector for Reference {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let certificate = |c: &Certificate| -> Labels {
            vec![
                ("certificate_id", c.id.to_string()),
                ("certificate_name", c.name.as_deref().unwrap_or("").to_string()),
            ]
        };
        let project = |p: &Project| -> Labels {
            vec![("project_id", p.id.to_string()), ("project_name", p.name.as_deref().unwrap_or("").to_string())]
        };
        let mut families: HashMap<&'static str, Series> = HashMap::new();
        let mut add = |name, labels, value| families.entry(name).or_default().push((labels, value));
        for c in &self.snapshot.organization().items {
            add("openai_certificate_active", certificate(c), Some(f64::from(u8::from(c.active))));
            add("openai_certificate_created_timestamp_seconds", certificate(c), c.created_at.map(|at| at as f64));
            let days = c.expires_at.map(|at| days_until(at, self.now));
            add("openai_certificate_days_until_expiry", certificate(c), days);
            add("openai_certificate_not_after_timestamp_seconds", certificate(c), c.expires_at.map(|at| at as f64));
            add("openai_certificate_not_before_timestamp_seconds", certificate(c), c.valid_at.map(|at| at as f64));
        }
        for (c, successor) in self.snapshot.certificates() {
            add("openai_certificate_superseded", certificate(c), Some(f64::from(u8::from(successor.is_some()))));
        }
        let now = second(self.now);
        let none = vec![("project_id", String::new()), ("project_name", String::new())];
        let of_projects = self.snapshot.project_scopes().map(|(p, scope)| ("project", project(&p.project), scope));
        for (kind, labels, scope) in std::iter::once(("organization", none, self.snapshot.scope())).chain(of_projects) {
            let labels = [vec![("scope", kind.to_string())], labels].concat();
            add("openai_mtls_active_certificates", labels.clone(), Some(scope.valid(now) as f64));
            add("openai_mtls_enforced", labels.clone(), Some(f64::from(u8::from(scope.is_enforced()))));
            let runway = scope.runway_end(now).map(|at| at as f64);
            add("openai_mtls_runway_end_timestamp_seconds", labels.clone(), runway);
            add("openai_mtls_unknown_expiry_certificates", labels, Some(scope.of_unknown_expiry() as f64));
        }
        for p in &self.snapshot.projects().items {
            add("openai_project_last_success_timestamp_seconds", project(&p.project), Some(p.read_at));
            for c in &p.certificates.items {
                let labels = [project(&p.project), certificate(c)].concat();
                add("openai_project_certificate_active", labels, Some(f64::from(u8::from(c.active))));
            }
        }
        families.iter().map(|(name, series)| Self::family(name, series)).collect()
    }
}

fn decoded(kept: &mut Kept, now: f64) -> String {
    let member = gzip::member(kept.fragments(now)).concat();
    let mut text = String::new();
    GzDecoder::new(member.as_slice()).read_to_string(&mut text).unwrap();
    text
}

/// Fails with the first line that differs; the whole page would bury it.
fn assert_same(page: &str, expected: &str) {
    let mut lines = page.split('\n').zip(expected.split('\n'));
    assert_eq!(lines.find(|(line, expected)| line != expected), None);
    assert_eq!(page.len(), expected.len());
}

fn some_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", "[ -~]{1,40}", "\\PC{1,10}", "[\\\\\"\n\r\t]{1,6}", Just("a\0b".to_owned())]
}

fn some_certificate() -> impl Strategy<Value = Certificate> {
    let instant = || prop_oneof![8 => prop::option::of(0..2_000_000_000_i64), 1 => prop::option::of(any::<i64>())];
    let id = "[a-z\"\\\\]{1,6}";
    (id, prop::option::of(some_text()), any::<bool>(), instant(), instant(), instant()).prop_map(
        |(id, name, active, created_at, valid_at, expires_at)| Certificate {
            id: id.into(),
            name: name.map(Into::into),
            active,
            created_at,
            valid_at,
            expires_at,
        },
    )
}

fn some_list(most: usize) -> impl Strategy<Value = Listing<Certificate>> {
    prop::collection::vec(some_certificate(), 0..most).prop_map(|read| Listing::new(read, Malformed::default()))
}

fn some_snapshot() -> impl Strategy<Value = Arc<Snapshot>> {
    let project = ("[a-z]{1,4}", prop::option::of(some_text()), some_list(6), 0.0..2e9_f64);
    (some_list(30), prop::collection::vec(project, 0..6)).prop_map(|(organization, projects)| {
        let mut items: Vec<_> = projects
            .into_iter()
            .map(|(id, name, certificates, read_at)| ProjectCertificates {
                project: Project { id: id.into(), name: name.map(Into::into), archived: false },
                certificates: Arc::new(certificates),
                read_at,
            })
            .collect();
        items.sort_by(|a, b| a.project.id.cmp(&b.project.id));
        items.dedup_by(|a, b| a.project.id == b.project.id);
        snapshot(organization, Projects { items: items.into(), ..Projects::default() })
    })
}

fn snapshot(organization: Listing<Certificate>, projects: Projects) -> Arc<Snapshot> {
    let group = RotationGroup::new(Regex::new("^([a-z])").unwrap());
    Arc::new(Snapshot::new(Arc::new(organization), projects, &group, None))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_page_is_what_the_library_writes(
        (before, after) in (some_snapshot(), some_snapshot()),
        now in 0.0..2e9_f64,
        passed in 0.0..1e9_f64,
    ) {
        let expected = Reference::page(&after, now + passed);
        let text: String = TextPage::new(String::new(), Some(Arc::clone(&after)), String::new(), now + passed).collect();
        assert_same(&text, &expected);

        // Compressed at an earlier moment and on top of another snapshot, then kept up with time.
        let mut compressor = Compressor::default();
        let before = Kept::new(&mut compressor, before, None, now);
        let mut kept = Kept::new(&mut compressor, after, Some(&before), now);
        kept.keep_up(&mut compressor, now + passed);
        assert_same(&decoded(&mut kept, now + passed), &expected);
    }
}

/// Enough certificates for several parts; one of them changes, one goes, one comes.
#[test]
fn a_change_in_one_part_leaves_the_others() {
    let certificate = |n: i64| Certificate {
        id: format!("cert_{:08x}", n.wrapping_mul(2_654_435_761) & 0xffff_ffff).into(),
        name: Some(format!("ca {n}").into()),
        active: n % 3 == 0,
        created_at: Some(n),
        valid_at: Some(n * 1_000),
        expires_at: Some(n * 1_000 + 500),
    };
    let mut certificates: Vec<_> = (0..5_000).map(certificate).collect();
    let first = snapshot(Listing::new(certificates.clone(), Malformed::default()), Projects::default());
    let mut compressor = Compressor::default();
    let mut kept = Kept::new(&mut compressor, first, None, 0.0);
    let edits: [fn(&mut Vec<Certificate>, Certificate); 6] = [
        |list, _| list[2_500].active ^= true,
        |list, _| list[0].name = None,
        // 2,501 ends first, so that its successor loses it.
        |list, _| list[2_501].expires_at = None,
        |list, _| drop(list.remove(17)),
        |list, another| list.push(another),
        |list, _| list.truncate(900),
    ];
    let group = RotationGroup::new(Regex::new("^(ca .*).$").unwrap());
    for (number, edit) in edits.into_iter().enumerate() {
        edit(&mut certificates, certificate(9_999));
        let before = Arc::clone(&kept.snapshot);
        let list = Listing::following(
            Some(before.organization()),
            certificates.iter().cloned().map(Arc::new),
            Malformed::default(),
            Box::default(),
        );
        assert_eq!(list.changed_since(before.organization()).is_some(), number < 3);
        let snapshot = Arc::new(Snapshot::new(list, Projects::default(), &group, Some(&before)));
        let known: std::collections::HashSet<*const u8> =
            kept.fragments(0.0).iter().map(|fragment| fragment.bytes.as_ptr()).collect();
        kept = Kept::new(&mut compressor, Arc::clone(&snapshot), Some(&kept), 5e6);
        assert_same(&decoded(&mut kept, 5e6), &Reference::page(&snapshot, 5e6));
        let fragments = kept.fragments(0.0);
        let taken_over = fragments.iter().filter(|fragment| known.contains(&fragment.bytes.as_ptr())).count();
        // Each of five families and the days have at most two new parts; scopes have one.
        assert!(snapshot.organization().items.len() == 900 || taken_over + 13 >= fragments.len(), "{taken_over}");
    }
}
