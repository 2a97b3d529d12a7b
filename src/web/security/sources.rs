//! Files that are read again when they change.

use std::collections::hash_map::RandomState;
use std::fs::{File, Metadata};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::zeroize::Zeroizing;

/// More than any chain of certificates or list of authorities that a person would look after.
const MAX_BYTES: u64 = 4 << 20;
/// Two writes within the granularity of a file's times look like one, so a file that has just been written is read again.
const FRESH: Duration = Duration::from_secs(2);

/// What tells whether a file has changed, symbolic links followed: Kubernetes swaps one of them to swap all files.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }

    /// Whether a second write could have left no trace.
    fn is_fresh(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, _) = self.modified.max(self.changed);
        u64::try_from(seconds).is_ok_and(|seconds| seconds + FRESH.as_secs() >= now.as_secs())
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[derive(Clone)]
struct Source {
    path: PathBuf,
    /// `None` where there was no file.
    stamp: Option<Stamp>,
    /// As it was when the file was read, not when that is looked at.
    was_fresh: bool,
}

/// The files that were read, and what they looked like when they were.
#[derive(Clone, Default)]
pub(super) struct Sources {
    files: Vec<Source>,
    contents: Vec<u64>,
    hashes: RandomState,
}

impl Sources {
    /// None yet. Contents are compared with those of `earlier`.
    pub(super) fn after(earlier: &Self) -> Self {
        Self { files: Vec::new(), contents: Vec::new(), hashes: earlier.hashes.clone() }
    }

    /// Reads a file and remembers it, also where it cannot be read.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        // Before the file is read, so that whatever is written meanwhile shows as a change.
        let stamp = Stamp::of(path);
        let was_fresh = stamp.is_some_and(|stamp| stamp.is_fresh());
        self.files.push(Source { path: path.to_owned(), stamp, was_fresh });
        let content = read_bounded(path);
        let mut hasher = self.hashes.build_hasher();
        path.hash(&mut hasher);
        match &content {
            Ok(bytes) => bytes.hash(&mut hasher),
            Err(error) => error.kind().hash(&mut hasher),
        }
        self.contents.push(hasher.finish());
        content
    }

    /// Whether a file may have changed since it was read.
    pub(super) fn may_have_changed(&self) -> bool {
        self.files.iter().any(|file| file.was_fresh || Stamp::of(&file.path) != file.stamp)
    }

    /// Whether the same was read from the same files.
    pub(super) fn have_contents_of(&self, other: &Self) -> bool {
        self.contents == other.contents
    }

    /// Watches those of `other` too: a file that cannot be understood does not say which ones it needs.
    pub(super) fn watch_too(&mut self, other: Self) {
        for file in other.files {
            if self.files.iter().all(|known| known.path != file.path) {
                self.files.push(file);
            }
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // A pipe would be waited for, and could be read once only.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut content = Zeroizing::new(Vec::new());
    if File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)? as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}
