//! One poll, in stages: the organization's list, the list of projects, each selected project's list. A list is read whole,
//! or stays as it was.

use std::collections::{BTreeMap, HashMap};
use std::iter::zip;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::project_filter::{ProjectFilter, UnmatchedPatterns};
use super::state_file::SavedState;
use crate::clients::{AnchorContent, Contents};
use crate::inventory::{
    Certificate, Inventory, Listing, Lists, Malformed, Project, ProjectFaults, ProjectList,
    RotationGroup, Snapshot, unchanged_or, unix_now,
};
use crate::openai::{Error, Session};
use crate::poll_state::{FailedList, FailureReason, ListName};

#[derive(Debug)]
pub(super) struct CollectOptions {
    /// Which projects are polled; none if projects are not.
    pub(super) projects: Option<ProjectFilter>,
    /// Whether the PEM of certificates is read too.
    pub(super) content: bool,
    /// Lists of projects that are read at once.
    pub(super) concurrency: usize,
    pub(super) rotation_group: RotationGroup,
}

pub(super) struct Collected {
    /// None if the organization's list could not be read: then no other list is read.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// The PEM of the certificates of the snapshot, as far as it has been read.
    pub(super) contents: Arc<Contents>,
    /// The lists that could not be read: the snapshot has their previous content, or none.
    pub(super) failed: Vec<FailedList>,
    /// The patterns that match no project; none if projects were not listed.
    pub(super) unmatched: Option<UnmatchedPatterns>,
    /// How long the API asks for no further requests.
    pub(super) pause: Duration,
}

impl Collected {
    pub(super) fn new(
        snapshot: Option<Snapshot>,
        contents: Arc<Contents>,
        failed: Vec<(ListName, Error)>,
    ) -> Self {
        // A `Retry-After` on any list but the organization's pauses polling only if it came from a 429, which
        // limits the key.
        let pauses = failed
            .iter()
            .filter(|(list, error)| *list == ListName::Organization || error.is_rate_limit());
        let pause = pauses.filter_map(|(_, error)| error.retry_after).max().unwrap_or_default();
        let failed = failed.into_iter().map(|(list, error)| {
            let message = error.to_string().into();
            FailedList {
                list,
                reason: error.reason,
                status: error.status,
                request_id: error.request_id,
                message,
            }
        });
        let (snapshot, failed) = (snapshot.map(Arc::new), failed.collect());
        Self { snapshot, contents, failed, unmatched: None, pause }
    }
}

/// By project: when a read last failed after more than [`SLOW_FAILURE`].
pub(super) type SlowFailures = HashMap<Box<str>, f64>;
/// A failure slower than this counts as a read when projects are ordered; otherwise projects that hang would come first in
/// every poll, and could leave no time for the others.
const SLOW_FAILURE: Duration = Duration::from_secs(1);

/// The projects' part of a poll.
#[derive(Default)]
struct Projects {
    /// Each list with when it was read.
    lists: Vec<(ProjectList, f64)>,
    /// Those that have never been read.
    unread: Vec<Project>,
    /// When they were listed.
    listed_at: Option<f64>,
    faults: ProjectFaults,
    failed: Vec<(ListName, Error)>,
    unmatched: Option<UnmatchedPatterns>,
}

impl Projects {
    /// As they were read before, without those that the filter leaves out.
    fn known(
        lists: Lists,
        read_at: Vec<f64>,
        listed_at: Option<f64>,
        filter: &ProjectFilter,
    ) -> Self {
        let Lists { projects, mut unread, project_faults: mut faults, .. } = lists;
        let listed = projects.len() + unread.len();
        let mut lists: Vec<_> = zip(projects, read_at).collect();
        lists.retain(|(list, _)| filter.selects(&list.project));
        unread.retain(|project| filter.selects(project));
        faults.unselected += (listed - lists.len() - unread.len()) as u64;
        Self { lists, unread, listed_at, faults, ..Self::default() }
    }
}

