use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use tokio::sync::watch;

use super::families::{self, families};
use crate::inventory::{State, unix_now};

/// Reads the state at every scrape. Metrics that are kept and updated would show half of a change, keep certificates
/// that are gone, and take two whose labels run together alike for one.
pub(super) struct StateCollector {
    state: watch::Receiver<State>,
    descs: Vec<Desc>,
}

impl StateCollector {
    pub(super) fn new(state: watch::Receiver<State>) -> Self {
        let descs = families::ALL
            .iter()
            // Labels stay out of the description: they are this collector's own business. Names are valid, see the test.
            .filter_map(|family| Desc::new(family.name.into(), family.help.into(), Vec::new(), HashMap::new()).ok())
            .collect();
        Self { state, descs }
    }
}

impl Collector for StateCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let state = self.state.borrow().clone();
        families(&state, unix_now())
    }
}
