//! The last good snapshot on disk, so that a restart in the middle of an outage does not forget what was known.
//!
//! The file is written whole beside its place and then moved there, so that at any instant there is either the old or the
//! new one. Its first line says the version, and the length and checksum of the rest. It holds no secret.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::inventory::{Certificate, Listing, Malformed, Project, ProjectCertificates, Projects, Snapshot};

const VERSION: u32 = 1;
/// A file larger than this is none of ours: it holds some 250,000 certificates.
const MAX_BYTES: u64 = 64 << 20;
/// How long a poll waits for the disk. A write that takes longer goes on by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the snapshot is kept, and of which API it is.
#[derive(Debug)]
pub(super) struct Store {
    path: Arc<Path>,
    base_url: Arc<str>,
    /// A write that has taken longer than a poll waits.
    writing: Option<JoinHandle<Result<(), SaveError>>>,
}

/// What was kept.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) organization: Listing<Certificate>,
    pub(super) projects: Projects,
    pub(super) last_success_at: Option<f64>,
}

/// Why the file could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the snapshot cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("the disk does not answer")]
    Stalled,
}

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    #[error("it has no valid first line")]
    Header,
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u32),
    #[error("it is truncated or damaged")]
    Damaged,
    #[error("it is of another api.base_url")]
    Foreign,
}

impl Store {
    pub(super) fn new(path: &Path, base_url: &str) -> Self {
        Self { path: path.into(), base_url: base_url.into(), writing: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept. A file that is of no use is set aside, with a warning; it never stops the start.
    pub(super) async fn load(&self) -> Option<Stored> {
        let (path, base_url) = (Arc::clone(&self.path), Arc::clone(&self.base_url));
        let Ok(Ok(stored)) = timeout(PATIENCE, spawn_blocking(move || load_or_set_aside(&path, &base_url))).await
        else {
            tracing::warn!(path = %self.path.display(), "the state file cannot be read: the disk does not answer");
            return None;
        };
        stored
    }

    /// Keeps a snapshot.
    pub(super) async fn save(
        &mut self,
        snapshot: Arc<Snapshot>,
        last_success_at: Option<f64>,
    ) -> Result<(), SaveError> {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return Err(SaveError::Stalled);
        }
        let (path, base_url) = (Arc::clone(&self.path), Arc::clone(&self.base_url));
        let mut writing = spawn_blocking(move || save(&path, &base_url, &snapshot, last_success_at));
        match timeout(PATIENCE, &mut writing).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(SaveError::Stalled),
            Err(_) => {
                self.writing = Some(writing);
                Err(SaveError::Stalled)
            }
        }
    }
}

/// The one name beside the file under which it is written.
fn temporary(path: &Path) -> PathBuf {
    suffixed(path, ".tmp")
}

/// The one name beside the file under which a file that is of no use is kept.
fn aside(path: &Path) -> PathBuf {
    suffixed(path, ".bad")
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    bytes: usize,
    crc32: u32,
}

#[derive(Serialize, Deserialize)]
struct Content {
    base_url: String,
    last_success_at: Option<f64>,
    organization: List,
    projects: Vec<OneProject>,
    projects_malformed: u64,
    projects_duplicates: u64,
    projects_vanished: u64,
}

#[derive(Serialize, Deserialize)]
struct List {
    certificates: Vec<OneCertificate>,
    malformed: u64,
    duplicates: u64,
}

