//! The certificate files of clients, found by their patterns and read again for every poll. A file that cannot be used costs
//! only itself, and nothing of a private key that stands in one is kept.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern};
use secrecy::zeroize::Zeroizing;

use crate::clients::{Chain, Client, ClientFile, FailedFile, FileKind};
use crate::config::ClientConfig;
use crate::regular_file;

/// Of one file: room for a hundred chains.
const MAX_KIB: u64 = 1 << 10;
/// Of one client.
const MAX_FILES: usize = 10_000;
/// Names of files and folders that are looked at for one pattern: with `**`, one may ask for a whole disk.
const MAX_LOOKED_AT: usize = 100_000;
/// As in a shell, `*` matches no name that begins with a dot: below a mounted Secret, each file is there once more in a folder
/// `..data`.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The clients' files, and what they held when they were last read.
#[derive(Debug)]
pub(crate) struct ClientFiles {
    clients: Vec<ClientConfig>,
    known: KnownContents,
    hasher: RandomState,
}

/// What was made of a content, by its hash: an unchanged file is not parsed again.
type KnownContents = HashMap<(FileKind, u64), Result<Arc<Chain>, Box<str>>>;

impl ClientFiles {
    pub(crate) fn new(clients: Vec<ClientConfig>) -> Self {
        Self { clients, known: HashMap::new(), hasher: RandomState::new() }
    }

    /// Calls `add` with each client and its files as they are. Blocks.
    pub(crate) fn read(&mut self, add: impl FnMut(Client)) {
        let mut seen = KnownContents::new();
        self.clients.iter().map(|client| self.read_client(client, &mut seen)).for_each(add);
        self.known = seen;
    }

    /// What the files of each client hold, a line each, and what is wrong with others. Blocks.
    pub(crate) fn counts(&mut self) -> Vec<String> {
        let lines = |client: Client| {
            let (name, certificates) = (&client.name, client.certificates().count());
            let issuers = client.files.len() - certificates;
            let counts =
                format!("client {name}: {certificates} certificate files, {issuers} issuer files");
            let faults = client.failed.iter();
            let faults = faults.map(|FailedFile { path, message }| {
                format!("client {name}: {} {message}", path.escape_debug())
            });
            [counts].into_iter().chain(faults).collect::<Vec<_>>()
        };
        let mut all = Vec::new();
        self.read(|client| all.extend(lines(client)));
        all
    }

    fn read_client(&self, client: &ClientConfig, seen: &mut KnownContents) -> Client {
        let (mut files, mut failed) = (Vec::new(), Vec::new());
        let certificates = find(&client.certificate_files, &mut failed);
        let issuers = find(&client.issuer_files, &mut failed);
        let certificates = certificates.into_iter().map(|path| (FileKind::Certificate, path));
        let issuers = issuers.into_iter().map(|path| (FileKind::Issuer, path));
        for (kind, path) in certificates.chain(issuers) {
            let chain = self.read_file(kind, Path::new(&path), seen);
            let path = path.to_string_lossy().into();
            match chain {
                Ok(chain) => files.push(ClientFile { path, kind, chain }),
                Err(message) => failed.push(FailedFile { path, message }),
            }
        }
        // What two patterns find, or both lists, counts once.
        failed.sort_by(|a, b| a.path.cmp(&b.path));
        failed.dedup_by(|a, b| a.path == b.path);
        let (name, projects) = (client.name.as_str().into(), client.projects.clone());
        Client { name, projects, files, failed }
    }

    fn read_file(
        &self,
        kind: FileKind,
        path: &Path,
        seen: &mut KnownContents,
    ) -> Result<Arc<Chain>, Box<str>> {
        // Some keep the private key in the same file.
        let content = regular_file::read(path, MAX_KIB).map(Zeroizing::new);
        let content = content.map_err(|error| format!("cannot be read: {error}"))?;
        let key = (kind, self.hasher.hash_one(&*content));
        let parse = || {
            let chain = match kind {
                FileKind::Certificate => Chain::from_pem(&content),
                FileKind::Issuer => Chain::of_issuer_pem(&content),
            };
            chain.map(Arc::new).map_err(|fault| fault.to_string().into())
        };
        let known = || self.known.get(&key).cloned().unwrap_or_else(parse);
        seen.entry(key).or_insert_with(known).clone()
    }
}

