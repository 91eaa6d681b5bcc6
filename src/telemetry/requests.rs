//! Durations of requests of the admin port, by route and status. They are few and slow beside
//! events, so a lock is cheap enough.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::durations::Durations;

/// Method, route and status.
type Kind = (&'static str, String, String);

/// The requests since the start.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<BTreeMap<Kind, Arc<Durations>>>);

impl Requests {
    /// Counts a request. Only existing routes are counted, so their number is bounded.
    pub(super) fn record(&self, method: &'static str, route: &str, status: &str, took: Duration) {
        let kind = (method, route.to_owned(), status.to_owned());
        self.0.lock().entry(kind).or_default().record(took);
    }

    /// Calls `write` with the durations of each kind of request: method, route and status.
    pub(crate) fn read<T>(
        &self,
        write: impl for<'a> FnOnce(&mut dyn Iterator<Item = ([&'a str; 3], &'a Durations)>) -> T,
    ) -> T {
        let kinds = self.0.lock();
        write(&mut kinds.iter().map(|((method, route, status), durations)| {
            ([*method, route.as_str(), status.as_str()], &**durations)
        }))
    }
}
