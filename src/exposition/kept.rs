//! What does not change between two polls is encoded and compressed once, and after a change only the part that holds it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::deflate::{LineCompressor, WINDOW};
use super::gzip::{Compressor, Fragment};
use super::large::{
    CERTIFICATES_AFTER_DAYS, CERTIFICATES_BEFORE_DAYS, DAYS, Family, GROUPS, Group, PROJECTS, Rows, SCOPES, second,
    write_days,
};
use crate::inventory::{Snapshot, UnixSeconds, days_until, is_same};

/// Up to so many rows a group is one part, so that one of its families can refer to names in another. Beyond, each family
/// is cut into parts.
const WHOLE: usize = 1_024;
/// One row in so many begins a part. Which ones follows from their identifiers, so that a row more or less moves no other
/// border.
const CERTIFICATES_A_PART: u32 = 512;
const PROJECTS_A_PART: u32 = 16;

/// A snapshot, compressed but for the days.
pub(super) struct Kept {
    pub(super) snapshot: Arc<Snapshot>,
    before_days: Parts,
    preceding: Preceding,
    /// What the days took last, in bytes. A buffer that has to grow leaves holes behind it, which add up in a long life.
    days_length: usize,
    after_days: Parts,
    scopes: Scopes,
    projects: Parts,
}

impl Kept {
    /// Compresses a snapshot at the moment `now`, except for what `before` has already.
    pub(super) fn new(compressor: &mut Compressor, snapshot: Arc<Snapshot>, before: Option<&Self>, now: f64) -> Self {
        let mut parts = |group, of: fn(&Self) -> &Parts| {
            Parts::new(compressor, group, &snapshot, before.map(|before| (&*before.snapshot, of(before))))
        };
        let before_days = parts(CERTIFICATES_BEFORE_DAYS, |kept| &kept.before_days);
        Self {
            preceding: Preceding::new(&snapshot, &before_days),
            days_length: before.map_or(0, |before| before.days_length),
            before_days,
            after_days: parts(CERTIFICATES_AFTER_DAYS, |kept| &kept.after_days),
            projects: parts(PROJECTS, |kept| &kept.projects),
            scopes: Scopes::new(compressor, &snapshot, now),
            snapshot,
        }
    }

    /// Whether a snapshot is compressed in a few milliseconds at most, so that a thread for it would only cost more.
    pub(super) fn is_quick(snapshot: &Snapshot) -> bool {
        GROUPS.iter().all(|group| Parts::is_whole(group, snapshot))
    }

    /// Compresses anew what has become another since.
    pub(super) fn keep_up(&mut self, compressor: &mut Compressor, now: f64) {
        if !self.scopes.hold(now) {
            self.scopes = Scopes::new(compressor, &self.snapshot, now);
        }
    }

    /// All fragments in the order of the page, with the days of this moment.
    pub(super) fn fragments(&mut self, now: f64) -> Vec<Fragment> {
        let days = self.days(now);
        self.days_length = days.bytes.len();
        let mut fragments = self.before_days.fragments().to_vec();
        fragments.push(days);
        fragments.extend_from_slice(self.after_days.fragments());
        fragments.push(self.scopes.fragment.clone());
        fragments.extend_from_slice(self.projects.fragments());
        fragments
    }

    /// The family that moves all the time.
    fn days(&self, now: f64) -> Fragment {
        let mut lines = LineCompressor::after(&self.preceding.text, self.days_length + self.days_length / 16);
        if !DAYS.is_empty(&self.snapshot, now) {
            lines.value(|out| DAYS.write_head(out));
        }
        for (row, certificate) in self.snapshot.organization().items.iter().enumerate() {
            if let Some(expires_at) = certificate.expires_at {
                let labels = self.preceding.labels.get(row).copied();
                write_days(&mut lines, certificate, days_until(expires_at, now), labels);
            }
        }
        lines.finish()
    }
}

/// What is said of scopes, from one second until a certificate begins or ends.
struct Scopes {
    fragment: Fragment,
    from: UnixSeconds,
    until: Option<UnixSeconds>,
}

impl Scopes {
    fn new(compressor: &mut Compressor, snapshot: &Snapshot, now: f64) -> Self {
        let from = second(now);
        Self { fragment: compress(compressor, SCOPES, snapshot, None, now), from, until: snapshot.next_change(from) }
    }