/// The projects of a snapshot, as a list.
fn listed_projects(snapshot: &Snapshot) -> Listing<Project> {
    let Lists { projects, unread, project_faults, .. } = snapshot.inventory.lists();
    let read = projects.iter().map(|list| &list.project).chain(unread).cloned().collect();
    Listing { hidden: project_faults.hidden, ..Listing::new(read, Malformed::default()) }
}

/// What came of reading a project's list.
struct ProjectRead {
    project: Project,
    certificates: Result<Arc<Listing<Certificate>>, Error>,
    is_slow: bool,
    ended_at: f64,
}

impl CollectOptions {
    pub(super) async fn collect(
        &self,
        session: &Session<'_>,
        before: Option<&Snapshot>,
        contents: &Arc<Contents>,
        slow_failures: &mut SlowFailures,
    ) -> Collected {
        let organization_before = before.map(|before| before.inventory.organization());
        let list = session.organization_certificates(organization_before.map(Arc::as_ref)).await;
        let organization = match list {
            Ok(list) => unchanged_or(organization_before, list),
            Err(error) => {
                let failed = vec![(ListName::Organization, error)];
                return Collected::new(None, Arc::clone(contents), failed);
            }
        };
        let organization_read_at = unix_now();
        let Projects { lists, unread, listed_at, faults, mut failed, unmatched } =
            match &self.projects {
                Some(filter) => self.collect_projects(session, filter, before, slow_failures).await,
                None => Projects::default(),
            };
        let (projects, projects_read_at) = lists.into_iter().unzip();
        let mut lists = Lists { organization, projects, unread, project_faults: faults };
        let contents = self.collect_contents(session, &lists, contents, &mut failed).await;
        lists.fill_dates(|id| contents.get(id)?.valid().map(|valid| (valid.begin, valid.end)));
        let inventory = Inventory::new_or_unchanged(
            before.map(|before| &before.inventory),
            lists,
            &self.rotation_group,
        );
        let snapshot = Snapshot {
            inventory,
            organization_read_at,
            projects_listed_at: listed_at,
            projects_read_at,
        };
        Collected { unmatched, ..Collected::new(Some(snapshot), contents, failed) }
    }

    /// The PEM of each certificate of these lists. It never changes, so that it is read once; but one that holds no readable
    /// certificate, which may have been damaged on its way, is read in every poll. Those before if they are the same.
    async fn collect_contents(
        &self,
        session: &Session<'_>,
        lists: &Lists,
        before: &Arc<Contents>,
        failed: &mut Vec<(ListName, Error)>,
    ) -> Arc<Contents> {
        let of_projects = lists.projects.iter().map(|list| &list.certificates);
        let mut listed: BTreeMap<&str, bool> = BTreeMap::new();
        for certificate in of_projects
            .chain([&lists.organization])
            .flat_map(|list| &list.items)
            .filter(|_| self.content)
        {
            *listed.entry(&certificate.id).or_default() |= certificate.active;
        }
        let is_read = |id: &str| before.get(id).is_some_and(|it| it.certificate().is_some());
        let missing = listed.iter().filter(|(id, _)| !is_read(id));
        let mut missing: Vec<_> = missing.map(|(id, is_active)| (*id, *is_active)).collect();
        // Those on which somebody may depend first, since the poll's time may not suffice for all.
        missing.sort_by_key(|(id, is_active)| (before.contains_key(*id), !is_active));
        let read = async |(id, _)| (id, session.certificate_content(id).await);
        let reads: Vec<_> =
            stream::iter(missing).map(read).buffer_unordered(self.concurrency).collect().await;
        let mut contents = Contents::clone(before);
        contents.retain(|id, _| listed.contains_key(&**id));
        for (id, content) in reads {
            match content {
                Ok(pem) => {
                    contents.insert(id.into(), Arc::new(AnchorContent::from_pem(&pem)));
                }
                Err(error) => failed.push((ListName::Content(id.into()), error)),
            }
        }
        unchanged_or(Some(before), contents)
    }