#[derive(Serialize, Deserialize)]
struct OneCertificate {
    id: Box<str>,
    name: Option<Box<str>>,
    active: bool,
    created_at: Option<i64>,
    valid_at: Option<i64>,
    expires_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct OneProject {
    id: Box<str>,
    name: Option<Box<str>>,
    read_at: f64,
    list: List,
}

fn save(path: &Path, base_url: &str, snapshot: &Snapshot, last_success_at: Option<f64>) -> Result<(), SaveError> {
    let projects = snapshot.projects();
    let content = serde_json::to_vec(&Content {
        base_url: base_url.to_owned(),
        last_success_at,
        organization: snapshot.organization().as_ref().into(),
        projects: projects.items.iter().map(OneProject::from).collect(),
        projects_malformed: projects.malformed.count,
        projects_duplicates: projects.duplicates,
        projects_vanished: projects.vanished,
    })?;
    let header = Header { version: VERSION, bytes: content.len(), crc32: crc32fast::hash(&content) };
    let temporary = temporary(path);
    // What a write that was killed has left behind may be of any mode, so it is not written over.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file
        .write_all(&[&serde_json::to_vec(&header)?, b"\n".as_slice(), &content].concat())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // On a full disk, the part that was written only takes the room that the next one needs.
        let _ = std::fs::remove_file(&temporary);
        return Err(error.into());
    }
    // The move is safe only once the folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(folder)?.sync_all()?)
}

fn load_or_set_aside(path: &Path, base_url: &str) -> Option<Stored> {
    let error = match load(path, base_url) {
        Ok(stored) => return Some(stored),
        Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => error,
    };
    let aside = aside(path);
    let path_shown = path.display();
    if matches!(error, LoadError::NotAFile) {
        tracing::warn!(path = %path_shown, "the state file is not used: {error}");
        return None;
    }
    match std::fs::rename(path, &aside) {
        Ok(()) => {
            tracing::warn!(path = %path_shown, aside = %aside.display(), "the state file is not used and is set aside: {error}");
        }
        Err(rename) => {
            tracing::warn!(path = %path_shown, "the state file is not used: {error}; nor can it be set aside: {rename}");
        }
    }
    None
}

fn load(path: &Path, base_url: &str) -> Result<Stored, LoadError> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(LoadError::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(LoadError::TooLarge);
    }
    parse(&bytes, base_url)
}

fn parse(bytes: &[u8], base_url: &str) -> Result<Stored, LoadError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let line_end = memchr::memchr(b'\n', bytes).ok_or(LoadError::Header)?;
    let (line, content) = (&bytes[..line_end], &bytes[line_end + 1..]);
    // The version first: of another one, nothing else is known.
    let Version { version } = serde_json::from_slice(line).map_err(|_| LoadError::Header)?;
    if version != VERSION {
        return Err(LoadError::Version(version));
    }
    let header: Header = serde_json::from_slice(line).map_err(|_| LoadError::Header)?;
    if content.len() != header.bytes || crc32fast::hash(content) != header.crc32 {
        return Err(LoadError::Damaged);
    }
    let content: Content = serde_json::from_slice(content).map_err(|_| LoadError::Damaged)?;
    if content.base_url != base_url {
        return Err(LoadError::Foreign);
    }
    let mut items: Vec<_> = content.projects.into_iter().map(ProjectCertificates::from).collect();
    items.sort_by(|a, b| a.project.id.cmp(&b.project.id));
    let projects = Projects {
        items: items.into(),
        malformed: Malformed::of_count(content.projects_malformed),
        duplicates: content.projects_duplicates,
        vanished: content.projects_vanished,
    };
    Ok(Stored { organization: content.organization.into(), projects, last_success_at: content.last_success_at })
}

impl From<&Listing<Certificate>> for List {
    fn from(list: &Listing<Certificate>) -> Self {
        let certificates = list.items.iter().map(|certificate| OneCertificate {
            id: certificate.id.clone(),
            name: certificate.name.clone(),
            active: certificate.active,
            created_at: certificate.created_at,
            valid_at: certificate.valid_at,
            expires_at: certificate.expires_at,
        });
        Self { certificates: certificates.collect(), malformed: list.malformed.count, duplicates: list.duplicates }
    }
}

impl From<List> for Listing<Certificate> {
    fn from(list: List) -> Self {
        let certificates = list.certificates.into_iter().map(|certificate| {
            let OneCertificate { id, name, active, created_at, valid_at, expires_at } = certificate;
            Certificate { id, name, active, created_at, valid_at, expires_at }
        });
        Self::new(certificates, Malformed::of_count(list.malformed)).with_duplicates(list.duplicates)
    }
}

