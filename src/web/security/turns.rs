//! Who may check a password next, when more want to than can at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::web::lock;

/// More than two at once would take every core from the scrapes and the polls.
const AT_ONCE: usize = 2;
/// As long as Prometheus waits for a scrape unless told otherwise.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Clients take turns by group, and those of one group in the order in which they came: a flood of another group delays
/// nobody by more than a few checks.
pub(super) struct Turns {
    /// In the order of arrival, with no more than [`AT_ONCE`] of one group.
    queue: Arc<Semaphore>,
    /// What the requests of a group wait for before they join the queue.
    groups: Mutex<HashMap<Group, Weak<Semaphore>>>,
}

/// Connections that nothing tells apart: their address, and whether wrong credentials have come over them before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    network: IpAddr,
    has_failed: bool,
}

/// Ends when it is dropped.
pub(super) struct Turn {
    _in_queue: OwnedSemaphorePermit,
    _in_group: OwnedSemaphorePermit,
}

impl Group {
    /// Of IPv6 addresses the first half counts, since a single machine may have all the rest.
    pub(super) fn new(address: IpAddr, has_failed: bool) -> Self {
        let network = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        };
        Self { network, has_failed }
    }
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { queue: Arc::new(Semaphore::new(AT_ONCE)), groups: Mutex::default() }
    }

    /// Waits for a turn, for [`MAX_WAIT`] at most.
    pub(super) async fn wait(&self, group: Group) -> Option<Turn> {
        let waiting = async {
            let in_group = self.semaphore(group).acquire_owned().await.ok()?;
            let in_queue = Arc::clone(&self.queue).acquire_owned().await.ok()?;
            Some(Turn { _in_queue: in_queue, _in_group: in_group })
        };
        timeout(MAX_WAIT, waiting).await.ok().flatten()
    }

    /// Whether requests of any group may be waiting.
    pub(super) fn are_all_taken(&self) -> bool {
        self.queue.available_permits() == 0
    }

    fn semaphore(&self, group: Group) -> Arc<Semaphore> {
        let mut groups = lock(&self.groups);
        groups.get(&group).and_then(Weak::upgrade).unwrap_or_else(|| {
            groups.retain(|_, semaphore| semaphore.strong_count() > 0);
            let semaphore = Arc::new(Semaphore::new(AT_ONCE));
            groups.insert(group, Arc::downgrade(&semaphore));
            semaphore
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn group(address: &str, has_failed: bool) -> Group {
        Group::new(address.parse().unwrap(), has_failed)
    }

    #[tokio::test(start_paused = true)]
    async fn clients_take_turns_by_group_and_then_in_their_order() {
        let turns = Turns::new();
        let (flood, client) = (group("192.0.2.1", true), group("2001:db8:0:1::1", false));
        let neighbour = group("2001:db8:0:1:ffff::", false);
        assert_eq!(neighbour, client);
        let arrivals = [
            ("a", flood),
            ("b", flood),
            ("c", flood),
            ("d", flood),
            ("client", client),
            ("its neighbour", neighbour),
            ("another of theirs", client),
            ("new connection of the flood", group("192.0.2.1", false)),
            ("e", flood),
        ];
        let mut waiting: Vec<_> =
            arrivals.map(|(name, group)| (name, Box::pin(turns.wait(group)))).into();
        let (mut order, mut under_way) = (Vec::new(), Vec::new());
        while !waiting.is_empty() {
            waiting.retain_mut(|(name, wait)| {
                let turn = wait.now_or_never();
                order.extend(turn.is_some().then_some(*name));
                let is_waiting = turn.is_none();
                under_way.extend(turn.flatten());
                is_waiting
            });
            assert!(under_way.len() <= AT_ONCE);
            under_way.remove(0);
        }
        let first = ["a", "b", "client", "its neighbour", "new connection of the flood"];
        assert_eq!(order[..5], first);
        assert_eq!(order[5..], ["c", "d", "another of theirs", "e"]);
    }

    #[tokio::test(start_paused = true)]
    async fn turn_that_does_not_come_in_time_is_given_up_and_leaves_nothing_behind() {
        let turns = Turns::new();
        let (flood, client) = (group("192.0.2.1", true), group("192.0.2.2", false));
        let under_way = [turns.wait(flood).await, turns.wait(flood).await];
        assert!(turns.wait(client).await.is_none());
        drop(under_way);
        assert!(turns.wait(client).await.is_some());
        assert_eq!(lock(&turns.groups).len(), 1);
    }
}
