//! The clients' part of a poll: their files are read, and all of it is judged, on a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::time::{Instant, timeout_at};

use crate::blocking::{IO_TIMEOUT, lock, spawn_blocking, try_spawn};
use crate::client_files::ClientFiles;
use crate::clients::{
    Assessment, Client, ClientFile, Contents, FailedFile, FileKind, Judgement, Signatures,
};
use crate::config::{ClientConfig, OWN_CLIENT};
use crate::inventory::{Inventory, whole_second};
use crate::openai::Presented;

/// Judges clients from poll to poll. A read that hangs goes on by itself, and no other is begun before it ends.
#[derive(Debug)]
pub(super) struct ClientJudge {
    pub(super) configured: Vec<ClientConfig>,
    files: Arc<Mutex<ClientFiles>>,
    signatures: Arc<Signatures>,
}

impl ClientJudge {
    pub(super) fn new(configured: Vec<ClientConfig>) -> Self {
        let files = Arc::new(Mutex::new(ClientFiles::new(configured.clone())));
        Self { configured, files, signatures: Arc::default() }
    }

    /// The assessment after a poll, with the exporter itself as the client `own`. A client whose files cannot be read in time
    /// has those of `before`.
    pub(super) async fn judge(
        &self,
        before: Option<Arc<Assessment>>,
        own: Option<Client>,
        contents: Arc<Contents>,
        inventory: Option<Arc<Inventory>>,
        deadline: Instant,
    ) -> Option<Arc<Assessment>> {
        // What is known of the API does not depend on the files, which have time although the poll's is over.
        let (mut clients, fault) = self.read(deadline.max(Instant::now() + IO_TIMEOUT)).await;
        for configured in self.configured.iter().skip(clients.len()) {
            clients.push(not_read(configured, before.as_deref(), &fault));
        }
        clients.extend(own);
        clients.sort_by(|a, b| a.name.cmp(&b.name));
        let (signatures, last) = (Arc::clone(&self.signatures), before.clone());
        let judged = spawn_blocking(move || {
            let inventory = inventory.as_ref();
            let last = last.as_ref();
            Assessment::new_or_unchanged(last, clients, &contents, inventory, &signatures)
        });
        judged.await.ok().or(before)
    }

    /// The first clients, as many as could be read until `deadline`, and why others could not.
    async fn read(&self, deadline: Instant) -> (Vec<Client>, String) {
        let (files, read) = (Arc::clone(&self.files), Arc::new(Mutex::new(Vec::new())));
        let progress = Arc::clone(&read);
        let work = move || {
            // Else the read before still hangs.
            if let Ok(mut files) = files.try_lock() {
                files.read(|client| lock(&progress).push(client));
            }
        };
        let fault = match timeout_at(deadline, try_spawn(work)).await {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) | Err(_) => "it takes too long".to_owned(),
        };
        // What is added later comes too late for this poll.
        (std::mem::take(&mut *lock(&read)), fault)
    }
}

/// The exporter as a client of the API: by what it presents, whatever the file holds by now.
pub(super) fn own_client((file, presented): (&Path, Presented)) -> Client {
    let path: Arc<str> = file.to_string_lossy().into();
    let (files, failed) = match presented {
        Ok(chain) => (vec![ClientFile { path, kind: FileKind::Certificate, chain }], Vec::new()),
        Err(message) => (Vec::new(), vec![FailedFile { path, message }]),
    };
    Client { name: OWN_CLIENT.into(), projects: None, files, failed }
}

/// A client with the files that were known `before`, each of its patterns counted as failed.
fn not_read(configured: &ClientConfig, before: Option<&Assessment>, fault: &str) -> Client {
    let known = before.iter().flat_map(|before| before.clients());
    let known = known.into_iter().find(|client| *client.name == *configured.name);
    let patterns = configured.certificate_files.iter().chain(&configured.issuer_files);
    let failed = patterns.map(|pattern| {
        let message = format!("cannot be read: {fault}").into();
        FailedFile { path: pattern.as_str().into(), message }
    });
    Client {
        name: configured.name.as_str().into(),
        projects: configured.projects.clone(),
        files: known.map(|client| client.files.clone()).unwrap_or_default(),
        failed: failed.collect(),
    }
}