    async fn collect_projects(
        &self,
        session: &Session<'_>,
        filter: &ProjectFilter,
        before: Option<&Snapshot>,
        slow_failures: &mut SlowFailures,
    ) -> Projects {
        let listed_before = before.map(listed_projects);
        let mut listed = match session.projects(listed_before.as_ref()).await {
            Ok(listed) => listed,
            Err(error) => {
                let failed = vec![(ListName::Projects, error)];
                let known = before.cloned().map(|before| {
                    let Snapshot { inventory, projects_listed_at, projects_read_at, .. } = before;
                    let lists = inventory.lists().clone();
                    Projects::known(lists, projects_read_at, projects_listed_at, filter)
                });
                return Projects { failed, ..known.unwrap_or_default() };
            }
        };
        let listed_at = Some(unix_now());
        listed.items.retain(|project| !project.archived);
        slow_failures.retain(|id, _| listed.get(id).is_some());
        let unmatched = Some(filter.unmatched(&listed.items));
        let (selected, unselected): (Vec<_>, Vec<_>) =
            listed.items.into_iter().partition(|project| filter.selects(project));
        session.progress().projects_known(selected.len());
        let selected = least_recently_read_first(selected.into_iter(), before, slow_failures);
        let read = |project| read_project(session, project, before);
        let mut reads: Vec<_> =
            stream::iter(selected).map(read).buffer_unordered(self.concurrency).collect().await;
        reads.sort_by(|a, b| a.project.id.cmp(&b.project.id));

        let faults = ProjectFaults {
            malformed: listed.malformed,
            duplicates: listed.duplicates,
            hidden: listed.hidden,
            vanished: 0,
            unselected: unselected.len() as u64,
        };
        let mut projects = Projects { listed_at, faults, unmatched, ..Projects::default() };
        for ProjectRead { project, certificates, is_slow, ended_at } in reads {
            match certificates {
                Ok(certificates) => {
                    projects.lists.push((ProjectList { project, certificates }, ended_at));
                }
                Err(error) => {
                    projects.faults.vanished += u64::from(error.reason == FailureReason::Projects);
                    slow_failures.extend(is_slow.then(|| (project.id.clone(), ended_at)));
                    projects.failed.push((ListName::Project(project.id.clone()), error));
                    match list_of(&project, before) {
                        Some((list, read_at)) => {
                            let certificates = Arc::clone(list);
                            projects.lists.push((ProjectList { project, certificates }, read_at));
                        }
                        None => projects.unread.push(project),
                    }
                }
            }
        }
        projects
    }

    /// The snapshot that an earlier process saved, as far as it is still polled.
    pub(super) fn restore(&self, saved: SavedState) -> Snapshot {
        let SavedState {
            organization_read_at, projects_listed_at, projects_read_at, lists, ..
        } = saved;
        let organization = Arc::clone(&lists.organization);
        let known = self
            .projects
            .as_ref()
            .map(|filter| Projects::known(lists, projects_read_at, projects_listed_at, filter));
        let Projects { lists, unread, listed_at, faults, .. } = known.unwrap_or_default();
        let (projects, projects_read_at) = lists.into_iter().unzip();
        let lists = Lists { organization, projects, unread, project_faults: faults };
        let inventory = Inventory::new_or_unchanged(None, lists, &self.rotation_group);
        Snapshot {
            inventory,
            organization_read_at,
            projects_listed_at: listed_at,
            projects_read_at,
        }
    }
}

/// If a poll has no time for all projects, the next begins with the rest.
fn least_recently_read_first(
    projects: impl Iterator<Item = Project>,
    before: Option<&Snapshot>,
    slow_failures: &SlowFailures,
) -> impl Iterator<Item = Project> {
    let last_read = |project: Project| {
        let read_at = list_of(&project, before).map_or(f64::NEG_INFINITY, |(_, read_at)| read_at);
        (
            slow_failures.get(&project.id).map_or(read_at, |failed_at| failed_at.max(read_at)),
            project,
        )
    };
    let mut projects: Vec<_> = projects.map(last_read).collect();
    projects.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    projects.into_iter().map(|(_, project)| project)
}