/// The files of these patterns, each once, sorted. What finds none has failed.
fn find(patterns: &[String], failed: &mut Vec<FailedFile>) -> BTreeSet<OsString> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let mut walk = Walk { found: BTreeSet::new(), unreadable: Vec::new(), looked_at: 0 };
        let (root, components) = match pattern.strip_prefix('/') {
            Some(rest) => (PathBuf::from("/"), rest),
            None => (PathBuf::new(), &**pattern),
        };
        let components: Vec<_> = components.split('/').filter(|part| !part.is_empty()).collect();
        walk.descend(&root, &components);
        let fault = match walk.found.len() {
            _ if walk.looked_at > MAX_LOOKED_AT => {
                Some(format!("needs a search of more than {MAX_LOOKED_AT} names"))
            }
            _ if found.len() + walk.found.len() > MAX_FILES => {
                Some(format!("brings the files of this client to more than {MAX_FILES}"))
            }
            0 if !walk.unreadable.is_empty() => None,
            0 if pattern.contains(['*', '?', '[']) => Some("matches no file".into()),
            0 => Some("does not exist".into()),
            _ => None,
        };
        let fault = fault.map(|message| (pattern.clone(), message));
        failed.extend(
            walk.unreadable
                .into_iter()
                .chain(fault)
                .map(|(path, message)| FailedFile { path: path.into(), message: message.into() }),
        );
        let more = MAX_FILES.saturating_sub(found.len());
        found.extend(walk.found.into_iter().take(more));
    }
    found
}

/// Below a folder, what a pattern matches. Names that are no UTF-8 are matched too, with U+FFFD for what is not.
struct Walk {
    found: BTreeSet<OsString>,
    /// Folders, and why they cannot be read.
    unreadable: Vec<(String, String)>,
    looked_at: usize,
}

impl Walk {
    fn descend(&mut self, folder: &Path, components: &[&str]) {
        let Some((first, rest)) = components.split_first() else { return };
        match Component::new(first) {
            Component::Name(name) => self.arrive(&folder.join(name), rest),
            Component::Pattern(pattern) => {
                let names = self.names(folder);
                self.arrive_at_matches(folder, &names, &pattern, rest);
            }
            Component::AnyFolders => {
                let names = self.names(folder);
                let here = if rest.is_empty() { &["*"] } else { rest };
                match Component::new(here[0]) {
                    Component::Pattern(pattern) => {
                        self.arrive_at_matches(folder, &names, &pattern, &here[1..]);
                    }
                    _ => self.descend(folder, here),
                }
                for name in names {
                    let below = folder.join(&name);
                    // Links are not followed: they may lead back here.
                    let is_folder = below.symlink_metadata().is_ok_and(|found| found.is_dir());
                    if is_folder && !name.as_encoded_bytes().starts_with(b".") {
                        self.descend(&below, components);
                    }
                }
            }
        }
    }

    fn arrive_at_matches(
        &mut self,
        folder: &Path,
        names: &[OsString],
        pattern: &Pattern,
        rest: &[&str],
    ) {
        for name in names {
            let path = folder.join(name);
            let is_match = pattern.matches_with(&name.to_string_lossy(), MATCHING);
            // A pattern stands for files; a folder at its end is not meant.
            if is_match && !(rest.is_empty() && path.is_dir()) {
                self.arrive(&path, rest);
            }
        }
    }

    fn arrive(&mut self, path: &Path, rest: &[&str]) {
        if !rest.is_empty() {
            return self.descend(path, rest);
        }
        // What may not be looked at is found, and says so when it is read.
        if path.symlink_metadata().map_or_else(|error| !is_absence(&error), |_| true) {
            self.found.insert(path.into());
        }
    }

    /// None of what is no folder, or not there.
    fn names(&mut self, folder: &Path) -> Vec<OsString> {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let names = fs::read_dir(here).and_then(|entries| {
            let room = (MAX_LOOKED_AT + 1).saturating_sub(self.looked_at);
            entries.take(room).map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        });
        match names {
            Ok(names) => {
                self.looked_at += names.len();
                names
            }
            Err(error) if is_absence(&error) => Vec::new(),
            Err(error) => {
                let fault = format!("cannot be read: {error}");
                self.unreadable.push((folder.to_string_lossy().into(), fault));
                Vec::new()
            }
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// A part of a pattern, between two slashes.
enum Component {
    /// Of one file or folder. It need not be readable where it is.
    Name(String),
    Pattern(Pattern),
    /// `**`
    AnyFolders,
}

impl Component {
    fn new(text: &str) -> Self {
        let unescaped = ["?", "*", "[", "]"]
            .iter()
            .fold(text.to_owned(), |name, char| name.replace(&format!("[{char}]"), char));
        // The configuration has refused what is no pattern.
        match Pattern::new(text) {
            _ if text == "**" => Self::AnyFolders,
            Ok(pattern)
                if Pattern::escape(&unescaped) != text && text.contains(['*', '?', '[']) =>
            {
                Self::Pattern(pattern)
            }
            _ => Self::Name(unescaped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let file = below.join("tls.crt");
        fs::write(&file, "").unwrap();
        for pattern in [&["**"][..], &["**", "*.crt"], &["**", "tls.crt"], &["**", "b", "*"]] {
            let mut walk = Walk { found: BTreeSet::new(), unreadable: Vec::new(), looked_at: 0 };
            walk.descend(folder.path(), pattern);
            assert_eq!(walk.found, [file.clone().into()].into(), "{pattern:?}");
            let names = 3 + usize::from(pattern.contains(&"b"));
            assert_eq!(walk.looked_at, names, "{pattern:?}");
        }
    }
}
