//! How long the requests of the admin port take, by route and answer. Few and slow beside events,
//! so a lock is cheap enough.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Durations, families::Families};

/// Method, route and status.
type Kind = (&'static str, String, String);

/// The requests since the start.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<BTreeMap<Kind, Arc<Durations>>>);

impl Requests {
    /// Counts one. The routes are those that exist, so there is an end of them.
    pub(super) fn record(&self, method: &'static str, route: &str, status: &str, took: Duration) {
        let kind = (method, route.to_owned(), status.to_owned());
        self.0.lock().entry(kind).or_default().record(took);
    }

    pub(super) fn write(&self, to: &mut Families<'_>) -> std::fmt::Result {
        let kinds = self.0.lock();
        let durations = kinds.iter().map(|((method, route, status), durations)| {
            ([*method, route.as_str(), status.as_str()], &**durations)
        });
        let help = "Time that requests of the admin port took.";
        let name = "switchboard_admin_request_duration_seconds";
        to.durations(name, help, ["method", "route", "status"], durations)
    }
}