    /// Whether it says the same at `now`. A clock that is set back may be before it.
    fn hold(&self, now: f64) -> bool {
        self.from <= second(now) && self.until.is_none_or(|until| second(now) < until)
    }
}

/// What stands before the days in a small page, so that the same labels need not be written out again.
#[derive(Default)]
struct Preceding {
    text: String,
    /// Where the labels of each of the organization's certificates are in it.
    labels: Vec<usize>,
}

impl Preceding {
    fn new(snapshot: &Snapshot, parts: &Parts) -> Self {
        if !matches!(parts, Parts::Whole(_)) {
            return Self::default();
        }
        let text = text(CERTIFICATES_BEFORE_DAYS, snapshot, None, 0.0);
        let lines = text.split_inclusive('\n').scan(0, |end, line| {
            let start = *end;
            *end += line.len();
            Some((start, line))
        });
        let series = lines.filter(|(_, line)| !line.starts_with('#'));
        let labels: Vec<usize> = series.filter_map(|(start, line)| Some(start + line.find('{')? + "{".len())).collect();
        // Each family with a series for every certificate will do, and the last is nearest.
        let count = snapshot.organization().items.len();
        let first = if labels.len() == CERTIFICATES_BEFORE_DAYS.len() * count { labels.len() - count } else { 0 };
        let labels = labels.get(first..first + count).unwrap_or_default().to_vec();
        // What is too far back for a match is of no use.
        if text.len() > WINDOW { Self::default() } else { Self { text, labels } }
    }
}

/// The fragments of a group of families.
enum Parts {
    /// All families in one, so that one can refer to names in another.
    Whole([Fragment; 1]),
    /// Each family in as many as its rows are cut into, in the order of the page.
    Cut { cuts: Vec<Cuts>, fragments: Vec<Fragment> },
}

/// How the rows of a family are cut: where each part ends.
type Cuts = Arc<[usize]>;

impl Parts {
    /// The fragments of a snapshot, those taken over from the snapshot before that say the same there.
    fn new(compressor: &mut Compressor, group: Group, snapshot: &Snapshot, before: Option<(&Snapshot, &Self)>) -> Self {
        if Self::is_whole(group, snapshot) {
            return match before {
                Some((before, Self::Whole(fragment)))
                    if group.iter().all(|family| family.is_same(snapshot, before)) =>
                {
                    Self::Whole(fragment.clone())
                }
                _ => Self::Whole([compress(compressor, group, snapshot, None, 0.0)]),
            };
        }
        let mut known = match before {
            Some((before, Self::Cut { cuts, fragments })) => Some((before, cuts.iter(), fragments.as_slice())),
            _ => None,
        };
        let (mut cuts, mut fragments) = (Vec::new(), Vec::new());
        for family in group {
            let before = known.as_mut().and_then(|(before, cuts, fragments)| {
                let cuts = cuts.next()?;
                let of_family = fragments.split_off(..cuts.len())?;
                Some((&**before, cuts, of_family))
            });
            let (of_family, taken) = family.cut(snapshot, before);
            let mut start = 0;
            for (end, taken) in of_family.iter().zip(taken) {
                let made = || compress(compressor, std::slice::from_ref(family), snapshot, Some(&(start..*end)), 0.0);
                fragments.push(taken.unwrap_or_else(made));
                start = *end;
            }
            cuts.push(of_family);
        }
        Self::Cut { cuts, fragments }
    }

    fn is_whole(group: Group, snapshot: &Snapshot) -> bool {
        group.iter().all(|family| family.rows.count(snapshot) <= WHOLE)
    }

    fn fragments(&self) -> &[Fragment] {
        match self {
            Self::Whole(fragment) => fragment,
            Self::Cut { fragments, .. } => fragments,
        }
    }
}

type Before<'a> = (&'a Snapshot, &'a Cuts, &'a [Fragment]);

