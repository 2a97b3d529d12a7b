//! What does not change between two polls is encoded and compressed once, and after a change only the part that holds it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use flate2::Compression;

use super::gzip::{Compressor, Fragment};
use super::large::{CERTIFICATES_AFTER_DAYS, CERTIFICATES_BEFORE_DAYS, Family, Group, PROJECTS, Rows, SCOPES, second};
use crate::inventory::{Snapshot, UnixSeconds};

/// Up to so many rows a group is one part, so that one of its families can refer to names in another. Beyond, each family
/// is cut into parts.
const WHOLE: usize = 1_024;
/// One row in so many begins a part. Which ones follows from their identifiers, so that a row more or less moves no other
/// border.
const CERTIFICATES_A_PART: u32 = 512;
const PROJECTS_A_PART: u32 = 16;

/// The compressed parts of a snapshot.
pub(super) struct Kept {
    pub(super) snapshot: Arc<Snapshot>,
    before_days: Vec<Part>,
    after_days: Vec<Part>,
    projects: Vec<Part>,
    scopes: Fragment,
    /// When a certificate begins or ends next, so that `scopes` says something else.
    scopes_until: Option<UnixSeconds>,
}

/// Rows of one family, or all rows of all families of a group.
struct Part {
    families: Range<usize>,
    rows: Option<Range<usize>>,
    fragment: Fragment,
}

impl Kept {
    /// Compresses a snapshot at the moment `now`, except for what `before` has already.
    pub(super) fn new(snapshot: Arc<Snapshot>, before: Option<&Self>, now: f64) -> Self {
        let mut compressor = Compressor::new(Compression::default());
        let mut parts = |group, of: fn(&Self) -> &Vec<Part>| {
            let before = before.map(|before| (&*before.snapshot, of(before).as_slice()));
            parts(&mut compressor, group, &snapshot, before)
        };
        Self {
            before_days: parts(CERTIFICATES_BEFORE_DAYS, |kept| &kept.before_days),
            after_days: parts(CERTIFICATES_AFTER_DAYS, |kept| &kept.after_days),
            projects: parts(PROJECTS, |kept| &kept.projects),
            scopes: compress(&mut compressor, SCOPES, &snapshot, None, now),
            scopes_until: snapshot.next_change(second(now)),
            snapshot,
        }
    }

    /// Compresses anew what has become another since.
    pub(super) fn keep_up(&mut self, compressor: &mut Compressor, now: f64) {
        if self.scopes_until.is_some_and(|until| until <= second(now)) {
            self.scopes = compress(compressor, SCOPES, &self.snapshot, None, now);
            self.scopes_until = self.snapshot.next_change(second(now));
        }
    }

    /// All fragments in the order of the page; `days` go where they belong.
    pub(super) fn fragments(&self, days: Fragment) -> impl Iterator<Item = Fragment> {
        let of = |parts: &'_ [Part]| parts.iter().map(|part| part.fragment.clone()).collect::<Vec<_>>();
        of(&self.before_days)
            .into_iter()
            .chain([days])
            .chain(of(&self.after_days))
            .chain([self.scopes.clone()])
            .chain(of(&self.projects))
    }
}

/// The parts of a group, those taken over from the snapshot before that are the same there.
fn parts(
    compressor: &mut Compressor,
    group: Group,
    snapshot: &Snapshot,
    before: Option<(&Snapshot, &[Part])>,
) -> Vec<Part> {
    // A part is looked for by its families and the identifier of its first row; only a first part has the heads.
    let key = |snapshot: &Snapshot, families: &Range<usize>, rows: Option<&Range<usize>>| {
        let first = rows.map(|rows| rows.start);
        let id = first.map(|first| group[families.start].rows.id(snapshot, first).to_owned());
        (families.start, id, first == Some(0))
    };
    let known: HashMap<_, _> = before
        .iter()
        .flat_map(|(snapshot, parts)| {
            parts.iter().map(|part| (key(snapshot, &part.families, part.rows.as_ref()), part))
        })
        .collect();
    let made = |(families, rows): (Range<usize>, Option<Range<usize>>)| {
        let same = before.and_then(|(before, _)| {
            let part = known.get(&key(snapshot, &families, rows.as_ref()))?;
            let has_same_lists = snapshot.has_lists_of(before);
            let is_same = group[families.clone()].iter().all(|family| {
                if has_same_lists && !matches!(family.rows, Rows::Projects(_)) {
                    return true;
                }
                let (new, old) = (family.span(rows.as_ref(), snapshot), family.span(part.rows.as_ref(), before));
                new.len() == old.len() && new.zip(old).all(|(new, old)| family.rows.is_same(snapshot, new, before, old))
            });
            is_same.then(|| part.fragment.clone())
        });
        let fragment =
            same.unwrap_or_else(|| compress(compressor, &group[families.clone()], snapshot, rows.as_ref(), 0.0));
        Part { families, rows, fragment }
    };
    spans(group, snapshot).into_iter().map(made).collect()
}

