//! One poll: the organization's list first, then the projects', side by side. Each list is whole or not taken.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use regex::Regex;
use reqwest::StatusCode;
use tokio::sync::mpsc;
use tokio::try_join;

use super::store::Stored;
use crate::inventory::{Project, ProjectCertificates, Projects, RotationGroup, Snapshot, unix_now};
use crate::openai::{Error, Session};

/// Lists that are walked at once, for each request that may be under way: one that waits to be tried again should not
/// take the place of one that could go on.
const WALKS_PER_REQUEST: usize = 8;

/// What to collect, and how to read it.
#[derive(Debug)]
pub(super) struct Plan {
    /// The projects to poll, where they are polled.
    pub(super) projects: Option<ProjectFilter>,
    pub(super) concurrency: usize,
    pub(super) rotation_group: RotationGroup,
}

/// Which projects are polled.
#[derive(Debug)]
pub(super) struct ProjectFilter {
    pub(super) include: Vec<Regex>,
    pub(super) exclude: Vec<Regex>,
}

impl ProjectFilter {
    fn takes(&self, project: &Project) -> bool {
        let is_any = |patterns: &[Regex]| {
            patterns.iter().any(|pattern| {
                pattern.is_match(&project.id) || project.name.as_deref().is_some_and(|name| pattern.is_match(name))
            })
        };
        !project.archived && (self.include.is_empty() || is_any(&self.include)) && !is_any(&self.exclude)
    }
}

/// What a poll brought in.
pub(super) struct Harvest {
    pub(super) snapshot: Arc<Snapshot>,
    /// The lists that could not be read; they stand in the snapshot as they were before.
    pub(super) missed: Vec<Missed>,
}

/// A list that could not be read.
#[derive(Debug)]
pub(super) struct Missed {
    /// Whose; without one, it is the list of projects itself.
    pub(super) project_id: Option<Box<str>>,
    pub(super) error: Error,
}

impl Plan {
    /// Reads every list. An error is the organization's: without its list nothing is taken.
    pub(super) async fn collect(
        &self,
        session: &Session<'_>,
        before: Option<&Arc<Snapshot>>,
    ) -> Result<Harvest, Error> {
        let organization = session.organization_certificates(before.map(|before| before.organization())).await?;
        let (projects, missed) = match &self.projects {
            None => (Projects::default(), Vec::new()),
            Some(filter) => self.collect_projects(session, filter, before.map(|before| before.projects())).await,
        };
        let snapshot = match before {
            Some(before) if before.is_of(&organization, &projects, &self.rotation_group) => Arc::clone(before),
            _ => {
                let before = before.map(|before| &**before);
                Arc::new(Snapshot::new(organization, projects, &self.rotation_group, before))
            }
        };
        Ok(Harvest { snapshot, missed })
    }

    /// The snapshot of what an earlier run has kept, as far as it is still wanted.
    pub(super) fn restore(&self, stored: Stored) -> Snapshot {
        let Stored { organization, mut projects, .. } = stored;
        let is_wanted =
            |read: &ProjectCertificates| self.projects.as_ref().is_some_and(|filter| filter.takes(&read.project));
        if self.projects.is_none() {
            projects = Projects::default();
        }
        projects.items = projects.items.into_iter().filter(is_wanted).collect();
        Snapshot::new(Arc::new(organization), projects, &self.rotation_group, None)
    }

    /// Reads each project's list as soon as the page that names it has come, so that no place is idle while the list of
    /// projects is walked page by page. Without the whole of that list, nothing of what was read is taken.
    async fn collect_projects(
        &self,
        session: &Session<'_>,
        filter: &ProjectFilter,
        before: Option<&Projects>,
    ) -> (Projects, Vec<Missed>) {
        let known = |id: &str| before.and_then(|before| before.get(id));
        let (sender, mut found) = mpsc::unbounded_channel();
        let mut named = HashSet::new();
        // The sender goes with the walk, which ends the stream of what was found.
        let listing = session.projects(move |page| {
            for project in page.iter().filter(|project| filter.takes(project)) {
                if named.insert(project.id.clone()) {
                    // It is received for as long as the walk lasts.
                    let _ = sender.send(project.id.clone());
                }
            }
        });
        let read = |id: Box<str>| async move {
            let certificates = session.project_certificates(&id, known(&id).map(|known| &known.certificates)).await;
            (id, (certificates, unix_now()))
        };
        let reads = stream::poll_fn(|context| found.poll_recv(context))
            .map(read)
            .buffer_unordered(self.concurrency * WALKS_PER_REQUEST)
            .collect::<HashMap<_, _>>();
        let (listed, mut reads) = match try_join!(listing, reads.map(Ok)) {
            Ok(both) => both,
            Err(error) => return (before.cloned().unwrap_or_default(), vec![Missed { project_id: None, error }]),
        };

        let (mut items, mut missed, mut vanished) = (Vec::new(), Vec::new(), 0);
        // As they were listed last: one that was listed twice may have another name by then.
        for project in listed.items.iter().filter(|project| filter.takes(project)) {
            let project = Project::clone(project);
            match reads.remove(&project.id) {
                Some((Ok(certificates), read_at)) => items.push(ProjectCertificates { project, certificates, read_at }),
                Some((Err(error), _)) if error.status == Some(StatusCode::NOT_FOUND) => vanished += 1,
                Some((Err(error), _)) => {
                    missed.push(Missed { project_id: Some(project.id.clone()), error });
                    items.extend(known(&project.id).map(|known| ProjectCertificates { project, ..known.clone() }));
                }
                None => {} // never: whatever is taken was found on a page
            }
        }
        let malformed = listed.malformed.clone();
        let projects = Projects { items: items.into(), malformed, duplicates: listed.duplicates, vanished };
        (projects, missed)
    }
}
