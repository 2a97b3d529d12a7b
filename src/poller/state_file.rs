//! The last good snapshot on disk, so that a restart in the middle of an outage forgets nothing.
//!
//! The first line says the version, and the length and checksum of the rest, which is the [`SavedState`] as JSON. The file
//! holds no secret. It is input like any other: whatever is in it, the start goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::iter::once;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use crate::blocking::{BoundedIo, IO_TIMEOUT};
use crate::clients::Contents;
use crate::inventory::{Lists, Snapshot, unix_now};
use crate::{atomic_file, regular_file};

const VERSION: u32 = 2;
/// Room for some 250,000 certificates.
const MAX_KIB: u64 = 64 << 10;
const TOO_LARGE: &str = "it is larger than 64 MiB";
const DAMAGED: &str = "it is truncated or damaged";

/// What a path is that cannot be that of a state file.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// That of a device, a pipe or a folder.
    #[error("poll.state_file: {} is not a regular file", .0.display())]
    NotRegular(Arc<Path>),
    #[error("poll.state_file: {} cannot be written: {}", .0.display(), .1)]
    NotWritable(Arc<Path>, io::Error),
}

/// Whether a path can be that of a state file, and whether it could be written now. A process that polls goes on without.
pub fn check_state_file(path: &Path) -> Result<(), StateFileError> {
    require_regular(path).map_err(|_| StateFileError::NotRegular(path.into()))?;
    let replaceable = require_readable(path).and_then(|()| atomic_file::check(path));
    replaceable.map_err(|error| StateFileError::NotWritable(path.into(), error))
}

/// Why the content of the file would be set aside at the start, if it would.
pub fn state_file_damage(path: &Path, base_url: &Url) -> Option<String> {
    let error = load(path, base_url.as_str()).err()?;
    let path = path.display();
    (error.kind() == ErrorKind::InvalidData)
        .then(|| format!("poll.state_file: {path} would be set aside: {error}"))
}

#[derive(Debug)]
pub(super) struct StateFile {
    path: Arc<Path>,
    /// Of the API whose certificates these are.
    base_url: Arc<str>,
    io: BoundedIo,
    /// Held to the end of the process, once it was to be had.
    lock: Arc<OnceLock<File>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedState {
    base_url: String,
    pub(super) last_success_at: Option<f64>,
    pub(super) organization_read_at: f64,
    #[serde(default)]
    pub(super) projects_listed_at: Option<f64>,
    pub(super) projects_read_at: Vec<f64>,
    pub(super) lists: Lists,
    /// The anchors' PEM as far as it has been read.
    #[serde(default)]
    pub(super) contents: Arc<Contents>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    bytes: usize,
    crc32: u32,
}

impl StateFile {
    pub(super) fn new(path: &Path, base_url: &str) -> Self {
        let (io, lock) = (BoundedIo::default(), Arc::default());
        Self { path: path.into(), base_url: base_url.into(), io, lock }
    }