impl From<&ProjectCertificates> for OneProject {
    fn from(read: &ProjectCertificates) -> Self {
        let list = read.certificates.as_ref().into();
        Self { id: read.project.id.clone(), name: read.project.name.clone(), read_at: read.read_at, list }
    }
}

impl From<OneProject> for ProjectCertificates {
    fn from(project: OneProject) -> Self {
        let OneProject { id, name, read_at, list } = project;
        let project = Project { id, name, archived: false };
        Self { project, certificates: Arc::new(list.into()), read_at }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;
    use regex::Regex;
    use tempfile::TempDir;

    use super::*;
    use crate::inventory::RotationGroup;

    const BASE_URL: &str = "https://api.openai.com/v1";

    fn certificate(id: &str) -> Certificate {
        let name = Some("ca \"1\"\n🔒".into());
        Certificate {
            id: id.into(),
            name,
            active: true,
            created_at: None,
            valid_at: Some(i64::MIN),
            expires_at: Some(i64::MAX),
        }
    }

    fn snapshot() -> Arc<Snapshot> {
        let list = |ids: [&str; 2]| Listing::new(ids.map(certificate), Malformed::of_count(3));
        let project = Project { id: "proj".into(), name: None, archived: false };
        let items = [ProjectCertificates { project, certificates: Arc::new(list(["c", "d"])), read_at: 12.5 }].into();
        let projects = Projects { items, malformed: Malformed::of_count(1), duplicates: 2, vanished: 4 };
        let group = RotationGroup::new(Regex::new("(.*)").unwrap());
        Arc::new(Snapshot::new(Arc::new(list(["a", "b"])), projects, &group, None))
    }

    fn saved(folder: &TempDir) -> (PathBuf, Vec<u8>) {
        let path = folder.path().join("state");
        save(&path, BASE_URL, &snapshot(), Some(1.25)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    }

    #[test]
    fn what_is_saved_comes_back() {
        let folder = TempDir::new().unwrap();
        let (path, _) = saved(&folder);
        let stored = load(&path, BASE_URL).unwrap();
        assert_eq!(&stored.organization, snapshot().organization().as_ref());
        assert_eq!(&stored.projects, snapshot().projects());
        assert_eq!(stored.last_success_at, Some(1.25));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_a_killed_write_left_is_no_obstacle() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("state");
        std::fs::write(temporary(&path), "half").unwrap();
        std::fs::set_permissions(temporary(&path), PermissionsExt::from_mode(0o644)).unwrap();
        saved(&folder);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_of_no_use_is_set_aside() {
        let folder = TempDir::new().unwrap();
        let (path, good) = saved(&folder);
        let text = String::from_utf8(good.clone()).unwrap();
        let other_version = text.replacen("\"version\":1", "\"version\":2", 1).into_bytes();
        for bad in
            [vec![], b"\n".to_vec(), good[..good.len() - 1].to_vec(), [good.as_slice(), b" "].concat(), other_version]
        {
            std::fs::write(&path, &bad).unwrap();
            assert!(load_or_set_aside(&path, BASE_URL).is_none());
            assert!(!path.exists());
            assert_eq!(std::fs::read(aside(&path)).unwrap(), bad);
        }
        std::fs::write(&path, &good).unwrap();
        assert!(load_or_set_aside(&path, "https://another.example/v1").is_none());
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_in_its_place_is_left_alone() {
        let folder = TempDir::new().unwrap();
        assert!(load_or_set_aside(folder.path(), BASE_URL).is_none());
        assert!(folder.path().exists());
    }

    #[test]
    fn no_single_damaged_byte_goes_unnoticed() {
        let folder = TempDir::new().unwrap();
        let (_, good) = saved(&folder);
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            // White space in the first line is the one thing that can be another without saying anything else.
            assert!(parse(&bad, BASE_URL).is_err(), "byte {position}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse(&bytes, BASE_URL).is_err());
        }
    }
}