async fn read_project(
    session: &Session<'_>,
    project: Project,
    before: Option<&Snapshot>,
) -> ProjectRead {
    let started = Instant::now();
    let list_before = list_of(&project, before).map(|(list, _)| list);
    let list = session.project_certificates(&project.id, list_before.map(Arc::as_ref)).await;
    session.progress().project_read();
    // Compared at once, so that no more than `concurrency` unchanged lists are in memory twice.
    let certificates = list.map(|list| unchanged_or(list_before, list));
    ProjectRead {
        project,
        certificates,
        is_slow: started.elapsed() > SLOW_FAILURE,
        ended_at: unix_now(),
    }
}

/// A project's list in a snapshot, and when it was read.
fn list_of<'a>(
    project: &Project,
    snapshot: Option<&'a Snapshot>,
) -> Option<(&'a Arc<Listing<Certificate>>, f64)> {
    let snapshot = snapshot?;
    let (position, list) = snapshot.inventory.project(&project.id)?;
    Some((&list.certificates, snapshot.projects_read_at[position]))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use prometheus::Registry;
    use regex::Regex;
    use serde_json::{Value, json};
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;
    use crate::config::{Layers, Loaded};
    use crate::fixture::{NOW, group, snapshot};
    use crate::openai::{Client, Metrics};

    /// An organization with the certificate `cert`, and what to respond with instead of each list. A list goes by its project's
    /// identifier, or is `certificates` or `projects`.
    #[derive(Default)]
    struct Organization {
        projects: Vec<&'static str>,
        instead: HashMap<&'static str, ResponseTemplate>,
        requested: Vec<String>,
    }

    struct Api {
        _server: MockServer,
        client: Arc<Client>,
        organization: Arc<Mutex<Organization>>,
    }

    const LONG: Duration = Duration::from_secs(60);

    fn page(items: &[Value]) -> ResponseTemplate {
        let last_id = items.last().map(|item| item["id"].clone());
        ResponseTemplate::new(200)
            .set_body_json(json!({"data": items, "last_id": last_id, "has_more": false}))
    }

    fn certificates(ids: &[&str]) -> ResponseTemplate {
        let certificate = |id: &&str| json!({"id": id, "active": true, "certificate_details": {}});
        page(&ids.iter().map(certificate).collect::<Vec<_>>())
    }

    impl Organization {
        fn respond(&mut self, request: &Request) -> ResponseTemplate {
            let path: Vec<_> = request.url.path().split('/').skip(3).collect();
            let list = *path.get(1).unwrap_or(&path[0]);
            self.requested.push(list.to_owned());
            match (self.instead.get(list), list) {
                (Some(instead), _) => instead.clone(),
                (None, "certificates") => certificates(&["cert"]),
                (None, "projects") => {
                    let project = |id: &&str| json!({"id": id, "name": format!("name of {id}")});
                    page(&self.projects.iter().map(project).collect::<Vec<_>>())
                }
                (None, project) => certificates(&[&format!("cert of {project}")]),
            }
        }
    }

    impl Api {
        async fn start(projects: &[&'static str]) -> Self {
            let organization =
                Organization { projects: projects.to_vec(), ..Organization::default() };
            let (server, organization) =
                (MockServer::start().await, Arc::new(Mutex::new(organization)));
            let responding = Arc::clone(&organization);
            let respond = move |request: &Request| responding.lock().unwrap().respond(request);
            Mock::given(any()).respond_with(respond).mount(&server).await;
            let environment = [
                ("OPENAI_ADMIN_KEY", "key".into()),
                ("OPENAI_BASE_URL", format!("{}/v1", server.uri())),
                ("OPENAI_CERT_EXPORTER__API__MAX_RETRIES", "0".into()),
            ];
            let environment = environment.map(|(name, value)| (name.into(), value.into()));
            let loaded =
                Loaded::new(&Layers::stack(None, environment, Vec::new(), None).unwrap()).unwrap();
            let client =
                Client::new(&loaded.config.api, Arc::new(Metrics::new(&Registry::new()).unwrap()))
                    .unwrap();
            Self { _server: server, client: Arc::new(client), organization }
        }

        fn change(&self, change: impl FnOnce(&mut Organization)) {
            change(&mut self.organization.lock().unwrap());
        }

        /// One poll, one project at a time.
        async fn poll(
            &self,
            before: Option<&Snapshot>,
            time: Duration,
            slow_failures: &mut SlowFailures,
        ) -> Collected {
            self.change(|organization| organization.requested.clear());
            let session = self.client.session("key".into(), Instant::now() + time).await;
            options().collect(&session, before, &Arc::default(), slow_failures).await
        }

        async fn collect(&self, before: Option<&Snapshot>) -> Collected {
            self.poll(before, LONG, &mut SlowFailures::new()).await
        }

        /// What the last poll requested, in this order.
        fn requested(&self) -> Vec<String> {
            self.organization.lock().unwrap().requested.clone()
        }

        /// The projects among it.
        fn requested_projects(&self) -> Vec<String> {
            self.requested()[2..].to_vec()
        }
    }

    fn options() -> CollectOptions {
        let exclude = vec![Regex::new("^excluded").unwrap()];
        let projects = Some(ProjectFilter { include: Vec::new(), exclude });
        CollectOptions { projects, content: false, concurrency: 1, rotation_group: group("(.*)") }
    }

    /// Each project with its name and its certificates.
    fn texts(snapshot: &Snapshot) -> Vec<String> {
        let text = |ProjectList { project, certificates }: &ProjectList| {
            let certificates: Vec<_> =
                certificates.items.iter().map(|certificate| &*certificate.id).collect();
            format!("{}: {}", project.name.as_deref().unwrap_or_default(), certificates.join(", "))
        };
        snapshot.inventory.projects().iter().map(text).collect()
    }

    #[tokio::test]
    async fn lists_are_read_in_stages() {
        let api = Api::start(&["b", "excluded-1", "a"]).await;
        let started_at = unix_now();
        let Collected { snapshot, failed, pause, .. } = api.collect(None).await;
        let snapshot = snapshot.unwrap();
        assert_eq!(api.requested(), ["certificates", "projects", "a", "b"]);
        assert_eq!(texts(&snapshot), ["name of a: cert of a", "name of b: cert of b"]);
        assert_eq!(snapshot.inventory.organization().items.len(), 1);
        assert!(snapshot.oldest_read_at() >= started_at);
        assert_eq!((failed.len(), pause), (0, Duration::ZERO));
    }

    #[tokio::test]
    async fn unchanged_lists_make_the_same_inventory() {
        let api = Api::start(&["a", "b"]).await;
        let first = api.collect(None).await.snapshot.unwrap();
        let second = api.collect(Some(&first)).await.snapshot.unwrap();
        assert!(Arc::ptr_eq(&first.inventory, &second.inventory));
        assert!(second.oldest_read_at() > first.oldest_read_at());
        api.change(|organization| {
            organization.instead.insert("b", certificates(&["another"]));
        });
        let third = api.collect(Some(&second)).await.snapshot.unwrap();
        let [before, after] = [&second, &third].map(|snapshot| snapshot.inventory.projects());
        assert!(Arc::ptr_eq(&before[0].certificates, &after[0].certificates));
        assert_ne!(before[1], after[1]);
        api.change(|organization| {
            organization.instead.insert("projects", ResponseTemplate::new(403));
        });
        let fourth = api.collect(Some(&third)).await.snapshot.unwrap();
        assert!(Arc::ptr_eq(&third.inventory, &fourth.inventory));
        assert_eq!(api.requested(), ["certificates", "projects"]);
    }

    #[tokio::test]
    async fn project_read_longest_ago_is_read_first() {
        let api = Api::start(&["proj_0", "proj_1", "proj_2", "new"]).await;
        let mut before = Snapshot::clone(&snapshot(&[vec![], vec![], vec![], vec![]]));
        before.projects_read_at = [-3.0, -5.0, -4.0].map(|ago| NOW as f64 + ago).to_vec();
        api.collect(Some(&before)).await;
        assert_eq!(api.requested_projects(), ["new", "proj_1", "proj_2", "proj_0"]);
    }

    #[tokio::test]
    async fn poll_too_short_for_all_projects_goes_on_in_the_next() {
        let projects = ["a", "b", "c", "d", "e", "f"];
        let api = Api::start(&projects).await;
        let slow = certificates(&[]).set_delay(Duration::from_millis(100));
        api.change(|organization| {
            organization.instead = projects.map(|id| (id, slow.clone())).into();
        });
        let mut slow_failures = SlowFailures::new();
        let Collected { snapshot, failed, .. } =
            api.poll(None, Duration::from_millis(350), &mut slow_failures).await;
        let snapshot = snapshot.unwrap();
        assert_eq!(failed.len() + snapshot.inventory.projects().len(), projects.len());
        assert!((1..projects.len()).contains(&failed.len()));
        let unread = failed.into_iter().map(|failed| match failed {
            FailedList { list: ListName::Project(id), reason: FailureReason::Timeout, .. } => {
                id.into_string()
            }
            other => panic!("{other:?}"),
        });
        api.poll(Some(&snapshot), LONG, &mut slow_failures).await;
        let unread: Vec<_> = unread.collect();
        assert_eq!(api.requested_projects()[..unread.len()], unread);
    }

    #[tokio::test]
    async fn project_that_hangs_is_not_read_first_again() {
        let api = Api::start(&["a", "b", "c"]).await;
        api.change(|organization| {
            organization.instead.insert("a", certificates(&[]).set_delay(LONG));
        });
        let mut slow_failures = SlowFailures::new();
        api.poll(None, SLOW_FAILURE + Duration::from_millis(100), &mut slow_failures).await;
        assert_eq!(api.requested_projects(), ["a"]);
        api.poll(None, Duration::from_millis(500), &mut slow_failures).await;
        assert_eq!(api.requested_projects(), ["b", "c", "a"]);
        api.change(|organization| organization.projects = vec!["b", "c"]);
        api.poll(None, LONG, &mut slow_failures).await;
        assert_eq!(slow_failures, SlowFailures::new(), "it is listed no longer");
    }

    #[tokio::test]
    async fn project_pauses_other_requests_by_a_429_alone() {
        let api = Api::start(&["a"]).await;
        for (list, status, pause) in [
            ("certificates", 429, 100),
            ("certificates", 503, 100),
            ("projects", 429, 100),
            ("projects", 503, 0),
            ("a", 429, 100),
            ("a", 503, 0),
        ] {
            let wait = ResponseTemplate::new(status).insert_header("retry-after", "100");
            api.change(|organization| organization.instead = [(list, wait)].into());
            assert_eq!(
                api.collect(None).await.pause.as_secs_f64().ceil().to_string(),
                pause.to_string(),
                "{list} {status}"
            );
        }
    }

    #[test]
    fn saved_projects_are_restored_while_they_are_polled() {
        let saved = || {
            let mut before = Snapshot::clone(&snapshot(&[vec![], vec![], vec![]]));
            before.projects_read_at[1] += 1.0;
            SavedState::new("", &before, &Arc::default(), None)
        };
        let filter =
            ProjectFilter { include: Vec::new(), exclude: vec![Regex::new("_0$").unwrap()] };
        for (projects, ids, read_at) in [
            (None, vec![], vec![]),
            (options().projects, vec!["proj_0", "proj_1"], vec![NOW as f64, NOW as f64 + 1.0]),
            (Some(filter), vec!["proj_1"], vec![NOW as f64 + 1.0]),
        ] {
            let restored = CollectOptions { projects, ..options() }.restore(saved());
            let restored_ids: Vec<_> =
                restored.inventory.projects().iter().map(|list| &*list.project.id).collect();
            assert_eq!((restored_ids, restored.projects_read_at), (ids, read_at));
        }
    }
}