    /// What an earlier process saved, if it can be used; otherwise the reason is logged.
    pub(super) async fn load(&self) -> Result<Option<SavedState>, StateFileError> {
        let (path, base_url) = (Arc::clone(&self.path), Arc::clone(&self.base_url));
        let held = Arc::clone(&self.lock);
        let loaded = self.within_timeout(move || match lock(&path, &held) {
            Ok(()) => load_or_quarantine(&path, &base_url),
            Err(error) => {
                let fault = "the state file is read, but not written by this process";
                tracing::warn!(path = %path.display(), "{fault}: {error}");
                load(&path, &base_url).map(Some)
            }
        });
        match loaded.await {
            Ok(None) => Ok(None),
            Ok(Some(mut saved)) => {
                let path = self.path.display();
                if let Some(seconds_ahead) = saved.limit_to(unix_now()) {
                    tracing::warn!(
                        %path,
                        seconds_ahead,
                        "the state file is dated in the future: what it holds counts as read now"
                    );
                }
                Ok(Some(saved))
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                Err(StateFileError::NotRegular(Arc::clone(&self.path)))
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), "the state file is not used: {error}");
                Ok(None)
            }
        }
    }

    /// Returns why it is not on disk, if it is not. That is logged too.
    pub(super) async fn save(
        &self,
        snapshot: &Snapshot,
        contents: &Arc<Contents>,
        last_success_at: Option<f64>,
    ) -> Result<(), Box<str>> {
        let path = Arc::clone(&self.path);
        let state = SavedState::new(&self.base_url, snapshot, contents, last_success_at);
        let held = Arc::clone(&self.lock);
        let saved = self
            .within_timeout(move || {
                lock(&path, &held)?;
                save(&path, &state)
            })
            .await;
        saved.map_err(|error| {
            let path = self.path.display();
            tracing::warn!(%path, "the state file cannot be written: {error}");
            format!("{path}: {error}").into()
        })
    }

    async fn within_timeout<T: Send + 'static>(
        &self,
        io: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.io.run(Instant::now() + IO_TIMEOUT, io).await?
    }
}

impl SavedState {
    pub(super) fn new(
        base_url: &str,
        snapshot: &Snapshot,
        contents: &Arc<Contents>,
        last_success_at: Option<f64>,
    ) -> Self {
        let Snapshot { inventory, organization_read_at, projects_listed_at, projects_read_at } =
            snapshot.clone();
        let lists = inventory.lists().clone();
        Self {
            base_url: base_url.into(),
            last_success_at,
            organization_read_at,
            projects_listed_at,
            projects_read_at,
            lists,
            contents: Arc::clone(contents),
        }
    }

    /// Takes instants after `now` as `now`, since a clock was wrong and nothing would ever be stale. Returns by how many
    /// seconds the latest was ahead, if one was.
    fn limit_to(&mut self, now: f64) -> Option<f64> {
        let Self { last_success_at, projects_listed_at, projects_read_at, .. } = self;
        let dates = [last_success_at, projects_listed_at].into_iter().flatten();
        let mut ahead = 0.0_f64;
        for date in dates.chain(projects_read_at).chain([&mut self.organization_read_at]) {
            ahead = ahead.max(*date - now);
            *date = date.min(now);
        }
        (ahead > 0.0).then_some(ahead)
    }

    /// Whether it is what [`Lists`] and a snapshot promise to be.
    fn is_valid(&self) -> bool {
        let Lists { projects, unread, .. } = &self.lists;
        let mut lists = self.lists.all();
        self.projects_read_at.len() == projects.len()
            && are_sorted(projects.iter().map(|project| &*project.project.id))
            && are_sorted(unread.iter().map(|project| &*project.id))
            && lists.all(|list| are_sorted(list.items.iter().map(|certificate| &*certificate.id)))
    }
}

/// Whether identifiers are in order, each once, and none is empty.
fn are_sorted<'a>(ids: impl Iterator<Item = &'a str>) -> bool {
    once("").chain(ids).is_sorted_by(|a, b| a < b)
}

fn save(path: &Path, state: &SavedState) -> io::Result<()> {
    require_regular(path)?;
    require_readable(path)?;
    let content = serde_json::to_string(state)?;
    let header = Header {
        version: VERSION,
        bytes: content.len(),
        crc32: crc32fast::hash(content.as_bytes()),
    };
    let header = serde_json::to_string(&header)? + "\n";
    require((header.len() + content.len()) as u64 <= MAX_KIB << 10, TOO_LARGE)?;
    atomic_file::replace(path, &[header.as_bytes(), content.as_bytes()], 0o600)
}

