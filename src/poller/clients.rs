//! The clients' part of a poll: their files are read, and all of it is judged, on a thread of its own.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::blocking::try_spawn;
use crate::client_files::ClientFiles;
use crate::clients::{Assessment, Contents, Signatures};
use crate::config::ClientConfig;
use crate::inventory::Inventory;

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