/// How a group is cut.
fn spans(group: Group, snapshot: &Snapshot) -> Vec<(Range<usize>, Option<Range<usize>>)> {
    if group.iter().all(|family| family.rows.count(snapshot) <= WHOLE) {
        return vec![(0..group.len(), None)];
    }
    let mut spans = Vec::new();
    for (index, family) in group.iter().enumerate() {
        let count = family.rows.count(snapshot);
        let mut start = 0;
        for row in 1..=count {
            if row == count || family.rows.begins_part(snapshot, row) {
                spans.push((index..index + 1, Some(start..row)));
                start = row;
            }
        }
    }
    spans
}

fn compress(
    compressor: &mut Compressor,
    families: &[Family],
    snapshot: &Snapshot,
    rows: Option<&Range<usize>>,
    now: f64,
) -> Fragment {
    let mut text = String::new();
    for family in families {
        let span = family.span(rows, snapshot);
        if span.start == 0 && !family.is_empty(snapshot, now) {
            family.write_head(&mut text);
        }
        for row in span {
            family.write_row(snapshot, row, now, &mut text);
        }
    }
    compressor.compress(&text)
}

impl Family {
    fn span(&self, rows: Option<&Range<usize>>, snapshot: &Snapshot) -> Range<usize> {
        rows.cloned().unwrap_or_else(|| 0..self.rows.count(snapshot))
    }
}

impl Rows {
    /// What tells a row from the others.
    fn id(self, snapshot: &Snapshot, row: usize) -> &str {
        match self {
            Self::Certificates(_) | Self::Moving(_) => &snapshot.organization().items[row].id,
            Self::Known(_) => &snapshot.certificate(row).0.id,
            Self::Scopes(_) if row == 0 => "",
            Self::Scopes(_) => &snapshot.projects().items[row - 1].project.id,
            Self::ProjectCertificates(_) | Self::Projects(_) => &snapshot.projects().items[row].project.id,
        }
    }

    fn begins_part(self, snapshot: &Snapshot, row: usize) -> bool {
        let one_in = match self {
            Self::Certificates(_) | Self::Moving(_) | Self::Known(_) => CERTIFICATES_A_PART,
            Self::Scopes(_) | Self::ProjectCertificates(_) | Self::Projects(_) => PROJECTS_A_PART,
        };
        crc32fast::hash(self.id(snapshot, row).as_bytes()).is_multiple_of(one_in)
    }

    /// Whether two rows of two snapshots say the same, at any moment.
    fn is_same(self, new: &Snapshot, new_row: usize, old: &Snapshot, old_row: usize) -> bool {
        match self {
            Self::Certificates(_) | Self::Moving(_) => {
                new.organization().items[new_row] == old.organization().items[old_row]
            }
            Self::Known(_) => {
                let (new, old) = (new.certificate(new_row), old.certificate(old_row));
                new.0 == old.0 && new.1.is_some() == old.1.is_some()
            }
            // They move with time too, and are not kept this way.
            Self::Scopes(_) => false,
            Self::ProjectCertificates(_) | Self::Projects(_) => {
                let (new, old) = (&new.projects().items[new_row], &old.projects().items[old_row]);
                let is_read_again = matches!(self, Self::Projects(_)) && new.read_at.total_cmp(&old.read_at).is_ne();
                !is_read_again
                    && new.project == old.project
                    && (Arc::ptr_eq(&new.certificates, &old.certificates) || new.certificates == old.certificates)
            }
        }
    }
}