/// `None` if there is no file, or if its content cannot be used: then the file is renamed, not lost.
fn load_or_quarantine(path: &Path, base_url: &str) -> io::Result<Option<SavedState>> {
    // If the folder is at fault, reading the file fails too and says so.
    let _ = atomic_file::remove_leftovers(path);
    let error = match load(path, base_url) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => error,
        loaded => return loaded.map(Some),
    };
    let aside = quarantine(path).map_err(|rename| {
        io::Error::other(format!("{error}; nor can it be set aside: {rename}"))
    })?;
    let (path, aside) = (path.display(), aside.display());
    tracing::warn!(%path, %aside, "the state file is not used and is set aside: {error}");
    Ok(None)
}

/// Renames the file itself, not a link to it. There is one name for such files, so that they cannot pile up.
fn quarantine(path: &Path) -> io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    let mut aside = path.clone().into_os_string();
    aside.push(".bad");
    fs::rename(path, &aside)?;
    Ok(aside.into())
}

fn load(path: &Path, base_url: &str) -> io::Result<SavedState> {
    let text = regular_file::read(path, MAX_KIB).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => invalid(TOO_LARGE),
        _ => error,
    })?;
    let text = str::from_utf8(&text).map_err(|_| invalid("it is not UTF-8"))?;
    let (line, content) = text.split_once('\n').unwrap_or_default();
    let header: Header =
        serde_json::from_str(line).map_err(|_| invalid("it has no valid first line"))?;
    let Header { version, bytes, crc32 } = header;
    require(
        version == VERSION,
        format!("it has version {version}, and this program reads version {VERSION}"),
    )?;
    require(content.len() == bytes && crc32fast::hash(content.as_bytes()) == crc32, DAMAGED)?;
    let state: SavedState = serde_json::from_str(content).map_err(|_| invalid(DAMAGED))?;
    require(state.is_valid(), DAMAGED)?;
    require(state.base_url == base_url, "it is of another api.base_url")?;
    Ok(state)
}

/// Makes this process the only one that writes the file, if none does yet. The lock is on a file beside it, since each
/// write replaces the file itself.
fn lock(path: &Path, held: &OnceLock<File>) -> io::Result<()> {
    if held.get().is_some() {
        return Ok(());
    }
    let mut beside = atomic_file::target(path).into_os_string();
    beside.push(".lock");
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(&beside) {
        Ok(file) => file,
        Err(error) => {
            let lock = Path::new(&beside).display();
            tracing::warn!(
                "{lock} cannot be opened, so nothing keeps another process from the state file: {error}"
            );
            return Ok(());
        }
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Err(io::Error::new(ErrorKind::ResourceBusy, "another process uses it"));
    }
    // Some file systems have no locks; what is written there is as before.
    let _ = held.set(file);
    Ok(())
}

/// Asked before a file is written, or set aside.
fn require_regular(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"))
        }
        _ => Ok(()),
    }
}

/// Nobody knows what would be lost with a file that may not be read.
fn require_readable(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(io::Error::new(error.kind(), "it cannot be read, so it is not replaced"))
        }
        _ => Ok(()),
    }
}

fn require(holds: bool, otherwise: impl Into<String>) -> io::Result<()> {
    if holds { Ok(()) } else { Err(invalid(otherwise)) }
}

