//! The text of a scrape: names and labels, made from the node's [counts](crate::telemetry) and from
//! numbers that other parts keep anyway.

mod families;
#[cfg(feature = "postgres")]
mod outbox;
mod process;
mod snapshot;

pub(crate) use process::Process;
pub(crate) use snapshot::{CONTENT_TYPE, Cluster, Snapshot};