/// What is new about clients at `now`: files that cannot be used, patterns that match nothing, and who is refused or let in
/// again.
pub(super) fn log_changes(
    assessment: Option<&Assessment>,
    now: f64,
    before: Option<(&Assessment, f64)>,
) {
    let known = before.map(|(before, _)| failed_files(before)).unwrap_or_default();
    let failed = assessment.map(failed_files).unwrap_or_default();
    for (client, file, message) in failed.difference(&known) {
        tracing::warn!(client, file, "a client's file is not used: it {message}");
    }
    let unscoped_before = before.map(|(before, _)| unscoped(before)).unwrap_or_default();
    let unscoped = assessment.map(unscoped).unwrap_or_default();
    for client in unscoped.difference(&unscoped_before) {
        let message = "no project that is monitored matches its patterns";
        tracing::warn!(client, "a client is judged nowhere: {message}");
    }
    let unmatched_before = before.map(|(before, _)| unmatched_patterns(before)).unwrap_or_default();
    let unmatched = assessment.map(unmatched_patterns).unwrap_or_default();
    for (client, pattern) in unmatched.difference(&unmatched_before) {
        let what = "a pattern of its `projects` matches no project that is monitored";
        tracing::warn!(client, pattern, "a client is judged in fewer projects: {what}");
    }
    let refused_before = before.map(|(before, at)| refused(before, at)).unwrap_or_default();
    let refused = assessment.map(|assessment| refused(assessment, now)).unwrap_or_default();
    for (place, reason) in &refused {
        let Place { client, file, project_id, is_issuer } = place;
        let message = match is_issuer {
            _ if refused_before.contains_key(place) => continue,
            true => "a client's issuer is not trusted: what it signs now would be refused",
            false => "a client is refused",
        };
        tracing::warn!(client, file, project_id, reason, "{message}");
    }
    for place in refused_before.keys().filter(|place| !refused.contains_key(*place)) {
        let Place { client, file, project_id, is_issuer } = place;
        let again = if *is_issuer { "'s issuer is trusted" } else { " is no longer refused" };
        tracing::info!(client, file, project_id, "a client{again}");
    }
}

/// Clients that are in no scope, if projects are known.
fn unscoped(assessment: &Assessment) -> BTreeSet<&str> {
    let unscoped = assessment.unscoped().filter(|_| assessment.any_project());
    unscoped.map(|client| &*client.name).collect()
}

/// Clients with patterns that match nothing, where another one matches.
fn unmatched_patterns(assessment: &Assessment) -> BTreeSet<(&str, &str)> {
    let unscoped = unscoped(assessment);
    let unmatched = assessment.unmatched_patterns().filter(|_| assessment.any_project());
    unmatched.filter(|(client, _)| !unscoped.contains(client)).collect()
}

fn failed_files(assessment: &Assessment) -> BTreeSet<(&str, &str, &str)> {
    let clients = assessment.clients().iter();
    let failed =
        clients.flat_map(|client| client.failed.iter().map(move |failed| (client, failed)));
    failed.map(|(client, failed)| (&*client.name, &*failed.path, &*failed.message)).collect()
}

/// A file of a client in one of its scopes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    client: &'a str,
    file: &'a str,
    project_id: Option<&'a str>,
    is_issuer: bool,
}

/// Where clients are refused at an instant, or would be, and why.
fn refused(assessment: &Assessment, at: f64) -> BTreeMap<Place<'_>, &'static str> {
    let refused =
        assessment.iter().filter_map(|Judgement { client, file, project, acceptance, .. }| {
            let verdict = acceptance.at(whole_second(at));
            let reason = verdict.refusal.filter(|_| verdict.accepted == Some(false))?;
            let place = Place {
                client: &client.name,
                file: &file.path,
                project_id: project.map(|project| &*project.id),
                is_issuer: file.kind == FileKind::Issuer,
            };
            Some((place, reason.into()))
        });
    refused.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[tokio::test]
    async fn client_keeps_its_files_while_an_earlier_read_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let leaf = CertificateParams::default().self_signed(&KeyPair::generate().unwrap());
        fs::write(folder.path().join("tls.crt"), leaf.unwrap().pem()).unwrap();
        let pattern = format!("{}/*.crt", folder.path().display());
        let config = format!("name = 'edge'\ncertificate_files = '{pattern}'");
        let judge = ClientJudge::new(vec![toml::from_str(&config).unwrap()]);
        let judged = |before| judge.judge(before, None, Arc::default(), None, Instant::now());
        let read = judged(None).await.unwrap();
        let hanging = judge.files.try_lock();
        let not_read = judged(Some(Arc::clone(&read))).await.unwrap();
        drop(hanging);
        let (read, not_read) = (&read.clients()[0], &not_read.clients()[0]);
        assert_eq!((read.files.len(), &read.files), (1, &not_read.files));
        let message = "cannot be read: it takes too long".into();
        assert_eq!(not_read.failed, [FailedFile { path: pattern.into(), message }]);
    }
}