/// What quarantines a file.
fn invalid(fault: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, fault.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use tempfile::TempDir;

    use super::*;
    use crate::fixture::{DAY, NOW, certificate, group, list, snapshot};
    use crate::inventory::{Certificate, Inventory, Listing, Malformed, Project};

    const BASE_URL: &str = "https://api.openai.com/v1";

    fn state() -> SavedState {
        let named =
            |id: &str| certificate(id).named("ca \"1\"\n🔒").dated(Some(i64::MIN), Some(i64::MAX));
        let odd = |id| Certificate { has_unreadable_date: true, ..certificate(id) };
        let snapshot = snapshot(&[
            vec![named("a"), odd("b").inactive(), certificate("c").valid(-1..1)],
            vec![certificate("a"), named("d")],
            vec![],
        ]);
        let mut state = SavedState::new(BASE_URL, &snapshot, &Arc::default(), Some(1.25));
        let mut malformed = Malformed::default();
        malformed.add("active");
        state.lists.project_faults.malformed = malformed.clone();
        let organization = (*state.lists.organization).clone();
        state.lists.organization =
            Arc::new(Listing { duplicates: 3, malformed, hidden: 1, ..organization });
        state.lists.unread = ["proj_2", "proj_3"].map(project).to_vec();
        state.projects_read_at = vec![NOW as f64 - 0.5, (NOW - DAY) as f64];
        state
    }

    fn project(id: &str) -> Project {
        Project { id: id.into(), name: None, archived: false }
    }

    /// A file with this state, or whatever else is made of its content.
    fn file(folder: &TempDir, content: &[u8]) -> PathBuf {
        let header =
            Header { version: VERSION, bytes: content.len(), crc32: crc32fast::hash(content) };
        let path = folder.path().join("state");
        fs::write(&path, [&serde_json::to_vec(&header).unwrap(), &b"\n"[..], content].concat())
            .unwrap();
        path
    }

    fn content(state: &SavedState) -> Vec<u8> {
        serde_json::to_vec(state).unwrap()
    }

    #[test]
    fn saved_state_comes_back() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("state");
        save(&path, &state()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(file(&folder, &content(&state()))).unwrap());
        let loaded = load(&path, BASE_URL).unwrap();
        assert_eq!(loaded.lists, state().lists);
        assert_eq!(content(&loaded), content(&state()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn file_of_an_earlier_build_is_read() {
        let folder = TempDir::new().unwrap();
        let text = String::from_utf8(content(&state())).unwrap();
        let unread = serde_json::to_string(&state().lists.unread).unwrap();
        let earlier = text
            .replace(&format!(r#""unread":{unread},"#), "")
            .replace(r#","hidden":1"#, "")
            .replace(r#","hidden":0"#, "")
            .replace(r#","has_unreadable_date":true"#, "");
        assert!(!earlier.contains("unread") && !earlier.contains("hidden"));
        let lists = load(&file(&folder, earlier.as_bytes()), BASE_URL).unwrap().lists;
        assert_eq!((lists.projects, lists.unread), (state().lists.projects, vec![]));
    }

    #[test]
    fn nothing_is_read_later_than_now() {
        let now = NOW as f64;
        let past = SavedState { projects_listed_at: Some(now - 1.0), ..state() };
        let mut read = SavedState { last_success_at: Some(now - 1.0), ..past };
        let before = content(&read);
        assert_eq!((read.limit_to(now), content(&read)), (None, before));
        read.projects_read_at[0] = now + 90.0;
        assert_eq!(read.limit_to(now), Some(90.0));
        assert_eq!(read.projects_read_at, [now, now - DAY as f64]);
        assert_eq!(read.limit_to(now), None);
    }

    #[test]
    fn content_of_no_use_is_set_aside() {
        let folder = TempDir::new().unwrap();
        let good = fs::read(file(&folder, &content(&state()))).unwrap();
        let text = String::from_utf8(good.clone()).unwrap();
        for (bad, fault) in [
            (Vec::new(), "no valid first line"),
            (b"\n".to_vec(), "no valid first line"),
            (vec![0xff; 9], "UTF-8"),
            (good[..good.len() - 1].to_vec(), "truncated or damaged"),
            ([&good[..], b" "].concat(), "truncated or damaged"),
            (text.replacen(":2,", ":1,", 1).into_bytes(), "version 1"),
            (
                text.replacen("{\"version\":2,", "{\"version\":3}{", 1).into_bytes(),
                "no valid first line",
            ),
        ] {
            let path = folder.path().join("state");
            fs::write(&path, &bad).unwrap();
            let error = load(&path, BASE_URL).unwrap_err();
            assert!(error.to_string().contains(fault), "{error} instead of {fault}");
            assert!(load_or_quarantine(&path, BASE_URL).unwrap().is_none());
            assert!(!path.exists());
            assert_eq!(fs::read(folder.path().join("state.bad")).unwrap(), bad);
        }
        let path = file(&folder, &content(&state()));
        assert!(load_or_quarantine(&path, "https://other.example/v1").unwrap().is_none());
        assert!(!path.exists());
        assert!(load_or_quarantine(&path, BASE_URL).unwrap().is_none(), "there is none");
    }

    #[test]
    fn lists_that_are_none_are_damaged() {
        type Change = Box<dyn FnOnce(&mut SavedState)>;
        let folder = TempDir::new().unwrap();
        let organization = |ids: &[&str]| {
            let items = ids.iter().map(|id| certificate(id)).collect();
            move |state: &mut SavedState| {
                state.lists.organization = Arc::new(Listing { items, ..list(vec![]) });
            }
        };
        let changes: [(&str, Change); 9] = [
            ("empty identifier", Box::new(organization(&["", "a"]))),
            ("one identifier twice", Box::new(organization(&["a", "a"]))),
            ("out of order", Box::new(organization(&["b", "a"]))),
            (
                "a project's list out of order",
                Box::new(|state| {
                    let items = ["b", "a"].map(certificate).to_vec();
                    state.lists.projects[1].certificates =
                        Arc::new(Listing { items, ..list(vec![]) });
                }),
            ),
            ("projects out of order", Box::new(|state| state.lists.projects.reverse())),
            (
                "one project twice",
                Box::new(|state| state.lists.projects[1] = state.lists.projects[0].clone()),
            ),
            ("projects to be read out of order", Box::new(|state| state.lists.unread.reverse())),
            ("an instant too few", Box::new(|state| state.projects_read_at.truncate(1))),
            ("an instant too many", Box::new(|state| state.projects_read_at.push(1.0))),
        ];
        for (what, change) in changes {
            let mut state = state();
            change(&mut state);
            let error = load(&file(&folder, &content(&state)), BASE_URL).unwrap_err();
            assert_eq!(error.to_string(), "it is truncated or damaged", "{what}");
        }
    }

    #[test]
    fn special_file_is_neither_read_nor_written_nor_moved() {
        let folder = TempDir::new().unwrap();
        for path in [folder.path(), Path::new("/dev/null")] {
            for error in
                [load_or_quarantine(path, BASE_URL).unwrap_err(), save(path, &state()).unwrap_err()]
            {
                assert_eq!(error.to_string(), "it is not a regular file");
            }
            assert!(path.exists());
        }
    }

    #[test]
    fn what_would_not_be_read_back_is_not_written() {
        let folder = TempDir::new().unwrap();
        let name = "x".repeat(64 << 20);
        let snapshot = snapshot(&[vec![certificate("a").named(&name)]]);
        let state = SavedState::new(BASE_URL, &snapshot, &Arc::default(), None);
        let error = save(&folder.path().join("state"), &state).unwrap_err();
        assert_eq!(error.to_string(), TOO_LARGE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn file_behind_a_link_is_set_aside() {
        let folder = TempDir::new().unwrap();
        let link = folder.path().join("link");
        fs::write(folder.path().join("state"), "bad").unwrap();
        std::os::unix::fs::symlink("state", &link).unwrap();
        assert!(load_or_quarantine(&link, BASE_URL).unwrap().is_none());
        save(&link, &state()).unwrap();
        assert!(link.is_symlink() && folder.path().join("state.bad").is_file());
        assert!(load(&folder.path().join("state"), BASE_URL).is_ok());
    }

    #[test]
    fn no_damaged_byte_goes_unnoticed() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, &content(&state()));
        let good = fs::read(&path).unwrap();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(load(&path, BASE_URL).is_err(), "byte {position}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_while_the_disk_hangs() {
        let folder = TempDir::new().unwrap();
        let state_file = StateFile::new(&folder.path().join("state"), BASE_URL);
        let (release, disk) = std::sync::mpsc::channel::<()>();
        let hung = state_file.within_timeout(move || Ok(disk.recv().is_ok())).await;
        assert_eq!(hung.unwrap_err().kind(), ErrorKind::TimedOut);
        tokio::time::resume();
        let snapshot = snapshot(&[vec![]]);
        assert!(state_file.save(&snapshot, &Arc::default(), None).await.is_err());
        drop(release);
        while state_file.save(&snapshot, &Arc::default(), None).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(state_file.load().await.unwrap().is_some());
    }

    /// What may become of a file: a bit flips; a part is lost, comes twice, or changes places with another.
    #[derive(Clone, Debug)]
    enum Mutation {
        Flip(Index, u8),
        Cut(Index, usize),
        Duplicate(Index, usize),
        Swap(Index, Index),
    }

    fn mutation() -> impl Strategy<Value = Mutation> {
        let length = 1..12_usize;
        prop_oneof![
            (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
            (any::<Index>(), length.clone()).prop_map(|(at, length)| Mutation::Cut(at, length)),
            (any::<Index>(), length).prop_map(|(at, length)| Mutation::Duplicate(at, length)),
            any::<(Index, Index)>().prop_map(|(a, b)| Mutation::Swap(a, b)),
        ]
    }

    /// Mutates members and elements, so that much of what comes out is JSON of the right shape.
    fn mutate(text: &[u8], mutations: &[Mutation]) -> Vec<u8> {
        let mut tokens: Vec<Vec<u8>> =
            text.split_inclusive(|byte| *byte == b',').map(<[u8]>::to_vec).collect();
        for mutation in mutations {
            let count = tokens.len();
            match mutation {
                Mutation::Flip(at, bit) => {
                    let token = &mut tokens[at.index(count)];
                    let byte = at.index(token.len());
                    token[byte] ^= 1 << bit;
                }
                Mutation::Cut(at, length) => {
                    let at = at.index(count);
                    tokens.drain(at..(at + length).min(count - 1).max(at));
                }
                Mutation::Duplicate(at, length) => {
                    let at = at.index(count);
                    let part = tokens[at..(at + length).min(count)].to_vec();
                    tokens.splice(at..at, part);
                }
                Mutation::Swap(a, b) => tokens.swap(a.index(count), b.index(count)),
            }
        }
        tokens.concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn mutated_file_is_the_same_or_refused(mutations in prop::collection::vec(mutation(), 1..4)) {
            let folder = TempDir::new().unwrap();
            let path = file(&folder, &content(&state()));
            fs::write(&path, mutate(&fs::read(&path).unwrap(), &mutations)).unwrap();
            if let Ok(loaded) = load(&path, BASE_URL) {
                prop_assert_eq!(content(&loaded), content(&state()));
            }
        }

        #[test]
        fn mutated_content_is_refused_or_makes_an_inventory(mutations in prop::collection::vec(mutation(), 1..4)) {
            let folder = TempDir::new().unwrap();
            let path = file(&folder, &mutate(&content(&state()), &mutations));
            match load(&path, BASE_URL) {
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidData),
                Ok(loaded) => {
                    let inventory = Inventory::new(loaded.lists, &group("(.*)"));
                    prop_assert_eq!(inventory.projects().len(), loaded.projects_read_at.len());
                    for (position, list) in inventory.projects().iter().enumerate() {
                        prop_assert_eq!(inventory.project(&list.project.id), Some((position, list)));
                        for certificate in &list.certificates.items {
                            prop_assert_eq!(list.certificates.get(&certificate.id), Some(certificate));
                        }
                    }
                    for certificate in &inventory.organization().items {
                        prop_assert_eq!(inventory.organization().get(&certificate.id), Some(certificate));
                    }
                }
            }
        }
    }
}