impl Family {
    /// How this family is cut, and for each part the fragment that says the same already.
    fn cut(&self, snapshot: &Snapshot, before: Option<Before<'_>>) -> (Cuts, Vec<Option<Fragment>>) {
        if let Some((before, cuts, fragments)) = before
            && let Some(changed) = self.rows.changed(snapshot, before)
        {
            let mut changed = changed.iter().map(|row| *row as usize).peekable();
            let taken = cuts.iter().zip(fragments).map(|(end, fragment)| {
                let mut is_same = true;
                while changed.next_if(|row| row < end).is_some() {
                    is_same = false;
                }
                is_same.then(|| fragment.clone())
            });
            return (Arc::clone(cuts), taken.collect());
        }
        let count = self.rows.count(snapshot);
        let cuts: Cuts = (1..=count).filter(|row| *row == count || self.rows.begins_part(snapshot, *row)).collect();
        let known = before.map(|before| KnownParts::new(self.rows, before));
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let taken = starts.zip(cuts.iter()).map(|(start, end)| known.as_ref()?.find(snapshot, start..*end));
        let taken = taken.collect();
        (cuts, taken)
    }

    fn is_same(&self, new: &Snapshot, old: &Snapshot) -> bool {
        let count = self.rows.count(new);
        count == self.rows.count(old) && (0..count).all(|row| self.rows.is_same(new, row, old, row))
    }
}

/// The parts of a family in the snapshot before, by the identifier of their first row. Only a first part has the head.
struct KnownParts<'a> {
    rows: Rows,
    snapshot: &'a Snapshot,
    parts: HashMap<(bool, &'a str), (Range<usize>, &'a Fragment)>,
}

impl<'a> KnownParts<'a> {
    fn new(rows: Rows, (snapshot, cuts, fragments): Before<'a>) -> Self {
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let parts = starts.zip(cuts.iter()).zip(fragments);
        let parts =
            parts.map(|((start, end), fragment)| ((start == 0, rows.id(snapshot, start)), (start..*end, fragment)));
        Self { rows, snapshot, parts: parts.collect() }
    }

    fn find(&self, snapshot: &Snapshot, span: Range<usize>) -> Option<Fragment> {
        let (known, fragment) = self.parts.get(&(span.start == 0, self.rows.id(snapshot, span.start)))?;
        let is_same = known.len() == span.len()
            && span.zip(known.clone()).all(|(new, old)| self.rows.is_same(snapshot, new, self.snapshot, old));
        is_same.then(|| Fragment::clone(fragment))
    }
}

fn compress(
    compressor: &mut Compressor,
    families: &[Family],
    snapshot: &Snapshot,
    rows: Option<&Range<usize>>,
    now: f64,
) -> Fragment {
    compressor.compress(&text(families, snapshot, rows, now))
}

/// These rows, or all, of each of the families.
fn text(families: &[Family], snapshot: &Snapshot, rows: Option<&Range<usize>>, now: f64) -> String {
    let mut text = String::new();
    for family in families {
        let span = rows.cloned().unwrap_or_else(|| 0..family.rows.count(snapshot));
        if span.start == 0 && !family.is_empty(snapshot, now) {
            family.write_head(&mut text);
        }
        for row in span {
            family.write_row(snapshot, row, now, &mut text);
        }
    }
    text
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

    /// The rows that say something else than in a snapshot that has the same ones, where that is known without a comparison.
    fn changed<'a>(self, new: &'a Snapshot, old: &Snapshot) -> Option<&'a [u32]> {
        match self {
            Self::Certificates(_) | Self::Moving(_) => new.organization().changed_since(old.organization()),
            Self::Known(_) => new.certificates_changed_since(old),
            Self::Scopes(_) | Self::ProjectCertificates(_) | Self::Projects(_) => None,
        }
    }

    /// Whether two rows of two snapshots say the same, at any moment.
    fn is_same(self, new: &Snapshot, new_row: usize, old: &Snapshot, old_row: usize) -> bool {
        match self {
            Self::Certificates(_) | Self::Moving(_) => {
                is_same(&*new.organization().items[new_row], &*old.organization().items[old_row])
            }
            Self::Known(_) => {
                let (new, old) = (new.certificate(new_row), old.certificate(old_row));
                is_same(new.0, old.0) && new.1.is_some() == old.1.is_some()
            }
            // They move with time too, and are not kept this way.
            Self::Scopes(_) => false,
            Self::ProjectCertificates(_) | Self::Projects(_) => {
                let (new, old) = (&new.projects().items[new_row], &old.projects().items[old_row]);
                let is_read_again = matches!(self, Self::Projects(_)) && new.read_at.total_cmp(&old.read_at).is_ne();
                !is_read_again && new.project == old.project && is_same(&*new.certificates, &*old.certificates)
            }
        }
    }
}
