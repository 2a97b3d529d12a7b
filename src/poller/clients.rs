//! The clients' part of a poll: their files are read, and all of it is judged, on a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::blocking::try_spawn;
use crate::client_files::ClientFiles;
use crate::clients::{Assessment, Contents, Judgement, Signatures};
use crate::config::ClientConfig;
use crate::inventory::{Inventory, whole_second};

/// How long the files may take although the poll's time is over: what is known of the API does not depend on them.
const MIN_TIME: Duration = Duration::from_secs(5);

/// Judges clients from poll to poll. A read that hangs goes on by itself, and no other is begun before it ends.
#[derive(Clone, Debug)]
pub(super) struct ClientJudge(Arc<Mutex<Judging>>);

#[derive(Debug)]
struct Judging {
    files: ClientFiles,
    signatures: Signatures,
}

impl ClientJudge {
    pub(super) fn new(clients: Vec<ClientConfig>) -> Self {
        let (files, signatures) = (ClientFiles::new(clients), Signatures::default());
        Self(Arc::new(Mutex::new(Judging { files, signatures })))
    }

    /// The assessment after a poll; the one `before`, or none, if the files cannot be read in time.
    pub(super) async fn judge(
        &self,
        before: Option<Arc<Assessment>>,
        contents: Arc<Contents>,
        inventory: Option<Arc<Inventory>>,
        deadline: Instant,
    ) -> Option<Arc<Assessment>> {
        let (judging, last) = (Arc::clone(&self.0), before.clone());
        let work = move || {
            let mut judging = match judging.try_lock() {
                Ok(judging) => judging,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            let clients = judging.files.read();
            let (contents, inventory) = (&contents, inventory.as_ref());
            let signatures = &judging.signatures;
            Some(Assessment::new_or_unchanged(
                last.as_ref(),
                clients,
                contents,
                inventory,
                signatures,
            ))
        };
        let deadline = deadline.max(Instant::now() + MIN_TIME);
        let fault = match timeout_at(deadline, try_spawn(work)).await {
            Ok(Ok(Some(assessment))) => return Some(assessment),
            Ok(Ok(None)) | Err(_) => "the disk does not answer".to_owned(),
            Ok(Err(error)) => error.to_string(),
        };
        tracing::warn!("the clients' files are not read again: {fault}");
        before
    }
}

/// What is new about clients at `now`: files that cannot be used, and who is refused or let in again.
pub(super) fn log_changes(
    assessment: Option<&Assessment>,
    now: f64,
    before: Option<(&Assessment, f64)>,
) {
    let known = before.map(|(before, _)| failed_files(before)).unwrap_or_default();
    let failed = assessment.map(failed_files).unwrap_or_default();
    for (client, file, message) in failed.difference(&known) {
        tracing::warn!(client, "a client's file is not used: {file} {message}");
    }
    let refused_before = before.map(|(before, at)| refused(before, at)).unwrap_or_default();
    let refused = assessment.map(|assessment| refused(assessment, now)).unwrap_or_default();
    let changed = |(key, _): &(&Place<'_>, &&str)| !refused_before.contains_key(*key);
    for ((client, file, project_id), reason) in refused.iter().filter(changed) {
        tracing::warn!(client, file, project_id, reason, "a client is refused");
    }
    for ((client, file, project_id), _) in
        refused_before.iter().filter(|(key, _)| !refused.contains_key(*key))
    {
        tracing::info!(client, file, project_id, "a client is no longer refused");
    }
}

fn failed_files(assessment: &Assessment) -> BTreeSet<(&str, &str, &str)> {
    let clients = assessment.clients().iter();
    let failed =
        clients.flat_map(|client| client.failed.iter().map(move |failed| (client, failed)));
    failed.map(|(client, failed)| (&*client.name, &*failed.path, &*failed.message)).collect()
}

/// A client, its file, and a project's identifier.
type Place<'a> = (&'a str, &'a str, Option<&'a str>);

/// Where clients are refused at an instant, and why. What an issuer signs now counts too.
fn refused(assessment: &Assessment, at: f64) -> BTreeMap<Place<'_>, &'static str> {
    let refused =
        assessment.iter().filter_map(|Judgement { client, file, project, acceptance }| {
            let verdict = acceptance.at(whole_second(at));
            let reason = verdict.refusal.filter(|_| verdict.accepted == Some(false))?;
            let project_id = project.map(|project| &*project.id);
            Some(((&*client.name, &*file.path, project_id), reason.into()))
        });
    refused.collect()
}
